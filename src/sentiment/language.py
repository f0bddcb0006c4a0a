"""Language models of the reviews, from which a classifier takes its embeddings and lowest layers (Dai and Le 2015).

    p(x_1 .. x_T) = prod_t p(x_t | h_{t-1}),   h_t = cell(e(x_t), h_{t-1})

There is one for each direction, and all read with the classifier's embeddings e. Their layers are the classifier's own,
so that what is learnt here is in it afterwards. p is one of two softmaxes. In the adaptive one (Grave et al. 2017) rare
words have shorter vectors, which saves most of the work; the vocabulary is sorted by frequency, as that asks for. In
the tied one a word's vector is its embedding, which thus learns from each word that was not the next one, too.

The texts, shuffled, each with a boundary behind it, are laid end to end and cut into B streams of equal length, which
are read side by side, T tokens at a time. The state is carried from one window to the next, the gradient is not. Ten
times an epoch a reading is reported, and all that is needed to go on from there is saved.

Dropout is that of Merity, Keskar and Socher (2018): of whole words, of the embeddings' numbers, between layers, of the
last states, and of the recurrent weights.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, linear

from sentiment.device import memory_for, product_dtype
from sentiment.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.model import Classifier, Dropout
from sentiment.precision import Linear, wide
from sentiment.recurrent import Layer, State, read
from sentiment.resume import Saved, Weights, optimizer_state, random_state, restore_optimizer, restore_random
from sentiment.schedule import rate_factor

FREQUENT = (0.08, 0.4)  # shares of the vocabulary: the adaptive softmax's head, and up to where its first tail goes
REPORTS = 10  # an epoch

States = Sequence[State | None]  # of one direction's layers, to carry on; None before anything was read


@dataclass(frozen=True)
class LanguageConfig:
    """How to train."""

    seed: int  # of the softmax's weights, of what is held out, of the order of the reviews and of dropout
    precision: str  # of matrix products: one of precision.PRECISIONS
    held_out_share: float  # of the reviews, for the perplexity
    layers: int  # the classifier's lowest, each of which must read one direction only, or be the first
    softmax: str  # a key of SOFTMAXES
    epochs: int
    streams: int  # B
    window: int  # T
    learning_rate: float  # at its peak
    warmup_share: float  # share of all steps in which the rate rises from 0
    schedule: str  # a key of schedule.SCHEDULES: how the rate falls afterwards
    weight_decay: float  # decoupled, as in AdamW
    dropout_words: float  # share of the vocabulary dropped in a window
    dropout_embedding: float  # share of the embeddings' numbers
    dropout_recurrent: float  # share of the recurrent weights dropped in a window
    dropout_layers: float  # share of the states' numbers, between layers
    dropout_output: float  # share of the last states' numbers
    variational: bool  # the three shares of numbers are drawn once for all steps of a window
    clip_norm: float  # greatest Euclidean norm of the gradient


class Reading(NamedTuple):
    """How far it has come."""

    epochs: float  # read so far
    train_loss: float  # nats a token, mean over the directions and since the last report, dropout on
    held_out_loss: float  # the same of the reviews held out, dropout off
    seconds: float  # since the last report, of training and judging


class AdaptiveSoftmax(nn.Module):
    """Score frequent words by one product, and rarer ones in groups, each by a shorter vector (Grave et al. 2017).

    p(w) = p(w | head) for a frequent word, and p(group | head) p(w | group) for another. It is the model of PyTorch's
    `AdaptiveLogSoftmaxWithLoss`, with products in the dtype of the states and sums in float32.
    """

    def __init__(self, size: int, words: int, embedding_size: int) -> None:
        super().__init__()
        bounds = [*sorted({max(1, round(share * words)) for share in FREQUENT}), words]
        self.groups = list(pairwise(bounds))  # numbers of the words of each, from .. to
        self.frequent = bounds[0]
        smaller = 4 if size >= 16 else 1  # each group's vectors than those before; 4 * 4 must not exceed H
        self.head = Linear(size, self.frequent + len(self.groups), bias=False)
        widths = [size // smaller**number for number in range(1, len(self.groups) + 1)]
        self.tails = nn.ModuleList(
            nn.Sequential(Linear(size, width, bias=False), Linear(width, end - start, bias=False))
            for width, (start, end) in zip(widths, self.groups, strict=True)
        )

    def forward(self, states: Tensor, words: Tensor, embeddings: Tensor) -> Tensor:
        """Return the mean of - log p(w), (), for states (n, H) and the words (n,) int64 that follow them."""
        answers, loss_sum = words, torch.zeros((), dtype=wide(states), device=states.device)
        for number, ((start, end), tail) in enumerate(zip(self.groups, self.tails, strict=True)):
            rows = ((words >= start) & (words < end)).nonzero()[:, 0]
            answers = answers.index_fill(0, rows, self.frequent + number)
            logits = tail(states[rows])
            loss_sum += cross_entropy(logits.to(wide(logits)), words[rows] - start, reduction="sum")
        logits = self.head(states)
        return (loss_sum + cross_entropy(logits.to(wide(logits)), answers, reduction="sum")) / len(words)


class TiedSoftmax(nn.Module):
    """Score each word by its embedding: z = E (P h) + b (Inan, Khosravi and Socher 2017; Press and Wolf 2017)."""

    def __init__(self, size: int, words: int, embedding_size: int) -> None:
        super().__init__()
        self.project = Linear(size, embedding_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, states: Tensor, words: Tensor, embeddings: Tensor) -> Tensor:
        """Return the mean of - log p(w), (), for states (n, H), the words (n,) int64 that follow, and E (V, E)."""
        projected = self.project(states)  # (n, E)
        logits = linear(projected, embeddings.to(states.dtype), self.bias.to(states.dtype))  # (n, V)
        return cross_entropy(logits.to(wide(logits)), words)


SOFTMAXES: dict[str, Callable[[int, int, int], nn.Module]] = {"adaptive": AdaptiveSoftmax, "tied": TiedSoftmax}


class Stack(nn.Module):
    """The cells of one direction, each reading the states of the one below."""

    def __init__(self, cells: tuple[nn.RNNBase, ...], dropout_layers: Dropout, dropout_recurrent: Dropout) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.dropout_layers = dropout_layers
        self.dropout_recurrent = dropout_recurrent

    def forward(self, inputs: Tensor, carried: States) -> tuple[Tensor, States]:
        """Return the last layer's states, (T, B, H), for inputs (T, B, E), and the state of each layer to carry on."""
        drop = self.dropout_recurrent if self.training and self.dropout_recurrent.share else None
        states, after = inputs, list(carried)
        for number, (cell, before) in enumerate(zip(self.cells, carried, strict=True)):
            assert isinstance(cell, nn.RNNBase)
            if number > 0:
                states = self.dropout_layers(states)
            states, state = read(cell, states, before, drop)
            after[number] = tuple(part.detach() for part in state)
        return states, after


