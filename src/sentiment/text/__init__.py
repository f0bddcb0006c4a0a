"""spaCy's tokens, and word vectors in GloVe's text format."""
