"""Read texts from files of several formats and write their scores, a batch of rows at a time.

A row that cannot be read, such as a line that is not JSON, is kept with a null text and its cause, so that rows of
output and input correspond and one bad row does not end a long run.

What is read has the columns of `TEXTS`:

    id: string          of the row; without a column of ids, its number
    text: string        null where there is none or where the row could not be read
    problem: string     file, row and cause where the row could not be read, else null
    position: int64     how many bytes of all files had been read when the row's batch was complete
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sentiment.corpora.reviews import SURROGATE, reading_parquet
from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import atomic_output

ROWS, CHARACTERS = 4_096, 1 << 25  # of a batch, at most; they bound memory
TEXTS = pa.schema({"id": pa.string(), "text": pa.string(), "problem": pa.string(), "position": pa.int64()})
SEPARATORS = {".csv": ",", ".tsv": "\t"}
OUTPUTS = (".csv", ".tsv", ".jsonl", ".parquet")  # all but Parquet may be gzipped
INPUTS = (*OUTPUTS, ".txt")  # .txt: one text a line
CSV_CAUSES = {
    "expected after": "a closing quote must be followed by the separator; write a quote inside a text twice",
    "unexpected end": "a quote is opened and never closed, so all lines from there on are one row",
}


class Row(NamedTuple):
    """A row of a file."""

    id: str | None  # None without a column of ids, where the number of the row is its id
    text: str | None
    problem: str | None = None  # why the row could not be read, in which case there is no text


class Source(NamedTuple):
    """A file to read, one of several."""

    path: Path
    text_column: str
    id_column: str | None = None  # without one, an id is `prefix` and the number of the row, from 1
    prefix: str = ""
    offset: int = 0  # bytes of the files before this one


@contextmanager
def reporting_damage(path: Path) -> Iterator[None]:
    """Turn errors of a damaged gzip file into InputError."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged or truncated: {error}") from error


def format_of(path: Path) -> str:
    """Return the suffix that says how a file is written, in lower case: `.csv` for `reviews.csv.gz`."""
    is_gzipped = path.suffix.lower() == ".gz"
    suffix = Path(path.stem).suffix.lower() if is_gzipped else path.suffix.lower()
    return f"{suffix}.gz" if is_gzipped and suffix == ".parquet" else suffix  # Parquet is compressed inside


