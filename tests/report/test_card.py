"""Tests of the model card."""

from pathlib import Path

from sentiment.report.card import Card, Data, write_card

TEST = {
    "accuracy": 0.9,
    "accuracy_low": 0.85,
    "accuracy_high": 0.95,
    "baseline_accuracy": 0.6,
    "baseline_behaviour": 0.5,
    "behaviour": 0.75,
    "loss": 0.3,
    "roc_auc": 0.97,
    "calibration_error": 0.02,
    "majority_share": 0.5,
}
CARD = Card(
    title="LSTM & <GRU>",
    network={"cell": "lstm", "layers": 1},
    data=Data("Reviews.", "none.", "en", train=1140, labels=1000, unsup=250, validation=485, test=625, known=0.985),
    words=12_345,
    test=TEST,
    behaviour=[{"capability": "negation", "model": "0.6", "baseline": "0.5", "cases": "20"}],
    lengths=[{"tokens": "25.7", "accuracy": "0.984127", "reviews": "63"}],
)


def test_a_card_states_the_figures_it_is_given(tmp_path: Path) -> None:
    write_card(tmp_path / "README.md", CARD)
    lines = (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# LSTM & <GRU>"
    for line in (
        "| layers | 1 |",
        "| train | 1,140, 1,000 with labels | fits the network and the vocabulary |",
        "| accuracy | 90.00 %, 95 % interval 85.00 % to 95.00 % | 60.00 % |",
        "| negation | 20 | 60.00 % | 50.00 % |",
        "| 25.7 | 63 | 98.41 % |",
        "- It knows 12,345 words, split by spaCy's rules for the language `en`;",
    ):
        assert line in lines


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_card(tmp_path / name, CARD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
