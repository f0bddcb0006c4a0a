"""Read untrusted tar and zip archives within limits on memory and size.

Nothing is unpacked to disk. Members are read as streams, and the limits apply to the bytes actually decompressed, not
to the sizes that the archive declares.
"""

import gzip
import io
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Never

from sentiment.errors import InputError, abbreviated

READ_BYTES = 1 << 18
TEXT_BYTES = 1 << 24  # limit on a single text, which is read into memory
TEXTS_BYTES = 1 << 29  # limit on all texts of an archive together
HEADER_BYTES = 1 << 20  # limit on the extended headers of a tar member, and on the directory of a zip file

FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
PROPERTIES = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME}
USED_PROPERTIES = {b"path", b"size"}  # all other properties are ignored
LENGTH_DIGITS = 7  # of a property's length field: as many digits as HEADER_BYTES has
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # zipfile bounds its output per read only for these
IS_ENCRYPTED = 1  # flag bit in a zip directory entry
ENTRY_BYTES = 30  # size of the smallest local header of a zip member

# zipfile raises BadZipFile for the damage that it recognizes; a wrong number, offset or format version in the file
# raises any of the others.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ArithmeticError,
    ValueError,
    RuntimeError,
)


@dataclass(frozen=True)
class Limits:
    """Upper bounds on an archive."""

    members: int  # number of members, headers and folders included
    member_bytes: int  # unpacked size of a single member
    unpacked_bytes: int  # total size of the data read from the archive


def tar_texts(archive: Path, limits: Limits) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield each file of a `.tar.gz` in archive order: its name below the top folder, and a function to read its text.

    The function decodes the text as UTF-8 and must be used, if at all, before the next file is requested. The content
    of all other files is skipped.

    `tarfile` would load extended headers of any size and nesting depth into memory and stop silently at a damaged
    header. Therefore `tarfile` only parses single headers here, and this module walks from one header to the next.

    Raises InputError for an archive that is damaged, truncated or over its limits, and for a member that is neither a
    file nor a folder, whose path leads out of the archive's folder, or whose name or text is not UTF-8.
    """
    with gzip.open(archive) as file:
        stream = _Stream(archive, file, limits.unpacked_bytes)
        for member in _tar_members(stream, limits):
            name = _safe_name(archive, member)
            if member.type in FILES:
                if member.size > limits.member_bytes:
                    _refuse_member(archive, member.name, limits.member_bytes)
                end = stream.position + _padded(member.size)
                yield name, partial(_read_text, stream, member)
                stream.skip_to(end)
        while stream.read(READ_BYTES):  # read up to gzip's checksum
            pass


class _Stream:
    """Sequential reader of the decompressed bytes of a gzip file, up to a limit."""

    def __init__(self, archive: Path, file: gzip.GzipFile, max_bytes: int) -> None:
        self.archive, self.file, self.max_bytes = archive, file, max_bytes
        self.position = self.text_bytes = 0

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer at the end of the stream."""
        try:
            block = self.file.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            _refuse_damaged(self.archive, error)
        self.position += len(block)
        if self.position > self.max_bytes:
            _refuse_whole(self.archive, self.max_bytes)
        return block

    def take(self, size: int) -> bytes:
        """Return exactly the next `size` bytes; raise InputError if the stream ends before that."""
        block = self.read(size)
        if len(block) < size:
            _refuse_damaged(self.archive, "it ends within a member")
        return block

    def skip_to(self, position: int) -> None:
        """Read and discard all bytes up to a position."""
        while self.position < position:
            self.take(min(READ_BYTES, position - self.position))


def _tar_members(stream: _Stream, limits: Limits) -> Iterator[tarfile.TarInfo]:
    """Yield each member except extended headers, whose properties are applied to the member that follows them."""
    properties: dict[bytes, bytes] = {}
    count = 0
    while any(header := stream.take(tarfile.BLOCKSIZE)):  # a block of zeros ends the archive
        count += 1
        if count > limits.members:
            _refuse_members(stream.archive, limits.members)
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            if member.type in PROPERTIES:
                properties |= _read_properties(stream, member)
                continue
            if path := properties.get(b"path"):
                member.name = path.decode("utf-8", "surrogateescape")
            member.size = _checked(int(properties.get(b"size", member.size)))
        except (tarfile.HeaderError, ValueError) as error:
            _refuse_damaged(stream.archive, error)
        properties = {}
        yield member


def _read_properties(stream: _Stream, member: tarfile.TarInfo) -> dict[bytes, bytes]:
    """Read the properties of the next member from "length key=value" lines of POSIX or a long name of GNU tar."""
    if _checked(member.size) > HEADER_BYTES:
        _refuse(stream.archive, f"has more than {HEADER_BYTES:,} bytes in front of a member")
    content = stream.take(_padded(member.size))[: member.size]
    if member.type == tarfile.GNUTYPE_LONGNAME:
        return {b"path": content.partition(b"\0")[0]}
    properties: dict[bytes, bytes] = {}
    start = 0
    while start < len(content):
        space = content.index(b" ", start, start + LENGTH_DIGITS + 1)
        end = start + int(content[start:space])
        if not space < end <= len(content):
            raise ValueError("a property of a wrong length")
        key, _, value = content[space + 1 : end - 1].partition(b"=")
        if key in USED_PROPERTIES:
            properties[key] = value
        start = end
    return {} if member.type == tarfile.XGLTYPE else properties  # global properties belong to no member


