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
BATCH_BYTES = 1 << 22  # bounds memory while reading; smaller batches of short texts take longer

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
    pair in a text or group, and a train or test split without reviews of each label. Ids are not checked: every source
    makes its own from numbers or places, and a set of ten million ids takes a gigabyte.
    """
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
    """Yield columns of a corpus in file order, in batches of about BATCH_BYTES, but at least one review.

    `chosen`, (N,), is a mask of the reviews to yield; None yields all. Raises InputError for a damaged file.
    """
    start = 0
    with reading_parquet(path, "a corpus"), pq.ParquetFile(path, pre_buffer=False) as file:
        for groups in _batch_groups(file.metadata):
            table = file.read_row_groups(groups, columns, use_threads=False).combine_chunks()
            for batch in table.to_batches(max(1, len(table) * BATCH_BYTES // max(1, table.nbytes))):
                batch.validate(full=True)  # text must be valid UTF-8
                stop = start + len(batch)
                if chosen is None:
                    yield batch
                elif chosen[start:stop].any():
                    yield batch.filter(pa.array(chosen[start:stop]))
                start = stop


def _batch_groups(metadata: pq.FileMetaData) -> Iterator[list[int]]:
    """Yield the numbers of as many successive row groups as fit into BATCH_BYTES, but at least one."""
    batch: list[int] = []
    size = 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if batch and size > BATCH_BYTES:
            yield batch
            batch, size = [], metadata.row_group(group).total_byte_size
        batch.append(group)
    if batch:
        yield batch


@contextmanager
def reading_parquet(path: Path, what: str) -> Iterator[None]:
    """Convert the errors that Arrow raises for a malformed file to InputError, "is not `what`"."""
    path.stat()  # FileNotFoundError from here names the missing file; Arrow's error does not
    try:
        yield
    except (pa.ArrowException, OSError, OverflowError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: is not {what}: {error}") from error


def without_surrogates(name: str) -> str:
    """Return a file's name with U+FFFD for each byte that is not UTF-8, which Python reads as half a surrogate pair."""
    return SURROGATE.sub("\ufffd", name)


def check_review(review: Review) -> None:
    """Raise InputError for an unknown split, a missing or unexpected label, a blank text, and half a surrogate pair."""
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
