r"""Tokenize pieces of text exactly as spaCy does, with far fewer calls of spaCy.

A *piece* is the text between two single spaces: "great:)" is a piece, and so is "end.\n\nNext". spaCy's `Tokenizer`,
which most languages use, tokenizes a piece independently of the surrounding text, apart from the special cases that
`PieceTokenizer.find_joins` looks for. Some languages, such as Chinese, have another tokenizer, which gets whole texts.

In English, the tokens do not depend on most letters of a piece either. spaCy lists special cases (contractions,
abbreviations, emoticons) letter by letter. Its other rules distinguish ASCII letters only by case, unless a letter
follows a digit, a dollar sign or a character outside ASCII, or is the "s" of "'s". So "(Mostly)," is tokenized like its
*shape*, "(Qqqq),". In a shape, each run of letters of the same case becomes at most three stand-in letters, unless the
run is part of a special case. There are far fewer shapes than pieces. A test derives all of this from spaCy's own
regular expressions.
"""

import re
import string
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import spacy
from spacy.tokenizer import Tokenizer
from spacy.vocab import Vocab

from sentiment.errors import InputError
from sentiment.text.languages import ENGLISH

LETTERS = re.compile("[A-Za-z]+")
MAX_PIECE_LENGTH = 60  # characters; longer pieces get no shape and are not cached
PLAIN_PIECE = f"^[!-#%-/:-~]{{1,{MAX_PIECE_LENGTH}}}$"  # printable ASCII without digits and "$"
MAX_STAND_INS = 3  # for a run of letters: spaCy distinguishes one, two and more letters, up to a limit of 63
CACHE_SIZE = 60_000  # shapes and other pieces; about 25 MB

# For each byte: its case (1 lower, 2 upper, 0 not a letter), and its replacement in a shape.
CASE, SHAPE = np.zeros(256, dtype=np.uint8), np.arange(256, dtype=np.uint8)
for number, (letters, stand_in) in enumerate([(string.ascii_lowercase, "q"), (string.ascii_uppercase, "Q")], start=1):
    CASE[list(letters.encode())], SHAPE[list(letters.encode())] = number, ord(stand_in)


class TokenizedTexts(NamedTuple):
    """Dictionary-encoded tokens of N texts."""

    types: pa.StringArray
    ids: pa.ListArray  # N lists of int32, indices into `types`

    def add(self, texts: Sequence[Sequence[str]]) -> "TokenizedTexts":
        """Return a copy with more texts, given as lists of tokens, at the end."""
        words = pa.array(chain.from_iterable(texts), pa.string())
        types = pa.concat_arrays([self.types, words]).dictionary_encode()  # known types keep their numbers
        more = pa.ListArray.from_arrays(
            offsets_from_lengths([len(words) for words in texts]), types.indices[len(self.types) :]
        )
        return TokenizedTexts(types.dictionary, pa.concat_arrays([self.ids, more]))

    def lower(self) -> "TokenizedTexts":
        """Return a copy with each token in lower case."""
        types = pa.array([word.lower() for word in self.types.to_pylist()], pa.string()).dictionary_encode()
        return TokenizedTexts(
            types.dictionary, pa.ListArray.from_arrays(self.ids.offsets, types.indices.take(self.ids.values))
        )


