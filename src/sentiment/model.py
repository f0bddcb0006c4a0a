"""The classifier: embed, read with a recurrent network, pool to one vector, score.

    x_t = embedding of token t
    h_t = cell(x_t, h_{t-1}), in one direction or two, through L layers
    v   = one or more of: the last state, the mean, the maximum, an attention-weighted mean of h_1 .. h_length
    logit = (w . v + b) / temperature;  the probability that the review is positive is sigmoid(logit)

No state, pooled value or attention weight ever sees padding. The network reads padded tensors, for which PyTorch has
its fastest kernels, and yet exactly: a forward reader meets padding only after a review's end, where nothing looks;
a backward reader gets each review reversed within its own length, so that the same holds for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sentiment.precision import Linear, wide
from sentiment.recurrent import Layer


@dataclass(frozen=True)
class ModelConfig:
    """All that a checkpoint must say for its weights to be loaded again."""

    vocabulary_size: int  # V
    embedding_size: int  # E
    cell: str  # a key of recurrent.CELLS
    hidden_size: int  # H, of each direction
    layers: int  # L
    bidirectional: bool
    mix_directions: bool  # each layer reads both directions of the one below; else each direction has its own layers
    pooling: tuple[str, ...]  # keys of POOLINGS, concatenated in this order
    dropout_embedding: float  # share of the embeddings' numbers dropped
    dropout_layers: float  # share dropped between two layers
    dropout_output: float  # share of v dropped


class Classifier(nn.Module):
    """Score reviews by a recurrent network over word embeddings."""

    temperature: Tensor  # (), 1 while training

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size)
        self.dropout_embedding = Dropout(config.dropout_embedding)
        self.dropout_layers = Dropout(config.dropout_layers)
        self.dropout_output = Dropout(config.dropout_output)
        directions = 2 if config.bidirectional else 1
        width = directions * config.hidden_size  # D * H
        is_split = config.bidirectional and not config.mix_directions  # of the layers above the first
        above = (config.hidden_size if is_split else width, is_split)
        inputs = [(config.embedding_size, False)] + [above] * (config.layers - 1)
        self.layers = nn.ModuleList(
            Layer(config.cell, size, config.hidden_size, config.bidirectional, split) for size, split in inputs
        )
        self.poolings = nn.ModuleList(POOLINGS[name](config.hidden_size, directions) for name in config.pooling)
        self.output = nn.Linear(width * len(config.pooling), 1)
        self.register_buffer("temperature", torch.ones(()))

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        shift: Tensor | None = None,
        products: torch.dtype | None = None,
    ) -> Tensor:
        """Return logits (B,) for tokens (T, B) int64 of which the first lengths (B,) int64 of each review count.

        A shift, (T, B, E), is added to the embeddings. The matrix products between embeddings and pooled vector are in
        the dtype `products`, or in that of the weights; the logits are always in the latter.
        """
        steps = torch.arange(len(tokens), device=tokens.device)[:, None]
        inside = steps < lengths  # (T, B)
        mirrored = torch.where(inside, lengths - 1 - steps, steps)  # (T, B): where step t of the reversed review lies
        states = self.dropout_embedding(self.embedding(tokens))  # (T, B, E)
        if shift is not None:
            states = states + shift
        states = states.to(products or states.dtype)
        for number, layer in enumerate(self.layers):
            if number > 0:
                states = self.dropout_layers(states)
            states = layer(states, mirrored)  # (T, B, D * H)
        pooled = torch.cat([pooling(states, inside) for pooling in self.poolings], dim=1)  # (B, poolings * D * H)
        # a narrower dtype would leave a logit two or three digits
        logits: Tensor = self.output(self.dropout_output(pooled.to(self.output.weight.dtype))).squeeze(1)  # (B,)
        return logits / self.temperature

    def parts(self) -> list[nn.Module]:
        """Return the modules that have weights, from the output down to the embeddings."""
        return [nn.ModuleList([self.output, *self.poolings]), *reversed(self.layers), self.embedding]


def initial_model(config: ModelConfig, embeddings: Tensor, seed: int) -> Classifier:
    """Return an untrained model, its random weights from `seed`, its embeddings (V, E) those given."""
    torch.manual_seed(seed)
    model = Classifier(config)
    with torch.no_grad():
        model.embedding.weight.copy_(embeddings)
    return model


class Dropout(nn.Module):
    """Set a share of numbers to 0 and scale the rest up; nothing while evaluating (Srivastava et al. 2014).

    PyTorch's own draws a number of 64 bits for each on the CPU, one after the other, and so takes a third of a step of
    training. Here each draw serves four, at 16 bits each; the share is rounded to a multiple of 1 / 65,536. Variational
    dropout draws once for all of the first dimension, which is time (Gal and Ghahramani 2016).
    """

    def __init__(self, share: float, variational: bool = False) -> None:
        super().__init__()
        self.share = share
        self.variational = variational

    def forward(self, x: Tensor) -> Tensor:
        """Drop some of x, of any shape."""
        if not self.training or self.share == 0:
            return x
        return x * self.drop(torch.ones_like(x[:1])) if self.variational else self.drop(x)

    def drop(self, x: Tensor) -> Tensor:
        """Drop some of x, each number on its own."""
        if x.is_cuda:
            return nn.functional.dropout(x, self.share)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        dropped = round(self.share * 2**16)
        kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))


class Last(nn.Module):
    """The state after the whole review: of a forward reader at its last token, of a backward one at its first."""

    def __init__(self, hidden_size: int, directions: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """Pool states (T, B, D * H) where inside (T, B) bool to (B, D * H)."""
        last = inside.sum(dim=0) - 1  # (B,)
        reviews = torch.arange(len(last), device=last.device)
        forward, backward = states.split([self.hidden_size, states.shape[2] - self.hidden_size], dim=2)
        return torch.cat([forward[last, reviews], backward[0]], dim=1)


class Mean(nn.Module):
    """The mean state: v = sum_t h_t / length."""

    def __init__(self, hidden_size: int, directions: int) -> None:
        super().__init__()

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """Pool states (T, B, D * H) where inside (T, B) bool to (B, D * H)."""
        total = states.masked_fill(~inside[:, :, None], 0.0).sum(dim=0, dtype=wide(states))
        return total / inside.sum(dim=0)[:, None]


class Max(nn.Module):
    """The greatest value of each number of the state: v = max_t h_t (Collobert et al. 2011)."""

    def __init__(self, hidden_size: int, directions: int) -> None:
        super().__init__()

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """Pool states (T, B, D * H) where inside (T, B) bool to (B, D * H)."""
        greatest: Tensor = Greatest.apply(states, inside)  # type: ignore[no-untyped-call]
        return greatest


class Greatest(torch.autograd.Function):
    """The operation behind `Max`.

    The gradient is PyTorch's for `amax`, which divides it among steps that are equally great, to the bit. But that
    multiplies and divides all T * B * D * H numbers, and counts in 64 bits.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, inside: Tensor) -> Tensor:
        """Pool states, (T, B, D * H), where inside, (T, B) bool."""
        states = states.masked_fill(~inside[:, :, None], -torch.inf)
        greatest = states.amax(dim=0)
        ctx.save_for_backward(states, greatest)
        return greatest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the states for that of the greatest, (B, D * H)."""
        states, greatest = ctx.saved_tensors
        is_greatest = states == greatest  # (T, B, D * H)
        # of 255 steps at a time, so that a byte holds each count
        counts = [steps.sum(dim=0, dtype=torch.uint8).long() for steps in is_greatest.view(torch.uint8).split(255)]
        share = gradient / torch.stack(counts).sum(dim=0)  # (B, D * H)
        return torch.where(is_greatest, share, 0.0), None


class Attention(nn.Module):
    """Additive attention (Bahdanau et al. 2015; with a learnt query, Yang et al. 2016).

    u_t = tanh(W h_t + b);  a = softmax_t(q . u_t) over the review's own tokens;  v = sum_t a_t h_t
    """

    def __init__(self, hidden_size: int, directions: int) -> None:
        super().__init__()
        self.key = Linear(hidden_size * directions, hidden_size)
        self.query = Linear(hidden_size, 1, bias=False)

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """Pool states (T, B, D * H) where inside (T, B) bool to (B, D * H)."""
        scores = self.query(torch.tanh(self.key(states))).squeeze(2)  # (T, B)
        weights = scores.masked_fill(~inside, -torch.inf).softmax(dim=0, dtype=wide(scores))  # (T, B)
        # One product a review, (1, T) by (T, D * H), instead of a weighted copy of all states.
        return torch.bmm(weights.to(states.dtype).T[:, None, :], states.transpose(0, 1)).squeeze(1)


POOLINGS: dict[str, Callable[[int, int], nn.Module]] = {
    "last": Last,
    "mean": Mean,
    "max": Max,
    "attention": Attention,
}
