from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.corpora.reviews import SENTIMENT, SPLITS, write_corpus
from sentiment.corpora.splitting import (
    SPLITS_AND_VALIDATION,
    VALIDATION,
    Keys,
    SplitInputs,
    assign_splits,
    count_shared_texts,
    draw_labelled,
    hold_out,
    key_of,
    read_split_inputs,
    report_share,
)
from sentiment.errors import InputError
from tests.conftest import review


def keys_of(values: Iterable[str | None]) -> Keys:
    return np.array([key_of(value) for value in values], dtype=np.int64)


LABELS = st.lists(st.integers(0, 1), min_size=4, max_size=60)


@given(LABELS, st.floats(0.05, 0.95), st.integers(0, 99))
def test_single_reviews_fill_the_quota_of_each_label_exactly(labels: list[int], share: float, seed: int) -> None:
    values = np.array(labels, dtype=np.int8)
    held_out = hold_out(values, [], share, seed)
    for label in np.unique(values):
        assert np.count_nonzero(held_out[values == label]) == round(share * np.count_nonzero(values == label))


@given(st.data(), LABELS, st.integers(0, 99))
def test_tied_reviews_stay_together(data: st.DataObject, labels: list[int], seed: int) -> None:
    keys = st.lists(st.integers(0, 8), min_size=len(labels), max_size=len(labels)).map(np.array)
    ties = [data.draw(keys), data.draw(keys)]
    held_out = hold_out(np.array(labels, dtype=np.int8), ties, 0.5, seed)
    for kind in ties:
        for key in set(kind.tolist()) - {0}:
            assert len(set(held_out[kind == key].tolist())) == 1


def test_ties_are_transitive() -> None:
    # 0 and 1 share a text, 1 and 2 a film, so all three belong together and do not fit into half of four.
    ties = [keys_of(["a", "a", "b", "c"]), keys_of(["f", "g", "g", None])]
    for seed in range(20):
        held_out = hold_out(np.zeros(4, dtype=np.int8), ties, 0.5, seed)
        assert held_out.tolist() == [False, False, False, True]


@pytest.mark.parametrize("order", [1, -1])
def test_a_long_chain_of_ties_is_one_unit(order: int) -> None:
    links = np.arange(10_000)[::order]
    labels = np.zeros(10_000, dtype=np.int8)
    assert not hold_out(labels, [1 + links // 2, 1 + (links + 1) // 2], 0.5, 0).any()


def test_groups_as_large_as_imdbs_films_give_almost_the_requested_share() -> None:
    random = np.random.default_rng(0)
    films = random.integers(1, 1001, 10_000)
    labels = random.integers(0, 2, 10_000).astype(np.int8)
    held_out = hold_out(labels, [films], 0.3, 1234)
    for label in (0, 1):
        assert abs(held_out[labels == label].mean() - 0.3) < 0.005


def test_equal_values_have_equal_keys_and_none_has_no_key() -> None:
    a, b, again, none = keys_of(["a", "b", "a", None]).tolist()
    assert a == again
    assert none == 0
    assert len({a, b, none}) == 3


def keys(texts: list[str], groups: Sequence[str | None] | None = None) -> dict[str, Keys]:
    return {"text": keys_of(texts), "group": keys_of(groups or [None] * len(texts))}


DISTINCT = [f"text {number}" for number in range(8)]


@pytest.mark.parametrize(
    ("labels", "ties", "cause"),
    [
        (
            [0, 1] * 4,
            keys(DISTINCT, ["film"] * 8),
            r"0 of 4 labelled negative and 0 of 4 labelled positive.*the largest of 1 groups has 8 reviews",
        ),
        ([0, 0, 0, 0, 0, 0, 0, 1], keys(DISTINCT), r"has 0 of 1 labelled positive; .*too few reviews"),
        (
            [0, 1] * 4,
            keys(["good", "bad"] * 4),
            r"equal texts stay together, and the 8 reviews have 2 distinct texts",
        ),
        (
            [0, 1] * 4,
            keys(["good", "bad"] * 4, ["a"] * 4 + ["b"] * 4),
            r"2 distinct texts; groups stay together .* of 2 groups has 4 reviews; groups with a text in common stay "
            r"together, too, in all up to 8 reviews; .* do without groups \(prepare\.split_by: review\), add reviews",
        ),
    ],
)
def test_a_share_that_ties_do_not_allow_is_refused(labels: list[int], ties: dict[str, Keys], cause: str) -> None:
    with pytest.raises(InputError, match=rf"^prepare\.validation_share: the closest possible draw to 30\.0% .*{cause}"):
        assign_splits(np.zeros(8, dtype=np.int8), np.array(labels, dtype=np.int8), ties, 0.3, 0, SENTIMENT)


# The sizes of groups with equally many reviews of both labels, and the requested share.
@pytest.mark.parametrize(
    ("sizes", "share", "least", "greatest"),
    [
        ([6, *[40] * 5], 0.2, 0.19, 0.2),  # the small one alone is 2.9 %
        ([100] * 3, 0.2, 0.33, 0.34),
        ([100] * 5, 0.1, 0.2, 0.2),  # none would be as near, but no split
        ([2, *[60] * 5, 40], 0.5, 0.45, 0.55),
        ([10, 90], 0.5, 0.1, 0.9),
    ],
)
def test_large_groups_give_the_closest_possible_share(
    sizes: list[int], share: float, least: float, greatest: float
) -> None:
    groups = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    labels = np.arange(sum(sizes), dtype=np.int8) % 2
    for seed in range(20):
        assert least <= hold_out(labels, [groups], share, seed).mean() <= greatest


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=9), st.floats(0.1, 0.9))
def test_adding_or_removing_a_unit_never_improves_the_draw(sizes: list[tuple[int, int]], share: float) -> None:
    labels = np.concatenate([np.repeat(np.array([0, 1], dtype=np.int8), pair) for pair in sizes])
    groups = np.concatenate([np.full(sum(pair), number) for number, pair in enumerate(sizes, start=1)])
    quotas = [round(share * np.count_nonzero(labels == label)) for label in (0, 1)]

    def distance(held_out: npt.NDArray[np.bool_]) -> int:
        return sum(abs(int((labels[held_out] == label).sum()) - quotas[label]) for label in (0, 1))

    held_out = hold_out(labels, [groups], share, 0)
    for group in range(1, len(sizes) + 1):
        assert distance(held_out) <= distance(held_out ^ (groups == group))


