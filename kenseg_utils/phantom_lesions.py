"""Stroke lesions for the phantom: how large, where, of what shape, and how they look on T1.

Volumes follow ATLAS R2.0 (`lesion_statistics.ATLAS_R2`); a lesion grows from a seed inside one
arterial territory along a rough cost, so borders are irregular and satellites stand off.
Arrays are (X, Y, Z) on the ATLAS grid, coordinates in mm of MNI space, volumes in mm3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kenseg_utils.phantom_head import AFFINE, SHAPE, Tissue, smooth_field

FULL_CONNECTIVITY = np.ones((3, 3, 3), bool)

# Share of ATLAS R2.0's subjects below a volume in ml (see lesion_statistics.ATLAS_R2).
VOLUME_QUANTILES = (
    (0.0, 0.013), (0.029, 0.1), (0.05, 0.17), (0.10, 0.38), (0.124, 0.5), (0.211, 1.0),
    (0.25, 1.17), (0.487, 5.0), (0.5, 5.29), (0.606, 10.0), (0.676, 20.0), (0.75, 36.1),
    (0.789, 50.0), (0.895, 100.0), (0.95, 153.0), (0.962, 200.0), (1.0, 496.7))


@dataclass(frozen=True)
class Territory:
    """A part of the brain that one artery feeds: where lesions start (mm, right side) and fit."""

    name: str
    centre: tuple[float, float, float]
    spread: tuple[float, float, float]
    largest: float  # ml: no larger lesion starts here
    weights: tuple[float, float, float]  # how often: below 2 ml, to 20 ml, above


TERRITORIES = (
    Territory("lenticulostriate", (24, 2, 6), (5, 9, 8), 20, (4.0, 1.5, 0.2)),
    Territory("thalamus", (12, -18, 8), (4, 6, 5), 6, (1.5, 0.4, 0.0)),
    Territory("corona radiata", (25, -12, 30), (5, 16, 7), 25, (3.0, 1.5, 0.2)),
    Territory("pons", (5, -25, -32), (3, 4, 6), 3, (1.0, 0.1, 0.0)),
    Territory("middle cerebral, upper", (44, -2, 28), (8, 20, 12), 600, (2.0, 3.0, 4.5)),
    Territory("middle cerebral, lower", (48, -38, 12), (8, 16, 14), 600, (1.5, 2.5, 3.5)),
    Territory("anterior cerebral", (8, 28, 34), (4, 25, 16), 120, (0.4, 0.7, 0.6)),
    Territory("posterior cerebral", (20, -72, 4), (10, 14, 10), 130, (0.7, 1.2, 1.0)),
    Territory("cerebellum", (26, -62, -36), (12, 10, 8), 45, (1.2, 1.3, 0.5)),
)


@dataclass(frozen=True)
class Plan:
    """What one subject's lesions are to be, before they are grown."""

    volume: float  # mm3, all lesions together
    side: int  # -1 left, +1 right
    parts: tuple[float, ...]  # mm3 of each component, the largest first


