"""Read selected word vectors from a text file in the format of GloVe, word2vec or fastText, plain, gzipped or zipped.

Pennington, Socher and Manning (2014), GloVe: Global Vectors for Word Representation, EMNLP. Each line holds a word and
its numbers, separated by single spaces. word2vec and fastText write a header line ("400000 100") before the first row
and, some versions, a space after each.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.errors import InputError
from sentiment.storage.archives import READ_BYTES, Limits, gzip_blocks, zip_blocks, zip_names

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the second is that of a zip file without members
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_LINE_BYTES = 1 << 20  # far more than any valid row needs
SHOWN_NAMES = 5
SHOWN_BYTES = 40

# Formats that users supply by mistake, by their first bytes in lower case, and the remedy for each.
OTHER_FORMATS = {
    GZIP_MAGIC: "is compressed twice; unpack it once, with gunzip or unzip",
    b"bzh9": "is compressed with bzip2; unpack it with bunzip2",
    b"pk\x03\x04": "is a zip file within a zip file; unpack the outer one",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    b"\xba\x16o/": "is a binary fastText model; use its .vec file",
    b"<!doctype html": "is a web page; use the URL of the file itself",
    b"<html>": "is a web page; use the URL of the file itself",
    b"version https://git-lfs": "is a Git LFS pointer, not the file; run git lfs pull",
}
TAR_MAGIC, TAR_OFFSET = b"ustar", 257
BINARY_BYTES = 1 << 12  # binary files contain a zero byte within this length; text contains none


class WordVectors(NamedTuple):
    """The vectors of the wanted words that occur in the file."""

    words: list[str]
    matrix: npt.NDArray[np.float32]  # (number of words, E)
    rows: int  # number of rows in the file
    repeated: int  # number of rows that repeat a wanted word; its first row is used


def read_vectors(path: Path, dimension: int, wanted: Sequence[str], limits: Limits) -> WordVectors:
    """Read the vectors of the `wanted` words; of all other rows, only the number of fields is checked.

    In a zip file, reads the member named `*.<dimension>d.txt`, or the only member; folders, hidden files and the files
    that macOS adds are ignored. Skips a byte order mark, a header line and a space at the end of a row. A word may
    contain spaces, as some words of glove.840B do. Words are compared as bytes, so that a word that is not UTF-8
    matches none of the wanted words and does no harm.

    Raises InputError with the line number for a row with misplaced spaces or the wrong number of fields, and for a
    number of a wanted word that is not finite. Raises InputError also for a file in another format or without vectors,
    and for a compressed file that `zip_blocks` or `gzip_blocks` refuses.
    """
    missing = {word.encode(): word for word in wanted}
    found: dict[bytes, str] = {}
    matrix = np.empty((len(missing), dimension), dtype=np.float32)
    number = repeated = 0
    has_header = False
    [(name, blocks)] = _texts(path, limits, dimension)
    for block in _whole_lines(name, blocks):
        for start, is_usual in _lines(block, dimension):
            number += 1
            if is_usual and block[start : block.index(b" ", start)] not in missing:
                continue
            line = block[start : block.index(b"\n", start)]
            if number == 1 and _dimension_in_header(line) == dimension:
                has_header = True
                continue
            word, values = _split_row(line, dimension, f"{name}:{number}", is_first=number == 1 + has_header)
            if word in found:
                repeated += 1
            elif word in missing:
                matrix[len(found)] = _parse(values, f"{name}:{number}")
                found[word] = missing[word]
    rows = number - has_header
    if not rows:
        raise InputError(f"{name}: contains no vectors")
    return WordVectors(list(found.values()), matrix[: len(found)], rows, repeated)


def read_words(path: Path, dimension: int, limits: Limits) -> Iterator[bytes]:
    """Yield the word of each row, as bytes, from a file that `read_vectors` has already checked."""
    [(name, blocks)] = _texts(path, limits, dimension)
    for block in _whole_lines(name, blocks):
        for line in block.splitlines():
            yield line.rsplit(b" ", dimension)[0]


def check_beginning(path: Path, limits: Limits) -> None:
    """Raise InputError unless each row in the file's first block is a word and the same number of numbers.

    In a zip file, checks all members named `*.<dimension>d.txt`, or the only member.
    """
    for name, blocks in _texts(path, limits):
        lines = next(_whole_lines(name, blocks), b"").split(b"\n")[:-1]
        if not lines:
            raise InputError(f"{name}: contains no vectors")
        has_header = _dimension_in_header(lines[0]) is not None and len(lines) > 1
        rows = lines[has_header:]
        dimension = Counter(map(_count_numbers, rows)).most_common(1)[0][0]
        if not dimension:
            found = _describe(rows[0], dimension)
            raise InputError(f"{name}:{1 + has_header}: must be a word and its numbers, separated by spaces; {found}")
        for number, row in enumerate(rows, 1 + has_header):
            _split_row(row, dimension, f"{name}:{number}")


def _whole_lines(name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Regroup blocks of text so that each block consists of whole lines, which end neither in a space nor in CRLF."""
    rest = b""
    for block in blocks:
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise InputError(
                f"{name}: a line has more than {MAX_LINE_BYTES:,} bytes; each line must be a word and its numbers"
            )
        if newline:
            yield _without_ends(lines + newline)
    if rest:
        yield _without_ends(rest + b"\n")


def _without_ends(lines: bytes) -> bytes:
    return lines.replace(b"\r\n", b"\n").replace(b" \n", b"\n")


