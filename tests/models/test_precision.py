"""The dtype at each boundary of a training step and of a pretraining step, in each precision.

No dtype depends on the device, so that what is seen here on the CPU is what CUDA gets.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sentiment.models.classifier import Classifier
from sentiment.models.layers import CELLS
from sentiment.models.pooling import POOLINGS
from sentiment.models.precision import PRECISIONS
from sentiment.pretraining.language_model import SOFTMAXES, Stack
from sentiment.pretraining.trainer import LanguageTrainer, windows_of
from sentiment.runtime.device import product_dtype
from sentiment.training.objective import Objective, ObjectiveConfig
from tests.conftest import random_reviews, small_model
from tests.pretraining.test_trainer import BOUNDARY, CONFIG, DROPOUT

CPU = torch.device("cpu")
PRODUCTS = {"aten.mm.default", "aten.addmm.default", "aten.bmm.default", "aten.baddbmm.default"}
SOFTMAX = {"aten._softmax.default", "aten._log_softmax.default"}
WIDTH = 6  # of embeddings, states and batch: no product has a column of its own but the output's


@pytest.fixture(autouse=True)
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any processor multiply bfloat16, by PyTorch's own kernels: oneDNN has no LSTM for it below AVX-512."""
    monkeypatch.setattr("sentiment.runtime.device.has_fast_bfloat16", lambda device: True)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


class Operations(TorchDispatchMode):
    """Record the dtypes of all products, and the smallest side of each, and those that softmaxes give."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[tuple[torch.dtype, int]] = []
        self.softmaxes: set[torch.dtype] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and look at it."""
        result = function(*args, **(kwargs or {}))
        if str(function) in PRODUCTS:
            sides = [side for factor in args[-2:] for side in factor.shape[-2:]]
            self.products.append((result.dtype, min(sides)))
        if str(function) in SOFTMAX:
            self.softmaxes.add(result.dtype)
        return result


def boundaries(model: nn.Module) -> dict[str, set[torch.dtype]]:
    """Return a table that fills with the dtypes of each module's outputs, and of their gradients, as the model runs."""
    seen: dict[str, set[torch.dtype]] = {}

    def look(name: str, output: Any) -> None:
        seen.setdefault(name, set()).add(output.dtype)
        if output.requires_grad:
            output.register_hook(lambda gradient: seen.setdefault(f"{name} gradient", set()).add(gradient.dtype))

    for name, module in model.named_modules():
        if name and not isinstance(module, nn.ModuleList | nn.RNNBase | Stack):
            module.register_forward_hook(lambda module, inputs, output, name=name: look(name, output))
    return seen


def dtypes_of_training_step(model: Classifier, precision: str) -> tuple[dict[str, set[torch.dtype]], Operations]:
    reviews = random_reviews([7, 3, 5, 6, 9, 4])
    config = ObjectiveConfig(1000, precision, adversarial=1.0, virtual=1.0, entropy=1.0, epsilon=1.0)
    objective = Objective(model, reviews, reviews, config, CPU)
    seen = boundaries(model)
    with Operations() as operations:
        loss = objective.backward(torch.arange(len(reviews)), torch.arange(len(reviews)))
    assert loss.dtype == torch.float32
    return seen, operations


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_dtypes_in_a_training_step(cell: str, precision: str) -> None:
    narrow, exact = getattr(torch, precision), torch.float32
    sizes: dict[str, object] = {"hidden_size": WIDTH, "embedding_size": WIDTH, "layers": 2, "pooling": tuple(POOLINGS)}
    model = small_model(cell=cell, dropout_embedding=0.2, dropout_layers=0.2, dropout_output=0.2, **sizes)
    seen, operations = dtypes_of_training_step(model, precision)

    for name in ("embedding", "dropout_embedding", "dropout_output", "output"):
        assert seen[name] == seen[f"{name} gradient"] == {exact}, name
    for name in ("layers.0", "dropout_layers", "layers.1"):
        assert seen[name] == seen[f"{name} gradient"] == {narrow}, name
    for number, pooling in enumerate(POOLINGS):
        assert seen[f"poolings.{number}"] == ({exact} if pooling == "mean" else {narrow}), pooling
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        assert weight.dtype == weight.grad.dtype == exact, name
    assert {dtype for dtype, smallest in operations.products if smallest > 1} == {narrow}
    assert operations.softmaxes == {exact}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("softmax", SOFTMAXES)
@pytest.mark.parametrize("cell", CELLS)
def test_dtypes_in_a_pretraining_step(cell: str, softmax: str, precision: str) -> None:
    narrow, exact = getattr(torch, precision), torch.float32
    model = small_model(cell=cell, layers=2, mix_directions=False, hidden_size=WIDTH, embedding_size=WIDTH)
    config = replace(CONFIG, precision=precision, softmax=softmax, variational=True, **DROPOUT)
    trainer = LanguageTrainer(model, random_reviews([9] * 30), BOUNDARY, config, CPU)
    seen = boundaries(trainer.models)
    with Operations() as operations:
        loss = trainer.learn(next(windows_of(trainer.held_out, 2, 5)), "a window")

    assert loss.dtype == exact
    assert seen["dropout_embedding"] == seen["dropout_embedding gradient"] == {exact}
    for name in ("stacks.0.dropout_layers", "dropout_output"):
        assert seen[name] == seen[f"{name} gradient"] == {narrow}, name
    for number in range(2):
        assert seen[f"softmaxes.{number}"] == {exact}
    for name, weight in trainer.models.named_parameters():
        assert weight.grad is not None
        assert weight.dtype == weight.grad.dtype == exact, name
    for state in trainer.carried[0]:
        assert state is not None
        assert {part.dtype for part in state} == {narrow}
    assert {dtype for dtype, _ in operations.products} == {narrow}
    assert operations.softmaxes == {exact}


@pytest.mark.parametrize(("able", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_used_only_on_devices_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, able: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr("sentiment.runtime.device.has_fast_bfloat16", lambda device: able)
    assert product_dtype("bfloat16", CPU) == expected
    assert product_dtype("float32", CPU) == torch.float32


def test_bfloat16_changes_no_logit_by_much() -> None:
    model = small_model(hidden_size=32, embedding_size=32)
    reviews = random_reviews([7, 3, 5, 6])
    tokens = torch.randint(2, 20, (9, 4))
    lengths = reviews.lengths
    exact, near = model(tokens, lengths), model(tokens, lengths, None, torch.bfloat16)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0.02)
    assert isinstance(near, Tensor)
