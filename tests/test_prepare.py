"""The prepare stage refuses vectors that do not suit the corpus, and names the file as the user does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment.corpora.reviews import write_corpus
from sentiment.corpora.synthetic import generate_reviews
from sentiment.errors import InputError
from stages.params import Params, read_params
from stages.paths import CORPUS, EMBEDDINGS, METRICS, VECTORS
from stages.prepare import prepare
from tests.conftest import write_glove

ROOT = Path(__file__).resolve().parent.parent
URL = "file:///home/me/mine.vec"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder that has a corpus and its vectors."""
    monkeypatch.chdir(tmp_path)
    write_corpus(CORPUS, generate_reviews(200, seed=1))
    write_glove(VECTORS, dimension=5)


def settings(**changes: object) -> Params:
    params = read_params(ROOT / "params.yaml")
    vectors = params.download.vectors.model_copy(update={"url": URL})
    download = params.download.model_copy(update={"corpus": "custom", "vectors": vectors})
    prepared = params.prepare.model_copy(update={"dimension": 5, **changes})
    return params.model_copy(update={"download": download, "prepare": prepared})


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
        prepare(settings())
    assert not EMBEDDINGS.exists()
    assert not METRICS["prepare"][0].exists()


def test_a_coverage_of_0_accepts_any_vectors() -> None:
    respell(lambda word: word[::-1] + "x")
    prepare(settings(min_coverage=0.0))
    assert EMBEDDINGS.exists()


def test_a_byte_order_mark_does_not_change_the_embeddings() -> None:
    prepare(settings())
    before = EMBEDDINGS.read_bytes()
    VECTORS.write_bytes(b"\xef\xbb\xbf" + VECTORS.read_bytes())
    prepare(settings())
    assert EMBEDDINGS.read_bytes() == before


def test_for_another_dimension_the_message_names_the_file_and_the_parameter() -> None:
    with pytest.raises(InputError, match=f"^download.vectors.url {URL}:1: .*5 numbers.*; set prepare.dimension: 5$"):
        prepare(settings(dimension=100))
