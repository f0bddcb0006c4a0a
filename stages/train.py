"""Train the classifier on the training reviews, and keep its best epoch by the validation reviews."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from stages.params import Params
from stages.paths import CURVES, EMBEDDINGS, ENCODED, METRICS, MODEL, VOCABULARY
from stages.run import run

if TYPE_CHECKING:
    from torch import Tensor

    from sentiment.train import Epoch


def train(params: Params) -> None:
    """Write the checkpoint, the curves by epoch, and the figures of the epoch that was kept."""
    import torch

    from sentiment.checkpoint import save_checkpoint
    from sentiment.device import choose_device, multiplies_bfloat16, repeat_exactly, tune_memory
    from sentiment.encoded import load_encoded, load_tensors
    from sentiment.files import write_json
    from sentiment.model import ModelConfig, initial_model
    from sentiment.predict import predict_logits
    from sentiment.processes import is_launched, joined, launch
    from sentiment.temperature import fit_temperature
    from sentiment.train import TrainConfig
    from sentiment.train import train as fit

    if params.train.processes > 1 and not is_launched():
        launch("stages.train", params.train.processes)
        return
    tune_memory()
    device = choose_device()
    repeat_exactly(device)
    embeddings = load_tensors(EMBEDDINGS, {"embeddings": torch.float32})["embeddings"]
    vocabulary_size, embedding_size = embeddings.shape
    settings = {**params.model.model_dump(), "pooling": tuple(params.model.pooling)}
    config = ModelConfig(vocabulary_size=vocabulary_size, embedding_size=embedding_size, **settings)
    model = initial_model(config, embeddings, params.train.seed)

    training, validation = (load_encoded(ENCODED[split]) for split in ("train", "validation"))

    with joined(device, params.train.processes) as rank:
        if rank == 0:
            weights = sum(weight.numel() for weight in model.parameters())
            slower = params.train.precision == "bfloat16" and not multiplies_bfloat16(device)
            precision = "float32, for want of instructions for bfloat16" if slower else params.train.precision
            print(f"training {config.cell} with {weights:,} weights on {device} in {precision}", flush=True)
        with reporting(params.train.epochs) if rank == 0 else nullcontext(lambda epoch: None) as report:
            best = fit(
                model,
                training,
                validation,
                TrainConfig(**params.train.model_dump(exclude={"processes"})),
                device,
                report,
                progress,
            )
    if rank == 0:
        logits = predict_logits(model, validation, device).double().numpy()
        model.temperature.fill_(fit_temperature(validation.labels.numpy(), logits))
        save_checkpoint(MODEL, model, VOCABULARY)
        figures = {
            "best_epoch": best.number,
            "train_loss": round(best.train_loss, 6),
            "validation_loss": round(best.validation_loss, 6),
            "validation_accuracy": round(best.validation_accuracy, 6),
            "temperature": round(model.temperature.item(), 6),
        }
        for path in METRICS["train"]:
            write_json(path, figures)


@contextmanager
def reporting(epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Write the curves, whole or not at all; yield what prints and adds an epoch."""
    from dvclive import Live

    from sentiment.files import replacing

    with replacing(CURVES) as curves, Live(str(curves), dvcyaml=None, save_dvc_exp=False) as live:

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


def progress(batches: list[Tensor], epoch: int) -> Iterable[Tensor]:
    """Show a bar over the batches of an epoch on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    return tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, disable=None)


if __name__ == "__main__":
    run(train)
