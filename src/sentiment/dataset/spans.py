"""Random spans of the training reviews, as texts of their own with the label of their review, others in each epoch.

In a whole review, a network finds enough words of the right kind, and need not learn from the others. A span has few
words to go by, so that each of them counts. Some spans say nothing of the label, or the opposite, and teach the network
to be less sure. What spans bring, and why each epoch has others, is in `docs/notes.md`.
"""

import torch

from sentiment.dataset.encoded import EncodedReviews, concatenate_reviews, cut

LENGTHS = torch.tensor([8, 16, 32, 64])  # tokens


def add_spans(reviews: EncodedReviews, per_review: int, seed: int, epoch: int) -> EncodedReviews:
    """Return the reviews, and after them `per_review` spans of each, for an epoch, counted from 1.

    A span has one of LENGTHS; a review that is not longer than that, without padding, is left without this span. In all
    epochs there are as many spans, of the same lengths: only their places change.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(reviews)).repeat_interleave(per_review)
    lengths = LENGTHS[torch.randint(len(LENGTHS), rows.shape, generator=generator)]
    rest = reviews.unpadded_lengths[rows] - lengths  # tokens of the review outside the span
    generator.manual_seed((1_000 * seed + epoch) % 2**63)
    drawn = torch.randint(1 << 62, rows.shape, generator=generator)
    starts = reviews.offsets[rows] + drawn % (rest + 1).clamp(min=1)
    kept = rest > 0
    return concatenate_reviews(reviews, cut(reviews, rows[kept], starts[kept], lengths[kept]))
