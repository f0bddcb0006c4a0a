"""Train the network of `params.yaml` with every speed-up and with none, and compare what is learnt.

    python -m benchmarks.accuracy [--data data] [--seeds 1 2 3] [--epochs 3]

Both ways minimise the cross entropy alone, keep the word vectors, and average no weights. Without any speed-up: batches
in random order, PyTorch's own dropout and its own modules for every cell, float32, plain Adam, the C library's memory
as it comes. Padding is read as exactly as ever: packed sequences would give the same numbers
(`tests/models/test_layers.py`) but take several times as long. Chosen and compared on the validation reviews.
Prints a line for each epoch, and at the end each seed's best accuracy, their means and spreads.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import stages  # noqa: F401, puts the library on the path
from sentiment.dataset.batching import pad_batch
from sentiment.dataset.encoded import EncodedReviews, load_embeddings, load_encoded
from sentiment.models.classifier import Classifier, ModelConfig, initial_model
from sentiment.models.dropout import Dropout
from sentiment.models.layers import Layer
from sentiment.runtime.device import tune_memory
from sentiment.training.trainer import Epoch, TrainConfig, Trainer, evaluate
from stages.params import read_params
from stages.train import train_config

CPU = torch.device("cpu")


def plain(config: ModelConfig, embeddings: Tensor, seed: int) -> Classifier:
    """Return the classifier made of PyTorch's own modules."""
    model = initial_model(config, embeddings, seed)
    model.embedding.weight.requires_grad_(False)
    for name, module in list(model.named_children()):
        if isinstance(module, Dropout):
            setattr(model, name, nn.Dropout(module.share))
    for layer in model.layers:
        assert isinstance(layer, Layer)
        layer.scan = None
    return model


def train_plainly(
    model: ModelConfig, config: TrainConfig, folder: Path, report: Callable[[Epoch], None]
) -> list[float]:
    """Return the validation accuracy of each epoch."""
    embeddings, training, validation = load(folder)
    torch.manual_seed(config.seed)
    network = plain(model, embeddings, config.seed)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    accuracies = []
    for number in range(1, config.epochs + 1):
        started = time.perf_counter()
        network.train()
        total = 0.0
        for rows in torch.randperm(len(training)).split(config.batch_size):
            batch = pad_batch(training, rows)
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(network(batch.tokens, batch.lengths), batch.labels.float())
            loss.backward()
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimizer.step()
            total += loss.item() * len(rows)
        trained = time.perf_counter()
        validation_loss, validation_accuracy = evaluate(network, validation, CPU, config.tokens_at_once)
        epoch = Epoch(
            number=number,
            train_loss=total / len(training),
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            seconds=time.perf_counter() - started,
            reviews_per_second=len(training) / (trained - started),
        )
        accuracies.append(epoch.validation_accuracy)
        report(epoch)
    return accuracies


def train_fast(model: ModelConfig, config: TrainConfig, folder: Path, report: Callable[[Epoch], None]) -> list[float]:
    """Return the validation accuracy of each epoch."""
    tune_memory()
    embeddings, training, validation = load(folder)
    epochs: list[Epoch] = []

    def both(epoch: Epoch) -> None:
        epochs.append(epoch)
        report(epoch)

    Trainer(initial_model(model, embeddings, config.seed), training, config, CPU).fit(validation, both)
    return [epoch.validation_accuracy for epoch in epochs]


def load(folder: Path) -> tuple[Tensor, EncodedReviews, EncodedReviews]:
    """Return the embedding matrix (V, E), the training and the validation reviews."""
    embeddings = load_embeddings(folder / "embeddings.safetensors")
    training, validation = (
        load_encoded(folder / "prepared" / f"{split}.safetensors", len(embeddings)) for split in ("train", "validation")
    )
    return embeddings, training, validation


def show(epoch: Epoch) -> None:
    """Print an epoch."""
    print(
        f"  epoch {epoch.number}  train loss {epoch.train_loss:.4f}  validation loss {epoch.validation_loss:.4f}  "
        f"validation accuracy {epoch.validation_accuracy:.4f}  {epoch.seconds:.1f} s",
        flush=True,
    )


WAYS = {"every speed-up": train_fast, "none": train_plainly}


def main() -> None:
    """Train both ways with each seed, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that prepare and vectors wrote to")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    params = read_params()
    embeddings, training, _ = load(arguments.data)
    settings = {**params.model.model_dump(), "pooling": tuple(params.model.pooling)}
    model = ModelConfig(vocabulary_size=len(embeddings), embedding_size=embeddings.shape[1], **settings)
    given = train_config(params, training)
    best: dict[str, list[float]] = {name: [] for name in WAYS}
    for seed in arguments.seeds:
        config = replace(
            given,
            seed=seed,
            epochs=arguments.epochs,
            patience=None,
            ema_decay=0.0,
            adversarial=0.0,
            embedding_rate=0.0,
            spans=0,
        )
        for name, way in WAYS.items():
            print(f"seed {seed}, {name}", flush=True)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                best[name].append(max(process.submit(way, model, config, arguments.data, show).result()))
    for name, accuracies in best.items():
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        listed = ", ".join(f"{accuracy:.4f}" for accuracy in accuracies)
        print(f"{name:16} {listed}  mean {statistics.mean(accuracies):.4f}  standard deviation {spread:.4f}")


if __name__ == "__main__":
    main()
