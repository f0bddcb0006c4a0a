"""The vectors stage trains vectors, and refuses a file that does not suit the corpus, named as the user names it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sentiment.corpora.reviews import write_corpus
from sentiment.corpora.synthetic import generate_reviews
from sentiment.dataset.encoded import load_embeddings, save_encoded
from sentiment.dataset.vocabulary import load_vocabulary
from sentiment.errors import InputError
from sentiment.storage.outputs import sha256_of
from stages.params import Params, read_params
from stages.paths import CORPUS, EMBEDDINGS, ENCODED, METRICS, VECTORS, VOCABULARY
from stages.prepare import prepare
from stages.vectors import vectors
from tests.conftest import random_reviews, write_glove

ROOT = Path(__file__).resolve().parent.parent
URL = "file:///home/me/mine.vec"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder that has a prepared corpus and a file of vectors."""
    monkeypatch.chdir(tmp_path)
    write_corpus(CORPUS, generate_reviews(200, seed=1))
    prepare(read_params(ROOT / "params.yaml"))
    write_glove(VECTORS, dimension=5)


def settings(source: str = "fetched", dimension: int = 5, min_coverage: float = 0.2, window: int = 20) -> Params:
    """Return parameters for a file of five-dimensional vectors, and trained vectors of seven dimensions."""
    params = read_params(ROOT / "params.yaml")
    remote = params.download.vectors.model_copy(update={"url": URL})
    changes = {
        "source": source,
        "trained": params.vectors.trained.model_copy(update={"dimension": 7, "window": window}),
        "fetched": params.vectors.fetched.model_copy(update={"dimension": dimension, "min_coverage": min_coverage}),
    }
    return params.model_copy(
        update={
            "download": params.download.model_copy(update={"vectors": remote}),
            "vectors": params.vectors.model_copy(update=changes),
        }
    )


def respell(change: Callable[[str], str]) -> None:
    """Change the words of the vectors, and leave their numbers."""
    rows = [line.partition(" ") for line in VECTORS.read_text(encoding="utf-8").splitlines()]
    VECTORS.write_text("".join(f"{change(word)} {numbers}\n" for word, _, numbers in rows), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (str.upper, "likely cause: the words of the file differ in case"),
        ("\u2581{}".format, "likely cause: the words of the file have spaces or other marks around them"),
        (lambda word: word[::-1] + "x", "likely cause: vectors for another language"),
    ],
)
def test_vectors_that_cover_too_little_are_refused(change: Callable[[str], str], cause: str) -> None:
    respell(change)
    with pytest.raises(InputError, match=rf"^download.vectors.url {URL}: \d.\d% of the words.*{cause}"):
        vectors(settings())
    assert not EMBEDDINGS.exists()
    assert not METRICS["vectors"][0].exists()


def test_a_coverage_of_0_accepts_any_vectors() -> None:
    respell(lambda word: word[::-1] + "x")
    vectors(settings(min_coverage=0.0))
    assert EMBEDDINGS.exists()


def test_a_byte_order_mark_does_not_change_the_embeddings() -> None:
    vectors(settings())
    before = EMBEDDINGS.read_bytes()
    VECTORS.write_bytes(b"\xef\xbb\xbf" + VECTORS.read_bytes())
    vectors(settings())
    assert EMBEDDINGS.read_bytes() == before


def test_for_another_dimension_the_message_names_the_file_and_the_parameter() -> None:
    with pytest.raises(
        InputError, match=f"^download.vectors.url {URL}:1: .*5 numbers.*; set vectors.fetched.dimension: 5$"
    ):
        vectors(settings(dimension=100))


def test_both_sources_stand_side_by_side() -> None:
    parts = []
    for source in ("trained", "fetched", "both"):
        vectors(settings(source))
        parts.append(load_embeddings(EMBEDDINGS))
    assert [part.shape[1] for part in parts] == [7, 5, 12]
    assert torch.equal(torch.cat(parts[:2], dim=1), parts[2])


def test_trained_vectors_depend_on_the_training_text_alone() -> None:
    for path in [*(ENCODED[split] for split in ("validation", "test")), CORPUS, VECTORS]:
        path.unlink()
    vectors(settings("trained"))
    before = EMBEDDINGS.read_bytes()
    vectors(settings("trained", window=19))
    assert EMBEDDINGS.read_bytes() != before


def test_every_word_and_the_unknown_word_get_a_trained_vector() -> None:
    vectors(settings("trained"))
    vocabulary, _ = load_vocabulary(VOCABULARY)
    embeddings = load_embeddings(EMBEDDINGS)
    assert len(embeddings) == len(vocabulary.itos)
    assert (embeddings.abs().sum(1) > 0).tolist() == [word != "<pad>" for word in vocabulary.itos]


@pytest.mark.parametrize(
    ("corpus", "source", "has_hint"),
    [("custom", "trained", True), ("custom", "both", False), ("sample", "trained", False)],
)
def test_for_little_text_of_ones_own_a_hint_names_the_parameter(
    capsys: pytest.CaptureFixture[str], corpus: str, source: str, has_hint: bool
) -> None:
    params = settings(source)
    vectors(params.model_copy(update={"download": params.download.model_copy(update={"corpus": corpus})}))
    assert ("hint: that is little text to learn vectors from; " in capsys.readouterr().out) == has_hint


def test_a_text_of_single_words_is_refused() -> None:
    for split in ("train", "unsup"):
        save_encoded(ENCODED[split], random_reviews([1, 1, 1], 5))
    with pytest.raises(InputError, match=r"^no training text has two words.*set vectors\.source to fetched$"):
        vectors(settings("trained"))


def test_a_shift_at_which_no_pair_counts_is_refused() -> None:
    params = settings("trained")
    trained = params.vectors.trained.model_copy(update={"shift": -50.0})
    with pytest.raises(
        InputError, match=r"^vectors\.trained\.shift: at -50\.0 no pair of neighbours counts; raise it$"
    ):
        vectors(params.model_copy(update={"vectors": params.vectors.model_copy(update={"trained": trained})}))
    assert not EMBEDDINGS.exists()


@pytest.mark.slow
def test_trained_vectors_are_the_same_bytes_with_any_number_of_cores(tmp_path: Path) -> None:
    for name in ("src", "stages", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    digests = set()
    for threads, capability in (("1", "default"), ("4", "avx2")):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "ATEN_CPU_CAPABILITY": capability}
        subprocess.run([sys.executable, "-m", "stages.vectors"], check=True, env=environment)
        digests.add(sha256_of(EMBEDDINGS))
    assert len(digests) == 1
