"""Stroke lesions for the phantom: how large, where and of what shape.

Volumes follow ATLAS R2.0; a lesion grows from a seed inside one arterial territory along a rough
cost, so borders are irregular and satellites stand off. `draw_plan` knows the template only,
`grow_mask` fits the plan into one subject's tissue.
Arrays are (X, Y, Z) on the ATLAS grid, coordinates in mm of MNI space, volumes in mm3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from kenseg_utils.anatomy import box_around

from ._head import AFFINE, SHAPE, Box, Tissue, smooth_field, template

FULL_CONNECTIVITY = np.ones((3, 3, 3), bool)
ORIGIN = AFFINE[:3, 3]

# Share of ATLAS R2.0's subjects below a volume in ml (shares and percentiles as published by
# the source that lesion_statistics.ATLAS_R2 names; 290 ml makes mean and SD agree too).
VOLUME_QUANTILES = (
    (0.0, 0.013),
    (0.029, 0.1),
    (0.05, 0.17),
    (0.10, 0.38),
    (0.124, 0.5),
    (0.211, 1.0),
    (0.25, 1.17),
    (0.487, 5.0),
    (0.5, 5.29),
    (0.606, 10.0),
    (0.676, 20.0),
    (0.75, 36.1),
    (0.789, 50.0),
    (0.895, 100.0),
    (0.95, 153.0),
    (0.962, 200.0),
    (0.99, 290.0),
    (1.0, 496.7),
)


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
class ShapeModel:
    """What was fitted so that 200 masks agree with ATLAS's table and with real masks' shapes."""

    elongation: tuple[float, float, float] = (1.0, 1.2, 1.75)  # of lesions to 15 ml, x y z
    elongation_large: tuple[float, float, float] = (1.0, 2.8, 2.1)  # from 80 ml on
    stretch: float = 0.35  # SD of the log of each axis's length
    roughness: tuple[float, float] = (0.20, 0.70)  # of the border, in radii: least and most
    fine: float = 0.3  # mm of roughness at the scale of single voxels
    satellite: float = 0.09  # median share of the volume that a satellite has, up to 20 ml
    satellite_large: float = 0.006  # the same, from 150 ml on
    satellite_spread: float = 1.3
    scatter: float = 38.0  # mm by which satellites stand off, mean
    elsewhere: float = 0.3  # share of satellites that start in a territory of their own
    more: float = 0.38  # chance that a satellite is the last one


MODEL = ShapeModel()


@dataclass(frozen=True)
class Piece:
    """One component to be: where it starts (mm) and how large it is to grow (mm3)."""

    seed: tuple[float, float, float]
    volume: float

    @property
    def radius(self) -> float:
        return (3 * self.volume / 4 / np.pi) ** (1 / 3)

    @property
    def box(self) -> Box:
        """The voxels that growing looks at."""
        reach = 2.4 * self.radius + 6
        return tuple(
            slice(int(np.clip(c - reach, 0, n - 2)), int(np.clip(c + reach + 1, 2, n)))
            for c, n in zip(np.subtract(self.seed, ORIGIN), SHAPE)
        )


@dataclass(frozen=True)
class Plan:
    """What one subject's lesions are to be, before they are grown."""

    volume: float  # mm3, all lesions together
    side: int  # -1 left, +1 right
    pieces: tuple[Piece, ...]

    @property
    def box(self) -> Box:
        """The voxels that growing looks at, for all pieces."""
        corners = [(s.start, s.stop) for piece in self.pieces for s in piece.box]
        return tuple(
            slice(min(a for a, _ in corners[axis::3]), max(b for _, b in corners[axis::3]))
            for axis in range(3)
        )


