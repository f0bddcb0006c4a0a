"""Fit the linear baseline, a model to try before any network, and predict the test reviews."""

from pathlib import Path

from stages.params import Params
from stages.paths import BASELINE, CORPUS, LABELLED, SPLITS
from stages.run import run


def baseline(params: Params) -> None:
    """Fit on the same reviews as the network, and write probabilities for the test reviews and behavioural cases."""
    import numpy as np
    import torch

    from sentiment.corpora.reviews import read_corpus, read_labels
    from sentiment.dataset.encoded import LABELLED_DTYPES, SPLIT_DTYPES
    from sentiment.evaluation.baseline import predict_baseline
    from sentiment.evaluation.behaviour import read_cases
    from sentiment.storage.tensors import load_tensors, save_tensors

    rows = {split: numbers.tolist() for split, numbers in load_tensors(SPLITS, SPLIT_DTYPES).items()}
    fitted = [rows["train"][place] for place in load_tensors(LABELLED, LABELLED_DTYPES)["train"].tolist()]
    if params.train.refit:
        fitted += rows["validation"]
    corpus = read_corpus(CORPUS, ["label", "text"])
    cases = read_cases(Path(params.evaluate.behaviour), read_labels(CORPUS))
    probabilities = predict_baseline(
        texts=[corpus["text"][row] for row in fitted],
        labels=np.array([corpus["label"][row] for row in fitted], dtype=np.int8),
        new_texts=[corpus["text"][row] for row in rows["test"]] + cases.texts,
        inverse_penalty=params.baseline.inverse_penalty,
    )
    if probabilities.shape[1] == 2:
        probabilities = probabilities[:, 1]
    test, behaviour = torch.from_numpy(probabilities).split([len(rows["test"]), len(cases.texts)])
    save_tensors(BASELINE, {"test": test, "behaviour": behaviour})


if __name__ == "__main__":
    run(baseline)
