"""What every script around here does: heed `train.portable`, and say a user's mistake in one line."""

import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiment.errors import InputError
from stages.params import Params, read_params
from stages.paths import DOWNLOADS, is_output, resume_folder

# What has libraries add in the same order on every x86-64 processor with AVX2: their instructions, and one thread.
PORTABLE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL",
}


def run(stage: Callable[[Params], None]) -> None:
    """Read the parameters and run a stage.

    Stages import the heavy parts of the library inside, after this has read the parameters: PyTorch takes seconds to
    import, and a misspelt key should not. And libraries choose their instructions when they are imported.
    """
    with one_line_errors():
        params = read_params()
        if params.train.portable:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # hides all GPUs from PyTorch, which is not imported yet
            if platform.machine() in {"x86_64", "AMD64"}:
                os.environ.update(PORTABLE)
        stage(params)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """On a user's mistake, or a file that cannot be read or written, end with one line and exit status 1."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if not isinstance(error.filename, str | bytes | os.PathLike):
            raise
        sys.exit(f"error: {describe(error, Path(os.fsdecode(error.filename)))}")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends at once
        kept = ", ".join(str(path) for path in [*resume_folder().glob("*/*.state"), *DOWNLOADS.glob("*.part")])
        print(f"stopped; the same command goes on{f' from {kept}' if kept else ', this stage anew'}", file=sys.stderr)
        sys.exit(130)  # what a shell reports for Ctrl-C


def describe(error: OSError, path: Path) -> InputError:
    """Name the file that an operation failed on, and what to do where a stage writes that file."""
    if not isinstance(error, FileNotFoundError):
        return InputError(f"{path}: {error.strerror}")
    advice = "; run the stages before this one, as dvc repro does" if is_output(path) else ""
    return InputError(f"{path}: is not there{advice}")
