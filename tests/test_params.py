"""The values that `params.yaml` accepts, and the messages for mistakes in it."""

import datetime
import subprocess
import sys
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import get_args

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from sentiment.dataset.encoded import MAX_CLASSES
from sentiment.errors import InputError
from sentiment.models.classifier import ModelConfig
from sentiment.models.layers import CELLS
from sentiment.models.pooling import POOLINGS
from sentiment.models.precision import PRECISIONS
from sentiment.pretraining.language_model import SOFTMAXES, LanguageConfig
from sentiment.runtime.schedule import SCHEDULES
from sentiment.training.trainer import TrainConfig
from stages import params as schema
from stages.params import parse_yaml, read_params
from tests.conftest import with_value

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
# Values as they are spelt, at a place in params.yaml, and what the message says.
WRONG = [
    ("model.cell", "ltsm", "model.cell must be one of rnn, lstm, gru; got 'ltsm'"),
    ("train.batch_size", "64.5", "train.batch_size must be a valid integer; got 64.5"),
    ("train.batch_size", "0", "train.batch_size must be greater than or equal to 1; got 0"),
    ("train.learning_rate", "fast", "train.learning_rate must be a valid number; got 'fast'"),
    ("train.learning_rate", ".nan", "train.learning_rate must be a finite number; got nan"),
    ("prepare.lower", "1", "prepare.lower must be a valid boolean; got 1"),
    (
        "prepare.language",
        "klingon",
        "prepare.language: must be a language that spaCy knows, such as en, de, es, fr, zh; got 'klingon'",
    ),
    ("prepare.language", "null", "prepare.language must be a valid string; got None"),
    ("prepare.seed", "-1", "prepare.seed must be greater than or"),
    ("prepare.seed", f"0x{'f' * 9000}", "less than 9223372036854775808; got a number of thousands of digits"),
    ("model.pooling", "[attention, sum]", "model.pooling[1] must be one of last, mean, max, attention; got 'sum'"),
    ("model.pooling", "[max, max]", "model.pooling: must name each pooling once; got max, max"),
    ("model.pooling", "max", "model.pooling must be a valid list; got 'max'"),
    ("download.custom.labels", "[neg]", "labels: must be 2 to 127 labels, such as [neg, pos] or {neg: [1, "),
    ("download.custom.labels", "{neg: [1], pos: []}", "download.custom.labels: must be 2 to 127 labels, such as "),
    ("download.custom.labels", "[neg, [1]]", "download.custom.labels: must be 2 to 127 labels, "),
    ("download.custom.labels", "[1.0, 2.0]", "labels: must have quotes around a label such as '1.0' or 'true'; got ["),
    ("download.custom.labels", "{no: [false], yes: [true]}", "labels: must have quotes around a label such as '1.0'"),
    ("download.custom.labels", "{neg: [1], pos: [2, '1']}", "labels: must be spelt differently; got '1, 2, 1'"),
    ("download.custom.labels", "{neg: [1], negative: [2]}", "labels: must be spelt differently; got 'negative, "),
    ("download.custom.labels", "[pos, pos]", "labels: must be spelt differently; got 'pos, pos'"),
    ("download.custom.encoding", "klingon", "download.custom.encoding: must be an encoding of text that Python knows"),
    ("download.custom.encoding", "hex", "download.custom.encoding: must be an encoding of text that Python knows"),
    ("download.custom.delimiter", "';;'", "download.custom.delimiter: must be one character, neither a double quote"),
    ("download.custom.delimiter", "'\"'", "download.custom.delimiter: must be one character, neither a double quote"),
    ("download.custom.delimiter", '"\\n"', "download.custom.delimiter: must be one character, neither a double quote"),
    ("download.imdb.sha256", "Xc40f", "download.imdb.sha256 must match pattern"),
    ("download.imdb.url", "ftp://ai.stanford.edu", "download.imdb.url must match pattern"),
    ("download.limits.members", "0", "download.limits.members must be greater than or equal to 1; got 0"),
    ("train", "[", "is not valid YAML"),
    ("model.cell", "!!int lstm", 'a value does not fit its type: ValueError("invalid literal for int()'),
    ("model.cell", "!!python/name:os.system", "could not determine a constructor for the tag"),
    ("model.cell", "-_", "a value does not fit its type: ValueError"),
    ("model.cell", "!!omap [{a: 1}, {a: 2}]", "a value does not fit its type: AssertionError()"),
    ("model.cell", "x" * 2000, "got 'xxxx"),
    ("model.cell", f"lstm{' ' * 200_000}", "must have at most 65,536 bytes; is it the right file?"),
]
# Values that do not go together.
AT_ODDS = [
    (
        {"download.custom.text_column": "body", "download.custom.label_column": "body"},
        "download.custom: its columns must have different names; got body, body",
    ),
    (
        {"download.custom.url": "https://example.org/reviews.csv", "download.custom.sha256": "null"},
        "download.custom: url and sha256 must both be given, or both be null; sha256 is null",
    ),
    (
        {"download.custom.url": "null", "download.custom.sha256": "a" * 64},
        "download.custom: url and sha256 must both be given, or both be null; url is null",
    ),
    (
        {"download.custom.url": "https://example.org/reviews/", "download.custom.sha256": "a" * 64},
        "download.custom: url must end with the name of a file, such as reviews.csv; got 'https://example.org/reviews/'",
    ),
    (
        {"model.layers": "1", "pretrain.enabled": "true", "pretrain.layers": "2"},
        "params.yaml: pretrain.layers must be at most model.layers, 1; got 2",
    ),
]
# Keys, and what stands in their place.
MISSPELT = [
    ("  cell:", "  cel:", "model.cel is not a parameter; valid keys: cell, hidden_size,"),
    (
        "  hidden_size:",
        "  wdith: 3\n  hidden_size:",
        "model.wdith is not a parameter; valid keys: cell, hidden_size, layers,",
    ),
    ("  patience:", "  patience: 1\n  patience:", 'found duplicate key "patience" with value'),
    ("    members:", "    member:", "download.limits.member is not a parameter; valid keys: members, member_bytes,"),
    (
        "evaluate:",
        "evaluat:",
        "evaluat is not a parameter; valid keys: download, prepare, vectors, pretrain,",
    ),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_a_wrong_value_is_reported_in_one_line(tmp_path: Path, place: str, value: str, message: str) -> None:
    assert message in error_of(tmp_path, with_value(TEXT, place, value))


@pytest.mark.parametrize(("values", "message"), AT_ODDS, ids=[message for _, message in AT_ODDS])
def test_values_at_odds_are_reported_in_one_line(tmp_path: Path, values: dict[str, str], message: str) -> None:
    text = reduce(lambda text, place: with_value(text, place, values[place]), values, TEXT)
    assert message in error_of(tmp_path, text)


@pytest.mark.parametrize(("key", "other", "message"), MISSPELT, ids=[message for *_, message in MISSPELT])
def test_a_misspelt_key_is_reported_in_one_line(tmp_path: Path, key: str, other: str, message: str) -> None:
    assert key in TEXT
    assert message in error_of(tmp_path, TEXT.replace(key, other, 1))


def error_of(folder: Path, text: str) -> str:
    """Return the one line that says what is wrong with the parameters."""
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_params(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


@pytest.mark.parametrize("list_style", ["pooling: [attention, max]  # some", "pooling:\n  - attention\n  - max"])
def test_a_value_is_replaced_where_it_stands(list_style: str) -> None:
    text = f"other: {{pooling: 1}}\nmodel:\n  {list_style}\n  layers: 1  # number\n"
    assert with_value(text, "model.pooling", "[max]") == text.replace(list_style, "pooling: [max]")
    assert with_value(text, "model.layers", "2").endswith("  layers: 2\n")


def test_a_syntax_error_is_reported_with_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("model:\n  pooling: [last\n  layers: 1\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"in line 2, column 12: expected ',' or '\]', but got ':' in line 3, column 9$"
    ):
        read_params(tmp_path / "params.yaml")


# Spellings of a scalar, and the value in YAML 1.2 as ruamel.yaml reads it.
SCALARS: dict[str, object] = {
    **{word: word for word in ("yes", "Yes", "no", "NO", "on", "off", "y", "n", "1:30", "12:30:45", "1e", "0x", "nan")},
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("~", "null", "Null", "NULL", "")),
    **{"010": 10, "0o10": 8, "0x10": 16, "0b11": 3, "08": 8, "1_000": 1000, "+1": 1, "-1": -1, "0": 0},
    **{"1e3": 1000.0, "1E3": 1000.0, "1.e3": 1000.0, "1e-3": 0.001, ".5": 0.5, "+.5": 0.5, "-1.5e+2": -150.0},
    **{".inf": float("inf"), "-.inf": float("-inf"), ".5e3": ".5e3", "1.5.2": "1.5.2"},
    **{
        "'no'": "no",
        '"yes"': "yes",
        "'1'": "1",
        "'010'": "010",
        "'~'": "~",
        "''": "",
        "'1e3'": "1e3",
        "'true'": "true",
    },
    **{
        "2026-01-31": datetime.date(2026, 1, 31),
        "'2026-01-31'": "2026-01-31",
        "'='": "=",
        "'a: b'": "a: b",
        "'#'": "#",
    },
    **{"!!str 1": "1", "!!str no": "no", "!!int '1'": 1, "!!float 1": 1.0, "naïve": "naïve", '"\\u4e0d"': "不"},
}


def same(one: object, other: object) -> bool:
    """Tell whether two values are equal and of one type; to Python 1, 1.0 and True are equal."""
    return one == other and type(one) is type(other)


@pytest.mark.parametrize("spelling", SCALARS)
def test_a_scalar_keeps_the_value_that_dvc_reads_when_dvc_rewrites_the_file(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"value: {spelling}\nvalues:\n- {spelling}\nother: 1\n", encoding="utf-8")
    for other in (1, 2):
        ours, of_dvc = parse_yaml(path.read_text(encoding="utf-8")), load_yaml(path)
        for values in (ours, of_dvc):
            assert same(values["value"], SCALARS[spelling])
            assert same(values["values"][0], SCALARS[spelling])
            assert values["other"] == other
        apply_overrides(path, ["other=2"])  # what `dvc exp run -S other=2` does


def test_the_labels_no_and_yes_stay_text_when_dvc_rewrites_the_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(with_value(TEXT, "download.custom.labels", "['no', 'yes']"), encoding="utf-8")
    before = read_params(path)
    apply_overrides(path, ["train.seed=1234"])
    assert "- no\n" in path.read_text(encoding="utf-8")
    assert before.download.custom.labels == ["no", "yes"]
    assert read_params(path) == before


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"5", b"a: 2020-13-45"])
def test_a_file_that_holds_no_parameters_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"params\.yaml"):
        read_params(tmp_path / "params.yaml")


