"""Score texts with a trained model: record batches, files of texts, and the words that weighed most."""
