"""Tests that the ONNX graph computes what the model computes."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

from sentiment.dataset.batching import pad_batch
from sentiment.export.graph import to_onnx
from sentiment.models.classifier import Classifier
from sentiment.models.inference import predict_logits
from sentiment.models.layers import CELLS
from sentiment.models.logits import class_logits
from sentiment.models.pooling import POOLINGS
from tests.conftest import random_reviews, small_model


def run(model: onnx.ModelProto, tokens: torch.Tensor, lengths: torch.Tensor) -> npt.NDArray[np.float32]:
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"tokens": tokens.numpy(), "lengths": lengths.numpy()})
    return np.asarray(probabilities)


def agree(model: Classifier) -> None:
    """Assert that the graph gives the model's probabilities for texts of many lengths in one padded batch."""
    with torch.no_grad():
        model.temperature.fill_(1.7)
    reviews = random_reviews([1, 2, 7, 30, 3], classes=model.config.classes)
    batch = pad_batch(reviews, torch.arange(len(reviews)))
    found = run(to_onnx(model), batch.tokens.T.contiguous(), batch.lengths)
    expected = class_logits(predict_logits(model, reviews, torch.device("cpu"))).softmax(dim=1).numpy()
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_cell_direction_and_pooling(cell: str, bidirectional: bool, pooling: str) -> None:
    agree(small_model(cell=cell, bidirectional=bidirectional, pooling=(pooling,)))


@pytest.mark.parametrize("mix_directions", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_several_layers_and_poolings(mix_directions: bool, bidirectional: bool) -> None:
    model = small_model(layers=3, bidirectional=bidirectional, mix_directions=mix_directions, pooling=tuple(POOLINGS))
    agree(model)


@pytest.mark.parametrize("classes", [3, 20])
def test_more_than_two_classes(classes: int) -> None:
    agree(small_model(classes=classes))


def test_padding_changes_nothing() -> None:
    model = small_model(pooling=tuple(POOLINGS))
    graph = to_onnx(model)
    tokens, lengths = torch.tensor([[5, 6, 7]]), torch.tensor([3])
    padded = torch.cat([tokens, torch.full((1, 20), 3)], dim=1)
    assert run(graph, padded, lengths) == pytest.approx(run(graph, tokens, lengths), abs=1e-6)
