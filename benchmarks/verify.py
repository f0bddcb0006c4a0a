"""Run the pipeline in two fresh clones that differ in all that should not matter, and compare every byte they wrote.

    python -m benchmarks.verify
    python -m benchmarks.verify --under "qemu-x86_64 -cpu Haswell"

Clones of the last commit: in different folders, under another locale, time zone, umask and seed of Python's hashes,
with one thread and with two where `train.portable` leaves the choice. With `--under` the stages of the second run under
that command, which may be an emulator of another processor; version 10 of QEMU, since 7.2 reckons some instructions of
AVX2 wrongly. Prints each output that differs with its first byte that does; the exit status is 1 if there is one, or if
the first clone's `dvc.lock` is not the committed one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.clone import ROOT, Clone


@dataclass(frozen=True)
class Surroundings:
    """Folder, environment variables and umask of a run."""

    folder: str
    variables: dict[str, str]
    umask: int


FIRST = Surroundings(
    "first", {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}, umask=0o022
)
SECOND = Surroundings(
    "a second one/further down",
    {"LC_ALL": "POSIX", "TZ": "Pacific/Chatham", "PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "2"},
    umask=0o077,
)


def run(base: Path, surroundings: Surroundings, changes: list[str], under: str | None = None) -> Clone:
    """Clone the last commit and run the pipeline there."""
    folder = base / surroundings.folder
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(ROOT), str(folder)], check=True)  # noqa: S603, S607
    clone = Clone.at(folder)
    environment = {**clone.environment(), **surroundings.variables}
    if under:
        environment["PATH"] = f"{shim(base, under)}{os.pathsep}{environment['PATH']}"
    settings = [word for change in changes for word in ("-S", change)]
    command = [sys.executable, "-m", "dvc", *(("exp", "run", *settings) if settings else ("repro",))]
    print(f"{surroundings.folder}: {' '.join(f'{key}={value}' for key, value in surroundings.variables.items())}")
    subprocess.run(command, cwd=folder, env=environment, umask=surroundings.umask, check=True)  # noqa: S603
    return clone


def shim(base: Path, under: str) -> Path:
    """Return a folder with a `python`, which is what stages are run by, that runs this one under a command."""
    folder = base / "bin"
    folder.mkdir()
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {under} {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return folder


def compare(one: Clone, other: Clone) -> list[str]:
    """Return a line for each output that is not the same in both."""
    ours, theirs = one.digests(), other.digests()
    lines = []
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) == theirs.get(name):
            continue
        if name not in ours or name not in theirs:
            lines.append(f"{name}: is in one clone alone")
            continue
        contents = [(clone.folder / name).read_bytes() for clone in (one, other)]
        sizes = " and ".join(f"{len(content):,}" for content in contents)
        lines.append(f"{name}: differs first at byte {first_difference(*contents):,}, counted from 0, of {sizes}")
    return lines


def first_difference(one: bytes, other: bytes) -> int:
    """Return where two contents begin to differ; where one ends, if the other goes on from there."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__.partition("\n")[0])
    parser.add_argument("--under", help="a command for the second clone's stages to run under")
    parser.add_argument("-S", dest="changes", action="append", default=[], metavar="KEY=VALUE", help="a parameter")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        clones = [
            run(base, FIRST, arguments.changes),
            run(base, SECOND, arguments.changes, arguments.under),
        ]
        differences = compare(*clones)
        if not arguments.changes and clones[0].run("git", "status", "--porcelain", "dvc.lock", "metrics"):
            differences.append("dvc.lock: is not the committed one")
        print("\n".join(differences) or f"{len(clones[0].digests())} outputs, the same bytes")
    sys.exit(1 if differences else 0)
