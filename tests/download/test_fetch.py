"""Downloads from a server on loopback that fails in a chosen way."""

import datetime
import hashlib
import itertools
import re
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sentiment.download import fetch as module
from sentiment.download.fetch import fetch
from sentiment.errors import MAX_MESSAGE_LENGTH, InputError
from tests.webserver import Answer, head, part_of, serving

CONTENT = bytes(range(256)) * 5000
MAX_BYTES = 10 * len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Server of CONTENT at any path, which records the requested ranges."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.faults: list[str] = []  # of the next requests, one each: "500", "404", "close", "no range", "wrong range"
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
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_is_named_by_its_checksum(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url, SHA256, tmp_path, MAX_BYTES)
    assert path == tmp_path / SHA256
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    fetch(server.url, SHA256, tmp_path, MAX_BYTES)
    fetch(server.url, SHA256, tmp_path, MAX_BYTES)
    assert len(server.ranges) == 1


def test_a_damaged_file_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / SHA256).write_bytes(CONTENT[:-1])
    assert fetch(server.url, SHA256, tmp_path, MAX_BYTES).read_bytes() == CONTENT


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.faults = ["close", "500"]
    assert fetch(server.url, SHA256, tmp_path, MAX_BYTES).read_bytes() == CONTENT
    half = f"bytes={len(CONTENT) // 2}-"
    assert server.ranges == [None, half, half]


def test_a_later_run_resumes_the_download_of_an_earlier_one(server: Server, tmp_path: Path) -> None:
    server.faults = ["close", "503", "503"]
    with pytest.raises(InputError, match=r"gave up after 3 attempts.*run the command again to resume"):
        fetch(server.url, SHA256, tmp_path, MAX_BYTES, attempts=3)
    assert not (tmp_path / SHA256).exists()
    assert fetch(server.url, SHA256, tmp_path, MAX_BYTES).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"


@pytest.mark.parametrize("fault", ["no range", "wrong range"])
def test_a_download_starts_over_if_the_server_ignores_the_range(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = ["close", fault]
    assert fetch(server.url, SHA256, tmp_path, MAX_BYTES).read_bytes() == CONTENT


def test_a_complete_partial_file_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA256}.part").write_bytes(CONTENT)
    assert fetch(server.url, SHA256, tmp_path, MAX_BYTES).read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_file_is_deleted(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA256}.part").write_bytes(CONTENT + b"more")
    with pytest.raises(InputError, match="sha256"):
        fetch(server.url, SHA256, tmp_path, MAX_BYTES)
    assert fetch(server.url, SHA256, tmp_path, MAX_BYTES).read_bytes() == CONTENT


def test_a_download_with_a_wrong_checksum_is_deleted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        fetch(server.url, "0" * 64, tmp_path, MAX_BYTES, parameter="download.imdb.sha256")
    assert str(caught.value) == (
        f"{server.url}: the sha256 must be {'0' * 64}; got {SHA256} (1,280,000 bytes); the download was deleted; "
        f"if this is the right file, set download.imdb.sha256: {SHA256}"
    )
    assert not list(tmp_path.iterdir())


def test_a_local_file_with_a_wrong_checksum_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "vectors.txt"
    source.write_bytes(CONTENT)
    with pytest.raises(InputError) as caught:
        fetch(source.as_uri(), "0" * 64, tmp_path / "store", MAX_BYTES, parameter="download.vectors.sha256")
    assert "your file is unchanged, only the copy was deleted" in str(caught.value)
    assert str(caught.value).endswith(f"if this is the right file, set download.vectors.sha256: {SHA256}")
    assert source.read_bytes() == CONTENT
    assert not list((tmp_path / "store").iterdir())


def test_status_404_is_not_retried(server: Server, tmp_path: Path) -> None:
    server.faults = ["404"]
    with pytest.raises(InputError, match="HTTP Error 404: Not Found"):
        fetch(server.url, SHA256, tmp_path, MAX_BYTES)
    assert len(server.ranges) == 1


