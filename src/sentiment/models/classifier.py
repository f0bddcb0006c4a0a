"""The classifier: embed the tokens, run a recurrent network over them, pool its states into one vector, score it.

    x_t = embedding of token t
    h_t = cell(x_t, h_{t-1}), in one direction or two, through L layers
    v   = one or more of: the last state, the mean, the maximum, an attention-weighted mean of h_1 .. h_length
    z   = (W v + b) / temperature, a logit for each class; of two classes, for the second alone (see `logits`)

Padding affects no state, pooled value or attention weight. The network reads padded tensors, for which PyTorch has its
fastest kernels, and is still exact: a forward cell meets padding only after a review's end, where its states are
ignored. A backward cell reads each review reversed within its own length, so that padding again comes last.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from sentiment.models.dropout import Dropout
from sentiment.models.layers import Layer
from sentiment.models.pooling import POOLINGS


@dataclass(frozen=True)
class EncoderConfig:
    """Hyperparameters of the embeddings and the recurrent layers."""

    vocabulary_size: int  # V
    embedding_size: int  # E
    cell: str  # a key of layers.CELLS
    hidden_size: int  # H, of each direction
    layers: int  # L
    bidirectional: bool
    mix_directions: bool  # each layer reads both directions of the layer below; else each direction reads only itself


@dataclass(frozen=True)
class ModelConfig(EncoderConfig):
    """Hyperparameters of a classifier, which a checkpoint stores so that its weights can be loaded again."""

    pooling: tuple[str, ...]  # keys of POOLINGS, concatenated in this order
    dropout_embedding: float  # share of embedding elements dropped
    dropout_layers: float  # share of state elements dropped between two layers
    dropout_output: float  # share of the elements of v dropped
    classes: int = 2  # K; a checkpoint without it is of two


class Encoder(nn.Module):
    """Word embeddings and recurrent layers: the part of a classifier that a language model can pretrain."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size)
        is_split = config.bidirectional and not config.mix_directions  # of the layers above the first
        above = (config.hidden_size if is_split else self.width, is_split)
        inputs = [(config.embedding_size, False)] + [above] * (config.layers - 1)
        self.layers = nn.ModuleList(
            Layer(config.cell, size, config.hidden_size, config.bidirectional, split) for size, split in inputs
        )

    @property
    def directions(self) -> int:
        """Return D."""
        return 2 if self.config.bidirectional else 1

    @property
    def width(self) -> int:
        """Return the size of a layer's output, D * H."""
        return self.directions * self.config.hidden_size


SomeEncoder = TypeVar("SomeEncoder", bound=Encoder)


class Classifier(Encoder):
    """Text classifier: a recurrent network over word embeddings, pooled and scored."""

    config: ModelConfig
    temperature: Tensor  # (), 1 while training

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.dropout_embedding = Dropout(config.dropout_embedding)
        self.dropout_layers = Dropout(config.dropout_layers)
        self.dropout_output = Dropout(config.dropout_output)
        self.poolings = nn.ModuleList(POOLINGS[name](config.hidden_size, self.directions) for name in config.pooling)
        self.output = nn.Linear(self.width * len(config.pooling), 1 if config.classes == 2 else config.classes)
        self.register_buffer("temperature", torch.ones(()))

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        shift: Tensor | None = None,
        product_dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return logits for padded tokens (T, B) int64 of reviews with the given lengths (B,) int64.

        The logits are (B,) for two classes and (B, K) for more.

        `shift`, (T, B, E), is added to the embeddings. `product_dtype` is the dtype of the matrix products between the
        embeddings and the pooled vector, by default that of the weights; the logits always have the weights' dtype.
        """
        steps = torch.arange(len(tokens), device=tokens.device)[:, None]
        mask = steps < lengths  # (T, B)
        reversed_steps = torch.where(mask, lengths - 1 - steps, steps)  # (T, B): index of step t of the reversed review
        states = self.dropout_embedding(self.embedding(tokens))  # (T, B, E)
        if shift is not None:
            states = states + shift
        states = states.to(product_dtype or states.dtype)
        for number, layer in enumerate(self.layers):
            if number > 0:
                states = self.dropout_layers(states)
            states = layer(states, reversed_steps)  # (T, B, D * H)
        pooled = torch.cat([pooling(states, mask) for pooling in self.poolings], dim=1)  # (B, poolings * D * H)
        # in a narrower dtype the logit would have only two or three significant digits
        logits: Tensor = self.output(self.dropout_output(pooled.to(self.output.weight.dtype))) / self.temperature
        return logits.squeeze(1)  # only of two classes: (B, 1) to (B,)

    def layer_groups(self) -> list[nn.Module]:
        """Return the modules that have weights, from the output down to the embeddings."""
        return [nn.ModuleList([self.output, *self.poolings]), *reversed(self.layers), self.embedding]


def initial_encoder(config: EncoderConfig, embeddings: Tensor, seed: int) -> Encoder:
    """Build an untrained encoder with the given embeddings (V, E) and other weights drawn at random from `seed`."""
    torch.manual_seed(seed)
    return _with_embeddings(Encoder(config), embeddings)


def initial_model(config: ModelConfig, embeddings: Tensor, seed: int) -> Classifier:
    """Build an untrained classifier with the given embeddings (V, E) and other weights drawn at random from `seed`."""
    torch.manual_seed(seed)
    return _with_embeddings(Classifier(config), embeddings)


def _with_embeddings(encoder: SomeEncoder, embeddings: Tensor) -> SomeEncoder:
    with torch.no_grad():
        encoder.embedding.weight.copy_(embeddings)
    return encoder
