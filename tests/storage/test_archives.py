"""Archives that lie, overflow or lead astray."""

import gzip
import io
import itertools
import re
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.errors import InputError
from sentiment.storage.archives import HEADER_BYTES, TEXT_BYTES, Limits, tar_texts, zip_blocks, zip_names
from sentiment.text.glove import MAX_LINE_BYTES, read_vectors
from tests.conftest import LIMITS

END = bytes(2 * tarfile.BLOCKSIZE)
NAME = "aclImdb/train/pos/0_9.txt"
GENEROUS = Limits(members=1 << 21, member_bytes=1 << 31, unpacked_bytes=1 << 32)
MAX_MEMORY = 64 << 20


def header(name: str = NAME, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return the block in front of a member, whatever it says."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def with_properties(content: bytes, size: int | None = None, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return properties of the member that follows, and a size that they say they have."""
    return header("properties", len(content) if size is None else size, kind) + padded(content)


def write_tar(path: Path, blocks: Iterable[bytes]) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(blocks)
    return path


def read_tar(path: Path, limits: Limits = LIMITS) -> dict[str, str]:
    return {name: read_text() for name, read_text in tar_texts(path, limits)}


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read_zip(path: Path, limits: Limits = LIMITS) -> bytes:
    return b"".join(block for name in zip_names(path, limits) for block in zip_blocks(path, name, limits))


def refusal(reading: Callable[[], object]) -> str:
    """Return the one line in which something is refused, without having taken much memory for that."""
    tracemalloc.start()
    with pytest.raises(InputError) as caught:
        reading()
    assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    tracemalloc.stop()
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 1000
    line.encode()  # no surrogate is left in it
    return line


def outcome(reading: Callable[[], object]) -> str:
    """Return the line in which something is refused, if it is."""
    try:
        reading()
    except InputError as error:
        return str(error)
    return ""


HOSTILE_TARS = {
    "a path that climbs": ([header("aclImdb/../../x")], r"'aclImdb/\.\./\.\./x' leads out of the archive's folder"),
    "an absolute path": ([header("/etc/passwd")], "'/etc/passwd' leads out of the archive's folder"),
    "a path that climbs, in properties": (
        [with_properties(b"18 path=a/../../x\n"), header()],
        r"'a/\.\./\.\./x' leads out of the archive's folder",
    ),
    "a symbolic link": ([header(kind=tarfile.SYMTYPE)], "is a link or a device"),
    "a hard link": ([header(kind=tarfile.LNKTYPE)], "is a link or a device"),
    "a device": ([header(kind=tarfile.BLKTYPE)], "is a link or a device"),
    "a pipe": ([header(kind=tarfile.FIFOTYPE)], "is a link or a device"),
    "a sparse file": ([header(kind=tarfile.GNUTYPE_SPARSE)], "is a link or a device"),
    "a long link": ([header(kind=tarfile.GNUTYPE_LONGLINK)], "is a link or a device"),
    "a name that is not UTF-8": ([header("aclImdb/\udce9")], r"the name of 'aclImdb/\\udce9' is not UTF-8; pack it"),
    "a name that is not UTF-8, in properties": (
        [with_properties(b"12 path=\xe9\xe9\n\n"), header()],
        r"the name of '\\udce9\\udce9\\n' is not UTF-8",
    ),
    "a name of several lines": ([header("/a\nerror: b\x1b[2J")], r"'/a\\nerror: b\\x1b\[2J' leads out"),
    "a member that is too large": ([header(size=LIMITS.member_bytes + 1)], "more than 1,048,576 bytes; do not trust"),
    "a member too large by its properties": ([with_properties(b"16 size=1048577\n"), header()], "more than 1,048,576"),
    "a member smaller than nothing": ([header(size=-512)], r"damaged or truncated \(a member of -512 bytes\)"),
    "properties smaller than nothing": ([with_properties(b"", -512)], r"truncated \(a member of -512 bytes\)"),
    "too many members": ([header()] * (LIMITS.members + 1), "more than 1,000 members; do not trust"),
    "too much of it": (
        [header(size=1 << 20) + bytes(1 << 20)] * 16,
        "unpacks to more than 16,777,216 bytes; do not trust this file, or raise download.limits.unpacked_bytes",
    ),
    "a thousand million bytes of properties": ([with_properties(b"", 10**9)], "more than 1,048,576 bytes in front of"),
    "a thousand million bytes of a name": (
        [with_properties(b"", 10**9, tarfile.GNUTYPE_LONGNAME)],
        "more than 1,048,576 bytes in front of a member",
    ),
    "properties of properties": (
        [with_properties(b"11 path=ab\n")] * (LIMITS.members + 1),
        "more than 1,000 members",
    ),
    "digits without end": ([with_properties(b"1" * HEADER_BYTES)], "damaged or truncated"),
    "lengths that lead nowhere": ([with_properties(b"0 a=b\n"), header()], "a property of a wrong length"),
    "lengths that lead too far": ([with_properties(b"99 a=b\n"), header()], "a property of a wrong length"),
    "a size that is no number": ([with_properties(b"10 size=x\n"), header()], "damaged or truncated"),
    "a header that is none": ([header(), header().replace(b"9", b"8")], r"damaged or truncated \(bad checksum\)"),
    "no end": ([header()[:-1]], r"damaged or truncated \(it ends within a member\)"),
    "an end within a member": ([header(size=600), bytes(600)], r"it ends within a member"),
    "text that is not UTF-8": ([header(size=1), padded(b"\xe9")], r"aclImdb/train/pos/0_9\.txt is not UTF-8 at byte 0"),
}


@pytest.mark.parametrize(("blocks", "line"), HOSTILE_TARS.values(), ids=list(HOSTILE_TARS))
def test_a_hostile_tar_file_is_refused_in_one_line(tmp_path: Path, blocks: Iterable[bytes], line: str) -> None:
    path = write_tar(tmp_path / "a.tar.gz", itertools.chain(blocks, [] if "ends within" in line else [END]))
    assert re.search(rf"a\.tar\.gz: .*{line}", refusal(lambda: read_tar(path)))


def test_long_names_and_properties_are_heeded(tmp_path: Path) -> None:
    name = f"aclImdb/{'x/' * 100}naïve.txt"
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=kind) as archive:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.pax_headers = 4, 1.5, {"comment": "none"}
            archive.addfile(member, io.BytesIO(b"Fine"))
            archive.addfile(tarfile.TarInfo("aclImdb/after"))
        assert read_tar(tmp_path / "a.tar.gz") == {name.removeprefix("aclImdb/"): "Fine", "after": ""}


