"""The baseline stage refuses n-grams that it could not tell apart."""

from pathlib import Path

import pytest

from sentiment.errors import InputError
from stages.baseline import linear_config
from stages.params import read_params

SETTINGS = read_params(Path(__file__).resolve().parent.parent / "params.yaml").baseline


def test_ngrams_whose_numbers_would_overflow_are_refused() -> None:
    assert linear_config(SETTINGS.model_copy(update={"max_words": 4}), 25_002).max_words == 4
    with pytest.raises(
        InputError, match=r"^baseline\.max_words must be at most 4 with a vocabulary of 25,002 words; got 5"
    ):
        linear_config(SETTINGS.model_copy(update={"max_words": 5}), 25_002)
