"""Word vectors that cover too little of the text are refused, with the likely cause."""

import unicodedata
from pathlib import Path

import pytest

from sentiment.errors import InputError
from sentiment.text.coverage import check_coverage
from tests.conftest import LIMITS

COUNTS = {"the": 50, "film": 20, "naïve": 10, "n't": 5, ",": 500, "1990": 500}
WORDS = [word for word in COUNTS if word not in (",", "1990")]


def check(path: Path, words: list[str], least: float = 0.2, counts: dict[str, int] | None = None) -> None:
    """Check a file of vectors of these words as the stage does."""
    counts = COUNTS if counts is None else counts
    path.write_bytes("".join(f"{word} 1 2\n" for word in words).encode("utf-8", "surrogateescape"))
    check_coverage(path, 2, LIMITS, counts, [word for word in counts if word in words], least)


@pytest.mark.parametrize(
    ("spelt", "cause"),
    [
        (
            str.upper,
            "differ in case ('THE' instead of the text's 'the'); with equal spelling 100.0% would have a vector",
        ),
        (str.capitalize, "differ in case ('The' instead of the text's 'the')"),
        ("'{}'".format, "spaces or other marks around them (\"'the'\" instead of the text's 'the')"),
        ("\u2581{}".format, "spaces or other marks around them ('▁the' instead of the text's 'the')"),
        ("{}\xa0".format, "spaces or other marks around them"),
        ("\u200b{}".format, "spaces or other marks around them"),
        (
            "{}_NOUN".format,
            "words split by other rules than spaCy's (the file has 4 words, the first are 'the_NOUN'",
        ),
        (lambda word: word[::-1], "another language"),
        (lambda word: "das", "the most frequent words of the text without a vector are 'the', 'film', 'naïve'"),
        (lambda word: f"{word}\udce9", "4 of the file's 4 words are not UTF-8"),
    ],
)
def test_vectors_without_the_words_of_the_text_are_refused_with_the_likely_cause(
    tmp_path: Path, spelt: object, cause: str
) -> None:
    assert callable(spelt)
    with pytest.raises(InputError) as caught:
        check(tmp_path / "v", [spelt(word) for word in WORDS])
    message = str(caught.value)
    assert cause in message
    assert f"{tmp_path / 'v'}: 0.0% of the words in the training text have a vector" in message
    assert "vectors.fetched.min_coverage requires 20.0%" in message
    assert "or lower vectors.fetched.min_coverage (0 accepts any vectors)" in message


def test_separate_accents_are_named_as_the_cause(tmp_path: Path) -> None:
    counts = {"été": 2, "là": 1}
    with pytest.raises(InputError, match="the accents in the file are separate characters"):
        check(tmp_path / "v", [unicodedata.normalize("NFD", word) for word in counts], counts=counts)


def test_capitals_in_the_text_alone_are_named_as_the_cause(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"differ in case \('film' instead of the text's 'Film'\)"):
        check(tmp_path / "v", ["film", "the"], counts={"Film": 3, "THE": 1})


@pytest.mark.parametrize("language", [["电影", "房间很大"], ["και", "ταινία"], ["фильм", "и"], ["映画", "とても"]])
def test_another_language_is_named_as_the_cause_even_if_punctuation_matches(
    tmp_path: Path, language: list[str]
) -> None:
    counts = {language[0]: 9, language[1]: 8, "。": 100, ",": 100, "10": 100}
    with pytest.raises(InputError, match=f"0.0% of the words.*another language.*without a vector are '{language[0]}'"):
        check(tmp_path / "v", ["the", "film", "。", ",", "10"], counts=counts)


@pytest.mark.parametrize(("least", "is_enough"), [(0.0, True), (0.82, True), (0.84, False), (1.0, False)])
def test_min_coverage_is_a_share_of_the_words_in_the_text(tmp_path: Path, least: float, is_enough: bool) -> None:
    # 70 of 85 words, whatever the punctuation and the numbers: 82 %
    if is_enough:
        check(tmp_path / "v", ["the", "film"], least)
        return
    with pytest.raises(InputError, match=f"82.4% of the words.*requires {least:.1%}"):
        check(tmp_path / "v", ["the", "film"], least)


def test_a_bound_of_0_accepts_any_vectors_and_a_text_without_words_is_covered(tmp_path: Path) -> None:
    check(tmp_path / "v", ["das"], least=0.0)
    check(tmp_path / "v", ["das"], least=1.0, counts={"1": 3, "!": 2})
