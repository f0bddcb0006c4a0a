"""What the cutting of pieces takes for granted about spaCy, read off spaCy itself."""

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

from sentiment.text.spacy_pieces import LETTERS, LONGEST_PIECE, LONGEST_RUN, PLAIN, PieceTokenizer
from tests.text.test_tokenizer import HOSTILE

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
def cutter() -> PieceTokenizer:
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
    """Return what characters of ASCII a part matches by itself."""
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


def tells_letters_apart(kind: Any, value: Any) -> bool:
    """Say whether a part matches some ASCII letters of a case and not all."""
    matched = characters(kind, value)
    return any(matched & case and not case <= matched for case in CASES)


def choices(pattern: str) -> list[Any]:
    """Return the alternatives of a regular expression; what all of them begin with stands before each."""
    parsed = list(parser.parse(pattern))
    branch = [number for number, (kind, _) in enumerate(parsed) if kind is kinds.BRANCH]
    if branch != [len(parsed) - 1]:
        return [parsed]
    return [[*parsed[:-1], *choice] for choice in parsed[-1][1][1]]


def needs_an_unplain_character(choice: Any) -> bool:
    """Say whether whatever the alternative matches holds a digit, a dollar or something beyond ASCII, or is "'s"."""
    plain = re.compile(PLAIN)
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
def test_spacys_rules_tell_plain_letters_apart_by_case_alone(name: str) -> None:
    for choice in choices(PATTERNS[name]):
        if any(tells_letters_apart(*part) for part in parts(choice)):
            assert needs_an_unplain_character(choice), choice


@pytest.mark.parametrize("name", PATTERNS)
def test_spacys_rules_count_no_letters_beyond_those_of_a_shape(name: str) -> None:
    for kind, value in parts(parser.parse(PATTERNS[name])):
        if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
            least, most, repeated = value
            of_letters = any(characters(*part) & set().union(*CASES) for part in parts(repeated))
            assert not of_letters or (least < LONGEST_RUN and (most <= 1 or most > LONGEST_PIECE))
        if kind is kinds.ASSERT and value[0] < 0:
            assert parser.SubPattern.getwidth(value[1])[1] < LONGEST_RUN


def test_no_shape_can_be_taken_for_a_special_case() -> None:
    stand_ins = {run for run in SPECIAL_LETTERS if set(run.lower()) == {"q"}}
    assert stand_ins == {"q"}
    assert set(string.ascii_lowercase) <= SPECIAL_LETTERS  # so that a single small letter stands for itself


def test_special_cases_hold_no_white_space_within() -> None:
    assert not [special for special in ENGLISH.rules if len(special.split()) > 1]


def test_the_tokenizer_asks_nothing_else() -> None:
    assert ENGLISH.token_match is None
    assert ENGLISH.faster_heuristics


def test_pieces_are_cut_as_texts_are(cutter: PieceTokenizer) -> None:
    pieces = sorted({piece for text in HOSTILE for piece in text.split(" ")} | set(ENGLISH.rules))
    cut = cutter.cut(pa.array(pieces))
    words = [[cut.types[number].as_py() for number in numbers] for numbers in cut.ids.to_pylist()]
    assert words == [[token.text for token in ENGLISH(piece)] for piece in pieces]


def test_pieces_that_make_a_special_case_together_meet(cutter: PieceTokenizer) -> None:
    pieces = ["great:)", ")", "and", "8", ")", "he", "'s", "end.", "<br", "<.", "<b"]
    texts = pa.array(pieces)
    meetings = cutter.find_joins(cutter.cut(texts), texts, pa.array(np.arange(len(pieces), dtype=np.int32)))
    assert [f"{pieces[place]} {pieces[place + 1]}" for place in meetings] == ["great:) )", "8 )", "he 's", "<. <b"]


def test_it_forgets_the_words_it_has_seen(cutter: PieceTokenizer) -> None:
    known = len(cutter._vocab.strings)
    cutter.words([f"naïveté{number}" for number in range(100)])
    assert len(cutter._vocab.strings) == known
