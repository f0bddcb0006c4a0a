"""Train the classifier on the training reviews, and keep the epoch that is best on the validation reviews."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from stages.params import Params
from stages.paths import CURVES, EMBEDDINGS, ENCODED, LABELLED, METRICS, MODEL, PRETRAINED, VOCABULARY
from stages.resume import saved_states
from stages.run import run

if TYPE_CHECKING:
    from torch import Tensor

    from sentiment.models.classifier import Classifier
    from sentiment.training.trainer import Epoch, TrainedEpoch


def train(params: Params) -> None:
    """Write the checkpoint, the curves by epoch, and the metrics of the best epoch."""
    import torch

    from sentiment.dataset.encoded import (
        LABELLED_DTYPES,
        concatenate_reviews,
        load_embeddings,
        load_encoded,
        select_reviews,
    )
    from sentiment.errors import InputError
    from sentiment.models.checkpoint import load_pretrained, save_checkpoint
    from sentiment.models.classifier import ModelConfig, initial_model
    from sentiment.models.inference import predict_logits
    from sentiment.runtime.device import catch_out_of_memory, choose_device, product_dtype, tune_memory
    from sentiment.runtime.distributed import is_launched, launch, process_group
    from sentiment.storage.outputs import write_json
    from sentiment.storage.tensors import load_tensors
    from sentiment.training.temperature import fit_temperature
    from sentiment.training.trainer import TrainConfig, Trainer

    if params.train.processes > 1 and not is_launched():
        launch("stages.train", params.train.processes)
        return
    tune_memory()
    device = choose_device(params.train.precision)
    embeddings = load_embeddings(EMBEDDINGS)
    vocabulary_size, embedding_size = embeddings.shape
    settings = {**params.model.model_dump(), "pooling": tuple(params.model.pooling)}
    shape = ModelConfig(vocabulary_size=vocabulary_size, embedding_size=embedding_size, **settings)
    config = TrainConfig(**params.train.model_dump(exclude={"processes", "portable", "refit"}))

    def new_model() -> Classifier:
        model = initial_model(shape, embeddings, config.seed)
        if params.pretrain.enabled:
            load_pretrained(PRETRAINED, model, params.pretrain.layers)
        return model

    model = new_model()
    known, validation = (load_encoded(ENCODED[split], vocabulary_size) for split in ("train", "validation"))
    labelled = load_tensors(LABELLED, LABELLED_DTYPES)["train"]
    training = select_reviews(known, labelled)
    unlabelled = None
    if config.virtual or config.entropy:
        is_left = torch.ones(len(known), dtype=torch.bool).index_fill(0, labelled, False)
        unsup = load_encoded(ENCODED["unsup"], vocabulary_size)
        unlabelled = concatenate_reviews(select_reviews(known, is_left.nonzero()[:, 0]), unsup)
        if not len(unlabelled):
            raise InputError(
                "train.virtual and train.entropy are for unlabelled reviews, of which there are none; set them to 0"
            )

    with process_group(device, params.train.processes) as rank, catch_out_of_memory("training"):
        chosen, refitted = saved_states("train", params, "chosen", "refitted", rank=rank)
        if rank == 0:
            weights = sum(weight.numel() for weight in model.parameters())
            is_slower = product_dtype(config.precision, device) != getattr(torch, config.precision)
            precision = f"float32, without instructions for {config.precision}" if is_slower else config.precision
            print(f"training {shape.cell} with {weights:,} weights on {device} in {precision}", flush=True)
        with reporting(config.epochs) if rank == 0 else nullcontext(lambda epoch: None) as report:
            best = Trainer(model, training, config, device, unlabelled, chosen, progress).fit(validation, report)
        logits = predict_logits(model, validation, device, tokens_at_once=config.tokens_at_once).double().numpy()
        temperature = fit_temperature(validation.labels.numpy(), logits)
        if params.train.refit:
            model = new_model()
            every_review = concatenate_reviews(training, validation)
            tell = print_epoch if rank == 0 else lambda epoch: None
            Trainer(model, every_review, config, device, unlabelled, refitted, progress).refit(best.number, tell)
        model.temperature.fill_(temperature)
    if rank == 0:
        save_checkpoint(MODEL, model, VOCABULARY)
        figures = {
            "best_epoch": best.number,
            "train_loss": round(best.train_loss, 6),
            "validation_loss": round(best.validation_loss, 6),
            "validation_accuracy": round(best.validation_accuracy, 6),
            "temperature": round(temperature, 6),
        }
        for path in METRICS["train"]:
            write_json(path, figures)
        for saved in (chosen, refitted):
            saved.delete()


@contextmanager
def reporting(epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Write the learning curves atomically; yield a function that prints and logs an epoch."""
    from dvclive import Live

    from sentiment.storage.outputs import atomic_output

    with atomic_output(CURVES) as curves, Live(str(curves), dvcyaml=None, save_dvc_exp=False) as live:

        def report(epoch: Epoch) -> None:
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

        yield report


def print_epoch(epoch: TrainedEpoch) -> None:
    """Print an epoch of the refit, which has no validation loss since it trains on the validation reviews too."""
    print(f"refit, epoch {epoch.number}  train loss {epoch.train_loss:.4f}  {epoch.seconds:.1f} s", flush=True)


def progress(batches: list[Tensor], epoch: int) -> Iterable[Tensor]:
    """Show a progress bar over the batches of an epoch on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    return tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, disable=None)


if __name__ == "__main__":
    run(train)
