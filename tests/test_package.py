"""What the model card says of the texts that a run has used."""

from pathlib import Path

import pytest

from stages.package import uses_of
from stages.params import read_params
from tests.conftest import with_value

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("place", "value", "part", "uses"),
    [
        ("vectors.source", "fetched", "train", ["vocabulary", "network"]),
        ("vectors.source", "fetched", "unsup", []),
        ("vectors.source", "both", "unsup", ["word vectors"]),
        ("pretrain.enabled", "true", "unsup", ["word vectors", "language models"]),
        ("pretrain.enabled", "true", "train", ["vocabulary", "word vectors", "language models", "network"]),
        ("train.virtual", "1.0", "unsup", ["word vectors", "network"]),
        ("train.entropy", "1.0", "unsup", ["word vectors", "network"]),
        ("train.refit", "true", "validation", ["choice of the epoch", "calibration", "network, trained once more"]),
    ],
)
def test_a_card_says_what_the_texts_were_used_for(
    tmp_path: Path, place: str, value: str, part: str, uses: list[str]
) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(with_value(text, place, value), encoding="utf-8")
    assert uses_of(read_params(tmp_path / "params.yaml"))[part] == uses