def draw_plan(rng: np.random.Generator, evenly: np.ndarray, model: ShapeModel = MODEL) -> Plan:
    """Volume, side and seeds of one subject's lesions.

    `evenly`: three numbers in [0, 1) that fill the unit cube evenly over a release's subjects.
    """
    shares, millilitres = np.array(VOLUME_QUANTILES).T
    volume = 1000 * np.exp(np.interp(evenly[0], shares, np.log(millilitres)))
    side = -1 if evenly[1] < 0.5 else 1
    volumes = _split_volume(rng, volume, evenly[2], model)
    pieces = [Piece(_main_seed(rng, volumes[0], side), volumes[0])]
    for satellite in volumes[1:]:
        pieces.append(Piece(_satellite_seed(rng, satellite, pieces[0], side, model), satellite))
    return Plan(volume, side, tuple(pieces))


def _split_volume(rng, volume: float, several: float, model: ShapeModel) -> list[float]:
    """The volume of each component, the largest first; 53 % of subjects have more than one."""
    likely = np.interp(volume / 1000, (0.5, 2, 10, 40, 150), (0.35, 0.40, 0.70, 0.75, 0.6))
    if several > likely:
        return [volume]
    count = int(
        min(rng.geometric(model.more if rng.random() < 0.93 else 0.1), 32, 1 + volume // 12)
    )
    median = np.interp(
        np.log(volume / 1000), np.log((20, 150)), np.log((model.satellite, model.satellite_large))
    )
    parts = np.exp(rng.normal(median, model.satellite_spread, count)) * volume
    parts *= min(1, rng.uniform(0.25, 0.55) * volume / parts.sum())
    parts = np.maximum(parts, 2)
    rest = max(volume - parts.sum(), 2)
    return sorted([rest, *parts], reverse=True)


def _main_seed(rng, volume: float, side: int) -> tuple[float, float, float]:
    millilitres = volume / 1000
    tier = 0 if millilitres < 2 else 1 if millilitres < 20 else 2
    weights = np.array([t.weights[tier] * (t.largest > millilitres) for t in TERRITORIES])
    while True:
        territory = TERRITORIES[rng.choice(len(TERRITORIES), p=weights / weights.sum())]
        seed = rng.normal(territory.centre, territory.spread) * (side, 1, 1)
        if seed[0] * side > 0 and _fits(seed, volume):
            return tuple(seed)


def _satellite_seed(rng, volume, main: Piece, side: int, model: ShapeModel):
    """Beside the main lesion, or now and then in another territory of either side."""
    while True:
        if rng.random() < model.elsewhere:
            seed = _main_seed(rng, volume, side if rng.random() < 0.6 else -side)
        else:
            away = rng.normal(size=3) * (0.7, 1, 1.3)
            away /= np.linalg.norm(away)
            seed = main.seed + away * (main.radius + rng.exponential(model.scatter))
        if _fits(seed, volume):
            return tuple(seed)


@cache
def _solid() -> np.ndarray:
    """Where the template is brain tissue."""
    return template().white.astype(np.uint16) + template().gray > 127


def _fits(seed, volume: float) -> bool:
    """Does the template start with tissue there and have enough of it around on this side?"""
    voxel = np.rint(np.subtract(seed, ORIGIN)).astype(int)
    if np.any(voxel < 0) or np.any(voxel >= SHAPE) or not _solid()[tuple(voxel)]:
        return False
    piece = Piece(tuple(seed), volume)
    step = 1 if volume < 2000 else 4
    sparse = tuple(slice(s.start, s.stop, step) for s in piece.box)
    room = _solid()[sparse] & _same_compartment(sparse, seed)
    room &= _distance(sparse, seed) < 1.8 * piece.radius + 2
    return room.sum() * step**3 > 1.3 * volume


def grow_mask(
    rng: np.random.Generator, plan: Plan, tissue: Tissue, model: ShapeModel = MODEL
) -> np.ndarray:
    """Grow the planned components in one subject's tissue; uint8 mask of SHAPE."""
    mask = np.zeros(SHAPE, bool)
    for piece in plan.pieces:
        box = piece.box
        fluid = tissue.fluid[box]
        solid = tissue.white[box] + tissue.gray[box]
        allowed = _same_compartment(box, piece.seed) & (solid + fluid > 0.5)
        allowed &= ndimage.gaussian_filter(fluid, 1.5) < 0.6  # ventricles and cisterns
        if mask[box].any():  # pieces do not touch
            allowed &= ~ndimage.binary_dilation(mask[box], FULL_CONNECTIVITY)
        cost = np.where(allowed, _cost(rng, piece, model) + 0.4 * fluid, np.inf)
        wanted = min(int(round(piece.volume)), int(0.95 * allowed.sum()))
        if wanted > 0:
            mask[box] |= _lowest_connected(cost, wanted)
    return mask.astype(np.uint8)


def _millimetres(box: Box) -> tuple[np.ndarray, ...]:
    return np.meshgrid(
        *(
            np.arange(s.start, s.stop, s.step, dtype=np.float32) + np.float32(start)
            for s, start in zip(box, ORIGIN)
        ),
        indexing="ij",
        sparse=True,
    )


def _distance(box, seed) -> np.ndarray:
    return np.sqrt(sum((axis - np.float32(c)) ** 2 for axis, c in zip(_millimetres(box), seed)))


def _same_compartment(box, seed) -> np.ndarray:
    """Voxels on the seed's side of the midline and of the tentorium (boolean, of the box)."""
    x, y, z = _millimetres(box)
    same = _infratentorial(x, y, z) == _infratentorial(*seed)
    return same if _infratentorial(*seed) else same & (x * np.sign(seed[0]) > 0)


def _infratentorial(x, y, z):
    """Cerebellum and brain stem, roughly: below the tentorium (mm of MNI space)."""
    tentorium = -8 + 0.18 * (y + 35) - 0.22 * np.abs(x)
    stem = (np.abs(x) < 18) & (y > -45) & (y < -10) & (z < -12)
    return ((y < -32) & (z < tentorium)) | stem


def _cost(rng, piece: Piece, model: ShapeModel) -> np.ndarray:
    """Distance from the seed in radii, stretched and tilted, plus roughness; lesions fill it up."""
    box, radius = piece.box, piece.radius
    tilt, _ = np.linalg.qr(np.eye(3) + 0.5 * rng.normal(size=(3, 3)))
    log_volume = np.log(piece.volume / 1000)
    small = np.interp(log_volume, np.log((0.5, 8)), (1, 0))
    large = np.interp(log_volume, np.log((15, 80)), (0, 1))
    stretch = (1 - large) * np.array(model.elongation) + large * np.array(model.elongation_large)
    stretch *= np.exp(rng.normal(0, model.stretch, 3))
    stretch /= np.cbrt(stretch.prod())
    metric = ((tilt / stretch) @ tilt.T / radius).astype(np.float32)
    offsets = [axis - np.float32(c) for axis, c in zip(_millimetres(box), piece.seed)]
    cost = np.sqrt(sum(sum(m * o for m, o in zip(row, offsets)) ** 2 for row in metric))
    rough = rng.uniform(*model.roughness) * (1 - 0.4 * small + 0.5 * large)
    cost += rough * smooth_field(rng, max(1.0 * radius, 4), box)
    cost += 0.5 * rough * smooth_field(rng, max(0.4 * radius, 3), box)
    return cost + model.fine / radius * smooth_field(rng, 3, box)


def _lowest_connected(cost: np.ndarray, wanted: int) -> np.ndarray:
    """The largest connected piece of the cheapest voxels, about `wanted` voxels of it."""
    take, possible = wanted, int(np.isfinite(cost).sum())
    for _ in range(6):
        lowest = cost <= np.partition(cost.ravel(), take - 1)[take - 1]
        labels, count = ndimage.label(lowest)
        piece = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1 if count > 1 else lowest
        size = int(piece.sum())
        if size >= 0.96 * wanted or take >= possible:
            break
        take = min(int(take + 1.1 * (wanted - size)) + 1, possible)
    around = box_around(piece)
    piece[around] = ndimage.binary_fill_holes(piece[around])
    return piece
