"""Accuracy that takes a GPU to reach: language models of two layers, then a classifier that starts from them.

The language models are those of Merity, Keskar and Socher (2018), one for each direction, with embeddings shared by
both and tied to the softmax. Two classifiers start from them, one with lower rates for lower parts (Howard and Ruder
2018). The better of the two on validation reviews is trained once more on all labelled reviews, and the linear
baseline's logits are added, as the pipeline does. Trials decide how many epochs there is time for. Test reviews are
read once, at the end.
"""

import copy
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.cuda.checks import Check, Record, Setting
from benchmarks.cuda.networks import default_training, new_model, read_section, vocabulary_size
from benchmarks.cuda.pack import Packed, first
from benchmarks.cuda.timing import time_repeated
from sentiment.dataset.encoded import PADDING, EncodedReviews, concatenate_reviews, select_reviews
from sentiment.linear.fitting import Fitted, LinearConfig, fit_best
from sentiment.models.classifier import Classifier, ModelConfig
from sentiment.models.inference import predict_logits
from sentiment.models.logits import class_logits
from sentiment.pretraining.language_model import LanguageConfig
from sentiment.pretraining.trainer import LanguageTrainer, windows_of
from sentiment.training.calibration import Calibration, fit_calibration
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
CLASSIFIERS = {
    "rates falling from part to part": {"learning_rate": 3e-3, "layer_decay": 1 / 2.6, "embedding_rate": 1.0},
    "one rate": {"learning_rate": 1e-3, "layer_decay": 1.0, "embedding_rate": 0.17},
}
MIN_EPOCHS, MAX_EPOCHS = 3, 8  # of a classifier
TRIAL_WINDOWS, TRIAL_TEXTS, TRIAL_REVIEWS = 12, 4000, 1280
BATCH_SIZE = 128  # of a classifier
SPARE = 0.85  # of the time left to spend: an epoch may be slower than the trial
FOR_LANGUAGE = 0.5  # share of the time for the language models
FITTING = ("train", "validation", "unsup")  # splits that something is fitted on


class Baselines(NamedTuple):
    """The linear model before and after its refit on all labelled reviews."""

    chosen: Fitted
    refitted: Fitted


def good(setting: Setting, record: Record) -> None:
    """Train language models, then classifiers from them, within the part's time, and record how well they do."""
    started, seconds = time.monotonic(), setting.seconds_left
    data, device = setting.reviews(), setting.device
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as cpu:
        baselines = cpu.submit(fit_baselines, setting)  # meanwhile
        model = new_model(shape_of(vocabulary_size(data), setting.is_small))
        record("weights", sum(weight.numel() for weight in model.parameters()))
        text = concatenate_reviews(data["train"], data["unsup"])
        settings = replace(LANGUAGE, streams=4, window=8) if setting.is_small else LANGUAGE
        read_text(model, text, settings, device, FOR_LANGUAGE * seconds, record)
        classify(model, data, baselines.result, device, started + seconds, record)


def fit_baselines(setting: Setting) -> Baselines:
    """Fit the linear models, in a process of its own."""
    data, words = setting.reviews(), vocabulary_size(setting.reviews())
    values = read_section("baseline")
    config = LinearConfig(**{name: values[name] for name in ("max_words", "min_reviews", "max_tokens")})
    fit = partial(
        fit_best, data["train"], data["validation"], words, config, inverse_penalties=values["inverse_penalties"]
    )
    return Baselines(fit(refit=False), fit(refit=True))


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
    streams = trial.streams(trial.rows[:TRIAL_TEXTS])
    windows = list(islice(windows_of(streams, len(trial.models.stacks), trial.config.window), TRIAL_WINDOWS))
    seconds = time_second(lambda: [trial.learn(window, "trial") for window in windows], trial.device)
    return seconds / len(windows) * trial.steps_per_epoch


