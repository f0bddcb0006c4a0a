"""Read the Large Movie Review Dataset (IMDb) from its archive without unpacking it to disk.

Maas et al. (2011), Learning Word Vectors for Sentiment Analysis, ACL. The dataset has 25,000 train and 25,000 test
reviews, each half positive (7 to 10 stars) and half negative (1 to 4 stars), and 50,000 unlabelled reviews.
"""

import re
from pathlib import Path

from tqdm import tqdm

from sentiment.corpora.reviews import Review
from sentiment.errors import InputError
from sentiment.storage.archives import Limits, tar_texts

REVIEW = re.compile(r"(train|test)/(pos|neg|unsup)/([0-9]{1,6})_([0-9]{1,2})\.txt")
URLS = re.compile(r"(train|test)/urls_(pos|neg|unsup)\.txt")
WANTED = re.compile(f"{REVIEW.pattern}|{URLS.pattern}")
FILM = re.compile(r"/title/(tt\d+)")
LABELS = {"pos": 1, "neg": 0, "unsup": None}


def read_imdb(archive: Path, limits: Limits) -> list[Review]:
    """Read all reviews of `aclImdb_v1.tar.gz`, sorted by id so that the order of the members does not matter.

    A review's id is its path without the suffix, as in `train/pos/0_9`. Its group is the film, taken for review n from
    line n (from 0) of the list of URLs. All files other than reviews and lists of URLs are skipped.

    Raises InputError for an archive that `tar_texts` refuses and for a review without a film.
    """
    texts: dict[tuple[str, str, int, int], str] = {}
    films: dict[tuple[str, str], list[str | None]] = {}
    with tqdm(desc="read", unit="review", disable=None) as bar:
        for name, text in tar_texts(archive, WANTED, limits):
            if match := REVIEW.fullmatch(name):
                part, kind, number, rating = match.groups()
                texts[part, kind, int(number), int(rating)] = text
                bar.update()
            elif match := URLS.fullmatch(name):
                part, kind = match.groups()
                films[part, kind] = [match[1] if (match := FILM.search(line)) else None for line in text.splitlines()]
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
