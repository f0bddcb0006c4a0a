"""Comparisons of configurations, each with several seeds: `<name>.yaml` says what, DVC runs and keeps it."""
