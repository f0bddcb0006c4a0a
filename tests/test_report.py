"""The report as a reader meets it: in a browser, on a wide screen and on a phone, by day and by night."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from sentiment.corpora.reviews import SENTIMENT
from sentiment.report import plots as figures
from sentiment.report.page import Mistake, Report, write_report
from sentiment.scoring.words import align_words

pytestmark = pytest.mark.slow

SCRIPT = "<script>fetch('https://example.org/')</script><img src=x onerror=alert(1)> & so \"on\""


def report(text: str = SCRIPT) -> Report:
    tokens = text.split()
    by_epoch = {"step": [1.0, 2.0, 3.0], "loss": [0.7, 0.5, 0.4]}
    return Report(
        title="LSTM",
        summary=[("test accuracy", "98.84%"), ("linear baseline", "61.96%")],
        metrics={"test": {"accuracy": 0.5, "reviews": 4}},
        data={"sha256 of data/corpus.parquet": "0" * 64},
        figures=[
            figures.perplexity({"epochs": [0.5, 1.0], "train": [900.0, 300.0], "held_out": [400.0, 250.0]}),
            figures.loss_by_epoch(by_epoch, by_epoch, 2),
            figures.confusion({("negative", "negative"): 5, ("positive", "negative"): 1}, ("negative", "positive")),
            figures.gradient_by_distance({"distance": [0.0, 1.0, 2.0], "log10_norm": [-1.0, -37.9, -37.9]}),
        ],
        labels=SENTIMENT,
        label_table={},
        mistakes=[
            Mistake("test/1", "negative", "positive", "positive", 0.9, align_words(text, tokens, [1.0] * len(tokens)))
        ]
        * 3,
        language="en",
        parameters={"train": {"seed": "1"}, "download": {"imdb.sha256": "0" * 64}},
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_opens_in_a_browser_without_errors_or_network(
    browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    write_report(tmp_path / "report.html", report("a " * 200 + "verylongword" * 40 + SCRIPT))
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page.url]
    assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out to the side"
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    shown = page.evaluate("[...document.images].map(image => image.currentSrc)")
    assert len(set(shown)) == 4
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert ink == {"light": "rgb(28, 28, 28)", "dark": "rgb(230, 230, 230)"}[scheme]
    assert page.locator("article script, article img").count() == 0
    assert SCRIPT.split()[0] in page.locator("article p").first.inner_text()
    page.close()


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for page in pages:
        write_report(page, report())
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_html_in_a_review_is_shown_as_text(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", report())
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"\b(https?:)?//(?!example\.org)\w", page), "nothing is loaded from elsewhere"


def test_a_review_is_marked_with_its_language_and_takes_its_own_direction(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", report("שלום")._replace(language="he"))
    assert '<p lang="he" dir="auto">' in (tmp_path / "report.html").read_text()


def test_a_report_without_mistakes_says_so(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", report()._replace(mistakes=[]))
    assert "all test reviews are classified correctly" in (tmp_path / "report.html").read_text()
