"""The vocabulary, encoded reviews and padded batches."""
