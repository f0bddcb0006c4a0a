"""Remove files that a killed DVC left half-written, and check params.yaml; the first step of `make run`, not a stage.

python -m stages.repair

A user whose DVC was killed, by the system or a power cut, runs `make run` again and need not know DVC's files. DVC 3.67
writes three kinds of files in place: `dvc.lock`, the entries of its run cache, and `rwlock`, its list of the paths that
running commands read and write. If DVC is killed during such a write, its next run may fail at the truncated file.
Removing a truncated file loses nothing, since the outputs of finished stages are in the cache.
"""

import codecs
import json
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from pathlib import Path

from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.rwlock import RWLOCK_FILE, SCHEMA
from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA, COMPILED_LOCKFILE_SCHEMA
from dvc.scm import SCM, SCMError
from dvc.utils.serialize import ParseError, load_yaml, parse_yaml
from voluptuous import Invalid

from sentiment.errors import InputError
from sentiment.storage.outputs import atomic_output
from stages.params import read_params
from stages.run import one_line_errors

LOCK = Path("dvc.lock")
LOCK_BEGINS = "schema: '2.0'\nstages:\n"
RWLOCK = Path(".dvc/tmp") / RWLOCK_FILE
# A running DVC, perhaps another user's in a shared cache, writes any of the three files in far less time than this.
SETTLE_SECONDS = 5.0
CONFLICT = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)


def repair(folder: Path = Path()) -> list[Path]:
    """Remove the half-written files of a repository and of its DVC cache, and return their paths.

    A truncated `dvc.lock` is replaced by the version in git's index if that version is valid. A file that changes
    within SETTLE_SECONDS is kept, since a running DVC is writing it. Raises InputError for a `dvc.lock` with any other
    fault.
    """
    truncated = find_truncated(folder)
    if truncated:
        time.sleep(SETTLE_SECONDS)
        later = find_truncated(folder)
        truncated = {path: state for path, state in truncated.items() if later.get(path) == state}
    return [path for path in truncated if remove_or_restore(path)]


def find_truncated(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the half-written files and empty folders at which DVC fails, with modification times (ns) and sizes."""
    run_cache = run_cache_folder(folder)
    truncated: dict[Path, tuple[int, int]] = {}

    def is_folder_without_entries(path: Path) -> bool:
        return path.is_dir() and not {*path.iterdir()} - {*truncated}

    candidates: list[tuple[Path, Callable[[Path], bool]]] = [
        *zip(run_cache.glob("*/*/*.tmp"), repeat(is_accepted_entry)),
        *zip(run_cache.glob("*/*"), repeat(is_folder_without_entries)),
        (folder / RWLOCK, is_broken_rwlock),
        (folder / LOCK, is_truncated_lock),
    ]
    for path, makes_dvc_fail in candidates:
        with suppress(OSError):  # another DVC has removed the file, or the file is unreadable
            if makes_dvc_fail(path):
                truncated[path] = (path.stat().st_mtime_ns, path.stat().st_size)
    return truncated


def run_cache_folder(folder: Path) -> Path:
    """Return the folder of DVC's run cache, which any level of DVC's configuration may have moved."""
    cache = Config(str(folder / ".dvc"))["cache"].get("dir")
    return (Path(cache) if cache else folder / ".dvc" / "cache") / "runs"


def is_accepted_entry(path: Path) -> bool:
    """Tell whether DVC would take a temporary file in its run cache for a finished entry.

    A file that was truncated before its outputs is still valid YAML, at which DVC then fails. DVC itself removes the
    temporary files that are not valid.
    """
    try:
        COMPILED_LOCK_FILE_STAGE_SCHEMA(load_yaml(path))
    except (ParseError, Invalid):
        return False
    return True


def is_broken_rwlock(path: Path) -> bool:
    """Tell whether DVC would fail to read its `rwlock` file."""
    try:
        SCHEMA(json.loads(path.read_bytes()))
    except (ValueError, Invalid):
        return True
    return False


def is_truncated_lock(path: Path) -> bool:
    """Tell whether a `dvc.lock` was truncated during a write; raise InputError for a file with any other fault."""
    content = path.read_bytes()
    if (fault := find_fault(content)) is None:
        return False
    if CONFLICT.search(content):
        if git(path.parent, "ls-files", "--unmerged", "--", path.name):
            raise InputError(
                f"{LOCK}: has merge conflicts; run git checkout --ours {LOCK} metrics, then this command again"
            )
        raise InputError(
            f"{LOCK}: contains merge conflict markers; restore the last commit's: git checkout HEAD -- {LOCK} metrics"
        )
    if not is_valid_up_to_its_end(content):
        advice = f"correct it, or restore the last commit's: git checkout HEAD -- {LOCK}"
        raise InputError(f"{LOCK}: DVC cannot read it ({fault}); {advice}")
    return True


def find_fault(content: bytes) -> str | None:
    """Return DVC's reason to reject the content of a `dvc.lock`, in one line, or None for valid content."""
    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(content.decode(), LOCK))
    except ParseError as error:
        mark = getattr(error.__cause__, "problem_mark", None)
        return "it is not YAML" if mark is None else f"line {mark.line + 1} is not YAML"
    except (Invalid, UnicodeDecodeError) as error:
        return str(error)
    return None


