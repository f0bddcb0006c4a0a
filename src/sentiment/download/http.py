"""Open HTTP URLs whose servers may be slow, endless or hostile.

On its own, `urllib` has a timeout for each read of the socket, so a server that sends single bytes can keep it waiting
for ever. It also reads the whole body of a redirect, even an endless one, and follows redirects to FTP.
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

HTTP_SCHEMES = {"http", "https"}
REDIRECTS = {301, 302, 303, 307, 308}
MAX_REDIRECTS = 5
HEAD_BYTES = 1 << 20  # limit on status line and headers together
MIN_BYTES = 1000  # to be received within each timeout; with fewer, the server counts as silent


def open_url(url: str, headers: dict[str, str], max_bytes: int, timeout_seconds: float) -> Any:
    """Open an http, https or file URL and return the response, whatever its status (None for a file URL).

    Redirects are followed to http and https URLs, also of other hosts, but not to files. Reading the response raises
    TimeoutError if fewer than MIN_BYTES arrive within `timeout_seconds`, and ConnectionError if the server sends far
    more than a body of `max_bytes` needs.

    Raises OSError or HTTPException for failures that may be temporary, and ValueError for permanent ones.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.FileHandler(), _WebHandler(max_bytes)):
        opener.add_handler(handler)
    for _ in range(1 + MAX_REDIRECTS):
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_seconds)
        location = response.headers.get("Location")
        if response.status not in REDIRECTS or location is None:
            return response
        response.close()
        # A header is decoded as Latin-1, but a URL must be ASCII.
        url = urllib.parse.urljoin(url, urllib.parse.quote(location, string.punctuation, "latin-1"))
        if urllib.parse.urlsplit(url).scheme not in HTTP_SCHEMES:
            raise ValueError(f"the server redirects to {url}, which is neither https:// nor http://")
    raise ValueError(f"the server redirects more than {MAX_REDIRECTS} times, last to {url}")


class _WebHandler(urllib.request.AbstractHTTPHandler):
    """HTTP and HTTPS handler that returns a response of any status to the caller."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes = max_bytes

    def _connect(self, kind: type[http.client.HTTPConnection], host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        connection.response_class = partial(_Response, self.max_bytes)  # type: ignore[assignment]
        return connection

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request over HTTP."""
        return self.do_open(partial(self._connect, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request over HTTPS."""
        return self.do_open(partial(self._connect, http.client.HTTPSConnection), request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


class _Response(http.client.HTTPResponse):
    """HTTP response with a minimum rate and a maximum size, for status line and headers as well as the body."""

    def __init__(self, max_bytes: int, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.max_bytes = max_bytes
        self.steady = _MinimumRateReader(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.steady)

    def begin(self) -> None:
        """Read status line and headers, then set the limit for the body."""
        super().begin()
        self.steady.in_head = False
        self.steady.bytes_left = 2 * self.max_bytes + HEAD_BYTES  # twice, for the headers of chunked encoding


class _MinimumRateReader(io.RawIOBase):
    """Reader of a socket that enforces at least MIN_BYTES per timeout and at most `bytes_left` bytes in total."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self.raw, self.sock = raw, sock
        self.timeout_seconds = sock.gettimeout() or 0.0
        self.deadline = time.monotonic() + self.timeout_seconds
        self.bytes_since = 0
        self.in_head = True
        self.bytes_left = HEAD_BYTES

    def readable(self) -> bool:
        """Return True, as io.BufferedReader requires."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Read the available bytes into `buffer`; wait for the first one until the deadline."""
        now = time.monotonic()
        if self.bytes_since >= MIN_BYTES:
            self.bytes_since, self.deadline = 0, now + self.timeout_seconds
        # Positive even after the deadline: bytes that arrived while this process was busy still count.
        self.sock.settimeout(max(self.deadline - now, 0.001))
        try:
            count = self.raw.readinto(buffer) or 0
        except TimeoutError:
            least = f"{MIN_BYTES:,} bytes in {self.timeout_seconds:g} seconds"
            raise TimeoutError(f"the server sent fewer than {least}") from None
        if not count and self.in_head:  # http.client would take this for the end of the headers
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
