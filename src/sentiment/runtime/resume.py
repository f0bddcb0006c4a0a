"""Saved training state, from which an interrupted run resumes and ends with the same bytes as an uninterrupted one."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from sentiment.errors import InputError
from sentiment.storage.outputs import atomic_output, remove

DIGEST_BYTES = sha256().digest_size

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class SavedState:
    """A file of tensors, in groups, that starts with the sha256 of the rest of the file."""

    path: Path

    def load(self) -> dict[str, Weights]:
        """Return the saved tensors by group and name, or no groups if nothing was saved.

        Raises InputError if the file is damaged.
        """
        groups: dict[str, Weights] = {}
        if self.path.exists():
            content = self.path.read_bytes()
            digest, content = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
            if sha256(content).digest() != digest:
                raise InputError(f"{self.path}: is damaged; delete it and run the command again to restart the stage")
            for name, tensor in load(content).items():
                group, _, rest = name.partition("/")
                # copied, because a tensor's alignment in memory changes the order in which some kernels sum
                groups.setdefault(group, {})[rest] = tensor.clone()
        return groups

    def save(self, groups: Mapping[str, Weights]) -> None:
        """Replace the saved state.

        Raises InputError and keeps the previous state if a number is not finite, since training cannot recover from it.
        """
        tensors = {f"{group}/{name}": tensor for group, weights in groups.items() for name, tensor in weights.items()}
        if bad := next((name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())), None):
            raise InputError(
                f"training diverged: {bad} is no longer finite, so the state was not saved; lower the learning rate"
            )
        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        with atomic_output(self.path) as partial:
            partial.write_bytes(sha256(content).digest() + content)

    def delete(self) -> None:
        """Remove the saved state, once training has finished."""
        remove(self.path)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state of each weight: its moments and its number of steps."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, tensors in state.items() for name, tensor in tensors.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Weights) -> None:
    """Restore the state that `optimizer_state` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in saved.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    groups: Any = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the random number generators that dropout uses."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random(saved: Weights, device: torch.device) -> None:
    """Restore the state that `random_state` returned."""
    torch.set_rng_state(saved["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda"], device)
