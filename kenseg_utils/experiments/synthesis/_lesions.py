"""Chronic strokes: where and how large, grown in one person's tissue, and how they look.

`draw_plan` decides in the template's mm, before there is a person; `grow_mask` fits the plan into
the person; `draw_look` says what a T1w shows there, as maps that `painted` applies to a picture.
Kinds and volumes were chosen to agree with real masks in number, none of which is used here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kenseg_utils.anatomy import box_around
from kenseg_utils.prediction.frames import SHAPE, SPACING, VOXEL_ML

from ._anatomy import Injury, Person
from ._fields import log_uniform, logistic, smooth_field

SMALLEST_ML, LARGEST_ML = 0.3, 250.0
DEEP = np.array([20.0, -18.0, 12.0])  # mm, right side: what wedges of the cortex point to


@dataclass(frozen=True)
class Kind:
    """Lesions of one artery: mm of the right side, ml."""

    name: str
    centre: tuple[float, float, float]
    spread: tuple[float, float, float]
    smallest: float
    largest: float
    wedge: bool  # along the cortex, pointing inwards; else around its seed
    weight: float


KINDS = (
    Kind("middle cerebral", (52, -8, 18), (6, 24, 16), 8, 250, True, 7),
    Kind("middle cerebral, posterior branch", (50, -42, 20), (7, 14, 14), 2, 120, True, 4),
    Kind("middle cerebral, anterior branch", (46, 22, 18), (8, 12, 14), 2, 120, True, 3),
    Kind("anterior cerebral", (8, 26, 30), (3, 24, 18), 1, 70, False, 2.6),
    Kind("posterior cerebral", (18, -74, 4), (8, 11, 9), 1, 80, False, 2.6),
    Kind("watershed", (30, -20, 46), (6, 28, 8), 1, 40, True, 1),
    Kind("a branch", (48, -14, 26), (9, 28, 20), 0.3, 12, True, 3),
    Kind("lenticulostriate", (24, 2, 6), (5, 9, 7), 0.3, 25, False, 2.5),
    Kind("corona radiata", (25, -12, 29), (4, 15, 6), 0.3, 15, False, 2),
    Kind("thalamus", (12, -18, 8), (4, 6, 5), 0.3, 6, False, 1.2),
    Kind("pons", (5, -26, -32), (3, 4, 6), 0.3, 3, False, 0.6),
    Kind("cerebellum", (26, -62, -36), (11, 10, 8), 0.5, 50, False, 3),
    Kind("anywhere", (28, -20, 15), (22, 40, 28), 0.3, 60, False, 4),
)


@dataclass(frozen=True)
class Mix:
    """What lesions are drawn from: their kinds, and the shares of what is set apart."""

    kinds: tuple[Kind, ...] = KINDS
    large: float = 0.12  # beside those that any volume alike gives; networks miss small ones
    more: float = 0.4  # of plans, and of what is left of them, that get one lesion more
    holes: float = 0.3  # of lesions that are cavity up to their border, as lacunes are


TRAINING = Mix()


@dataclass(frozen=True)
class Piece:
    """One lesion to be: its kind, mm of the template where it starts, and volume in ml."""

    kind: Kind
    seed: tuple[float, float, float]
    ml: float
    flat: float  # how much further it reaches along the cortex than inwards
    long: tuple[float, float, float]  # stretch along x, y, z


def draw_volume(rng: np.random.Generator, large: float = TRAINING.large) -> float:
    """A lesion's volume in ml: any factor alike from 0.3 to 250; a share of more than 25."""
    if rng.random() < large:
        return log_uniform(rng, 25, LARGEST_ML)
    return log_uniform(rng, SMALLEST_ML, LARGEST_ML)


def draw_plan(rng: np.random.Generator, mix: Mix = TRAINING) -> tuple[Piece, ...]:
    """One lesion, now and then with a second one, or small ones that stand off."""
    pieces = [_draw_piece(rng, draw_volume(rng, mix.large), rng.choice((-1, 1)), mix.kinds)]
    side = int(np.sign(pieces[0].seed[0]))
    while rng.random() < mix.more and len(pieces) < 5:
        ml = log_uniform(rng, SMALLEST_ML, max(0.6, 0.4 * pieces[0].ml))
        pieces.append(_draw_piece(rng, ml, side if rng.random() < 0.7 else -side, mix.kinds))
    return tuple(pieces)


