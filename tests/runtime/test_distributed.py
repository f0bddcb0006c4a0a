"""Two processes at one model, started by PyTorch's own launcher, over gloo."""

import atexit
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from sentiment.errors import InputError
from sentiment.runtime.distributed import broadcast_flag, launch, process_group
from tests.two_processes import outcome

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
BLOCKED = """
import ctypes, stages
from sentiment.runtime.distributed import end_on_sigterm

end_on_sigterm(grace_seconds=0.5)
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
libc.pthread_mutex_init(mutex, None)
libc.pthread_mutex_lock(mutex)
print("blocked", flush=True)
libc.pthread_mutex_lock(mutex)  # waits for itself, without Python's lock, as a call of CUDA does
"""
FAILED = """
import atexit, os, time, stages
import torch
import torch.distributed as dist
from sentiment.errors import InputError
from sentiment.runtime.distributed import process_group
from stages.run import one_line_errors

atexit.register(time.sleep, 60)
os.environ.update({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "1", "RANK": "0"})
os.environ.update({"MASTER_ADDR": "localhost", "MASTER_PORT": "0"})
with one_line_errors(), process_group(torch.device("cpu"), 1):
    print("half a line", end="")
    raise InputError("batch 3: the GPU's memory is full")
"""
Figures = dict[str, list[float]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that has two processes train, and returns what each wrote down."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def tell(reviews: int, dropout: float = 0.0, **more: int) -> list[Figures]:
        order = {"processes": 2, "folder": str(tmp_path), "reviews": reviews, "dropout": dropout, **more}
        monkeypatch.setenv("TOGETHER", json.dumps(order))
        launch("tests.two_processes", 2)
        return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    return tell


@pytest.mark.slow
# Of 203 reviews the last batch holds 11, of 65 a single one, with which one of the processes has nothing to do.
@pytest.mark.parametrize("reviews", [203, 65])
def test_two_processes_train_the_same_model_as_one(told: Any, reviews: int) -> None:
    first, second = told(reviews)
    assert first == second
    alone = outcome(reviews, 0.0)
    for name, values in alone.items():
        assert first[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name


@pytest.mark.slow
def test_two_processes_are_deterministic_and_draw_separate_dropout_masks(told: Any) -> None:
    first, again = told(120, dropout=0.3), told(120, dropout=0.3)
    assert first == again
    assert first[0]["train_loss"] != pytest.approx(outcome(120, 0.3)["train_loss"], rel=1e-3)


@pytest.mark.slow
def test_a_killed_process_ends_the_others(told: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"tests\.two_processes: rank 1 of 2 processes was killed by SIGKILL"):
        told(203, victim=1)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_second_sigterm_during_exit_is_ignored() -> None:
    clearing = (
        "import atexit, os, signal, stages; from sentiment.runtime.distributed import exit_with_failure; "
        "signal.signal(signal.SIGTERM, exit_with_failure); atexit.register(os.kill, os.getpid(), signal.SIGTERM); "
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    ended = subprocess.run([sys.executable, "-c", clearing], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.slow
def test_a_wrong_number_of_processes_is_refused(told: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="failed with the error above"):
        told(65, processes=3)
    assert "train.processes must be 2, the number of processes that torchrun started; got 3" in capfd.readouterr().err


@pytest.mark.slow
def test_a_process_waiting_in_c_code_ends_soon_after_sigterm() -> None:
    with subprocess.Popen([sys.executable, "-c", BLOCKED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocked\n"
        time.sleep(0.2)  # until it waits
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=20) == 1
        finally:
            process.kill()


@pytest.mark.slow
def test_a_failing_process_reports_the_error_and_exits_without_waiting() -> None:
    ended = subprocess.run([sys.executable, "-c", FAILED], capture_output=True, text=True, timeout=40)
    assert (ended.returncode, ended.stdout) == (1, "half a line")
    assert ended.stderr == "error: batch 3: the GPU's memory is full\n"


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is asked of a process group, and registered for the end, by a process that believes torchrun started it."""
    asked: list[object] = []
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sentiment.runtime.distributed.end_on_sigterm", lambda: None)
    monkeypatch.setattr("sentiment.runtime.distributed.wait_for_launcher", lambda: asked.append("waited"))
    monkeypatch.setattr(dist, "init_process_group", lambda backends, device_id: asked.append((backends, device_id)))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: asked.append("destroyed"))
    monkeypatch.setattr(atexit, "register", lambda function: asked.append(function.__name__))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    return asked


@pytest.mark.parametrize(("device", "expected"), [(CPU, ("gloo", None)), (GPU, ("cpu:gloo,cuda:nccl", GPU))])
def test_processes_on_gpus_also_exchange_cpu_tensors(
    group: list[object], device: torch.device, expected: object
) -> None:
    with process_group(device, 2) as rank:
        assert rank == 1
    assert group == [expected, "destroyed"]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            dist.DistBackendError("NCCL error in: x.cpp:1,\nLast error:\nout of memory"),
            InputError,
            r"^rank 1 of 2 processes: NCCL",
        ),
        (
            dist.DistNetworkError("failed to recv, got 0 bytes"),
            InputError,
            "^rank 1 of 2 processes: failed to",
        ),
        (RuntimeError("[pair.cc:537] Read error: Connection reset by peer"), SystemExit, "^1$"),
        (RuntimeError("of ours"), RuntimeError, "^of ours$"),
    ],
)
def test_a_failure_caused_by_a_peer_waits_for_the_launcher_but_not_for_the_group(
    group: list[object], error: Exception, kind: type[BaseException], message: str
) -> None:
    with pytest.raises(kind, match=message), process_group(GPU, 2):
        raise error
    assert group[1:] == ["exit_immediately"] + ["waited"] * (error.args != ("of ours",))


def test_the_first_process_decides_by_a_cpu_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    def broadcast(flag: torch.Tensor, src: int) -> None:
        assert (flag.device.type, src) == ("cpu", 0)
        flag.fill_(True)

    assert not broadcast_flag(False)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "broadcast", broadcast)
    assert broadcast_flag(False)
