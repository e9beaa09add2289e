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

SHAPE = (197, 233, 189)  # the grid of every ATLAS R2.0 volume, 1 mm
AFFINE = np.array([[1.0, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])
COARSE = 2  # mm between the points on which the shape of skull and skin is kept
FULL_BOX = tuple(slice(0, length) for length in SHAPE)


@dataclass(frozen=True)
class Template:
    """What every head is made from; read only, built once a process (`template()`)."""

    white: np.ndarray  # probability of white matter, SHAPE
    gray: np.ndarray
    brain: np.ndarray  # 1 inside the brain with its sulci and ventricles, SHAPE
    box: tuple[slice, slice, slice]  # where the brain and a margin for warping lie
    hull_distance: np.ndarray  # mm outside the brain's hull, negative inside; coarse grid
    skin_depth: np.ndarray  # mm beneath the skin, negative in the air; coarse grid
    ventricle_pull: np.ndarray  # (3, …) gradient of the smoothed ventricles; coarse grid


@cache
def template() -> Template:
    """Read nilearn's MNI152 2009a maps and derive the shapes that no subject changes."""
    from nilearn import datasets

    white = datasets.load_mni152_wm_template(resolution=1).get_fdata(dtype=np.float32)
    gray = datasets.load_mni152_gm_template(resolution=1).get_fdata(dtype=np.float32)
    brain = datasets.load_mni152_template(resolution=1).get_fdata(dtype=np.float32) > 0
    found = ndimage.find_objects(brain.astype(np.uint8))[0]
    box = tuple(slice(max(s.start - 12, 0), min(s.stop + 12, length))
                for s, length in zip(found, SHAPE))
    hull, skin = _hull_and_skin(brain[::COARSE, ::COARSE, ::COARSE])
    return Template(white, gray, brain.astype(np.float32), box,
                    _signed_distance(hull), -_signed_distance(skin),
                    _ventricle_pull(white + gray, brain))


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Distance in mm to the surface of a coarse mask, negative inside."""
    distance = (ndimage.distance_transform_edt(~inside)
                - ndimage.distance_transform_edt(inside)) * COARSE
    return ndimage.gaussian_filter(distance.astype(np.float32), 1.5)


def _hull_and_skin(brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The brain with its fissures closed, and a head with neck around it (coarse grid)."""
    margin = 8
    padded = np.pad(brain, margin, mode="constant")
    padded[:, :, :margin] = padded[:, :, margin:margin + 1]  # the brain stem goes on below
    outside = ndimage.distance_transform_edt(~padded)
    closed = ndimage.distance_transform_edt(outside < 5) > 5
    hull = closed[margin:-margin, margin:-margin, margin:-margin]
    # Below its widest level a head does not follow the brain inwards: it goes on down as a neck.
    level = np.arange(hull.shape[2])
    shadow = hull.copy()
    for z in level[::-1][1:]:
        narrower = ndimage.binary_erosion(shadow[:, :, z + 1]) if z % 4 == 0 else shadow[:, :, z + 1]
        shadow[:, :, z] |= narrower
    skin = ndimage.distance_transform_edt(~shadow) < 13 / COARSE
    return hull, skin


def _ventricle_pull(tissue: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Where a point looks when the ventricles widen: towards them, strongest at their wall."""
    centre = (slice(66, 131), slice(72, 152), slice(72, 109))
    ventricles = np.zeros(SHAPE, np.float32)
    ventricles[centre] = brain[centre] & (tissue[centre] < 0.5)
    ventricles[95:102, :, 90:] = 0  # the fissure above the corpus callosum
    smooth = ndimage.gaussian_filter(ventricles, 4)[::COARSE, ::COARSE, ::COARSE]
    pull = np.stack(np.gradient(smooth)).astype(np.float32)
    return pull / np.abs(pull).max()


def smooth_field(rng: np.random.Generator, spacing: float, box=FULL_BOX, step: int = 1,
                 count: int = 1) -> np.ndarray:
    """`count` random fields, smooth over about `spacing` mm, mean 0 and SD 1, on part of the grid.

    `box` and `step` choose the points (every `step`-th inside `box`), the field itself is always
    the one of the whole grid: the same draw seen through another window is the same field.
    Returns (count, …) float32, or (…) for one.
    """
    nodes = [int(np.ceil(length / spacing)) + 4 for length in SHAPE]
    field = rng.standard_normal((count, *nodes), dtype=np.float32)
    for axis in range(3):
        weights = _spline_weights(spacing, nodes[axis], SHAPE[axis])[box[axis]][::step]
        field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis + 1)), 0, axis + 1)
    # Smallest arrays first along each axis; contiguous for what follows.
    field = np.ascontiguousarray(field)
    return field if count > 1 else field[0]


@cache
def _spline_weights(spacing: float, nodes: int, length: int) -> np.ndarray:
    """(length, nodes) cubic B-spline weights, each row scaled to give unit variance."""
    position = np.arange(length)[:, None] / spacing + 1.5
    t = np.abs(position - np.arange(nodes)[None, :])
    weights = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Tissue:
    """One subject's anatomy: shares of white matter, gray matter and fluid in every voxel."""

    white: np.ndarray
    gray: np.ndarray
    fluid: np.ndarray  # inside the brain's hull
    hull_distance: np.ndarray  # mm, coarse grid
    skin_depth: np.ndarray  # mm, coarse grid

    @property
    def brain(self) -> np.ndarray:
        """Where the share of white and gray matter is at least one half."""
        return self.white + self.gray > 0.5


def grow_tissue(rng: np.random.Generator, age: float) -> Tissue:
    """Warp the template into one subject; `age` 0–1 widens ventricles and sulci."""
    base = template()
    moves = _displacement(rng, age)
    coarse_points = np.stack(np.meshgrid(*(np.arange(0, n, COARSE, dtype=np.float32)
                                           for n in SHAPE), indexing="ij")) + moves
    shell_points = coarse_points / COARSE
    hull_distance, skin_depth = (
        ndimage.map_coordinates(shape, shell_points, order=1, mode="nearest", output=np.float32)
        for shape in (base.hull_distance, base.skin_depth))
    points = np.stack([_upsample(c, base.box) for c in coarse_points])
    white, gray, brain = (
        ndimage.map_coordinates(shape, points, order=1, mode="constant", output=np.float32)
        for shape in (base.white, base.gray, base.brain))
    white, gray, fluid = _individual_folds(rng, age, white, gray, brain)
    return Tissue(*(_into_grid(t, base.box) for t in (white, gray, fluid)),
                  hull_distance, skin_depth)


def _displacement(rng: np.random.Generator, age: float) -> np.ndarray:
    """(3, …) mm on the coarse grid: size and tilt, folds moved left and right unlike, ventricles."""
    axes = [np.arange(0, n, COARSE, dtype=np.float32) - centre
            for n, centre in zip(SHAPE, (98, 117, 80))]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    linear = rng.normal(0, 0.018, (3, 3)).astype(np.float32)
    moves = np.stack([a * x + b * y + c * z for a, b, c in linear])
    for spacing, amplitude in ((60, 3.0), (25, 2.0), (11, 1.3)):
        moves += amplitude * smooth_field(rng, spacing, step=COARSE, count=3)
    widening = rng.uniform(-1, 2) + 7 * age * rng.uniform(0.4, 1)
    one_sided = 1 + 0.35 * smooth_field(rng, 60, step=COARSE)
    return moves + widening * np.clip(one_sided, 0.2, 2) * template().ventricle_pull


def _upsample(coarse: np.ndarray, box) -> np.ndarray:
    """Linear interpolation from the coarse grid to the voxels of `box`."""
    fine = coarse
    for axis in range(3):
        weights = _linear_weights(coarse.shape[axis], SHAPE[axis])[box[axis]]
        fine = np.moveaxis(np.tensordot(weights, fine, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(fine)


@cache
def _linear_weights(nodes: int, length: int) -> np.ndarray:
    t = np.abs(np.arange(length)[:, None] / COARSE - np.arange(nodes)[None, :])
    return np.clip(1 - t, 0, None).astype(np.float32)


def _into_grid(part: np.ndarray, box) -> np.ndarray:
    whole = np.zeros(SHAPE, np.float32)
    whole[box] = part
    return whole


def _individual_folds(rng, age, white, gray, brain):
    """Turn a 152-subject average into one cortex: crisp shares, sulci opened here, closed there."""
    box = template().box
    fluid = np.clip(brain - white - gray, 0, 1)
    ribbon = smooth_field(rng, 5, box) * 0.45 + smooth_field(rng, 14, box) * 0.3
    sulci = smooth_field(rng, 7, box) * 0.5 + smooth_field(rng, 40, box) * 0.3
    white = white**3 * np.exp(ribbon)
    gray = gray**3
    fluid = (1.5 * fluid) ** 3 * np.exp(1.6 * sulci + 2.2 * (age - 0.3))
    total = white + gray + fluid + 1e-4
    return white / total * brain, gray / total * brain, np.clip(fluid / total, 0, 1) * brain


@dataclass(frozen=True)
class Scanner:
    """How one site's T1w looks, in units of white matter = 1 (lengths in mm)."""

    gray: float
    fluid: float
    fat: float
    bias: float
    noise: float
    blur: float
    white_level: float  # stored value of white matter
    dtype: str


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A site's character; subjects of the site vary a little around it."""
    wide = rng.random() < 0.25
    return Scanner(gray=rng.uniform(0.64, 0.77), fluid=rng.uniform(0.22, 0.36),
                   fat=rng.uniform(1.0, 1.6), bias=rng.uniform(0.06, 0.16),
                   noise=rng.uniform(0.02, 0.06), blur=rng.uniform(0.4, 0.75),
                   white_level=rng.uniform(400, 1500) if wide else rng.uniform(90, 140),
                   dtype="int16" if wide else "uint8")


def clean_brain(rng: np.random.Generator, tissue: Tissue, scanner: Scanner) -> np.ndarray:
    """The brain's noiseless signal: tissue contrast with slow and fine texture; 0 outside."""
    box = template().box
    part = np.s_[box]
    gray = scanner.gray * rng.normal(1, 0.02)
    texture = 0.015 * smooth_field(rng, 3, box) + 0.02 * smooth_field(rng, 12, box)
    signal = ((tissue.white[part] + gray * tissue.gray[part]) * (1 + texture)
              + scanner.fluid * tissue.fluid[part])
    return _into_grid(signal, box)


def wrap_head(rng: np.random.Generator, brain: np.ndarray, tissue: Tissue,
              scanner: Scanner) -> np.ndarray:
    """Put fluid, skull, scalp and neck around `brain` (X, Y, Z), the face removed as in ATLAS."""
    outside = _upsample(tissue.hull_distance, FULL_BOX)
    depth = _upsample(tissue.skin_depth, FULL_BOX)
    uneven = smooth_field(rng, 30, count=3)
    mottled = smooth_field(rng, 6)
    muscles = smooth_field(rng, 16)
    bone_start = 2.0 + 0.7 * uneven[0]
    bone_end = bone_start + 5.5 + 1.5 * uneven[1]
    scalp_fat = scanner.fat * (0.85 + 0.12 * mottled)
    soft = np.where(muscles + 0.5 * mottled > 0.3, 0.55 + 0.08 * mottled,
                    np.where(muscles < -1.0, 0.08, scalp_fat * 0.8))
    marrow = np.exp(-((outside - (bone_start + bone_end) / 2) / 1.4) ** 2)
    bone = 0.08 + np.clip(0.45 + 0.25 * mottled, 0, 1) * marrow
    deep = (outside > bone_end + 4) & (depth > 7)
    layers = np.where(outside < bone_start, scanner.fluid,
                      np.where(outside < bone_end, bone, np.where(deep, soft, scalp_fat)))
    skin = np.clip(depth / 1.5, 0, 1) * np.where(depth < 2.5, 0.55, 1)
    head = np.where(outside > 0, layers * skin, scanner.fluid)
    cover = np.clip(tissue.white + tissue.gray + tissue.fluid, 0, 1)
    head = head * (1 - cover) + brain
    head[depth <= 0] = 0
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
    blurred = ndimage.gaussian_filter(head, scanner.blur * rng.uniform(0.85, 1.15), truncate=2.5)
    bias = np.exp(scanner.bias * (smooth_field(rng, 110) + 0.4 * smooth_field(rng, 55)))
    blurred *= bias
    noise = rng.standard_normal((2, *SHAPE), dtype=np.float32)
    noise *= scanner.noise * rng.uniform(0.8, 1.25)
    noise[0] += blurred
    stored = np.hypot(noise[0], noise[1])
    stored[blurred == 0] = 0  # what defacing and brain alignment leave outside is exactly zero
    stored *= scanner.white_level
    limit = np.iinfo(scanner.dtype).max
    return np.clip(np.rint(stored), 0, limit).astype(scanner.dtype)