def _checked(size: int) -> int:
    if size < 0:  # the tar format can express negative sizes
        raise ValueError(f"a member of {size:,} bytes")
    return size


def _padded(size: int) -> int:
    """Round a size up to whole tar blocks, in bytes."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _safe_name(archive: Path, member: tarfile.TarInfo) -> str:
    """Return the member's path below the archive's top folder; raise InputError for an unsafe or malformed member."""
    try:
        member.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{archive}: the name of {abbreviated(member.name)} is not UTF-8; pack it anew") from error
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        _refuse(archive, f"the member {abbreviated(member.name)} leads out of the archive's folder")
    if not (member.type in FILES or member.isdir()):
        _refuse(archive, f"the member {abbreviated(member.name)} is a link or a device")
    return "/".join(path.parts[1:])


def _read_text(stream: _Stream, member: tarfile.TarInfo) -> str:
    if member.size > TEXT_BYTES:
        _refuse(stream.archive, f"the text {abbreviated(member.name)} has more than {TEXT_BYTES:,} bytes")
    stream.text_bytes += member.size
    if stream.text_bytes > TEXTS_BYTES:
        _refuse(stream.archive, f"holds more than {TEXTS_BYTES:,} bytes of text")
    try:
        return stream.take(member.size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{stream.archive}: {member.name} is not UTF-8 at byte {error.start:,}") from error


def zip_names(archive: Path, limits: Limits) -> list[str]:
    """Return the names of a zip file's members as spelt in its directory."""
    with _open_zip(archive, limits) as opened:
        return opened.namelist()


def zip_blocks(archive: Path, name: str, limits: Limits) -> Iterator[bytes]:
    """Yield the content of a zip file's member in blocks.

    Raises InputError for a file that is damaged, over its limits or has overlapping members, and for a member that is
    encrypted, neither stored nor deflated, or not of its declared size.
    """
    with _open_zip(archive, limits) as opened:
        member = opened.getinfo(name)
        if member.flag_bits & IS_ENCRYPTED:
            raise InputError(f"{archive}: the member {abbreviated(name)} is encrypted; fetch a file that is not")
        if member.compress_type not in METHODS:
            method = f"{member.compress_type}; it must be 0, stored, or 8, deflated"
            raise InputError(f"{archive}: the member {abbreviated(name)} is compressed by method {method}")
        declared, member.file_size = member.file_size, sys.maxsize  # zipfile would stop silently at the declared size
        size = 0
        with opened.open(member) as file:
            while block := file.read(READ_BYTES):
                size += len(block)
                if size > limits.member_bytes:
                    _refuse_member(archive, name, limits.member_bytes)
                if size > limits.unpacked_bytes:
                    _refuse_whole(archive, limits.unpacked_bytes)
                yield block
        if size != declared:
            raise zipfile.BadZipFile(f"{abbreviated(name)} must have {declared:,} bytes and has {size:,}")


@contextmanager
def _open_zip(archive: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose directory is within limits; turn errors of zipfile, also while reading, into InputError."""
    with _ShortReads(io.FileIO(archive)) as file:
        try:
            with zipfile.ZipFile(file) as opened:
                members = sorted(opened.infolist(), key=lambda member: member.header_offset)
                if len(members) > limits.members:
                    _refuse_members(archive, limits.members)
                for one, other in pairwise(members):
                    if one.header_offset + ENTRY_BYTES + one.compress_size > other.header_offset:
                        names = f"{abbreviated(one.filename)} and {abbreviated(other.filename)}"
                        _refuse(archive, f"the members {names} share bytes")
                yield opened
        except UnicodeDecodeError as error:
            raise InputError(f"{archive}: the name of a member is not UTF-8 ({error}); pack it anew") from error
        except ZIP_ERRORS as error:
            damage = f"the zip file is damaged or truncated ({error})"
            raise InputError(f"{archive}: {damage}; fetch it again") from error


class _ShortReads(io.BufferedReader):
    """File that refuses single reads of more than HEADER_BYTES, since zipfile reads the whole directory at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; raise BadZipFile for a larger request than HEADER_BYTES."""
        if size is not None and size > HEADER_BYTES:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes, more than {HEADER_BYTES:,}")
        return super().read(size)


def _refuse_members(archive: Path, most: int) -> Never:
    _refuse(archive, f"holds more than {most:,} members", ", or raise download.limits.members")


def _refuse_member(archive: Path, name: str, max_bytes: int) -> Never:
    _refuse(
        archive,
        f"the member {abbreviated(name)} has more than {max_bytes:,} bytes",
        ", or raise download.limits.member_bytes",
    )


def _refuse_whole(archive: Path, max_bytes: int) -> Never:
    _refuse(archive, f"unpacks to more than {max_bytes:,} bytes", ", or raise download.limits.unpacked_bytes")


def _refuse(archive: Path, found: str, otherwise: str = "") -> Never:
    raise InputError(f"{archive}: {found}; do not trust this file{otherwise}")


def _refuse_damaged(archive: Path, error: Exception | str) -> Never:
    raise InputError(f"{archive}: the archive is damaged or truncated ({error}); fetch it again")
