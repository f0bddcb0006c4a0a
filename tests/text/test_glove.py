import gzip
import io
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.errors import InputError
from sentiment.text.glove import WordVectors, check_beginning, read_vectors, read_words
from tests.conftest import LIMITS

PLAIN = b"the 0.1 0.2 0.3\n, -1 2e-3 3\nna\xc3\xafve 4 5 6\n"


def read(path: Path, content: bytes, wanted: tuple[str, ...] = ("naïve", "the", "none")) -> WordVectors:
    path.write_bytes(content)
    return read_vectors(path, 3, wanted, LIMITS)


def write_zip(path: Path, members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


def test_only_wanted_rows_are_kept(tmp_path: Path) -> None:
    vectors = read(tmp_path / "v", PLAIN)
    assert vectors.words == ["the", "naïve"]
    np.testing.assert_array_equal(vectors.matrix, np.array([[0.1, 0.2, 0.3], [4, 5, 6]], dtype=np.float32))
    assert vectors.rows == 3


@pytest.mark.parametrize("names", [("only.txt",), ("glove.3d.txt", "glove.50d.txt"), ("a.txt", "b.3d.txt")])
def test_a_zip_file_is_recognized_and_its_member_chosen_by_dimension(tmp_path: Path, names: tuple[str, ...]) -> None:
    members = {name: PLAIN if name in ("only.txt", "glove.3d.txt", "b.3d.txt") else b"the 0 0\n" for name in names}
    assert read(tmp_path / "v", write_zip(tmp_path / "z", members)).words == ["the", "naïve"]


def test_a_zip_file_without_a_member_of_the_dimension_is_refused(tmp_path: Path) -> None:
    content = write_zip(tmp_path / "z", {"a.50d.txt": b"", "a.100d.txt": b""})
    with pytest.raises(InputError, match=r"one file named \*\.3d\.txt; it contains a\.50d\.txt, a\.100d\.txt"):
        read(tmp_path / "v", content)


def test_the_first_row_of_a_repeated_word_is_used(tmp_path: Path) -> None:
    vectors = read(tmp_path / "v", PLAIN + b"the 7 8 9\nother 1 2 3\nother 1 2 3\n")
    assert vectors.repeated == 1
    assert vectors.matrix[0, 0] == np.float32(0.1)


def test_the_header_of_word2vec_is_skipped(tmp_path: Path) -> None:
    assert read(tmp_path / "v", b"3 3\n" + PLAIN).rows == 3


WORD2VEC = b"3 3\n" + PLAIN.replace(b"\n", b" \n")


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.replace(b"\n", b"\r\n"),
        WORD2VEC,
        WORD2VEC.replace(b"3 3\n", b"3 3 \n"),
        WORD2VEC.replace(b"\n", b"\r\n"),
        WORD2VEC.removesuffix(b"\n"),
        gzip.compress(WORD2VEC, mtime=0),
        gzip.compress(PLAIN[:20], mtime=0) + gzip.compress(PLAIN[20:], mtime=0),
    ],
)
def test_what_word2vec_and_fasttext_write_gives_the_same_vectors_gzipped_or_not(tmp_path: Path, content: bytes) -> None:
    expected, vectors = read(tmp_path / "v", PLAIN), read(tmp_path / "v", content)
    check_beginning(tmp_path / "v", LIMITS)
    assert vectors.words == expected.words
    assert vectors.rows == expected.rows
    np.testing.assert_array_equal(vectors.matrix, expected.matrix)
    assert set(read_words(tmp_path / "v", 3, LIMITS)) >= {b"the", b","}


def test_a_gzipped_file_over_the_limits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"raise download\.limits\.member_bytes"):
        read(tmp_path / "v", gzip.compress(PLAIN * 100_000, mtime=0))


def test_words_may_contain_spaces_and_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    vectors = read(tmp_path / "v", PLAIN + b". . 1 2 3\nat name@domain.com 1 2 3\ncaf\xe9 1 2 3\r\n")
    assert vectors.rows == 6


