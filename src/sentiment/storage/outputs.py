"""Write files and folders atomically, and read JSON and CSV with checks."""

import csv
import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from sentiment.errors import InputError, abbreviated

Settings = TypeVar("Settings")

# The JSON values allowed for a dataclass field, by the field's type: a description, for the error, and a predicate.
# The predicates for numbers compare the exact type because a bool is an int in Python. Pydantic would need the same
# rules as annotations of every field, and a translation of its messages.
ALLOWED: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number of 1 or more", lambda value: type(value) is int and value >= 1),
    int | None: ("null or a whole number of 1 or more", lambda value: value is None or ALLOWED[int][1](value)),
    float: ("a number of 0 or more, below 1", lambda value: type(value) in (int, float) and 0 <= value < 1),
    str: ("a word", lambda value: isinstance(value, str)),
    tuple[str, ...]: (
        "a list of different words",
        lambda value: isinstance(value, list) and all(map(ALLOWED[str][1], value)) and len({*value}) == len(value) > 0,
    ),
}


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder to write a file or folder to, and rename it to `path` on success.

    The existing file at `path` is never opened for writing, since it may be a read-only link into DVC's cache. On an
    error the unfinished output is removed and `path` is left as it was. Raises InputError if the disk is full.
    """
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    try:
        yield partial
        if path.is_dir():  # a rename cannot replace a folder that is not empty
            remove(path)
        partial.replace(path)
    except BaseException as error:
        try:
            remove(partial)
        finally:
            remove(partial)  # finish the removal if a signal interrupted the first call
        if is_disk_full(error):
            free = shutil.disk_usage(path.parent).free
            found = f"{free:,} bytes are free, after the unfinished output was removed"
            advice = "free some space and run the command again"
            raise InputError(f"{path}: the disk is full; {found}; {advice}") from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error means a full disk; safetensors and SQLite (in DVCLive) say so only in the message."""
    words = ("No space left on device", "disk is full", "disk I/O error")
    return getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or any(word in str(error) for word in words)


def remove(path: Path) -> None:
    """Remove a file or folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes; raise ValueError for NaN and infinity."""
    with atomic_output(path) as partial:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def parse_json(text: str) -> Any:
    """Parse JSON; raise ValueError for invalid JSON and for an object with a repeated key."""
    return json.loads(text, object_pairs_hook=_distinct_pairs)


def _distinct_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if (key := first_repeated(key for key, _ in pairs)) is not None:
        raise ValueError(f"the key {abbreviated(key)} is given twice; keep one")
    return dict(pairs)


def first_repeated(names: Iterable[str]) -> str | None:
    """Return the first repeated name, or None; a dict built from repeated names would keep only the last value."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def read_json(path: Path, what: str, keys: set[str], more: Set[str] = frozenset()) -> dict[str, Any]:
    """Read a JSON object with the given keys, any of `more`, and no others.

    Raises FileNotFoundError if there is no file, and InputError, "is not `what`", for an unreadable file or any other
    content.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path}: is not {what}: it cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not {what}: it is not valid JSON: {error}") from error
    if not isinstance(value, dict) or not keys <= value.keys() <= keys | more:
        raise InputError(
            f"{path}: is not {what}: must be an object of {', '.join(sorted(keys))}; got {abbreviated(value)}"
        )
    return value


def read_settings(path: Path, what: str, saved: object, kind: type[Settings]) -> Settings:
    """Build a dataclass from a parsed JSON object; raise InputError, "is not `what`", on a wrong key or type.

    Keys of fields with a default may be missing.
    """
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    required = {field.name for field in fields(kind) if field.default is MISSING}  # type: ignore[arg-type]
    if not isinstance(saved, dict) or not required <= saved.keys() <= types.keys():
        raise InputError(f"{path}: is not {what}: must be an object of {', '.join(types)}; got {abbreviated(saved)}")
    for name, value in saved.items():
        rule, is_allowed = ALLOWED[types[name]]
        if not is_allowed(value):
            raise InputError(f"{path}: is not {what}: {name} must be {rule}; got {abbreviated(value)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()})


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_csv(path: Path, table: Mapping[str, Sequence[object]]) -> None:
    """Write columns of equal length as CSV with a header."""
    with atomic_output(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def read_columns(path: Path) -> dict[str, list[str]]:
    """Read the columns of a CSV file, or TSV if the suffix is .tsv, without empty lines and a byte order mark.

    Raises ValueError for a repeated column name and for a row of more or fewer fields than the header, and csv.Error
    for a field of more than 131,072 characters.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = filter(None, csv.reader(file, dialect="excel-tab" if path.suffix == ".tsv" else "excel"))
    if (repeated := first_repeated(header)) is not None:
        raise ValueError(f"the column {abbreviated(repeated)} is named twice; keep one")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} fields, the header {len(header)}; quote texts with commas")
    return {name: [row[column] for row in rows] for column, name in enumerate(header)}


def link_or_copy(source: Path, path: Path) -> None:
    """Hard-link a file to a second path, or copy it where the file system has no hard links."""
    with atomic_output(path) as partial:
        try:
            partial.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, partial)
