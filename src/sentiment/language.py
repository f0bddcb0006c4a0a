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
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sentiment.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.model import Classifier, Dropout
from sentiment.objective import autocast
from sentiment.recurrent import Layer
from sentiment.resume import Saved, optimizer_state, random_state, restore_optimizer, restore_random

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


def read(
    model: Classifier,
    reviews: EncodedReviews,
    boundary: int,
    config: LanguageConfig,
    device: torch.device,
    saved: Saved | None = None,
) -> Iterator[Reading]:
    """Train the embeddings and the first layer of `model` in place, and report on it.

    `boundary` is the token that stands between two reviews. What `saved` holds is reported again and gone on from.
    Raises InputError if there is too little text.
    """
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    held_out = math.ceil(config.held_out_share * len(reviews))
    shuffled = torch.randperm(len(reviews), generator=generator)
    judged = streams_of(reviews, shuffled[:held_out], boundary, config.streams).to(device)
    rows = shuffled[held_out:]
    models = LanguageModels(model, config.dropout).to(device)
    directions = len(models.cells)
    optimizer = torch.optim.AdamW(models.parameters(), config.learning_rate, weight_decay=0.0, fused=True)
    length = len(streams_of(reviews, rows, boundary, config.streams))
    if min(length, len(judged)) < 2:
        raise InputError(f"pretraining: the text, or what is held out of it, is too short for {config.streams} streams")
    an_epoch = math.ceil((length - 1) / config.window)  # steps
    steps = config.epochs * an_epoch
    reports = {math.ceil(an_epoch * number / REPORTS) for number in range(1, REPORTS + 1)}  # steps into an epoch

    step = 0
    readings: list[Reading] = []
    carried: list[State] = [None] * directions
    if saved is not None and (state := saved.load()):
        models.load_state_dict(state["models"])
        restore_optimizer(optimizer, state["optimizer"])
        restore_random(state["random"], device)
        carried = [state_in(state["carried"], direction, device) for direction in range(directions)]
        readings = [Reading(*row) for row in state["readings"]["rows"].tolist()]
        step = int(state["step"]["taken"])
        yield from readings

    for epoch in range(config.epochs):
        order = rows[torch.randperm(len(rows), generator=generator)]  # drawn for epochs that are past, too
        begun = step - epoch * an_epoch  # steps of this epoch that were taken before
        if begun >= an_epoch:
            continue
        if begun == 0:
            carried = [None] * directions
        streams = streams_of(reviews, order, boundary, config.streams).to(device)
        models.train()
        loss_sum, tokens, started = torch.zeros((), dtype=torch.float64, device=device), 0, time.perf_counter()
        for place, windows in enumerate(windows_of(streams, directions, config.window), start=1):
            if place <= begun:
                continue
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * (1.0 - step / steps)
            optimizer.zero_grad()
            with autocast(config.precision, device):
                loss, carried = models(windows, carried)
            loss.backward()
            nn.utils.clip_grad_norm_(models.parameters(), config.clip_norm)
            optimizer.step()
            step += 1
            loss_sum += loss.detach() * (len(windows[0]) - 1)
            tokens += len(windows[0]) - 1
            if place not in reports:
                continue
            train_loss, held_out_loss = loss_sum.item() / tokens, judge(models, judged, config.window)
            readings.append(Reading(step / an_epoch, train_loss, held_out_loss, time.perf_counter() - started))
            if saved is not None:
                saved.save(
                    {
                        "models": models.state_dict(),
                        "optimizer": optimizer_state(optimizer),
                        "random": random_state(device),
                        "carried": {
                            f"{n}.{part}": t for n, state in enumerate(carried) for part, t in tensors_of(state)
                        },
                        "readings": {"rows": torch.tensor(readings, dtype=torch.float64)},
                        "step": {"taken": torch.tensor(step)},
                    }
                )
            yield readings[-1]
            models.train()
            loss_sum, tokens, started = torch.zeros_like(loss_sum), 0, time.perf_counter()


def tensors_of(state: State) -> Iterator[tuple[int, Tensor]]:
    """Yield the tensors of a state with their numbers."""
    if state is not None:
        yield from enumerate(state if isinstance(state, tuple) else (state,))


def state_in(saved: dict[str, Tensor], direction: int, device: torch.device) -> State:
    """Return the state of a direction, from 0, out of its numbered parts."""
    parts = [tensor.to(device) for name, tensor in sorted(saved.items()) if name.startswith(f"{direction}.")]
    return tuple(parts) if len(parts) > 1 else parts[0]


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
