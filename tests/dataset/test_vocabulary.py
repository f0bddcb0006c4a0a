import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torchtext.vocab import Vocab

from sentiment.dataset.encoded import PADDING
from sentiment.dataset.vocabulary import (
    add_counts,
    count_frequencies,
    encode,
    fit_vocabulary,
    load_vocabulary,
    measure_coverage,
    save_vocabulary,
    to_tensors,
    vocabulary_words,
)
from sentiment.errors import InputError
from sentiment.text.glove import WordVectors
from sentiment.text.spacy_pieces import TokenizedTexts
from sentiment.text.tokenizer import ReviewTokenizer, TokenRules

TEXTS = ["b a c b", "d d b", "e"]
RULES = TokenRules(lower=False, keep_breaks=True, max_tokens=None)


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


def test_tokens_are_sorted_by_frequency_and_then_alphabetically(vocabulary: Vocab) -> None:
    assert vocabulary.itos == ["<unk>", "<pad>", "b", "d", "a"]


def test_rare_tokens_are_left_out() -> None:
    assert fit_vocabulary(counts_of(TEXTS), max_size=99, min_freq=2).itos == ["<unk>", "<pad>", "b", "d"]


@pytest.mark.parametrize(("texts", "min_freq"), [(TEXTS, 5), ([""] * 9, 1)])
def test_a_vocabulary_without_words_is_refused(texts: list[str], min_freq: int) -> None:
    with pytest.raises(InputError, match=rf"^prepare\.min_freq: no word occurs {min_freq} times in the training text"):
        fit_vocabulary(counts_of(texts), max_size=99, min_freq=min_freq)


def test_reviews_without_words_add_no_word_and_no_frequency() -> None:
    counts = counts_of(["b b c", *[""] * 9])
    assert counts["<unk>"] == 9
    vocabulary = fit_vocabulary(counts, max_size=1, min_freq=1)
    assert vocabulary.itos == ["<unk>", "<pad>", "b"]
    assert count_frequencies(vocabulary).tolist() == [0, 0, 2]


def test_pad_to_pads_only_shorter_reviews(tokenized: TokenizedTexts, vocabulary: Vocab) -> None:
    plain, padded = (
        encode(tokenized, vocabulary_words(vocabulary)),
        encode(tokenized, vocabulary_words(vocabulary), pad_to=3),
    )
    padding = vocabulary.stoi["<pad>"]
    assert padded.to_pylist() == [ids + [padding] * (3 - len(ids)) for ids in plain.to_pylist()]
    assert encode(tokenized, vocabulary_words(vocabulary), pad_to=1) == plain


@pytest.mark.parametrize("max_size", [1, 2, 3, 4, 5, 99])
def test_a_full_vocabulary_breaks_ties_alphabetically(max_size: int) -> None:
    vocabulary = fit_vocabulary(Counter("zzyyxwv"), max_size=max_size, min_freq=1)
    assert vocabulary.itos[2:] == ["y", "z", "v", "w", "x"][:max_size]


def test_the_id_of_padding_is_the_constant_that_models_use(vocabulary: Vocab) -> None:
    assert vocabulary.stoi["<pad>"] == PADDING


def test_unknown_tokens_share_one_id(tokenized: TokenizedTexts, vocabulary: Vocab) -> None:
    reviews = encode(tokenized, vocabulary_words(vocabulary))
    assert reviews.to_pylist() == [[2, 4, 0, 2], [3, 3, 2], [0]]
    assert reviews.type == pa.list_(pa.int32())


def test_tokens_and_lengths_become_tensors() -> None:
    tokens, lengths = np.array([4, 5, 6], dtype=np.int32), np.array([2, 1], dtype=np.int32)
    reviews = to_tensors(tokens, lengths, np.array([1, 0], dtype=np.int8))
    assert reviews.tokens.tolist() == [4, 5, 6]
    assert reviews.offsets.tolist() == [0, 2, 3]
    assert reviews.labels.tolist() == [1, 0]
    assert [tensor.dtype for tensor in vars(reviews).values()] == [torch.int32, torch.int64, torch.int8]


