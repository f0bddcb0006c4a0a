"""`stages.serve`: a real process, and its page in a real browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from sentiment.errors import InputError
from stages.serve import main
from tests.clone import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(model_folder: Path) -> Iterator[str]:
    """The address of a server with an untrained model."""
    with serve(model_folder) as address:
        yield address


@contextmanager
def serve(model_folder: Path) -> Iterator[str]:
    """Serve a model, and yield the server's address."""
    command = [sys.executable, "-m", "stages.serve", "--model", str(model_folder), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = filter(None, (re.search(r"running on (http://127\.0\.0\.1:\d+)", line) for line in process.stderr))
        try:
            yield next(found)[1]
        finally:
            process.terminate()
        assert "SECRET" not in process.stderr.read()


@pytest.fixture
def page(server: str, browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    complaints: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(server)
    yield page
    assert complaints == []
    assert all(url.startswith((server, "data:")) for url in requested)
    page.close()


def test_what_is_typed_is_scored_and_its_words_are_shaded(server: str, page: Page) -> None:
    expect(page.get_by_role("status")).to_have_text("No text yet")
    page.get_by_label("A review").type("A good <b>film</b>, SECRET")
    answer = requests.post(f"{server}/score", json={"text": "A good <b>film</b>, SECRET"}, timeout=10).json()
    label = answer["scores"][0]["label"]
    expect(page.get_by_role("status")).to_contain_text(f"{label}, with a probability of ")
    expect(page.locator("#words")).to_have_text("A good <b>film</b>, SECRET")
    assert page.locator("#words .for, #words .against").count() > 0
    page.get_by_label("A review").fill("")
    expect(page.get_by_role("status")).to_have_text("No text yet")
    expect(page.locator("#explanation")).to_be_hidden()


def test_the_labels_are_listed_by_probability_if_there_are_more_than_two(
    model_of_three: Path, browser: Browser
) -> None:
    with serve(model_of_three) as address:
        page = browser.new_page()
        page.goto(address)
        page.get_by_label("A review").fill("A good film")
        scores = requests.post(f"{address}/score", json={"text": "A good film"}, timeout=10).json()["scores"][0]
        label = scores.pop("label")
        expect(page.get_by_role("status")).to_contain_text(f"{label}, with a probability of ")
        rows = page.locator("#labels tr")
        expect(rows).to_have_count(3)
        assert rows.first.inner_text().split()[0] == label
        assert sorted(row.split()[0] for row in rows.all_inner_texts()) == ["bad", "fair", "good"]
        expect(page.locator("#bar")).to_be_hidden()
        expect(page.locator("#explanation")).to_contain_text("Words in favour of the label and against it")
        page.close()


def test_an_example_is_scored_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")  # to the text
    page.keyboard.press("Tab")
    page.wait_for_function("document.activeElement.tagName === 'BUTTON'")
    button = page.locator("button").first
    page.keyboard.press("Enter")
    text, true_label = re.fullmatch(r"(.*) \((\w+)\)", button.inner_text()).groups()  # type: ignore[union-attr]
    expect(page.get_by_label("A review")).to_have_value(text)
    wrong = {"positive": "negative", "negative": "positive"}[true_label]
    expect(page.get_by_role("status")).to_contain_text(f"{wrong}, with a probability of ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_sticks_out_on_any_screen(server: str, browser: Browser, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(server)
    page.get_by_label("A review").fill("film" * 200 + " good bad " * 50)
    expect(page.locator("#explanation")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert ink == {"light": "rgb(28, 28, 28)", "dark": "rgb(230, 230, 230)"}[scheme]
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{width}-{scheme}.png", full_page=True)
    page.close()


def test_a_server_that_went_away_is_reported(page: Page) -> None:
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError()); }")
    page.get_by_label("A review").fill("good")
    expect(page.get_by_role("status")).to_have_text("The server does not answer.")


def test_a_port_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match=r"^--port must be between 0 and 65535; got 70000$"):
        main(["--port", "70000"])


def test_a_port_in_use_is_named_with_the_option(server: str) -> None:
    port = server.rpartition(":")[2]
    with pytest.raises(InputError, match=rf"^port {port} of 127\.0\.0\.1 is in use; name another \(--port\)$"):
        main(["--port", port])
    with pytest.raises(InputError, match=r"^port 0 of nowhere\.invalid cannot be had: "):
        main(["--host", "nowhere.invalid", "--port", "0"])
