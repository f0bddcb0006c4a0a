"""Open and read http, https and file URLs.

Built on `urllib`, which knows proxies, the system's certificates and file URLs. Added here: redirects never lead to
files or FTP, and their bodies are not read; a server that sends a byte a minute counts as silent.
"""

import re
import string
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from sentiment.errors import abbreviated

HTTP_SCHEMES = {"http", "https"}
REDIRECT_STATUS = {301, 302, 303, 307, 308}
RETRYABLE_STATUS = {408, 429, 500, 502, 503, 504}
MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 20
MIN_BYTES = 1000  # to be received within each timeout; with fewer, the server counts as silent


def open_url(url: str, start: int, timeout_seconds: float) -> Any:
    """Request a file from byte `start` on and return the response, whatever its status (None for a file URL).

    Redirects are followed to http and https URLs, also of other hosts. Raises OSError or HTTPException for failures
    that may be temporary, and ValueError for permanent ones.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    opener = urllib.request.OpenerDirector()  # without the default handlers of redirects and errors
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.FileHandler(),
    ):
        opener.add_handler(handler)
    for _ in range(1 + MAX_REDIRECTS):
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_seconds)
        location = response.headers.get("Location")
        if response.status not in REDIRECT_STATUS or location is None:
            return response
        response.close()
        # A header is decoded as Latin-1, but a URL must be ASCII.
        url = urllib.parse.urljoin(url, urllib.parse.quote(location, string.punctuation, "latin-1"))
        if urllib.parse.urlsplit(url).scheme not in HTTP_SCHEMES:
            raise ValueError(f"the server redirects to {url}, which is neither https:// nor http://")
    raise ValueError(f"the server redirects more than {MAX_REDIRECTS} times, last to {url}")


def check_status(response: Any) -> None:
    """Raise ConnectionError for a status that may be temporary, and ValueError for any other failure."""
    if response.status not in {None, HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:  # None: a file URL
        error = ConnectionError if response.status in RETRYABLE_STATUS else ValueError
        raise error(f"HTTP Error {response.status}: {response.reason}")


def read_extent(response: Any, start: int) -> tuple[int, int | None]:
    """Return the position in the file at which the response starts, 0 or `start`, and the file's size if announced.

    Raises ConnectionError for malformed headers and for another range than the requested one.
    """
    length = response.headers.get("Content-Length")
    if length is not None and not re.fullmatch("[0-9]{1,18}", length):
        raise ConnectionError(f"Content-Length must be a number of bytes; the server sent {abbreviated(length)}")
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, None if length is None else int(length)
    extent = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", extent)
    if not found or int(found[1]) != start or length not in (None, str(int(found[2]) + 1 - start)):
        raise ConnectionError(f"the server must send the bytes from {start} on; it sent {abbreviated(extent)}")
    return start, int(found[2]) + 1 if found[3] == "*" else int(found[3])


def read_chunks(response: Any, timeout_seconds: float) -> Iterator[bytes]:
    """Yield the body as it arrives; raise TimeoutError for fewer than MIN_BYTES within `timeout_seconds`."""
    received, deadline = 0, time.monotonic() + timeout_seconds
    while chunk := response.read1(CHUNK_BYTES):  # read would wait for a full chunk
        yield chunk
        received, now = received + len(chunk), time.monotonic()
        if received >= MIN_BYTES:
            received, deadline = 0, now + timeout_seconds
        elif now > deadline:
            raise TimeoutError(f"the server sent fewer than {MIN_BYTES:,} bytes in {timeout_seconds:g} seconds")
