"""What is settled before a stage begins: the instructions of `train.portable`, and whether this Python will do."""

import platform
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
STAGE = """
from stages.run import run

def stage(params):
    import os
    import torch
    print(repr(os.environ.get("CUDA_VISIBLE_DEVICES")), torch.cuda.is_available())
    print(torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), os.environ.get("MKL_CBWR"))

run(stage)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the stage above prints, line by line, with `train.portable` and without."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    folder = tmp_path_factory.mktemp("portable")
    lines = {}
    for portable in ("true", "false"):
        (folder / "params.yaml").write_text(text.replace("portable: true ", f"portable: {portable} "), encoding="utf-8")
        lines[portable] = subprocess.check_output(
            [sys.executable, "-c", STAGE],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "0"},
            text=True,
        ).splitlines()
    return lines


def test_portable_means_the_cpu(said: dict[str, list[str]]) -> None:
    assert said["true"][0] == "'' False"
    assert said["false"][0].startswith("'0' ")


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="there are no such instructions elsewhere")
def test_libraries_are_kept_to_avx2_and_one_thread_if_that_is_asked_for(said: dict[str, list[str]]) -> None:
    assert said["true"][1] == "1 AVX2 COMPATIBLE"
    assert said["false"][1].startswith("2 ")
    assert said["false"][1].endswith(" None")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without any package, as `python` is where the environment is not activated."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder)
    return folder / "bin" / "python"


@pytest.mark.parametrize(
    "module",
    [
        "download_corpus",
        "prepare",
        "vectors",
        "pretrain",
        "baseline",
        "train",
        "calibrate",
        "evaluate",
        "report",
        "package",
        "predict",
        "repair",
    ],
)
def test_a_python_without_the_packages_is_named_in_one_line(bare: Path, module: str) -> None:
    ended = subprocess.run([bare, "-m", f"stages.{module}"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {bare} (Python 3.")
    assert " cannot import a package (No module named '" in ended.stderr
    assert "source .venv/bin/activate" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("ImportError('cannot import name x from pydantic')", "cannot import name x from pydantic"),
        ("ImportError('\\n\\nIMPORTANT: PLEASE READ THIS\\n\\nAND THIS')", "IMPORTANT: PLEASE READ THIS"),
    ],
)
def test_a_package_that_does_not_fit_is_named_in_one_line(error: str, line: str) -> None:
    command = [sys.executable, "-c", f"import stages; raise {error}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"cannot import a package ({line}); run" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_any_other_error_is_shown_in_full() -> None:
    command = [sys.executable, "-c", "import stages; raise RuntimeError('of ours')"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr
    assert said.startswith("Traceback")
    assert said.endswith("RuntimeError: of ours\n")


@pytest.mark.parametrize("version", [(3, 8), (3, 10)])
def test_a_python_that_is_too_old_is_named_in_one_line(version: tuple[int, int]) -> None:
    program = f"import sys; sys.version_info = {(*version, 0)}; import stages"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert " is too old, Python 3.11 to 3.14 is needed; run `source .venv/bin/activate`" in ended.stderr
    assert ended.stderr.count("\n") == 1
