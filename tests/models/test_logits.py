"""Two classes have one logit; what is said of them must be what two logits, of which the first is 0, say."""

import pytest
import torch
from torch import Tensor

from sentiment.models.logits import (
    class_logits,
    confidence,
    cross_entropy,
    entropy,
    predicted_labels,
    probabilities,
)

ONE = torch.linspace(-30, 30, 61, dtype=torch.float64)
TWO = class_logits(ONE)
LABELS = torch.arange(61) % 2
THREE = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradient(function: object, logits: Tensor) -> Tensor:
    leaf = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(leaf).sum(), leaf)  # type: ignore[operator]
    return found


@pytest.mark.parametrize("weights", [None, torch.tensor([0.25, 1.75], dtype=torch.float64)])
def test_one_logit_and_two_have_the_same_cross_entropy(weights: Tensor | None) -> None:
    one, two = (cross_entropy(logits, LABELS, weights) for logits in (ONE, TWO))
    assert one.item() == pytest.approx(two.item(), rel=1e-12)
    by_probabilities = cross_entropy(TWO, torch.nn.functional.one_hot(LABELS).double(), weights)
    assert by_probabilities.item() == pytest.approx(one.item(), rel=1e-12)


def test_one_logit_and_two_have_the_same_entropy_labels_and_probabilities() -> None:
    assert entropy(ONE).item() == pytest.approx(entropy(TWO).item(), rel=1e-9)
    assert predicted_labels(ONE).equal(predicted_labels(TWO))
    assert probabilities(ONE).allclose(probabilities(TWO)[:, 1])
    assert predicted_labels(ONE).equal((ONE > 0).long())


def test_confidence_is_the_log_odds_of_the_most_probable_class() -> None:
    for logits in (ONE[ONE.abs() < 15], TWO[ONE.abs() < 15], THREE):
        greatest = class_logits(logits).softmax(dim=1).max(dim=1).values
        assert confidence(logits).allclose((greatest / (1 - greatest)).log(), rtol=1e-6, atol=1e-9)
    assert confidence(TWO).allclose(confidence(ONE))


def test_less_confidence_is_more_loss_of_the_label_that_is_predicted() -> None:
    """The direction of the virtual adversarial term is that of the adversarial one for the predicted labels."""
    by_confidence = -gradient(confidence, THREE)
    by_loss = gradient(lambda logits: cross_entropy(logits, predicted_labels(THREE)), THREE)
    assert torch.nn.functional.cosine_similarity(by_confidence, by_loss).allclose(torch.ones(50, dtype=torch.float64))


def test_the_entropy_of_k_equal_logits_is_log_k() -> None:
    assert entropy(torch.zeros(7, 20, dtype=torch.float64)).item() == pytest.approx(7 * torch.tensor(20.0).log().item())
