"""Stages of the pipeline, which read parameters, call the library and write outputs; and commands for users.

This package puts `src` of its own repository copy first on the import path. A stage that runs in any copy (a clone,
`dvc exp run --temp`) therefore runs that copy's code and never an installed package.
"""

import sys
from pathlib import Path
from types import TracebackType

PYTHON = f"{sys.executable} (Python {sys.version.split()[0]})"
ADVICE = "run `source .venv/bin/activate` and the same command again, or use make, which needs no activation"


def report(kind: "type[BaseException]", error: BaseException, trace: "TracebackType | None") -> None:
    """Print an uncaught exception; print a failed import as a single line with advice."""
    if isinstance(error, ImportError):
        reason = str(error).strip().partition("\n")[0]
        print(f"error: {PYTHON} cannot import a package ({reason}); {ADVICE}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# DVC runs `python`, which can be any version if the environment is not activated. The annotations above are quoted so
# that an old Python gets as far as this check.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"error: {PYTHON} is too old, Python 3.11 to 3.14 is needed; {ADVICE}")
sys.excepthook = report
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
