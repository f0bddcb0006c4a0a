"""Archives that are damaged, too large or malicious."""

import gzip
import io
import itertools
import re
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.errors import InputError
from sentiment.storage.archives import MAX_HEADER_BYTES, MAX_TEXT_BYTES, Limits, tar_texts, zip_blocks, zip_names
from sentiment.text.glove import MAX_LINE_BYTES, read_vectors
from tests.conftest import LIMITS

END = bytes(2 * tarfile.BLOCKSIZE)
NAME = "aclImdb/train/pos/0_9.txt"
GENEROUS = Limits(members=1 << 21, member_bytes=1 << 31, unpacked_bytes=1 << 32)
MAX_MEMORY = 64 << 20


def header(name: str = NAME, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return the header block of a tar member."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def extended(content: bytes, size: int | None = None, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return an extended header for the next member, which may declare another size than that of its content."""
    return header("extended", len(content) if size is None else size, kind) + padded(content)


def write_tar(path: Path, blocks: Iterable[bytes]) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(blocks)
    return path


def read_tar(path: Path, limits: Limits = LIMITS, wanted: str = ".*") -> dict[str, str]:
    return dict(tar_texts(path, re.compile(wanted, re.DOTALL), limits))


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read_zip(path: Path, limits: Limits = LIMITS) -> bytes:
    return b"".join(block for name in zip_names(path, limits) for block in zip_blocks(path, name, limits))


def refusal(reading: Callable[[], object]) -> str:
    """Return the one-line error of reading a bad archive, and check that reading took little memory."""
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
    """Return the error of reading an archive, or an empty text if there is none."""
    try:
        reading()
    except InputError as error:
        return str(error)
    return ""


HOSTILE_TARS = {
    "a path with ..": ([header("aclImdb/../../x")], r"the member 'aclImdb/\.\./\.\./x' leads out of the archive's"),
    "an absolute path": ([header("/etc/passwd")], "the member '/etc/passwd' leads out of the archive's folder"),
    "a path with .. in an extended header": (
        [extended(b"18 path=a/../../x\n"), header()],
        r"'a/\.\./\.\./x' leads out of the archive's folder",
    ),
    "a symbolic link": ([header(kind=tarfile.SYMTYPE)], "is a link, a device or a sparse file"),
    "a hard link": ([header(kind=tarfile.LNKTYPE)], "is a link, a device or a sparse file"),
    "a device": ([header(kind=tarfile.BLKTYPE)], "is a link, a device or a sparse file"),
    "a pipe": ([header(kind=tarfile.FIFOTYPE)], "is a link, a device or a sparse file"),
    "a sparse file": ([header(kind=tarfile.GNUTYPE_SPARSE)], "is a link, a device or a sparse file"),
    "a link with a long target": (
        [extended(b"x" * 200 + b"\0", kind=tarfile.GNUTYPE_LONGLINK), header(kind=tarfile.SYMTYPE)],
        "is a link, a device or a sparse file",
    ),
    "a name that is not UTF-8": ([header("aclImdb/\udce9")], r"the name of 'aclImdb/\\udce9' is not UTF-8; create"),
    "a name that is not UTF-8 in an extended header": (
        [extended(b"12 path=\xe9\xe9\n\n"), header()],
        r"the name of '\\udce9\\udce9\\n' is not UTF-8",
    ),
    "a name of several lines": ([header("/a\nerror: b\x1b[2J")], r"'/a\\nerror: b\\x1b\[2J' leads out"),
    "a member that is too large": ([header(size=LIMITS.member_bytes + 1)], "more than 1,048,576 bytes; if you trust"),
    "a member that is too large by its extended header": (
        [extended(b"16 size=1048577\n"), header()],
        "more than 1,048,576 bytes; if you trust",
    ),
    "a member of negative size": ([header(size=-512)], r"damaged or truncated \(.*(negative|invalid|-512)"),
    "an extended header of negative size": ([extended(b"", -512)], r"damaged or truncated \(.*(negative|invalid)"),
    "a negative size in an extended header": ([extended(b"13 size=-512\n"), header()], "damaged or truncated"),
    "a size in a global header": (
        [extended(b"12 size=512\n", kind=tarfile.XGLTYPE), header(), header()],
        r"damaged or truncated \(a member of 512 bytes\)",
    ),
    "too many members": ([header()] * (LIMITS.members + 1), "more than 1,000 members; if you trust"),
    "too much content": (
        [header(size=1 << 20) + bytes(1 << 20)] * 16,
        "unpacks to more than 16,777,216 bytes; if you trust this file, raise download.limits.unpacked_bytes",
    ),
    "too many bytes after its end": ([END, bytes(LIMITS.unpacked_bytes)], "unpacks to more than 16,777,216 bytes"),
    "an extended header of a gigabyte": ([extended(b"", 10**9)], "a member's headers have more than 65,536 bytes"),
    "a name of a gigabyte": (
        [extended(b"", 10**9, tarfile.GNUTYPE_LONGNAME)],
        "a member's headers have more than 65,536 bytes",
    ),
    "nested extended headers": ([extended(b"11 path=ab\n")] * 1000, "a member's headers have more than 65,536 bytes"),
    "an extended header of digits": ([extended(b"1" * (MAX_HEADER_BYTES // 4))], "damaged or truncated"),
    "an extended header with a length of 0": ([extended(b"0 a=b\n"), header()], "damaged or truncated"),
    "a size that is no number": (
        [extended(b"10 size=x\n"), header(size=1), padded(b"a")],
        "damaged or truncated",
    ),
    "a header with a wrong checksum": (
        [header(), header().replace(b"9", b"8")],
        r"damaged or truncated \(bad checksum\)",
    ),
    "a truncated header": ([header(), header()[:-1]], r"damaged or truncated \(truncated header\)"),
    "a truncated header at its start": ([header()[:-1]], r"damaged or truncated \(truncated header\)"),
    "no end": ([header()], r"damaged or truncated \(empty header\)"),
    "a truncated member": ([header(size=600), bytes(600)], r"damaged or truncated \(unexpected end of data\)"),
    "text that is not UTF-8": ([header(size=1), padded(b"\xe9")], r"aclImdb/train/pos/0_9\.txt is not UTF-8 at byte 0"),
}
WITHOUT_END = {"a truncated header", "a truncated header at its start", "no end", "a truncated member"}


@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_a_bad_tar_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    blocks, line = HOSTILE_TARS[name]
    path = write_tar(tmp_path / "a.tar.gz", [*blocks, b"" if name in WITHOUT_END else END])
    assert re.search(rf"a\.tar\.gz: .*{line}", refusal(lambda: read_tar(path)))


def test_long_names_and_extended_headers_are_read(tmp_path: Path) -> None:
    name = f"aclImdb/{'x/' * 100}naïve.txt"
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=kind) as archive:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.pax_headers = 4, 1.5, {"comment": "none"}
            archive.addfile(member, io.BytesIO(b"Fine"))
            archive.addfile(tarfile.TarInfo("aclImdb/after"))
        assert read_tar(tmp_path / "a.tar.gz") == {name.removeprefix("aclImdb/"): "Fine", "after": ""}


def test_a_skipped_file_may_be_larger_than_a_text(tmp_path: Path) -> None:
    size = MAX_TEXT_BYTES + 1
    path = write_tar(tmp_path / "a.tar.gz", [header("a/large", size), padded(bytes(size)), header("a/small"), END])
    assert read_tar(path, GENEROUS, "small") == {"small": ""}
    assert "the text 'a/large' has more than 16,777,216 bytes" in refusal(lambda: read_tar(path, GENEROUS))


def test_the_texts_of_an_archive_have_a_limit_in_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment.storage.archives.MAX_TEXTS_BYTES", 1023)
    path = write_tar(tmp_path / "a.tar.gz", [header("a/b", 512), bytes(512), header("a/c", 512), bytes(512), END])
    assert "holds more than 1,023 bytes of text" in refusal(lambda: read_tar(path))


def zeros(count: int) -> Iterator[bytes]:
    for _ in range(count >> 20):
        yield bytes(1 << 20)


@pytest.mark.slow
def test_a_gigabyte_of_zeros_is_refused_at_the_header(tmp_path: Path) -> None:
    size = 1000 << 20
    path = write_tar(tmp_path / "a.tar.gz", itertools.chain([header(size=size)], zeros(size), [END]))
    assert path.stat().st_size < 1 << 23
    cut = write_tar(tmp_path / "cut.tar.gz", [header(size=size)])  # refused before the missing content is read
    for archive in (path, cut):
        assert "has more than 1,048,576 bytes" in refusal(partial(read_tar, archive))
        assert "the text 'aclImdb/train/pos/0_9.txt' has more than" in refusal(partial(read_tar, archive, GENEROUS))


@pytest.mark.slow
def test_a_million_members_are_refused_at_the_limit(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", itertools.chain(itertools.repeat(header() * 1000, 1000), [END]))
    assert "more than 1,000 members" in refusal(lambda: read_tar(path))


@given(data=st.data())
def test_any_damage_gives_texts_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    blocks = header("a/b", 3) + padded(b"abc") + extended(b"12 path=a/c\n") + header("x", 1) + padded(b"d") + END
    damaged = bytearray(blocks)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(blocks) - 1))] = data.draw(st.integers(0, 255))
    for start in range(0, len(damaged), tarfile.BLOCKSIZE):  # valid checksums, so that the other fields are read
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


def bad_zips(folder: Path) -> dict[str, tuple[Path, str]]:
    """Return zip files with wrong entries, and the error for each."""

    def fresh(name: str) -> Path:
        return write_zip(folder / f"{name}.zip", {"v.3d.txt": TEXT})

    return {
        "fewer bytes": (changed(fresh("fewer"), "size", 100), r"damaged or truncated \(Bad CRC-32"),
        "packed": (changed(fresh("packed"), "compressed", 5), "damaged or truncated"),
        "encrypted": (changed(fresh("encrypted"), "flags", 1), r"'v\.3d\.txt' is encrypted; use a file that is not"),
        "method": (changed(fresh("method"), "method", 99), r"compressed by method 99; it must be 0 \(stored\) or 8"),
        "bzip2": (
            write_zip(folder / "bzip2.zip", {"v.3d.txt": TEXT}, zipfile.ZIP_BZIP2),
            r"compressed by method 12; it must be 0 \(stored\) or 8 \(deflated\)",
        ),
    }


def test_a_bad_zip_file_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, (path, line) in bad_zips(tmp_path).items():
        assert re.search(line, refusal(lambda path=path: read_zip(path))), name  # type: ignore[misc]


def test_a_name_in_a_zip_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"naïve.3d.txt": TEXT})
    path.write_bytes(path.read_bytes().replace("ï".encode(), b"\xff\xff"))
    assert "damaged or truncated ('utf-8' codec can't decode byte 0xff" in refusal(lambda: read_zip(path))


