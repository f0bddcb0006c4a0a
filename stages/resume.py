"""Where a stage leaves the state of what it has begun, and whether it may go on from there."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stages.params import Params
from stages.paths import RESUME

if TYPE_CHECKING:
    from sentiment.resume import Saved

PIPELINE = Path("dvc.yaml")


def saved_state(stage: str, params: Params) -> "Saved":
    """Return the place of a stage's state, by its inputs; say if there is one; remove those of other inputs."""
    from sentiment.resume import Saved

    saved = Saved(RESUME / stage / f"{digest_of_inputs(stage, params)}.safetensors")
    for other in set(saved.path.parent.glob("*")) - {saved.path}:
        print(f"{other}: is of other data, parameters or code than now; begun anew", flush=True)
        other.unlink()
    if saved.path.exists():
        print(f"going on from {saved.path}", flush=True)
    return saved


def digest_of_inputs(stage: str, params: Params) -> str:
    """Return a digest of what dvc.yaml says the stage depends on, of PyTorch's version and the kind of device."""
    import torch

    from sentiment.files import sha256_of

    entry = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"][stage]
    inputs = {
        "deps": {path: sha256_of(Path(path)) for path in entry["deps"]},
        "params": {key: value_of(params, key) for key in entry["params"]},
        "torch": torch.__version__,
        "cuda": torch.cuda.is_available(),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def value_of(params: Params, key: str) -> Any:
    """Return a parameter, or a section of them, by its key with dots."""
    value: Any = params.model_dump()
    for part in key.split("."):
        value = value[part]
    return value
