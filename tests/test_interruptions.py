"""Stages that are killed while they work, and end in the same bytes when they are run again."""

import os
import re
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
from tests.clone import RESUMED, Clone, allow_interrupts
from tests.conftest import imdb_members, write_archive
from tests.webserver import part_of, serving

pytestmark = pytest.mark.slow


NOT_READ = ("data/corpus.parquet", "data/prepared/splits.safetensors", "data/prepared/test.safetensors")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the stages up to training ran to their end, without the files that training may not read.

    Neither pretraining nor training reads the corpus or the test reviews, so that both can run again.
    """
    clone = Clone(tmp_path_factory.mktemp("undisturbed"))
    clone.set_parameters(*RESUMED)
    clone.dvc("repro", "train")
    for name in NOT_READ:
        (clone.folder / name).unlink()
    return clone


def test_a_model_starts_from_language_models(undisturbed: Clone) -> None:
    assert 1 < undisturbed.metrics("pretrain")["perplexity"] < undisturbed.metrics("prepare")["vocabulary"]
    page = Path(undisturbed.dvc("plots", "show", "pretrained/perplexity.csv").strip().removeprefix("file://"))
    assert "perplexity.csv" in page.read_text()


# The line after which a stage is killed, and the saved state from which it then resumes.
IN_PRETRAINING = (r"epoch 0\.3", "models")
IN_TRAINING = (r"epoch 2/4", "chosen")
IN_REFIT = (r"refit, epoch 1", "refitted")
KILL, INTERRUPT = signal.SIGKILL, signal.SIGINT


@pytest.mark.parametrize(
    ("stage", "kills"),
    [
        ("pretrain", [(*IN_PRETRAINING, INTERRUPT)]),
        ("train", [(*IN_TRAINING, KILL), (*IN_REFIT, INTERRUPT)]),
        pytest.param("pretrain", [(*IN_PRETRAINING, KILL)], marks=pytest.mark.campaign),
        pytest.param("train", [(*IN_TRAINING, INTERRUPT), (*IN_REFIT, KILL)], marks=pytest.mark.campaign),
    ],
)
def test_a_killed_stage_resumes_from_its_own_state_alone_and_ends_in_the_same_bytes(
    undisturbed: Clone, stage: str, kills: list[tuple[str, str, signal.Signals]]
) -> None:
    before, expected = undisturbed.digests(), "ignored: saved with other data, parameters, code or hardware; starting"
    command = [sys.executable, "-m", f"stages.{stage}"]
    other = undisturbed.folder / "resume" / stage / f"{'0' * 64}-{kills[0][1]}.state"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"of other inputs")
    for line, part, kind in kills:
        with subprocess.Popen(
            command, cwd=undisturbed.folder, stdout=PIPE, stderr=PIPE, text=True, preexec_fn=allow_interrupts
        ) as process:
            assert process.stdout is not None
            printed = ""
            while not re.match(line, last := process.stdout.readline()):
                assert process.poll() is None
                printed += last
            os.kill(process.pid, kind)
            errors = process.communicate()[1]
        assert re.search(expected, printed)
        expected = rf"resuming from .*{part}"
        assert process.returncode == (130 if kind == INTERRUPT else -kind)
        assert "Traceback" not in errors
        if kind == INTERRUPT:
            assert re.match(rf"stopped; run the same command to resume from resume/.*{part}", errors.splitlines()[-1])
    assert re.search(expected, undisturbed.run(*command))
    assert undisturbed.digests() == before
    assert not list((undisturbed.folder / "resume").rglob("*.state"))


def trained(lock: str) -> object:
    """Return the checksums of what training put out, from the text of a dvc.lock."""
    return yaml.safe_load(lock)["stages"]["train"]["outs"]


def trained_in(clone: Clone, experiment: str) -> object:
    (name,) = re.findall(rf"refs/exps/.+/{experiment}\b", clone.run("git", "for-each-ref"))
    return trained(clone.run("git", "show", f"{name}:dvc.lock"))


def test_a_killed_experiment_is_resumed_by_the_next_with_the_same_inputs(undisturbed: Clone) -> None:
    states = undisturbed.folder / "resume" / "experiments" / "train"
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name"]
    settings = ["-S", "train.learning_rate=0.002", "train"]
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
    other.write_bytes(b"of another experiment")
    assert f"resuming from {state}" in undisturbed.run(*command, "resumed", *settings)
    undisturbed.forget("train")
    assert "Running stage 'train'" in undisturbed.run(*command, "undisturbed", *settings)
    before = trained((undisturbed.folder / "dvc.lock").read_text())
    assert trained_in(undisturbed, "resumed") == trained_in(undisturbed, "undisturbed") != before
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
