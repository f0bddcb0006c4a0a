"""How make builds .venv: a half, broken or moved one becomes one that works, or one line says what to do."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MARKER = ".venv/bin/.run"
REQUIREMENTS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-remotes.txt",
    "requirements-export.txt",
    "requirements-serve.txt",
    "requirements-ray.txt",
    "requirements-docs.txt",
)
TAG = "tiny-1.0.dist-info"


def make(folder: Path, status: int = 0, target: str = MARKER, python: str | Path = sys.executable) -> str:
    """Run make for an environment, with a `pip` on the path that nobody may use, and return what it prints."""
    decoys = folder / "decoys"
    decoys.mkdir(exist_ok=True)
    (decoys / "pip").write_text("#!/bin/sh\necho another pip; exit 1\n", encoding="utf-8")
    (decoys / "pip").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment |= {"PATH": f"{decoys}{os.pathsep}{os.environ['PATH']}", "PIP_NO_INDEX": "1"}
    command = ["make", "--no-print-directory", target, f"PYTHON={python}"]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def works(folder: Path) -> bool:
    """Tell whether an environment has a Python of its own, in which the requirements are installed."""
    program = "import sys, tiny, pip; print(sys.prefix != sys.base_prefix)"
    python = folder / ".venv" / "bin" / "python"
    done = subprocess.run([python, "-Ic", program], capture_output=True, text=True)
    script = subprocess.run([folder / ".venv" / "bin" / "pip", "--version"], capture_output=True, text=True)
    return done.stdout == "True\n" and not script.returncode


def packages(folder: Path) -> Path:
    (path,) = (folder / ".venv" / "lib").glob("python3*/site-packages")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one small requirement, in a wheel next to it, and the environment that make has built."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(ROOT / "Makefile", folder)
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr(f"{TAG}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(
            f"{TAG}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{TAG}/RECORD", "")
    for name in REQUIREMENTS:
        (folder / name).write_text("./tiny-1.0-py3-none-any.whl\n", encoding="utf-8")
    make(folder)
    assert works(folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """The same project without an environment."""
    return Path(shutil.copytree(made, tmp_path / "project", ignore=shutil.ignore_patterns(".venv")))


@pytest.fixture
def built(made: Path) -> Path:
    """The project with its environment, which make has restored if a test has broken it."""
    make(made)
    assert works(made)
    return made


def test_an_environment_is_made_once(built: Path) -> None:
    assert "up to date" in make(built)


@pytest.mark.parametrize("status", [0, 1])
def test_uv_installs_where_it_is_there_and_pip_where_uv_fails(project: Path, status: int) -> None:
    (project / "decoys").mkdir(exist_ok=True)
    uv = project / "decoys" / "uv"
    installing = '.venv/bin/python -m pip install --quiet "${@:6}"' if status == 0 else "exit 1"
    uv.write_text(f'#!/bin/bash\necho "$*" >> asked\n{installing}\n', encoding="utf-8")
    uv.chmod(0o755)
    make(project)
    assert works(project)
    asked = (project / "asked").read_text(encoding="utf-8")
    assert asked == "pip install --quiet --python .venv/bin/python -r requirements.txt\n"


def without_pip(folder: Path) -> None:
    """Leave what Debian's `python3 -m venv` leaves where python3-venv is missing."""
    shutil.rmtree(folder / ".venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)


def with_half_of_pip(folder: Path) -> None:
    """Leave what Ctrl-C leaves during `python3 -m venv`: pip writes RECORD last."""
    next(packages(folder).glob("pip-*.dist-info/RECORD")).unlink()


def without_python(folder: Path) -> None:
    """Leave what an upgrade of the system's Python leaves: links to one that is gone."""
    for link in (folder / ".venv" / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/nowhere/python3")


def moved(folder: Path) -> None:
    """Leave what moving or copying the project leaves: commands that start the Python of another place."""
    (folder / MARKER).write_text("/nowhere/.venv\n", encoding="utf-8")


@pytest.mark.parametrize("breaking", [without_pip, with_half_of_pip, without_python, moved])
def test_what_is_not_whole_is_made_again(built: Path, breaking: Callable[[Path], None]) -> None:
    breaking(built)
    assert ".venv: is not whole" in make(built)
    assert works(built)
    assert "up to date" in make(built)


def test_a_package_whose_installation_was_stopped_is_installed_again(built: Path) -> None:
    (packages(built) / TAG / "RECORD").unlink()
    (packages(built) / "tiny.py").unlink()
    (built / MARKER).unlink()
    assert ".venv: is not whole" not in make(built)
    assert works(built)


def test_an_environment_that_was_made_by_hand_is_kept(built: Path) -> None:
    (built / MARKER).unlink()
    (packages(built) / "mine.py").touch()
    make(built)
    assert works(built)
    assert (packages(built) / "mine.py").exists()


def test_a_link_to_an_environment_that_was_moved_is_used(built: Path, tmp_path: Path) -> None:
    link, elsewhere = built / ".venv", tmp_path / "elsewhere"
    shutil.move(link, elsewhere)
    link.symlink_to(elsewhere)
    try:
        (built / "requirements.txt").touch()
        assert ".venv: is not whole" not in make(built)
        assert link.is_symlink()
        assert works(built)
    finally:
        link.unlink()
        shutil.move(elsewhere, link)


def test_a_link_to_an_empty_folder_is_filled(project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project / ".venv").symlink_to(tmp_path / "elsewhere")
    make(project)
    assert (project / ".venv").is_symlink()
    assert works(project)


@pytest.mark.parametrize("target", ["a folder", "nowhere"])
def test_nothing_is_deleted_through_a_link(project: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "mine.txt").touch()
    (project / ".venv").symlink_to(tmp_path / target)
    said = make(project, status=2).splitlines()[0]
    assert said == "error: .venv: is a file, or a link to something that is not a whole environment; remove .venv"
    assert (project / ".venv").is_symlink()
    assert (tmp_path / "a folder" / "mine.txt").exists()


@pytest.mark.parametrize("fails_at", ["venv", "ensurepip"])
def test_a_missing_package_of_debian_is_named_and_nothing_is_left(project: Path, tmp_path: Path, fails_at: str) -> None:
    # Which of the two commands fails depends on Debian's version.
    hidden = tmp_path / "hidden" / "ensurepip"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'ensurepip'\")", encoding="utf-8")
    python = tmp_path / "python"
    half = f"{sys.executable} -m venv --without-pip .venv; echo ensurepip is not available; exit 1"
    refusal = f'[ "$2" = {fails_at} ] && {{ {half}; }}'
    python.write_text(f'#!/bin/sh\n{refusal}\nexport PYTHONPATH={hidden.parent}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(hidden.parent))
        said = make(project, status=2, python=python).splitlines()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert said[0].startswith(f"error: .venv: Python {version} lacks ensurepip; on Debian or Ubuntu: apt install ")
    assert said[0].endswith(f"python{version}-venv")
    assert len(said) == 2  # make's own line
    assert not (project / ".venv").exists()


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_another_python_is_refused_before_anything_is_done(
    project: Path, tmp_path: Path, version: tuple[int, int]
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys; sys.version_info = ({version[0]}, {version[1]}, 0)")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    assert make(project, status=2, python=python).startswith("error: Python 3.11 to 3.14 is needed; ")
    assert not (project / ".venv").exists()


def test_the_versions_of_python_are_the_same_everywhere() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert wanted == ">=3.11,<3.15"
    assert "(3, 11) <= sys.version_info < (3, 15)" in MAKEFILE
    for path in ("Makefile", "README.md", "stages/__init__.py"):
        assert "3.11 to 3.14" in (ROOT / path).read_text(encoding="utf-8"), path


def test_no_recipe_runs_what_the_path_happens_to_have() -> None:
    recipes = [line for line in MAKEFILE.splitlines() if line.startswith("\t") and "stages.predict" not in line]
    assert not [line for line in recipes if re.search(r"(^\t@?|; |&& |time )(pip|python|dvc|pytest|ruff|mypy) ", line)]


def test_experiments_without_a_commit_are_told_what_is_missing(built: Path) -> None:
    shutil.rmtree(built / ".git", ignore_errors=True)
    subprocess.run(["git", "init", "-q"], cwd=built, check=True)
    (built / "stages").mkdir(exist_ok=True)
    (built / "stages" / "repair.py").touch()
    said = make(built, status=2, target="imdb").splitlines()
    assert said[0] == (
        "error: DVC runs an experiment from a commit, and there is none: git add . && git commit -m Start"
    )


def copy_all(context: Path, image: Path) -> None:
    """Copy what Docker's `COPY . .` does: all but what .dockerignore names."""
    ignored = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()

    def left_out(folder: str, names: list[str]) -> list[str]:
        paths = {name: Path(folder, name).relative_to(context).as_posix() for name in names}
        return [name for name, path in paths.items() if path in ignored or f"**/{name}" in ignored]

    shutil.copytree(context, image, ignore=left_out, dirs_exist_ok=True)


def test_the_steps_of_the_image_in_an_empty_folder(made: Path, tmp_path: Path) -> None:
    """All that Dockerfile does as a user, with one small requirement, in a project that git does not know."""
    context, image = tmp_path / "context", tmp_path / "image"
    image.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0")[:-1]:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, context / name)
    (context / "requirements.txt").write_text(f"tiny @ {next(made.glob('*.whl')).as_uri()}\n", encoding="utf-8")
    (context / ".venv" / "bin").mkdir(parents=True)
    (context / ".venv" / "bin" / "python").write_text("that of another machine", encoding="utf-8")
    (context / "stages" / "__pycache__").mkdir()

    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    first, *steps = re.findall(r"^(USER|COPY|RUN) (.+)$", text[text.index("\nUSER") :], re.MULTILINE)
    assert first == ("USER", "user"), "nothing is copied by root"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PIP_NO_INDEX": "1"}
    for instruction, arguments in steps:
        if instruction == "RUN":
            subprocess.run(["bash", "-o", "pipefail", "-c", arguments], cwd=image, env=environment, check=True)
        elif arguments == "--chown=user . .":
            copy_all(context, image)
        else:
            for name in arguments.removeprefix("--chown=user ").removesuffix(" ./").split():
                shutil.copy(context / name, image)

    assert works(image)
    assert not (image / "stages" / "__pycache__").exists()
    assert "up to date" in make(image, python="python3")
    shutil.rmtree(image / "decoys")
    for command, printed in (("log --format=%s", "Start\n"), ("status --short", "")):
        done = subprocess.run(["git", *command.split()], cwd=image, capture_output=True, text=True, check=True)
        assert done.stdout == printed


def test_the_image_leaves_out_what_git_ignores() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines():
        if line.startswith("/") and line != "/build":
            assert line[1:] in ignored
