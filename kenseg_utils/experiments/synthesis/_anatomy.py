"""One person after another: the template turned, stretched, folded anew, aged, and hurt.

`grow` gives shares of tissue and the distances from which skull and face are made. A planned
lesion has its say: beside it the ventricle widens, sulci open and the brain recedes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kenseg_utils.prediction.frames import SHAPE, SPACING

from ._fields import COARSE, COARSE_SHAPE, smooth_field, upsampled
from ._template import sample, sample_shape, template

# Where the template's middle comes to lie: mm from the frame's centre, as `frames.frame_of` does.
MIDDLE = np.array([0.0, -18.0, 4.0], np.float32)


@dataclass(frozen=True)
class Injury:
    """What a lesion does to the brain around it: from where, how far, how much."""

    centre: tuple[float, float, float]  # mm of the template
    reach: float  # mm
    shrinkage: float  # by which share tissue recedes
    ventricle: float  # mm by which the ventricle's wall is pulled towards it
    sulci: float  # how much wider sulci are beside it


@dataclass(frozen=True, eq=False)
class Person:
    """A head in the frame, before any scanner: float32 of `frames.SHAPE`."""

    white: np.ndarray  # shares of tissue
    gray: np.ndarray
    fluid: np.ndarray
    brain: np.ndarray  # their sum: 1 inside the brain with its sulci and ventricles
    picture: np.ndarray  # the template's own T1w, white matter 1
    ventricles: np.ndarray
    depth: np.ndarray  # mm beneath the surface of the brain's hull, negative outside
    skin: np.ndarray  # mm beneath the skin, negative in the air
    places: np.ndarray  # (3, …) where each voxel lies in the template, mm


def grow(
    rng: np.random.Generator, age: float, injury: Injury | None = None, averaged: bool = False
) -> Person:
    """A person of `age` 0–1 (0 young, 1 with wide ventricles and sulci).

    `averaged`: a head as templates have it, the mean of many, smooth and nearly symmetric.
    """
    head = _placed(rng, still=averaged)
    head_coarse = head[:, ::COARSE, ::COARSE, ::COARSE]
    folds = np.zeros((3, *COARSE_SHAPE), np.float32)
    if not averaged:
        rough = rng.uniform(0.7, 1.4)
        for axis in range(3):
            folds[axis] += rough * 2.2 * smooth_field(rng, 28, coarse=True)
            folds[axis] += rough * 1.3 * smooth_field(rng, 12, coarse=True)
    shrunk = 0.06 * rng.random() * age
    folds += shrunk * (head_coarse - np.array([0, -20, 5], np.float32).reshape(3, 1, 1, 1))
    widening = rng.uniform(-1.0, 1.5) + 9 * age * rng.uniform(0.3, 1)
    side = np.tanh(head_coarse[0] / 5)
    uneven = (1 + rng.normal(0, 0.25) * side) * (1 + 0.3 * smooth_field(rng, 60, coarse=True))
    pull = widening * np.clip(uneven, 0.1, 2.2)
    if injury is not None:
        away = head_coarse - np.array(injury.centre, np.float32).reshape(3, 1, 1, 1)
        near = np.exp(-0.5 * (away**2).sum(0) / injury.reach**2)
        middle = np.array([np.sign(injury.centre[0]) * 18, -18, 15], np.float32)
        folds += injury.shrinkage * near * (head_coarse - middle.reshape(3, 1, 1, 1))
        wide = np.exp(-0.5 * (away**2).sum(0) / (injury.reach + 25) ** 2)
        pull = pull + injury.ventricle * wide * (side * np.sign(injury.centre[0]) > 0)
    folds += pull * np.stack([sample_shape(part, head_coarse) for part in template().pull])
    depth, skin, ventricles = (
        upsampled(sample_shape(shape, head_coarse if shell else head_coarse + folds))
        for shape, shell in (
            (template().depth, True),
            (template().skin, True),
            (template().ventricles, False),
        )
    )
    places = head + np.stack([upsampled(part) for part in folds])
    near = np.flatnonzero(depth > -4)
    points = places.reshape(3, -1)[:, near]
    white, gray, brain = (
        sample(volume, points) / 255
        for volume in (template().white, template().gray, template().brain)
    )
    picture = sample(template().picture, points) / 200
    opened = np.zeros(len(near), np.float32)
    if injury is not None:
        distance = ((points - np.array(injury.centre, np.float32)[:, None]) ** 2).sum(0)
        opened = injury.sulci * np.exp(-0.5 * distance / (injury.reach + 8) ** 2)
    inner = np.clip(depth.ravel()[near] / 2 + 0.5, 0, 1)  # what atrophy leaves is fluid
    gap = np.clip(inner - brain, 0, 1)
    if not averaged:
        white, gray = _individual(rng, age, white, gray, brain, opened, near)
    fluid = np.clip(brain - white - gray, 0, 1) + gap

    def whole(values):
        volume = np.zeros(SHAPE, np.float32)
        volume.ravel()[near] = values
        return volume

    return Person(
        whole(white),
        whole(gray),
        whole(fluid),
        whole(white + gray + fluid),
        whole(picture),
        ventricles,
        depth,
        skin,
        places,
    )


def _placed(rng: np.random.Generator, still: bool) -> np.ndarray:
    """Where in the template each voxel of the frame lies in mm, the head as a whole: (3, …)."""
    much = 0.3 if still else 1.0
    turn = _rotation(*(np.deg2rad(rng.normal(0, 7, 3)) * much).clip(-0.35, 0.35))
    scale = np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.035, 3) * much)
    shear = np.eye(3) + rng.normal(0, 0.02, (3, 3)) * much
    matrix = (turn @ shear / scale).astype(np.float32)
    shift = rng.normal(0, 4, 3).clip(-10, 10)
    axes = [
        SPACING * (np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)) - np.float32(d)
        for n, d in zip(SHAPE, shift)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    places = np.stack([a * x + b * y + c * z for a, b, c in matrix])
    places += MIDDLE.reshape(3, 1, 1, 1)
    if not still:
        for axis in range(3):
            places[axis] += upsampled(2.8 * smooth_field(rng, 65, coarse=True))
    return places


def _rotation(pitch: float, roll: float, yaw: float) -> np.ndarray:
    turns = []
    for axis, angle in enumerate((pitch, roll, yaw)):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    return turns[0] @ turns[1] @ turns[2]


def _individual(rng, age, white, gray, brain, opened, near):
    """Turn an average of 152 into one cortex: crisp shares, sulci opened here, closed there."""

    def field(width):
        return smooth_field(rng, width).ravel()[near]

    crisp = rng.uniform(2.0, 3.2)
    fluid = np.clip(brain - white - gray, 0, 1)
    ribbon = 0.4 * field(6) + 0.25 * field(15) + rng.normal(0, 0.15)
    sulci = 0.5 * field(8) + 0.4 * field(40)
    wide = 1.5 * sulci + 2.4 * (age - 0.3) + rng.normal(0, 0.3) + opened
    white = white**crisp * np.exp(ribbon)
    gray = gray**crisp
    fluid = 3.2 * fluid**crisp * np.exp(wide)
    scale = brain / (white + gray + fluid + 1e-4)
    return white * scale, gray * scale
