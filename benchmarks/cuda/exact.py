"""Errors of logits and gradients against float64 on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.cuda.checks import Record, Setting
from benchmarks.cuda.networks import default_shape, default_training, new_model, without_dropout
from benchmarks.cuda.pack import shortest
from benchmarks.cuda.timing import tf32
from sentiment.dataset.batching import Batch
from sentiment.models.classifier import Classifier, ModelConfig
from sentiment.models.layers import CELLS
from sentiment.models.pooling import POOLINGS
from sentiment.models.precision import PRECISIONS
from sentiment.runtime.device import product_dtype
from sentiment.training.objective import Objective

# Distance from 1 to the next number, of the type to which the factors of a product are rounded.
EPSILONS = {"float32": 2.0**-23, "tf32": 2.0**-10, "bfloat16": 2.0**-7}
MAX_EPSILONS = 16  # greater errors are flagged; on a CPU at most 7 were seen
# Sizes for which PyTorch asks cuDNN for its persistent kernels: both ways, forward alone, neither (its RNN.cpp).
LARGE = {"rnn": (128, 256, 320), "lstm": (128, 160, 256), "gru": (128, 160, 256)}
VOCABULARY, REVIEWS = 50, 8
TERMS = ("adversarial", "virtual", "entropy")

Results = dict[str, Tensor]  # logits and gradients, as float64 on the CPU


def compare_networks(setting: Setting, record: Record) -> None:
    """Record the errors of every kind of network in each precision."""
    record("tolerance", {kind: MAX_EPSILONS * epsilon for kind, epsilon in EPSILONS.items()})
    greatest: dict[str, float] = {}
    flagged: list[str] = []
    for shape in shapes(setting.is_small):
        exact = results_of(new_model(shape).double(), make_batch(shape, padding=0), None)
        for precision in PRECISIONS:
            products = product_dtype(precision, setting.device)
            with tf32(precision != "float32"):  # as the stages do
                kind = kind_of(products, setting.device)
                errors = errors_of(run_on(setting.device, shape, products), exact)
            record(f"{name_of(shape)}, {precision}", {"products": kind, **errors})
            error = max(errors["logits"], errors["gradients"])
            greatest[kind] = max(error, greatest.get(kind, 0.0))
            if not error <= MAX_EPSILONS * EPSILONS[kind]:  # so that NaN is flagged too
                flagged.append(f"{name_of(shape)}, {precision}")
        record("greatest error", greatest)
        record("above the tolerance", flagged)


def compare_tf32(setting: Setting, record: Record) -> None:
    """Record the errors in float32 where cuDNN may round factors to TF32, and where it may not."""
    for cell in CELLS:
        shape = replace(next(shapes(setting.is_small)), cell=cell)
        exact = results_of(new_model(shape).double(), make_batch(shape, padding=0), None)
        for is_allowed in (True, False):
            with tf32(is_allowed):
                found = run_on(setting.device, shape, torch.float32)
            record(f"{name_of(shape)}, TF32 {'allowed' if is_allowed else 'forbidden'}", errors_of(found, exact))


def compare_objective(setting: Setting, record: Record) -> None:
    """Record the errors of the objective's gradient, by its terms and in each precision."""
    flagged: list[str] = []
    for chosen in ((), *((term,) for term in TERMS), TERMS):
        exact = objective_gradients(setting, chosen, "float32", torch.device("cpu"), torch.float64)
        for precision in PRECISIONS:
            name = f"{' and '.join(('cross entropy', *chosen))}, {precision}"
            with tf32(precision != "float32"):
                found = objective_gradients(setting, chosen, precision, setting.device, torch.float32)
                kind = kind_of(product_dtype(precision, setting.device), setting.device)
            errors = errors_of(found, exact)
            record(name, errors)
            if not errors["gradients"] <= MAX_EPSILONS * EPSILONS[kind]:
                flagged.append(name)
    record("above the tolerance", flagged)


