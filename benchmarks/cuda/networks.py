"""The models and configurations that several parts train."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.cuda.checks import Setting
from benchmarks.cuda.pack import Packed
from sentiment.models.classifier import Classifier, ModelConfig, initial_model
from sentiment.pretraining.language_model import LanguageConfig
from sentiment.training.trainer import TrainConfig

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
EMBEDDING_SIZE = 100
SPANS = 4  # what `stages.train` makes of `train.spans: null` for long reviews


def vocabulary_size(data: Packed) -> int:
    """Return one more than the greatest token."""
    return 1 + max(int(reviews.tokens.max()) for reviews in data.values() if len(reviews))


def default_shape(setting: Setting) -> ModelConfig:
    """Return the network of params.yaml, narrower on a CPU."""
    values = read_params("model", ModelConfig)
    values |= {"pooling": tuple(values["pooling"]), "vocabulary_size": vocabulary_size(setting.reviews())}
    shape = ModelConfig(embedding_size=EMBEDDING_SIZE, **values)
    return replace(shape, hidden_size=8, embedding_size=10) if setting.is_small else shape


def default_training(**changes: Any) -> TrainConfig:
    """Return the training of params.yaml but for what is changed; embeddings start at random and are trained."""
    return TrainConfig(**read_params("train", TrainConfig) | {"embedding_rate": 1.0, "spans": SPANS} | changes)


def default_pretraining(**changes: Any) -> LanguageConfig:
    """Return the pretraining of params.yaml but for what is changed."""
    return LanguageConfig(**read_params("pretrain", LanguageConfig) | changes)


def read_params(section: str, kind: type[Any]) -> dict[str, Any]:
    """Return those parameters of a section that a dataclass has fields for."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in read_section(section).items() if name in names}


def read_section(section: str) -> dict[str, Any]:
    """Return the parameters of a section."""
    values: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))[section]
    return values


def new_model(shape: ModelConfig) -> Classifier:
    """Return an untrained model on the CPU, the same each time, with random embeddings."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(shape.vocabulary_size, shape.embedding_size, generator=generator)
    return initial_model(shape, embeddings, seed=0)


def without_dropout(shape: ModelConfig) -> ModelConfig:
    """Return the same network without dropout."""
    return replace(shape, dropout_embedding=0.0, dropout_layers=0.0, dropout_output=0.0)
