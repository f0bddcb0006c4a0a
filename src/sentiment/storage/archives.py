"""Archives from elsewhere, read within limits: whatever they say of themselves, they fill neither memory nor disk.

Nothing is unpacked to disk. Members are read as streams, and what is counted is what really comes out of them.
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

from sentiment.errors import InputError, in_short

READ_BYTES = 1 << 18
TEXT_BYTES = 1 << 24  # the most of a text, which is read into memory
TEXTS_BYTES = 1 << 29  # and of all texts
HEADER_BYTES = 1 << 20  # the most of what stands in front of a tar file's member, and of a zip file's directory

FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
PROPERTIES = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME}
HEEDED = {b"path", b"size"}  # of all properties
LENGTH_DIGITS = 7  # of a property: as many as HEADER_BYTES has
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # those of which Python inflates no more at a time than it is told
IS_ENCRYPTED = 1  # the flag in a zip file's directory
ENTRY_BYTES = 30  # the least in front of a zip file's member

# Besides an error of its own zipfile lets pass what it stumbles over: numbers, offsets, versions of the format.
DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ArithmeticError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Limits:
    """The most that an archive may hold."""

    members: int  # count, headers and folders included
    member_bytes: int  # of one member, unpacked
    unpacked_bytes: int  # of all that is read


def tar_texts(archive: Path, limits: Limits) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield, front to back, each file of a `.tar.gz`: its name below the top folder, and what reads it as UTF-8.

    A text is read, if at all, before the next file is asked for; the others are passed over.

    `tarfile` takes properties in front of a member into memory whole, at any length and any depth, and ends in silence
    at a header that is damaged. So it only makes sense of single headers here, and their order is followed below.

    Raises InputError for an archive that is damaged or truncated or beyond its limits, and for a member that is neither
    file nor folder, whose path leads out of the archive's folder or whose name or text is not UTF-8.
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
        while stream.read(READ_BYTES):  # up to gzip's own checksum, which stands behind the last member
            pass


class _Stream:
    """What a gzip file inflates to, read front to back and no further than a limit."""

    def __init__(self, archive: Path, file: gzip.GzipFile, most_bytes: int) -> None:
        self.archive, self.file, self.most_bytes = archive, file, most_bytes
        self.position = self.text_bytes = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        try:
            block = self.file.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            _refuse_damaged(self.archive, error)
        self.position += len(block)
        if self.position > self.most_bytes:
            _refuse_whole(self.archive, self.most_bytes)
        return block

    def take(self, size: int) -> bytes:
        """Return the next bytes, all of them."""
        block = self.read(size)
        if len(block) < size:
            _refuse_damaged(self.archive, "it ends within a member")
        return block

    def skip_to(self, position: int) -> None:
        """Read on, and keep nothing."""
        while self.position < position:
            self.take(min(READ_BYTES, position - self.position))


def _tar_members(stream: _Stream, limits: Limits) -> Iterator[tarfile.TarInfo]:
    """Yield each member that is not merely the properties of the next."""
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
    """Return what is said of the next member: "length key=value" lines of POSIX, or a long name of GNU tar."""
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
        if key in HEEDED:
            properties[key] = value
        start = end
    return {} if member.type == tarfile.XGLTYPE else properties  # global ones, a commit's name say, are of no file


def _checked(size: int) -> int:
    if size < 0:  # which the format can say
        raise ValueError(f"a member of {size:,} bytes")
    return size


def _padded(size: int) -> int:
    """Return the bytes of whole blocks that hold so many bytes."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _safe_name(archive: Path, member: tarfile.TarInfo) -> str:
    """Return the member's path below the archive's top folder, or refuse what no honest archive has."""
    try:
        member.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{archive}: the name of {in_short(member.name)} is not UTF-8; pack it anew") from error
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        _refuse(archive, f"the member {in_short(member.name)} leads out of the archive's folder")
    if not (member.type in FILES or member.isdir()):
        _refuse(archive, f"the member {in_short(member.name)} is a link or a device")
    return "/".join(path.parts[1:])


