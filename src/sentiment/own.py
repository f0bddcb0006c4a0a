"""The user's own labelled text: a CSV, JSONL or Parquet file, or a folder `split/label/*.txt`."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from sentiment.corpus import Review, reading_parquet
from sentiment.errors import InputError, in_short
from sentiment.files import first_repeated, parse_json
from sentiment.split import hold_out, keys_of

BATCH_ROWS = 256  # bounds the memory of reading Parquet
GREATEST_RATIO = 1_000  # of Parquet unpacked to Parquet as it is

Row = tuple[str, dict[str, object]]  # where it was read, and its columns by name


@dataclass(frozen=True)
class Columns:
    """Where in the user's file things are; a column that is None is not there."""

    text: str
    label: str
    split: str | None
    group: str | None


FOLDER_COLUMNS = Columns(text="text", label="label", split="split", group=None)


def read_own(path: Path, columns: Columns, labels: tuple[str, str], test_share: float, seed: int) -> list[Review]:
    """Return the reviews of a file or folder, in its order; `labels` names the negative and the positive one.

    Where there is no split column, `test_share` of the reviews are drawn for test, seeded, as `split.hold_out` does.

    Raises InputError for a file that cannot be read, a column that is not there, a text that is not one, a label
    that is not one of the two.
    """
    if path.is_dir():
        rows, columns = _folder_rows(path), FOLDER_COLUMNS
    elif reader := READERS.get(path.suffix.lower()):
        rows = reader(path)
    else:
        raise InputError(f"{path}: must be a folder or a file named {', '.join(READERS)}")
    try:
        reviews = [_review(number, where, row, columns, labels) for number, (where, row) in enumerate(rows)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if not reviews:
        raise InputError(f"{path}: holds no reviews")
    return reviews if columns.split else _draw_test(reviews, test_share, seed)


def _review(number: int, where: str, row: dict[str, object], columns: Columns, labels: tuple[str, str]) -> Review:
    names = [name for name in (columns.text, columns.label, columns.split, columns.group) if name is not None]
    for name in names:
        if name not in row:
            raise InputError(f"{where}: has no column {name!r}; its columns are {', '.join(row)}")
        if isinstance(row[name], Mapping | list):
            raise InputError(f"{where}: {name} must be a single value; got {in_short(row[name])}")
    text = row[columns.text]
    if not isinstance(text, str):
        raise InputError(f"{where}: {columns.text} must be text; got {in_short(text)}")
    split = "train" if columns.split is None else str(row[columns.split])
    label = row[columns.label]
    name = label if isinstance(label, str) else json.dumps(label, default=str)  # true and 1 as they stand in JSON
    if label in (None, "") or split == "unsup":
        value = None
    elif name in labels:
        value = labels.index(name)
    else:
        raise InputError(f"{where}: {columns.label} must be one of {', '.join(labels)}; got {in_short(name)}")
    group = None if columns.group is None else row[columns.group]
    return Review(
        id=f"{number:08d}",
        split=split,
        label=value,
        rating=None,
        group=None if group in (None, "") else str(group),
        text=text,
        where=where,
    )


def _draw_test(reviews: list[Review], share: float, seed: int) -> list[Review]:
    for review in reviews:
        if review.label is None:
            raise InputError(f"{review.where}: has no label; without a split column every review needs one")
    labels = np.array([review.label for review in reviews], dtype=np.int8)
    ties = [keys_of(review.text for review in reviews), keys_of(review.group for review in reviews)]
    in_test = hold_out(labels, ties, share, seed)
    return [review._replace(split="test" if test else "train") for review, test in zip(reviews, in_test, strict=True)]


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)  # the default of 128 KiB is less than some reviews
    lines = csv.reader((line for _, line in _lines(path)), strict=True)
    filled = (values for values in lines if any(map(str.strip, values)))  # spreadsheets write blank lines, and ",,"
    try:
        header = next(filled, [])
        _check_names(f"{path}:{lines.line_num}", filter(None, header))  # a column without a name cannot be asked for
        for values in filled:
            where = f"{path}:{lines.line_num}"
            if len(values) != len(header):
                raise InputError(f"{where}: must have {len(header)} columns as the header has; got {len(values)}")
            yield where, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}:{lines.line_num}: is not valid CSV: {error}") from error


def _jsonl_rows(path: Path) -> Iterator[Row]:
    for where, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: is not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{where}: each line must be a JSON object; got {line.strip()[:40]!r}")
        yield where, row


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = unpacked = 0
    allowed = GREATEST_RATIO * path.stat().st_size
    with reading_parquet(path, "valid Parquet"), pq.ParquetFile(path, pre_buffer=False) as file:
        _check_names(f"{path}", file.schema_arrow.names)
        for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
            unpacked += batch.nbytes
            if unpacked > allowed:
                raise InputError(
                    f"{path}: unpacks to more than {GREATEST_RATIO:,} times its {path.stat().st_size:,} bytes, "
                    "which no text does; do not trust this file"
                )
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row


def _check_names(where: str, names: Iterable[str]) -> None:
    if (name := first_repeated(names)) is not None:
        raise InputError(f"{where}: names the column {in_short(name)} twice; remove or rename one of the two")


def _folder_rows(path: Path) -> Iterator[Row]:
    for file in sorted(path.glob("*/*/*.txt"), key=lambda file: file.relative_to(path).as_posix()):
        text = "".join(line for _, line in _lines(file))
        yield str(file), {"split": file.parts[-3], "label": file.parts[-2], "text": text}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line with where it stands, its end kept; a byte order mark is not part of the first."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}:{number}"
            try:
                yield where, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{where}: is not UTF-8 at byte {error.start} of the line; save the file as UTF-8"
                ) from error


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".parquet": _parquet_rows,
}
