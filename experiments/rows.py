"""Read the YAML files of comparisons, and name their experiments."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment.errors import InputError
from stages.params import parse_yaml

FOLDER = Path("experiments")


@dataclass(frozen=True)
class Row:
    """A configuration to compare with others."""

    name: str  # for readers
    adds: str  # one sentence on what this row changes
    changes: dict[str, Any]  # all parameters that differ from params.yaml, by section.key


@dataclass(frozen=True)
class Comparison:
    """Configurations to compare."""

    rows: list[Row]
    is_for_choosing: bool  # hides test results: a test set that chose a model no longer gives a fair estimate


def read_comparison(name: str) -> Comparison:
    """Read `experiments/<name>.yaml`, in the format of `experiments/ladder.yaml` or `choices.yaml`.

    A row starts from the changes of `every_row`, or from those of the earlier row that `like` names, and adds its own
    changes. Raises InputError if the file is missing or holds anything else.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(other.stem for other in FOLDER.glob("*.yaml")))
        raise InputError(f"{path}: does not exist; run this command from the repository root with one of: {known}")
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
        must = "must have every_row, and rows of name, adds, changes and optionally like, the name of an earlier row"
        raise InputError(f"{path}: {must}; got {found}") from error


def stem(comparison: str, row: Row) -> str:
    """Return the prefix of the names of a row's experiments; a hyphen and the seed follow."""
    return f"{comparison}-{re.sub(r'[^a-z0-9]+', '-', row.name.lower())}"
