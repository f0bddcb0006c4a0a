"""Recurrent layers in one direction or two, whose states padding does not affect.

PyTorch's modules hold the weights. They also do the work where PyTorch has a kernel for a whole sequence: cuDNN's for
every cell, oneDNN's for the LSTM. PyTorch has no such kernel for the tanh RNN and the GRU on a CPU, so `scans` runs
these two cells there.

All layers compute in the dtype of their inputs; see `precision`.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sentiment.models.scans import SCANS, run_scan

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
FUNCTIONS: dict[str, Callable[..., Any]] = {"RNN_TANH": torch.rnn_tanh, "LSTM": torch.lstm, "GRU": torch.gru}
ALIGNED = 8  # elements of two bytes: tensor cores read rows of a multiple of 16 bytes

State = tuple[Tensor, ...]  # of a cell: h and c for an LSTM, h for the others, each (1, B, H)


class Layer(nn.Module):
    """One recurrent layer, in one direction or two.

    Two directions are two unidirectional networks, so that dropout stays in explicit modules, whose random numbers are
    reproducible on every device, and so that each network meets padding only after a review's end. If the inputs are
    split, each direction reads its own part of the inputs; otherwise both directions read all of the inputs.
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int, bidirectional: bool, is_split: bool) -> None:
        """Create the cells; `input_size` is the size of one direction's inputs."""
        super().__init__()
        self.is_split = is_split
        self.forward_cell = CELLS[cell](input_size, hidden_size)
        self.backward_cell = CELLS[cell](input_size, hidden_size) if bidirectional else None
        self.scan = SCANS.get(cell)

    def forward(self, inputs: Tensor, reversed_steps: Tensor) -> Tensor:
        """Read inputs (T, B, I), or (T, B, D * I) if split, and return states (T, B, D * H).

        `reversed_steps`, (T, B) int64, is the index of each step of the reversed review.
        """
        cells = self.cells
        sequences = list(inputs.chunk(len(cells), dim=2)) if self.is_split else [inputs] * len(cells)
        if self.backward_cell is not None:
            sequences[1] = reverse_within_length(sequences[1], reversed_steps)
        states: list[Tensor]  # D of (T, B, H)
        if self.scan is None or inputs.is_cuda:
            states = [run_cell(cell, sequence)[0] for cell, sequence in zip(cells, sequences, strict=True)]
        else:
            states = run_scan(self.scan, cells, sequences)
        if self.backward_cell is None:
            return states[0]
        return torch.cat([states[0], reverse_within_length(states[1], reversed_steps)], dim=2)

    @property
    def cells(self) -> list[nn.RNNBase]:
        """Return the D cells, one for each direction."""
        return [self.forward_cell] if self.backward_cell is None else [self.forward_cell, self.backward_cell]


def run_cell(
    cell: nn.RNNBase, inputs: Tensor, state: State | None = None, drop: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, State]:
    """Read inputs (T, B, I) with PyTorch's kernel for whole sequences; return states (T, B, H) and the final state.

    Matrix products are computed in the dtype of the inputs. `drop` is applied to the recurrent weights (DropConnect,
    Merity et al. 2018).
    """
    is_lstm = cell.mode == "LSTM"
    if inputs.dtype == next(cell.parameters()).dtype and drop is None:
        states, after = cell(inputs, state if is_lstm or state is None else state[0])
        return states, after if is_lstm else (after,)
    weight_input, weight_recurrent, *biases = cast(list[Tensor], list(cell.parameters()))
    if inputs.is_cuda and inputs.element_size() == 2:
        inputs, weight_input = pad_to_multiple(inputs), pad_to_multiple(weight_input)
    if drop is not None:
        weight_recurrent = drop(weight_recurrent)
    weights = flatten_weights([weight_input, weight_recurrent, *biases], inputs.dtype)
    if state is None:
        state = (inputs.new_zeros(1, inputs.shape[1], cell.hidden_size),) * (2 if is_lstm else 1)
    states, *after = FUNCTIONS[cell.mode](
        inputs, state if is_lstm else state[0], weights, True, 1, 0.0, cell.training, False, False
    )  # after the weights: has_biases, num_layers, dropout, train, bidirectional, batch_first
    return states, tuple(after)


def pad_to_multiple(x: Tensor) -> Tensor:
    """Pad the last dimension of x, (..., I), with zeros to a multiple of ALIGNED."""
    return pad(x, (0, -x.shape[-1] % ALIGNED))


def flatten_weights(weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Cast weights to a dtype as views of one buffer: cuDNN copies separate tensors into a buffer at every call."""
    flat = torch.cat([weight.flatten() for weight in weights]).to(dtype)
    parts = flat.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def reverse_within_length(states: Tensor, reversed_steps: Tensor) -> Tensor:
    """Reverse each review of states (T, B, I) within its own length.

    Step t of review b becomes states[reversed_steps[t, b], b].
    """
    reversed_states: Tensor = ReverseWithinLength.apply(states, reversed_steps)  # type: ignore[no-untyped-call]
    return reversed_states


class ReverseWithinLength(torch.autograd.Function):
    """Autograd function of `reverse_within_length`.

    Reversing is its own inverse, so the gradient is reversed in the same way: a gather, where autograd's rule for
    indexing would accumulate into a tensor of zeros.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, reversed_steps: Tensor) -> Tensor:
        """Reverse states, (T, B, I)."""
        ctx.save_for_backward(reversed_steps)
        return states[reversed_steps, torch.arange(reversed_steps.shape[1], device=reversed_steps.device)]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Reverse the gradient, (T, B, I)."""
        (reversed_steps,) = ctx.saved_tensors
        return gradient[reversed_steps, torch.arange(reversed_steps.shape[1], device=reversed_steps.device)], None
