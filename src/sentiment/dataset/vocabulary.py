"""The vocabulary, a torchtext `Vocab`: the tokens that the model knows, and their ids.

But for its types, no other module uses torchtext, an archived package. Release 0.6 has the API that many tutorials use.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torchtext.vocab import Vocab

from sentiment.corpora.reviews import SENTIMENT, SURROGATE
from sentiment.dataset.encoded import PADDING, EncodedReviews
from sentiment.dataset.labels import KEYS, OPTIONAL_KEYS
from sentiment.errors import InputError, abbreviated
from sentiment.storage.outputs import read_json, read_settings, write_json
from sentiment.text.glove import WordVectors
from sentiment.text.languages import ENGLISH, check_language
from sentiment.text.spacy_pieces import TokenizedTexts
from sentiment.text.tokenizer import UNKNOWN, TokenRules

SPECIALS = [UNKNOWN, "<pad>"]  # ids 0 and PADDING


def add_counts(counts: Counter[str], tokenized: TokenizedTexts) -> None:
    """Add the token counts of a batch of reviews to `counts`."""
    frequencies = np.bincount(tokenized.ids.flatten().to_numpy(), minlength=len(tokenized.types))
    for token, frequency in zip(tokenized.types.to_pylist(), frequencies.tolist(), strict=True):
        counts[token] += frequency


def fit_vocabulary(counts: Counter[str], max_size: int, min_freq: int) -> Vocab:
    """Build a vocabulary of the `max_size` most frequent tokens that occur at least `min_freq` times.

    Tokens of equal frequency are taken in alphabetical order. The special tokens come first; they do not count towards
    `max_size`, and neither do the unknown tokens of reviews without words.

    Raises InputError if no word is frequent enough.
    """
    frequencies = np.fromiter((count for token, count in counts.items() if token not in SPECIALS), dtype=np.int64)
    if frequencies.max(initial=0) < min_freq:
        raise InputError(f"prepare.min_freq: no word occurs {min_freq:,} times in the training text; lower it")
    rank = min(max_size, len(frequencies))
    least = np.partition(frequencies, -rank)[-rank]
    # torchtext sorts and stores every token, so leave out the tokens that are too rare to be kept.
    candidates = Counter({token: count for token, count in counts.items() if count >= least and token not in SPECIALS})
    return Vocab(candidates, max_size=max_size, min_freq=min_freq, specials=SPECIALS)


def vocabulary_words(vocabulary: Vocab) -> pa.StringArray:
    """Return the words of a vocabulary, (V,), ordered by id."""
    return pa.array(vocabulary.itos, pa.string())


def encode(tokenized: TokenizedTexts, words: pa.StringArray, pad_to: int | None = None) -> pa.ListArray:
    """Convert the tokenized tokens of N reviews to vocabulary ids, N lists of int32.

    With `pad_to`, shorter reviews are padded to that many tokens; the model reads this padding like any other token.
    """
    ids = pc.index_in(tokenized.types, words).fill_null(SPECIALS.index(UNKNOWN))
    encoded = pa.ListArray.from_arrays(tokenized.ids.offsets, ids.take(tokenized.ids.values))
    return encoded if pad_to is None else _pad(encoded, pad_to)


def to_tensors(
    tokens: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32], labels: npt.NDArray[np.int8]
) -> EncodedReviews:
    """Convert the concatenated tokens of N reviews, (M,), their lengths, (N,), and labels, (N,), without a copy."""
    offsets = np.append(0, np.cumsum(lengths, dtype=np.int64))
    return EncodedReviews(*map(torch.from_numpy, (tokens, offsets, labels)))


def _pad(encoded: pa.ListArray, min_length: int) -> pa.ListArray:
    lengths = pc.list_value_length(encoded).to_numpy()
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(np.maximum(lengths, min_length), out=offsets[1:])
    ids = np.full(offsets[-1], PADDING, dtype=np.int32)
    first = np.cumsum(lengths) - lengths  # start of each review before padding
    ids[np.arange(lengths.sum()) + np.repeat(offsets[:-1] - first, lengths)] = encoded.flatten().to_numpy()
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))


def count_frequencies(vocabulary: Vocab) -> npt.NDArray[np.int64]:
    """Return how often each word occurs in the training text, (V,); 0 for the special tokens."""
    return np.array([vocabulary.freqs[word] for word in vocabulary.itos])


def measure_coverage(vocabulary: Vocab, vectors: WordVectors) -> tuple[float, float]:
    """Return the share of the vocabulary's words, and of their occurrences in the training text, that have a vector."""
    words = vocabulary.itos[len(SPECIALS) :]
    covered = {word: vocabulary.freqs[word] for word in vectors.words if word not in SPECIALS}
    return len(covered) / len(words), sum(covered.values()) / sum(vocabulary.freqs[word] for word in words)


def save_vocabulary(path: Path, vocabulary: Vocab, rules: TokenRules, labels: Sequence[str] = SENTIMENT) -> None:
    """Write the tokenizer's rules, the counts of the kept tokens, and the names of the labels by number.

    That is enough to encode any text in the same way and to name its label. The names are left out if they are
    SENTIMENT, as in the files of versions that knew no others.
    """
    counts = {token: vocabulary.freqs[token] for token in vocabulary.itos[len(SPECIALS) :]}
    names = {} if tuple(labels) == SENTIMENT else {"labels": list(labels)}
    written = asdict(rules)
    if rules.language == ENGLISH:
        del written["language"]  # so that versions without this rule can read the file
    write_json(path, {"rules": written, "counts": counts, **names})


def load_vocabulary(path: Path, size: int | None = None) -> tuple[Vocab, TokenRules]:
    """Read a vocabulary written by `save_vocabulary`; the counts alone determine the ids.

    `size` is V of the model, with the special tokens; None accepts any number of words. Raises InputError if the number
    of words differs from `size`, if the file is not a vocabulary, or if its language cannot be tokenized here.
    """
    saved = read_json(path, "a vocabulary", KEYS, OPTIONAL_KEYS)
    counts, rules = saved["counts"], read_settings(path, "a vocabulary", saved["rules"], TokenRules)
    try:
        check_language(rules.language)
    except ValueError as error:
        raise InputError(f"{path}: rules.language: {error}") from error
    if not isinstance(counts, dict):
        raise InputError(f"{path}: is not a vocabulary: counts must be an object; got {abbreviated(counts)}")
    for token, count in counts.items():
        if token in SPECIALS or SURROGATE.search(token):
            raise InputError(f"{path}: is not a vocabulary: {abbreviated(token)} cannot be a token of a text")
        if type(count) is not int or count < 1:  # bool is a subclass of int
            raise InputError(
                f"{path}: is not a vocabulary: the count of {abbreviated(token)} must be a whole number of 1 or more; "
                f"got {abbreviated(count)}"
            )
    words = len(counts) + len(SPECIALS)
    if size is not None and words != size:
        raise InputError(
            f"{path}: must have {size:,} words, like the model; got {words:,}; "
            "restore the model's folder or train the model again"
        )
    return Vocab(Counter(counts), specials=SPECIALS), rules
