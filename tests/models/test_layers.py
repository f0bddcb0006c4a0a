"""The recurrent layers against PyTorch's packed sequences, by every way that computes them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sentiment.dataset.batching import pad_batch
from sentiment.models.classifier import Classifier
from sentiment.models.layers import CELLS, Layer, flatten_weights, pad_to_multiple, reverse_within_length, run_cell
from sentiment.models.pooling import POOLINGS
from sentiment.models.scans import SCANS, GruScan, TanhScan, tanh_
from sentiment.runtime.device import lstm_supports_bfloat16
from tests.conftest import random_reviews, small_model

LENGTHS = [4, 9, 1, 6]
WAYS = [(cell, way) for cell in CELLS for way in ("scan", "modules") if way == "modules" or cell in SCANS]


def without_scan(model: Classifier) -> None:
    """Let PyTorch's modules do the work, as on a GPU."""
    for layer in model.layers:
        assert isinstance(layer, Layer)
        layer.scan = None


def packed_logits(model: Classifier, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, nn.RNNBase]:
    """Return what the classifier should score, by one packed network of all layers, and that network."""
    config = model.config
    network = CELLS[config.cell](
        config.embedding_size, config.hidden_size, num_layers=config.layers, bidirectional=config.bidirectional
    ).double()
    network.load_state_dict(dict(zip(network.state_dict(), recurrent_weights(model), strict=True)))
    packed = pack_padded_sequence(model.embedding(tokens), lengths, enforce_sorted=False)
    states, _ = pad_packed_sequence(network(packed)[0])
    mask = torch.arange(len(tokens))[:, None] < lengths
    pooled = torch.cat([pooling(states, mask) for pooling in model.poolings], dim=1)
    return model.output(pooled).squeeze(1), network


def recurrent_weights(model: Classifier) -> list[nn.Parameter]:
    """Return the recurrent weights in the order in which PyTorch's modules of several layers have them."""
    return [weight for layer in model.layers for weight in layer.parameters()]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "way"), WAYS)
def test_logits_and_gradients_equal_those_of_packed_sequences(
    cell: str, way: str, bidirectional: bool, layers: int, pooling: str
) -> None:
    model = small_model(cell=cell, layers=layers, bidirectional=bidirectional, pooling=(pooling,)).double()
    if way == "modules":
        without_scan(model)
    batch = pad_batch(random_reviews(LENGTHS), torch.arange(len(LENGTHS)))
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)

    expected, network = packed_logits(model, batch.tokens, batch.lengths)
    (expected * weights).sum().backward()
    others = {name: weight.grad for name, weight in model.named_parameters() if not name.startswith("layers")}
    model.zero_grad()
    logits = model(batch.tokens, batch.lengths)
    (logits * weights).sum().backward()

    torch.testing.assert_close(logits, expected)
    for name, gradient in others.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, msg=name)
    for weight, twin in zip(recurrent_weights(model), network.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, twin.grad)


