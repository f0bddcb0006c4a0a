"""A linear model of n-grams: what a network has to beat, and what the classifier may add to its logits."""
