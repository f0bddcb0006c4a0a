"""The benchmark that runs on a GPU now and then, run small on a CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.cuda import run
from benchmarks.cuda.checks import Check, Record, Setting, plain
from benchmarks.cuda.pack import SPLITS, generate, pack, unpack
from benchmarks.cuda.run import PARTS, run_part
from sentiment.dataset.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.storage.tensors import save_tensors
from tests.conftest import random_reviews

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
# Python runs a module of this name at its start, also in the processes that the benchmark starts.
REFUSING = """
import sys

class Refusing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ImportError(name + " is not on the machine with the GPU")

sys.meta_path.insert(0, Refusing)
"""
ABSENT = "dvc dvclive jinja2 matplotlib pydantic ruamel spacy torchtext".split()


@pytest.fixture
def refusing(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which packages that the machine with the GPU lacks cannot be imported."""
    folder = tmp_path / "refusing"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(REFUSING.format(packages=ABSENT), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_an_absent_package_cannot_be_imported(refusing: dict[str, str]) -> None:
    ended = subprocess.run([sys.executable, "-c", "import spacy"], env=refusing, capture_output=True, text=True)
    assert "spacy is not on the machine with the GPU" in ended.stderr


def test_all_parts_run_on_a_cpu(refusing: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.cuda", "--device", "cpu", "--seconds", "400"]
    ended = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, env=refusing, capture_output=True, text=True, check=True
    )
    (path,) = tmp_path.glob("*.json")
    assert ended.stdout.splitlines()[-1] == str(path)
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert list(results) == ["machine", "settings", *PARTS]
    assert results["machine"]["torch"] == torch.__version__
    for part, checks in PARTS.items():
        assert list(results[part]) == list(checks)
        for name, figures in results[part].items():
            assert figures["findings"], name
            assert "error" not in figures, figures
            assert figures["seconds"] >= 0
    right = {name: figures["findings"] for name, figures in results["right"].items()}
    for check in ("networks against float64", "objective against float64"):
        assert [name for name in right[check]["above the tolerance"] if name.endswith("float32")] == []
    assert all(right["same bits twice"].values())
    assert right["killed and resumed"]["exit code of the killed process"] == -signal.SIGKILL
    assert right["killed and resumed"]["resumed to the same bits"]
    assert right["language models"]["resumed to the same bits"]
    together = results["two processes"]["two with gloo"]["findings"]["float32"]
    assert together["all have the same"]
    assert together["within the tolerance"]


def same_reviews(one: EncodedReviews, other: EncodedReviews) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("tokens", "offsets", "labels"))


def test_packed_reviews_are_unpacked_as_they_were(tmp_path: Path) -> None:
    splits = {split: random_reviews([3, 1, 40 + seed], 60_000, seed) for seed, split in enumerate(SPLITS)}
    for split, reviews in splits.items():
        save_tensors(tmp_path / f"{split}.safetensors", vars(reviews))
    path = tmp_path / "packed"
    assert pack(tmp_path, path) == path.stat().st_size
    assert all(same_reviews(reviews, splits[split]) for split, reviews in unpack(path).items())
    save_tensors(tmp_path / "test.safetensors", vars(random_reviews([2**16])))
    with pytest.raises(InputError, match="must have fewer than 65,536 tokens"):
        pack(tmp_path, path)


def test_generated_reviews_are_as_many_as_asked_for() -> None:
    reviews = generate({"train": 200, "test": 3}, median_length=20, vocabulary_size=50)
    assert {split: len(part) for split, part in reviews.items()} == {"train": 200, "test": 3}
    train = reviews["train"]
    assert 15 <= train.lengths.median() <= 25
    assert 2 <= train.tokens.min() <= train.tokens.max() <= 50
    assert train.labels.float().mean() == 0.5


def test_json_has_no_form_for_some_values() -> None:
    value = {"a": (1 / 3, torch.nan), 2: [True, None, torch.float32]}
    assert plain(value) == {"a": [0.3333, "nan"], "2": [True, None, "torch.float32"]}


def fail(setting: Setting, record: Record) -> None:
    record("before", 1)
    raise ValueError("too small")


def die(setting: Setting, record: Record) -> None:
    record("before", 1)
    record("before", 2)
    os.kill(os.getpid(), signal.SIGKILL)


def find(setting: Setting, record: Record) -> None:
    record("device", setting.device)


def test_a_check_that_fails_or_dies_leaves_the_others(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    checks: dict[str, Check] = {"fails": fail, "dies": die, "finds": find}
    run_part(checks, Setting(CPU, None, time.monotonic() + 300), found, lambda: None)
    assert list(found) == list(checks)
    assert found["fails"]["findings"] == {"before": 1}
    assert {name: found["fails"]["error"][name] for name in ("type", "message")} == {
        "type": "ValueError",
        "message": "too small",
    }
    assert "fail: raise ValueError" in found["fails"]["error"]["frames"][-1]
    assert found["dies"]["findings"] == {"before": 2}
    assert "died of SIGKILL" in found["dies"]["error"]["message"]
    assert found["finds"]["findings"] == {"device": "cpu"}
    assert "error" not in found["finds"]


class Scripted:
    """Stands for a process, of which the messages are known, and which takes its time for each."""

    def __init__(self, messages: list[tuple[str, object]], take_time: Callable[[], None]) -> None:
        self.messages, self.take_time = messages, take_time

    def receive(self, ends: float) -> tuple[str, object] | None:
        self.take_time()
        return self.messages.pop(0) if self.messages else None

    def end(self) -> dict[str, str]:
        return {"type": "ProcessError", "message": "took too long"}


ENDED = ("ended", {"seconds": 1.0})
TOO_LONG = {"error": {"type": "ProcessError", "message": "took too long"}}


@pytest.mark.parametrize(
    ("processes", "seconds", "expected"),
    [
        # a check that hangs, then another process
        (
            [[("started", "a")], [("started", "b"), ENDED]],
            0,
            {"a": {"findings": {}, **TOO_LONG}, "b": {"findings": {}, "seconds": 1.0}},
        ),
        # processes that do not even start
        ([[], []], 0, {"a": TOO_LONG, "b": TOO_LONG}),
        # one that has ended by itself after a check, since CUDA was no longer usable
        (
            [[("started", "a"), ENDED], [("started", "b"), ENDED]],
            0,
            {"a": {"findings": {}, "seconds": 1.0}, "b": {"findings": {}, "seconds": 1.0}},
        ),
        # one whose time is up, in a check and before any
        ([[("started", "a"), ("found", ("x", 1))]], 20, {"a": {"findings": {"x": 1}, **TOO_LONG}, "b": "not run"}),
        ([[]], 60, {"a": "not run", "b": "not run"}),
    ],
)
def test_each_check_is_accounted_for(
    monkeypatch: pytest.MonkeyPatch,
    processes: list[list[tuple[str, object]]],
    seconds: int,
    expected: dict[str, object],
) -> None:
    now = 0.0

    def take_time() -> None:
        nonlocal now
        now += seconds

    @contextmanager
    def started(setting: Setting, checks: dict[str, Check]) -> Iterator[Scripted]:
        yield Scripted(processes.pop(0), take_time)

    monkeypatch.setattr(run, "started", started)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    found: dict[str, Any] = {}
    run_part({"a": find, "b": find}, Setting(CPU, None, ends=60), found, lambda: None)
    assert found == expected
    assert processes == []
