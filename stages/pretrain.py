"""Pretrain the embeddings and lowest layers of the classifier as language models, on train and unlabelled reviews."""

from stages.params import Params
from stages.paths import EMBEDDINGS, ENCODED, METRICS, PERPLEXITY, PRETRAINED
from stages.resume import saved_states
from stages.run import run


def pretrain(params: Params) -> None:
    """Write pretrained embeddings and lowest layers, or empty outputs if pretraining is disabled."""
    import math

    from sentiment.dataset.encoded import PADDING, concatenate_reviews, load_embeddings, load_encoded
    from sentiment.models.checkpoint import save_pretrained
    from sentiment.models.classifier import ModelConfig, initial_model
    from sentiment.pretraining.language_model import LanguageConfig
    from sentiment.pretraining.trainer import LanguageTrainer
    from sentiment.runtime.device import catch_out_of_memory, choose_device, tune_memory
    from sentiment.storage.outputs import write_csv, write_json

    settings = params.pretrain
    model, saved, figures = None, None, {}
    curve: dict[str, list[float]] = {"epochs": [], "train": [], "held_out": []}
    if settings.enabled:
        tune_memory()
        device = choose_device(settings.precision)
        embeddings = load_embeddings(EMBEDDINGS)
        vocabulary_size, embedding_size = embeddings.shape
        lowest_layers = ModelConfig(
            vocabulary_size=vocabulary_size,
            embedding_size=embedding_size,
            cell=params.model.cell,
            hidden_size=params.model.hidden_size,
            layers=settings.layers,
            bidirectional=params.model.bidirectional,
            mix_directions=False,
            pooling=("max",),
            dropout_embedding=0.0,
            dropout_layers=0.0,
            dropout_output=0.0,
        )
        model = initial_model(lowest_layers, embeddings, settings.seed)
        text = concatenate_reviews(*(load_encoded(ENCODED[split], vocabulary_size) for split in ("train", "unsup")))
        config = LanguageConfig(**settings.model_dump(exclude={"enabled"}))
        (saved,) = saved_states("pretrain", params, "models")
        with catch_out_of_memory("pretraining"):
            for progress in LanguageTrainer(model, text, PADDING, config, device, saved).train():
                losses = {"train": progress.train_loss, "held_out": progress.held_out_loss}
                perplexities = {name: round(math.exp(loss), 2) for name, loss in losses.items()}
                print(
                    f"epoch {progress.epochs:.1f}/{config.epochs}  perplexity {perplexities['train']:.2f}  "
                    f"held out {perplexities['held_out']:.2f}  {progress.seconds:.1f} s",
                    flush=True,
                )
                for name, value in {"epochs": round(progress.epochs, 3), **perplexities}.items():
                    curve[name].append(value)
        figures = {"perplexity": perplexities["held_out"], "train_perplexity": perplexities["train"]}
    write_csv(PERPLEXITY, curve)
    save_pretrained(PRETRAINED, model, settings.layers)
    for path in METRICS["pretrain"]:
        write_json(path, figures)
    if saved is not None:
        saved.delete()


if __name__ == "__main__":
    run(pretrain)
