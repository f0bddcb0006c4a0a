"""What training minimises: cross entropy, at each review and at the worst point near it, and doubt without labels.

    L = mean_b [ CE(y_b, s_b) + w CE(y_b, s_b + r_b) ] + mean_u [ v KL(p(s_u), p(s_u + r_u)) + h H(p(s_u)) ]

    r_b = epsilon sigma sqrt(t_b) g_b / |g_b|,   g_b = d CE(y_b, s_b) / d s_b
    r_u = epsilon sigma sqrt(t_u) g_u / |g_u|,   g_u = - d |z(s_u)| / d s_u

b runs over labelled reviews and u over unlabelled ones; s are the embeddings of a review of t tokens, (t, E), z is its
logit and p = sigmoid(z). r is the step of that norm by which, to first order, the loss rises most: adversarial and
virtual adversarial training (Miyato, Dai and Goodfellow 2017). Four things differ from the paper:

The paper has one norm for all reviews. Here the norm grows with the square root of the number of tokens, so that
epsilon sigma is the root mean square over tokens of the norm of a token's shift, and means the same for a sentence of
20 tokens and for a review of 2,000.

They normalise the embeddings, by the frequencies of the words, to mean 0 and variance 1, so that no embedding evades r
by growing. Here these stay as they are and sigma is the standard deviation that would be divided by, so that
epsilon means the same.

They find r_u by a step of the power iteration, from a random start, since it is the first eigenvector of the Hessian of
KL. With two classes this is p (1 - p) grad z grad z', of rank one, and the eigenvector grad z itself. Either sign is
as bad to second order; towards z = 0, where p changes faster, it is worse.

They find r under the dropout masks under which they apply it. Here each pass has masks of its own, with which the
validation loss was lower (`benchmarks/NOTES.md`).

H(p) = - p log p - (1 - p) log(1 - p) is the entropy: the boundary is to run where there are few reviews, with a label
or without (Grandvalet and Bengio 2005; beside the other terms, Sachan, Zaheer and Salakhutdinov 2019).
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from torch.nn.parallel import DistributedDataParallel

from sentiment.dataset.batching import Batch, pad_batch, parts_of
from sentiment.dataset.encoded import EncodedReviews
from sentiment.models.classifier import Classifier
from sentiment.runtime.device import product_dtype
from sentiment.runtime.distributed import rank_and_count

Loss = Callable[[Tensor], Tensor]  # of logits (B,), summed: ()


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the objective is, and how it is computed."""

    tokens_at_once: int  # padded; a batch of more is worked on in parts, whose gradients add up
    precision: str  # of matrix products: one of precision.PRECISIONS
    adversarial: float  # w; 0: no such term
    virtual: float  # v; 0: no such term
    entropy: float  # h; 0: no such term
    epsilon: float  # root mean square of the norms of a review's token shifts, in standard deviations sigma


