import math
from dataclasses import replace
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sentiment.dataset.encoded import EncodedReviews
from sentiment.errors import InputError
from sentiment.models.classifier import Encoder
from sentiment.models.layers import CELLS
from sentiment.pretraining import language_model
from sentiment.pretraining.language_model import (
    SOFTMAXES,
    AdaptiveSoftmax,
    LanguageConfig,
    LanguageModels,
    SampledSoftmax,
    TiedSoftmax,
)
from sentiment.pretraining.trainer import LanguageTrainer, evaluate, streams_of, windows_of
from sentiment.runtime.resume import SavedState
from tests.conftest import combinations, random_reviews, small_config, small_model

CPU = torch.device("cpu")
BOUNDARY = 1
CONFIG = LanguageConfig(
    seed=1,
    precision="float32",
    held_out_share=0.1,
    softmax="adaptive",
    epochs=4,
    streams=4,
    window=5,
    learning_rate=0.02,
    warmup_share=0.0,
    schedule="linear",
    weight_decay=0.0,
    dropout_words=0.0,
    dropout_embedding=0.0,
    dropout_recurrent=0.0,
    dropout_layers=0.0,
    dropout_output=0.0,
    variational=False,
    clip_norm=1.0,
)
DROPOUT: dict[str, Any] = {f"dropout_{name}": 0.2 for name in ("words", "embedding", "recurrent", "layers", "output")}


def counting_reviews(count: int) -> EncodedReviews:
    """Reviews in which token n follows token n - 1, from 2 to 9."""
    tokens = torch.arange(2, 10, dtype=torch.int32).repeat(count)
    return EncodedReviews(tokens, torch.arange(0, 8 * count + 1, 8), torch.full((count,), -1, dtype=torch.int8))


def test_streams_by_hand() -> None:
    reviews = EncodedReviews(torch.arange(10, 16), torch.tensor([0, 2, 6]), torch.tensor([-1, -1]))
    # 12 13 14 15 | 10 11 |, in two streams
    assert streams_of(reviews, torch.tensor([1, 0]), BOUNDARY, 2).T.tolist() == [[12, 13, 14, 15], [1, 10, 11, 1]]
    assert streams_of(reviews, torch.tensor([0]), BOUNDARY, 2).T.tolist() == [[10], [11]]


def test_windows_cover_each_token_once_and_backward_is_the_reverse() -> None:
    streams = torch.arange(22).view(11, 2)
    forward, backward = zip(*windows_of(streams, 2, 4), strict=True)
    assert torch.equal(torch.cat([streams[:1], *(window[1:] for window in forward)]), streams)
    assert torch.equal(torch.cat([streams[-1:], *(window[1:] for window in backward)]), streams.flip(0))
    assert all(torch.equal(window[-1], after[0]) for window, after in pairwise(forward))


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "cell"), combinations(list(product([1, 2], SOFTMAXES)), list(CELLS)))
def test_a_deterministic_sequence_is_learnt_in_both_directions(shape: tuple[int, str], cell: str) -> None:
    layers, softmax = shape
    model = small_model(cell=cell, hidden_size=16, layers=layers, mix_directions=False)
    config = replace(CONFIG, softmax=softmax)
    epochs = list(LanguageTrainer(model, counting_reviews(60), BOUNDARY, config, CPU).train())
    assert [epoch.epochs for epoch in epochs] == pytest.approx([number / 10 for number in range(1, 41)], abs=0.05)
    assert epochs[0].held_out_loss > 2 * epochs[-1].held_out_loss
    assert epochs[-1].held_out_loss < 0.5  # of log 9, were all as likely


@pytest.mark.parametrize("layers", [1, 2])
def test_pretraining_changes_every_weight_of_the_encoder_in_place(layers: int) -> None:
    encoder, before = (Encoder(small_config(layers=layers, mix_directions=False)) for _ in range(2))
    before.load_state_dict(encoder.state_dict())
    list(LanguageTrainer(encoder, random_reviews([9] * 30), BOUNDARY, CONFIG, CPU).train())
    for name, weights in encoder.state_dict().items():
        assert not torch.equal(weights, before.state_dict()[name]), name


