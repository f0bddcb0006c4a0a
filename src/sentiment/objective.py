"""What training minimises: cross entropy, at each review and at the worst point near it.

    L = 1/B sum_b [ CE(y_b, s_b) + w CE(y_b, s_b + r_b) ]
    r_b = epsilon sigma g_b / |g_b|,   g_b = d CE(y_b, s_b) / d s_b

s_b are the embeddings of review b, (length, E), and r_b is the step of that length by which, to first order, its loss
rises most: adversarial training (Miyato, Dai and Goodfellow 2017). They normalise the embeddings, by the frequencies of
the words, to mean 0 and variance 1, so that no embedding evades r by growing. Here these stay as they are and
sigma is the standard deviation that would be divided by, so that epsilon means the same.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.parallel import DistributedDataParallel

from sentiment.batches import Batch, pad_batch, parts_of
from sentiment.device import multiplies_bfloat16
from sentiment.encoded import EncodedReviews
from sentiment.model import Classifier
from sentiment.processes import rank_and_count

PRECISIONS = ("float32", "bfloat16")


class Objective:
    """The objective on a batch, shared among processes, and in each cut into parts that fit in memory."""

    def __init__(
        self,
        model: Classifier,
        reviews: EncodedReviews,
        tokens_at_once: int,
        precision: str,
        adversarial: float,
        epsilon: float,
        device: torch.device,
    ) -> None:
        self.rank, self.processes = rank_and_count()
        self.shared = DistributedDataParallel(model) if self.processes > 1 else None
        self.model: nn.Module = self.shared or model
        self.embedding = model.embedding
        self.reviews = reviews.to(device)
        self.tokens_at_once = tokens_at_once
        self.autocast = autocast(precision, device)
        self.adversarial = adversarial  # w
        self.epsilon = epsilon
        counts = torch.bincount(self.reviews.tokens, minlength=model.config.vocabulary_size)
        self.frequencies = counts / counts.sum()  # (V,)

    def backward(self, rows: Tensor) -> Tensor:
        """Add the gradient of L for the reviews `rows`, (B,), and return this process's share of the mean CE, ()."""
        own = rows[self.rank :: self.processes]
        # Where a batch has fewer reviews than there are processes, one still takes part, with a review that weighs 0.
        weight = self.processes / len(rows) if len(own) else 0.0
        parts = parts_of(own if len(own) else rows[:1], self.reviews.lengths, self.tokens_at_once)
        share = torch.zeros((), device=self.reviews.tokens.device)
        radius = self.epsilon * spread(self.embedding.weight, self.frequencies) if self.adversarial else None
        for number, part in enumerate(parts, start=1):
            batch = pad_batch(self.reviews, part)
            is_last = number == len(parts)
            if radius is None:
                share += self.step(batch, weight, None, is_last)
                continue
            shift = torch.zeros(*batch.tokens.shape, self.embedding.embedding_dim, device=share.device)  # (T, B, E)
            share += self.step(batch, weight, shift.requires_grad_(), is_last=False)
            assert shift.grad is not None
            worst = radius * direction(shift.grad)
            self.step(batch, weight * self.adversarial, worst, is_last)
        return share / self.processes

    def step(self, batch: Batch, weight: float, shift: Tensor | None, is_last: bool) -> Tensor:
        """Add the gradient of the weighted sum of CE, the embeddings shifted by (T, B, E), and return that sum, ()."""
        # DistributedDataParallel puts the mean over processes in place of the gradients: once, at the last step.
        with self.shared.no_sync() if self.shared and not is_last else nullcontext():
            with self.autocast:
                logits = self.model(batch.tokens, batch.lengths, shift)
            loss = weight * binary_cross_entropy_with_logits(logits, batch.labels, reduction="sum")
            loss.backward()
        return loss.detach()


def spread(embeddings: Tensor, frequencies: Tensor) -> Tensor:
    """Return the standard deviation, (), of the numbers of embeddings (V, E) that are as frequent as (V,) says."""
    embeddings = embeddings.detach()
    mean = frequencies @ embeddings  # (E,)
    return (frequencies @ (embeddings - mean).square()).mean().sqrt()


def direction(gradient: Tensor) -> Tensor:
    """Return (T, B, E) scaled so that each review's part, (T, E), is of Euclidean norm 1, or 0 where it was 0."""
    norms = gradient.square().sum((0, 2), keepdim=True).sqrt()
    return gradient / norms.clamp(min=torch.finfo(gradient.dtype).tiny)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Compute matrix products in bfloat16 where that is asked for and the device has instructions for it."""
    enabled = precision == "bfloat16" and multiplies_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
