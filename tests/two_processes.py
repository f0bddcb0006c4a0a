"""What `test_processes` has several processes do: train a small model, and write down what came of it."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import torch

import stages  # noqa: F401, puts the library on the path
from sentiment.runtime.distributed import process_group
from sentiment.training.trainer import Epoch, Trainer
from tests.conftest import small_model
from tests.training.test_trainer import CONFIG, VALIDATION, easy_reviews

CPU = torch.device("cpu")
SETTINGS = replace(CONFIG, epochs=3, batch_size=64, ema_decay=0.9, adversarial=0.5, virtual=0.5, entropy=0.2)


def outcome(reviews: int, dropout: float) -> dict[str, list[float]]:
    """Train on so many reviews with the other processes, if there are any, and return the figures and the weights."""
    epochs: list[Epoch] = []
    model = small_model(dropout_embedding=dropout)
    Trainer(model, easy_reviews(reviews, 0), SETTINGS, CPU, easy_reviews(90, 2)).fit(VALIDATION, epochs.append)
    return {
        "train_loss": [epoch.train_loss for epoch in epochs],
        "validation_loss": [epoch.validation_loss for epoch in epochs],
        "weights": torch.cat([weight.detach().flatten() for weight in model.parameters()]).tolist(),
    }


if __name__ == "__main__":
    told = json.loads(os.environ["TOGETHER"])
    with process_group(CPU, told["processes"]) as rank:
        if rank == told.get("victim"):
            os.kill(os.getpid(), signal.SIGKILL)
        (Path(told["folder"]) / f"{rank}.json").write_text(json.dumps(outcome(told["reviews"], told["dropout"])))
