"""The report of a run: one self-contained HTML page that needs no network."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sentiment.report.plots import Plot
from sentiment.storage.outputs import atomic_output

TEMPLATE = Path(__file__).with_name("page.html")
MIN_SHADED_WEIGHT = 0.05  # words with a smaller share of the largest weight are not shaded


class Word(NamedTuple):
    """A token of a review, as spelled in the review."""

    text: str
    follows_space: bool
    weight: float  # from -1 (negative) to 1 (positive), relative to the review's largest weight


class Mistake(NamedTuple):
    """A review that the model got wrong."""

    id: str
    actual: str
    predicted: str
    probability: float  # of being positive
    words: list[Word]


Rows = Mapping[str, object]  # a table of names and values


class Report(NamedTuple):
    """The contents of the page."""

    title: str
    summary: Sequence[tuple[str, str]]  # names and values of the main metrics
    metrics: Mapping[str, Rows]  # by stage
    data: Rows
    figures: Sequence[Plot]
    mistakes: Sequence[Mistake]
    parameters: Mapping[str, Rows]  # by section


def align_words(text: str, tokens: Sequence[str], weights: Sequence[float]) -> list[Word]:
    """Locate n tokens in the text, which contains them in this order, and scale their weights, (n,), for shading."""
    largest = max(map(abs, weights), default=0.0) or 1.0
    words, end = [], 0
    for token, weight in zip(tokens, weights, strict=True):
        start = max(end, text.find(token, end))  # an empty text has the token <unk>, which it does not contain
        share = round(weight / largest, 2)
        words.append(Word(token, start > end, share if abs(share) >= MIN_SHADED_WEIGHT else 0.0))
        end = start + len(token)
    return words


def write_report(path: Path, report: Report) -> None:
    """Write the page; all text is escaped, so that HTML in a review is shown rather than executed."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_url"] = _data_url
    page = environment.get_template(TEMPLATE.name).render(report._asdict())
    with atomic_output(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _data_url(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
