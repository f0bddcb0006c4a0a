"""Inference: score encoded reviews with a model.

On a CPU, several threads of Python score a batch each. The operators of a small network gain little from threads of
their own, which wait for each other at the end of each operator.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from sentiment.dataset.batching import pad_batch, sorted_rows, split_by_tokens
from sentiment.dataset.encoded import EncodedReviews
from sentiment.models.classifier import Classifier

BATCH_SIZE = 256
TOKENS_AT_ONCE = 65_536  # padded, in all threads together
LEAST_TOKENS = 8_192  # of a thread; with fewer, its matrix products are slow


def predict_logits(
    model: Classifier,
    reviews: EncodedReviews,
    device: torch.device,
    share: slice = slice(None),
    tokens_at_once: int = TOKENS_AT_ONCE,
    product_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the logits of N reviews, float32 on the CPU, in the order of the reviews and with dropout off.

    They are (N,) for two classes and (N, K) for more. `share` selects some of the batches; the logits of reviews in
    other batches are 0. At most `tokens_at_once` padded tokens are read at once, unless a single review has more than a
    thread's share of them. `product_dtype` is that of `Classifier.forward`.
    """
    was_training = model.training
    model.to(device).eval()
    on_device = reviews.to(device)
    outputs = model.output.out_features
    logits = torch.zeros((len(reviews), outputs) if outputs > 1 else len(reviews), device=device)
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    threads = min(cores, max(1, tokens_at_once // LEAST_TOKENS))

    @torch.inference_mode()
    def score(rows: Tensor) -> None:
        batch = pad_batch(on_device, rows)
        logits[rows.to(device)] = model(batch.tokens, batch.lengths, product_dtype=product_dtype)

    parts = [
        rows
        for batch_rows in sorted_rows(reviews.lengths, BATCH_SIZE)[share]
        for rows in split_by_tokens(batch_rows, reviews.lengths, tokens_at_once // threads)
    ]
    if threads == 1 or len(parts) == 1:
        for rows in parts:
            score(rows)
    else:
        run_in_threads(score, parts[::-1], threads, cores // threads)  # long reviews first, so that all end together
    model.train(was_training)
    return logits.cpu()


def run_in_threads(
    function: Callable[[Tensor], None], inputs: Sequence[Tensor], threads: int, threads_of_operator: int
) -> None:
    """Call a function with each input, in several threads, in which an operator has `threads_of_operator` threads."""
    cores = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            threads, initializer=torch.set_num_threads, initargs=(threads_of_operator,)
        ) as executor:
            for _ in executor.map(function, inputs):
                pass
    finally:
        torch.set_num_threads(cores)  # else threads that start later would have as few
