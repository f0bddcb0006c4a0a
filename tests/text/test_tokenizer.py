import re
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from sentiment.corpora.synthetic import generate_reviews
from sentiment.text.spacy_pieces import TokenizedTexts
from sentiment.text.tokenizer import IN_WHITESPACE, UNKNOWN, WHITESPACE, ReviewTokenizer, TokenRules, are_blank

AS_SPACY = ReviewTokenizer(TokenRules(lower=False, keep_breaks=True, max_tokens=None))
SPACY: Any = spacy.blank("en").tokenizer
WHITE_SPACE = [chr(code) for code in range(0x110000) if chr(code).isspace()]
UNUSUAL = [
    "  two  spaces ",
    "don't\tstop\n\n",
    "a\n b \n c\x85 \x85d\xa0 e",
    ":) :( great:) )",
    "great:) ) (: ( he 's here : D o .O",
    "\xa0\x85",
    " ",
    "   ",
    "U.S.A. e-mail@example.org $5.50 US$5 5km 10a.m. 10 a.m. McGUIRE. DeHaven. example.CoMmm x.Yy",
    "'supper's 'S rock'n'roll ''quoted'' it's It'S cannot Dragon's",
    "http://a.example/b?c=d, www.example.com: see (www.example.com).",
    "well-known--or...not!? (and/or) w/o \\\") C++ e.g., i.e. Ph.D. vs. O'Neill",
    "é\u200b na\u00efve caf\u00e9 and \u2003 em\u2003space",
    "B" * 70 + "." + "b" * 70 + ".com " + "a" * 100,
    "\x1c\x1d \x1e\x1f",
    "очень хороший фильм, смотреть! ευχαριστώ πολύ 非常 好看 的",
    *[f"a{space} b {space} c{space}{space}  d" for space in WHITE_SPACE],
]
FRAGMENTS = [
    *sorted(SPACY.rules),
    *"great Mc GUIRE É o O D or s 's km 10 8 US$5 ° C. and / . , ' \u2019 ... -- ( ) : ; -".split(),
    *"http://a.b.com e-mail@x.org x.Y <br /><br /> <br/>".split(),
    *WHITE_SPACE,
    "  ",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=12).map("".join) | st.lists(
    st.sampled_from(FRAGMENTS), max_size=12
).map(" ".join)


def tokens_of(tokenized: TokenizedTexts) -> list[list[str]]:
    return [tokenized.types.take(pa.array(ids, pa.int32())).to_pylist() for ids in tokenized.ids.to_pylist()]


tokenizer = cache(ReviewTokenizer)


def tokenize(texts: list[str], rules: TokenRules) -> list[list[str]]:
    return tokens_of(tokenizer(rules).tokenize(pa.array(texts)))


@pytest.mark.slow
def test_the_tokens_of_every_sample_review_equal_spacys() -> None:
    texts = [review.text for review in generate_reviews(2500, seed=7)] + UNUSUAL
    assert tokens_of(AS_SPACY.tokenize(pa.array(texts))) == [[token.text for token in SPACY(text)] for text in texts]


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_the_tokens_of_unusual_texts_equal_spacys(texts: list[str]) -> None:
    expected = [[token.text for token in SPACY(text)] or [UNKNOWN] for text in texts]
    assert tokens_of(AS_SPACY.tokenize(pa.array(texts))) == expected


def test_the_tokens_of_a_review_do_not_depend_on_earlier_reviews() -> None:
    whole = tokens_of(AS_SPACY.tokenize(pa.array(UNUSUAL)))
    batches = (pa.array([text]) for text in UNUSUAL)
    assert [tokens for tokenized in AS_SPACY.tokenize_all(batches) for tokens in tokens_of(tokenized)] == whole


def test_each_distinct_token_has_one_id() -> None:
    types = AS_SPACY.tokenize(pa.array(UNUSUAL)).types.to_pylist()
    assert len(set(types)) == len(types)


def test_the_next_to_last_byte_identifies_white_space_outside_ascii() -> None:
    assert all(IN_WHITESPACE[space.encode()[-2]] for space in WHITE_SPACE if ord(space) >= 0x80)


