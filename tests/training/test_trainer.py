import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sentiment.dataset.batching import Batch, split_by_tokens
from sentiment.dataset.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.models.classifier import Classifier
from sentiment.models.inference import predict_logits
from sentiment.models.layers import CELLS
from sentiment.runtime.resume import SavedState
from sentiment.training.objective import Loss, Objective
from sentiment.training.trainer import (
    Epoch,
    TrainConfig,
    Trainer,
    Watch,
    average,
    batch_size_for,
)
from tests.conftest import combinations, random_reviews, small_model

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    seed=1,
    batch_size=8,
    min_steps=1,
    tokens_at_once=1000,
    precision="float32",
    epochs=6,
    patience=None,
    learning_rate=0.02,
    warmup_share=0.0,
    schedule="constant",
    weight_decay=0.0,
    clip_norm=1.0,
    embedding_rate=1.0,
    gradual_unfreezing=False,
    layer_decay=1.0,
    ema_decay=0.0,
    adversarial=0.0,
    virtual=0.0,
    entropy=0.0,
    epsilon=1.0,
)


def easy_reviews(count: int, seed: int) -> EncodedReviews:
    """Reviews whose label is whether token 2 is among them."""
    reviews = random_reviews([5 + number % 7 for number in range(count)], seed=seed)
    tokens = reviews.tokens.clone().clamp(min=3)
    tokens[reviews.offsets[:-1][reviews.labels == 1] + 2] = 2
    return EncodedReviews(tokens, reviews.offsets, reviews.labels)


TRAINING, VALIDATION = easy_reviews(200, 0), easy_reviews(60, 1)


def run(model: Classifier, config: TrainConfig = CONFIG) -> list[Epoch]:
    epochs: list[Epoch] = []
    best = Trainer(model, TRAINING, config, CPU).fit(VALIDATION, epochs.append)
    assert best == min(epochs, key=lambda epoch: epoch.validation_loss)
    return epochs


@pytest.mark.parametrize("cell", CELLS)
def test_training_learns_a_learnable_task(cell: str) -> None:
    epochs = run(small_model(cell=cell))
    assert max(epoch.validation_accuracy for epoch in epochs) > 0.95
    assert epochs[-1].train_loss < epochs[0].train_loss


def test_training_stops_after_patience_and_keeps_the_best_epoch() -> None:
    # With every validation label wrong, the more the model learns the worse it does.
    wrong = replace(VALIDATION, labels=1 - VALIDATION.labels)
    model = small_model()
    epochs: list[Epoch] = []
    best = Trainer(model, TRAINING, replace(CONFIG, epochs=50, patience=3), CPU).fit(wrong, epochs.append)
    assert best == min(epochs, key=lambda epoch: epoch.validation_loss)
    assert len(epochs) == best.number + 3 < 50
    logits = predict_logits(model, wrong, CPU)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wrong.labels.float())
    assert loss.item() == pytest.approx(best.validation_loss, abs=1e-6)


def test_two_runs_give_the_same_bits() -> None:
    models = [small_model(dropout_embedding=0.3, dropout_output=0.3) for _ in range(2)]
    for model in models:
        run(model, replace(CONFIG, epochs=2))
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


VARIANTS = [
    {},
    {"ema_decay": 0.0, "virtual": 0.0},
    {"gradual_unfreezing": True, "schedule": "linear"},
    {"embedding_rate": 0.0},
]


