"""Pretrain the embeddings and lowest layers of the classifier as language models, on train and unlabelled reviews."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sentiment.errors import InputError
from stages.params import Params
from stages.paths import EMBEDDINGS, ENCODED, PERPLEXITY, PRETRAINED
from stages.resume import saved_states
from stages.run import run, write_metrics

if TYPE_CHECKING:
    from sentiment.models.classifier import Encoder
    from sentiment.pretraining.trainer import Progress

CURVE = ("epochs", "train", "held_out")  # columns of the perplexity curve


def pretrain(params: Params) -> None:
    """Write pretrained embeddings and lowest layers, or empty outputs if pretraining is disabled."""
    if not params.pretrain.enabled:
        write_outputs(None, [])
        return

    from sentiment.dataset.encoded import PADDING, concatenate_reviews, load_embeddings, load_encoded, without_padding
    from sentiment.models.classifier import EncoderConfig, initial_encoder
    from sentiment.pretraining.language_model import LanguageConfig
    from sentiment.pretraining.trainer import LanguageTrainer
    from sentiment.runtime.device import catch_out_of_memory, choose_device, tune_memory

    tune_memory()
    device = choose_device(params.pretrain.precision)
    embeddings = load_embeddings(EMBEDDINGS)
    vocabulary_size, embedding_size = embeddings.shape
    shape = EncoderConfig(
        vocabulary_size=vocabulary_size,
        embedding_size=embedding_size,
        cell=params.model.cell,
        hidden_size=params.model.hidden_size,
        layers=params.pretrain.layers,
        bidirectional=params.model.bidirectional,
        mix_directions=False,  # a layer that read both directions would see the words to predict
    )
    encoder = initial_encoder(shape, embeddings, params.pretrain.seed)
    texts = concatenate_reviews(*(load_encoded(ENCODED[split], vocabulary_size) for split in ("train", "unsup")))
    config = LanguageConfig(**params.pretrain.model_dump(exclude={"enabled", "layers"}))
    (saved,) = saved_states("pretrain", params, "models")
    with catch_out_of_memory("pretraining"):
        trainer = LanguageTrainer(encoder, without_padding(texts), PADDING, config, device, saved)
        rows = [report_progress(progress, config.epochs) for progress in trainer.train()]
    write_outputs(encoder, rows)
    saved.delete()


def report_progress(progress: Progress, epochs: int) -> tuple[float, float, float]:
    """Print the progress, and return its row of the perplexity curve.

    Raises InputError if a perplexity is too large for a number.
    """
    losses = progress.train_loss, progress.held_out_loss
    try:
        train, held_out = (round(math.exp(loss), 2) for loss in losses)
    except OverflowError as error:
        raise InputError(
            f"pretraining diverged: after {progress.epochs:.1f} epochs the loss is {max(losses):,.0f} nats a token; "
            "lower pretrain.learning_rate"
        ) from error
    print(
        f"epoch {progress.epochs:.1f}/{epochs}  perplexity {train:.2f}  held out {held_out:.2f}  "
        f"{progress.seconds:.1f} s",
        flush=True,
    )
    return round(progress.epochs, 3), train, held_out


def write_outputs(encoder: Encoder | None, rows: list[tuple[float, float, float]]) -> None:
    """Write the encoder, the perplexity curve, and the last perplexities as metrics."""
    from sentiment.models.checkpoint import save_pretrained
    from sentiment.storage.outputs import write_csv

    save_pretrained(PRETRAINED, encoder)
    write_csv(PERPLEXITY, {name: [row[column] for row in rows] for column, name in enumerate(CURVE)})
    figures = {"train_perplexity": rows[-1][1], "perplexity": rows[-1][2]} if rows else {}
    write_metrics("pretrain", figures)


if __name__ == "__main__":
    run(pretrain)
