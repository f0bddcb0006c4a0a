"""Stages that are killed while they work, and end in the same bytes when they are run again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest
import yaml

from sentiment.storage.outputs import remove, sha256_of
from tests.clone import RESUMED, Clone, heed_interrupts
from tests.conftest import imdb_members, write_archive
from tests.webserver import part_of, serving


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which all stages ran to their end."""
    clone = Clone(tmp_path_factory.mktemp("undisturbed"))
    clone.experiment(*RESUMED)
    return clone


# What a stage prints before it is killed, and the state that it then resumes from.
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
        errors = process.communicate()[1]
    assert process.returncode == (130 if kind == signal.SIGINT else -kind)
    assert "Traceback" not in errors
    if kind == signal.SIGINT:
        assert re.match(rf"stopped; run the same command to resume from resume/.*{part}", errors.splitlines()[-1])
    assert part in undisturbed.run(sys.executable, "-m", f"stages.{stage}").partition("resuming from")[2]
    assert undisturbed.digests() == before
    assert not list((undisturbed.folder / "resume").rglob("*.state"))


def test_a_state_of_other_inputs_is_named_and_not_used(undisturbed: Clone) -> None:
    before = undisturbed.digests()
    other = undisturbed.folder / "resume" / "train" / f"{'0' * 64}-chosen.state"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"of another run")
    said = undisturbed.run(sys.executable, "-m", "stages.train")
    assert f"{Path(*other.parts[-3:])}: ignored: saved with other data, parameters, code or hardware; starting" in said
    assert not other.exists()
    assert undisturbed.digests() == before


def test_an_experiment_that_is_killed_is_gone_on_with_by_the_next_of_the_same_inputs(undisturbed: Clone) -> None:
    before, states = undisturbed.digests(), undisturbed.folder / "resume" / "experiments" / "train"
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name"]
    settings = ["-S", "train.learning_rate=0.002"]
    environment = {**undisturbed.environment(), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "killed", *settings],
        cwd=undisturbed.folder,
        env=environment,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while not re.match(r"epoch 3/4", process.stdout.readline()):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    (state,) = states.iterdir()
    other = states / f"{'0' * 64}-chosen.state"
    other.write_bytes(b"of an experiment beside it")
    assert f"resuming from {state}" in undisturbed.run(*command, "gone-on", *settings)
    shutil.rmtree(undisturbed.folder / ".dvc" / "cache" / "runs")
    undisturbed.run(*command, "afresh", *settings)
    undisturbed.dvc("exp", "apply", "gone-on")
    gone_on = undisturbed.digests()
    undisturbed.dvc("exp", "apply", "afresh")
    assert undisturbed.digests() == gone_on != before
    assert list(states.iterdir()) == [other]


def test_a_killed_download_goes_on_from_the_byte_where_it_stopped(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "imdb.tar.gz", imdb_members(300).items())
    content, checksum = archive.read_bytes(), sha256_of(archive)
    (tmp_path / "clone").mkdir()
    clone = Clone(tmp_path / "clone")
    command = [sys.executable, "-m", "stages.download_corpus"]
    partial, corpus = clone.folder / f"downloads/{checksum}.part", clone.folder / "data/corpus.parquet"

    def first_half_only(start: int) -> Iterable[bytes]:
        """Send small pieces up to the middle, then nothing more."""
        yield part_of(content, start)
        for at in range(start, len(content) // 2, 1000):
            yield content[at : at + 1000]
            time.sleep(0.01)
        killed.wait()

    def everything(start: int) -> Iterator[bytes]:
        yield part_of(content, start)
        yield content[start:]

    killed = threading.Event()
    with serving(first_half_only) as server:
        point_at(clone, server.url, checksum)
        with subprocess.Popen(command, cwd=clone.folder, stderr=PIPE) as process:
            while not partial.exists() or partial.stat().st_size < 5000:
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
        killed.set()
    arrived = partial.stat().st_size
    assert 5000 <= arrived < len(content)
    assert partial.read_bytes() == content[:arrived]
    assert not corpus.exists()

    with serving(everything) as server:
        point_at(clone, server.url, checksum)
        clone.run(*command)
        assert server.starts == [arrived]
        continued = sha256_of(corpus)
        remove(clone.folder / "downloads")
        remove(corpus)
        clone.run(*command)
        assert server.starts == [arrived, 0]
    assert sha256_of(corpus) == continued


def point_at(clone: Clone, url: str, checksum: str) -> None:
    """Let the corpus be IMDb, in an archive of one's own."""
    path = clone.folder / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["download"] |= {"corpus": "imdb", "imdb": {"url": url, "sha256": checksum}}
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
