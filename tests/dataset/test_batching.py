import torch
from hypothesis import given
from hypothesis import strategies as st

from sentiment.dataset.batching import SPREAD, pad_batch, shuffled_rows, sorted_rows, split_by_tokens
from tests.conftest import random_reviews

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=200)


@given(LENGTHS, st.integers(1, 7))
def test_each_review_is_in_one_batch_of_an_epoch(lengths: list[int], batch_size: int) -> None:
    for batches in (
        shuffled_rows(torch.tensor(lengths), batch_size, torch.Generator().manual_seed(0)),
        sorted_rows(torch.tensor(lengths), batch_size),
    ):
        assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
        assert all(1 <= len(rows) <= batch_size for rows in batches)


@given(LENGTHS, st.integers(1, 7))
def test_a_long_review_shares_no_batch_with_a_short_one(lengths: list[int], batch_size: int) -> None:
    for rows in sorted_rows(torch.tensor(lengths), batch_size):
        shortest, longest = (lengths[row] for row in rows[[0, -1]].tolist())
        assert shortest <= longest <= SPREAD * shortest


def test_the_order_depends_on_the_seed_and_on_the_epoch() -> None:
    lengths = torch.arange(1, 101)
    generator = torch.Generator().manual_seed(5)
    first, second = (shuffled_rows(lengths, 8, generator) for _ in range(2))
    again = shuffled_rows(lengths, 8, torch.Generator().manual_seed(5))
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(second))


def test_batches_contain_little_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = (torch.randn(20_000, generator=generator).mul(0.7).add(5).exp()).long().clamp(min=1)  # like IMDb's
    batches = shuffled_rows(lengths, 64, generator)
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    assert 1 - int(lengths.sum()) / padded < 0.05


@given(LENGTHS, st.integers(1, 40))
def test_parts_of_a_batch_have_at_most_max_tokens(lengths: list[int], most: int) -> None:
    rows = torch.arange(len(lengths)).flip(0)
    parts = split_by_tokens(rows, torch.tensor(lengths), most)
    assert torch.equal(torch.cat(parts), rows)
    for part in parts:
        assert len(part) == 1 or len(part) * max(lengths[row] for row in part.tolist()) <= most


def test_each_column_of_a_batch_is_a_review() -> None:
    reviews = random_reviews([3, 1, 2])
    batch = pad_batch(reviews, torch.tensor([2, 0]))
    assert batch.tokens.shape == (3, 2)
    assert batch.lengths.tolist() == [2, 3]
    assert batch.labels.tolist() == [0.0, 0.0]
    assert batch.tokens[:2, 0].tolist() == reviews.tokens[4:].tolist()
    assert batch.tokens[:, 1].tolist() == reviews.tokens[:3].tolist()
