"""Runs: what they are doing, the buttons, the samples, and what one takes home."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import Field

from dreambooth.generation.prompts import own_prompts
from dreambooth.report.snippets import model_snippet
from dreambooth.run import Run, contents
from dreambooth.run.compare import compare
from dreambooth.run.contents import CONFIG
from dreambooth.run.records import RECOMMENDATION, SUBJECT
from dreambooth.run.status import ask_for_samples, read_status
from dreambooth.web import exports, pictures
from dreambooth.web.records import DRAFT, ENDED, FAVOURITES
from dreambooth.web.refusal import Refusal
from dreambooth.web.routes.drafts import Strict
from dreambooth.web.state import Its
from dreambooth.web.views import best_of, found_in, probes_of, undrawn

router = APIRouter(prefix="/api")

MOST_STEPS = 1_000_000
Prompt = Annotated[str, Field(min_length=1, max_length=300)]


class Stop(Strict):
    """at_once: end the process; what was not saved is lost."""

    at_once: bool = False


class Continue(Strict):
    """more: steps beyond those that the run was begun with; 0 to resume it."""

    more: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0


class Use(Strict):
    """step: one whose weights were kept."""

    step: Annotated[int, Field(ge=1, le=MOST_STEPS)]


class Generate(Strict):
    """What to draw. seed: of the first sample; None: the run's."""

    prompts: Annotated[list[Prompt], Field(min_length=1, max_length=8)]
    count: Annotated[int, Field(ge=1, le=16)] = 4
    seed: Annotated[int, Field(ge=0, lt=2**31 - 16)] | None = None


class Favourites(Strict):
    """The samples that the user marked, each as stage/file."""

    samples: Annotated[list[Annotated[str, Field(max_length=400)]], Field(max_length=500)]


@router.get("/runs")
def every(its: Its) -> list[dict[str, Any]]:
    """All runs, those at work first, each with the sample that stands for it."""
    return [{**view, "cover": pictures.cover_of(its.studio.run(view["id"]))} for view in its.views.all()]


@router.get("/compare")
def compared(its: Its, run: Annotated[list[str], Query(min_length=2, max_length=4)]) -> dict[str, Any]:
    """Two to four runs: what is set differently, what was measured, and the samples of the same prompts and seeds."""
    folders = [its.studio.run(id) for id in run]
    for folder in folders:
        if not (folder / CONFIG).is_file():
            raise Refusal(409, f"{folder.name} has not begun yet: there is nothing to compare.")
    table = compare([Run(folder) for folder in folders])
    found = [[sample for sample in pictures.samples_of(folder) if sample["stage"] == "after"] for folder in folders]
    return {
        "runs": [its.views.run(id) for id in run],
        "settings": [{"name": row.name, "values": row.values} for row in table.settings],
        "numbers": [{"name": row.name, "values": row.values} for row in table.numbers],
        "samples": _same(found),
    }


@router.get("/runs/{id}")
def one(id: str, its: Its) -> dict[str, Any]:
    """One run."""
    return its.views.run(id)


