"""The whole story in a real browser, as a stranger would do it: Debian's chromium by Playwright, the fake trainer."""

import io
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dreambooth.report.page import write_report
from dreambooth.run import Run
from dreambooth.run.status import STATUS
from studio import Served, serving

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Playwright's own pipes
]
SECONDS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One chromium for all."""
    with playwright.sync_playwright() as play:
        playwright.expect.set_options(timeout=SECONDS)
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Page:
    """A page that remembers what must not be: errors, and requests to anywhere else."""

    def __init__(self, browser: Any, served: Served, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.served, self.wrong = served, list[str]()
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda its: None if its.url.startswith(served.origin) else self.wrong.append(its.url))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))

    def open(self, path: str) -> None:
        """Go to an address of the studio."""
        self.page.goto(f"{self.served.origin}{path}")

    def expect(self, selector: str) -> Any:
        """What is to be said of an element."""
        return playwright.expect(self.page.locator(selector))

    def close(self) -> None:
        """End it; nothing may have gone wrong."""
        self.context.close()
        assert self.wrong == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, jpegs: list[bytes]) -> Path:
    """Four files as a person has them; one is no picture."""
    photos = tmp_path_factory.mktemp("phone")
    for number, jpeg in enumerate(jpegs):
        (photos / f"IMG_{number}.jpg").write_bytes(jpeg)
    (photos / "IMG_3.jpg").write_bytes(b"half a picture")
    return photos


def drafted(page: Page, folder: Path, steps: int) -> None:
    """Photos, a base model, a name and a noun; one photo is refused and taken out."""
    page.open("/")
    page.page.get_by_role("button", name="New subject").click()
    page.page.wait_for_url("**/drafts/*")
    page.page.set_input_files("#files", sorted(folder.iterdir()))
    page.expect(".photo").to_have_count(4)
    page.expect(".photo.refused").to_contain_text("IMG_3.jpg")
    page.expect("#start").to_be_disabled()
    page.page.get_by_role("button", name="Remove IMG_3.jpg").click()
    page.expect(".photo").to_have_count(3)
    page.page.get_by_role("radio", name="Toy demo").check()
    page.page.locator("#suggested .chip", has_text="dog").click()
    page.page.get_by_label("Its name").fill("Rex")
    page.page.get_by_label("Steps").fill(str(steps))
    page.page.get_by_label("Steps").blur()
    page.expect("#plan").to_contain_text("Time")
    page.expect("#start").to_be_enabled()


def test_the_whole_story(browser: Any, tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "runs"
    with serving(root, environment={"FAKE_STEP": "0.5"}) as served:
        page = Page(browser, served)
        drafted(page, folder, steps=120)
        page.page.get_by_role("button", name="Crop IMG_0.jpg").click()
        page.page.keyboard.press("-")
        page.page.keyboard.press("ArrowRight")
        page.page.get_by_role("button", name="Use this square").click()
        page.expect(".photo .square").to_have_count(1)
        page.page.get_by_role("button", name="Start").click()
        page.page.wait_for_url("**/runs/rex")
        page.expect("#doing").to_contain_text("Step ")
        page.expect("#pictures img").not_to_have_count(0)
        page.page.reload()
        page.expect("#doing").to_contain_text("Step ")
        page.expect("#loss svg").to_be_visible(timeout=SECONDS)
        page.open("/")  # an open page would complain of the studio that goes away
        page.expect(".item .state").to_have_text("at work")
        page.close()
    with serving(root, environment={"FAKE_STEP": "0.01"}) as served:  # another studio, another port, the same run
        page = Page(browser, served)
        page.open("/runs/rex")
        page.expect("#state").to_have_text("at work")
        page.page.get_by_role("button", name="Stop & save").click()
        page.expect("#state").to_have_text("stopped")
        page.expect("#doing").to_contain_text("All of it is saved")
        page.page.get_by_role("button", name="Continue").click()
        page.expect("#state").to_have_text("finished")
        page.expect("#says").to_contain_text("Step 120, the last step, is the best one")
        page.expect("#hero img").to_have_count(4)
        slid(page)
        drawn(page)
        compared(page, folder)
        page.open("/runs/rex")
        with page.page.expect_download() as download:
            page.page.get_by_role("link", name="The model").click()
        archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
        assert archive.testzip() is None and "model/model_index.json" in archive.namelist()
        page.close()


def slid(page: Page) -> None:
    """The slider goes to another step by the keyboard, and another prompt is chosen; a picture is enlarged."""
    page.expect("#at").to_have_text("120, recommended")
    page.page.get_by_label("Step", exact=True).focus()
    page.page.keyboard.press("ArrowLeft")
    page.expect("#at").to_have_text("90")
    page.expect("#use").to_have_text("Use step 90")
    page.page.get_by_role("button", name="in the snow", exact=True).first.click()
    page.expect("#pictures img").to_have_count(2)
    page.page.locator("#pictures .open").first.click()
    page.expect("#viewer").to_be_visible()
    page.expect("#viewer-caption").to_contain_text("step 90, seed 1")
    page.expect("#viewer-photos img").to_have_count(3)
    page.page.keyboard.press("ArrowRight")
    page.expect("#viewer-caption").to_contain_text("seed 2")
    page.page.keyboard.press("Escape")
    page.expect("#viewer").to_be_hidden()


def drawn(page: Page) -> None:
    """More samples by the subject's own name; one is marked, and its seed taken again."""
    page.page.get_by_label("What to draw").fill("a painting of Rex on the moon")
    page.expect("#reads").to_have_text("The model reads: a painting of a zwx dog on the moon")
    page.page.get_by_role("button", name="Draw", exact=True).click()
    page.expect("#own img").to_have_count(4)
    page.page.locator("#own .star").first.click()
    page.page.get_by_label("Show favourites alone").check()
    page.expect("#own img").to_have_count(1)
    page.page.get_by_label("What to draw").fill("a dog")
    page.expect("#reads").to_contain_text("something else will be drawn")


