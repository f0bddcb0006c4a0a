"""Read rows from the files that people have: CSV and its kin, JSON, Parquet and plain lines, packed or not.

A file's suffix says what it is. The encoding of a text file, its delimiter and whether quotes enclose fields may be
given as a `Dialect`; each of them that is not given is guessed from the start of the file, with a message.
"""

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from sentiment.corpora.reviews import reading_parquet, without_surrogates
from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import first_repeated, parse_json

SAMPLE_BYTES = 1 << 20  # of a file, unpacked, from which to guess
BATCH_ROWS = 256  # bounds memory while reading Parquet
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}  # that are tried
NATURAL = {".csv": ",", ".tsv": "\t", ".tab": "\t"}  # the delimiter that a suffix promises
PACKED = (".gz", ".zip", ".zst")
QUOTED = ",;"  # with these delimiters, double quotes enclose fields; with others they may be part of a text
# A character of two to four bytes in UTF-8. Text in another encoding hardly ever holds one.
MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
UNDECODED = re.compile("[\udc80-\udcff]")
FASTTEXT = re.compile(r"((?:__label__\S+\s+)+)(.*)", re.DOTALL)

# Explanations of the csv module's error messages, by a part of the message.
CSV_CAUSES = {
    "expected after": "a closing quote must be followed by the delimiter; write a quote inside a text twice",
    "unexpected end": "a quote is opened and never closed",
}

# How to convert a file of an unsupported format, by suffix.
CONVERSIONS = {
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "save it as .csv, in UTF-8"),
    **dict.fromkeys((".bz2", ".xz", ".tgz", ".tar", ".7z", ".rar"), "unpack it"),
}


@dataclass(frozen=True)
class Dialect:
    """Format of a text file; a field that is None is guessed."""

    delimiter: str | None = None  # between two fields
    encoding: str | None = None  # as Python names it
    quotes: bool | None = None  # whether double quotes enclose fields
    header: bool = True  # whether the first row names the columns; else they are named 1, 2, ...
    whole: bool = False  # whether a .txt file is one text; else each of its lines is one
    prefix: str = "download.custom."  # of the names above, as messages call them


GUESSED = Dialect()


class Row(NamedTuple):
    """A row of a file."""

    where: str  # file and line, for messages
    values: dict[str, object]  # by column name
    problem: str | None = None  # why the row cannot be read, in which case it has no values


