"""Training that repeats to the bit, resumes after a kill, and stops in time."""

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from benchmarks.cuda.checks import Record, Setting, processes_for, set_up
from benchmarks.cuda.networks import default_pretraining, default_shape, default_training, new_model
from benchmarks.cuda.pack import first
from sentiment.dataset.encoded import PADDING
from sentiment.errors import InputError
from sentiment.models.classifier import Classifier
from sentiment.models.inference import predict_logits
from sentiment.models.precision import PRECISIONS
from sentiment.pretraining.trainer import LanguageTrainer
from sentiment.runtime.resume import SavedState
from sentiment.training import trainer
from sentiment.training.trainer import TrainConfig

STEPS_BEFORE_KILL = 3  # of the second epoch


def pretrain(setting: Setting, record: Record) -> None:
    """Record the losses of language models, and whether they resume to the same bits."""
    for cell in ("lstm", "gru"):
        for precision in PRECISIONS:
            losses, _ = read(setting, cell, precision)
            first_half, second_half = losses[: len(losses) // 2], losses[len(losses) // 2 :]
            record(f"{cell}, {precision}", {"losses": losses, "falls": mean(second_half) < mean(first_half)})
    _, whole = read(setting, "lstm", "bfloat16")
    with TemporaryDirectory() as folder:
        saved = SavedState(Path(folder) / "models")
        read(setting, "lstm", "bfloat16", saved, reports=4)
        _, resumed = read(setting, "lstm", "bfloat16", saved)
    record("resumed to the same bits", has_same_bits(whole, resumed))


def read(
    setting: Setting, cell: str, precision: str, saved: SavedState | None = None, reports: int | None = None
) -> tuple[list[float], Classifier]:
    """Return the training losses of language models up to so many reports, and the model that they are part of."""
    streams, window = (4, 8) if setting.is_small else (16, 32)
    config = default_pretraining(precision=precision, held_out_share=0.1, epochs=1, streams=streams, window=window)
    model = new_model(replace(default_shape(setting), cell=cell, layers=1))
    language_trainer = LanguageTrainer(
        model, first(setting.reviews()["unsup"], 150), PADDING, config, setting.device, saved
    )
    readings = [reading for reading, _ in zip(language_trainer.train(), range(reports or 10**6), strict=False)]
    return [reading.train_loss for reading in readings], model


def train_twice(setting: Setting, record: Record) -> None:
    """Record whether a training, and scoring with its model, give the same bits twice."""
    for precision in PRECISIONS:
        model, again = (train_briefly(setting, small_training(precision)) for _ in range(2))
        record(f"training, {precision}", has_same_bits(model, again))
    reviews = setting.reviews()["test"]
    logits, repeated = (predict_logits(model, reviews, setting.device) for _ in range(2))
    record("scoring", torch.equal(logits.view(torch.int32), repeated.view(torch.int32)))


def kill_and_resume(setting: Setting, record: Record) -> None:
    """Record whether a training that was killed resumes to the bits of one that was not."""
    with TemporaryDirectory() as folder:
        saved = SavedState(Path(folder) / "training")
        process = processes_for(setting.device).Process(target=train_until_killed, args=(setting, saved))
        process.start()
        process.join()
        record("exit code of the killed process", process.exitcode)
        record("bytes saved", saved.path.stat().st_size)
        resumed = train_briefly(setting, small_training(), saved)
    record("resumed to the same bits", has_same_bits(train_briefly(setting, small_training()), resumed))


def train_until_killed(setting: Setting, saved: SavedState) -> None:
    """Train in a process of its own, saving at every step, and kill that process in the second epoch."""
    set_up(setting.device)
    trainer.SAVE_INTERVAL_SECONDS, trainer.STEPS_BETWEEN_CLOCK_CHECKS = 0.0, 1

    def watch(batches: list[Tensor], epoch: int) -> Iterator[Tensor]:
        for number, batch in enumerate(batches):
            if epoch == 2 and number == STEPS_BEFORE_KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    train_briefly(setting, small_training(), saved, watch)


def diverge(setting: Setting, record: Record) -> None:
    """Record how a training ends whose learning rate is far too high."""
    try:
        train_briefly(setting, replace(small_training(), learning_rate=1e30, clip_norm=None))
        record("error", None)
    except InputError as error:
        record("error", str(error))


def fill_memory(setting: Setting, record: Record) -> None:
    """Record how a training ends for which the GPU's memory does not suffice."""
    if setting.device.type != "cuda":
        record("error", "there is no GPU")
        return
    torch.cuda.set_per_process_memory_fraction(0.005)
    try:
        train_briefly(setting, replace(small_training(), batch_size=512, tokens_at_once=10**7))
        record("error", None)
    except InputError as error:
        record("error", str(error))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def small_training(precision: str = "bfloat16") -> TrainConfig:
    """Return a training of two short epochs with every term of the objective, and the default's averaging."""
    return default_training(
        precision=precision, batch_size=16, min_steps=1, epochs=2, patience=None, virtual=0.5, entropy=0.2
    )


def no_watch(batches: list[Tensor], epoch: int) -> Iterable[Tensor]:
    """Return the batches as they are."""
    return batches


def train_briefly(
    setting: Setting, config: TrainConfig, saved: SavedState | None = None, watch: trainer.Watch = no_watch
) -> Classifier:
    """Return the default network after a training on a few reviews."""
    data = setting.reviews()
    labelled, validation, unlabelled = (first(data[split], 128) for split in ("train", "validation", "unsup"))
    model = new_model(default_shape(setting))
    trainer.Trainer(model, labelled, config, setting.device, unlabelled, saved, watch).fit(validation, lambda _: None)
    return model


def has_same_bits(model: nn.Module, other: nn.Module) -> bool:
    """Return whether two models have the same weights to the bit."""
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(one.flatten().view(torch.uint8), two.flatten().view(torch.uint8)) for one, two in pairs)
