"""The assumptions about spaCy on which `PieceTokenizer` rests, checked against spaCy's own rules."""

import re
import string
from collections.abc import Iterator
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import spacy

from sentiment.text.spacy_pieces import LETTERS, MAX_PIECE_LENGTH, MAX_STAND_INS, PLAIN_PIECE, PieceTokenizer
from tests.text.test_tokenizer import UNUSUAL

ENGLISH: Any = spacy.blank("en").tokenizer
PATTERNS = {
    "prefix": ENGLISH.prefix_search.__self__.pattern,
    "suffix": ENGLISH.suffix_search.__self__.pattern,
    "infix": ENGLISH.infix_finditer.__self__.pattern,
    "url": ENGLISH.url_match.__self__.pattern,
}
SPECIAL_LETTERS = {run for special in ENGLISH.rules for run in LETTERS.findall(special)}
CASES = [set(map(ord, string.ascii_lowercase)), set(map(ord, string.ascii_uppercase))]
ASCII = set(range(128))


@pytest.fixture(scope="module")
def tokenizer() -> PieceTokenizer:
    return PieceTokenizer()


def parts(pattern: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each part of a parsed regular expression, from the outside in."""
    for kind, value in pattern:
        yield kind, value
        if kind is kinds.BRANCH:
            for choice in value[1]:
                yield from parts(choice)
        elif kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
            yield from parts(value[2])
        elif kind is kinds.SUBPATTERN:
            yield from parts(value[3])
        elif kind in (kinds.ASSERT, kinds.ASSERT_NOT):
            yield from parts(value[1])


def characters(kind: Any, value: Any) -> set[int]:
    """Return the ASCII characters that a part matches by itself."""
    if kind is kinds.LITERAL:
        return {value} & ASCII
    if kind is kinds.NOT_LITERAL:
        return ASCII - {value}
    if kind is kinds.ANY:
        return ASCII
    if kind is kinds.RANGE:
        return set(range(value[0], value[1] + 1)) & ASCII
    if kind is kinds.CATEGORY:
        sample = {kinds.CATEGORY_DIGIT: r"\d", kinds.CATEGORY_WORD: r"\w", kinds.CATEGORY_NOT_SPACE: r"\S"}[value]
        return {code for code in ASCII if re.match(sample, chr(code))}
    if kind is kinds.IN:
        assert kinds.NEGATE not in dict(value)
        return set().union(*(characters(*inner) for inner in value))
    return set()


def distinguishes_letters(kind: Any, value: Any) -> bool:
    """Tell whether a part matches some but not all ASCII letters of one case."""
    matched = characters(kind, value)
    return any(matched & case and not case <= matched for case in CASES)


def choices(pattern: str) -> list[Any]:
    """Return the alternatives of a regular expression, each with the common beginning."""
    parsed = list(parser.parse(pattern))
    branch = [number for number, (kind, _) in enumerate(parsed) if kind is kinds.BRANCH]
    if branch != [len(parsed) - 1]:
        return [parsed]
    return [[*parsed[:-1], *choice] for choice in parsed[-1][1][1]]


def needs_an_unplain_character(choice: Any) -> bool:
    """Tell whether every match contains a digit, a dollar sign or a character outside ASCII, or is "'s"."""
    plain = re.compile(PLAIN_PIECE)
    for kind, value in choice:
        if kind is kinds.LITERAL and not plain.match(chr(value)):
            return True
        if kind is kinds.ASSERT and needs_an_unplain_character(value[1]):
            return True
        if kind is kinds.IN and value == [(kinds.RANGE, (ord("0"), ord("9")))]:
            return True
    literals = [chr(value) for kind, value in choice if kind is kinds.LITERAL]
    return literals in (["'", "s"], ["'", "S"]) and choice[-1] == (kinds.AT, kinds.AT_END)


@pytest.mark.parametrize("name", PATTERNS)
def test_spacys_rules_distinguish_plain_letters_by_case_alone(name: str) -> None:
    for choice in choices(PATTERNS[name]):
        if any(distinguishes_letters(*part) for part in parts(choice)):
            assert needs_an_unplain_character(choice), choice


@pytest.mark.parametrize("name", PATTERNS)
def test_spacys_rules_count_no_more_letters_than_a_shape_keeps(name: str) -> None:
    for kind, value in parts(parser.parse(PATTERNS[name])):
        if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
            least, most, repeated = value
            of_letters = any(characters(*part) & set().union(*CASES) for part in parts(repeated))
            assert not of_letters or (least < MAX_STAND_INS and (most <= 1 or most > MAX_PIECE_LENGTH))
        if kind is kinds.ASSERT and value[0] < 0:
            assert parser.SubPattern.getwidth(value[1])[1] < MAX_STAND_INS


def test_no_shape_looks_like_a_special_case() -> None:
    stand_ins = {run for run in SPECIAL_LETTERS if set(run.lower()) == {"q"}}
    assert stand_ins == {"q"}
    assert set(string.ascii_lowercase) <= SPECIAL_LETTERS  # so that a single small letter stands for itself


def test_no_special_case_contains_white_space() -> None:
    assert not [special for special in ENGLISH.rules if len(special.split()) > 1]


def test_spacys_tokenizer_has_no_other_rules() -> None:
    assert ENGLISH.token_match is None
    assert ENGLISH.faster_heuristics


def test_each_piece_gets_the_tokens_that_spacy_gives_it(tokenizer: PieceTokenizer) -> None:
    pieces = sorted({piece for text in UNUSUAL for piece in text.split(" ")} | set(ENGLISH.rules))
    tokenized = tokenizer.tokenize_pieces(pa.array(pieces))
    words = [[tokenized.types[number].as_py() for number in numbers] for numbers in tokenized.ids.to_pylist()]
    assert words == [[token.text for token in ENGLISH(piece)] for piece in pieces]


def test_pieces_that_form_a_special_case_are_joined(tokenizer: PieceTokenizer) -> None:
    pieces = ["great:)", ")", "and", "8", ")", "he", "'s", "end.", "<br", "<.", "<b"]
    distinct, sequence = pa.array(pieces), pa.array(np.arange(len(pieces), dtype=np.int32))
    joins = tokenizer.find_joins(distinct, tokenizer.tokenize_pieces(distinct), sequence)
    assert [f"{pieces[place]} {pieces[place + 1]}" for place in joins] == ["great:) )", "8 )", "he 's", "<. <b"]


def test_spacys_vocabulary_does_not_grow(tokenizer: PieceTokenizer) -> None:
    known = len(tokenizer._vocab.strings)
    tokenizer.tokenize_texts([f"naïveté{number}" for number in range(100)])
    assert len(tokenizer._vocab.strings) == known