def test_a_split_without_reviews_becomes_empty_tensors() -> None:
    none = np.zeros(0, dtype=np.int32)
    reviews = to_tensors(none, none, np.zeros(0, dtype=np.int8))
    assert reviews.tokens.tolist() == []
    assert reviews.offsets.tolist() == [0]


def test_coverage_counts_types_and_tokens(vocabulary: Vocab) -> None:
    # Of the words b, d, a only b has a vector; it is 3 of their 6 occurrences.
    assert measure_coverage(vocabulary, WordVectors(["b"], np.ones((1, 2), dtype=np.float32), 2, 0)) == (1 / 3, 3 / 6)


def test_a_saved_vocabulary_is_loaded_unchanged(tmp_path: Path, vocabulary: Vocab) -> None:
    save_vocabulary(tmp_path / "vocabulary.json", vocabulary, RULES)
    loaded, rules = load_vocabulary(tmp_path / "vocabulary.json")
    assert rules == RULES
    assert loaded.itos == vocabulary.itos
    assert loaded.stoi == vocabulary.stoi


def test_a_language_is_saved_unless_it_is_english(tmp_path: Path, vocabulary: Vocab) -> None:
    path = tmp_path / "vocabulary.json"
    save_vocabulary(path, vocabulary, RULES)
    assert json.loads(path.read_text())["rules"].keys() == {"lower", "keep_breaks", "max_tokens", "pad_to"}
    german = replace(RULES, language="de")
    save_vocabulary(path, vocabulary, german)
    assert load_vocabulary(path)[1] == german


def test_a_vocabulary_of_an_unknown_language_is_refused(tmp_path: Path, vocabulary: Vocab) -> None:
    save_vocabulary(tmp_path / "words", vocabulary, replace(RULES, language="klingon"))
    with pytest.raises(InputError, match=r"words: rules\.language: must be a language that spaCy knows, .* 'klingon'$"):
        load_vocabulary(tmp_path / "words")


def test_a_vocabulary_of_another_size_than_the_model_is_refused(tmp_path: Path, vocabulary: Vocab) -> None:
    save_vocabulary(tmp_path / "vocabulary.json", vocabulary, RULES)
    assert load_vocabulary(tmp_path / "vocabulary.json", 5)[0].itos == vocabulary.itos
    for size in (4, 6):
        with pytest.raises(InputError, match=rf"must have {size} words, like the model; got 5"):
            load_vocabulary(tmp_path / "vocabulary.json", size)


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"counts": {"a": "b"}, "rules": {}}', '{"counts": {"a": 1}, "rules": {"x": 1}}']
)
def test_a_file_that_is_not_a_vocabulary_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(InputError, match="is not a vocabulary"):
        load_vocabulary(tmp_path / "vocabulary.json")


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        ([], {}, r"counts must be an object; got \[\]"),
        ({"<pad>": 1}, {}, "'<pad>' cannot be a token of a text"),
        ({"\ud800": 1}, {}, "cannot be a token of a text"),
        ({"a": 0}, {}, "the count of 'a' must be a whole number of 1 or more; got 0"),
        ({"a": True}, {}, "must be a whole number of 1 or more; got True"),
        ({"a": float("inf")}, {}, "must be a whole number of 1 or more; got inf"),
        ({"a": {}}, {}, "must be a whole number of 1 or more; got {}"),
        ({}, {"lower": 1}, "lower must be true or false; got 1"),
        ({}, {"max_tokens": -1}, "max_tokens must be null or a whole number of 1 or more; got -1"),
        ({}, {"more": 1}, "must be an object of lower, keep_breaks, max_tokens, pad_to, language"),
        ({}, {"language": None}, "language must be a word; got None"),
    ],
)
def test_an_invalid_value_in_a_vocabulary_is_named(
    tmp_path: Path, counts: object, changes: dict[str, object], message: str
) -> None:
    saved = {"counts": counts, "rules": {**asdict(RULES), **changes}}
    (tmp_path / "vocabulary.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match=rf"is not a vocabulary: .*{message}"):
        load_vocabulary(tmp_path / "vocabulary.json")
