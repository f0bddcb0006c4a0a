"""The vocabulary, torchtext's: which tokens the model knows, by which number, and with which vector to begin.

Nothing else in the project imports torchtext. Its release 0.6 holds the API that the tutorials use.
"""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torchtext.vocab import Vocab

from sentiment.corpora.reviews import SURROGATE
from sentiment.errors import InputError, in_short
from sentiment.storage.outputs import read_json, read_settings, write_json
from sentiment.text.glove import WordVectors
from sentiment.text.spacy_pieces import NumberedTokens
from sentiment.text.tokenizer import UNKNOWN, ReviewTokenizer, TokenRules

PADDING = "<pad>"
SPECIALS = [UNKNOWN, PADDING]  # numbers 0 and 1


def add_counts(counts: Counter[str], numbered: NumberedTokens) -> None:
    """Count the tokens of some more reviews."""
    frequencies = np.bincount(numbered.ids.flatten().to_numpy(), minlength=len(numbered.types))
    for token, frequency in zip(numbered.types.to_pylist(), frequencies.tolist(), strict=True):
        counts[token] += frequency


def fit_vocabulary(counts: Counter[str], max_size: int, min_freq: int) -> Vocab:
    """Keep the `max_size` most frequent tokens, those that come `min_freq` times or more.

    Tokens of equal frequency are taken in alphabetical order; the specials come first and are not counted.
    """
    frequencies = np.fromiter(counts.values(), dtype=np.int64, count=len(counts))
    rank = min(max_size, len(counts))
    least = np.partition(frequencies, -rank)[-rank]
    # torchtext sorts and keeps all that it is given; what cannot be among the most frequent need not be.
    likely = Counter({token: count for token, count in counts.items() if count >= least})
    return Vocab(likely, max_size=max_size, min_freq=min_freq, specials=SPECIALS)


def words_of(vocabulary: Vocab) -> pa.StringArray:
    """Return the words of a vocabulary, (V,), in the order of their ids."""
    return pa.array(vocabulary.itos, pa.string())


def encode(numbered: NumberedTokens, words: pa.StringArray, pad_to: int | None = None) -> pa.ListArray:
    """Turn the numbered tokens of N reviews into their places among a vocabulary's words, N lists of int32.

    With `pad_to`, padding makes up a shorter review to so many tokens, which the model then takes for its own.
    """
    ids = pc.index_in(numbered.types, words).fill_null(SPECIALS.index(UNKNOWN))
    encoded = pa.ListArray.from_arrays(numbered.ids.offsets, ids.take(numbered.ids.values))
    return encoded if pad_to is None else _pad(encoded, pad_to)


def encode_texts(texts: list[str], vocabulary: Vocab, rules: TokenRules) -> pa.ListArray:
    """Turn N texts into ids as the corpus was, N lists of int32."""
    return encode(ReviewTokenizer(rules).number(pa.array(texts)), words_of(vocabulary), rules.pad_to)


def _pad(encoded: pa.ListArray, least: int) -> pa.ListArray:
    lengths = pc.list_value_length(encoded).to_numpy()
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(np.maximum(lengths, least), out=offsets[1:])
    ids = np.full(offsets[-1], SPECIALS.index(PADDING), dtype=np.int32)
    first = np.cumsum(lengths) - lengths  # where each review began
    ids[np.arange(lengths.sum()) + np.repeat(offsets[:-1] - first, lengths)] = encoded.flatten().to_numpy()
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))


def embed(vocabulary: Vocab, vectors: WordVectors, unknown_std: float, seed: int) -> Tensor:
    """Return the embedding matrix, (V, E) float32: the file's vectors, and normal ones for words it lacks.

    Padding is zero. NumPy draws the normal numbers, because PyTorch's depend on the processor's instruction set.
    """
    rows = {word: row for row, word in enumerate(vectors.words)}
    row_of = np.array([rows.get(word, -1) for word in vocabulary.itos])
    matrix = np.empty((len(row_of), vectors.matrix.shape[1]), dtype=np.float32)
    unknown = row_of < 0
    matrix[~unknown] = vectors.matrix[row_of[~unknown]]
    matrix[unknown] = np.random.default_rng(seed).normal(0.0, unknown_std, (unknown.sum(), matrix.shape[1]))
    matrix[vocabulary.stoi[PADDING]] = 0.0
    return torch.from_numpy(matrix)


def measure_coverage(vocabulary: Vocab, vectors: WordVectors, tokens: int) -> tuple[float, float]:
    """Return the shares of the vocabulary's types, and of all `tokens` that it was fitted on, with a vector.

    Tokens that the vocabulary does not hold count as tokens without one.
    """
    types = vocabulary.itos[len(SPECIALS) :]
    covered = set(vectors.words)
    covered_tokens = sum(vocabulary.freqs[token] for token in types if token in covered)
    return sum(token in covered for token in types) / len(types), covered_tokens / tokens


def save_vocabulary(path: Path, vocabulary: Vocab, rules: TokenRules) -> None:
    """Write all that turns another text into the same numbers: the rules, and the counts of the tokens kept."""
    counts = {token: vocabulary.freqs[token] for token in vocabulary.itos[len(SPECIALS) :]}
    write_json(path, {"rules": asdict(rules), "counts": counts})


def load_vocabulary(path: Path, size: int | None = None) -> tuple[Vocab, TokenRules]:
    """Read what `save_vocabulary` wrote; the counts alone decide the vocabulary.

    `size` is V, the words that a model has weights for, the specials among them; None allows any number. Raises
    InputError for another number of words, and for a file that holds anything else.
    """
    saved = read_json(path, "a vocabulary", {"counts", "rules"})
    counts, rules = saved["counts"], read_settings(path, "a vocabulary", saved["rules"], TokenRules)
    if not isinstance(counts, dict):
        raise InputError(f"{path}: is not a vocabulary: counts must be an object; got {in_short(counts)}")
    for token, count in counts.items():
        if token in SPECIALS or SURROGATE.search(token):
            raise InputError(f"{path}: is not a vocabulary: {in_short(token)} is no token of a text")
        if type(count) is not int or count < 1:  # to Python true is an int as well
            raise InputError(
                f"{path}: is not a vocabulary: the count of {in_short(token)} must be a whole number of 1 or more; "
                f"got {in_short(count)}"
            )
    words = len(counts) + len(SPECIALS)
    if size is not None and words != size:
        raise InputError(
            f"{path}: must hold {size:,} words, as many as the model has weights for; got {words:,}; "
            "fetch the model's folder again or train the model again"
        )
    return Vocab(Counter(counts), specials=SPECIALS), rules
