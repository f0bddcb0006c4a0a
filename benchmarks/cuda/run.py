"""All parts, in processes that may die, into one JSON file."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.cuda import fast, good, right, two_processes
from benchmarks.cuda.checks import Check, Setting, processes_for, work
from benchmarks.cuda.machine import describe_machine
from sentiment.storage.outputs import atomic_output

PARTS: dict[str, dict[str, Check]] = {
    "right": right.CHECKS,
    "fast": fast.CHECKS,
    "good": good.CHECKS,
    "two processes": two_processes.CHECKS,
}
SHARES = {  # of the seconds; what a part leaves over goes to the parts after it
    "cuda": {"right": 80, "fast": 110, "good": 330, "two processes": 40},
    "cpu": {"right": 3, "fast": 2, "good": 1, "two processes": 2},
}
LINES = 12  # of what a process that died had printed as errors, the last ones


def run_parts(parts: Collection[str], device: str, seconds: float, data: Path | None, folder: Path) -> Path:
    """Run parts on "cuda" or "cpu" for at most so many seconds, and return the file of the results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the process that runs checks is ended too
    ends = time.monotonic() + seconds
    results = Results(folder, parts, device, seconds, data)
    shares = {part: SHARES[device][part] for part in parts}
    for part in parts:
        now = time.monotonic()
        share = shares[part] / sum(shares.values())
        del shares[part]
        setting = Setting(torch.device(device, 0), data, ends=now + share * (ends - now))
        run_part(PARTS[part], setting, results.content[part], results.write)
        print(f"{part}: {time.monotonic() - now:.1f} s", flush=True)
    return results.path


class Results:
    """The findings so far, in a file that is replaced after each."""

    def __init__(self, folder: Path, parts: Collection[str], device: str, seconds: float, data: Path | None) -> None:
        machine = describe_machine(device)
        name = re.sub(r"[^a-z0-9]+", "-", str(machine["device"]).lower()).strip("-")
        self.path = folder / f"{name}.json"
        settings = {"device": device, "seconds": seconds, "data": data.name if data else "generated"}
        self.content: dict[str, Any] = {"machine": machine, "settings": settings, **{part: {} for part in parts}}
        self.write()

    def write(self) -> None:
        """Replace the file."""
        with atomic_output(self.path) as partial:
            text = json.dumps(self.content, indent=1, allow_nan=False)
            text = re.sub(r"\[([^][{}]*)\]", lambda numbers: " ".join(numbers[0].split()), text)  # rows in one line
            partial.write_text(text + "\n", encoding="utf-8")


def run_part(checks: dict[str, Check], setting: Setting, found: dict[str, Any], write: Callable[[], None]) -> None:
    """Run checks until all have run or the time is up, and add what they find, by check, to `found`.

    Where a process dies or takes too long, another one runs the checks that are left. A check may take half of the
    part's time, or all of it where it is the only one.
    """
    left = dict(checks)
    limit = setting.seconds_left / min(2, len(checks))
    while left and setting.seconds_left > 0:
        with started(setting, left) as worker:
            current, has_ended = next(iter(left)), False  # so that a death at the start is laid to the first check
            ends = time.monotonic() + limit
            while (message := worker.receive(min(ends, setting.ends))) is not None:
                kind, value = message
                if kind == "started":
                    current, has_ended, ends = value, False, time.monotonic() + limit
                    del left[current]
                    found[current] = {"findings": {}}
                elif kind == "found":
                    found[current]["findings"].update([value])
                else:
                    show(current, value)
                    found[current].update(value)
                    has_ended = True
                write()
            if not has_ended and (current not in left or setting.seconds_left > 0):
                left.pop(current, None)
                found.setdefault(current, {})["error"] = worker.end()
                show(current, found[current])
    found.update(dict.fromkeys(left, "not run"))
    write()


def show(check: str, figures: dict[str, Any]) -> None:
    """Print a line about a check that has ended."""
    error = figures.get("error")
    how = f"{error['type']}: {error['message'][:200]}" if error else f"{figures['seconds']} s"
    print(f"  {check}: {how}", flush=True)


@dataclass
class Worker:
    """A process that runs checks."""

    process: BaseProcess
    receiver: Connection
    errors: Path  # gets what the process and its libraries print as errors

    def receive(self, ends: float) -> Any:
        """Return the next message, or None once the process has ended or the time is up."""
        try:
            return self.receiver.recv() if self.receiver.poll(max(0.0, ends - time.monotonic())) else None
        except (EOFError, OSError):  # the second if the process died while it sent
            self.process.join(timeout=10)
            return None

    def end(self) -> dict[str, object]:
        """Kill the process, if it has not ended, and return how it ended."""
        code = self.process.exitcode
        self.kill()
        how = "took too long" if code is None else f"died of {signal.Signals(-code).name}" if code < 0 else "ended"
        lines = self.errors.read_text(encoding="utf-8", errors="replace").splitlines() if self.errors.exists() else []
        return {"type": "ProcessError", "message": f"the process {how}, exit code {code}", "frames": lines[-LINES:]}

    def kill(self) -> None:
        """Kill the process and those that it started."""
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join(timeout=10)  # not for ever, should a driver hold the process


@contextmanager
def started(setting: Setting, checks: dict[str, Check]) -> Iterator[Worker]:
    """Start a process that runs checks, and kill it at the end."""
    context = processes_for(setting.device)
    receiver, sender = context.Pipe(duplex=False)
    with TemporaryDirectory() as folder:
        errors = Path(folder) / "errors"
        process = context.Process(target=work, args=(sender, setting, checks, errors))
        process.start()
        sender.close()
        worker = Worker(process, receiver, errors)
        try:
            yield worker
        finally:
            worker.kill()
