"""Mixed precision: matrix products in a narrow dtype, sums and stored tensors in float32.

A module computes in the dtype of its input. Weights are stored in float32 and cast to the input's dtype where they are
used, so that a single cast, that of the embeddings, sets the dtype of the network above. Tensors are widened before
they are summed over many terms (a mean over time, a softmax, a loss). Autograd casts each gradient back, so the
gradients of the weights are float32.

PyTorch's autocast is not used, for two reasons. On CUDA, autocast runs every cuDNN recurrent network in float16,
whatever dtype was requested. Autocast also widens some operations on CUDA but not on a CPU, so tests on a CPU would see
different dtypes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

PRECISIONS = ("float32", "bfloat16")


def wide(tensor: Tensor) -> torch.dtype:
    """Return the dtype for sums: float32, or the tensor's own dtype if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


class Linear(nn.Linear):
    """A linear layer that computes in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return y = W x + b, (..., O), for x, (..., I)."""
        return linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