def kind_of(path: Path) -> str:
    """Return the suffix that says what a file holds, in lower case: `.csv` for `reviews.csv.gz`."""
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    return suffix if suffix not in PACKED else inner + suffix if inner == ".parquet" else inner  # packed inside


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder and of its folders, sorted and without hidden ones."""
    files = (path for path in folder.rglob("*") if path.is_file())
    shown = (path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(shown, key=Path.as_posix)


def read_rows(
    path: Path,
    columns: Sequence[str | int] = (),
    dialect: Dialect = GUESSED,
    kind: str | None = None,
    say: Callable[[str], None] = print,
    raw: IO[bytes] | None = None,
) -> Iterator[Row]:
    """Yield the rows of a file in order.

    `columns`, names or numbers from 1, are those that the file must have, which helps to guess its delimiter. `kind` is
    a key of READERS, by default what the file's suffix says. `say` is called with a message on what was guessed, if it
    is not what the suffix promises. `raw` is the file itself, opened by a caller who wants to know how much of it has
    been read; it must be at its start. Raises InputError for a file of another format, a damaged one, and one whose
    columns share a name; OSError where it cannot be read.
    """
    kind = kind or kind_of(path)
    if kind not in READERS:
        hint = f"; {CONVERSIONS[path.suffix.lower()]}" if path.suffix.lower() in CONVERSIONS else ""
        raise InputError(f"{path}: must be a file of type {', '.join(READERS)}{hint}")
    if kind == ".parquet":
        yield from _parquet_rows(path)
        return
    if kind == ".txt" and dialect.whole:
        yield from read_whole(path, dialect, raw)
        return
    with open_unpacked(path) as file:
        sample = file.read(SAMPLE_BYTES)
    known = _complete(path, sample, columns, dialect, NATURAL.get(kind), say)
    encoding = known.encoding or "utf-8"
    # A byte that the encoding does not have becomes a surrogate.
    with open_unpacked(path, raw) as file, io.TextIOWrapper(file, encoding, "surrogateescape", newline="") as lines:
        try:
            for row in READERS[kind](path, lines, known):
                byte = next(filter(None, map(_undecoded, row.values.values())), None)
                if byte is not None:
                    problem = (
                        f"holds the byte {byte}, which is not {spell_encoding(encoding)} ({dialect.prefix}encoding)"
                    )
                    row = Row(row.where, {}, problem)
                yield row
        except UnicodeError as error:
            raise InputError(
                f"{path}: is not {spell_encoding(encoding)}: {error} ({dialect.prefix}encoding)"
            ) from error


def read_whole(path: Path, dialect: Dialect = GUESSED, raw: IO[bytes] | None = None) -> Iterator[Row]:
    """Yield one row, whose text is all of a file; `raw` is as in `read_rows`."""
    with open_unpacked(path, raw) as file:
        content = file.read()
    encoding = _with_mark(dialect.encoding) if dialect.encoding else _guess_encoding(content[:SAMPLE_BYTES])
    try:
        yield Row(str(path), {"text": content.decode(encoding)})
    except UnicodeError as error:
        yield Row(str(path), {}, f"is not {spell_encoding(encoding)}: {error} ({dialect.prefix}encoding)")


def encoding_of(path: Path, dialect: Dialect, say: Callable[[str], None]) -> str:
    """Return the encoding of a text file; `say` is called with a message on one that is guessed and not UTF-8."""
    with open_unpacked(path) as file:
        return _complete(path, file.read(SAMPLE_BYTES), (), dialect, None, say).encoding or "utf-8"


@contextmanager
def open_unpacked(path: Path, raw: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """Open a file, or take it opened, for reading unpacked bytes.

    Raises InputError where it is damaged, and for a ZIP archive of several files.
    """
    suffix = path.suffix.lower()
    try:
        with ExitStack() as stack:
            raw = raw or stack.enter_context(path.open("rb"))
            if suffix == ".gz":
                yield cast(IO[bytes], stack.enter_context(gzip.open(raw)))
            elif suffix == ".zst":
                stream = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw), "zstd"))
                yield io.BufferedReader(stream)
            elif suffix == ".zip":
                archive = stack.enter_context(zipfile.ZipFile(raw))
                members = [each for each in archive.infolist() if not each.is_dir() and "__MACOSX" not in each.filename]
                if len(members) != 1:
                    raise InputError(f"{path}: must hold a single file; holds {len(members):,}; unpack it")
                yield stack.enter_context(archive.open(members[0]))
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, RuntimeError, pa.ArrowException) as error:
        raise InputError(f"{path}: is damaged or incomplete: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise InputError(f"{path}: is damaged or incomplete: {error}") from error  # Arrow's, of a .zst file


def _complete(
    path: Path,
    sample: bytes,
    columns: Sequence[str | int],
    dialect: Dialect,
    natural: str | None,
    say: Callable[[str], None],
) -> Dialect:
    """Fill in what a dialect leaves open; say what is not as it would be with the `natural` delimiter, in UTF-8."""
    said = []
    encoding = _with_mark(dialect.encoding) if dialect.encoding else _guess_encoding(sample)
    if dialect.encoding is None and encoding != "utf-8-sig":
        said.append(f"in the encoding {encoding} ({dialect.prefix}encoding)")
    delimiter, quotes = dialect.delimiter, dialect.quotes
    if natural is not None:
        csv.field_size_limit(1 << 30)  # of the process; the default of 128 KiB is less than some texts
        text = io.StringIO(sample.decode(encoding, "replace"), newline="")
        lines = list(text)[: -1 if len(sample) == SAMPLE_BYTES else None]
        if delimiter is None:
            delimiter = _guess_delimiter(lines, columns, natural, dialect.header)
            if delimiter != natural:
                said.append(f"with {DELIMITERS[delimiter]} between fields ({dialect.prefix}delimiter)")
        if quotes is None:
            quotes = delimiter in QUOTED or _are_quoted(lines, delimiter)
            if not quotes:
                said.append(f"without quotes around fields ({dialect.prefix}quotes)")
    if said:
        say(f"{without_surrogates(str(path))}: read {', '.join(said)}")
    return replace(dialect, delimiter=delimiter, encoding=encoding, quotes=quotes)


def spell_encoding(encoding: str) -> str:
    """Return the name of an encoding for messages, without what it says of a byte order mark."""
    return encoding.upper().removesuffix("-SIG")


def _with_mark(encoding: str) -> str:
    """Return the encoding that also reads a byte order mark."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _guess_encoding(sample: bytes) -> str:
    """Return UTF-8 or UTF-16 by mark or by content; otherwise windows-1252, which holds Latin-1's letters."""
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # the sample may end within a character
    except UnicodeDecodeError:
        return "utf-8-sig" if MULTIBYTE.search(sample) else "windows-1252"
    return "utf-8-sig"


def _guess_delimiter(lines: list[str], columns: Sequence[str | int], natural: str, header: bool) -> str:
    """Return the delimiter with which the first row has the columns, or else with which it has most fields."""
    first = next((line for line in lines if line.strip()), "")
    rows = {
        delimiter: next(csv.reader([first], delimiter=delimiter), [])
        for delimiter in sorted(DELIMITERS, key=lambda each: each != natural)
    }
    for delimiter, values in rows.items():
        names = values if header else _numbers(values)
        if all(each in names if isinstance(each, str) else each <= len(names) for each in columns):
            return delimiter
    # no delimiter gives all columns, so that one is misspelt; the error then lists the names in the first row
    return max(rows, key=lambda delimiter: len(rows[delimiter]))


def _numbers(values: list[str]) -> list[str]:
    """Return the names of columns without a header: 1, 2, ..."""
    return [str(number) for number in range(1, len(values) + 1)]


