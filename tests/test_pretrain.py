"""The pretrain stage reports perplexities."""

import math

import pytest

from sentiment.errors import InputError
from sentiment.pretraining.trainer import Progress
from stages.pretrain import report_progress


def test_a_perplexity_is_the_exponential_of_the_loss() -> None:
    assert report_progress(Progress(0.5, math.log(20), math.log(30), 1.0), 1) == (0.5, 20.0, 30.0)


def test_a_perplexity_too_large_for_a_number_names_the_learning_rate() -> None:
    with pytest.raises(
        InputError, match=r"after 0\.1 epochs the loss is 1,200 nats a token; lower pretrain\.learning_rate$"
    ):
        report_progress(Progress(0.1, 5.0, 1200.0, 1.0), 1)