def _draw_piece(rng: np.random.Generator, ml: float, side: int, kinds: tuple[Kind, ...]) -> Piece:
    fitting = [kind for kind in kinds if kind.smallest <= ml <= kind.largest]
    weights = np.array([kind.weight for kind in fitting])
    kind = fitting[rng.choice(len(fitting), p=weights / weights.sum())]
    seed = rng.normal(kind.centre, kind.spread)
    seed[0] = side * max(seed[0], 3)
    long = np.exp(rng.normal(0, 0.3, 3)) * ((1, 1.5, 1.1) if kind.wedge or ml > 8 else (1, 1, 1))
    return Piece(
        kind, tuple(seed), ml, log_uniform(rng, 0.3, 1.8), tuple(long / np.cbrt(long.prod()))
    )


def injury_of(rng: np.random.Generator, plan: tuple[Piece, ...]) -> Injury | None:
    """What a plan's largest lesion does to the brain around it, or None if it is small."""
    largest = max(plan, key=lambda piece: piece.ml)
    if largest.ml < 4:
        return None
    size = min(largest.ml / 100, 1.5)
    return Injury(
        largest.seed,
        reach=18 + 0.12 * min(largest.ml, 150),
        shrinkage=rng.uniform(-0.01, 0.10) * size,
        ventricle=rng.uniform(0, 9) * np.sqrt(size),
        sulci=rng.uniform(0, 2.0) * np.sqrt(size),
    )


def grow_mask(rng: np.random.Generator, person: Person, plan: tuple[Piece, ...]) -> np.ndarray:
    """The plan's lesions in a person: bool of the frame."""
    mask = np.zeros(SHAPE, bool)
    solid = person.white + person.gray
    # How near the skull a rater draws: sulci are drawn over, the rim of fluid is not.
    bare = rng.uniform(0.5, 5.5) + 1.2 * smooth_field(rng, 15)
    most = ndimage.gaussian_filter(solid, 1.0)
    allowed = (person.depth > bare) & (person.brain > 0.5) & (person.ventricles < 0.35)
    allowed &= most > rng.uniform(0.2, 0.45)
    for piece in plan:
        room = allowed & _compartment(person.places, piece.seed)
        if mask.any():
            room &= ~ndimage.binary_dilation(mask)
        wanted = min(round(piece.ml / VOXEL_ML), int(0.9 * room.sum()))
        if wanted < 10:
            continue
        cost = np.where(room, _cost(rng, person, piece), np.inf)
        mask |= _lowest_connected(cost, wanted)
    if mask.any():
        box = box_around(mask, 2)
        even = ndimage.gaussian_filter(mask[box].astype(np.float32), rng.uniform(0.3, 0.8)) > 0.5
        mask[box] = even & (person.ventricles[box] < 0.5) & (person.brain[box] > 0.3)
    return mask


def _compartment(places: np.ndarray, seed) -> np.ndarray:
    """The voxels on the seed's side of the midline and of the tentorium."""
    below = _infratentorial(*places)
    if _infratentorial(*seed):
        return below
    return ~below & (places[0] * np.sign(seed[0]) > 1)


def _infratentorial(x, y, z):
    """Cerebellum and brain stem, roughly (mm of the template)."""
    tentorium = -8 + 0.18 * (y + 35) - 0.22 * np.abs(x)
    stem = (np.abs(x) < 18) & (y > -45) & (y < -10) & (z < -12)
    return ((y < -32) & (z < tentorium)) | stem


def _cost(rng: np.random.Generator, person: Person, piece: Piece) -> np.ndarray:
    """How late a lesion reaches a voxel: distance from its seed in its own metric, and noise."""
    radius = float(np.cbrt(3000 * piece.ml / (4 * np.pi)))  # mm, were it a ball
    if piece.kind.wedge:
        side = np.sign(piece.seed[0])
        deep = (DEEP * (side, 1, 1)).reshape(3, 1, 1, 1).astype(np.float32)
        ray = person.places - deep
        ray /= np.sqrt((ray**2).sum(0)) + 1e-3
        to_seed = np.array(piece.seed, np.float32).reshape(3, 1, 1, 1) - deep
        to_seed /= np.sqrt((to_seed**2).sum())
        off = 55 * (ray - to_seed)  # mm along the cortex, about
        along = sum((part / length) ** 2 for part, length in zip(off, piece.long))
        inwards = piece.flat * np.clip(person.depth - 10, 0, None)
        cost = np.sqrt(along + inwards**2)
    else:
        off = person.places - np.array(piece.seed, np.float32).reshape(3, 1, 1, 1)
        cost = np.sqrt(sum((part / length) ** 2 for part, length in zip(off, piece.long)))
    rough = rng.uniform(0.2, 0.7) * radius
    cost = cost + rough * smooth_field(rng, max(1.1 * radius, 8))
    cost += 0.5 * rough * smooth_field(rng, max(0.45 * radius, 6))
    return cost + rng.uniform(0, 0.8) * smooth_field(rng, 5)


