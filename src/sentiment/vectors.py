"""Read the rows that are wanted from word vectors in GloVe's text format, plain or zipped.

Pennington, Socher and Manning (2014), GloVe: Global Vectors for Word Representation, EMNLP. A line is a word and its
numbers, separated by single spaces.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.errors import InputError

ZIP_MAGIC = b"PK"


class WordVectors(NamedTuple):
    """The vectors of the wanted words that the file has."""

    words: list[str]
    matrix: npt.NDArray[np.float32]  # (words, E)
    rows: int  # rows in the file
    repeated: int  # rows of a wanted word that had come before: the first one counts


def read_vectors(path: Path, dimension: int, wanted: Sequence[str]) -> WordVectors:
    """Read the vectors of `wanted` words; of the other rows only the number of fields is looked at.

    In a zip file the member is the one named `*.<dimension>d.txt`, or the only one. The header line of word2vec's
    text format ("400000 100") is passed over. A word may hold spaces, as some of glove.840B do. Words are compared
    as bytes, so that a word that is not UTF-8 is merely one that nobody wants.

    Raises InputError, with the line, for a row that is too short or too long, a number that is not one or not
    finite, and a damaged zip file.
    """
    missing = {word.encode(): word for word in wanted}
    found: dict[bytes, npt.NDArray[np.float32]] = {}
    rows = repeated = 0
    with _open_rows(path, dimension) as (name, lines):
        for number, line in enumerate(lines, start=1):
            word, *values = line.rstrip(b"\r\n").rsplit(b" ", dimension)
            if len(values) != dimension or (b" " in word and _is_number(word.rsplit(b" ", 1)[1])):
                if number == 1 and _is_header(line, dimension):
                    continue
                raise InputError(
                    f"{name}:{number}: must be a word and {dimension} numbers separated by single spaces; "
                    f"got {line.count(b' ')} spaces in {line[:40]!r}"
                )
            rows += 1
            if word in found:
                repeated += 1
            elif word in missing:
                found[word] = _parse(values, f"{name}:{number}")
    if not rows:
        raise InputError(f"{name}: holds no vectors")
    matrix = np.stack(list(found.values())) if found else np.empty((0, dimension), dtype=np.float32)
    return WordVectors([missing[word] for word in found], matrix, rows, repeated)


@contextmanager
def _open_rows(path: Path, dimension: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Open the text of the vectors; zipped or not is told by content, since the file may bear any name."""
    with path.open("rb") as file:
        if file.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
            file.seek(0)
            yield str(path), file
            return
        try:
            with zipfile.ZipFile(file) as archive:
                member = _member(path, archive, dimension)
                with archive.open(member) as lines:
                    yield f"{path}: {member}", lines
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InputError(f"{path}: the zip file is damaged or truncated ({error}); fetch it again") from error


def _member(path: Path, archive: zipfile.ZipFile, dimension: int) -> str:
    members = archive.namelist()
    fitting = [member for member in members if member.endswith(f".{dimension}d.txt")]
    for candidates in (fitting, members):
        if len(candidates) == 1:
            return candidates[0]
    raise InputError(f"{path}: must hold one member named *.{dimension}d.txt; it holds {', '.join(members) or 'none'}")


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
