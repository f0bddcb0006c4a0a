"""Turn the corpus into tensors: split, tokenize, fit the vocabulary, look up its vectors."""

from stages.params import Params
from stages.paths import CORPUS, EMBEDDINGS, ENCODED, PREPARE_METRICS, ROWS, VECTORS, VOCABULARY
from stages.run import run


def prepare(params: Params) -> None:
    """Write, for each split, ragged token ids and labels; the vocabulary; the embedding matrix (V, E).

    The corpus is read three times, a batch of reviews at a time: to split it, to count the tokens of the training
    reviews, and to encode all reviews. Meanwhile the vectors are read beside the third.
    """
    from collections import Counter
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import ExitStack

    import numpy as np
    import pyarrow as pa
    import torch
    from tqdm import tqdm

    from sentiment.corpus import read_batches
    from sentiment.encoded import save_tensors
    from sentiment.files import write_json
    from sentiment.ragged import writing_encoded
    from sentiment.split import SPLITS_AND_VALIDATION, TRAIN, assign_splits, read_outline
    from sentiment.tokens import ReviewTokenizer, TokenRules
    from sentiment.vectors import read_vectors
    from sentiment.vocabulary import (
        add_counts,
        embed,
        encode,
        fit_vocabulary,
        measure_coverage,
        save_vocabulary,
        words_of,
    )

    pa.set_memory_pool(pa.system_memory_pool())  # the default one keeps 40 MB more for later use
    settings = params.prepare
    outline = read_outline(CORPUS)
    ties = [outline.texts, outline.groups] if settings.split_by == "group" else [outline.texts]
    splits = assign_splits(outline.splits, outline.labels, ties, settings.validation_share, settings.seed)
    rows = {
        name: torch.from_numpy(splits == number).nonzero()[:, 0] for number, name in enumerate(SPLITS_AND_VALIDATION)
    }
    sizes = {f"{name}_reviews": len(numbers) for name, numbers in rows.items()}
    save_tensors(ROWS, rows)
    del rows

    rules = TokenRules(settings.lower, settings.keep_breaks, settings.max_tokens)
    tokenizer = ReviewTokenizer(rules)
    counts: Counter[str] = Counter()
    with tqdm(desc="count", total=sizes["train_reviews"], unit=" reviews", disable=None) as bar:
        for numbered in tokenizer.number_all(b["text"] for b in read_batches(CORPUS, ["text"], splits == TRAIN)):
            add_counts(counts, numbered)
            bar.update(len(numbered.ids))
    vocabulary = fit_vocabulary(counts, settings.max_vocab, settings.min_freq)
    training_tokens = counts.total()
    del counts  # like `rows`, it grows with the corpus
    save_vocabulary(VOCABULARY, vocabulary, rules)

    with ExitStack() as stack:
        beside = stack.enter_context(ThreadPoolExecutor(1))
        vectors_read = beside.submit(read_vectors, VECTORS, settings.dimension, vocabulary.itos)
        files = [stack.enter_context(writing_encoded(ENCODED[name])) for name in SPLITS_AND_VALIDATION]
        bar = stack.enter_context(tqdm(desc="encode", total=len(splits), unit=" reviews", disable=None))
        words, done = words_of(vocabulary), 0
        for numbered in tokenizer.number_all(b["text"] for b in read_batches(CORPUS, ["text"])):
            tokens = encode(numbered, words)
            batch = slice(done, done := done + len(tokens))
            for split in np.unique(splits[batch]):
                of_split = np.flatnonzero(splits[batch] == split)
                files[split].write(tokens.take(pa.array(of_split)), outline.labels[batch][of_split])
            bar.update(len(tokens))
        vectors = vectors_read.result()

    embeddings = embed(vocabulary, vectors, settings.unknown_std, settings.seed)
    save_tensors(EMBEDDINGS, {"embeddings": embeddings})
    types_covered, tokens_covered = measure_coverage(vocabulary, vectors, training_tokens)
    figures = {
        "vocabulary": len(vocabulary.itos),
        "types_with_vector": round(types_covered, 4),
        "tokens_with_vector": round(tokens_covered, 4),
        "vector_rows_repeated": vectors.repeated,
        **sizes,
    }
    write_json(PREPARE_METRICS, figures)
    print(
        f"{len(vocabulary.itos):,} words; {types_covered:.1%} of them and {tokens_covered:.1%} of the training "
        f"tokens have a vector; {sizes['train_reviews']:,} training reviews"
    )


if __name__ == "__main__":
    run(prepare)
