"""Each parser of a file, as a function of the file's bytes, for tests with arbitrary bytes."""

import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from sentiment.corpora.custom import Columns, Labels, Source, read_custom
from sentiment.corpora.imdb import read_imdb
from sentiment.corpora.reviews import Review, write_corpus
from sentiment.dataset.encoded import load_encoded
from sentiment.dataset.vocabulary import fit_vocabulary, load_vocabulary, save_vocabulary
from sentiment.errors import InputError
from sentiment.models.checkpoint import CONFIG, VOCABULARY_NAME, WEIGHTS, load_checkpoint, save_checkpoint
from sentiment.storage.archives import Limits
from sentiment.storage.tensors import save_tensors
from sentiment.text.glove import check_beginning, read_vectors
from sentiment.text.tokenizer import TokenRules
from stages.params import PARAMS, read_params
from tests.conftest import imdb_members, random_reviews, small_model, write_own_csv

ROOT = Path(__file__).resolve().parent.parent
LABELS = ("bad", "good")
DRAWN = Columns(text="comment", label="verdict", split=None, group="film")
GIVEN = Columns(text="comment", label="verdict", split="split", group="film")
VOCABULARY = Path(__file__)  # any file will do for a model's
DIMENSION = 3
LIMITS = Limits(members=10_000, member_bytes=10_000_000, unpacked_bytes=20_000_000)
MAX_MESSAGE = 2_000  # characters

Parser = Callable[[bytes, Path], None]


def put(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path


def parse_vectors(content: bytes, folder: Path) -> None:
    path = put(folder / "vectors", content)
    check_beginning(path, LIMITS)
    read_vectors(path, DIMENSION, ["the", "film", "."], LIMITS)


def parse_tar(content: bytes, folder: Path) -> None:
    keep(folder, read_imdb(put(folder / "archive.tar.gz", gzip.compress(content, compresslevel=1)), LIMITS))


def parse_own(suffix: str) -> Parser:
    def parse(content: bytes, folder: Path) -> None:
        path = put(folder / f"own{suffix}", content)
        columns = GIVEN if b"split" in content else DRAWN
        keep(
            folder,
            read_custom(Source(str(path), columns, Labels([[label] for label in LABELS])), test_share=0.25, seed=1),
        )

    return parse


def keep(folder: Path, reviews: Iterable[Review]) -> None:
    """Write the reviews, as the stage that reads them does."""
    write_corpus(folder / "corpus.parquet", reviews)


def parse_params(content: bytes, folder: Path) -> None:
    read_params(put(folder / "params.yaml", content))


def parse_vocabulary(content: bytes, folder: Path) -> None:
    load_vocabulary(put(folder / "vocabulary.json", content))


def parse_encoded(content: bytes, folder: Path) -> None:
    load_encoded(put(folder / "encoded.safetensors", content), vocabulary_size=20)


def parse_checkpoint(content: bytes, folder: Path) -> None:
    """Load a configuration and, after a zero byte, weights; their sha256 replaces the word WEIGHTS."""
    config, _, weights = content.partition(b"\0")
    put(folder / WEIGHTS, weights)
    put(folder / CONFIG, config.replace(b"WEIGHTS", hashlib.sha256(weights).hexdigest().encode()))
    put(folder / VOCABULARY_NAME, VOCABULARY.read_bytes())
    load_checkpoint(folder)


PARSERS: dict[str, Parser] = {
    "vectors": parse_vectors,
    "csv": parse_own(".csv"),
    "jsonl": parse_own(".jsonl"),
    "parquet": parse_own(".parquet"),
    "tar": parse_tar,
    "params": parse_params,
    "vocabulary": parse_vocabulary,
    "encoded": parse_encoded,
    "checkpoint": parse_checkpoint,
}


def parse(name: str, content: bytes, folder: Path) -> None:
    """Run a parser; check that an error message is one short, printable line."""
    said = "nothing"
    try:
        PARSERS[name](content, folder)
    except InputError as error:
        said = str(error)
    assert said.isprintable(), said
    assert 0 < len(said) <= MAX_MESSAGE, said


def valid_inputs() -> dict[str, list[bytes]]:
    """Return small valid inputs for each parser."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "vectors": vectors_inputs(),
            **own_inputs(folder),
            "tar": [tar_input(tarfile.USTAR_FORMAT, ""), tar_input(tarfile.PAX_FORMAT, "é"), tar_input(*LONG_NAMES)],
            "params": [re.sub(rb" *#.*", b"", (ROOT / PARAMS).read_bytes())],
            "vocabulary": [vocabulary_input(folder)],
            "encoded": [encoded_input(folder, [3, 1, 2]), encoded_input(folder, [])],
            "checkpoint": [checkpoint_input(folder / cell, cell) for cell in ("rnn", "lstm")],
        }


def vectors_inputs() -> list[bytes]:
    text = b"the 0.1 -0.2 3\nfilm 1e-3 2 3\n. . 1 2 3\nnobody's 1 2 3\n"
    inputs = [text, b"4 3\n" + text]
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            archive.writestr(zipfile.ZipInfo("a.3d.txt"), text)
            archive.writestr(zipfile.ZipInfo("b.4d.txt"), b"the 1 2 3 4\n")
        inputs.append(buffer.getvalue())
    return inputs


def own_inputs(folder: Path) -> dict[str, list[bytes]]:
    csv_text = write_own_csv(folder / "own.csv", 16).read_bytes()
    rows = [
        {"comment": f"Text {number}", "verdict": LABELS[number % 2], "film": str(number), "split": split}
        for number, split in enumerate(["train", "train", "test", "test"] * 3)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "a", compression="none", write_statistics=False)
    pq.write_table(table, folder / "b", compression="zstd", use_dictionary=False, data_page_version="2.0")
    return {
        "csv": [csv_text, b"comment,verdict,film,split\na,good,,train\nb,bad,,train\nc,good,,test\nd,bad,,test\n"],
        "jsonl": [lines.encode(), lines.replace("split", "part").encode()],
        "parquet": [(folder / "a").read_bytes(), (folder / "b").read_bytes()],
    }


LONG_NAMES = (tarfile.GNU_FORMAT, "long/" * 40)


def tar_input(layout: int, name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as archive:
        for path, content in imdb_members(12).items():
            member = tarfile.TarInfo(f"aclImdb/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        archive.addfile(tarfile.TarInfo(f"aclImdb/{name}.txt"))
    return buffer.getvalue().rstrip(b"\0") + bytes(1024)


def vocabulary_input(folder: Path) -> bytes:
    path = folder / "vocabulary.json"
    save_vocabulary(path, fit_vocabulary(Counter("aabcé"), 9, 1), TokenRules(True, False, None, 3))
    return path.read_bytes()


def encoded_input(folder: Path, lengths: list[int]) -> bytes:
    reviews = random_reviews(lengths)
    path = folder / "encoded"
    save_tensors(path, {"tokens": reviews.tokens, "offsets": reviews.offsets, "labels": reviews.labels})
    return path.read_bytes()


def checkpoint_input(folder: Path, cell: str) -> bytes:
    save_checkpoint(folder, small_model(cell=cell, hidden_size=2, embedding_size=2), VOCABULARY)
    weights, config = (folder / WEIGHTS).read_bytes(), json.loads((folder / CONFIG).read_bytes())
    return json.dumps({**config, "weights_sha256": "WEIGHTS"}).encode() + b"\0" + weights
