"""Our way against the textbook's, measured in turn in one run; each benchmark prints a ratio."""