def compared(page: Page, folder: Path) -> None:
    """A second run, and both beside each other."""
    drafted(page, folder, steps=12)
    page.page.get_by_role("button", name="Start").click()
    page.expect("#state").to_have_text("finished")
    page.open("/")
    page.expect(".item input").to_have_count(2)
    for box in page.page.get_by_label("compare").all():
        box.check()
    page.page.get_by_role("button", name="Compare 2").click()
    page.expect("#compared").to_contain_text("max_train_steps")
    page.expect("#compared img").not_to_have_count(0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, jpegs: list[bytes]) -> Iterator[Served]:
    """A studio with a finished run and a draft."""
    from studio import drafted, started

    with serving(tmp_path_factory.mktemp("finished"), environment={"FAKE_STEP": "0.005"}) as served:
        run = started(served, jpegs)
        served.until(lambda its: its["state"] == "finished", run)
        wish = {"prompts": ["a {} at night"], "count": 2, "seed": 1}
        assert served.ask("POST", f"/api/runs/{run}/generate", wish)[0] == 200
        served.until(lambda its: its["state"] == "finished", run)
        drafted(served, jpegs, "Next")
        yield served


def test_the_rest_of_a_stopped_drawing_is_drawn_by_a_button(browser: Any, tmp_path: Path, jpegs: list[bytes]) -> None:
    from dreambooth.web.records import ENDED
    from studio import started

    with serving(tmp_path, environment={"FAKE_STEP": "0.005"}) as served:
        run = started(served, jpegs)
        served.until(lambda its: its["state"] == "finished", run)
        root, beside = served.root / run, served.root / ".studio" / "runs" / run
        words = ("generate", str(root), "--prompts=a {} at night", "--count=2")
        STATUS.write(root, replace(STATUS.read(root), state="stopped"))
        ENDED.write(beside, replace(ENDED.read(beside), kind="generate", code=130, words=words))
        page = Page(browser, served)
        page.open(f"/runs/{run}")
        page.page.get_by_role("button", name="Draw the rest").click()
        page.expect("#own img").to_have_count(2)
        page.expect("#state").to_have_text("finished")
        playwright.expect(page.page.get_by_role("button", name="Draw the rest")).to_have_count(0)
        page.open("/")
        page.close()