def test_an_upper_layer_that_reads_both_directions_is_refused() -> None:
    with pytest.raises(ValueError, match="would see the words to predict"):
        LanguageModels(small_model(layers=2), CONFIG)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_language_model_has_the_states_of_the_classifier(layers: int) -> None:
    model = small_model(layers=layers, mix_directions=False)
    models = LanguageModels(model, CONFIG)
    tokens = torch.randint(2, 20, (7, 3))
    reversed_steps = torch.arange(6, -1, -1)[:, None].expand(7, 3)
    expected = model.embedding(tokens)
    for layer in model.layers:
        expected = layer(expected, reversed_steps)
    for stack, sequence, there in zip(models.stacks, (tokens, tokens.flip(0)), expected.chunk(2, dim=2), strict=True):
        found, _ = stack(models.embed(sequence), [None] * layers)
        torch.testing.assert_close(found if sequence is tokens else found.flip(0), there)


def test_the_adaptive_softmax_equals_pytorchs() -> None:
    torch.manual_seed(0)
    ours = AdaptiveSoftmax(32, 50, 6).double()
    cutoffs = [start for start, _ in ours.groups]
    pytorchs = nn.AdaptiveLogSoftmaxWithLoss(32, 50, cutoffs, div_value=4.0).double()
    with torch.no_grad():
        for theirs, weight in zip(pytorchs.parameters(), ours.parameters(), strict=True):
            theirs.copy_(weight)
    states = torch.randn(40, 32, dtype=torch.float64, requires_grad=True)
    words = torch.randint(50, (40,))
    losses = ours(states, words, states), pytorchs(states, words).loss
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, states)[0] for loss in losses))
    assert ours(states[:1], torch.tensor([0]), states).isfinite()  # no word of any group


def test_the_tied_softmax_equals_its_formula() -> None:
    torch.manual_seed(0)
    softmax = TiedSoftmax(5, 20, 6)
    states, words, embeddings = torch.randn(7, 5), torch.randint(20, (7,)), torch.randn(20, 6)
    logits = states @ softmax.project.weight.T @ embeddings.T + softmax.bias
    expected = -logits.log_softmax(dim=1)[torch.arange(7), words].mean()
    torch.testing.assert_close(softmax(states, words, embeddings), expected)


def test_the_sampled_softmax_is_the_full_one_where_all_words_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "DRAWN", 200_000)  # so many that each of 20 words is drawn as often as expected
    torch.manual_seed(0)
    softmax = SampledSoftmax(5, 20, 6)
    states, words = torch.randn(7, 5, requires_grad=True), torch.arange(7) * 2
    sampled = softmax(states, words, states)
    full = -softmax.output(states).log_softmax(dim=1)[torch.arange(7), words].mean()
    torch.testing.assert_close(sampled, full, rtol=0.02, atol=0)
    gradients = (torch.autograd.grad(loss, states)[0] for loss in (sampled, full))
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0.002)
    softmax.eval()
    torch.testing.assert_close(softmax(states, words, states), full)


