"""Recurrent sentiment classifiers: from labelled text to tensors, to a model, to metrics.

Packages by role, in the order in which the data meets them; each imports only from lines above its own::

    errors         a user's mistake
    storage        outputs that appear whole or not at all, files of tensors, archives
    download       HTTP, fetching by checksum
    corpora        reviews in one Parquet file: IMDb, a user's own, generated; which are held out
    text           spaCy's tokens, files of vectors                     (no torch so far)
    dataset        the vocabulary, encoded reviews, padded batches
    embeddings     word vectors trained on the text or read from a file
    linear         the linear baseline, a model of n-grams
    models         recurrent layers, pooling, classifier, checkpoint, inference, attribution
    runtime        device and precision, several processes, the state to resume from
    pretraining    language models to start from
    training       the objective, the training loop, the calibration
    scoring        the scorer: texts in, probabilities out; files of texts
    serving        scores over HTTP, and a page on which to type a text
    export         the classifier as an ONNX graph, and a script that scores with it
    evaluation     metrics and behavioural tests
    report         plots, one page that shows them, and the model card
    drift          whether new texts are like those of training

Letters in the shapes of tensors, everywhere:

    N reviews, M tokens of all reviews together, B reviews in a batch, T time steps (the longest review of a
    batch), V vocabulary, E embedding, H hidden, L layers, D directions (1 or 2), K classes, one for each label

For those who use a model, `from sentiment import Scorer` is enough.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Import the scorer, and with it PyTorch, only where it is used."""
    if name == "Scorer":
        return import_module("sentiment.scoring.scorer").Scorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