class Objective:
    """The objective on a batch, shared among processes, and in each cut into parts that fit in memory."""

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
        self.products = product_dtype(config.precision, device)
        counts = torch.bincount(self.labelled.tokens, minlength=model.config.vocabulary_size)
        self.frequencies = counts / counts.sum()  # (V,)
        self.radius = self.measure_radius()
        self.is_radius_fixed = not model.embedding.weight.requires_grad or not (config.adversarial or config.virtual)

    def backward(self, rows: Tensor, unlabelled_rows: Tensor | None = None) -> Tensor:
        """Add the gradient of L for labelled reviews, (B,), and unlabelled ones, (B,), which may be left out.

        Returns this process's share of the mean CE(y_b, s_b), ().
        """
        share = torch.zeros((), device=self.device)
        if not self.is_radius_fixed:
            self.radius = self.measure_radius()
        if self.unlabelled is not None and unlabelled_rows is not None:
            for weight, batch, _ in self.parts(self.unlabelled, unlabelled_rows):
                if self.config.virtual:
                    logits, worst = self.away_from_itself(batch)
                    # for fixed p it has the gradient of KL(p, q): the two differ by the entropy of p
                    divergence = cross_entropy(logits.sigmoid())
                    self.step(batch, divergence, weight * self.config.virtual, worst, is_last=False)
                if self.config.entropy:
                    self.step(batch, entropy, weight * self.config.entropy, None, is_last=False)
        for weight, batch, is_last in self.parts(self.labelled, rows):
            loss = cross_entropy(batch.labels)
            if self.config.adversarial == 0:
                share += self.step(batch, loss, weight, None, is_last)
                continue
            shift = self.no_shift(batch)
            share += self.step(batch, loss, weight, shift, is_last=False)
            assert shift.grad is not None
            worst = self.worst_shift(shift.grad, batch)
            self.step(batch, loss, weight * self.config.adversarial, worst, is_last)
        return share / self.processes

    def parts(self, reviews: EncodedReviews, rows: Tensor) -> Iterator[tuple[float, Batch, bool]]:
        """Yield this process's parts of a batch, with the weight of a review, and whether it is the last part."""
        own = rows[self.rank :: self.processes]
        # Where a batch has fewer reviews than there are processes, one still takes part, with a review that weighs 0.
        weight = self.processes / len(rows) if len(own) else 0.0
        parts = parts_of(own if len(own) else rows[:1], reviews.lengths, self.config.tokens_at_once)
        for number, part in enumerate(parts, start=1):
            yield weight, pad_batch(reviews, part), number == len(parts)

    def step(self, batch: Batch, loss: Loss, weight: float, shift: Tensor | None, is_last: bool) -> Tensor:
        """Add the gradient of the weighted loss of a batch, its embeddings shifted; return that loss, ()."""
        # DistributedDataParallel puts the mean over processes in place of the gradients: once, at the last step.
        with self.shared.no_sync() if self.shared and not is_last else nullcontext():
            logits = (self.shared or self.model)(batch.tokens, batch.lengths, shift, self.products)
            weighted = weight * loss(logits)
            weighted.backward()
        return weighted.detach()

    def away_from_itself(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits, (B,), and the shift, (T, B, E), that changes the probabilities most; adds no gradient."""
        shift = self.no_shift(batch)
        logits = self.model(batch.tokens, batch.lengths, shift, self.products)
        (gradient,) = torch.autograd.grad(-logits.abs().sum(), shift)
        return logits.detach(), self.worst_shift(gradient, batch)

    def measure_radius(self) -> Tensor:
        """Return epsilon sigma, ()."""
        return self.config.epsilon * spread(self.model.embedding.weight, self.frequencies)

    def worst_shift(self, gradient: Tensor, batch: Batch) -> Tensor:
        """Return r, (T, B, E), for the gradient, (T, B, E), of a loss."""
        norms = self.radius * batch.lengths.double().sqrt()  # (B,)
        return norms.to(gradient.dtype)[:, None] * direction(gradient)

    def no_shift(self, batch: Batch) -> Tensor:
        """Return zeros, (T, B, E), to be added to the embeddings so that their gradient can be asked for."""
        return torch.zeros(
            *batch.tokens.shape, self.model.embedding.embedding_dim, device=self.device, requires_grad=True
        )


def cross_entropy(targets: Tensor) -> Loss:
    """Return the sum of CE(y, z) as a function of z, (B,), for targets y, (B,)."""
    return lambda logits: binary_cross_entropy_with_logits(logits, targets, reduction="sum")


def entropy(logits: Tensor) -> Tensor:
    """Return the sum, (), of H(p) = - p log p - (1 - p) log(1 - p) for p = sigmoid(z), logits z (B,)."""
    return (softplus(logits) - logits * logits.sigmoid()).sum()


def spread(embeddings: Tensor, frequencies: Tensor) -> Tensor:
    """Return the standard deviation, (), of the numbers of embeddings (V, E) that are as frequent as (V,) says."""
    embeddings = embeddings.detach()
    mean = frequencies @ embeddings  # (E,)
    variance: Tensor = (frequencies @ (embeddings - mean).square()).mean()
    return variance.double().sqrt()  # the root of a float32 is MKL's, which rounds it otherwise on other processors


def direction(gradient: Tensor) -> Tensor:
    """Return (T, B, E) scaled so that each review's part, (T, E), is of Euclidean norm 1, or 0 where it was 0."""
    norms: Tensor = torch.linalg.vector_norm(gradient, dim=(0, 2), keepdim=True)
    return gradient / norms.clamp(min=torch.finfo(gradient.dtype).tiny)