def test_names_in_a_zip_file_are_shown_in_one_line(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"a\n\x1b{number}": b"" for number in range(900)})
    line = refusal(lambda: read_vectors(path, 3, [], LIMITS))
    assert line.endswith(r"it contains a\n\x1b0, a\n\x1b1, a\n\x1b2, a\n\x1b3, a\n\x1b4 and 895 more")


@pytest.mark.slow
def test_a_zip_bomb_is_refused_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("v.3d.txt", "w") as file:
        for block in zeros(200 << 20):
            file.write(block)
    assert path.stat().st_size < 1 << 20
    assert "'v.3d.txt' has more than 1,048,576 bytes; if you trust" in refusal(lambda: read_zip(path))
    tight = Limits(members=1, member_bytes=1 << 30, unpacked_bytes=1 << 20)
    assert "unpacks to more than 1,048,576 bytes" in refusal(lambda: read_zip(path, tight))
    changed(path, "size", 1000)  # a lower declared size is as far as it is read
    assert "Bad CRC-32" in refusal(lambda: read_zip(path))


def test_too_many_members_of_a_zip_file_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{number}": b"" for number in range(LIMITS.members + 1)})
    assert "holds more than 1,000 members; if you trust this file" in refusal(lambda: read_zip(path))


def test_a_zip_file_without_a_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(bytes(1 << 20) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 1 << 20, 0, 0))
    assert "damaged or truncated" in refusal(lambda: read_zip(path))


def test_a_line_of_vectors_without_end_is_refused(tmp_path: Path) -> None:
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
