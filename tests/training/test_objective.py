import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from sentiment.dataset.batching import pad_batch
from sentiment.models.classifier import Classifier
from sentiment.models.logits import confidence, entropy
from sentiment.training.objective import Objective, ObjectiveConfig, balanced_weights, normalize, weighted_std
from tests.conftest import random_reviews, small_model

CPU = torch.device("cpu")
REVIEWS = random_reviews([7, 3, 5, 6])
UNLABELLED = random_reviews([4, 8, 2], seed=1)
ROWS = torch.arange(len(REVIEWS))
BATCH = pad_batch(REVIEWS, ROWS)


def objective(model: Classifier, **weights: Any) -> Objective:
    settings: dict[str, Any] = {"adversarial": 0.0, "virtual": 0.0, "entropy": 0.0, "epsilon": 2.0, **weights}
    return Objective(model, REVIEWS, UNLABELLED, ObjectiveConfig(1000, "float32", **settings), CPU)


def radius(model: Classifier) -> float:
    frequencies = torch.bincount(REVIEWS.tokens, minlength=20) / len(REVIEWS.tokens)
    return 2.0 * weighted_std(model.embedding.weight, frequencies).item()


def cross_entropy(model: Classifier, shift: Tensor | None = None) -> Tensor:
    logits = model(BATCH.tokens, BATCH.lengths, shift)
    return binary_cross_entropy_with_logits(logits, BATCH.labels.float(), reduction="none")


def worst(model: Classifier, radius: float) -> Tensor:
    """The shift to the worst point near each review, of `radius` for each square root of a token, by the formula."""
    zero = torch.zeros(*BATCH.tokens.shape, model.config.embedding_size, requires_grad=True)
    (gradient,) = torch.autograd.grad(cross_entropy(model, zero).sum(), zero)
    shifts = [
        radius * length**0.5 * gradient[:, b] / gradient[:, b].norm() for b, length in enumerate(BATCH.lengths.tolist())
    ]
    return torch.stack(shifts, dim=1)


def test_the_weighted_std_by_hand() -> None:
    # The first word is three times as frequent: means 1 and 4, variances 3/4 * 1 + 1/4 * 9 = 3 and 0.
    embeddings = torch.tensor([[0.0, 4.0], [4.0, 4.0]])
    assert weighted_std(embeddings, torch.tensor([0.75, 0.25])).item() == pytest.approx(1.5**0.5)


def test_normalize_by_hand() -> None:
    gradient = torch.tensor([[[3.0], [0.0]], [[4.0], [0.0]]])  # (T, B, E) of 2, 2, 1
    assert normalize(gradient).squeeze().tolist() == [[pytest.approx(0.6), 0.0], [pytest.approx(0.8), 0.0]]


@pytest.mark.parametrize("size", [1e-18, 1e-20, 1e-23, 1e-30, 1e-38])
def test_a_tiny_gradient_does_not_grow_beyond_norm_1(size: float) -> None:
    assert 0 < normalize(torch.full((50, 1, 4), size)).norm().item() <= 1.01


def test_a_review_of_which_the_model_is_sure_is_not_shifted_beyond_the_radius() -> None:
    model = small_model()
    with torch.no_grad():
        model.output.bias.fill_(-60.0)  # its loss on reviews of label 0 is below 1e-26
    minimised = objective(model)
    shift = minimised.zero_shift(BATCH)
    cross_entropy(model, shift).sum().backward()
    assert shift.grad is not None
    norms = minimised.adversarial_shift(shift.grad, BATCH).norm(dim=(0, 2)) / BATCH.lengths.sqrt()  # (B,)
    assert (norms <= radius(model) * (1 + 1e-6)).all()


