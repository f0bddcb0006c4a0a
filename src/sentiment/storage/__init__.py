"""Outputs that appear whole or not at all, files of tensors, archives from elsewhere."""
