"""Time one pass of training: the textbook's loop against ours, on the same reviews and the same network.

    python -m benchmarks.train [--tensors data/prepared] [--cell rnn] [--reviews 2000] [--rounds 3]

The textbook's loop is ours to read: batches in random order, every one as long as its longest review; the state taken
after the padding; `.item()` at every batch; plain Adam. Speed is real tokens a second, padding not counted. The last
line is JSON.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import stages  # noqa: F401, puts the library on the path
from sentiment.batches import pad_batch, shuffled_rows
from sentiment.encoded import EncodedReviews, load_encoded, load_tensors
from sentiment.model import CELLS, ModelConfig, initial_model
from sentiment.train import TrainConfig, train

BATCH_SIZE, HIDDEN_SIZE, LAYERS, DROPOUT = 64, 256, 2, 0.5
CPU = torch.device("cpu")


class Textbook(nn.Module):
    """The tutorial's network, which honours no length."""

    def __init__(self, cell: str, embeddings: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embeddings.clone(), freeze=False)
        self.cell = CELLS[cell](embeddings.shape[1], HIDDEN_SIZE, num_layers=LAYERS, dropout=DROPOUT)
        self.output = nn.Linear(HIDDEN_SIZE, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B,) for padded tokens (T, B) int64."""
        states = self.cell(self.dropout(self.embedding(tokens)))[0]  # (T, B, H)
        logits: Tensor = self.output(self.dropout(states[-1])).squeeze(1)
        return logits


def time_textbook(cell: str, reviews: EncodedReviews, embeddings: Tensor) -> float:
    """Return the seconds that one pass of the textbook's loop takes."""
    torch.manual_seed(0)
    model = Textbook(cell, embeddings)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    total = 0.0
    started = time.perf_counter()
    for rows in torch.randperm(len(reviews)).split(BATCH_SIZE):
        batch = pad_batch(reviews, rows)
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(model(batch.tokens), batch.labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return time.perf_counter() - started


def time_ours(cell: str, reviews: EncodedReviews, embeddings: Tensor) -> float:
    """Return the seconds that one epoch of `sentiment.train` takes, its validation left out."""
    vocabulary_size, embedding_size = embeddings.shape
    model = ModelConfig(
        vocabulary_size=vocabulary_size,
        embedding_size=embedding_size,
        cell=cell,
        hidden_size=HIDDEN_SIZE,
        layers=LAYERS,
        bidirectional=False,
        pooling=("last",),
        dropout_embedding=DROPOUT,
        dropout_layers=DROPOUT,
        dropout_output=DROPOUT,
    )
    settings = TrainConfig(
        seed=0,
        batch_size=BATCH_SIZE,
        epochs=1,
        patience=None,
        learning_rate=1e-3,
        warmup_share=0.0,
        schedule="constant",
        weight_decay=0.0,
        clip_norm=None,
        freeze_embeddings=False,
    )
    one = first(reviews, 1)
    epoch = train(initial_model(model, embeddings, 0), reviews, one, settings, CPU, lambda epoch: None)
    return len(reviews) / epoch.reviews_per_second


def first(reviews: EncodedReviews, count: int) -> EncodedReviews:
    """Return the first reviews, all if there are fewer."""
    offsets = reviews.offsets[: count + 1]
    return EncodedReviews(reviews.tokens[: int(offsets[-1])], offsets, reviews.labels[: len(offsets) - 1])


def padding_share(lengths: Tensor, batches: list[Tensor]) -> float:
    """Return the share of the padded batches' tokens that is padding."""
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    return 1 - int(lengths.sum()) / padded


def main() -> None:
    """Measure, in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensors", type=Path, default=Path("data/prepared"), help="folder of the prepare stage")
    parser.add_argument("--cell", choices=sorted(CELLS), default="rnn")
    parser.add_argument("--reviews", type=int, default=2000, help="how many to train on")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, after one that does not count")
    arguments = parser.parse_args()

    embeddings = load_tensors(arguments.tensors / "embeddings.safetensors", {"embeddings": torch.float32})["embeddings"]
    reviews = first(load_encoded(arguments.tensors / "train.safetensors"), arguments.reviews)
    tokens = len(reviews.tokens)
    seconds: dict[str, list[float]] = {"textbook": [], "ours": []}
    for number in range(arguments.rounds + 1):
        pair = {
            "textbook": time_textbook(arguments.cell, reviews, embeddings),
            "ours": time_ours(arguments.cell, reviews, embeddings),
        }
        for name, value in pair.items():
            if number > 0:
                seconds[name].append(value)
                print(f"round {number}  {name:8}  {value:7.2f} s  {tokens / value:8,.0f} real tokens/s", flush=True)
    generator = torch.Generator().manual_seed(0)
    ratios = [textbook / ours for textbook, ours in zip(seconds["textbook"], seconds["ours"], strict=True)]
    figures = {
        "speedup": round(statistics.median(ratios), 2),
        "tokens_per_second": round(tokens / statistics.median(seconds["ours"])),
        "padding_share": round(
            padding_share(reviews.lengths, shuffled_rows(reviews.lengths, BATCH_SIZE, generator)), 4
        ),
        "textbook_padding_share": round(
            padding_share(reviews.lengths, list(torch.randperm(len(reviews), generator=generator).split(BATCH_SIZE))), 4
        ),
        "cell": arguments.cell,
        "reviews": len(reviews),
        "device": "cpu",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
