"""Heads for the phantom: the MNI152 template made into one person after another.

Tissue maps are warped (never symmetrically), their sulci and ventricles opened or closed, wrapped
into skull and scalp, and painted as a scanner would show them: contrast, bias field, blur, noise.
Arrays are (X, Y, Z) float32 on the ATLAS grid, intensities in units of white matter = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from kenseg_utils.anatomy import along_axes, box_around

from ._fields import spline_weights

SHAPE = (197, 233, 189)  # the grid of every ATLAS R2.0 volume, 1 mm
AFFINE = np.array([[1.0, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])
COARSE = 2  # mm between the points on which displacements, skull and skin are kept
Box = tuple[slice, ...]  # where along x, y and z a part of the grid lies
FULL_BOX: Box = tuple(slice(0, length) for length in SHAPE)


@dataclass(frozen=True)
class Template:
    """What every head is made from; read only, built once a process (`template()`)."""

    white: np.ndarray  # share of white matter, 0–255, SHAPE
    gray: np.ndarray
    brain: np.ndarray  # 255 inside the brain with its sulci and ventricles, SHAPE
    box: Box  # where the brain and a margin for warping lie
    hull_distance: np.ndarray  # mm outside the brain's hull, 0 inside; coarse grid
    skin_depth: np.ndarray  # mm beneath the skin, 0 in the air; coarse grid
    ventricle_pull: np.ndarray  # (3, …) gradient of the smoothed ventricles; coarse grid


@cache
def template() -> Template:
    """Read nilearn's MNI152 2009a maps and derive the shapes that no subject changes."""
    from nilearn import datasets  # heavy: not for whoever finds a phantom written before

    white = datasets.load_mni152_wm_template(resolution=1).get_fdata(dtype=np.float32)
    gray = datasets.load_mni152_gm_template(resolution=1).get_fdata(dtype=np.float32)
    brain = datasets.load_mni152_template(resolution=1).get_fdata(dtype=np.float32) > 0
    box = box_around(brain, 12)
    hull, skin = _hull_and_skin(brain[::COARSE, ::COARSE, ::COARSE])
    as_bytes = [np.rint(255 * share).astype(np.uint8) for share in (white, gray, brain)]
    return Template(
        as_bytes[0],
        as_bytes[1],
        as_bytes[2],
        box,
        _distance_within(~hull),
        _distance_within(skin),
        _ventricle_pull(white + gray, brain),
    )


def _distance_within(inside: np.ndarray) -> np.ndarray:
    """Distance in mm of each point of a coarse mask to its border, 0 outside of it."""
    distance = COARSE * ndimage.distance_transform_edt(inside).astype(np.float32)
    return ndimage.gaussian_filter(distance, 1)


