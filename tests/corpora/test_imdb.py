import io
import tarfile
from pathlib import Path

import pytest

from sentiment.corpora.imdb import read_imdb
from sentiment.corpora.reviews import write_corpus
from sentiment.errors import InputError
from tests.conftest import LIMITS, imdb_members, write_archive

MEMBERS = imdb_members()


def test_reviews_have_labels_ratings_and_films(tmp_path: Path) -> None:
    reviews = {review.id: review for review in read_imdb(write_archive(tmp_path / "a.tar.gz", MEMBERS.items()), LIMITS)}
    assert len(reviews) == 60
    positive, unlabelled = reviews["train/pos/4_8"], reviews["train/unsup/0_0"]
    assert (positive.split, positive.label, positive.rating) == ("train", 1, 8)
    assert positive.group == reviews["train/pos/3_8"].group != reviews["train/pos/2_8"].group
    assert (unlabelled.split, unlabelled.label, unlabelled.rating) == ("unsup", None, None)
    assert positive.text.encode() == MEMBERS["train/pos/4_8.txt"]


def test_the_order_and_format_of_the_archive_change_no_byte(tmp_path: Path) -> None:
    plain = write_archive(tmp_path / "plain.tar.gz", MEMBERS.items())
    with tarfile.open(tmp_path / "turned.tar.gz", "w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as archive:
        for name, content in reversed(MEMBERS.items()):
            member = tarfile.TarInfo(f"./aclImdb/{name}")
            member.size, member.mtime, member.uname = len(content), 12345, "someone"
            archive.addfile(member, io.BytesIO(content))
    outputs = []
    for archive_path in (plain, tmp_path / "turned.tar.gz"):
        write_corpus(tmp_path / "corpus.parquet", read_imdb(archive_path, LIMITS))
        outputs.append((tmp_path / "corpus.parquet").read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("name", ["aclImdb/../../train/pos/0_9.txt", "/aclImdb/train/pos/0_9.txt"])
def test_a_member_with_a_path_outside_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(InputError, match="leads out of the archive's folder"):
        read_imdb(tmp_path / "a.tar.gz", LIMITS)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("aclImdb/train/pos/0_9.txt")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match="is a link, a device or a sparse file"):
        read_imdb(tmp_path / "a.tar.gz", LIMITS)


def test_the_error_names_a_text_that_is_not_utf8(tmp_path: Path) -> None:
    members = {**MEMBERS, "train/neg/1_3.txt": b"caf\xe9"}
    with pytest.raises(InputError, match=r"aclImdb/train/neg/1_3\.txt is not UTF-8 at byte 3"):
        read_imdb(write_archive(tmp_path / "a.tar.gz", members.items()), LIMITS)


def test_the_error_names_a_review_without_a_film(tmp_path: Path) -> None:
    address = b"http://www.imdb.com/title/tt1/usercomments\n"
    for urls in (address, address + b"http://www.imdb.com/\n" + address):
        members = {**MEMBERS, "test/urls_pos.txt": urls}
        with pytest.raises(InputError, match=r"test/pos/1_8\.txt has no film in line 2 of test/urls_pos\.txt"):
            read_imdb(write_archive(tmp_path / "a.tar.gz", members.items()), LIMITS)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "a.tar.gz", MEMBERS.items()).read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 9):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged or truncated"):
            read_imdb(tmp_path / "cut.tar.gz", LIMITS)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"this is not aclImdb_v1\.tar\.gz"):
        read_imdb(write_archive(tmp_path / "a.tar.gz", [("README", b"")]), LIMITS)
