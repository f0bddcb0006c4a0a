"""Download a file identified by its sha256; the URL only says where to look.

A server may be slow, drop the connection, announce one length and send another, or send an endless stream. Each
download has a fixed number of attempts, bounded in bytes and in time without progress; if all fail, the error reports
the cause of the last failure in one line.
"""

import errno
import http.client
import time
import urllib.parse
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.error import URLError

from tqdm import tqdm

from sentiment.download.http import HTTP_SCHEMES, check_status, open_url, read_chunks, read_extent
from sentiment.errors import InputError
from sentiment.storage.outputs import is_disk_full, sha256_of

PAUSE_SECONDS = 1.0  # before the second attempt; each further pause is twice as long

# Permanent failures, which are not retried. Malformed URLs and untrusted certificates raise subclasses of ValueError;
# urllib gives some reasons as plain strings.
PERMANENT_ERRORS = (ValueError, http.client.InvalidURL, FileNotFoundError, IsADirectoryError, PermissionError, str)


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

    An interrupted download is kept as `<sha256>.part` and resumed, in this run or a later one. There are up to
    `attempts` attempts, with exponential backoff, and the file gets its final name only if its checksum matches. An
    attempt ends when the server sends nothing, or next to nothing, for `timeout_seconds`.

    Raises InputError for an unsupported or unreadable URL, an HTTP error, a file of more than `max_bytes`, a full disk
    and a wrong checksum; `parameter` names the checksum in that last message.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in HTTP_SCHEMES | {"file"}:
        raise InputError(f"{url}: the URL must start with https://, http:// or file:///")
    target, download = store / sha256, _Download(url, store / f"{sha256}.part", max_bytes, timeout_seconds)
    if target.exists() and sha256_of(target) == sha256:
        return target
    store.mkdir(parents=True, exist_ok=True)
    _download_with_retries(download, attempts)
    found = sha256_of(download.partial)
    if found != sha256:
        size = download.partial.stat().st_size
        download.partial.unlink()
        kept = "your file is unchanged, only the copy was deleted" if scheme == "file" else "the download was deleted"
        raise InputError(
            f"{url}: the sha256 must be {sha256}; got {found} ({size:,} bytes); {kept}; "
            f"if this is the right file, set {parameter}: {found}"
        )
    download.partial.replace(target)
    return target


@dataclass
class _Download:
    """Download in progress."""

    url: str
    partial: Path
    max_bytes: int
    timeout_seconds: float
    size: int | None = None  # of the whole file in bytes, once the server has announced it

    def resume(self) -> None:
        """Append the missing bytes to `partial`, or start over if the server ignores the requested range."""
        have = self.partial.stat().st_size if self.partial.exists() else 0
        advice = "if this is the right file, raise download.max_bytes"
        with open_url(self.url, have, self.timeout_seconds) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                return  # the server has no further bytes; the checksum will tell whether the file is right
            check_status(response)
            start, size = read_extent(response, have)
            if size is not None:
                if self.size not in (None, size):
                    raise ConnectionError(f"the server announced a file of {self.size:,} bytes, and now {size:,}")
                if size > self.max_bytes:
                    raise ValueError(f"the file has {size:,} bytes, more than {self.max_bytes:,}; {advice}")
                self.size = size
            name = Path(urllib.parse.urlsplit(self.url).path).name
            with (
                self.partial.open("ab" if start else "wb") as file,
                tqdm(desc=name, total=size, initial=start, unit="B", unit_scale=True, disable=None) as bar,
            ):
                for chunk in read_chunks(response, self.timeout_seconds):
                    if file.tell() + len(chunk) > self.max_bytes:
                        self.partial.unlink()
                        raise ValueError(f"the file has more than {self.max_bytes:,} bytes; {advice}")
                    file.write(chunk)
                    file.flush()  # a killed process resumes from the last flushed byte
                    bar.update(len(chunk))
                if size is not None and file.tell() < size:
                    raise ConnectionError(f"the connection closed after {file.tell():,} of {size:,} bytes")
                if size is None and not file.tell():
                    raise ConnectionError("the server sent no content")


def _download_with_retries(download: _Download, attempts: int) -> None:
    """Resume a download until it succeeds; raise InputError after a permanent failure or the last attempt."""
    kept = "the partial download is kept"
    for attempt in range(attempts):
        try:
            download.resume()
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            if is_disk_full(error):
                size = "" if download.size is None else f"; the file has {download.size:,} bytes"
                advice = f"{kept}; free some space and run the command again to resume"
                raise InputError(f"{download.partial}: the disk is full{size}; {advice}") from error
            cause = error.reason if isinstance(error, URLError) else error  # URLError is only a wrapper
            reason = str(cause) or type(cause).__name__
            if not _is_retryable(cause):
                raise InputError(f"{download.url}: cannot be downloaded: {reason}") from error
            if attempt + 1 == attempts:
                advice = f"{kept}; run the command again to resume"
                raise InputError(f"{download.url}: gave up after {attempts} attempts: {reason}; {advice}") from error
            time.sleep(PAUSE_SECONDS * 2**attempt)


def _is_retryable(cause: object) -> bool:
    """Tell whether another attempt may succeed."""
    if isinstance(cause, OSError) and cause.errno == errno.EROFS:
        return False
    return not isinstance(cause, PERMANENT_ERRORS)