class PieceTokenizer:
    """Tokenizer of `spacy.blank(language)`, which spaCy's trained pipelines use too, with a cache by piece or shape.

    `reads_pieces` tells whether the tokens of a text are those of its pieces, which holds for spaCy's `Tokenizer`
    whatever its rules, apart from `find_joins`.
    """

    def __init__(self, language: str = ENGLISH) -> None:
        # spaCy is twice as fast with an empty vocabulary, which computes no lexical attributes for each new word.
        self._vocab = Vocab()
        self._tokenizer = _load_tokenizer(language, self._vocab)
        self._tokenize_cached = lru_cache(CACHE_SIZE)(self._tokenize_text)
        self.reads_pieces = type(self._tokenizer) is Tokenizer
        self._has_shapes = language == ENGLISH
        specials: Iterable[str] = self._tokenizer.rules if self.reads_pieces else ()
        self._special_letters = pa.array({run for special in specials for run in LETTERS.findall(special)}, pa.string())

        # `find_joins` looks for these tokens at the end of a piece and at the start of the next piece.
        self._halves = self._find_halves(specials) if specials else {}
        self._lasts, self._firsts = (sorted({pair[side] for pair in self._halves}) for side in (0, 1))
        lasts, firsts = ({word: place for place, word in enumerate(words)} for words in (self._lasts, self._firsts))
        pairs = [lasts[last] * len(firsts) + firsts[first] for last, first in self._halves]
        self._pairs = np.array(pairs, dtype=np.int64)

    def _find_halves(self, specials: Iterable[str]) -> dict[tuple[str, str], set[tuple[str, str]]]:
        """Return the texts before and after each space that might divide a special case, by the tokens next to it.

        Spaces can divide a special case because spaCy searches the tokens of a whole text for the special cases that
        contain a space themselves, such as "EE. UU.", or that its affix rules alone would split.
        """
        affixes = ("prefix_search", "suffix_search", "infix_finditer", "token_match", "url_match")
        by_affixes = Tokenizer(Vocab(), **{name: getattr(self._tokenizer, name) for name in affixes})
        split = {
            special: [token.text for token in by_affixes(special)]
            for special in specials
            if " " in special
            or by_affixes.find_prefix(special)
            or by_affixes.find_suffix(special)
            or by_affixes.find_infix(special)
        }
        # In the final tokens, a token may have been replaced by the first or last token of another special case.
        finals = {special: self._tokenize_text(special) for special in split}
        lasts, firsts = defaultdict(set), defaultdict(set)
        for special, tokens in split.items():
            lasts[tokens[-1]].add(finals[special][-1])
            firsts[tokens[0]].add(finals[special][0])
        halves = defaultdict(set)
        for tokens in split.values():
            for place in range(1, len(tokens)):
                last, first = tokens[place - 1 : place + 1]
                for pair in product({last, *lasts[last]}, {first, *firsts[first]}):
                    halves[pair].add(("".join(tokens[:place]), "".join(tokens[place:])))
        return dict(halves)

    def tokenize_texts(self, texts: Sequence[str]) -> list[list[str]]:
        """Tokenize each text with spaCy."""
        with self._vocab.memory_zone():  # without a memory zone spaCy keeps every word that it has ever seen
            return [
                self._tokenize_cached(text) if len(text) <= MAX_PIECE_LENGTH else self._tokenize_text(text)
                for text in texts
            ]

    def _tokenize_text(self, text: str) -> list[str]:
        return [token.text for token in self._tokenizer(text)]

    def tokenize_pieces(self, pieces: pa.StringArray) -> TokenizedTexts:
        """Tokenize distinct pieces, (P,), each in isolation."""
        plain = pc.and_(pc.match_substring_regex(pieces, PLAIN_PIECE), self._has_shapes)
        words, counts = self._tokenize_plain(pieces.filter(plain))
        others = self.tokenize_texts(pieces.filter(pc.invert(plain)).to_pylist())
        words_of_others = pa.array(chain.from_iterable(others), pa.string())
        tokens = pa.concat_arrays([words, words_of_others]).dictionary_encode()
        ids = pa.ListArray.from_arrays(
            offsets_from_lengths(np.append(counts, [len(words) for words in others])), tokens.indices
        )
        plain_first = np.argsort(~plain.to_numpy(zero_copy_only=False), kind="stable")
        return TokenizedTexts(tokens.dictionary, ids.take(pa.array(np.argsort(plain_first))))

    def _tokenize_plain(self, pieces: pa.StringArray) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
        """Tokenize plain pieces; return the concatenated tokens, and the number of tokens of each piece, (P,).

        The tokens of a plain piece cover its characters without gaps, so the tokens need only new offsets into the
        bytes of the pieces.
        """
        if not len(pieces):
            return pa.array([], pa.string()), np.zeros(0, dtype=np.int32)
        shapes, kept = self._shapes(pieces)
        encoded = shapes.dictionary_encode()
        words = self.tokenize_texts(encoded.dictionary.to_pylist())
        lengths = pa.array([list(map(len, each)) for each in words], pa.list_(pa.int32())).take(encoded.indices)
        offsets = kept[offsets_from_lengths(lengths.flatten().to_numpy())]
        return string_array(offsets, bytes_of(pieces)), np.diff(lengths.offsets.to_numpy())

    def _shapes(self, pieces: pa.StringArray) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
        """Return the shape of each piece, (P,), and where each character of the shapes is in the text of the pieces.

        The positions are (S + 1,), with S characters in all shapes together and the end of the text at the end.
        """
        starts, text = offsets_of(pieces), bytes_of(pieces)
        case, is_start = CASE[text], np.zeros(len(text), dtype=np.bool_)
        is_start[starts[:-1]] = True
        runs = _runs(case > 0, is_start)  # alternating runs of letters and non-letters
        special = pc.is_in(string_array(runs, text), self._special_letters).to_numpy(zero_copy_only=False)
        special = np.repeat(special, np.diff(runs))
        runs = _runs(case, is_start)  # runs of lower case, upper case and non-letters
        place_in_run = np.arange(len(text), dtype=np.int32) - np.repeat(runs[:-1], np.diff(runs))
        is_kept = (place_in_run < MAX_STAND_INS) | special | (case == 0)
        kept = np.append(np.flatnonzero(is_kept), len(text)).astype(np.int32)
        shapes = np.where(special, text, SHAPE[text])[is_kept]
        starts_of_shapes = offsets_from_lengths(is_kept)[starts]
        return string_array(starts_of_shapes, shapes), kept

    def find_joins(
        self, pieces: pa.StringArray, tokenized: TokenizedTexts, sequence: pa.Int32Array
    ) -> npt.NDArray[np.int64]:
        """Return the positions in a text after which a special case might extend across the space to the next piece.

        `pieces`, (P,), are the distinct pieces, `tokenized` their tokens, and `sequence` is the text as indices of
        pieces. In "great:) )" spaCy finds the tokens of the special case ":))" but leaves ":", ")" and ")" separate
        because of the space; in "great:)" alone it would have found ":)". Such pieces must be passed to
        `tokenize_texts` as one text.
        """
        offsets, ids = offsets_of(tokenized.ids), tokenized.ids.values.to_numpy()
        some = np.flatnonzero(np.diff(offsets))  # the pieces that have tokens
        last, first = np.full((2, len(pieces)), -1, dtype=np.int32)
        last[some] = _places(tokenized.types, self._lasts)[ids[offsets[some + 1] - 1]]
        first[some] = _places(tokenized.types, self._firsts)[ids[offsets[some]]]
        lasts, firsts = (pa.array(each).take(sequence).to_numpy() for each in (last, first))
        both = np.flatnonzero((lasts[:-1] >= 0) & (firsts[1:] >= 0))
        pairs = lasts[both].astype(np.int64) * len(self._firsts) + firsts[both + 1]
        both = both[np.isin(pairs, self._pairs)]
        left, right = (pieces.take(sequence.take(pa.array(both + side))).to_pylist() for side in (0, 1))
        is_join = [
            _may_be_halves(before, after, self._halves[self._lasts[last], self._firsts[first]])
            for before, after, last, first in zip(left, right, lasts[both], firsts[both + 1], strict=True)
        ]
        joins: npt.NDArray[np.int64] = both[np.array(is_join, dtype=np.bool_)]
        return joins


