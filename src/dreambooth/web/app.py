"""The studio as one ASGI app: a folder of runs, a queue, and the pages and addresses that serve them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from dreambooth.errors import DreamBoothError, in_words
from dreambooth.support.progress import log
from dreambooth.web.drafts import Drafts
from dreambooth.web.events import Watches
from dreambooth.web.guard import Guard, Rules
from dreambooth.web.plan import Plans
from dreambooth.web.queue import Queue
from dreambooth.web.refusal import Refusal
from dreambooth.web.routes import drafts, pages, runs
from dreambooth.web.state import State
from dreambooth.web.studio import Studio
from dreambooth.web.uploads import LARGEST
from dreambooth.web.views import Views


def create(studio: Studio, queue: Queue, hosts: frozenset[str], token: str | None = None, **settings: Any) -> Guard:
    """The app behind its guard. hosts: names and ports that it listens to.  token: the key, None for none.

    settings: own_models, and those of `Rules` that are not to be the usual ones.
    """
    own_models = settings.pop("own_models", ())
    state = State(
        studio=studio,
        queue=queue,
        drafts=Drafts(studio, own_models),
        views=Views(studio, queue),
        watches=Watches(),
        plans=Plans(queue.command),
        command=queue.command,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        studio.sweep()
        queue.start()
        yield
        queue.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.studio = state
    for router in (pages.router, drafts.router, runs.router):
        app.include_router(router)
    _add_errors(app)
    rules = Rules(hosts=hosts, token=token, upload=LARGEST, is_upload=_is_upload, **settings)
    return Guard(app, rules)


def _is_upload(path: str) -> bool:
    return path.startswith("/api/drafts/") and path.endswith("/photos")


def _add_errors(app: FastAPI) -> None:
    def told(status: int, sentence: str) -> Response:
        ends = {"connection": "close"} if status in (408, 413) else None  # the rest of the body is not read
        return JSONResponse({"error": sentence}, status, ends)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return told(error.status, error.sentence)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        each = [f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors()]
        return told(422, f"This cannot be read: {'; '.join(each)[:500]}.")

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        sentences = {404: "There is no such page.", 405: "This cannot be done here."}
        return told(error.status_code, sentences.get(error.status_code, str(error.detail)))

    async def fault(request: Request, error: Exception) -> Response:
        if isinstance(error, DreamBoothError):
            return told(409, str(error))
        log.error("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
        return told(500, in_words(error) or "The studio made a mistake; its terminal says which.")

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(DreamBoothError, fault)
    app.add_exception_handler(OSError, fault)
