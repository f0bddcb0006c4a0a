"""Train the classifier on the training reviews, and keep the epoch that is best on the validation reviews."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from stages.params import Params
from stages.paths import CURVES, EMBEDDINGS, ENCODED, HELD_OUT, LABELLED, NETWORK, PRETRAINED, VOCABULARY
from stages.resume import saved_states
from stages.run import run, write_metrics

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sentiment.dataset.encoded import EncodedReviews
    from sentiment.models.classifier import Classifier
    from sentiment.training.trainer import Epoch, TrainConfig, TrainedEpoch


KEPT_RATE, TUNED_RATE = 0.0, 0.17  # of the word vectors, if train.embedding_rate is null
SPANS, LONG = 4, 128  # spans of each review if train.spans is null, vectors are kept, and the median review is so long


class Reviews(NamedTuple):
    """The reviews that training reads."""

    training: EncodedReviews  # those whose labels may be used
    validation: EncodedReviews
    unlabelled: EncodedReviews | None  # None if the objective uses none


def train(params: Params) -> None:
    """Write the checkpoint, its validation logits, the curves by epoch, and the metrics of the best epoch."""
    from sentiment.dataset.encoded import concatenate_reviews, load_embeddings
    from sentiment.models.checkpoint import save_checkpoint
    from sentiment.models.logits import class_logits
    from sentiment.runtime.device import catch_out_of_memory, choose_device, tune_memory
    from sentiment.runtime.distributed import is_launched, launch, process_group
    from sentiment.storage.tensors import save_tensors
    from sentiment.training.trainer import Trainer, predict_together

    if params.train.processes > 1 and not is_launched():
        launch("stages.train", params.train.processes)
        return
    tune_memory()
    device = choose_device(params.train.precision)
    embeddings = load_embeddings(EMBEDDINGS)
    training, validation, unlabelled = load_reviews(params, len(embeddings))
    classes = int(training.labels.max()) + 1  # `prepare` sees to it that none is missing
    config = train_config(params, training)

    with process_group(device, params.train.processes) as rank, catch_out_of_memory("training"):
        is_first = rank == 0
        chosen, refitted = saved_states("train", params, "chosen", "refitted", rank=rank)
        model = new_model(params, embeddings, classes)
        if is_first:
            print_start(model, config.precision, device)
        with learning_curves(config.epochs) if is_first else nullcontext(say_nothing) as on_epoch:
            trainer = Trainer(model, training, config, device, unlabelled, chosen, progress)
            best = trainer.fit(validation, on_epoch)
        held_out = class_logits(predict_together(model, validation, device, config.tokens_at_once))
        if params.train.refit:
            model = new_model(params, embeddings, classes)
            all_labelled = concatenate_reviews(training, validation)
            trainer = Trainer(model, all_labelled, config, device, unlabelled, refitted, progress)
            trainer.refit(best.number, print_refit_epoch if is_first else say_nothing)
    if is_first:
        save_checkpoint(NETWORK, model, VOCABULARY)
        save_tensors(HELD_OUT["network"], {"logits": held_out.double()})
        write_metrics("train", figures_of(best))
        for saved in (chosen, refitted):
            saved.delete()


def train_config(params: Params, training: EncodedReviews) -> TrainConfig:
    """Return the settings of training; by default, word vectors are tuned if they are only fetched, or pretrained."""
    from sentiment.training.trainer import TrainConfig

    settings = params.train.model_dump(exclude={"processes", "portable", "refit"})
    if settings["embedding_rate"] is None:
        is_kept = params.vectors.source != "fetched" and not params.pretrain.enabled
        settings["embedding_rate"] = KEPT_RATE if is_kept else TUNED_RATE
    if settings["spans"] is None:
        is_kept = settings["embedding_rate"] == 0
        is_long = int(training.unpadded_lengths.median()) >= LONG
        settings["spans"] = SPANS if is_kept and is_long else 0
    return TrainConfig(**settings)


def load_reviews(params: Params, vocabulary_size: int) -> Reviews:
    """Load the reviews to train on; those without a usable label only if the objective has a term for them.

    Raises InputError if the objective has such a term but every review is labelled.
    """
    import torch

    from sentiment.dataset.encoded import LABELLED_DTYPES, concatenate_reviews, load_encoded, select_reviews
    from sentiment.errors import InputError
    from sentiment.storage.tensors import load_tensors

    train_split, validation = (load_encoded(ENCODED[split], vocabulary_size) for split in ("train", "validation"))
    rows = load_tensors(LABELLED, LABELLED_DTYPES)["train"]
    training = select_reviews(train_split, rows)
    if not (params.train.virtual or params.train.entropy):
        return Reviews(training, validation, unlabelled=None)
    is_unlabelled = torch.ones(len(train_split), dtype=torch.bool).index_fill(0, rows, False)
    unsup = load_encoded(ENCODED["unsup"], vocabulary_size)
    unlabelled = concatenate_reviews(select_reviews(train_split, is_unlabelled.nonzero()[:, 0]), unsup)
    if not len(unlabelled):
        raise InputError(
            "train.virtual and train.entropy need unlabelled reviews, but the corpus has none; set both to 0"
        )
    return Reviews(training, validation, unlabelled)


def new_model(params: Params, embeddings: Tensor, classes: int) -> Classifier:
    """Build an untrained model of K classes, with pretrained layers if pretraining is enabled."""
    from sentiment.models.checkpoint import load_pretrained
    from sentiment.models.classifier import ModelConfig, initial_model

    vocabulary_size, embedding_size = embeddings.shape
    settings = {**params.model.model_dump(), "pooling": tuple(params.model.pooling)}
    config = ModelConfig(vocabulary_size=vocabulary_size, embedding_size=embedding_size, classes=classes, **settings)
    model = initial_model(config, embeddings, params.train.seed)
    if params.pretrain.enabled:
        load_pretrained(PRETRAINED, model, params.pretrain.layers)
    return model


def print_start(model: Classifier, precision: str, device: torch.device) -> None:
    """Print the model's size, the device, and the precision that the device supports."""
    import torch

    from sentiment.runtime.device import product_dtype

    weights = sum(weight.numel() for weight in model.parameters())
    is_supported = product_dtype(precision, device) == getattr(torch, precision)
    in_precision = precision if is_supported else f"float32, without instructions for {precision}"
    print(f"training {model.config.cell} with {weights:,} weights on {device} in {in_precision}", flush=True)


