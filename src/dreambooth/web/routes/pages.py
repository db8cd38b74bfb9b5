"""The pages, which are nearly empty, and the scripts and styles that fill them."""

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from dreambooth.web.refusal import Refusal
from dreambooth.web.state import Its

router = APIRouter()

KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@router.get("/")
def home(its: Its) -> HTMLResponse:
    """All runs."""
    return _page("home.html.j2", title="Your subjects", page="home")


@router.get("/drafts/{id}")
def draft(id: str, its: Its) -> Response:
    """A run that is being put together; one that was started has a page of its own."""
    try:
        its.studio.draft_folder(id)
    except Refusal:
        return RedirectResponse("/", 303)
    return _page("draft.html.j2", title="A new subject", page="draft", id=id)


@router.get("/runs/{id}")
def run(id: str, its: Its) -> HTMLResponse:
    """One run."""
    name = its.views.run(id)["name"]
    return _page("run.html.j2", title=name, page="run", id=id)


@router.get("/compare")
def compare(its: Its) -> HTMLResponse:
    """Two to four runs beside each other."""
    return _page("compare.html.j2", title="Compare", page="compare")


@router.get("/favicon.ico")
def icon() -> Response:
    """The picture of the browser's tab."""
    return RedirectResponse("/static/icon.svg", 308)


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """A script or a style of the page, by its name among those that come with the package."""
    found = _static().get(name)
    if found is None:
        raise Refusal(404, "There is no such file.")
    kind, content, tag = found
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


@cache
def _static() -> dict[str, tuple[str, bytes, str]]:
    """Every file: its kind, its content and a hash of it."""
    found = {}
    for file in files("dreambooth.web").joinpath("static").iterdir():
        kind = KINDS.get(f".{file.name.rpartition('.')[2]}")
        if kind:
            content = file.read_bytes()
            found[file.name] = (kind, content, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
    return found


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("dreambooth.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _page(template: str, *, title: str, page: str, id: str = "") -> HTMLResponse:
    return HTMLResponse(_templates().get_template(template).render(title=title, page=page, id=id))
