"""Accuracy that takes a GPU to reach: language models of two layers, then a classifier that starts from them.

The language models are those of Merity, Keskar and Socher (2018), one for each direction, with embeddings shared by
both and tied to the softmax. Lower parts of the classifier get lower rates, and one of two classifiers is unfrozen a
part an epoch (Howard and Ruder 2018). A trial decides how many epochs there is time for. The classifier and its epoch
are chosen on validation reviews; test reviews are read once, at the end.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import torch

from benchmarks.cuda.checks import Check, Record, Setting
from benchmarks.cuda.networks import default_training, new_model, vocabulary_size
from benchmarks.cuda.pack import Packed, first
from benchmarks.cuda.timing import time_repeated
from sentiment.dataset.encoded import PADDING, EncodedReviews, concatenate_reviews
from sentiment.models.classifier import Classifier, ModelConfig
from sentiment.models.inference import predict_logits
from sentiment.pretraining.language_model import LanguageConfig
from sentiment.pretraining.trainer import LanguageTrainer, windows_of
from sentiment.training.trainer import Epoch, TrainConfig, Trainer

LANGUAGE = LanguageConfig(
    seed=1,
    precision="bfloat16",
    held_out_share=0.01,
    softmax="tied",
    epochs=7,
    streams=128,
    window=72,
    learning_rate=4e-3,
    warmup_share=0.3,
    schedule="cosine",
    weight_decay=0.1,
    dropout_words=0.02,
    dropout_embedding=0.25,
    dropout_recurrent=0.2,
    dropout_layers=0.15,
    dropout_output=0.1,
    variational=True,
    clip_norm=1.0,
)
MIN_EPOCHS, MAX_EPOCHS = 4, 10  # of the classifier, which has four parts to unfreeze
TRIAL_WINDOWS, TRIAL_REVIEWS = 20, 640
SPARE = 0.85  # of the time left to spend: an epoch may be slower than the trial
FOR_LANGUAGE = 0.65  # share of the time for the language models


def good(data: Packed, device: torch.device, seconds: float, record: Record) -> None:
    """Train language models, then a classifier from them, in so many seconds, and record how well both do."""
    is_small = device.type == "cpu"
    ends = time.monotonic() + seconds
    model = new_model(shape_of(vocabulary_size(data), is_small))
    record("weights", sum(weight.numel() for weight in model.parameters()))
    text = concatenate_reviews(data["train"], data["unsup"])
    settings = replace(LANGUAGE, streams=4, window=8) if is_small else LANGUAGE
    read_text(model, text, settings, device, FOR_LANGUAGE * seconds, record)
    classify(model, data, device, ends, record)


def shape_of(words: int, is_small: bool) -> ModelConfig:
    """Return the network of classifier and language models."""
    shape = ModelConfig(
        vocabulary_size=words,
        embedding_size=384,
        cell="lstm",
        hidden_size=1024,
        layers=2,
        bidirectional=True,
        mix_directions=False,
        pooling=("attention", "max"),
        dropout_embedding=0.25,
        dropout_layers=0.15,
        dropout_output=0.4,
    )
    return replace(shape, embedding_size=8, hidden_size=16) if is_small else shape


def read_text(
    model: Classifier,
    text: EncodedReviews,
    config: LanguageConfig,
    device: torch.device,
    seconds: float,
    record: Record,
) -> None:
    """Train the language models for about so many seconds, on fewer reviews where an epoch takes longer than that."""
    ends = time.monotonic() + seconds
    an_epoch = seconds_of_language_epoch(LanguageTrainer(new_model(model.config), text, PADDING, config, device))
    epochs = SPARE * (ends - time.monotonic()) / an_epoch
    record("language models: seconds of an epoch, by the trial", an_epoch)
    if epochs < 1:
        text = first(text, math.ceil(epochs * len(text)))
        record("language models: share of the text read", epochs)
    config = replace(config, epochs=min(config.epochs, max(1, int(epochs))))
    started, rows = time.monotonic(), []
    for progress in LanguageTrainer(model, text, PADDING, config, device).train():
        losses = progress.train_loss, progress.held_out_loss
        rows.append([progress.epochs, *map(math.exp, losses), time.monotonic() - started])
        record("language models: epochs, perplexity, the same of text held out, seconds", rows)


def seconds_of_language_epoch(trial: LanguageTrainer) -> float:
    """Return the seconds of an epoch by those of a few windows."""
    windows = list(islice(windows_of(trial.held_out, len(trial.models.stacks), trial.config.window), TRIAL_WINDOWS))
    seconds = time_second(lambda: [trial.learn(window, "trial") for window in windows], trial.device)
    return seconds / len(windows) * trial.steps_per_epoch


def classify(start: Classifier, data: Packed, device: torch.device, ends: float, record: Record) -> None:
    """Train classifiers until about that time, choose one and its epoch on validation reviews, and read the test once.

    One classifier is unfrozen a part an epoch, the other one is tuned as a whole from the beginning.
    """
    an_epoch = seconds_of_epoch(copy.deepcopy(start), data["train"], device)
    record("classifier: seconds of an epoch, by the trial", an_epoch)
    classifiers = {}
    for number, (name, is_gradual) in enumerate((("unfrozen a part an epoch", True), ("tuned as a whole", False))):
        seconds = (ends - time.monotonic()) / (2 - number)
        epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, int(SPARE * seconds / an_epoch)))
        model = copy.deepcopy(start)
        trainer = Trainer(model, data["train"], classifier_training(epochs, is_gradual), device)
        classifiers[name] = trainer.fit(data["validation"], recorder(name, record)), model
    chosen = min(classifiers, key=lambda name: classifiers[name][0].validation_loss)
    best, model = classifiers[chosen]
    record("chosen", {"classifier": chosen, "epoch": best.number, "validation accuracy": best.validation_accuracy})
    logits = predict_logits(model, data["test"], device)
    record("test accuracy", ((logits > 0) == (data["test"].labels > 0)).float().mean().item())


def recorder(name: str, record: Record) -> Callable[[Epoch], None]:
    """Return a function that records the figures of a classifier's epochs."""
    rows: list[list[float]] = []

    def tell(epoch: Epoch) -> None:
        rows.append([epoch.number, epoch.train_loss, epoch.validation_loss, epoch.validation_accuracy, epoch.seconds])
        record(f"{name}: epoch, loss, validation loss, validation accuracy, seconds", rows)

    return tell


def seconds_of_epoch(trial: Classifier, training: EncodedReviews, device: torch.device) -> float:
    """Return the seconds of an epoch by those of a few reviews, with nothing frozen."""
    few, once = first(training, TRIAL_REVIEWS), classifier_training(1, gradual_unfreezing=False)
    seconds = time_second(lambda: Trainer(trial, few, once, device).refit(1, lambda epoch: None), device)
    return seconds * len(training) / len(few)


def classifier_training(epochs: int, gradual_unfreezing: bool) -> TrainConfig:
    """Return how the classifier is trained, for so many epochs."""
    return default_training(
        epochs=epochs,
        patience=None,
        learning_rate=2e-3,
        warmup_share=0.1,
        schedule="linear",
        gradual_unfreezing=gradual_unfreezing,
        layer_decay=1 / 2.6,
        tokens_at_once=1 << 18,  # a batch of 64 in one part
    )


def time_second(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a piece of work that is done for the second time: the first time chooses kernels."""
    work()
    return time_repeated(work, device, 1)


def run_good(setting: Setting, record: Record) -> None:
    """Run `good` within the part's time."""
    good(setting.reviews(), setting.device, setting.seconds_left, record)


CHECKS: dict[str, Check] = {"good": run_good}