def classify(
    start: Classifier,
    data: Packed,
    baselines: Callable[[], Baselines],
    device: torch.device,
    ends: float,
    record: Record,
) -> None:
    """Train classifiers until about that time, choose one on validation reviews, refit it, and read the test once."""
    validation = data["validation"]
    all_labelled = concatenate_reviews(data["train"], validation)
    an_epoch = seconds_of_epoch(copy.deepcopy(start), data["train"], device)
    record("classifier: seconds of an epoch, by the trial", an_epoch)
    trainings = len(CLASSIFIERS) + len(all_labelled) / len(data["train"])
    epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, int(SPARE * (ends - time.monotonic()) / an_epoch / trainings)))
    found: dict[str, tuple[Epoch, Classifier]] = {}
    for name, changes in CLASSIFIERS.items():
        model = copy.deepcopy(start)
        trainer = Trainer(model, data["train"], classifier_training(epochs, changes), device)
        found[name] = trainer.fit(validation, recorder(name, record)), model
    chosen = min(found, key=lambda name: found[name][0].validation_loss)
    best, model = found[chosen]
    linear = baselines()
    calibration = fit_calibration(
        validation.labels.numpy(), scores(model, validation, device).numpy(), linear.chosen.held_out.numpy()
    )
    record("chosen", {"classifier": chosen, "epoch": best.number, **calibration._asdict()})
    record("accuracies", accuracies(model, linear.chosen, calibration, data, device))
    model = copy.deepcopy(start)
    Trainer(model, all_labelled, classifier_training(epochs, CLASSIFIERS[chosen]), device).refit(
        best.number, lambda epoch: None
    )
    record("accuracies after the refit", accuracies(model, linear.refitted, calibration, data, device))


def accuracies(
    model: Classifier, linear: Fitted, calibration: Calibration, data: Packed, device: torch.device
) -> dict[str, dict[str, float]]:
    """Return the accuracies on reviews that nothing was fitted on, of the models alone and together."""
    found = {}
    for split, reviews in data.items():
        if split not in FITTING:
            network, baseline = scores(model, reviews, device), linear.model.logits(reviews)
            together = network / calibration.temperature + calibration.weight * baseline
            logits = {"network": network, "baseline": baseline, "together": together}
            found[split] = {
                name: (each.argmax(dim=1) == reviews.labels).double().mean().item() for name, each in logits.items()
            }
    return found


def scores(model: Classifier, reviews: EncodedReviews, device: torch.device) -> Tensor:
    """Return a logit for each class of N reviews, (N, K) float64."""
    return class_logits(predict_logits(model, reviews, device)).double()


def recorder(name: str, record: Record) -> Callable[[Epoch], None]:
    """Return a function that records the figures of a classifier's epochs."""
    rows: list[list[float]] = []

    def tell(epoch: Epoch) -> None:
        rows.append([epoch.number, epoch.train_loss, epoch.validation_loss, epoch.validation_accuracy, epoch.seconds])
        record(f"{name}: epoch, loss, validation loss, validation accuracy, seconds", rows)

    return tell


def seconds_of_epoch(
    trial: Classifier, training: EncodedReviews, device: torch.device, batch_size: int = BATCH_SIZE
) -> float:
    """Return the seconds of an epoch by those of a few reviews."""
    few = select_reviews(training, torch.linspace(0, len(training) - 1, min(TRIAL_REVIEWS, len(training))).long())
    once = replace(classifier_training(1, CLASSIFIERS["one rate"]), batch_size=batch_size, min_steps=1)
    seconds = time_second(lambda: Trainer(trial, few, once, device).refit(1, lambda epoch: None), device)
    return seconds * len(training) / len(few)


def classifier_training(epochs: int, changes: dict[str, Any]) -> TrainConfig:
    """Return how a classifier is trained, for so many epochs."""
    return default_training(
        epochs=epochs,
        patience=None,
        batch_size=BATCH_SIZE,
        warmup_share=0.1,
        schedule="linear",
        epsilon=0.25,  # as Miyato et al. for a review of 400 tokens
        tokens_at_once=1 << 19,  # nearly every batch in one part
        **changes,
    )


def time_second(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a piece of work that is done for the second time: the first time chooses kernels."""
    work()
    return time_repeated(work, device, 1)


CHECKS: dict[str, Check] = {"good": good}
