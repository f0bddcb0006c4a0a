"""Calibrate the network and the linear baseline together on validation reviews; the two become the model."""

from stages.params import Params
from stages.paths import BASELINE, ENCODED, HELD_OUT, MODEL, NETWORK
from stages.run import run, write_metrics


def calibrate(params: Params) -> None:
    """Write the model's folder and the metrics of the two parts together."""
    import torch

    from sentiment.dataset.encoded import load_encoded
    from sentiment.linear.model import LINEAR, load_linear
    from sentiment.models.checkpoint import VOCABULARY_NAME, load_checkpoint, save_checkpoint
    from sentiment.storage.tensors import load_tensors
    from sentiment.training.calibration import fit_calibration

    network, _ = load_checkpoint(NETWORK)
    config = network.config
    labels = load_encoded(ENCODED["validation"], config.vocabulary_size, config.classes).labels.numpy()
    held_out = {
        name: load_tensors(path, {"logits": torch.float64})["logits"].numpy() for name, path in HELD_OUT.items()
    }
    is_added = params.calibrate.add_baseline
    fitted = fit_calibration(labels, held_out["network"], held_out["baseline"] if is_added else None)
    network.temperature.fill_(fitted.temperature)
    others = {}
    if fitted.weight > 0:
        linear = load_linear(BASELINE, config.vocabulary_size, config.classes)
        others[LINEAR] = linear.scaled(fitted.weight).tensors()
    save_checkpoint(MODEL, network, NETWORK / VOCABULARY_NAME, others)
    figures = {
        "temperature": fitted.temperature,
        "linear_weight": fitted.weight,
        # on the validation reviews
        "calibrated_accuracy": fitted.validation_accuracy,
        "calibrated_loss": fitted.validation_loss,
    }
    write_metrics("calibrate", {name: round(figure, 6) for name, figure in figures.items()})
    print(
        f"validation accuracy {fitted.validation_accuracy:.2%}, of the network alone {fitted.network_accuracy:.2%}; "
        f"temperature {fitted.temperature:.2f}, weight of the linear model {fitted.weight:.2f}"
    )


if __name__ == "__main__":
    run(calibrate)
