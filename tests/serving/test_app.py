"""Tests of the HTTP interface: a real server on loopback."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
import uvicorn
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from sentiment.corpora.reviews import SENTIMENT
from sentiment.scoring.scorer import Scorer, score_schema
from sentiment.serving import app as module
from sentiment.serving.app import Example, create_app
from sentiment.serving.batcher import Batcher, BusyError

SCHEMA = score_schema(SENTIMENT)

JSON = {"Content-Type": "application/json"}


class Client(requests.Session):
    """A session with a server of this process."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.place = f"http://127.0.0.1:{port}"

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        return super().request(method, self.place + str(url), *args, **kwargs)


@contextmanager
def serving(app: FastAPI) -> Iterator[Client]:
    """Run a server in a thread; yield a client."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        with Client(server.servers[0].sockets[0].getsockname()[1]) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(model_folder: Path) -> Iterator[Client]:
    with serving(create_app(Scorer(model_folder), [Example("</script>", "positive")])) as client:
        yield client


def expected(model_folder: Path, *texts: str | None) -> list[dict[str, Any]]:
    rows = Scorer(model_folder)(pa.record_batch({"text": pa.array(texts, pa.string())})).to_pylist()
    return [{name: row[name] for name in SCHEMA.names if name != "id"} for row in rows]


def test_one_text_and_many_get_what_the_scorer_says(client: Client, model_folder: Path) -> None:
    one = client.post("/score", json={"text": "A good film."})
    assert one.json() == {"scores": expected(model_folder, "A good film.")}
    texts = ["A good film.", None, " ", "bad"]
    many = client.post("/score", json={"texts": texts}).json()["scores"]
    for found, row in zip(many, expected(model_folder, *texts), strict=True):
        assert found["label"] == row["label"]
        assert found["probability_positive"] == pytest.approx(row["probability_positive"], abs=1e-6)
    assert client.post("/score", json={"texts": []}).json() == {"scores": []}


def test_texts_on_the_page_are_marked_with_their_language_and_take_their_own_direction(client: Client) -> None:
    page = client.get("/").text
    assert '<textarea id="text" lang="en" dir="auto"' in page
    assert '<p id="words" lang="en" dir="auto">' in page
    assert "LANGUAGE" not in page


def test_words_come_with_their_weights(client: Client) -> None:
    words = client.post("/score", json={"text": "A good film.", "words": True}).json()["words"]
    assert [word[:2] for word in words] == [["A", False], ["good", True], ["film", True], [".", False]]
    assert max(abs(word[2]) for word in words) == 1
    assert client.post("/score", json={"text": " ", "words": True}).json()["words"] == []


def test_the_server_says_that_it_is_up(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_page_is_whole_and_allows_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none';")
    assert page.text.count("</script>") == 1
    assert r'"\u003c/script>"' in page.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "give either text or texts"),
        ({"text": "a", "texts": []}, "give either text or texts"),
        ({"text": 5}, "text: Input should be a valid string"),
        ({"texts": "a"}, "texts: Input should be a valid list"),
        ({"texts": ["a", 5]}, "texts.1: Input should be a valid string"),
        ({"texts": ["a"] * 257}, "texts: List should have at most 256 items"),
        ({"text": "a" * 50_001}, "text: String should have at most 50000 characters"),
        ({"text": "a" * 10_001, "words": True}, "words need a text of at most 10,000 characters"),
        ({"texts": ["a"], "words": True}, "words need a single text"),
        ({"text": "a", "other": 1}, "other: Extra inputs are not permitted"),
        ({"texts": None}, "texts must be a list"),
        ([], "the body must be a JSON object, sent with Content-Type: application/json"),
    ],
)
def test_a_wrong_request_is_refused_with_the_place_and_without_the_text(
    client: Client, body: Any, message: str
) -> None:
    reply = client.post("/score", json=body)
    assert reply.status_code == 422
    assert reply.json()["error"].startswith(message)
    assert len(reply.content) < 200


MALFORMED = {
    "broken": (b"{", JSON, 422),
    "half a surrogate pair": (b'{"text": "\\ud800"}', JSON, 422),
    "half a surrogate pair as a key": (b'{"\\ud800": 1}', JSON, 422),
    "not UTF-8": (b'{"text": "\xff"}', JSON, 400),
    "not a number": (b'{"text": NaN}', JSON, 422),
    "deep": (b"[" * 100_000, JSON, 400),
    "a long number": (b"1" * 10_000, JSON, 400),
    "not called JSON": (b'{"text": "good"}', {"Content-Type": "text/plain"}, 422),
    "too large": (b" " * (1 << 20) + b"{}", JSON, 413),
    "too large, of unknown length": ([b" " * (1 << 19)] * 3, JSON, 413),
    "nothing": (b"", JSON, 422),
}


@pytest.mark.parametrize(("content", "headers", "status"), MALFORMED.values(), ids=list(MALFORMED))
def test_a_malformed_body_is_a_clients_error(
    client: Client, content: bytes | list[bytes], headers: dict[str, str], status: int
) -> None:
    reply = client.post("/score", data=content if isinstance(content, bytes) else iter(content), headers=headers)
    assert reply.status_code == status
    assert set(reply.json()) == {"error"}


def test_a_body_in_another_encoding_is_told_what_it_must_be(client: Client) -> None:
    reply = client.post("/score", data=b'{"text": "gro\xdfartig"}', headers=JSON)
    assert reply.json() == {"error": "the body must be JSON in UTF-8"}


@given(content=st.binary(max_size=100) | st.text('{}[]":,\\textsud80ffNa1', max_size=60).map(str.encode))
def test_any_body_gets_an_answer_that_is_no_servers_error(client: Client, content: bytes) -> None:
    assert client.post("/score", data=content, headers=JSON).status_code < 500


def test_other_paths_and_methods_are_refused_in_the_same_form(client: Client) -> None:
    assert client.get("/nowhere").json() == {"error": "Not Found"}
    assert client.get("/score").json() == {"error": "Method Not Allowed"}
    assert client.get("/docs").status_code == 404


def test_nothing_of_a_text_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for body in ({"text": "SECRET"}, {"text": ["SECRET"]}, {"SECRET": 1}):
        client.post("/score", json=body)
    assert "SECRET" not in caplog.text


def test_a_request_that_takes_too_long_is_given_up(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS", 0.05)
    scorer, release = Scorer(model_folder), threading.Event()
    monkeypatch.setattr(Batcher, "_score", lambda self, texts: release.wait(10) and [{} for _ in texts])
    with serving(create_app(scorer)) as client:
        reply = client.post("/score", json={"text": "good"})
        release.set()
    assert reply.status_code == 503
    assert reply.json() == {"error": "a request may take at most 0 seconds"}


class Slow:
    """Stands for a scorer that takes a while, and notes the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.go.wait(10)
        self.sizes.append(len(batch))
        return pa.record_batch([pa.nulls(len(batch), field.type) for field in SCHEMA], schema=SCHEMA)


