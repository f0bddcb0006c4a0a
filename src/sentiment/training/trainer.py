"""The training loop: Adam on shuffled batches of reviews of similar length; the epoch of least validation loss is kept.

    for each epoch:
        for each batch of the shuffled reviews:
            differentiate the objective, check that all is finite, update the weights and their running mean
        validate the running mean; keep it if it is the best so far; save the state
        stop after `epochs`, or after `patience` epochs without a better one

The running mean of the weights is better than any of the weights it averages: averaging removes the noise of the last
steps, so that the mean is closer to the optimum (Polyak and Juditsky 1992).

The loop waits for a GPU only at the end of an epoch and to save a state. Several processes (see `runtime.distributed`)
share each batch: process r of P takes every P-th review of the batch, from the r-th on, so that its reviews are of
similar length. The gradients of the processes are averaged.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sentiment.dataset.batching import shuffled_rows
from sentiment.dataset.encoded import EncodedReviews
from sentiment.dataset.spans import add_spans
from sentiment.errors import InputError
from sentiment.models.classifier import Classifier
from sentiment.models.inference import predict_logits
from sentiment.models.logits import cross_entropy, predicted_labels
from sentiment.runtime.device import catch_out_of_memory
from sentiment.runtime.distributed import broadcast_flag, gather_over_processes, rank_and_count, sum_over_processes
from sentiment.runtime.resume import (
    SavedState,
    Weights,
    optimizer_state,
    random_state,
    restore_optimizer,
    restore_random,
)
from sentiment.runtime.schedule import rate_factor
from sentiment.training.objective import Objective, ObjectiveConfig

SAVE_INTERVAL_SECONDS = 120.0  # between two saves within an epoch
STEPS_BETWEEN_CLOCK_CHECKS = 16  # between two checks of the clock
SMALLEST_BATCH = 8  # reviews


@dataclass(frozen=True)
class TrainConfig(ObjectiveConfig):
    """Hyperparameters of training, in addition to those of the objective; the model has its own."""

    seed: int  # of the order of the reviews and of dropout
    batch_size: int  # B, maximum
    min_steps: int  # minimum per epoch; few reviews make smaller batches, see `batch_size_for`
    epochs: int  # maximum
    patience: int | None  # epochs without a better validation loss before stopping; None never stops early
    learning_rate: float  # peak
    warmup_share: float  # share of all steps over which the rate rises from 0
    schedule: str  # a key of schedule.SCHEDULES: the decay after the warm-up
    weight_decay: float  # decoupled, as in AdamW; 0 is plain Adam
    clip_norm: float | None  # maximum Euclidean norm of the gradient; None does not clip
    embedding_rate: float  # factor of the learning rate of the word vectors; 0 keeps them as they are
    gradual_unfreezing: bool  # train one part more each epoch, from the output down (Howard and Ruder 2018)
    layer_decay: float  # factor of the learning rate from each part to the part below (same paper)
    ema_decay: float  # share of the running mean of the weights kept at each step; 0 averages nothing
    spans: int = field(default=0, kw_only=True)  # of each review, as texts of their own; see `dataset.spans`

    @property
    def memory_parameter(self) -> str:
        """Return the name and the value of the parameter that bounds memory."""
        return f"train.tokens_at_once, now {self.tokens_at_once:,}"


class TrainedEpoch(NamedTuple):
    """One pass through the training reviews."""

    number: int  # from 1
    train_loss: float  # mean over the epoch, dropout on, in nats
    reviews: int  # trained on since the epoch started or resumed
    seconds: float  # spent on those reviews


class Epoch(NamedTuple):
    """The results of an epoch's training and validation."""

    number: int  # from 1
    train_loss: float  # mean over the epoch, dropout on, in nats
    validation_loss: float  # after the epoch, dropout off, in nats
    validation_accuracy: float
    seconds: float  # of training and validation
    reviews_per_second: float  # of training alone


Watch = Callable[[list[Tensor], int], Iterable[Tensor]]  # wraps the batches of an epoch, to show progress


