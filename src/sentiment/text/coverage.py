"""Check that word vectors cover the training text, and diagnose the cause if they do not."""

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sentiment.errors import InputError, abbreviated
from sentiment.storage.archives import Limits
from sentiment.text.glove import read_words

SHOWN_WORDS = 3
ENOUGH = 0.5  # share of a text's words; a repair that covers this much is suggested even below the required coverage
MAX_UNREADABLE_SHARE = 0.1  # tolerated share of a file's words that are not UTF-8; glove.840B has a few


class Repair(NamedTuple):
    """A systematic difference in spelling between the file and the text, and its remedy."""

    spell_alike: Callable[[str], str]  # removes the difference
    cause: str
    advice: str


REPAIRS = (
    Repair(
        str.lower,
        "the words of the file differ in case",
        "change prepare.lower (true: the text in lower case, false: as written) or the file",
    ),
    Repair(
        lambda word: re.sub(r"^[\W_]+|[\W_]+$", "", word),
        "the words of the file have spaces or other marks around them",
        "remove the marks from the file",
    ),
    Repair(
        lambda word: unicodedata.normalize("NFC", word),
        "the accents in the file are separate characters",
        "convert the file and the text to Unicode normalization form NFC",
    ),
)


def check_coverage(
    path: Path, dimension: int, limits: Limits, counts: Mapping[str, int], found: Collection[str], least: float
) -> None:
    """Raise InputError with the likely cause if less than a share `least` of a text's words has a vector.

    `counts` maps the tokens of the vocabulary to their frequency; `found` are the tokens with a vector. Only
    tokens with a letter count, since punctuation and numbers are the same in many languages.
    """
    words = {token: count for token, count in counts.items() if any(map(str.isalpha, token))}
    with_vector = set(found)
    share = _share(words, with_vector)
    if share >= least:
        return
    without = sorted(words.keys() - with_vector, key=lambda word: (-words[word], word))
    cause = _find_cause(path, dimension, limits, words, without, least)
    raise InputError(
        f"{path}: {share:.1%} of the words in the training text have a vector; vectors.fetched.min_coverage requires "
        f"{least:.1%}; {cause}; or lower vectors.fetched.min_coverage (0 accepts any vectors)"
    )


def _share(words: Mapping[str, int], covered: Collection[str]) -> float:
    """Return the covered share of a text, from the counts of its words; 1 for a text without words."""
    total = sum(words.values())
    return sum(count for word, count in words.items() if word in covered) / total if total else 1.0


def _find_cause(
    path: Path, dimension: int, limits: Limits, words: Mapping[str, int], without: Sequence[str], least: float
) -> str:
    """Find the first repair that would cover enough of the text, and describe the likely cause and its remedy."""
    wanted = [set(map(repair.spell_alike, words)) for repair in REPAIRS]
    matches: list[dict[str, str]] = [{} for _ in REPAIRS]  # from the normalized spelling to the file's spelling
    first: list[str] = []
    rows = unreadable = 0
    for encoded in read_words(path, dimension, limits):
        rows += 1
        try:
            word = encoded.decode()
        except UnicodeDecodeError:
            unreadable += 1
            continue
        if len(first) < SHOWN_WORDS and any(map(str.isalpha, word)):
            first.append(word)
        for repair, spellings, matched in zip(REPAIRS, wanted, matches, strict=True):
            if (spelling := repair.spell_alike(word)) in spellings:
                matched.setdefault(spelling, word)
    if unreadable > MAX_UNREADABLE_SHARE * rows:
        return f"likely cause: {unreadable:,} of the file's {rows:,} words are not UTF-8; save it as UTF-8"
    for repair, matched in zip(REPAIRS, matches, strict=True):
        share = _share(words, {word for word in words if repair.spell_alike(word) in matched})
        examples = [word for word in without if repair.spell_alike(word) in matched]
        if examples and share >= min(least, ENOUGH):
            spelling, word = matched[repair.spell_alike(examples[0])], examples[0]
            return (
                f"likely cause: {repair.cause} ({abbreviated(spelling)} instead of the text's {abbreviated(word)}); "
                f"with equal spelling {share:.1%} would have a vector; {repair.advice}"
            )
    beginning = ", ".join(map(abbreviated, first)) or "no text"
    frequent = ", ".join(map(abbreviated, without[:SHOWN_WORDS]))
    return (
        "likely cause: vectors for another language, for too few words, or for words split by other rules than spaCy's "
        f"(the file has {rows:,} words, the first are {beginning}; the most frequent words of the text "
        f"without a vector are {frequent}); set download.vectors.url and download.vectors.sha256 to other vectors"
    )
