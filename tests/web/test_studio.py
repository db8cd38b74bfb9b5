"""The story of a run as the page sees it: upload, start, watch, stop, go on, draw, take home; and what can go wrong."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from dreambooth.config import Config
from dreambooth.config.published import PUBLISHED
from dreambooth.errors import DiskError
from dreambooth.run import Run
from dreambooth.run.contents import CONTENTS
from dreambooth.run.files import JsonFile
from dreambooth.run.records import BASE, LOSSES, MODEL, BaseModel, Loss
from dreambooth.run.status import STATUS, Status
from dreambooth.subject import Subject
from dreambooth.support.files import seals
from dreambooth.web.bases import cards, shown
from dreambooth.web.events import losses_from
from dreambooth.web.exports import BLOCK, archive
from dreambooth.web.machine import Gpu
from dreambooth.web.plan import WAITING, Plans
from dreambooth.web.queue import COMMAND, Queue
from dreambooth.web.records import ENDED, JOBS, Ended
from dreambooth.web.refusal import Refusal
from dreambooth.web.studio import Studio
from dreambooth.web.views import undrawn
from studio import FAKE, Served, drafted, serving, started
from tiny import tiny_model


def finished(view: dict[str, object]) -> bool:
    """Whether a run is done."""
    return view["state"] == "finished"


def test_from_photos_to_a_model(served: Served, jpegs: list[bytes]) -> None:
    run = started(served, jpegs)
    view = served.until(finished, run)
    assert (run, view["name"], view["noun"], view["step"], view["steps"]) == ("rex", "Rex", "dog", 12, 12)
    assert view["likeness"]["says"] and view["recommended"]["says"].startswith("Step 12")
    assert {path.name for path in (served.root / run).iterdir()} <= CONTENTS.keys()
    samples = served.ask("GET", f"/api/runs/{run}/samples")[1]["samples"]
    assert {"before", "after", "step-000000", "step-000012"} <= {sample["stage"] for sample in samples}
    first = samples[0]
    path = f"/api/runs/{run}/samples/{first['stage']}/{first['file']}"
    whole, small = served.ask("GET", path)[1], served.ask("GET", f"{path}?size=96")[1]
    assert whole == (served.root / run / "samples" / first["stage"] / first["file"]).read_bytes()
    assert small[:4] == b"RIFF" and len(small) < len(whole)
    assert served.ask("GET", f"{path}?size=97")[0] == 422
    assert served.ask("GET", f"/api/runs/{run}/photos/0?size=96")[0] == 200
    assert served.ask("GET", f"/api/runs/{run}/photos/3?size=96")[0] == 404
    os.utime(served.root / run / "model" / "model_index.json", (0, 0))  # a zip knows no years before 1980
    archive = zipfile.ZipFile(io.BytesIO(served.ask("GET", f"/api/runs/{run}/export/model.zip")[1]))
    assert archive.testzip() is None and "model/model_index.json" in archive.namelist()
    assert served.ask("GET", f"/api/runs/{run}/adapter/{view['adapter'][0]}")[1] == b"{}"
    assert served.ask("GET", f"/api/runs/{run}/share")[1][:2] == b"\xff\xd8"
    assert b"all of it" in served.ask("GET", f"/api/runs/{run}/report")[1]
    assert 'DiffusionPipeline.from_pretrained("model")' in served.ask("GET", f"/api/runs/{run}/snippet")[1]["text"]


def test_the_photos_that_are_trained_on_are_the_squares_that_were_drawn(served: Served, jpegs: list[bytes]) -> None:
    from PIL import Image

    draft = drafted(served, jpegs)
    photos = served.ask("GET", f"/api/drafts/{draft}")[1]["photos"]
    crop = f"/api/drafts/{draft}/photos/{photos[0]['id']}/crop"
    assert served.ask("PUT", crop, {"left": 500, "top": 0, "side": 200})[0] == 422
    assert served.ask("PUT", crop, {"left": 100, "top": 50, "side": 200})[1]["crop"]["side"] == 200
    run = served.ask("POST", f"/api/drafts/{draft}/start")[1]["run"]
    served.until(finished, run)
    sizes = []
    for photo in sorted((served.root / ".studio" / "runs" / run / "photos").iterdir()):
        with Image.open(photo) as image:
            sizes.append(image.size)
    assert sizes == [(200, 200), (640, 480), (640, 480)]


def test_each_photo_is_told_what_is_wrong_with_it(served: Served, jpegs: list[bytes]) -> None:
    from PIL import Image, ImageFilter

    def jpeg(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="JPEG", quality=92)
        return buffer.getvalue()

    sharp = Image.open(io.BytesIO(jpegs[0])).resize((1280, 960))
    draft = served.ask("POST", "/api/drafts")[1]["id"]
    path = f"/api/drafts/{draft}/photos"
    assert served.ask("POST", path, jpeg(sharp))[1]["cautions"] == []
    again = served.ask("POST", f"{path}?name=b.jpg", jpeg(sharp.resize((1270, 960))))[1]["cautions"]
    assert len(again) == 1 and "nearly the same as photo" in again[0]
    told = {
        "blurred": sharp.transpose(Image.Transpose.ROTATE_90).filter(ImageFilter.GaussianBlur(24)),
        "dark": Image.eval(Image.open(io.BytesIO(jpegs[1])).resize((1280, 960)), lambda value: value // 12),
    }
    for says, image in told.items():
        cautions = served.ask("POST", path, jpeg(image))[1]["cautions"]
        assert any(says in caution for caution in cautions), (says, cautions)
    small = jpeg(Image.open(io.BytesIO(jpegs[2])).resize((320, 240)))
    assert served.ask("POST", path, small)[1]["cautions"] == [], "no base model is chosen yet"
    for base, count in (("stable-diffusion-v1-5", 1), ("toybox", 0)):
        shown = served.ask("PATCH", f"/api/drafts/{draft}", {"base": base})[1]["photos"]
        assert sum("only 320 x 240 pixels" in caution for caution in shown[-1]["cautions"]) == count


def test_what_is_lacking_is_said_all_at_once(served: Served) -> None:
    draft = served.ask("POST", "/api/drafts")[1]["id"]
    problems = served.ask("GET", f"/api/drafts/{draft}")[1]["problems"]
    assert len(problems) == 4 and {"Choose what draws it.", "Say what your subject is called."} <= set(problems)
    status, answer = served.ask("POST", f"/api/drafts/{draft}/start")
    assert status == 422 and all(problem in answer["error"] for problem in problems)
    wishes = {"noun": "a dog", "name": "Rex", "base": "toybox", "method": "lora", "max_train_steps": 7}
    shown = served.ask("PATCH", f"/api/drafts/{draft}", wishes)[1]
    assert shown["settings"]["method"] == "lora" and shown["settings"]["max_train_steps"] == 7
    assert any('begins with "a"' in problem for problem in shown["problems"])
    shown = served.ask("PATCH", f"/api/drafts/{draft}", {"unset": ["max_train_steps"]})[1]
    assert shown["settings"]["max_train_steps"] == 400


def test_what_a_saving_makes_usual_is_not_asked_for_and_what_no_run_takes_is_told_in_the_draft(
    served: Served, jpegs: list[bytes]
) -> None:
    draft = drafted(served, jpegs)
    path = f"/api/drafts/{draft}"
    shown = served.ask("POST", f"{path}/savings", {"flag": "--method lora"})[1]
    assert shown["settings"]["method"] == "lora" and shown["extras"] == {} and shown["problems"] == []
    (problem,) = served.ask("PATCH", path, {"identifier": "my dog {}"})[1]["problems"]
    assert problem.startswith("The identifier 'my dog {}' cannot work: it must be one word")


def test_another_step_is_used_and_samples_come_when_asked_for(tmp_path: Path, jpegs: list[bytes]) -> None:
    with serving(tmp_path, environment={"FAKE_STEP": "0.02"}) as served:
        draft = drafted(served, jpegs, steps=100)
        assert served.ask("PATCH", f"/api/drafts/{draft}", {"checkpoints_total_limit": 3})[0] == 200
        run = served.ask("POST", f"/api/drafts/{draft}/start")[1]["run"]
        assert served.ask("POST", f"/api/runs/{run}/sample")[0] == 409
        served.until(lambda its: its["is_learning"] and its["step"] > 2, run)
        assert served.ask("POST", f"/api/runs/{run}/sample")[0] == 200
        view = served.until(finished, run)
        stages = {sample["step"] for sample in served.ask("GET", f"/api/runs/{run}/samples")[1]["samples"]}
        assert len(stages - {None, 0, 25, 50, 75, 100}) == 1
        assert view["offered"] == [50, 75, 100] and view["recommended"]["step"] == 100
        assert served.ask("POST", f"/api/runs/{run}/use", {"step": 25})[0] == 409
        assert served.ask("POST", f"/api/runs/{run}/use", {"step": 75})[0] == 200
        told = served.until(lambda its: finished(its) and its["recommended"]["step"] == 75, run)["recommended"]
        assert told["by_hand"] and told["says"].startswith("Step 75 is the one that was chosen by hand")


def test_the_noun_is_suggested_and_the_plan_is_told_before_the_start(served: Served, jpegs: list[bytes]) -> None:
    draft = drafted(served, jpegs)
    found = served.ask("POST", f"/api/drafts/{draft}/noun")[1]
    assert found == {"nouns": [{"noun": noun, "share": share} for noun, share in NOUNS], "says": ""}
    path = f"/api/drafts/{draft}"
    plan = served.ask("GET", f"{path}/plan")[1]
    assert [row["name"] for row in plan["rows"]] == ["plan", "time", "memory", "disk"] and plan["says"] == ""
    assert plan["rows"][1]["text"].startswith("about 12 min 06 s (a guess")
    assert plan["less"][1] == {"flag": "--num-class-images 50", "says": "3 min 55 s less (the class may drift)"}
    assert served.ask("POST", f"{path}/savings", {"flag": "--no-such"})[0] == 422
    assert (
        served.ask("POST", f"{path}/savings", {"flag": "--num-class-images 50"})[1]["settings"]["num_class_images"]
        == 50
    )
    assert served.ask("POST", f"{path}/savings", {"flag": "--no-probe"})[1]["extras"] == {"probe": False}
    run = served.ask("POST", f"{path}/start")[1]["run"]
    served.until(finished, run)
    config = Run(served.root / run).config
    assert (config.prior.num_class_images, config.probe.probe) == (50, False)


def test_plans_that_wait_do_not_keep_the_page_from_anybody(tmp_path: Path) -> None:
    plans, told = Plans(["none"]), SimpleQueue[str]()
    asking = [Thread(target=lambda: told.put(plans.of(["x"], lambda: False, "")["says"])) for _ in range(WAITING + 5)]
    with plans._lock:  # one is being made
        for one in asking:
            one.start()
        assert all("Other plans" in told.get(timeout=5) for _ in range(5)) and told.empty()
    assert [told.get(timeout=5) for _ in range(WAITING)] == ["Something was changed meanwhile."] * WAITING
    assert plans.of(["x"], lambda: False, "")["says"] == "Something was changed meanwhile."


def test_a_plan_is_not_made_beside_a_run(served: Served, jpegs: list[bytes]) -> None:
    draft, run = drafted(served, jpegs, "Next"), started(served, jpegs, steps=2000)
    served.until(lambda its: its["state"] == "running", run)
    plan = served.ask("GET", f"/api/drafts/{draft}/plan")[1]
    assert plan["rows"] == [] and "at work" in plan["says"]
    assert served.ask("POST", f"/api/runs/{run}/stop", {})[0] == 200
    assert served.ask("PATCH", f"/api/drafts/{draft}", {"noun": ""})[0] == 200
    assert served.ask("GET", f"/api/drafts/{draft}/plan")[1] == {"rows": [], "less": [], "says": ""}


def test_every_published_base_model_has_an_honest_card(served: Served) -> None:
    draft = served.ask("POST", "/api/drafts")[1]["id"]
    bases = served.ask("GET", f"/api/drafts/{draft}")[1]["bases"]
    assert {base["model"] for base in bases} == {*PUBLISHED, "toybox"}
    assert len({base["id"] for base in bases}) == len(bases)
    assert all(base["licence"] and base["draws"] and (base["size"] > 0) != base["is_demo"] for base in bases)
    words = {"name": "Rex", "noun": "dog", "base": "flux-1-dev", "method": "pivotal"}
    problems = served.ask("PATCH", f"/api/drafts/{draft}", words)[1]["problems"]
    assert any("FLUX.1 [dev] learns no words" in problem for problem in problems)


def test_a_card_says_what_cannot_fit() -> None:
    flux = next(card for card in cards() if card.id == "flux-1-dev")
    small, large = Gpu("RTX", 12.0), Gpu("A100", 80.0)
    assert "it has 12 GB, and the weights take 24" in str(shown(flux, [small])["fits"])
    assert shown(flux, [small, large])["fits"] == "" and "No GPU" in str(shown(flux, [])["fits"])


def test_a_draft_keeps_its_model_when_others_are_offered(tmp_path: Path, jpegs: list[bytes]) -> None:
    one, two = "/home/ada/one/model", "/home/ada/two/model"
    with serving(tmp_path, own_models=[one, two]) as served:
        draft = drafted(served, jpegs)
        chosen = next(card.id for card in cards([one, two]) if card.model == two)
        assert served.ask("PATCH", f"/api/drafts/{draft}", {"base": chosen})[1]["base"] == chosen
    with serving(tmp_path, own_models=[two, one]) as served:
        shown = served.ask("GET", f"/api/drafts/{draft}")[1]
        assert next(base["model"] for base in shown["bases"] if base["id"] == shown["base"]) == two
    with serving(tmp_path, own_models=[one]) as served:
        shown = served.ask("GET", f"/api/drafts/{draft}")[1]
        assert shown["base"] == "" and "Choose what draws it." in shown["problems"]


TITLES = {
    "names of their own": (["/home/ada/rex", "/home/ada/mia"], ["rex", "mia"]),
    "one name": (["/home/ada/rex/model", "/home/ada/mia/model"], ["rex/model", "mia/model"]),
    "one further up": (["/ada/x/rex/model", "/ada/y/rex/model"], ["x/rex/model", "y/rex/model"]),
    "names of the hub": (["ada/model", "bob/model"], ["ada/model", "bob/model"]),
    "the same twice": (["/home/ada/rex", "/home/ada/rex"], ["rex"]),
    "the same by two paths": ([str(Path.cwd()), "."], [Path.cwd().name]),
    "at the top": (["/rex", "/home/mia"], ["rex", "mia"]),
}


@pytest.mark.parametrize("case", TITLES)
def test_offered_models_are_told_apart(case: str) -> None:
    offered, titles = TITLES[case]
    mine = cards(offered)[: -len(PUBLISHED) - 1]
    assert [card.title for card in mine] == titles and len({card.id for card in mine}) == len(mine)


@pytest.mark.parametrize("offered", [["/rex/model", "/mia/model"], ["/a/x/y/z/model", "/b/x/y/z/model"]])
def test_no_title_is_a_whole_path(offered: list[str]) -> None:
    one, two = cards(offered)[:2]
    assert one.title != two.title and all(re.fullmatch(r"model \([0-9a-f]{4}\)", card.title) for card in (one, two))


NOUNS = (("dog", 83), ("cat", 10), ("horse", 4))


def test_stop_saves_and_continue_ends_it(tmp_path: Path, jpegs: list[bytes]) -> None:
    with serving(tmp_path, environment={"FAKE_STEP": "0.05"}) as served:
        run = started(served, jpegs, steps=200)
        served.until(lambda its: its["is_learning"] and its["step"] > 2, run)
        assert served.ask("POST", f"/api/runs/{run}/continue", {})[0] == 409
        began = time.monotonic()
        assert served.ask("POST", f"/api/runs/{run}/stop", {})[0] == 200
        view = served.until(lambda its: its["state"] == "stopped", run)
        assert time.monotonic() - began < 15 and 3 < view["step"] < 200 and not view["message"]
        assert served.ask("POST", f"/api/runs/{run}/stop", {})[0] == 409
    with serving(tmp_path) as served:
        assert served.ask("GET", f"/api/runs/{run}")[1]["step"] == view["step"]
        assert served.ask("POST", f"/api/runs/{run}/continue", {})[0] == 200
        assert served.until(finished, run)["step"] == 200
        assert served.ask("POST", f"/api/runs/{run}/continue", {"more": 8})[0] == 200
        assert served.until(lambda its: finished(its) and its["step"] == 208, run)["steps"] == 208


def test_a_run_outlives_the_studio_and_is_found_again(tmp_path: Path, jpegs: list[bytes]) -> None:
    with serving(tmp_path, environment={"FAKE_STEP": "0.1"}) as served:
        run = started(served, jpegs, steps=100)
        served.until(lambda its: its["is_learning"], run)
        process = STATUS.read(tmp_path / run).process
    assert psutil.pid_exists(process)
    with serving(tmp_path) as served:
        view = served.ask("GET", f"/api/runs/{run}")[1]
        assert view["state"] == "running" and view["is_ours"]
        second = started(served, jpegs, "Second")
        time.sleep(0.6)
        assert served.ask("GET", f"/api/runs/{second}")[1]["state"] == "waiting", "the device is taken"
        served.ask("POST", f"/api/runs/{run}/stop", {"at_once": True})
        assert served.until(lambda its: its["state"] in ("lost", "stopped"), run, 60)["step"] > 0
        served.until(finished, second)


def test_runs_wait_for_each_other_and_can_be_taken_out(tmp_path: Path, jpegs: list[bytes]) -> None:
    with serving(tmp_path, environment={"FAKE_STEP": "0.05"}) as served:
        first, second, third = (started(served, jpegs, name, 40) for name in ("One", "Two", "Three"))
        served.until(lambda its: its["state"] == "running", first)
        assert served.ask("GET", f"/api/runs/{second}")[1]["doing"] == "next to start"
        assert served.ask("GET", f"/api/runs/{third}")[1]["doing"] == "waiting, 1 before it"
        assert served.ask("POST", f"/api/runs/{second}/stop", {})[0] == 200
        assert served.ask("GET", f"/api/runs/{second}")[1]["state"] == "stopped"
        served.ask("POST", f"/api/runs/{first}/stop", {})
        assert served.until(lambda its: its["state"] == "running", third)
        served.ask("POST", f"/api/runs/{third}/stop", {})
        served.until(lambda its: its["state"] == "stopped", third)
        assert served.ask("POST", f"/api/runs/{second}/continue", {})[0] == 200, "it never began, and begins now"
        served.until(lambda its: its["state"] == "running", second)
        served.ask("POST", f"/api/runs/{second}/stop", {})
        served.until(lambda its: its["state"] == "stopped", second)


def test_what_fails_is_said_in_its_own_words(tmp_path: Path, jpegs: list[bytes]) -> None:
    sentence = "the disk is full: free some space and run the same command again"
    with serving(tmp_path, environment={"FAKE_FAILS": sentence}) as served:
        view = served.until(lambda its: its["state"] == "failed", started(served, jpegs))
        assert view["message"] == sentence and view["step"] == 3
    with serving(tmp_path / "other", command=(sys.executable, "-c", "import sys; sys.exit('no such thing')")) as served:
        view = served.until(lambda its: its["state"] == "failed", started(served, jpegs))
        assert view["message"] == "no such thing" and view["step"] == 0


def test_more_samples_are_drawn_and_favourites_are_kept(served: Served, jpegs: list[bytes]) -> None:
    run = started(served, jpegs)
    assert served.ask("POST", f"/api/runs/{run}/generate", {"prompts": ["a {} at night"]})[0] == 409
    served.until(finished, run)
    wish = {"prompts": ["-- a {} at night", "a {} on a hill"], "count": 2, "seed": 7}
    assert served.ask("POST", f"/api/runs/{run}/generate", wish)[0] == 200
    served.until(finished, run)
    samples = served.ask("GET", f"/api/runs/{run}/samples")[1]["samples"]
    own = [(its["template"], its["seed"]) for its in samples if its["stage"] == "own"]
    assert sorted(own) == sorted((prompt, seed) for prompt in wish["prompts"] for seed in ("7", "8"))  # type: ignore[attr-defined]
    assert served.ask("PUT", f"/api/runs/{run}/favourites", {"samples": ["own/x.png"]})[0] == 200
    assert served.ask("GET", f"/api/runs/{run}/samples")[1]["favourites"] == ["own/x.png"]
    wrong: list[dict[str, object]] = [{"prompts": []}, {"prompts": ["a { on it"]}, {"prompts": [" "]}]
    wrong.append({"prompts": ["a {}"], "count": 99})
    for bad in wrong:
        assert served.ask("POST", f"/api/runs/{run}/generate", bad)[0] in (409, 422)


def test_a_drawing_that_was_stopped_is_taken_up_again(tmp_path: Path) -> None:
    """By the command line itself, on a finished run of a small model: what was drawn stays as it is."""
    subject = Subject(photos=(), class_noun="dog", identifier="sks")
    run = Run.create(tmp_path / "rex", subject, Config.build({"num_inference_steps": 10, "guidance_scale": 1.0}))
    tiny_model().save(run.model)
    MODEL.write(run.root, seals(run.model))
    BASE.write(run.root, BaseModel(model="tiny", fingerprint=""))
    run.report.write_text("<!doctype html>")
    with run.lock(whole=True):
        pass
    own, wish = run.samples / "own", {"prompts": [f"a {{}} on {number} mugs" for number in range(8)], "count": 16}

    def drawn() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in own.glob("*.png")}

    with serving(tmp_path, command=COMMAND) as served:
        assert served.ask("GET", "/api/runs/rex")[1]["state"] == "finished"
        assert served.ask("POST", "/api/runs/rex/generate", wish)[0] == 200
        served.until(lambda its: bool(drawn()), "rex")
        assert served.ask("POST", "/api/runs/rex/stop", {})[0] == 200
        served.until(lambda its: its["state"] == "finished" and its["undrawn"], "rex")
        before = drawn()
        assert 0 < len(before) < 128
        assert served.ask("POST", "/api/runs/rex/continue", {})[0] == 200
        served.until(lambda its: its["state"] == "finished" and not its["undrawn"], "rex")
        after = drawn()
        assert len(after) == 128 and before.items() <= after.items()


@pytest.mark.parametrize(
    ("status", "ended", "offered"),
    [
        ({"state": "stopped", "whole": True}, {"kind": "generate", "code": 130}, True),
        ({"state": "running", "whole": True}, {"kind": "generate", "code": -9}, True),
        ({"state": "done", "whole": True}, {"kind": "generate", "code": None}, False),  # drawn since, in a terminal
        ({"state": "stopped", "whole": True}, {"kind": "generate", "code": 0}, False),  # a later one, in a terminal
        ({"state": "stopped", "whole": False}, {"kind": "generate", "code": 130}, False),  # the run itself goes first
        ({"state": "stopped", "whole": True}, {"kind": "continue", "code": 130}, False),
    ],
)
def test_only_a_drawing_that_was_cut_short_is_offered_again(
    status: dict[str, Any], ended: dict[str, Any], offered: bool
) -> None:
    its = Ended(**ended, message="", at=0.0, words=("generate", "runs/rex"))
    assert undrawn(Status(**status), its) == (its.words if offered else ())
    assert undrawn(None, its) == undrawn(Status(**status), None) == ()


def test_runs_are_compared(served: Served, jpegs: list[bytes]) -> None:
    one, two = started(served, jpegs, "Compare", 8), started(served, jpegs, "Two", 12)
    served.until(finished, two)
    found = served.ask("GET", f"/api/compare?run={one}&run={two}")[1]
    told = {row["name"]: row["values"] for row in [*found["settings"], *found["numbers"]]}
    assert told["max_train_steps"] == ["8", "12"] and told["recommended step"] == ["8 of 8", "12 of 12"]
    assert all(len(row["samples"]) == 2 for row in found["samples"])
    assert served.ask("GET", f"/api/compare?run={one}")[0] == 422
    assert served.ask("GET", f"/api/compare?run={one}&run=none")[0] == 404


def test_a_run_of_a_terminal_is_seen_watched_and_stopped(served: Served, jpegs: list[bytes], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpegs[0])
    words = ["run", str(photos), "--class-noun=dog", f"--output-dir={served.root / 'My Dog'}", "--max-train-steps=500"]
    with subprocess.Popen(
        [*FAKE, *words], env={**os.environ, "FAKE_STEP": "0.05"}, stderr=subprocess.DEVNULL
    ) as process:
        end = time.monotonic() + 40
        while not (runs := served.ask("GET", "/api/runs")[1]) and time.monotonic() < end:
            time.sleep(0.1)
        (id,) = (run["id"] for run in runs)
        assert re.fullmatch("[0-9a-f]{12}", id), "its name can stand in no address"
        view = served.until(lambda its: its["is_learning"], id)
        assert view["name"] == "My Dog" and not view["is_ours"]
        assert served.ask("POST", f"/api/runs/{id}/stop", {"at_once": True})[0] == 409
        assert served.ask("POST", f"/api/runs/{id}/stop", {})[0] == 200
        assert process.wait(30) == 130
    assert served.until(lambda its: its["state"] == "stopped", id)["step"] > 0


def test_a_run_whose_subject_has_no_name_yet_is_called_by_its_folder(served: Served) -> None:
    Run.create(served.root / "mug", Subject(photos=(), class_noun="mug"), Config.build({}))
    view = served.ask("GET", "/api/runs/mug")[1]
    assert (view["name"], view["spoken"], view["called"]) == ("mug", "mug", "")
    Run.create(served.root / "cup", Subject(photos=(), class_noun="mug", identifier="sks"), Config.build({}))
    view = served.ask("GET", "/api/runs/cup")[1]
    assert (view["name"], view["spoken"], view["called"]) == ("cup", "sks mug", "sks mug")


def events(served: Served, run: str, place: str = "", most: int = 6) -> list[tuple[str, str, object]]:
    """The first events of a run: name, id, content."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", f"/api/runs/{run}/events", headers={"last-event-id": place} if place else {})
    answer = connection.getresponse()
    found: list[tuple[str, str, object]] = []
    now: dict[str, str] = {}
    while len(found) < most:
        line = answer.readline().decode().rstrip("\n")
        if line.startswith(":"):
            break
        if line:
            name, _, value = line.partition(": ")
            now[name] = value
        elif now:
            found.append((now["event"], now.get("id", ""), json.loads(now["data"])))
            now = {}
            if found[-1][0] == "changed":
                break
    connection.close()
    return found