def _lines(block: bytes, dimension: int) -> Iterator[tuple[int, bool]]:
    """Yield the offset of each line in a block, and whether the line has exactly `dimension` spaces."""
    characters = np.frombuffer(block, dtype=np.uint8)
    starts = np.append(0, np.flatnonzero(characters == ord("\n"))[:-1] + 1)
    spaces = np.add.reduceat(characters == ord(" "), starts, dtype=np.int32)
    return zip(starts.tolist(), (spaces == dimension).tolist(), strict=True)


def _texts(path: Path, limits: Limits, dimension: int | None = None) -> list[tuple[str, Iterator[bytes]]]:
    """Return the name and the blocks of each text in a file: exactly one text if `dimension` is given.

    Compressed files are recognized by their content, since the file may have any name.
    """
    with path.open("rb") as file:
        magic = file.read(len(ZIP_MAGIC[0]))
    if magic not in ZIP_MAGIC:
        blocks = gzip_blocks(path, limits) if magic.startswith(GZIP_MAGIC) else _plain_blocks(path)
        return [(str(path), _text_blocks(str(path), blocks))]
    names = [(member, f"{path}: {member}") for member in _members(path, zip_names(path, limits), dimension)]
    return [(name, _text_blocks(name, zip_blocks(path, member, limits))) for member, name in names]


def _plain_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            yield block


def _text_blocks(name: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a text without its byte order mark; raise InputError for a file in another format."""
    first = next(blocks, b"")
    for magic, what in OTHER_FORMATS.items():
        if first[: len(magic)].lower() == magic:
            raise InputError(f"{name}: {what}")
    if first[TAR_OFFSET:].startswith(TAR_MAGIC):
        raise InputError(f"{name}: is a tar archive; unpack it")
    if b"\0" in first[:BINARY_BYTES]:
        raise InputError(
            f"{name}: is a binary file; it must be text: unpack it, "
            "or write it with word2vec -binary 0 or gensim's binary=False"
        )
    yield first.removeprefix(BYTE_ORDER_MARK)
    yield from blocks


def _members(path: Path, members: list[str], dimension: int | None) -> list[str]:
    """Return the only member, or else the member of that dimension; for None, all members that name a dimension."""
    files = [name for name in members if not re.search(r"/$|^__MACOSX/|(^|/)\.", name)]  # no folders, no hidden files
    of_dimension = {name: found[1] for name in files if (found := re.search(r"\.(\d+)d\.txt$", name))}
    if len(files) == 1:
        return files
    fitting = [name for name, number in of_dimension.items() if dimension is None or number == str(dimension)]
    if len(fitting) == 1 or (fitting and dimension is None):
        return fitting
    some = ", ".join(files[:SHOWN_NAMES]) or "no files"
    more = f" and {len(files) - SHOWN_NAMES:,} more" if len(files) > SHOWN_NAMES else ""
    dimensions = " or ".join(of_dimension.values())
    advice = f"; set vectors.fetched.dimension: {dimensions}" if of_dimension and not fitting else ""
    wanted = "<dimension>" if dimension is None else dimension
    raise InputError(
        f"{path}: must contain one file, or one file named *.{wanted}d.txt; it contains {some}{more}{advice}"
    )


def _split_row(line: bytes, dimension: int, where: str, is_first: bool = False) -> tuple[bytes, list[bytes]]:
    """Split a row into its word and its numbers; raise InputError for a malformed row."""
    word, *values = line.rsplit(b" ", dimension)
    if len(values) != dimension or word.endswith(b" ") or (b" " in word and _is_number(word.rsplit(b" ", 1)[1])):
        found = _describe(line, dimension, is_first)
        raise InputError(f"{where}: must be a word and {dimension} numbers separated by single spaces; {found}")
    return word, values


def _describe(line: bytes, dimension: int, is_first: bool = False) -> str:
    """Describe why a line is not a valid row; the first row may show that the whole file has another dimension."""
    in_header, count = _dimension_in_header(line), _count_numbers(line)
    if is_first and in_header is not None:
        return f"the file's header says {in_header} numbers; set vectors.fetched.dimension: {in_header}"
    if b"\t" in line:
        return "the line has tabs; replace each with a space, for example with sed 's/\\t/ /g'"
    if b"  " in line:
        return "the line has two spaces in a row; replace them with one, for example with sed 's/  */ /g'"
    if is_first and count not in (0, dimension):
        return f"the file has {count} numbers per word; set vectors.fetched.dimension: {count}"
    return f"got {line.count(b' ')} spaces in {line[:SHOWN_BYTES]!r}"


def _count_numbers(line: bytes) -> int:
    """Count the numbers at the end of a row, never counting the first field, which is the word."""
    fields = line.split()[1:]
    return next((count for count, field in enumerate(reversed(fields)) if not _is_number(field)), len(fields))


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _dimension_in_header(line: bytes) -> int | None:
    """Return the dimension in a header line of word2vec's text format, or None for any other line."""
    found = re.fullmatch(rb"[0-9]{1,18} ([0-9]{1,9})", line)
    return int(found[1]) if found else None


def _parse(values: list[bytes], where: str) -> npt.NDArray[np.float32]:
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError as error:
        raise InputError(f"{where}: every field after the word must be a number; {error}") from error
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite and is refused below
        vector = numbers.astype(np.float32)
    if not np.isfinite(vector).all():
        raise InputError(f"{where}: every number must be finite; got NaN or infinity")
    return vector
