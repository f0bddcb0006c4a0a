import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sentiment.corpora.reviews import SENTIMENT
from sentiment.errors import InputError
from sentiment.evaluation.behaviour import Cases, read_cases, shares_passed
from tests.clone import ROOT

FILE = ROOT / "examples" / "behaviour.csv"


def test_each_capability_has_equally_many_cases_of_both_labels() -> None:
    cases = read_cases(FILE, SENTIMENT)
    counts = Counter(zip(cases.capabilities, cases.labels.tolist(), strict=True))
    assert set(counts.values()) == {10}
    assert len(set(cases.texts)) == len(cases.texts) == 100


def test_shares_match_a_hand_calculation() -> None:
    cases = Cases(["a", "b", "a", "a"], np.array([1, 0, 0, 1]), ["", "", "", ""])
    always = {"yes": np.ones(4, dtype=np.int64), "no": np.zeros(4, dtype=np.int64)}
    assert shares_passed(cases, always) == {
        "capability": ["a", "b"],
        "yes": [pytest.approx(2 / 3, abs=1e-6), 0.0],
        "no": [pytest.approx(1 / 3, abs=1e-6), 1.0],
        "cases": [3, 1],
    }


@pytest.mark.parametrize("content", ["", "capability,label\na,positive\n", "\x80"])
def test_a_file_that_holds_no_cases_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"cases\.csv: must be CSV with the columns capability, label and text"):
        read_cases(path, SENTIMENT)


@pytest.fixture
def usual_limit() -> Iterator[None]:
    """Limit fields of CSV as Python does, which reading large files of texts changes in the whole process."""
    before = csv.field_size_limit(1 << 17)
    yield
    csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("a,positive\n", "row 2 has 2 fields, the header 3"),
        ("a,positive,Good, really\n", "row 2 has 4 fields, the header 3; quote texts with commas"),
        (f'a,positive,"{"x" * 140_000}\n', "field larger than field limit"),
    ],
)
def test_a_row_that_is_no_case_is_named(usual_limit: None, tmp_path: Path, rows: str, found: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(f"capability,label,text\n{rows}", encoding="utf-8")
    with pytest.raises(InputError, match=rf"must be CSV with the columns capability, label and text: {found}"):
        read_cases(path, SENTIMENT)


def test_a_byte_order_mark_and_empty_lines_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("\ufeffcapability,label,text\na,positive,x\n\nb,negative,y\n\n", encoding="utf-8")
    cases = read_cases(path, SENTIMENT)
    assert (cases.capabilities, cases.labels.tolist(), cases.texts) == (["a", "b"], [1, 0], ["x", "y"])


def test_cases_about_other_labels_are_not_used(tmp_path: Path) -> None:
    assert read_cases(FILE, ["ham", "spam"]).texts == []
    path = tmp_path / "cases.csv"
    path.write_text("capability,label,text\na,ham,x\na,eggs,y\n", encoding="utf-8")
    assert read_cases(path, SENTIMENT).texts == []
    with pytest.raises(InputError, match=r"cases\.csv, row 3: the label must be one of ham, spam; got 'eggs'"):
        read_cases(path, ["ham", "spam"])
