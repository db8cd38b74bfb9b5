"""A run that is being put together: its photos, what the subject is called, its wishes, and the command they make."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dreambooth.config import Config
from dreambooth.config.savings import of_memory, of_time
from dreambooth.errors import ConfigError, PromptError
from dreambooth.subject import require_class_noun, require_one_word
from dreambooth.web.bases import BaseCard, cards
from dreambooth.web.records import DRAFT, Crop, Draft, Photo
from dreambooth.web.refusal import Refusal
from dreambooth.web.studio import Studio
from dreambooth.web.uploads import MOST_PHOTOS, receive, require_crop, write_photos


class Drafts:
    """All drafts of a studio. own_models: those that whoever started it named."""

    def __init__(self, studio: Studio, own_models: Sequence[str] = ()) -> None:
        self.studio, self.own_models = studio, tuple(own_models)
        self._lock = threading.Lock()

    def change(self, id: str, change: Callable[[Draft], Draft]) -> Draft:
        """Read a draft, change it and write it, while nobody else does."""
        with self._lock:
            folder = self.studio.draft_folder(id)
            draft = change(DRAFT.read(folder))
            DRAFT.write(folder, draft)
            return draft

    def read(self, id: str) -> Draft:
        """The draft as it is."""
        return DRAFT.read(self.studio.draft_folder(id))

    def card(self, draft: Draft) -> BaseCard | None:
        """The base model that was chosen; None until one is."""
        return next((card for card in cards(self.own_models) if card.id == draft.settings.get("base")), None)

    def receive(self, id: str, incoming: Path, name: str) -> Photo:
        """Check an upload and add it to the draft."""
        folder, draft = self.studio.draft_folder(id), self.read(id)
        photo = receive(folder, incoming, name, draft.photos)

        def add(draft: Draft) -> Draft:
            self.require_room(draft)
            return replace(draft, photos=(*draft.photos, photo))

        self.change(id, add)
        return photo

    def require_room(self, draft: Draft) -> None:
        """Raise Refusal where there are as many photos as may be."""
        if len(draft.photos) >= MOST_PHOTOS:
            raise Refusal(409, f"There are {MOST_PHOTOS} photos already, and three to five are usual: remove some.")

    def crop(self, id: str, photo_id: str, crop: Crop | None) -> Photo:
        """Cut a photo to a square, or with None as the training does."""
        photo = photo_of(self.read(id), photo_id)
        if crop:
            require_crop(photo, crop)
        changed = replace(photo, crop=crop)
        self.change(id, lambda draft: replace(draft, photos=_with(draft.photos, changed)))
        return changed

    def remove(self, id: str, photo_id: str) -> None:
        """Take a photo out and delete it."""
        photo = photo_of(self.read(id), photo_id)
        self.change(id, lambda draft: replace(draft, photos=tuple(p for p in draft.photos if p.id != photo_id)))
        if photo.file:
            (self.studio.draft_folder(id) / "originals" / photo.file).unlink(missing_ok=True)

    def wish(self, id: str, name: str | None, noun: str | None, settings: Mapping[str, Any]) -> Draft:
        """Keep what the user wrote; what cannot work is told by `problems`."""

        def changed(draft: Draft) -> Draft:
            kept = {**draft.settings, **settings}
            return replace(
                draft,
                name=draft.name if name is None else name.strip(),
                noun=draft.noun if noun is None else noun.strip(),
                settings={key: value for key, value in kept.items() if value is not None},
            )

        return self.change(id, changed)

    def config(self, draft: Draft) -> Config:
        """The settings that the run will have; raises ConfigError, and Refusal where no base model is chosen."""
        if (card := self.card(draft)) is None:
            raise Refusal(422, "Choose what draws it.")
        given: Any = _given(draft)  # by name, as flags are: each was asked for
        return Config.build({"model": card.model}, **given)

    def save(self, id: str, flag: str) -> Draft:
        """Take up one of the savings of config/savings.py, by its flag; raises Refusal for any other."""
        config = self.config(self.read(id))
        savings = [*of_time(config), *of_memory(config, True, False), *of_memory(config, True, True)]
        found = next((saving for saving in savings if saving.flag == flag), None)
        if found is None:
            raise Refusal(422, "This saves nothing with these settings any more.")
        usual = found.applied(config).usual()  # what is as usual then may mean nothing to the run
        settings = {name: None if value == usual[name] else value for name, value in found.settings.items()}
        return self.wish(id, None, None, settings)

    def problems(self, draft: Draft) -> list[str]:
        """What must be done before it can start, a sentence each."""
        good = [photo for photo in draft.photos if not photo.refused]
        found = [] if good else ["Add photos of your subject: three to five, from several sides, in several places."]
        if not draft.name:
            found.append("Say what your subject is called.")
        if not draft.noun:
            found.append('Say what kind of thing it is, such as "dog".')
        else:
            try:
                require_class_noun(draft.noun)
            except PromptError as error:
                found.append(_sentence(error))
        if identifier := draft.settings.get("identifier"):
            try:
                require_one_word(str(identifier))
            except PromptError as error:
                found.append(_sentence(error))
        try:
            self.config(draft)
        except ConfigError as error:
            found += error.problems
        except Refusal as refusal:
            found.append(refusal.sentence)
        card = self.card(draft)
        if card and draft.settings.get("method") in card.unfit:
            found.append(f"{card.title} learns no words: train all weights, or a LoRA.")
        return found

    def start(self, id: str) -> tuple[str, list[str]]:
        """Make a run of a draft; returns the run's id and the words of its command. Raises Refusal for problems."""
        with self._lock:
            draft = DRAFT.read(self.studio.draft_folder(id))
            if problems := self.problems(draft):
                raise Refusal(422, " ".join(problems))
            write_photos(self.studio.draft_folder(id), draft.photos)
            run = self.studio.start(id, draft.name)
        return run, self.words(run, draft)

    def words(self, run: str, draft: Draft) -> list[str]:
        """The command line of a run; every value is one word with its flag, so none can be taken for another flag."""
        return self._words(draft, self.studio.beside(run) / "photos", self.studio.root / run)

    def planned(self, id: str, draft: Draft) -> list[str]:
        """The same of a draft that was not started, on the photos as they were uploaded."""
        folder = self.studio.draft_folder(id)
        return self._words(draft, folder / "originals", folder / "run")

    def _words(self, draft: Draft, photos: Path, root: Path) -> list[str]:
        words = ["run", str(photos), f"--class-noun={draft.noun}"]
        words += [f"--output-dir={root}", f"--model={self.config(draft).base.model}"]
        for name, value in _given(draft).items():
            flag = name.replace("_", "-")
            words.append((f"--{flag}" if value else f"--no-{flag}") if isinstance(value, bool) else f"--{flag}={value}")
        return words

    def discard(self, id: str) -> None:
        """Delete a draft with its photos."""
        folder = self.studio.draft_folder(id)
        (folder / DRAFT.name).unlink()
        _remove(folder)


def _sentence(error: PromptError) -> str:
    return f"{str(error)[:1].upper()}{str(error)[1:]}"


def _given(draft: Draft) -> dict[str, Any]:
    """The settings of a draft as `Config.build` takes them: those that the page offers, and savings."""
    return {name: value for name, value in draft.settings.items() if name != "base"}


def photo_of(draft: Draft, id: str) -> Photo:
    """A photo of a draft by its id; raises Refusal."""
    for photo in draft.photos:
        if photo.id == id:
            return photo
    raise Refusal(404, "There is no such photo in this draft. It may have been removed.")


def age(draft: Draft) -> float:
    """Seconds since it was begun."""
    return time.time() - draft.created


def _with(photos: Sequence[Photo], changed: Photo) -> tuple[Photo, ...]:
    return tuple(changed if photo.id == changed.id else photo for photo in photos)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        with suppress(OSError):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    with suppress(OSError):
        folder.rmdir()
