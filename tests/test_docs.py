"""The README and the pages of docs/: every link, command, parameter and error message in them exists."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clone import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`\n]+`")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose_of(page: Path) -> str:
    """Return a page without its code."""
    return INLINE.sub("", FENCED.sub("", page.read_text(encoding="utf-8")))


def code_of(page: Path) -> list[str]:
    """Return the lines of a page's blocks of code, and what it shows as code within a line."""
    text = page.read_text(encoding="utf-8")
    blocks = [block[0] for block in FENCED.finditer(text)] + re.findall(r"^ {4,}.+$", text, re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()] + [
        span.strip("`") for span in INLINE.findall(FENCED.sub("", text))
    ]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as a forge and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose_of(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(page.parent), f"{link} leads out of its folder, and of the site"
        assert not anchor or anchor in anchors_of(target), link


@each_page
def test_targets_of_make_exist(page: Path) -> None:
    named = [target for line in code_of(page) for target in re.findall(r"^make ([a-z-]+)(?: |$)", line)]
    assert set(named) <= TARGETS


@each_page
def test_modules_exist(page: Path) -> None:
    for module in {name for line in code_of(page) for name in re.findall(r"python3? -m ([\w.]+)", line)}:
        assert find_spec(module), module


@each_page
def test_parameters_exist(page: Path) -> None:
    setting = re.compile(rf"(?:-S '?|\b(?=(?:{'|'.join(PARAMS)})\.))([\w.]+)=")
    for key in {key for line in code_of(page) for key in setting.findall(line)}:
        value = PARAMS
        for part in key.split("."):
            assert part in value, key
            value = value[part]


def test_quoted_error_messages_are_in_the_code() -> None:
    modules = [file for folder in ("src", "stages") for file in (ROOT / folder).rglob("*.py")]
    nodes = [node for file in modules for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    literals = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    messages = [span for cell in re.findall(r"^\|.*\| (.+) \|$", page, re.MULTILINE) for span in INLINE.findall(cell)]
    names = re.compile(r"\(.*?\)|\S*[./_'\d]\S*")  # and numbers, and the reasons of libraries, in parentheses
    fixed = [part for message in messages for part in names.split(message)]
    parts = [part for words in fixed for part in re.findall("[a-z][a-z ]{18,}[a-z]", words)]
    assert len(parts) > 40
    assert [part for part in parts if not any(part in literal for literal in literals)] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_site_lists_every_page() -> None:
    listed = [page for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for page in entry.values()]
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))
