r"""Cut pieces of text into tokens as spaCy's English tokenizer does, asking it about few of them.

A piece is what stands between two single spaces: "great:)" is one, and so is "end.\n\nNext". What spaCy does with a
piece depends on nothing around it, but for what `Cutter.meetings` finds.

Nor does it depend on most of its letters. spaCy has special cases (contractions, abbreviations, emoticons), which are
given letter by letter. Its other rules ask of an ASCII letter only whether it is upper or lower case, unless it stands
after a digit, a dollar or a character outside ASCII, or is the "s" of "'s". So "(Mostly)," is cut as "(Qqqq)," is. That
is its *shape*: letters of one case in a row become a stand-in, at most three times, unless they are in a special case.
There are far fewer shapes than pieces. A test reads all this off spaCy's own regular expressions.
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
from spacy.lang.en import English
from spacy.tokenizer import Tokenizer
from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex
from spacy.vocab import Vocab

LETTERS = re.compile("[A-Za-z]+")
LONGEST_PIECE = 60  # characters; others get no shape and are not remembered
PLAIN = f"^[!-#%-/:-~]{{1,{LONGEST_PIECE}}}$"  # printable ASCII without digits and "$"
LONGEST_RUN = 3  # of stand-ins: spaCy tells one letter from two from more, up to a limit of 63
REMEMBERED = 60_000  # shapes, and other pieces, of which the tokens are kept; about 25 MB

# For each byte, the case of the letter it is (0: it is none), and what it becomes in a shape.
CASE, SHAPE = np.zeros(256, dtype=np.uint8), np.arange(256, dtype=np.uint8)
for number, (letters, stand_in) in enumerate([(string.ascii_lowercase, "q"), (string.ascii_uppercase, "Q")], start=1):
    CASE[list(letters.encode())], SHAPE[list(letters.encode())] = number, ord(stand_in)


class NumberedTokens(NamedTuple):
    """The tokens of N texts, each distinct token numbered."""

    types: pa.StringArray
    ids: pa.ListArray  # N lists of int32, numbers into `types`

    def add(self, texts: Sequence[Sequence[str]]) -> "NumberedTokens":
        """Return the same and after it some more texts, given by their tokens."""
        words = pa.array(chain.from_iterable(texts), pa.string())
        types = pa.concat_arrays([self.types, words]).dictionary_encode()  # the known ones keep their numbers
        more = pa.ListArray.from_arrays(end_to_end([len(words) for words in texts]), types.indices[len(self.types) :])
        return NumberedTokens(types.dictionary, pa.concat_arrays([self.ids, more]))

    def lower(self) -> "NumberedTokens":
        """Return the same with each token in lower case."""
        types = pa.array([word.lower() for word in self.types.to_pylist()], pa.string()).dictionary_encode()
        return NumberedTokens(
            types.dictionary, pa.ListArray.from_arrays(self.ids.offsets, types.indices.take(self.ids.values))
        )


class Cutter:
    """The tokenizer of `spacy.blank("en")`, which is that of the trained English pipelines."""

    def __init__(self) -> None:
        english: Any = English.Defaults
        affixes = {
            "prefix_search": compile_prefix_regex(english.prefixes).search,
            "suffix_search": compile_suffix_regex(english.suffixes).search,
            "infix_finditer": compile_infix_regex(english.infixes).finditer,
            "token_match": english.token_match,
            "url_match": english.url_match,
        }
        specials = english.tokenizer_exceptions
        # A vocabulary of its own, which computes no attributes of each new word, makes spaCy twice as fast.
        self._vocab = Vocab()
        self._tokenizer = Tokenizer(self._vocab, rules=specials, max_cache_size=0, **affixes)
        self._remembered_words = lru_cache(REMEMBERED)(self._words)
        self._special_letters = pa.array({run for special in specials for run in LETTERS.findall(special)})

        self._halves = self._halve(Tokenizer(Vocab(), **affixes), specials)
        self._lasts, self._firsts = (sorted({pair[side] for pair in self._halves}) for side in (0, 1))
        self._may_meet = np.zeros((len(self._lasts), len(self._firsts)), dtype=np.bool_)
        for last, first in self._halves:
            self._may_meet[self._lasts.index(last), self._firsts.index(first)] = True

    def _halve(self, by_affixes: Tokenizer, specials: Iterable[str]) -> dict[tuple[str, str], set[tuple[str, str]]]:
        """Return the halves of special cases between which a space may stand, by the tokens before and after it.

        spaCy looks through the tokens of a whole text for the special cases that its other rules would cut.
        """
        found = {
            special: [token.text for token in by_affixes(special)]
            for special in specials
            if by_affixes.find_prefix(special) or by_affixes.find_suffix(special) or by_affixes.find_infix(special)
        }
        # What a token may be now: itself, or the end of what a special case has put in the place of others.
        put = {special: self._words(special) for special in found}
        lasts, firsts = defaultdict(set), defaultdict(set)
        for special, tokens in found.items():
            lasts[tokens[-1]].add(put[special][-1])
            firsts[tokens[0]].add(put[special][0])
        halves = defaultdict(set)
        for tokens in found.values():
            for place in range(1, len(tokens)):
                last, first = tokens[place - 1 : place + 1]
                for pair in product({last, *lasts[last]}, {first, *firsts[first]}):
                    halves[pair].add(("".join(tokens[:place]), "".join(tokens[place:])))
        return dict(halves)

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the tokens of each text, as spaCy gives them."""
        with self._vocab.memory_zone():  # without it spaCy keeps every word that it has ever seen
            return [self._remembered_words(text) if len(text) <= LONGEST_PIECE else self._words(text) for text in texts]

    def _words(self, text: str) -> list[str]:
        return [token.text for token in self._tokenizer(text)]

    def cut(self, pieces: pa.StringArray) -> NumberedTokens:
        """Return the tokens of distinct pieces, (N,), each of them taken by itself."""
        plain = pc.match_substring_regex(pieces, PLAIN)
        words, counts = self._cut_plain(pieces.filter(plain))
        others = self.words(pieces.filter(pc.invert(plain)).to_pylist())
        words_of_others = pa.array(chain.from_iterable(others), pa.string())
        tokens = pa.concat_arrays([words, words_of_others]).dictionary_encode()
        ids = pa.ListArray.from_arrays(end_to_end(np.append(counts, [len(words) for words in others])), tokens.indices)
        plain_first = np.argsort(~plain.to_numpy(zero_copy_only=False), kind="stable")
        return NumberedTokens(tokens.dictionary, ids.take(pa.array(np.argsort(plain_first))))

    def _cut_plain(self, pieces: pa.StringArray) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
        """Return the tokens of plain pieces, laid end to end, and how many each piece has, (N,).

        The tokens of such a piece are its characters without a gap, so that all they need is offsets of their own.
        """
        if not len(pieces):
            return pa.array([], pa.string()), np.zeros(0, dtype=np.int32)
        shapes, kept = self._draw(pieces)
        encoded = shapes.dictionary_encode()
        words = self.words(encoded.dictionary.to_pylist())
        lengths = pa.array([list(map(len, each)) for each in words], pa.list_(pa.int32())).take(encoded.indices)
        offsets = kept[end_to_end(lengths.flatten().to_numpy())]
        return string_array(offsets, bytes_of(pieces)), np.diff(lengths.offsets.to_numpy())

    def _draw(self, pieces: pa.StringArray) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
        """Return the shape of each piece, (N,), and where in the pieces' text each character of the shapes was.

        After the places, (S + 1,) for S characters of all shapes together, stands that of the text's end.
        """
        starts, text = offsets_of(pieces), bytes_of(pieces)
        case, is_start = CASE[text], np.zeros(len(text), dtype=np.bool_)
        is_start[starts[:-1]] = True
        runs = _runs(case > 0, is_start)  # of letters, and of what is between them
        special = pc.is_in(string_array(runs, text), self._special_letters).to_numpy(zero_copy_only=False)
        special = np.repeat(special, np.diff(runs))
        runs = _runs(case, is_start)  # of letters of one case, and of what is between them
        before = np.arange(len(text), dtype=np.int32) - np.repeat(runs[:-1], np.diff(runs))  # in the same run
        is_kept = (before < LONGEST_RUN) | special | (case == 0)
        kept = np.append(np.flatnonzero(is_kept), len(text)).astype(np.int32)
        drawn = np.where(special, text, SHAPE[text])[is_kept]
        starts_drawn = end_to_end(is_kept)[starts]
        return string_array(starts_drawn, drawn), kept

    def meetings(self, cut: NumberedTokens, texts: pa.StringArray, pieces: pa.Int32Array) -> npt.NDArray[np.int64]:
        """Return the places in a sequence of pieces, (P,), where spaCy might find a special case across the next space.

        In "great:) )" it sees ":", ")", ")", the special case ":))", and leaves it all apart because of the space; in
        "great:)" alone it would have found ":)". Pieces that meet must be given to `words` as one.
        """
        offsets, ids = offsets_of(cut.ids), cut.ids.values.to_numpy()
        some = np.flatnonzero(np.diff(offsets))
        last, first = np.full((2, len(cut.ids)), -1, dtype=np.int32)
        last[some] = _places(cut.types, self._lasts)[ids[offsets[some + 1] - 1]]
        first[some] = _places(cut.types, self._firsts)[ids[offsets[some]]]
        lasts, firsts = (pa.array(each).take(pieces).to_numpy() for each in (last, first))
        both = np.flatnonzero((lasts[:-1] >= 0) & (firsts[1:] >= 0))
        both = both[self._may_meet[lasts[both], firsts[both + 1]]]
        left, right = (texts.take(pieces.take(pa.array(both + side))).to_pylist() for side in (0, 1))
        met = [
            _may_be_halves(before, after, self._halves[self._lasts[last], self._firsts[first]])
            for before, after, last, first in zip(left, right, lasts[both], firsts[both + 1], strict=True)
        ]
        places: npt.NDArray[np.int64] = both[np.array(met, dtype=np.bool_)]
        return places


