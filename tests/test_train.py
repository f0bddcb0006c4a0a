"""The train stage chooses what its parameters leave open."""

from pathlib import Path

import pytest

from sentiment.dataset.encoded import PADDING
from stages.params import Params, read_params
from stages.train import KEPT_RATE, TUNED_RATE, train_config
from tests.conftest import random_reviews

PARAMS = read_params(Path(__file__).resolve().parent.parent / "params.yaml")


def changed(
    source: str = "trained", is_pretrained: bool = False, rate: float | None = None, spans: int | None = None
) -> Params:
    return PARAMS.model_copy(
        update={
            "vectors": PARAMS.vectors.model_copy(update={"source": source}),
            "pretrain": PARAMS.pretrain.model_copy(update={"enabled": is_pretrained}),
            "train": PARAMS.train.model_copy(update={"embedding_rate": rate, "spans": spans}),
        }
    )


@pytest.mark.parametrize(
    ("source", "is_pretrained", "expected"),
    [
        ("trained", False, KEPT_RATE),
        ("fetched", False, TUNED_RATE),
        ("both", False, KEPT_RATE),
        ("trained", True, TUNED_RATE),
    ],
)
def test_vectors_are_tuned_if_they_are_only_fetched_or_pretrained(
    source: str, is_pretrained: bool, expected: float
) -> None:
    reviews = random_reviews([10])
    assert train_config(changed(source, is_pretrained), reviews).embedding_rate == expected
    assert train_config(changed(source, is_pretrained, rate=0.5), reviews).embedding_rate == 0.5


@pytest.mark.parametrize(("spans", "length", "expected"), [(None, 127, 0), (None, 128, 4), (2, 127, 2), (0, 128, 0)])
def test_long_reviews_are_cut_into_spans_by_default(spans: int | None, length: int, expected: int) -> None:
    assert train_config(changed(spans=spans), random_reviews([1, length, 1000])).spans == expected


def test_reviews_whose_vectors_are_tuned_are_not_cut_into_spans_by_default() -> None:
    assert train_config(changed(rate=0.5), random_reviews([200])).spans == 0


def test_padding_makes_no_review_long() -> None:
    reviews = random_reviews([200, 200, 200])
    reviews.tokens.view(3, 200)[:, 20:] = PADDING
    assert train_config(changed(), reviews).spans == 0
