"""Benchmarks that no other test runs still fit the pipeline."""

from pathlib import Path

import pytest

from benchmarks.defaults import CORPORA, measure
from tests.clone import Clone

pytestmark = pytest.mark.campaign


def test_the_defaults_are_measured_on_a_small_corpus(tmp_path: Path) -> None:
    corpus = CORPORA[0]._replace(texts=150)
    name, training, _, *accuracies, p = measure(Clone(tmp_path), corpus, seeds=[1]).strip("| ").split(" | ")
    assert (name, training) == (corpus.name, "84")
    assert all(0 < float(accuracy.removesuffix("%")) <= 100 for accuracy in accuracies)
    assert 0 <= float(p) <= 1