class Trainer:
    """Trainer of a classifier, from the beginning or from a saved state."""

    @catch_out_of_memory("moving the model and the reviews to the GPU")
    def __init__(
        self,
        model: Classifier,
        reviews: EncodedReviews,
        config: TrainConfig,
        device: torch.device,
        unlabelled: EncodedReviews | None = None,
        saved: SavedState | None = None,
        watch: Watch = lambda batches, epoch: batches,
    ) -> None:
        """Prepare to train `model` in place on labelled reviews, and on unlabelled ones if the objective uses them.

        Restores the state in `saved`, if any; later states are saved there.
        """
        self.rank, _ = rank_and_count()
        torch.manual_seed(config.seed + self.rank)  # for dropout
        self.model = model.to(device)
        model.embedding.weight.requires_grad_(config.embedding_rate > 0)
        self.averaged = copy.deepcopy(model) if config.ema_decay else model
        self.layer_groups = [
            [weight for weight in part.parameters() if weight.requires_grad] for part in model.layer_groups()
        ]
        self.optimizer = torch.optim.AdamW(
            [{"params": part} for part in self.layer_groups], weight_decay=config.weight_decay, fused=True
        )
        self.config, self.device, self.watch = config, device, watch
        self.reviews = reviews
        texts = self.texts_of(1)
        self.objective = Objective(model, texts, unlabelled, config, device)
        self.lengths = texts.lengths  # the same in all epochs
        self.batch_size = batch_size_for(len(texts), config)
        self.steps_per_epoch = math.ceil(len(texts) / self.batch_size)
        self.step = 0  # steps taken
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)  # of this epoch
        # the first batch of this epoch that was not finite, from 1; 0: none
        self.first_non_finite = torch.zeros((), dtype=torch.int64, device=device)
        self.epochs: list[Epoch] = []  # finished
        self.best: Weights = {}  # the weights after the best epoch
        self.saved, self.saved_at = saved, time.monotonic()
        if saved is not None and (groups := saved.load()):
            self.restore(groups)
        orders = endless_epochs(texts, self.batch_size, config.seed)
        self.orders = islice(orders, self.step // self.steps_per_epoch, None)
        self.unlabelled = islice(endless_batches(unlabelled, self.batch_size, config.seed), self.step, None)

    def texts_of(self, epoch: int) -> EncodedReviews:
        """Return the texts of an epoch, counted from 1: the reviews and, if `config.spans` is not 0, spans of them."""
        config = self.config
        return add_spans(self.reviews, config.spans, config.seed, epoch) if config.spans else self.reviews

    def fit(self, validation: EncodedReviews, on_epoch: Callable[[Epoch], None]) -> Epoch:
        """Train for `epochs` epochs, or until `patience` epochs bring no lower validation loss; return the best one.

        The weights of the best epoch are loaded. Calls `on_epoch` after each epoch, and first for each restored epoch.
        Raises InputError if a loss or a gradient is not finite. On a CPU this is checked before each update, on a GPU
        before each save and at the end of each epoch.
        """
        for epoch in self.epochs:
            on_epoch(epoch)
        while not is_over(self.epochs, self.config):
            epoch = self.validate(self.train_epoch(), validation)
            self.epochs.append(epoch)
            if best_of(self.epochs) is epoch:
                self.best = {name: weight.detach().clone() for name, weight in self.averaged.state_dict().items()}
            self.save()
            on_epoch(epoch)
        self.model.load_state_dict(self.best)
        return best_of(self.epochs)

    def refit(self, epochs: int, on_epoch: Callable[[TrainedEpoch], None]) -> None:
        """Train for `epochs` epochs without validation, and keep the averaged weights after the last epoch.

        The learning rates are those of the same epochs in `fit`.
        """
        while self.step < epochs * self.steps_per_epoch:
            epoch = self.train_epoch()
            self.save()
            on_epoch(epoch)
        self.model.load_state_dict(self.averaged.state_dict())

    def train_epoch(self) -> TrainedEpoch:
        """Train for one epoch on the labelled reviews, or for the rest of a resumed epoch."""
        done, taken = divmod(self.step, self.steps_per_epoch)
        number, batches, config = done + 1, next(self.orders), self.config
        frozen = [weight for part in self.layer_groups[number:] for weight in part] if config.gradual_unfreezing else []
        started = time.perf_counter()
        self.model.train()
        if config.spans:
            self.objective.labelled = self.texts_of(number).to(self.device)
        for position, rows in enumerate(self.watch(batches[taken:], number), start=taken + 1):
            work = f"epoch {number}, batch {position} of {len(batches)}, {len(rows)} reviews"
            longest = f"the longest of {self.lengths[rows].max():,} tokens"
            with catch_out_of_memory(f"{work}, {longest}", config.memory_parameter):
                loss, is_finite = self.differentiate(rows, frozen)
                self.first_non_finite = torch.where(
                    (self.first_non_finite == 0) & ~is_finite, position, self.first_non_finite
                )
                is_last = position == len(batches)
                is_time = position % STEPS_BETWEEN_CLOCK_CHECKS == 0 and not is_last and self.is_time_to_save()
                if self.device.type == "cpu" or is_time or is_last:
                    check_finite(self.first_non_finite, number, batches)
                self.update()
                self.loss_sum += loss * len(rows)
                if is_time:
                    self.save()
        train_loss = sum_over_processes(self.loss_sum).item() / len(self.lengths)  # waits for the device
        self.loss_sum, self.first_non_finite = torch.zeros_like(self.loss_sum), torch.zeros_like(self.first_non_finite)
        reviews = sum(int((rows < len(self.reviews)).sum()) for rows in batches[taken:])
        return TrainedEpoch(number, train_loss, reviews, time.perf_counter() - started)

    def differentiate(self, rows: Tensor, frozen: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Replace the gradient by the clipped gradient of a batch, (B,); frozen weights get no gradient.

        Returns this process's share of the mean loss, (), and whether the loss and the gradient are finite, () bool.
        """
        self.optimizer.zero_grad()
        loss = self.objective.backward(rows, next(self.unlabelled))
        for weight in frozen:
            weight.grad = None  # the optimizer then skips the weight
        # check both: the gradient is of the whole objective, with its adversarial terms; the loss is the plain one
        norm = nn.utils.get_total_norm(w.grad for w in self.model.parameters() if w.grad is not None)
        if self.config.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.clip_norm, norm)
        return loss, loss.isfinite() & norm.isfinite()

    def update(self) -> None:
        """Take an optimizer step at the learning rate of this step, and update the running mean."""
        config, steps = self.config, self.config.epochs * self.steps_per_epoch
        factor = rate_factor(self.step, steps, config.warmup_share, config.schedule)
        for depth, group in enumerate(self.optimizer.param_groups):  # from the output layer down
            group["lr"] = config.learning_rate * config.layer_decay**depth * factor
        group["lr"] *= config.embedding_rate  # the last group is the embeddings
        self.optimizer.step()
        self.step += 1
        if self.averaged is not self.model:
            # the mean keeps less at first, so that the untrained weights are soon forgotten
            average(self.averaged, self.model, min(config.ema_decay, self.step / (10 + self.step)))

    def validate(self, trained: TrainedEpoch, validation: EncodedReviews) -> Epoch:
        """Evaluate the averaged weights on the validation reviews, and return the results of the epoch."""
        started = time.perf_counter()
        with catch_out_of_memory(f"epoch {trained.number}, validation", self.config.memory_parameter):
            loss, accuracy = evaluate(
                self.averaged, validation, self.device, self.config.tokens_at_once, self.objective.class_weights
            )
        return Epoch(
            number=trained.number,
            train_loss=trained.train_loss,
            validation_loss=loss,
            validation_accuracy=accuracy,
            seconds=trained.seconds + time.perf_counter() - started,
            reviews_per_second=trained.reviews / trained.seconds,
        )

    def is_time_to_save(self) -> bool:
        """Return whether the last save was SAVE_INTERVAL_SECONDS ago or more, by the clock of the first process."""
        return self.saved is not None and broadcast_flag(time.monotonic() - self.saved_at >= SAVE_INTERVAL_SECONDS)

    def save(self) -> None:
        """Save the state needed to resume; each process contributes its share, and the first process writes."""
        if self.saved is None:
            return
        shares = {"loss_sum": self.loss_sum, **random_state(self.device)}
        groups = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not self.model else {},
            "optimizer": optimizer_state(self.optimizer),
            "step": {"taken": torch.tensor(self.step)},
            "shares": {name: gather_over_processes(share.to(self.device)) for name, share in shares.items()},
            "epochs": {"rows": torch.tensor(self.epochs, dtype=torch.float64)} if self.epochs else {},
            "best": self.best,
        }
        if self.rank == 0:
            self.saved.save(groups)
        self.saved_at = time.monotonic()

    def restore(self, groups: dict[str, Weights]) -> None:
        """Restore a saved state."""
        self.model.load_state_dict(groups["model"])
        if self.averaged is not self.model:
            self.averaged.load_state_dict(groups["averaged"])
        restore_optimizer(self.optimizer, groups["optimizer"])
        self.step = int(groups["step"]["taken"])
        shares = {name: share[self.rank] for name, share in groups["shares"].items()}
        self.loss_sum = shares.pop("loss_sum").to(self.device)
        restore_random(shares, self.device)
        if "epochs" in groups:
            self.epochs = [Epoch(round(number), *figures) for number, *figures in groups["epochs"]["rows"].tolist()]
            self.best = groups["best"]


def best_of(epochs: list[Epoch]) -> Epoch:
    """Return the epoch with the least validation loss, the first of several."""
    return min(epochs, key=lambda epoch: epoch.validation_loss)


def is_over(epochs: list[Epoch], config: TrainConfig) -> bool:
    """Return whether training is over: after the last epoch, or after `patience` epochs without a better one."""
    if not epochs:
        return False
    if len(epochs) == config.epochs:
        return True
    return config.patience is not None and len(epochs) - best_of(epochs).number >= config.patience


def batch_size_for(reviews: int, config: TrainConfig) -> int:
    """Return the number of reviews in a batch: config.batch_size, or fewer so that an epoch has config.min_steps.

    Adam moves a weight by about the learning rate per step, so that a network learns little in few steps, whatever the
    number of epochs. A batch of fewer than SMALLEST_BATCH reviews is too noisy, and takes as long as a batch of
    SMALLEST_BATCH.
    """
    return min(config.batch_size, max(SMALLEST_BATCH, reviews // config.min_steps))


def endless_epochs(reviews: EncodedReviews, batch_size: int, seed: int) -> Iterator[list[Tensor]]:
    """Yield, for each epoch, the batches of rows, (B,) int64, in a new order."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield shuffled_rows(reviews.lengths, batch_size, generator)


def endless_batches(reviews: EncodedReviews | None, batch_size: int, seed: int) -> Iterator[Tensor | None]:
    """Return an endless iterator over batches of rows, (B,) int64, or over None if there are no reviews."""
    if reviews is None:
        return repeat(None)
    return chain.from_iterable(endless_epochs(reviews, batch_size, seed))


def evaluate(
    model: Classifier,
    reviews: EncodedReviews,
    device: torch.device,
    tokens_at_once: int,
    class_weights: Tensor | None = None,
) -> tuple[float, float]:
    """Return the mean loss, in nats, and the accuracy on N reviews.

    With `class_weights`, (K,), the loss is the mean over reviews that weigh as their classes do.
    """
    logits = predict_together(model, reviews, device, tokens_at_once)
    labels = reviews.labels.long()
    accuracy = (predicted_labels(logits) == labels).float().mean()
    weights = None if class_weights is None else class_weights.cpu()
    total = len(labels) if weights is None else weights[labels].sum()
    return (cross_entropy(logits, labels, weights) / total).item(), accuracy.item()


def predict_together(model: Classifier, reviews: EncodedReviews, device: torch.device, tokens_at_once: int) -> Tensor:
    """Return the logits of N reviews, as `predict_logits` does; each process scores a share of the reviews."""
    rank, processes = rank_and_count()
    logits = predict_logits(model, reviews, device, slice(rank, None, processes), tokens_at_once)
    return sum_over_processes(logits.to(device)).cpu()


def average(averaged: Classifier, model: Classifier, kept: float) -> None:
    """Move the averaged weights towards the model's: a <- kept a + (1 - kept) w (Polyak averaging with forgetting).

    Frozen weights are skipped, because they equal their mean.
    """
    pairs = [pair for pair in zip(averaged.parameters(), model.parameters(), strict=True) if pair[1].requires_grad]
    get_ema_multi_avg_fn(kept)([mean for mean, _ in pairs], [weight for _, weight in pairs], None)


def check_finite(first_non_finite: Tensor, epoch: int, batches: list[Tensor]) -> None:
    """Raise InputError if the loss or the gradient of a batch was not finite.

    `first_non_finite`, () int64, is the number of the first such batch, from 1, or 0 if there was none.
    """
    if position := int(first_non_finite):
        rows = ", ".join(str(row) for row in batches[position - 1].tolist())
        raise InputError(
            f"epoch {epoch}, batch {position} of {len(batches)}: the loss or its gradient is not finite; lower "
            "train.learning_rate, train.clip_norm, or the weights train.adversarial and train.virtual "
            f"(texts of this batch, counted from 0, the labelled reviews first and then their spans: {rows})"
        )
