"""Time the textbook's training loop and ours on the same network and as many reviews, in turn.

    python -m benchmarks.train [--tensors data/prepared/train.safetensors] [--cell rnn] [--device cuda] ...

The textbook's loop is ours to read: batches in random order, each as long as its longest review; the state taken after
the padding; `.item()` at every batch; plain Adam; float32. Ours is that of `sentiment.training`. The network is the
textbook's: two layers of 256, dropout 0.5. Either loop, in a process of its own, does a part of an epoch over all
reviews of the file, and its speed is real tokens a second, padding not counted. The peak is the rate of one large
matrix product, measured in the same run; the fraction of it counts the products of the network on real tokens alone.
The last line is JSON.

On CUDA both loops run without TF32, so that the peak of float32 is an IEEE product compared with IEEE kernels.
`python -m benchmarks.cuda` does the same over cells, hidden and batch sizes on a GPU, the textbook's loop as PyTorch
comes.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.profiler import ProfilerActivity, profile

import stages  # noqa: F401, puts the library on the path
from sentiment.dataset.batching import shuffled_rows
from sentiment.dataset.encoded import EncodedReviews, load_encoded, select_reviews
from sentiment.models.classifier import ModelConfig, initial_model
from sentiment.models.layers import CELLS
from sentiment.models.precision import PRECISIONS
from sentiment.runtime.device import choose_device, product_dtype, tune_memory
from sentiment.training.trainer import TrainConfig, Trainer

EMBEDDING_SIZE, HIDDEN_SIZE, LAYERS, DROPOUT = 100, 256, 2, 0.5
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
TRAINING = TrainConfig(
    seed=0,
    batch_size=64,
    min_steps=1,
    tokens_at_once=32_768,
    precision="bfloat16",
    epochs=1,
    patience=None,
    learning_rate=1e-3,
    warmup_share=0.0,
    schedule="constant",
    weight_decay=0.0,
    clip_norm=None,
    embedding_rate=1.0,
    gradual_unfreezing=False,
    layer_decay=1.0,
    ema_decay=0.0,
    adversarial=0.0,
    virtual=0.0,
    entropy=0.0,
    epsilon=1.0,
)


class Textbook(nn.Module):
    """The tutorial's network, which honours no length."""

    def __init__(self, cell: str, embeddings: Tensor, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embeddings.clone(), freeze=False)
        self.cell = CELLS[cell](EMBEDDING_SIZE, hidden_size, num_layers=LAYERS, dropout=DROPOUT)
        self.output = nn.Linear(hidden_size, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B,) for padded tokens (T, B) int64."""
        states = self.cell(self.dropout(self.embedding(tokens)))[0]  # (T, B, H)
        logits: Tensor = self.output(self.dropout(states[-1])).squeeze(1)
        return logits


def time_textbook(
    cell: str, hidden_size: int, part: EncodedReviews, config: TrainConfig, device: torch.device
) -> float:
    """Return the seconds that the textbook's loop takes for these reviews."""
    torch.manual_seed(0)
    model = Textbook(cell, embeddings_for(part), hidden_size).to(device)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)
    tokens = part.tokens.long().split(part.lengths.tolist())
    labels = part.labels.float()
    total = 0.0
    started = time.perf_counter()
    for rows in torch.randperm(len(part)).split(config.batch_size):
        batch = nn.utils.rnn.pad_sequence([tokens[row] for row in rows.tolist()], padding_value=1).to(device)
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(model(batch), labels[rows].to(device))
        loss.backward()
        optimizer.step()
        total += loss.item()
    return time.perf_counter() - started


def time_ours(cell: str, hidden_size: int, part: EncodedReviews, config: TrainConfig, device: torch.device) -> float:
    """Return the seconds that `sentiment.training.trainer` takes for these reviews, its validation left out."""
    tune_memory()
    embeddings = embeddings_for(part)
    model = ModelConfig(
        vocabulary_size=len(embeddings),
        embedding_size=EMBEDDING_SIZE,
        cell=cell,
        hidden_size=hidden_size,
        layers=LAYERS,
        bidirectional=False,
        mix_directions=True,
        pooling=("last",),
        dropout_embedding=DROPOUT,
        dropout_layers=DROPOUT,
        dropout_output=DROPOUT,
    )
    one = select_reviews(part, torch.tensor([0]))
    epoch = Trainer(initial_model(model, embeddings, 0), part, config, device).fit(one, lambda epoch: None)
    return len(part) / epoch.reviews_per_second


def own_process(device: torch.device) -> ProcessPoolExecutor:
    """Return a process that has inherited nothing: what one loop asks of the C library is not to serve the other."""
    set_up = choose_device if device.type == "cuda" else None
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=set_up)


def embeddings_for(reviews: EncodedReviews) -> Tensor:
    """Return an embedding matrix (V, E) for a vocabulary of 25,002; what stands in it has no bearing on the speed."""
    return torch.randn(max(25_002, int(reviews.tokens.max()) + 1), EMBEDDING_SIZE)


