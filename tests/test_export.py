"""`stages.export`: what it writes scores as the model does, without PyTorch; the model is never overwritten."""

import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sentiment.dataset.vocabulary import fit_vocabulary, save_vocabulary
from sentiment.errors import InputError
from sentiment.models.checkpoint import save_checkpoint
from sentiment.scoring.scorer import Scorer
from sentiment.text.tokenizer import ReviewTokenizer, TokenRules
from stages.export import main
from tests.conftest import small_model

pytestmark = pytest.mark.slow

TEXTS = [
    "A good film.",
    "<br />a BAD<BR>film, \u00a0 bad<br / >\n\n bad  ",
    "Don't \u2028 caf\u00e9 \U0001f600 &amp; http://example.org/a?b=c \u0130",
    "<br/><br/>",
    "x " * 300,
    "a\x85good</br>film\x1c<br\u3000/>h-a",
]
WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = sys.modules["sentiment"] = None
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture(scope="module")
def exported(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "export"
    main(["--model", str(model_folder), "--output", str(folder)])
    return folder


def test_the_script_scores_as_the_scorer_does(model_folder: Path, exported: Path) -> None:
    scorer = Scorer(model_folder)
    script = runpy.run_path(str(exported / "score.py"))["Scorer"](exported)
    encoded = scorer.encode(pa.array(TEXTS))
    starts = encoded.offsets.tolist()
    for number, text in enumerate(TEXTS):
        assert script.encode(text) == encoded.tokens[starts[number] : starts[number + 1]].tolist()
    expected = scorer(pa.record_batch({"text": TEXTS}))["probability_positive"].to_pylist()
    for found, probability in zip(script(TEXTS, batch_size=4), expected, strict=True):
        assert probability is None or found[1] == pytest.approx(probability, abs=1e-5)


@pytest.mark.parametrize(
    ("language", "text"), [("de", "Ein guter Film, z.B. heute"), ("es", "EE. UU. gana"), ("zh", "很好看。 <br>好")]
)
def test_the_script_splits_text_of_any_language_as_the_scorer_does(tmp_path: Path, language: str, text: str) -> None:
    rules = TokenRules(lower=True, keep_breaks=False, max_tokens=None, language=language)
    tokenized = ReviewTokenizer(rules).tokenize(pa.array([text]))
    vocabulary = fit_vocabulary(Counter(tokenized.types.to_pylist()), 99, 1)
    save_vocabulary(tmp_path / "words", vocabulary, rules)
    model = small_model(vocabulary_size=len(vocabulary.itos))
    save_checkpoint(tmp_path / "model", model, tmp_path / "words")
    main(["--model", str(tmp_path / "model"), "--output", str(tmp_path / "export")])
    script = runpy.run_path(str(tmp_path / "export" / "score.py"))["Scorer"](tmp_path / "export")
    encoded = script.encode(text)
    assert encoded == Scorer(tmp_path / "model").encode(pa.array([text])).tokens.tolist()
    assert 0 not in encoded, "no word is unknown"


def test_the_script_adds_the_logits_of_the_linear_model(mixed_model: Path, tmp_path: Path) -> None:
    main(["--model", str(mixed_model), "--output", str(tmp_path / "export")])
    script = runpy.run_path(str(tmp_path / "export" / "score.py"))["Scorer"](tmp_path / "export")
    scorer = Scorer(mixed_model)
    scores = scorer(pa.record_batch({"text": TEXTS}))
    scored = np.array([scores[name].to_pylist() for name in scorer.schema.names[2:]], dtype=float).T  # null: NaN
    is_scored = ~np.isnan(scored[:, 0])
    assert script(TEXTS, batch_size=4)[is_scored] == pytest.approx(scored[is_scored], abs=1e-5)


def test_eight_bits_cost_little(exported: Path) -> None:
    scorer = runpy.run_path(str(exported / "score.py"))["Scorer"]
    exact, small = (scorer(exported, name)(TEXTS) for name in ("model.onnx", "model.int8.onnx"))
    assert small == pytest.approx(exact, abs=0.05)


def test_the_script_gives_a_blank_text_no_score_as_predict_does(exported: Path) -> None:
    command = [sys.executable, str(exported / "score.py"), "<br /> <BR>", "\u00a0", "good"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[:2] == ["-       -"] * 2
    assert lines[2].endswith("  good")


def test_the_script_needs_neither_torch_nor_the_library(exported: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported / "score.py")]
    arguments = subprocess.run([*command, "good", "bad"], capture_output=True, text=True, check=True)
    lines = subprocess.run(command, input="good\nbad\n", capture_output=True, text=True, check=True)
    assert [line.split()[2] for line in arguments.stdout.splitlines()] == ["good", "bad"]
    assert lines.stdout == arguments.stdout


def test_the_card_goes_along(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "classifier")
    (tmp_path / "classifier" / "README.md").write_text("A card.")
    main(["--model", str(tmp_path / "classifier"), "--output", str(tmp_path / "export")])
    assert (tmp_path / "export" / "README.md").read_text() == "A card."


@pytest.mark.parametrize("place", [".", "..", "inside"])
def test_the_model_is_never_overwritten(model_folder: Path, place: str) -> None:
    with pytest.raises(InputError, match=r"holds the model, or is in its folder; name another folder \(--output\)$"):
        main(["--model", str(model_folder), "--output", str(model_folder / place)])
    assert (model_folder / "model.json").exists()
