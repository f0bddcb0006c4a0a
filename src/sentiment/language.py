"""Language models of the reviews, from which a classifier takes its embeddings and its first layer (Dai and Le 2015).

    p(x_1 .. x_T) = prod_t p(x_t | h_{t-1}),   h_t = cell(e(x_t), h_{t-1})

There is one for each direction of the classifier's first layer, and all read with its embeddings e. They are the
classifier's own modules: what is learnt here is in it afterwards. p is an adaptive softmax (Grave et al. 2017), in
which rare words have shorter vectors; the vocabulary is sorted by frequency, as that asks for.

The texts, shuffled, each with a boundary behind it, are laid end to end and cut into B streams of equal length, which
are read side by side, T tokens at a time. The state is carried from one window to the next, the gradient is not. Ten
times an epoch a reading is reported, and all that is needed to go on from there is saved.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sentiment.device import memory_for
from sentiment.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.model import Classifier, Dropout
from sentiment.objective import autocast
from sentiment.recurrent import Layer
from sentiment.resume import Saved, Weights, optimizer_state, random_state, restore_optimizer, restore_random

FREQUENT = (0.08, 0.4)  # shares of the vocabulary: the softmax's head, and up to where its first tail goes
REPORTS = 10  # an epoch

State = Tensor | tuple[Tensor, ...] | None  # that a cell carries on; an LSTM's is h and c


@dataclass(frozen=True)
class LanguageConfig:
    """How to train."""

    seed: int  # of the softmax's weights, of what is held out, of the order of the reviews and of dropout
    precision: str  # of matrix products: one of objective.PRECISIONS
    held_out_share: float  # of the reviews, for the perplexity
    epochs: int
    streams: int  # B
    window: int  # T
    learning_rate: float  # at first; it falls to 0 in a straight line
    dropout: float  # share of the embeddings' and of the states' numbers
    clip_norm: float  # greatest Euclidean norm of the gradient


class Reading(NamedTuple):
    """How far it has come."""

    epochs: float  # read so far
    train_loss: float  # nats a token, mean over the directions and since the last report, dropout on
    held_out_loss: float  # the same of the reviews held out, dropout off
    seconds: float  # since the last report, of training and judging


class LanguageModels(nn.Module):
    """The embeddings and the first layer of a classifier, each direction with a softmax over the next token."""

    def __init__(self, model: Classifier, dropout: float) -> None:
        super().__init__()
        layer = model.layers[0]
        assert isinstance(layer, Layer)
        self.embedding = model.embedding
        self.cells = nn.ModuleList(cell for cell in (layer.forward_cell, layer.backward_cell) if cell is not None)
        words, size = model.config.vocabulary_size, model.config.hidden_size
        cutoffs = sorted({max(1, round(share * words)) for share in FREQUENT})
        smaller = 4.0 if size >= 16 else 1.0  # each tail's vectors than those before; 4 * 4 must not exceed H
        self.softmaxes = nn.ModuleList(
            nn.AdaptiveLogSoftmaxWithLoss(size, words, cutoffs, div_value=smaller) for _ in self.cells
        )
        self.dropout = Dropout(dropout)

    def forward(self, windows: list[Tensor], carried: list[State]) -> tuple[Tensor, list[State]]:
        """Return the mean loss, (), of the last T tokens of D windows (T + 1, B) int64, and D states to carry on."""
        losses: list[Tensor] = []
        states: list[State] = []
        for cell, softmax, window, before in zip(self.cells, self.softmaxes, windows, carried, strict=True):
            hidden, state = cell(self.dropout(self.embedding(window[:-1])), before)  # (T, B, H)
            losses.append(softmax(self.dropout(hidden).flatten(0, 1), window[1:].flatten()).loss)
            states.append(tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach())
        return torch.stack(losses).mean(), states


class Reader:
    """Language models that are being trained, and all that it takes to go on with that in another process."""

    def __init__(
        self,
        model: Classifier,
        reviews: EncodedReviews,
        boundary: int,
        config: LanguageConfig,
        device: torch.device,
        saved: Saved | None = None,
    ) -> None:
        """Take the embeddings and the first layer of `model`, to be trained in place, and what `saved` holds.

        `boundary` is the token that stands between two reviews. Raises InputError if there is too little text.
        """
        self.order = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # the softmax's weights and dropout's numbers
        shuffled = torch.randperm(len(reviews), generator=self.order)
        held_out, self.rows = shuffled.tensor_split([math.ceil(config.held_out_share * len(reviews))])
        self.reviews, self.boundary, self.config, self.device = reviews, boundary, config, device
        self.judged = self.streams(held_out)
        self.models = LanguageModels(model, config.dropout).to(device)
        self.optimizer = torch.optim.AdamW(self.models.parameters(), config.learning_rate, weight_decay=0.0, fused=True)
        length = int(reviews.lengths[self.rows].sum() + len(self.rows)) // config.streams
        if min(length, len(self.judged)) < 2:
            raise InputError(
                f"pretraining: the text, or what is held out of it, is too short for {config.streams} streams"
            )
        self.an_epoch = math.ceil((length - 1) / config.window)  # steps
        self.step = 0  # steps taken
        self.carried: list[State] = [None] * len(self.models.cells)
        self.readings: list[Reading] = []
        self.saved = saved
        if saved is not None and (groups := saved.load()):
            self.restore(groups)

    def streams(self, rows: Tensor) -> Tensor:
        """Return the reviews `rows`, (n,), as streams, (S, B) int64."""
        return streams_of(self.reviews, rows, self.boundary, self.config.streams).to(self.device)

    def read(self) -> Iterator[Reading]:
        """Train, from where it stands, and report; what was reported before is reported again."""
        yield from tuple(self.readings)
        reports = {math.ceil(self.an_epoch * number / REPORTS) for number in range(1, REPORTS + 1)}  # steps into one
        for epoch in range(self.config.epochs):
            order = self.rows[torch.randperm(len(self.rows), generator=self.order)]  # drawn for those past, too
            begun = self.step - epoch * self.an_epoch  # steps of this epoch that were taken before
            if begun >= self.an_epoch:
                continue
            if begun == 0:
                self.carried = [None] * len(self.carried)
            self.models.train()
            loss_sum, tokens, started = torch.zeros((), dtype=torch.float64, device=self.device), 0, time.perf_counter()
            windows = windows_of(self.streams(order), len(self.carried), self.config.window)
            for place, window in enumerate(islice(windows, begun, None), start=begun + 1):
                work = f"epoch {epoch + 1}, window {place} of {self.an_epoch}"
                to_lower = f"pretrain.window or pretrain.streams, now {self.config.streams}"
                with memory_for(work, to_lower):
                    loss = self.learn(window, work)
                loss_sum += loss * (len(window[0]) - 1)
                tokens += len(window[0]) - 1
                if place in reports:
                    with memory_for(f"{work}, judging the reviews held out", to_lower):
                        held_out_loss = judge(self.models, self.judged, self.config.window)
                    seconds = time.perf_counter() - started
                    reading = Reading(self.step / self.an_epoch, loss_sum.item() / tokens, held_out_loss, seconds)
                    self.readings.append(reading)
                    self.save()
                    yield reading
                    self.models.train()
                    loss_sum, tokens, started = torch.zeros_like(loss_sum), 0, time.perf_counter()

    def learn(self, windows: list[Tensor], work: str) -> Tensor:
        """Take a step with D windows (T + 1, B) int64, and return their mean loss, ().

        Raises InputError, which names the work, if the loss or its gradient is not finite: on a CPU before the update,
        while on a GPU the state that would be saved next is refused.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (1.0 - self.step / (self.config.epochs * self.an_epoch))
        self.optimizer.zero_grad()
        loss: Tensor
        with autocast(self.config.precision, self.device):
            loss, self.carried = self.models(windows, self.carried)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.models.parameters(), self.config.clip_norm)
        if self.device.type == "cpu" and not bool(loss.isfinite() & norm.isfinite()):
            advice = "lower pretrain.learning_rate or pretrain.clip_norm"
            raise InputError(f"pretraining: the loss of {work}, or its gradient, is not finite; {advice}")
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def save(self) -> None:
        """Save all that it takes to go on from here."""
        if self.saved is None:
            return
        parts = [
            (f"{direction}.{number}", part)
            for direction, state in enumerate(self.carried)
            for number, part in enumerate(state if isinstance(state, tuple) else (state,))
            if part is not None
        ]
        self.saved.save(
            {
                "models": self.models.state_dict(),
                "optimizer": optimizer_state(self.optimizer),
                "random": random_state(self.device),
                "carried": dict(parts),
                "readings": {"rows": torch.tensor(self.readings, dtype=torch.float64)},
                "step": {"taken": torch.tensor(self.step)},
            }
        )

    def restore(self, groups: dict[str, Weights]) -> None:
        """Undo `save`."""
        self.models.load_state_dict(groups["models"])
        restore_optimizer(self.optimizer, groups["optimizer"])
        restore_random(groups["random"], self.device)
        parts = sorted(groups["carried"].items())
        for direction in range(len(self.carried)):
            state = tuple(part.to(self.device) for name, part in parts if name.startswith(f"{direction}."))
            self.carried[direction] = state if len(state) > 1 else state[0]
        self.readings = [Reading(*row) for row in groups["readings"]["rows"].tolist()]
        self.step = int(groups["step"]["taken"])


