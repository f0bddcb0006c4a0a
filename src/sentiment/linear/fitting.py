"""Fitting the linear model: logistic regression on n-grams, each scaled by how much more often one class uses it.

    x_g  = 1 / sqrt(n) if n-gram g is among the review's n different ones, else 0
    r_gk = log( (1 + c_gk) / sum_h (1 + c_hk) ) - log( (1 + d_gk) / sum_h (1 + d_hk) )
    z_k  = b_k + sum_g u_gk r_gk x_g,   w_gk = u_gk r_gk

c_gk counts the training reviews of class k that have g, d_gk those of all other classes. r is the naive Bayes log-count
ratio, and u and b minimise the sum over reviews of the cross entropy of class k against the others, plus
(|u|^2 + b^2) / (2 C) (Wang and Manning 2012, who use hinge loss; their interpolation with naive Bayes is left out). The
penalty thus spares n-grams that tell the classes apart. Rare n-grams are left out: they cost memory and time and did
not help (`docs/notes.md`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from sentiment.dataset.encoded import EncodedReviews, concatenate_reviews, select_reviews
from sentiment.linear.model import LinearModel, find, occurrences

Matrix: TypeAlias = sparse.csr_matrix


@dataclass(frozen=True)
class LinearConfig:
    """Hyperparameters of the linear model."""

    max_words: int  # in an n-gram
    min_reviews: int  # training reviews with an n-gram; those in fewer are left out, but never the most frequent
    max_tokens: int  # of longer text, only every second, third, ... review of a label is read


class Ngrams(NamedTuple):
    """The n-grams of the training reviews, and which review has which."""

    known: torch.Tensor  # (F,) int64, ascending
    occurs: Matrix  # (N, F) float64: 1 where a review has the n-gram, else 0
    labels: npt.NDArray[np.int8]  # (N,)


class Fitted(NamedTuple):
    """A fitted model, and how it does on validation reviews that it was not fitted on."""

    model: LinearModel
    inverse_penalty: float
    held_out: torch.Tensor  # (N, K) float64, logits of the validation reviews; a refit leaves them as they were
    validation_loss: float  # of those logits, in nats
    validation_accuracy: float


def fit_best(
    training: EncodedReviews,
    validation: EncodedReviews,
    vocabulary_size: int,
    config: LinearConfig,
    inverse_penalties: Sequence[float],
    refit: bool,
) -> Fitted:
    """Fit a model with each inverse penalty, C, and choose by the validation loss.

    With `refit`, the model is then fitted on training and validation reviews together, with the chosen penalty.
    """
    classes, labels = int(training.labels.max()) + 1, validation.labels.long()
    ngrams = find_ngrams(training, vocabulary_size, config)
    candidates = []
    for penalty in inverse_penalties:
        model = fit_linear(ngrams, vocabulary_size, classes, config, penalty)
        logits = model.logits(validation)
        loss, accuracy = cross_entropy(logits, labels), (logits.argmax(dim=1) == labels).double().mean()
        candidates.append(Fitted(model, penalty, logits, float(loss), float(accuracy)))
    best = min(candidates, key=lambda fitted: fitted.validation_loss)
    if not refit:
        return best
    ngrams = find_ngrams(concatenate_reviews(training, validation), vocabulary_size, config)
    return best._replace(model=fit_linear(ngrams, vocabulary_size, classes, config, best.inverse_penalty))


def find_ngrams(reviews: EncodedReviews, vocabulary_size: int, config: LinearConfig) -> Ngrams:
    """Find the n-grams that occur in enough of N training reviews; peak memory is about 160 bytes a token."""
    step = -(-len(reviews.tokens) // config.max_tokens)  # the quotient, rounded up
    if step > 1:
        of_labels = [(reviews.labels == label).nonzero()[::step, 0] for label in reviews.labels.unique()]
        reviews = select_reviews(reviews, torch.cat(of_labels))
    of_words = find(reviews, 1, vocabulary_size, known=torch.arange(1, vocabulary_size + 1))
    # an n-gram is in no more reviews than each of its words
    least = min(config.min_reviews, int(torch.bincount(of_words.columns).max()))
    seen = occurrences(reviews, config.max_words, vocabulary_size)
    known = torch.cat([select_frequent(each.ngrams, least) for each in seen])  # ascending: more words, greater numbers
    found = find(reviews, config.max_words, vocabulary_size, known)
    is_kept = torch.bincount(found.columns, minlength=len(known)) >= least
    columns = is_kept.cumsum(0) - 1  # new column of each kept n-gram
    kept = is_kept[found.columns]
    rows, columns = found.rows[kept], columns[found.columns[kept]]
    offsets = torch.bincount(rows, minlength=len(reviews)).cumsum(0)
    occurs = Matrix(
        (np.ones(len(rows)), columns.int().numpy(), np.append(0, offsets.numpy())),
        shape=(len(reviews), int(is_kept.sum())),
    )
    return Ngrams(known[is_kept], occurs, reviews.labels.numpy())


def select_frequent(ngrams: torch.Tensor, least: int) -> torch.Tensor:
    """Return those of M n-grams, (M,) int64, that occur `least` times or more, each once, ascending."""
    distinct, counts = torch.unique(ngrams, return_counts=True)
    frequent: torch.Tensor = distinct[counts >= least]
    return frequent


def fit_linear(
    ngrams: Ngrams, vocabulary_size: int, classes: int, config: LinearConfig, inverse_penalty: float
) -> LinearModel:
    """Fit a model; of two classes, only the second is fitted."""
    roots = np.sqrt(np.maximum(ngrams.occurs.sum(axis=1), 1))
    scaled = ngrams.occurs.multiply(1 / roots)  # x
    weights, bias = [], []
    for label in [1] if classes == 2 else range(classes):
        is_class = ngrams.labels == label
        ratio = log_count_ratios(ngrams.occurs, is_class)
        # liblinear solves the primal problem, in about ten Newton steps and without random numbers
        regression = LogisticRegression(C=inverse_penalty, solver="liblinear", max_iter=1000)
        regression.fit(scaled.multiply(ratio).tocsr(), is_class)
        weights.append(regression.coef_[0] * ratio)
        bias.append(regression.intercept_[0])
    return LinearModel(
        config.max_words,
        vocabulary_size,
        ngrams.known,
        torch.from_numpy(np.stack(weights, axis=1)).float(),
        torch.tensor(bias).float(),
    )


def log_count_ratios(occurs: Matrix, is_class: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return r, (F,), given which reviews have which n-grams, (N, F), and which are of the class, (N,)."""
    inside, outside = (1 + np.asarray(occurs[chosen].sum(axis=0)).ravel() for chosen in (is_class, ~is_class))
    ratios: npt.NDArray[np.float64] = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
    return ratios
