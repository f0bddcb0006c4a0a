"""Turn the corpus into tensors: split, tokenize, fit the vocabulary, look up its vectors."""

from dataclasses import replace

from stages.params import Params
from stages.paths import CORPUS, EMBEDDINGS, ENCODED, PREPARE_METRICS, ROWS, VECTORS, VOCABULARY
from stages.run import run


def prepare(params: Params) -> None:
    """Write, for each split, ragged token ids and labels; the vocabulary; the embedding matrix (V, E)."""
    import torch
    from tqdm import tqdm

    from sentiment.corpus import read_corpus
    from sentiment.encoded import save_encoded, save_tensors
    from sentiment.files import write_json
    from sentiment.split import rows_of_splits
    from sentiment.tokens import TokenRules, number_tokens
    from sentiment.vectors import read_vectors
    from sentiment.vocabulary import embed, encode, fit_vocabulary, measure_coverage, save_vocabulary

    settings = params.prepare
    corpus = read_corpus(CORPUS, ["split", "label", "group", "text"])
    splits, labels, groups, texts = corpus.values()
    ties = [texts, groups] if settings.split_by == "group" else [texts]
    rows = rows_of_splits(splits, labels, ties, settings.validation_share, settings.seed)
    save_tensors(ROWS, {split: torch.from_numpy(numbers) for split, numbers in rows.items()})

    rules = TokenRules(settings.lower, settings.keep_breaks, settings.max_tokens)
    numbered = number_tokens(tqdm(texts, desc="tokenize", unit="review", disable=None), rules)
    vocabulary = fit_vocabulary(numbered.select(rows["train"]), settings.max_vocab, settings.min_freq)
    save_vocabulary(VOCABULARY, vocabulary, rules)

    known_labels = torch.tensor([-1 if label is None else label for label in labels], dtype=torch.int8)
    sizes: dict[str, int] = {}
    for split, numbers in rows.items():
        reviews = encode(numbered.select(numbers), vocabulary)
        save_encoded(ENCODED[split], replace(reviews, labels=known_labels[numbers]))
        sizes[f"{split}_reviews"] = len(reviews)

    vectors = read_vectors(VECTORS, settings.dimension, vocabulary.itos)
    embeddings = embed(vocabulary, vectors, settings.unknown_std, settings.seed)
    save_tensors(EMBEDDINGS, {"embeddings": embeddings})
    types_covered, tokens_covered = measure_coverage(vocabulary, vectors)
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