@contextmanager
def learning_curves(epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Write the learning curves atomically; yield a function that prints and logs an epoch."""
    from dvclive import Live

    from sentiment.storage.outputs import atomic_output

    with atomic_output(CURVES) as curves, Live(str(curves), dvcyaml=None, save_dvc_exp=False) as live:

        def log_epoch(epoch: Epoch) -> None:
            print(
                f"epoch {epoch.number}/{epochs}  train loss {epoch.train_loss:.4f}  "
                f"validation loss {epoch.validation_loss:.4f}  validation accuracy {epoch.validation_accuracy:.4f}  "
                f"{epoch.seconds:.1f} s  {epoch.reviews_per_second:,.0f} reviews/s",
                flush=True,
            )
            live.step = epoch.number
            live.log_metric("train/loss", epoch.train_loss)
            live.log_metric("validation/loss", epoch.validation_loss)
            live.log_metric("validation/accuracy", epoch.validation_accuracy)
            live.make_summary()

        yield log_epoch


def print_refit_epoch(epoch: TrainedEpoch) -> None:
    """Print an epoch of the refit, which has no validation loss since it trains on the validation reviews too."""
    print(f"refit, epoch {epoch.number}  train loss {epoch.train_loss:.4f}  {epoch.seconds:.1f} s", flush=True)


def say_nothing(epoch: object) -> None:
    """Stand in for the reports of processes other than the first."""


def progress(batches: list[Tensor], epoch: int) -> Iterable[Tensor]:
    """Show a progress bar over the batches of an epoch on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    return tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, disable=None)


def figures_of(best: Epoch) -> dict[str, float]:
    """Return the metrics of the best epoch."""
    return {
        "best_epoch": best.number,
        "train_loss": round(best.train_loss, 6),
        "validation_loss": round(best.validation_loss, 6),
        "validation_accuracy": round(best.validation_accuracy, 6),
    }


if __name__ == "__main__":
    run(train)
