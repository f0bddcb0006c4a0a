import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from sentiment.batches import pad_batch
from sentiment.model import Classifier
from sentiment.objective import Objective, direction, spread
from tests.conftest import random_reviews, small_model

CPU = torch.device("cpu")
REVIEWS = random_reviews([7, 3, 5, 6])
ROWS = torch.arange(len(REVIEWS))
BATCH = pad_batch(REVIEWS, ROWS)


def objective(model: Classifier, adversarial: float, epsilon: float = 1.0) -> Objective:
    return Objective(model, REVIEWS, 1000, "float32", adversarial, epsilon, CPU)


def cross_entropy(model: Classifier, shift: Tensor | None = None) -> Tensor:
    return binary_cross_entropy_with_logits(model(BATCH.tokens, BATCH.lengths, shift), BATCH.labels, reduction="none")


def worst(model: Classifier, radius: float) -> Tensor:
    """The shift to the worst point near each review, to first order, by the formula."""
    zero = torch.zeros(*BATCH.tokens.shape, model.config.embedding_size, requires_grad=True)
    (gradient,) = torch.autograd.grad(cross_entropy(model, zero).sum(), zero)
    shifts = [radius * gradient[:, b] / gradient[:, b].norm() for b in range(len(REVIEWS))]
    return torch.stack(shifts, dim=1)


def test_the_spread_by_hand() -> None:
    # The first word is three times as frequent: means 1 and 4, variances 3/4 * 1 + 1/4 * 9 = 3 and 0.
    embeddings = torch.tensor([[0.0, 4.0], [4.0, 4.0]])
    assert spread(embeddings, torch.tensor([0.75, 0.25])).item() == pytest.approx(1.5**0.5)


def test_directions_by_hand() -> None:
    gradient = torch.tensor([[[3.0], [0.0]], [[4.0], [0.0]]])  # (T, B, E) of 2, 2, 1
    assert direction(gradient).squeeze().tolist() == [[pytest.approx(0.6), 0.0], [pytest.approx(0.8), 0.0]]


def test_without_the_adversarial_term_it_is_the_mean_cross_entropy() -> None:
    models = [small_model(), small_model()]
    mean = cross_entropy(models[0]).mean()
    mean.backward()
    assert objective(models[1], 0.0).backward(ROWS).item() == pytest.approx(mean.item())
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_adversarial_term_by_its_formula() -> None:
    models = [small_model(), small_model()]
    radius = 2.0 * spread(models[0].embedding.weight, torch.bincount(REVIEWS.tokens, minlength=20) / 21).item()
    shift = worst(models[0], radius)
    (cross_entropy(models[0]).mean() + 0.5 * cross_entropy(models[0], shift).mean()).backward()
    objective(models[1], 0.5, epsilon=2.0).backward(ROWS)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_no_other_point_as_near_is_worse() -> None:
    model = small_model()
    random = torch.Generator().manual_seed(0)
    at_worst = cross_entropy(model, worst(model, 0.1))
    assert (at_worst > cross_entropy(model)).all()
    for _ in range(20):
        inside = torch.arange(len(BATCH.tokens))[:, None] < BATCH.lengths
        elsewhere = torch.randn(*BATCH.tokens.shape, model.config.embedding_size, generator=random) * inside[:, :, None]
        assert (cross_entropy(model, 0.1 * direction(elsewhere)) < at_worst).all()


def test_padding_is_not_shifted() -> None:
    shift = worst(small_model(), 1.0)
    for b, length in enumerate(BATCH.lengths.tolist()):
        assert shift[length:, b].count_nonzero() == 0
        assert shift[:, b].norm().item() == pytest.approx(1.0)