@pytest.mark.parametrize("width", [360, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_has_no_barrier(width: int, scheme: str, browser: Any, finished: Served) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    draft = next(iter(finished.ask("GET", "/api/drafts")[1]))["id"]
    barriers: list[tuple[str, str, list[object]]] = []
    for path in ("/", f"/drafts/{draft}", "/runs/rex", "/compare?run=rex&run=rex"):
        page = Page(browser, finished, width, scheme)
        page.open(path)
        page.page.wait_for_load_state("load")
        page.expect("main h1").to_be_visible()
        time.sleep(1.0)
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} scrolls sideways"
        for its in axe.run(page.page).response["violations"]:
            barriers.append((path, its["id"], [node["target"] for node in its["nodes"]][:3]))
        page.close()
    assert barriers == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_the_report_is_looked_through_by_the_keyboard(width: int, scheme: str, browser: Any, finished: Served) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    report = write_report(Run(finished.root / "rex"))
    context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
    page, wrong = context.new_page(), list[str]()
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    barriers = axe.run(page).response["violations"]
    assert [(its["id"], its["nodes"][0]["target"]) for its in barriers] == []
    page.locator(".hero .open").first.focus()
    for key in ("Enter", "ArrowRight"):
        page.keyboard.press(key)
    viewer = page.locator("#viewer")
    playwright.expect(viewer.locator("img")).to_have_attribute("alt", re.compile("^a dog "))
    page.keyboard.press("Escape")
    playwright.expect(viewer).to_be_hidden()
    slider = page.locator("#training input[type=range]")
    figures = page.locator("#training figure[data-step]:visible")
    count = figures.count()
    slider.focus()
    page.keyboard.press("Home")
    playwright.expect(page.locator("#training output")).to_have_text("base model")
    page.get_by_role("button", name="All steps side by side").last.click()
    assert figures.count() > count
    page.locator("button.copy").first.click()
    playwright.expect(page.locator(".copying span").first).to_have_text(re.compile("Copied|Selected"))
    context.close()
    assert wrong == []


def test_the_keyboard_alone_starts_a_run(browser: Any, finished: Served) -> None:
    page = Page(browser, finished)
    draft = next(iter(finished.ask("GET", "/api/drafts")[1]))["id"]
    page.open(f"/drafts/{draft}")
    page.expect("#start").to_be_enabled()
    page.page.wait_for_load_state("networkidle")  # what is asked of a draft that has become a run is not found
    for _ in range(80):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("document.activeElement.id") == "start":
            break
    page.page.keyboard.press("Enter")
    page.page.wait_for_url("**/runs/*")
    page.expect("#state").to_have_text("finished")
    page.close()


def test_a_studio_that_is_away_is_told_and_comes_back(browser: Any, tmp_path: Path, jpegs: list[bytes]) -> None:
    from studio import started

    with serving(tmp_path, environment={"FAKE_STEP": "0.3"}) as served:
        run = started(served, jpegs, steps=3000)
        page = Page(browser, served)
        page.open(f"/runs/{run}")
        page.expect("#doing").to_contain_text("Step ")
        page.context.set_offline(True)
        time.sleep(5)
        page.context.set_offline(False)
        before = int(page.page.locator("#bar").get_attribute("value") or 0)
        page.page.wait_for_timeout(8000)
        assert int(page.page.locator("#bar").get_attribute("value") or 0) > before
        page.page.get_by_role("button", name="Stop & save").click()
        page.expect("#state").to_have_text("stopped")
        page.wrong.clear()  # the browser's own words of the time without a network
        page.close()


HIDDEN = "Object.defineProperty(document, 'hidden', {get: () => Boolean(window.away)})"


def seen(page: Any, is_seen: bool) -> None:
    """Bring a tab to the front, or send it behind another; needs HIDDEN."""
    page.evaluate("away => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }", not is_seen)


def focused(page: Page) -> str:
    """What the keyboard is at, once all that was asked is there."""
    page.page.wait_for_load_state("networkidle")
    page.page.wait_for_timeout(700)
    told = "(its => its.value || its.getAttribute('aria-label') || its.innerText)(document.activeElement)"
    return str(page.page.evaluate(told))


def test_many_tabs_of_a_run_leave_the_studio_open(browser: Any, tmp_path: Path, jpegs: list[bytes]) -> None:
    from studio import started

    with serving(tmp_path, environment={"FAKE_STEP": "0.1"}) as served:
        run = started(served, jpegs, steps=30_000)
        page = Page(browser, served)
        page.context.add_init_script(HIDDEN)
        tabs = [page.page, *(page.context.new_page() for _ in range(6))]
        for tab in tabs:  # a browser has six connections to one host
            tab.set_default_timeout(20_000)
            tab.goto(f"{served.origin}/runs/{run}")
            playwright.expect(tab.locator("#doing")).to_contain_text("Step ", timeout=20_000)
            seen(tab, False)
        doing = tabs[0].locator("#doing")
        for is_seen in (False, True):  # a tab behind others looks now and then
            words = doing.inner_text()
            seen(tabs[0], is_seen)
            playwright.expect(doing).not_to_have_text(words, timeout=20_000)
        playwright.expect(tabs[0].locator("#loss svg")).to_be_visible()
        for tab in tabs[1:]:
            tab.close()
        tabs[0].get_by_role("button", name="Stop & save").click()
        page.expect("#state").to_have_text("stopped")
        page.close()


def test_what_is_put_anew_keeps_the_keyboard_where_it_was(browser: Any, tmp_path: Path, folder: Path) -> None:
    with serving(tmp_path, environment={"FAKE_STEP": "0.2"}) as served:
        page = Page(browser, served)
        drafted(page, folder, steps=3000)
        page.page.locator("summary", has_text="More base models").click()
        page.page.get_by_role("radio", name="Toy demo").focus()
        page.page.keyboard.press("ArrowDown")
        chosen = focused(page)
        assert chosen != "toybox" and page.page.locator(f"input[value='{chosen}']").is_checked()
        page.page.get_by_role("radio", name="Toy demo").focus()
        page.page.keyboard.press("Space")
        assert focused(page) == "toybox"
        page.page.get_by_role("button", name="Crop IMG_0.jpg").press("Enter")
        page.page.get_by_role("button", name="Use this square").press("Enter")
        page.expect(".photo .square").to_have_count(1)
        assert focused(page) == "Crop IMG_0.jpg"
        page.page.wait_for_function("[...document.images].every(its => its.complete)")  # it is fetched, then removed
        page.page.get_by_role("button", name="Remove IMG_0.jpg").press("Enter")
        page.expect(".photo").to_have_count(2)
        assert focused(page) == "Remove IMG_1.jpg"
        page.page.get_by_role("button", name="Start").press("Enter")
        page.expect("#doing").to_contain_text("Step ")
        page.open("/")
        page.page.get_by_role("checkbox", name="Compare Rex").press("Space")
        words = page.page.locator(".item .note").inner_text()
        page.expect(".item .note").not_to_have_text(words)
        assert page.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Compare Rex"
        page.expect(".item input").to_be_checked()
        page.page.get_by_role("link", name="Rex").press("Enter")
        page.page.get_by_role("button", name="Stop & save").press("Enter")
        page.expect("#state").to_have_text("stopped")
        assert page.page.evaluate("document.activeElement.id") == "buttons"
        page.close()


def test_marks_and_prompts_keep_the_keyboard_too(browser: Any, finished: Served) -> None:
    page = Page(browser, finished)
    page.open("/runs/rex")
    page.page.locator("#prompts .chip").nth(1).press("Enter")
    page.expect("#prompts .chip >> nth=1").to_have_attribute("aria-pressed", "true")
    page.expect("#prompts .chip >> nth=1").to_be_focused()
    page.page.locator("#own .star").first.press("Enter")
    page.expect("#own .star >> nth=0").to_have_attribute("aria-pressed", "true")
    page.expect("#own .star >> nth=0").to_be_focused()
    page.page.locator("#own .star").first.press("Enter")
    page.expect("#own .star >> nth=0").to_have_attribute("aria-pressed", "false")
    page.page.wait_for_load_state("networkidle")
    page.close()


def test_two_tabs_keep_the_marks_of_each_other(browser: Any, finished: Served) -> None:
    page = Page(browser, finished)
    other = page.context.new_page()
    for tab in (page.page, other):
        tab.goto(f"{finished.origin}/runs/rex")
        playwright.expect(tab.locator("#own .star")).to_have_count(2)
    for number, tab in enumerate((page.page, other)):
        with tab.expect_response("**/favourites"):
            tab.locator("#own .star").nth(number).click()
    assert len(finished.ask("GET", "/api/runs/rex/samples")[1]["favourites"]) == 2
    playwright.expect(other.locator("#own .star[aria-pressed=true]")).to_have_count(2)
    page.close()


@pytest.mark.parametrize("written", ["200000", "1.5", "0"])
def test_a_number_that_cannot_be_kept_is_told_and_starts_nothing(
    written: str, browser: Any, finished: Served, jpegs: list[bytes]
) -> None:
    from studio import drafted

    draft = drafted(finished, jpegs, "Next")
    page = Page(browser, finished)
    page.open(f"/drafts/{draft}")
    page.expect("#start").to_be_enabled()
    steps = page.page.get_by_label("Steps")
    steps.fill(written)
    page.page.locator("#start").click(force=True)  # the field is left by the very press
    page.expect("#problems").to_contain_text("Steps: write a whole number from 1 to 100000.")
    page.expect("#start").to_be_disabled()
    page.expect("#steps").to_have_attribute("aria-invalid", "true")
    page.page.get_by_label("Its name").fill("Another")
    page.page.get_by_label("Its name").blur()
    page.page.wait_for_load_state("networkidle")
    page.expect("#steps").to_have_value(written)
    assert "/drafts/" in page.page.url
    steps.fill("12")
    steps.blur()
    page.expect("#start").to_be_enabled()
    page.expect("#steps").to_have_attribute("aria-invalid", "false")
    page.close()


def test_a_change_that_fails_is_taken_back_and_a_start_waits_for_it(
    browser: Any, finished: Served, jpegs: list[bytes]
) -> None:
    from studio import drafted

    draft = drafted(finished, jpegs, "Next")
    page = Page(browser, finished)
    page.open(f"/drafts/{draft}")
    page.expect("#start").to_be_enabled()
    name = page.page.locator("#name").input_value()

    def refuse(route: Any) -> None:
        if route.request.method != "PATCH":
            route.continue_()
            return
        time.sleep(0.5)
        route.fulfill(status=409, content_type="application/json", body='{"error": "It is being read."}')

    page.page.route(f"**/api/drafts/{draft}", refuse)
    page.page.get_by_label("Its name").fill("Another name")
    page.page.locator("#start").click()
    page.expect("#toast").to_contain_text("It is being read.")
    page.expect("#name").to_have_value(name)
    page.expect("#start").to_be_enabled()
    assert "/drafts/" in page.page.url and finished.ask("GET", f"/api/drafts/{draft}")[0] == 200
    page.wrong.clear()  # the browser's own words of a status of 409
    page.close()


def test_a_file_name_is_cut_between_letters(browser: Any, served: Served, jpegs: list[bytes]) -> None:
    page = Page(browser, served)
    page.open("/")
    page.page.get_by_role("button", name="New subject").click()
    page.page.wait_for_url("**/drafts/*")
    name = f"{'🐕' * 50}!.jpg"
    page.page.set_input_files("#files", {"name": name, "mimeType": "image/jpeg", "buffer": jpegs[0]})
    page.expect(".photo img").to_have_count(1)
    page.close()
