"""Tokenize batches of reviews with spaCy's rules for a language."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiment.text.languages import ENGLISH
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
# A printable ASCII character c other than the space satisfies c - FIRST_PRINTABLE < PRINTABLE, from "!" to "~".
SPACE, FIRST_PRINTABLE, PRINTABLE = np.frombuffer(b" !^", dtype=np.uint8)  # 94 ("^") printable characters
# The next-to-last UTF-8 byte of all white space outside ASCII (and of some other characters).
IN_WHITESPACE = np.isin(np.arange(256), [0xC2, 0x9A, 0x80, 0x81])


@dataclass(frozen=True)
class TokenRules:
    """Preprocessing applied in addition to spaCy's rules."""

    lower: bool  # convert each token to lower case, after tokenizing
    keep_breaks: bool  # keep HTML line breaks ("<br />"); otherwise each run of breaks becomes one space
    max_tokens: int | None  # keep only the first `max_tokens` tokens; None keeps all
    pad_to: int | None = None  # pad reviews to at least this many tokens; None adds no padding
    language: str = ENGLISH  # spaCy's code of the language


class ReviewTokenizer:
    """spaCy's tokenizer for batches of reviews, which tokenizes each distinct piece of text only once."""

    def __init__(self, rules: TokenRules) -> None:
        self._rules = rules
        self._tokenizer = PieceTokenizer(rules.language)

    def tokenize(self, texts: pa.StringArray) -> TokenizedTexts:
        """Tokenize N texts as `spacy.blank(language)` does.

        A text without tokens becomes a single unknown token, so that no review is empty.
        """
        if not self._rules.keep_breaks:
            texts = pc.replace_substring_regex(texts, BREAKS, " ")
        reviews, pieces = (_split if self._tokenizer.reads_pieces else _keep_whole)(texts)
        tokenized_pieces = self._tokenizer.tokenize_pieces(pieces)
        joins = self._tokenizer.find_joins(pieces, tokenized_pieces, reviews.values)
        joins = np.setdiff1d(joins, reviews.offsets.to_numpy() - 1)  # a review's last piece joins no other review
        if len(joins):
            joined, reviews = _join(reviews, pieces, joins)
            tokenized_pieces = tokenized_pieces.add(self._tokenizer.tokenize_texts(joined))
        if self._rules.lower:
            tokenized_pieces = tokenized_pieces.lower()
        tokens = tokenized_pieces.ids.take(reviews.values)
        ids = pa.ListArray.from_arrays(tokens.offsets.take(reviews.offsets), tokens.values)
        tokenized = TokenizedTexts(tokenized_pieces.types, ids)
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
        """Yield the tokens of each batch in order; a thread tokenizes the next batch while the caller uses this one."""
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
    """Split each text into pieces at single spaces, that is, spaces that do not follow white space.

    spaCy makes no tokens of single spaces. A space after a control character or some characters outside ASCII does not
    split; the longer piece is harmless, since the tokens do not depend on where a text is divided. Returns the pieces
    of each text, N lists of indices, and the distinct pieces.
    """
    starts, text = offsets_of(texts) - offsets_of(texts)[0], bytes_of(texts)
    is_gap = text == SPACE
    is_gap[1:] &= text[:-1] - FIRST_PRINTABLE < PRINTABLE  # in uint8, where white space wraps around to large values
    non_ascii = np.flatnonzero(text[:-1] >= 0x80)
    is_gap[non_ascii + 1] = (text[non_ascii + 1] == SPACE) & ~IN_WHITESPACE[text[non_ascii - 1]]
    is_gap[starts[:-1][starts[:-1] < len(text)]] = False
    gaps = np.flatnonzero(is_gap)
    is_start = np.zeros(len(text) - len(gaps) + 1, dtype=np.bool_)
    is_start[gaps - np.arange(len(gaps))] = True
    starts = starts - np.searchsorted(gaps, starts)  # positions after the removal of those spaces
    is_start[starts] = True
    starts_of_pieces = np.flatnonzero(is_start).astype(np.int32)
    pieces = string_array(starts_of_pieces, text[~is_gap]).dictionary_encode()
    offsets = np.searchsorted(starts_of_pieces, starts).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pieces.indices), pieces.dictionary


def _keep_whole(texts: pa.StringArray) -> tuple[pa.ListArray, pa.StringArray]:
    """Return each text as its only piece, in the form of `_split`."""
    encoded = texts.dictionary_encode()
    return pa.ListArray.from_arrays(np.arange(len(texts) + 1, dtype=np.int32), encoded.indices), encoded.dictionary


def _join(
    reviews: pa.ListArray, pieces: pa.StringArray, joins: npt.NDArray[np.int64]
) -> tuple[list[str], pa.ListArray]:
    """Join the pieces at the positions `joins` of `reviews.values` with the pieces that follow them.

    Returns the joined texts, and the reviews with the joined texts as further pieces, from index `len(pieces)` on.
    """
    sequence = reviews.values.to_numpy().copy()
    joins_next, joins_previous = np.zeros((2, len(sequence)), dtype=np.bool_)
    joins_next[joins] = joins_previous[joins + 1] = True
    starts, stops = np.flatnonzero(joins_next & ~joins_previous), np.flatnonzero(joins_previous & ~joins_next) + 1
    parts = pieces.take(pa.array(sequence[joins_next | joins_previous])).to_pylist()
    joined = [" ".join(parts[start:end]) for start, end in pairwise(offsets_from_lengths(stops - starts).tolist())]
    sequence[starts] = len(pieces) + np.arange(len(joined))
    offsets = offsets_from_lengths(~joins_previous)[reviews.offsets.to_numpy()]
    return joined, pa.ListArray.from_arrays(offsets, pa.array(sequence[~joins_previous]))