def test_white_space_matches_pythons_definition() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    found = pc.match_substring_regex(pa.array(characters), WHITESPACE).to_numpy(zero_copy_only=False)
    assert found.tolist() == [character.isspace() for character in characters]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (TokenRules(lower=False, keep_breaks=False, max_tokens=None), ["Good", ".", "Not", "Bad"]),
        (TokenRules(lower=True, keep_breaks=False, max_tokens=None), ["good", ".", "not", "bad"]),
    ],
)
def test_breaks_become_one_space_and_lower_converts_tokens(rules: TokenRules, expected: list[str]) -> None:
    assert tokenize(["Good.<br /><br />Not\xa0<br/> Bad"], rules) == [expected]


@pytest.mark.parametrize(
    "tag",
    [
        *("<br>", "<br/>", "<br />", "<BR>", "<BR/>", "<BR />", "<Br>", "<bR >", "</br>", "</BR>", "<br\n/>", "<br\t>"),
        *('<br clear="all">', "<BR CLEAR=ALL>", "<br class='a b' />", '<br id="x"/>', "<br / >", "<br clear>"),
    ],
)
def test_breaks_are_recognized_in_any_case_and_with_attributes(tag: str) -> None:
    rules = TokenRules(lower=False, keep_breaks=False, max_tokens=None)
    assert tokenize([f"Good{tag}Not {tag} {tag}Bad"], rules) == [["Good", "Not", "Bad"]]


@pytest.mark.parametrize(
    "text", ["<b>Good</b>", "<brr>", "<bread>", "<br-x>", "< br>", "<br", "<br <i>", "br>", "<hr>"]
)
def test_other_tags_are_kept(text: str) -> None:
    assert tokenize([text], TokenRules(lower=False, keep_breaks=False, max_tokens=None)) == tokens_of(
        AS_SPACY.tokenize(pa.array([text]))
    )


def test_breaks_separate_tokens_like_a_space() -> None:
    texts = [review.text.replace(". ", ".<br /><br />") for review in generate_reviews(1000, seed=7)]
    before = [re.sub(r"(?:\s*<br\s*/?>\s*)+", " ", text) for text in texts]
    assert tokenize(texts, TokenRules(lower=False, keep_breaks=False, max_tokens=None)) == tokens_of(
        AS_SPACY.tokenize(pa.array(before))
    )


def test_texts_of_white_space_and_breaks_are_blank() -> None:
    blank = ["", " ", "\n\t", "\xa0\u2003\x85", "<br />", " <BR> \n<br/>"]
    texts = [*blank, "a", " a ", "<br />.", "<b>", "\u200b", "\0", "<br", "a\n\n", "\n\na"]
    assert are_blank(pa.array(texts)).tolist() == [True] * len(blank) + [False] * (len(texts) - len(blank))


def test_keep_breaks_keeps_breaks() -> None:
    assert "br" in "".join(tokens_of(AS_SPACY.tokenize(pa.array(["Good.<br /><br />Bad"])))[0])


@pytest.mark.parametrize("text", ["", "<br />", " "])
def test_every_review_has_a_token(text: str) -> None:
    words = tokenize(["Good", text, "bad"], TokenRules(lower=True, keep_breaks=False, max_tokens=None))
    assert words == [["good"], [UNKNOWN] if text == "" else [" "], ["bad"]]


def test_max_tokens_keeps_the_first_tokens() -> None:
    rules = TokenRules(lower=False, keep_breaks=True, max_tokens=2)
    assert tokenize(["a b c", "d", ""], rules) == [["a", "b"], ["d"], [UNKNOWN]]


def test_tokens_are_converted_to_lower_case_after_tokenizing() -> None:
    upper = "MR. SMITH SAID 'NO' İ ΣΑΣ"
    expected = [token.text.lower() for token in SPACY(upper)]
    assert tokenize([upper], TokenRules(lower=True, keep_breaks=True, max_tokens=None)) == [expected]


def test_no_texts_give_no_tokens() -> None:
    tokenized = AS_SPACY.tokenize(pa.array([], pa.string()))
    assert len(tokenized.ids) == len(tokenized.types) == 0


def test_a_slice_of_an_array_is_tokenized_like_a_copy() -> None:
    texts = pa.array(UNUSUAL)
    assert tokens_of(AS_SPACY.tokenize(texts[3:7])) == tokens_of(AS_SPACY.tokenize(texts))[3:7]