def part_of_epoch(reviews: EncodedReviews, count: int, batch_size: int) -> EncodedReviews:
    """Return about so many reviews: the first batches of an epoch over all of them."""
    batches = shuffled_rows(reviews.lengths, batch_size, torch.Generator().manual_seed(0))
    return select_reviews(reviews, torch.cat(batches[: max(1, count // batch_size)]))


def padding_share(lengths: Tensor, batches: list[Tensor]) -> float:
    """Return the share of the padded batches' tokens that is padding."""
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    return 1 - int(lengths.sum()) / padded


def measure_peak(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Return the rate of a product of square matrices, the best of ten, in multiplications and additions a second."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        wait(device)
        started = time.perf_counter()
        torch.mm(left, right)
        wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def operations_per_token(cell: str, hidden_size: int) -> int:
    """Return the multiplications and additions of the network's products for one token, forward and backward."""
    sizes = [EMBEDDING_SIZE] + [hidden_size] * (LAYERS - 1)
    forward = sum(2 * GATES[cell] * hidden_size * (size + hidden_size) for size in sizes)
    return 3 * forward  # backward: one product for the inputs' gradient, one for the weights'


def show_kernels(cell: str, part: EncodedReviews, config: TrainConfig, device: torch.device) -> None:
    """Print the ten kernels that take the most time in a few batches of ours."""
    few = select_reviews(part, torch.arange(min(len(part), 4 * config.batch_size)))
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=kinds) as profiled:
        time_ours(cell, HIDDEN_SIZE, few, config, device)
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiled.key_averages().table(sort_by=order, row_limit=10, max_name_column_width=70))


def compare_loops(
    cell: str, random: EncodedReviews, alike: EncodedReviews, config: TrainConfig, device: torch.device, rounds: int
) -> dict[str, float]:
    """Return the medians of both loops' speeds, in real tokens a second, and of the ratios of each round.

    The textbook's loop reads the reviews `random`, and ours `alike`, the first batches of an epoch.
    """
    loops = {
        "textbook": (own_process(device), time_textbook, random),
        "ours": (own_process(device), time_ours, alike),
    }
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name, (process, loop, part) in loops.items():
            seconds = process.submit(loop, cell, HIDDEN_SIZE, part, config, device).result()
            speed = len(part.tokens) / seconds
            if number > 0:
                speeds[name].append(speed)
                print(f"round {number}  {name:8}  {speed:10,.0f} real tokens/s", flush=True)
    for process, _, _ in loops.values():
        process.shutdown()
    ratios = [ours / textbook for textbook, ours in zip(*speeds.values(), strict=True)]
    return {name: statistics.median(speed) for name, speed in speeds.items()} | {"ratio": statistics.median(ratios)}


def main() -> None:
    """Measure, in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensors", type=Path, default=Path("data/prepared/train.safetensors"))
    parser.add_argument("--cell", choices=sorted(CELLS), default="rnn")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="of ours")
    parser.add_argument("--reviews", type=int, default=2000, help="how many either loop trains on in a round")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, after one that does not count")
    parser.add_argument("--kernels", action="store_true", help="show which kernels ran")
    arguments = parser.parse_args()

    device = choose_device() if arguments.device == "cuda" else torch.device("cpu")
    if device.type != arguments.device:
        parser.error("there is no GPU")
    reviews = load_encoded(arguments.tensors, vocabulary_size=2**31)  # of any vocabulary
    lengths = reviews.lengths
    config = replace(TRAINING, precision=arguments.precision)
    dtype = product_dtype(config.precision, device)

    torch.manual_seed(0)
    random = select_reviews(reviews, torch.randperm(len(reviews))[: arguments.reviews])
    alike = part_of_epoch(reviews, arguments.reviews, config.batch_size)
    result = compare_loops(arguments.cell, random, alike, config, device, arguments.rounds)
    work = operations_per_token(arguments.cell, HIDDEN_SIZE)
    size = 8192 if device.type == "cuda" else 2048
    peaks = {name: measure_peak(device, kind, size) for name, kind in (("ours", dtype), ("textbook", torch.float32))}
    generator = torch.Generator().manual_seed(0)
    our_batches = shuffled_rows(lengths, config.batch_size, generator)
    textbook_batches = list(torch.randperm(len(lengths), generator=generator).split(config.batch_size))
    if arguments.kernels:
        show_kernels(arguments.cell, alike, config, device)
    figures = {
        "speedup": round(result["ratio"], 2),
        "padding_share": round(padding_share(lengths, our_batches), 4),
        "tokens_per_second": round(result["ours"]),
        "fraction_of_peak": round(work * result["ours"] / peaks["ours"], 3),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cell": arguments.cell,
        "precision": str(dtype).removeprefix("torch."),
        "peak": {name: f"{peak / 1e9:,.0f} GFLOP/s" for name, peak in peaks.items()},
        "textbook": {
            "padding_share": round(padding_share(lengths, textbook_batches), 4),
            "tokens_per_second": round(result["textbook"]),
            "fraction_of_peak": round(work * result["textbook"] / peaks["textbook"], 3),
        },
        "torch": torch.__version__,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