def test_a_missing_file_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: No such file.*from the repository's root"):
        read_params(tmp_path / "params.yaml")


def test_a_checksum_that_looks_like_a_number_is_text(tmp_path: Path) -> None:
    checksum = "122e105b" + "0" * 56
    (tmp_path / "params.yaml").write_text(with_value(TEXT, "download.imdb.sha256", checksum))
    assert read_params(tmp_path / "params.yaml").download.imdb.sha256 == checksum


@pytest.mark.parametrize("text", ["5e-3", "5E-3", "+5.0e-3", "0.005"])
def test_numbers_may_be_written_with_an_exponent(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(with_value(TEXT, "train.learning_rate", text))
    assert read_params(tmp_path / "params.yaml").train.learning_rate == 0.005


def test_a_misspelt_parameter_is_reported_before_pytorch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(with_value(TEXT, "model.cell", "ltsm"), encoding="utf-8")
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


def test_the_schema_and_the_library_have_the_same_parameters() -> None:
    of_data = {"vocabulary_size", "embedding_size", "classes"}
    assert set(schema.Model.model_fields) | of_data == {field.name for field in fields(ModelConfig)}
    assert set(schema.Pretrain.model_fields) - {"enabled", "layers"} == {field.name for field in fields(LanguageConfig)}
    of_stage = {"processes", "portable", "refit"}
    assert set(schema.Train.model_fields) - of_stage == {field.name for field in fields(TrainConfig)}


def test_the_schema_and_the_library_have_the_same_choices() -> None:
    assert schema.MAX_LABELS == MAX_CLASSES
    pooling = get_args(schema.Model.model_fields["pooling"].annotation)[0]
    assert get_args(schema.Model.model_fields["cell"].annotation) == tuple(CELLS)
    assert get_args(pooling) == tuple(POOLINGS)
    assert get_args(schema.Pretrain.model_fields["softmax"].annotation) == tuple(SOFTMAXES)
    for section in (schema.Train, schema.Pretrain):
        assert get_args(section.model_fields["schedule"].annotation) == tuple(SCHEDULES)
        assert get_args(section.model_fields["precision"].annotation) == PRECISIONS


def test_every_key_has_a_comment() -> None:
    for line in TEXT.splitlines():
        is_item = line.lstrip().startswith("- ")
        is_setting = line.startswith("  ") and not line.rstrip().endswith(":") and not is_item
        assert not is_setting or "  # " in line, line


def test_there_is_a_section_for_each_stage_that_has_parameters() -> None:
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    assert {stage.split("_")[0] for stage in stages - {"package"}} | {"model"} == set(schema.Params.model_fields)
