"""Turn the corpus into tensors: split, tokenize, fit the vocabulary.

The corpus is read three times, in batches of reviews: to split it, to count the training tokens, and to encode all
reviews. No pass keeps texts in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.params import Params, Prepare
from stages.paths import CORPUS, ENCODED, LABELLED, SPLITS, VOCABULARY
from stages.run import run, write_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from torchtext.vocab import Vocab

    from sentiment.text.tokenizer import ReviewTokenizer

    Numbers = npt.NDArray[np.int8]


def prepare(params: Params) -> None:
    """Write the token ids and labels of each split, and the vocabulary."""
    import pyarrow as pa

    from sentiment.corpora.reviews import read_labels
    from sentiment.dataset.vocabulary import count_frequencies, save_vocabulary
    from sentiment.text.tokenizer import ReviewTokenizer, TokenRules

    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's default memory pool keeps 40 MB more
    settings = params.prepare
    names = read_labels(CORPUS)
    rules = TokenRules(settings.lower, settings.keep_breaks, settings.max_tokens, settings.pad_to, settings.language)
    tokenizer = ReviewTokenizer(rules)
    splits, labels, sizes = split_reviews(settings, names)
    vocabulary, training_tokens = count_tokens(settings, tokenizer, splits)
    save_vocabulary(VOCABULARY, vocabulary, rules, names)
    encode_reviews(tokenizer, vocabulary, settings.pad_to, splits, labels)
    in_vocabulary = sum(count_frequencies(vocabulary).tolist()) / training_tokens
    figures = {"vocabulary": len(vocabulary.itos), "tokens_in_vocabulary": round(in_vocabulary, 4), **sizes}
    write_metrics("prepare", figures)
    print(
        f"{len(vocabulary.itos):,} words, {in_vocabulary:.1%} of the training tokens; {sizes['labels']:,} of "
        f"{sizes['train_reviews']:,} training labels used"
    )


def split_reviews(settings: Prepare, names: Sequence[str]) -> tuple[Numbers, Numbers, dict[str, int]]:
    """Hold out the validation split, draw the training reviews whose labels are used, and write the rows of each split.

    `names` are those of the labels, K. Returns the split and the label of each review, (N,) int8 each, and the numbers
    of reviews for the metrics.
    """
    import torch

    from sentiment.corpora.splitting import (
        SPLITS_AND_VALIDATION,
        assign_splits,
        count_shared_texts,
        draw_labelled,
        read_split_inputs,
    )
    from sentiment.storage.tensors import save_tensors

    inputs = read_split_inputs(CORPUS)
    shared = count_shared_texts(inputs, settings.max_shared_texts)
    print(f"test: {shared:,} of {len(inputs.test_texts):,} reviews have the same text as a training review")
    ties = {"text": inputs.texts} | ({"group": inputs.groups} if settings.split_by == "group" else {})
    splits = assign_splits(inputs.splits, inputs.labels, ties, settings.validation_share, settings.seed, names)
    rows = {name: (torch.from_numpy(splits) == n).nonzero()[:, 0] for n, name in enumerate(SPLITS_AND_VALIDATION)}
    save_tensors(SPLITS, rows)
    labelled = draw_labelled(inputs.labels[rows["train"].numpy()], settings.labels, settings.seed, names)
    save_tensors(LABELLED, {"train": torch.from_numpy(labelled)})
    sizes = {f"{name}_reviews": len(numbers) for name, numbers in rows.items()}
    sizes |= {"labels": len(labelled), "test_texts_in_train": shared}
    return splits, inputs.labels, sizes


def count_tokens(settings: Prepare, tokenizer: ReviewTokenizer, splits: Numbers) -> tuple[Vocab, int]:
    """Fit the vocabulary on the training reviews; return the vocabulary and the number of training tokens."""
    from collections import Counter

    from tqdm import tqdm

    from sentiment.corpora.reviews import read_batches
    from sentiment.corpora.splitting import TRAIN
    from sentiment.dataset.vocabulary import add_counts, fit_vocabulary

    counts: Counter[str] = Counter()
    batches = read_batches(CORPUS, ["text"], splits == TRAIN)
    with tqdm(desc="count", total=int((splits == TRAIN).sum()), unit=" reviews", disable=None) as bar:
        for tokenized in tokenizer.tokenize_all(batch["text"] for batch in batches):
            add_counts(counts, tokenized)
            bar.update(len(tokenized.ids))
    return fit_vocabulary(counts, settings.max_vocab, settings.min_freq), counts.total()


def encode_reviews(
    tokenizer: ReviewTokenizer, vocabulary: Vocab, pad_to: int | None, splits: Numbers, labels: Numbers
) -> None:
    """Write the token ids and labels of each split; `splits` and `labels` are (N,).

    All token ids are kept in memory until the end, 4 bytes each, 110 MB for IMDb.
    """
    from array import array

    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    from tqdm import tqdm

    from sentiment.corpora.reviews import read_batches
    from sentiment.corpora.splitting import SPLITS_AND_VALIDATION
    from sentiment.dataset.encoded import save_encoded
    from sentiment.dataset.vocabulary import encode, to_tensors, vocabulary_words

    words, done = vocabulary_words(vocabulary), 0
    # These arrays grow in place; a list of arrays would have to be copied into one at the end.
    ids, lengths = ([array("i") for _ in SPLITS_AND_VALIDATION] for _ in range(2))
    batches = read_batches(CORPUS, ["text"])
    with tqdm(desc="encode", total=len(splits), unit=" reviews", disable=None) as bar:
        for tokenized in tokenizer.tokenize_all(batch["text"] for batch in batches):
            tokens = encode(tokenized, words, pad_to)
            here = splits[done : done + len(tokens)]
            for split in np.unique(here):
                chosen = tokens.filter(pa.array(here == split))
                ids[split].frombytes(chosen.flatten().to_numpy().tobytes())
                lengths[split].frombytes(pc.list_value_length(chosen).to_numpy().tobytes())
            done += len(tokens)
            bar.update(len(tokens))
    for number, name in enumerate(SPLITS_AND_VALIDATION):
        joined, counts = (np.frombuffer(each[number], dtype=np.int32) for each in (ids, lengths))
        save_encoded(ENCODED[name], to_tensors(joined, counts, labels[splits == number]))


if __name__ == "__main__":
    run(prepare)