def judge(models: LanguageModels, streams: Tensor, window: int) -> float:
    """Return the mean loss of a token of streams (S, B) int64, in nats, over the directions."""
    models.eval()
    carried: list[State] = [None] * len(models.cells)
    loss_sum = torch.zeros((), dtype=torch.float64, device=streams.device)
    with torch.inference_mode():
        for windows in windows_of(streams, len(models.cells), window):
            loss, carried = models(windows, carried)
            loss_sum += loss * (len(windows[0]) - 1)
    return loss_sum.item() / (len(streams) - 1)


def streams_of(reviews: EncodedReviews, rows: Tensor, boundary: int, count: int) -> Tensor:
    """Lay the reviews `rows`, (n,), end to end, a boundary behind each, and cut them into streams, (S, B) int64.

    Fewer than B tokens at the end are left out.
    """
    texts = reviews.tokens.split(reviews.lengths.tolist())
    end = reviews.tokens.new_tensor([boundary])
    text = torch.cat([piece for row in rows.tolist() for piece in (texts[row], end)])
    length = len(text) // count
    return text[: length * count].view(count, length).T.contiguous().long()


def windows_of(streams: Tensor, directions: int, length: int) -> Iterator[list[Tensor]]:
    """Yield, of each direction, the next `length` + 1 tokens of streams (S, B), of which the last is the next's first.

    The second direction reads the streams from their end: each review backward.
    """
    texts = [streams, streams.flip(0)][:directions]
    for start in range(0, len(streams) - 1, length):
        yield [text[start : start + length + 1] for text in texts]
