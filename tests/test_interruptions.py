"""Stages that are killed while they work, and end in the same bytes when they are run again."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.clone import RESUMED, Clone, heed_interrupts


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which all stages ran to their end."""
    clone = Clone(tmp_path_factory.mktemp("undisturbed"))
    clone.experiment(*RESUMED)
    return clone


# What a stage prints before it is killed, and what it then says it goes on from.
@pytest.mark.parametrize(
    ("stage", "line", "part"),
    [
        ("pretrain", r"epoch 0\.3", "models"),
        ("train", r"epoch 2/4", "chosen"),
        ("train", r"refit, epoch 1", "refitted"),
    ],
)
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_stage_goes_on_to_the_same_bytes(
    undisturbed: Clone, stage: str, line: str, part: str, kind: signal.Signals
) -> None:
    before = undisturbed.digests()
    command = [sys.executable, "-m", f"stages.{stage}"]
    with subprocess.Popen(
        command, cwd=undisturbed.folder, stdout=PIPE, stderr=PIPE, text=True, preexec_fn=heed_interrupts
    ) as process:
        assert process.stdout is not None
        while not re.match(line, process.stdout.readline()):
            assert process.poll() is None
        os.kill(process.pid, kind)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if kind == signal.SIGINT else -kind)
    assert "Traceback" not in errors
    if kind == signal.SIGINT:
        assert errors.splitlines()[-1].startswith("stopped; the same command goes on")
    assert part in undisturbed.run(sys.executable, "-m", f"stages.{stage}").partition("going on from")[2]
    assert undisturbed.digests() == before
    assert not list((undisturbed.folder / "resume").rglob("*.safetensors"))


def test_a_state_of_other_inputs_is_named_and_not_used(undisturbed: Clone) -> None:
    before = undisturbed.digests()
    other = undisturbed.folder / "resume" / "train" / f"{'0' * 64}-chosen.safetensors"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"of another run")
    assert f"{Path(*other.parts[-3:])}: is of other data" in undisturbed.run(sys.executable, "-m", "stages.train")
    assert not other.exists()
    assert undisturbed.digests() == before
