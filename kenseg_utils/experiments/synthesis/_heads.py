"""A whole synthetic head, from a seed: what a network is shown, and where its lesions are."""

from __future__ import annotations

from typing import Any

import numpy as np

from kenseg_utils.prediction import frames

from ._anatomy import grow
from ._fields import moved
from ._lesions import draw_look, draw_plan, grow_mask, injury_of, paint_distractors, painted
from ._scanner import draw_contrast, draw_field_of_view, scanned, shown
from ._shell import defaced, extracted, wrapped

VERSION = 8  # raised by hand when the heads of a seed change
AVERAGED = 0.1  # heads as templates have them
HEALTHY = {True: 1 / 3, False: 0.2}  # of heads that are averaged, and of others
EXTRACTED = 0.35
CLEAN_AIR = {"extracted": 0.85, "whole": 0.4, "defaced": 0.4}  # of each: zeros around the head


def make_head(
    seed: int | np.random.Generator, healthy: bool | None = None
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """A head (float32 of `frames.SHAPE`, as `frames.look` gives one), its mask (uint8), facts.

    A seed (or a generator) determines all. `healthy`: without lesion, or never so (None: one in
    five). The facts: "ml", "lesions" (kind of each), "shown" (whole, defaced, extracted),
    "averaged", "age" 0–1.
    """
    rng = np.random.default_rng(seed)
    averaged = bool(rng.random() < AVERAGED)
    if healthy is None:
        healthy = bool(rng.random() < HEALTHY[averaged])
    age = float(rng.beta(1.3, 1.3))
    plan = () if healthy else draw_plan(rng)
    injury = injury_of(rng, plan) if plan else None
    person = grow(rng, 0.3 * age if averaged else age, injury, averaged)
    contrast = draw_contrast(rng)
    picture = shown(rng, person, contrast, textured=averaged or rng.random() < 0.3)
    if not averaged:
        picture = paint_distractors(rng, picture, person, age, contrast.gray, contrast.fluid)
    mask = grow_mask(rng, person, plan) if plan else np.zeros(frames.SHAPE, bool)
    if mask.any():
        look = draw_look(rng, person, mask, contrast.gray, contrast.fluid)
        picture = painted(picture, look)
    way = "extracted" if rng.random() < EXTRACTED else ("whole", "defaced")[rng.integers(2)]
    if way == "extracted":
        head = extracted(rng, picture, person, contrast.fluid)
    else:
        head = wrapped(rng, picture, person, contrast.fluid)
        if way == "defaced":
            head[defaced(rng, person)] = 0
    image = scanned(rng, head, clean_air=rng.random() < CLEAN_AIR[way])
    view = draw_field_of_view(rng, person)
    image = np.where(view, image, 0)
    # What a tool cut off or no slice shows cannot be found.
    mask &= view & ((image > 0) | (person.depth > 3))
    by = hung(image, view)
    image, mask = frames.normalised(moved(image, by)), moved(mask, by)
    return (
        image,
        mask.astype(np.uint8),
        {
            "ml": float(mask.sum() * frames.VOXEL_ML),
            "lesions": [piece.kind.name for piece in plan],
            "shown": way,
            "averaged": averaged,
            "age": age,
        },
    )


def hung(image: np.ndarray, view: np.ndarray) -> tuple[int, int, int]:
    """By how many voxels to move a head, that it lies in the frame as `frames` would lay it.

    What a scan shows is where `view` is. An extracted brain hangs higher than one in its skull,
    and a head whose top or side no slice shows lies elsewhere than a whole one.
    """
    box = tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(view))
    affine = np.diag([frames.SPACING] * 3 + [1.0])
    affine[:3, 3] = frames.SPACING * np.array([part.start for part in box])
    corner = frames.frame_of(image[box], affine).affine[:3, 3] / frames.SPACING
    x, y, z = (-int(round(float(place))) for place in corner)
    return x, y, z


def lesion_in_template(seed: int | np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Lesions as `make_head` grows them, without a picture: mask (bool of `frames.SHAPE`), and
    where each voxel of the frame lies in the template, (3, …) in mm."""
    rng = np.random.default_rng(seed)
    plan = draw_plan(rng)
    person = grow(rng, float(rng.beta(1.3, 1.3)), injury_of(rng, plan))
    return grow_mask(rng, person, plan), person.places
