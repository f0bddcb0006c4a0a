"""The recipes of docs/comparing.md and docs/sharing.md, blocks marked `sh`: run line by line, as they stand."""

import re

from tests.clone import ROOT, Clone

PAGES = "\n".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("comparing.md", "sharing.md"))
RECIPES: dict[str, str] = dict(re.findall(r"^## (.+)\n(?:(?!## ).*\n)*?```sh\n([^`]+)```", PAGES, re.MULTILINE))

Printed = dict[str, str]  # by command


def follow(recipe: str, clone: Clone, replaced: dict[str, str] | None = None) -> Printed:
    """Run the commands of a recipe in a clone and return what each printed, with some words replaced."""
    printed = {}
    for line in RECIPES[recipe].splitlines():
        command = re.sub(r" +#.*", "", line)
        here = command
        for word, replacement in (replaced or {}).items():
            here = here.replace(word, replacement)
        printed[command] = clone.run("bash", "-c", here, status=1 if "# conflicts" in line else 0)
        print(f"\n$ {here}\n{printed[command]}", end="")
    return printed


def run_stages(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)
