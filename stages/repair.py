"""Remove files that a killed DVC left half-written; not a pipeline stage, but the first step of `make run`.

python -m stages.repair

DVC 3.67 writes three kinds of files in place: `dvc.lock`, the entries of its run cache, and `rwlock`, its list of the
paths that running commands read and write. If DVC is killed during such a write, its next run may fail at the truncated
file. Removing a truncated file loses nothing, since the outputs of finished stages are in the cache.
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
from stages.run import one_line_errors

LOCK = Path("dvc.lock")
LOCK_BEGINS = "schema: '2.0'\nstages:\n"
RWLOCK = Path(".dvc/tmp") / RWLOCK_FILE
# A running DVC, perhaps another user's in a shared cache, writes any of the three files in far less time than this.
SETTLE_SECONDS = 5.0
CONFLICT = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)


def repair(folder: Path = Path()) -> list[Path]:
    """Remove the half-written files of a clone and of its cache, wherever the cache is, and return their paths.

    A truncated `dvc.lock` is replaced by the version in git's index, if that version is valid. A file that changes
    within SETTLE_SECONDS is kept, since a running DVC is writing the file. Raises InputError for a `dvc.lock` that is
    broken in another way.
    """
    truncated = find_halves(folder)
    if truncated:
        time.sleep(SETTLE_SECONDS)
        again = find_halves(folder)
        truncated = {path: state for path, state in truncated.items() if again.get(path) == state}
    return [path for path in truncated if remove_or_restore(path)]


def find_halves(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the half-written files and empty folders at which DVC fails, with modification times (ns) and sizes."""
    notes = notes_folder(folder)
    truncated: dict[Path, tuple[int, int]] = {}

    def is_without_notes(path: Path) -> bool:
        return path.is_dir() and not {*path.iterdir()} - {*truncated}

    candidates: list[tuple[Path, Callable[[Path], bool]]] = [
        *zip(notes.glob("*/*/*.tmp"), repeat(is_run_cache_entry)),
        *zip(notes.glob("*/*"), repeat(is_without_notes)),
        (folder / RWLOCK, is_half_list),
        (folder / LOCK, is_half_lock),
    ]
    for path, is_half in candidates:
        with suppress(OSError):  # another DVC has removed the file, or the file is unreadable
            if is_half(path):
                truncated[path] = (path.stat().st_mtime_ns, path.stat().st_size)
    return truncated


def notes_folder(folder: Path) -> Path:
    """Return the folder of DVC's run cache, taking all levels of DVC's configuration into account."""
    cache = Config(str(folder / ".dvc"))["cache"].get("dir")
    return (Path(cache) if cache else folder / ".dvc" / "cache") / "runs"


def is_run_cache_entry(path: Path) -> bool:
    """Tell whether DVC would accept a file in its run cache as an entry; DVC itself removes all other files there."""
    try:
        COMPILED_LOCK_FILE_STAGE_SCHEMA(load_yaml(path))
    except (ParseError, Invalid):
        return False
    return True


def is_half_list(path: Path) -> bool:
    """Tell whether DVC would fail to read its `rwlock` file."""
    try:
        SCHEMA(json.loads(path.read_bytes()))
    except (ValueError, Invalid):
        return True
    return False


def is_half_lock(path: Path) -> bool:
    """Tell whether a `dvc.lock` was truncated during a write; raise InputError if the file is broken in another way."""
    content = path.read_bytes()
    if (fault := find_fault(content)) is None:
        return False
    if CONFLICT.search(content):
        if git(path.parent, "ls-files", "--unmerged", "--", path.name):
            raise InputError(f"{LOCK}: has conflicts; run git checkout --ours {LOCK} metrics, then this command again")
        advice = f"take a whole one from git, as with git checkout HEAD -- {LOCK} metrics"
        raise InputError(f"{LOCK}: holds the markers of a merge conflict; {advice}")
    if not was_cut_off(content):
        advice = f"correct it, or take the last commit's: git checkout HEAD -- {LOCK}"
        raise InputError(f"{LOCK}: is not one that DVC can read ({fault}); {advice}")
    return True


def find_fault(content: bytes) -> str | None:
    """Return DVC's reason to reject the content of a `dvc.lock`, in one line, or None if the content is valid."""
    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(content.decode(), LOCK))
    except ParseError as error:
        mark = getattr(error.__cause__, "problem_mark", None)
        return "it is not YAML" if mark is None else f"line {mark.line + 1} is not YAML"
    except (Invalid, UnicodeDecodeError) as error:
        return str(error)
    return None


def was_cut_off(content: bytes) -> bool:
    """Tell whether the content of a `dvc.lock` is valid up to a truncated end."""
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
    whole = git(path.parent, "show", f":./{path.name}") if path.name == LOCK.name else b""
    try:
        if path.is_dir():
            path.rmdir()
        elif whole and find_fault(whole) is None:
            with atomic_output(path) as partial:
                partial.write_bytes(whole)
        else:
            path.unlink()
    except OSError:  # another user's file in a shared cache, or a folder that has got a new entry
        return False
    return True


def git(folder: Path, *arguments: str) -> bytes:
    """Return the output of a git command, or no bytes if git fails or is not installed."""
    try:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True).stdout  # noqa: S603, S607
    except FileNotFoundError:
        return b""


def check_git(folder: Path = Path()) -> None:
    """Raise InputError if DVC cannot run here because the folder is in no git repository."""
    try:
        SCM(str(folder), no_scm=Config(str(folder / ".dvc"))["core"].get("no_scm", False)).close()
    except SCMError as error:
        advice = "run git init && git add . && git commit -m Start, or git clone the project instead of downloading it"
        raise InputError(f"DVC needs a git repository, and this folder is in none; {advice}") from error


if __name__ == "__main__":
    # DVC reports an error in its configuration itself on its next run.
    with one_line_errors(), suppress(DvcException):
        check_git()
        for half in repair():
            outcome = "replaced by git's" if half.exists() else "removed"
            print(f"{half}: was cut off while DVC wrote it; {outcome}, and the rest comes from the cache")
