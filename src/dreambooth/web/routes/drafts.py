"""Runs that are being put together: photos, names, wishes, plan, start."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from dreambooth.config.methods import MethodName
from dreambooth.config.worlds import DEFAULT_WORLD, named
from dreambooth.errors import ConfigError
from dreambooth.web import pictures
from dreambooth.web.bases import cards
from dreambooth.web.bases import shown as shown_card
from dreambooth.web.looks import too_small
from dreambooth.web.machine import gpus
from dreambooth.web.nouns import suggest
from dreambooth.web.records import Crop, Draft, Photo
from dreambooth.web.refusal import Refusal
from dreambooth.web.state import Its, State
from dreambooth.web.uploads import place_for, shown_name

router = APIRouter(prefix="/api/drafts")


class Strict(BaseModel):
    """A body whose every field is known."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Wishes(Strict):
    """What the user wrote or chose; None: as it was, in `settings` as usual."""

    name: Annotated[str, Field(max_length=60)] | None = None
    noun: Annotated[str, Field(max_length=60)] | None = None
    base: Annotated[str, Field(max_length=40)] | None = None
    method: MethodName | None = None
    max_train_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    num_class_images: Annotated[int, Field(ge=1, le=10_000)] | None = None
    identifier: Annotated[str, Field(max_length=40)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    early_stopping: bool | None = None
    checkpoints_total_limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    unset: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=20)] = []


class Saving(Strict):
    """One of those that a plan told, by its flag."""

    flag: Annotated[str, Field(max_length=60)]


class Square(Strict):
    """A square of a photo, in its pixels."""

    left: Annotated[int, Field(ge=0)]
    top: Annotated[int, Field(ge=0)]
    side: Annotated[int, Field(ge=1)]


@router.post("")
def create(its: Its) -> dict[str, str]:
    """A new draft."""
    return {"id": its.studio.new_draft(time.time())}


@router.get("")
def every(its: Its) -> list[dict[str, Any]]:
    """All drafts, the newest first."""
    return [
        {"id": id, "name": draft.name, "photos": len(draft.photos), "created": draft.created}
        for id, draft in its.studio.drafts().items()
    ]


@router.get("/{id}")
def read(id: str, its: Its) -> dict[str, Any]:
    """One draft, with the cards of the base models, the plan and what is still to do."""
    return _shown(its, id, its.drafts.read(id))


@router.patch("/{id}")
def wish(id: str, wishes: Wishes, its: Its) -> dict[str, Any]:
    """Keep what the user wrote."""
    given = wishes.model_dump(exclude={"name", "noun", "unset"}, exclude_none=True)
    if "base" in given and given["base"] not in {card.id for card in cards(its.drafts.own_models)}:
        raise Refusal(422, "There is no such base model here: choose one of the cards.")
    settings: dict[str, Any] = {**dict.fromkeys(map(str, wishes.unset)), **given}
    return _shown(its, id, its.drafts.wish(id, wishes.name, wishes.noun, settings))


@router.delete("/{id}")
def discard(id: str, its: Its) -> dict[str, bool]:
    """Throw a draft away, with its photos."""
    its.drafts.discard(id)
    return {"ok": True}


@router.post("/{id}/photos")
async def upload(id: str, request: Request, its: Its, name: Annotated[str, Query(max_length=400)] = "photo") -> Any:
    """One photo, as the body itself; answers what was found of it, good or refused."""
    kind = request.headers.get("content-type", "")
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        raise Refusal(415, "Send the photo itself, as image/* or application/octet-stream.")
    folder, shown = its.studio.draft_folder(id), shown_name(unquote(name))
    its.drafts.require_room(its.drafts.read(id))
    with _while_there(folder):
        incoming = place_for(folder, shown)
        try:
            await _write(request.stream(), incoming)
            photo = await run_in_threadpool(its.drafts.receive, id, incoming, shown)
        finally:
            incoming.unlink(missing_ok=True)
    return asdict(photo)


@router.get("/{id}/photos/{photo}")
def photo(id: str, photo: str, its: Its, size: int = 512) -> Response:
    """A small copy of a photo."""
    found = next((its for its in its.drafts.read(id).photos if its.id == photo and its.file), None)
    if found is None:
        raise Refusal(404, "There is no such photo in this draft.")
    copy = pictures.small_copy(its.studio.draft_folder(id) / "originals" / found.file, size)
    return Response(copy, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})


@router.put("/{id}/photos/{photo}/crop")
def crop(id: str, photo: str, square: Square, its: Its) -> dict[str, Any]:
    """Cut a photo to the square that the user drew."""
    return asdict(its.drafts.crop(id, photo, Crop(left=square.left, top=square.top, side=square.side)))


