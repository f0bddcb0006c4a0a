from pathlib import Path

import pytest
import torch

from sentiment.dataset.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.linear import model as module
from sentiment.linear.model import LinearModel, greatest_order, load_linear, occurrences
from sentiment.storage.tensors import save_tensors
from tests.conftest import random_reviews, small_linear

V, BASE = 20, 21


def ngram(*words: int) -> int:
    """Return the number of an n-gram."""
    number = 0
    for word in words:
        number = number * BASE + word + 1
    return number


def reviews_of(*texts: list[int]) -> EncodedReviews:
    lengths = torch.tensor([0, *map(len, texts)])
    return EncodedReviews(
        torch.tensor([word for text in texts for word in text], dtype=torch.int32),
        lengths.cumsum(0),
        torch.zeros(len(texts), dtype=torch.int8),
    )


def test_the_ngrams_of_two_reviews_by_hand() -> None:
    reviews = reviews_of([5, 6, 5], [7])
    words, pairs, triples = ([values.tolist() for values in seen] for seen in occurrences(reviews, 3, V))
    assert words == [[ngram(5), ngram(6), ngram(5), ngram(7)], [0, 0, 0, 1], [0, 1, 2, 3]]
    assert pairs == [[ngram(5, 6), ngram(6, 5)], [0, 0], [0, 1]]
    assert triples == [[ngram(5, 6, 5)], [0], [0]]


def test_the_logit_by_hand() -> None:
    known = torch.tensor([ngram(5), ngram(6), ngram(5, 6)])
    model = LinearModel(2, V, known, torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0.5]))
    logits = model.logits(reviews_of([5, 5, 6], [7, 8], [6, 5]))
    # all three n-grams, each counted once; none; two
    expected = torch.tensor([0.5 + 7 / 3**0.5, 0.5, 0.5 + 3 / 2**0.5], dtype=torch.float64)
    torch.testing.assert_close(logits, torch.stack([torch.zeros(3, dtype=torch.float64), expected], dim=1))


def test_a_logit_for_each_of_more_classes() -> None:
    model = small_linear(outputs=4)
    assert model.logits(random_reviews([3, 1, 40])).shape == (3, 4)


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_weights_of_the_tokens_and_the_bias_add_up_to_the_logits(outputs: int) -> None:
    model, reviews = small_linear(outputs), random_reviews([1, 2, 3, 50])
    weights = model.token_weights(reviews)
    assert [of_review.shape for of_review in weights] == [(length, outputs) for length in (1, 2, 3, 50)]
    sums = torch.stack([of_review.sum(dim=0) for of_review in weights]) + model.bias
    torch.testing.assert_close(sums, model.logits(reviews)[:, -outputs:])


def test_the_weights_of_the_tokens_by_hand() -> None:
    known = torch.tensor([ngram(5), ngram(5, 6)])
    model = LinearModel(2, V, known, torch.tensor([[6.0], [4.0]]), torch.zeros(1))
    (weights,) = model.token_weights(reviews_of([5, 5, 6]))
    # two known n-grams, hence a root of 2; the word occurs twice, the pair covers two tokens
    torch.testing.assert_close(weights[:, 0], torch.tensor([3, 3 + 2, 2], dtype=torch.float64) / 2**0.5)


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("tokens", [1, 4])
def test_many_texts_are_read_in_parts(monkeypatch: pytest.MonkeyPatch, outputs: int, tokens: int) -> None:
    model, reviews = small_linear(outputs), random_reviews([3, 50, 1, 1, 7])
    expected = model.logits(reviews), model.token_weights(reviews)
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", tokens)
    assert torch.equal(model.logits(reviews), expected[0])
    assert all(map(torch.equal, model.token_weights(reviews), expected[1]))


def test_no_texts_have_no_logits() -> None:
    assert small_linear().logits(reviews_of()).shape == (0, 2)


def test_a_factor_scales_the_logits() -> None:
    model, reviews = small_linear(3), random_reviews([9, 2])
    torch.testing.assert_close(model.scaled(0.5).logits(reviews), model.logits(reviews) / 2, rtol=1e-6, atol=1e-6)


def test_ngrams_fit_into_63_bits() -> None:
    assert (25_003**4 < 2**63, 25_003**5 < 2**63) == (True, False)
    assert greatest_order(25_002) == 4


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_reloaded_model_is_equal(tmp_path: Path, outputs: int) -> None:
    model, reviews = small_linear(outputs), random_reviews([9, 2])
    save_tensors(tmp_path / "linear", model.tensors())
    loaded = load_linear(tmp_path / "linear", V, classes=2 if outputs == 1 else outputs)
    assert torch.equal(loaded.logits(reviews), model.logits(reviews))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ngrams", torch.tensor([3, 3])),
        ("ngrams", torch.tensor([], dtype=torch.int64)),
        ("weights", torch.zeros(2, 2)),
        ("weights", torch.tensor([[0.0], [torch.nan]])),
        ("bias", torch.zeros(2)),
        ("order", torch.tensor(0)),
        ("order", torch.tensor(99)),
        ("vocabulary_size", torch.tensor(V + 1)),
        ("vocabulary_size", torch.tensor([V, V])),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, value: torch.Tensor) -> None:
    model = LinearModel(2, V, torch.tensor([3, 4]), torch.zeros(2, 1), torch.zeros(1))
    save_tensors(tmp_path / "linear", {**model.tensors(), name: value})
    with pytest.raises(InputError, match="not a linear model of 20 words and 2 classes"):
        load_linear(tmp_path / "linear", V, classes=2)
