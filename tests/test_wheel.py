"""The wheel of the scorer: what it holds, what it needs, and that a model folder and it are enough."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.clone import ROOT
from tests.test_structure import DISTRIBUTIONS, LIBRARY, VERSIONS, closure, packages_of

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NEEDED = {re.split(r"[<>=]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
FILES = closure(LIBRARY / "__init__.py") | {
    file for path in (LIBRARY / "scoring").glob("*.py") for file in closure(path)
}

# Scores a text, and prints the score and the names of all modules that are loaded by then.
SCRIPT = """
import json, sys
import pyarrow as pa
from sentiment import Scorer
scores = Scorer(sys.argv[1])(pa.record_batch({"text": ["A good film."]})).to_pylist()
print(json.dumps([scores, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_the_wheel_holds_the_packages_and_needs_the_distributions_that_the_scorer_imports() -> None:
    packages = {".".join(("sentiment", *file.parent.relative_to(LIBRARY).parts)) for file in FILES}
    assert PYPROJECT["tool"]["setuptools"]["packages"] == sorted(packages)
    assert {name for package in packages_of(FILES) for name in DISTRIBUTIONS[package]} & VERSIONS.keys() == NEEDED


def all_requirements(names: set[str]) -> set[str]:
    """Return the names of distributions and of all that they require in turn, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            try:
                lines = requires(name) or []
            except ModuleNotFoundError:  # on this platform it is not needed
                continue
            waiting += [re.split(r"[ <>=!~;(\[]", line)[0] for line in lines if "extra ==" not in line]
    return found


@pytest.mark.slow
def test_the_wheel_and_a_model_folder_are_enough(model_folder: Path, tmp_path: Path) -> None:
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    copy = tmp_path / "source"  # since setuptools writes into the folder it builds from
    shutil.copytree(ROOT / "src", copy / "src")
    for name in ("pyproject.toml", "LICENSE", "docs"):
        (copy / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, *build, str(copy)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    ZipFile(wheel).extractall(tmp_path / "installed")
    command = [sys.executable, "-c", SCRIPT, str(model_folder)]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "installed")}, capture_output=True, check=True
    )
    scores, modules = json.loads(ended.stdout)
    assert scores[0]["label"] in ("positive", "negative")
    loaded = {name for module in modules for name in DISTRIBUTIONS.get(module, [])} & VERSIONS.keys()
    assert {name.lower() for name in loaded} <= all_requirements(NEEDED)
