"""Evaluate the model on the test reviews, by whose labels no earlier stage fits or selects anything."""

from stages.params import Params
from stages.paths import BASELINE, BEHAVIOUR, CORPUS, ENCODED, EVALUATION, METRICS, MODEL, SPLITS, VOCABULARY
from stages.run import run


def evaluate(params: Params) -> None:
    """Write the metrics, the data for plots, and the predictions, most confident mistakes first."""
    import numpy as np
    import torch

    from sentiment.corpora.reviews import read_corpus
    from sentiment.dataset.encoded import SPLIT_DTYPES, load_encoded
    from sentiment.dataset.vocabulary import encode_texts, load_vocabulary
    from sentiment.evaluation import metrics
    from sentiment.evaluation.behaviour import read_cases, shares_passed
    from sentiment.models.attribution import gradient_by_distance
    from sentiment.models.checkpoint import VOCABULARY_NAME, check_vocabulary, load_checkpoint
    from sentiment.models.inference import predict_logits
    from sentiment.runtime.device import catch_out_of_memory, choose_device, tune_memory
    from sentiment.storage.outputs import atomic_output, write_csv, write_json
    from sentiment.storage.tensors import load_tensors

    tune_memory()
    model = load_checkpoint(MODEL)
    check_vocabulary(MODEL, VOCABULARY)  # the test reviews' token ids are those of this vocabulary
    reviews = load_encoded(ENCODED["test"], model.config.vocabulary_size)
    labels = reviews.labels.numpy()
    device = choose_device()
    with catch_out_of_memory("scoring the test reviews"):
        logits = predict_logits(model, reviews, device).double().numpy()
    probability_of = load_tensors(BASELINE, dict.fromkeys(("test", "behaviour"), torch.float64))
    all_ids = read_corpus(CORPUS, ["id"])["id"]
    ids = [all_ids[row] for row in load_tensors(SPLITS, SPLIT_DTYPES)["test"].tolist()]

    settings = params.evaluate
    figures = metrics.score(labels, logits, settings.calibration_bins)
    probabilities, as_trained = metrics.sigmoid(logits), metrics.sigmoid(logits * model.temperature.item())
    correct, baseline_correct = (logits > 0) == labels, (probability_of["test"].numpy() > 0.5) == labels
    cases = read_cases(BEHAVIOUR)
    vocabulary, rules = load_vocabulary(MODEL / VOCABULARY_NAME, model.config.vocabulary_size)
    encoded_cases = encode_texts(cases.texts, vocabulary, rules)
    with catch_out_of_memory("scoring the behavioural tests"):
        case_logits = predict_logits(model, encoded_cases, device).numpy()
    predicted_positive = {
        "model": case_logits > 0,
        "baseline": probability_of["behaviour"].numpy() > 0.5,
    }
    low, high = metrics.accuracy_interval(correct)
    more = {
        "accuracy_low": low,
        "accuracy_high": high,
        "calibration_before": metrics.calibration_error(labels, as_trained, settings.calibration_bins),
        "baseline_accuracy": float(np.mean(baseline_correct)),
        "mcnemar_p": metrics.mcnemar(correct, baseline_correct),
        "behaviour": float(np.mean(predicted_positive["model"] == cases.labels)),
        "baseline_behaviour": float(np.mean(predicted_positive["baseline"] == cases.labels)),
    }
    figures |= {name: round(figure, metrics.DIGITS) for name, figure in more.items()}
    gradient = gradient_by_distance(model, reviews, settings.gradient_reviews).log10()
    tables: dict[str, metrics.Table] = {
        "predictions": metrics.prediction_table(ids, labels, logits),
        "roc": metrics.roc_curve(labels, logits),
        "precision_recall": metrics.precision_recall_curve(labels, logits),
        "calibration": metrics.calibration_curve(labels, probabilities, settings.calibration_bins),
        "accuracy_by_length": metrics.accuracy_by_length(labels, logits, reviews.lengths.numpy(), settings.length_bins),
        "behaviour": shares_passed(cases, predicted_positive),
        "gradient": {
            "distance": list(range(len(gradient))),
            "log10_norm": gradient.numpy().round(metrics.DIGITS).tolist(),
        },
    }
    with atomic_output(EVALUATION) as folder:
        folder.mkdir()
        for name, table in tables.items():
            write_csv(folder / f"{name}.csv", table)
    for path in METRICS["test"]:
        write_json(path, figures)
    print(
        f"test accuracy {figures['accuracy']:.2%}, of the linear baseline {figures['baseline_accuracy']:.2%}, "
        f"of always the majority class {figures['majority_share']:.2%}"
    )


if __name__ == "__main__":
    run(evaluate)
