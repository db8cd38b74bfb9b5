"""The classes that are things, each of six proportions within [-1, 1]."""

from __future__ import annotations

import math
from itertools import pairwise

from dreambooth.toybox.colours import RGB
from dreambooth.toybox.parts import BALL, BLACK, WHITE, Anchors, Figure, ball, box, tube
from dreambooth.toybox.world import Toy

GLASS: RGB = (0.62, 0.84, 0.95)
LAMP: RGB = (1.0, 0.95, 0.6)
STEEL: RGB = (0.55, 0.57, 0.6)
SIGNAL: RGB = (1.0, 0.15, 0.1)


def car(toy: Toy) -> Figure:
    """Proportions: cabin height, length, wheels, cabin position, cabin length, body height."""
    main, second = toy.main, toy.secondary
    cabin, length, wheels, shift, long, tall = toy.proportions
    half = 0.70 + 0.10 * length
    r = 0.20 + 0.045 * wheels
    h = 0.20 + 0.06 * cabin
    deep = 0.18 + 0.035 * tall
    span = 0.40 + 0.09 * long
    cx = -0.10 + 0.14 * shift
    top = 0.22 + 2 * deep
    z = top + h
    parts = [
        box((0, 0, 0.22 + deep), (half, 0.38, deep), main, coat=True),
        box((cx, 0, z), (span, 0.345, h), main, coat=True),
        box((cx, 0, z), (span - 0.07, 0.355, h * 0.72), GLASS),
        box((cx, 0, z), (span + 0.01, 0.28, h * 0.72), GLASS),
        box((cx, 0, z), (0.035, 0.365, h), main),
        box((cx, 0, z + h + 0.03), (span + 0.03, 0.37, 0.045), second),
        *(box((x, 0, 0.28), (0.05, 0.39, 0.06), second) for x in (half, -half)),
        *(ball((half, y, 0.24 + deep), (0.05, 0.09, 0.09), LAMP) for y in (-0.24, 0.24)),
    ]
    for x in (-half * 0.58, half * 0.58):
        for side in (-1, 1):
            parts.append(tube((x, side * 0.30, r), (x, side * 0.43, r), r, BLACK))
            parts.append(tube((x, side * 0.30, r), (x, side * 0.445, r), r * 0.5, second))
    anchors = Anchors(
        head=(cx, 0, z + h),
        head_radius=0.3,
        neck=(0, 0, 0.5),
        neck_radius=0.3,
        body=(0, 0, 0.22 + deep),
        body_size=(half, 0.38, deep),
    )
    return Figure(parts, anchors)


def teapot(toy: Toy) -> Figure:
    """Proportions: height, width, lid, spout, handle, foot."""
    main, second = toy.main, toy.secondary
    tall, wide, lid, spout, handle, foot = toy.proportions
    w = 0.44 + 0.06 * wide
    h = 0.42 + 0.10 * tall
    z = 0.12 + 0.05 * foot + h
    tip = (w + 0.40 + 0.06 * spout, 0.0, z + 0.30 + 0.16 * spout)
    bend = (w + 0.18, 0.0, z - 0.02)
    knob = 0.085 + 0.035 * lid
    dome = 0.15 + 0.07 * lid
    top = z + h * 0.78
    parts = [
        ball((0, 0, z), (w, w, h), main, coat=True),
        tube((0, 0, 0), (0, 0, 0.18 + 0.05 * foot), w * (0.68 + 0.12 * foot), second, taper=0.85),
        ball((0, 0, top), (w * 0.66, w * 0.66, dome), second),
        ball((0, 0, top + dome + knob * 0.7), knob, main),
        tube((w * 0.6, 0, z - 0.16), bend, 0.17, main, taper=0.65, coat=True),
        ball(bend, 0.112, main, coat=True),
        tube(bend, tip, 0.11, main, taper=0.75, coat=True),
        tube((tip[0] - 0.02, 0, tip[2] - 0.04), (tip[0] + 0.025, 0, tip[2] + 0.05), 0.10, second, taper=1.15),
    ]
    ring_x, ring_z = 0.29 + 0.08 * handle, 0.28 + 0.07 * handle
    steps = [math.radians(a) for a in (70, 110, 150, 190, 230, 275)]
    ring = [(-w - 0.02 + ring_x * math.cos(a), 0.0, z + 0.05 + ring_z * math.sin(a)) for a in steps]
    for start, end in pairwise(ring):
        link = tube(start, end, 0.065, second)
        # Overlapping ellipsoids join into a smooth ring where tubes would need a ball at every joint.
        parts.append(link._replace(kind=BALL, size=(0.07, 0.07, link.size[2] * 1.55)))
    anchors = Anchors(
        head=(0, 0, top), head_radius=0.3, neck=(0, 0, z), neck_radius=0.4, body=(0, 0, z), body_size=(w, w, h)
    )
    return Figure(parts, anchors)


