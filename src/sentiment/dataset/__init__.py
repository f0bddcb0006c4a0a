"""The vocabulary, encoded reviews, and padded batches of them."""
