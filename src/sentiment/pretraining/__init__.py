"""Language models for a classifier to start from."""
