"""Draw histograms of a file's texts and the reference texts side by side, as SVG."""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sentiment.drift.measures import Floats, Measures
from sentiment.report.plots import LIGHT

INCHES = (11.0, 3.4)
BINS = 30
SETTINGS: Any = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "legend.frameon": False,
    "svg.fonttype": "path",  # outlines, so that text looks the same in every browser
    "svg.hashsalt": "sentiment",  # otherwise the ids of elements are random
}


def draw_histograms(file: Measures, reference: Measures) -> str:
    """Draw the share of texts by number of tokens, by share of unknown words and by confidence; return the SVG."""
    panels: dict[str, list[Floats]] = {
        "tokens": [texts.tokens.astype(np.float64) for texts in (file, reference)],
        "share of unknown words": [texts.unknown / np.maximum(texts.tokens, 1) for texts in (file, reference)],
        "probability of the predicted label": [texts.confidence for texts in (file, reference)],
    }
    with mpl.rc_context(SETTINGS):
        canvas = Figure(INCHES, layout="constrained")
        for axes, (label, values) in zip(canvas.subplots(1, len(panels)), panels.items(), strict=True):
            joined = np.concatenate(values)
            # a few very long texts would squeeze all others into one bar
            ends = joined.min(), np.quantile(joined, 0.99) if label == "tokens" else joined.max()
            edges = np.histogram_bin_edges(joined, BINS, ends)
            for name, of_texts, colour in zip(("file", "reference"), values, (LIGHT.second, LIGHT.first), strict=True):
                weights = np.full(len(of_texts), 1 / len(of_texts))
                axes.hist(
                    of_texts.clip(*edges[[0, -1]]), edges, weights=weights, histtype="step", color=colour, label=name
                )
            axes.set(xlabel=label, ylabel="share of texts")
        canvas.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
        text = io.StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()
