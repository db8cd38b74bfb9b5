"""The live classes, each of six proportions within [-1, 1]."""

from __future__ import annotations

from dreambooth.toybox.colours import RGB
from dreambooth.toybox.parts import BLACK, Anchors, Figure, ball, eyes, tube
from dreambooth.toybox.world import Toy

ORANGE: RGB = (1.0, 0.55, 0.05)
YELLOW: RGB = (0.98, 0.86, 0.10)
PINK: RGB = (0.95, 0.45, 0.5)


def dog(toy: Toy) -> Figure:
    """Proportions: ears, body length, head, tail, legs, snout."""
    main, second = toy.main, toy.secondary
    ears, length, head, tail, legs, snout = toy.proportions
    half = 0.49 + 0.12 * length
    r = 0.26 + 0.05 * head
    leg = 0.46 + 0.15 * legs
    z = leg + 0.10
    hx, hz = half + 0.02, z + 0.42
    ear = 0.25 + 0.11 * ears
    muzzle = 0.20 + 0.09 * snout
    parts = [
        ball((0, 0, z), (half, 0.25, 0.24), main, coat=True),
        tube((half - 0.22, 0, z + 0.02), (hx - 0.03, 0, hz), 0.19, main, taper=0.8, coat=True),
        ball((hx, 0, hz), r, main, coat=True),
        ball((hx + r * 0.85, 0, hz - 0.08), (muzzle + 0.04, 0.14, 0.125), second),
        ball((hx + r * 0.85 + muzzle, 0, hz - 0.02), 0.075, BLACK),
        tube(
            (-half + 0.08, 0, z + 0.10), (-half - 0.14 - 0.10 * tail, 0, z + 0.38 + 0.2 * tail), 0.085, main, taper=0.6
        ),
        *eyes(hx + r * 0.72, 0.13, hz + 0.13, 0.095),
    ]
    for side in (-1, 1):
        parts.append(ball((hx - 0.05, side * (r + 0.03), hz + 0.08 - ear * 0.7), (0.13, 0.075, ear), second))
        for x in (-half + 0.17, half - 0.17):
            parts.append(tube((x, side * 0.14, 0), (x, side * 0.14, z - 0.06), 0.095, main, taper=1.15, coat=True))
    return Figure(
        parts,
        Anchors(
            head=(hx - 0.04, 0, hz + r * 0.72),
            head_radius=r,
            neck=(hx - 0.10, 0, hz - 0.21),
            neck_radius=0.22,
            neck_axis=(0.5, 0, 0.87),
            eye=(hx + r * 0.72, 0.12, hz + 0.13),
            body=(0, 0, z),
            body_size=(half, 0.25, 0.24),
        ),
    )


def cat(toy: Toy) -> Figure:
    """Proportions: ears, body width, head, tail, body height, cheeks."""
    main, second = toy.main, toy.secondary
    ears, width, head, tail, tall, cheeks = toy.proportions
    w = 0.29 + 0.07 * width
    r = 0.29 + 0.05 * head
    h = 0.42 + 0.10 * tall
    hx, hz = 0.10, 2 * h + 0.11
    ear = 0.28 + 0.13 * ears
    tip = 0.95 + 0.3 * tail
    parts = [
        ball((-0.06, 0, h - 0.04), (0.31, w, h), main, coat=True),
        ball((0.13, 0, h + 0.02), (0.20, w * 0.62, h * 0.65), second),
        ball((hx, 0, hz), (r * 0.92, r * (1.12 + 0.16 * cheeks), r * 0.92), main, coat=True),
        ball((hx + r * 0.78, 0, hz - 0.10), (0.10, 0.15 + 0.04 * cheeks, 0.09), second),
        ball((hx + r * 0.78 + 0.09, 0, hz - 0.05), (0.04, 0.05, 0.035), PINK),
        tube((-0.28, 0, 0.10), (-0.56, 0.02, 0.24), 0.085, main, coat=True),
        ball((-0.56, 0.02, 0.24), 0.085, main, coat=True),
        tube((-0.56, 0.02, 0.24), (-0.60, 0.06, tip - 0.12), 0.085, main, coat=True),
        ball((-0.60, 0.06, tip - 0.08), (0.09, 0.09, 0.15), second),
        *eyes(hx + r * 0.76, 0.15, hz + 0.06, 0.1, (0.55, 0.95, 0.25)),
    ]
    for side in (-1, 1):
        root, point = (hx - 0.02, side * r * 0.62, hz + r * 0.5), (hx - 0.04, side * r * 0.95, hz + r * 0.55 + ear)
        parts.append(tube(root, point, 0.15, main, taper=0.0, coat=True))
        parts.append(ball((0.02, side * w * 0.85, 0.15), (0.25, 0.13, 0.16), main, coat=True))
        parts.append(tube((0.24, side * 0.12, 0), (0.20, side * 0.12, h), 0.085, main, coat=True))
        parts.append(ball((0.28, side * 0.12, 0.06), (0.12, 0.095, 0.07), second))
    return Figure(
        parts,
        Anchors(
            head=(hx - 0.02, 0, hz + r * 0.66),
            head_radius=r,
            neck=(0.05, 0, hz - 0.25),
            neck_radius=0.21,
            eye=(hx + r * 0.76, 0.14, hz + 0.06),
            body=(-0.06, 0, h),
            body_size=(0.31, w, h),
        ),
    )


