"""Read a user's own labelled text from a CSV, JSONL or Parquet file, or from a folder `split/label/*.txt`."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from sentiment.corpora.reviews import Review, reading_parquet
from sentiment.corpora.splitting import hold_out, keys_of, report_share
from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import first_repeated, parse_json

BATCH_ROWS = 256  # bounds memory while reading Parquet

Row = tuple[str, dict[str, object]]  # location for error messages, and values by column name


@dataclass(frozen=True)
class Columns:
    """Names of the columns in the user's file; None for a column that the file does not have."""

    text: str
    label: str
    split: str | None
    group: str | None


# Separators other than the comma that are common in exported files, and their names in the error message.
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

# Explanations of the csv module's error messages, by a part of the message.
CSV_CAUSES = {
    "expected after": "a closing quote must be followed directly by a comma; write a quote inside a text twice",
    "unexpected end": "a quote is opened and never closed",
    "new-line character": "its lines end with CR alone; save it with LF or CRLF line endings",
}

# How to convert a file of an unsupported format, by suffix.
CONVERSIONS = {
    **dict.fromkeys((".tsv", ".tab"), "save it with commas as separators, as .csv"),
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "save it as .csv, in UTF-8"),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst", ".tgz", ".tar"), "unpack it"),
    ".json": "write one object per line, as .jsonl",
    ".ndjson": "rename it to .jsonl",
}

FOLDER_LAYOUT = "a folder must contain files named split/label/*.txt, for example train/pos/1.txt"
MAX_FILES_EXAMINED = 10_000  # bounds the time to describe a folder with a wrong layout
FOLDER_COLUMNS = Columns(text="text", label="label", split="split", group=None)


def read_custom(path: Path, columns: Columns, labels: tuple[str, str], test_share: float, seed: int) -> list[Review]:
    """Read the reviews of a file or folder in its order; `labels` are the names of the negative and the positive label.

    Without a split column, `splitting.hold_out` draws `test_share` of the reviews for test, using `seed`.

    Raises InputError for an unreadable file, a missing column, a text that is not a string, a label that is not in
    `labels`, and a test share that cannot be drawn.
    """
    try:
        if path.is_dir():
            rows, columns = _folder_rows(path), FOLDER_COLUMNS
        else:
            rows = _reader(path)(path)
        reviews = [_review(number, where, row, columns, labels) for number, (where, row) in enumerate(rows)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror} (download.custom.path)") from error
    if not reviews:
        raise InputError(f"{path}: holds no reviews (download.custom.path)")
    return reviews if columns.split else _draw_test(path, reviews, test_share, seed)


def _reader(path: Path) -> Callable[[Path], Iterator[Row]]:
    """Return the reader for the file's suffix; raise InputError for a missing file or an unsupported suffix."""
    if not path.exists():
        hint = "; ~ is not expanded; write the full path" if path.parts[0].startswith("~") else ""
        raise InputError(f"{path}: does not exist; set download.custom.path to your file or folder{hint}")
    suffix = path.suffix.lower()
    if suffix not in READERS:
        hint = f"; {CONVERSIONS[suffix]}" if suffix in CONVERSIONS else ""
        raise InputError(
            f"{path}: must be a folder or a file of type {', '.join(READERS)} (download.custom.path){hint}"
        )
    return READERS[suffix]


def _review(number: int, where: str, row: dict[str, object], columns: Columns, labels: tuple[str, str]) -> Review:
    for key, name in vars(columns).items():
        if name is not None and name not in row:
            raise InputError(
                f"{where}: has no column {name!r} (download.custom.{key}_column); "
                f"its columns are {', '.join(map(repr, row))}"
            )
        if name is not None and isinstance(row[name], Mapping | list):
            raise InputError(f"{where}: {name} must be a single value; got {abbreviated(row[name])}")
    text = row[columns.text]
    if not isinstance(text, str):
        raise InputError(f"{where}: {columns.text} must be a string; got {abbreviated(text)}")
    split = "train" if columns.split is None else str(row[columns.split])
    label = row[columns.label]
    name = label if isinstance(label, str) else json.dumps(label, default=str)  # true and 1 as JSON spells them
    if label in (None, "") or split == "unsup":
        value = None
    elif name in labels:
        value = labels.index(name)
    else:
        raise InputError(
            f"{where}: {columns.label} must be one of {', '.join(labels)}; got {abbreviated(name)} "
            f"(download.custom.labels){_layout_hint(name) if columns is FOLDER_COLUMNS else ''}"
        )
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


