"""Who may import whom, and that `dvc.yaml` lists each module and each package that a stage reaches."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"sentiment": ROOT / "src" / "sentiment", "stages": ROOT / "stages"}
LIBRARY = SOURCES["sentiment"]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
MODULES = sorted(LIBRARY.rglob("*.py"))
VERSIONS: dict[str, str] = yaml.safe_load((ROOT / "versions.yaml").read_text(encoding="utf-8"))
DISTRIBUTIONS = packages_distributions()
PARAMS = ROOT / "stages" / "params.py"  # only checks values, which DVC compares itself
DECIDE_NOTHING = {"pydantic", "ruamel.yaml", "tqdm"}  # they read and check the parameters, and show progress


def file_of(module: str) -> Path | None:
    """Return the file of a module of ours, or None for one of somebody else's."""
    first, *others = module.split(".")
    if first not in SOURCES:
        return None
    place = SOURCES[first].joinpath(*others)
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


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
            waiting += [above / "__init__.py" for above in current.parents if (above / "__init__.py").exists()]
            imported = imports_of(current) if current != PARAMS else set()
            waiting += [file for module in imported if (file := file_of(module)) is not None]
    return reached


def packages_of(files: set[Path]) -> set[str]:
    """Return the packages of others that some files import."""
    names = {module.partition(".")[0] for file in files for module in imports_of(file)}
    return names - set(SOURCES) - set(sys.stdlib_module_names)


@pytest.mark.parametrize("stage", STAGES)
def test_the_files_and_folders_of_code_that_a_stage_lists_are_those_it_reaches(stage: str) -> None:
    listed = {dependency for dependency in STAGES[stage]["deps"] if dependency.startswith(("src/", "stages/"))}
    reached = set()
    for path in closure(ROOT / "stages" / f"{stage}.py") - {LIBRARY / "__init__.py", PARAMS}:
        place = path.relative_to(ROOT)
        covering = {place.as_posix(), place.parent.as_posix()} & listed
        assert covering, f"{place} is not listed"
        reached |= covering
    assert reached == listed


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_the_version_of_each_package_that_its_code_imports(stage: str) -> None:
    (listed,) = [entry["versions.yaml"] for entry in STAGES[stage]["params"] if isinstance(entry, dict)]
    imported = packages_of(closure(ROOT / "stages" / f"{stage}.py"))
    reached = {name for package in imported for name in DISTRIBUTIONS[package]} & VERSIONS.keys() - DECIDE_NOTHING
    if "scikit-learn" in reached:
        reached.add("scipy")  # whose solver fits the baseline
    assert listed == sorted(reached, key=str.lower)


def test_the_versions_are_those_of_the_packages_above_the_line_in_the_requirements() -> None:
    above, _, _ = (ROOT / "requirements.txt").read_text(encoding="utf-8").partition("\n## ")
    assert dict(re.findall("^([^#].*)==(.+)", above, re.MULTILINE)) == VERSIONS


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_says_what_it_does_and_runs_its_script(stage: str) -> None:
    assert STAGES[stage]["desc"].endswith(".")
    assert STAGES[stage]["cmd"] == f"python -m stages.{stage}"
    assert stage not in sys.stdlib_module_names


def test_what_no_stage_lists_decides_nothing() -> None:
    """The package is a docstring and a lazy import, and what `stages.params` reads is among the stages' parameters."""
    package = ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))
    assert {type(node) for node in package.body[1:-1]} == {ast.ImportFrom}
    assert getattr(package.body[-1], "name", None) == "__getattr__"
    assert all(stage["params"] for stage in STAGES.values())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_the_library_knows_no_stage_and_its_arrows_run_one_way(path: Path) -> None:
    legend = ast.get_docstring(ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8")))
    assert legend is not None
    packages = re.findall(r"^ {4}(\w+) {2,}", legend, re.MULTILINE)
    assert set(packages) == {place.stem for place in LIBRARY.iterdir() if place.stem not in ("__init__", "__pycache__")}
    own, *_ = path.relative_to(LIBRARY).with_suffix("").parts
    for imported in imports_of(path):
        assert imported.partition(".")[0] != "stages"
        if imported.startswith("sentiment."):
            package = imported.split(".")[1]
            assert package == own or packages.index(package) < packages.index(own), f"{path} imports {imported}"


def test_text_is_read_and_tokenized_without_torch() -> None:
    modules = [path for package in ("corpora", "text", "evaluation") for path in (LIBRARY / package).glob("*.py")]
    for path in modules:
        assert "torch" not in packages_of(closure(path)), path


def test_training_needs_only_what_a_bare_gpu_machine_has() -> None:
    files = closure(LIBRARY / "training" / "trainer.py") | closure(LIBRARY / "models" / "checkpoint.py")
    assert packages_of(files) == {"torch", "safetensors"}


def test_torchtext_stays_behind_one_module() -> None:
    users = [file.name for file in MODULES if "torchtext" in packages_of({file})]
    assert users == ["vocabulary.py"]


def test_nothing_is_pickled() -> None:
    for folder in SOURCES.values():
        for file in folder.rglob("*.py"):
            assert not {"pickle", "joblib", "shelve"} & {name.partition(".")[0] for name in imports_of(file)}
            assert not re.search(r"torch\.(save|load)\(", file.read_text(encoding="utf-8"))


def test_version_date_and_licence_are_the_same_wherever_they_are_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## \[(\d.*)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == (project["version"], str(citation["date-released"]))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text(encoding="utf-8")
