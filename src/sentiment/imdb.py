"""The Large Movie Review Dataset, read from its archive without unpacking it.

Maas et al. (2011), Learning Word Vectors for Sentiment Analysis, ACL. 25,000 train and 25,000 test reviews, half of
each positive (7 to 10 stars) and half negative (1 to 4), and 50,000 without a label.
"""

import gzip
import re
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from sentiment.corpus import Review
from sentiment.errors import InputError

REVIEW = re.compile(r"(train|test)/(pos|neg|unsup)/(\d+)_(\d+)\.txt")
URLS = re.compile(r"(train|test)/urls_(pos|neg|unsup)\.txt")
FILM = re.compile(r"/title/(tt\d+)")
DRAIN_BYTES = 1 << 20
LABELS = {"pos": 1, "neg": 0, "unsup": None}


def read_imdb(archive: Path) -> list[Review]:
    """Return all reviews of `aclImdb_v1.tar.gz`, sorted by id, whatever the order of its members.

    The id is the member's path without suffix, as in `train/pos/0_9`; the group is the film, from line n of the
    list of addresses for review n. Files of the archive that are neither are passed over.

    Raises InputError for an archive that is damaged or truncated, for a member that is a link or a device or whose
    path leads out of the archive's folder, for text that is not UTF-8 and for a review without an address.
    """
    texts: dict[tuple[str, str, int, int], str] = {}
    films: dict[tuple[str, str], list[str | None]] = {}
    try:
        with (
            gzip.open(archive) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,  # read once, front to back: to seek is to inflate again
            tqdm(desc="read", unit="review", disable=None) as bar,
        ):
            for member in tar:
                name = _safe_name(archive, member)
                if match := REVIEW.fullmatch(name):
                    part, kind, number, rating = match.groups()
                    texts[part, kind, int(number), int(rating)] = _read_text(archive, tar, member)
                    bar.update()
                elif match := URLS.fullmatch(name):
                    part, kind = match.groups()
                    lines = _read_text(archive, tar, member).splitlines()
                    films[part, kind] = [match[1] if (match := FILM.search(line)) else None for line in lines]
            while stream.read(DRAIN_BYTES):  # up to gzip's own checksum, which stands behind the last member
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"{archive}: the archive is damaged or truncated ({error}); fetch it again") from error
    if not texts:
        raise InputError(f"{archive}: no member is named like aclImdb/train/pos/0_9.txt; this is not aclImdb_v1.tar.gz")
    reviews = [
        _review(archive, part, kind, number, rating, text, films.get((part, kind), []))
        for (part, kind, number, rating), text in texts.items()
    ]
    return sorted(reviews, key=lambda review: review.id)


def _review(
    archive: Path, part: str, kind: str, number: int, rating: int, text: str, films: list[str | None]
) -> Review:
    name = f"{part}/{kind}/{number}_{rating}"
    if number >= len(films) or films[number] is None:
        raise InputError(f"{archive}: {name}.txt has no film in line {number + 1} of {part}/urls_{kind}.txt")
    return Review(
        id=name,
        split="unsup" if kind == "unsup" else part,
        label=LABELS[kind],
        rating=None if kind == "unsup" else rating,
        group=films[number],
        text=text,
        where=f"{archive}: {name}.txt",
    )


def _safe_name(archive: Path, member: tarfile.TarInfo) -> str:
    """Return the member's path below the archive's top folder, or refuse what no honest archive has."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"{archive}: the member {member.name!r} leads out of the archive's folder; do not trust this file"
        )
    if not (member.isfile() or member.isdir()):
        raise InputError(f"{archive}: the member {member.name!r} is a link or a device; do not trust this file")
    return "/".join(path.parts[1:])


def _read_text(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    assert file is not None, "only files are read, and _safe_name lets no link pass"
    try:
        return file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{archive}: {member.name} is not UTF-8 at byte {error.start:,}") from error
