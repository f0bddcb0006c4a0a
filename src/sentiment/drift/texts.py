"""Read the texts of files, with their labels if there are any, a batch of rows at a time."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sentiment.corpora.custom import spell_label
from sentiment.corpora.files import GUESSED, NATURAL, Dialect, Row, kind_of, read_rows
from sentiment.corpora.reviews import SURROGATE
from sentiment.drift.measures import Ints
from sentiment.errors import abbreviated
from sentiment.scoring.scorer import scorable_texts
from sentiment.scoring.tables import check_columns

ROWS, CHARACTERS = 1_024, 1 << 25  # of a batch, at most; they bound memory


class Labels(NamedTuple):
    """Where the labels of a file are, and how it spells them."""

    column: str
    numbers: Mapping[str, int]  # the number of the model's label that each spelling stands for


class Batch(NamedTuple):
    """The n texts in some rows of a file that can be read and are not blank."""

    texts: pa.StringArray  # (n,)
    labels: Ints  # (n,), -1 where there is none or another one
    rows: int  # as many as n or more
    problem: str  # the first row that could not be read, and why; empty if there is none


def read_labelled_texts(
    path: Path, text_column: str, labels: Labels | None = None, dialect: Dialect = GUESSED
) -> Iterator[Batch]:
    """Yield the texts of a file in order; say on standard error what is guessed.

    A .txt file has a text a line, after fastText's label if there is one. Raises InputError for a file without the
    columns and for a damaged one.
    """
    kind = kind_of(path)
    is_plain, is_table = kind == ".txt", kind in (*NATURAL, ".parquet")  # in a table, each row has all columns
    label_column = None if labels is None else "label" if is_plain else labels.column
    text_column = "text" if is_plain else text_column
    needed = {"--text-column": text_column, "--label-column": label_column}
    columns = [column for column in needed.values() if column is not None]
    rows = read_rows(path, columns, dialect, say=lambda message: print(message, file=sys.stderr))
    seen: dict[str, None] = {}  # all names so far, in order
    for batch in _batched(rows, text_column):
        texts: list[str | None] = []
        numbers, problem = [], ""
        for row in batch:
            seen |= dict.fromkeys(row.values)
            text = row.values.get(text_column)
            found = row.problem
            if isinstance(text, str) and not SURROGATE.search(text):
                texts.append(text)
            else:
                texts.append(None)
                if text is not None:
                    found = f"the text must be a string; got {abbreviated(text)}"
            problem = problem or (f"{row.where}: {found}" if found else "")
            label = None if label_column is None else row.values.get(label_column)
            if labels is None or label is None:
                numbers.append(-1)
            else:
                numbers.append(labels.numbers.get(spell_label(label, labels.numbers), -1))
        if seen and is_table:
            check_columns(path, seen, needed)
        scorable = scorable_texts(pa.array(texts, pa.string()), text_column)
        is_read = scorable.is_valid().to_numpy(zero_copy_only=False)
        yield Batch(scorable.drop_null(), np.array(numbers, dtype=np.int64)[is_read], len(batch), problem)
    if seen and not is_plain:
        check_columns(path, seen, needed)


def _batched(rows: Iterator[Row], text_column: str) -> Iterator[list[Row]]:
    """Yield ROWS rows at a time, or fewer with long texts."""
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        text = row.values.get(text_column)
        characters += len(text) if isinstance(text, str) else 0
        if len(batch) == ROWS or characters > CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