def _may_be_halves(left: str, right: str, halves: Iterable[tuple[str, str]]) -> bool:
    """Say whether, for some halves, `left` ends where the first one does and `right` begins where the second does."""
    left, right = left.replace(" ", ""), right.replace(" ", "")
    return any(
        (left.endswith(last) or last.endswith(left)) and (right.startswith(first) or first.startswith(right))
        for last, first in halves
    )


def _runs(kind: npt.NDArray[np.generic], is_start: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return where runs of one kind begin, and where the last ends; one begins at each start at least."""
    begins = is_start.copy()
    begins[1:] |= kind[1:] != kind[:-1]
    return np.append(np.flatnonzero(begins), len(kind)).astype(np.int32)


def _places(words: pa.StringArray, among: list[str]) -> npt.NDArray[np.int32]:
    """Return the place of each word, (N,), among some; -1 if it is not among them."""
    places: npt.NDArray[np.int32] = pc.index_in(words, pa.array(among, pa.string())).fill_null(-1).to_numpy()
    return places


def offsets_of(values: pa.ListArray | pa.StringArray) -> npt.NDArray[np.int32]:
    """Return where each of N values begins, and where the last ends, (N + 1,)."""
    return np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]


def bytes_of(texts: pa.StringArray) -> npt.NDArray[np.uint8]:
    """Return the characters of N texts in UTF-8, end to end."""
    offsets = offsets_of(texts)
    return np.frombuffer(texts.buffers()[2] or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]


def string_array(offsets: npt.NDArray[np.int32], text: npt.NDArray[np.uint8]) -> pa.StringArray:
    """Return N strings that lie end to end in `text`, without a copy; `offsets` is (N + 1,)."""
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


def end_to_end(lengths: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Return the offsets, (N + 1,), of what has these lengths, (N,), and lies end to end."""
    return np.append(np.int32(0), np.cumsum(lengths, dtype=np.int32))
