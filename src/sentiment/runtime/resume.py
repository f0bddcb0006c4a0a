"""The state of a training that was broken off, from which it goes on to the same bytes as if it had not been."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from sentiment.errors import InputError
from sentiment.storage.outputs import remove, replacing

DIGEST_BYTES = sha256().digest_size

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Saved:
    """A file of tensors, in groups, behind the sha256 of all that follows it."""

    path: Path

    def load(self) -> dict[str, Weights]:
        """Return what was saved last, by group and name; no groups if nothing was. Raises InputError if damaged."""
        groups: dict[str, Weights] = {}
        if self.path.exists():
            content = self.path.read_bytes()
            digest, content = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
            if sha256(content).digest() != digest:
                raise InputError(f"{self.path}: is damaged; delete it, and the same command begins this stage anew")
            for name, tensor in load(content).items():
                group, _, rest = name.partition("/")
                # a copy of its own, since where numbers lie decides how some kernels add them up
                groups.setdefault(group, {})[rest] = tensor.clone()
        return groups

    def save(self, groups: Mapping[str, Weights]) -> None:
        """Replace the saved state.

        Raises InputError, and keeps the saved state, if a number is not finite: nothing good can follow from it.
        """
        tensors = {f"{group}/{name}": tensor for group, weights in groups.items() for name, tensor in weights.items()}
        if bad := next((name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())), None):
            raise InputError(
                f"training has diverged: {bad} is no longer finite; nothing of it was saved; lower the learning rate"
            )
        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        with replacing(self.path) as partial:
            partial.write_bytes(sha256(content).digest() + content)

    def forget(self) -> None:
        """Remove what was saved: the training has come to its end."""
        remove(self.path)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimizer knows of each weight: its moments, how many steps it has taken."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, tensors in state.items() for name, tensor in tensors.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Weights) -> None:
    """Undo `optimizer_state`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in saved.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    groups: Any = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the random numbers that dropout draws."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random(saved: Weights, device: torch.device) -> None:
    """Undo `random_state`."""
    torch.set_rng_state(saved["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda"], device)
