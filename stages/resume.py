"""Locate the saved states from which an interrupted stage resumes, by a digest of the stage's inputs."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from stages.params import Params
from stages.paths import RESUME, resume_folder

if TYPE_CHECKING:
    from sentiment.runtime.resume import SavedState

PIPELINE = Path("dvc.yaml")
VERSIONS = "versions.yaml"


def saved_states(stage: str, params: Params, *parts: str, rank: int = 0) -> list["SavedState"]:
    """Return the saved states of a stage's parts, in files named by the digest of the stage's inputs.

    The first process (rank 0) prints which states exist, and removes states saved with other inputs. An experiment in a
    temporary folder removes no states, since several such experiments may run at the same time.
    """
    from sentiment.runtime.resume import SavedState
    from sentiment.storage.outputs import remove

    folder, are_alone = resume_folder() / stage, resume_folder() == RESUME
    digest = digest_of_inputs(stage, params)
    states = [SavedState(folder / f"{digest}-{part}.state") for part in parts]
    for path in sorted(folder.glob("*")) if rank == 0 else []:
        if path in [saved.path for saved in states]:
            print(f"resuming from {path}", flush=True)
        elif are_alone:
            print(f"{path}: ignored: saved with other data, parameters, code or hardware; starting over", flush=True)
            remove(path)
    return states


def digest_of_inputs(stage: str, params: Params) -> str:
    """Return the sha256 of all inputs that determine a stage's outputs bit by bit.

    The inputs are the dependencies and parameters in dvc.yaml, the installed versions of the packages listed there, the
    builds of PyTorch and cuDNN, the processor's instructions and threads, and the GPUs.
    """
    import torch

    from sentiment.storage.outputs import sha256_of

    entry = YAML(typ="safe", pure=True).load(PIPELINE.read_text(encoding="utf-8"))["stages"][stage]
    inputs = {
        "deps": {str(path): sha256_of(path) for dependency in entry["deps"] for path in files_of(Path(dependency))},
        "params": {key: value_of(params, key) for key in entry["params"] if isinstance(key, str)},
        "versions": {
            name: version(name) for file in entry["params"] if isinstance(file, dict) for name in file[VERSIONS]
        },
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        # the names of all GPUs, so that processes on different GPUs get the same digest
        names = {torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())}
        inputs |= {"gpus": sorted(names), "cudnn": torch.backends.cudnn.version()}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def files_of(path: Path) -> list[Path]:
    """Return a file, or all files below a folder except compiled Python files."""
    return (
        sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc")
        if path.is_dir()
        else [path]
    )


def value_of(params: Params, key: str) -> Any:
    """Return a parameter, or a section of parameters, by its dotted key."""
    value: Any = params.model_dump()
    for part in key.split("."):
        value = value[part]
    return value