class LanguageModels(nn.Module):
    """The embeddings and the lowest layers of a classifier, each direction with a softmax over the next token."""

    def __init__(self, model: Classifier, config: LanguageConfig) -> None:
        super().__init__()
        layers = [layer for layer in model.layers if isinstance(layer, Layer)][: config.layers]
        if not all(layer.is_split or layer.backward_cell is None for layer in layers[1:]):
            raise ValueError("a layer that reads both directions of the one below sees the words it is to predict")
        self.before = [[None] * len(layers) for _ in layers[0].cells]  # the states before anything was read
        self.embedding = model.embedding
        self.dropout_words = Dropout(config.dropout_words)
        self.dropout_embedding = Dropout(config.dropout_embedding, config.variational)
        self.dropout_output = Dropout(config.dropout_output, config.variational)
        between = Dropout(config.dropout_layers, config.variational), Dropout(config.dropout_recurrent)
        columns = zip(*(layer.cells for layer in layers), strict=True)
        self.stacks = nn.ModuleList(Stack(cells, *between) for cells in columns)
        sizes = model.config.hidden_size, model.config.vocabulary_size, model.config.embedding_size
        self.softmaxes = nn.ModuleList(SOFTMAXES[config.softmax](*sizes) for _ in self.stacks)

    def forward(
        self, windows: list[Tensor], carried: Sequence[States], products: torch.dtype | None = None
    ) -> tuple[Tensor, list[States]]:
        """Return the mean loss, (), of the last T tokens of D windows (T + 1, B) int64, and the states to carry on.

        The matrix products are in the dtype `products`, or in that of the weights.
        """
        losses: list[Tensor] = []
        after: list[States] = []
        for stack, softmax, window, before in zip(self.stacks, self.softmaxes, windows, carried, strict=True):
            embedded = self.embed(window[:-1])  # (T, B, E)
            states, left = stack(embedded.to(products or embedded.dtype), before)  # (T, B, H)
            states = self.dropout_output(states).flatten(0, 1)  # (T * B, H)
            losses.append(softmax(states, window[1:].flatten(), self.embedding.weight))
            after.append(left)
        return torch.stack(losses).mean(), after

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the embeddings, (T, B, E), of tokens (T, B) int64."""
        weight: Tensor = self.embedding.weight
        if self.training and self.dropout_words.share:
            weight = weight * self.dropout_words(torch.ones_like(weight[:, :1]))
        embedded: Tensor = self.dropout_embedding(embedding(tokens, weight))
        return embedded


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
        """Take the embeddings and the lowest layers of `model`, to be trained in place, and what `saved` holds.

        `boundary` is the token that stands between two reviews. Raises InputError if there is too little text.
        """
        self.order = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # the softmax's weights and dropout's numbers
        shuffled = torch.randperm(len(reviews), generator=self.order)
        held_out, self.rows = shuffled.tensor_split([math.ceil(config.held_out_share * len(reviews))])
        self.reviews, self.boundary, self.config, self.device = reviews, boundary, config, device
        self.judged = self.streams(held_out)
        self.products = product_dtype(config.precision, device)
        self.models = LanguageModels(model, config).to(device)
        self.optimizer = torch.optim.AdamW(self.models.parameters(), weight_decay=config.weight_decay, fused=True)
        length = int(reviews.lengths[self.rows].sum() + len(self.rows)) // config.streams
        if min(length, len(self.judged)) < 2:
            raise InputError(
                f"pretraining: the text, or what is held out of it, is too short for {config.streams} streams"
            )
        self.an_epoch = math.ceil((length - 1) / config.window)  # steps
        self.step = 0  # steps taken
        self.carried: Sequence[States] = self.models.before
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
                self.carried = self.models.before
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
        config = self.config
        factor = rate_factor(self.step, config.epochs * self.an_epoch, config.warmup_share, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        self.optimizer.zero_grad()
        loss: Tensor
        loss, self.carried = self.models(windows, self.carried, self.products)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.models.parameters(), config.clip_norm)
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
                "readings": {"rows": torch.tensor(self.readings, dtype=torch.float64)},
                "step": {"taken": torch.tensor(self.step)},
            }
        )

    def restore(self, groups: dict[str, Weights]) -> None:
        """Undo `save`."""
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
        self.readings = [Reading(*row) for row in groups["readings"]["rows"].tolist()]
        self.step = int(groups["step"]["taken"])


def judge(models: LanguageModels, streams: Tensor, window: int) -> float:
    """Return the mean loss of a token of streams (S, B) int64, in nats, over the directions."""
    models.eval()
    carried: Sequence[States] = models.before
    loss_sum = torch.zeros((), dtype=torch.float64, device=streams.device)
    with torch.inference_mode():
        for windows in windows_of(streams, len(models.stacks), window):
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