@router.get("/runs/{id}/events")
async def events(id: str, its: Its, last_event_id: Annotated[str, Header(max_length=64)] = "") -> StreamingResponse:
    """What happens in it, from the beginning, or from where the page was cut off."""
    folder = its.studio.run(id)
    told = its.watches.follow(id, folder, lambda: its.views.run(id), last_event_id)
    return StreamingResponse(told, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


@router.get("/runs/{id}/scores")
def scores(id: str, its: Its) -> list[dict[str, Any]]:
    """What every probe measured."""
    return probes_of(its.studio.run(id))


@router.get("/runs/{id}/samples")
def samples(id: str, its: Its) -> dict[str, Any]:
    """All samples, and which the user marked."""
    folder = its.studio.run(id)
    marked, verdict = found_in(its.studio.beside(id), FAVOURITES), found_in(folder, RECOMMENDATION)
    return {
        "samples": pictures.samples_of(folder),
        "best": best_of(folder),
        "favourites": list(marked or ()),
        "recommended": verdict.step if verdict else None,
    }


@router.get("/runs/{id}/samples/{stage}/{file}")
def sample(id: str, stage: str, file: str, its: Its, size: int | None = None) -> Response:
    """A sample as it was drawn, or a small copy of it."""
    path = pictures.sample_file(its.studio.run(id), stage, file)
    if size is None:
        return FileResponse(path, media_type="image/png", headers={"cache-control": "private, no-cache"})
    headers = {"cache-control": "private, max-age=60"}
    return Response(pictures.small_copy(path, size), media_type="image/webp", headers=headers)


@router.get("/runs/{id}/photos/{number}")
def photo(id: str, number: int, its: Its, size: int = 256) -> Response:
    """A small copy of one of the run's photos, by its number."""
    photos = its.views.photos(id)
    if not 0 <= number < len(photos) or not photos[number].is_file():
        raise Refusal(404, "This photo is not there any more.")
    headers = {"cache-control": "private, max-age=3600"}
    return Response(pictures.small_copy(photos[number], size), media_type="image/webp", headers=headers)


@router.put("/runs/{id}/favourites")
def favour(id: str, wanted: Favourites, its: Its) -> dict[str, bool]:
    """Remember the samples that the user marked."""
    its.studio.run(id)
    beside = its.studio.beside(id)
    beside.mkdir(parents=True, exist_ok=True)
    FAVOURITES.write(beside, tuple(wanted.samples))
    return {"ok": True}


@router.post("/runs/{id}/stop")
def stop(id: str, how: Stop, its: Its) -> dict[str, bool]:
    """Save and end, within a step; or take it out of the queue."""
    its.studio.run(id)
    its.queue.stop(id, how.at_once)
    return {"ok": True}


@router.post("/runs/{id}/continue")
def go_on(id: str, how: Continue, its: Its) -> dict[str, bool]:
    """Resume, or train more steps, or draw the rest of what was asked for; what never came to a folder begins anew."""
    folder = its.studio.run(id)
    if not how.more and (rest := undrawn(read_status(folder), found_in(its.studio.beside(id), ENDED))):
        its.queue.add(id, "generate", [rest[0], str(folder), *rest[2:]])  # the folder may have been moved since
    elif (folder / CONFIG).is_file():
        words = ["continue", str(folder), *_more(folder, how.more)]
        its.queue.add(id, "continue", words)
    else:
        its.queue.add(id, "run", its.drafts.words(id, DRAFT.read(its.studio.beside(id))))
    return {"ok": True}


@router.post("/runs/{id}/use")
def use(id: str, which: Use, its: Its) -> dict[str, bool]:
    """Make the model of the weights of another step than the recommended one."""
    folder = its.studio.run(id)
    if which.step not in its.views.run(id)["offered"]:
        raise Refusal(409, f"The weights of step {which.step} were not kept, or the run is not finished.")
    its.queue.add(id, "continue", ["continue", str(folder), f"--use-step={which.step}"])
    return {"ok": True}


@router.post("/runs/{id}/sample")
def sample_now(id: str, its: Its) -> dict[str, bool]:
    """Have a training draw some samples after its next step."""
    folder = its.studio.run(id)
    if not its.views.run(id)["is_learning"]:
        raise Refusal(409, "It is not learning now: its samples come by themselves.")
    ask_for_samples(folder)
    return {"ok": True}


@router.post("/runs/{id}/generate")
def generate(id: str, wish: Generate, its: Its) -> dict[str, bool]:
    """Draw more samples with what the run has made."""
    folder = its.studio.run(id)
    if not (folder / contents.MODEL).is_dir():
        raise Refusal(409, "There is no model yet: let the run come to its end first.")
    own_prompts(wish.prompts)
    words = ["generate", str(folder), *(f"--prompts={prompt}" for prompt in wish.prompts), f"--count={wish.count}"]
    its.queue.add(id, "generate", words if wish.seed is None else [*words, f"--seed={wish.seed}"])
    return {"ok": True}


@router.get("/runs/{id}/export/{name}.zip")
def export(id: str, name: str, its: Its) -> StreamingResponse:
    """model/ or adapter/ as one archive."""
    if name not in (contents.MODEL, contents.ADAPTER):
        raise Refusal(404, "There is no such archive.")
    told = exports.archive(its.studio.run(id), name)
    return StreamingResponse(told, media_type="application/zip", headers=_attached(f"{id}-{name}.zip"))


@router.get("/runs/{id}/adapter/{name}")
def adapter(id: str, name: str, its: Its) -> FileResponse:
    """One file of the LoRA or the learned word."""
    path = exports.adapter_file(its.studio.run(id), name)
    return FileResponse(path, media_type="application/octet-stream", headers=_attached(f"{id}-{path.name}"))


@router.get("/runs/{id}/report")
def report(id: str, its: Its) -> FileResponse:
    """The report, to be kept: its own styles are none that this page would run."""
    path = exports.made_file(its.studio.run(id), contents.REPORT)
    return FileResponse(path, media_type="application/octet-stream", headers=_attached(f"{id}-report.html"))


@router.get("/runs/{id}/share")
def share(id: str, its: Its) -> FileResponse:
    """The picture to send to a friend."""
    path = exports.made_file(its.studio.run(id), contents.SHARE)
    return FileResponse(path, media_type="image/jpeg", headers=_attached(f"{id}.jpg"))


@router.get("/runs/{id}/snippet")
def snippet(id: str, its: Its) -> dict[str, str]:
    """The lines that open the model."""
    run = Run(its.studio.run(id))
    subject = found_in(run.root, SUBJECT)
    return {"text": model_snippet(subject, run.config, run.model) if subject and subject.identifier else ""}


def _more(folder: Path, more: int) -> Iterator[str]:
    if not more:
        return
    verdict, steps = RECOMMENDATION.find(folder), Run(folder).config.training.max_train_steps
    last = verdict.last if verdict and verdict.stopped_early else steps
    yield f"--max-train-steps={last + more}"
    if verdict and verdict.stopped_early:
        yield "--no-early-stopping"


def _same(found: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Samples of one template and seed, one of each run; where seeds differ, in their order."""
    first = dict.fromkeys((sample["template"], sample["kind"]) for samples in found for sample in samples)
    rows = []
    for template, kind in first:
        each = [[s for s in samples if (s["template"], s["kind"]) == (template, kind)][:2] for samples in found]
        rows.append({"template": template, "kind": kind, "samples": each})
    return rows


def _attached(name: str) -> dict[str, str]:
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name)
    return {"content-disposition": f'attachment; filename="{plain}"', "cache-control": "no-store"}