def draw_plan(rng: np.random.Generator, evenly: np.ndarray) -> Plan:
    """`evenly`: three numbers in [0, 1) that fill the cube evenly over the subjects of a release."""
    shares, millilitres = np.array(VOLUME_QUANTILES).T
    volume = 1000 * np.exp(np.interp(evenly[0], shares, np.log(millilitres)))
    several = np.interp(volume / 1000, (0.5, 2, 10, 40, 150), (0.35, 0.40, 0.70, 0.75, 0.6))
    count = 1
    if evenly[2] < several:
        count = 1 + min(rng.geometric(0.36), 30, 1 + int(volume // 12))
    satellites = np.exp(rng.normal(np.log(0.03), 1.2, count - 1)) * volume
    satellites = np.clip(satellites, 3, None)
    if satellites.sum() > 0.45 * volume:
        satellites *= 0.45 * volume / satellites.sum()
    parts = sorted(np.maximum(np.rint(satellites), 2), reverse=True)
    return Plan(volume, -1 if evenly[1] < 0.5 else 1, (max(volume - sum(parts), 2), *parts))


def grow_mask(rng: np.random.Generator, plan: Plan, tissue: Tissue) -> np.ndarray:
    """Grow the planned components in one subject's tissue; uint8 mask of SHAPE."""
    mask = np.zeros(SHAPE, bool)
    millilitres = plan.volume / 1000
    tier = 0 if millilitres < 2 else 1 if millilitres < 20 else 2
    weights = np.array([t.weights[tier] * (t.largest > millilitres) for t in TERRITORIES])
    for number, volume in enumerate(plan.parts):
        for _ in range(20):  # a seed can fall where nothing more fits: draw another
            if number == 0 or rng.random() < 0.3:
                territory = TERRITORIES[rng.choice(len(TERRITORIES), p=weights / weights.sum())]
                side = plan.side if number == 0 or rng.random() < 0.75 else -plan.side
                seed = rng.normal(territory.centre, territory.spread) * (side, 1, 1)
                main = (seed, plan.parts[0]) if number == 0 else main
            else:
                away = rng.normal(size=3)
                away /= np.linalg.norm(away)
                reach = (3 * main[1] / 4 / np.pi) ** (1 / 3)
                seed = main[0] + away * (1.1 * reach + rng.uniform(3, 25))
            if _grow_one(rng, mask, seed, volume, tissue):
                break
    return mask.astype(np.uint8)


def _grow_one(rng, mask, seed, volume, tissue) -> bool:
    """Add one component of about `volume` mm3 around `seed` to `mask`; False if it does not fit."""
    radius = (3 * volume / 4 / np.pi) ** (1 / 3)
    voxel = np.linalg.solve(AFFINE, [*seed, 1])[:3]
    reach = int(2.3 * radius + 6)
    box = tuple(slice(max(int(v) - reach, 0), min(int(v) + reach + 1, n))
                for v, n in zip(voxel, SHAPE))
    if any(s.stop - s.start < 3 for s in box):
        return False
    allowed = _same_compartment(box, seed)
    fluid = tissue.fluid[box]
    allowed &= (tissue.white[box] + tissue.gray[box] + fluid > 0.5)
    allowed &= ndimage.gaussian_filter(fluid, 1.5) < 0.6
    allowed &= ~ndimage.binary_dilation(mask[box], FULL_CONNECTIVITY)
    wanted = int(round(volume))
    if allowed.sum() < 1.3 * wanted:
        return False
    cost = _cost(rng, box, voxel, radius) + 0.4 * fluid
    cost[~allowed] = np.inf
    if np.partition(cost.ravel(), wanted)[wanted] > 2.2 + 2 * 1.2:
        return False  # the nearest tissue is too far away: this would not be around the seed
    grown = _lowest_connected(cost, wanted)
    mask[box] |= grown
    return True


def _same_compartment(box, seed) -> np.ndarray:
    """Voxels on the seed's side of the midline and of the tentorium (boolean, of the box)."""
    x, y, z = np.meshgrid(*(np.arange(s.start, s.stop) + offset
                            for s, offset in zip(box, AFFINE[:3, 3])), indexing="ij", sparse=True)
    below = _infratentorial(x, y, z) == _infratentorial(*seed)
    if _infratentorial(*seed):
        return below
    return below & (x * np.sign(seed[0]) > 0)


def _infratentorial(x, y, z):
    """Cerebellum and brain stem, roughly: below the tentorium (mm of MNI space)."""
    tentorium = -8 + 0.18 * (y + 35) - 0.22 * np.abs(x)
    stem = (np.abs(x) < 18) & (y > -45) & (y < -10) & (z < -12)
    return ((y < -32) & (z < tentorium)) | stem


def _cost(rng, box, voxel, radius) -> np.ndarray:
    """Distance from the seed in radii, stretched and tilted, plus roughness; lesions fill it up."""
    offsets = [np.arange(s.start, s.stop, dtype=np.float32) - v for s, v in zip(box, voxel)]
    tilt, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    stretch = np.exp(rng.normal(0, 0.28, 3))
    metric = (tilt / stretch @ tilt.T / radius * np.cbrt(stretch.prod())).astype(np.float32)
    x, y, z = np.meshgrid(*offsets, indexing="ij", sparse=True)
    distance = np.sqrt(sum((a * x + b * y + c * z) ** 2 for a, b, c in metric))
    rough = rng.uniform(0.15, 0.4)
    for spacing, share in ((max(1.2 * radius, 4), 0.8), (max(0.5 * radius, 3), 0.5), (3, 0.3)):
        distance += rough * share * smooth_field(rng, spacing, box)
    return distance


def _lowest_connected(cost: np.ndarray, wanted: int) -> np.ndarray:
    """The largest connected piece of the cheapest voxels, about `wanted` voxels of it."""
    take = wanted
    possible = int(np.isfinite(cost).sum())
    for _ in range(6):
        lowest = cost <= np.partition(cost.ravel(), take - 1)[take - 1]
        labels, count = ndimage.label(lowest)
        piece = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1 if count > 1 else lowest
        size = int(piece.sum())
        if size >= 0.96 * wanted or take >= possible:
            break
        take = min(int(take + 1.1 * (wanted - size)) + 1, possible)
    return ndimage.binary_fill_holes(piece)


def paint_lesions(rng: np.random.Generator, brain: np.ndarray, mask: np.ndarray,
                  fluid_level: float) -> None:
    """Darken `brain` (white matter = 1) where `mask` is, in place.

    A core near fluid, a rim graded over 5–7 mm that begins outside the mask, texture inside;
    small lesions stay at 0.5–0.7 of white matter.
    """
    labels, _ = ndimage.label(mask, FULL_CONNECTIVITY)
    for number, found in enumerate(ndimage.find_objects(labels), start=1):
        box = tuple(slice(max(s.start - 6, 0), min(s.stop + 6, n)) for s, n in zip(found, SHAPE))
        inside = labels[box] == number
        volume = inside.sum()
        depth = (ndimage.distance_transform_edt(inside)
                 - ndimage.distance_transform_edt(~inside)).astype(np.float32)
        depth += smooth_field(rng, 5, box)
        middle, width = rng.uniform(0.2, 1.6), rng.uniform(0.9, 1.7)
        share = 1 / (1 + np.exp((middle - depth) / width))
        strength = rng.uniform(0.85, 1.0) if volume > 3000 else rng.uniform(0.55, 0.85)
        texture = smooth_field(rng, 9, box) + 0.7 * smooth_field(rng, 4, box)
        share *= strength * np.clip(1.05 - 0.22 * np.clip(texture, -0.3, 3), 0.1, 1)
        core = fluid_level * (1 + 0.08 * smooth_field(rng, 4, box))
        part = brain[box]
        part += share * np.minimum(core - part, 0)
