"""Open addresses of the web whose servers may be slow, endless or hostile.

`urllib` alone bounds the wait for each piece of a response, and so waits for ever for one that comes byte by byte. It
reads what comes with a redirection, without end if that has none, and follows it to FTP.
"""

import http.client
import io
import socket
import string
import time
import urllib.parse
import urllib.request
from functools import partial
from typing import Any

WEB = {"http", "https"}
REDIRECTS = {301, 302, 303, 307, 308}
MOST_REDIRECTS = 5
HEAD_BYTES = 1 << 20  # the most of status line and headers
LEAST_BYTES = 1000  # within each timeout, or the server counts as silent


def open_address(url: str, headers: dict[str, str], most_bytes: int, timeout_seconds: float) -> Any:
    """Open an http, https or file address, and return the response, whatever its status (a file's is None).

    A redirection is followed to another server, but not to a file. Reading raises TimeoutError when fewer than
    LEAST_BYTES come within `timeout_seconds`, and ConnectionError when far more comes than `most_bytes` of a body need.

    Raises OSError or HTTPException for what may pass, and ValueError for what stays as it is.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.FileHandler(), _WebHandler(most_bytes)):
        opener.add_handler(handler)
    for _ in range(1 + MOST_REDIRECTS):
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_seconds)
        location = response.headers.get("Location")
        if response.status not in REDIRECTS or location is None:
            return response
        response.close()
        # A header is Latin-1, an address ASCII.
        url = urllib.parse.urljoin(url, urllib.parse.quote(location, string.punctuation, "latin-1"))
        if urllib.parse.urlsplit(url).scheme not in WEB:
            raise ValueError(f"the server redirects to {url}, which is neither https:// nor http://")
    raise ValueError(f"the server redirects more than {MOST_REDIRECTS} times, last to {url}")


class _WebHandler(urllib.request.AbstractHTTPHandler):
    """Opens addresses of the web, and leaves all statuses to the caller."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self.most_bytes = most_bytes

    def _connect(self, kind: type[http.client.HTTPConnection], host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        connection.response_class = partial(_Response, self.most_bytes)  # type: ignore[assignment]
        return connection

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Ask a server."""
        return self.do_open(partial(self._connect, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Ask a server that has a certificate."""
        return self.do_open(partial(self._connect, http.client.HTTPSConnection), request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


class _Response(http.client.HTTPResponse):
    """A response that comes steadily and within bounds, its head included."""

    def __init__(self, most_bytes: int, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.most_bytes = most_bytes
        self.steady = _SteadyReader(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.steady)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self.steady.in_head = False
        self.steady.bytes_left = 2 * self.most_bytes + HEAD_BYTES  # chunks have heads, too


class _SteadyReader(io.RawIOBase):
    """The bytes of a connection, as long as LEAST_BYTES of them come within each timeout, and no more than allowed."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self.raw, self.sock = raw, sock
        self.timeout_seconds = sock.gettimeout() or 0.0
        self.deadline = time.monotonic() + self.timeout_seconds
        self.bytes_since = 0
        self.in_head = True
        self.bytes_left = HEAD_BYTES

    def readable(self) -> bool:
        """Be read by a buffer."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Read what is there, or wait for it until the deadline."""
        now = time.monotonic()
        if self.bytes_since >= LEAST_BYTES:
            self.bytes_since, self.deadline = 0, now + self.timeout_seconds
        self.sock.settimeout(max(self.deadline - now, 0.001))  # what has come is read, however late we are ourselves
        try:
            count = self.raw.readinto(buffer) or 0
        except TimeoutError:
            least = f"{LEAST_BYTES:,} bytes in {self.timeout_seconds:g} seconds"
            raise TimeoutError(f"the server sent fewer than {least}") from None
        if not count and self.in_head:  # http.client would take it for the end of the headers
            raise ConnectionError("the connection closed within the headers")
        self.bytes_since += count
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise ConnectionError("the server sends without end")
        return count

    def close(self) -> None:
        """Close the connection."""
        self.raw.close()
        super().close()