def test_events_begin_at_the_beginning_and_go_on_from_where_they_were_cut(served: Served, jpegs: list[bytes]) -> None:
    run = started(served, jpegs)
    served.until(finished, run)
    whole = events(served, run)
    assert [name for name, _, _ in whole] == ["status", "losses", "changed"]
    (_, place, told), (_, _, changed) = whole[1:]
    assert isinstance(told, dict) and told["restart"] and [row[0] for row in told["rows"]] == list(range(1, 13))
    assert changed == ["samples", "scores", "verdict"]
    assert [name for name, _, _ in events(served, run, place)] == ["status", "changed"]


def test_a_live_run_is_told_as_it_goes(tmp_path: Path, jpegs: list[bytes]) -> None:
    with serving(tmp_path, environment={"FAKE_STEP": "0.03"}) as served:
        run = started(served, jpegs, steps=60)
        connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
        connection.request("GET", f"/api/runs/{run}/events")
        answer = connection.getresponse()
        steps: list[int] = []
        states: list[str] = []
        while not states or states[-1] != "finished":
            line = answer.readline().decode()
            if line.startswith("data: {"):
                told = json.loads(line[6:])
                if "rows" in told:
                    steps += [row[0] for row in told["rows"]]
                else:
                    states.append(told["state"])
        connection.close()
    assert steps == list(range(1, 61)), "none lost, none twice"
    assert states[-1] == "finished" and "running" in states


