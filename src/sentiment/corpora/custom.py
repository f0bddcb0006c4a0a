"""A user's own labelled text: one file or several of the kinds that `files` reads, or a folder of texts.

Without a column of labels or of splits, the place of a text gives its label or its split:

    split/label/*.txt     one text a file; split is train, test or unsup, and so may be the label, as in IMDb's archive
    label/*.txt           one text a file
    label.txt, *.label    one text a line
    train*.csv, test*.csv tables of each split
"""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.corpora.files import GUESSED, NATURAL, READERS, Dialect, Row, files_in, kind_of, read_rows, read_whole
from sentiment.corpora.reviews import SENTIMENT, SPLITS, Review, check_review, without_surrogates
from sentiment.corpora.splitting import hold_out, key_of, report_share
from sentiment.errors import InputError, abbreviated

SHOWN = 5  # labels in a message, of many
MANY = 10
MAX_FILES_EXAMINED = 10_000  # bounds the time to describe a folder with a wrong layout
WHOLE = "whole"  # the kind of a file that is one text
LAYOUT = (
    "a folder must contain tables (.csv, .jsonl, .parquet), or texts named split/label/*.txt, for example "
    "train/pos/1.txt, or label/*.txt"
)


@dataclass(frozen=True)
class Columns:
    """The columns of the user's files, by name or by number from 1; None for one that the files do not have."""

    text: str | int
    label: str | int
    split: str | int | None
    group: str | int | None


SAID_BY_PLACE = Columns("text", "label", None, None)


@dataclass(frozen=True)
class Labels:
    """The labels, and their spellings in the user's files."""

    spellings: Sequence[Sequence[str]]  # of each of K labels
    names: Sequence[str] = SENTIMENT  # of the labels, K
    leave_out: bool = False  # whether rows with other labels are left out and counted, instead of refused

    @property
    def numbers(self) -> dict[str, int]:
        """Return the number of the label, from 0, that each spelling stands for."""
        return {spelling: number for number, spellings in enumerate(self.spellings) for spelling in spellings}


@dataclass(frozen=True)
class Source:
    """The user's files, and how to read them."""

    path: str  # a file or a folder
    columns: Columns
    labels: Labels
    dialect: Dialect = GUESSED
    pattern: str | None = None  # which files of a folder to read, such as part-*.csv; None for all
    drop_unusable: bool = False  # whether rows that cannot be used are left out and counted, instead of refused


class Part(NamedTuple):
    """One of the user's files."""

    path: Path
    kind: str  # a key of files.READERS, or WHOLE
    says: dict[str, object]  # the values of columns that its place gives


def read_custom(source: Source, test_share: float, seed: int) -> Iterator[Review]:
    """Yield the reviews of the user's files in their order; print what is guessed, drawn and left out.

    A review's id is its file, without the folders above `source.path`, and its line or row in it: `reviews.csv:138`.

    If neither a column nor the place of a file gives the split, `splitting.hold_out` draws `test_share` of the reviews
    for test, using `seed`; the files are then read twice.

    Raises InputError for an unreadable file, a missing column, a text that is not a string, a label that is not in
    `source.labels`, and a test share that cannot be drawn.
    """
    try:
        parts, columns = find_parts(source)
        source = replace(source, columns=columns)
        if columns.split is not None:
            yield from read_parts(source, parts, print)
            return
        in_test = _draw_test(source, parts, test_share, seed)
        for review, test in zip(read_parts(source, parts, _be_silent), in_test, strict=True):
            yield review._replace(split="test") if test else review
    except OSError as error:
        raise InputError(f"{source.path}: cannot be read: {error.strerror} (download.custom.path)") from error


def _be_silent(message: str) -> None:
    """Do not say again what the first reading said."""