@router.delete("/{id}/photos/{photo}/crop")
def uncrop(id: str, photo: str, its: Its) -> dict[str, Any]:
    """Leave the square to the training again."""
    return asdict(its.drafts.crop(id, photo, None))


@router.delete("/{id}/photos/{photo}")
def remove(id: str, photo: str, its: Its) -> dict[str, bool]:
    """Take a photo out."""
    its.drafts.remove(id, photo)
    return {"ok": True}


@router.post("/{id}/noun")
def noun(id: str, its: Its) -> dict[str, Any]:
    """What kind of thing the photos show, as `dreambooth class-noun` reads them; takes some seconds."""
    draft = its.drafts.read(id)
    good = [photo for photo in draft.photos if not photo.refused]
    if not good:
        raise Refusal(409, "Add a photo first.")
    card = its.drafts.card(draft)
    if card is None:
        raise Refusal(409, "Choose what draws it first: it has words of its own.")
    return suggest(its.queue.command, its.studio.draft_folder(id) / "originals", card.model)


@router.get("/{id}/plan")
def plan(id: str, its: Its) -> dict[str, Any]:
    """What it will take, as `dreambooth run --plan` tells it; takes some seconds, or minutes for a large model."""
    draft = its.drafts.read(id)
    if its.drafts.problems(draft):
        return {"rows": [], "less": [], "says": ""}
    if its.queue.jobs.running:  # it would need the memory of what runs, and be timed beside it
        says = "Something is at work on this machine: the plan is made when it is free, and told when the run starts."
        return {"rows": [], "less": [], "says": says}
    words = its.drafts.planned(id, draft)

    def wanted() -> bool:
        return its.drafts.planned(id, its.drafts.read(id)) == words

    return its.plans.of(words, wanted, " ".join(photo.id for photo in draft.photos))


@router.post("/{id}/savings")
def save(id: str, saving: Saving, its: Its) -> dict[str, Any]:
    """Take up one of the plan's savings."""
    return _shown(its, id, its.drafts.save(id, saving.flag))


@router.post("/{id}/start")
def start(id: str, its: Its) -> dict[str, str]:
    """Start the run, or let it wait for the device; answers its id."""
    its.queue.require_room()  # first: once it is a run it is no draft any more
    run, words = its.drafts.start(id)
    its.queue.add(run, "run", words)
    return {"run": run}


def _shown(its: State, id: str, draft: Draft) -> dict[str, Any]:
    card = its.drafts.card(draft)
    world = named(card.model if card else DEFAULT_WORLD)
    wished = {name: value for name, value in draft.settings.items() if name != "base"}
    found: dict[str, Any] = {"settings": {}, "nouns": list(world.nouns)}
    with suppress(ConfigError):  # told among the problems
        if card:
            flat = its.drafts.config(draft).flat()
            found["settings"] = {name: flat[name] for name in Wishes.model_fields if name in flat}
    return {
        "id": id,
        "name": draft.name,
        "noun": draft.noun,
        "photos": [_photo(photo, card.side if card else 0) for photo in draft.photos],
        "base": card.id if card else "",
        "bases": [shown_card(card, gpus()) for card in cards(its.drafts.own_models)],
        "wished": wished,
        "extras": {name: value for name, value in wished.items() if name not in Wishes.model_fields},
        "problems": its.drafts.problems(draft),
        "busy": len(its.queue.jobs.running) >= len(its.queue.slots),
        **found,
    }


def _photo(photo: Photo, side: int) -> dict[str, Any]:
    """A photo with all that is to be told of it. side: of the base model, 0 while none is chosen."""
    width, height = (photo.crop.side, photo.crop.side) if photo.crop else (photo.width, photo.height)
    small = () if photo.refused else too_small(width, height, side)
    return {**asdict(photo), "cautions": [*small, *photo.cautions]}


@contextmanager
def _while_there(folder: Path) -> Iterator[None]:
    """Whatever fails in a draft that has gone meanwhile is that it has gone; raises Refusal."""
    try:
        yield
    except (OSError, Refusal) as error:
        if folder.exists() or (isinstance(error, Refusal) and error.status != 404):
            raise
        sentence = "The draft was started or thrown away meanwhile, and this photo is not in it: look at the list."
        raise Refusal(409, sentence) from error


async def _write(stream: AsyncIterator[bytes], file: Path) -> None:
    with file.open("wb") as out:
        async for part in stream:
            await run_in_threadpool(out.write, part)