def line(step: int) -> Loss:
    """A line of losses.jsonl."""
    return Loss(step=step, loss=0.5, subject=0.5, lr=1e-4, grad_norm=1.0, seconds=0.1)


def test_losses_that_were_taken_back_begin_anew(tmp_path: Path) -> None:
    for step in range(5):
        LOSSES.append(tmp_path, line(step))
    told, place = losses_from(tmp_path, "")
    assert told is not None and len(told["rows"]) == 5
    assert losses_from(tmp_path, place) == (None, place)
    with (tmp_path / LOSSES.name).open("a") as file:
        file.write('{"step": 5, "lo')
    assert losses_from(tmp_path, place) == (None, place), "half a line is no line"
    LOSSES.forget_after(tmp_path, 2)
    for step in range(3, 9):
        LOSSES.append(tmp_path, replace_loss(step))
    told, place = losses_from(tmp_path, place)
    assert told is not None and told["restart"] and [row[0] for row in told["rows"]] == list(range(9))
    (tmp_path / LOSSES.name).unlink()
    assert losses_from(tmp_path, place) == ({"restart": True, "rows": []}, "")


def replace_loss(step: int) -> Loss:
    """Another line of the step."""
    return Loss(step=step, loss=0.25, subject=0.25, lr=1e-4, grad_norm=1.0, seconds=0.1)


