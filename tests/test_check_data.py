"""`stages.check_data` on a small run: which texts are like those of training, and what it says of mistakes."""

import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from sentiment.corpora.reviews import SENTIMENT, read_corpus
from sentiment.drift.comparison import COPIES, DISTANCE, FREQUENT, OTHER_LABEL, UNKNOWN, UNSEEN
from sentiment.errors import InputError
from stages.check_data import UNLIKE, main
from tests.clone import Clone

pytestmark = pytest.mark.slow

SPANISH = "La película me pareció aburrida. Mi hermana dijo que era buena. No la volvería a ver nunca."

Write = Callable[[list[str]], str]


@pytest.fixture(autouse=True)
def folder(small_run: Clone) -> Iterator[Path]:
    """The folder of the run, in which the command runs."""
    with chdir(small_run.folder):
        yield small_run.folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes texts to a file."""

    def write(texts: list[str]) -> str:
        (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        return str(tmp_path / "texts.jsonl")

    return write


def read_split(split: str) -> tuple[list[str], list[str]]:
    """Return the texts of a split and the names of their labels."""
    corpus = read_corpus(Path("data/corpus.parquet"), ["split", "label", "text"])
    rows = zip(corpus["split"], corpus["label"], corpus["text"], strict=True)
    texts, labels = zip(*((text, SENTIMENT[label]) for place, label, text in rows if place == split), strict=True)
    return list(texts), list(labels)


def unlike(folder: Path) -> set[str]:
    rows = json.loads((folder / "check.json").read_text())
    return {row["measure"] for row in rows if row["is_alike"] is False}


def test_the_test_split_is_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels = read_split("test")
    spelt = ["bad" if label == "negative" else label for label in labels]
    rows = [{"body": text, "verdict": label} for text, label in zip(texts, spelt, strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--text-column", "body", "--label-column", "verdict", "--labels", "bad, positive"]
    assert main([str(tmp_path / "a.jsonl"), *options, "--output", str(tmp_path / "check")]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("\nalike in all measures\n")
    assert printed.startswith((tmp_path / "check" / "check.md").read_text())
    assert (tmp_path / "check" / "check.svg").read_text().startswith("<?xml")
    assert unlike(tmp_path / "check") == set()
    assert main([str(tmp_path / "a.jsonl"), *options[:-1], "worse,better"]) == UNLIKE
    assert OTHER_LABEL in capsys.readouterr().out.splitlines()[-1]


def test_each_file_may_be_one_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, _ = read_split("test")
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text.replace(". ", ".\n"))
    main([str(tmp_path), "--whole-files"])
    assert re.search(rf"\| texts +\| {len(texts)} ", capsys.readouterr().out)


def test_shuffled_words_show_in_pairs_and_in_no_count_of_words(write: Write, tmp_path: Path) -> None:
    shuffled = [text.split() for text in read_split("test")[0]]
    for words in shuffled:
        random.Random(1).shuffle(words)
    assert main([write([" ".join(words) for words in shuffled]), "--output", str(tmp_path)]) == UNLIKE
    found = unlike(tmp_path)
    assert UNSEEN in found
    assert not found & {UNKNOWN, FREQUENT, DISTANCE}


def test_another_language_shows_in_the_words(write: Write, tmp_path: Path) -> None:
    assert main([write([SPANISH] * 50), "--output", str(tmp_path)]) == UNLIKE
    assert unlike(tmp_path) >= {UNKNOWN, FREQUENT, DISTANCE}


def test_copies_of_training_texts_are_found(write: Write, tmp_path: Path) -> None:
    assert main([write(read_split("train")[0]), "--output", str(tmp_path)]) == UNLIKE
    assert COPIES in unlike(tmp_path)


def test_the_same_texts_give_the_same_bytes(write: Write, tmp_path: Path) -> None:
    for name in ("first", "second"):
        main([write(read_split("test")[0]), "--output", str(tmp_path / name)])
    for name in ("check.md", "check.json", "check.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_mistake_ends_in_one_line_and_unlike_texts_with_a_status_of_their_own(
    small_run: Clone, write: Write, model_folder: Path
) -> None:
    command = [sys.executable, "-m", "stages.check_data", write([SPANISH] * 50)]
    assert "unlike the validation split in: " in small_run.run(*command, status=UNLIKE)
    said = small_run.run(*command, "--text-column", "body", status=1)
    assert said.startswith(f"error: {command[-1]}: has no column 'body' (--text-column); its columns are 'text'")
    assert said.count("\n") == 1
    with pytest.raises(InputError, match=r"has another vocabulary than data/prepared/vocabulary\.json; name the model"):
        main([command[-1], "--model", str(model_folder)])
    with pytest.raises(InputError, match=r"^--labels must be 2 spellings, of negative, positive; got bad$"):
        main([command[-1], "--label-column", "verdict", "--labels", "bad"])
    with pytest.raises(InputError, match=r"^of 2 rows none has a text$"):
        main([write(["", "<br />"])])
