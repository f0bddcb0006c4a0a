"""Inference: score encoded reviews with a model."""

import torch
from torch import Tensor

from sentiment.dataset.batching import pad_batch, sorted_rows, split_by_tokens
from sentiment.dataset.encoded import EncodedReviews
from sentiment.models.classifier import Classifier

BATCH_SIZE = 256
TOKENS_AT_ONCE = 32_768  # padded


def predict_logits(
    model: Classifier,
    reviews: EncodedReviews,
    device: torch.device,
    share: slice = slice(None),
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Tensor:
    """Return the logits of N reviews, float32 on the CPU, in the order of the reviews and with dropout off.

    They are (N,) for two classes and (N, K) for more.

    `share` selects some of the batches; the logits of reviews in other batches are 0. A batch of more than
    `tokens_at_once` padded tokens is read in parts.
    """
    was_training = model.training
    model.to(device).eval()
    on_device = reviews.to(device)
    outputs = model.output.out_features
    logits = torch.zeros((len(reviews), outputs) if outputs > 1 else len(reviews), device=device)
    with torch.inference_mode():
        for batch_rows in sorted_rows(reviews.lengths, BATCH_SIZE)[share]:
            for rows in split_by_tokens(batch_rows, reviews.lengths, tokens_at_once):
                batch = pad_batch(on_device, rows)
                logits[rows.to(device)] = model(batch.tokens, batch.lengths)
    model.train(was_training)
    return logits.cpu()
