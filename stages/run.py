"""Run a stage: apply `train.portable`, report a user's mistake in one line, write metrics."""

import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentiment.errors import InputError
from sentiment.storage.outputs import write_json
from stages.params import Params, read_params
from stages.paths import DOWNLOADS, METRICS, is_output, resume_folder

# Instruction sets and one thread, so that libraries sum in the same order on every x86-64 processor with AVX2.
PORTABLE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL",
}


def run(stage: Callable[[Params], None], portable: bool = False) -> None:
    """Read the parameters and run a stage; with `portable`, as if `train.portable` were true.

    Stages import the heavy parts of the library inside functions, so that the parameters are read first. A misspelt key
    is then reported without waiting seconds for PyTorch, and the environment variables are set before libraries choose
    their instruction sets on import.
    """
    with one_line_errors():
        params = read_params()
        if portable or params.train.portable:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # hides all GPUs from PyTorch, which is not imported yet
            if platform.machine() in {"x86_64", "AMD64"}:
                os.environ.update(PORTABLE)
        stage(params)


def write_metrics(name: str, figures: Mapping[str, float]) -> None:
    """Write a file of metrics and its copy; no two files share a figure's name, so that DVC can sort by each."""
    for path in METRICS[name]:
        write_json(path, figures)


def read_metrics(name: str) -> dict[str, Any]:
    """Read a file of metrics."""
    in_git, _ = METRICS[name]
    figures: dict[str, Any] = json.loads(in_git.read_text(encoding="utf-8"))
    return figures


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Exit with status 1 and a one-line message on InputError or a file error, and with status 130 on Ctrl-C."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if not isinstance(error.filename, str | bytes | os.PathLike):
            raise
        sys.exit(f"error: {describe(error, Path(os.fsdecode(error.filename)))}")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
        kept = ", ".join(str(path) for path in [*resume_folder().glob("*/*.state"), *DOWNLOADS.glob("*.part")])
        how = f"resume from {kept}" if kept else "start again"
        print(f"stopped; run the same command to {how}", file=sys.stderr)
        sys.exit(130)  # the exit status that shells report for Ctrl-C


def describe(error: OSError, path: Path) -> InputError:
    """Turn a file error into an InputError that names the file, with advice if a stage writes that file."""
    if not isinstance(error, FileNotFoundError):
        return InputError(f"{path}: {error.strerror}")
    advice = "; run the earlier stages first, for example with dvc repro" if is_output(path) else ""
    return InputError(f"{path}: does not exist{advice}")
