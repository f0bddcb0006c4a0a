"""What is computed in which dtype: products in a narrow one, sums and everything that is kept in float32.

A module computes in the dtype of its input. Weights are held in float32 and cast to that dtype where they meet it, so
that the one cast of the embeddings decides for the network above them. What is summed over many terms (a mean over
time, a softmax, a loss) is widened first. Autograd casts each gradient back: those of weights are in float32.

PyTorch's autocast is not used: on CUDA it casts every recurrent network of cuDNN to float16, whatever dtype it was
asked for, and it widens on CUDA what it does not widen on a CPU, so that tests on a CPU would show other dtypes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

PRECISIONS = ("float32", "bfloat16")


def wide(tensor: Tensor) -> torch.dtype:
    """Return the dtype for sums: float32, or the tensor's own if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


class Linear(nn.Linear):
    """A linear layer that computes in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return y = W x + b, (..., O), for x, (..., I)."""
        return linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
