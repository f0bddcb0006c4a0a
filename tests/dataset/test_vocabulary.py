import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torchtext.vocab import Vocab

from sentiment.dataset.encoded import PADDING
from sentiment.dataset.vocabulary import (
    add_counts,
    build_embeddings,
    encode,
    fit_vocabulary,
    load_vocabulary,
    measure_coverage,
    save_vocabulary,
    vocabulary_words,
)
from sentiment.errors import InputError
from sentiment.text.glove import WordVectors
from sentiment.text.spacy_pieces import TokenizedTexts
from sentiment.text.tokenizer import ReviewTokenizer, TokenRules

TEXTS = ["b a c b", "d d b", "e"]
RULES = TokenRules(lower=False, keep_breaks=True, max_tokens=None)
VECTORS = WordVectors(["b", "c"], np.array([[1, 2], [3, 4]], dtype=np.float32), rows=2, repeated=0)


@pytest.fixture
def tokenized() -> TokenizedTexts:
    return ReviewTokenizer(RULES).tokenize(pa.array(TEXTS))


def counts_of(texts: list[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    add_counts(counts, ReviewTokenizer(RULES).tokenize(pa.array(texts)))
    return counts


@pytest.fixture
def vocabulary() -> Vocab:
    return fit_vocabulary(counts_of(TEXTS[:2]), max_size=3, min_freq=1)


def test_counts_add_up_over_batches() -> None:
    counts = counts_of(TEXTS[:1])
    add_counts(counts, ReviewTokenizer(RULES).tokenize(pa.array(TEXTS[1:])))
    assert counts == Counter("bacbddbe")


def test_the_most_frequent_tokens_come_first_and_equal_ones_by_alphabet(vocabulary: Vocab) -> None:
    assert vocabulary.itos == ["<unk>", "<pad>", "b", "d", "a"]


def test_rare_tokens_are_left_out() -> None:
    assert fit_vocabulary(counts_of(TEXTS), max_size=99, min_freq=2).itos == ["<unk>", "<pad>", "b", "d"]


def test_padding_that_is_to_be_read_makes_up_short_reviews_alone(tokenized: TokenizedTexts, vocabulary: Vocab) -> None:
    plain, padded = (
        encode(tokenized, vocabulary_words(vocabulary)),
        encode(tokenized, vocabulary_words(vocabulary), pad_to=3),
    )
    padding = vocabulary.stoi["<pad>"]
    assert padded.to_pylist() == [ids + [padding] * (3 - len(ids)) for ids in plain.to_pylist()]
    assert encode(tokenized, vocabulary_words(vocabulary), pad_to=1) == plain


@pytest.mark.parametrize("max_size", [1, 2, 3, 4, 5, 99])
def test_ties_at_the_end_are_broken_by_alphabet(max_size: int) -> None:
    vocabulary = fit_vocabulary(Counter("zzyyxwv"), max_size=max_size, min_freq=1)
    assert vocabulary.itos[2:] == ["y", "z", "v", "w", "x"][:max_size]


def test_padding_has_the_number_that_others_know_it_by(vocabulary: Vocab) -> None:
    assert vocabulary.stoi["<pad>"] == PADDING


def test_unknown_tokens_share_a_number(tokenized: TokenizedTexts, vocabulary: Vocab) -> None:
    reviews = encode(tokenized, vocabulary_words(vocabulary))
    assert reviews.to_pylist() == [[2, 4, 0, 2], [3, 3, 2], [0]]
    assert reviews.type == pa.list_(pa.int32())


def test_words_without_a_vector_get_a_normal_one_and_padding_none(vocabulary: Vocab) -> None:
    matrix = build_embeddings(vocabulary, VECTORS, unknown_std=1.0, seed=3)
    assert matrix.shape == (5, 2)
    assert matrix[2].tolist() == [1, 2]
    assert matrix[1].tolist() == [0, 0]
    assert (matrix[[0, 3, 4]] != 0).all()
    assert torch.equal(matrix, build_embeddings(vocabulary, VECTORS, unknown_std=1.0, seed=3))
    assert not torch.equal(matrix, build_embeddings(vocabulary, VECTORS, unknown_std=1.0, seed=4))


def test_unknown_words_may_start_at_zero(vocabulary: Vocab) -> None:
    assert build_embeddings(vocabulary, VECTORS, unknown_std=0.0, seed=3)[[0, 3, 4]].abs().sum() == 0


def test_coverage_counts_types_and_tokens(vocabulary: Vocab) -> None:
    # Of the types b, d, a only b has a vector; it is 3 of the 7 tokens.
    assert measure_coverage(vocabulary, VECTORS, tokens=7) == (1 / 3, 3 / 7)


def test_a_saved_vocabulary_is_the_same(tmp_path: Path, vocabulary: Vocab) -> None:
    save_vocabulary(tmp_path / "vocabulary.json", vocabulary, RULES)
    loaded, rules = load_vocabulary(tmp_path / "vocabulary.json")
    assert rules == RULES
    assert loaded.itos == vocabulary.itos
    assert loaded.stoi == vocabulary.stoi


def test_a_vocabulary_of_more_or_fewer_words_than_a_model_knows_is_refused(tmp_path: Path, vocabulary: Vocab) -> None:
    save_vocabulary(tmp_path / "vocabulary.json", vocabulary, RULES)
    assert load_vocabulary(tmp_path / "vocabulary.json", 5)[0].itos == vocabulary.itos
    for size in (4, 6):
        with pytest.raises(InputError, match=rf"must hold {size} words, as many as the model has weights for; got 5"):
            load_vocabulary(tmp_path / "vocabulary.json", size)


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"counts": {"a": "b"}, "rules": {}}', '{"counts": {"a": 1}, "rules": {"x": 1}}']
)
def test_another_file_is_not_taken_for_a_vocabulary(tmp_path: Path, content: str) -> None:
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(InputError, match="is not a vocabulary"):
        load_vocabulary(tmp_path / "vocabulary.json")


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        ([], {}, r"counts must be an object; got \[\]"),
        ({"<pad>": 1}, {}, "'<pad>' is no token of a text"),
        ({"\ud800": 1}, {}, "is no token of a text"),
        ({"a": 0}, {}, "the count of 'a' must be a whole number of 1 or more; got 0"),
        ({"a": True}, {}, "must be a whole number of 1 or more; got True"),
        ({"a": float("inf")}, {}, "must be a whole number of 1 or more; got inf"),
        ({"a": {}}, {}, "must be a whole number of 1 or more; got {}"),
        ({}, {"lower": 1}, "lower must be true or false; got 1"),
        ({}, {"max_tokens": -1}, "max_tokens must be null or a whole number of 1 or more; got -1"),
        ({}, {"more": 1}, "must be an object of lower, keep_breaks, max_tokens, pad_to"),
    ],
)
def test_a_value_that_no_vocabulary_has_is_named(
    tmp_path: Path, counts: object, changes: dict[str, object], message: str
) -> None:
    saved = {"counts": counts, "rules": {**asdict(RULES), **changes}}
    (tmp_path / "vocabulary.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match=rf"is not a vocabulary: .*{message}"):
        load_vocabulary(tmp_path / "vocabulary.json")
