"""Tokenization with spaCy, and word vectors in GloVe's text format."""
