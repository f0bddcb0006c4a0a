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
    load_start,
    save_checkpoint,
    save_start,
)
from sentiment.models.inference import predict_logits
from sentiment.storage.outputs import sha256_of
from sentiment.storage.tensors import save_tensors
from tests.conftest import random_reviews, small_model

REVIEWS = random_reviews([4, 9, 1, 6])
VOCABULARY = Path(__file__)  # any file will do
CPU = torch.device("cpu")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_reloaded_model_gives_the_same_logits(tmp_path: Path, cell: str) -> None:
    model = small_model(cell=cell, layers=2)
    save_checkpoint(tmp_path / "model", model, VOCABULARY)
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.config == model.config
    assert torch.equal(predict_logits(loaded, REVIEWS, CPU), predict_logits(model, REVIEWS, CPU))


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_checkpoint(tmp_path / name, small_model(), VOCABULARY)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("layers", [1, 2])
def test_embeddings_and_lowest_layers_are_what_others_start_from(tmp_path: Path, layers: int) -> None:
    trained, model = (small_model(layers=count, mix_directions=False, pooling=("max",)) for count in (layers, 3))
    with torch.no_grad():
        for weights in trained.parameters():
            weights.add_(1.0)
    save_start(tmp_path / "start", trained, layers)
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    load_start(tmp_path / "start", model, layers)
    for name, weights in model.state_dict().items():
        is_taken = name.startswith(("embedding.", "layers.0.", "layers.1.")[: layers + 1])
        assert torch.equal(weights, trained.state_dict()[name] if is_taken else before[name]), name


def test_a_start_of_another_shape_or_none_is_refused(tmp_path: Path) -> None:
    for other, message in ((small_model(hidden_size=7), "of another shape"), (None, "must hold the tensors")):
        save_start(tmp_path / "start", other, 1)
        with pytest.raises(InputError, match=message):
            load_start(tmp_path / "start", small_model(), 1)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    save_tensors(tmp_path / "model" / "weights.safetensors", dict(small_model(hidden_size=7).state_dict()))
    with pytest.raises(InputError, match=r"must be of shape \(20, 6\) as model\.json says; got \(28, 6\)"):
        load_checkpoint(tmp_path / "model")
    save_tensors(tmp_path / "model" / "weights.safetensors", dict(small_model(layers=2).state_dict()))
    with pytest.raises(InputError, match="must hold the tensors"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"cell": "lstm"}}', "\x80"])
def test_another_file_is_not_taken_for_a_configuration(tmp_path: Path, content: str) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json: is not the configuration of a model"):
        load_checkpoint(tmp_path / "model")


def test_a_cell_that_is_not_known_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    config = json.loads((tmp_path / "model" / "model.json").read_text())
    config["model"]["cell"] = "ltsm"
    (tmp_path / "model" / "model.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"is not the configuration of a model: KeyError\('ltsm'\)"):
        load_checkpoint(tmp_path / "model")


def test_a_folder_holds_all_that_it_needs(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text("{}")
    save_checkpoint(tmp_path / "model", small_model(), tmp_path / "words.json")
    (tmp_path / "words.json").unlink()
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    load_checkpoint(tmp_path / "elsewhere")
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {WEIGHTS, CONFIG, VOCABULARY_NAME}
    assert (tmp_path / "elsewhere" / VOCABULARY_NAME).read_text() == "{}"


@pytest.mark.parametrize("content", [b"", b"{}", VOCABULARY.read_bytes() + b"\n", VOCABULARY.read_bytes()[:-1]])
def test_a_vocabulary_that_was_damaged_or_swapped_is_refused(tmp_path: Path, content: bytes) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / VOCABULARY_NAME).write_bytes(content)
    with pytest.raises(
        InputError, match=r"model/vocabulary\.json: is damaged or from another model: its sha256 is not"
    ):
        load_checkpoint(tmp_path / "model")


def test_a_folder_without_a_vocabulary_is_known_as_an_older_versions(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / VOCABULARY_NAME).unlink()
    message = rf"an older version saved; put in the .*, of sha256 '{sha256_of(VOCABULARY)}', or train the model again"
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / name).unlink()
    with pytest.raises(FileNotFoundError) as raised:
        load_checkpoint(tmp_path / "model")
    assert raised.value.filename == str(tmp_path / "model" / name)


def test_tensors_of_another_vocabulary_than_the_models_are_refused(tmp_path: Path) -> None:
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
def test_a_configuration_that_no_model_has_is_refused(tmp_path: Path, name: str, value: object, message: str) -> None:
    save_changed(tmp_path / "model", **{name: value})
    with pytest.raises(InputError, match=rf"model\.json: is not the configuration of a model: .*{message}"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden_size", 10**8, "must be of shape"),
        ("hidden_size", 10**9, "is not the configuration of a model"),
        ("vocabulary_size", 10**12, "must be of shape"),
        ("layers", 10**9, "must hold the tensors of 1000000000 layers"),
        ("hidden_size", 2**62, "is not the configuration of a model"),
        ("hidden_size", 10**30, "is not the configuration of a model"),
    ],
)
def test_a_model_of_absurd_size_takes_no_memory(tmp_path: Path, name: str, value: int, message: str) -> None:
    save_changed(tmp_path / "model", **{name: value})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / "model")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.slow
def test_a_flipped_bit_and_a_lost_end_are_noticed_wherever_they_are(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    path = tmp_path / "model" / WEIGHTS
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]):
            path.write_bytes(content)
            with pytest.raises(InputError, match=r"weights\.safetensors: "):
                load_checkpoint(tmp_path / "model")
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=r"is damaged: its sha256 is not the one in model\.json"):
        load_checkpoint(tmp_path / "model")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
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
    with pytest.raises(InputError, match="it is a pickle, which may hold code and is never opened"):
        load_checkpoint(tmp_path / "model")
    assert not (tmp_path / "trapped").exists()


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    before = torch.get_rng_state()
    load_checkpoint(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)
