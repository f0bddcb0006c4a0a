"""Score reviews with a model."""

import torch
from torch import Tensor

from sentiment.batches import pad_batch, sorted_rows
from sentiment.encoded import EncodedReviews
from sentiment.model import Classifier

BATCH_SIZE = 256


def predict_logits(model: Classifier, reviews: EncodedReviews, device: torch.device) -> Tensor:
    """Return the logits of N reviews, (N,) float32 on the CPU, in their order; dropout is off meanwhile."""
    was_training = model.training
    model.to(device).eval()
    on_device = reviews.to(device)
    logits = torch.empty(len(reviews), device=device)
    with torch.inference_mode():
        for rows in sorted_rows(on_device.lengths, BATCH_SIZE):
            batch = pad_batch(on_device, rows)
            logits[rows] = model(batch.tokens, batch.lengths)
    model.train(was_training)
    return logits.cpu()


def choose_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
