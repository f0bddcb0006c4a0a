"""Tests of encoding new texts."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from sentiment.dataset.text_encoder import TextEncoder
from sentiment.dataset.vocabulary import fit_vocabulary, save_vocabulary
from sentiment.text.tokenizer import TokenRules

TEXTS = pa.array(["b A<br />c b", "d d b", "e"])


@pytest.fixture
def words(tmp_path: Path) -> Path:
    vocabulary = fit_vocabulary(Counter({"b": 3, "d": 2, "a": 1}), 9, 1)
    save_vocabulary(
        tmp_path / "words.json", vocabulary, TokenRules(lower=True, keep_breaks=False, max_tokens=4, pad_to=2)
    )
    return tmp_path / "words.json"


def test_new_texts_are_encoded_like_the_corpus_and_have_no_labels(words: Path) -> None:
    reviews = TextEncoder(words, 5).encode(TEXTS)
    assert reviews.tokens.tolist() == [2, 4, 0, 2, 3, 3, 2, 0, 1]
    assert reviews.lengths.tolist() == [4, 3, 2]
    assert reviews.labels.tolist() == [-1, -1, -1]


def test_texts_are_split_by_the_rules_of_the_models_language(tmp_path: Path) -> None:
    rules = TokenRules(lower=True, keep_breaks=False, max_tokens=None, language="zh")
    save_vocabulary(tmp_path / "words", fit_vocabulary(Counter("很好"), 9, 1), rules)
    encoder = TextEncoder(tmp_path / "words")
    assert encoder.language == "zh"
    assert encoder.split(pa.array(["很好看"])) == [["很", "好", "看"]]
    assert encoder.encode(pa.array(["很好看"])).tokens.tolist() == [3, 2, 0]


def test_texts_are_split_into_tokens_as_they_spell_them(words: Path) -> None:
    assert TextEncoder(words).split(TEXTS) == [["b", "A", "c", "b"], ["d", "d", "b"], ["e"]]