def test_what_is_passed_over_may_be_larger_than_a_text(tmp_path: Path) -> None:
    size = TEXT_BYTES + 1
    path = write_tar(tmp_path / "a.tar.gz", [header("a/large", size), padded(bytes(size)), header("a/small"), END])
    assert [name for name, _ in tar_texts(path, GENEROUS)] == ["large", "small"]
    assert "the text 'a/large' has more than 16,777,216 bytes" in refusal(lambda: read_tar(path, GENEROUS))


def test_texts_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment.storage.archives.TEXTS_BYTES", 1023)
    path = write_tar(tmp_path / "a.tar.gz", [header("a/b", 512), bytes(512), header("a/c", 512), bytes(512), END])
    assert "holds more than 1,023 bytes of text" in refusal(lambda: read_tar(path))


def zeros(count: int) -> Iterator[bytes]:
    for _ in range(count >> 20):
        yield bytes(1 << 20)


def test_a_thousand_million_zeros_are_refused_at_the_header(tmp_path: Path) -> None:
    size = 1000 << 20
    path = write_tar(tmp_path / "a.tar.gz", itertools.chain([header(size=size)], zeros(size), [END]))
    assert path.stat().st_size < 1 << 23
    cut = write_tar(tmp_path / "cut.tar.gz", [header(size=size)])  # whoever read on would find nothing
    for archive in (path, cut):
        assert "has more than 1,048,576 bytes" in refusal(partial(read_tar, archive))
        assert "the text 'aclImdb/train/pos/0_9.txt' has more than" in refusal(partial(read_tar, archive, GENEROUS))


def test_a_million_members_are_refused_at_the_limit(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", itertools.chain(itertools.repeat(header() * 1000, 1000), [END]))
    assert "more than 1,000 members" in refusal(lambda: read_tar(path))


@given(data=st.data())
def test_any_damage_gives_texts_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    blocks = header("a/b", 3) + padded(b"abc") + with_properties(b"12 path=a/c\n") + header("x", 1) + padded(b"d") + END
    damaged = bytearray(blocks)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(blocks) - 1))] = data.draw(st.integers(0, 255))
    for start in range(0, len(damaged), tarfile.BLOCKSIZE):  # the sums are right, so that what they cover is looked at
        damaged[start + 148 : start + 156] = b" " * 8
        damaged[start + 148 : start + 156] = b"%06o\0 " % sum(damaged[start : start + tarfile.BLOCKSIZE])
    path = write_tar(tmp_path_factory.mktemp("tar") / "a.tar.gz", [bytes(damaged)])
    assert outcome(lambda: read_tar(path)).isprintable()


def changed(path: Path, field: str, value: int, which: str = "both") -> Path:
    """Change a number in a zip file's only member's header or in the directory, or in both."""
    local, directory = {
        "flags": (6, 8),
        "method": (8, 10),
        "checksum": (14, 16),
        "compressed": (18, 20),
        "size": (22, 24),
    }[field]
    content = bytearray(path.read_bytes())
    width = "<H" if field in {"flags", "method"} else "<I"
    if which == "both":
        struct.pack_into(width, content, local, value)
    struct.pack_into(width, content, content.index(b"PK\1\2") + directory, value)
    path.write_bytes(content)
    return path


