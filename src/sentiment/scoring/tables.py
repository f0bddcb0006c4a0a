"""Read texts from files of several formats and write their scores, a batch of rows at a time.

A row that cannot be read, such as a line that is not JSON, is kept with a null text and its cause, so that rows of
output and input correspond and one bad row does not end a long run.

Batches that are read have the columns of `TEXTS`:

    id: string          of the row; without a column of ids, its number
    text: string        null where there is none or where the row could not be read
    problem: string     file, row and cause where the row could not be read, else null
    position: int64     how many bytes of all files had been read when the row's batch was complete
"""

import io
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sentiment.corpora.files import (
    GUESSED,
    NATURAL,
    PACKED,
    READERS,
    Dialect,
    encoding_of,
    files_in,
    kind_of,
    open_unpacked,
    read_rows,
    read_whole,
    spell_encoding,
)
from sentiment.corpora.reviews import SURROGATE, reading_parquet, without_surrogates
from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import atomic_output

ROWS, CHARACTERS = 4_096, 1 << 25  # of a batch, which ends where one is reached; they bound memory
TEXTS = pa.schema({"id": pa.string(), "text": pa.string(), "problem": pa.string(), "position": pa.int64()})
OUTPUTS = (".csv", ".tsv", ".jsonl", ".parquet")  # all but Parquet may be gzipped


class TextRow(NamedTuple):
    """The id and the text of a row."""

    id: str | None
    text: str | None
    problem: str | None = None  # place and cause, where the row could not be read


class Source(NamedTuple):
    """A file to read, one of several."""

    path: Path
    text_column: str
    id_column: str | None = None  # without one, an id is `prefix` and the number of the row, from 1
    prefix: str = ""
    dialect: Dialect = GUESSED
    offset: int = 0  # bytes of the files before this one

    @property
    def columns(self) -> dict[str, str | None]:
        """Return the names of the columns to read, by the options that give them."""
        return {"--text-column": self.text_column, "--id-column": self.id_column}


