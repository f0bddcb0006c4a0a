"""Who may import whom, and that `dvc.yaml` lists each module that a stage reaches."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"sentiment": ROOT / "src" / "sentiment", "stages": ROOT / "stages"}
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
MODULES = sorted(path.stem for path in PACKAGES["sentiment"].glob("*.py") if path.stem != "__init__")


def file_of(module: str) -> Path | None:
    """Return the file of a module of ours, or None for one of somebody else's."""
    package, _, name = module.partition(".")
    path = PACKAGES[package] / f"{name or '__init__'}.py" if package in PACKAGES else None
    return path if path is not None and path.exists() else None


def imports_of(path: Path) -> set[str]:
    """Return the names of the modules that a file imports, also inside its functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from package import module` names a module, `from package.module import function` does not.
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def closure(path: Path) -> set[Path]:
    """Return all files of ours that importing a file reaches, with itself and the packages they are in."""
    reached, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            waiting += [current.parent / "__init__.py"]
            waiting += [file for module in imports_of(current) if (file := file_of(module)) is not None]
    return reached


def packages_of(files: set[Path]) -> set[str]:
    """Return the packages of others that some files import."""
    names = {module.partition(".")[0] for file in files for module in imports_of(file)}
    return names - set(PACKAGES) - set(sys.stdlib_module_names)


@pytest.mark.parametrize("stage", STAGES)
def test_the_dependencies_of_a_stage_are_the_modules_it_reaches(stage: str) -> None:
    reached = {path.relative_to(ROOT).as_posix() for path in closure(ROOT / "stages" / f"{stage}.py")}
    listed = [dependency for dependency in STAGES[stage]["deps"] if dependency.endswith(".py")]
    assert sorted(reached) == sorted(listed)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_says_what_it_does_and_runs_its_script(stage: str) -> None:
    assert STAGES[stage]["desc"].endswith(".")
    assert STAGES[stage]["cmd"] == f"python -m stages.{stage}"
    assert stage not in sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_the_library_knows_no_stage_and_its_arrows_run_one_way(module: str) -> None:
    legend = ast.get_docstring(ast.parse((PACKAGES["sentiment"] / "__init__.py").read_text(encoding="utf-8")))
    assert legend is not None
    rows = [re.findall(r"\w+", names) for names in re.findall(r"^ {4}(\w+(?:, \w+)*) {2,}", legend, re.MULTILINE)]
    row_of = {name: number for number, names in enumerate(rows) for name in names}
    assert set(row_of) == set(MODULES)
    for imported in imports_of(PACKAGES["sentiment"] / f"{module}.py"):
        package, _, name = imported.partition(".")
        assert package != "stages"
        if package == "sentiment" and name in row_of:
            assert row_of[name] < row_of[module], f"{module} imports {name}"


def test_text_is_read_and_tokenized_without_torch() -> None:
    for module in ("corpus", "imdb", "own", "sample", "split", "tokens", "vectors", "metrics", "baseline"):
        assert "torch" not in packages_of(closure(PACKAGES["sentiment"] / f"{module}.py")), module


def test_training_needs_only_what_a_bare_gpu_machine_has() -> None:
    files = closure(PACKAGES["sentiment"] / "train.py") | closure(PACKAGES["sentiment"] / "checkpoint.py")
    assert packages_of(files) == {"torch", "safetensors"}


def test_torchtext_stays_behind_one_module() -> None:
    users = [file.name for file in PACKAGES["sentiment"].glob("*.py") if "torchtext" in packages_of({file})]
    assert users == ["vocabulary.py"]


def test_nothing_is_pickled() -> None:
    for folder in PACKAGES.values():
        for file in folder.glob("*.py"):
            assert not {"pickle", "joblib", "shelve"} & {name.partition(".")[0] for name in imports_of(file)}
            assert not re.search(r"torch\.(save|load)\(", file.read_text(encoding="utf-8"))