def _read_text(stream: _Stream, member: tarfile.TarInfo) -> str:
    if member.size > TEXT_BYTES:
        _refuse(stream.archive, f"the text {in_short(member.name)} has more than {TEXT_BYTES:,} bytes")
    stream.text_bytes += member.size
    if stream.text_bytes > TEXTS_BYTES:
        _refuse(stream.archive, f"holds more than {TEXTS_BYTES:,} bytes of text")
    try:
        return stream.take(member.size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{stream.archive}: {member.name} is not UTF-8 at byte {error.start:,}") from error


def zip_names(archive: Path, limits: Limits) -> list[str]:
    """Return the names of a zip file's members, as it spells them."""
    with _open_zip(archive, limits) as opened:
        return opened.namelist()


def zip_blocks(archive: Path, name: str, limits: Limits) -> Iterator[bytes]:
    """Yield the content of a zip file's member in blocks.

    Raises InputError for a file that is damaged or beyond its limits or whose members share bytes, and for a member
    that is encrypted, compressed in another way than usual, or not of the size that the file says.
    """
    with _open_zip(archive, limits) as opened:
        member = opened.getinfo(name)
        if member.flag_bits & IS_ENCRYPTED:
            raise InputError(f"{archive}: the member {in_short(name)} is encrypted; fetch a file that is not")
        if member.compress_type not in METHODS:
            method = f"{member.compress_type}; it must be 0, stored, or 8, deflated"
            raise InputError(f"{archive}: the member {in_short(name)} is compressed by method {method}")
        declared, member.file_size = member.file_size, sys.maxsize  # zipfile would end there in silence
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
            raise zipfile.BadZipFile(f"{in_short(name)} must have {declared:,} bytes and has {size:,}")


@contextmanager
def _open_zip(archive: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose directory is within limits, and tell what is wrong with it here or while it is read."""
    with _ShortReads(io.FileIO(archive)) as file:
        try:
            with zipfile.ZipFile(file) as opened:
                members = sorted(opened.infolist(), key=lambda member: member.header_offset)
                if len(members) > limits.members:
                    _refuse_members(archive, limits.members)
                for one, other in pairwise(members):
                    if one.header_offset + ENTRY_BYTES + one.compress_size > other.header_offset:
                        names = f"{in_short(one.filename)} and {in_short(other.filename)}"
                        _refuse(archive, f"the members {names} share bytes")
                yield opened
        except UnicodeDecodeError as error:
            raise InputError(f"{archive}: the name of a member is not UTF-8 ({error}); pack it anew") from error
        except DAMAGES as error:
            damage = f"the zip file is damaged or truncated ({error})"
            raise InputError(f"{archive}: {damage}; fetch it again") from error


class _ShortReads(io.BufferedReader):
    """A file that is never read further in one piece than a directory may reach, since zipfile reads that whole."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        if size is not None and size > HEADER_BYTES:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes, more than {HEADER_BYTES:,}")
        return super().read(size)


def _refuse_members(archive: Path, most: int) -> Never:
    _refuse(archive, f"holds more than {most:,} members", ", or raise download.limits.members")


def _refuse_member(archive: Path, name: str, most_bytes: int) -> Never:
    _refuse(
        archive,
        f"the member {in_short(name)} has more than {most_bytes:,} bytes",
        ", or raise download.limits.member_bytes",
    )


def _refuse_whole(archive: Path, most_bytes: int) -> Never:
    _refuse(archive, f"unpacks to more than {most_bytes:,} bytes", ", or raise download.limits.unpacked_bytes")


def _refuse(archive: Path, found: str, otherwise: str = "") -> Never:
    raise InputError(f"{archive}: {found}; do not trust this file{otherwise}")


def _refuse_damaged(archive: Path, error: Exception | str) -> Never:
    raise InputError(f"{archive}: the archive is damaged or truncated ({error}); fetch it again")
