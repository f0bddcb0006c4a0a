"""A trained model on disk: its weights, and beside them all that is needed to load them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sentiment.encoded import load_tensors, save_tensors
from sentiment.errors import InputError
from sentiment.files import replacing, write_json
from sentiment.model import Classifier, ModelConfig

WEIGHTS, CONFIG = "weights.safetensors", "model.json"


@dataclass(frozen=True)
class Checkpoint:
    """A model and the vocabulary, by the sha256 of its file, whose numbers it understands."""

    model: Classifier
    vocabulary_sha256: str


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `weights.safetensors` and `model.json` to a folder that appears whole or not at all."""
    with replacing(folder) as partial:
        partial.mkdir()
        weights = {name: tensor.detach().cpu() for name, tensor in checkpoint.model.state_dict().items()}
        save_tensors(partial / WEIGHTS, weights)
        config = {"model": asdict(checkpoint.model.config), "vocabulary_sha256": checkpoint.vocabulary_sha256}
        write_json(partial / CONFIG, config)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Build the model that `model.json` describes and load its weights, on the CPU and ready to score.

    Raises InputError where a file is missing or damaged, and where the weights are not those of that model.
    """
    try:
        saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config = ModelConfig(**{**saved["model"], "pooling": tuple(saved["model"]["pooling"])})
        with torch.device("meta"):  # shapes alone; the weights come from the file
            model = Classifier(config)
        vocabulary_sha256 = str(saved["vocabulary_sha256"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder / CONFIG}: is not the configuration of a model: {error!r}") from error
    expected = model.state_dict()
    weights = load_tensors(folder / WEIGHTS, {name: tensor.dtype for name, tensor in expected.items()})
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise InputError(
                f"{folder / WEIGHTS}: {name} must be of shape {tuple(tensor.shape)} as {CONFIG} says; "
                f"got {tuple(weights[name].shape)}"
            )
    model.load_state_dict(weights, assign=True)
    return Checkpoint(model.eval(), vocabulary_sha256)