def find_files(path: Path) -> list[Path]:
    """Return a file or, for a folder, all files of a known format in it, sorted.

    Raises InputError for a path that does not exist, a file of an unknown format, and a folder without files.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    known = ", ".join(INPUTS)
    if not path.is_dir():
        if format_of(path) not in INPUTS:
            raise InputError(f"{path}: must be a folder or a file of type {known}, or one of those as .gz")
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file() and format_of(file) in INPUTS)
    if not files:
        raise InputError(f"{path}: holds no files of type {known}")
    return files


def read_texts(source: Source) -> Iterator[pa.RecordBatch]:
    """Yield a file's rows in order, in batches with the columns of TEXTS.

    In a Parquet file, ids and texts keep their types. Raises InputError for a file without the columns and for a
    damaged Parquet or gzip file.
    """
    path = source.path
    kind = format_of(path)
    if kind == ".parquet":
        yield from _read_parquet(source)
        return
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        stack.enter_context(reporting_damage(path))
        file = stack.enter_context(gzip.open(raw)) if path.suffix.lower() == ".gz" else raw
        if kind == ".txt":
            rows = read_lines(file)
        elif kind == ".jsonl":
            rows = _read_jsonl(source, file)
        else:
            rows = _read_csv(source, file)
        yield from gather(str(path), rows, lambda: source.offset + raw.tell(), source.prefix)


def read_lines(file: Iterable[bytes]) -> Iterator[Row]:
    """Yield each line as a text."""
    return (Row(None, line.rstrip("\r\n")) for line in _decode(file))


def gather(
    name: str, rows: Iterable[Row], tell: Callable[[], int] = lambda: 0, prefix: str = ""
) -> Iterator[pa.RecordBatch]:
    """Gather rows of the file called `name` into batches with the columns of TEXTS; `tell` returns the position."""
    gathered: list[tuple[str, str | None, str | None]] = []
    characters = 0

    def batch() -> pa.RecordBatch:
        ids, texts, problems = zip(*gathered, strict=True)
        return pa.record_batch([ids, texts, problems, [tell()] * len(gathered)], TEXTS)

    for number, row in enumerate(rows, start=1):
        is_text = row.text is not None and not SURROGATE.search(row.text)
        problem = "is not UTF-8" if row.text is not None and not is_text else row.problem
        gathered.append(
            (
                f"{prefix}{number}" if row.id is None else SURROGATE.sub("\ufffd", row.id),
                row.text if is_text else None,
                problem and f"{name}: row {number}: {problem}",
            )
        )
        characters += len(row.text or "")
        if len(gathered) == ROWS or characters > CHARACTERS:
            yield batch()
            gathered, characters = [], 0
    if gathered:
        yield batch()


def _decode(file: Iterable[bytes]) -> Iterator[str]:
    """Decode lines, without a byte order mark; bytes that are not UTF-8 become surrogates, which `gather` finds."""
    for number, line in enumerate(file):
        yield line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape")


def _read_csv(source: Source, file: Iterable[bytes]) -> Iterator[Row]:
    path, text_column, id_column, *_ = source
    csv.field_size_limit(1 << 30)  # the default of 128 KiB is less than some texts
    lines = csv.reader(_decode(file), delimiter=SEPARATORS[format_of(path)], strict=True)
    try:
        header = next((values for values in lines if values), [])
    except csv.Error as error:
        raise InputError(f"{path}: the header is not valid CSV: {error}") from error
    _check_columns(source, header)
    text_place, id_place = header.index(text_column), None if id_column is None else header.index(id_column)
    while True:
        try:
            values = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            cause = next((cause for part, cause in CSV_CAUSES.items() if part in str(error)), str(error))
            yield Row(None, None, f"line {lines.line_num} is not valid CSV: {cause}")
            continue
        if not values:  # a blank line
            continue
        if len(values) == len(header):
            yield Row(None if id_place is None else values[id_place], values[text_place])
        else:
            yield Row(None, None, f"must have {len(header)} columns, like the header; got {len(values)}")


def _read_jsonl(source: Source, file: Iterable[bytes]) -> Iterator[Row]:
    _, text_column, id_column, *_ = source
    seen: dict[str, None] = {}  # all names so far, in order
    for line in _decode(file):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(None, None, f"is not valid JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield Row(None, None, f"must be a JSON object; got {abbreviated(row)}")
            continue
        seen |= dict.fromkeys(row)
        text, name = row.get(text_column), None if id_column is None else row.get(id_column)
        problem = (
            None if text is None or isinstance(text, str) else f"the text must be a string; got {abbreviated(text)}"
        )
        yield Row(
            name if name is None or isinstance(name, str) else json.dumps(name),
            text if isinstance(text, str) else None,
            problem,
        )
    if seen:
        _check_columns(source, list(seen))


def _read_parquet(source: Source) -> Iterator[pa.RecordBatch]:
    path, text_column, id_column, prefix, offset = source
    done = 0
    with reading_parquet(path, "valid Parquet"), pq.ParquetFile(path, pre_buffer=False) as file:
        _check_columns(source, file.schema_arrow.names)
        columns = [text_column] if id_column is None else [id_column, text_column]
        for rows in file.iter_batches(ROWS, columns=columns, use_threads=False):
            numbers = range(done + 1, done + len(rows) + 1)
            ids = pa.array(f"{prefix}{number}" for number in numbers) if id_column is None else rows[id_column]
            done += len(rows)
            position = offset + path.stat().st_size * done // file.metadata.num_rows
            problems, positions = pa.nulls(len(rows), pa.string()), pa.repeat(position, len(rows))
            yield pa.record_batch([ids, rows[text_column], problems, positions], TEXTS.names)


def _check_columns(source: Source, names: list[str]) -> None:
    for option, name in (("--text-column", source.text_column), ("--id-column", source.id_column)):
        if name is not None and name not in names:
            known = ", ".join(map(abbreviated, names))
            raise InputError(f"{source.path}: has no column {name!r} ({option}); its columns are {known}")


@contextmanager
def open_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Yield a function that writes a batch to a file of the format of its suffix; the file appears once it is whole.

    Raises InputError for an unknown suffix.
    """
    kind = format_of(path)
    if kind not in OUTPUTS:
        raise InputError(f"{path}: must be a file of type {', '.join(OUTPUTS)}, or one of those as .gz (--output)")
    with ExitStack() as stack:
        partial = stack.enter_context(atomic_output(path))
        if kind == ".parquet":
            yield stack.enter_context(pq.ParquetWriter(partial, schema, compression="zstd")).write_batch
            return
        file: Any = stack.enter_context(pa.OSFile(str(partial), "wb"))
        if path.suffix.lower() == ".gz":
            file = stack.enter_context(pa.CompressedOutputStream(file, "gzip"))
        if kind == ".jsonl":
            yield lambda batch: file.write(_json_lines(batch))
        else:
            options = pa.csv.WriteOptions(delimiter=SEPARATORS[kind], quoting_style="needed")
            yield stack.enter_context(pa.csv.CSVWriter(file, schema, write_options=options)).write_batch


def _json_lines(batch: pa.RecordBatch) -> bytes:
    lines = io.StringIO()
    for row in batch.to_pylist():
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return lines.getvalue().encode()
