"""The stages of the pipeline: parameters in, calls of the library, outputs out; and `predict`, for what comes after.

The library of this copy of the repository comes first on the path, so that a stage which runs in any copy (a clone,
`dvc exp run --temp`) runs that copy's code and never one that happens to be installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