def _hull_and_skin(brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The brain with its fissures closed, and a head with neck around it (coarse grid)."""
    margin = 8
    padded = np.pad(brain, margin)
    padded[:, :, :margin] = padded[:, :, margin : margin + 1]  # the brain stem goes on below
    near = ndimage.distance_transform_edt(~padded) < 5
    hull = (ndimage.distance_transform_edt(near) > 5)[(slice(margin, -margin),) * 3]
    # Below its widest level a head does not follow the brain inwards: it goes on as a neck.
    shadow = hull.copy()
    for z in range(hull.shape[2] - 2, -1, -1):
        above = shadow[:, :, z + 1]
        shadow[:, :, z] |= ndimage.binary_erosion(above) if z % 4 == 0 else above
    return hull, ndimage.distance_transform_edt(~shadow) < 13 / COARSE


def _ventricle_pull(tissue: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Where a point looks when the ventricles widen: towards them, strongest at their wall."""
    centre = (slice(66, 131), slice(72, 152), slice(72, 109))
    ventricles = np.zeros(SHAPE, np.float32)
    ventricles[centre] = brain[centre] & (tissue[centre] < 0.5)
    ventricles[95:102, :, 90:] = 0  # the fissure above the corpus callosum
    smooth = ndimage.gaussian_filter(ventricles[::COARSE, ::COARSE, ::COARSE], 4 / COARSE)
    pull = np.stack(np.gradient(smooth)).astype(np.float32)
    return pull / np.abs(pull).max()


def smooth_field(
    rng: np.random.Generator, spacing: float, box: Box = FULL_BOX, step: int = 1, count: int = 1
) -> np.ndarray:
    """`count` random fields, smooth over about `spacing` mm, of mean 0 and SD 1.

    `box` and `step` choose the points (every `step`-th voxel inside `box`); the field is that of
    the whole grid, so one draw seen through two windows agrees. Cubic B-splines on a grid of
    normal numbers: three products of small matrices, milliseconds where a filter takes seconds.
    Returns (count, …) float32, or (…) for one.
    """
    nodes = [int(np.ceil(length / spacing)) + 4 for length in SHAPE]
    values = rng.standard_normal((count, *nodes), dtype=np.float32)
    weights = [
        spline_weights(spacing, n, length)[window][::step]
        for n, length, window in zip(nodes, SHAPE, box)
    ]
    field = along_axes(values, weights)
    return field if count > 1 else field[0]


def _upsample(coarse: np.ndarray, box=FULL_BOX) -> np.ndarray:
    """(count, …) linearly interpolated from the coarse grid to the voxels of `box`."""
    return along_axes(
        coarse,
        [
            _linear_weights(nodes, length)[window]
            for nodes, length, window in zip(coarse.shape[1:], SHAPE, box)
        ],
    )


@cache
def _linear_weights(nodes: int, length: int) -> np.ndarray:
    t = np.abs(np.arange(length)[:, None] / COARSE - np.arange(nodes)[None, :])
    return np.clip(1 - t, 0, None).astype(np.float32)


@dataclass(frozen=True)
class Warp:
    """How one head departs from the template: (3, …) displacements in mm on the coarse grid."""

    shift: np.ndarray  # of the whole head
    folds: np.ndarray  # of the brain within it: folds and ventricles


@dataclass(frozen=True)
class Tissue:
    """One subject's anatomy: shares of white matter, gray matter and fluid in every voxel."""

    white: np.ndarray
    gray: np.ndarray
    fluid: np.ndarray  # inside the brain's hull


def draw_warp(rng: np.random.Generator, age: float, wider_side: float = 0) -> Warp:
    """A smooth warp, never symmetric; `age` 0–1 widens the ventricles.

    `wider_side` (-1 left to 1 right) widens one ventricle more, as lost tissue beside it does.
    """
    axes = [
        np.arange(0, n, COARSE, dtype=np.float32) - centre
        for n, centre in zip(SHAPE, (98, 117, 80))
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    linear = rng.normal(0, 0.015, (3, 3)).astype(np.float32)
    shift = np.stack([a * x + b * y + c * z for a, b, c in linear])
    shift += 2.5 * smooth_field(rng, 60, step=COARSE, count=3)
    folds = 1.8 * smooth_field(rng, 25, step=COARSE, count=3)
    folds += 1.3 * smooth_field(rng, 11, step=COARSE, count=3)
    widening = rng.uniform(-1, 2) + 7 * age * rng.uniform(0.4, 1)
    uneven = (1 + 0.3 * smooth_field(rng, 60, step=COARSE)) * (1 + wider_side * np.tanh(x / 5))
    folds += widening * np.clip(uneven, 0.2, 2.2) * template().ventricle_pull
    return Warp(shift, folds)


def warp_shell(warp: Warp) -> tuple[np.ndarray, np.ndarray]:
    """Distance outside the brain's hull and depth beneath the skin, in mm, on the coarse grid.

    Both follow the slow part of the warp only: folds wander beneath the skull.
    """
    points = (_coarse_grid() + warp.shift) / COARSE
    return tuple(
        ndimage.map_coordinates(shape, points, order=1, mode="nearest", output=np.float32)
        for shape in (template().hull_distance, template().skin_depth)
    )


def grow_tissue(rng: np.random.Generator, warp: Warp, age: float, box: Box | None = None) -> Tissue:
    """Warp the template into one subject; `age` 0–1 widens the sulci.

    With `box` only that part is computed (the rest is 0), and is the same as in the whole.
    """
    base = template()
    box = base.box if box is None else _overlap(box, base.box)
    points = _upsample(_coarse_grid() + warp.shift + warp.folds, box)
    brain = ndimage.map_coordinates(base.brain, points, order=1, output=np.float32) / 255
    near = np.flatnonzero(brain)
    points = points.reshape(3, -1)[:, near]
    white, gray = (
        ndimage.map_coordinates(shape, points, order=1, output=np.float32) / 255
        for shape in (base.white, base.gray)
    )
    shares = _individual_folds(rng, age, white, gray, brain.ravel()[near], near, box)
    return Tissue(*(_into_grid(share, near, box) for share in shares))


@cache
def _coarse_grid() -> np.ndarray:
    return np.stack(
        np.meshgrid(*(np.arange(0, n, COARSE, dtype=np.float32) for n in SHAPE), indexing="ij")
    )


def _overlap(one, other):
    """The box that two boxes share (empty where they share nothing)."""
    return tuple(
        slice(max(a.start, b.start), max(min(a.stop, b.stop), a.start, b.start))
        for a, b in zip(one, other)
    )


def _into_grid(values: np.ndarray, flat: np.ndarray, box) -> np.ndarray:
    """Values at flat positions inside `box` as a whole volume, 0 elsewhere."""
    whole = np.zeros(SHAPE, np.float32)
    part = np.zeros([s.stop - s.start for s in box], np.float32)
    np.put(part, flat, values)
    whole[box] = part
    return whole


def _individual_folds(rng, age, white, gray, brain, near, box):
    """Turn a 152-subject average into one cortex: crisp shares, sulci opened here, closed there."""

    def field(spacing):
        return smooth_field(rng, spacing, box).ravel()[near]

    fluid = np.clip(brain - white - gray, 0, 1)
    ribbon = 0.45 * field(5) + 0.3 * field(14)
    sulci = 0.5 * field(7) + 0.3 * field(40)
    white = white * white * white * np.exp(ribbon)
    gray = gray * gray * gray
    fluid = 3.4 * fluid * fluid * fluid * np.exp(1.6 * sulci + 2.2 * (age - 0.3))
    scale = brain / (white + gray + fluid + 1e-4)
    return white * scale, gray * scale, fluid * scale


@dataclass(frozen=True)
class Scanner:
    """How one site's T1w looks, in units of white matter = 1 (lengths in mm)."""

    gray: float
    fluid: float
    fat: float
    bias: float
    noise: float
    blur: float
    air_noise: bool  # False: what lies outside the head was set to zero
    white_level: float  # stored value of white matter
    dtype: str


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A site's character; subjects of the site vary a little around it."""
    wide = rng.random() < 0.25
    return Scanner(
        gray=rng.uniform(0.64, 0.76),
        fluid=rng.uniform(0.20, 0.34),
        fat=rng.uniform(1.0, 1.6),
        bias=rng.uniform(0.06, 0.16),
        noise=rng.uniform(0.02, 0.06),
        blur=rng.uniform(0.4, 0.7),
        air_noise=bool(rng.random() < 0.5),
        white_level=rng.uniform(400, 1500) if wide else rng.uniform(90, 140),
        dtype="int16" if wide else "uint8",
    )


def clean_brain(rng: np.random.Generator, tissue: Tissue, scanner: Scanner) -> np.ndarray:
    """The brain's noiseless signal: tissue contrast with slow and fine texture; 0 outside."""
    box = template().box
    gray = scanner.gray * rng.normal(1, 0.02)
    texture = 0.015 * smooth_field(rng, 3, box) + 0.02 * smooth_field(rng, 12, box) + 1
    signal = np.zeros(SHAPE, np.float32)
    signal[box] = (
        tissue.white[box] + gray * tissue.gray[box]
    ) * texture + scanner.fluid * tissue.fluid[box]
    return signal


def wrap_head(
    rng: np.random.Generator, brain: np.ndarray, tissue: Tissue, warp: Warp, scanner: Scanner
) -> np.ndarray:
    """Put fluid, skull, scalp and neck around `brain`, the face removed as in ATLAS."""
    hull_distance, depth_everywhere = _upsample(np.stack(warp_shell(warp)))
    cover = tissue.white + tissue.gray + tissue.fluid
    around = np.flatnonzero((depth_everywhere > 0.3) & (cover < 0.99))
    outside = hull_distance.ravel()[around]
    depth = depth_everywhere.ravel()[around]
    mottled, muscles = (smooth_field(rng, spacing).ravel()[around] for spacing in (6, 16))
    uneven = (f.ravel()[around] for f in smooth_field(rng, 35, count=3))
    bone_start = 2.0 + 0.6 * next(uneven)
    bone_end = bone_start + 5.5 + 1.2 * next(uneven)
    marrow = np.clip(1.3 - np.abs(outside - (bone_start + bone_end) / 2) / 1.8, 0, 1)
    bone = 0.08 + np.clip(0.45 + 0.25 * mottled, 0, 1) * marrow
    fat = scanner.fat * (0.85 + 0.10 * mottled)
    soft = np.where(
        muscles + 0.5 * mottled > 0.3,
        0.55 + 0.08 * mottled,
        np.where(muscles < -1.0, 0.08, 0.8 * fat),
    )
    scalp = np.where((outside > bone_end + 4) & (depth > 7), soft, fat)
    layers = np.where(
        outside < bone_start, scanner.fluid, np.where(outside < bone_end, bone, scalp)
    )
    layers *= np.clip(depth / 1.5, 0, 1) * np.where(depth < 2.5 + 0.4 * next(uneven), 0.55, 1)
    head = brain.copy()
    head.ravel()[around] += layers * (1 - cover.ravel()[around])
    _remove_face(rng, head)
    return head


def _remove_face(rng: np.random.Generator, head: np.ndarray) -> None:
    """Zero what lies in front of and below a plane from the brow to the throat, in place."""
    brow, slope = rng.uniform(62, 72), rng.uniform(0.9, 1.3)
    y = np.arange(SHAPE[1])[:, None] - 134
    z = np.arange(SHAPE[2])[None, :] - 72
    head[:, (y > brow + slope * (z + 18)) & (z < 5)] = 0


def scan(rng: np.random.Generator, head: np.ndarray, scanner: Scanner) -> np.ndarray:
    """What the scanner stores: blur, bias field and Rician noise, as uint8 or int16."""
    noise = np.float32(scanner.noise * rng.uniform(0.8, 1.25))
    air = head == 0
    blur = scanner.blur * rng.uniform(0.85, 1.15)
    signal = ndimage.gaussian_filter(head, blur, truncate=2.5)
    signal *= np.exp(scanner.bias * (smooth_field(rng, 110) + 0.4 * smooth_field(rng, 55)))
    real, imaginary = noise * rng.standard_normal((2, *SHAPE), dtype=np.float32)
    real += signal
    stored = np.sqrt(real * real + imaginary * imaginary)
    if not scanner.air_noise:
        stored[air] = 0
    stored *= scanner.white_level
    return np.clip(np.rint(stored), 0, np.iinfo(scanner.dtype).max).astype(scanner.dtype)
