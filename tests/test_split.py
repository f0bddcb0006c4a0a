import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.corpus import SPLITS
from sentiment.errors import InputError
from sentiment.split import SPLITS_AND_VALIDATION, VALIDATION, assign_splits, draw_labelled, hold_out, keys_of

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


def test_ties_are_followed_from_review_to_review() -> None:
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


def test_films_as_large_as_imdbs_leave_the_split_close_to_its_share() -> None:
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


@pytest.mark.parametrize("one_film", [True, False])
def test_a_side_without_one_of_the_labels_is_refused(one_film: bool) -> None:
    ties = [np.ones(8, dtype=np.int64)] if one_film else []
    labels = [0, 1] * 4 if one_film else [0, 0, 0, 0, 0, 0, 0, 1]
    with pytest.raises(InputError, match="the validation split would lack one of the labels"):
        assign_splits(np.zeros(8, dtype=np.int8), np.array(labels, dtype=np.int8), ties, 0.3, 0)


def test_only_training_reviews_are_held_out() -> None:
    splits = np.array([SPLITS.index(split) for split in ("train", "test", "unsup", "train", "train", "train", "test")])
    labels = np.array([0, 1, -1, 1, 0, 1, 0], dtype=np.int8)
    assigned = assign_splits(splits.astype(np.int8), labels, [], 0.5, 0)
    held_out = assigned == VALIDATION
    assert np.count_nonzero(held_out) == 2
    assert set(splits[held_out].tolist()) == {SPLITS.index("train")}
    assert (assigned[~held_out] == splits[~held_out]).all()
    assert SPLITS_AND_VALIDATION[: len(SPLITS)] == SPLITS


def test_fewer_labels_are_among_more() -> None:
    labels = np.arange(100, dtype=np.int8) % 2
    whole, few, fewer = (draw_labelled(labels, count, 0) for count in (None, 40, 20))
    assert whole.tolist() == draw_labelled(labels, 1000, 0).tolist() == list(range(100))
    assert (len(few), len(fewer)) == (40, 20)
    assert set(fewer) < set(few)
    assert (np.diff(few) > 0).all()


def test_labels_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(InputError, match=r"prepare\.labels: 1 training reviews.*all have one label"):
        draw_labelled(np.array([0, 1] * 9, dtype=np.int8), 1, 0)
