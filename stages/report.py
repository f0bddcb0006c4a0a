"""Write the HTML report: metrics, plots, data, the model's most confident mistakes and the parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stages.params import Params
from stages.paths import CORPUS, CURVES, EMBEDDINGS, ENCODED, EVALUATION, METRICS, MODEL, PERPLEXITY, REPORT
from stages.run import read_metrics, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sentiment.report.page import Mistake
    from sentiment.report.plots import Plot
    from sentiment.scoring.scorer import Scorer

MODELS = ("model", "baseline")


def report(params: Params) -> None:
    """Write the page with metrics, figures, the most confident mistakes and the parameters."""
    from sentiment.report.page import Report, write_report
    from sentiment.scoring.scorer import Scorer
    from sentiment.storage.outputs import read_columns, sha256_of

    metrics = {name: read_metrics(name) for name in METRICS}
    metrics = {name: figures for name, figures in metrics.items() if figures}  # empty without pretraining
    test, prepared, model = metrics["test"], metrics["prepare"], params.model
    is_mixed = metrics["calibrate"]["linear_weight"] > 0
    scorer = Scorer(MODEL)
    of_labels = EVALUATION / "labels.csv"  # of more than two labels
    page = Report(
        title=f"{'Bidirectional ' if model.bidirectional else ''}{model.cell.upper()}, corpus {params.download.corpus}",
        summary=[
            ("test accuracy", f"{test['accuracy']:.2%}"),
            *([("of the network alone", f"{test['network_accuracy']:.2%}")] if is_mixed else []),
            ("linear baseline", f"{test['baseline_accuracy']:.2%}"),
            ("majority class", f"{test['majority_share']:.2%}"),
            ("area under ROC", f"{test['roc_auc']:.4f}"),
            *([("mean F1 of the labels", f"{test['f1']:.4f}")] if len(scorer.labels) > 2 else []),
            ("test loss, nats", f"{test['loss']:.4f}"),
            ("test reviews", f"{test['reviews']:,}"),
        ],
        metrics=metrics,
        data={
            **{f"reviews, {split}": f"{prepared[f'{split}_reviews']:,}" for split in ENCODED},
            **{f"bytes of {path}": f"{path.stat().st_size:,}" for path in (CORPUS, EMBEDDINGS)},
            **{f"sha256 of {path}": sha256_of(path) for path in (CORPUS, EMBEDDINGS)},
        },
        figures=figures(metrics, scorer.labels),
        labels=scorer.labels,
        label_table=read_columns(of_labels) if of_labels.exists() else {},
        mistakes=mistakes(scorer, params.report.mistakes),
        language=params.prepare.language,
        parameters={section: flatten(values) for section, values in params.model_dump().items()},
    )
    write_report(REPORT, page)
    print(f"report: {REPORT.absolute().as_uri()}")


def figures(metrics: dict[str, dict[str, Any]], labels: Sequence[str]) -> list[Plot]:
    """Draw the figures from the outputs of pretraining, training and evaluation; `labels` are the names, K."""
    from collections import Counter

    from sentiment.report import plots as draw
    from sentiment.storage.outputs import read_columns

    def curve(path: Path) -> dict[str, list[float]]:
        return {name: [float(number) for number in column] for name, column in read_columns(path).items()}

    by_epoch = CURVES / "plots" / "metrics"
    train, validation = (curve(by_epoch / split / "loss.tsv") for split in ("train", "validation"))
    accuracy = curve(by_epoch / "validation" / "accuracy.tsv")
    best_epoch, test = metrics["train"]["best_epoch"], metrics["test"]
    predictions = read_columns(EVALUATION / "predictions.csv")
    behaviour = read_columns(EVALUATION / "behaviour.csv")
    shares = [[float(share) for share in behaviour[name]] for name in MODELS]
    perplexity = curve(PERPLEXITY)
    return [
        *([draw.perplexity(perplexity)] if perplexity["epochs"] else []),
        draw.loss_by_epoch(train, validation, best_epoch),
        draw.accuracy_by_epoch(accuracy, best_epoch),
        draw.confusion(Counter(zip(predictions["actual"], predictions["predicted"], strict=True)), labels),
        draw.roc(curve(EVALUATION / "roc.csv"), test["roc_auc"], labels),
        draw.precision_recall(curve(EVALUATION / "precision_recall.csv"), test["average_precision"], labels),
        draw.calibration(curve(EVALUATION / "calibration.csv"), test["calibration_error"], labels),
        draw.accuracy_by_length(curve(EVALUATION / "accuracy_by_length.csv")),
        *(
            [draw.behaviour(behaviour["capability"], shares[0], shares[1], 1 / len(labels))]
            if behaviour["capability"]
            else []
        ),
        draw.gradient_by_distance(curve(EVALUATION / "gradient.csv")),
    ]


def mistakes(scorer: Scorer, count: int) -> list[Mistake]:
    """Compute the token weights of the most confident mistakes, which come first in the predictions."""
    import pyarrow as pa

    from sentiment.corpora.reviews import read_corpus
    from sentiment.report.page import Mistake
    from sentiment.storage.outputs import read_columns

    predictions = read_columns(EVALUATION / "predictions.csv")
    wrong = [row for row in zip(*predictions.values(), strict=True) if row[1] != row[2]][:count]
    if not wrong:
        return []
    corpus = read_corpus(CORPUS, ["id", "text"])
    text_of = dict(zip(corpus["id"], corpus["text"], strict=True))
    words = scorer.explain(pa.array(text_of[name] for name, *_ in wrong))
    return [
        Mistake(
            name,
            actual,
            predicted,
            scorer.labels[1] if len(scorer.labels) == 2 else predicted,
            float(probability),
            words_of_text,
        )
        for (name, actual, predicted, probability), words_of_text in zip(wrong, words, strict=True)
    ]


def flatten(section: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested mappings to dotted keys, and spell each value as in params.yaml."""
    flat: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


if __name__ == "__main__":
    run(report)
