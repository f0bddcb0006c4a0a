"""Seconds of training, of its kernels, and of alternatives."""

import os
from contextlib import nullcontext
from dataclasses import replace
from itertools import product
from multiprocessing.connection import Connection
from statistics import median

import torch

from benchmarks.cuda.checks import Check, Record, Setting, processes_for, set_up
from benchmarks.cuda.good import LANGUAGE, seconds_of_epoch, seconds_of_language_epoch, shape_of
from benchmarks.cuda.layers import DTYPES, precisions, time_directions, time_graph, time_layers
from benchmarks.cuda.networks import default_pretraining, default_shape, default_training, new_model, vocabulary_size
from benchmarks.cuda.pack import first
from benchmarks.cuda.timing import Work, as_pytorch_comes, median_seconds, tf32, time_repeated, top_kernels
from benchmarks.train import (
    TRAINING,
    measure_peak,
    operations_per_token,
    padding_share,
    part_of_epoch,
    time_ours,
    time_textbook,
)
from sentiment.dataset.batching import shuffled_rows
from sentiment.dataset.encoded import PADDING, EncodedReviews, concatenate_reviews, select_reviews
from sentiment.models.classifier import ModelConfig
from sentiment.models.inference import predict_logits
from sentiment.models.precision import PRECISIONS
from sentiment.pretraining.trainer import LanguageTrainer
from sentiment.runtime.device import product_dtype
from sentiment.training.objective import Objective
from sentiment.training.trainer import Epoch, Trainer

TEXTBOOK_BATCHES, OUR_BATCHES = 10, 32  # that the loops are timed on; the textbook's are four times as long
STEPS = 4  # of training that are timed and profiled


def find_peaks(setting: Setting, record: Record) -> None:
    """Record the rate of a large matrix product in each precision, in multiplications and additions a second."""
    for precision in precisions(setting):
        record(precision, peak_of(setting, precision))


def peak_of(setting: Setting, precision: str) -> float:
    """Return the rate of a large matrix product in a precision."""
    with tf32(precision != "float32"):
        return measure_peak(setting.device, DTYPES[precision], 256 if setting.is_small else 8192)


def time_default(setting: Setting, record: Record) -> None:
    """Record an epoch of the default training, and an estimate of its whole duration."""
    data = setting.reviews()
    train_default(setting, first(data["train"], 256), first(data["validation"], 256))  # chooses kernels
    epoch = train_default(setting, data["train"], data["validation"])
    record("reviews", {split: len(data[split]) for split in ("train", "validation")})
    record("epoch", epoch._asdict())
    epochs = default_training().epochs
    record("seconds of all epochs, at most", {"epochs": epochs, "seconds": epochs * epoch.seconds})


def train_default(setting: Setting, training: EncodedReviews, validation: EncodedReviews) -> Epoch:
    """Return the first and only epoch of the default training."""
    config = default_training(epochs=1, patience=None)
    trainer = Trainer(new_model(default_shape(setting)), training, config, setting.device)
    return trainer.fit(validation, lambda _: None)


def time_steps(setting: Setting, record: Record) -> None:
    """Record the milliseconds of a step of the default training, by size and precision."""
    default = default_shape(setting)
    for hidden in (default.hidden_size,) if setting.is_small else (default.hidden_size, 256, 512, 1024):
        for precision in PRECISIONS:
            work = steps_of(setting, replace(default, hidden_size=hidden), precision)
            record(f"H {hidden}, {precision}, ms", 1000 * median_seconds(work, setting.device) / STEPS)


def profile_steps(setting: Setting, record: Record) -> None:
    """Record the kernels of a few steps of the default training, and their time against that of the steps."""
    work = steps_of(setting, default_shape(setting), "bfloat16")
    record("ms of the steps", 1000 * median_seconds(work, setting.device))
    kernels = top_kernels(work, setting.device, most=1000)
    record("ms of all kernels", sum(kernel.ms for kernel in kernels))
    record("kernels", [kernel._asdict() for kernel in kernels[:20]])


def time_determinism(setting: Setting, record: Record) -> None:
    """Record the milliseconds of a step as the device is set up, with more memory for cuBLAS, and as PyTorch comes.

    Each is measured in a process of its own, since cuBLAS asks for its memory once.
    """
    if setting.device.type != "cuda":
        record("state", "there is no GPU")
        return
    for name, variables, is_set_up in (
        ("as set up", {}, True),
        ("with a cuBLAS workspace of :4096:8", {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}, True),
        ("as PyTorch comes", {}, False),
    ):
        receiver, sender = processes_for(setting.device).Pipe(duplex=False)
        arguments = (setting, variables, is_set_up, sender)
        process = processes_for(setting.device).Process(target=send_step_time, args=arguments)
        process.start()
        sender.close()
        record(f"{name}, ms", receiver.recv())  # fails if the process has died
        process.join()


def send_step_time(setting: Setting, variables: dict[str, str], is_set_up: bool, sender: Connection) -> None:
    """Send the milliseconds of a step of the default training under more environment variables."""
    os.environ.update(variables)
    if is_set_up:
        set_up(setting.device)
    work = steps_of(setting, default_shape(setting), "bfloat16")
    sender.send(1000 * median_seconds(work, setting.device) / STEPS)


def steps_of(setting: Setting, shape: ModelConfig, precision: str) -> Work:
    """Return steps of the default training, as a piece of work."""
    reviews = setting.reviews()["train"]
    config = default_training(precision=precision)
    model = new_model(shape).to(setting.device)
    objective = Objective(model, reviews, None, config, setting.device)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=0.0, fused=True)
    batches = shuffled_rows(reviews.lengths, config.batch_size, torch.Generator().manual_seed(0))[:STEPS]

    def work() -> None:
        for rows in batches:
            optimizer.zero_grad()
            objective.backward(rows)
            optimizer.step()

    return work