@pytest.mark.slow
@pytest.mark.parametrize(("batches", "changes"), combinations([10, 25, 40, 70], VARIANTS))
def test_an_interrupted_training_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr("sentiment.training.trainer.SAVE_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("sentiment.training.trainer.STEPS_BETWEEN_CLOCK_CHECKS", 8)
    config = replace(CONFIG, epochs=3, **{"ema_decay": 0.9, "adversarial": 0.5, "virtual": 0.5, **changes})
    left = batches

    def until_killed(rows: list[Tensor], epoch: int) -> Iterator[Tensor]:
        nonlocal left
        for row in rows:
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            yield row

    def run_on(watch: Watch, saved: SavedState | None) -> tuple[dict[str, Tensor], list[Epoch]]:
        model = small_model(dropout_embedding=0.3)
        epochs: list[Epoch] = []
        trainer = Trainer(model, TRAINING, config, CPU, easy_reviews(90, 2), saved, watch)
        trainer.fit(VALIDATION, epochs.append)
        return model.state_dict(), epochs

    saved = SavedState(tmp_path / "some.state")
    with pytest.raises(KeyboardInterrupt):
        run_on(until_killed, saved)
    torch.rand(3)  # other programs draw other numbers
    left = 3 * 25
    resumed, its_epochs = run_on(until_killed, saved)
    # no more was done again than since the last saving
    assert 3 * 25 - left == 3 * 25 - batches // 25 * 25 - batches % 25 // 8 * 8
    whole, epochs = run_on(lambda rows, epoch: rows, None)
    assert [epoch[:4] for epoch in its_epochs] == [epoch[:4] for epoch in epochs]  # all but the speed
    assert all(torch.equal(resumed[name], weights) for name, weights in whole.items())
    again, _ = run_on(lambda rows, epoch: pytest.fail("there is nothing left to train"), saved)
    assert all(torch.equal(again[name], weights) for name, weights in whole.items())


@pytest.mark.parametrize("batches", [5, 40])
def test_training_with_spans_has_others_in_each_epoch_and_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr("sentiment.dataset.spans.LENGTHS", torch.tensor([2, 4]))
    monkeypatch.setattr("sentiment.training.trainer.SAVE_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("sentiment.training.trainer.STEPS_BETWEEN_CLOCK_CHECKS", 4)
    config = replace(CONFIG, epochs=2, spans=2)
    texts: list[Tensor] = []

    def train(saved: SavedState | None, batches: int | None) -> dict[str, Tensor]:
        def watch(rows: list[Tensor], epoch: int) -> Iterator[Tensor]:
            texts.append(trainer.objective.labelled.tokens)
            if epoch == 2 and batches is not None:
                yield from rows[:batches]
                raise KeyboardInterrupt
            yield from rows

        trainer = Trainer(model := small_model(), TRAINING, config, CPU, None, saved, watch)
        assert len(trainer.lengths) == 3 * len(TRAINING)
        trainer.fit(VALIDATION, lambda epoch: None)
        return model.state_dict()

    saved = SavedState(tmp_path / "some.state")
    with pytest.raises(KeyboardInterrupt):
        train(saved, batches)
    resumed = train(saved, None)
    first, *_, last = texts
    assert first.shape == last.shape
    assert not first.equal(last)
    whole = train(None, None)
    assert all(torch.equal(resumed[name], weights) for name, weights in whole.items())


@pytest.mark.parametrize(
    ("reviews", "expected"), [(17_500, 64), (16_000, 64), (5_970, 23), (2_047, 8), (137, 8), (3, 8)]
)
def test_few_reviews_make_smaller_batches(reviews: int, expected: int) -> None:
    assert batch_size_for(reviews, replace(CONFIG, batch_size=64, min_steps=250)) == expected


def test_a_small_batch_size_is_kept() -> None:
    assert batch_size_for(17_500, replace(CONFIG, batch_size=4, min_steps=250)) == 4


@pytest.mark.slow
def test_a_batch_split_into_parts_has_the_same_gradient() -> None:
    models = [small_model(), small_model()]
    whole, parts = (
        run(model, replace(CONFIG, epochs=2, tokens_at_once=tokens, adversarial=0.5))
        for model, tokens in zip(models, (1000, 20), strict=True)
    )
    assert [epoch.train_loss for epoch in parts] == pytest.approx([epoch.train_loss for epoch in whole], abs=1e-5)
    for name, weight in models[0].state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_training_in_bfloat16_learns_as_well(cell: str) -> None:
    epochs = run(small_model(cell=cell), replace(CONFIG, precision="bfloat16"))
    assert max(epoch.validation_accuracy for epoch in epochs) > 0.95


def test_training_is_in_float32_without_instructions_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [small_model(), small_model()]
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    for model, precision in zip(models, ("float32", "bfloat16"), strict=True):
        run(model, replace(CONFIG, epochs=1, precision=precision))
    assert torch.equal(models[0].output.weight, models[1].output.weight)


def test_the_running_mean_is_updated_after_each_step() -> None:
    averaged, model = small_model(), small_model()
    with torch.no_grad():
        for weights in (averaged.output.weight, model.output.weight):
            weights.fill_(4.0)
        for value in (8.0, 2.0):
            model.output.weight.fill_(value)
            average(averaged, model, 0.75)
    assert averaged.output.weight.unique().tolist() == [0.75 * (0.75 * 4 + 0.25 * 8) + 0.25 * 2]


def test_frozen_weights_are_not_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    averaged: list[list[Tensor]] = []

    def watched(kept: float) -> Callable[..., None]:
        def move(means: list[Tensor], weights: list[Tensor], number: object) -> None:
            averaged.append(means)
            get_ema_multi_avg_fn(kept)(means, weights, number)

        return move

    monkeypatch.setattr("sentiment.training.trainer.get_ema_multi_avg_fn", watched)
    model = small_model()
    run(model, replace(CONFIG, epochs=1, ema_decay=0.9, embedding_rate=0.0))
    assert {len(means) for means in averaged} == {len(list(model.parameters())) - 1}


@pytest.mark.slow
def test_the_running_mean_learns_and_differs_from_the_weights() -> None:
    models = [small_model(), small_model()]
    epochs = [
        run(model, replace(CONFIG, ema_decay=averaging)) for model, averaging in zip(models, (0.0, 0.9), strict=True)
    ]
    assert epochs[0][0].train_loss == epochs[1][0].train_loss  # the steps are the same
    assert max(epoch.validation_accuracy for epoch in epochs[1]) > 0.95
    assert not torch.equal(models[0].output.weight, models[1].output.weight)


@pytest.mark.slow
def test_refit_equals_training_for_the_same_number_of_epochs() -> None:
    models = [small_model(), small_model()]
    best = Trainer(models[0], TRAINING, replace(CONFIG, ema_decay=0.9), CPU).fit(VALIDATION, lambda epoch: None)
    losses: list[float] = []
    settings = replace(CONFIG, epochs=50, ema_decay=0.9)  # more than are wanted
    Trainer(models[1], TRAINING, settings, CPU).refit(best.number, lambda epoch: losses.append(epoch.train_loss))
    assert len(losses) == best.number
    assert torch.equal(models[0].output.weight, models[1].output.weight)


def test_another_seed_gives_another_model() -> None:
    models = [small_model(), small_model()]
    for seed, model in enumerate(models):
        run(model, replace(CONFIG, epochs=1, seed=seed))
    assert not torch.equal(models[0].output.weight, models[1].output.weight)


def test_frozen_embeddings_do_not_change() -> None:
    model = small_model()
    before = model.embedding.weight.detach().clone()
    run(model, replace(CONFIG, epochs=1, embedding_rate=0.0, weight_decay=0.1))
    assert torch.equal(model.embedding.weight, before)


def test_a_non_finite_loss_stops_training_before_the_update() -> None:
    model = small_model()
    with torch.no_grad():
        model.output.bias.fill_(torch.nan)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(
        InputError,
        match=r"epoch 1, batch 1 of 25: the loss or its gradient is not finite.*their spans: (\d+, ){7}\d+\)$",
    ):
        run(model)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.nan_to_num(), before[name].nan_to_num())


@pytest.mark.parametrize("clip_norm", [1.0, None])
@pytest.mark.parametrize("term", ["adversarial", "virtual", "entropy"])
def test_a_non_finite_gradient_stops_training_and_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str, clip_norm: float | None
) -> None:
    """Whichever term of the objective it comes from: the loss of the labelled reviews stays finite."""
    monkeypatch.setattr("sentiment.training.trainer.SAVE_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("sentiment.training.trainer.STEPS_BETWEEN_CLOCK_CHECKS", 1)
    step, clean_steps = Objective.step, 0

    def spoil(objective: Objective, batch: Batch, loss: Loss, weight: float, *rest: Any) -> Tensor:
        nonlocal clean_steps
        is_clean = weight == 1 / CONFIG.batch_size
        clean_steps += is_clean
        return step(objective, batch, loss, weight if is_clean or clean_steps < 2 else math.nan, *rest)

    monkeypatch.setattr(Objective, "step", lambda *arguments, **options: spoil(*arguments, *options.values()))
    model, saved = small_model(), SavedState(tmp_path / "some.state")
    changes: dict[str, Any] = {"clip_norm": clip_norm, term: 0.5}
    config = replace(CONFIG, **changes)
    with pytest.raises(InputError, match=r"epoch 1, batch [23] of 25: the loss or its gradient is not finite"):
        Trainer(model, TRAINING, config, CPU, easy_reviews(90, 2), saved).fit(VALIDATION, lambda epoch: None)
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert all(tensor.isfinite().all() for group in saved.load().values() for tensor in group.values())


BATCH = r"epoch 1, batch 1 of 25, 8 reviews, the longest of [\d,]+ tokens"
TO_LOWER = r"lower train\.tokens_at_once, now 1,000"


# A batch, the optimizer's state and the mean of the weights; validation; and all that is there before the first step.
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("sentiment.training.objective.Objective.backward", f"{BATCH}: the GPU's memory is full; {TO_LOWER}"),
        ("torch.optim.AdamW.step", f"{BATCH}: the GPU's memory is full; {TO_LOWER}"),
        ("sentiment.training.trainer.average", f"{BATCH}: the GPU's memory is full; {TO_LOWER}"),
        ("sentiment.training.trainer.predict_logits", f"epoch 1, validation: the GPU's memory is full; {TO_LOWER}"),
        (
            "sentiment.training.objective.weighted_std",
            "moving the model and the reviews to the GPU: the GPU's memory is full; free some",
        ),
    ],
)
def test_an_out_of_memory_error_names_the_work(monkeypatch: pytest.MonkeyPatch, place: str, message: str) -> None:
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(place, refuse)
    with pytest.raises(InputError, match=f"^{message}"):
        run(small_model(), replace(CONFIG, ema_decay=0.9))


