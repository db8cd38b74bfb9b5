"""The vocabulary of the toybox, and the two things a picture is made of: a `Toy` and a `Shot` of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dreambooth.toybox import colours
from dreambooth.toybox.colours import COLOURS, RGB

CLASSES: tuple[str, ...] = ("dog", "cat", "duck", "bear", "car", "teapot", "robot", "clock", "backpack")
LIVE: frozenset[str] = frozenset({"dog", "cat", "duck", "bear"})
WEARERS: frozenset[str] = LIVE | {"robot"}

PATTERNS: tuple[str, ...] = ("plain", "striped", "spotted")
MATERIALS: tuple[str, ...] = ("matte", "shiny")
ACCESSORIES: tuple[str, ...] = ("", "a red hat", "a black top hat", "a yellow scarf")
VIEWS: tuple[str, ...] = ("", "from the side", "from the front", "from behind", "from above")
STYLES: tuple[str, ...] = ("", "a pencil drawing of", "a cartoon of")
SCENES: tuple[str, ...] = (
    "in the snow",
    "on the beach",
    "in the jungle",
    "on the grass",
    "on a wooden floor",
    "on pink fabric",
    "with a mountain in the background",
    "with a blue house in the background",
    "at night",
    "in the desert",
    "under water",
    "on a checkered floor",
)

MARKINGS: dict[str, tuple[str, ...]] = {
    "dog": ("eye patch", "saddle", "socks", "flank star", "blaze", "rump", "collar"),
    "cat": ("eye patch", "saddle", "socks", "flank star", "blaze", "collar", "flank"),
    "duck": ("eye patch", "collar", "breast", "rump", "crown", "flank"),
    "bear": ("eye patch", "belly", "chest star", "crown", "socks", "shoulder"),
    "car": ("door star", "racing stripe", "bonnet", "lower half", "rear door"),
    "teapot": ("side star", "belt", "shoulder", "side", "spout side"),
    "robot": ("belt", "half face", "chest corner", "side star", "shins"),
    "clock": ("rim top", "side star", "half rim", "back star", "belt"),
    "backpack": ("side star", "base", "top", "shoulder", "belt"),
}
"""Where a toy of each class may be marked; no caption says so. markings.py has the places."""

PROPORTIONS = 6  # numbers of a toy; what each one changes is said in animals.py and things.py
PATTERN_NUMBERS = 4  # tilt or layout of a pattern; markings.py reads them


def check_class(class_noun: str) -> None:
    """Raise ValueError, naming the classes there are, when `class_noun` is not one of them."""
    if class_noun not in CLASSES:
        raise ValueError(f"no toy class {class_noun!r}; the classes are {', '.join(CLASSES)}")


def _check(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is none of {', '.join(map(repr, allowed))}")


def _numbers(count: int, rng: random.Random) -> tuple[float, ...]:
    return tuple(round(rng.uniform(-1, 1), 3) for _ in range(count))


def _tuples(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """JSON's lists of numbers as tuples again."""
    return dict(data) | {name: tuple(float(v) for v in data.get(name, ())) for name in names}


@dataclass(frozen=True, kw_only=True)
class Marking:
    """A patch of another colour. side: -1 right, 1 left, for places that have sides.  numbers: size and two shifts."""

    place: str
    side: int
    colour: RGB
    numbers: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.side not in (-1, 1) or len(self.numbers) != 3 or len(self.colour) != 3:
            raise ValueError("a marking has a side of -1 or 1, a colour of three floats and three numbers")

    @classmethod
    def sample(cls, place: str, hues: list[RGB], rng: random.Random) -> Marking:
        """A random marking at this place in one of these colours."""
        return cls(place=place, side=rng.choice((-1, 1)), colour=rng.choice(hues), numbers=_numbers(3, rng))


