"""Read untrusted tar, zip and gzip archives within limits on memory and size; nothing is unpacked to disk."""

import gzip
import io
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from sentiment.errors import InputError, abbreviated

READ_BYTES = 1 << 18
MAX_TEXT_BYTES = 1 << 24  # of a single text, which is read into memory
MAX_TEXTS_BYTES = 1 << 29  # of all texts of an archive together
MAX_HEADER_BYTES = 1 << 16  # of all headers of a tar member together; a path has at most 4,096 bytes on Linux
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # zipfile bounds its output per read only for these
IS_ENCRYPTED = 1  # flag bit in a zip directory entry

# Exceptions for damaged archives: tarfile and zipfile have their own for the damage that they recognize; a wrong
# number, offset or format version in the file raises any of the others.
ARCHIVE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ArithmeticError,
    LookupError,
    ValueError,
    RuntimeError,
)


@dataclass(frozen=True)
class Limits:
    """Upper bounds on an archive; each method raises InputError if its bound is exceeded."""

    members: int  # number of members, folders included
    member_bytes: int  # unpacked size of a single member
    unpacked_bytes: int  # total size of the data read from the archive

    def check_members(self, archive: Path, count: int) -> None:
        """Check the number of members."""
        if count > self.members:
            raise _over_limit(archive, f"holds more than {self.members:,} members", "members")

    def check_member(self, archive: Path, name: str, size: int) -> None:
        """Check the unpacked size of a member."""
        if size > self.member_bytes:
            found = f"the member {abbreviated(name)} has more than {self.member_bytes:,} bytes"
            raise _over_limit(archive, found, "member_bytes")

    def check_unpacked(self, archive: Path, size: int) -> None:
        """Check the total size of the data read."""
        if size > self.unpacked_bytes:
            raise _over_limit(archive, f"unpacks to more than {self.unpacked_bytes:,} bytes", "unpacked_bytes")


