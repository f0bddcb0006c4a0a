"""spaCy's languages: the tokens of each equal spaCy's, and a language that cannot be used is refused."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment.errors import InputError
from sentiment.text import languages
from sentiment.text.languages import PACKAGES, check_language
from sentiment.text.spacy_pieces import PieceTokenizer
from sentiment.text.tokenizer import UNKNOWN, ReviewTokenizer, TokenRules
from tests.text.test_tokenizer import WHITE_SPACE, tokens_of

OFTEN = [
    "ar",
    "de",
    "en",
    "es",
    "fi",
    "he",
    "hi",
    "hu",
    "ru",
    "tr",
    "zh",
]  # quick to load; in every run of the unit tests


def is_usable(language: str) -> bool:
    try:
        check_language(language)
    except ValueError:
        return False
    return True


LANGUAGES = sorted(filter(is_usable, languages._known_languages()))
each_language = pytest.mark.parametrize(
    "language",
    [pytest.param(language, marks=() if language in OFTEN else pytest.mark.slow) for language in LANGUAGES],
)

HOSTILE = [
    *":) :)) :( ( ) \" ' '' “ ” „ « » \u2018 \u2019 - — ... … . , ; : ! ? / | & @ # <b> <. C++".split(),
    *"$ % € £ ₹ 5 10 5km 10% 3.14 1,000 1.000,50 $5.50 12:30 1. 2. a. b) (c) § ° №".split(),
    *"http://a.example/b?c=d www.example.com. e-mail@example.org x.Y example.CoMmm".split(),
    *"Привет, שלום مرحبا، नमस्ते। 你好。 日本語 한국어 ไทย İ \u0131 ß ŉ ﬁ \uff21\uff11 STRASSE".split(),
    *("é", "e\u0301", "n\u0303", "\u0301", "क्षि", "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u202b", "\u00ad"),
    *("👩\u200d👩\u200d👧", "😀", "👍🏽", "🇩🇪", "\0", "\ufeff", "\U0010ffff"),
]


@cache
def tokenizer_of(language: str) -> ReviewTokenizer:
    return ReviewTokenizer(TokenRules(lower=False, keep_breaks=True, max_tokens=None, language=language))


@cache
def spacys(language: str) -> Any:
    return spacy.blank(language).tokenizer


@cache
def texts_in(language: str) -> st.SearchStrategy[str]:
    """Return a strategy of texts of spaCy's own examples, of its special cases whole and in parts, and of HOSTILE."""
    specials = sorted(getattr(spacys(language), "rules", ()))
    with_space = [special for special in specials if " " in special]
    examples = f"spacy.lang.{language}.examples"
    sentences: Sequence[str] = import_module(examples).sentences if find_spec(examples) else []
    words = [word for text in [*with_space, *sentences] for word in text.split(" ")]
    lists = [HOSTILE, [*WHITE_SPACE, "  "], specials, with_space, words]
    fragments = st.one_of(*(st.sampled_from(fragments) for fragments in lists if fragments))
    cut = st.tuples(fragments, st.integers(0, 9), st.sampled_from(["", " "]))
    pieces = fragments | cut.map(lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :])
    return st.lists(st.tuples(pieces, st.sampled_from([" ", " ", ""])), max_size=12).map(
        lambda parts: "".join(piece + space for piece, space in parts)
    )


def expected(language: str, texts: Sequence[str]) -> list[list[str]]:
    return [[token.text for token in spacys(language)(text)] or [UNKNOWN] for text in texts]


@each_language
@settings(max_examples=25)
@given(data=st.data())
def test_the_tokens_of_any_text_equal_spacys(language: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(texts_in(language), min_size=1, max_size=8))
    assert tokens_of(tokenizer_of(language).tokenize(pa.array(texts))) == expected(language, texts)


@each_language
def test_the_tokens_of_divided_special_cases_equal_spacys(language: str) -> None:
    specials = sorted(getattr(spacys(language), "rules", ()))[:1000]
    divided = [f"{special[:place]} {special[place:]}" for special in specials for place in range(1, len(special))]
    texts = [f"({text} {text})" for text in [*specials, *divided]]
    assert tokens_of(tokenizer_of(language).tokenize(pa.array(texts, pa.string()))) == expected(language, texts)


@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("es", "EE. UU. gana", ["EE. UU.", "gana"]),
        ("ru", "вед. науч. сотр.", ["вед. науч. сотр."]),
        ("de", "z.B. heute", ["z.B.", "heute"]),
        pytest.param("fr", "aujourd'hui l'ami", ["aujourd'hui", "l'", "ami"], marks=pytest.mark.slow),
        ("tr", "saat 10'da", ["saat", "10'da"]),
        ("he", "שלום, עולם", ["שלום", ",", "עולם"]),
        ("hi", "अच्छी फ़िल्म।", ["अच्छी", "फ़िल्म", "।"]),
        ("zh", "很好看。", ["很", "好", "看", "。"]),
    ],
)
def test_a_text_is_split_by_the_rules_of_its_language(language: str, text: str, tokens: list[str]) -> None:
    assert tokens_of(tokenizer_of(language).tokenize(pa.array([text]))) == [tokens]


def test_a_language_with_another_tokenizer_gets_whole_texts() -> None:
    assert [language for language in LANGUAGES if language in OFTEN and not PieceTokenizer(language).reads_pieces] == [
        "zh"
    ]


def test_each_distinct_piece_is_tokenized_once() -> None:
    tokenizer = ReviewTokenizer(TokenRules(lower=True, keep_breaks=False, max_tokens=None, language="de"))
    for _ in range(2):
        tokenizer.tokenize(pa.array(["ein guter Film", "kein guter Film"]))
    assert tokenizer._tokenizer._tokenize_cached.cache_info().misses == len({"ein", "kein", "guter", "Film"})


def test_lower_case_is_that_of_python_in_every_language() -> None:
    for language in ("tr", "de", "zh"):
        tokenizer = ReviewTokenizer(TokenRules(lower=True, keep_breaks=False, max_tokens=None, language=language))
        assert tokens_of(tokenizer.tokenize(pa.array(["ISPARTA"]))) == [
            list("isparta") if language == "zh" else ["isparta"]
        ]


@pytest.mark.parametrize("language", ["klingon", "EN", "en_core_web_sm", "", ".", "../lang/en", "punctuation"])
def test_an_unknown_language_is_refused(language: str) -> None:
    with pytest.raises(ValueError, match=r"must be a language that spaCy knows, such as en, de, es, fr, zh; got '"):
        check_language(language)


def test_a_language_without_its_packages_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "de", ("spacy", "no-such-package"))
    with pytest.raises(ValueError, match=r"^'de' needs packages that are .*; run pip install spacy no-such-package$"):
        check_language("de")


def test_a_tokenizer_that_cannot_be_loaded_is_reported_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^spaCy's tokenizer for the language 'klingon' cannot be loaded: "):
        PieceTokenizer("klingon")
