"""The model card (Mitchell et al. 2019): what a model is, what it was trained on, and how good it is, in Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sentiment.storage.outputs import atomic_output

TEMPLATE = Path(__file__).with_name("card.md")


class Data(NamedTuple):
    """The texts that a model was trained and tested on."""

    description: str
    licence: str
    language: str  # spaCy's code
    train: int  # number of texts, as in the other parts
    labelled: int  # texts of train whose labels are used
    unsup: int
    validation: int
    test: int
    known: float  # share of the words in the training texts that are in the vocabulary
    uses: Mapping[str, Sequence[str]]  # what train, unsup and validation were used for


class Card(NamedTuple):
    """The contents of a card."""

    title: str
    labels: Sequence[str]  # names, K
    network: Mapping[str, object]
    data: Data
    words: int
    test: Mapping[str, float]  # metrics by name
    of_labels: Sequence[Mapping[str, str]]  # rows of the table by label; empty for two
    behaviour: Sequence[Mapping[str, str]]  # rows of the table by kind of test case; empty without cases
    lengths: Sequence[Mapping[str, str]]  # rows of the table by length


def write_card(path: Path, card: Card) -> None:
    """Write a card in Markdown."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # Markdown, not HTML
    )
    text = environment.get_template(TEMPLATE.name).render(card._asdict(), percent=_percent)
    with atomic_output(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _percent(share: float | str) -> str:
    return f"{float(share):.2%}".replace("%", " %")