def tar_texts(archive: Path, wanted: re.Pattern[str], limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each file of a `.tar.gz` whose name matches `wanted`, in archive order.

    The name is the path below the archive's top folder, and the text is UTF-8. The content of other files is skipped.

    Raises InputError for an archive that is damaged, truncated or over its limits, and for a member that is neither a
    file nor a folder, whose path leads out of the archive's folder, or whose name or text is not UTF-8.
    """
    with (
        gzip.open(archive) as file,
        _TarStream(file, READ_BYTES) as stream,
        _reporting_damage(archive),
        tarfile.TarFile(fileobj=stream, tarinfo=_TarMember, encoding="utf-8", errors="surrogateescape") as tar,
    ):
        for count, member in enumerate(iter(tar.next, None), 1):
            limits.check_members(archive, count)
            name = _safe_name(archive, member)
            if member.isfile():
                if not 0 <= member.size <= tar.offset - member.offset_data:  # tarfile would seek backwards
                    raise tarfile.ReadError(f"a member of {member.size:,} bytes")
                limits.check_member(archive, member.name, member.size)
                limits.check_unpacked(archive, member.offset_data + member.size)
                if wanted.fullmatch(name):
                    yield name, _read_text(archive, stream, member)
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all headers in memory
            stream.header_bytes = 0
        while stream.read_content(READ_BYTES):  # read up to gzip's checksum
            limits.check_unpacked(archive, stream.tell())


class _TarStream(io.BufferedReader):
    """Decompressed tar file, through which tarfile reads headers and this module reads contents.

    tarfile on its own reads headers of any size and depth into memory, which a small file can expand to.
    """

    header_bytes = 0  # read since the last member
    text_bytes = 0  # of all texts read

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes of a header; raise ReadError once a member's headers exceed MAX_HEADER_BYTES."""
        if size is None or size < 0:
            raise tarfile.ReadError("a header of a negative size")
        self.header_bytes += size
        if self.header_bytes > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a member's headers have more than {MAX_HEADER_BYTES:,} bytes")
        return super().read(size)

    def read_content(self, size: int) -> bytes:
        """Return the next bytes of a member's content, or fewer at the end of the file."""
        return super().read(size)


class _TarMember(tarfile.TarInfo):
    """Header of a tar member; tarfile on its own takes a damaged or missing header for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        """Read the next header; raise ReadError unless it is valid or a block of zeros, which ends the archive."""
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _safe_name(archive: Path, member: tarfile.TarInfo) -> str:
    """Return the member's path below the archive's top folder; raise InputError for an unsafe or malformed member."""
    try:
        member.name.encode()
    except UnicodeEncodeError as error:
        advice = "create the archive with UTF-8 names"
        raise InputError(f"{archive}: the name of {abbreviated(member.name)} is not UTF-8; {advice}") from error
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise _unsafe(archive, f"the path of the member {abbreviated(member.name)} leads out of the archive's folder")
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise _unsafe(archive, f"the member {abbreviated(member.name)} is a link, a device or a sparse file")
    return "/".join(path.parts[1:])


def _read_text(archive: Path, stream: _TarStream, member: tarfile.TarInfo) -> str:
    if member.size > MAX_TEXT_BYTES:
        raise _unsafe(archive, f"the text {abbreviated(member.name)} has more than {MAX_TEXT_BYTES:,} bytes")
    stream.text_bytes += member.size
    if stream.text_bytes > MAX_TEXTS_BYTES:
        raise _unsafe(archive, f"holds more than {MAX_TEXTS_BYTES:,} bytes of text")
    try:
        return stream.read_content(member.size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{archive}: {member.name} is not UTF-8 at byte {error.start:,}; convert it to UTF-8"
        ) from error


def zip_names(archive: Path, limits: Limits) -> list[str]:
    """Return the names of a zip file's members."""
    with _open_zip(archive, limits) as opened:
        return opened.namelist()


def zip_blocks(archive: Path, name: str, limits: Limits) -> Iterator[bytes]:
    """Yield the content of a zip file's member in blocks.

    Raises InputError for a file that is damaged or over its limits, and for a member that is encrypted, or neither
    stored nor deflated.
    """
    with _open_zip(archive, limits) as opened:
        member = opened.getinfo(name)
        # The declared size is a bound: zipfile reads no further, and then compares the checksum.
        limits.check_member(archive, name, member.file_size)
        limits.check_unpacked(archive, member.file_size)
        if member.flag_bits & IS_ENCRYPTED:
            raise InputError(f"{archive}: the member {abbreviated(name)} is encrypted; use a file that is not")
        if member.compress_type not in METHODS:
            method = f"{member.compress_type}; it must be 0 (stored) or 8 (deflated)"
            raise InputError(f"{archive}: the member {abbreviated(name)} is compressed by method {method}")
        with opened.open(member) as file:
            while block := file.read(READ_BYTES):
                yield block


def gzip_blocks(archive: Path, limits: Limits) -> Iterator[bytes]:
    """Yield the content of a file compressed with gzip in blocks.

    Raises InputError for a file that is damaged or over its limits.
    """
    size = 0
    with _reporting_damage(archive), gzip.open(archive) as file:
        while block := file.read(READ_BYTES):
            size += len(block)
            limits.check_member(archive, archive.name, size)
            limits.check_unpacked(archive, size)
            yield block


@contextmanager
def _open_zip(archive: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    with archive.open("rb") as file, _reporting_damage(archive), zipfile.ZipFile(file) as opened:
        limits.check_members(archive, len(opened.infolist()))
        yield opened


@contextmanager
def _reporting_damage(archive: Path) -> Iterator[None]:
    """Convert the exceptions for damaged archives to InputError."""
    try:
        yield
    except ARCHIVE_ERRORS as error:
        raise InputError(f"{archive}: the archive is damaged or truncated ({error}); use an intact copy") from error


def _over_limit(archive: Path, found: str, parameter: str) -> InputError:
    return InputError(f"{archive}: {found}; if you trust this file, raise download.limits.{parameter}")


def _unsafe(archive: Path, found: str) -> InputError:
    return InputError(f"{archive}: {found}; do not use this file")
