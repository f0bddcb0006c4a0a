"""The training loop of the language models, on streams of text.

The shuffled reviews, each followed by a boundary token, are concatenated and cut into B streams of equal length, which
are read in parallel, T tokens at a time. States are carried from one window to the next, gradients are not. Ten times
an epoch, progress is reported and the state needed to resume is saved.
"""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sentiment.dataset.encoded import EncodedReviews, select_reviews
from sentiment.errors import InputError
from sentiment.models.classifier import Encoder
from sentiment.models.layers import State
from sentiment.pretraining.language_model import LanguageConfig, LanguageModels, States
from sentiment.runtime.device import catch_out_of_memory, product_dtype
from sentiment.runtime.resume import (
    SavedState,
    Weights,
    optimizer_state,
    random_state,
    restore_optimizer,
    restore_random,
)
from sentiment.runtime.schedule import rate_factor

REPORTS = 10  # per epoch


class Progress(NamedTuple):
    """Training progress, ten times an epoch."""

    epochs: float  # completed so far, with a fraction
    train_loss: float  # nats per token, mean over the directions since the last report, dropout on
    held_out_loss: float  # nats per token on the held-out reviews, dropout off
    seconds: float  # of training and evaluation since the last report


class LanguageTrainer:
    """Trainer of language models, from the beginning or from a saved state."""

    def __init__(
        self,
        encoder: Encoder,
        reviews: EncodedReviews,
        boundary: int,
        config: LanguageConfig,
        device: torch.device,
        saved: SavedState | None = None,
    ) -> None:
        """Prepare to train the encoder in place, and restore any state in `saved`.

        `boundary` is the token placed between two reviews. Raises InputError if there is too little text.
        """
        self.order = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # for the softmax's weights and dropout
        shuffled = torch.randperm(len(reviews), generator=self.order)
        held_out, self.rows = shuffled.tensor_split([math.ceil(config.held_out_share * len(reviews))])
        self.reviews, self.boundary, self.config, self.device = reviews, boundary, config, device
        self.held_out = self.streams(held_out)
        self.product_dtype = product_dtype(config.precision, device)
        self.models = LanguageModels(encoder, config).to(device)
        self.optimizer = torch.optim.AdamW(self.models.parameters(), weight_decay=config.weight_decay, fused=True)
        length = int(reviews.lengths[self.rows].sum() + len(self.rows)) // config.streams
        if min(length, len(self.held_out)) < 2:
            raise InputError(
                "pretraining: the training text or the held-out text is too short; "
                f"lower pretrain.streams, now {config.streams}"
            )
        self.steps_per_epoch = math.ceil((length - 1) / config.window)
        self.step = 0  # steps taken
        self.carried: Sequence[States] = self.models.before
        self.reported: list[Progress] = []
        self.saved = saved
        if saved is not None and (groups := saved.load()):
            self.restore(groups)

    def streams(self, rows: Tensor) -> Tensor:
        """Return the reviews at `rows`, (n,), as B streams of S tokens, (S, B) int64."""
        return streams_of(self.reviews, rows, self.boundary, self.config.streams).to(self.device)

    def train(self) -> Iterator[Progress]:
        """Train and yield progress reports, starting with those of a restored state."""
        yield from tuple(self.reported)
        marks = {math.ceil(self.steps_per_epoch * number / REPORTS) for number in range(1, REPORTS + 1)}
        for epoch in range(self.config.epochs):
            order = self.rows[torch.randperm(len(self.rows), generator=self.order)]  # drawn for past epochs, too
            taken = self.step - epoch * self.steps_per_epoch  # steps of this epoch taken before resuming
            if taken >= self.steps_per_epoch:
                continue
            if taken == 0:
                self.carried = self.models.before
            windows = windows_of(self.streams(order), len(self.carried), self.config.window)
            loss_sum, tokens, started = torch.zeros((), dtype=torch.float64, device=self.device), 0, time.perf_counter()
            self.models.train()
            for place, window in enumerate(islice(windows, taken, None), start=taken + 1):
                work = f"epoch {epoch + 1}, window {place} of {self.steps_per_epoch}"
                with catch_out_of_memory(work, self.memory_parameter):
                    loss_sum += self.learn(window, work) * (len(window[0]) - 1)
                tokens += len(window[0]) - 1
                if place in marks:
                    yield self.report(loss_sum.item() / tokens, started, work)
                    loss_sum, tokens, started = torch.zeros_like(loss_sum), 0, time.perf_counter()
                    self.models.train()

    @property
    def memory_parameter(self) -> str:
        """Return the names of the parameters that bound memory, with the current number of streams."""
        return f"pretrain.window or pretrain.streams, now {self.config.streams}"

    def report(self, train_loss: float, started: float, work: str) -> Progress:
        """Evaluate the models on the held-out reviews, save the state, and return the progress."""
        with catch_out_of_memory(f"{work}, evaluation on the held-out reviews", self.memory_parameter):
            held_out_loss = evaluate(self.models, self.held_out, self.config.window)
        seconds = time.perf_counter() - started
        progress = Progress(self.step / self.steps_per_epoch, train_loss, held_out_loss, seconds)
        self.reported.append(progress)
        self.save()
        return progress

    def learn(self, windows: list[Tensor], work: str) -> Tensor:
        """Take an optimizer step on D windows (T + 1, B) int64, and return their mean loss, ().

        Raises InputError, which names the work, if the loss or its gradient is not finite. On a CPU, both are checked
        before the update; on a GPU, `SavedState.save` refuses the next state instead.
        """
        config = self.config
        factor = rate_factor(self.step, config.epochs * self.steps_per_epoch, config.warmup_share, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        self.optimizer.zero_grad()
        loss: Tensor
        loss, self.carried = self.models(windows, self.carried, self.product_dtype)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.models.parameters(), config.clip_norm)
        if self.device.type == "cpu" and not bool(loss.isfinite() & norm.isfinite()):
            advice = "lower pretrain.learning_rate or pretrain.clip_norm"
            raise InputError(f"pretraining, {work}: the loss or its gradient is not finite; {advice}")
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def save(self) -> None:
        """Save the state needed to resume."""
        if self.saved is None:
            return
        carried = {
            f"{direction}.{layer}.{number}": part
            for direction, states in enumerate(self.carried)
            for layer, state in enumerate(states)
            for number, part in enumerate(state or ())
        }
        self.saved.save(
            {
                "models": self.models.state_dict(),
                "optimizer": optimizer_state(self.optimizer),
                "random": random_state(self.device),
                "carried": carried,
                "reported": {"rows": torch.tensor(self.reported, dtype=torch.float64)},
                "step": {"taken": torch.tensor(self.step)},
            }
        )

    def restore(self, groups: dict[str, Weights]) -> None:
        """Restore a saved state."""
        self.models.load_state_dict(groups["models"])
        restore_optimizer(self.optimizer, groups["optimizer"])
        restore_random(groups["random"], self.device)
        carried = groups["carried"]

        def state_of(direction: int, layer: int) -> State:
            names = sorted(name for name in carried if name.startswith(f"{direction}.{layer}."))
            return tuple(carried[name].to(self.device) for name in names)

        self.carried = [
            [state_of(direction, layer) for layer in range(len(states))]
            for direction, states in enumerate(self.carried)
        ]
        self.reported = [Progress(*row) for row in groups["reported"]["rows"].tolist()]
        self.step = int(groups["step"]["taken"])


