"""Recurrent layers that read padded reviews exactly, in one direction or two.

PyTorch's modules own the weights and, where they have a kernel for a whole sequence (cuDNN for every cell, oneDNN for
the LSTM), do the work. For the tanh RNN and the GRU on a CPU they have none, and `scans` takes the steps instead.

All compute in the dtype of their inputs, as `precision` says.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sentiment.models.scans import SCANS, read_by_scan

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
FUNCTIONS: dict[str, Callable[..., Any]] = {"RNN_TANH": torch.rnn_tanh, "LSTM": torch.lstm, "GRU": torch.gru}
ALIGNED = 8  # numbers of two bytes: tensor cores read rows of a multiple of 16 bytes

State = tuple[Tensor, ...]  # that a cell carries on: of an LSTM h and c, of others h, each (1, B, H)


class Layer(nn.Module):
    """One recurrent layer, in one direction or two.

    Two directions are two networks of one direction: dropout stays in explicit modules, whose random numbers are
    reproducible on every device, and each network meets padding only behind a review's end. Where the inputs are
    split, each direction reads its own part of them, else both read all.
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int, bidirectional: bool, is_split: bool) -> None:
        """Make the cells; `input_size` is that of one direction's inputs."""
        super().__init__()
        self.is_split = is_split
        self.forward_cell = CELLS[cell](input_size, hidden_size)
        self.backward_cell = CELLS[cell](input_size, hidden_size) if bidirectional else None
        self.scan = SCANS.get(cell)

    def forward(self, inputs: Tensor, mirrored: Tensor) -> Tensor:
        """Read inputs (T, B, I), or (T, B, D * I) if split; return states (T, B, D * H). `mirrored` is (T, B) int64."""
        cells = self.cells
        sequences = list(inputs.chunk(len(cells), dim=2)) if self.is_split else [inputs] * len(cells)
        if self.backward_cell is not None:
            sequences[1] = mirror(sequences[1], mirrored)
        states: list[Tensor]  # D of (T, B, H)
        if self.scan is None or inputs.is_cuda:
            states = [read(cell, sequence)[0] for cell, sequence in zip(cells, sequences, strict=True)]
        else:
            states = read_by_scan(self.scan, cells, sequences)
        if self.backward_cell is None:
            return states[0]
        return torch.cat([states[0], mirror(states[1], mirrored)], dim=2)

    @property
    def cells(self) -> list[nn.RNNBase]:
        """Return the cell of each direction, D of them."""
        return [self.forward_cell] if self.backward_cell is None else [self.forward_cell, self.backward_cell]


def read(
    cell: nn.RNNBase, inputs: Tensor, state: State | None = None, drop: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, State]:
    """Read inputs (T, B, I) by PyTorch's kernel for whole sequences; return states (T, B, H) and the state to carry on.

    The products are in the dtype of the inputs. `drop` is applied to the recurrent weights (DropConnect, Merity et al.
    2018).
    """
    is_lstm = cell.mode == "LSTM"
    if inputs.dtype == next(cell.parameters()).dtype and drop is None:
        states, after = cell(inputs, state if is_lstm or state is None else state[0])
        return states, after if is_lstm else (after,)
    weight_input, weight_recurrent, *biases = cast(list[Tensor], list(cell.parameters()))
    if inputs.is_cuda and inputs.element_size() == 2:
        inputs, weight_input = align(inputs), align(weight_input)
    if drop is not None:
        weight_recurrent = drop(weight_recurrent)
    weights = side_by_side([weight_input, weight_recurrent, *biases], inputs.dtype)
    if state is None:
        state = (inputs.new_zeros(1, inputs.shape[1], cell.hidden_size),) * (2 if is_lstm else 1)
    states, *after = FUNCTIONS[cell.mode](
        inputs, state if is_lstm else state[0], weights, True, 1, 0.0, cell.training, False, False
    )  # with biases, one layer, no dropout, training or not, one direction, time first
    return states, tuple(after)


def align(x: Tensor) -> Tensor:
    """Return x, (..., I), with zeros behind it to the next multiple of ALIGNED."""
    return pad(x, (0, -x.shape[-1] % ALIGNED))


def side_by_side(weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return weights in a dtype, as views of one piece of memory: cuDNN copies any others there at every call."""
    flat = torch.cat([weight.flatten() for weight in weights]).to(dtype)
    parts = flat.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def mirror(states: Tensor, mirrored: Tensor) -> Tensor:
    """Return (T, B, I) whose row t of review b is states[mirrored[t, b], b]: each review reversed in its own length."""
    reversed_states: Tensor = Mirror.apply(states, mirrored)  # type: ignore[no-untyped-call]
    return reversed_states


class Mirror(torch.autograd.Function):
    """The operation behind `mirror`.

    To mirror twice is to do nothing, so the gradient is mirrored the same way: a gather, where the general rule for
    indexing would add up into a tensor of zeros.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, mirrored: Tensor) -> Tensor:
        """Mirror states, (T, B, I)."""
        ctx.save_for_backward(mirrored)
        return states[mirrored, torch.arange(mirrored.shape[1], device=mirrored.device)]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Mirror the gradient, (T, B, I)."""
        (mirrored,) = ctx.saved_tensors
        return gradient[mirrored, torch.arange(mirrored.shape[1], device=mirrored.device)], None
