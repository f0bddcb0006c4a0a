"""Texts and labels of files of several formats."""

from pathlib import Path

import numpy as np
import pytest

from sentiment.drift.texts import Batch, Labels, read_labelled_texts
from sentiment.errors import InputError

LABELS = Labels("verdict", {"bad": 0, "1": 1})
FILES = {
    "a.csv": "text,verdict\nDull.,bad\n,bad\nFine.,1\nOdd.,other\ntoo,many,fields\n",
    "a.jsonl": '{"text": "Dull.", "verdict": "bad"}\n{"text": null, "verdict": "bad"}\n'
    '{"text": "Fine.", "verdict": 1}\n{"text": "Odd."}\n{"text": 3, "verdict": 1.0}\n',
    "a.txt": "__label__bad Dull.\n<br />\n__label__1 Fine.\nOdd.\n<BR>\n",
}


@pytest.mark.parametrize("name", FILES)
def test_texts_keep_their_labels_and_the_others_are_counted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    (batch,) = read_labelled_texts(tmp_path / name, "text", LABELS)
    assert batch.texts.to_pylist() == ["Dull.", "Fine.", "Odd."]
    assert batch.labels.tolist() == [0, 1, -1]
    assert batch.rows == 5
    assert batch.problem.startswith("" if name == "a.txt" else f"{tmp_path / name}:")
    assert bool(batch.problem) == (name != "a.txt")


def test_without_a_label_column_no_label_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(FILES["a.csv"])
    (batch,) = read_labelled_texts(tmp_path / "a.csv", "text")
    assert np.array_equal(batch.labels, [-1, -1, -1])


def test_many_rows_come_in_several_batches(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Fine.\n" * 2_500)
    batches: list[Batch] = list(read_labelled_texts(tmp_path / "a.txt", "text"))
    assert [batch.rows for batch in batches] == [1_024, 1_024, 452]


def test_batches_of_long_texts_have_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment.drift.texts.CHARACTERS", 10)
    (tmp_path / "a.txt").write_text("Fine.\n" * 7)
    assert [batch.rows for batch in read_labelled_texts(tmp_path / "a.txt", "text")] == [3, 3, 1]


def test_no_label_is_not_the_label_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Fine.", "verdict": null}\n{"text": "Odd.", "verdict": "None"}\n')
    (batch,) = read_labelled_texts(tmp_path / "a.jsonl", "text", Labels("verdict", {"None": 0, "bad": 1}))
    assert batch.labels.tolist() == [-1, 0]


def test_objects_of_json_may_have_their_first_label_late(tmp_path: Path) -> None:
    unlabelled, labelled = '{"text": "Fine."}\n', '{"text": "Dull.", "verdict": "bad"}\n'
    (tmp_path / "a.jsonl").write_text(unlabelled * 1_024 + labelled)
    first, second = read_labelled_texts(tmp_path / "a.jsonl", "text", LABELS)
    assert (first.labels == -1).all()
    assert second.labels.tolist() == [0]
    with pytest.raises(
        InputError, match=r"has no column 'grade' \(--label-column\); its columns are 'text', 'verdict'"
    ):
        list(read_labelled_texts(tmp_path / "a.jsonl", "text", LABELS._replace(column="grade")))


def test_a_label_is_spelt_as_training_spells_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Fine.", "verdict": 5.0}\n{"text": "Dull.", "verdict": true}\n')
    (batch,) = read_labelled_texts(tmp_path / "a.jsonl", "text", Labels("verdict", {"true": 0, "5.0": 1}))
    assert batch.labels.tolist() == [1, 0]


def test_a_label_that_is_a_whole_number_is_spelt_with_all_its_digits(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Fine.", "verdict": 20261128.0}')
    (batch,) = read_labelled_texts(tmp_path / "a.jsonl", "text", Labels("verdict", {"bad": 0, "20261128": 1}))
    assert batch.labels.tolist() == [1]


@pytest.mark.parametrize(("text", "label", "option"), [("body", "verdict", "text"), ("text", "grade", "label")])
def test_a_missing_column_is_named_with_its_option(tmp_path: Path, text: str, label: str, option: str) -> None:
    (tmp_path / "a.csv").write_text(FILES["a.csv"])
    with pytest.raises(InputError, match=rf"has no column '\w+' \(--{option}-column\); its columns are 'text', 'verd"):
        list(read_labelled_texts(tmp_path / "a.csv", text, LABELS._replace(column=label)))
