"""Let the linear model that a user would try first predict the test reviews."""

from stages.params import Params
from stages.paths import BASELINE, CORPUS, ROWS
from stages.run import run


def baseline(params: Params) -> None:
    """Fit on the same training reviews as the network, and write a probability for each test review, (N,)."""
    import numpy as np
    import torch

    from sentiment.baseline import predict_baseline
    from sentiment.corpus import read_corpus
    from sentiment.encoded import ROW_DTYPES, load_tensors, save_tensors

    rows = {split: numbers.numpy() for split, numbers in load_tensors(ROWS, ROW_DTYPES).items()}
    corpus = read_corpus(CORPUS, ["label", "text"])
    train, test = corpus.take(rows["train"]), corpus.take(rows["test"])
    labels = np.array(train["label"], dtype=np.int8)
    probabilities = predict_baseline(
        train["text"].to_pylist(), labels, test["text"].to_pylist(), params.baseline.inverse_penalty
    )
    save_tensors(BASELINE, {"probabilities": torch.from_numpy(probabilities)})


if __name__ == "__main__":
    run(baseline)
