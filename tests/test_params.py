"""What `params.yaml` may say, and how a mistake in it is told."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import yaml

from sentiment.errors import InputError
from sentiment.model import POOLINGS, ModelConfig
from sentiment.objective import PRECISIONS
from sentiment.recurrent import CELLS
from sentiment.train import SCHEDULES, TrainConfig
from stages import params as schema
from stages.params import read_params

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
RATE = "learning_rate: 0.002      # Adam's, above 0 and at most 1"  # of train; that of pretrain has another comment

BROKEN = [
    ("cell: lstm", "cell: ltsm", "model.cell must be one of rnn, lstm, gru; got 'ltsm'"),
    ("  cell:", "  cel:", "model.cel is not a key; those there are cell, hidden_size,"),
    ("  layers: 1", "  layers: 1\n  wdith: 3", "model.wdith is not a key; those there are cell, hidden_size, layers,"),
    ("batch_size: 64", "batch_size: 64.5", "train.batch_size must be a valid integer; got 64.5"),
    ("batch_size: 64", "batch_size: 0", "train.batch_size must be greater than or equal to 1; got 0"),
    (RATE, "learning_rate: fast", "train.learning_rate must be a valid number; got 'fast'"),
    (RATE, "learning_rate: .nan", "train.learning_rate must be a finite number; got nan"),
    ("lower: true", "lower: 1", "prepare.lower must be a valid boolean; got 1"),
    ("[attention, max]", "[attention, sum]", "model.pooling[1] must be one of last, mean, max, attention; got 'sum'"),
    ("[attention, max]", "[max, max]", "model.pooling: must name each pooling once; got max, max"),
    ("[attention, max]", "max", "model.pooling must be a valid list; got 'max'"),
    ("[neg, pos]", "[pos, pos]", "download.own: labels must be two different names; got pos, pos"),
    ("label_column: label", "label_column: text", "download.own: its columns must be different ones; got text, text"),
    ("sha256: c40f", "sha256: Xc40f", "download.imdb.sha256 must match pattern"),
    ("url: https://ai", "url: ftp://ai", "download.imdb.url must match pattern"),
    ("  seed: 1234                # integer, of the split", "  seed: -1  #", "prepare.seed must be greater than or"),
    ("  epochs: 12", "  epochs: 12\n  epochs: 20", "the key 'epochs' stands twice; keep one"),
    ("members: 250000", "members: 0", "download.limits.members must be greater than or equal to 1; got 0"),
    ("    members:", "    member:", "download.limits.member is not a key; those there are members, member_bytes,"),
    ("train:", "train: [", "is not valid YAML"),
    (
        "  seed: 1234  ",
        f"  seed: 0x{'f' * 9000}  ",
        "less than 9223372036854775808; got a number of thousands of digits",
    ),
    ("cell: lstm", "cell: &cell lstm\n  pooling: *cell", "*cell refers to another value; write that out in line"),
    ("cell: lstm", "cell: !!int lstm", "'lstm' is no int in line"),
    ("cell: lstm", "cell: !!python/name:os.system", "could not determine a constructor for the tag"),
    ("cell: lstm", f"cell: {'[' * 2000}", "nested too deep in line"),
    ("cell: lstm", f"cell: {'x' * 2000}", "got 'xxxx"),
    ("cell: lstm", f"cell: lstm{' ' * 200_000}", "must be of at most 131,072 bytes"),
    (
        "evaluate:",
        "evaluat:",
        "evaluat is not a key; those there are download, prepare, pretrain, baseline,",
    ),
]


@pytest.mark.parametrize(("right", "wrong", "message"), BROKEN, ids=[message for _, _, message in BROKEN])
def test_a_mistake_is_told_in_one_line(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in TEXT
    (tmp_path / "params.yaml").write_text(TEXT.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_params(tmp_path / "params.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "params.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"5", b"a: 2020-13-45"])
def test_any_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"params\.yaml"):
        read_params(tmp_path / "params.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: No such file.*from the repository's root"):
        read_params(tmp_path / "params.yaml")


def test_a_checksum_that_begins_like_a_number_is_text(tmp_path: Path) -> None:
    checksum = "122e105b" + "0" * 56
    (tmp_path / "params.yaml").write_text(re.sub("sha256: [0-9a-f]+", f"sha256: {checksum}", TEXT))
    assert read_params(tmp_path / "params.yaml").download.imdb.sha256 == checksum


@pytest.mark.parametrize("text", ["5e-3", "5E-3", "+5.0e-3", "0.005"])
def test_numbers_may_be_written_with_an_exponent(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(TEXT.replace(RATE, f"learning_rate: {text}"))
    assert read_params(tmp_path / "params.yaml").train.learning_rate == 0.005


def test_a_stage_ends_with_one_line_before_it_imports_the_heavy_parts(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(TEXT.replace("cell: lstm", "cell: ltsm"), encoding="utf-8")
    program = """
import runpy, sys
try:
    runpy.run_module("stages.train", run_name="__main__")
finally:
    print(sorted({"torch", "spacy", "sklearn", "dvclive", "pyarrow"} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr == "error: params.yaml: model.cell must be one of rnn, lstm, gru; got 'ltsm'\n"
    assert result.stdout == "[]\n"


def test_the_schema_and_the_library_name_the_same_settings() -> None:
    of_data = {"vocabulary_size", "embedding_size"}
    assert set(schema.Model.model_fields) | of_data == {field.name for field in fields(ModelConfig)}
    assert set(schema.Train.model_fields) - {"processes", "portable", "refit"} == {
        field.name for field in fields(TrainConfig)
    }


def test_the_schema_and_the_library_offer_the_same_choices() -> None:
    pooling = get_args(schema.Model.model_fields["pooling"].annotation)[0]
    assert get_args(schema.Model.model_fields["cell"].annotation) == tuple(CELLS)
    assert get_args(pooling) == tuple(POOLINGS)
    assert get_args(schema.Train.model_fields["schedule"].annotation) == tuple(SCHEDULES)
    assert get_args(schema.Train.model_fields["precision"].annotation) == PRECISIONS


def test_every_key_has_a_comment_with_its_meaning() -> None:
    for line in TEXT.splitlines():
        is_setting = line.startswith("  ") and not line.rstrip().endswith(":")
        assert not is_setting or "  # " in line, line


def test_there_is_a_section_for_each_stage() -> None:
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    assert {stage.split("_")[0] for stage in stages} | {"model"} == set(schema.Params.model_fields)
