"""Two processes at one model, started by PyTorch's own launcher, over gloo."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentiment.errors import InputError
from sentiment.processes import launch
from tests.together import outcome

Figures = dict[str, list[float]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that has two processes train, and returns what each wrote down."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def tell(reviews: int, dropout: float = 0.0, **more: int) -> list[Figures]:
        order = {"processes": 2, "folder": str(tmp_path), "reviews": reviews, "dropout": dropout, **more}
        monkeypatch.setenv("TOGETHER", json.dumps(order))
        launch("tests.together", 2)
        return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    return tell


# Of 203 reviews the last batch holds 11, of 65 a single one, with which one of the processes has nothing to do.
@pytest.mark.parametrize("reviews", [203, 65])
def test_two_processes_learn_what_one_learns(told: Any, reviews: int) -> None:
    first, second = told(reviews)
    assert first == second
    alone = outcome(reviews, 0.0)
    for name, values in alone.items():
        assert first[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name


def test_two_processes_give_the_same_bits_twice_and_dropout_of_their_own(told: Any) -> None:
    first, again = told(120, dropout=0.3), told(120, dropout=0.3)
    assert first == again
    assert first[0]["train_loss"] != pytest.approx(outcome(120, 0.3)["train_loss"], rel=1e-3)


def test_one_that_dies_ends_the_others(told: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"tests\.together: process 1 of 2, counted from 0, was killed by SIGKILL"):
        told(203, victim=1)
    assert capfd.readouterr().err == ""


def test_a_signal_during_the_clearing_up_disturbs_nothing() -> None:
    clearing = (
        "import atexit, os, signal, stages; from sentiment.processes import leave; "
        "signal.signal(signal.SIGTERM, leave); atexit.register(os.kill, os.getpid(), signal.SIGTERM); "
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    ended = subprocess.run([sys.executable, "-c", clearing], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_another_number_than_was_started_is_refused(told: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="ended for the reason above"):
        told(65, processes=3)
    assert "train.processes is 3, but torchrun started 2" in capfd.readouterr().err
