"""The HTTP interface: POST /score, GET /healthz, and GET / for a page.

Nothing of a text is logged or repeated in an error.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.exceptions import HTTPException

from sentiment.scoring.scorer import Scorer
from sentiment.serving.batcher import Batcher, BusyError

PAGE = Path(__file__).with_name("page.html")
MAX_BYTES = 1 << 20  # of a request
MAX_TEXTS = 256  # of a request
MAX_CHARACTERS = 50_000  # of a text
MAX_EXPLAINED = 10_000  # characters of a text whose words are weighed
MAX_WAITING = 1_024  # texts of all requests
MAX_SECONDS = 30.0  # of a request, from its first byte to its answer
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Text = Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]


class Example(NamedTuple):
    """A text to try on the page, with its true label."""

    text: str
    label: str


class Texts(BaseModel):
    """The body of a request: one text, or a list of texts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Text | None = None
    texts: Annotated[list[Text | None], Field(max_length=MAX_TEXTS)] | None = None
    words: bool = False  # weigh the words; with a single text only

    @model_validator(mode="after")
    def _has_one(self) -> "Texts":
        if ("text" in self.model_fields_set) == ("texts" in self.model_fields_set):
            raise ValueError("give either text or texts")
        if "texts" in self.model_fields_set and self.texts is None:
            raise ValueError("texts must be a list")
        if self.words and self.texts is not None:
            raise ValueError("words need a single text")
        if self.words and len(self.text or "") > MAX_EXPLAINED:
            raise ValueError(f"words need a text of at most {MAX_EXPLAINED:,} characters")
        return self


def create_app(scorer: Scorer, examples: Sequence[Example] = ()) -> FastAPI:
    """Return the application; `examples` are texts for the page."""
    app = FastAPI(title="Sentiment", openapi_url=None)
    batcher = Batcher(scorer, MAX_WAITING)
    page = PAGE.read_text(encoding="utf-8").replace("LANGUAGE", scorer.language)
    page = page.replace("LABELS", _for_script(scorer.labels))
    page = page.replace("EXAMPLES", _for_script([each._asdict() for each in examples]))

    @app.post("/score")
    async def score(body: Texts) -> dict[str, Any]:
        """Score one text or many; a text that is blank or null has null for a label."""
        texts = [body.text] if body.texts is None else body.texts
        reply: dict[str, Any] = {"scores": await batcher.score(texts)}
        if body.words:
            is_scored = reply["scores"][0]["label"] is not None
            reply["words"] = await batcher.explain(body.text or "") if is_scored else []
        return reply

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/")
    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers=HEADERS)

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        if first["type"] == "json_invalid":
            return _error(422, f"the body is not JSON: {first['ctx']['error']} at character {place}")
        if not place and first["type"] in ("missing", "model_attributes_type"):
            return _error(422, "the body must be a JSON object, sent with Content-Type: application/json")
        message = first["msg"].removeprefix("Value error, ")
        return _error(422, f"{place}: {message}" if place else message)

    @app.exception_handler(HTTPException)
    async def report(request: Request, error: HTTPException) -> JSONResponse:
        is_unreadable = error.status_code == 400  # FastAPI says only that there was an error
        return _error(error.status_code, "the body must be JSON in UTF-8" if is_unreadable else str(error.detail))

    @app.exception_handler(BusyError)
    async def wait(request: Request, error: BusyError) -> JSONResponse:
        return _error(503, "too many texts are waiting; try again in a second", {"Retry-After": "1"})

    app.add_middleware(_Bounds)
    return app


class _Bounds:
    """Middleware that ends a request that is too large or takes too long."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size, has_started = 0, False

        async def bounded_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BYTES:
                raise HTTPException(413, f"a request may have at most {MAX_BYTES:,} bytes")
            return message

        async def watched_send(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            async with asyncio.timeout(MAX_SECONDS):
                await self._app(scope, bounded_receive, watched_send)
            return
        except TimeoutError:
            answer = _error(503, f"a request may take at most {MAX_SECONDS:.0f} seconds", {"Connection": "close"})
        if not has_started:
            await answer(scope, receive, send)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    message = message.encode("utf-8", "replace").decode()  # a key may hold half a surrogate pair
    return JSONResponse({"error": message}, status, headers)


def _for_script(value: object) -> str:
    """Return JSON that may stand in a script element."""
    return json.dumps(value).replace("<", "\\u003c")