def _load_tokenizer(language: str, vocab: Vocab) -> Any:
    """Return the tokenizer of a language; raise InputError if its parts are not installed."""
    try:
        tokenizer = spacy.blank(language, vocab=vocab).tokenizer
        tokenizer(".")  # that of Korean looks for MeCab, which is not a Python package, on first use
    except Exception as error:  # of which class, depends on what is missing
        raise InputError(f"spaCy's tokenizer for the language {language!r} cannot be loaded: {error}") from error
    return tokenizer


def _may_be_halves(left: str, right: str, halves: Iterable[tuple[str, str]]) -> bool:
    """Tell whether, for any pair of halves, `left` may end with the first half and `right` start with the second."""
    left, right = left.replace(" ", ""), right.replace(" ", "")
    return any(
        (left.endswith(last) or last.endswith(left)) and (right.startswith(first) or first.startswith(right))
        for last, first in halves
    )


def _runs(kind: npt.NDArray[np.generic], is_start: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return the start of each run of equal `kind`, and the end of the last run; a run ends before each `is_start`."""
    begins = is_start.copy()
    begins[1:] |= kind[1:] != kind[:-1]
    return np.append(np.flatnonzero(begins), len(kind)).astype(np.int32)


def _places(words: pa.StringArray, among: list[str]) -> npt.NDArray[np.int32]:
    """Return the index in `among` of each word, (N,), or -1 for a word that is not in the list."""
    places: npt.NDArray[np.int32] = pc.index_in(words, pa.array(among, pa.string())).fill_null(-1).to_numpy()
    return places


def offsets_of(values: pa.ListArray | pa.StringArray) -> npt.NDArray[np.int32]:
    """Return the start offset of each of N values, and the end of the last value, (N + 1,)."""
    return np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]


def bytes_of(texts: pa.StringArray) -> npt.NDArray[np.uint8]:
    """Return the concatenated UTF-8 bytes of N texts."""
    offsets = offsets_of(texts)
    return np.frombuffer(texts.buffers()[2] or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]


def string_array(offsets: npt.NDArray[np.int32], text: npt.NDArray[np.uint8]) -> pa.StringArray:
    """Return a view of N consecutive strings in `text`, without a copy; `offsets` is (N + 1,)."""
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


def offsets_from_lengths(lengths: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Return the offsets, (N + 1,), of consecutive items from their lengths, (N,)."""
    return np.append(np.int32(0), np.cumsum(lengths, dtype=np.int32))
