from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import binary_cross_entropy_with_logits

from sentiment.dataset.encoded import EncodedReviews, select_reviews
from sentiment.linear.fitting import LinearConfig, find_ngrams, fit_best, fit_linear, log_count_ratios
from sentiment.linear.model import occurrences
from tests.conftest import random_reviews

V = 20
CONFIG = LinearConfig(max_words=2, min_reviews=1, max_tokens=10_000)


def reviews_with_a_sign(count: int, classes: int = 2, seed: int = 0) -> EncodedReviews:
    """Return random reviews in which words of each class are a little more frequent."""
    random = np.random.default_rng(seed)
    reviews = random_reviews(random.integers(1, 30, count).tolist(), V, seed, classes)
    sign = reviews.labels.repeat_interleave(reviews.lengths).int() + 2
    is_sign = torch.from_numpy(random.random(len(reviews.tokens)) < 0.2)
    return EncodedReviews(torch.where(is_sign, sign, reviews.tokens), reviews.offsets, reviews.labels)


def texts_of(reviews: EncodedReviews) -> list[str]:
    words = [f"w{token}" for token in reviews.tokens.tolist()]
    bounds = reviews.offsets.tolist()
    return [" ".join(words[start:end]) for start, end in pairwise(bounds)]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_model_is_the_one_that_scikit_learn_gives_on_strings(classes: int) -> None:
    training, new = (reviews_with_a_sign(80, classes, seed) for seed in (0, 1))
    model = fit_linear(find_ngrams(training, V, CONFIG), V, classes, CONFIG, inverse_penalty=3.0)
    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\S+")
    counts, new_counts = vectorizer.fit_transform(texts_of(training)).toarray(), vectorizer.transform(texts_of(new))
    roots = np.sqrt(counts.sum(axis=1, keepdims=True))
    new_roots = np.sqrt(np.maximum(new_counts.toarray().sum(axis=1, keepdims=True), 1))
    labels = training.labels.numpy()
    for label in [1] if classes == 2 else range(classes):
        inside, outside = (1 + counts[chosen].sum(axis=0) for chosen in (labels == label, labels != label))
        ratios = np.log((inside / inside.sum()) / (outside / outside.sum()))
        regression = LogisticRegression(C=3.0, solver="liblinear", max_iter=1000)
        regression.fit(counts / roots * ratios, labels == label)
        expected = regression.decision_function(new_counts.toarray() / new_roots * ratios)
        assert model.logits(new)[:, label].numpy() == pytest.approx(expected, abs=1e-3)


def test_the_model_minimises_the_documented_sum() -> None:
    training = reviews_with_a_sign(80)
    training = select_reviews(training, torch.arange(80)[(training.labels == 1) | (torch.arange(80) < 20)])
    ngrams, penalty = find_ngrams(training, V, CONFIG), 0.1
    model = fit_linear(ngrams, V, 2, CONFIG, penalty)
    ratio = torch.from_numpy(log_count_ratios(ngrams.occurs, ngrams.labels == 1))
    occurs, labels = torch.from_numpy(ngrams.occurs.toarray()), training.labels.double()
    x = occurs / occurs.sum(dim=1, keepdim=True).sqrt()
    u, b = (model.weights[:, 0].double() / ratio).requires_grad_(), model.bias.double().requires_grad_()
    losses = binary_cross_entropy_with_logits(x @ (u * ratio) + b, labels, reduction="sum")
    (losses + (u.square().sum() + b.square().sum()) / (2 * penalty)).backward()
    assert u.grad is not None
    assert b.grad is not None
    assert torch.cat([u.grad, b.grad]).abs().max() < 1e-3
    assert b.abs() > 0.1


def test_the_log_count_ratio_by_hand() -> None:
    occurs = find_ngrams(random_reviews([3]), V, CONFIG).occurs.__class__(np.array([[1.0, 1], [1, 0], [1, 0]]))
    # of class: 1 + 1 and 1 + 1, of four; of the others: 1 + 2 and 1 + 0, of four
    ratios = log_count_ratios(occurs, np.array([True, False, False]))
    assert ratios == pytest.approx(np.log([(2 / 4) / (3 / 4), (2 / 4) / (1 / 4)]))


def in_reviews(reviews: EncodedReviews, ngram: int) -> int:
    """Return the number of reviews with an n-gram of up to two words."""
    rows = [each.rows[each.ngrams == ngram] for each in occurrences(reviews, 2, V)]
    return len(torch.cat(rows).unique())


def test_rare_ngrams_are_left_out() -> None:
    reviews = random_reviews([30] * 20)
    found = find_ngrams(reviews, V, LinearConfig(max_words=2, min_reviews=5, max_tokens=10_000))
    assert (found.occurs.sum(axis=0) >= 5).all()
    ngrams = torch.cat([each.ngrams for each in occurrences(reviews, 2, V)]).unique()
    assert found.known.tolist() == [number for number in ngrams.tolist() if in_reviews(reviews, number) >= 5]
    assert 0 < len(found.known) < len(ngrams)


def test_if_all_are_rare_the_most_frequent_are_kept() -> None:
    reviews = random_reviews([4, 1, 2])
    tokens = torch.tensor([7, 7, 7, 5, 5, 6, 5], dtype=torch.int32)  # 7 is the most frequent, but in a single review
    found = find_ngrams(
        EncodedReviews(tokens, reviews.offsets, reviews.labels), V, LinearConfig(3, min_reviews=9, max_tokens=10_000)
    )
    assert found.known.tolist() == [5 + 1]
    assert found.occurs.toarray().tolist() == [[1], [1], [1]]


def test_of_longer_text_some_reviews_of_each_label_are_read() -> None:
    reviews = random_reviews([10] * 100)
    labels = torch.zeros(100, dtype=torch.int8).index_fill(0, torch.tensor([7]), 1)
    found = find_ngrams(
        EncodedReviews(reviews.tokens, reviews.offsets, labels), V, LinearConfig(1, min_reviews=1, max_tokens=250)
    )
    assert found.occurs.shape[0] == 26  # every fourth of 99, and the only one
    assert found.labels.sum() == 1


def test_the_penalty_is_chosen_on_validation_reviews() -> None:
    training, validation = (reviews_with_a_sign(60, seed=seed) for seed in (0, 1))
    fitted = fit_best(training, validation, V, CONFIG, [1e-6, 1.0], refit=False)
    assert fitted.inverse_penalty == 1.0
    torch.testing.assert_close(fitted.held_out, fitted.model.logits(validation))
    assert fitted.validation_accuracy > 0.5
    assert fitted.validation_loss < np.log(2)


def test_a_refit_leaves_the_validation_logits_as_they_were() -> None:
    training, validation = (reviews_with_a_sign(60, seed=seed) for seed in (0, 1))
    plain, refitted = (fit_best(training, validation, V, CONFIG, [1.0], refit=refit) for refit in (False, True))
    assert torch.equal(plain.held_out, refitted.held_out)
    assert not torch.equal(plain.model.bias, refitted.model.bias)


def test_equal_reviews_give_equal_models() -> None:
    reviews = reviews_with_a_sign(50)
    again = select_reviews(reviews, torch.arange(50))
    first, second = (fit_linear(find_ngrams(each, V, CONFIG), V, 2, CONFIG, 1.0) for each in (reviews, again))
    assert all(torch.equal(first.tensors()[name], second.tensors()[name]) for name in first.tensors())
