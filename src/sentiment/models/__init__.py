"""Recurrent layers, pooling, the classifier, its checkpoint, inference and attribution."""
