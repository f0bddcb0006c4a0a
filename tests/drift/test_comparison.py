"""Statistics of samples worked out by hand, and the rule by which texts are alike or not."""

from dataclasses import replace

import numpy as np
import pytest

from sentiment.drift.comparison import (
    COPIES,
    DISTANCE,
    OTHER_LABEL,
    QUANTILES,
    SURE,
    UNKNOWN,
    UNSEEN,
    Row,
    around_share,
    compare,
    distance,
    format_table,
    judge,
    quantile,
    summarize,
)
from sentiment.drift.measures import Measures, Training

MEDIAN = list(QUANTILES)[1]
NOTHING = np.zeros(1, dtype=np.int64)
TRAINING = Training(NOTHING > 0, NOTHING, np.array([0.5, 0.5]), NOTHING, NOTHING)


def texts(count: int, seed: int = 0, unknown: float = 0.1, length: int = 40) -> Measures:
    """Return the measures of random texts."""
    random = np.random.default_rng(seed)
    tokens = random.integers(length // 2, length * 2, count)
    first = random.binomial(tokens, 0.5)
    return Measures(
        tokens=tokens,
        unknown=random.binomial(tokens, unknown),
        frequent=random.binomial(tokens, 0.4),
        pairs=tokens - 1,
        unseen=random.binomial(tokens - 1, 0.2),
        is_copy=np.zeros(count, dtype=np.bool_),
        confidence=random.uniform(0.5, 1, count),
        labels=random.integers(0, 2, count),
        words=np.stack([first, tokens - first], axis=1),
    )


def test_a_quantile_is_the_least_value_that_reaches_the_rank() -> None:
    values, weights = np.array([30, 10, 20]), np.array([[1, 1, 1], [0, 3, 1], [2, 0, 0]])
    assert quantile(values, weights, 0.5).tolist() == [20, 10, 30]
    assert quantile(values, weights, 0.95).tolist() == [30, 20, 30]


def test_the_distance_is_the_share_of_tokens_that_would_have_to_change() -> None:
    words, shares = np.array([[3, 1], [1, 3]]), np.array([0.75, 0.25])
    assert distance(words, np.array([[1, 0], [0, 1], [1, 1]]), shares) == pytest.approx([0, 0.5, 0.25])
    assert distance(words, np.ones((1, 7), dtype=np.int64), shares) == pytest.approx([0.25]), "of sums over seven texts"


def test_shares_are_of_all_tokens_pairs_or_texts_of_a_sample() -> None:
    two = replace(
        texts(2),
        tokens=np.array([10, 30]),
        unknown=np.array([1, 1]),
        pairs=np.array([0, 4]),
        unseen=np.array([0, 1]),
        is_copy=np.array([True, False]),
        confidence=np.array([0.95, 0.6]),
        labels=np.array([-1, 1]),
    )
    found = summarize(two, TRAINING, ("bad", "good"), np.array([[1, 1], [1, 0], [2, 2]]))
    assert found[UNKNOWN] == pytest.approx([2 / 40, 1 / 10, 2 / 40])
    assert found[UNSEEN] == pytest.approx([1 / 4, np.nan, 1 / 4], nan_ok=True)
    assert found[COPIES].tolist() == [0.5, 1, 0.5]
    assert found[SURE].tolist() == [0.5, 1, 0.5]
    assert found["label good"] == pytest.approx([1, np.nan, 1], nan_ok=True)
    assert found[OTHER_LABEL].tolist() == [0.5, 1, 0.5]
    assert found[MEDIAN].tolist() == [10, 10, 10]


def test_a_small_effect_is_one_percent_of_nothing_and_ten_percent_of_a_half() -> None:
    assert around_share(0.0) == pytest.approx((0, 0.01), abs=1e-4)
    assert around_share(0.5) == pytest.approx((0.4, 0.6), abs=1e-3)
    assert around_share(1.0) == pytest.approx((0.99, 1), abs=1e-4)


@pytest.mark.parametrize(
    ("measure", "file", "spread", "is_alike"),
    [
        (UNKNOWN, 0.59, 0.0, True),  # too small to matter
        (UNKNOWN, 0.61, 0.0, False),
        (UNKNOWN, 0.61, 0.2, True),  # by chance
        (UNKNOWN, 0.39, 0.0, False),
        (DISTANCE, 0.39, 0.0, True),  # texts cannot be too close
        (DISTANCE, 0.61, 0.0, False),
    ],
)
def test_a_value_is_alike_within_either_range(measure: str, file: float, spread: float, is_alike: bool) -> None:
    row = judge(measure, file, 0.5, np.array([-spread, spread]))
    assert row.is_alike == is_alike


def test_a_length_may_be_a_quarter_more_or_a_fifth_less() -> None:
    found = [judge(MEDIAN, tokens, 100, np.zeros(9)).is_alike for tokens in (79, 80, 125, 126)]
    assert found == [False, True, True, False]


def test_without_anything_to_measure_there_is_no_verdict() -> None:
    row = judge(UNSEEN, np.nan, 0.5, np.zeros(9))
    assert row == Row(UNSEEN, None, 0.5, None, None, None)
    assert "| -       |" in format_table([row], (1, 1))


@pytest.mark.parametrize("count", [1, 20, 3_000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_texts_of_the_same_kind_are_alike_however_many(count: int, seed: int) -> None:
    rows = compare(texts(count, seed), 0, texts(500), TRAINING, ("bad", "good"), seed)
    assert [row for row in rows if row.is_alike is False] == []


def test_a_copy_in_a_few_texts_is_chance_and_the_same_share_of_many_is_not() -> None:
    verdicts = []
    for count in (20, 2_000):
        file = replace(texts(count, 1), is_copy=np.arange(count) % 20 == 0)
        rows = compare(file, 0, texts(500), TRAINING, None, 1)
        verdicts += [row.is_alike for row in rows if row.measure == COPIES]
    assert verdicts == [True, False]


@pytest.mark.parametrize("count", [20, 3_000])
def test_texts_with_more_unknown_words_or_blank_rows_are_unlike_in_these_alone(count: int) -> None:
    rows = compare(texts(count, 1, unknown=0.3), count, texts(500), TRAINING, None, 1)
    assert [row.measure for row in rows if not row.is_alike] == [UNKNOWN, "blank or unreadable texts"]


def test_a_difference_too_small_to_matter_is_alike_however_many_texts_show_it() -> None:
    rows = {row.measure: row for row in compare(texts(50_000, 1, unknown=0.13), 0, texts(2_000), TRAINING, None, 1)}
    row = rows[UNKNOWN]
    assert row.chance is not None
    assert row.file is not None
    assert row.file > row.chance[1]
    assert row.is_alike
