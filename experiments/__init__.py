"""Comparisons of configurations, each with several seeds: `<name>.yaml` says what, DVC runs and keeps it."""

import stages  # noqa: F401, puts the library on the path
