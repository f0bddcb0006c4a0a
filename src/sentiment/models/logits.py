"""Logits of two classes and of more.

A classifier of two classes has one logit for each review, z (B,): that of class 1, while class 0 has 0. A classifier of
K > 2 classes has K, z (B, K). The functions of this module accept both:

    p_k = exp(z_k) / sum_j exp(z_j);  with two classes, p_1 = sigmoid(z)
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from torch.nn.functional import cross_entropy as cross_entropy_of_classes


def class_logits(logits: Tensor) -> Tensor:
    """Return a logit for each class, (B, K)."""
    return torch.stack([torch.zeros_like(logits), logits], dim=1) if logits.ndim == 1 else logits


def predicted_labels(logits: Tensor) -> Tensor:
    """Return the most probable class of each review, (B,) int64; the first of several."""
    return class_logits(logits).argmax(dim=1)


def probabilities(logits: Tensor) -> Tensor:
    """Return targets for `cross_entropy`: the probability of class 1, (B,), or those of all classes, (B, K)."""
    return logits.sigmoid() if logits.ndim == 1 else logits.softmax(dim=1)


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the sum over reviews of CE(y, z), ().

    `targets` are labels, (B,), or probabilities as `probabilities` returns them. `weights`, (K,), are those of a review
    by its label.
    """
    if logits.ndim == 1:
        weight = None if weights is None else weights[targets.long()]
        return binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), weight, reduction="sum")
    return cross_entropy_of_classes(logits, targets.long() if targets.ndim == 1 else targets, weights, reduction="sum")


def entropy(logits: Tensor) -> Tensor:
    """Return the sum over reviews of H(p) = - sum_k p_k log p_k, ()."""
    if logits.ndim == 1:
        return (softplus(logits) - logits * logits.sigmoid()).sum()
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum()


def confidence(logits: Tensor) -> Tensor:
    """Return the log odds of the most probable class k, log p_k / (1 - p_k), (B,); with two classes, |z|."""
    if logits.ndim == 1:
        return logits.abs()
    chosen = predicted_labels(logits)[:, None]
    others = logits.scatter(1, chosen, -torch.inf)
    return logits.gather(1, chosen).squeeze(1) - others.logsumexp(dim=1)
