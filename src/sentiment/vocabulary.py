"""The vocabulary, torchtext's: which tokens the model knows, by which number, and with which vector to begin.

Nothing else in the project imports torchtext. Its release 0.6 holds the API that the tutorials use.
"""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchtext.vocab import Vocab

from sentiment.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.files import write_json
from sentiment.tokens import UNKNOWN, NumberedTokens, TokenRules
from sentiment.vectors import WordVectors

PADDING = "<pad>"
SPECIALS = [UNKNOWN, PADDING]  # numbers 0 and 1


def fit_vocabulary(numbered: NumberedTokens, max_size: int, min_freq: int) -> Vocab:
    """Keep the `max_size` most frequent tokens of the given reviews, those that come `min_freq` times or more.

    Tokens of equal frequency are taken in alphabetical order; the specials come first and are not counted.
    """
    counts = np.bincount(numbered.ids, minlength=len(numbered.types))
    counter = Counter({numbered.types[number]: int(counts[number]) for number in np.flatnonzero(counts)})
    return Vocab(counter, max_size=max_size, min_freq=min_freq, specials=SPECIALS)


def encode(numbered: NumberedTokens, vocabulary: Vocab) -> EncodedReviews:
    """Turn numbered tokens into ids of the vocabulary; the labels are unknown (-1) until they are given."""
    ids = np.array([vocabulary[token] for token in numbered.types], dtype=np.int32)
    reviews = len(numbered.offsets) - 1
    return EncodedReviews(
        tokens=torch.from_numpy(ids[numbered.ids]),
        offsets=torch.from_numpy(numbered.offsets),
        labels=torch.full((reviews,), -1, dtype=torch.int8),
    )


def embed(vocabulary: Vocab, vectors: WordVectors, unknown_std: float, seed: int) -> Tensor:
    """Return the embedding matrix, (V, E) float32: the file's vectors, and normal ones for words it lacks.

    Padding is zero. NumPy draws the normal numbers, because PyTorch's depend on the processor's instruction set.
    """
    random = np.random.default_rng(seed)

    def draw(row: Tensor) -> Tensor:
        return row.copy_(torch.from_numpy(random.normal(0.0, unknown_std, row.shape)))

    rows = {word: row for row, word in enumerate(vectors.words)}
    vocabulary.set_vectors(rows, torch.from_numpy(vectors.matrix), vectors.matrix.shape[1], unk_init=draw)
    matrix: Tensor = vocabulary.vectors
    matrix[vocabulary.stoi[PADDING]] = 0.0
    return matrix


def measure_coverage(vocabulary: Vocab, vectors: WordVectors) -> tuple[float, float]:
    """Return the shares of the vocabulary's types, and of its tokens in the reviews it was fitted on, with a vector.

    Tokens that the vocabulary does not hold count as tokens without one.
    """
    types = vocabulary.itos[len(SPECIALS) :]
    covered = set(vectors.words)
    tokens = sum(vocabulary.freqs[token] for token in types if token in covered)
    return sum(token in covered for token in types) / len(types), tokens / vocabulary.freqs.total()


def save_vocabulary(path: Path, vocabulary: Vocab, rules: TokenRules) -> None:
    """Write all that turns another text into the same numbers: the rules, and the counts of the tokens kept."""
    counts = {token: vocabulary.freqs[token] for token in vocabulary.itos[len(SPECIALS) :]}
    write_json(path, {"rules": asdict(rules), "counts": counts})


def load_vocabulary(path: Path) -> tuple[Vocab, TokenRules]:
    """Read what `save_vocabulary` wrote; the counts alone decide the vocabulary."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        counts = {str(token): int(count) for token, count in saved["counts"].items()}
        return Vocab(Counter(counts), specials=SPECIALS), TokenRules(**saved["rules"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: is not a vocabulary: {error!r}") from error
