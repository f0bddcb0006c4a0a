"""The training loop: Adam on shuffled batches of like length, the best epoch by validation loss kept."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from sentiment.batches import pad_batch, shuffled_rows
from sentiment.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.model import Classifier
from sentiment.predict import predict_logits


@dataclass(frozen=True)
class TrainConfig:
    """How to train; what to train is the model's own affair."""

    seed: int  # of the order of the reviews and of dropout
    batch_size: int  # B, reviews
    epochs: int  # at most
    patience: int | None  # epochs without a better validation loss before stopping; None never stops early
    learning_rate: float  # at its peak
    warmup_share: float  # share of all steps in which the rate rises from 0
    schedule: str  # a key of SCHEDULES: how the rate falls afterwards
    weight_decay: float  # decoupled, as in AdamW; 0 is plain Adam
    clip_norm: float | None  # greatest Euclidean norm of the gradient; None leaves it alone
    freeze_embeddings: bool  # keep the word vectors as they came


class Epoch(NamedTuple):
    """What one pass over the training reviews came to."""

    number: int  # from 1
    train_loss: float  # mean over the pass, dropout on, in nats
    validation_loss: float  # after the pass, dropout off, in nats
    validation_accuracy: float
    seconds: float  # of training and validation
    reviews_per_second: float  # of training alone


SCHEDULES: dict[str, Callable[[float], float]] = {  # factor of the rate, by the share of steps done since the warm-up
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def train(
    model: Classifier,
    training: EncodedReviews,
    validation: EncodedReviews,
    config: TrainConfig,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
) -> Epoch:
    """Train `model` in place, leave it with the weights of its best epoch, and return that epoch.

    `on_epoch` is told of each epoch as it ends. Raises InputError, before the update, if a loss is not finite.
    """
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)  # dropout's numbers
    model.to(device)
    model.embedding.weight.requires_grad_(not config.freeze_embeddings)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, config.learning_rate, weight_decay=config.weight_decay, fused=True)
    steps = config.epochs * math.ceil(len(training) / config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, steps, config))
    on_device = training.to(device)
    best: Epoch | None = None
    best_weights: dict[str, Tensor] = {}

    for number in range(1, config.epochs + 1):
        started = time.perf_counter()
        model.train()
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        batches = shuffled_rows(training.lengths, config.batch_size, generator)
        for position, rows in enumerate(progress(batches, number), start=1):
            batch = pad_batch(on_device, rows.to(device))
            loss = binary_cross_entropy_with_logits(model(batch.tokens, batch.lengths), batch.labels)
            if not torch.isfinite(loss):
                raise InputError(
                    f"the loss of epoch {number}, batch {position} of {len(batches)} is {loss.item()}; "
                    "lower the learning rate or the greatest norm of the gradient"
                )
            optimizer.zero_grad()
            loss.backward()
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(weights, config.clip_norm)
            optimizer.step()
            schedule.step()
            loss_sum += loss.detach() * len(rows)
        trained = time.perf_counter()

        logits = predict_logits(model, validation, device)
        labels = validation.labels.float()
        epoch = Epoch(
            number=number,
            train_loss=loss_sum.item() / len(training),
            validation_loss=binary_cross_entropy_with_logits(logits, labels).item(),
            validation_accuracy=((logits > 0) == (labels > 0)).float().mean().item(),
            seconds=time.perf_counter() - started,
            reviews_per_second=len(training) / (trained - started),
        )
        on_epoch(epoch)
        if best is None or epoch.validation_loss < best.validation_loss:
            best = epoch
            best_weights = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
        elif config.patience is not None and number - best.number >= config.patience:
            break

    assert best is not None, "there is at least one epoch"
    model.load_state_dict(best_weights)
    return best


def progress(batches: list[Tensor], epoch: int) -> Iterable[Tensor]:
    """Show a bar over the batches of an epoch on a terminal, and nothing elsewhere."""
    return tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, disable=None)


def rate_factor(step: int, steps: int, config: TrainConfig) -> float:
    """Return the learning rate of a step, from 0 to `steps`, as a share of its peak."""
    warmup = round(config.warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[config.schedule]((step - warmup) / max(1, steps - warmup))
