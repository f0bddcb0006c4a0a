"""The download_corpus stage reads the user's own file from a URL as it reads a local one."""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from sentiment.corpora.reviews import COLUMNS, read_corpus
from sentiment.download import fetch
from sentiment.errors import InputError
from stages.download_corpus import download_corpus
from stages.params import Params, read_params
from stages.paths import CORPUS, DOWNLOADS
from tests.conftest import write_own_csv
from tests.webserver import head, part_of, serving

ROOT = Path(__file__).resolve().parent.parent


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("any name", content)
    return buffer.getvalue()


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return a CSV file's content, and run the stage in a folder that has no such file."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setattr(fetch, "PAUSE_SECONDS", 0.001)
    return write_own_csv(tmp_path / "mine.csv").read_bytes()


def reading(**changes: object) -> Params:
    """Return parameters that read the columns of `write_own_csv`, with other changes to download.custom."""
    params = read_params(ROOT / "params.yaml")
    columns = {"text_column": "comment", "label_column": "verdict", "labels": ["bad", "good"]}
    custom = params.download.custom.model_copy(update={"path": "none.csv", **columns, **changes})
    return params.model_copy(
        update={"download": params.download.model_copy(update={"corpus": "custom", "custom": custom})}
    )


def fetching(url: str, content: bytes, name: str = "mine.csv") -> Params:
    """Return parameters that fetch the content from the folder of a URL under another name."""
    return reading(url=f"{url.rpartition('/')[0]}/{name}?download=true", sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("name", "pack"), [("mine.csv", bytes), ("mine.CSV.gz", gzip.compress), ("mine.csv.zip", zipped)]
)
def test_the_name_at_the_end_of_the_url_says_what_the_file_holds(
    content: bytes, name: str, pack: Callable[[bytes], bytes]
) -> None:
    without_ids = [column for column in COLUMNS if column != "id"]
    download_corpus(reading(path="../mine.csv"))
    from_path = read_corpus(CORPUS, without_ids)
    CORPUS.unlink()
    packed = pack(content)
    with serving(lambda start: [part_of(packed, start), packed[start:]]) as server:
        for _ in range(2):
            download_corpus(fetching(server.url, packed, name))
            assert read_corpus(CORPUS, without_ids) == from_path
            assert read_corpus(CORPUS, ["id"])["id"][0] == f"{name}:2"
        assert server.starts == [0]  # the second run finds the file


def test_an_interrupted_download_is_resumed(content: bytes) -> None:
    half = len(content) // 2

    def answer(start: int) -> Iterable[bytes]:
        return [part_of(content, start), content[start:] if start else content[:half]]

    with serving(answer) as server:
        download_corpus(fetching(server.url, content))
    assert server.starts == [0, half]
    assert CORPUS.exists()


def test_a_wrong_checksum_is_reported_with_its_parameter(content: bytes) -> None:
    found = hashlib.sha256(content).hexdigest()
    with (
        serving(lambda start: [head(), content]) as server,
        pytest.raises(InputError, match=f"set download.custom.sha256: {found}$"),
    ):
        download_corpus(fetching(server.url, b"another file"))
    assert not CORPUS.exists()


def test_a_file_with_too_many_bytes_is_refused(content: bytes) -> None:
    with serving(lambda start: [head(), content]) as server:
        params = fetching(server.url, content)
        download = params.download.model_copy(update={"max_bytes": len(content) - 1})
        with pytest.raises(InputError, match=r"raise download\.max_bytes"):
            download_corpus(params.model_copy(update={"download": download}))


def test_a_mistake_in_the_file_is_reported_with_a_file_that_can_be_opened(content: bytes) -> None:
    content += b"One more review,fine,A film\n"
    with (
        serving(lambda start: [head(), content]) as server,
        pytest.raises(InputError, match=rf"^{DOWNLOADS}/custom/mine\.csv:\d+: verdict must be one of bad, good; got"),
    ):
        download_corpus(fetching(server.url, content))
    assert (DOWNLOADS / "custom/mine.csv").read_bytes() == content
