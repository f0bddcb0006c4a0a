import json
from pathlib import Path

import pytest
import torch

from sentiment.checkpoint import load_checkpoint, load_start, save_checkpoint, save_start
from sentiment.encoded import save_tensors
from sentiment.errors import InputError
from sentiment.predict import predict_logits
from tests.conftest import random_reviews, small_model

REVIEWS = random_reviews([4, 9, 1, 6])
VOCABULARY = Path(__file__)  # any file will do
CPU = torch.device("cpu")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_reloaded_model_gives_the_same_logits(tmp_path: Path, cell: str) -> None:
    model = small_model(cell=cell, layers=2)
    save_checkpoint(tmp_path / "model", model, VOCABULARY)
    loaded = load_checkpoint(tmp_path / "model", VOCABULARY)
    assert loaded.config == model.config
    assert torch.equal(predict_logits(loaded, REVIEWS, CPU), predict_logits(model, REVIEWS, CPU))


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_checkpoint(tmp_path / name, small_model(), VOCABULARY)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_embeddings_and_first_layer_are_what_others_start_from(tmp_path: Path) -> None:
    trained, model = small_model(), small_model(layers=2, pooling=("max",))
    with torch.no_grad():
        for weights in trained.parameters():
            weights.add_(1.0)
    save_start(tmp_path / "start", trained)
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    load_start(tmp_path / "start", model)
    for name, weights in model.state_dict().items():
        is_taken = name.startswith(("embedding.", "layers.0."))
        assert torch.equal(weights, trained.state_dict()[name] if is_taken else before[name]), name


def test_a_start_of_another_shape_or_none_is_refused(tmp_path: Path) -> None:
    for other, message in ((small_model(hidden_size=7), "of another shape"), (None, "must hold the tensors")):
        save_start(tmp_path / "start", other)
        with pytest.raises(InputError, match=message):
            load_start(tmp_path / "start", small_model())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    save_tensors(tmp_path / "model" / "weights.safetensors", dict(small_model(hidden_size=7).state_dict()))
    with pytest.raises(InputError, match=r"must be of shape \(20, 6\) as model\.json says; got \(28, 6\)"):
        load_checkpoint(tmp_path / "model", VOCABULARY)
    save_tensors(tmp_path / "model" / "weights.safetensors", dict(small_model(layers=2).state_dict()))
    with pytest.raises(InputError, match="must hold the tensors"):
        load_checkpoint(tmp_path / "model", VOCABULARY)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"cell": "lstm"}}', "\x80"])
def test_another_file_is_not_taken_for_a_configuration(tmp_path: Path, content: str) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "model" / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json: is not the configuration of a model"):
        load_checkpoint(tmp_path / "model", VOCABULARY)


def test_a_cell_that_is_not_known_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    config = json.loads((tmp_path / "model" / "model.json").read_text())
    config["model"]["cell"] = "ltsm"
    (tmp_path / "model" / "model.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"is not the configuration of a model: KeyError\('ltsm'\)"):
        load_checkpoint(tmp_path / "model", VOCABULARY)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", small_model(), VOCABULARY)
    (tmp_path / "vocabulary.json").write_text("{}")
    with pytest.raises(InputError, match=r"was trained with another vocabulary than .*vocabulary\.json"):
        load_checkpoint(tmp_path / "model", tmp_path / "vocabulary.json")
