"""Decide measure by measure whether texts are like the reference texts.

A value is alike if chance could have given it, or if its difference from the reference is too small to matter:

- *Chance.* DRAWS times, a sample as large as the file and one as large as the reference are drawn from the reference
  texts, with replacement. The range holds the reference's value plus the differences between two such samples, without
  the OUTSIDE share of them at each end. Of RARE measures the reference has next to nothing to draw; their samples are
  binomial, with the largest share that is too small to matter.
- *Too small.* A share p may become any q whose effect size, Cohen's h = |2 arcsin sqrt(p) - 2 arcsin sqrt(q)|, is at
  most SMALL_EFFECT, by convention a small effect (Cohen 1988, Statistical power analysis, chapter 6): from 0 % to 1 %,
  from 2.5 % to 6.5 %, from 50 % to 60 %. A number of tokens may be up to LENGTH_RATIO times as large, or as small.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.drift.measures import FREQUENT_WORDS, Floats, Ints, Measures, Training

DRAWS = 1_000
OUTSIDE = 0.001  # at each end, so that of a dozen measures of texts that are alike hardly ever one is outside
SMALL_EFFECT = 0.2
LENGTH_RATIO = 1.25
CONFIDENT = 0.9
QUANTILES = {"tokens, 5 %": 0.05, "tokens, median": 0.5, "tokens, 95 %": 0.95}
UNKNOWN, DISTANCE = "unknown words", "distance of word frequencies"
FREQUENT = f"the {FREQUENT_WORDS} most frequent words"
UNSEEN, COPIES, BLANK = "word pairs never seen in training", "copies of training texts", "blank or unreadable texts"
CONFIDENCE, SURE = "mean confidence", f"confidence above {CONFIDENT:.0%}".replace("%", " %")
OTHER_LABEL = "another label or none"
RARE = (COPIES, BLANK, OTHER_LABEL)


class Row(NamedTuple):
    """A measure of the file's texts and of the reference texts, as shares or as numbers of tokens."""

    measure: str
    file: float | None  # None where the texts have nothing to measure
    reference: float | None
    chance: tuple[float, float] | None  # the values that chance allows
    small: tuple[float, float] | None  # the values whose difference from the reference is too small to matter
    is_alike: bool | None  # None where nothing can be said


def compare(
    file: Measures, unscored: int, reference: Measures, training: Training, labels: Sequence[str] | None, seed: int
) -> list[Row]:
    """Compare the texts of a file with reference texts.

    `unscored` is the number of rows of the file without a readable text, which are not among `file`. `labels` are the
    names of the model's labels, or None if the file has none.
    """
    random = np.random.default_rng(seed)
    size = len(reference.tokens)
    even = np.full(size, 1 / size)
    drawn = [
        summarize(reference, training, labels, random.multinomial(count, even, DRAWS))
        for count in (len(file.tokens), size)
    ]
    of_file, of_reference = (
        summarize(texts, training, labels, np.ones((1, len(texts.tokens)), dtype=np.int64))
        for texts in (file, reference)
    )
    differences = {name: values - drawn[1][name] for name, values in drawn[0].items()}
    of_file[BLANK], of_reference[BLANK] = np.array([unscored / (unscored + len(file.tokens))]), np.zeros(1)
    for name in RARE:
        rows = len(file.tokens) + (unscored if name == BLANK else 0)
        if name in of_file:
            share = of_reference[name][0]
            differences[name] = random.binomial(rows, around_share(share)[1], DRAWS) / rows - share
    return [judge(name, of_file[name][0], share[0], differences[name]) for name, share in of_reference.items()]


def summarize(texts: Measures, training: Training, labels: Sequence[str] | None, weights: Ints) -> dict[str, Floats]:
    """Return all measures of R samples of N texts, (R,) each.

    `weights`, (R, N), says how often each sample has each text. If the counts of words are sums over several texts, the
    weights must all be 1. A measure is NaN for a sample without anything to measure.
    """

    def share(part: npt.NDArray[np.generic], whole: npt.NDArray[np.generic]) -> Floats:
        numerator, denominator = ((weights @ values.astype(np.float64)) for values in (part, whole))
        shares: Floats = np.divide(numerator, denominator, out=np.full(len(weights), np.nan), where=denominator > 0)
        return shares

    each = np.ones(len(texts.tokens))
    found = {name: quantile(texts.tokens, weights, rank) for name, rank in QUANTILES.items()}
    found[UNKNOWN] = share(texts.unknown, texts.tokens)
    found[FREQUENT] = share(texts.frequent, texts.tokens)
    found[UNSEEN] = share(texts.unseen, texts.pairs)
    found[DISTANCE] = distance(texts.words, weights, training.shares)
    found[COPIES] = share(texts.is_copy, each)
    found[CONFIDENCE] = share(texts.confidence, each)
    found[SURE] = share(texts.confidence > CONFIDENT, each)
    if labels is not None:
        for number, label in enumerate(labels):
            found[f"label {label}"] = share(texts.labels == number, texts.labels >= 0)
        found[OTHER_LABEL] = share(texts.labels < 0, each)
    return found


