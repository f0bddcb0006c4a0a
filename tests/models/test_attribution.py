import math

import pytest
import torch

from sentiment.dataset.batching import Batch, pad_batch
from sentiment.dataset.encoded import EncodedReviews
from sentiment.models.attribution import SMALLEST, gradient_by_distance, token_weights
from sentiment.models.classifier import Classifier
from sentiment.models.layers import CELLS, Layer
from tests.conftest import random_reviews, small_model


def first_layer(model: Classifier) -> Layer:
    layer = model.layers[0]
    assert isinstance(layer, Layer)
    return layer


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "attention", "max"])
def test_the_gradient_of_a_tanh_network_agrees_with_the_chain_rule(pooling: str, bidirectional: bool) -> None:
    model = small_model(cell="rnn", bidirectional=bidirectional, pooling=(pooling,)).double()
    reviews = random_reviews([7])
    batch = pad_batch(reviews, torch.tensor([0]))
    layer, size = first_layer(model), model.config.hidden_size
    cell = layer.forward_cell
    embedded = model.embedding(batch.tokens).detach()
    hidden = [h[0] for h in cell(embedded)[0].detach()]  # 7 of (H,)
    backward = layer(embedded, 6 - torch.arange(7)[:, None])[:, 0, size:].detach()  # (T, H) or (T, 0)

    # d loss / d h_t from where it is pooled, and U' diag(1 - h_{t+1}^2) d loss / d h_{t+1} through the next step.
    states = torch.stack(hidden).requires_grad_()
    pooled = model.poolings[0](torch.cat([states, backward], dim=1)[:, None], torch.ones(7, 1, dtype=torch.bool))
    loss = torch.nn.functional.softplus(model.output(pooled))  # of a review whose label is 0
    direct = torch.autograd.grad(loss.sum(), states)[0]
    expected, later = [], torch.zeros(size, dtype=torch.float64)
    for t in reversed(range(7)):
        if t < 6:
            later = cell.weight_hh_l0.T @ ((1 - hidden[t + 1] ** 2) * later)
        later = later + direct[t]
        expected.append(later.norm().item())
    assert gradient_by_distance(model, reviews, 1).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_changes_no_gradient_and_the_model_stays_unchanged(cell: str) -> None:
    model = small_model(cell=cell, layers=2)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    both = random_reviews([5, 8])
    short = EncodedReviews(both.tokens[:5], torch.tensor([0, 5]), both.labels[:1])
    long = EncodedReviews(both.tokens[5:], torch.tensor([0, 8]), both.labels[1:])
    alone = [gradient_by_distance(model, review, 1)[:5] for review in (short, long)]
    assert gradient_by_distance(model, both, 2).tolist() == pytest.approx(torch.stack(alone).mean(dim=0).tolist())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_a_long_review_is_not_read_together_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model, reviews = small_model(), random_reviews([4, 5, 6, 7, 40])
    together = gradient_by_distance(model, reviews, 3)
    seen: list[int] = []

    def counted(reviews: EncodedReviews, rows: torch.Tensor) -> Batch:
        batch = pad_batch(reviews, rows)
        seen.append(batch.tokens.numel())
        return batch

    monkeypatch.setattr("sentiment.models.attribution.pad_batch", counted)
    monkeypatch.setattr("sentiment.models.attribution.STATES_AT_ONCE", 40)
    torch.testing.assert_close(gradient_by_distance(model, reviews, 3), together)
    assert seen == [6, 7, 40]


def test_a_vanished_gradient_is_reported_as_the_smallest_float32() -> None:
    model = small_model(cell="rnn", bidirectional=False, pooling=("last",))
    with torch.no_grad():
        first_layer(model).forward_cell.get_parameter("weight_hh_l0").mul_(1e-3)
    norms = gradient_by_distance(model, random_reviews([40]), 1)
    assert norms[0] > 1e-3
    assert norms[-1] == SMALLEST
    assert all(math.isfinite(math.log10(norm)) for norm in norms)


def test_a_token_weight_is_the_change_of_the_logit_with_its_embedding() -> None:
    model = small_model(cell="gru").double()
    reviews = random_reviews([3, 6])
    batch = pad_batch(reviews, torch.arange(2))
    weights = token_weights(model, reviews)
    assert [len(each) for each in weights] == [3, 6]

    def logit(scale: float, review: int, token: int) -> float:
        def grow(module: object, inputs: object, embedded: torch.Tensor) -> torch.Tensor:
            scales = torch.ones(embedded.shape[:2], dtype=torch.float64)
            scales[token, review] = scale
            return embedded * scales[:, :, None]

        with model.embedding.register_forward_hook(grow), torch.no_grad():
            return float(model(batch.tokens, batch.lengths)[review])

    for review in range(2):
        for token, weight in enumerate(weights[review].tolist()):
            slope = (logit(1 + 1e-5, review, token) - logit(1 - 1e-5, review, token)) / 2e-5
            assert weight == pytest.approx(slope, abs=1e-8)
