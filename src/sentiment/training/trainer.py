"""The training loop: Adam on shuffled batches of like length, the best epoch by validation loss kept.

What is validated and kept is the running mean of the weights, which is better than any of the weights it is the mean
of: it has come further, and is rid of the noise of the last steps (Polyak and Juditsky 1992).

Nothing in it waits for a GPU but the end of an epoch, and the saving of what it takes to go on after a kill. Several
processes (see `processes`) share each batch: process r of P takes every P-th of its reviews from the r-th on, which
are of like length, and their gradients are averaged.
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

from sentiment.dataset.batching import shuffled_rows
from sentiment.dataset.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.models.classifier import Classifier
from sentiment.models.inference import predict_logits
from sentiment.runtime.device import memory_for
from sentiment.runtime.distributed import first_says, rank_and_count, stack_over_processes, sum_over_processes
from sentiment.runtime.resume import Saved, Weights, optimizer_state, random_state, restore_optimizer, restore_random
from sentiment.runtime.schedule import rate_factor
from sentiment.training.objective import Objective, ObjectiveConfig

SECONDS_TO_SAVE = 120.0  # between two savings within an epoch
STEPS_TO_LOOK = 16  # between two looks at the clock
SMALLEST_BATCH = 8  # reviews


@dataclass(frozen=True)
class TrainConfig(ObjectiveConfig):
    """How to train; what to train is the model's own affair, and what is minimised the objective's."""

    seed: int  # of the order of the reviews and of dropout
    batch_size: int  # B, reviews, at most
    least_steps: int  # of an epoch: where there are few reviews, batches are smaller; see `batch_size_for`
    epochs: int  # at most
    patience: int | None  # epochs without a better validation loss before stopping; None never stops early
    learning_rate: float  # at its peak
    warmup_share: float  # share of all steps in which the rate rises from 0
    schedule: str  # a key of schedule.SCHEDULES: how the rate falls afterwards
    weight_decay: float  # decoupled, as in AdamW; 0 is plain Adam
    clip_norm: float | None  # greatest Euclidean norm of the gradient; None leaves it alone
    freeze_embeddings: bool  # keep the word vectors as they came
    unfreezing: bool  # train one part more each epoch, from the output down (Howard and Ruder 2018)
    rate_decay: float  # factor of the learning rate from each part to the one below it (the same)
    averaging: float  # share that the running mean of the weights keeps at each step; 0: the weights as they are

    @property
    def bound_on_memory(self) -> str:
        """Return the name and the value of the parameter that bounds memory."""
        return f"train.tokens_at_once, now {self.tokens_at_once:,}"


class Pass(NamedTuple):
    """One time through the training reviews."""

    number: int  # from 1
    model: Classifier  # with the weights to be judged by: the mean, where one is kept
    train_loss: float  # mean over the pass, dropout on, in nats
    reviews: int  # since it began, or was gone on with
    seconds: float  # of these


class Epoch(NamedTuple):
    """What a pass came to."""

    number: int  # from 1
    train_loss: float  # mean over the pass, dropout on, in nats
    validation_loss: float  # after the pass, dropout off, in nats
    validation_accuracy: float
    seconds: float  # of training and validation
    reviews_per_second: float  # of training alone


Watch = Callable[[list[Tensor], int], Iterable[Tensor]]  # shows the batches of an epoch going by

NO_ROWS = {"rows": torch.empty(0, len(Epoch._fields), dtype=torch.float64)}


def train(
    model: Classifier,
    training: EncodedReviews,
    validation: EncodedReviews,
    config: TrainConfig,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
    watch: Watch = lambda batches, epoch: batches,
    unlabelled: EncodedReviews | None = None,
    saved: Saved | None = None,
) -> Epoch:
    """Train `model` in place, leave it with the weights of its best epoch, and return that epoch.

    Unlabelled reviews are for the objective's terms without labels. `on_epoch` is told of each epoch as it ends; of
    those that `saved` holds, at once. Raises InputError if a loss or a gradient is not finite: on a CPU before the
    update, on a GPU before the next state is saved, at the latest at the end of the epoch.
    """
    run = Training(model, training, unlabelled, config, device, saved)
    epochs = [Epoch(round(number), *figures) for number, *figures in run.beside.get("epochs", NO_ROWS)["rows"].tolist()]
    for epoch in epochs:
        on_epoch(epoch)
    passes = run.passes(watch)
    while not is_over(epochs, config):
        done = next(passes)
        started = time.perf_counter()
        with memory_for(f"epoch {done.number}, validation", config.bound_on_memory):
            validation_loss, validation_accuracy = validate(done.model, validation, device, config.tokens_at_once)
        epoch = Epoch(
            number=done.number,
            train_loss=done.train_loss,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            seconds=done.seconds + time.perf_counter() - started,
            reviews_per_second=done.reviews / done.seconds,
        )
        epochs.append(epoch)
        if best_of(epochs) is epoch:
            run.beside["best"] = {name: weight.detach().clone() for name, weight in done.model.state_dict().items()}
        run.beside["epochs"] = {"rows": torch.tensor(epochs, dtype=torch.float64)}
        run.save()
        on_epoch(epoch)

    model.load_state_dict(run.beside["best"])
    return best_of(epochs)


def best_of(epochs: list[Epoch]) -> Epoch:
    """Return the first of the epochs that have the least validation loss."""
    return min(epochs, key=lambda epoch: epoch.validation_loss)


def is_over(epochs: list[Epoch], config: TrainConfig) -> bool:
    """Return whether there have been enough epochs, or too many without a better one."""
    if not epochs or len(epochs) == config.epochs:
        return bool(epochs)
    return config.patience is not None and len(epochs) - best_of(epochs).number >= config.patience


def train_on_all(
    model: Classifier,
    reviews: EncodedReviews,
    config: TrainConfig,
    epochs: int,
    device: torch.device,
    on_pass: Callable[[Pass], None],
    watch: Watch = lambda batches, epoch: batches,
    unlabelled: EncodedReviews | None = None,
    saved: Saved | None = None,
) -> None:
    """Train `model` in place for as many epochs as were found best, with nothing left to judge it by."""
    run = Training(model, reviews, unlabelled, config, device, saved)
    for done in islice(run.passes(watch), epochs - run.passes_done):
        run.save()
        on_pass(done)
    model.load_state_dict(run.averaged.state_dict())


class Training:
    """A model that is being trained, and all that it takes to go on with that in another process."""

    @memory_for("moving the model and the reviews to the GPU")
    def __init__(
        self,
        model: Classifier,
        reviews: EncodedReviews,
        unlabelled: EncodedReviews | None,
        config: TrainConfig,
        device: torch.device,
        saved: Saved | None = None,
    ) -> None:
        self.rank, _ = rank_and_count()
        self.order = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed + self.rank)  # dropout's numbers
        self.model = model.to(device)
        model.embedding.weight.requires_grad_(not config.freeze_embeddings)
        self.averaged = copy.deepcopy(model) if config.averaging else model
        self.parts = [[weight for weight in part.parameters() if weight.requires_grad] for part in model.parts()]
        self.optimizer = torch.optim.AdamW(
            [{"params": part} for part in self.parts], weight_decay=config.weight_decay, fused=True
        )
        self.objective = Objective(model, reviews, unlabelled, config, device)
        self.lengths = reviews.lengths
        self.unlabelled = unlabelled
        self.config, self.device = config, device
        self.batch_size = batch_size_for(len(reviews), config)
        self.an_epoch = math.ceil(len(reviews) / self.batch_size)  # steps
        self.step = 0  # steps taken
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)  # of this pass
        self.first_bad = torch.zeros((), dtype=torch.int64, device=device)  # its first batch that is not finite, from 1
        self.beside: dict[str, Weights] = {}  # what the caller wants to be saved with it
        self.saved, self.saved_at = saved, time.monotonic()
        if saved is not None and (groups := saved.load()):
            self.restore(groups)

    @property
    def passes_done(self) -> int:
        """Return how many times it went through all labelled reviews."""
        return self.step // self.an_epoch

    def passes(self, watch: Watch) -> Iterator[Pass]:
        """Train, once through the labelled reviews after the other, from where it stands.

        Each of their batches has one of unlabelled reviews at its side.
        """
        config, unlabelled = self.config, self.unlabelled
        endless = repeat(None) if unlabelled is None else endless_batches(unlabelled, self.batch_size, config.seed)
        beside: Iterator[Tensor | None] = islice(endless, self.step, None)
        for number in range(1, config.epochs + 1):
            batches = shuffled_rows(self.lengths, self.batch_size, self.order)
            begun = self.step - (number - 1) * self.an_epoch  # steps of this pass that were taken before
            if begun >= self.an_epoch:
                continue
            started = time.perf_counter()
            self.model.train()
            still = [weight for part in self.parts[number:] for weight in part] if config.unfreezing else []
            for position, rows in enumerate(watch(batches[begun:], number), start=begun + 1):
                work = f"epoch {number}, batch {position} of {len(batches)}, {len(rows)} reviews"
                longest = f"the longest of {self.lengths[rows].max():,} tokens"
                with memory_for(f"{work}, {longest}", config.bound_on_memory):
                    loss, is_finite = self.differentiate(rows, next(beside), still)
                    self.first_bad = torch.where((self.first_bad == 0) & ~is_finite, position, self.first_bad)
                    is_time = position % STEPS_TO_LOOK == 0 and position < len(batches) and self.is_time()
                    if self.device.type == "cpu" or is_time or position == len(batches):
                        check(self.first_bad, number, batches)
                    self.update()
                    self.loss_sum += loss * len(rows)
                    if is_time:
                        self.save()
            train_loss = sum_over_processes(self.loss_sum).item() / len(self.lengths)  # waits for the device
            done = sum(len(rows) for rows in batches[begun:])
            self.loss_sum, self.first_bad = torch.zeros_like(self.loss_sum), torch.zeros_like(self.first_bad)
            yield Pass(number, self.averaged, train_loss, done, time.perf_counter() - started)

    def differentiate(
        self, rows: Tensor, unlabelled_rows: Tensor | None, still: Iterable[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Put the clipped gradient of a batch in the place of the last one; leave weights that stand still without.

        Returns this process's share of the mean loss, (), and whether the loss and the gradient are finite, () bool.
        """
        self.optimizer.zero_grad()
        loss = self.objective.backward(rows, unlabelled_rows)
        for weight in still:
            weight.grad = None  # so that the optimizer passes it by
        # the gradient is of all terms of the objective, the loss of the first alone
        norm = nn.utils.get_total_norm(w.grad for w in self.model.parameters() if w.grad is not None)
        if self.config.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.clip_norm, norm)
        return loss, loss.isfinite() & norm.isfinite()

    def update(self) -> None:
        """Take a step along the gradient, at the rate of this step, and move the mean of the weights along."""
        config, steps = self.config, self.config.epochs * self.an_epoch
        factor = rate_factor(self.step, steps, config.warmup_share, config.schedule)
        for depth, group in enumerate(self.optimizer.param_groups):
            group["lr"] = config.learning_rate * config.rate_decay**depth * factor
        self.optimizer.step()
        self.step += 1
        if self.averaged is not self.model:
            # keeps less at first, so that the untrained weights are soon forgotten
            average(self.averaged, self.model, min(config.averaging, self.step / (10 + self.step)))

    def is_time(self) -> bool:
        """Return whether the last state was saved long ago, by the clock of the first process."""
        return self.saved is not None and first_says(time.monotonic() - self.saved_at >= SECONDS_TO_SAVE)

    def save(self) -> None:
        """Save all that it takes to go on from here; each process gives its share, and the first one writes."""
        if self.saved is None:
            return
        shares = {"loss_sum": self.loss_sum, **random_state(self.device)}
        groups = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not self.model else {},
            "optimizer": optimizer_state(self.optimizer),
            "step": {"taken": torch.tensor(self.step)},
            "shares": {name: stack_over_processes(share.to(self.device)) for name, share in shares.items()},
        }
        if self.rank == 0:
            self.saved.save(groups | self.beside)
        self.saved_at = time.monotonic()

    def restore(self, groups: dict[str, Weights]) -> None:
        """Undo `save`."""
        self.model.load_state_dict(groups.pop("model"))
        if self.averaged is not self.model:
            self.averaged.load_state_dict(groups.pop("averaged"))
        restore_optimizer(self.optimizer, groups.pop("optimizer"))
        self.step = int(groups.pop("step")["taken"])
        shares = {name: share[self.rank] for name, share in groups.pop("shares").items()}
        self.loss_sum = shares.pop("loss_sum").to(self.device)
        restore_random(shares, self.device)
        self.beside = groups


