"""Read and write a corpus: reviews in one Parquet file, with the same columns for every source."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import atomic_output

SPLITS = ("train", "test", "unsup")
SENTIMENT = ("negative", "positive")  # the names of the labels 0 and 1, unless the corpus has others
SURROGATE = re.compile("[\ud800-\udfff]")
ROW_GROUP_REVIEWS = 2_000  # bounds memory while writing
BATCH_REVIEWS = 1_000  # bounds memory while reading

COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "split": pa.string(),
    "label": pa.int8(),
    "rating": pa.int8(),
    "group": pa.string(),
    "text": pa.string(),
}
SCHEMA = pa.schema(COLUMNS)
STORAGE: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["split", "label", "rating", "group"],  # the columns with few distinct values
    "write_statistics": False,  # nobody searches by the smallest and largest text
}


class Review(NamedTuple):
    """One review; `where`, its location in the source for error messages, is not stored."""

    id: str
    split: str  # one of SPLITS
    label: int | None  # number of the label, from 0; None unknown (in unsup only)
    rating: int | None  # the reviewer's own rating, in the range that the corpus uses
    group: str | None  # reviews of the same film or product share a group
    text: str
    where: str


def write_corpus(path: Path, reviews: Iterable[Review], labels: Sequence[str] = SENTIMENT) -> None:
    """Validate reviews and write them to a Parquet file in the given order, with the names of their labels by number.

    Raises InputError for an unknown split, a missing or unexpected label, a text of only white space, half a surrogate
    pair in a text or group, a repeated id, and a train or test split without reviews of each label.
    """
    seen: set[str] = set()
    counts: Counter[tuple[str, int | None]] = Counter()
    # without names where they are SENTIMENT, as in the files of versions that knew no others
    schema = SCHEMA if tuple(labels) == SENTIMENT else SCHEMA.with_metadata({"labels": json.dumps(labels)})
    with (
        atomic_output(path) as partial,
        pq.ParquetWriter(partial, schema, **STORAGE) as writer,
    ):
        batch: list[Review] = []
        for review in reviews:
            check_review(review)
            if review.id in seen:
                raise InputError(f"{review.where}: the id {review.id!r} is used twice; each review needs its own id")
            seen.add(review.id)
            counts[review.split, review.label] += 1
            batch.append(review)
            if len(batch) == ROW_GROUP_REVIEWS:
                writer.write_table(_table(batch))
                batch = []
        if batch:
            writer.write_table(_table(batch))
        for split in ("train", "test"):
            missing = [name for label, name in enumerate(labels) if not counts[split, label]]
            if missing:
                raise InputError(
                    f"the {split} split needs reviews of each label; it has none with {' or '.join(missing)}"
                )


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the names of a corpus's labels by number, K; raise InputError for a damaged file."""
    with reading_parquet(path, "a corpus"):
        names = (pq.read_schema(path).metadata or {}).get(b"labels")
        return SENTIMENT if names is None else tuple(json.loads(names))


def read_corpus(path: Path, columns: list[str]) -> dict[str, list[Any]]:
    """Read columns of a corpus, N values each, in file order; raise InputError for a damaged file."""
    with reading_parquet(path, "a corpus"):
        values: dict[str, list[Any]] = pq.read_table(path, columns=columns).to_pydict()
    return values


def read_batches(
    path: Path, columns: list[str], chosen: npt.NDArray[np.bool_] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield columns of a corpus in file order, in batches of up to BATCH_REVIEWS reviews.

    `chosen`, (N,), is a mask of the reviews to yield; None yields all. Raises InputError for a damaged file.
    """
    start = 0
    with reading_parquet(path, "a corpus"), pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_REVIEWS, columns=columns, use_threads=False):
            batch.validate(full=True)  # text must be valid UTF-8
            stop = start + len(batch)
            if chosen is None:
                yield batch
            elif chosen[start:stop].any():
                yield batch.filter(pa.array(chosen[start:stop]))
            start = stop


@contextmanager
def reading_parquet(path: Path, what: str) -> Iterator[None]:
    """Convert the errors that Arrow raises for a malformed file to InputError, "is not `what`"."""
    path.stat()  # FileNotFoundError from here names the missing file; Arrow's error does not
    try:
        yield
    except (pa.ArrowException, OSError, OverflowError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: is not {what}: {error}") from error


def check_review(review: Review) -> None:
    """Raise InputError for an unknown split, a missing or unexpected label, and a text that is none."""
    if review.split not in SPLITS:
        raise InputError(
            f"{review.where}: the split must be one of {', '.join(SPLITS)}; got {abbreviated(review.split)}"
        )
    if (review.label is None) != (review.split == "unsup"):
        raise InputError(
            f"{review.where}: a review of train or test needs a label, and a review of unsup must have none; "
            f"got split {review.split!r} with label {review.label!r}"
        )
    if not review.text.strip():
        raise InputError(f"{review.where}: the review is empty or only white space; remove it or fill in its text")
    for name, text in (("text", review.text), ("group", review.group or "")):
        if SURROGATE.search(text):
            raise InputError(
                f"{review.where}: the {name} contains half a surrogate pair, which is not a character; fix the encoding"
            )


def _table(batch: list[Review]) -> pa.Table:
    columns = dict(zip(Review._fields, zip(*batch, strict=True), strict=True))
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)
