"""Clear up behind a DVC that was killed; no stage of the pipeline, but what `make run` begins with.

python -m stages.mend

DVC 3.67 writes three files of its own in place: `dvc.lock`, notes of its run cache, and the list of who reads and
writes what. Killed at that moment, it may fail at the half that is left. None of them holds anything that cannot be had
again: what has run is in the cache.
"""

from pathlib import Path

import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from sentiment.files import remove

LOCK = Path("dvc.lock")
NOTES = Path(".dvc/cache/runs")
READERS = Path(".dvc/tmp/rwlock")


def mend(folder: Path = Path()) -> list[Path]:
    """Remove what is half-written in a clone of the repository, and return what that was."""
    halves = list((folder / NOTES).rglob("*.tmp"))
    # a folder of notes with none in it, which DVC takes to have one
    halves += [notes for notes in (folder / NOTES).glob("*/*") if not {*notes.iterdir()} - {*halves}]
    halves += [path for path in (folder / READERS,) if path.exists() and not path.stat().st_size]
    halves += [path for path in (folder / LOCK,) if path.exists() and not is_whole(path)]
    for half in halves:
        remove(half)
    return halves


def is_whole(lock: Path) -> bool:
    """Return whether DVC would take a file for a `dvc.lock`."""
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock.read_text(encoding="utf-8")))
    except (Invalid, UnicodeDecodeError, yaml.YAMLError):
        return False
    return True


if __name__ == "__main__":
    for half in mend():
        print(f"{half}: is not whole, as after a kill or in a merge; removed, and made again from the cache")
