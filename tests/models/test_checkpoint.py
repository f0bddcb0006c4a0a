import json
import pickle
import resource
import zipfile
from pathlib import Path

import pytest
import torch

from sentiment.errors import InputError
from sentiment.models.checkpoint import (
    CONFIG,
    VOCABULARY_NAME,
    WEIGHTS,
    check_vocabulary,
    load_checkpoint,
    load_pretrained,
    save_checkpoint,
    save_pretrained,
)
from sentiment.models.classifier import Encoder
from sentiment.models.inference import predict_logits
from sentiment.models.layers import CELLS
from sentiment.storage.outputs import sha256_of
from sentiment.storage.tensors import save_tensors
from tests.conftest import random_reviews, small_config, small_model

REVIEWS = random_reviews([4, 9, 1, 6])
VOCABULARY = Path(__file__)  # any file will do
CPU = torch.device("cpu")


@pytest.mark.parametrize("cell", CELLS)
def test_a_reloaded_model_gives_the_same_logits(tmp_path: Path, cell: str) -> None:
    model = small_model(cell=cell, layers=2)
    save_checkpoint(tmp_path / "model", model, VOCABULARY)
    loaded, _ = load_checkpoint(tmp_path / "model")
    assert loaded.config == model.config
    assert torch.equal(predict_logits(loaded, REVIEWS, CPU), predict_logits(model, REVIEWS, CPU))


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_checkpoint(tmp_path / name, small_model(), VOCABULARY)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("layers", [1, 2])
def test_a_classifier_starts_from_a_pretrained_encoder(tmp_path: Path, layers: int) -> None:
    trained = Encoder(small_config(layers=layers, mix_directions=False))
    model = small_model(layers=3, mix_directions=False)
    save_pretrained(tmp_path / "start", trained)
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    load_pretrained(tmp_path / "start", model, layers)
    for name, weights in model.state_dict().items():
        is_taken = name.startswith(("embedding.", "layers.0.", "layers.1.")[: layers + 1])
        assert torch.equal(weights, trained.state_dict()[name] if is_taken else before[name]), name


def test_a_pretrained_encoder_of_another_shape_or_none_is_refused(tmp_path: Path) -> None:
    for other, message in ((Encoder(small_config(hidden_size=7)), "another shape"), (None, "must hold the tensors")):
        save_pretrained(tmp_path / "start", other)
        with pytest.raises(InputError, match=message):
            load_pretrained(tmp_path / "start", small_model(), 1)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    save_tensors(tmp_path / "model" / "weights.safetensors", dict(small_model(hidden_size=7).state_dict()))
    with pytest.raises(InputError, match=r"must have the shape \(20, 6\) given by model\.json; got \(28, 6\)"):
        load_checkpoint(tmp_path / "model")
    save_tensors(tmp_path / "model" / "weights.safetensors", dict(small_model(layers=2).state_dict()))
    with pytest.raises(InputError, match="must hold the tensors"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"cell": "lstm"}}', "\x80"])
def test_a_file_that_is_not_a_configuration_is_refused(tmp_path: Path, content: str) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json: is not the configuration of a model"):
        load_checkpoint(tmp_path / "model")


def test_an_unknown_cell_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    config = json.loads((tmp_path / "model" / "model.json").read_text())
    config["model"]["cell"] = "ltsm"
    (tmp_path / "model" / "model.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"is not the configuration of a model: KeyError\('ltsm'\)"):
        load_checkpoint(tmp_path / "model")


def test_a_checkpoint_is_self_contained(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text("{}")
    save_checkpoint(tmp_path / "model", small_model(), tmp_path / "words.json")
    (tmp_path / "words.json").unlink()
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    load_checkpoint(tmp_path / "elsewhere")
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {WEIGHTS, CONFIG, VOCABULARY_NAME}
    assert (tmp_path / "elsewhere" / VOCABULARY_NAME).read_text() == "{}"


@pytest.mark.parametrize("content", [b"", b"{}", VOCABULARY.read_bytes() + b"\n", VOCABULARY.read_bytes()[:-1]])
def test_a_damaged_or_swapped_vocabulary_is_refused(tmp_path: Path, content: bytes) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / VOCABULARY_NAME).write_bytes(content)
    with pytest.raises(
        InputError, match=r"model/vocabulary\.json: is damaged or belongs to another model: its sha256 differs"
    ):
        load_checkpoint(tmp_path / "model")


def test_a_checkpoint_without_a_vocabulary_names_the_older_version(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / VOCABULARY_NAME).unlink()
    message = rf"an older version saved this model: .* sha256 '{sha256_of(VOCABULARY)}', or train the model again"
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / name).unlink()
    with pytest.raises(FileNotFoundError) as raised:
        load_checkpoint(tmp_path / "model")
    assert raised.value.filename == str(tmp_path / "model" / name)


