"""Look for inputs that make a parser fail with anything but one line, hang, or take too much memory.

    python -m benchmarks.fuzz --seconds 400

Atheris (https://github.com/google/atheris) runs each parser of `tests.parsers`, one after the other, on inputs that it
changes towards lines not yet reached, beginning with valid ones and those that once failed. An input may take 10
seconds, and the process 1 GiB, of which PyTorch and other packages take 350 MiB. Prints a markdown table; the exit
status is 1 if anything was found. Inputs that fail are kept in the folder `--findings`; once the parser is mended, they
go to `tests/regressions/<parser>/`.

Atheris is not among the requirements: only this benchmark needs it, and its compiled fuzzer is not built for every
machine. Install it in addition to what `make test` installs: `pip install atheris==3.0.0`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import stages  # noqa: F401, puts the library on the path

INSTRUMENTED = ["sentiment", "stages", "tests.parsers", "tarfile", "zipfile", "ruamel", "json", "reprlib"]
REGRESSIONS = Path(__file__).resolve().parent.parent / "tests" / "regressions"
INPUT_SECONDS = 10
MEMORY_MB = 1024
MAX_FINDINGS = 20  # of one parser, mostly the same one over again


class Round(NamedTuple):
    """Result of fuzzing a parser."""

    seconds: float
    executions: int
    findings: list[Path]


def fuzz(name: str, seconds: int, findings: Path) -> Round:
    """Fuzz a parser in processes of their own, a new one after each finding."""
    from tests.parsers import valid_inputs

    began, executions = time.monotonic(), 0
    kept = findings / name
    kept.mkdir(parents=True, exist_ok=True)
    before = set(kept.iterdir())
    with tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(valid_inputs()[name]):
            Path(corpus, str(number)).write_bytes(content)
        while (left := round(seconds - (time.monotonic() - began))) > 0:
            options = [f"-max_total_time={left}", f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEMORY_MB}"]
            options += [f"-artifact_prefix={kept}/", corpus, *map(str, REGRESSIONS.glob(name))]
            program = f"from benchmarks.fuzz import fuzz_in_process; fuzz_in_process({name!r}, {options!r})"
            command = [sys.executable, "-c", program]
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)  # noqa: S603
            text = result.stdout.decode(errors="replace")
            executions += max(map(int, re.findall(r"^#(\d+)", text, re.MULTILINE)), default=0)
            if not result.returncode:
                break
            print(text[-4000:], flush=True)
            if len(set(kept.iterdir()) - before) in (0, MAX_FINDINGS):
                break
    return Round(time.monotonic() - began, executions, sorted(set(kept.iterdir()) - before))


def fuzz_in_process(name: str, options: list[str]) -> None:
    """Let Atheris run a parser until it finds something or its time is over; never returns."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.parsers import parse

    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup([sys.argv[0], *options], lambda content: parse(name, content, Path(folder)))
        atheris.Fuzz()


def fuzz_all(names: list[str], seconds: int, findings: Path) -> int:
    """Fuzz each parser for so many seconds, print the table, and return how many findings there were."""
    rounds = {}
    for name in names:
        rounds[name] = fuzz(name, seconds, findings)
        print(f"{name}: {rounds[name].executions:,} executions, {len(rounds[name].findings)} findings", flush=True)
    print("\n| parser | seconds | executions | findings |\n|---|---:|---:|---:|")
    for name, found in rounds.items():
        print(f"| {name} | {found.seconds:.0f} | {found.executions:,} | {len(found.findings)} |")
    return sum(len(found.findings) for found in rounds.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each parser")
    parser.add_argument("--parser", nargs="+", metavar="NAME", help="one or more of tests.parsers.PARSERS; default all")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="folder for the inputs found")
    arguments = parser.parse_args()
    from tests.parsers import PARSERS

    sys.exit(1 if fuzz_all(arguments.parser or list(PARSERS), arguments.seconds, arguments.findings) else 0)
