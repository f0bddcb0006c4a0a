import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.errors import InputError
from sentiment.split import hold_out, rows_of_splits

LABELS = st.lists(st.integers(0, 1), min_size=4, max_size=60)


@given(LABELS, st.floats(0.05, 0.95), st.integers(0, 99))
def test_single_reviews_fill_the_quota_of_each_label_exactly(labels: list[int], share: float, seed: int) -> None:
    values = np.array(labels, dtype=np.int8)
    held_out = hold_out(values, [], share, seed)
    for label in np.unique(values):
        assert np.count_nonzero(held_out[values == label]) == round(share * np.count_nonzero(values == label))


@given(st.data(), LABELS, st.integers(0, 99))
def test_tied_reviews_stay_together(data: st.DataObject, labels: list[int], seed: int) -> None:
    keys = st.lists(st.none() | st.integers(0, 8), min_size=len(labels), max_size=len(labels))
    ties = [data.draw(keys), data.draw(keys)]
    held_out = hold_out(np.array(labels, dtype=np.int8), ties, 0.5, seed)
    for kind in ties:
        for key in set(kind) - {None}:
            assert len({bool(held_out[row]) for row, found in enumerate(kind) if found == key}) == 1


def test_ties_are_followed_from_review_to_review() -> None:
    # 0 and 1 share a text, 1 and 2 a film, so all three belong together and do not fit into half of four.
    ties: list[list[str | None]] = [["a", "a", "b", "c"], ["f", "g", "g", None]]
    for seed in range(20):
        held_out = hold_out(np.zeros(4, dtype=np.int8), ties, 0.5, seed)
        assert held_out.tolist() == [False, False, False, True]


def test_films_as_large_as_imdbs_leave_the_split_close_to_its_share() -> None:
    random = np.random.default_rng(0)
    films = random.integers(0, 1000, 10_000).tolist()
    labels = random.integers(0, 2, 10_000).astype(np.int8)
    held_out = hold_out(labels, [films], 0.3, 1234)
    for label in (0, 1):
        assert abs(held_out[labels == label].mean() - 0.3) < 0.005


@pytest.mark.parametrize("groups", [["one film"] * 8, None])
def test_a_side_without_one_of_the_labels_is_refused(groups: list[str] | None) -> None:
    ties = [groups] if groups else []
    labels = [0, 1] * 4 if groups else [0, 0, 0, 0, 0, 0, 0, 1]
    with pytest.raises(InputError, match="the validation split would lack one of the labels"):
        rows_of_splits(["train"] * 8, labels, ties, 0.3, 0)


def test_the_rows_of_all_splits_are_all_rows() -> None:
    splits = ["train", "test", "unsup", "train", "train", "train", "test"]
    labels = [0, 1, None, 1, 0, 1, 0]
    rows = rows_of_splits(splits, labels, [], 0.5, 0)
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(7))
    assert rows["test"].tolist() == [1, 6]
    assert len(rows["validation"]) == 2