def _lowest_connected(cost: np.ndarray, wanted: int) -> np.ndarray:
    """The largest connected piece of the cheapest voxels: about `wanted` of them, filled."""
    finite = cost[np.isfinite(cost)]
    take = min(wanted, len(finite))
    lowest = cost <= np.partition(finite, take - 1)[take - 1]
    box = box_around(lowest)
    labels, count = ndimage.label(lowest[box])
    if count > 1:
        sizes = np.bincount(labels.ravel())[1:]
        # What stands off may be part of it, if it is large.
        kept = np.flatnonzero(sizes >= 0.15 * sizes.max()) + 1
        lowest[box] = np.isin(labels, kept)
    lowest[box] = ndimage.binary_fill_holes(lowest[box])
    return lowest


@dataclass(frozen=True, eq=False)
class Look:
    """What a T1w shows of lesions: maps of the frame, levels in units of white matter."""

    scar: np.ndarray  # share in which tissue is scarred
    scar_level: np.ndarray  # how bright a scar is; nothing darker is made brighter
    cavity: np.ndarray  # share in which there is none left
    cavity_level: np.ndarray


def painted(picture: np.ndarray, look: Look) -> np.ndarray:
    """A picture (white matter 1) with lesions as `look` has them."""
    picture = picture + look.scar * np.minimum(look.scar_level - picture, 0)
    return picture + look.cavity * (look.cavity_level - picture)


def draw_look(
    rng: np.random.Generator,
    person: Person,
    mask: np.ndarray,
    gray: float,
    fluid: float,
    mix: Mix = TRAINING,
) -> Look:
    """How the lesions in `mask` look, where gray matter and fluid have the levels given.

    From the living tissue inwards: a grey scar of 1 to 14 mm, then a cavity as dark as fluid,
    or nearly so, or only here and there; at the skull the cavity is open, or a ribbon of cortex is
    left over it. A share of them, `mix.holes`, has hardly a scar: they are cavity all through.
    """
    maps = [np.zeros(SHAPE, np.float32) for _ in range(4)]
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    for number, found in enumerate(ndimage.find_objects(labels), start=1):
        box = tuple(
            slice(max(s.start - 5, 0), min(s.stop + 5, n)) for s, n in zip(found, mask.shape)
        )
        inside = labels[box] == number
        # A share of 0 draws nothing, so that what was painted without holes stays as it was.
        hole = mix.holes > 0 and rng.random() < mix.holes
        part = _look_of_one(rng, person, box, inside, mask[box], gray, fluid, hole)
        strongest = part[0] + part[2] > maps[0][box] + maps[2][box]
        for whole, values in zip(maps, part):
            whole[box] = np.where(strongest, values, whole[box])
    return Look(*maps)


def _look_of_one(rng, person, box, inside, any_lesion, gray, fluid, hole):
    """(scar, its level, cavity, its level) of one lesion in its box."""

    def field(width):
        return smooth_field(rng, width)[box]

    ml = inside.sum() * VOXEL_ML
    large = float(np.interp(np.log(ml + 1e-3), np.log((0.4, 10)), (0, 1)))
    alive = (person.white[box] + person.gray[box] > 0.4) & ~any_lesion
    if not alive.any():
        alive = ~inside
    depth = SPACING * ndimage.distance_transform_edt(~alive).astype(np.float32) - SPACING / 2
    depth = np.where(inside, depth, -SPACING * ndimage.distance_transform_edt(~inside) + 1)
    seen = depth + rng.uniform(0.3, 1.3) * field(7)  # the border seen is not the border drawn
    scar = logistic((seen - rng.uniform(-0.8, 1.5)) / rng.uniform(0.5, 1.1))
    tone = rng.choice(("grey", "dark", "pale"), p=(0.5, 0.38, 0.12))
    low, high = {"grey": (0.75, 0.98), "dark": (0.5, 0.8), "pale": (0.95, 1.1)}[tone]
    scar_level = (fluid + (gray - fluid) * rng.uniform(low, high)) * (
        1 + 0.06 * field(5) + 0.06 * field(12)
    )
    rim = log_uniform(rng, 0.8, 12) if large > 0.5 else log_uniform(rng, 0.7, 4)
    width = rng.uniform(0.6, 2.5)
    if hole:
        rim, width = rng.uniform(-0.5, 0.8), rng.uniform(0.4, 1.0)
    cavity = logistic((seen - rim - 0.35 * rim * field(14)) / width)
    # An old lesion is all cavity; another is scar with holes.
    hollow = rng.choice((4.0, rng.uniform(-1.5, 2.5)), p=(0.65, 0.35))
    if not hole:
        cavity *= logistic(2.2 * (hollow + field(12) + 0.6 * field(6)))
    darkness = rng.choice((rng.uniform(0, 0.15), rng.uniform(0.15, 0.7)), p=(0.72, 0.28))
    cavity_level = (fluid + (gray - fluid) * darkness) * (1 + 0.07 * field(8))
    if not hole:
        scar, cavity = _lived_on(rng, field, person.depth[box], inside, ml, large, scar, cavity)
    reach = np.clip(seen / 4 + 1.6, 0, 1)  # nothing far outside
    return scar * reach, scar_level, cavity * reach, cavity_level