def test_without_the_adversarial_term_it_is_the_mean_cross_entropy() -> None:
    models = [small_model(), small_model()]
    mean = cross_entropy(models[0]).mean()
    mean.backward()
    assert objective(models[1]).backward(ROWS).item() == pytest.approx(mean.item())
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_adversarial_term_equals_its_formula() -> None:
    models = [small_model(), small_model()]
    shift = worst(models[0], radius(models[0]))
    (cross_entropy(models[0]).mean() + 0.5 * cross_entropy(models[0], shift).mean()).backward()
    objective(models[1], adversarial=0.5).backward(ROWS)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_virtual_adversarial_term_equals_its_formula() -> None:
    models = [small_model(), small_model()]
    rows = torch.tensor([2, 0])
    batch = pad_batch(UNLABELLED, rows)
    zero = torch.zeros(*batch.tokens.shape, models[0].config.embedding_size, requires_grad=True)
    clean = models[0](batch.tokens, batch.lengths, zero)
    (gradient,) = torch.autograd.grad(-clean.abs().sum(), zero)
    shift = radius(models[0]) * batch.lengths.sqrt()[:, None] * normalize(gradient)
    shifted = models[0](batch.tokens, batch.lengths, shift)
    (cross_entropy(models[0]).mean() + 0.5 * kullback_leibler(clean.detach(), shifted).mean()).backward()
    objective(models[1], virtual=0.5).backward(ROWS, rows)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_entropy_term_equals_its_formula() -> None:
    models = [small_model(), small_model()]
    rows = torch.tensor([2, 0])
    batch = pad_batch(UNLABELLED, rows)
    p = models[0](batch.tokens, batch.lengths).sigmoid()
    in_doubt = -p * p.log() - (1 - p) * (1 - p).log()
    (cross_entropy(models[0]).mean() + 0.5 * in_doubt.mean()).backward()
    objective(models[1], entropy=0.5).backward(ROWS, rows)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_entropy_and_its_gradient_by_hand() -> None:
    # Of one half: log 2. Of three quarters: log 4 - 3/4 log 3, and d H / d z = - z p (1 - p). Of certainty: none.
    assert entropy(torch.zeros(1)).item() == pytest.approx(math.log(2))
    logits = torch.tensor([math.log(3)], requires_grad=True)
    doubt = entropy(logits)
    doubt.backward()
    assert doubt.item() == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(-math.log(3) * 3 / 16)
    assert entropy(torch.tensor([200.0, -200.0])).item() == 0.0
    assert torch.autograd.gradcheck(entropy, torch.tensor([-2.0, 0.5], dtype=torch.float64, requires_grad=True))


def kullback_leibler(logits: Tensor, others: Tensor) -> Tensor:
    """KL(p, q) of two outcomes: p log(p / q) + (1 - p) log((1 - p) / (1 - q))."""
    p, q = logits.sigmoid(), others.sigmoid()
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def test_the_divergence_by_hand() -> None:
    # Of one half from three quarters: 1/2 log(2/3) + 1/2 log(2) = 1/2 log(4/3); of anything from itself: none.
    assert kullback_leibler(torch.tensor([0.0, 1.5]), torch.tensor([math.log(3), 1.5])).tolist() == pytest.approx(
        [0.5 * math.log(4 / 3), 0.0]
    )


def test_the_gradients_direction_changes_the_probabilities_most() -> None:
    """What a power iteration would look for: the first eigenvector of the Hessian of KL."""
    model, random = small_model(), torch.Generator().manual_seed(0)
    away = objective(model)
    batch = pad_batch(UNLABELLED, torch.arange(3))
    logits, shift = away.virtual_adversarial_shift(batch)
    mask = torch.arange(len(batch.tokens))[:, None] < batch.lengths

    def divergence(towards: Tensor) -> Tensor:
        with torch.no_grad():
            return kullback_leibler(logits.double(), model(batch.tokens, batch.lengths, 0.02 * towards).double())

    found = divergence(normalize(shift))
    assert (found >= divergence(-normalize(shift))).all()
    for _ in range(20):
        elsewhere = torch.randn(*shift.shape, generator=random) * mask[:, :, None]
        assert (divergence(normalize(elsewhere)) < found).all()


