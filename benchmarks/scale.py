"""Time the stages prepare and vectors on a corpus and on many times as much.

    python -m benchmarks.scale [--corpus data/corpus.parquet] [--times 1 10 40]

A copy of the corpus differs from the others in its words: those of five letters or more that begin with one of three
letters, which change from copy to copy, get an ending of their own, so that the copies bring new words as new reviews
would. The stages run as params.yaml has it, with trained vectors. Memory is counted as benchmarks.prepare does.
"""

import argparse
import string
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.prepare import lay_out, watch
from sentiment.corpora.reviews import ROW_GROUP_REVIEWS, SCHEMA, STORAGE
from stages.paths import CORPUS


def multiply(corpus: Path, times: int, path: Path) -> int:
    """Write a corpus and its changed copies; return how many reviews they are."""
    reviews = 0
    with pq.ParquetWriter(path, SCHEMA, **STORAGE) as writer:
        for copy in range(times):
            for batch in pq.ParquetFile(corpus).iter_batches(ROW_GROUP_REVIEWS):
                writer.write_batch(change(batch, copy) if copy else batch)
                reviews += len(batch)
    return reviews


def change(batch: pa.RecordBatch, copy: int) -> pa.RecordBatch:
    """Return reviews with other ids, other groups and some other words."""
    letters = "".join(string.ascii_lowercase[(3 * copy + place) % 26] for place in range(3))
    ending = f"{string.ascii_lowercase[copy // 26]}{string.ascii_lowercase[copy % 26]}"
    changed = {
        "id": pc.binary_join_element_wise(batch["id"], str(copy), "/"),
        "group": pc.binary_join_element_wise(batch["group"], str(copy), "/"),
        "text": pc.replace_substring_regex(batch["text"], rf"\b([{letters}][a-z]{{4,}})\b", rf"\1{ending}"),
    }
    return pa.record_batch([changed.get(name, batch[name]) for name in SCHEMA.names], schema=SCHEMA)


def main() -> None:
    """Print a row for each multiple."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 40])
    arguments = parser.parse_args()
    print(f"{'times':>5} {'reviews':>10} {'stage':>8} {'seconds':>8} {'reviews a second':>17} {'peak MB':>8}")
    for times in arguments.times:
        with TemporaryDirectory() as name:
            path = Path(name) / "corpus.parquet"
            reviews = multiply(arguments.corpus, times, path)
            folder = Path(name) / "project"
            folder.mkdir()
            lay_out(folder, path, None, {"vectors": {"source": "trained"}})
            for stage in ("prepare", "vectors"):
                figures, _ = watch([f"stages.{stage}"], folder)
                seconds, memory = figures["process"], figures["memory"]
                speed = reviews / seconds
                print(f"{times:5} {reviews:10,} {stage:>8} {seconds:8.1f} {speed:17,.0f} {memory:8.0f}", flush=True)


if __name__ == "__main__":
    main()
