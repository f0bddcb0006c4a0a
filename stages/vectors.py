"""Train word vectors on the corpus's own text or look them up in the downloaded file; write the embedding matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.params import Params
from stages.paths import EMBEDDINGS, ENCODED, VECTORS, VOCABULARY
from stages.run import run, write_metrics

if TYPE_CHECKING:
    from torchtext.vocab import Vocab

    from sentiment.embeddings.matrix import Rows

# Tokens, as in about 5,000 reviews of IMDb. There, fetched vectors side by side with the trained ones lower the
# validation loss by 0.02; with 1,000 reviews, by 0.06.
MUCH_TEXT = 1_000_000


def vectors(params: Params) -> None:
    """Write the embedding matrix, (V, E), of one source of vectors or of both side by side."""
    import numpy as np
    import torch

    from sentiment.dataset.vocabulary import count_frequencies, load_vocabulary
    from sentiment.embeddings.matrix import build_embeddings
    from sentiment.storage.tensors import save_tensors

    settings = params.vectors
    vocabulary, _ = load_vocabulary(VOCABULARY)
    sources: list[Rows] = []
    figures: dict[str, float] = {}
    if settings.source != "fetched":
        sources.append(train_vectors(params, len(vocabulary.itos)))
    if settings.source != "trained":
        rows, figures = look_up_vectors(params, vocabulary)
        sources.append(rows)
    frequencies = count_frequencies(vocabulary)
    matrices = [
        build_embeddings(rows, frequencies, settings.std, settings.unknown_std, settings.seed) for rows in sources
    ]
    embeddings = np.concatenate(matrices, axis=1)
    save_tensors(EMBEDDINGS, {"embeddings": torch.from_numpy(embeddings)})
    write_metrics("vectors", {"dimension": embeddings.shape[1], **figures})
    print(f"vectors of {embeddings.shape[1]} numbers for {len(embeddings):,} words")


def train_vectors(params: Params, vocabulary_size: int) -> Rows:
    """Train vectors on train and unlabelled text; no review of validation or test is read."""
    import numpy as np

    from sentiment.dataset.encoded import load_encoded
    from sentiment.embeddings.cooccurrence import count_cooccurrences
    from sentiment.embeddings.factorization import factorize
    from sentiment.embeddings.matrix import Rows
    from sentiment.errors import InputError

    trained = params.vectors.trained
    texts = [load_encoded(ENCODED[split], vocabulary_size) for split in ("train", "unsup")]
    counts = count_cooccurrences(texts, vocabulary_size, trained.window, trained.max_tokens)
    if not counts.nnz:
        raise InputError("no training text has two words to learn vectors from; set vectors.source to fetched")
    tokens = sum(len(reviews.tokens) for reviews in texts)
    print(f"{counts.nnz:,} pairs of neighbours in {tokens:,} tokens; factorizing them", flush=True)
    if tokens < MUCH_TEXT and params.vectors.source == "trained" and params.download.corpus != "sample":
        print(
            "hint: that is little text to learn vectors from; add texts without labels, "
            "or try vectors.source=both with vectors of the text's language"
        )
    matrix = factorize(counts, trained.dimension, trained.shift, params.vectors.seed)
    if not matrix.shape[1]:
        raise InputError(f"vectors.trained.shift: at {trained.shift} no pair of neighbours counts; raise it")
    return Rows(matrix, np.diff(counts.indptr) > 0)


def look_up_vectors(params: Params, vocabulary: Vocab) -> tuple[Rows, dict[str, float]]:
    """Read the vocabulary's words from the downloaded file; return their vectors and figures on how many there are."""
    from sentiment.dataset.vocabulary import measure_coverage
    from sentiment.embeddings.matrix import look_up
    from sentiment.errors import renaming_errors
    from sentiment.storage.archives import Limits
    from sentiment.text.coverage import check_coverage
    from sentiment.text.glove import read_vectors

    fetched, limits = params.vectors.fetched, Limits(**params.download.limits.model_dump())
    with renaming_errors(VECTORS, params.download.vectors_name):
        found = read_vectors(VECTORS, fetched.dimension, vocabulary.itos, limits)
        check_coverage(VECTORS, fetched.dimension, limits, vocabulary.freqs, found.words, fetched.min_coverage)
    types, tokens = measure_coverage(vocabulary, found)
    print(f"{types:.1%} of the vocabulary and {tokens:.1%} of its tokens in the training text have a fetched vector")
    shares = {"types_with_vector": round(types, 4), "tokens_with_vector": round(tokens, 4)}
    return look_up(vocabulary.itos, found), {**shares, "vector_rows_repeated": found.repeated}


if __name__ == "__main__":
    run(vectors, portable=True)
