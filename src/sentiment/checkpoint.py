"""A trained model on disk: its weights, and beside them all that is needed to load them."""

import json
from dataclasses import asdict
from pathlib import Path

from sentiment.encoded import load_tensors, save_tensors
from sentiment.errors import InputError
from sentiment.files import replacing, sha256_of, write_json
from sentiment.model import Classifier, ModelConfig

WEIGHTS, CONFIG = "weights.safetensors", "model.json"
STARTING = ("embedding.", "layers.0.")  # what names of weights begin with that pretraining has trained


def save_checkpoint(folder: Path, model: Classifier, vocabulary: Path) -> None:
    """Write weights and configuration to a folder, with the sha256 of the vocabulary whose numbers the model reads."""
    with replacing(folder) as partial:
        partial.mkdir()
        weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
        save_tensors(partial / WEIGHTS, weights)
        write_json(partial / CONFIG, {"model": asdict(model.config), "vocabulary_sha256": sha256_of(vocabulary)})


def save_start(path: Path, model: Classifier | None) -> None:
    """Write the embeddings and the first layer of a model, or no weights, for others to start from."""
    weights = model.state_dict() if model is not None else {}
    save_tensors(path, {name: tensor.cpu() for name, tensor in weights.items() if name.startswith(STARTING)})


def load_start(path: Path, model: Classifier) -> None:
    """Put the embeddings and the first layer that `save_start` wrote into a model of the same shape."""
    expected = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(STARTING)}
    weights = load_tensors(path, {name: tensor.dtype for name, tensor in expected.items()})
    if any(weights[name].shape != tensor.shape for name, tensor in expected.items()):
        raise InputError(f"{path}: is of a model of another shape; run the pretrain stage again")
    model.load_state_dict(weights, strict=False)


def load_checkpoint(folder: Path, vocabulary: Path) -> Classifier:
    """Build the model that the folder's configuration describes and load its weights, on the CPU and ready to score.

    Raises InputError where a file is missing or damaged, where the weights are not those of that model, and where the
    model was trained with another vocabulary.
    """
    try:
        saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config = ModelConfig(**{**saved["model"], "pooling": tuple(saved["model"]["pooling"])})
        model = Classifier(config)
        vocabulary_sha256 = saved["vocabulary_sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder / CONFIG}: is not the configuration of a model: {error!r}") from error
    if vocabulary_sha256 != sha256_of(vocabulary):
        raise InputError(f"{folder}: was trained with another vocabulary than {vocabulary}; train it again")
    expected = model.state_dict()
    weights = load_tensors(folder / WEIGHTS, {name: tensor.dtype for name, tensor in expected.items()})
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise InputError(
                f"{folder / WEIGHTS}: {name} must be of shape {tuple(tensor.shape)} as {CONFIG} says; "
                f"got {tuple(weights[name].shape)}"
            )
    model.load_state_dict(weights)
    return model.eval()
