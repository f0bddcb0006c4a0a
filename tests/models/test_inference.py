"""Tests that the logits do not depend on how the work is divided."""

from collections.abc import Iterator

import pytest
import torch

from sentiment.dataset.batching import Batch, pad_batch
from sentiment.models import inference
from sentiment.models.inference import predict_logits
from tests.conftest import random_reviews, small_model

CPU = torch.device("cpu")
REVIEWS = random_reviews([40, 3, 17, 17, 90, 5, 61, 8] * 8)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let threads have few tokens, and leave the number of threads as it was."""
    monkeypatch.setattr(inference, "LEAST_TOKENS", 100)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("tokens_at_once", [1, 200, 65_536])
def test_neither_threads_nor_parts_change_the_logits(classes: int, threads: int, tokens_at_once: int) -> None:
    model = small_model(classes=classes)
    torch.set_num_threads(1)
    expected = predict_logits(model, REVIEWS, CPU)
    torch.set_num_threads(threads)
    found = predict_logits(model, REVIEWS, CPU, tokens_at_once=tokens_at_once)
    assert found.shape == ((len(REVIEWS),) if classes == 2 else (len(REVIEWS), 3))
    assert found.allclose(expected, atol=1e-6)
    assert torch.get_num_threads() == threads


def test_at_most_so_many_tokens_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watched(*arguments: object) -> Batch:
        batch = pad_batch(*arguments)  # type: ignore[arg-type]
        sizes.append(batch.tokens.numel())
        return batch

    monkeypatch.setattr(inference, "pad_batch", watched)
    torch.set_num_threads(2)
    predict_logits(small_model(), REVIEWS, CPU, tokens_at_once=400)
    assert max(sizes) <= 400 // 2


def test_an_error_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(inference, "pad_batch", fail)
    torch.set_num_threads(2)
    with pytest.raises(torch.OutOfMemoryError, match="none left"):
        predict_logits(small_model(), REVIEWS, CPU)
    assert torch.get_num_threads() == 2