def objective_gradients(
    setting: Setting, chosen: tuple[str, ...], precision: str, device: torch.device, weights: torch.dtype
) -> Results:
    """Return the gradient of each weight of the objective with the chosen terms, each of weight 1."""
    data = setting.reviews()
    labelled, unlabelled = (shortest(data[split], REVIEWS) for split in ("train", "unsup"))
    model = new_model(without_dropout(default_shape(setting))).to(device, weights)
    config = default_training(precision=precision, **{term: float(term in chosen) for term in TERMS})
    with default_dtype(weights):  # of the shifts that the objective makes
        objective = Objective(model, labelled, unlabelled, config, device)
        objective.backward(torch.arange(len(labelled)), torch.arange(len(unlabelled)))
    return gradients_of(model)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors of a type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def shapes(is_small: bool) -> Iterator[ModelConfig]:
    """Yield every kind of network, with each pooling alone, and wider ones with all poolings."""
    for cell, layers, bidirectional in product(CELLS, (1, 2), (False, True)):
        narrow = [((name,), 8 if is_small else 24) for name in POOLINGS]
        wide = [] if is_small else [(tuple(POOLINGS), size) for size in LARGE[cell]]
        for pooling, size in narrow + wide:
            yield ModelConfig(
                vocabulary_size=VOCABULARY,
                embedding_size=8 if is_small else 100,
                cell=cell,
                hidden_size=size,
                layers=layers,
                bidirectional=bidirectional,
                mix_directions=True,
                pooling=pooling,
                dropout_embedding=0.0,
                dropout_layers=0.0,
                dropout_output=0.0,
            )


def name_of(shape: ModelConfig) -> str:
    """Return the name of a network in the results."""
    directions = "both directions" if shape.bidirectional else "one direction"
    return f"{shape.cell} {shape.hidden_size}, layers {shape.layers}, {directions}, {' '.join(shape.pooling)}"


def kind_of(products: torch.dtype, device: torch.device) -> str:
    """Return the key of EPSILONS for recurrent layers whose products are of a type."""
    if products == torch.float32 and device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        return "tf32"
    return str(products).removeprefix("torch.")


def make_batch(shape: ModelConfig, padding: int) -> Batch:
    """Return a batch that is the same each time but for what stands behind a review's end."""
    generator = torch.Generator().manual_seed(0)
    steps = min(24, shape.hidden_size)
    tokens = torch.randint(2, VOCABULARY, (steps, REVIEWS), generator=generator)
    lengths = torch.linspace(1, steps, REVIEWS).long()
    is_padding = torch.arange(steps)[:, None] >= lengths
    return Batch(tokens.where(~is_padding, padding), lengths, (torch.arange(REVIEWS) % 2).float())


def run_on(device: torch.device, shape: ModelConfig, products: torch.dtype) -> Results:
    """Return a network's results on a device, on the batch with other padding."""
    batch = Batch(*(tensor.to(device) for tensor in make_batch(shape, padding=1)))
    return results_of(new_model(shape).to(device), batch, products)


def results_of(model: Classifier, batch: Batch, products: torch.dtype | None) -> Results:
    """Return the logits (B,) and the gradient of each weight."""
    logits = model(batch.tokens, batch.lengths, product_dtype=products)
    binary_cross_entropy_with_logits(logits, batch.labels.to(logits.dtype), reduction="sum").backward()
    return {"logits": logits.detach().double().cpu(), **gradients_of(model)}


def gradients_of(model: Classifier) -> Results:
    """Return the gradient of each weight."""
    return {name: weight.grad.double().cpu() for name, weight in model.named_parameters() if weight.grad is not None}


def errors_of(found: Results, exact: Results) -> dict[str, float]:
    """Return the relative errors of the logits, of all gradients together, and of the gradient that is worst."""
    names = [name for name in exact if name != "logits"]
    errors = {name: error_of(found[name], exact[name]) for name in exact}
    together = (torch.cat([results[name].flatten() for name in names]) for results in (found, exact))
    worst = max(names, key=lambda name: errors[name])
    logits = {"logits": errors["logits"]} if "logits" in errors else {}
    return {**logits, "gradients": error_of(*together), f"worst, {worst}": errors[worst]}


def error_of(found: Tensor, exact: Tensor) -> float:
    """Return |found - exact| / |exact|."""
    return float(torch.linalg.vector_norm(found - exact) / torch.linalg.vector_norm(exact))
