"""Language models of the reviews, from which a classifier takes its embeddings and lowest layers (Dai and Le 2015).

    p(x_1 .. x_T) = prod_t p(x_t | h_{t-1}),   h_t = cell(e(x_t), h_{t-1})

There is one for each direction, and all read with the classifier's embeddings e. Their layers are the classifier's own,
so that what is learnt here is in it afterwards. p is one of two softmaxes. In the adaptive one (Grave et al. 2017) rare
words have shorter vectors, which saves most of the work; the vocabulary is sorted by frequency, as that asks for. In
the tied one a word's vector is its embedding, which thus learns from each word that was not the next one, too.

Dropout is that of Merity, Keskar and Socher (2018): of whole words, of the embeddings' numbers, between layers, of the
last states, and of the recurrent weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, linear

from sentiment.models.classifier import Classifier
from sentiment.models.dropout import Dropout
from sentiment.models.layers import Layer, State, read
from sentiment.models.precision import Linear, wide

FREQUENT = (0.08, 0.4)  # shares of the vocabulary: the adaptive softmax's head, and up to where its first tail goes

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
