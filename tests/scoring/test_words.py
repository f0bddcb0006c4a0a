"""Tests of the words of a text and their weights."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.scoring.words import align_words
from sentiment.text.tokenizer import ReviewTokenizer, TokenRules


@given(st.lists(st.tuples(st.text("aéß.'", min_size=1), st.sampled_from(["", " ", "<br />", "\n"]))))
def test_aligned_words_reproduce_the_text_apart_from_white_space(parts: list[tuple[str, str]]) -> None:
    text = "".join(between + token for token, between in parts)
    words = align_words(text, [token for token, _ in parts], [1.0] * len(parts))
    assert [(word.text, word.follows_space) for word in words] == [(token, between != "") for token, between in parts]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Ein guter Film, z.B. heute!"),
        ("es", "EE. UU. gana: 3,5 %"),
        ("he", "שלום, עולם! (2024)"),
        ("hi", "अच्छी फ़िल्म। क्षि"),
        ("ar", "فيلم\u200f جيد، م. ن"),
        ("zh", "很好看\uff0c👩\u200d👩\u200d👧 e\u0301 8 分"),
        ("tr", "İYİ film 10'da"),
    ],
)
def test_words_of_any_language_reproduce_the_text(language: str, text: str) -> None:
    rules = TokenRules(lower=False, keep_breaks=False, max_tokens=None, language=language)
    tokenized = ReviewTokenizer(rules).tokenize(pa.array([text]))
    tokens = tokenized.types.take(tokenized.ids[0].values).to_pylist()
    words = align_words(text, tokens, [1.0] * len(tokens))
    assert "".join(" " * word.follows_space + word.text for word in words) == text


def test_weights_are_scaled_to_the_largest_and_small_ones_are_not_shaded() -> None:
    words = align_words("bad but good !", ["bad", "but", "good", "!"], [-2.0, 0.02, 1.0, 0.0])
    assert [word.weight for word in words] == [-1.0, 0.0, 0.5, 0.0]
    assert align_words("dull", ["dull"], [0.0])[0].weight == 0.0
