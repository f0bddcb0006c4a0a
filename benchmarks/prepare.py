"""Time text to tensors: the textbook's way against the stages prepare and vectors, on the same reviews and vectors.

    python -m benchmarks.prepare [--corpus data/corpus.parquet] [--vectors FILE] [--unlabelled] [--rounds 3]

Without --vectors, both ways read a file of 400,000 words, as many as glove.6B has, with random numbers. The textbook's
way is ours to read: torchtext's Field over spaCy's tokenizer, its Vectors, build_vocab, and each review's ids as a
tensor, as the tutorials have it, but with the stage's own split. The stages run with the textbook's settings: text as
it is written, 25,000 words, vectors as they are. Each way runs in a process of its own, in turn.

Seconds are those after the imports, which are the same in both; those of the whole process stand beside them. Memory
is the greatest that a process and those that it starts had resident, their libraries included (Linux only). Before
that, tokens, vocabulary, vectors and ids of both are compared. The last line is JSON.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from stages.paths import CORPUS, EMBEDDINGS, ENCODED, METRICS, SPLITS, VECTORS, VOCABULARY

DIMENSION = 100
ROWS = 400_000  # of a file of random vectors
SETTINGS: dict[str, dict[str, Any]] = {
    "prepare": {"lower": False, "keep_breaks": True, "max_tokens": None, "max_vocab": 25_000, "min_freq": 1},
    "vectors": {
        "source": "fetched",
        "fetched": {"dimension": DIMENSION, "min_coverage": 0.0},
        "std": None,
        "unknown_std": 1.0,
    },
}
WATCH_SECONDS = 0.05
Digests = dict[str, str]


def textbook() -> tuple[float, Callable[[], Digests]]:
    """Take the textbook's way in the folder where this process stands; return its seconds, and what digests it."""
    import pyarrow.parquet as pq
    import spacy
    import torch
    from safetensors.torch import load_file
    from torchtext.data import Dataset, Example, Field, LabelField
    from torchtext.vocab import Vectors

    rows = load_file(SPLITS)  # the stage has run before
    started = time.perf_counter()
    tokenizer = spacy.blank("en").tokenizer
    text = Field(tokenize=lambda review: [token.text for token in tokenizer(review)])
    fields = [("text", text), ("label", LabelField(dtype=torch.float))]
    columns = pq.read_table(CORPUS, columns=["text", "label"]).to_pydict()
    examples = [Example.fromlist(values, fields) for values in zip(*columns.values(), strict=True)]
    splits = {split: Dataset([examples[row] for row in rows[split].tolist()], fields) for split in ENCODED}
    with TemporaryDirectory() as folder:
        path = VECTORS.resolve()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                member = next(name for name in archive.namelist() if name.endswith(f"{DIMENSION}d.txt"))
                path = Path(archive.extract(member, folder))
        vectors = Vectors(str(path), cache=folder, unk_init=torch.Tensor.normal_)
    text.build_vocab(splits["train"], max_size=SETTINGS["prepare"]["max_vocab"], vectors=vectors)
    ids = {
        split: [torch.tensor([text.vocab.stoi[token] for token in example.text]) for example in dataset]
        for split, dataset in splits.items()
    }
    seconds = time.perf_counter() - started

    def digests() -> Digests:
        known = [number for number, word in enumerate(text.vocab.itos) if word in vectors.stoi]
        return {
            "tokens": digest(json.dumps(example.text).encode() for example in examples),
            "vocabulary": digest([json.dumps(text.vocab.itos).encode()]),
            "vectors": digest([text.vocab.vectors[known].numpy().tobytes()]),
            "ids": digest(review.int().numpy().tobytes() for review in chain.from_iterable(ids.values())),
        }

    return seconds, digests


