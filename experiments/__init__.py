"""Comparisons of configurations over several seeds: `<name>.yaml` describes one, DVC runs it and stores the results."""

import stages  # noqa: F401, puts the library on the path
