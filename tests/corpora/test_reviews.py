from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sentiment.corpora import reviews as module
from sentiment.corpora.reviews import ROW_GROUP_REVIEWS, SCHEMA, read_batches, read_corpus, write_corpus
from sentiment.errors import InputError
from tests.conftest import review

REVIEWS = [
    review(id=f"{split}/{label}", split=split, label=label) for split in ("train", "test") for label in (0, 1)
] + [review(id="unsup/0", split="unsup", label=None)]


def test_a_written_corpus_is_read_unchanged(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.parquet", REVIEWS)
    columns = read_corpus(tmp_path / "corpus.parquet", SCHEMA.names)
    assert columns == {name: [getattr(review, name) for review in REVIEWS] for name in SCHEMA.names}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (review(split="dev"), "here:1: the split must be one of train, test, unsup; got 'dev'"),
        (review(label=None), "here:1: a review of train or test needs a label"),
        (review(split="unsup"), "a review of unsup must have none"),
        (review(text=""), "here:1: the review is empty or only white space"),
        (review(text=" \n\t\xa0"), "here:1: the review is empty or only white space"),
        (review(text="\ud800"), "here:1: the text contains half a surrogate pair"),
    ],
)
def test_an_invalid_review_is_reported_and_no_file_is_left(tmp_path: Path, wrong: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_corpus(tmp_path / "corpus.parquet", [*REVIEWS, wrong])  # type: ignore[list-item]
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_a_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"corpus\.parquet: is not a corpus"):
        read_corpus(tmp_path / "corpus.parquet", ["text"])


def write_numbers(path: Path, count: int) -> list[str]:
    """Write a corpus that ends in reviews with the texts 0, 1, ..., and return all texts."""
    numbers = [review(id=str(number), text=str(number)) for number in range(count)]
    write_corpus(path, [*REVIEWS, *numbers])
    return [each.text for each in [*REVIEWS, *numbers]]


@pytest.mark.parametrize(("batch_bytes", "most"), [(1, 1), (10_000, ROW_GROUP_REVIEWS), (1 << 40, 4505)])
def test_batches_keep_the_order_of_the_reviews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int, most: int
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", batch_bytes)
    texts = write_numbers(tmp_path / "corpus.parquet", 4500)
    batches = list(read_batches(tmp_path / "corpus.parquet", ["text"]))
    assert [text for batch in batches for text in batch["text"].to_pylist()] == texts
    assert 0.5 * most < max(map(len, batches)) <= most


def test_only_the_chosen_reviews_are_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    texts = write_numbers(tmp_path / "corpus.parquet", 9)
    chosen = np.isin(np.arange(len(texts)), [3, len(texts) - 1])
    batches = read_batches(tmp_path / "corpus.parquet", ["text"], chosen)
    assert [batch["text"].to_pylist() for batch in batches] == [[texts[3]], ["8"]]


def test_a_file_that_is_not_a_corpus_gives_no_batches(tmp_path: Path) -> None:
    (tmp_path / "corpus.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"corpus\.parquet: is not a corpus"):
        list(read_batches(tmp_path / "corpus.parquet", ["text"]))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_with_one_label_is_refused(tmp_path: Path, split: str) -> None:
    reviews = [review for review in REVIEWS if (review.split, review.label) != (split, 1)]
    with pytest.raises(InputError, match=f"the {split} split needs reviews of each label; it has none with positive"):
        write_corpus(tmp_path / "corpus.parquet", reviews)


def test_a_damaged_corpus_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    write_corpus(path, REVIEWS)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            path.write_bytes(content)
            with suppress(InputError):  # not every byte matters
                read_corpus(path, ["id", "text"])
            with suppress(InputError):
                list(read_batches(path, ["text"]))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"corpus\.parquet"):
        read_corpus(path, ["id"])