def ours() -> tuple[float, Callable[[], Digests]]:
    """Run both stages in the folder where this process stands; return their seconds, and what digests their outputs."""
    import torch  # noqa: F401, so that all imports are done before the clock starts
    from safetensors.torch import load_file

    from sentiment.corpora.reviews import read_batches
    from sentiment.corpora.splitting import read_split_inputs  # noqa: F401
    from sentiment.dataset import encoded  # noqa: F401
    from sentiment.dataset.vocabulary import load_vocabulary
    from sentiment.storage.archives import Limits
    from sentiment.text.glove import read_vectors
    from sentiment.text.tokenizer import ReviewTokenizer
    from stages.params import read_params
    from stages.prepare import prepare
    from stages.vectors import vectors

    params = read_params()
    limits = Limits(**params.download.limits.model_dump())
    started = time.perf_counter()
    prepare(params)
    vectors(params)
    seconds = time.perf_counter() - started

    def digests() -> Digests:
        vocabulary, rules = load_vocabulary(VOCABULARY)
        with_vector = set(read_vectors(VECTORS, DIMENSION, vocabulary.itos, limits).words)
        known = [number for number, word in enumerate(vocabulary.itos) if word in with_vector]
        embeddings = load_file(EMBEDDINGS)["embeddings"]
        texts = (batch["text"] for batch in read_batches(CORPUS, ["text"]))
        tokens = (
            tokenized.types.take(tokenized.ids[row].values).to_pylist()
            for tokenized in ReviewTokenizer(rules).tokenize_all(texts)
            for row in range(len(tokenized.ids))
        )
        files = [load_file(path) for path in ENCODED.values()]
        ids = (file["tokens"].split(file["offsets"].diff().tolist()) for file in files)
        return {
            "tokens": digest(json.dumps(words).encode() for words in tokens),
            "vocabulary": digest([json.dumps(vocabulary.itos).encode()]),
            "vectors": digest([embeddings[known].numpy().tobytes()]),
            "ids": digest(review.numpy().tobytes() for review in chain.from_iterable(ids)),
        }

    return seconds, digests


def digest(parts: Iterable[bytes]) -> str:
    """Return a digest of byte strings that also tells where each of them ends."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little") + part)
    return sha.hexdigest()


def measure(way: str, folder: Path, check: bool = False) -> dict[str, Any]:
    """Take one way in a process of its own; return its seconds, its peak memory and, if asked, digests."""
    figures, lines = watch(["benchmarks.prepare", "--way", way, *(["--check"] if check else [])], folder)
    return {**figures, **json.loads(lines[-1])}


def watch(module: list[str], folder: Path) -> tuple[dict[str, float], list[str]]:
    """Run a module with its arguments in a folder; return seconds, peak memory in MB, and the lines that it printed."""
    command = [sys.executable, "-m", *module]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    os.sync()  # so that the disk is not still writing the files of the last run
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        peaks: dict[int, int] = {}
        while process.poll() is None:
            for number in descendants(process.pid):
                peaks[number] = peak_memory(number) or peaks.get(number, 0)
            time.sleep(WATCH_SECONDS)
        seconds = time.perf_counter() - started
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
    if process.returncode:
        sys.exit(f"{' '.join(module)} failed")
    return {"process": seconds, "memory": sum(peaks.values()) / 1e6}, lines


def descendants(process: int) -> list[int]:
    """Return the numbers of a process and of all that it has started, as far as they still run."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *chain.from_iterable(descendants(int(child)) for child in children)]


def peak_memory(process: int) -> int:
    """Return the greatest resident memory of a process so far, in bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def random_vectors(path: Path, corpus: Path) -> Path:
    """Write vectors of ROWS words in GloVe's text format: the corpus's own, and made-up ones up to that many."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    texts = pq.read_table(corpus, columns=["text"])["text"]
    words = pc.value_counts(pc.list_flatten(pc.split_pattern(texts, " "))).field("values").to_pylist()
    names = dict.fromkeys(word for word in words if word.isalpha())
    names |= dict.fromkeys(f"madeup{number}" for number in range(ROWS - len(names)))
    numbers = np.random.default_rng(1).standard_normal((1000, DIMENSION))
    rows = [" ".join(f"{number:.5f}" for number in row) for row in numbers.tolist()]  # again and again, to save time
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{word} {rows[place % len(rows)]}\n" for place, word in enumerate(list(names)[:ROWS]))
    return path


