"""Measure the stages download_corpus and prepare on many short texts of a user's own.

    python -m benchmarks.rows [--rows 100000 1000000]

Each text has 4 to 12 words of a made-up vocabulary with the frequencies of a language, and a label drawn at random. The
texts are in a CSV file without a split column, so that a test split is drawn. The stages run as params.yaml has it.
Processor seconds are those of all threads, in the program and in the system, so that other jobs matter little. Memory
is counted as benchmarks.prepare does (Linux only). The files of ten million rows take 1.5 GB in the folder for
temporary files, which the environment variable TMPDIR names.
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from benchmarks.prepare import watch
from stages.params import PARAMS

VOCABULARY = 50_000
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
BATCH_ROWS = 100_000


def write_rows(path: Path, rows: int) -> None:
    """Write a CSV file of short texts, each with one of two labels."""
    random = np.random.default_rng(1)
    syllables = np.array(SYLLABLES)
    words = pa.array(["".join(word) for word in syllables[random.integers(0, len(SYLLABLES), (VOCABULARY, 4))]])
    shares = 1 / np.arange(10, VOCABULARY + 10)  # Zipf's law
    limits = np.cumsum(shares / shares.sum())
    with path.open("wb") as file:
        file.write(b"label,text\n")
        for start in range(0, rows, BATCH_ROWS):
            lengths = random.integers(4, 13, min(BATCH_ROWS, rows - start))
            offsets = pa.array(np.append(0, lengths.cumsum()), pa.int32())
            chosen = words.take(pa.array(np.searchsorted(limits, random.random(lengths.sum()))))
            texts = pc.binary_join(pa.ListArray.from_arrays(offsets, chosen), " ")
            labels = pa.array(["neg", "pos"]).take(pa.array(random.integers(0, 2, len(lengths))))
            lines = pc.binary_join_element_wise(labels, texts, ",")
            file.write("\n".join(lines.to_pylist()).encode() + b"\n")


def processor_seconds() -> float:
    """Return the processor seconds of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Print a row for each stage and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["download"]["corpus"] = "custom"
    params["download"]["custom"] |= {"path": "rows.csv", "url": None, "sha256": None}
    print(f"{'rows':>12} {'stage':>16} {'processor seconds':>18} {'rows a second':>14} {'peak MB':>8}")
    for rows in arguments.rows:
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / PARAMS).write_text(yaml.safe_dump(params), encoding="utf-8")
            write_rows(folder / "rows.csv", rows)
            for stage in ("download_corpus", "prepare"):
                before = processor_seconds()
                figures, _ = watch([f"stages.{stage}"], folder)
                seconds = processor_seconds() - before
                memory = figures["memory"]
                print(f"{rows:12,} {stage:>16} {seconds:18.1f} {rows / seconds:14,.0f} {memory:8.0f}", flush=True)


if __name__ == "__main__":
    main()