def _are_quoted(lines: list[str], delimiter: str) -> bool:
    """Return whether the lines can be read with quotes around fields, each row with as many fields as the first."""
    try:
        widths = {len(values) for values in csv.reader(lines, delimiter=delimiter, strict=True) if values}
    except csv.Error:
        return False
    return len(widths) <= 1


def _delimited_rows(path: Path, lines: Iterator[str], dialect: Dialect) -> Iterator[Row]:
    delimiter = dialect.delimiter or ","
    if dialect.quotes:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
    else:
        rows = csv.reader(lines, delimiter=delimiter, strict=True, quoting=csv.QUOTE_NONE)
    names: list[str] | None = None
    file = str(path)  # converting a path for each row takes longer than reading the row
    while True:
        try:
            values = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            cause = next((cause for part, cause in CSV_CAUSES.items() if part in str(error)), str(error))
            if names is None and dialect.header:
                raise InputError(f"{path}:{rows.line_num}: the header is not valid CSV: {cause}") from error
            yield Row(f"{path}:{rows.line_num}", {}, f"is not valid CSV: {cause}")
            continue
        if (names is None or len(values) != len(names)) and not any(map(str.strip, values)):
            continue  # a blank line
        where = f"{file}:{rows.line_num}"
        if names is None:
            names = values if dialect.header else _numbers(values)
            _check_names(where, filter(None, names))  # several columns without a name do no harm
            if dialect.header:
                continue
        if len(values) == len(names):
            yield Row(where, dict(zip(names, values, strict=True)))
        else:
            first = "header" if dialect.header else "first row"
            between = DELIMITERS.get(delimiter, "delimiters")
            yield Row(
                where,
                {},
                f"must have {len(names)} columns, like the {first}; got {len(values)}; "
                f"put double quotes around a text that contains {between}",
            )


def _jsonl_rows(path: Path, lines: Iterator[str], dialect: Dialect) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _json_row(f"{path}:{number}", line)


def _json_row(where: str, line: str) -> Row:
    try:
        row = parse_json(line)
    except (ValueError, RecursionError) as error:
        return Row(where, {}, f"is not valid JSON: {error}; each line must be one JSON object")
    if not isinstance(row, dict):
        return Row(where, {}, f"each line must be a JSON object; got {line.strip()[:40]!r}")
    return Row(where, row)


def _json_rows(path: Path, lines: Iterator[str], dialect: Dialect) -> Iterator[Row]:
    """Yield the objects of a JSON array; a file of one object per line is read as such."""
    text = "".join(lines)
    if not text.lstrip().startswith("["):
        yield from _jsonl_rows(path, io.StringIO(text, newline=""), dialect)
        return
    try:
        rows = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON: {error}") from error
    for number, row in enumerate(rows, start=1):
        where = f"{path}: element {number}"
        is_object = isinstance(row, dict)
        yield Row(where, row) if is_object else Row(where, {}, f"must be a JSON object; got {abbreviated(row)}")


def _plain_rows(path: Path, lines: Iterator[str], dialect: Dialect) -> Iterator[Row]:
    """Yield a text per line; where a line begins with fastText's `__label__NAME`, its label, too."""
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        where = f"{path}:{number}"
        found = FASTTEXT.fullmatch(line)
        if found is None:
            yield Row(where, {"text": line})
            continue
        labels = found[1].split()
        if len(labels) > 1:
            yield Row(where, {}, f"must have a single label; got {' '.join(labels)}")
        else:
            yield Row(where, {"text": found[2], "label": labels[0].removeprefix("__label__")})


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = 0
    with reading_parquet(path, "valid Parquet"), path.open("rb") as raw, pq.ParquetFile(raw, pre_buffer=False) as file:
        _check_names(f"{path}", file.schema_arrow.names)
        named = _class_names(file.schema_arrow)
        for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                for column, names in named.items():
                    value = row[column]
                    if isinstance(value, int) and 0 <= value < len(names):
                        row[column] = names[value]
                yield Row(f"{path}: row {number}", row)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes by column, as Hugging Face's `datasets` stores them in the schema of a file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: each["names"] for name, each in features.items() if each.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _undecoded(value: object) -> str | None:
    """Return the first byte of a text that could not be decoded, if there is one."""
    found = UNDECODED.search(value) if isinstance(value, str) and not value.isascii() else None
    return None if found is None else f"{ord(found[0]) - 0xDC00:#04x}"


def _check_names(where: str, names: Iterable[str]) -> None:
    if (name := first_repeated(names)) is not None:
        raise InputError(f"{where}: has two columns named {abbreviated(name)}; remove or rename one")


Reader = Callable[[Path, Iterator[str], Dialect], Iterator[Row]]
READERS: dict[str, Reader] = {
    **dict.fromkeys(NATURAL, _delimited_rows),
    **dict.fromkeys((".jsonl", ".ndjson"), _jsonl_rows),
    ".json": _json_rows,
    ".parquet": lambda path, lines, dialect: _parquet_rows(path),
    ".txt": _plain_rows,
}