def evaluate(models: LanguageModels, streams: Tensor, window: int) -> float:
    """Return the mean loss per token of streams (S, B) int64, in nats, averaged over the directions."""
    models.eval()
    carried: Sequence[States] = models.before
    loss_sum = torch.zeros((), dtype=torch.float64, device=streams.device)
    with torch.inference_mode():
        for windows in windows_of(streams, len(models.stacks), window):
            loss, carried = models(windows, carried)
            loss_sum += loss * (len(windows[0]) - 1)
    return loss_sum.item() / (len(streams) - 1)


def streams_of(reviews: EncodedReviews, rows: Tensor, boundary: int, count: int) -> Tensor:
    """Concatenate the reviews at `rows`, (n,), each followed by `boundary`, and cut them into streams, (S, B) int64.

    The last few tokens, fewer than B, are left out.
    """
    chosen = select_reviews(reviews, rows)
    text = chosen.tokens.new_full((len(chosen.tokens) + len(rows),), boundary)
    # each review is as many tokens further on as there are boundaries before it
    text[torch.arange(len(chosen.tokens)) + torch.arange(len(rows)).repeat_interleave(chosen.lengths)] = chosen.tokens
    length = len(text) // count
    return text[: length * count].view(count, length).T.contiguous().long()


def windows_of(streams: Tensor, directions: int, length: int) -> Iterator[list[Tensor]]:
    """Yield, for each direction, windows of `length` + 1 tokens of streams (S, B).

    The last token of a window is the first of the next. The second direction reads the streams from their end, and so
    each review backward.
    """
    texts = [streams, streams.flip(0)][:directions]
    for start in range(0, len(streams) - 1, length):
        yield [text[start : start + length + 1] for text in texts]
