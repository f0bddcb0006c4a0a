"""The scorer: a function from record batches of texts to record batches of probabilities."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from sentiment.dataset.encoded import EncodedReviews
from sentiment.dataset.labels import load_labels
from sentiment.dataset.text_encoder import TextEncoder
from sentiment.errors import InputError
from sentiment.linear.model import LINEAR, LinearModel, load_linear
from sentiment.models.attribution import explained_gradient, token_weights
from sentiment.models.checkpoint import VOCABULARY_NAME, load_checkpoint
from sentiment.models.classifier import Classifier
from sentiment.models.inference import predict_logits
from sentiment.models.logits import class_logits
from sentiment.models.precision import PRECISIONS
from sentiment.runtime.device import catch_out_of_memory, choose_device, product_dtype
from sentiment.scoring.words import Word, align_words
from sentiment.text.tokenizer import are_blank

EVEN = 0.5  # the threshold between two labels
ROWS_AT_ONCE = 4_096  # bounds memory; enough texts to find some of similar length for each batch


def score_schema(labels: Sequence[str]) -> pa.Schema:
    """Return the schema of the scores of a model with these labels, K."""
    return pa.schema(
        {"id": pa.string(), "label": pa.string(), **{f"probability_{label}": pa.float64() for label in labels}}
    )


class Loaded(NamedTuple):
    """A model folder in memory."""

    network: Classifier
    linear: LinearModel | None  # whose logits are added to those of the network
    encoder: TextEncoder
    device: torch.device
    product_dtype: torch.dtype


class Scorer:
    """Score texts with the model in a folder, which holds all that is needed.

        scorer = Scorer("model")
        scores = scorer(pa.record_batch({"id": ["a", "b"], "text": ["A film to forget.", "I laughed, I cried."]}))

    A scorer is called with a `pyarrow.RecordBatch` of N rows and returns another of N rows in the same order, so that
    Ray's `map_batches`, Spark's `mapInArrow` and a loop over a Parquet file can all call it. The input needs a column
    of text, named `text_column`; it may have a column `id` of any type that has a text form, and its other columns are
    ignored. The output has the schema `schema`, here that of a model of sentiment:

        id: string                      the input's `id` as text; null without such a column
        label: string                   the second label if its probability is above `threshold`, otherwise the first;
                                        of more than two labels, the most probable
        probability_negative: double    from 0 to 1; a column for each label, which sum to 1
        probability_positive: double    equal to the probability that `evaluate` reports for the same text

    A text that is null, blank (only white space and HTML line breaks) or not UTF-8 has null for a label and for its
    probabilities. Probabilities are calibrated on validation reviews.

    With a `precision` of `bfloat16`, matrix products are computed in bfloat16 where the processor has instructions for
    it, which takes less time and moves probabilities a little.

    Apart from its input and output, a call takes bounded memory, whatever the number of rows: ROWS_AT_ONCE texts are
    encoded at a time. The files are read on the first call, on a GPU if there is one, and pickling a scorer pickles
    only its settings, so that each process loads a model of its own.

    Raises FileNotFoundError and InputError as `checkpoint.load_checkpoint` does, InputError for an input without the
    column or with a column of another type than text and for a threshold other than 0.5 if the model has more than two
    labels, TypeError for anything but a record batch, and ValueError for a threshold that is not from 0 to 1 or another
    precision.
    """

    def __init__(
        self, folder: str | Path, text_column: str = "text", threshold: float = EVEN, precision: str = "float32"
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1; got {threshold}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision}")
        self.folder = Path(folder)
        self.text_column = text_column
        self.threshold = threshold
        self.precision = precision

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Score N rows; the docstring of the class is the specification."""
        if not isinstance(batch, pa.RecordBatch):
            raise TypeError(f"must be a pyarrow.RecordBatch; got {type(batch).__name__} (a Table has to_batches())")
        parts = [self._score(batch.slice(start, ROWS_AT_ONCE)) for start in range(0, len(batch), ROWS_AT_ONCE)]
        if not parts:
            return pa.RecordBatch.from_pylist([], self.schema)
        return pa.Table.from_batches(parts, self.schema).combine_chunks().to_batches()[0]

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings; the model is loaded again where the scorer is unpickled."""
        return {name: value for name, value in vars(self).items() if name not in ("_loaded", "labels")}

    @cached_property
    def _loaded(self) -> Loaded:
        network, others = load_checkpoint(self.folder)
        config = network.config
        linear = None
        if LINEAR in others:
            linear = load_linear(self.folder / LINEAR, config.vocabulary_size, config.classes)
        path = self.folder / VOCABULARY_NAME
        encoder = TextEncoder(path, config.vocabulary_size)
        if len(self.labels) != config.classes:
            raise InputError(
                f"{path}: must have {config.classes} labels, like the model; got {len(self.labels)}; "
                "restore the model's folder or train the model again"
            )
        if self.threshold != EVEN and len(self.labels) > 2:
            raise InputError(f"a threshold is for two labels; {self.folder} has {len(self.labels)}")
        device = choose_device(self.precision)
        return Loaded(network, linear, encoder, device, product_dtype(self.precision, device))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the labels by number, K."""
        return load_labels(self.folder / VOCABULARY_NAME)

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the scores."""
        return score_schema(self.labels)

    def load(self) -> None:
        """Read the files now instead of on the first call."""
        _ = self._loaded

    @property
    def network(self) -> Classifier:
        """Return the network."""
        return self._loaded.network

    @property
    def linear(self) -> LinearModel | None:
        """Return the linear model whose logits are added to those of the network, if there is one."""
        return self._loaded.linear

    @property
    def language(self) -> str:
        """Return spaCy's code of the texts' language."""
        return self._loaded.encoder.language

    def encode(self, texts: pa.StringArray) -> EncodedReviews:
        """Encode N texts, none of them null, as the corpus was encoded; their labels are unknown."""
        return self._loaded.encoder.encode(texts)

    def logits(self, reviews: EncodedReviews) -> npt.NDArray[np.float64]:
        """Return a logit for each label of N encoded texts, (N, K), of network and linear model together, calibrated.

        Of two labels, the first has 0.
        """
        return self.network_logits(reviews) + self.linear_logits(reviews)

    def network_logits(self, reviews: EncodedReviews) -> npt.NDArray[np.float64]:
        """Return the network's share of the logits, (N, K)."""
        with catch_out_of_memory("scoring the texts"):
            logits = predict_logits(
                self.network, reviews, self._loaded.device, product_dtype=self._loaded.product_dtype
            )
        return class_logits(logits).double().numpy()

    def linear_logits(self, reviews: EncodedReviews) -> npt.NDArray[np.float64]:
        """Return the linear model's share of the logits, (N, K); 0 without one."""
        if self.linear is None:
            return np.zeros((len(reviews), len(self.labels)))
        return self.linear.logits(reviews).numpy()

    def explain(self, texts: pa.Array) -> list[list[Word]]:
        """Return the words of N texts, as written, with their weights in the logit, relative to the largest.

        The logit is that which `attribution.token_weights` explains, with the share of the linear model. The texts may
        be of any type of text. One that cannot be scored counts as empty: its only token is the unknown one.
        """
        texts = scorable_texts(texts, self.text_column).fill_null("")
        tokens = self._loaded.encoder.split(texts)
        return [
            # encoding may add padding, whose weights come after those of the words
            align_words(text, words, weights_of_text[: len(words)].tolist())
            for text, words, weights_of_text in zip(
                texts.to_pylist(), tokens, self._token_weights(self.encode(texts)), strict=True
            )
        ]

    def _token_weights(self, reviews: EncodedReviews) -> list[torch.Tensor]:
        gradient = torch.ones(len(reviews), dtype=torch.float64)  # (N,): of two labels, the logit itself is explained
        if len(self.labels) > 2:
            gradient = explained_gradient(torch.from_numpy(self.logits(reviews)))  # (N, K)
        weights = token_weights(self.network, reviews, gradient)
        if self.linear is None:
            return weights
        outputs = gradient[:, None] if gradient.ndim == 1 else gradient  # (N, O)
        more = self.linear.token_weights(reviews)
        return [weight + of_text @ row for weight, of_text, row in zip(weights, more, outputs, strict=True)]

    def _score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self.text_column not in batch.schema.names:
            names = ", ".join(batch.schema.names)
            raise InputError(f"the texts need a column named {self.text_column!r}; the columns are {names}")
        texts = scorable_texts(batch[self.text_column], self.text_column)
        scored = texts.is_valid().to_numpy(zero_copy_only=False)
        labels = np.zeros(len(batch), dtype=np.int8)
        probabilities = np.full((len(batch), len(self.labels)), np.nan)
        if scored.any():
            found = torch.from_numpy(self.logits(self.encode(texts.drop_null()))).softmax(dim=1).numpy()
            probabilities[scored] = found
            labels[scored] = found.argmax(axis=1) if len(self.labels) > 2 else found[:, 1] > self.threshold
        return pa.record_batch(
            [
                _as_text(batch["id"]) if "id" in batch.schema.names else pa.nulls(len(batch), pa.string()),
                pa.array(self.labels).take(pa.array(labels, mask=~scored)),
                *(pa.array(column, from_pandas=True) for column in probabilities.T),  # NaN becomes null
            ],
            schema=self.schema,
        )


def scorable_texts(column: pa.Array, name: str) -> pa.StringArray:
    """Return N texts, with null in place of those that cannot be scored: blank ones and ones that are not UTF-8.

    Raises InputError if the column called `name` does not hold text.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not is_text and not pa.types.is_string_view(column.type):
        raise InputError(f"the column {name!r} must hold text; it holds {column.type}")
    if pa.types.is_large_string(column.type):
        column = pa.concat_arrays([column])  # a copy of these rows alone: Arrow casts no slice of a column of 2 GiB
    texts = column.cast(pa.string())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:  # rare, so that a slow way will do
        texts = pa.array([_decoded(text) for text in texts.cast(pa.binary()).to_pylist()], pa.string())
    blank = pa.array(are_blank(texts.fill_null("")))
    return pc.if_else(blank, None, texts)


def _decoded(text: bytes | None) -> str | None:
    try:
        return None if text is None else text.decode()
    except UnicodeDecodeError:
        return None


def _as_text(ids: pa.Array) -> pa.StringArray:
    try:
        return ids.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"the column 'id' must have a text form; it holds {ids.type}") from error
