"""Missing files: whatever an earlier stage writes is asked for in the same words, any other file is named as itself."""

import importlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentiment.storage.outputs import sha256_of
from stages.params import Params, read_params
from stages.paths import OUTPUTS, is_output
from stages.predict import main
from stages.run import one_line_errors
from tests.clone import ROOT, STAGES
from tests.conftest import write_glove

pytestmark = pytest.mark.slow

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SMALL: dict[str, dict[str, Any]] = {
    "download": {"sample": {"reviews": 200}},
    "model": {"hidden_size": 4},
    "pretrain": {"enabled": True, "streams": 8, "window": 16},
    "train": {"epochs": 1, "virtual": 0.5},  # so that train reads all that it depends on
}
ADVICE = "; run the earlier stages first, for example with dvc repro"


def outs_of(stage: str) -> list[str]:
    metrics = PIPELINE[stage].get("metrics", [])
    return [*PIPELINE[stage].get("outs", []), *(name for metric in metrics for name in metric)]


WRITTEN = [out for stage in STAGES for out in outs_of(stage)]
READ = [(stage, path) for stage in STAGES for path in PIPELINE[stage]["deps"] if path in WRITTEN]


def script(stage: str) -> Callable[[Params], None]:
    function: Callable[[Params], None] = getattr(importlib.import_module(f"stages.{stage}"), stage)
    return function


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which all stages have run."""
    folder = tmp_path_factory.mktemp("missing")
    for name in ("src", "stages", "examples", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in SMALL.items():
        for key, value in changes.items():
            values[section][key] = {**values[section][key], **value} if isinstance(value, dict) else value
    file = write_glove(folder / "vectors.txt")  # so that the stage vectors reads all that it depends on
    values["download"]["vectors"] = {"url": file.as_uri(), "sha256": sha256_of(file)}
    values["vectors"]["source"] = "both"
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with chdir(folder):
        for stage in STAGES:
            script(stage)(read_params())
        yield folder


@contextmanager
def without(path: Path) -> Iterator[None]:
    """Take a file or folder away for a while."""
    kept = path.with_name(f"{path.name}.kept")
    path.rename(kept)
    try:
        yield
    finally:
        kept.rename(path)


def said(work: Callable[[], object]) -> str:
    """Return the line with which some work ends."""
    with pytest.raises(SystemExit) as ended, one_line_errors():
        work()
    assert isinstance(ended.value.code, str)
    return ended.value.code


def test_the_outputs_are_those_of_the_pipeline() -> None:
    assert all(is_output(Path(out)) for out in WRITTEN)
    assert all(any(Path(out).is_relative_to(output) for out in WRITTEN) for output in OUTPUTS)


@pytest.mark.parametrize("path", ["data/mine.csv", "params.yaml", "examples/behaviour.csv", "best/model.json", "data"])
def test_other_files_are_not_taken_for_outputs(path: str) -> None:
    assert not is_output(Path(path))


@pytest.mark.parametrize("path", ["model/model.json", "./model/x", "data/../model", "model"])
def test_outputs_are_known_however_their_path_is_written(path: str) -> None:
    assert is_output(Path(path))
    assert is_output(Path.cwd() / path)


@pytest.mark.parametrize(("stage", "path"), READ)
def test_what_an_earlier_stage_writes_is_asked_for_in_the_same_words(folder: Path, stage: str, path: str) -> None:
    with without(folder / path):
        line = said(lambda: script(stage)(read_params()))
    assert line.startswith(f"error: {path}")
    assert line.endswith(f": does not exist{ADVICE}")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("user", ["evaluate", "predict"])
def test_a_model_without_one_of_its_files_is_asked_for_in_the_same_words(folder: Path, user: str, name: str) -> None:
    model = "classifier" if user == "predict" else "model"
    with without(folder / model / name):
        line = said(lambda: main(["--text", "Fine."]) if user == "predict" else script(user)(read_params()))
    assert line == f"error: {model}/{name}: does not exist{ADVICE}"


def test_a_model_that_is_somewhere_else_is_not_blamed_on_a_stage(folder: Path) -> None:
    assert said(lambda: main(["--model", "best", "--text=Fine."])) == "error: best/model.json: does not exist"
    here = folder / "model"
    with without(here):
        line = said(lambda: main(["--model", str(here), "--text=Fine."]))
    assert line == f"error: {here}/model.json: does not exist{ADVICE}"


def test_a_file_of_the_repository_is_not_blamed_on_a_stage(folder: Path) -> None:
    (folder / "examples").unlink()
    try:
        line = said(lambda: script("evaluate")(read_params()))
    finally:
        (folder / "examples").symlink_to(ROOT / "examples")
    assert line == "error: examples/behaviour.csv: does not exist"


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl", "mine.parquet", "data/mine.csv"])
def test_the_users_own_file_is_not_blamed_on_a_stage(folder: Path, name: str) -> None:
    params = read_params()
    own = params.download.custom.model_copy(update={"path": name})
    download = params.download.model_copy(update={"corpus": "custom", "custom": own})
    line = said(lambda: script("download_corpus")(params.model_copy(update={"download": download})))
    assert name in line
    assert ADVICE not in line
    assert not (folder / name).exists()


def test_missing_parameters_are_not_blamed_on_a_stage(folder: Path) -> None:
    with without(folder / "params.yaml"):
        line = said(read_params)
    assert line.startswith("error: params.yaml: cannot be read")


def test_a_folder_in_the_place_of_a_file_is_named(folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(folder / "model", tmp_path / "model")
    (model / "vocabulary.json").unlink()
    (model / "vocabulary.json").mkdir()
    assert (
        said(lambda: main(["--model", str(model), "--text=Fine."])) == f"error: {model}/vocabulary.json: Is a directory"
    )
    (folder / "file").touch()
    assert said(lambda: main(["--model", "file", "--text=Fine."])).startswith("error: file/model.json: is not")


def test_test_reviews_of_another_vocabulary_than_the_models_are_refused(folder: Path) -> None:
    vocabulary = folder / "data" / "prepared" / "vocabulary.json"
    with without(vocabulary):
        vocabulary.write_text("{}")
        line = said(lambda: script("evaluate")(read_params()))
        vocabulary.unlink()
        main(["--text", "Fine."])  # which needs the model's folder alone
    message = "was trained with another vocabulary than data/prepared/vocabulary.json; train the model again"
    assert line == f"error: model: {message}"