def _lived_on(rng, field, depth, inside, ml, large, scar, cavity):
    """(scar, cavity) less the tissue that a stroke left alive: over it, and in strands through it.

    `depth`: mm below the skull. `large`: 0 to 1, by volume.
    """
    if ml < 2:  # small ones are seldom seen whole at 2 mm
        cavity *= rng.uniform(0.2, 1)
    if large and rng.random() < 0.45:  # cortex that lived on, or only its outline
        ribbon = np.exp(-0.5 * ((depth - rng.uniform(2, 6)) / rng.uniform(1.5, 3)) ** 2)
        ribbon *= logistic(3 * (field(18) + rng.uniform(-1, 0.8)))
        cavity *= 1 - rng.uniform(0.4, 1) * ribbon
        scar *= 1 - rng.uniform(0, 0.6) * ribbon
    else:  # open towards the skull
        opened = inside & (depth < 4) & (rng.random() < 0.7)
        cavity = np.where(opened, np.maximum(cavity, 0.6 * scar), cavity)
    if large and rng.random() < 0.4:  # islands and strands
        strands = logistic(4 * (field(6) - rng.uniform(0.8, 1.8)))
        cavity *= 1 - 0.9 * strands
        scar *= 1 - rng.uniform(0, 0.8) * strands
    return scar, cavity


def paint_distractors(
    rng: np.random.Generator,
    picture: np.ndarray,
    person: Person,
    age: float,
    gray: float,
    fluid: float,
) -> np.ndarray:
    """What is dark and no stroke, all growing with `age` 0–1, and some rarities.

    Pale white matter around the ventricles and in patches, wide perivascular spaces, cysts and
    wide cisterns outside the brain, bright or dark vessels.
    """
    picture = picture.copy()
    pale = fluid + (gray - fluid) * rng.uniform(0.6, 1.15)
    if rng.random() < 0.25 + 0.6 * age:
        near = np.clip(person.ventricles * rng.uniform(1, 6), 0, 1)
        caps = near * logistic(4 * (smooth_field(rng, 12) - rng.uniform(-0.6, 1.2)))
        caps = caps * person.white * rng.uniform(0.3, 1)
        picture += caps * np.minimum(pale - picture, 0)
    if rng.random() < 0.2 + 0.6 * age:
        spots = logistic(6 * (smooth_field(rng, rng.uniform(6, 11)) - rng.uniform(1.7, 2.6)))
        spots = spots * np.clip(2 * person.white - 1, 0, 1) * rng.uniform(0.3, 0.9)
        picture += spots * np.minimum(pale - picture, 0)
    if rng.random() < 0.3 + 0.4 * age:
        spaces = logistic(8 * (smooth_field(rng, 3.5) - rng.uniform(2.2, 3)))
        spaces = spaces * person.white * rng.uniform(0.2, 0.7)
        picture += spaces * (fluid - picture)
    if rng.random() < 0.5:
        vessels = logistic(8 * (smooth_field(rng, 4) - rng.uniform(2.0, 2.8)))
        vessels = vessels * person.fluid * rng.uniform(0.3, 1)
        picture += vessels * (rng.choice((0.05, 1.3)) - picture)
    if rng.random() < 0.12:
        picture = _with_cyst(rng, picture, person, fluid)
    return picture


def _with_cyst(rng, picture, person, fluid):
    """A smooth sack of fluid at the hull's surface: an arachnoid cyst or a wide cistern."""
    places = (
        (42, 18, -28),
        (-42, 18, -28),
        (0, -82, -38),
        (30, -70, -48),
        (-35, 30, 45),
        (0, -60, 68),
    )
    centre = np.array(places[rng.integers(len(places))]) + rng.normal(0, 6, 3)
    halves = rng.uniform(6, 20) * np.exp(rng.normal(0, 0.25, 3))
    off = person.places - centre.reshape(3, 1, 1, 1).astype(np.float32)
    inside = 1 - np.sqrt(sum((part / half) ** 2 for part, half in zip(off, halves)))
    share = logistic(inside * halves.mean() / 0.8) * (person.depth > 0)
    return picture + share * (fluid * (1 + 0.03 * smooth_field(rng, 8)) - picture)
