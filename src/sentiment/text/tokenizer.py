"""Tokenize reviews in bulk with spaCy's English rules, and number their tokens."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment.text.spacy_pieces import (
    PieceTokenizer,
    TokenizedTexts,
    bytes_of,
    offsets_from_lengths,
    offsets_of,
    string_array,
)

UNKNOWN = "<unk>"  # also the only token of a review without tokens

# White space as defined by Python's str.isspace, which spaCy uses, for Arrow's regular expressions.
WHITESPACE = r"[\t-\r\x1c- \x{85}\p{Z}]"
# HTML line break as browsers accept it: in upper or lower case, with or without attributes, even "</br>".
BREAK = rf"</?[Bb][Rr](?:(?:{WHITESPACE}|/)[^<>]*)?>"
BREAKS = rf"(?:{WHITESPACE}*{BREAK}{WHITESPACE}*)+"
SPACE, FIRST_PRINTING, PRINTING = np.frombuffer(b" !^", dtype=np.uint8)  # the 94 printable characters from "!" to "~"
# The next-to-last UTF-8 byte of all white space outside ASCII (and of some other characters).
IN_WHITESPACE = np.isin(np.arange(256), [0xC2, 0x9A, 0x80, 0x81])


@dataclass(frozen=True)
class TokenRules:
    """Preprocessing applied in addition to spaCy's rules."""

    lower: bool  # put each token in lower case, after tokenizing
    keep_breaks: bool  # keep HTML line breaks ("<br />"); otherwise each run of breaks becomes one space
    max_tokens: int | None  # keep at most this many tokens, from the first; None keeps all
    pad_to: int | None = None  # pad reviews to at least this many tokens; None adds no padding


class ReviewTokenizer:
    """spaCy's tokenizer for batches of reviews, which tokenizes each distinct piece of text only once."""

    def __init__(self, rules: TokenRules) -> None:
        self._rules = rules
        self._cutter = PieceTokenizer()

    def tokenize(self, texts: pa.StringArray) -> TokenizedTexts:
        """Tokenize N texts as `spacy.blank("en")` does, and number their tokens.

        A text without tokens becomes a single unknown token, so that no review is empty.
        """
        if not self._rules.keep_breaks:
            texts = pc.replace_substring_regex(texts, BREAKS, " ")
        reviews, texts_of_pieces = _split(texts)
        cut = self._cutter.cut(texts_of_pieces)
        joins = self._cutter.find_joins(cut, texts_of_pieces, reviews.values)
        joins = np.setdiff1d(joins, reviews.offsets.to_numpy() - 1)  # reviews are separate texts
        if len(joins):
            runs, reviews = _join(reviews, texts_of_pieces, joins)
            cut = cut.add(self._cutter.words(runs))
        if self._rules.lower:
            cut = cut.lower()
        tokens = cut.ids.take(reviews.values)
        ids = pa.ListArray.from_arrays(tokens.offsets.take(reviews.offsets), tokens.values)
        tokenized = TokenizedTexts(cut.types, ids)
        empty = pc.equal(pc.list_value_length(ids), 0).to_numpy(zero_copy_only=False)
        if empty.any():
            tokenized = tokenized.add([[UNKNOWN]])
            rows = np.where(empty, len(texts), np.arange(len(texts)))
            tokenized = TokenizedTexts(tokenized.types, tokenized.ids.take(pa.array(rows)))
        if self._rules.max_tokens is not None:
            ids = pc.list_slice(tokenized.ids, 0, self._rules.max_tokens, return_fixed_size_list=False)
            tokenized = TokenizedTexts(tokenized.types, ids)
        return tokenized

    def tokenize_all(self, batches: Iterable[pa.StringArray]) -> Iterator[TokenizedTexts]:
        """Tokenize batches of texts in order, each batch in a thread while the caller processes the previous batch."""
        with ThreadPoolExecutor(1) as executor:
            ahead: Future[TokenizedTexts] | None = None
            for texts in batches:
                behind, ahead = ahead, executor.submit(self.tokenize, texts)
                if behind:
                    yield behind.result()
            if ahead:
                yield ahead.result()


def are_blank(texts: pa.StringArray) -> npt.NDArray[np.bool_]:
    """Return a mask, (N,), of the texts that consist of only white space and HTML line breaks."""
    blank = pc.match_substring_regex(texts, rf"^(?:{WHITESPACE}|{BREAK})*$")
    return np.asarray(blank.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _split(texts: pa.StringArray) -> tuple[pa.ListArray, pa.StringArray]:
    """Split each text into pieces at the spaces that do not follow white space, for which spaCy makes no token.

    Some of those spaces, after control characters and some characters outside ASCII, do not split. The longer piece is
    harmless, since the tokens do not depend on where a text is divided. Returns the pieces of each text, N lists of
    numbers, and the text of each distinct piece.
    """
    starts, text = offsets_of(texts) - offsets_of(texts)[0], bytes_of(texts)
    is_cut = text == SPACE
    is_cut[1:] &= text[:-1] - FIRST_PRINTING < PRINTING  # in uint8, where white space wraps around to large values
    beyond = np.flatnonzero(text[:-1] >= 0x80)  # outside ASCII
    is_cut[beyond + 1] = (text[beyond + 1] == SPACE) & ~IN_WHITESPACE[text[beyond - 1]]
    is_cut[starts[:-1][starts[:-1] < len(text)]] = False
    cuts = np.flatnonzero(is_cut)
    is_start = np.zeros(len(text) - len(cuts) + 1, dtype=np.bool_)
    is_start[cuts - np.arange(len(cuts))] = True
    starts = starts - np.searchsorted(cuts, starts)  # positions after the removal of those spaces
    is_start[starts] = True
    starts_of_pieces = np.flatnonzero(is_start).astype(np.int32)
    pieces = string_array(starts_of_pieces, text[~is_cut]).dictionary_encode()
    offsets = np.searchsorted(starts_of_pieces, starts).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pieces.indices), pieces.dictionary


def _join(
    reviews: pa.ListArray, texts_of_pieces: pa.StringArray, joins: npt.NDArray[np.int64]
) -> tuple[list[str], pa.ListArray]:
    """Join pieces that meet; `joins` are the indices into `reviews.values` of pieces that meet the next piece.

    Returns the texts of the joined pieces, and the reviews with those pieces, tokenized from `len(texts_of_pieces)` on.
    """
    pieces = reviews.values.to_numpy().copy()
    joins_next, joins_previous = np.zeros((2, len(pieces)), dtype=np.bool_)
    joins_next[joins] = joins_previous[joins + 1] = True
    starts, stops = np.flatnonzero(joins_next & ~joins_previous), np.flatnonzero(joins_previous & ~joins_next) + 1
    met = texts_of_pieces.take(pa.array(pieces[joins_next | joins_previous])).to_pylist()
    runs = [" ".join(met[start:end]) for start, end in pairwise(offsets_from_lengths(stops - starts).tolist())]
    pieces[starts] = len(texts_of_pieces) + np.arange(len(runs))
    offsets = offsets_from_lengths(~joins_previous)[reviews.offsets.to_numpy()]
    return runs, pa.ListArray.from_arrays(offsets, pa.array(pieces[~joins_previous]))
