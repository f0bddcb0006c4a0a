"""Read the rows that are wanted from word vectors in GloVe's text format, plain or zipped.

Pennington, Socher and Manning (2014), GloVe: Global Vectors for Word Representation, EMNLP. A line is a word and its
numbers, separated by single spaces.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.archive import READ_BYTES, Limits, zip_blocks, zip_names
from sentiment.errors import InputError

ZIP_MAGIC = b"PK"
LINE_BYTES = 1 << 20  # far more than any row has
SHOWN_NAMES = 5


class WordVectors(NamedTuple):
    """The vectors of the wanted words that the file has."""

    words: list[str]
    matrix: npt.NDArray[np.float32]  # (words, E)
    rows: int  # rows in the file
    repeated: int  # rows of a wanted word that had come before: the first one counts


def read_vectors(path: Path, dimension: int, wanted: Sequence[str], limits: Limits) -> WordVectors:
    """Read the vectors of `wanted` words; of the other rows only the number of fields is looked at.

    In a zip file the member is the one named `*.<dimension>d.txt`, or the only one. The header line of word2vec's
    text format ("400000 100") is passed over. A word may hold spaces, as some of glove.840B do. Words are compared
    as bytes, so that a word that is not UTF-8 is merely one that nobody wants.

    Raises InputError, with the line, for a row that is too short or too long, a number that is not one or not
    finite, and a zip file that `zip_blocks` refuses.
    """
    missing = {word.encode(): word for word in wanted}
    found: dict[bytes, str] = {}
    matrix = np.empty((len(missing), dimension), dtype=np.float32)
    number = repeated = 0
    has_header = False
    name, blocks = _read_blocks(path, dimension, limits)
    for block in _whole_lines(name, blocks):
        for start, is_usual in _lines(block, dimension):
            number += 1
            if is_usual and block[start : block.index(b" ", start)] not in missing:
                continue
            line = block[start : block.index(b"\n", start)]
            if number == 1 and _is_header(line, dimension):
                has_header = True
                continue
            word, values = _divide(line, dimension, f"{name}:{number}")
            if word in found:
                repeated += 1
            elif word in missing:
                matrix[len(found)] = _parse(values, f"{name}:{number}")
                found[word] = missing[word]
    rows = number - has_header
    if not rows:
        raise InputError(f"{name}: holds no vectors")
    return WordVectors(list(found.values()), matrix[: len(found)], rows, repeated)


def _whole_lines(name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the text in blocks that end where a line does."""
    rest = b""
    for block in blocks:
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if len(rest) > LINE_BYTES:
            raise InputError(f"{name}: a line has more than {LINE_BYTES:,} bytes; it must be a word and its numbers")
        if newline:
            yield lines + newline
    if rest:
        yield rest + b"\n"


def _lines(block: bytes, dimension: int) -> Iterator[tuple[int, bool]]:
    """Yield where each line of a block begins, and whether it has as many spaces as a word and its numbers need."""
    characters = np.frombuffer(block, dtype=np.uint8)
    starts = np.append(0, np.flatnonzero(characters == ord("\n"))[:-1] + 1)
    spaces = np.add.reduceat(characters == ord(" "), starts, dtype=np.int32)
    return zip(starts.tolist(), (spaces == dimension).tolist(), strict=True)


def _read_blocks(path: Path, dimension: int, limits: Limits) -> tuple[str, Iterator[bytes]]:
    """Return what the text is called and its blocks; zipped or not is told by content: the file may bear any name."""
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    if not is_zip:
        return str(path), _plain_blocks(path)
    member = _member(path, zip_names(path, limits), dimension)
    return f"{path}: {member}", zip_blocks(path, member, limits)


def _plain_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            yield block


def _member(path: Path, members: list[str], dimension: int) -> str:
    fitting = [member for member in members if member.endswith(f".{dimension}d.txt")]
    for candidates in (fitting, members):
        if len(candidates) == 1:
            return candidates[0]
    some = ", ".join(members[:SHOWN_NAMES]) or "none"
    more = f" and {len(members) - SHOWN_NAMES:,} more" if len(members) > SHOWN_NAMES else ""
    raise InputError(f"{path}: must hold one member named *.{dimension}d.txt; it holds {some}{more}")


def _divide(line: bytes, dimension: int, where: str) -> tuple[bytes, list[bytes]]:
    """Divide a row into its word and its numbers."""
    word, *values = line.rstrip(b"\r").rsplit(b" ", dimension)
    if len(values) != dimension or (b" " in word and _is_number(word.rsplit(b" ", 1)[1])):
        raise InputError(
            f"{where}: must be a word and {dimension} numbers separated by single spaces; "
            f"got {line.count(b' ')} spaces in {line[:40]!r}"
        )
    return word, values


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _is_header(line: bytes, dimension: int) -> bool:
    fields = line.split()
    return len(fields) == 2 and fields[0].isdigit() and fields[1] == str(dimension).encode()


def _parse(values: list[bytes], where: str) -> npt.NDArray[np.float32]:
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError as error:
        raise InputError(f"{where}: every field after the word must be a number; {error}") from error
    with np.errstate(over="ignore"):  # what is too great for float32 becomes infinite and is refused with it
        vector = numbers.astype(np.float32)
    if not np.isfinite(vector).all():
        raise InputError(f"{where}: every number must be finite; got NaN or infinity")
    return vector