def batch_size_for(reviews: int, config: TrainConfig) -> int:
    """Return the number of reviews in a batch: config.batch_size, or fewer so that an epoch has config.least_steps.

    Adam moves a weight by about the learning rate a step, so that with few steps a network learns little, whatever the
    number of epochs. Below SMALLEST_BATCH reviews a batch says too little, and takes as long as a batch of that many.
    """
    return min(config.batch_size, max(SMALLEST_BATCH, reviews // config.least_steps))


def endless_batches(reviews: EncodedReviews, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield batches of rows, (B,) int64, that go through the reviews again and again, in another order each time."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from shuffled_rows(reviews.lengths, batch_size, generator)


def validate(
    model: Classifier, reviews: EncodedReviews, device: torch.device, tokens_at_once: int
) -> tuple[float, float]:
    """Return the mean loss, in nats, and the accuracy on N reviews, of which each process scores its share."""
    rank, processes = rank_and_count()
    logits = predict_logits(model, reviews, device, slice(rank, None, processes), tokens_at_once)
    logits = sum_over_processes(logits.to(device)).cpu()
    labels = reviews.labels.float()
    accuracy = ((logits > 0) == (labels > 0)).float().mean()
    return binary_cross_entropy_with_logits(logits, labels).item(), accuracy.item()


def average(averaged: Classifier, model: Classifier, kept: float) -> None:
    """Move the averaged weights towards the model's: a <- kept a + (1 - kept) w (Polyak averaging with forgetting).

    Frozen weights are left out: their mean is what they are.
    """
    pairs = [pair for pair in zip(averaged.parameters(), model.parameters(), strict=True) if pair[1].requires_grad]
    get_ema_multi_avg_fn(kept)([mean for mean, _ in pairs], [weight for _, weight in pairs], None)


def check(first_bad: Tensor, epoch: int, batches: list[Tensor]) -> None:
    """Raise InputError if a batch was not finite; `first_bad`, () int64, is its number, from 1, or 0 if all were."""
    if position := int(first_bad):
        rows = ", ".join(str(row) for row in batches[position - 1].tolist())
        raise InputError(
            f"the loss of epoch {epoch}, batch {position} of {len(batches)}, or its gradient, is not finite; lower "
            "train.learning_rate, train.clip_norm, or the weights train.adversarial and train.virtual "
            f"(its reviews, among the labelled ones and from 0: {rows})"
        )
