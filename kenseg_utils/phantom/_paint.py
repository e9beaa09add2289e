"""How stroke lesions, and what is mistaken for them, look on the phantom's T1.

All functions darken a noiseless brain (X, Y, Z) float32, white matter = 1, in place.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ._head import SHAPE, Tissue, smooth_field, template
from ._lesions import FULL_CONNECTIVITY

MARGIN = 8  # mm around a lesion in which it still changes the brain
GLIOSIS = 0.53  # scarred tissue that is still there, between fluid and gray matter


def paint_lesions(
    rng: np.random.Generator, brain: np.ndarray, mask: np.ndarray, tissue: Tissue, fluid: float
) -> None:
    """Lesions where `mask` is: a core near `fluid`, a rim graded over 5–7 mm, texture inside.

    The rim begins outside the mask; small lesions keep 0.5–0.7 of white matter; sulci beside
    large lesions open. The profile follows one measured on a chronic case (signed depth in mm:
    signal): -3 .67, -1 .63, +1 .50, +3 .34, +5 .29, +7 .25.
    """
    labels, _ = ndimage.label(mask, FULL_CONNECTIVITY)
    whole = int(mask.sum()) / 1000
    age = rng.uniform(0, 1)  # of the lesion: an old one is more of a cavity
    for number, found in enumerate(ndimage.find_objects(labels), start=1):
        box = tuple(
            slice(max(s.start - MARGIN, 0), min(s.stop + MARGIN, n)) for s, n in zip(found, SHAPE)
        )
        inside = labels[box] == number
        _paint_one(rng, brain, box, _depth(inside), inside.sum() / 1000, age, fluid)
        if whole > 5:
            near = ndimage.gaussian_filter(inside.astype(np.float32), 5)
            opening = np.minimum(2 * near * np.sqrt(tissue.fluid[box]), 0.8)
            brain[box] += opening * np.minimum(fluid - brain[box], 0)


def _depth(inside: np.ndarray) -> np.ndarray:
    """Distance to the border in mm, positive inside, 0 half way between the voxels."""
    return (
        ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    ).astype(np.float32) * (1 - 0.5 / MARGIN)


def _paint_one(rng, brain, box, depth, millilitres: float, age: float, fluid: float) -> None:
    large = np.interp(np.log(millilitres + 1e-3), np.log((0.3, 8)), (0, 1))
    # What is drawn as the border and what is seen as one differ: raters do, too.
    seen = depth + 0.9 * smooth_field(rng, 5, box)
    middle, width = rng.uniform(-0.3, 1.0) - 1.5 * (1 - large), rng.uniform(0.9, 1.5)
    share = 1 / (1 + np.exp((middle - seen) / width))
    texture = 0.8 * smooth_field(rng, 10, box) + 0.6 * smooth_field(rng, 4.5, box)
    cavity = 1 / (1 + np.exp(-3 * (texture + 0.5 + 1.4 * (age - 0.5) + 0.25 * (depth - 3))))
    cavity *= rng.uniform(0, 0.6) * (1 - large) + large
    scar = GLIOSIS * (1 + 0.1 * smooth_field(rng, 3, box))
    core = scar + cavity * (fluid * (1.05 + 0.06 * smooth_field(rng, 6, box)) - scar)
    strands = 0.2 + 0.5 * smooth_field(rng, 6, box) + 0.06 * depth  # of living tissue
    part = brain[box]
    part += share * np.clip(1 + large * strands, 0.25, 1) * np.minimum(core - part, 0)


def paint_distractors(
    rng: np.random.Generator, brain: np.ndarray, tissue: Tissue, age: float, fluid: float
) -> None:
    """What is dark and is no stroke: patches of pale white matter and perivascular spaces.

    Both grow in number with `age` 0–1. (Wide ventricles and sulci come with the tissue.)
    """
    white = np.flatnonzero(tissue.white[template().box] > 0.9)
    corner = [s.start for s in template().box]
    lengths = [s.stop - s.start for s in template().box]

    def place():
        return np.add(np.unravel_index(rng.choice(white), lengths), corner)

    for _ in range(rng.poisson(2 + 14 * age**2)):
        _darken(
            brain,
            place(),
            rng.uniform(1.5, 5) * np.exp(rng.normal(0, 0.3, 3)),
            rng.uniform(0.08, 0.28),
            fluid,
            tissue.white,
        )
    for _ in range(rng.poisson(6 + 24 * age)):
        along = rng.dirichlet((0.3, 0.3, 0.6)) * rng.uniform(2, 5)
        _darken(brain, place(), 0.65 + along, rng.uniform(0.3, 0.8), fluid, tissue.white)


def _darken(brain, centre, lengths, strength: float, fluid: float, where) -> None:
    """A Gaussian spot with SDs `lengths` (voxels), mixed with fluid, only in some tissue."""
    box = tuple(
        slice(max(int(c - 3 * r - 1), 0), min(int(c + 3 * r + 2), n))
        for c, r, n in zip(centre, lengths, SHAPE)
    )
    x, y, z = (
        np.exp(-0.5 * ((np.arange(s.start, s.stop) - c) / r) ** 2).astype(np.float32)
        for s, c, r in zip(box, centre, lengths)
    )
    spot = np.float32(strength) * x[:, None, None] * y[:, None] * z * where[box]
    brain[box] += spot * np.minimum(fluid - brain[box], 0)