def test_requests_that_wait_are_scored_together() -> None:
    scorer = Slow()

    async def ask() -> None:
        batcher = Batcher(scorer, max_waiting=100)  # type: ignore[arg-type]
        asks = [asyncio.create_task(batcher.score(["good"] * 2)) for _ in range(10)]
        await asyncio.sleep(0.05)
        scorer.go.set()
        assert [len(scores) for scores in await asyncio.gather(*asks)] == [2] * 10

    asyncio.run(ask())
    assert sum(scorer.sizes) == 20
    assert len(scorer.sizes) <= 2


def test_too_many_waiting_texts_are_refused_and_a_request_that_was_given_up_is_not_scored() -> None:
    scorer = Slow()

    async def ask() -> None:
        batcher = Batcher(scorer, max_waiting=10)  # type: ignore[arg-type]
        first = asyncio.create_task(batcher.score(["good"]))
        await asyncio.sleep(0.05)
        given_up = asyncio.create_task(batcher.score(["good"] * 10))
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError):
            await batcher.score(["good"])
        given_up.cancel()
        await asyncio.sleep(0.05)
        scorer.go.set()
        assert len(await first) == 1
        assert len(await batcher.score(["good"] * 3)) == 3

    asyncio.run(ask())
    assert sum(scorer.sizes) == 4


def test_an_error_reaches_every_request_and_the_next_one_is_scored() -> None:
    class Broken:
        fails = True

        def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            if self.fails:
                raise RuntimeError("broken")
            return pa.record_batch([pa.nulls(len(batch), field.type) for field in SCHEMA], schema=SCHEMA)

    async def ask() -> None:
        scorer = Broken()
        batcher = Batcher(scorer, max_waiting=10)  # type: ignore[arg-type]
        found = await asyncio.gather(batcher.score(["a"]), batcher.score(["b"]), return_exceptions=True)
        assert [str(error) for error in found] == ["broken"] * 2
        scorer.fails = False
        assert len(await batcher.score(["a"])) == 1

    asyncio.run(ask())


def test_json_in_a_script_cannot_end_it() -> None:
    assert json.loads(module._for_script(["</script><!--"])) == ["</script><!--"]
    assert "<" not in module._for_script(["</script><!--"])