def find_files(path: Path) -> list[Path]:
    """Return a file or, for a folder, all files of a known format in it and in its folders, sorted; no hidden ones.

    Raises InputError for a path that does not exist, a file of an unknown format, and a folder without files.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    known = ", ".join(READERS)
    if not path.is_dir():
        if kind_of(path) not in READERS:
            raise InputError(
                f"{path}: must be a folder or a file of type {known}, or one packed as {', '.join(PACKED)}"
            )
        return [path]
    files = [file for file in files_in(path) if kind_of(file) in READERS]
    if not files:
        raise InputError(f"{path}: holds no files of type {known}")
    return files


def read_texts(source: Source) -> Iterator[pa.RecordBatch]:
    """Yield a file's rows in order, in batches with the columns of TEXTS; say on standard error what is guessed.

    In a Parquet file, ids and texts keep their types. Raises InputError for a file without the columns and for a
    damaged one.
    """
    kind = kind_of(source.path)
    if kind == ".parquet":
        yield from _read_parquet(source)
        return
    size = source.path.stat().st_size
    with source.path.open("rb") as raw:
        is_whole = kind == ".txt" and source.dialect.whole
        read = _read_file if is_whole else _read_lines if kind == ".txt" else _read_table
        has_own_ids = is_whole or (kind != ".txt" and source.id_column is not None)
        rows, prefix = read(source, raw), None if has_own_ids else source.prefix
        yield from gather(rows, prefix, lambda: source.offset + (size if raw.closed else raw.tell()))


def read_lines(name: str, file: Iterable[bytes]) -> Iterator[TextRow]:
    """Yield each line of the file called `name`, in UTF-8 and without a byte order mark, as a text."""
    for number, line in enumerate(file, start=1):
        try:
            yield TextRow(None, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"))
        except UnicodeDecodeError:
            yield TextRow(None, None, f"{name}:{number}: is not UTF-8")


def gather(
    rows: Iterable[TextRow], prefix: str | None = "", tell: Callable[[], int] = lambda: 0
) -> Iterator[pa.RecordBatch]:
    """Gather rows into batches with the columns of TEXTS; `tell` returns the position.

    An id is `prefix` and the number of the row, from 1; without a prefix, it is the row's own.
    """
    gathered: list[tuple[str | None, str | None, str | None]] = []
    characters = 0

    def batch() -> pa.RecordBatch:
        ids, texts, problems = zip(*gathered, strict=True)
        return pa.record_batch([ids, texts, problems, [tell()] * len(gathered)], TEXTS)

    for number, row in enumerate(rows, start=1):
        key = row.id if prefix is None else f"{prefix}{number}"
        key, problem = (each and without_surrogates(each) for each in (key, row.problem))
        gathered.append((key, row.text, problem))
        characters += len(row.text or "")
        if len(gathered) == ROWS or characters > CHARACTERS:
            yield batch()
            gathered, characters = [], 0
    if gathered:
        yield batch()


def _read_lines(source: Source, raw: IO[bytes]) -> Iterator[TextRow]:
    encoding = encoding_of(source.path, source.dialect, _say)
    fault = f"is not {spell_encoding(encoding)} (--encoding)"
    # A byte that the encoding does not have becomes a surrogate.
    with open_unpacked(source.path, raw) as file, io.TextIOWrapper(file, encoding, "surrogateescape", "\n") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.isascii() or not SURROGATE.search(line):
                    yield TextRow(None, line.rstrip("\r\n"))
                else:
                    yield TextRow(None, None, f"{source.path}:{number}: {fault}")
        except UnicodeError as error:
            raise InputError(f"{source.path}: {fault}: {error}") from error


def _read_file(source: Source, raw: IO[bytes]) -> Iterator[TextRow]:
    (row,) = read_whole(source.path, source.dialect, raw)
    problem = row.problem and f"{row.where}: {row.problem}"
    yield TextRow(str(source.path), str(row.values.get("text", "")) or None, problem)


def _read_table(source: Source, raw: IO[bytes]) -> Iterator[TextRow]:
    needed = [column for column in source.columns.values() if column is not None]
    is_json = kind_of(source.path) not in NATURAL
    seen: dict[str, None] = {}  # all names so far, in order
    for row in read_rows(source.path, needed, source.dialect, say=_say, raw=raw):
        if row.problem is not None:
            yield TextRow(None, None, f"{row.where}: {row.problem}")
            continue
        if not is_json and not seen:  # each row has the columns of the first
            check_columns(source.path, row.values, source.columns)
        seen |= dict.fromkeys(row.values)
        text, key = row.values.get(source.text_column), row.values.get(source.id_column or "")
        key = key if key is None or isinstance(key, str) else json.dumps(key)
        if text is None or (isinstance(text, str) and not SURROGATE.search(text)):
            yield TextRow(key, text)
        else:
            yield TextRow(key, None, f"{row.where}: the text must be a string; got {abbreviated(text)}")
    if seen:
        check_columns(source.path, seen, source.columns)


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _read_parquet(source: Source) -> Iterator[pa.RecordBatch]:
    path, text_column, id_column, _, _, offset = source
    prefix = without_surrogates(source.prefix)
    done = 0
    with reading_parquet(path, "valid Parquet"), path.open("rb") as raw, pq.ParquetFile(raw, pre_buffer=False) as file:
        check_columns(path, file.schema_arrow.names, source.columns)
        columns = [text_column] if id_column is None else [id_column, text_column]
        for rows in file.iter_batches(ROWS, columns=columns, use_threads=False):
            numbers = range(done + 1, done + len(rows) + 1)
            ids = pa.array(f"{prefix}{number}" for number in numbers) if id_column is None else rows[id_column]
            done += len(rows)
            position = offset + path.stat().st_size * done // file.metadata.num_rows
            problems, positions = pa.nulls(len(rows), pa.string()), pa.repeat(position, len(rows))
            yield pa.record_batch([ids, rows[text_column], problems, positions], TEXTS.names)


def check_columns(path: Path, names: Collection[str], needed: Mapping[str, str | None]) -> None:
    """Raise InputError if a file whose columns are `names` lacks a needed one; `needed` has them by option."""
    for option, name in needed.items():
        if name is not None and name not in names:
            known = ", ".join(map(abbreviated, names))
            raise InputError(f"{path}: has no column {abbreviated(name)} ({option}); its columns are {known}")


@contextmanager
def open_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Yield a function that writes a batch to a file of the format of its suffix; the file appears once it is whole.

    Raises InputError for an unknown suffix.
    """
    is_gzipped = path.suffix.lower() == ".gz"
    kind = kind_of(path) if is_gzipped else path.suffix.lower()
    if kind not in OUTPUTS or (is_gzipped and kind == ".parquet"):
        raise InputError(f"{path}: must be a file of type {', '.join(OUTPUTS)}; all but Parquet may be .gz (--output)")
    with ExitStack() as stack:
        partial = stack.enter_context(atomic_output(path))
        if kind == ".parquet":
            yield stack.enter_context(pq.ParquetWriter(partial, schema, compression="zstd")).write_batch
            return
        file: Any = stack.enter_context(pa.OSFile(str(partial), "wb"))
        if is_gzipped:
            file = stack.enter_context(pa.CompressedOutputStream(file, "gzip"))
        if kind == ".jsonl":
            yield lambda batch: file.write(_json_lines(batch))
        else:
            options = pa.csv.WriteOptions(delimiter=NATURAL[kind], quoting_style="needed")
            yield stack.enter_context(pa.csv.CSVWriter(file, schema, write_options=options)).write_batch


def _json_lines(batch: pa.RecordBatch) -> bytes:
    lines = io.StringIO()
    for row in batch.to_pylist():
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return lines.getvalue().encode()