@pytest.mark.parametrize("place", ["-", "x-y", "99999999-0", "9" * 60 + "-0", "-1-0", "1e3-0", "\u0661-0"])
def test_a_place_that_is_none_is_the_beginning(place: str, tmp_path: Path) -> None:
    LOSSES.append(tmp_path, line(0))
    told, _ = losses_from(tmp_path, place)
    assert told is not None and [row[0] for row in told["rows"]] == [0]


def test_a_run_that_went_silent_is_lost_and_can_be_continued(served: Served, jpegs: list[bytes]) -> None:
    run = started(served, jpegs)
    served.until(finished, run)
    STATUS.write(served.root / run, Status(state="running", heartbeat=time.time() - 300, host="another"))
    view = served.ask("GET", f"/api/runs/{run}")[1]
    assert view["state"] == "lost" and "5 min" in view["message"]
    assert served.ask("POST", f"/api/runs/{run}/continue", {})[0] == 200
    served.until(finished, run)


def test_damaged_records_hide_no_run(served: Served, jpegs: list[bytes]) -> None:
    run = started(served, jpegs)
    served.until(finished, run)
    for name in (
        "status.json",
        "scores.jsonl",
        "recommendation.json",
        "subject.json",
        "diagnosis.json",
        "timings.json",
    ):
        (served.root / run / name).write_text("{")
    (served.root / ".studio" / "runs" / run / "ended.json").write_text("{")
    assert served.ask("GET", f"/api/runs/{run}")[1]["state"] == "finished"
    assert [its["id"] for its in served.ask("GET", "/api/runs")[1]] == [run]
    for path in ("scores", "samples", "photos/0", "snippet"):
        status, answer = served.ask("GET", f"/api/runs/{run}/{path}")
        assert status == 200, answer


