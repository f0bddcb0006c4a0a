"""Attribution: the gradient of the loss at each time step, and the contribution of each token to the logit.

Both are computed on the CPU with a float64 copy of the model, with dropout off.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sentiment.dataset.batching import pad_batch, sorted_rows, split_by_tokens
from sentiment.dataset.encoded import EncodedReviews
from sentiment.models.classifier import Classifier
from sentiment.models.layers import Layer
from sentiment.models.logits import confidence, cross_entropy

BATCH_SIZE, TOKENS_AT_ONCE = 64, 8_192  # bound the memory of token weights
STATES_AT_ONCE = 32_768  # bounds the memory of the gradient by distance: some 30 kB a state with 128 hidden units

SMALLEST = torch.finfo(torch.float32).tiny  # a smaller gradient underflows in float32 training


def gradient_by_distance(model: Classifier, reviews: EncodedReviews, count: int) -> Tensor:
    """Return the mean norm of d loss / d h_t by distance from the review's end, (T,) float64, at least SMALLEST.

    Row d belongs to h_{length - d}, so row 0 to the state after the last token. The loss is the review's own cross
    entropy. h_t is the state of the last layer's forward cell, and its gradient includes its effect through all later
    steps (Bengio et al. 1994 show that this gradient vanishes or explodes). The mean is over `count` reviews, or fewer
    if there are no more, in order of length from the median on. T is the median length, so that every distance is
    averaged over the same reviews.
    """
    middle = (len(reviews) - 1) // 2
    rows = reviews.lengths.argsort(stable=True)[middle : middle + count]
    distances = torch.arange(int(reviews.lengths[rows[0]]))[:, None]
    model = _exact(model)
    layer = model.layers[-1]
    assert isinstance(layer, Layer)
    layer.scan, layer.forward_cell = None, (reader := Stepwise(layer.forward_cell))  # type: ignore[assignment]
    by_distance: list[Tensor] = []  # (T, B) each
    for part in split_by_tokens(rows, reviews.lengths, STATES_AT_ONCE):
        batch = pad_batch(reviews, part)
        reader.states.clear()
        loss = cross_entropy(model(batch.tokens, batch.lengths), batch.labels)
        norms = torch.cat(torch.autograd.grad(loss, reader.states)).norm(dim=2)  # (T of the longest, B)
        by_distance.append(norms.gather(0, batch.lengths - 1 - distances))
    return torch.cat(by_distance, dim=1).mean(dim=1).clamp(min=SMALLEST)


def token_weights(model: Classifier, reviews: EncodedReviews, gradient: Tensor | None = None) -> list[Tensor]:
    """Return the weight of each token in its review's logit, N of (length,) float64: gradient times input.

    The weight of token t with embedding x_t is x_t . d logit / d x_t: to first order, the amount by which the logit
    would fall if x_t shrank to zero (Denil et al. 2014). Of two classes, a weight above 0 speaks for the second and a
    weight below 0 for the first. Of more, the logit is the log odds of the most probable class, for which a weight
    above 0 speaks. `gradient`, (N,) or (N, K), is that of the explained logit by the logits; None computes it from this
    model's own logits.
    """
    model = _exact(model)
    embedded: list[Tensor] = []
    model.embedding.register_forward_hook(lambda module, inputs, output: embedded.append(output))
    weights: dict[int, Tensor] = {}
    for batch_rows in sorted_rows(reviews.lengths, BATCH_SIZE):
        for rows in split_by_tokens(batch_rows, reviews.lengths, TOKENS_AT_ONCE):
            batch = pad_batch(reviews, rows)
            logits = model(batch.tokens, batch.lengths)
            by_logits = explained_gradient(logits) if gradient is None else gradient[rows]
            (by_input,) = torch.autograd.grad(logits, embedded, by_logits)  # (T, B, E)
            products = (by_input * embedded.pop()).sum(dim=2).detach()  # (T, B)
            lengths = batch.lengths.tolist()
            weights |= {row: products[: lengths[b], b] for b, row in enumerate(rows.tolist())}
    return [weights[row] for row in range(len(reviews))]


def explained_gradient(logits: Tensor) -> Tensor:
    """Return the gradient of the explained logit by the logits, (N,) or (N, K), in the shape of the logits."""
    logits = logits.detach().requires_grad_()
    explained = logits if logits.ndim == 1 else confidence(logits)  # (N,)
    (gradient,) = torch.autograd.grad(explained.sum(), logits)
    return gradient


class Stepwise(nn.Module):
    """A recurrent network run one step at a time, so that autograd can return the gradient of each state."""

    def __init__(self, network: nn.RNNBase) -> None:
        super().__init__()
        self.network = network
        self.mode = network.mode  # the type of cell, for `layers.run_cell`
        self.states: list[Tensor] = []  # T tensors (1, B, H)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read inputs (T, B, I); return states (T, B, H) and the final state, as the wrapped network does."""
        for step in inputs:
            _, state = self.network(step[None], state)
            self.states.append(state[0] if isinstance(state, tuple) else state)  # an LSTM carries h and c
        return torch.cat(self.states), state


def _exact(model: Classifier) -> Classifier:
    return copy.deepcopy(model).cpu().double().eval()