def test_without_wanted_words_the_matrix_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "v", PLAIN, ("absent",)).matrix.shape == (0, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PLAIN + b"short 1 2\n", "v:4: must be a word and 3 numbers"),
        (
            b"the 1 2 3\nfilm 1 2 3 4\n",
            "v:2: must be a word and 3 numbers separated by single spaces; got 4 spaces in b'film 1 2 3 4",
        ),
        (b"3 4\n" + PLAIN, "v:1: must be a word and 3 numbers"),
        (PLAIN + b"\n", "v:4: must be"),
        (b"the 1 x 3\n", "v:1: every field after the word must be a number"),
        (b"the 1 nan 3\n", "v:1: every number must be finite"),
        (b"the 1 1e99 3\n", "v:1: every number must be finite"),
        (b"", "v: contains no vectors"),
        (b"PK\x03\x04 and no more", "the archive is damaged or truncated"),
    ],
)
def test_a_malformed_row_is_reported_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "v", content)


def test_a_damaged_zip_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(write_zip(tmp_path / "z", {"a.3d.txt": PLAIN * 1000}))
    content[100] ^= 0xFF
    with pytest.raises(InputError, match=r"damaged|must be a word"):  # the text goes wrong before its checksum does
        read(tmp_path / "v", bytes(content))


@pytest.mark.parametrize(
    ("content", "dimension"),
    [
        (b"the 1 2 3 4\n", 4),
        (b"the 1 2\n", 2),
        (b". . 1 2 3 4 5\n", 5),
        (b"7 1 2\n", 2),
        (b"2 4\nthe 1 2 3 4\n", 4),
        (b"\xef\xbb\xbf2 4\r\nthe 1 2 3 4\r\n", 4),
    ],
)
def test_for_another_dimension_the_message_names_the_parameter(tmp_path: Path, content: bytes, dimension: int) -> None:
    with pytest.raises(
        InputError, match=f"v:1: must be .* {dimension} numbers.*; set vectors.fetched.dimension: {dimension}$"
    ):
        read(tmp_path / "v", content)


def test_for_other_dimensions_of_a_zip_file_the_message_names_the_parameter(tmp_path: Path) -> None:
    content = write_zip(tmp_path / "z", {"a.50d.txt": b"", "a.100d.txt": b""})
    with pytest.raises(InputError, match=r"; set vectors\.fetched\.dimension: 50 or 100$"):
        read(tmp_path / "v", content)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    assert read(tmp_path / "v", mark + PLAIN).words == ["the", "naïve"]
    assert read(tmp_path / "v", mark + b"3 3\n" + PLAIN).rows == 3
    assert read(tmp_path / "v", write_zip(tmp_path / "z", {"a.3d.txt": mark + PLAIN})).words == ["the", "naïve"]


@pytest.mark.parametrize("other", ["vec/", "__MACOSX/._glove.txt", "__MACOSX/vec/._glove.3d.txt", "vec/.DS_Store"])
def test_folders_hidden_files_and_macos_files_are_ignored(tmp_path: Path, other: str) -> None:
    content = write_zip(tmp_path / "z", {other: b"", "vec/glove.txt": PLAIN})
    assert read(tmp_path / "v", content).words == ["the", "naïve"]
    check_beginning(tmp_path / "v", LIMITS)