def compare_loops(setting: Setting, record: Record) -> None:
    """Record the speeds of the textbook's loop and of ours, by cell, hidden size and batch size.

    The textbook's loop runs as PyTorch comes: TF32 in cuDNN, and operations that need not repeat to the bit.
    """
    ours = str(product_dtype(TRAINING.precision, setting.device)).removeprefix("torch.")
    products = {"textbook": "float32" if setting.is_small else "tf32", "ours": ours}
    record("products", products)
    peaks = {loop: peak_of(setting, precision) for loop, precision in products.items()}
    sizes = product((8,), (8,)) if setting.is_small else product((256, 128, 512, 1024), (64, 128))
    for (hidden, batch), cell in product(sizes, ("lstm", "rnn")):
        speeds = speeds_of(setting, cell, hidden, batch)
        work = operations_per_token(cell, hidden)
        row: dict[str, object] = {"ratio": speeds["ours"] / speeds["textbook"]}
        for loop, speed in speeds.items():
            row[loop] = {"real tokens a second": speed, "of the peak": work * speed / peaks[loop]}
        record(f"{cell}, H {hidden}, B {batch}", row)


def speeds_of(setting: Setting, cell: str, hidden: int, batch: int) -> dict[str, float]:
    """Return the real tokens a second of the textbook's loop and of ours; the first two batches warm either up."""
    reviews, config = setting.reviews()["train"], replace(TRAINING, batch_size=batch)
    rows = torch.randperm(len(reviews), generator=torch.Generator().manual_seed(0))
    parts = {
        "textbook": (time_textbook, select_reviews(reviews, rows[: TEXTBOOK_BATCHES * batch])),
        "ours": (time_ours, part_of_epoch(reviews, OUR_BATCHES * batch, batch)),
    }
    speeds = {}
    for name, (loop, part) in parts.items():
        with as_pytorch_comes() if loop is time_textbook else nullcontext():
            loop(cell, hidden, first(part, 2 * batch), config, setting.device)
            speeds[name] = len(part.tokens) / loop(cell, hidden, part, config, setting.device)
    return speeds


def find_padding(setting: Setting, record: Record) -> None:
    """Record the shares of padding in the textbook's batches and in ours."""
    lengths = setting.reviews()["train"].lengths
    generator = torch.Generator().manual_seed(0)
    for batch in (64, 128):
        shares = {
            "textbook": padding_share(lengths, list(torch.randperm(len(lengths), generator=generator).split(batch))),
            "ours": padding_share(lengths, shuffled_rows(lengths, batch, generator)),
        }
        record(f"B {batch}", shares)


def time_language_models(setting: Setting, record: Record) -> None:
    """Record the tokens a second at which language models train, by hidden size; of ten readings the first is left."""
    default = default_shape(setting)
    streams, window, windows = (2, 4, 20) if setting.is_small else (64, 64, 100)
    config = default_pretraining(held_out_share=0.05, epochs=1, streams=streams, window=window)
    unsup = setting.reviews()["unsup"]
    count = int((unsup.offsets < streams * window * windows).sum())
    for hidden in (default.hidden_size,) if setting.is_small else (128, 512, 1024):
        model = new_model(replace(default, hidden_size=hidden, layers=1))
        trainer = LanguageTrainer(model, first(unsup, count), PADDING, config, setting.device)
        _, *readings = trainer.train()
        tokens = streams * window * windows / (len(readings) + 1)
        record(f"H {hidden}", {"tokens a second": tokens / median(reading.seconds for reading in readings)})


def time_recipe(setting: Setting, record: Record) -> None:
    """Record the seconds of an epoch of `good`'s language models by streams, and of its classifier by batch size."""
    data = setting.reviews()
    shape = shape_of(vocabulary_size(data), setting.is_small)
    text = concatenate_reviews(data["train"], data["unsup"])
    for streams in (2, 4) if setting.is_small else (128, 256, 512):
        config = replace(LANGUAGE, streams=streams, window=8 if setting.is_small else LANGUAGE.window)
        trainer = LanguageTrainer(new_model(shape), text, PADDING, config, setting.device)
        record(f"language models, {streams} streams", seconds_of_language_epoch(trainer))
    for batch_size in (8,) if setting.is_small else (64, 128, 256):
        seconds = seconds_of_epoch(new_model(shape), data["train"], setting.device, batch_size)
        record(f"classifier, batches of {batch_size}", seconds)


def time_scoring(setting: Setting, record: Record) -> None:
    """Record the real tokens a second at which the default network scores reviews."""
    reviews, model = first(setting.reviews()["test"], 5000), new_model(default_shape(setting))
    seconds = [time_repeated(lambda: predict_logits(model, reviews, setting.device), setting.device, 1) for _ in "12"]
    record("real tokens a second", len(reviews.tokens) / seconds[-1])


CHECKS: dict[str, Check] = {
    "peaks": find_peaks,
    "padding": find_padding,
    "default training": time_default,
    "steps of the default training": time_steps,
    "layers": time_layers,
    "directions": time_directions,
    "language models": time_language_models,
    "recipe": time_recipe,
    "determinism": time_determinism,
    "scoring": time_scoring,
    "graph": time_graph,
    "textbook and ours": compare_loops,
    "kernels of the default training": profile_steps,  # last, since what watches kernels may slow them afterwards
}
