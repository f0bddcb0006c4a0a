"""Fetch a remote file that is known by its content: the checksum says what, the address only where."""

import errno
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

from sentiment.errors import InputError
from sentiment.files import sha256_of

CHUNK_BYTES = 1 << 20
PAUSE_SECONDS = 1.0  # before the second attempt; it doubles from there
RETRYABLE_STATUS = {408, 429, 500, 502, 503, 504}


def fetch(url: str, sha256: str, store: Path, attempts: int = 5, timeout_seconds: float = 30.0) -> Path:
    """Return `store/<sha256>`, downloading it from an http, https or file address if it is not there.

    A download that breaks off is kept as `<sha256>.part` and continued, in this run or a later one. It is tried
    `attempts` times, with pauses that double, and takes its name only when the bytes match.

    Raises InputError for an address that cannot be read, a server that refuses, and bytes that do not match.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in {"http", "https", "file"}:
        raise InputError(f"{url}: the address must start with https://, http:// or file:///")
    target, partial = store / sha256, store / f"{sha256}.part"
    if target.exists() and sha256_of(target) == sha256:
        return target
    store.mkdir(parents=True, exist_ok=True)
    for attempt in range(attempts):
        try:
            _continue_download(url, partial, timeout_seconds)
            break
        except (OSError, http.client.HTTPException) as error:
            if not _is_passing(error):
                raise InputError(f"{url}: cannot be fetched: {_reason(error)}") from error
            if attempt + 1 == attempts:
                advice = "what arrived is kept, run again to go on"
                raise InputError(f"{url}: gave up after {attempts} attempts: {_reason(error)}; {advice}") from error
            time.sleep(PAUSE_SECONDS * 2**attempt)
    found = sha256_of(partial)
    if found != sha256:
        size = partial.stat().st_size
        partial.unlink()
        raise InputError(f"{url}: its sha256 must be {sha256}; got {found} ({size:,} bytes), which was thrown away")
    partial.replace(target)
    return target


def _continue_download(url: str, partial: Path, timeout_seconds: float) -> None:
    """Append to `partial` what is still missing, or start it anew where the server cannot continue."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout_seconds)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing is left to send: the part is the whole file, which its checksum will tell, or not this file at all.
        return
    with response:
        continues = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if continues and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ConnectionError("the server sent another range than the one asked for")
        start = have if continues else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        name = Path(urllib.parse.urlsplit(url).path).name
        with (
            partial.open("ab" if continues else "wb") as file,
            tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
            if total is not None and file.tell() < total:
                raise ConnectionError(f"the connection closed after {file.tell():,} of {total:,} bytes")


def _is_passing(error: Exception) -> bool:
    """Tell whether another attempt may succeed."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in RETRYABLE_STATUS
    if isinstance(error, urllib.error.URLError):
        # A missing local file stays missing; a name that does not resolve or a refused connection may come back.
        return not isinstance(error.reason, FileNotFoundError | IsADirectoryError | PermissionError | str)
    return not (isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EACCES, errno.EROFS})


def _reason(error: Exception) -> str:
    """Return what went wrong; of a URLError, which is only a wrapper, what it wraps."""
    cause = error.reason if type(error) is urllib.error.URLError else error
    return str(cause) or type(cause).__name__