def test_the_sampled_softmax_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three drawn words, of which one is the next word, so that two compete with it."""
    monkeypatch.setattr(language_model, "DRAWN", 3)
    monkeypatch.setattr(torch, "rand", lambda count, device: torch.tensor([0.0, 0.5, 0.99]))
    softmax = SampledSoftmax(1, 8, 1)
    with torch.no_grad():
        softmax.output.weight.zero_()
        softmax.output.bias.zero_()
    # 9 to the power of these numbers is 1, 3 and 8.8, so that words 0, 2 and 7 are drawn
    expected_draws = [3 * math.log((word + 2) / (word + 1)) / math.log(9) for word in range(8)]
    loss = softmax(torch.ones(1, 1), torch.tensor([2]), torch.ones(1))
    assert loss.item() == pytest.approx(math.log(1 + 1 / expected_draws[0] + 1 / expected_draws[7]), rel=1e-5)


def test_words_are_dropped_for_a_whole_window_and_recurrent_weights_are_dropped() -> None:
    torch.manual_seed(0)
    models = LanguageModels(small_model(), replace(CONFIG, dropout_words=0.5))
    tokens = torch.arange(20).repeat(3)[:, None]  # (60, 1)
    first, *others = models.embed(tokens).split(20)
    assert 0 < first.any(dim=2).sum() < 20
    assert all(torch.equal(first, other) for other in others)
    dropping = LanguageModels(small_model(), replace(CONFIG, dropout_recurrent=0.5))
    results = [dropping.stacks[0](dropping.embed(tokens), [None])[0] for _ in range(2)]
    assert torch.equal(results[0][0], results[1][0])  # nothing was carried to the first step
    assert not torch.equal(*results)
    dropping.eval()
    results = [dropping.stacks[0](dropping.embed(tokens), [None])[0] for _ in range(2)]
    assert torch.equal(*results)


def test_states_are_carried_across_windows() -> None:
    models = LanguageModels(small_model(), CONFIG)
    streams = streams_of(random_reviews([9] * 30), torch.arange(30), BOUNDARY, 4)
    assert evaluate(models, streams, 5) == pytest.approx(evaluate(models, streams, 1000), rel=1e-5)


def test_an_untrained_language_model_is_nearly_uniform() -> None:
    streams = streams_of(random_reviews([9] * 30), torch.arange(30), BOUNDARY, 4)
    assert evaluate(LanguageModels(small_model(), CONFIG), streams, 5) == pytest.approx(math.log(20), abs=1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reports", "network"), combinations([1, 10, 14, 40], [("rnn", "adaptive"), ("lstm", "tied"), ("gru", "sampled")])
)
def test_interrupted_training_resumes_to_the_same_bits(tmp_path: Path, reports: int, network: tuple[str, str]) -> None:
    cell, softmax = network
    reviews, config = random_reviews([9] * 60), replace(CONFIG, softmax=softmax, variational=True, **DROPOUT)
    whole, broken, resumed = (small_model(cell=cell, layers=2, mix_directions=False) for _ in range(3))
    readings = list(LanguageTrainer(whole, reviews, BOUNDARY, config, CPU).train())
    saved = SavedState(tmp_path / "some.state")
    first = list(islice(LanguageTrainer(broken, reviews, BOUNDARY, config, CPU, saved).train(), reports))
    torch.rand(3)  # other programs draw other numbers
    again = list(LanguageTrainer(resumed, reviews, BOUNDARY, config, CPU, saved).train())
    assert again[:reports] == first
    assert [reading[:3] for reading in again] == [reading[:3] for reading in readings]  # all but the seconds
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    saved.path.unlink()
    assert saved.load() == {}


def test_a_non_finite_loss_stops_training_before_the_update() -> None:
    model = small_model()
    trainer = LanguageTrainer(model, counting_reviews(40), BOUNDARY, CONFIG, CPU)
    with torch.no_grad():
        model.layers[0].forward_cell.bias_hh_l0.fill_(torch.nan)  # type: ignore[union-attr, operator]
    before = model.embedding.weight.clone()
    with pytest.raises(InputError, match=r"pretraining, epoch 1, window 1 of \d+: the loss or its gradient is not"):
        next(trainer.train())
    assert torch.equal(model.embedding.weight, before)


def test_two_runs_give_the_same_bits() -> None:
    models = [small_model(), small_model()]
    for model in models:
        list(LanguageTrainer(model, random_reviews([9] * 30), BOUNDARY, CONFIG, CPU).train())
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("place", "work"),
    [
        ("sentiment.pretraining.trainer.LanguageModels.forward", r"epoch 1, window 1 of \d+"),
        ("sentiment.pretraining.trainer.evaluate", r"epoch 1, window \d+ of \d+, evaluation on the held-out reviews"),
    ],
)
def test_an_out_of_memory_error_names_the_window(monkeypatch: pytest.MonkeyPatch, place: str, work: str) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED")

    monkeypatch.setattr(place, refuse)
    message = rf"^{work}: the GPU's memory is full; lower pretrain\.window or pretrain\.streams, now 4$"
    with pytest.raises(InputError, match=message):
        list(LanguageTrainer(small_model(), counting_reviews(60), BOUNDARY, CONFIG, CPU).train())