def quantile(values: Ints, weights: Ints, rank: float) -> Floats:
    """Return the least value with at least `rank` of the weight at or below it, in each of R samples, (R,).

    `values` is (N,), `weights` (R, N).
    """
    order = np.argsort(values)
    below = weights[:, order].cumsum(axis=1)  # (R, N)
    places = (below < rank * below[:, -1:]).sum(axis=1)
    found: Floats = values[order][places].astype(np.float64)
    return found


def distance(words: Ints, weights: Ints, shares: Floats) -> Floats:
    """Return the total variation distance between the word frequencies of R samples and `shares`, (C + 1,).

    It is the share of the tokens, from 0 to 1, that would have to be other words for the frequencies to be the same.
    `words` is (N, C + 1), `weights` (R, N); `words` may instead hold a few sums, if all weights are 1.
    """
    if len(words) != weights.shape[1]:
        weights = np.ones((len(weights), len(words)), dtype=np.int64)
    counts = weights.astype(np.float64) @ words.astype(np.float64)  # (R, C + 1)
    moved: Floats = np.abs(counts / counts.sum(axis=1, keepdims=True) - shares).sum(axis=1) / 2
    return moved


def judge(measure: str, file: float, reference: float, differences: Floats) -> Row:
    """Judge one measure; `differences`, (R,), are those between pairs of samples of the reference texts."""
    if np.isnan(file) or np.isnan(reference) or np.isnan(differences).all():
        known_file, known_reference = (None if np.isnan(value) else float(value) for value in (file, reference))
        return Row(measure, known_file, known_reference, None, None, None)
    is_share = measure not in QUANTILES
    low, high = (reference + np.nanquantile(differences, [OUTSIDE, 1 - OUTSIDE])).tolist()
    chance = (max(low, 0.0), min(high, 1.0) if is_share else high)
    small = around_share(reference) if is_share else (reference / LENGTH_RATIO, reference * LENGTH_RATIO)
    if measure == DISTANCE or measure in RARE:  # less cannot be too little
        chance, small = (0.0, chance[1]), (0.0, small[1])
    is_alike = any(least <= file <= greatest for least, greatest in (chance, small))
    return Row(measure, float(file), float(reference), chance, small, is_alike)


def around_share(share: float) -> tuple[float, float]:
    """Return the least and the greatest share within SMALL_EFFECT of a share, by Cohen's h."""
    angle = np.arcsin(np.sqrt(share))
    low, high = np.sin(np.clip([angle - SMALL_EFFECT / 2, angle + SMALL_EFFECT / 2], 0, np.pi / 2)) ** 2
    return float(low), float(high)


def format_table(rows: Sequence[Row], texts: tuple[int, int]) -> str:
    """Format the rows as a table in Markdown; `texts` are the numbers of texts of file and reference."""
    table: list[tuple[str, ...]] = [("measure", "file", "reference", "by chance", "too small to matter", "verdict")]
    table.append(("texts", *(f"{count:,}" for count in texts), "", "", ""))
    for row in rows:
        show = _show_tokens if row.measure in QUANTILES else _show_share
        ranges = ("-" if pair is None else " to ".join(map(show, pair)) for pair in (row.chance, row.small))
        values = ("-" if value is None else show(value) for value in (row.file, row.reference))
        verdict = "-" if row.is_alike is None else "alike" if row.is_alike else "unlike"
        table.append((row.measure, *values, *ranges, verdict))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [" | ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in table]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "".join(f"| {line} |\n" for line in lines)


def _show_tokens(value: float) -> str:
    return f"{value:,.0f}"


def _show_share(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")
