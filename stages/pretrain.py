"""Read all text but the test and validation reviews, so that the classifier starts from more than word vectors."""

from stages.params import Params
from stages.paths import EMBEDDINGS, ENCODED, METRICS, PRETRAINED
from stages.run import run


def pretrain(params: Params) -> None:
    """Write embeddings and weights of the first layer, trained as language models; nothing where that is not wanted."""
    import math

    import torch

    from sentiment.checkpoint import save_start
    from sentiment.device import choose_device, repeat_exactly, tune_memory
    from sentiment.encoded import PADDING, join_encoded, load_encoded, load_tensors
    from sentiment.files import write_json
    from sentiment.language import LanguageConfig, read
    from sentiment.model import ModelConfig, initial_model

    settings = params.pretrain
    model, figures = None, {}
    if settings.enabled:
        tune_memory()
        device = choose_device()
        repeat_exactly(device)
        embeddings = load_tensors(EMBEDDINGS, {"embeddings": torch.float32})["embeddings"]
        vocabulary_size, embedding_size = embeddings.shape
        first_layer = ModelConfig(
            vocabulary_size=vocabulary_size,
            embedding_size=embedding_size,
            cell=params.model.cell,
            hidden_size=params.model.hidden_size,
            layers=1,
            bidirectional=params.model.bidirectional,
            pooling=("max",),
            dropout_embedding=0.0,
            dropout_layers=0.0,
            dropout_output=0.0,
        )
        model = initial_model(first_layer, embeddings, settings.seed)
        text = join_encoded(load_encoded(ENCODED["train"]), load_encoded(ENCODED["unsup"]))
        config = LanguageConfig(**settings.model_dump(exclude={"enabled"}))
        for epoch in read(model, text, PADDING, config, device):
            figures = {
                "train_perplexity": round(math.exp(epoch.train_loss), 2),
                "perplexity": round(math.exp(epoch.held_out_loss), 2),
            }
            print(
                f"epoch {epoch.number}/{config.epochs}  perplexity {figures['train_perplexity']}  "
                f"held out {figures['perplexity']}  {epoch.seconds:.1f} s",
                flush=True,
            )
    save_start(PRETRAINED, model)
    for path in METRICS["pretrain"]:
        write_json(path, figures)


if __name__ == "__main__":
    run(pretrain)