def _draw_test(source: Source, parts: list[Part], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which reviews are drawn for test, (N,)."""
    labels, texts, groups = array("b"), array("q"), array("q")
    for review in read_parts(source, parts, print):
        assert review.label is not None
        labels.append(review.label)
        texts.append(key_of(review.text))
        groups.append(key_of(review.group))
    numbers = np.frombuffer(labels, dtype=np.int8)
    ties = {"text": np.frombuffer(texts, dtype=np.int64), "group": np.frombuffer(groups, dtype=np.int64)}
    names = source.labels.names
    missing = [name for number, name in enumerate(names) if number not in numbers]
    if missing:
        raise InputError(
            f"{source.path}: no review has the label {' or '.join(missing[:SHOWN])}; "
            "each label is needed (download.custom.labels)"
        )
    in_test = hold_out(numbers, list(ties.values()), share, seed)
    try:
        report_share(in_test, numbers, ties, share, "test", names)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from error
    return in_test


def read_parts(source: Source, parts: list[Part], say: Callable[[str], None]) -> Iterator[Review]:
    """Yield the reviews of all files, and say what was left out."""
    numbers = source.labels.numbers
    above = f"{Path(source.path).parent}/"
    others: Counter[str] = Counter()
    unusable = read = kept = 0
    first_error = ""
    for part in parts:
        for row in _rows(part, source, say):
            read += 1
            try:
                review = _review(row, above, source.columns, numbers, source.labels.leave_out)
                if source.drop_unusable and isinstance(review, Review):
                    check_review(review)  # else `write_corpus` does
            except InputError as error:
                if not source.drop_unusable:
                    raise
                unusable += 1
                first_error = first_error or str(error)
                continue
            if isinstance(review, Review):
                kept += 1
                yield review
            else:
                others[review] += 1
    if others:
        counts = ", ".join(f"{abbreviated(label)} ({count:,})" for label, count in others.most_common(SHOWN))
        say(f"{source.path}: left out {others.total():,} of {read:,} rows, which have other labels: {counts}")
    if unusable:
        say(f"{source.path}: left out {unusable:,} of {read:,} rows, which cannot be used; the first: {first_error}")
    if not kept:
        raise InputError(f"{source.path}: holds no reviews")


def _rows(part: Part, source: Source, say: Callable[[str], None]) -> Iterator[Row]:
    """Yield the rows of a file, with the values that its place gives."""
    if part.kind == WHOLE:
        rows = read_whole(part.path, source.dialect)
    else:
        needed = [each for each in astuple(source.columns) if each is not None and each not in part.says]
        rows = read_rows(part.path, needed, source.dialect, part.kind, say)
        if part.kind in NATURAL:  # spreadsheets write rows of nothing
            rows = (row for row in rows if row.problem or any(map(str.strip, map(str, row.values.values()))))
    if part.says:
        rows = (row._replace(values={**row.values, **part.says}) for row in rows)
    yield from rows


def _review(row: Row, above: str, columns: Columns, numbers: dict[str, int], leave_out: bool) -> Review | str:
    """Return the review in a row, whose id leaves out the folder `above`, or its label where that is to be left out."""
    where = row.where
    if row.problem is not None:
        raise InputError(f"{where}: {row.problem}")
    text = _value(row, "text", columns.text)
    label = _value(row, "label", columns.label)
    split = _value(row, "split", columns.split)
    group = _value(row, "group", columns.group)
    if not isinstance(text, str):
        raise InputError(f"{where}: {columns.text} must be a string; got {abbreviated(text)}")
    name = spell_label(label, numbers)
    if label in (None, "") or split == "unsup":
        if columns.split is None:
            raise InputError(f"{where}: has no label; without a split column every review needs a label")
        value = None
    elif name in numbers:
        value = numbers[name]
    elif leave_out:
        return name
    else:
        raise InputError(
            f"{where}: {columns.label} must be one of {_some(numbers)}; got {abbreviated(name)} "
            "(download.custom.labels)"
        )
    return Review(
        id=without_surrogates(where.removeprefix(above)),
        split="train" if columns.split is None else str(split),
        label=value,
        rating=None,
        group=None if group in (None, "") else str(group),
        text=text,
        where=where,
    )


def spell_label(label: object, known: Container[str]) -> str:
    """Return a label as JSON spells it, true for True; 4.0 is 4 if that is `known` and 4.0 is not."""
    name = label if isinstance(label, str) else json.dumps(label, default=str)
    if isinstance(label, float) and label.is_integer() and name not in known and str(int(label)) in known:
        return str(int(label))
    return name


def _some(labels: Iterable[str]) -> str:
    shown = list(labels)
    return ", ".join(shown if len(shown) <= MANY else [*shown[:SHOWN], f"... ({len(shown)} in all)"])


def _value(row: Row, key: str, column: str | int | None) -> object:
    """Return the value of a column, None without a column; `key` says which in messages."""
    if column is None:
        return None
    if isinstance(column, int) and column <= len(row.values):
        column = list(row.values)[column - 1]
    if column not in row.values:
        raise InputError(
            f"{row.where}: has no column {column!r} (download.custom.{key}_column); "
            f"its columns are {', '.join(map(repr, row.values))}"
        )
    value = row.values[column]
    if isinstance(value, dict | list):
        raise InputError(f"{row.where}: {column} must be a single value; got {abbreviated(value)}")
    return value


def find_parts(source: Source) -> tuple[list[Part], Columns]:
    """Return the user's files in order, and the columns that they have, those included that their places give.

    Raises InputError where there is nothing to read.
    """
    path = Path(source.path)
    labels = source.labels.numbers
    if not path.exists():
        hint = "; ~ is not expanded; write the full path" if path.parts[0].startswith("~") else ""
        raise InputError(f"{path}: does not exist; set download.custom.path to your file or folder{hint}")
    if not path.is_dir():
        return _tables([path], source.columns)
    files = files_in(path)
    if source.pattern is not None:
        files = [file for file in files if file.match(source.pattern)]
        if not files:
            raise InputError(f"{path}: holds no file like {source.pattern} (download.custom.pattern)")
    by_depth = {depth: [each for each in files if len(each.relative_to(path).parts) == depth] for depth in (1, 2, 3)}
    texts = {depth: [each for each in found if each.suffix == ".txt"] for depth, found in by_depth.items()}
    if texts[3] and all(each.parts[-3] in SPLITS for each in texts[3]):
        parts = [Part(each, WHOLE, _said_by_folders(each)) for each in texts[3]]
        return parts, replace(SAID_BY_PLACE, split="split")
    others = sorted({each.parts[-2] for each in texts[2]} - labels.keys())  # folders that are no label
    if texts[2] and (not others or (source.labels.leave_out and any(each.parts[-2] in labels for each in texts[2]))):
        return [Part(each, WHOLE, {"label": each.parts[-2]}) for each in texts[2]], SAID_BY_PLACE
    of_label = [(each, name) for each in by_depth[1] for name in (each.stem, each.suffix[1:]) if name in labels]
    if of_label:
        return [Part(each, ".txt", {"label": name}) for each, name in of_label], SAID_BY_PLACE
    tables = [each for each in files if kind_of(each) in READERS and each.suffix != ".txt"]
    if not tables and others:
        raise InputError(
            f"{path}: the folders of texts must be among {_some(labels)}; got {_some(others)} (download.custom.labels)"
        )
    if not tables:
        raise InputError(f"{path}: {LAYOUT}; {_describe(path, files)} (download.custom.path)")
    return _tables(tables, source.columns)


def _tables(files: list[Path], columns: Columns) -> tuple[list[Part], Columns]:
    """Return files of rows; where the name of each begins with a split, that is the split of its rows."""
    if columns.split is None and len(files) > 1:
        splits = [next((split for split in SPLITS if file.name.lower().startswith(split)), None) for file in files]
        if None not in splits and len(set(splits)) > 1:
            parts = [Part(file, kind_of(file), {"split": split}) for file, split in zip(files, splits, strict=True)]
            return parts, replace(_columns_of(files, columns), split="split")
    return [Part(file, kind_of(file), {}) for file in files], _columns_of(files, columns)


def _columns_of(files: list[Path], columns: Columns) -> Columns:
    """Return the columns of files of rows, which have their own names in fastText's format."""
    return SAID_BY_PLACE if all(kind_of(file) == ".txt" for file in files) else columns


def _said_by_folders(file: Path) -> dict[str, object]:
    split, label = file.parts[-3:-1]
    return {"split": "unsup", "label": None} if label == "unsup" else {"split": split, "label": label}


def _describe(path: Path, files: list[Path]) -> str:
    """Describe the files of a folder in which nothing can be read."""
    if not files:
        return "found no files"
    kinds = Counter((len(file.parts), file.suffix) for file in islice(files, MAX_FILES_EXAMINED))
    kind, count = kinds.most_common(1)[0]
    example = next(file for file in files if (len(file.parts), file.suffix) == kind)
    return f"found {count:,} like {example.relative_to(path)}"