def test_the_queue_survives_what_is_damaged(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    (studio.own / "jobs.json").write_text("{")
    queue = Queue(studio, FAKE, ("",))
    assert queue.jobs.waiting == () and queue.jobs.running == ()
    for number in range(50):
        queue.add(f"run-{number}", "run", ["run"])
    with pytest.raises(Refusal, match="waiting already"):
        queue.add("one-more", "run", ["run"])
    assert len(Queue(studio, FAKE, ("",)).jobs.waiting) == 50


def test_a_photo_that_arrives_while_the_draft_is_started_is_not_kept(served: Served, jpegs: list[bytes]) -> None:
    draft = drafted(served, jpegs)
    path, own = f"/api/drafts/{draft}/photos", served.root / ".studio"
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", f"Origin: {served.origin}"]
    lines += ["Content-Type: image/jpeg", f"Content-Length: {len(jpegs[0])}", "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as upload:
        upload.sendall("\r\n".join(lines).encode() + jpegs[0][:2000])
        end = time.monotonic() + 10
        while not list(own.glob("drafts/*/incoming/*")) and time.monotonic() < end:
            time.sleep(0.01)
        assert served.ask("POST", f"/api/drafts/{draft}/start")[0] == 200
        upload.sendall(jpegs[0][2000:])
        answer = upload.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 409 ") and b"started or thrown away meanwhile" in answer
    assert list(own.rglob("incoming")) == [] and not (own / "drafts" / draft).exists()


def test_what_a_server_that_was_killed_had_half_received_is_deleted(tmp_path: Path, jpegs: list[bytes]) -> None:
    with serving(tmp_path) as served:
        draft = drafted(served, jpegs)
    for folder in (tmp_path / ".studio" / "drafts" / draft, tmp_path / ".studio" / "runs" / "rex"):
        (folder / "incoming").mkdir(parents=True, exist_ok=True)
        (folder / "incoming" / "photo.jpg").write_bytes(jpegs[0])
    Studio(tmp_path)
    assert len(list(tmp_path.rglob("photo.jpg"))) == 2, "another server may be receiving them"
    with serving(tmp_path) as served:
        assert list(tmp_path.rglob("incoming")) == []
        assert len(served.ask("GET", f"/api/drafts/{draft}")[1]["photos"]) == 3


def test_a_draft_that_finds_the_queue_full_stays_a_draft(
    served: Served, jpegs: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = drafted(served, jpegs)
    with monkeypatch.context() as full:
        full.setattr("dreambooth.web.queue.MOST_WAITING", 0)
        for _ in range(2):
            status, answer = served.ask("POST", f"/api/drafts/{draft}/start")
            assert status == 409 and "waiting already" in answer["error"]
    assert served.ask("GET", "/api/runs")[1] == [] and len(served.ask("GET", "/api/drafts")[1]) == 1
    served.until(finished, served.ask("POST", f"/api/drafts/{draft}/start")[1]["run"])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A run with a model of two files that are longer than a block."""
    make_model(tmp_path, b"1")
    return tmp_path


def make_model(run: Path, letter: bytes) -> None:
    """As a run makes another: the seals go first and come last."""
    (run / "model.json").unlink(missing_ok=True)
    if (run / "model").exists():
        shutil.rmtree(run / "model")
    for part in ("unet", "vae"):
        (run / "model" / part).mkdir(parents=True)
        (run / "model" / part / "weights").write_bytes(letter * (BLOCK + 1))
    (run / "model.json").write_text("{}")


def test_a_download_holds_one_model_whatever_is_chosen_meanwhile(home: Path) -> None:
    told = archive(home, "model")
    parts = [next(told)]
    make_model(home, b"2")
    whole = zipfile.ZipFile(io.BytesIO(b"".join([*parts, *told])))
    assert whole.testzip() is None and whole.namelist() == ["model/unet/weights", "model/vae/weights"]
    assert {whole.read(name) for name in whole.namelist()} == {b"1" * (BLOCK + 1)}


@pytest.mark.parametrize("made", [True, False], ids=["anew", "not yet"])
def test_no_download_is_made_of_a_model_that_is_being_replaced(
    made: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = Path.open

    def swapped(self: Path, *words: Any) -> Any:
        if self.parent.name == "vae":
            monkeypatch.setattr(Path, "open", opening)
            make_model(home, b"2") if made else shutil.rmtree(home / "model")
        return opening(self, *words)

    monkeypatch.setattr(Path, "open", swapped)
    with pytest.raises(Refusal, match="being made anew"):
        archive(home, "model")


@pytest.mark.parametrize("read", [0, 1, 100])
def test_a_download_closes_its_files(read: int, home: Path) -> None:
    told = archive(home, "model")
    assert len(open_below(home)) == 2
    for _ in range(read):
        next(told, b"")
    del told
    assert open_below(home) == []


def open_below(folder: Path) -> list[str]:
    """Files of a folder that this process has open."""
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(folder))]


class Disk:
    """A file of the queue on a disk that is full while `lets` says so."""

    def __init__(self, file: JsonFile[Any]) -> None:
        self.file, self.name = file, file.name
        self.lets: Iterator[bool] = iter(())

    def write(self, folder: Path, value: object) -> None:
        """As the file itself, or not."""
        if not next(self.lets, True):
            raise DiskError("the disk is full: free some space.")
        self.file.write(folder, value)

    def find(self, folder: Path) -> Any:
        """What is there."""
        return self.file.find(folder)


@pytest.mark.parametrize("lets", [[False] * 3, [True, False, False, False]], ids=["from the start", "once it runs"])
def test_a_full_disk_starts_no_job_twice(lets: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, code = tmp_path / "told", "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(60)"
    disk = Disk(JOBS)
    monkeypatch.setattr("dreambooth.web.queue.JOBS", disk)
    queue = Queue(Studio(tmp_path), (sys.executable, "-c", code), ("",))
    queue.add("rex", "run", [str(told)])
    disk.lets = iter(lets)
    for _ in range(5):
        with suppress(DiskError):
            queue._begin()
    (job,), (child,) = queue.jobs.running, queue._children.values()
    end = time.monotonic() + 30
    while not told.exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    child.kill()
    child.wait()
    assert told.read_text() == "x" and job.process == child.pid and queue.jobs.waiting == ()


def test_how_a_job_ended_is_known_once_the_disk_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(ENDED)
    monkeypatch.setattr("dreambooth.web.queue.ENDED", disk)
    queue = Queue(Studio(tmp_path), (sys.executable, "-c", "import sys; sys.exit('no space is left')"), ("",))
    queue.add("rex", "run", [])
    queue._begin()
    (job,), (child,) = queue.jobs.running, queue._children.values()
    child.wait()
    disk.lets = iter([False])
    with pytest.raises(DiskError):
        queue._reap(job)
    queue._reap(job)
    ended = ENDED.read(tmp_path / ".studio" / "runs" / "rex")
    assert (ended.code, ended.message) == (1, "no space is left")
    assert queue.jobs.running == () and not queue._children


def test_the_studio_ends_and_its_runs_do_not(tmp_path: Path, jpegs: list[bytes]) -> None:
    """The real command, ended by Ctrl-C; a second one on the same folder is refused."""
    words = [sys.executable, "-m", "dreambooth", "web", str(tmp_path), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        link = process.stdout.readline().split()[-1]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", link)
        process.stdout.readline()
        second = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert second.returncode == 2 and "another studio is open" in second.stderr
        served = Served(root=tmp_path, port=int(link.rstrip("/").rpartition(":")[2]))
        assert served.ask("GET", "/api/runs") == (200, [])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0 and "what runs goes on" in process.stdout.read()


def test_elsewhere_it_asks_for_a_key(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dreambooth", "web", str(tmp_path), "--port", "0", "--host", "0.0.0.0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        link = process.stdout.readline().split()[-1]
        found = re.fullmatch(r"http://[^/]+:(\d+)/\?token=([\w-]{40,})", link)
        assert found
        served = Served(root=tmp_path, port=int(found[1]))
        assert served.ask("GET", "/api/runs")[0] == 401
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    bad = subprocess.run(words, env={**os.environ, "DREAMBOOTH_WEB_TOKEN": "short"}, capture_output=True, text=True)
    assert bad.returncode == 2 and "16 letters" in bad.stderr


def test_its_process_needs_no_torch() -> None:
    code = "import sys, dreambooth.web.server; print([name for name in ('torch', 'diffusers') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
