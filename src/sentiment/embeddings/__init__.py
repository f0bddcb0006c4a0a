"""Word vectors of the vocabulary: trained on the corpus's own text, or read from a file."""
