"""The classifier: embed, read with a recurrent network, pool to one vector, score.

    x_t = embedding of token t
    h_t = cell(x_t, h_{t-1}), in one direction or two, through L layers
    v   = one or more of: the last state, the mean, the maximum, an attention-weighted mean of h_1 .. h_length
    logit = (w . v + b) / temperature;  the probability that the review is positive is sigmoid(logit)

No state, pooled value or attention weight ever sees padding. The network reads padded tensors, for which PyTorch has
its fastest kernels, and yet exactly: a forward reader meets padding only after a review's end, where nothing looks;
a backward reader gets each review reversed within its own length, so that the same holds for it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sentiment.models.dropout import Dropout
from sentiment.models.layers import Layer
from sentiment.models.pooling import POOLINGS


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