def robot(toy: Toy) -> Figure:
    """Proportions: head width, body width, antenna, arms, legs, head height."""
    main, second = toy.main, toy.secondary
    head, width, antenna, arms, legs, face = toy.proportions
    leg = 0.27 + 0.10 * legs
    w = 0.28 + 0.07 * width
    hw, hh = 0.25 + 0.06 * head, 0.18 + 0.05 * face
    z = leg + 0.26
    hz = z + 0.33 + hh
    tip = hz + hh + 0.16 + 0.09 * antenna
    hand = z - 0.17 - 0.12 * arms
    parts = [
        box((0, 0, z), (0.21, w, 0.26), main, coat=True),
        box((0.20, 0, z + 0.03), (0.03, w * 0.55, 0.12), second),
        ball((0.22, 0, z + 0.03), (0.04, 0.065, 0.065), SIGNAL),
        tube((0, 0, z + 0.22), (0, 0, z + 0.37), 0.11, STEEL),
        box((0, 0, hz), (0.21, hw, hh), main, coat=True),
        box((0.21, 0, hz - hh * 0.5), (0.015, hw * 0.6, 0.03), BLACK),
        tube((0, 0, hz + hh), (0, 0, tip), 0.035, STEEL),
        ball((0, 0, tip), 0.085, SIGNAL),
    ]
    for side in (-1, 1):
        y = side * (w + 0.09)
        eye = (0.15, side * hw * 0.45, hz + 0.03)
        parts += [
            tube(eye, (0.24, eye[1], eye[2]), 0.09, LAMP),
            ball((0.235, eye[1], eye[2]), (0.03, 0.045, 0.045), BLACK),
            tube((0, side * hw, hz), (0, side * (hw + 0.07), hz), 0.08, second),
            tube((0, y, z + 0.19), (0.05, y + side * 0.05, hand), 0.085, main, coat=True),
            ball((0.06, y + side * 0.05, hand - 0.04), 0.11, second),
            box((0, side * 0.15, leg * 0.65), (0.10, 0.10, leg * 0.42), main, coat=True),
            box((0.05, side * 0.16, 0.06), (0.19, 0.125, 0.06), second),
        ]
    anchors = Anchors(
        head=(0, 0, hz + hh),
        head_radius=hw,
        neck=(0, 0, z + 0.29),
        neck_radius=0.2,
        eye=(0.2, hw * 0.45, hz + 0.03),
        body=(0, 0, z),
        body_size=(0.21, w, 0.26),
    )
    return Figure(parts, anchors)


def clock(toy: Toy) -> Figure:
    """An alarm clock. Proportions: radius, depth, bells, feet, hour hand, minute hand."""
    main, second = toy.main, toy.secondary
    radius, depth, bells, feet, hour, minute = toy.proportions
    r = 0.46 + 0.05 * radius
    d = 0.22 + 0.06 * depth
    z = r + 0.14 + 0.06 * feet
    bell = 0.17 + 0.05 * bells
    front = d + 0.005
    parts = [
        tube((-d, 0, z), (d, 0, z), r, main, coat=True),
        tube((0, 0, z), (front, 0, z), r * 0.7, WHITE),
        ball((front, 0, z), 0.05, second),
        tube((0, 0, z + r), (0, 0, z + r + 0.26), 0.03, STEEL),
        ball((0, 0, z + r + 0.26), (0.05, 0.12, 0.05), second),
    ]
    for quarter in range(4):
        y, up = math.sin(quarter * math.pi / 2), math.cos(quarter * math.pi / 2)
        parts.append(box((front, 0.57 * r * y, z + 0.57 * r * up), (0.02, 0.035, 0.035), BLACK))
    for turn, long, thick in ((180 * hour, 0.38, 0.05), (180 * minute, 0.58, 0.038)):
        y, up = math.sin(math.radians(turn)), math.cos(math.radians(turn))
        parts.append(tube((front + 0.02, 0, z), (front + 0.02, long * r * y, z + long * r * up), thick, BLACK))
    for side in (-1, 1):
        parts.append(ball((0, side * r * 0.62, z + r * 0.86), (bell, bell, bell * 0.8), second))
        parts.append(tube((0, side * r * 0.5, z - r * 0.7), (0, side * r * 0.75, 0), 0.06 + 0.02 * feet, second))
    anchors = Anchors(
        head=(0, 0, z + r), head_radius=0.3, neck=(0, 0, z), neck_radius=0.4, body=(0, 0, z), body_size=(d, r, r)
    )
    return Figure(parts, anchors)


def backpack(toy: Toy) -> Figure:
    """Proportions: height, width, pocket, flap, handle, depth."""
    main, second = toy.main, toy.secondary
    tall, wide, pocket, flap, handle, deep = toy.proportions
    h = 0.46 + 0.09 * tall
    w = 0.40 + 0.07 * wide
    d = 0.22 + 0.05 * deep
    top = 2 * h
    p = 0.21 + 0.06 * pocket
    lid = 0.16 + 0.08 * flap
    parts = [
        box((0, 0, h), (d, w, h), main, coat=True),
        ball((0, 0, top), (d, w, 0.2), main, coat=True),
        box((d + 0.05, 0, p + 0.09), (0.10, w * 0.72, p), second),
        box((d + 0.155, 0, 2 * p - 0.02), (0.015, w * 0.6, 0.025), STEEL),
        box((d * 0.55, 0, top - lid * 0.4), (d * 0.55, w * 1.04, lid), second),
        ball((d * 1.15, 0, top - lid * 1.25), (0.04, 0.07, 0.07), LAMP),
    ]
    steps = [math.radians(a) for a in (0, 45, 90, 135, 180)]
    hoop = 0.12 + 0.05 * handle
    ring = [(-d * 0.2, hoop * math.cos(a), top + 0.16 + (hoop + 0.04) * math.sin(a)) for a in steps]
    for start, end in pairwise(ring):
        link = tube(start, end, 0.045, second)
        parts.append(link._replace(kind=BALL, size=(0.05, 0.05, link.size[2] * 1.5)))
    for side in (-1, 1):
        strap = side * w * 0.55
        parts.append(tube((-d - 0.05, strap, top - 0.05), (-d - 0.12, strap, h), 0.06, second))
        parts.append(tube((-d - 0.12, strap, h), (-d - 0.03, strap, 0.12), 0.06, second))
    anchors = Anchors(
        head=(0, 0, top), head_radius=0.3, neck=(0, 0, h), neck_radius=0.4, body=(0, 0, h), body_size=(d, w, h)
    )
    return Figure(parts, anchors)