def lay_out(folder: Path, corpus: Path, vectors: Path | None, settings: dict[str, Any]) -> None:
    """Put into a folder what the stages read: our parameters, with some changed, and the data."""
    from stages.params import PARAMS

    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    for section, changes in settings.items():
        params[section].update(changes)
    (folder / PARAMS).write_text(yaml.safe_dump(params), encoding="utf-8")
    (folder / CORPUS).parent.mkdir()
    (folder / CORPUS).symlink_to(corpus.resolve())
    if vectors is None:
        (folder / VECTORS).touch()
    else:
        (folder / VECTORS).symlink_to(vectors.resolve())


def labelled(corpus: Path, path: Path) -> Path:
    """Write the reviews that have a label to another file."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from sentiment.corpora.reviews import ROW_GROUP_REVIEWS, STORAGE

    reviews = pq.read_table(corpus, filters=pc.field("split") != "unsup")
    pq.write_table(reviews, path, row_group_size=ROW_GROUP_REVIEWS, **STORAGE)
    return path


def compare(corpus: Path, vectors: Path | None, unlabelled: bool, rounds: int) -> None:
    """Take both ways in turn and print a table and a line of JSON."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        vectors = random_vectors(folder / "vectors.txt", corpus) if vectors is None else vectors
        lay_out(folder, corpus if unlabelled else labelled(corpus, folder / "labelled.parquet"), vectors, SETTINGS)
        digests = {way: measure(way, folder, check=True)["digests"] for way in ("ours", "textbook")}
        for what, digest_ in digests["ours"].items():
            print(f"{what:12} {'equal' if digest_ == digests['textbook'][what] else 'DIFFERENT'}")
        sizes = json.loads((folder / METRICS["prepare"][0]).read_text(encoding="utf-8"))
        reviews = sum(sizes[f"{split}_reviews"] for split in ENCODED)
        runs: dict[str, list[dict[str, Any]]] = {"textbook": [], "ours": []}
        for _ in range(rounds):
            for way, taken in runs.items():
                taken.append(measure(way, folder))
    median = {
        way: {what: statistics.median(run[what] for run in taken) for what in ("seconds", "process", "memory")}
        for way, taken in runs.items()
    }
    print(f"{'':12} {'seconds':>8} {'whole process':>14} {'peak MB':>8}   each round")
    for way, figures in median.items():
        each = " ".join(f"{run['seconds']:.1f}" for run in runs[way])
        print(f"{way:12} {figures['seconds']:8.1f} {figures['process']:14.1f} {figures['memory']:8.0f}   {each}")

    def ratio(what: str) -> float:
        return float(median["textbook"][what] / median["ours"][what])

    result = {
        "speedup": round(ratio("seconds"), 2),
        "speedup_of_process": round(ratio("process"), 2),
        "memory_ratio": round(1 / ratio("memory"), 3),
        "equal": digests["ours"] == digests["textbook"],
        "reviews": reviews,
    }
    print(json.dumps(result))


def main() -> None:
    """Read the command line; the parts that it runs in processes of their own come back here with `--way`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--unlabelled", action="store_true", help="take the reviews without a label too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        seconds, digests = WAYS[arguments.way]()
        print(json.dumps({"seconds": seconds, **({"digests": digests()} if arguments.check else {})}))
    else:
        compare(arguments.corpus, arguments.vectors, arguments.unlabelled, arguments.rounds)


WAYS = {"textbook": textbook, "ours": ours}

if __name__ == "__main__":
    main()
