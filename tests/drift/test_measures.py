"""Measures of each text, worked out by hand."""

import numpy as np
import pytest
import torch

from sentiment.dataset.encoded import EncodedReviews
from sentiment.drift.measures import Training, describe_training, join_measures, measure

WORDS = ["<unk>", "<pad>", "the", "film", ".", "dull"]
UNK, PAD, THE, FILM, STOP, DULL = range(6)


def encode(*texts: list[int]) -> EncodedReviews:
    return EncodedReviews(
        torch.tensor([token for text in texts for token in text], dtype=torch.int32),
        torch.tensor(np.cumsum([0, *map(len, texts)])),
        torch.zeros(len(texts), dtype=torch.int8),
    )


@pytest.fixture
def training() -> Training:
    """Facts of two texts: the film. / the film unk pad."""
    return describe_training(encode([THE, FILM, STOP], [THE, FILM, UNK, PAD]), WORDS, np.array([9, 4]))


def test_the_facts_of_the_training_texts(training: Training) -> None:
    assert training.is_frequent.tolist() == [False, False, True, True, False, False], "a full stop is no word"
    assert training.places.tolist() == [3, 3, 0, 1, 2, 3], "what does not occur is in the last place"
    assert training.shares == pytest.approx([2 / 6, 2 / 6, 1 / 6, 1 / 6]), "padding is not counted"
    assert training.pairs.tolist() == [THE * 6 + FILM, FILM * 6 + STOP]
    assert training.keys.tolist() == [4, 9]


def test_the_measures_of_each_text(training: Training) -> None:
    texts = encode([THE, FILM, DULL], [UNK, UNK, THE, PAD, PAD], [STOP])
    logits = np.array([[0.0, np.log(3)], [0.0, 0.0], [np.log(9), 0.0]])
    found = measure(texts, np.array([4, 5, 9]), logits, training)
    assert found.tokens.tolist() == [3, 3, 1]
    assert found.unknown.tolist() == [0, 2, 0]
    assert found.frequent.tolist() == [2, 1, 0]
    assert found.pairs.tolist() == [2, 0, 0], "neither an unknown word nor the next text makes a pair"
    assert found.unseen.tolist() == [1, 0, 0]
    assert found.is_copy.tolist() == [True, False, True]
    assert found.confidence == pytest.approx([3 / 4, 1 / 2, 9 / 10])
    assert found.words.tolist() == [[1, 1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 0]]


def test_joined_measures_keep_a_sum_of_words_for_each_part(training: Training) -> None:
    parts = [measure(encode([THE], [FILM]), np.zeros(2, dtype=np.int64), np.zeros((2, 2)), training)] * 2
    joined = join_measures(parts)
    assert joined.tokens.tolist() == [1, 1, 1, 1]
    assert joined.words.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
