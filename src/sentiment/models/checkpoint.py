"""Checkpoints: folders with a network's weights, its configuration, its vocabulary, and tensors of other models."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sentiment.errors import InputError, abbreviated
from sentiment.models.classifier import Classifier, Encoder, ModelConfig
from sentiment.storage.outputs import atomic_output, read_json, read_settings, sha256_of, write_json
from sentiment.storage.tensors import check_dtypes, load_tensors, read_tensors, save_tensors

WEIGHTS, CONFIG, VOCABULARY_NAME = "weights.safetensors", "model.json", "vocabulary.json"
REQUIRED, OPTIONAL = {"model", "vocabulary_sha256", "weights_sha256"}, {"others_sha256"}  # keys of CONFIG


class Checkpoint(NamedTuple):
    """The contents of a folder."""

    network: Classifier
    others: list[str]  # the names of the files with the tensors of other models


def save_checkpoint(
    folder: Path, network: Classifier, vocabulary: Path, others: Mapping[str, dict[str, Tensor]] | None = None
) -> None:
    """Write a self-contained folder: the weights, the configuration and a copy of the vocabulary.

    `others` are the tensors of other models by the names of their files. The configuration records the sha256 of all
    files.
    """
    with atomic_output(folder) as partial:
        partial.mkdir()
        weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
        save_tensors(partial / WEIGHTS, weights)
        shutil.copyfile(vocabulary, partial / VOCABULARY_NAME)
        config = asdict(network.config)
        if network.config.classes == ModelConfig.classes:
            del config["classes"]  # as in the files of versions that knew two classes only
        saved: dict[str, Any] = {
            "model": config,
            "vocabulary_sha256": sha256_of(partial / VOCABULARY_NAME),
            "weights_sha256": sha256_of(partial / WEIGHTS),
        }
        if others:
            for name, tensors in others.items():
                save_tensors(partial / name, tensors)
            saved["others_sha256"] = {name: sha256_of(partial / name) for name in others}
        write_json(partial / CONFIG, saved)


def save_pretrained(path: Path, encoder: Encoder | None) -> None:
    """Save an encoder for a classifier to start from; without an encoder, the file holds no weights."""
    weights = encoder.state_dict() if encoder is not None else {}
    save_tensors(path, {name: tensor.cpu() for name, tensor in weights.items()})


def load_pretrained(path: Path, model: Classifier, layers: int) -> None:
    """Load the embeddings and the `layers` lowest layers of `model` from an encoder written by `save_pretrained`.

    Raises InputError if the encoder's layers have another shape.
    """
    names = ("embedding.", *(f"layers.{number}." for number in range(layers)))
    expected = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(names)}
    weights = load_tensors(path, {name: tensor.dtype for name, tensor in expected.items()})
    if any(weights[name].shape != tensor.shape for name, tensor in expected.items()):
        raise InputError(f"{path}: its layers have another shape than the model's; run the pretrain stage again")
    model.load_state_dict(weights, strict=False)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Build the network that a folder's configuration describes and load its weights, on the CPU, to evaluate.

    Raises FileNotFoundError if a file is missing. Raises InputError if a file is damaged or belongs to another model,
    if the weights do not fit the configuration or are not finite, or if an older version saved the folder without a
    vocabulary. Allocates no memory for the network until the weights are known to fit.
    """
    path, what = folder / CONFIG, "the configuration of a model"
    saved = read_json(path, what, REQUIRED, OPTIONAL)
    config = read_settings(path, what, saved["model"], ModelConfig)
    others = saved.get("others_sha256", {})
    if not isinstance(others, dict) or any(Path(name).name != name for name in others):
        raise InputError(f"{path}: is not {what}: others_sha256 must be sums by file; got {abbreviated(others)}")
    vocabulary = folder / VOCABULARY_NAME
    if not vocabulary.exists():
        raise InputError(
            f"{vocabulary}: does not exist; an older version saved this model: copy the "
            f"data/prepared/{VOCABULARY_NAME} of its training here, sha256 {abbreviated(saved['vocabulary_sha256'])}, "
            "or train the model again"
        )
    if saved["vocabulary_sha256"] != sha256_of(vocabulary):
        raise InputError(
            f"{vocabulary}: is damaged or belongs to another model: its sha256 differs from the one in {CONFIG}; "
            "fetch the folder again or train the model again"
        )
    weights = read_tensors(folder / WEIGHTS)
    if config.layers > len(weights):
        raise InputError(f"{folder / WEIGHTS}: must hold tensors of {config.layers} layers; got {len(weights)} tensors")
    try:
        with torch.device("meta"), _WithoutNormal():
            model = Classifier(config)
    except (KeyError, RuntimeError, TypeError) as error:  # an unknown cell or pooling; a size too large for PyTorch
        raise InputError(f"{path}: is not {what}: {error!r}") from error
    _check_weights(folder / WEIGHTS, weights, model.state_dict())
    for name, sha256 in {WEIGHTS: saved["weights_sha256"], **others}.items():
        if sha256 != sha256_of(folder / name):
            raise InputError(
                f"{folder / name}: is damaged: its sha256 differs from the one in {CONFIG}; "
                "fetch the folder again or train the model again"
            )
    model.to_empty(device="cpu").load_state_dict(weights)
    return Checkpoint(model.eval(), list(others))


def _check_weights(path: Path, weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raise InputError unless weights have the expected names, dtypes and shapes, and are finite."""
    check_dtypes(path, weights, {name: tensor.dtype for name, tensor in expected.items()})
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise InputError(
                f"{path}: {name} must have the shape {tuple(tensor.shape)} given by {CONFIG}; "
                f"got {tuple(weights[name].shape)}"
            )
        if not bool(weights[name].isfinite().all()):
            raise InputError(f"{path}: {name} must be finite; got NaN or infinity; train the model again")


class _WithoutNormal(TorchFunctionMode):
    """Mode in which `nn.init.normal_` does nothing: on the meta device it would import PyTorch's compiler, for 2 s."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function other than `normal_`, whose result nobody reads."""
        return None if func is nn.init.normal_ else func(*args, **(kwargs or {}))


def check_vocabulary(folder: Path, vocabulary: Path) -> None:
    """Raise InputError unless the model in `folder` was trained with exactly this vocabulary."""
    if sha256_of(folder / VOCABULARY_NAME) != sha256_of(vocabulary):
        raise InputError(f"{folder}: was trained with another vocabulary than {vocabulary}; train the model again")
