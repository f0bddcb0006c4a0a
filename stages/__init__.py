"""The stages of the pipeline: parameters in, calls of the library, outputs out; and `predict`, for what comes after.

The library of this copy of the repository comes first on the path, so that a stage which runs in any copy (a clone,
`dvc exp run --temp`) runs that copy's code and never one that happens to be installed.
"""

import sys
from pathlib import Path
from types import TracebackType

PYTHON = f"{sys.executable} (Python {sys.version.split()[0]})"
ADVICE = "run `source .venv/bin/activate` and the same command again, or use make, which needs no activation"


def report(kind: "type[BaseException]", error: BaseException, trace: "TracebackType | None") -> None:
    """Print an uncaught error, in one line if a package cannot be imported."""
    if isinstance(error, ImportError):
        reason = str(error).strip().partition("\n")[0]
        print(f"error: {PYTHON} cannot import a package ({reason}); {ADVICE}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# DVC runs `python`, which may be any Python where the environment is not activated. The annotations above are quoted so
# that an old one gets as far as this line.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"error: {PYTHON} is too old, Python 3.11 to 3.14 is needed; {ADVICE}")
sys.excepthook = report
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
