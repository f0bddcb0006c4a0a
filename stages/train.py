"""Train the classifier on the training reviews, and keep its best epoch by the validation reviews."""

from stages.params import Params
from stages.paths import CURVES, EMBEDDINGS, ENCODED, MODEL, TRAIN_METRICS, VOCABULARY
from stages.run import run


def train(params: Params) -> None:
    """Write the checkpoint, the curves by epoch, and the figures of the epoch that was kept."""
    import torch
    from dvclive import Live

    from sentiment.checkpoint import save_checkpoint
    from sentiment.encoded import load_encoded, load_tensors
    from sentiment.files import replacing, write_json
    from sentiment.model import ModelConfig, initial_model
    from sentiment.predict import choose_device
    from sentiment.train import Epoch, TrainConfig
    from sentiment.train import train as fit

    embeddings = load_tensors(EMBEDDINGS, {"embeddings": torch.float32})["embeddings"]
    vocabulary_size, embedding_size = embeddings.shape
    settings = {**params.model.model_dump(), "pooling": tuple(params.model.pooling)}
    config = ModelConfig(vocabulary_size=vocabulary_size, embedding_size=embedding_size, **settings)
    model = initial_model(config, embeddings, params.train.seed)
    device = choose_device()
    weights = sum(weight.numel() for weight in model.parameters())
    print(f"training {config.cell} with {weights:,} weights on {device}")

    with replacing(CURVES) as curves, Live(str(curves), dvcyaml=None, save_dvc_exp=False) as live:

        def report(epoch: Epoch) -> None:
            print(
                f"epoch {epoch.number}/{params.train.epochs}  train loss {epoch.train_loss:.4f}  "
                f"validation loss {epoch.validation_loss:.4f}  validation accuracy {epoch.validation_accuracy:.4f}  "
                f"{epoch.seconds:.1f} s  {epoch.reviews_per_second:,.0f} reviews/s",
                flush=True,
            )
            live.step = epoch.number
            live.log_metric("train/loss", epoch.train_loss)
            live.log_metric("validation/loss", epoch.validation_loss)
            live.log_metric("validation/accuracy", epoch.validation_accuracy)
            live.make_summary()

        best = fit(
            model,
            load_encoded(ENCODED["train"]),
            load_encoded(ENCODED["validation"]),
            TrainConfig(**params.train.model_dump()),
            device,
            report,
        )
    save_checkpoint(MODEL, model, VOCABULARY)
    write_json(
        TRAIN_METRICS,
        {
            "best_epoch": best.number,
            "train_loss": round(best.train_loss, 6),
            "validation_loss": round(best.validation_loss, 6),
            "validation_accuracy": round(best.validation_accuracy, 6),
        },
    )


if __name__ == "__main__":
    run(train)
