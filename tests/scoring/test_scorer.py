"""Tests of the scorer."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import sentiment
from sentiment.corpora.reviews import SENTIMENT
from sentiment.errors import InputError
from sentiment.models.attribution import explained_gradient, token_weights
from sentiment.models.inference import predict_logits
from sentiment.models.logits import class_logits
from sentiment.scoring import scorer as module
from sentiment.scoring.scorer import Scorer, scorable_texts, score_schema
from sentiment.storage.outputs import sha256_of

SCHEMA = score_schema(SENTIMENT)

TEXTS = ["A good film.", "a bad film , bad , bad", "good", "unheard of"]


def texts(*values: str | None, **columns: object) -> pa.RecordBatch:
    return pa.record_batch({**columns, "text": pa.array(values, pa.string())})


def test_each_row_gets_its_id_a_label_and_probabilities_that_sum_to_one(model_folder: Path) -> None:
    scores = Scorer(model_folder)(texts(*TEXTS, id=pa.array([7, 8, 9, None]), other=pa.array([1.0] * 4)))
    assert scores.schema == SCHEMA
    assert scores["id"].to_pylist() == ["7", "8", "9", None]
    for row in scores.to_pylist():
        assert row["probability_negative"] + row["probability_positive"] == pytest.approx(1, abs=1e-15)
        assert row["label"] == ("positive" if row["probability_positive"] > 0.5 else "negative")


def test_without_a_column_of_ids_the_ids_are_null(model_folder: Path) -> None:
    assert Scorer(model_folder)(texts("good"))["id"].to_pylist() == [None]


def test_probabilities_are_those_of_the_logits_over_the_temperature(model_folder: Path) -> None:
    scorer = Scorer(model_folder)
    logits = torch.from_numpy(scorer.logits(scorer.encode(pa.array(TEXTS))))[:, 1]
    scorer.network.temperature.fill_(4.0)
    expected = (logits / 4).sigmoid().tolist()
    assert scorer(texts(*TEXTS))["probability_positive"].to_pylist() == pytest.approx(expected, abs=1e-15)


def test_the_logits_of_a_linear_model_are_added(mixed_model: Path) -> None:
    scorer = Scorer(mixed_model)
    reviews = scorer.encode(pa.array(TEXTS))
    assert scorer.linear is not None
    network = class_logits(predict_logits(scorer.network, reviews, torch.device("cpu"))).double()
    assert scorer.logits(reviews) == pytest.approx((network + scorer.linear.logits(reviews)).numpy())
    assert abs(scorer.linear_logits(reviews)).min(axis=0)[-1] > 0


def test_the_words_are_explained_with_the_share_of_the_linear_model(mixed_model: Path) -> None:
    scorer = Scorer(mixed_model)
    (words,) = scorer.explain(pa.array(["A good film."]))
    assert scorer.linear is not None
    reviews = scorer.encode(pa.array(["A good film."]))
    logits = torch.from_numpy(scorer.logits(reviews))
    gradient = explained_gradient(logits[:, 1] if len(scorer.labels) == 2 else logits)
    (of_network,), (of_linear,) = (
        token_weights(scorer.network, reviews, gradient),
        scorer.linear.token_weights(reviews),
    )
    expected = of_network + of_linear @ gradient.reshape(-1)
    assert [word.weight for word in words] == pytest.approx((expected / expected.abs().max()).tolist(), abs=0.05)


def test_of_no_texts_there_are_no_words(mixed_model: Path) -> None:
    assert Scorer(mixed_model).explain(pa.array([], pa.string())) == []


@pytest.mark.parametrize("blank", [None, "", "<br />"])
def test_a_text_without_words_is_explained_as_the_unknown_token(mixed_model: Path, blank: str | None) -> None:
    scorer = Scorer(mixed_model)
    words, others = scorer.explain(pa.array([blank, "A good film."]))
    assert [word.text for word in words] == ["<unk>"]
    assert others == scorer.explain(pa.array(["A good film."]))[0]


def test_more_than_two_labels(model_of_three: Path) -> None:
    scorer = Scorer(model_of_three)
    assert scorer.schema.names[2:] == ["probability_bad", "probability_fair", "probability_good"]
    for row in scorer(texts(*TEXTS)).to_pylist():
        probabilities = {name: row[f"probability_{name}"] for name in scorer.labels}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-15)
        assert row["label"] == max(probabilities, key=probabilities.__getitem__)
    assert scorer(texts("good", None, " "))["label"].null_count == 2
    with pytest.raises(InputError, match=r"a threshold is for two labels; .* has 3"):
        Scorer(model_of_three, threshold=0.9)(texts("good"))


def test_a_vocabulary_with_other_labels_than_the_model_is_refused(model_of_three: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_of_three, folder)
    vocabulary, config = folder / "vocabulary.json", folder / "model.json"
    saved = json.loads(vocabulary.read_text(encoding="utf-8"))
    vocabulary.write_text(json.dumps({**saved, "labels": ["bad", "good"]}), encoding="utf-8")
    sums = json.loads(config.read_text(encoding="utf-8")) | {"vocabulary_sha256": sha256_of(vocabulary)}
    config.write_text(json.dumps(sums), encoding="utf-8")
    with pytest.raises(InputError, match=r"vocabulary\.json: must have 3 labels, like the model; got 2"):
        Scorer(folder)(texts("good"))


def test_the_threshold_moves_the_labels_alone(model_folder: Path) -> None:
    scores = Scorer(model_folder)(texts(*TEXTS))
    above, below = (
        Scorer(model_folder, threshold=1.0)(texts(*TEXTS)),
        Scorer(model_folder, threshold=0.0)(texts(*TEXTS)),
    )
    assert above["label"].to_pylist() == ["negative"] * 4
    assert below["label"].to_pylist() == ["positive"] * 4
    assert above["probability_positive"] == below["probability_positive"] == scores["probability_positive"]


@pytest.mark.parametrize("blank", [None, "", " ", "\t\n", "\u00a0", "<br /> <BR>"])
def test_a_text_without_words_gets_no_label_and_changes_no_other_row(model_folder: Path, blank: str | None) -> None:
    scorer = Scorer(model_folder)
    scores = scorer(texts("good", blank, "bad"))
    assert scores.slice(1, 1).to_pylist() == [dict.fromkeys(SCHEMA.names)]
    others = scorer(texts("good", "bad"))["probability_positive"].to_pylist()
    assert scores["probability_positive"].drop_null().to_pylist() == pytest.approx(others, abs=1e-6)


def test_bytes_that_are_not_utf8_get_no_label() -> None:
    broken = pa.array([b"good", b"caf\xe9", None, b"caf\xc3\xa9"], pa.binary()).view(pa.string())
    assert scorable_texts(broken, "text").to_pylist() == ["good", None, None, "caf\u00e9"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_any_type_of_text_is_read(kind: pa.DataType) -> None:
    assert scorable_texts(pa.array(["good", None, "good"]).cast(kind), "text").to_pylist() == ["good", None, "good"]


def test_texts_of_more_than_two_gibibytes_are_read_in_parts(tmp_path: Path) -> None:
    path, start = tmp_path / "texts", 2**31 + 5
    with path.open("wb") as file:  # a file with a hole, of which nothing is read but the end
        file.seek(start)
        file.write(b"good film")
    buffers = pa.py_buffer(np.array([0, start, start + 4, start + 9])), pa.py_buffer(np.memmap(path, mode="r"))
    column = pa.LargeStringArray.from_buffers(3, *buffers)
    assert scorable_texts(column.slice(1), "text").to_pylist() == ["good", " film"]


def test_a_batch_without_texts_or_without_rows_has_the_same_schema(model_folder: Path) -> None:
    scorer = Scorer(model_folder)
    assert scorer(pa.record_batch({"text": pa.nulls(2)}))["label"].null_count == 2
    assert scorer(texts()).schema == scorer(texts(None)).schema == SCHEMA
    assert len(scorer(texts())) == 0


def test_a_missing_column_and_one_of_another_type_are_errors_of_one_line(model_folder: Path) -> None:
    with pytest.raises(InputError, match=r"^the texts need a column named 'body'; the columns are text$"):
        Scorer(model_folder, text_column="body")(texts("good"))
    with pytest.raises(InputError, match=r"^the column 'text' must hold text; it holds int64$"):
        Scorer(model_folder)(pa.record_batch({"text": pa.array([1])}))
    with pytest.raises(InputError, match=r"^the column 'id' must have a text form; it holds list<item: int64>$"):
        Scorer(model_folder)(texts("good", id=pa.array([[1]])))


def test_many_rows_are_scored_in_parts_and_stay_in_order(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Scorer(model_folder)(texts(*TEXTS * 3, id=pa.array(range(12))))
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 5)
    parts = Scorer(model_folder)(texts(*TEXTS * 3, id=pa.array(range(12))))
    assert parts["id"] == whole["id"]
    assert parts["probability_positive"].to_pylist() == pytest.approx(whole["probability_positive"].to_pylist())


def test_a_pickled_scorer_holds_no_model_and_scores_the_same(model_folder: Path) -> None:
    scorer = Scorer(model_folder)
    expected = scorer(texts(*TEXTS))
    pickled = pickle.dumps(scorer)
    assert len(pickled) < 1_000
    assert pickle.loads(pickled)(texts(*TEXTS)) == expected


def test_a_scorer_reads_the_model_when_it_first_scores(tmp_path: Path) -> None:
    scorer = Scorer(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        scorer(texts("good"))


def test_the_words_of_an_explanation_are_spelled_as_in_the_text(model_folder: Path) -> None:
    (words,) = Scorer(model_folder).explain(pa.array(["A GOOD film."]))
    assert [word.text for word in words] == ["A", "GOOD", "film", "."]
    assert max(abs(word.weight) for word in words) == 1


def test_the_package_offers_the_scorer_and_nothing_else() -> None:
    assert sentiment.Scorer is Scorer
    with pytest.raises(AttributeError, match=r"^module 'sentiment' has no attribute 'scorer'$"):
        _ = sentiment.scorer


def test_other_arguments_are_refused(model_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^threshold must be from 0 to 1; got 5$"):
        Scorer(model_folder, threshold=5)
    with pytest.raises(TypeError, match=r"^must be a pyarrow\.RecordBatch; got Table \(a Table has to_batches\(\)\)$"):
        Scorer(model_folder)(pa.table({"text": ["good"]}))
