"""The training loop: Adam on shuffled batches of like length, the best epoch by validation loss kept.

What is validated and kept is the running mean of the weights, which is better than any of the weights it is the mean
of: it has come further, and is rid of the noise of the last steps (Polyak and Juditsky 1992).

Nothing in it waits for a GPU but the end of an epoch. Several processes (see `processes`) share each batch: process r
of P takes every P-th of its reviews from the r-th on, which are of like length, and their gradients are averaged.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sentiment.batches import shuffled_rows
from sentiment.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.model import Classifier
from sentiment.objective import Objective, ObjectiveConfig
from sentiment.predict import predict_logits
from sentiment.processes import rank_and_count, sum_over_processes


@dataclass(frozen=True)
class TrainConfig(ObjectiveConfig):
    """How to train; what to train is the model's own affair, and what is minimised the objective's."""

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
    unfreezing: bool  # train one part more each epoch, from the output down (Howard and Ruder 2018)
    rate_decay: float  # factor of the learning rate from each part to the one below it (the same)
    averaging: float  # share that the running mean of the weights keeps at each step; 0: the weights as they are


class Pass(NamedTuple):
    """One time through the training reviews."""

    number: int  # from 1
    model: Classifier  # with the weights to be judged by: the mean, where one is kept
    train_loss: float  # mean over the pass, dropout on, in nats
    seconds: float


class Epoch(NamedTuple):
    """What a pass came to."""

    number: int  # from 1
    train_loss: float  # mean over the pass, dropout on, in nats
    validation_loss: float  # after the pass, dropout off, in nats
    validation_accuracy: float
    seconds: float  # of training and validation
    reviews_per_second: float  # of training alone


Watch = Callable[[list[Tensor], int], Iterable[Tensor]]  # shows the batches of an epoch going by


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
    watch: Watch = lambda batches, epoch: batches,
    unlabelled: EncodedReviews | None = None,
) -> Epoch:
    """Train `model` in place, leave it with the weights of its best epoch, and return that epoch.

    Unlabelled reviews are for the objective's terms without labels. `on_epoch` is told of each epoch as it ends. Raises
    InputError if a loss is not finite: on a CPU before the update, on a GPU at the end of the epoch.
    """
    best: Epoch | None = None
    best_weights: dict[str, Tensor] = {}
    for done in passes(model, training, unlabelled, config, device, watch):
        started = time.perf_counter()
        validation_loss, validation_accuracy = validate(done.model, validation, device)
        epoch = Epoch(
            number=done.number,
            train_loss=done.train_loss,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            seconds=done.seconds + time.perf_counter() - started,
            reviews_per_second=len(training) / done.seconds,
        )
        on_epoch(epoch)
        if best is None or epoch.validation_loss < best.validation_loss:
            best = epoch
            best_weights = {name: weight.detach().clone() for name, weight in done.model.state_dict().items()}
        elif config.patience is not None and epoch.number - best.number >= config.patience:
            break

    assert best is not None, "there is at least one epoch"
    model.load_state_dict(best_weights)
    return best


def train_on_all(
    model: Classifier,
    reviews: EncodedReviews,
    config: TrainConfig,
    epochs: int,
    device: torch.device,
    on_pass: Callable[[Pass], None],
    watch: Watch = lambda batches, epoch: batches,
    unlabelled: EncodedReviews | None = None,
) -> None:
    """Train `model` in place for as many epochs as were found best, with nothing left to judge it by."""
    for done in islice(passes(model, reviews, unlabelled, config, device, watch), epochs):
        on_pass(done)
        last = done.model
    model.load_state_dict(last.state_dict())


def passes(
    model: Classifier,
    reviews: EncodedReviews,
    unlabelled: EncodedReviews | None,
    config: TrainConfig,
    device: torch.device,
    watch: Watch,
) -> Iterator[Pass]:
    """Train `model` in place, one epoch after the other.

    An epoch is once through the labelled reviews; each of their batches has one of unlabelled reviews at its side.
    """
    rank, _ = rank_and_count()
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed + rank)  # dropout's numbers
    model.to(device)
    model.embedding.weight.requires_grad_(not config.freeze_embeddings)
    averaged = copy.deepcopy(model) if config.averaging else model
    parts = [[weight for weight in part.parameters() if weight.requires_grad] for part in model.parts()]
    groups = [
        {"params": part, "lr": config.learning_rate * config.rate_decay**depth} for depth, part in enumerate(parts)
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
    steps = config.epochs * math.ceil(len(reviews) / config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, steps, config))
    objective = Objective(model, reviews, unlabelled, config, device)
    beside = endless_batches(unlabelled, config) if unlabelled is not None else repeat(None)
    step = 0

    for number in range(1, config.epochs + 1):
        started = time.perf_counter()
        model.train()
        still = [weight for part in parts[number:] for weight in part] if config.unfreezing else []
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        first_bad = torch.zeros((), dtype=torch.int64, device=device)  # position of the first loss that is not finite
        batches = shuffled_rows(reviews.lengths, config.batch_size, generator)
        for position, rows in enumerate(watch(batches, number), start=1):
            optimizer.zero_grad()
            loss = objective.backward(rows, next(beside))
            first_bad = torch.where((first_bad == 0) & ~loss.isfinite(), position, first_bad)
            if device.type == "cpu" or position == len(batches):
                check(first_bad, number, len(batches))
            for weight in still:
                weight.grad = None  # so that the optimizer passes it by
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            schedule.step()
            step += 1
            if averaged is not model:
                # keeps less at first, so that the untrained weights are soon forgotten
                average(averaged, model, min(config.averaging, step / (10 + step)))
            loss_sum += loss * len(rows)
        train_loss = sum_over_processes(loss_sum).item() / len(reviews)  # waits for the device
        yield Pass(number, averaged, train_loss, time.perf_counter() - started)


def endless_batches(reviews: EncodedReviews, config: TrainConfig) -> Iterator[Tensor]:
    """Yield batches of rows, (B,) int64, that go through the reviews again and again, in another order each time."""
    generator = torch.Generator().manual_seed(config.seed)
    while True:
        yield from shuffled_rows(reviews.lengths, config.batch_size, generator)


def validate(model: Classifier, reviews: EncodedReviews, device: torch.device) -> tuple[float, float]:
    """Return the mean loss, in nats, and the accuracy on N reviews, of which each process scores its share."""
    rank, processes = rank_and_count()
    logits = predict_logits(model, reviews, device, share=slice(rank, None, processes))
    logits = sum_over_processes(logits.to(device)).cpu()
    labels = reviews.labels.float()
    accuracy = ((logits > 0) == (labels > 0)).float().mean()
    return binary_cross_entropy_with_logits(logits, labels).item(), accuracy.item()


def average(averaged: Classifier, model: Classifier, kept: float) -> None:
    """Move the averaged weights towards the model's: a <- kept a + (1 - kept) w (Polyak averaging with forgetting)."""
    get_ema_multi_avg_fn(kept)(list(averaged.parameters()), list(model.parameters()), None)


def check(first_bad: Tensor, epoch: int, batches: int) -> None:
    """Raise InputError if a batch's loss was not finite; `first_bad`, () int64, is its position, or 0."""
    if position := int(first_bad):
        raise InputError(
            f"the loss of epoch {epoch}, batch {position} of {batches} is not finite; "
            "lower the learning rate or the greatest norm of the gradient"
        )


def rate_factor(step: int, steps: int, config: TrainConfig) -> float:
    """Return the learning rate of a step, from 0 to `steps`, as a share of its peak."""
    warmup = round(config.warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[config.schedule]((step - warmup) / max(1, steps - warmup))
