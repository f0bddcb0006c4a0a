"""What the classifier computes: lengths honoured, cells as PyTorch's, every parameter of use."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from sentiment.dataset.batching import pad_batch
from sentiment.models.classifier import Classifier
from sentiment.models.dropout import Dropout
from sentiment.models.layers import CELLS, Layer
from sentiment.models.pooling import POOLINGS
from tests.conftest import random_reviews, small_model

LENGTHS = [4, 9, 1, 6]
EVERY_MODEL = [
    {"cell": cell, "layers": layers, "bidirectional": bidirectional, "pooling": (pooling,)}
    for cell, layers, bidirectional, pooling in itertools.product(CELLS, (1, 2), (False, True), POOLINGS)
]


def batch() -> tuple[Tensor, Tensor]:
    padded = pad_batch(random_reviews(LENGTHS), torch.arange(len(LENGTHS)))
    return padded.tokens, padded.lengths


@pytest.mark.parametrize("settings", EVERY_MODEL, ids=str)
def test_padding_does_not_change_a_score(
    settings: dict[str, object],
) -> None:
    model = small_model(**settings).double().eval()
    tokens, lengths = batch()
    together = model(tokens, lengths)
    alone = torch.cat([model(tokens[:n, [b]], lengths[[b]]) for b, n in enumerate(LENGTHS)])
    torch.testing.assert_close(together, alone)
    behind = torch.arange(len(tokens))[:, None] >= lengths
    torch.testing.assert_close(model(tokens.masked_fill(behind, 7), lengths), together, rtol=0, atol=0)


@pytest.mark.parametrize("settings", EVERY_MODEL, ids=str)
def test_padding_gets_no_gradient(settings: dict[str, object]) -> None:
    model = small_model(**settings).double()
    tokens, lengths = batch()
    behind = torch.arange(len(tokens))[:, None] >= lengths
    model(tokens.masked_fill(behind, 1), lengths).sum().backward()
    assert model.embedding.weight.grad is not None
    assert not model.embedding.weight.grad[1].any()


@pytest.mark.parametrize("settings", EVERY_MODEL, ids=str)
def test_every_parameter_gets_a_gradient(settings: dict[str, object]) -> None:
    model = small_model(**settings).double()
    model(*batch()).square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def rnn_step(x: Tensor, state: tuple[Tensor, ...], w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    return (torch.tanh(w @ x + b + u @ state[0] + c),)


def lstm_step(x: Tensor, state: tuple[Tensor, ...], w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    h, memory = state
    i, f, g, o = (w @ x + b + u @ h + c).chunk(4)
    memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(memory), memory


def gru_step(x: Tensor, state: tuple[Tensor, ...], w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    h = state[0]
    (xr, xz, xn), (hr, hz, hn) = (w @ x + b).chunk(3), (u @ h + c).chunk(3)
    r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return ((1 - z) * torch.tanh(xn + r * hn) + z * h,)


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


@pytest.mark.parametrize("cell", CELLS)
def test_each_cell_agrees_with_its_equations(cell: str) -> None:
    model = small_model(cell=cell, bidirectional=False, pooling=("last",)).double().eval()
    tokens, lengths = batch()
    layer = model.layers[0]
    assert isinstance(layer, Layer)
    weights = list(layer.forward_cell.parameters())
    for review, length in enumerate(LENGTHS):
        state = tuple(torch.zeros(5, dtype=torch.float64) for _ in range(2 if cell == "lstm" else 1))
        for token in tokens[:length, review]:
            state = STEPS[cell](model.embedding.weight[token], state, *weights)
        expected = model.output(state[0])[0]
        torch.testing.assert_close(model(tokens, lengths)[review], expected)


def test_poolings_by_hand() -> None:
    states = torch.tensor([[[1.0, -4.0]], [[3.0, -2.0]], [[9.0, 9.0]]])  # (T=3, B=1, D * H=2), the last one padding
    mask = torch.tensor([[True], [True], [False]])
    expected = {"mean": [2.0, -3.0], "max": [3.0, -2.0]}
    for name, value in expected.items():
        assert POOLINGS[name](2, 1)(states, mask).tolist() == [value]
    assert POOLINGS["last"](2, 1)(states, mask).tolist() == [[3.0, -2.0]]
    assert POOLINGS["last"](1, 2)(states, mask).tolist() == [[3.0, -4.0]]  # backward half at the first token


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_max_pooling_has_the_gradient_of_amax_to_the_bit_with_ties(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    states = torch.randn(700, 2, 5).round(decimals=1).clamp(max=2).to(dtype)
    states[:, 1, 0] = 1  # 600 equal ones
    states.requires_grad_()
    mask = torch.arange(700)[:, None] < torch.tensor([700, 600])  # (T, B)
    pooled = [POOLINGS["max"](5, 1)(states, mask), states.masked_fill(~mask[:, :, None], -torch.inf).amax(dim=0)]
    assert torch.equal(*pooled)
    gradient = torch.randn(2, 5).to(dtype)
    ours, pytorchs = (torch.autograd.grad(greatest, states, gradient)[0] for greatest in pooled)
    assert ours[:, 1, 0].count_nonzero() == 600
    assert torch.equal(ours, pytorchs)


def test_attention_gives_no_weight_to_padding() -> None:
    torch.manual_seed(0)
    attention = POOLINGS["attention"](2, 1)
    states = torch.randn(3, 1, 2)
    mask = torch.tensor([[True], [True], [False]])
    scores = [(attention.query(torch.tanh(attention.key(states[t, 0])))).exp() for t in range(2)]  # type: ignore[operator]
    expected = (scores[0] * states[0, 0] + scores[1] * states[1, 0]) / (scores[0] + scores[1])
    torch.testing.assert_close(attention(states, mask)[0], expected)


def test_each_dropout_acts_only_in_training() -> None:
    for place in ("dropout_embedding", "dropout_layers", "dropout_output"):
        model = small_model(layers=2, **{place: 0.5})
        assert not torch.equal(model(*batch()), model(*batch())), place
        model.eval()
        assert torch.equal(model(*batch()), model(*batch())), place


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    dropout, ones = Dropout(share), torch.ones(101, 1013, requires_grad=True)
    dropped = dropout(ones)
    noise = 5 * (share * (1 - share) / ones.numel()) ** 0.5  # five standard deviations
    for place in range(4):  # each draw serves four numbers: every one of them alike
        assert (dropped.flatten()[place::4] == 0).double().mean().item() == pytest.approx(share, abs=2 * noise)
    assert dropped.double().mean().item() == pytest.approx(1, abs=noise / (1 - share))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=1e-4)
    dropped.sum().backward()
    assert ones.grad is not None
    assert torch.equal(ones.grad, dropped)


def test_the_greatest_share_below_1_keeps_some_elements() -> None:
    dropped = Dropout(math.nextafter(1.0, 0.0)).train()(torch.ones(2**20))
    assert 0 < dropped.count_nonzero() < 2**6
    assert dropped.isfinite().all()


def test_dropout_of_neighbouring_elements_is_independent() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(40_000)) > 0).double()
    for distance in (1, 2, 3, 4):
        both = (kept[distance:] * kept[:-distance]).mean().item()
        assert both == pytest.approx(0.25, abs=0.02), distance


def test_the_seed_determines_the_dropout_masks() -> None:
    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        result: Tensor = Dropout(0.5)(torch.ones(1001))
        return result

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_pytorchs_own_modules_apply_no_dropout() -> None:
    recurrent = [module for module in small_model(layers=3).modules() if isinstance(module, nn.RNNBase)]
    assert len(recurrent) == 6
    assert all(module.dropout == 0 and module.num_layers == 1 for module in recurrent)


def test_the_seed_determines_the_weights() -> None:
    weights = [torch.cat([weight.flatten() for weight in small_model().parameters()]) for _ in range(2)]
    assert torch.equal(*weights)
    assert isinstance(small_model(), Classifier)
