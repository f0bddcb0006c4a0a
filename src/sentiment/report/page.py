"""The report of a run: one self-contained HTML page that needs no network."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sentiment.report.plots import Plot
from sentiment.scoring.words import Word
from sentiment.storage.outputs import atomic_output

TEMPLATE = Path(__file__).with_name("page.html")


class Mistake(NamedTuple):
    """A review that the model got wrong."""

    id: str
    actual: str
    predicted: str
    label: str  # of which the probability is given
    probability: float
    words: list[Word]


Rows = Mapping[str, object]  # a table of names and values


class Report(NamedTuple):
    """The contents of the page."""

    title: str
    summary: Sequence[tuple[str, str]]  # names and values of the main metrics
    metrics: Mapping[str, Rows]  # by stage
    data: Rows
    figures: Sequence[Plot]
    labels: Sequence[str]  # K
    label_table: Mapping[str, Sequence[str]]  # metrics of each label, in columns; empty for two
    mistakes: Sequence[Mistake]
    language: str  # of the reviews, as an HTML `lang`
    parameters: Mapping[str, Rows]  # by section


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
    environment.filters["zip"] = lambda columns: zip(*columns, strict=True)
    page = environment.get_template(TEMPLATE.name).render(report._asdict())
    with atomic_output(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _data_url(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
