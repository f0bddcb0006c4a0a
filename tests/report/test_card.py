"""Tests of the model card."""

from pathlib import Path

from sentiment.report.card import Card, Data, write_card

TEST = {
    "accuracy": 0.9,
    "accuracy_low": 0.85,
    "accuracy_high": 0.95,
    "baseline_accuracy": 0.6,
    "network_accuracy": 0.71,
    "baseline_behaviour": 0.5,
    "behaviour": 0.75,
    "loss": 0.3,
    "roc_auc": 0.97,
    "calibration_error": 0.02,
    "majority_share": 0.5,
}
CARD = Card(
    title="LSTM & <GRU>",
    labels=("negative", "positive"),
    network={"cell": "lstm", "layers": 1},
    data=Data(
        description="Reviews.",
        licence="none.",
        language="en",
        train=1140,
        labelled=1000,
        unsup=250,
        validation=485,
        test=625,
        known=0.985,
        uses={"train": ["vocabulary", "network"], "unsup": [], "validation": ["calibration"]},
    ),
    words=12_345,
    test=TEST,
    of_labels=[],
    behaviour=[{"capability": "negation", "model": "0.6", "baseline": "0.5", "cases": "20"}],
    lengths=[{"tokens": "25.7", "accuracy": "0.984127", "reviews": "63"}],
)


def test_a_card_states_the_figures_it_is_given(tmp_path: Path) -> None:
    write_card(tmp_path / "README.md", CARD)
    lines = (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# LSTM & <GRU>"
    for line in (
        "| layers | 1 |",
        "| train | 1,140, 1,000 with labels | vocabulary, network |",
        "| unsup | 250, without labels | none |",
        "| validation | 485 | calibration |",
        "| accuracy | 90.00 %, 95 % interval 85.00 % to 95.00 % | 60.00 % |",
        "| negation | 20 | 60.00 % | 50.00 % |",
        "| 25.7 | 63 | 98.41 % |",
        "- It knows 12,345 words of English, split by spaCy's rules; 98.50 % of the words in",
    ):
        assert line in lines


def test_a_card_of_a_model_with_a_linear_part(tmp_path: Path) -> None:
    write_card(tmp_path / "README.md", CARD._replace(network={"cell": "lstm", "linear model": "9 n-grams"}))
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "to 95.00 % | 60.00 % |\n| of the network alone | 71.00 % | |\n| written test" in text


def test_a_card_of_another_language(tmp_path: Path) -> None:
    write_card(tmp_path / "README.md", CARD._replace(data=CARD.data._replace(language="de")))
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "- It knows 12,345 words, split by spaCy's rules for the language `de`;\n" in text


def test_a_card_of_more_labels(tmp_path: Path) -> None:
    rows = [{"label": "fair", "reviews": "20", "precision": "0.5", "recall": "0.25", "f1": "0.333333"}]
    card = CARD._replace(labels=("bad", "fair", "good"), of_labels=rows, behaviour=[], test=TEST | {"f1": 0.4})
    write_card(tmp_path / "README.md", card)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "how probable each of 3 labels is:\nbad, fair, good." in text
    assert "| fair | 20 | 50.00 % | 25.00 % | 0.333333 |\n\nBy length" in text
    assert "written test case" not in text
    assert "- It knows 3 labels." in text
    assert "\n\n\n" not in text


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_card(tmp_path / name, CARD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