def in_tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("glove.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


# Files in another format, and the cause that both functions name.
OTHER_FILES = {
    "two spaces at the end": (b"the 1 2 3  \nfilm 4 5 6  \n", "v:1: .*must be a word"),
    "two spaces after the word": (b"the  1 2 3\nfilm  4 5 6\n", "v:1: .*two spaces in a row"),
    "two spaces between numbers": (b"the 1  2  3\nfilm 4  5  6\n", "v:1: .*two spaces in a row"),
    "two spaces in one row": (b"the 1 2 3\nfilm  4 5 6\n", "v:2: .*two spaces in a row"),
    "tabs": (b"the\t1\t2\t3\nfilm\t4\t5\t6\n", "v:1: .*the line has tabs"),
    "a tab after the word": (b"the\t1 2 3\nfilm\t4 5 6\n", "v:1: .*the line has tabs"),
    "commas": (b"the,1,2,3\nfilm,4,5,6\n", "v:1: .*got 0 spaces in b'the,1,2,3'"),
    "an empty line": (b"the 1 2 3\n\nfilm 4 5 6\n", "v:2: .*got 0 spaces in b''"),
    "gzip in a zip file": ({"glove.txt.gz": gzip.compress(PLAIN, mtime=0)}, r"v: glove\.txt\.gz: is compressed twice"),
    "gzip twice": (gzip.compress(gzip.compress(PLAIN, mtime=0)), "v: is compressed twice"),
    "half a gzip file": (gzip.compress(PLAIN, mtime=0)[:-12], "v: the archive is damaged or truncated"),
    "bzip2": (b"BZh91AY&SY", "v: is compressed with bzip2"),
    "a tar file": (in_tar(PLAIN), "v: is a tar archive"),
    "UTF-16": ("the 1 2 3\n".encode("utf-16"), "v: is UTF-16; save it as UTF-8"),
    "word2vec's binary format": (
        b"2 3\nthe " + bytes(12) + b"\nfilm " + bytes(12),
        "v: is a binary file; it must be text",
    ),
    "a web page": (b"<!DOCTYPE HTML>\n<html></html>\n", "v: is a web page"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid", "v: is a Git LFS pointer"),
    "nothing": (b"", "v: contains no vectors"),
    "a byte order mark and no more": (b"\xef\xbb\xbf", "v: contains no vectors"),
    "a zip file of nothing": ({}, "v: must contain one file, or one file named .*; it contains no files"),
    "a zip file of a folder": ({"vec/": b""}, "v: must contain one file, or one file named .*; it contains no files"),
    "a zip file of several files": (
        {"a.txt": PLAIN, "b.txt": PLAIN},
        r"v: must contain one file.*; it contains a\.txt, b\.txt",
    ),
}


@pytest.mark.parametrize(("content", "cause"), OTHER_FILES.values(), ids=list(OTHER_FILES))
def test_a_file_in_another_format_is_refused_with_the_cause(
    tmp_path: Path, content: bytes | dict[str, bytes], cause: str
) -> None:
    content = content if isinstance(content, bytes) else write_zip(tmp_path / "z", content)
    with pytest.raises(InputError, match=cause):
        read(tmp_path / "v", content, ("the", "film"))
    with pytest.raises(InputError, match=cause):
        check_beginning(tmp_path / "v", LIMITS)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        b"3 3\n" + PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN + b". . 1 2 3\n7 1 2 3\n",
    ],
)
def test_the_beginning_of_vectors_of_any_dimension_is_accepted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v").write_bytes(content)
    check_beginning(tmp_path / "v", LIMITS)
    write_zip(tmp_path / "z", {"vec/": b"", "vec/g.3d.txt": content, "vec/g.4d.txt": b"the 1 2 3 4\n"})
    check_beginning(tmp_path / "z", LIMITS)


@pytest.mark.parametrize("content", [b"A novel begins.\nIt goes on.\n", b"text,label\nFine,1\n", b"the 0,1 0,2\n"])
def test_the_beginning_of_another_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(InputError, match="v:1: must be a word and its numbers, separated by spaces; got"):
        check_beginning(tmp_path / "v", LIMITS)


@given(content=st.binary(max_size=200) | st.text("ab 1.-e\n\r", max_size=80).map(str.encode))
def test_any_bytes_give_vectors_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("v") / "v"
    path.write_bytes(content)
    with suppress(InputError):
        check_beginning(path, LIMITS)
    try:
        vectors = read(path, content, ("a", "b", "1"))
    except InputError:
        return
    assert np.isfinite(vectors.matrix).all()
