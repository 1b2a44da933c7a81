"""The page's server: what it shows and takes, in JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.label.session import Session
from pipeline.errors import UserError
from pipeline.web import server
from pipeline.web.page import rendered

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE = Path(__file__).parent / "page.html.jinja"
LARGEST = 1 << 16  # bytes of an answer


def application(session: Session, who: str, about: dict[str, Any]) -> "FastAPI":
    """GET / is the page, GET /next what a person is shown, POST /answer keeps an answer; 4xx say what is wrong."""
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse

    app = FastAPI(title="Label galaxies", docs_url=None, redoc_url=None, openapi_url=None)
    page = rendered(PAGE, who=who, about=about, schema=session.schema)

    @app.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": server.POLICY})

    @app.get("/next")
    def shown(who: str = "") -> dict:
        return _told(lambda: session.state(who))

    async def answer(request: Request) -> dict:
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > LARGEST:
                raise HTTPException(413, "An answer is never that long.")
        return await run_in_threadpool(lambda: _told(lambda: session.put(**_answer(bytes(data)))))

    answer.__annotations__["request"] = Request  # which FastAPI looks up by name where annotations are text
    app.post("/answer")(answer)
    return app


def _told(make: Callable[[], dict]) -> dict:
    from fastapi import HTTPException

    try:
        return make()
    except UserError as error:
        raise HTTPException(422, f"{error}.") from None
    except OSError as error:
        raise HTTPException(507, f"The answer could not be kept: {error.strerror}. Nothing else was lost.") from None


def _answer(data: bytes) -> dict[str, Any]:
    """The arguments of `Session.put`; UserError where they are none."""
    try:
        content = json.loads(data)
        given = content["given"]
        texts = [content["who"], content["galaxy"], *given, *given.values()]
        sound = all(isinstance(text, str) for text in texts) and isinstance(content.get("skipped", False), bool)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise UserError("expected an answer in JSON: who, galaxy, given (question: answer), skipped")
    return {key: content[key] for key in ("who", "galaxy", "given", "skipped") if key in content}
