"""The download_vectors stage checks the first rows of a file, so that DVC caches no unreadable file."""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment.errors import InputError
from stages.download_vectors import download_vectors
from stages.params import Params, read_params
from stages.paths import VECTORS
from tests.conftest import write_glove

ROOT = Path(__file__).resolve().parent.parent


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def fetching(path: Path, sha256: str | None = None) -> Params:
    """Return parameters with the URL of a local file of vectors."""
    params = read_params(ROOT / "params.yaml")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if sha256 is None else sha256
    vectors = params.download.vectors.model_copy(update={"url": path.as_uri(), "sha256": sha256})
    download = params.download.model_copy(update={"vectors": vectors})
    source = params.vectors.model_copy(update={"source": "fetched"})
    return params.model_copy(update={"download": download, "vectors": source})


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the user's file, outside the folder in which the stage runs."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "mine.vec"


# Files that hold no readable vectors, and the cause that the user is told.
UNREADABLE_FILES = {
    "two spaces": (b"the  0.1 0.2 0.3\nfilm  0.4 0.5 0.6\n", ":1: .*two spaces in a row"),
    "gzip twice": (gzip.compress(gzip.compress(b"the 1 2 3\n")), ": is compressed twice; unpack it once, with gunzip"),
    "a zip file of a folder": (zipped({"vec/": b""}), ": must contain one file, or one file named"),
    "a zip file of bytes": (zipped({"vec/glove.bin": bytes(99)}), ": vec/glove.bin: is a binary file; it must be text"),
    "a damaged zip file": (b"PK\x03\x04", ": the archive is damaged or truncated"),
    "nothing": (b"", ": contains no vectors"),
}


@pytest.mark.parametrize(("content", "cause"), UNREADABLE_FILES.values(), ids=list(UNREADABLE_FILES))
def test_an_unreadable_file_is_refused_with_the_parameter_and_the_url(source: Path, content: bytes, cause: str) -> None:
    source.write_bytes(content)
    with pytest.raises(InputError, match=f"^download.vectors.url {source.as_uri()}{cause}"):
        download_vectors(fetching(source))
    assert not VECTORS.exists()
    assert source.read_bytes() == content


@pytest.mark.parametrize("dimension", [50, 300])
def test_vectors_of_any_dimension_are_accepted(source: Path, dimension: int) -> None:
    download_vectors(fetching(write_glove(source, dimension)))
    assert VECTORS.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_what_fasttext_writes_is_accepted_gzipped_or_not(source: Path, compress: Callable[[bytes], bytes]) -> None:
    source.write_bytes(compress(b"2 3\nthe 0.1 0.2 0.3 \nfilm 0.4 0.5 0.6 \n"))
    download_vectors(fetching(source))
    assert VECTORS.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("other", ["vec/", "__MACOSX/._glove.txt"])
def test_a_zip_file_with_one_text_is_accepted(source: Path, other: str) -> None:
    source.write_bytes(zipped({"vec/glove.txt": b"the 1 2 3\n", other: b"the 1 2 3\n"[: not other.endswith("/")]}))
    download_vectors(fetching(source))
    assert VECTORS.read_bytes() == source.read_bytes()


def test_a_wrong_checksum_is_reported_and_the_users_file_is_kept(source: Path) -> None:
    source.write_bytes(b"the 1 2 3\n")
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=f"your file is unchanged.*set download.vectors.sha256: {found}$"):
        download_vectors(fetching(source, sha256="0" * 64))
    assert source.exists()


def test_nothing_is_downloaded_for_trained_vectors(source: Path) -> None:
    params = fetching(write_glove(source))
    download_vectors(params.model_copy(update={"vectors": params.vectors.model_copy(update={"source": "trained"})}))
    assert VECTORS.read_text() == "vectors.source is trained: no vectors were downloaded\n"