def duck(toy: Toy) -> Figure:
    """Proportions: beak, body length, head, neck, wings, tail."""
    main, second = toy.main, toy.secondary
    beak, length, head, neck, wings, tail = toy.proportions
    half = 0.50 + 0.09 * length
    r = 0.25 + 0.05 * head
    hx, hz = 0.30, 1.0 + 0.14 * neck
    bill = 0.24 + 0.09 * beak
    wing = 0.32 + 0.09 * wings
    feet = YELLOW if toy.colour in ("orange", "red", "brown") else ORANGE
    parts = [
        ball((0, 0, 0.44), (half, 0.36, 0.32), main, coat=True),
        tube((-half + 0.2, 0, 0.50), (-half - 0.16, 0, 0.82 + 0.16 * tail), 0.22, main, taper=0.05, coat=True),
        tube((0.26, 0, 0.52), (hx, 0, hz), 0.19, main, taper=0.8, coat=True),
        ball((hx, 0, hz), r, main, coat=True),
        ball((hx + r * 0.8 + bill * 0.4, 0, hz - 0.06), (bill, 0.15, 0.065), feet),
        *eyes(hx + r * 0.7, 0.14, hz + 0.1, 0.095),
    ]
    for side in (-1, 1):
        parts.append(ball((-0.08, side * 0.33, 0.48), (wing, 0.08, 0.19), second))
        parts.append(tube((0.02, side * 0.16, 0.02), (0.02, side * 0.16, 0.25), 0.055, feet))
        parts.append(ball((0.10, side * 0.17, 0.03), (0.19, 0.13, 0.04), feet))
    return Figure(
        parts,
        Anchors(
            head=(hx - 0.02, 0, hz + r * 0.74),
            head_radius=r,
            neck=(0.28, 0, hz - 0.24),
            neck_radius=0.20,
            eye=(hx + r * 0.7, 0.13, hz + 0.1),
            body=(0, 0, 0.44),
            body_size=(half, 0.36, 0.32),
        ),
    )


def bear(toy: Toy) -> Figure:
    """A sitting teddy bear. Proportions: ears, body width, head, arms, legs, snout."""
    main, second = toy.main, toy.secondary
    ears, width, head, arms, legs, snout = toy.proportions
    w = 0.33 + 0.07 * width
    r = 0.31 + 0.05 * head
    hx, hz = 0.04, 0.76 + r
    ear = 0.12 + 0.04 * ears
    reach = 0.30 + 0.10 * arms
    foot = 0.44 + 0.12 * legs
    muzzle = 0.13 + 0.05 * snout
    parts = [
        ball((0, 0, 0.42), (0.30, w, 0.42), main, coat=True),
        ball((hx, 0, hz), (r * 0.95, r * 1.08, r), main, coat=True),
        ball((hx + r * 0.85, 0, hz - 0.09), (muzzle, 0.15, 0.12), second),
        ball((hx + r * 0.85 + muzzle * 0.9, 0, hz - 0.05), (0.05, 0.07, 0.05), BLACK),
        *eyes(hx + r * 0.8, 0.14, hz + 0.09, 0.085),
    ]
    for side in (-1, 1):
        parts.append(ball((hx - 0.04, side * r * 0.82, hz + r * 0.75), (0.07, ear, ear), main, coat=True))
        parts.append(ball((hx + 0.02, side * r * 0.82, hz + r * 0.75), (0.05, ear * 0.6, ear * 0.6), second))
        hand = (0.18, side * (w + 0.10), 0.66 - reach)
        parts.append(tube((0.02, side * w * 0.75, 0.68), hand, 0.125, main, coat=True))
        parts.append(ball(hand, 0.135, second))
        parts.append(tube((0.05, side * 0.2, 0.14), (foot - 0.04, side * 0.27, 0.15), 0.14, main, coat=True))
        parts.append(ball((foot, side * 0.27, 0.17), (0.08, 0.15, 0.17), second))
    return Figure(
        parts,
        Anchors(
            head=(hx - 0.02, 0, hz + r * 0.72),
            head_radius=r,
            neck=(0.04, 0, 0.80),
            neck_radius=0.22,
            neck_front=0.22,
            eye=(hx + r * 0.82, 0.14, hz + 0.08),
            body=(0, 0, 0.42),
            body_size=(0.30, w, 0.42),
        ),
    )