def test_the_share_drawn_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.arange(210, dtype=np.int8) % 2
    report_share(np.arange(210) < 41, labels, keys([str(number) for number in range(210)]), 0.2, "test", SENTIMENT)
    assert capsys.readouterr().out == "test: 41 of 210 reviews, 19.5% (requested: 20.0%)\n"


@pytest.mark.parametrize(
    ("drawn", "share", "refused"),
    [(10, 0.2, False), (9, 0.2, True), (40, 0.2, False), (42, 0.2, True), (80, 0.6, False), (82, 0.6, True)],
)
def test_less_than_half_or_more_than_twice_a_share_is_refused(drawn: int, share: float, refused: bool) -> None:
    held_out, labels = np.arange(100) < drawn, np.arange(100, dtype=np.int8) % 2
    with pytest.raises(InputError, match=r"download\.custom\.test_share") if refused else nullcontext():
        report_share(held_out, labels, keys([str(number) for number in range(100)]), share, "test", SENTIMENT)


def write_shared(path: Path, shared: int) -> SplitInputs:
    """Write a corpus of 10 training and 10 test reviews, of which some test reviews have a training text."""
    write_corpus(
        path,
        [
            review(
                id=f"{split}/{number}",
                split=split,
                label=number % 2,
                text=f"{split if number >= shared else ''} {number}",
            )
            for split in ("train", "test")
            for number in range(10)
        ],
    )
    return read_split_inputs(path)


@pytest.mark.parametrize("shared", [0, 1, 3])
def test_test_reviews_with_the_text_of_a_training_review_are_counted(tmp_path: Path, shared: int) -> None:
    inputs = write_shared(tmp_path / "corpus.parquet", shared)
    assert count_shared_texts(inputs, shared / 10) == shared


def test_more_shared_texts_than_allowed_are_refused(tmp_path: Path) -> None:
    inputs = write_shared(tmp_path / "corpus.parquet", 3)
    message = (
        r"^prepare\.max_shared_texts: 3 of 10 test reviews, 30\.0%, have the same text .*; at most 20\.0% are allowed"
    )
    with pytest.raises(InputError, match=message):
        count_shared_texts(inputs, 0.2)


def test_only_training_reviews_are_held_out() -> None:
    splits = np.array([SPLITS.index(split) for split in ("train", "test", "unsup", "train", "train", "train", "test")])
    labels = np.array([0, 1, -1, 1, 0, 1, 0], dtype=np.int8)
    assigned = assign_splits(splits.astype(np.int8), labels, keys(DISTINCT[:4]), 0.5, 0, SENTIMENT)
    held_out = assigned == VALIDATION
    assert np.count_nonzero(held_out) == 2
    assert set(splits[held_out].tolist()) == {SPLITS.index("train")}
    assert (assigned[~held_out] == splits[~held_out]).all()
    assert SPLITS_AND_VALIDATION[: len(SPLITS)] == SPLITS


def test_a_smaller_draw_of_labels_is_a_subset_of_a_larger_one() -> None:
    labels = np.arange(100, dtype=np.int8) % 2
    whole, few, fewer = (draw_labelled(labels, count, 0, SENTIMENT) for count in (None, 40, 20))
    assert whole.tolist() == draw_labelled(labels, 1000, 0, SENTIMENT).tolist() == list(range(100))
    assert (len(few), len(fewer)) == (40, 20)
    assert set(fewer) < set(few)
    assert (np.diff(few) > 0).all()


def test_a_draw_without_both_labels_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"prepare\.labels: of the 1 randomly drawn training reviews none has the label positive; draw more",
    ):
        draw_labelled(np.array([0, 1] * 9, dtype=np.int8), 1, 0, SENTIMENT)