def is_valid_up_to_its_end(content: bytes) -> bool:
    """Tell whether all stages in the content of a `dvc.lock` but the last, truncated one are valid."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(content.rstrip(b"\0"))  # tolerates a truncated character
    except UnicodeDecodeError:
        return False
    starts = [stage.start() for stage in re.finditer(r"^  \S", text, re.MULTILINE)]
    if len(starts) < 2:
        return LOCK_BEGINS.startswith(text) or text.startswith(LOCK_BEGINS)
    return find_fault(text[: starts[-1]].encode()) is None  # only the last stage is incomplete


def remove_or_restore(path: Path) -> bool:
    """Remove a half-written file or empty folder, or restore `dvc.lock` from git; return whether that was possible."""
    in_git = git(path.parent, "show", f":./{path.name}") if path.name == LOCK.name else b""
    try:
        if path.is_dir():
            path.rmdir()
        elif in_git and find_fault(in_git) is None:
            with atomic_output(path) as partial:
                partial.write_bytes(in_git)
        else:
            path.unlink()
    except OSError:  # another user's file in a shared cache, or a folder with a new entry
        return False
    return True


def git(folder: Path, *arguments: str) -> bytes:
    """Return the output of a git command, or b"" if git fails or is not installed."""
    try:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True).stdout  # noqa: S603, S607
    except FileNotFoundError:
        return b""


def check_git(folder: Path = Path()) -> None:
    """Raise InputError if DVC cannot run because the folder is not in a git repository."""
    try:
        SCM(str(folder), no_scm=Config(str(folder / ".dvc"))["core"].get("no_scm", False)).close()
    except SCMError as error:
        advice = (
            "run git init && git add . && git commit -m Start, or clone the project with git instead of downloading it"
        )
        raise InputError(f"DVC needs a git repository, and this folder is not in one; {advice}") from error


def check_parameters() -> None:
    """Raise InputError if params.yaml is wrong, or names a file of the user's that does not exist.

    DVC skips stages whose inputs have not changed, so that a stage may find a mistake late, and says of a missing file
    no more than that there is none.
    """
    params = read_params()
    for parameter, path in (
        ("download.custom.path", params.download.custom.path),
        ("evaluate.behaviour", params.evaluate.behaviour),
    ):
        if not Path(path).exists():
            raise InputError(f"{path}: does not exist ({parameter}); DVC needs it for any corpus")


if __name__ == "__main__":
    # On its next run, DVC itself reports an error in its configuration.
    with one_line_errors(), suppress(DvcException):
        check_git()
        for path in repair():
            outcome = "replaced by git's version" if path.exists() else "removed"
            print(f"{path}: was truncated while DVC wrote it; {outcome}; nothing is lost, DVC's cache has the outputs")
        check_parameters()
