from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sentiment.errors import InputError
from sentiment.evaluation.behaviour import Cases, read_cases, shares_passed
from tests.clone import ROOT

FILE = ROOT / "examples" / "behaviour.csv"


def test_each_capability_has_equally_many_cases_of_both_labels() -> None:
    cases = read_cases(FILE)
    counts = Counter(zip(cases.capabilities, cases.labels.tolist(), strict=True))
    assert set(counts.values()) == {10}
    assert len(set(cases.texts)) == len(cases.texts) == 100


def test_shares_match_a_hand_calculation() -> None:
    cases = Cases(["a", "b", "a", "a"], np.array([1, 0, 0, 1], dtype=np.int8), ["", "", "", ""])
    always = {"yes": np.full(4, fill_value=True), "no": np.full(4, fill_value=False)}
    assert shares_passed(cases, always) == {
        "capability": ["a", "b"],
        "yes": [pytest.approx(2 / 3, abs=1e-6), 0.0],
        "no": [pytest.approx(1 / 3, abs=1e-6), 1.0],
        "cases": [3, 1],
    }


@pytest.mark.parametrize("content", ["", "capability,label\na,pos\n", "capability,label,text\na,good,x\n", "\x80"])
def test_a_file_that_holds_no_cases_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(
        InputError, match=r"cases\.csv: must be CSV with the columns capability, label \(one of neg, pos\)"
    ):
        read_cases(path)
