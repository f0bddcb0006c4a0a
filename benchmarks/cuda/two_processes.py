"""Whether two processes train as one does."""

import json
import os
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.cuda.checks import Check, Record, Setting, describe, processes_for, set_up
from benchmarks.cuda.exact import EPSILONS, MAX_EPSILONS, error_of
from benchmarks.cuda.networks import default_shape, default_training, new_model, without_dropout
from benchmarks.cuda.pack import first
from benchmarks.cuda.timing import tf32
from sentiment.models.precision import PRECISIONS
from sentiment.runtime.distributed import gather_over_processes
from sentiment.storage.tensors import read_tensors, save_tensors
from sentiment.training.trainer import Epoch, Trainer

SECONDS = 60  # in which processes must have trained
REVIEWS = 203  # at most: in batches of 32 the last holds 11
# that of float32 as in tests/runtime/test_distributed.py
TOLERANCES = {"float32": 1e-3, "bfloat16": MAX_EPSILONS * EPSILONS["bfloat16"]}

BACKENDS = {"gloo": "gloo", "nccl": "cpu:gloo,cuda:nccl"}

Outcome = dict[str, Tensor]


def train_with(setting: Setting, record: Record, backend: str, processes: int) -> None:
    """Record how far processes that share the device come from what a process trains alone."""
    context = processes_for(setting.device)
    with TemporaryDirectory() as name:
        folder = Path(name)
        started = [
            context.Process(target=join_and_train, args=(setting, folder, backend, rank, processes))
            for rank in range(processes)
        ]
        for process in started:
            process.start()
        ends = time.monotonic() + SECONDS
        for process in started:
            process.join(max(0.0, ends - time.monotonic()))
            process.kill()
        for rank, process in enumerate(started):
            process.join()
            path = folder / f"{rank}.json"
            said = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            record(f"process {rank}", {"exit code": process.exitcode, **said})
        for precision in PRECISIONS:
            paths = [folder / f"{rank}.{precision}.safetensors" for rank in range(processes)]
            if all(path.exists() for path in paths):
                outcomes = [read_tensors(path) for path in paths]
                record(precision, compare(outcomes, outcome_of(setting, precision), TOLERANCES[precision]))


def compare(outcomes: list[Outcome], alone: Outcome, tolerance: float) -> dict[str, object]:
    """Return whether all processes have the same outcome, and its relative errors against that of a process alone."""
    same = all(torch.equal(outcome[name], outcomes[0][name]) for outcome in outcomes for name in alone)
    errors = {name: error_of(outcomes[0][name], alone[name]) for name in alone}
    is_near = all(error <= tolerance for error in errors.values())
    return {"all have the same": same, "within the tolerance": is_near, "tolerance": tolerance, **errors}


def join_and_train(setting: Setting, folder: Path, backend: str, rank: int, processes: int) -> None:
    """Train with the other processes, in a process of its own, and write the outcome, or the error that there was."""
    said: dict[str, Any] = {}
    try:
        set_up(setting.device)
        dist.init_process_group(
            BACKENDS[backend],
            init_method=f"file://{folder}/joined",
            rank=rank,
            world_size=processes,
            timeout=timedelta(seconds=SECONDS / 2),
        )
        for precision in PRECISIONS:
            save_tensors(folder / f"{rank}.{precision}.safetensors", outcome_of(setting, precision))
        gather_over_processes(torch.ones(2, device=setting.device))  # last, since gloo may not know it on CUDA
    except Exception as error:
        said["error"] = describe(error)
    (folder / f"{rank}.json").write_text(json.dumps(said), encoding="utf-8")
    os._exit(0)  # since NCCL may wait for the others to end


def outcome_of(setting: Setting, precision: str) -> Outcome:
    """Train the default network without dropout and return its losses, and how far each weight has moved."""
    data = setting.reviews()
    labelled, validation, unlabelled = (first(data[split], REVIEWS) for split in ("train", "validation", "unsup"))
    config = default_training(
        precision=precision, batch_size=32, min_steps=1, epochs=2, patience=None, virtual=0.5, entropy=0.2
    )
    epochs: list[Epoch] = []
    model = new_model(without_dropout(default_shape(setting)))
    before = [weight.detach().clone() for weight in model.parameters()]
    with tf32(False):  # so that one rounding does not bring about a greater one
        Trainer(model, labelled, config, setting.device, unlabelled).fit(validation, epochs.append)
    moved = [weight.detach().cpu() - old for weight, old in zip(model.parameters(), before, strict=True)]
    return {
        "training loss": torch.tensor([epoch.train_loss for epoch in epochs], dtype=torch.float64),
        "validation loss": torch.tensor([epoch.validation_loss for epoch in epochs], dtype=torch.float64),
        "weights moved": torch.cat([change.flatten() for change in moved]),
    }


def on_gpu(setting: Setting, record: Record, backend: str, processes: int) -> None:
    """Do the same where there is a GPU."""
    if setting.device.type == "cuda":
        train_with(setting, record, backend, processes)
    else:
        record("state", "there is no GPU")


CHECKS: dict[str, Check] = {
    "two with gloo": partial(train_with, backend="gloo", processes=2),
    "two with nccl": partial(on_gpu, backend="nccl", processes=2),  # which may refuse to share a GPU
    "one with nccl": partial(on_gpu, backend="nccl", processes=1),
}
