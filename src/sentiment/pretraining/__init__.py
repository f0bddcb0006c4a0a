"""Language models that pretrain a classifier."""
