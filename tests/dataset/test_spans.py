"""Random spans of reviews: where they come from, and how many there are."""

import torch

from sentiment.dataset.encoded import PADDING, EncodedReviews
from sentiment.dataset.spans import LENGTHS, add_spans

# Each token is the number of its review times 1,000, plus its place, so that a span shows where it was cut.
SIZES = [5, 8, 9, 40, 300]
REVIEWS = EncodedReviews(
    torch.cat([1000 * number + torch.arange(size) for number, size in enumerate(SIZES)]).int(),
    torch.tensor([0, *SIZES]).cumsum(0),
    torch.tensor([0, 1, 0, 1, 0], dtype=torch.int8),
)


def spans(per_review: int, seed: int = 1, epoch: int = 1) -> list[tuple[list[int], int]]:
    """Return the tokens and the label of each span."""
    both = add_spans(REVIEWS, per_review, seed, epoch)
    assert both.tokens[: len(REVIEWS.tokens)].equal(REVIEWS.tokens)
    pieces = zip(both.tokens.split(both.lengths.tolist()), both.labels.tolist(), strict=True)
    return [(tokens.tolist(), label) for tokens, label in pieces][len(SIZES) :]


def test_a_span_is_a_part_of_its_review_with_its_label() -> None:
    found = spans(100)
    for tokens, label in found:
        number = tokens[0] // 1000
        assert tokens == list(range(tokens[0], tokens[0] + len(tokens)))
        assert tokens[-1] % 1000 < SIZES[number]
        assert label == REVIEWS.labels[number]
        assert len(tokens) in LENGTHS
        assert len(tokens) < SIZES[number]  # never the whole review
    assert {tokens[0] // 1000 for tokens, _ in found} == {2, 3, 4}  # the others are too short


def test_no_span_has_padding() -> None:
    padded = EncodedReviews(
        torch.cat([torch.arange(2, 42), torch.full((160,), PADDING), torch.arange(2, 202)]).int(),
        torch.tensor([0, 200, 400]),
        torch.tensor([0, 1], dtype=torch.int8),
    )
    both = add_spans(padded, 100, seed=1, epoch=1)
    spans = both.tokens[len(padded.tokens) :]
    assert len(spans) > 0
    assert (spans != PADDING).all()
    assert set(both.labels[2:].tolist()) == {0, 1}


def test_every_length_and_every_place_is_drawn() -> None:
    of_longest = [tokens for tokens, _ in spans(4000) if tokens[0] >= 4000]
    assert len(of_longest) == 4000
    counts = torch.bincount(torch.tensor([len(tokens) for tokens in of_longest]))[LENGTHS]
    assert (counts - 1000).abs().max() < 150
    assert {tokens[0] % 1000 for tokens in of_longest if len(tokens) == 64} >= {0, 300 - 64}
    short = [tokens[0] for tokens, _ in spans(4000) if 2000 <= tokens[0] < 3000]
    assert set(short) == {2000, 2001}  # spans of 8 of 9 tokens


def test_the_spans_of_an_epoch_depend_on_the_seed_alone() -> None:
    assert spans(3) == spans(3)
    assert spans(3) != spans(3, seed=2)
    assert spans(3, seed=2**63 - 1) != spans(3, seed=2**63 - 2)  # the largest that params.yaml allows
    assert spans(0) == []


def test_other_epochs_have_spans_of_the_same_lengths_elsewhere() -> None:
    first, second = spans(3, epoch=1), spans(3, epoch=2)
    assert [(len(tokens), label) for tokens, label in first] == [(len(tokens), label) for tokens, label in second]
    assert first != second