def test_validation_respects_tokens_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watched(rows: Tensor, lengths: Tensor, tokens_at_once: int) -> list[Tensor]:
        parts = split_by_tokens(rows, lengths, tokens_at_once)
        sizes.extend(len(part) * int(lengths[part].max()) for part in parts)
        return parts

    monkeypatch.setattr("sentiment.models.inference.split_by_tokens", watched)
    run(small_model(), replace(CONFIG, epochs=1, tokens_at_once=50))
    assert sum(sizes) >= len(VALIDATION.tokens)
    assert max(sizes) <= 50


def test_checking_the_clock_does_not_wait_for_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Trainer(small_model(), TRAINING, CONFIG, CPU, saved=SavedState(tmp_path / "some.state"))
    training.device = torch.device("cuda")
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: pytest.fail("one process needs no tensor"))
    assert not training.is_time_to_save()
    training.saved_at -= 1000
    assert training.is_time_to_save()
    training.saved = None
    assert not training.is_time_to_save()


def test_gradual_unfreezing_trains_one_more_layer_group_each_epoch() -> None:
    config = replace(CONFIG, epochs=1, gradual_unfreezing=True, clip_norm=None)
    model, before = small_model(), small_model().state_dict()
    parts = {"output", "poolings", "layers", "embedding"}

    def moved() -> set[str]:
        return {name.split(".")[0] for name, now in model.state_dict().items() if not torch.equal(now, before[name])}

    trained: list[set[str]] = []
    Trainer(model, TRAINING, replace(config, epochs=3), CPU).refit(3, lambda epoch: trained.append(moved()))
    assert trained == [{"output", "poolings"}, {"output", "poolings", "layers"}, parts]


def test_layer_decay_lowers_the_rate_from_the_output_down() -> None:
    # Of one step of Adam's, each weight's is the learning rate.
    config = replace(CONFIG, epochs=1, batch_size=200, layer_decay=0.5)
    model, before = small_model(), small_model().state_dict()
    run(model, config)
    now = model.state_dict()
    steps = {name: (now[name] - before[name]).abs().max().item() for name in ("output.bias", "embedding.weight")}
    assert steps["output.bias"] == pytest.approx(0.02, rel=1e-3)
    assert steps["embedding.weight"] == pytest.approx(0.005, rel=1e-2)
