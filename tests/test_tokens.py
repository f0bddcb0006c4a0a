import numpy as np
import pytest
import spacy

from sentiment.sample import generate_reviews
from sentiment.tokens import UNKNOWN, NumberedTokens, TokenRules, number_tokens

AS_SPACY = TokenRules(lower=False, keep_breaks=True, max_tokens=None)
HOSTILE = [
    "  two  spaces ",
    "don't\tstop\n\n",
    ":) :( great:) )",
    "\xa0\x85",
    "U.S.A. e-mail@example.org $5.50",
    "é\u200b",
]


def tokens_of(numbered: NumberedTokens) -> list[list[str]]:
    words = [numbered.types[number] for number in numbered.ids]
    return [words[start:end] for start, end in zip(numbered.offsets[:-1], numbered.offsets[1:], strict=True)]


def test_tokens_equal_spacys_on_every_review() -> None:
    texts = [review.text for review in generate_reviews(500, seed=1)] + HOSTILE
    tokenizer = spacy.blank("en").tokenizer
    assert tokens_of(number_tokens(texts, AS_SPACY)) == [[token.text for token in tokenizer(text)] for text in texts]


def test_types_are_numbered_by_first_appearance() -> None:
    numbered = number_tokens(["b a b", "c a"], AS_SPACY)
    assert numbered.types == ["b", "a", "c"]
    assert numbered.ids.tolist() == [0, 1, 0, 2, 1]
    assert numbered.offsets.tolist() == [0, 3, 5]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (TokenRules(lower=False, keep_breaks=False, max_tokens=None), ["Good", ".", "Not", "Bad"]),
        (TokenRules(lower=True, keep_breaks=False, max_tokens=None), ["good", ".", "not", "bad"]),
    ],
)
def test_breaks_become_one_space_and_case_may_go(rules: TokenRules, expected: list[str]) -> None:
    assert tokens_of(number_tokens(["Good.<br /><br />Not <br/> Bad"], rules)) == [expected]


def test_breaks_may_be_kept() -> None:
    assert "br" in "".join(tokens_of(number_tokens(["Good.<br /><br />Bad"], AS_SPACY))[0])


@pytest.mark.parametrize("text", ["", "<br />", " "])
def test_every_review_has_a_token(text: str) -> None:
    words = tokens_of(number_tokens([text], TokenRules(lower=True, keep_breaks=False, max_tokens=None)))
    assert words == [[UNKNOWN] if text == "" else [" "]]


def test_the_first_tokens_may_be_all_that_is_kept() -> None:
    rules = TokenRules(lower=False, keep_breaks=True, max_tokens=2)
    assert tokens_of(number_tokens(["a b c", "d", ""], rules)) == [["a", "b"], ["d"], [UNKNOWN]]


def test_a_selection_keeps_its_order() -> None:
    numbered = number_tokens(["a b c", "d", "e f"], AS_SPACY)
    assert tokens_of(numbered.select(np.array([2, 0]))) == [["e", "f"], ["a", "b", "c"]]
    assert tokens_of(numbered.select(np.array([], dtype=np.int64))) == []