def test_encoded_reviews_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    check_vocabulary(tmp_path / "model", VOCABULARY)
    (tmp_path / "vocabulary.json").write_text("{}")
    with pytest.raises(InputError, match=r"model: was trained with another vocabulary than .*/vocabulary\.json"):
        check_vocabulary(tmp_path / "model", tmp_path / "vocabulary.json")


def save_changed(folder: Path, **changes: object) -> None:
    """Save a checkpoint whose configuration is another than that of its weights."""
    save_checkpoint(folder, small_model(), VOCABULARY)
    saved = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**saved, "model": {**saved["model"], **changes}}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden_size", 0, "must be a whole number of 1 or more; got 0"),
        ("hidden_size", True, "must be a whole number of 1 or more; got True"),
        ("hidden_size", 5.0, "must be a whole number of 1 or more; got 5.0"),
        ("layers", -1, "must be a whole number of 1 or more; got -1"),
        ("bidirectional", 1, "must be true or false; got 1"),
        ("cell", ["lstm"], r"must be a word; got \['lstm'\]"),
        ("pooling", "max", "must be a list of different words; got 'max'"),
        ("pooling", [], "must be a list of different words"),
        ("pooling", ["max", "max"], "must be a list of different words"),
        ("dropout_output", float("nan"), "must be a number of 0 or more, below 1; got nan"),
        ("dropout_output", 1, "must be a number of 0 or more, below 1; got 1"),
        ("more", 1, "must be an object of vocabulary_size, embedding_size, cell"),
    ],
)
def test_an_invalid_configuration_is_refused(tmp_path: Path, name: str, value: object, message: str) -> None:
    save_changed(tmp_path / "model", **{name: value})
    with pytest.raises(InputError, match=rf"model\.json: is not the configuration of a model: .*{message}"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden_size", 10**8, "must have the shape"),
        ("hidden_size", 10**9, "is not the configuration of a model"),
        ("vocabulary_size", 10**12, "must have the shape"),
        ("layers", 10**9, "must hold tensors of 1000000000 layers"),
        ("hidden_size", 2**62, "is not the configuration of a model"),
        ("hidden_size", 10**30, "is not the configuration of a model"),
    ],
)
def test_an_absurd_configuration_allocates_no_memory(tmp_path: Path, name: str, value: int, message: str) -> None:
    save_changed(tmp_path / "model", **{name: value})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / "model")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.slow
def test_a_flipped_bit_or_a_truncation_is_detected_at_any_position(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    path = tmp_path / "model" / WEIGHTS
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]):
            path.write_bytes(content)
            with pytest.raises(InputError, match=r"weights\.safetensors: "):
                load_checkpoint(tmp_path / "model")
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=r"is damaged: its sha256 differs from the one in model\.json"):
        load_checkpoint(tmp_path / "model")


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    model = small_model()
    model.temperature.fill_(torch.nan)
    save_checkpoint(tmp_path / "model", model, VOCABULARY)
    with pytest.raises(InputError, match="temperature must be finite; got NaN or infinity"):
        load_checkpoint(tmp_path / "model")


class Trap:
    """What creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_zip", [False, True])
def test_a_pickle_is_named_and_not_opened(tmp_path: Path, is_zip: bool) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    path, content = tmp_path / "model" / WEIGHTS, pickle.dumps(Trap(tmp_path / "trapped"))
    if is_zip:  # as torch.save writes it
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="it is a pickle, which may contain code and is not opened"):
        load_checkpoint(tmp_path / "model")
    assert not (tmp_path / "trapped").exists()


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    before = torch.get_rng_state()
    load_checkpoint(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_tensors_of_other_models_are_kept_and_checked(tmp_path: Path) -> None:
    others = {"linear.safetensors": {"bias": torch.ones(2)}}
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY, others)
    assert load_checkpoint(tmp_path / "model").others == ["linear.safetensors"]
    save_tensors(tmp_path / "model" / "linear.safetensors", {"bias": torch.zeros(2)})
    with pytest.raises(InputError, match=r"linear\.safetensors: is damaged: its sha256 differs"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("others", [[], {"../weights.safetensors": "0"}, {"a/b": "0"}])
def test_other_models_are_files_of_the_folder(tmp_path: Path, others: object) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    saved = json.loads((tmp_path / "model" / CONFIG).read_text())
    (tmp_path / "model" / CONFIG).write_text(json.dumps({**saved, "others_sha256": others}))
    with pytest.raises(InputError, match="others_sha256 must be sums by file"):
        load_checkpoint(tmp_path / "model")
