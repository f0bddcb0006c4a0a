"""Encode new texts as the corpus was encoded."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentiment.dataset.encoded import EncodedReviews
from sentiment.dataset.vocabulary import encode, load_vocabulary, to_tensors, vocabulary_words
from sentiment.text.tokenizer import ReviewTokenizer


class TextEncoder:
    """The tokenizer and the vocabulary of a model."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Read a vocabulary, of `size` words with the special tokens; raise InputError as `load_vocabulary` does."""
        vocabulary, self._rules = load_vocabulary(path, size)
        self._words = vocabulary_words(vocabulary)
        self._tokenizer = ReviewTokenizer(self._rules)

    @property
    def language(self) -> str:
        """Return spaCy's code of the texts' language."""
        return self._rules.language

    def encode(self, texts: pa.StringArray) -> EncodedReviews:
        """Encode N texts, none of them null; their labels are unknown."""
        tokens = encode(self._tokenizer.tokenize(texts), self._words, self._rules.pad_to)
        lengths = pc.list_value_length(tokens).to_numpy()
        # a copy, since tensors of Arrow's memory, which is read-only, could be written to
        return to_tensors(tokens.flatten().to_numpy().copy(), lengths, np.full(len(texts), -1, dtype=np.int8))

    def split(self, texts: pa.StringArray) -> list[list[str]]:
        """Return the tokens of N texts as the texts spell them; `encode` may add padding after them."""
        as_written = self._cased_tokenizer.tokenize(texts)
        return [as_written.types.take(ids.values).to_pylist() for ids in as_written.ids]

    @cached_property
    def _cased_tokenizer(self) -> ReviewTokenizer:
        """The tokenizer of `split`, made on first use, since making one takes a quarter of a second."""
        return ReviewTokenizer(replace(self._rules, lower=False))