def _draw_test(path: Path, reviews: list[Review], share: float, seed: int) -> list[Review]:
    for review in reviews:
        if review.label is None:
            raise InputError(f"{review.where}: has no label; without a split column every review needs a label")
    labels = np.array([review.label for review in reviews], dtype=np.int8)
    if len(np.unique(labels)) < 2:
        raise InputError(f"{path}: all reviews have the same label; both labels are needed (download.custom.labels)")
    ties = {"text": keys_of(review.text for review in reviews), "group": keys_of(review.group for review in reviews)}
    in_test = hold_out(labels, list(ties.values()), share, seed)
    try:
        report_share(in_test, labels, ties, share, "test")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return [review._replace(split="test" if test else "train") for review, test in zip(reviews, in_test, strict=True)]


def _csv_rows(path: Path) -> Iterator[Row]:
    _check_separator(path)
    csv.field_size_limit(1 << 30)  # the default of 128 KiB is less than some reviews
    lines = csv.reader((line for _, line in _lines(path)), strict=True)
    filled = (values for values in lines if any(map(str.strip, values)))  # spreadsheets write blank lines and ",,"
    try:
        header = next(filled, [])
        # Columns without a name cannot be selected, so several of them do no harm.
        _check_names(f"{path}:{lines.line_num}", filter(None, header))
        for values in filled:
            where = f"{path}:{lines.line_num}"
            if len(values) != len(header):
                raise InputError(
                    f"{where}: must have {len(header)} columns, like the header; got {len(values)}; "
                    "put double quotes around a text that contains commas"
                )
            yield where, dict(zip(header, values, strict=True))
    except csv.Error as error:
        cause = next((cause for part, cause in CSV_CAUSES.items() if part in str(error)), str(error))
        raise InputError(f"{path}:{lines.line_num}: is not valid CSV: {cause} (download.custom.path)") from error


def _check_separator(path: Path) -> None:
    where, header = next(((where, line.strip()) for where, line in _lines(path) if line.strip()), ("", ""))
    for separator, separators in SEPARATORS.items():
        if separator in header and "," not in header:
            raise InputError(
                f"{where}: has a single column, named {abbreviated(header)}; if {separators} separate its columns, "
                "save it with commas (download.custom.path)"
            )


def _jsonl_rows(path: Path) -> Iterator[Row]:
    for where, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: is not valid JSON: {error}; each line must be one JSON object") from error
        if not isinstance(row, dict):
            raise InputError(f"{where}: each line must be a JSON object; got {line.strip()[:40]!r}")
        yield where, row


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = 0
    with reading_parquet(path, "valid Parquet"), pq.ParquetFile(path, pre_buffer=False) as file:
        _check_names(f"{path}", file.schema_arrow.names)
        for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row


def _check_names(where: str, names: Iterable[str]) -> None:
    if (name := first_repeated(names)) is not None:
        raise InputError(f"{where}: has two columns named {abbreviated(name)}; remove or rename one")


def _folder_rows(path: Path) -> Iterator[Row]:
    files = sorted(path.glob("*/*/*.txt"), key=lambda file: file.relative_to(path).as_posix())
    if not files:
        raise InputError(f"{path}: {FOLDER_LAYOUT}; {_describe_layout(path)} (download.custom.path)")
    for file in files:
        text = "".join(line for _, line in _lines(file))
        yield str(file), {"split": file.parts[-3], "label": file.parts[-2], "text": text}


def _describe_layout(path: Path) -> str:
    """Describe the layout of a folder that has no `split/label/*.txt`, and how to fix it."""
    files = [file.relative_to(path) for file in islice(path.rglob("*"), MAX_FILES_EXAMINED) if file.is_file()]
    shown = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    if not shown:
        return "found no files"
    (depth, suffix), count = Counter((len(file.parts), file.suffix) for file in shown).most_common(1)[0]
    example = min(file for file in shown if (len(file.parts), file.suffix) == (depth, suffix))
    found = f"found {count:,} like {example}"
    if suffix.lower() in READERS:
        return f"{found}; put all rows into one file and use its path"
    if (depth, suffix) == (2, ".txt"):
        return f"{found}; move the label folders into a folder named train, and some of the texts into test"
    return found


def _layout_hint(label: str) -> str:
    """Advise what to do about a folder in the place of a label whose name is not a label."""
    if label == "unsup":
        return (
            f"; {FOLDER_LAYOUT}, and unsup is a split; move this folder to unsup/unsup or, for IMDb itself, "
            "set download.corpus to imdb"
        )
    return f"; {FOLDER_LAYOUT}"


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the location and text of each line, with its line ending but without a byte order mark."""
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
