"""Time the scoring of a file of texts, the ways side by side.

    python -m benchmarks.score [--model classifier] [--corpus data/corpus.parquet] [--rows 10000] [--ways here loop]

The texts are the test reviews, repeated up to --rows, in a Parquet file; the scores go to one. The ways:

    here      as `stages.predict` does
    bfloat16  as `stages.predict --precision bfloat16` does
    ray-1     as `stages.predict --engine ray --workers 1` does; ray-2 with two processes
    onnx      by score.py of what `stages.export` writes, 4,096 texts at a time
    int8      the same with 8-bit weights
    loop      by a plain loop: spaCy on each text, batches of 64 in the order of the file, PyTorch's layers

Each way runs in a process of its own. Reviews a second are those after the first batch, so that imports, loading and
the start of a cluster do not count; `seconds` are those of the whole process, and MB the greatest memory that it and
those that it started had resident, libraries included (Linux only). Labels and probabilities are compared with those of
the first way.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import stages  # noqa: F401, puts the library on the path
from benchmarks.prepare import watch
from stages.paths import CORPUS, PACKAGE

WAYS = ("here", "bfloat16", "ray-1", "ray-2", "onnx", "int8", "loop")
LOOP_BATCH = 64


def write_texts(corpus: Path, rows: int, path: Path) -> npt.NDArray[np.bool_]:
    """Write test reviews, repeated up to `rows`, with the number of the row as id; return which are positive."""
    reviews = pq.read_table(corpus, columns=["text", "label"], filters=pc.field("split") == "test")
    schema = pa.schema({"id": pa.int64(), "text": pa.string()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, len(reviews)):
            texts = reviews["text"].slice(0, rows - start).cast(pa.string())
            writer.write_table(pa.table([pa.array(range(start, start + len(texts))), texts], schema=schema))
    return np.resize(reviews["label"].to_numpy() == 1, rows)


def run(way: str, model: Path, export: Path, texts: Path, output: Path) -> None:
    """Take one of the ways in this process; print its reviews a second."""
    from sentiment.runtime.device import tune_memory
    from sentiment.scoring.engines import score_here, score_on_ray
    from sentiment.scoring.scorer import Scorer
    from sentiment.scoring.tables import Source, read_texts

    tune_memory()
    source = Source(texts, "text", "id")
    if way in ("here", "bfloat16"):
        scorer = Scorer(model, precision="float32" if way == "here" else way)
        scores = score_here(scorer, read_texts(source))
    elif way.startswith("ray-"):
        scores = score_on_ray(Scorer(model), [source], workers=int(way.removeprefix("ray-")))
    else:
        score = plain_loop(model) if way == "loop" else exported(export, way)
        scores = (with_probabilities(batch, score) for batch in read_texts(source))
    first = next(scores)
    rows, start = 0, time.perf_counter()
    columns = ["id", "probability_positive"]
    with pq.ParquetWriter(output, first.select(columns).schema) as writer:
        writer.write_batch(first.select(columns))
        for batch in scores:
            writer.write_batch(batch.select(columns))
            rows += len(batch)
    print(json.dumps(rows / (time.perf_counter() - start)))


Score = Callable[[list[str]], list[float]]  # the probabilities of being positive


def with_probabilities(batch: pa.RecordBatch, score: Score) -> pa.RecordBatch:
    """Return the ids and probabilities of a batch."""
    probabilities = pa.array(score(batch["text"].to_pylist()), pa.float64())
    return pa.record_batch({"id": batch["id"].cast(pa.string()), "probability_positive": probabilities})


def exported(folder: Path, way: str) -> Score:
    """Return the scorer of an exported model."""
    sys.path.insert(0, str(folder))
    scorer = import_module("score").Scorer(folder, {"onnx": "model.onnx", "int8": "model.int8.onnx"}[way])
    return lambda texts: scorer(texts)[:, 1].tolist()


def plain_loop(folder: Path) -> Score:
    """Return what a plain loop over the texts gives."""
    import spacy
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from sentiment.dataset.vocabulary import load_vocabulary
    from sentiment.models.checkpoint import VOCABULARY_NAME, load_checkpoint

    model, _ = load_checkpoint(folder)  # without the linear model, which a plain loop would not have
    vocabulary, rules = load_vocabulary(folder / VOCABULARY_NAME, model.config.vocabulary_size)
    tokenizer = spacy.blank("en").tokenizer

    def score(texts: list[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(texts), LOOP_BATCH):
            some = (re.sub(r"\s*<br />\s*", " ", text) for text in texts[start : start + LOOP_BATCH])
            words = [[token.text.lower() if rules.lower else token.text for token in tokenizer(text)] for text in some]
            tokens = [torch.tensor([vocabulary.stoi[word] for word in each][: rules.max_tokens]) for each in words]
            lengths = torch.tensor([len(each) for each in tokens])
            with torch.no_grad():
                found += torch.sigmoid(model(pad_sequence(tokens, padding_value=1), lengths)).tolist()
        return found

    return score


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=PACKAGE)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        way, *paths = arguments.run
        run(way, *map(Path, paths))
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        labels = write_texts(arguments.corpus, arguments.rows, folder / "texts.parquet")
        if {"onnx", "int8"} & set(arguments.ways):
            from stages.export import export

            export(arguments.model, folder / "export")
        places = [arguments.model.resolve(), folder / "export", folder / "texts.parquet"]
        expected = None
        columns = ("reviews a second", "seconds", "MB", "accuracy", "other labels", "furthest apart")
        print("way   ", *columns)
        for way in arguments.ways:
            output = folder / f"{way}.parquet"
            figures, lines = watch(["benchmarks.score", "--run", way, *map(str, places), str(output)], Path.cwd())
            found = pq.read_table(output)["probability_positive"].to_numpy()
            expected = found if expected is None else expected
            values = (
                f"{json.loads(lines[-1]):,.0f}",
                f"{figures['process']:,.0f}",
                f"{figures['memory']:,.0f}",
                f"{((found > 0.5) == labels).mean():.2%}",
                f"{((found > 0.5) != (expected > 0.5)).sum():,}",
                f"{abs(found - expected).max():.1e}",
            )
            cells = (value.rjust(len(column)) for value, column in zip(values, columns, strict=True))
            print(f"{way:6}", *cells, flush=True)


if __name__ == "__main__":
    main()