def test_a_file_url_is_downloaded_like_an_http_url(tmp_path: Path) -> None:
    source = tmp_path / "a file.bin"
    source.write_bytes(CONTENT)
    assert fetch(source.as_uri(), SHA256, tmp_path / "store", MAX_BYTES).read_bytes() == CONTENT
    with pytest.raises(InputError, match="No such file"):
        fetch(source.as_uri() + "x", "0" * 64, tmp_path / "store", MAX_BYTES)


def test_the_error_names_an_unreachable_server(tmp_path: Path, server: Server) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1/.*gave up after 2 attempts"):
        fetch("http://127.0.0.1:1/x", SHA256, tmp_path, MAX_BYTES, attempts=2)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must start with https://"):
        fetch("ftp://example.org/x", SHA256, tmp_path, MAX_BYTES)


def slowly(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces slowly."""
    for piece in pieces:
        yield piece
        time.sleep(0.02)


def endless(piece: bytes, first: bytes = b"") -> Iterator[bytes]:
    return itertools.chain([first], itertools.repeat(piece))


def other_total(start: int) -> Iterable[bytes]:
    """Close the connection in the middle, then resume with a file of another length."""
    if not start:
        return [head(Content_Length=1000), bytes(500)]
    return [head("206 Partial Content", Content_Length=1, Content_Range=f"bytes {start}-{start}/{start + 1}"), b"x"]


WRONG_SUM = r"the sha256 must be \w{64}; got (\w{64}) \(10 bytes\); the download was deleted; .*: \1$"
GIVEN_UP = "gave up after 2 attempts: {}; the partial download is kept; run the command again to resume"
REFUSED = "cannot be downloaded: {}"
MEGABYTE = bytes(1 << 20)
CHUNK = b"100000\r\n" + MEGABYTE + b"\r\n"

# What the server sends at each request, the number of requests with two attempts, and the error.
FAULTS: dict[str, tuple[Answer, int, str]] = {
    "sends nothing": (lambda _: slowly([b""] * 1500), 2, GIVEN_UP.format("timed out")),
    "sends a byte at a time": (
        lambda _: slowly(endless(b"x", head(Content_Length=10**6))),
        2,
        GIVEN_UP.format(r"the server sent fewer than 1,000 bytes in 0\.3 seconds"),
    ),
    "closes the connection at once": (
        lambda _: [],
        2,
        GIVEN_UP.format("Remote end closed connection without response"),
    ),
    "closes the connection within the headers": (
        lambda _: [b"HTTP/1.1 200 OK\r\nContent"],
        2,
        GIVEN_UP.format("the server sent no content"),
    ),
    "closes the connection within the body": (
        lambda _: [head(Content_Length=20), bytes(10)],
        2,
        GIVEN_UP.format("the connection closed after 10 of 20 bytes"),
    ),
    "closes the connection within a chunk": (
        lambda _: [head(Transfer_Encoding="chunked"), b"ff\r\nabc"],
        2,
        GIVEN_UP.format(r"IncompleteRead\(\d+ bytes read.*\)"),
    ),
    "announces too few bytes": (lambda _: [head(Content_Length=10), CONTENT], 1, WRONG_SUM),
    "announces a length that is no number": (
        lambda _: [head(Content_Length="ten"), CONTENT],
        2,
        GIVEN_UP.format("Content-Length must be a number of bytes; the server sent 'ten'"),
    ),
    "announces a negative length": (
        lambda _: [head(Content_Length=-1), CONTENT],
        2,
        "the server sent '-1'; the partial",
    ),
    "announces a length of 4,000 digits": (
        lambda _: [head(Content_Length=10**4000)],
        2,
        r"the server sent '10+\.\.\.0+'; the",
    ),
    "announces too many bytes": (
        lambda _: [head(Content_Length=10**12)],
        1,
        REFUSED.format("the file has 1,000,000,000,000 bytes, more than 12,800,000; if this is the right file, raise"),
    ),
    "sends an endless body": (
        lambda _: endless(MEGABYTE, head()),
        1,
        REFUSED.format("the file has more than 12,800,000 bytes; if this is the right file, raise download.max_bytes"),
    ),
    "sends endless chunks": (
        lambda _: endless(CHUNK, head(Transfer_Encoding="chunked")),
        1,
        REFUSED.format("the file has more than 12,800,000 bytes; if this is the right file, raise download.max_bytes"),
    ),
    "sends an endless status line": (
        lambda _: endless(MEGABYTE),
        2,
        "got more than 65536 bytes when reading status line",
    ),
    "sends an endless header": (
        lambda _: endless(MEGABYTE, b"HTTP/1.1 200 OK\r\na: "),
        2,
        GIVEN_UP.format("got more than 65536 bytes when reading header line"),
    ),
    "sends endless headers": (
        lambda _: endless(b"a: b\r\n", b"HTTP/1.1 200 OK\r\n"),
        2,
        GIVEN_UP.format("got more than 100 headers"),
    ),
    "sends another protocol": (
        lambda _: [b"220 ftp\x1b[31m ready\r\n"],
        2,
        GIVEN_UP.format(r"220 ftp\\x1b\[31m ready.*"),
    ),
    "sends malformed headers": (lambda _: [b"HTTP/1.1 200 OK\r\n\0\xff\r\n: :\r\n\r\n", bytes(10)], 1, WRONG_SUM),
    "sends another file": (lambda _: [head(Content_Length=10), bytes(10)], 1, WRONG_SUM),
    "resumes with another file": (
        other_total,
        2,
        GIVEN_UP.format("the server announced a file of 1,000 bytes, and now 501"),
    ),
    "resumes at another byte": (
        lambda start: [part_of(CONTENT, 7 if start else 0), CONTENT[:10]],
        2,
        GIVEN_UP.format("the server must send the bytes from 10 on; it sent 'bytes 7-1279999/1280000'"),
    ),
    "sends status 404": (lambda _: [head("404 Not Found")], 1, REFUSED.format("HTTP Error 404: Not Found")),
    "sends status 416 without a partial file": (lambda _: [head("416 No")], 1, REFUSED.format("HTTP Error 416: No")),
    "sends status 204": (lambda _: [head("204 No Content")], 1, REFUSED.format("HTTP Error 204: No Content")),
    "sends status 500": (lambda _: [head("500 Oops")], 2, GIVEN_UP.format("HTTP Error 500: Oops")),
    "sends status 503": (lambda _: [head("503 Later")], 2, GIVEN_UP.format("HTTP Error 503: Later")),
    "sends control characters": (
        lambda _: [head("404 \x1b[2J\x85error: \x0call\x00 is well")],
        1,
        REFUSED.format(r"HTTP Error 404: \\x1b\[2J\\x85error: \\x0call\\x00 is well"),
    ),
    "sends a long reason": (lambda _: [head(f"404 {'no ' * 9999}")], 1, r"HTTP Error 404: (no )+n?o? \.\.\. "),
    "redirects in a circle": (
        lambda _: [head("302 Found", Location="/file.bin")],
        6,
        REFUSED.format("the server redirects more than 5 times, last to http://.*/file.bin"),
    ),
    "redirects with an endless body": (
        lambda _: endless(MEGABYTE, head("302 Found", Location="/file.bin")),
        6,
        REFUSED.format("the server redirects more than 5 times, last to http://.*/file.bin"),
    ),
    "redirects to a file": (
        lambda _: [head("302 Found", Location="file:///etc/passwd")],
        1,
        REFUSED.format("the server redirects to file:///etc/passwd, which is neither https:// nor http://"),
    ),
    "redirects to FTP": (
        lambda _: [head("301 Moved", Location="ftp://example.org/x")],
        1,
        REFUSED.format("the server redirects to ftp://example.org/x, which is neither https:// nor http://"),
    ),
    "redirects to a malformed URL": (
        lambda _: [head("307 Moved", Location="http://[")],
        1,
        REFUSED.format("Invalid IPv6 URL"),
    ),
    "redirects to a malformed port": (
        lambda _: [head("308 Moved", Location="http://a:b/")],
        1,
        REFUSED.format("nonnumeric .*"),
    ),
    "redirects without a location": (lambda _: [head("302 Found")], 1, REFUSED.format("HTTP Error 302: Found")),
}


def error_of(url: str, store: Path, timeout_seconds: float = 30.0) -> str:
    """Return the one-line error of a download with two attempts, and check that it took little memory."""
    tracemalloc.start()
    with pytest.raises(InputError) as caught:
        fetch(url, SHA256, store, MAX_BYTES, attempts=2, timeout_seconds=timeout_seconds)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) <= MAX_MESSAGE_LENGTH
    return line


@pytest.mark.parametrize(("answer", "requests", "line"), FAULTS.values(), ids=list(FAULTS))
def test_a_failure_of_the_server_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Answer, requests: int, line: str
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    with serving(answer) as server:
        # A short timeout only where the server never sends enough: this machine may be slow too.
        is_slow = "fewer than" in line or "timed out" in line
        assert re.search(line, error_of(server.url, tmp_path, 0.3 if is_slow else 30.0))
    assert len(server.starts) == requests
    assert not (tmp_path / SHA256).exists()


@pytest.mark.parametrize("answer", [FAULTS["sends an endless body"][0], FAULTS["sends another file"][0]])
def test_a_wrong_file_is_not_kept(tmp_path: Path, answer: Answer) -> None:
    with serving(answer) as server:
        error_of(server.url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_download_that_is_too_large_is_not_started(tmp_path: Path) -> None:
    (tmp_path / f"{SHA256}.part").write_bytes(CONTENT[:10])
    with serving(lambda start: [part_of(CONTENT, start), CONTENT[start:]]) as server:
        with pytest.raises(
            InputError,
            match=r"has 1,280,000 bytes, more than 1,279,999; if this is the right file, raise download\.max_bytes",
        ):
            fetch(server.url, SHA256, tmp_path, len(CONTENT) - 1)
        assert (tmp_path / f"{SHA256}.part").read_bytes() == CONTENT[:10]  # for a run with a higher limit
        assert fetch(server.url, SHA256, tmp_path, len(CONTENT)).read_bytes() == CONTENT
    assert server.starts == [10, 10]


def test_a_download_succeeds_if_the_announced_length_is_too_large(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    with serving(lambda start: [part_of(CONTENT, start, too_many=1), CONTENT[start:]]) as server:
        assert fetch(server.url, SHA256, tmp_path, MAX_BYTES).read_bytes() == CONTENT
    assert server.starts == [0, len(CONTENT)]


def test_a_slow_but_steady_download_succeeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted, clock = threading.Semaphore(0), itertools.count(step=5)

    def read_clock() -> float:
        """Return a time five seconds after the last one, and let the server send a piece."""
        wanted.release()
        return float(next(clock))

    def when_wanted(pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            wanted.acquire()
            yield piece

    monkeypatch.setattr("sentiment.download.http.time", SimpleNamespace(monotonic=read_clock))
    pieces = [CONTENT[start : start + 20_000] for start in range(0, len(CONTENT), 20_000)]
    with serving(lambda _: itertools.chain([head(Content_Length=len(CONTENT))], when_wanted(pieces))) as server:
        assert fetch(server.url, SHA256, tmp_path, MAX_BYTES, attempts=1, timeout_seconds=30).read_bytes() == CONTENT
    assert next(clock) > 10 * 30


def test_a_redirect_to_another_server_is_followed(tmp_path: Path) -> None:
    with (
        serving(lambda start: [part_of(CONTENT, start), CONTENT[start:]]) as other,
        serving(lambda _: [head("302 Found", Location=other.url)]) as server,
    ):
        assert fetch(server.url, SHA256, tmp_path, MAX_BYTES).read_bytes() == CONTENT


def self_signed_certificate(folder: Path) -> ssl.SSLContext:
    """Return the TLS context of a server with a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .add_extension(names, critical=False)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def test_an_untrusted_certificate_is_not_retried(tmp_path: Path) -> None:
    with serving(lambda _: [part_of(CONTENT, 0), CONTENT], self_signed_certificate(tmp_path)) as server:
        line = error_of(server.url, tmp_path)
    assert "cannot be downloaded: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed" in line
    assert not server.starts


@pytest.mark.slow
def test_the_minimum_rate_holds_over_https_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    context = self_signed_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    with serving(FAULTS["sends a byte at a time"][0], context) as server:
        line = error_of(server.url.replace("127.0.0.1", "localhost"), tmp_path, 3.0)  # time to shake hands
    assert "the server sent fewer than 1,000 bytes in 3 seconds" in line
