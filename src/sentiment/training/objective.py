"""The training objective: cross entropy, its value at the worst nearby point, and entropy on unlabelled reviews.

    L = mean_b [ CE(y_b, s_b) + w CE(y_b, s_b + r_b) ] + mean_u [ v KL(p(s_u), p(s_u + r_u)) + h H(p(s_u)) ]

    r_b = epsilon sigma sqrt(t_b) g_b / |g_b|,   g_b = d CE(y_b, s_b) / d s_b
    r_u = epsilon sigma sqrt(t_u) g_u / |g_u|,   g_u = - d m(s_u) / d s_u

b runs over labelled reviews and u over unlabelled ones; s is the embeddings of a review of t tokens, (t, E), and p are
its probabilities, (K,). m are the log odds of the most probable class. r is the shift of the given norm that, to first
order, raises the loss most, or lowers m most. The terms in r are those of adversarial and virtual adversarial training
(Miyato, Dai and Goodfellow 2017), with four differences from the paper:

Norm: the paper uses one norm for all reviews. Here the norm grows with the square root of the number of tokens. Thus
epsilon sigma is the root mean square, over a review's tokens, of the norm of a token's shift, and means the same for a
sentence of 20 tokens as for a review of 2,000.

Scale: the paper normalises the embeddings, weighted by word frequency, to mean 0 and variance 1, so that embeddings
cannot evade r by growing. Here the embeddings are left as they are, and sigma is the root mean square of the standard
deviations by which the paper would divide their E dimensions, so that epsilon means the same.

Direction: the paper finds r_u by one step of power iteration from a random start, as the first eigenvector of the
Hessian of KL. With two classes of logits 0 and z, the Hessian is p (1 - p) grad z grad z', of rank one, and its
eigenvector is grad z itself. To second order, both signs raise KL equally; the sign towards z = 0, where p changes
faster, raises it more: since m = |z|, that is g_u. With more classes, g_u is no eigenvector, but needs neither a random
start nor a further pass, and raises KL more than the step of power iteration does (`docs/notes.md`).

Dropout: the paper computes r and applies it under the same dropout masks. Here each pass draws its own masks, which
gave a lower validation loss (`docs/notes.md`).

H(p) = - sum_k p_k log p_k is the entropy. Minimising it moves the decision boundary to where there are few
reviews, labelled or not (Grandvalet and Bengio 2005; combined with the other terms, Sachan, Zaheer and Salakhutdinov
2019).

With class weights, each CE(y_b, .) is multiplied by the weight of y_b.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sentiment.dataset.batching import Batch, pad_batch, split_by_tokens
from sentiment.dataset.encoded import PADDING, EncodedReviews
from sentiment.models.classifier import Classifier
from sentiment.models.logits import confidence, cross_entropy, entropy, probabilities
from sentiment.runtime.device import product_dtype
from sentiment.runtime.distributed import rank_and_count

Loss = Callable[[Tensor], Tensor]  # from logits, (B,) or (B, K), to the sum of their losses, ()


@dataclass(frozen=True)
class ObjectiveConfig:
    """Hyperparameters of the objective."""

    tokens_at_once: int  # padded; a larger batch is split into parts whose gradients are accumulated
    precision: str  # of matrix products: one of precision.PRECISIONS
    adversarial: float  # w; 0 omits the term
    virtual: float  # v; 0 omits the term
    entropy: float  # h; 0 omits the term
    epsilon: float  # root mean square, over a review's tokens, of the norm of a token's shift, in units of sigma
    class_weights: str | None = field(default=None, kw_only=True)  # "balanced": see `balanced_weights`; None: all alike


class Objective:
    """The objective on a batch that processes share, each splitting its share into parts that fit in memory."""

    def __init__(
        self,
        model: Classifier,
        labelled: EncodedReviews,
        unlabelled: EncodedReviews | None,
        config: ObjectiveConfig,
        device: torch.device,
    ) -> None:
        self.rank, self.processes = rank_and_count()
        self.model = model
        self.shared = DistributedDataParallel(model) if self.processes > 1 else None
        self.labelled = labelled.to(device)
        self.unlabelled = unlabelled.to(device) if unlabelled is not None else None
        self.config = config
        self.device = device
        self.product_dtype = product_dtype(config.precision, device)
        words = self.labelled.tokens[self.labelled.tokens != PADDING]
        counts = torch.bincount(words, minlength=model.config.vocabulary_size)
        self.frequencies = counts / counts.sum()  # (V,)
        self.class_weights: Tensor | None = None  # (K,)
        if config.class_weights is not None:
            self.class_weights = balanced_weights(labelled.labels, model.config.classes).to(device)
        self.radius = self.measure_radius()
        self.is_radius_fixed = not model.embedding.weight.requires_grad or not (config.adversarial or config.virtual)

    def backward(self, rows: Tensor, unlabelled_rows: Tensor | None = None) -> Tensor:
        """Accumulate the gradient of L on labelled reviews, (B,), and on unlabelled reviews, (B,), if any.

        Returns this process's share of the mean CE(y_b, s_b), ().
        """
        share = torch.zeros((), device=self.device)
        if not self.is_radius_fixed:
            self.radius = self.measure_radius()
        if self.unlabelled is not None and unlabelled_rows is not None:
            for weight, batch, _ in self.parts(self.unlabelled, unlabelled_rows):
                if self.config.virtual:
                    logits, worst = self.virtual_adversarial_shift(batch)
                    # for fixed p, the gradient equals that of KL(p, q), which differs by the entropy of p
                    divergence = partial(cross_entropy, targets=probabilities(logits))
                    self.step(batch, divergence, weight * self.config.virtual, worst, is_last=False)
                if self.config.entropy:
                    self.step(batch, entropy, weight * self.config.entropy, None, is_last=False)
        for weight, batch, is_last in self.parts(self.labelled, rows):
            loss = partial(cross_entropy, targets=batch.labels, weights=self.class_weights)
            if self.config.adversarial == 0:
                share += self.step(batch, loss, weight, None, is_last)
                continue
            shift = self.zero_shift(batch)
            share += self.step(batch, loss, weight, shift, is_last=False)
            assert shift.grad is not None
            worst = self.adversarial_shift(shift.grad, batch)
            self.step(batch, loss, weight * self.config.adversarial, worst, is_last)
        return share / self.processes

    def parts(self, reviews: EncodedReviews, rows: Tensor) -> Iterator[tuple[float, Batch, bool]]:
        """Yield the parts of this process's share of a batch, as (weight, part, is_last).

        `weight` is that of each review in the sum of losses.
        """
        own = rows[self.rank :: self.processes]
        # A process that gets no reviews, because the batch has too few, still takes part: with a review of weight 0.
        weight = self.processes / len(rows) if len(own) else 0.0
        parts = split_by_tokens(own if len(own) else rows[:1], reviews.lengths, self.config.tokens_at_once)
        for number, part in enumerate(parts, start=1):
            yield weight, pad_batch(reviews, part), number == len(parts)

    def step(self, batch: Batch, loss: Loss, weight: float, shift: Tensor | None, is_last: bool) -> Tensor:
        """Accumulate the gradient of a batch's weighted loss, with shifted embeddings, and return that loss, ()."""
        # DistributedDataParallel replaces gradients by their mean over processes: only once, at the last step.
        with self.shared.no_sync() if self.shared and not is_last else nullcontext():
            logits = (self.shared or self.model)(batch.tokens, batch.lengths, shift, self.product_dtype)
            weighted = weight * loss(logits)
            weighted.backward()
        return weighted.detach()

    def virtual_adversarial_shift(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits, (B,) or (B, K), and the shift, (T, B, E), that changes the probabilities most.

        Accumulates no gradient.
        """
        shift = self.zero_shift(batch)
        logits = self.model(batch.tokens, batch.lengths, shift, self.product_dtype)
        (gradient,) = torch.autograd.grad(-confidence(logits).sum(), shift)
        return logits.detach(), self.adversarial_shift(gradient, batch)

    def measure_radius(self) -> Tensor:
        """Return epsilon sigma, ()."""
        return self.config.epsilon * weighted_std(self.model.embedding.weight, self.frequencies)

    def adversarial_shift(self, gradient: Tensor, batch: Batch) -> Tensor:
        """Return r, (T, B, E), given the gradient of a loss, (T, B, E)."""
        norms = self.radius * batch.lengths.double().sqrt()  # (B,)
        return norms.to(gradient.dtype)[:, None] * normalize(gradient)

    def zero_shift(self, batch: Batch) -> Tensor:
        """Return zeros, (T, B, E), to add to the embeddings, so that autograd can return the embeddings' gradient."""
        return torch.zeros(
            *batch.tokens.shape, self.model.embedding.embedding_dim, device=self.device, requires_grad=True
        )


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Return the weight of each class k, (K,) float32: N / (K n_k), so that all classes have the same total weight.

    `labels`, (N,) int8, has n_k > 0 of each.
    """
    return len(labels) / (classes * torch.bincount(labels, minlength=classes).float())


def weighted_std(embeddings: Tensor, frequencies: Tensor) -> Tensor:
    """Return the standard deviation, (), of the elements of embeddings (V, E), weighted by word frequencies (V,)."""
    embeddings = embeddings.detach()
    mean = frequencies @ embeddings  # (E,)
    variance: Tensor = (frequencies @ (embeddings - mean).square()).mean()
    return variance.double().sqrt()  # MKL computes float32 roots, and rounds them differently on other processors


def normalize(gradient: Tensor) -> Tensor:
    """Scale each review's slice, (T, E), of a gradient (T, B, E) to Euclidean norm 1; a zero slice stays zero.

    A slice so small that the squares of its elements underflow gets a norm below 1.
    """
    norms: Tensor = torch.linalg.vector_norm(gradient, dim=(0, 2), keepdim=True)
    return gradient / norms.clamp(min=torch.finfo(gradient.dtype).tiny ** 0.5)
