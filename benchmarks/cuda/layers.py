"""Seconds of one LSTM layer in several precisions, sizes and arrangements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.cuda.checks import Record, Setting
from benchmarks.cuda.timing import Work, capture, median_seconds, tf32

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "tf32": torch.float32, "float32": torch.float32}
SIZES = [  # I, H, B and T
    *((hidden, hidden, batch, 256) for hidden, batch in product((128, 256, 512, 1024), (64, 128))),
    *((hidden, hidden, 64, 64) for hidden in (128, 256, 512, 1024)),
    # cuDNN's persistent kernels of float16 are for multiples of 128
    *((inputs, hidden, 64, 256) for inputs, hidden in ((100, 128), (100, 512), (128, 512))),
]
SMALL = [(8, 8, 8, 8)]

Read = Callable[[Tensor], Tensor]  # inputs (T, B, I) to states


def precisions(setting: Setting) -> list[str]:
    """Return the precisions to try."""
    return ["float32"] if setting.is_small else list(DTYPES)


@contextmanager
def lstm(device: torch.device, precision: str, size: tuple[int, int, int, int]) -> Iterator[dict[str, Work]]:
    """Yield the passes of an LSTM layer of I inputs and H states over B reviews of T steps, in a precision."""
    inputs, hidden, batch, steps = size
    layer = nn.LSTM(inputs, hidden).to(device, DTYPES[precision])
    with tf32(precision != "float32"):
        yield passes(partial(read_once, layer), layer, random_inputs(device, precision, steps, batch, inputs))


def random_inputs(device: torch.device, precision: str, *shape: int) -> Tensor:
    """Return random numbers of a shape, whose gradient is wanted."""
    return torch.randn(*shape, device=device, dtype=DTYPES[precision], requires_grad=True)


def passes(read: Read, module: nn.Module, inputs: Tensor) -> dict[str, Work]:
    """Return the forward pass of a layer, and its forward and backward pass together."""
    gradient = torch.randn_like(read(inputs))
    leaves = [inputs, *module.parameters()]
    return {
        "forward": lambda: read(inputs),
        "forward and backward": lambda: torch.autograd.grad(read(inputs), leaves, gradient),
    }


def milliseconds(works: dict[str, Work], device: torch.device) -> dict[str, float]:
    """Return the milliseconds of each piece of work."""
    return {name: 1000 * median_seconds(work, device) for name, work in works.items()}


def time_layers(setting: Setting, record: Record) -> None:
    """Record the milliseconds of a layer by its sizes and precision."""
    for size in SMALL if setting.is_small else SIZES:
        found = {}
        for precision in precisions(setting):
            with lstm(setting.device, precision, size) as works:
                found[precision] = milliseconds(works, setting.device)
        record("I {}, H {}, B {}, T {}".format(*size), found)


def time_directions(setting: Setting, record: Record) -> None:
    """Record the milliseconds of two directions, arranged in several ways."""
    device, precision = setting.device, precisions(setting)[0]
    for size in SMALL if setting.is_small else [(hidden, hidden, 64, 256) for hidden in (128, 512, 1024)]:
        inputs, hidden, batch, steps = size
        pair = nn.ModuleList(nn.LSTM(inputs, hidden) for _ in range(2)).to(device, DTYPES[precision])
        joint = nn.LSTM(inputs, hidden, bidirectional=True).to(device, DTYPES[precision])
        ways: dict[str, tuple[Read, nn.Module]] = {
            "one direction": (partial(read_once, pair[0]), pair[0]),
            "one after the other": (partial(read_in_turn, pair), pair),
            "in one call": (partial(read_once, joint), joint),
            "in one call, by lengths": (partial(read_by_lengths, joint), joint),
        }
        if device.type == "cuda":
            ways["on two streams"] = (partial(read_on_streams, pair, torch.cuda.Stream()), pair)
        text = random_inputs(device, precision, steps, batch, inputs)
        for name, (read, module) in ways.items():
            record(f"H {hidden}, {name}", milliseconds(passes(read, module, text), device))


def read_once(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Read inputs (T, B, I) and return states (T, B, D * H)."""
    states: Tensor = layer(inputs)[0]
    return states


def read_in_turn(pair: nn.ModuleList, inputs: Tensor) -> Tensor:
    """Read inputs (T, B, I) by one network after the other, and return states (T, B, 2 * H)."""
    return torch.cat([read_once(layer, inputs) for layer in pair], dim=2)


def read_on_streams(pair: nn.ModuleList, side: torch.cuda.Stream, inputs: Tensor) -> Tensor:
    """Read inputs (T, B, I) by two networks on a stream each, to which autograd keeps, and return (T, B, 2 * H)."""
    current = torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        second = read_once(pair[1], inputs)
    first = read_once(pair[0], inputs)
    current.wait_stream(side)
    second.record_stream(current)
    return torch.cat([first, second], dim=2)


def read_by_lengths(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Read inputs (T, B, I), of which the shortest review has half the steps, and return states (M, 2 * H)."""
    steps, batch, _ = inputs.shape
    states: Tensor = layer(pack_padded_sequence(inputs, torch.linspace(steps, steps // 2, batch).long()))[0].data
    return states


def time_graph(setting: Setting, record: Record) -> None:
    """Record the milliseconds of a layer as usual, and as a CUDA graph, which is launched at once."""
    if setting.device.type != "cuda":
        record("state", "there is no GPU")
        return
    for hidden in (128, 512):
        with lstm(setting.device, "bfloat16", (hidden, hidden, 64, 256)) as works:
            record(f"H {hidden}, as usual", milliseconds(works, setting.device))
            graphs = {name: capture(work) for name, work in works.items()}
            record(f"H {hidden}, graph", milliseconds(graphs, setting.device))
