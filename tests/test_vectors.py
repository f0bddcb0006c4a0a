import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.errors import InputError
from sentiment.vectors import WordVectors, read_vectors
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


def test_wanted_rows_alone_are_kept(tmp_path: Path) -> None:
    vectors = read(tmp_path / "v", PLAIN)
    assert vectors.words == ["the", "naïve"]
    np.testing.assert_array_equal(vectors.matrix, np.array([[0.1, 0.2, 0.3], [4, 5, 6]], dtype=np.float32))
    assert vectors.rows == 3


@pytest.mark.parametrize("names", [("only.txt",), ("glove.3d.txt", "glove.50d.txt"), ("a.txt", "b.3d.txt")])
def test_a_zip_is_known_by_content_and_its_member_by_dimension(tmp_path: Path, names: tuple[str, ...]) -> None:
    members = {name: PLAIN if name in ("only.txt", "glove.3d.txt", "b.3d.txt") else b"the 0 0\n" for name in names}
    assert read(tmp_path / "v", write_zip(tmp_path / "z", members)).words == ["the", "naïve"]


def test_a_zip_without_a_fitting_member_is_refused(tmp_path: Path) -> None:
    content = write_zip(tmp_path / "z", {"a.50d.txt": b"", "a.100d.txt": b""})
    with pytest.raises(InputError, match=r"one member named \*\.3d\.txt; it holds a\.50d\.txt, a\.100d\.txt"):
        read(tmp_path / "v", content)


def test_the_first_row_of_a_repeated_word_counts(tmp_path: Path) -> None:
    vectors = read(tmp_path / "v", PLAIN + b"the 7 8 9\nother 1 2 3\nother 1 2 3\n")
    assert vectors.repeated == 1
    assert vectors.matrix[0, 0] == np.float32(0.1)


def test_the_header_of_word2vec_is_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path / "v", b"3 3\n" + PLAIN).rows == 3


def test_words_may_hold_spaces_and_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    vectors = read(tmp_path / "v", PLAIN + b". . 1 2 3\nat name@domain.com 1 2 3\ncaf\xe9 1 2 3\r\n")
    assert vectors.rows == 6


def test_no_wanted_word_gives_an_empty_matrix(tmp_path: Path) -> None:
    assert read(tmp_path / "v", PLAIN, ("absent",)).matrix.shape == (0, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PLAIN + b"short 1 2\n", "v:4: must be a word and 3 numbers"),
        (
            b"the 1 2 3 4\n",
            "v:1: must be a word and 3 numbers separated by single spaces; got 4 spaces in b'the 1 2 3 4",
        ),
        (b"3 4\n" + PLAIN, "v:1: must be a word and 3 numbers"),
        (PLAIN + b"\n", "v:4: must be"),
        (b"the 1 x 3\n", "v:1: every field after the word must be a number"),
        (b"the 1 nan 3\n", "v:1: every number must be finite"),
        (b"the 1 1e99 3\n", "v:1: every number must be finite"),
        (b"", "v: holds no vectors"),
        (b"PK\x03\x04 and no more", "the zip file is damaged or truncated"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "v", content)


def test_a_damaged_zip_is_named(tmp_path: Path) -> None:
    content = bytearray(write_zip(tmp_path / "z", {"a.3d.txt": PLAIN * 1000}))
    content[100] ^= 0xFF
    with pytest.raises(InputError, match=r"damaged|must be a word"):  # the text goes wrong before its checksum does
        read(tmp_path / "v", bytes(content))


@given(content=st.binary(max_size=200) | st.text("ab 1.-e\n\r", max_size=80).map(str.encode))
def test_any_bytes_give_vectors_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("v") / "v"
    try:
        vectors = read(path, content, ("a", "b", "1"))
    except InputError:
        return
    assert np.isfinite(vectors.matrix).all()
