"""From text to tokens: spaCy's English tokenizer, and the tokens of many reviews as numbers."""

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import spacy

UNKNOWN = "<unk>"  # also stands for a review that has no token at all
BREAKS = re.compile(r"(?:\s*<br\s*/?>\s*)+")


@dataclass(frozen=True)
class TokenRules:
    """What is done to a text besides spaCy's own rules."""

    lower: bool  # put each token in lower case, after tokenizing
    keep_breaks: bool  # leave HTML's "<br />" in; else a run of them becomes one space
    max_tokens: int | None  # how many tokens are kept, from the first; None keeps all


class NumberedTokens(NamedTuple):
    """The tokens of N reviews, each distinct token numbered in the order of its first appearance."""

    types: list[str]
    ids: npt.NDArray[np.int32]  # (M,), numbers into `types`
    offsets: npt.NDArray[np.int64]  # (N + 1,), review n is ids[offsets[n]:offsets[n + 1]]

    def select(self, rows: npt.NDArray[np.int64]) -> "NumberedTokens":
        """Return the reviews in `rows`, (n,), in that order."""
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)  # place of each token in its review
        return NumberedTokens(self.types, self.ids[np.repeat(starts, lengths) + within], offsets)


def number_tokens(texts: Iterable[str], rules: TokenRules) -> NumberedTokens:
    """Tokenize texts as `spacy.blank("en")` does, whose tokenizer is that of the trained English pipelines.

    A text without a token (empty, or only breaks) becomes one unknown token, so that every review has a length.
    """
    tokenizer = spacy.blank("en").tokenizer
    numbers: dict[str, int] = {}
    ids, offsets = array("i"), array("q", [0])
    for text in texts:
        if not rules.keep_breaks:
            text = BREAKS.sub(" ", text)
        words = [token.text for token in tokenizer(text)[: rules.max_tokens]] or [UNKNOWN]
        if rules.lower:
            words = [word.lower() for word in words]
        ids.extend([numbers.setdefault(word, len(numbers)) for word in words])
        offsets.append(len(ids))
    return NumberedTokens(list(numbers), np.array(ids, dtype=np.int32), np.array(offsets, dtype=np.int64))
