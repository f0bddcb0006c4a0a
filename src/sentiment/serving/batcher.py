"""Score the texts of concurrent requests together, in one thread, with bounded queues."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from sentiment.scoring.scorer import Scorer
from sentiment.scoring.words import Word

TEXTS_AT_ONCE = 64


class BusyError(Exception):
    """More texts are waiting than the server accepts."""


class Batcher:
    """One thread that scores; while it is busy, the texts of new requests wait and then form the next batch."""

    def __init__(self, scorer: Scorer, max_waiting: int) -> None:
        self._scorer = scorer
        self._max_waiting = max_waiting  # texts
        self._waiting: list[tuple[str | None, asyncio.Future[dict[str, Any]]]] = []
        self._thread = ThreadPoolExecutor(1)
        self._worker: asyncio.Task[None] | None = None

    async def score(self, texts: Sequence[str | None]) -> list[dict[str, Any]]:
        """Return the label and the probabilities of each text; raise BusyError if too many texts are waiting."""
        if len(self._waiting) + len(texts) > self._max_waiting:
            raise BusyError
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[dict[str, Any]]] = [loop.create_future() for _ in texts]
        self._waiting += zip(texts, futures, strict=True)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await asyncio.gather(*futures)

    async def explain(self, text: str) -> list[Word]:
        """Return the words of a text that is not blank, with their weights."""
        loop = asyncio.get_running_loop()
        (words,) = await loop.run_in_executor(self._thread, self._scorer.explain, pa.array([text]))
        return words

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:TEXTS_AT_ONCE], self._waiting[TEXTS_AT_ONCE:]
            batch = [(text, future) for text, future in batch if not future.done()]  # without requests given up
            try:
                scores = await loop.run_in_executor(self._thread, self._score, [text for text, _ in batch])
            except Exception as error:  # each request reports it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), score in zip(batch, scores, strict=True):
                    if not future.done():
                        future.set_result(score)
        self._worker = None

    def _score(self, texts: list[str | None]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._scorer(pa.record_batch({"text": pa.array(texts, pa.string())})).to_pylist()
        return [{name: value for name, value in row.items() if name != "id"} for row in rows]