def test_the_adversarial_point_has_the_highest_loss_at_its_distance() -> None:
    model = small_model()
    random = torch.Generator().manual_seed(0)
    at_worst = cross_entropy(model, worst(model, 0.1))
    assert (at_worst > cross_entropy(model)).all()
    for _ in range(20):
        mask = torch.arange(len(BATCH.tokens))[:, None] < BATCH.lengths
        elsewhere = torch.randn(*BATCH.tokens.shape, model.config.embedding_size, generator=random) * mask[:, :, None]
        assert (cross_entropy(model, 0.1 * normalize(elsewhere)) < at_worst).all()


def test_padding_is_not_shifted() -> None:
    shift = worst(small_model(), 1.0)
    for b, length in enumerate(BATCH.lengths.tolist()):
        assert shift[length:, b].count_nonzero() == 0
        assert shift[:, b].norm().item() == pytest.approx(length**0.5)


def test_a_tokens_shift_does_not_depend_on_the_length_of_the_review() -> None:
    model = small_model()
    shift = objective(model).virtual_adversarial_shift(BATCH)[1]  # (T, B, E)
    squares = shift.square().sum(dim=(0, 2)) / BATCH.lengths  # mean square of the norms of a review's tokens, (B,)
    torch.testing.assert_close(squares.sqrt(), torch.full((len(REVIEWS),), radius(model)))


@pytest.mark.parametrize(("tuned", "measured"), [(False, 1), (True, 4)])
def test_the_radius_is_measured_once_if_the_embeddings_are_frozen(
    monkeypatch: pytest.MonkeyPatch, tuned: bool, measured: int
) -> None:
    calls: list[Tensor] = []

    def counted(embeddings: Tensor, frequencies: Tensor) -> Tensor:
        calls.append(embeddings)
        return weighted_std(embeddings, frequencies)

    monkeypatch.setattr("sentiment.training.objective.weighted_std", counted)
    model = small_model()
    model.embedding.weight.requires_grad_(tuned)
    minimised = Objective(
        model,
        REVIEWS,
        UNLABELLED,
        ObjectiveConfig(8, "float32", adversarial=1.0, virtual=1.0, entropy=0.0, epsilon=1.0),
        CPU,
    )
    for _ in range(3):
        minimised.backward(ROWS, torch.arange(len(UNLABELLED)))  # in parts of one review each
    assert len(calls) == measured


def test_balanced_classes_have_the_same_total_weight() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [2], dtype=torch.int8)
    weights = balanced_weights(labels, 3)
    assert weights[labels.long()].mean().item() == pytest.approx(1)
    totals = torch.bincount(labels) * weights
    assert totals.allclose(torch.full((3,), 10 / 3))


@pytest.mark.parametrize("class_weights", [None, "balanced"])
@pytest.mark.parametrize("classes", [3, 20])
def test_every_term_is_finite_with_more_classes(classes: int, class_weights: str | None) -> None:
    reviews = random_reviews([5, 3, 4] * 20, classes=classes)
    model = small_model(classes=classes)
    config = ObjectiveConfig(30, "float32", 1.0, 1.0, 1.0, 1.0, class_weights=class_weights)
    loss = Objective(model, reviews, UNLABELLED, config, CPU).backward(torch.arange(60), torch.arange(3))
    assert 0 < loss.item() < 2 * math.log(classes)
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_the_virtual_shift_lowers_the_confidence_of_more_classes() -> None:
    model = small_model(classes=5)
    minimised = Objective(model, REVIEWS, UNLABELLED, ObjectiveConfig(1000, "float32", 0.0, 1.0, 0.0, 1e-3), CPU)
    before, shift = minimised.virtual_adversarial_shift(BATCH)
    after, opposite = (model(BATCH.tokens, BATCH.lengths, each) for each in (shift, -shift))
    assert (confidence(after) < confidence(before)).all()
    assert (confidence(opposite) > confidence(before)).all()
