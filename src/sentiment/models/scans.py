"""The tanh RNN and the GRU on a CPU, computed step by step, with hand-written backward passes.

PyTorch has no CPU kernel that reads a whole sequence with these cells: autograd would record each step and accumulate
the gradient of the weights step by step. A scan computes one matrix product per step in each pass, for both directions
at once, and leaves all other products to a few large ones.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sentiment.models.precision import wide


def run_scan(scan: type[torch.autograd.Function], cells: list[nn.RNNBase], sequences: list[Tensor]) -> list[Tensor]:
    """Read D sequences (T, B, I), each with its own cell, and return D tensors of states (T, B, H).

    The contribution of the inputs is one product over all steps, (T * B, I) by (I, G * H) for a cell with G gates.
    Products are computed in the dtype of the inputs, everything between them in float32.
    """
    steps, reviews, _ = sequences[0].shape
    dtype = sequences[0].dtype

    def weights(name: str) -> Tensor:  # (D, I or H, G * H); (D, G * H) for a bias
        return torch.stack([getattr(cell, name).t() for cell in cells]).to(dtype)

    inputs = torch.stack(sequences).flatten(1, 2)  # (D, T * B, I)
    biases = [weights(name).unsqueeze(1) for name in ("bias_ih_l0", "bias_hh_l0")]  # (D, 1, G * H)
    projected = torch.baddbmm(biases[0], inputs, weights("weight_ih_l0")).unflatten(1, (steps, reviews))
    states: Tensor = scan.apply(projected, weights("weight_hh_l0"), biases[1])
    return list(states)


class TanhScan(torch.autograd.Function):
    """The tanh RNN: h_t = tanh(p_t + h_{t-1} U + c), where p_t = x_t W + b is computed beforehand for all t."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
        """Return states (D, T, B, H) for projected (D, T, B, H), recurrent (D, H, H) and bias (D, 1, H)."""
        projected = projected + bias[:, None]
        states = torch.empty_like(projected)
        state = projected.new_zeros(projected[:, 0].shape)
        scratch = torch.empty_like(state, dtype=wide(projected))
        for p, out in steps_of(projected, states):
            tanh_(scratch.copy_(torch.baddbmm(p, state, recurrent)))
            state = out.copy_(scratch)
        ctx.save_for_backward(states, recurrent)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of projected, recurrent and bias, given that of the states, (D, T, B, H)."""
        states, recurrent = ctx.saved_tensors
        transposed = recurrent.transpose(1, 2).contiguous()
        d_projected = torch.empty_like(states)
        later: Tensor | None = None  # d loss / d p_{t+1}
        for g, state, out in reversed(steps_of(gradient, states, d_projected)):
            d_state = g if later is None else torch.baddbmm(g, later, transposed)
            later = torch.ops.aten.tanh_backward.grad_input(d_state, state, grad_input=out)
        return d_projected, d_recurrent(states, d_projected), d_bias(d_projected)


class GruScan(torch.autograd.Function):
    """The GRU as in PyTorch and cuDNN, with the reset gate applied after the matrix product.

    a, b, m = h_{t-1} U + c, where p_t = x_t W + d is computed beforehand for all t
    r = sigmoid(p_r + a);  z = sigmoid(p_z + b);  n = tanh(p_n + r m);  h_t = (1 - z) n + z h_{t-1}
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
        """Return states (D, T, B, H) for projected (D, T, B, 3 * H), recurrent (D, H, 3 * H), bias (D, 1, 3 * H)."""
        directions, steps, reviews, width = projected.shape
        size = width // 3
        states = projected.new_empty(directions, steps, reviews, size)
        gates = torch.empty_like(projected, dtype=wide(projected))  # r, z, n
        inner = torch.empty_like(states, dtype=wide(projected))  # m
        exact = inner.new_zeros(directions, reviews, size)  # the state before it is rounded to the products' dtype
        state = exact.to(states.dtype)
        for p, out, gate, m in steps_of(projected, states, gates, inner):
            hidden = torch.baddbmm(bias, state, recurrent)
            rz = gate[..., : 2 * size]
            r, z, n = gate.copy_(p).split(size, dim=2)
            rz.add_(hidden[..., : 2 * size]).sigmoid_()
            tanh_(n.addcmul_(r, m.copy_(hidden[..., 2 * size :])))
            torch.lerp(n, exact, z, out=exact)
            state = out.copy_(exact)
        ctx.save_for_backward(states, recurrent, gates, inner)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of projected, recurrent and bias, given that of the states, (D, T, B, H)."""
        states, recurrent, gates, inner = ctx.saved_tensors
        size = states.shape[3]
        transposed = recurrent.transpose(1, 2).contiguous()
        d_projected = states.new_empty(*states.shape[:3], 3 * size)
        d_hidden = torch.empty_like(d_projected)
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)  # h_{t-1}
        d_state = torch.zeros_like(inner[:, 0])  # d loss / d h_t
        d_gate, scratch = torch.empty_like(gates[:, 0]), torch.empty_like(d_state)
        d_rz = d_gate[..., : 2 * size]
        dr, dz, dn = d_gate.split(size, dim=2)
        later: Tensor | None = None  # d loss / d (h_t U)
        for g, h, dp, dh, gate, m in reversed(steps_of(gradient, before, d_projected, d_hidden, gates, inner)):
            d_state += g if later is None else torch.baddbmm(g, later, transposed)
            r, z, n = gate.split(size, dim=2)
            torch.mul(d_state, torch.sub(h, n, out=scratch), out=dz)
            torch.addcmul(d_state, d_state, z, value=-1, out=scratch)  # d loss / d n
            torch.ops.aten.tanh_backward.grad_input(scratch, n, grad_input=dn)
            torch.mul(dn, m, out=dr)
            torch.ops.aten.sigmoid_backward.grad_input(d_rz, gate[..., : 2 * size], grad_input=d_rz)
            dp.copy_(d_gate)
            dn *= r
            later = dh.copy_(d_gate)
            d_state *= z
        return d_projected, d_recurrent(states, d_hidden), d_bias(d_hidden)


def steps_of(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Return, for each of the T steps, the slice (D, B, ..) of each tensor (D, T, B, ..)."""
    return list(zip(*(tensor.unbind(1) for tensor in tensors), strict=True))


def tanh_(x: Tensor) -> Tensor:
    """Compute tanh(x) = 2 sigmoid(2 x) - 1 in place: on a CPU, PyTorch's sigmoid takes a seventh of its tanh's time."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def d_recurrent(states: Tensor, d_hidden: Tensor) -> Tensor:
    """Return d loss / d U, the sum over steps of h_{t-1}' d_t, for states (D, T, B, H) and d (D, T, B, G * H)."""
    return torch.bmm(states[:, :-1].flatten(1, 2).transpose(1, 2), d_hidden[:, 1:].flatten(1, 2))


def d_bias(d_hidden: Tensor) -> Tensor:
    """Return the gradient, (D, 1, G * H), of a bias that is added at each step."""
    return d_hidden.sum((1, 2), dtype=wide(d_hidden)).to(d_hidden.dtype)[:, None]


SCANS: dict[str, type[torch.autograd.Function]] = {"rnn": TanhScan, "gru": GruScan}
