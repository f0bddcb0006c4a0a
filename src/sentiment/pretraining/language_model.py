"""Language models of the reviews, which pretrain a classifier's embeddings and lowest layers (Dai and Le 2015).

    p(x_1 .. x_T) = prod_t p(x_t | h_{t-1}),   h_t = cell(e(x_t), h_{t-1})

There is one model for each direction, and all models share the encoder's embeddings e. Their layers are the encoder's
own modules, so that pretraining changes the encoder in place. p is one of three softmaxes:

- adaptive (Grave et al. 2017): rare words have shorter vectors, which saves most of the work;
- sampled (Jean et al. 2015): the next word competes with some drawn words alone;
- tied: a word's vector is its embedding, which also learns wherever the word is not the next one.

The first two need a vocabulary that is sorted by frequency, as it is here.

Dropout follows Merity, Keskar and Socher (2018): of whole words, of embedding elements, between layers, of the last
layer's states, and of the recurrent weights.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, linear

from sentiment.models.classifier import Encoder
from sentiment.models.dropout import Dropout
from sentiment.models.layers import Layer, State, run_cell
from sentiment.models.precision import Linear, wide

DRAWN = 1024  # words drawn for each window by the sampled softmax
FREQUENT = (0.08, 0.4)  # cutoffs as shares of the vocabulary: the ends of the adaptive softmax's head and first tail

States = Sequence[State | None]  # of one direction, one for each layer; None at the start of the text


@dataclass(frozen=True)
class LanguageConfig:
    """Hyperparameters of pretraining."""

    seed: int  # of the softmax's weights, the choice of held-out reviews, the order of the reviews and dropout
    precision: str  # of matrix products: one of precision.PRECISIONS
    held_out_share: float  # share of the reviews held out to measure perplexity
    softmax: str  # a key of SOFTMAXES
    epochs: int
    streams: int  # B
    window: int  # T
    learning_rate: float  # peak
    warmup_share: float  # share of all steps over which the rate rises from 0
    schedule: str  # a key of schedule.SCHEDULES: the decay after the warm-up
    weight_decay: float  # decoupled, as in AdamW
    dropout_words: float  # share of the vocabulary dropped in each window
    dropout_embedding: float  # share of embedding elements
    dropout_recurrent: float  # share of the recurrent weights dropped in each window
    dropout_layers: float  # share of state elements, between layers
    dropout_output: float  # share of the last layer's state elements
    variational: bool  # embedding, layer and output masks are drawn once for all steps of a window
    clip_norm: float  # maximum Euclidean norm of the gradient


class AdaptiveSoftmax(nn.Module):
    """Adaptive softmax: full vectors for frequent words, shorter ones for groups of rarer words (Grave et al. 2017).

    p(w) = p(w | head) for a frequent word, and p(group | head) p(w | group) for a rarer one. This is the model of
    PyTorch's `AdaptiveLogSoftmaxWithLoss`, with products in the dtype of the states and sums in float32.
    """

    def __init__(self, size: int, words: int, embedding_size: int) -> None:
        super().__init__()
        bounds = [*sorted({max(1, round(share * words)) for share in FREQUENT}), words]
        self.groups = list(pairwise(bounds))  # range of word ids in each group
        self.frequent = bounds[0]
        smaller = 4 if size >= 16 else 1  # factor by which vectors shrink from group to group; 4 * 4 must not exceed H
        self.head = Linear(size, self.frequent + len(self.groups), bias=False)
        widths = [size // smaller**number for number in range(1, len(self.groups) + 1)]
        self.tails = nn.ModuleList(
            nn.Sequential(Linear(size, width, bias=False), Linear(width, end - start, bias=False))
            for width, (start, end) in zip(widths, self.groups, strict=True)
        )

    def forward(self, states: Tensor, words: Tensor, embeddings: Tensor) -> Tensor:
        """Return the mean of - log p(w), (), for states (n, H) and next words (n,) int64."""
        answers, loss_sum = words, torch.zeros((), dtype=wide(states), device=states.device)
        for number, ((start, end), tail) in enumerate(zip(self.groups, self.tails, strict=True)):
            rows = ((words >= start) & (words < end)).nonzero()[:, 0]
            answers = answers.index_fill(0, rows, self.frequent + number)
            logits = tail(states[rows])
            loss_sum += cross_entropy(logits.to(wide(logits)), words[rows] - start, reduction="sum")
        logits = self.head(states)
        return (loss_sum + cross_entropy(logits.to(wide(logits)), answers, reduction="sum")) / len(words)


class TiedSoftmax(nn.Module):
    """Tied softmax, z = E (P h) + b for embeddings E (Inan, Khosravi and Socher 2017; Press and Wolf 2017)."""

    def __init__(self, size: int, words: int, embedding_size: int) -> None:
        super().__init__()
        self.project = Linear(size, embedding_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, states: Tensor, words: Tensor, embeddings: Tensor) -> Tensor:
        """Return the mean of - log p(w), (), for states (n, H), next words (n,) int64 and embeddings (V, E)."""
        projected = self.project(states)  # (n, E)
        logits = linear(projected, embeddings.to(states.dtype), self.bias.to(states.dtype))  # (n, V)
        return cross_entropy(logits.to(wide(logits)), words)


class SampledSoftmax(nn.Module):
    """Sampled softmax: while training, the next words of a window compete with DRAWN words alone (Jean et al. 2015).

    - log p(x) = log( exp z_x + sum_w exp( z_w - log( S q(w) ) ) ) - z_x,   z_w = v_w . h + b_w
    q(w) = log( (w + 2) / (w + 1) ) / log( V + 1 )

    x is the next word, and w runs over those of S drawn words that are not x. They are the same for the whole window,
    and drawn with replacement from q, which falls with the rank w of a word, from 0, much as frequencies do. S q(w) is
    the expected number of draws, so that the sum is on average that over all words but x. To evaluate, all words
    compete.
    """

    log_expected: Tensor  # log( S q(w) ), (V,)

    def __init__(self, size: int, words: int, embedding_size: int) -> None:
        super().__init__()
        self.output = Linear(size, words)
        ranks = torch.arange(words, dtype=torch.float64)
        expected = DRAWN * ((ranks + 2) / (ranks + 1)).log() / math.log(words + 1)
        self.register_buffer("log_expected", expected.log().float(), persistent=False)

    def forward(self, states: Tensor, words: Tensor, embeddings: Tensor) -> Tensor:
        """Return the mean of - log p(w), (), for states (n, H) and next words (n,) int64; estimated while training."""
        if not self.training:
            logits = self.output(states)  # (n, V)
            return cross_entropy(logits.to(wide(logits)), words)
        total = len(self.log_expected)
        drawn = ((total + 1) ** torch.rand(DRAWN, device=words.device)).long().clamp(max=total) - 1  # (S,), from q
        weight, bias = self.output.weight, self.output.bias - self.log_expected
        own = (states * weight[words].to(states.dtype)).to(wide(states)).sum(dim=1) + self.output.bias[words]  # (n,)
        others = linear(states, weight[drawn].to(states.dtype)).to(wide(states)) + bias[drawn]  # (n, S)
        others = others.masked_fill(drawn == words[:, None], -torch.inf)
        return cross_entropy(torch.cat([own[:, None], others], dim=1), torch.zeros_like(words))


SOFTMAXES: dict[str, Callable[[int, int, int], nn.Module]] = {
    "adaptive": AdaptiveSoftmax,
    "sampled": SampledSoftmax,
    "tied": TiedSoftmax,
}


class Stack(nn.Module):
    """The cells of one direction, where each cell reads the states of the cell below."""

    def __init__(self, cells: tuple[nn.RNNBase, ...], dropout_layers: Dropout, dropout_recurrent: Dropout) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.dropout_layers = dropout_layers
        self.dropout_recurrent = dropout_recurrent

    def forward(self, inputs: Tensor, carried: States) -> tuple[Tensor, States]:
        """Return the last layer's states, (T, B, H), for inputs (T, B, E), and each layer's state for the next call."""
        drop = self.dropout_recurrent if self.training and self.dropout_recurrent.share else None
        states, after = inputs, list(carried)
        for number, (cell, before) in enumerate(zip(self.cells, carried, strict=True)):
            assert isinstance(cell, nn.RNNBase)
            if number > 0:
                states = self.dropout_layers(states)
            states, state = run_cell(cell, states, before, drop)
            after[number] = tuple(part.detach() for part in state)
        return states, after


class LanguageModels(nn.Module):
    """An encoder with a softmax over the next token for each direction.

    The layers above the first must read one direction only.
    """

    def __init__(self, encoder: Encoder, config: LanguageConfig) -> None:
        super().__init__()
        layers = [layer for layer in encoder.layers if isinstance(layer, Layer)]
        if not all(layer.is_split or layer.backward_cell is None for layer in layers[1:]):
            raise ValueError("a layer above the first must not read both directions: it would see the words to predict")
        self.before = [[None] * len(layers) for _ in layers[0].cells]  # the states at the start of the text
        self.embedding = encoder.embedding
        self.dropout_words = Dropout(config.dropout_words)
        self.dropout_embedding = Dropout(config.dropout_embedding, config.variational)
        self.dropout_output = Dropout(config.dropout_output, config.variational)
        between = Dropout(config.dropout_layers, config.variational), Dropout(config.dropout_recurrent)
        columns = zip(*(layer.cells for layer in layers), strict=True)
        self.stacks = nn.ModuleList(Stack(cells, *between) for cells in columns)
        shape = encoder.config
        sizes = shape.hidden_size, shape.vocabulary_size, shape.embedding_size
        self.softmaxes = nn.ModuleList(SOFTMAXES[config.softmax](*sizes) for _ in self.stacks)

    def forward(
        self, windows: list[Tensor], carried: Sequence[States], product_dtype: torch.dtype | None = None
    ) -> tuple[Tensor, list[States]]:
        """Return the mean loss, (), of the last T tokens of D windows (T + 1, B) int64, and the states to carry on.

        Matrix products are computed in the dtype `product_dtype`, by default that of the weights.
        """
        losses: list[Tensor] = []
        after: list[States] = []
        for stack, softmax, window, before in zip(self.stacks, self.softmaxes, windows, carried, strict=True):
            embedded = self.embed(window[:-1])  # (T, B, E)
            states, left = stack(embedded.to(product_dtype or embedded.dtype), before)  # (T, B, H)
            states = self.dropout_output(states).flatten(0, 1)  # (T * B, H)
            losses.append(softmax(states, window[1:].flatten(), self.embedding.weight))
            after.append(left)
        return torch.stack(losses).mean(), after

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the embeddings, (T, B, E), of tokens (T, B) int64, with dropout while training."""
        weight: Tensor = self.embedding.weight
        if self.training and self.dropout_words.share:
            weight = weight * self.dropout_words(torch.ones_like(weight[:, :1]))
        embedded: Tensor = self.dropout_embedding(embedding(tokens, weight))
        return embedded
