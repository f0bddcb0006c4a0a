"""Compare the softmaxes of the language models by what they learn in equal time.

    python -m benchmarks.softmaxes --minutes 1 2 4 8

trains the language models of `params.yaml` with each softmax, one after the other, on what the pipeline last prepared,
at a constant learning rate. Prints how many tokens a second each reads, in both directions together, and the perplexity
on held-out reviews after so many minutes of training, not counting the time to measure it. Minutes are those of the
processor, so start it with one thread (`OMP_NUM_THREADS=1`).
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import stages  # noqa: F401, puts the library on the path
from sentiment.dataset.encoded import PADDING, concatenate_reviews, load_embeddings, load_encoded
from sentiment.models.classifier import EncoderConfig, initial_encoder
from sentiment.pretraining.language_model import SOFTMAXES, LanguageConfig
from sentiment.pretraining.trainer import LanguageTrainer, evaluate, windows_of
from sentiment.runtime.device import choose_device, tune_memory
from stages.params import read_params
from stages.paths import EMBEDDINGS, ENCODED


def measure(softmax: str, minutes: Sequence[float]) -> tuple[float, list[float]]:
    """Train with a softmax; return the tokens read a second and the perplexity after each of the minutes."""
    params = read_params()
    embeddings = load_embeddings(EMBEDDINGS)
    size, width = embeddings.shape
    model = params.model
    shape = EncoderConfig(
        size, width, model.cell, model.hidden_size, params.pretrain.layers, model.bidirectional, False
    )
    settings = params.pretrain.model_dump(exclude={"enabled", "layers"})
    config = replace(LanguageConfig(**settings), softmax=softmax, schedule="constant", warmup_share=0.0)
    reviews = concatenate_reviews(*(load_encoded(ENCODED[split], size) for split in ("train", "unsup")))
    encoder = initial_encoder(shape, embeddings, config.seed)
    trainer = LanguageTrainer(encoder, reviews, PADDING, config, choose_device(config.precision))
    perplexities: list[float] = []
    seconds, tokens = 0.0, 0
    windows = windows_of(trainer.streams(trainer.rows), len(trainer.carried), config.window)
    for window in windows:
        if len(perplexities) == len(minutes):
            break
        started = time.process_time()
        trainer.models.train()
        trainer.learn(window, "benchmark")
        seconds += time.process_time() - started
        tokens += sum((len(direction) - 1) * config.streams for direction in window)
        if seconds >= 60 * minutes[len(perplexities)]:
            perplexities.append(math.exp(evaluate(trainer.models, trainer.held_out, config.window)))
    return tokens / seconds, perplexities


def main() -> None:
    """Measure each softmax, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.softmaxes", allow_abbrev=False)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 4, 8], help="of training (%(default)s)")
    parser.add_argument("--softmaxes", nargs="+", choices=SOFTMAXES, default=list(SOFTMAXES), help="(%(default)s)")
    options = parser.parse_args()
    tune_memory()
    print(f"| softmax | tokens a second | {' | '.join(f'{number:g} min' for number in options.minutes)} |")
    print("|---|---|" + "---|" * len(options.minutes))
    for softmax in options.softmaxes:
        speed, perplexities = measure(softmax, options.minutes)
        print(f"| {softmax} | {speed:,.0f} | {' | '.join(f'{value:.1f}' for value in perplexities)} |", flush=True)


if __name__ == "__main__":
    main()