TEXT = b"the 0.1 0.2 0.3\n" * 100


def lies(path: Path) -> dict[str, tuple[Path, str]]:
    """Return zip files that lie, and how that is told."""

    def fresh(name: str) -> Path:
        return write_zip(path / f"{name}.zip", {"v.3d.txt": TEXT})

    shortened = changed(fresh("fewer, with the sum of those"), "size", 100)
    return {
        "more": (changed(fresh("more"), "size", 5000), r"'v\.3d\.txt' must have 5,000 bytes and has 1,600"),
        "fewer": (changed(fresh("fewer"), "size", 100), r"'v\.3d\.txt' must have 100 bytes and has 1,600"),
        "fewer, with their sum": (changed(shortened, "checksum", zlib.crc32(TEXT[:100])), "Bad CRC-32"),
        "packed": (changed(fresh("packed"), "compressed", 5), "damaged or truncated"),
        "encrypted": (changed(fresh("encrypted"), "flags", 1), r"'v\.3d\.txt' is encrypted; fetch a file that is not"),
        "method": (changed(fresh("method"), "method", 99), "compressed by method 99; it must be 0, stored, or 8"),
        "bzip2": (
            write_zip(path / "bzip2.zip", {"v.3d.txt": TEXT}, zipfile.ZIP_BZIP2),
            "compressed by method 12; it must be 0, stored, or 8, deflated",
        ),
    }


def test_zip_files_that_lie_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, (path, line) in lies(tmp_path).items():
        assert re.search(line, refusal(lambda path=path: read_zip(path))), name  # type: ignore[misc]


def test_a_name_in_a_zip_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"naïve.3d.txt": TEXT})
    path.write_bytes(path.read_bytes().replace("ï".encode(), b"\xff\xff"))
    assert "the name of a member is not UTF-8" in refusal(lambda: read_zip(path))


def test_names_in_a_zip_file_are_shown_in_one_line(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"a\n\x1b{number}": b"" for number in range(900)})
    line = refusal(lambda: read_vectors(path, 3, [], LIMITS))
    assert line.endswith(r"it contains a\n\x1b0, a\n\x1b1, a\n\x1b2, a\n\x1b3, a\n\x1b4 and 895 more")


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """The second entry's header lies within the first one's stored content (Fifield 2019, A better zip bomb)."""
    inner = write_zip(tmp_path / "inner.zip", {"b": TEXT}).read_bytes()
    path = write_zip(tmp_path / "a.zip", {"a": inner}, zipfile.ZIP_STORED)
    content = path.read_bytes()
    start = content.index(inner)
    directory = content.rindex(b"PK\1\2")
    own = inner.index(b"PK\1\2")
    entry = bytearray(inner[own : inner.index(b"PK\5\6")])
    struct.pack_into("<I", entry, 42, start)
    end = bytearray(content[content.rindex(b"PK\5\6") :])
    both = content[directory : content.rindex(b"PK\5\6")] + entry
    struct.pack_into("<HHI", end, 8, 2, 2, len(both))
    path.write_bytes(content[:directory] + both + end)
    assert "the members 'a' and 'b' share bytes; do not trust this file" in refusal(lambda: read_zip(path))


def test_a_zip_bomb_goes_off_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("v.3d.txt", "w") as file:
        for block in zeros(200 << 20):
            file.write(block)
    assert path.stat().st_size < 1 << 20
    assert "'v.3d.txt' has more than 1,048,576 bytes; do not trust" in refusal(lambda: read_zip(path))
    tight = Limits(members=1, member_bytes=1 << 30, unpacked_bytes=1 << 20)
    assert "unpacks to more than 1,048,576 bytes" in refusal(lambda: read_zip(path, tight))
    changed(path, "size", 1000)  # it may well say that it is small
    assert "'v.3d.txt' has more than 1,048,576 bytes; do not trust" in refusal(lambda: read_zip(path))


def test_a_directory_without_end_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{number}": b"" for number in range(LIMITS.members + 1)})
    assert "holds more than 1,000 members; do not trust this file" in refusal(lambda: read_zip(path))
    path.write_bytes(bytes(HEADER_BYTES + 1) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, HEADER_BYTES + 1, 0, 0))
    assert "its directory has 1,048,577 bytes, more than 1,048,576" in refusal(lambda: read_zip(path))


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"x" * (200 << 20))
    line = f"vectors.txt: a line has more than {MAX_LINE_BYTES:,} bytes; each line must be a word and its numbers"
    assert line in refusal(lambda: read_vectors(path, 3, [], LIMITS))


@given(data=st.data())
def test_any_damage_to_a_zip_file_gives_its_text_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write_zip(tmp_path_factory.mktemp("zip") / "a.zip", {"v.3d.txt": TEXT})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert outcome(lambda: read_zip(path)).isprintable()
