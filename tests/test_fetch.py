"""Downloads from a real server on loopback that misbehaves on order."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sentiment import fetch as module
from sentiment.errors import InputError
from sentiment.fetch import fetch

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at any path, and remembers the ranges it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.faults: list[str] = []  # one is used up by each request: "500", "404", "close", "no range", "wrong range"
        self.url = f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and fault != "no range" else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if start:
            first = 0 if fault == "wrong range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(CONTENT[start : len(CONTENT) // 2 if fault == "close" else None])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_takes_its_checksum_as_its_name(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url, SHA256, tmp_path)
    assert path == tmp_path / SHA256
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_already_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch(server.url, SHA256, tmp_path)
    fetch(server.url, SHA256, tmp_path)
    assert len(server.ranges) == 1


def test_what_is_there_but_damaged_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / SHA256).write_bytes(CONTENT[:-1])
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT


def test_a_broken_download_is_continued_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.faults = ["close", "500"]
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT
    half = f"bytes={len(CONTENT) // 2}-"
    assert server.ranges == [None, half, half]


def test_a_later_run_continues_what_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    server.faults = ["close", "503", "503"]
    with pytest.raises(InputError, match=r"gave up after 3 attempts.*run again to go on"):
        fetch(server.url, SHA256, tmp_path, attempts=3)
    assert not (tmp_path / SHA256).exists()
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"


@pytest.mark.parametrize("fault", ["no range", "wrong range"])
def test_a_server_that_cannot_continue_is_not_believed(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = ["close", fault]
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_the_whole_file_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA256}.part").write_bytes(CONTENT)
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA256}.part").write_bytes(CONTENT + b"more")
    with pytest.raises(InputError, match="sha256"):
        fetch(server.url, SHA256, tmp_path)
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT


def test_other_bytes_never_take_the_name(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"sha256 must be {'0' * 64}; got {SHA256}"):
        fetch(server.url, "0" * 64, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path) -> None:
    server.faults = ["404"]
    with pytest.raises(InputError, match="HTTP Error 404: Not Found"):
        fetch(server.url, SHA256, tmp_path)
    assert len(server.ranges) == 1


def test_a_local_file_works_like_a_remote_one(tmp_path: Path) -> None:
    source = tmp_path / "a file.bin"
    source.write_bytes(CONTENT)
    assert fetch(source.as_uri(), SHA256, tmp_path / "store").read_bytes() == CONTENT
    with pytest.raises(InputError, match="No such file"):
        fetch(source.as_uri() + "x", "0" * 64, tmp_path / "store")


def test_an_unreachable_server_is_named(tmp_path: Path, server: Server) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1/.*gave up after 2 attempts"):
        fetch("http://127.0.0.1:1/x", SHA256, tmp_path, attempts=2)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must start with https://"):
        fetch("ftp://example.org/x", SHA256, tmp_path)
