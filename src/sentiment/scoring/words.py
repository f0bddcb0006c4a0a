"""The words of a text with their weights, as it spells them."""

from collections.abc import Sequence
from typing import NamedTuple

MIN_WEIGHT = 0.05  # words with a smaller share of the largest weight are not shaded


class Word(NamedTuple):
    """A token of a text, as spelled in the text."""

    text: str
    follows_space: bool
    weight: float  # from -1 to 1, relative to the text's largest weight; of the logit, see `attribution.token_weights`


def align_words(text: str, tokens: Sequence[str], weights: Sequence[float]) -> list[Word]:
    """Locate n tokens in the text, which contains them in this order, and scale their weights, (n,), for shading."""
    largest = max(map(abs, weights), default=0.0) or 1.0
    words, end = [], 0
    for token, weight in zip(tokens, weights, strict=True):
        start = max(end, text.find(token, end))  # an empty text has the token <unk>, which it does not contain
        share = round(weight / largest, 2)
        words.append(Word(token, start > end, share if abs(share) >= MIN_WEIGHT else 0.0))
        end = start + len(token)
    return words
