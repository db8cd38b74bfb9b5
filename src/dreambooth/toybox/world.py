"""The vocabulary of the toybox, and the two things a picture is made of: a `Toy` and a `Shot` of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

RGB = tuple[float, float, float]

CLASSES: tuple[str, ...] = ("dog", "cat", "duck", "car", "teapot", "robot")
LIVE: frozenset[str] = frozenset({"dog", "cat", "duck"})
WEARERS: frozenset[str] = LIVE | {"robot"}

COLOURS: dict[str, RGB] = {
    "red": (0.86, 0.08, 0.10),
    "orange": (1.00, 0.48, 0.03),
    "yellow": (0.98, 0.86, 0.10),
    "green": (0.10, 0.62, 0.16),
    "blue": (0.10, 0.25, 0.88),
    "purple": (0.50, 0.14, 0.72),
    "pink": (1.00, 0.50, 0.72),
    "brown": (0.47, 0.25, 0.10),
    "black": (0.09, 0.09, 0.11),
    "white": (0.95, 0.95, 0.94),
}

_CREAM, _TAN, _SKY, _GREY = (0.97, 0.91, 0.76), (0.80, 0.60, 0.38), (0.45, 0.75, 0.98), (0.35, 0.36, 0.40)

# Few companions a colour, so that the pair is learnable; each is far from its colour, so that patterns show.
COMPANIONS: dict[str, tuple[RGB, ...]] = {
    "red": (_CREAM, COLOURS["yellow"]),
    "orange": (COLOURS["white"], COLOURS["brown"]),
    "yellow": (COLOURS["orange"], COLOURS["brown"]),
    "green": (COLOURS["yellow"], COLOURS["white"]),
    "blue": (COLOURS["white"], _SKY, COLOURS["yellow"]),
    "purple": (COLOURS["pink"], COLOURS["white"]),
    "pink": (COLOURS["white"], COLOURS["purple"]),
    "brown": (_CREAM, _TAN),
    "black": (COLOURS["white"], COLOURS["red"]),
    "white": (_GREY, _TAN),
}

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
)

PROPORTIONS = 4  # floats a toy; what each one changes is said in shapes.py


def check_class(class_noun: str) -> None:
    """Raise ValueError, naming the classes there are, when `class_noun` is not one of them."""
    if class_noun not in CLASSES:
        raise ValueError(f"no toy class {class_noun!r}; the classes are {', '.join(CLASSES)}")


def _check(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is none of {', '.join(map(repr, allowed))}")


def _jitter(colour: RGB, rng: random.Random, amount: float) -> RGB:
    r, g, b = (round(min(1.0, max(0.0, c + rng.uniform(-amount, amount))), 4) for c in colour)
    return r, g, b


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


@dataclass(frozen=True, kw_only=True)
class Toy:
    """An identity: all that stays the same between the photos of one subject."""

    class_noun: str
    colour: str
    main: RGB
    secondary: RGB
    pattern: str
    material: str
    proportions: tuple[float, ...]

    def __post_init__(self) -> None:
        check_class(self.class_noun)
        _check("colour", self.colour, tuple(COLOURS))
        _check("pattern", self.pattern, PATTERNS)
        _check("material", self.material, MATERIALS)
        if len(self.main) != 3 or len(self.secondary) != 3:
            raise ValueError("main and secondary are three floats each")
        if len(self.proportions) != PROPORTIONS:
            raise ValueError(f"a toy has {PROPORTIONS} proportions, got {len(self.proportions)}")

    @classmethod
    def sample(cls, class_noun: str, rng: random.Random) -> Toy:
        """A random toy of the class; raises ValueError for an unknown class."""
        check_class(class_noun)
        colour = rng.choice(tuple(COLOURS))
        return cls(
            class_noun=class_noun,
            colour=colour,
            main=_jitter(COLOURS[colour], rng, 0.04),
            secondary=_jitter(rng.choice(COMPANIONS[colour]), rng, 0.03),
            pattern=rng.choices(PATTERNS, (0.6, 0.2, 0.2))[0],
            material=rng.choices(MATERIALS, (0.88, 0.12))[0],
            proportions=tuple(round(rng.uniform(-1, 1), 3) for _ in range(PROPORTIONS)),
        )

    @classmethod
    def from_seed(cls, class_noun: str, seed: int) -> Toy:
        """The fresh subject of that seed, always matte; raises ValueError for an unknown class."""
        toy = cls.sample(class_noun, random.Random(f"subject/{class_noun}/{seed}"))
        return cls.from_dict(toy.as_dict() | {"material": "matte"})

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Toy:
        """The toy that `as_dict` wrote; raises ValueError or TypeError where the fields do not fit."""
        fields = dict(data)
        for name in ("main", "secondary", "proportions"):
            fields[name] = _floats(fields.get(name, ()))
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
            view = rng.choices(VIEWS, (0.7, 0.075, 0.075, 0.075, 0.075))[0]
            style = rng.choices(STYLES, (0.85, 0.075, 0.075))[0]
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
            scene_jitter=tuple(round(rng.uniform(-1, 1), 3) for _ in range(3)),
            accessory=accessory,
            view=view,
            style=style,
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Shot:
        """The shot that `as_dict` wrote; raises ValueError or TypeError where the fields do not fit."""
        fields = dict(data)
        for name in ("offset", "scene_jitter"):
            fields[name] = _floats(fields.get(name, ()))
        return cls(**fields)
