"""Fit the linear baseline, the model to try before any network; what is best on validation reviews is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentiment.errors import InputError
from stages.params import Baseline, Params
from stages.paths import BASELINE, ENCODED, HELD_OUT, LABELLED, VOCABULARY
from stages.run import run, write_metrics

if TYPE_CHECKING:
    from sentiment.linear.fitting import LinearConfig


def baseline(params: Params) -> None:
    """Fit on the same reviews as the network; write the model, its validation logits and its metrics."""
    from sentiment.dataset.encoded import LABELLED_DTYPES, load_encoded, select_reviews
    from sentiment.dataset.vocabulary import load_vocabulary
    from sentiment.linear.fitting import fit_best
    from sentiment.storage.tensors import load_tensors, save_tensors

    size = len(load_vocabulary(VOCABULARY)[0].itos)
    train_split, validation = (load_encoded(ENCODED[split], size) for split in ("train", "validation"))
    training = select_reviews(train_split, load_tensors(LABELLED, LABELLED_DTYPES)["train"])
    config = linear_config(params.baseline, size)
    fitted = fit_best(training, validation, size, config, params.baseline.inverse_penalties, params.train.refit)
    save_tensors(BASELINE, fitted.model.tensors())
    save_tensors(HELD_OUT["baseline"], {"logits": fitted.held_out})
    figures = {
        "inverse_penalty": fitted.inverse_penalty,
        "ngrams": len(fitted.model.ngrams),
        # on the validation reviews
        "linear_accuracy": round(fitted.validation_accuracy, 6),
        "linear_loss": round(fitted.validation_loss, 6),
    }
    write_metrics("baseline", figures)
    print(f"linear baseline: {figures['ngrams']:,} n-grams, validation accuracy {fitted.validation_accuracy:.2%}")


def linear_config(settings: Baseline, vocabulary_size: int) -> LinearConfig:
    """Return the settings of the model; raise InputError if its longest n-grams have no number of 63 bits."""
    from sentiment.linear.fitting import LinearConfig
    from sentiment.linear.model import greatest_order

    if settings.max_words > (greatest := greatest_order(vocabulary_size)):
        raise InputError(
            f"baseline.max_words must be at most {greatest} with a vocabulary of {vocabulary_size:,} words; "
            f"got {settings.max_words}; lower it, or prepare.max_vocab"
        )
    return LinearConfig(settings.max_words, settings.min_reviews, settings.max_tokens)


if __name__ == "__main__":
    run(baseline)
