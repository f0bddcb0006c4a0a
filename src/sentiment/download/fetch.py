"""Download a file identified by its sha256; the URL only says where to look.

No server is trusted: a server may be slow, drop the connection, announce one length and send another, or send an
endless stream. Each download has a fixed number of attempts, bounded in time and bytes; if all fail, the error reports
the cause of the last failure in one line.
"""

import errno
import http.client
import re
import time
import urllib.error
import urllib.parse
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sentiment.download.http import HTTP_SCHEMES, open_url
from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import is_disk_full, sha256_of

CHUNK_BYTES = 1 << 20
PAUSE_SECONDS = 1.0  # before the second attempt; each further pause is twice as long
RETRYABLE_STATUS = {408, 429, 500, 502, 503, 504}

# Permanent failures, which are not retried. Malformed URLs and untrusted certificates raise subclasses of ValueError.
PERMANENT_ERRORS = (ValueError, http.client.InvalidURL, FileNotFoundError, IsADirectoryError, PermissionError)


def fetch(
    url: str,
    sha256: str,
    store: Path,
    max_bytes: int,
    attempts: int = 5,
    timeout_seconds: float = 30.0,
    parameter: str = "the sha256",
) -> Path:
    """Return `store/<sha256>`, downloading the file from an http, https or file URL unless it is already there.

    An interrupted download is kept as `<sha256>.part` and continued, in this run or a later one. There are up to
    `attempts` attempts, with exponential backoff, and the file gets its final name only if its checksum matches. An
    attempt ends when the server sends nothing, or next to nothing, for `timeout_seconds`.

    Raises InputError for an unsupported or unreadable URL, an HTTP error, a file of more than `max_bytes`, a full disk
    and a wrong checksum; `parameter` names the checksum in that last message.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in HTTP_SCHEMES | {"file"}:
        raise InputError(f"{url}: the address must start with https://, http:// or file:///")
    target, download = store / sha256, _Download(url, store / f"{sha256}.part", max_bytes, timeout_seconds)
    if target.exists() and sha256_of(target) == sha256:
        return target
    store.mkdir(parents=True, exist_ok=True)
    for attempt in range(attempts):
        try:
            download.resume()
            break
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error  # URLError is only a wrapper
            if is_disk_full(error):
                whole = "" if download.total is None else f"; the file has {download.total:,} bytes"
                advice = "what arrived is kept, make room and run again to go on"
                raise InputError(f"{download.partial}: the disk is full{whole}; {advice}") from error
            reason = str(cause) or type(cause).__name__
            if not _is_retryable(cause):
                raise InputError(f"{url}: cannot be fetched: {reason}") from error
            if attempt + 1 == attempts:
                advice = "what arrived is kept, run again to go on"
                raise InputError(f"{url}: gave up after {attempts} attempts: {reason}; {advice}") from error
            time.sleep(PAUSE_SECONDS * 2**attempt)
    found = sha256_of(download.partial)
    if found != sha256:
        size = download.partial.stat().st_size
        download.partial.unlink()
        kept = "your file is untouched, the copy of it was removed" if scheme == "file" else "the download was removed"
        raise InputError(
            f"{url}: its sha256 must be {sha256}; got {found} ({size:,} bytes); {kept}; "
            f"if this is the right file, set {parameter}: {found}"
        )
    download.partial.replace(target)
    return target


def _is_retryable(cause: object) -> bool:
    """Tell whether another attempt may succeed."""
    if isinstance(cause, OSError) and cause.errno == errno.EROFS:
        return False
    return not isinstance(cause, (*PERMANENT_ERRORS, str))  # urllib gives some reasons as plain strings


@dataclass
class _Download:
    """Download in progress."""

    url: str
    partial: Path
    max_bytes: int
    timeout_seconds: float
    total: int | None = None  # size of the file in bytes, once the server has announced one

    def resume(self) -> None:
        """Append the missing bytes to `partial`, or start over if the server ignores the requested range."""
        have = self.partial.stat().st_size if self.partial.exists() else 0
        advice = "raise download.max_bytes if that is right"
        headers = {"Range": f"bytes={have}-"} if have else {}
        with open_url(self.url, headers, self.max_bytes, self.timeout_seconds) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                return  # the server has no further bytes; the checksum will tell whether the file is right
            _check_status(response)
            start, total = _read_extent(response, have)
            if total is not None:
                if self.total not in (None, total):
                    raise ConnectionError(f"the server said that the file has {self.total:,} bytes, and now {total:,}")
                if total > self.max_bytes:
                    raise ValueError(f"the file has {total:,} bytes, more than {self.max_bytes:,}; {advice}")
                self.total = total
            name = Path(urllib.parse.urlsplit(self.url).path).name
            with (
                self.partial.open("ab" if start else "wb") as file,
                tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar,
            ):
                while chunk := response.read1(CHUNK_BYTES):  # read would wait for a full chunk
                    if file.tell() + len(chunk) > self.max_bytes:
                        self.partial.unlink()
                        raise ValueError(f"the file has more than {self.max_bytes:,} bytes; {advice}")
                    file.write(chunk)
                    file.flush()  # a killed process resumes from the last flushed byte
                    bar.update(len(chunk))
                if total is not None and file.tell() < total:
                    raise ConnectionError(f"the connection closed after {file.tell():,} of {total:,} bytes")


def _check_status(response: Any) -> None:
    if response.status not in {None, HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:  # None: a file URL
        error = ConnectionError if response.status in RETRYABLE_STATUS else ValueError
        raise error(f"HTTP Error {response.status}: {response.reason}")


def _read_extent(response: Any, have: int) -> tuple[int, int | None]:
    """Return the position in the file, in bytes, at which the response starts, and the file's size if announced."""
    length = response.headers.get("Content-Length")
    if length is not None and not re.fullmatch("[0-9]{1,18}", length):
        raise ConnectionError(f"Content-Length must be a number of bytes; the server sent {abbreviated(length)}")
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, None if length is None else int(length)
    extent = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", extent)
    if not found or int(found[1]) != have or length not in (None, str(int(found[2]) + 1 - have)):
        raise ConnectionError(f"the server sent another range than the one asked for, {have}-: {abbreviated(extent)}")
    return have, int(found[2]) + 1 if found[3] == "*" else int(found[3])