@pytest.mark.parametrize(("scan", "gates"), [(TanhScan, 1), (GruScan, 3)])
def test_the_scans_gradient_equals_the_numerical_gradient(scan: type[torch.autograd.Function], gates: int) -> None:
    torch.manual_seed(0)
    shapes = [(2, 4, 3, gates * 2), (2, 2, gates * 2), (2, 1, gates * 2)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(scan.apply, inputs)


@pytest.mark.parametrize("cell", CELLS)
def test_unmixed_directions_are_two_separate_networks(cell: str) -> None:
    model = small_model(cell=cell, layers=2, mix_directions=False, pooling=("last",)).double()
    batch = pad_batch(random_reviews(LENGTHS), torch.arange(len(LENGTHS)))
    for review, length in enumerate(LENGTHS):
        tokens = batch.tokens[:length, [review]]
        pooled = []
        for direction, sequence in enumerate((tokens, tokens.flip(0))):
            states = model.embedding(sequence)
            for layer in model.layers:
                assert isinstance(layer, Layer)
                states = layer.cells[direction](states)[0]
            pooled.append(states[-1])
        expected = model.output(torch.cat(pooled, dim=1)).squeeze(1)
        torch.testing.assert_close(model(batch.tokens, batch.lengths)[[review]], expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("is_first", [True, False])
def test_flattened_weights_give_the_states_of_the_module(cell: str, is_first: bool) -> None:
    torch.manual_seed(0)
    network, inputs = CELLS[cell](5, 8), torch.randn(7, 3, 5)
    state = None if is_first else tuple(torch.randn(1, 3, 8) for _ in range(2 if cell == "lstm" else 1))
    weights = list(network.parameters())
    results = []
    for drop in (None, lambda weight: weight):  # with the second they are cast and laid side by side
        states, after = run_cell(network, inputs, state, drop)
        loss = states.square().sum() + sum(part.sum() for part in after)
        results.append((states, after, torch.autograd.grad(loss, weights)))
    torch.testing.assert_close(*results)


def test_padded_inputs_give_the_same_states_and_weights_share_one_buffer() -> None:
    torch.manual_seed(0)
    network, inputs = nn.LSTM(5, 8), torch.randn(7, 3, 5)
    expected = network(inputs)[0]
    first, *others = network.parameters()
    weights = flatten_weights([pad_to_multiple(first), *others], torch.float32)
    assert pad_to_multiple(inputs).shape == (7, 3, 8)
    assert pad_to_multiple(pad_to_multiple(inputs)).shape == (7, 3, 8)
    zeros = torch.zeros(1, 3, 8)
    found = torch.lstm(pad_to_multiple(inputs), (zeros, zeros), weights, True, 1, 0.0, True, False, False)[0]
    torch.testing.assert_close(found, expected)
    places = [weight.data_ptr() for weight in weights]
    sizes = [weight.nbytes for weight in weights]
    assert places == [places[0] + sum(sizes[:number]) for number in range(len(weights))]


@pytest.mark.parametrize("cell", CELLS)
def test_states_and_gradients_in_bfloat16_are_close_to_float32(cell: str) -> None:
    if cell == "lstm" and not lstm_supports_bfloat16():
        pytest.skip("oneDNN is kept to instructions for which it has no LSTM in bfloat16")
    torch.manual_seed(0)
    layer = Layer(cell, 16, 24, bidirectional=True, is_split=False)
    inputs = torch.randn(20, 8, 16)
    reversed_steps = torch.arange(19, -1, -1)[:, None].expand(20, 8)

    def states_and_gradients(dtype: torch.dtype) -> list[Tensor]:
        layer.zero_grad()
        states = layer(inputs.to(dtype), reversed_steps)
        assert states.dtype == dtype
        states.float().square().sum().backward()
        return [states.float()] + [weight.grad for weight in layer.parameters() if weight.grad is not None]

    exact, rounded = states_and_gradients(torch.float32), states_and_gradients(torch.bfloat16)
    assert len(exact) == len(rounded) == 9
    for value, near in zip(exact, rounded, strict=True):
        assert near.dtype == torch.float32
        assert (near - value).norm() < 0.02 * value.norm()


def test_a_sequence_of_one_step() -> None:
    for cell in CELLS:
        layer = Layer(cell, 3, 4, bidirectional=True, is_split=False)
        states = layer(torch.randn(1, 2, 3), torch.zeros(1, 2, dtype=torch.int64))
        states.sum().backward()
        assert states.shape == (1, 2, 8)
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in layer.parameters())


def test_tanh_computed_from_the_sigmoid() -> None:
    x = torch.linspace(-30, 30, 10_001, dtype=torch.float64)
    torch.testing.assert_close(tanh_(x.clone()), x.tanh(), rtol=0, atol=1e-15)
    torch.testing.assert_close(tanh_(x.float()), x.float().tanh(), rtol=0, atol=3e-7)


def test_reversing_within_the_length_has_the_right_gradient() -> None:
    reversed_steps = torch.tensor([[1, 2], [0, 1], [2, 0]])
    states = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda states: reverse_within_length(states, reversed_steps), states)