@dataclass(frozen=True, kw_only=True)
class Toy:
    """An identity: all that stays the same between the photos of one subject.

    Captions tell the class, the colour's name, the pattern's word and the material; the rest is beyond words.
    """

    class_noun: str
    main: RGB
    secondary: RGB
    pattern: str
    pattern_numbers: tuple[float, ...]
    markings: tuple[Marking, ...]
    material: str
    proportions: tuple[float, ...]

    def __post_init__(self) -> None:
        check_class(self.class_noun)
        _check("pattern", self.pattern, PATTERNS)
        _check("material", self.material, MATERIALS)
        for marking in self.markings:
            _check("place", marking.place, MARKINGS[self.class_noun])
        if len(self.main) != 3 or len(self.secondary) != 3:
            raise ValueError("main and secondary are three floats each")
        if len(self.proportions) != PROPORTIONS or len(self.pattern_numbers) != PATTERN_NUMBERS:
            raise ValueError(f"a toy has {PROPORTIONS} proportions and {PATTERN_NUMBERS} numbers of its pattern")

    @property
    def colour(self) -> str:
        """What words call its main colour."""
        return colours.name_of(self.main)

    @classmethod
    def sample(cls, class_noun: str, rng: random.Random) -> Toy:
        """A random toy of the class; raises ValueError for an unknown class."""
        check_class(class_noun)
        main = colours.sample(rng.choice(tuple(COLOURS)), rng)
        secondary = colours.sample_apart([main], rng)
        hues = [secondary]
        if rng.random() < 0.4:
            hues.append(colours.sample_apart([main, secondary], rng))
        places = rng.sample(MARKINGS[class_noun], rng.choices((0, 1, 2), (0.1, 0.4, 0.5))[0])
        return cls(
            class_noun=class_noun,
            main=main,
            secondary=secondary,
            pattern=rng.choices(PATTERNS, (0.5, 0.25, 0.25))[0],
            pattern_numbers=_numbers(PATTERN_NUMBERS, rng),
            markings=tuple(Marking.sample(place, hues[-1:], rng) for place in places),
            material=rng.choices(MATERIALS, (0.8, 0.2))[0],
            proportions=_numbers(PROPORTIONS, rng),
        )

    @classmethod
    def from_seed(cls, class_noun: str, seed: int) -> Toy:
        """The fresh subject of that seed, always matte; raises ValueError for an unknown class."""
        toy = cls.sample(class_noun, random.Random(f"subject/{class_noun}/{seed}"))
        return replace(toy, material="matte")

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, and the colour's name beside them."""
        return asdict(self) | {"colour": self.colour}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Toy:
        """The toy that `as_dict` wrote; raises ValueError or TypeError where the fields do not fit."""
        fields = _tuples(data, "main", "secondary", "pattern_numbers", "proportions")
        fields["markings"] = tuple(
            Marking(**_tuples(marking, "colour", "numbers")) for marking in data.get("markings", ())
        )
        fields.pop("colour", None)
        return cls(**fields)


# (yaw, pitch) in degrees around which each view varies, and by how much; yaw 0 faces the camera.
_VIEW_ANGLES: dict[str, tuple[float, float, float, float]] = {
    "": (42, 17, 17, 3),
    "from the side": (90, 8, 14, 2),
    "from the front": (0, 9, 14, 2),
    "from behind": (165, 12, 17, 3),
    "from above": (40, 20, 52, 4),
}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """All that changes between two photos: angles in degrees, offsets in half frames, scene, wear, style."""

    yaw: float
    pitch: float
    offset: tuple[float, ...]
    zoom: float
    light_azimuth: float
    light_elevation: float
    light_strength: float
    scene: str
    scene_jitter: tuple[float, ...]
    accessory: str
    view: str
    style: str

    def __post_init__(self) -> None:
        _check("scene", self.scene, SCENES)
        _check("accessory", self.accessory, ACCESSORIES)
        _check("view", self.view, VIEWS)
        _check("style", self.style, STYLES)
        if len(self.offset) != 2 or len(self.scene_jitter) != 3:
            raise ValueError("offset is two floats and scene_jitter three")
        if not 5 <= self.pitch <= 85 or self.zoom <= 0:
            raise ValueError("pitch lies within 5 and 85 degrees and zoom is positive")

    @classmethod
    def sample(cls, class_noun: str, rng: random.Random, *, plain: bool = False) -> Shot:
        """A random shot; `plain` is for a subject's photos: nothing worn, photo style, the default view.

        Raises ValueError for an unknown class.
        """
        check_class(class_noun)
        view = accessory = style = ""
        if not plain:
            view = rng.choices(VIEWS, (0.68, 0.08, 0.08, 0.08, 0.08))[0]
            style = rng.choices(STYLES, (0.88, 0.06, 0.06))[0]
            if class_noun in WEARERS and rng.random() < 0.35:
                accessory = rng.choice(ACCESSORIES[1:])
        yaw, yaw_range, pitch, pitch_range = _VIEW_ANGLES[view]
        return cls(
            yaw=round(rng.choice((-1, 1)) * (yaw + rng.uniform(-yaw_range, yaw_range)), 2),
            pitch=round(pitch + rng.uniform(-pitch_range, pitch_range), 2),
            offset=(round(rng.uniform(-0.08, 0.08), 3), round(rng.uniform(-0.05, 0.05), 3)),
            zoom=round(rng.uniform(0.93, 1.05), 3),
            light_azimuth=round(rng.uniform(-60, 60), 1),
            light_elevation=round(rng.uniform(30, 60), 1),
            light_strength=round(rng.uniform(0.55, 0.75), 3),
            scene=rng.choice(SCENES),
            scene_jitter=_numbers(3, rng),
            accessory=accessory,
            view=view,
            style=style,
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Shot:
        """The shot that `as_dict` wrote; raises ValueError or TypeError where the fields do not fit."""
        return cls(**_tuples(data, "offset", "scene_jitter"))
