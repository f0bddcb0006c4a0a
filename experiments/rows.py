"""What a comparison says, and what its experiments are called."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment.errors import InputError
from stages.params import parse_yaml

FOLDER = Path("experiments")


@dataclass(frozen=True)
class Row:
    """A configuration to be compared with others."""

    name: str  # as a reader says it
    adds: str  # one sentence on what is new in it
    changes: dict[str, Any]  # all its parameters that differ from params.yaml: section.key to value


@dataclass(frozen=True)
class Comparison:
    """Configurations side by side."""

    rows: list[Row]
    is_for_choosing: bool  # then nothing is shown of test reviews: a test set that chose has nothing left to say


def read_comparison(name: str) -> Comparison:
    """Read `experiments/<name>.yaml`, which has the form of `experiments/ladder.yaml` or of `choices.yaml`.

    A row begins with the changes of `every_row`, or of the row above that it says it is `like`, and adds its own.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(other.stem for other in FOLDER.glob("*.yaml")))
        raise InputError(f"{path}: is not there; run this from the repository's root, with one of {known}")
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
        changes: dict[str | None, dict[str, Any]] = {None: content["every_row"]}
        rows = []
        for row in content["rows"]:
            changes[row["name"]] = changes[row.get("like")] | row["changes"]
            rows.append(Row(row["name"], row["adds"], changes[row["name"]]))
        return Comparison(rows, bool(content.get("for_choosing", False)))
    except (KeyError, TypeError, ValueError) as error:
        found = " ".join(str(error).split())
        must = "must say every_row, and in rows name, adds, changes and, if any, which row above it is like"
        raise InputError(f"{path}: {must}: {found}") from error


def stem(comparison: str, row: Row) -> str:
    """Return what the names of a row's experiments begin with; a hyphen and the seed follow."""
    return f"{comparison}-{re.sub(r'[^a-z0-9]+', '-', row.name.lower())}"
