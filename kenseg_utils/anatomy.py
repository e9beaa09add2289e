"""Heads and lesions as geometry: grids in mm, volumes in ml, where head and brain are, and sides.

What several rooms need stands here once, each rule under a name that says what it is for.
Volumes are (X, Y, Z) in RAS order unless a docstring says otherwise; affines (4, 4) lead to mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage, optimize
from skimage import filters, morphology

# How far the corners of two grids may lie apart, in mm, and the grids still count as the same.
GRID_TOLERANCE_MM = 0.1
LEAST_HEAD_ML = 200  # what is smaller is no head, nor the brain of one

# --- Grids ---------------------------------------------------------------------------------------


def voxel_ml(affine: np.ndarray) -> float:
    """How many millilitres a voxel holds."""
    return float(abs(np.linalg.det(np.asarray(affine, float)[:3, :3])) / 1000)


def spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """The size of a voxel along each axis of the array, in mm."""
    x, y, z = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    return float(x), float(y), float(z)


def grid_distance(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The farthest that two affines place a corner voxel of a grid of `shape` apart, in mm."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    apart = nib.affines.apply_affine(np.subtract(one, other), corners)
    return float(np.linalg.norm(apart, axis=1).max())


def box_around(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """The smallest box with all of a boolean mask of any rank, and `margin` voxels more each way.

    It ends where the array does; of a mask that is empty, the first voxel.
    """
    axes = range(mask.ndim)
    box = []
    for axis in axes:
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis)))
        first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, 0)
        room = margin if filled.size else 0
        box.append(slice(max(first - room, 0), min(last + room + 1, mask.shape[axis])))
    return tuple(box)


def along_axes(values: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """A (points, nodes) matrix applied along each of the last three axes of `values`."""
    along_z = values @ weights[2].T
    along_y = weights[1] @ along_z
    *count, nodes, ny, nz = along_y.shape
    return (weights[0] @ along_y.reshape(*count, nodes, ny * nz)).reshape(*count, -1, ny, nz)


def resized(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Linear resampling of the same extent (X, Y, Z) to another number of voxels: float32.

    What `ndimage.zoom` gives with order 1, grid_mode and the nearest edge, to rounding: an axis at
    a time, in half of its time and less.
    """
    volume = np.asarray(volume, np.float32)
    for axis, (length, wanted) in enumerate(zip(volume.shape, shape, strict=True)):
        if length != wanted:
            places = np.clip((np.arange(wanted) + 0.5) * length / wanted - 0.5, 0, length - 1)
            below = places.astype(int)
            share = np.expand_dims(
                (places - below).astype(np.float32), [other for other in range(3) if other != axis]
            )
            resampled = volume.take(np.minimum(below + 1, length - 1), axis)
            volume = volume.take(below, axis)
            resampled -= volume
            resampled *= share
            resampled += volume
            volume = resampled
    return volume


def blurred(volume: np.ndarray, widths: Sequence[float] | np.ndarray) -> np.ndarray:
    """A volume (X, Y, Z) as `ndimage.gaussian_filter` blurs it, to rounding: float32.

    `widths`: an SD an axis, in voxels, above 0. As three products of matrices, whose time does not
    grow with the widths: for wide ones.
    """
    weights = [
        ndimage.gaussian_filter1d(np.eye(length), width, axis=0).astype(np.float32)
        for length, width in zip(volume.shape, widths)
    ]
    return along_axes(np.asarray(volume, np.float32), weights)


def block_means(volume: np.ndarray, step: tuple[int, int, int]) -> np.ndarray:
    """Means of blocks of `step` voxels, float32; an axis' last block is filled up with its edge."""
    means = np.pad(volume, [(0, -n % s) for n, s in zip(volume.shape, step)], mode="edge")
    for axis, size in enumerate(step):
        shifted = [means[(slice(None),) * axis + (slice(k, None, size),)] for k in range(size)]
        means = sum(
            (part.astype(np.float32) for part in shifted[1:]), shifted[0].astype(np.float32)
        )
        means /= size
    return means


# --- Head and brain ------------------------------------------------------------------------------


def with_dark_air(volume: np.ndarray) -> np.ndarray:
    """The volume with a background that is not its darkest part made darker than all else.

    Scans normalised inside the head (z-scores, say) and 0 around it have air that is brighter
    than fluid; everything here takes air to be dark. Background is one exact value that a good
    part of the border shows (bone may have it, too). Any other volume comes back as it is.
    """
    border, few = _border(volume), every_third(volume)
    darkest = border.min()
    if (border == darkest).mean() > 0.5 and not few.min() < darkest:  # as most scans are stored
        return volume
    values, counts = np.unique(border, return_counts=True)
    air = float(values[counts.argmax()])
    if counts.max() < 0.3 * counts.sum():
        return volume
    darker = few < air - 0.1 * abs(float(np.percentile(few, 99)) - air)
    if darker.mean() < 0.01:  # undershoots of an interpolation are no tissue
        return volume
    fluid, white = np.percentile(few[few != air], (1, 90))
    # In a T1w, fluid has some quarter of white matter's grey value.
    dark = min(float(volume.min()), float(fluid - (white - fluid) / 3))
    return np.where(volume == air, np.float32(dark), volume.astype(np.float32))


def without_spikes(volume: np.ndarray) -> np.ndarray:
    """The volume without single values far beyond all others, which would pass for air or head.

    Values are kept within the range of all but a thousandth at each end, and twice as much
    beyond. A volume that has none outside, or is of one value nearly everywhere, comes back as
    it is; but values so large that their squares or sums leave float32 are brought to 1 (grey
    values have no unit).
    """
    extremes = np.percentile(every_third(volume), (0.1, 99.9), method="nearest")
    low, high = map(float, extremes)
    reach = 2 * (high - low)
    largest = max(abs(low), abs(high))
    if largest > 1e12:
        low, high, reach = low / largest, high / largest, reach / largest
        volume = (volume / largest).astype(np.float32)
    if not reach or (volume.min() >= low - reach and volume.max() <= high + reach):
        return volume
    return np.clip(volume, low - reach, high + reach)


def air_value(volume: np.ndarray) -> np.ndarray:
    """What lies beyond a volume of dark air: its darkest value but for a thousandth of them (0-D).

    One stray voxel that is darker, however far `without_spikes` let it go, does not decide it.
    """
    return np.asarray(np.percentile(every_third(volume), 0.1, method="nearest"), np.float32)


def head_mask(volume: np.ndarray) -> np.ndarray:
    """The bright voxels of the head and nothing else that is bright: bool (X, Y, Z).

    Bright is what lies above the volume's mean and, where the air is noisy, above the noise.
    Where the head is, is told on a coarse grid of some 48 blocks a side, on which noise averages
    out: the largest thing there, with what skull and scalp enclose. What lies further than two
    blocks from it is left out: noise, ghosts, what a short field of view wrapped around, markers.
    Where nothing stands out, all that is brighter than the mean.
    """
    volume = _settled(volume)
    mean = float(volume.mean())
    found = _find_head(volume)
    if found is None:
        return volume > mean
    near = _to_fine(ndimage.binary_dilation(found.head, iterations=3), found.step, volume.shape)
    darkest = volume.min()
    beyond = volume[~near][::7]
    noise = beyond[beyond != darkest]
    if noise.size > 0.2 * beyond.size:
        air, spread = _middle_and_spread(noise)
        mean = max(mean, min(air + 3 * spread, darkest + 0.7 * (found.bright - darkest)))
    return (volume > mean) & near


def head_box(volume: np.ndarray, height: int | None = None) -> tuple[slice, slice, slice]:
    """The box around the head: where a plane shows over 1 % of what the fullest plane shows.

    With `height`, the box's sides along x and y are those of so many planes below the head's top:
    shoulders do not count.
    """
    return box_of_head(head_mask(volume), height)


def box_of_head(head: np.ndarray, height: int | None = None) -> tuple[slice, slice, slice]:
    """`head_box` of a volume whose `head_mask` is known."""
    box = filled_box(head)
    if height is None or box[2].stop <= height:
        return box
    upper = filled_box(head[:, :, box[2].stop - height : box[2].stop])
    return (*upper[:2], box[2])


def head_depth(volume: np.ndarray, size_mm: Sequence[float] | np.ndarray) -> np.ndarray | None:
    """How far below the surface of the head each voxel lies, in mm (X, Y, Z), 0 outside.

    To some 4 mm, whatever the contrast; the lower end counts as no surface, as a field of view
    cuts a head there. `size_mm`: a voxel's sides. None where nothing stands out as a head does.
    """
    found = _find_head(_settled(volume))
    if found is None:
        return None
    head = ndimage.binary_dilation(found.head)
    solid = np.pad(planes_filled(head, 2), ((1, 1), (1, 1), (0, 1)))
    depth = ndimage.distance_transform_edt(solid, sampling=np.multiply(found.step, size_mm))
    return _to_fine(depth[1:-1, 1:-1, :-1].astype(np.float32), found.step, volume.shape)


def slices_to_train_on(image: np.ndarray) -> np.ndarray:
    """Which axial slices show enough head to learn from: bool (Z,).

    At least 2 % of their pixels are head (`head_mask`).
    """
    return head_mask(image).mean((0, 1)) >= 0.02


def slices_to_segment(image: np.ndarray) -> np.ndarray:
    """The axial slices z that show more than a trace of head, where a lesion could be found.

    Over 5 % as many pixels of head (`head_mask`) as in the fullest slice: however much air a
    field of view has around the head, the answer is the same.
    """
    filled = head_mask(image).sum((0, 1))
    return np.flatnonzero(filled > 0.05 * filled.max())


@dataclass(frozen=True)
class _Coarse:
    """A head on a coarse grid: blocks' means and which blocks are head (X, Y, Z); voxels a block
    along each axis; how bright the head is."""

    blocks: np.ndarray
    head: np.ndarray
    step: tuple[int, int, int]
    bright: float


def _find_head(volume: np.ndarray) -> _Coarse | None:
    """The head in a volume with dark air, or None where nothing of its kind stands out."""
    step = tuple(max(1, length // 48) for length in volume.shape)
    blocks = block_means(volume, step)
    above = blocks > blocks.mean()
    if not above.any():
        return None
    bright = float(np.median(blocks[above]))
    air, spread = _middle_and_spread(_border(blocks))
    darkest = float(blocks.min())
    # Half of the way that Otsu's threshold goes: a bias field may leave one side of a head dark.
    otsu = (
        filters.threshold_otsu(np.minimum(blocks, bright).ravel()) if darkest < bright else bright
    )
    level = max(float(blocks.mean()), air + 4 * spread, darkest + 0.6 * (otsu - darkest))
    solid = blocks > level
    core = ndimage.binary_erosion(_enclosed(solid), border_value=1)
    labels, count = ndimage.label(core)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    # Of several large pieces, the highest: shoulders can be larger than a head.
    large = 1 + np.flatnonzero(sizes >= sizes.max() / 2)
    heights = ndimage.mean(np.indices(labels.shape)[2], labels, large)
    head = labels == large[np.argmax(heights)]
    if (solid & ndimage.binary_dilation(head, iterations=2)).sum() < 0.3 * solid.sum():
        return None
    return _Coarse(blocks, head, step, bright)


def _enclosed(solid: np.ndarray) -> np.ndarray:
    """Blocks with what they enclose: gaps in a ring of scalp closed, then filled plane by plane."""
    edge = np.pad(solid, 2, mode="edge")
    closed = solid | ndimage.binary_closing(edge, np.ones((3, 3, 1)))[2:-2, 2:-2, 2:-2]
    return np.logical_or.reduce([planes_filled(closed, axis) for axis in range(3)])


def planes_filled(solid: np.ndarray, axis: int) -> np.ndarray:
    """A mask (X, Y, Z) with the holes filled that it encloses in each plane across `axis`.

    What `ndimage.binary_fill_holes` gives for each plane alone, by one labelling for all of them.
    """
    in_plane = ndimage.generate_binary_structure(3, 1)
    np.moveaxis(in_plane, axis, 0)[[0, 2]] = False
    labels, count = ndimage.label(~solid, in_plane)
    outside = np.zeros(count + 1, bool)
    for other in {0, 1, 2} - {axis}:
        outside[np.moveaxis(labels, other, 0)[[0, -1]]] = True
    outside[0] = False
    return ~outside[labels]


def filled_box(head: np.ndarray) -> tuple[slice, slice, slice]:
    """The box of planes that show over 1 % of what the fullest plane shows; all if none does."""
    box = []
    for axis in range(3):
        share = head.sum(tuple(other for other in range(3) if other != axis))
        filled = np.flatnonzero(share > 0.01 * share.max())
        box.append(
            slice(int(filled[0]), int(filled[-1]) + 1)
            if filled.size
            else slice(0, head.shape[axis])
        )
    return box[0], box[1], box[2]


def _settled(volume: np.ndarray) -> np.ndarray:
    """A volume whose darkest part is its air and whose values are all of one scale."""
    return with_dark_air(without_spikes(volume))


def every_third(volume: np.ndarray) -> np.ndarray:
    """A 27th of a volume's voxels, evenly; all along axes of less than 10."""
    return volume[tuple(slice(None, None, 3 if length > 9 else 1) for length in volume.shape)]


def faces(volume: np.ndarray) -> list[np.ndarray]:
    """A volume's six faces, two across each axis."""
    return [np.moveaxis(volume, axis, 0)[at] for axis in range(3) for at in (0, -1)]


def _border(volume: np.ndarray) -> np.ndarray:
    """The values on a volume's six faces, flat."""
    return np.concatenate([face.ravel() for face in faces(volume)])


def _middle_and_spread(values: np.ndarray) -> tuple[float, float]:
    """Median and robust SD of values."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _to_fine(blocks: np.ndarray, step: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """An array of blocks on the voxels that they were made of."""
    for axis, size in enumerate(step):
        blocks = blocks.repeat(size, axis)
    return blocks[tuple(slice(0, length) for length in shape)]


def brain_hull(volume: np.ndarray) -> np.ndarray:
    """Where a lesion may be: a generous hull of the brain, with skull or without, bool (X, Y, Z).

    `volume` is a RAS T1w at 1 mm. On a 3 mm grid, tissue is what is bright, and the brain the
    largest piece that an erosion leaves. It is joined with its mirror image, since a large lesion
    eats one side away; the hull is where no plane in 150 directions leaves both 6 mm behind.
    Not a brain extraction to measure with.
    Where no brain of at least 200 ml is found, everything is allowed.
    """
    step = 3
    everything = np.ones(volume.shape, bool)
    if min(volume.shape) < 8 * step:
        return everything
    volume = _settled(volume)
    whole = tuple(slice(0, n // step * step) for n in volume.shape)
    blocks = volume[whole].reshape(*(m for n in volume.shape for m in (n // step, step)))
    coarse = blocks.mean((1, 3, 5))
    bright = coarse > coarse.mean()
    if not bright.any():
        return everything
    tissue = coarse > coarse.min() + 0.6 * (np.median(coarse[bright]) - coarse.min())
    core = ndimage.binary_erosion(ndimage.binary_erosion(tissue), np.ones((3, 3, 3)))
    labels, count = ndimage.label(core)
    if not count:
        return everything
    brain = np.argwhere(labels == 1 + np.bincount(labels.ravel())[1:].argmax())
    if len(brain) * step**3 < 1000 * LEAST_HEAD_ML:
        return everything
    head = head_box(coarse)[0]
    mirrored = brain * (-1, 1, 1) + (head.start + head.stop - 1, 0, 0)
    inside = _between_planes(np.concatenate([brain, mirrored]), coarse.shape, margin=2 + 2)
    fine = inside.repeat(step, 0).repeat(step, 1).repeat(step, 2)
    return np.pad(fine, [(0, n - m) for n, m in zip(volume.shape, fine.shape)], mode="edge")


def _between_planes(points: np.ndarray, shape: tuple[int, ...], margin: float) -> np.ndarray:
    """Grid points that in each of 150 directions lie at most `margin` beyond all of `points`."""
    turns = np.arange(150) + 0.5
    height, angle = 1 - 2 * turns / 150, turns * np.pi * (3 - 5**0.5)  # an even spiral on a sphere
    radius = np.sqrt(1 - height**2)
    x, y, z = np.ogrid[tuple(slice(0, n) for n in shape)]
    inside = np.ones(shape, bool)
    for along in np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1):
        inside &= x * along[0] + y * along[1] + z * along[2] <= (points @ along).max() + margin
    return inside


def check_image(image: Any) -> np.ndarray:
    """`image` as an (H, W) float32 slice that has something in it, or a ValueError saying why not.

    Refused: another number of axes, fewer than 4 pixels a side, text or complex numbers, NaN or
    infinity, grey values that span more than 1e12, and a slice of one single value (to within
    1e-12), in which there is nothing to tell apart.
    """
    array = np.asarray(image)
    if array.dtype.kind not in "buif":
        raise ValueError(f"The slice holds {array.dtype}, and grey values must be real numbers.")
    if array.ndim != 2:
        raise ValueError(
            f"A prior-based method works on one slice (H, W), and got shape "
            f"{array.shape}: pass image[..., 0] or volume[:, :, z]."
        )
    if array.size == 0:
        raise ValueError(f"The slice is empty: its shape is {array.shape}.")
    wrong = np.count_nonzero(~np.isfinite(array))
    if wrong:
        raise ValueError(
            f"The slice has {wrong} values that are NaN or infinite "
            f"(of {array.size}): repair or leave out the scan."
        )
    lowest, highest = float(array.min()), float(array.max())
    if is_constant(array):
        raise ValueError(
            f"The slice is constant: every pixel is {lowest:g}, so there is "
            "nothing to segment. Leave it out, or use segment_slices, "
            "which gives such a slice an empty mask."
        )
    if max(abs(lowest), abs(highest)) > 1e12:
        raise ValueError(
            f"The slice's grey values go from {lowest:g} to {highest:g}: normalise the scan first."
        )
    if min(array.shape) < 4:
        raise ValueError(
            f"The slice is {array.shape[0]}×{array.shape[1]} pixels: at least 4×4 are needed."
        )
    return array.astype(np.float32)


def is_constant(array: np.ndarray) -> bool:
    """Whether all of an array (that is not empty) is one value, to within 1e-12."""
    numbers = array.dtype.kind in "buif" and array.size > 0
    return numbers and float(array.max()) - float(array.min()) < 1e-12


def measured_pixels(image: np.ndarray) -> np.ndarray:
    """False on the padding: pixels of exactly 0 that hang together with the slice's border.

    Padding is 0 after normalisation, which is the grey of ordinary tissue: it would not stand out.
    A black hole inside the head is kept, as it is cut off from the border.
    """
    labels, _ = ndimage.label(image == 0)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    padding = np.isin(labels, np.unique(border[border > 0]))
    return ~padding if not padding.all() else np.ones(image.shape, bool)


def brain_mask(image: np.ndarray, cut: int = 3) -> np.ndarray:
    """Roughly where the brain is in an (H, W) T1w slice with or without skull: a bool mask.

    A threshold splits tissue from air, bone and fluid; an erosion by `cut` pixels tears the brain
    off the scalp; the thick pieces (at least half as deep as the deepest) grow back; their convex
    hull takes in what is dark inside: ventricles, sulci, and lesions up to the cortex.
    It is no skull stripping to measure with: it only keeps the methods out of bone and air.
    """
    image = check_image(image)
    measured = measured_pixels(image)
    smooth = filters.gaussian(image, 1, preserve_range=True)
    dark, bright = np.percentile(smooth[measured], (0.5, 90))
    # Fluid is at about 0.3 of white matter and grey matter at 0.7.
    tissue = measured & (smooth > dark + 0.4 * (bright - dark))
    core = ndimage.binary_erosion(tissue, morphology.disk(cut), border_value=1)
    labels, count = ndimage.label(core)
    if count == 0:
        return measured
    depth = ndimage.distance_transform_edt(core)
    deepest = ndimage.maximum(depth, labels, np.arange(1, count + 1))
    thick = 1 + np.flatnonzero(deepest >= deepest.max() / 2)
    pieces = ndimage.binary_dilation(np.isin(labels, thick), morphology.disk(cut))
    return morphology.convex_hull_image(pieces) & measured


# --- Sides ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Midline:
    """The plane that parts a head in two: where `normal` (x, y, z) times a place in mm is `at`.

    The normal has length 1 and points to the patient's right.
    """

    normal: tuple[float, float, float]
    at: float

    def right_of(self, places: np.ndarray) -> np.ndarray:
        """How far places (n, 3) in mm lie to the patient's right of it, in mm: (n,)."""
        return np.asarray(places, float) @ np.array(self.normal) - self.at


MNI_MIDLINE = Midline((1.0, 0.0, 0.0), 0.0)


def midline(image: np.ndarray, affine: np.ndarray, space: str = "") -> Midline:
    """Where a head's left half meets its right: the one rule for all that is said about sides.

    In MNI space (a `space` that starts with "MNI") that is x = 0. Elsewhere it is the plane in
    which the head is most like its mirror image, found on blocks of some 4 mm of its upper 150 mm,
    tilted by up to 35 degrees; where none fits (a correlation below 0.6, or no head of 200 ml),
    the plane across x through the middle of what is bright.
    `image` (X, Y, Z) with its RAS `affine` to mm.
    """
    if space.startswith("MNI"):
        return MNI_MIDLINE
    affine = np.asarray(affine, float)
    volume = _settled(image)
    found = _find_head(volume)
    ml = 0 if found is None else found.head.sum() * np.prod(found.step) * voxel_ml(affine)
    if found is not None and ml >= LEAST_HEAD_ML:
        return _symmetry_plane(found, affine) or _middle_plane(head_mask(volume), affine)
    return _middle_plane(volume > volume.mean(), affine)


def lesion_side(
    mask: np.ndarray, affine: np.ndarray, midline: Midline | float | None = 0.0, share: float = 0.9
) -> str:
    """Where a lesion lies: "left" or "right" of the patient, "both", or "none" if it is empty.

    `mask` (X, Y, Z) with its RAS `affine`; `midline` parts the halves: a plane, or an x in mm (0
    in MNI space). A side is named if at least `share` of the voxels are in it. Where the scan does
    not say which side is which, give None: the answer is "unknown".
    """
    voxels = np.argwhere(mask)
    if not len(voxels):
        return "none"
    if midline is None:
        return "unknown"
    if not isinstance(midline, Midline):
        midline = Midline((1.0, 0.0, 0.0), float(midline))
    places = voxels @ np.asarray(affine, float)[:3, :3].T + np.asarray(affine, float)[:3, 3]
    on_right = float((midline.right_of(places) > 0).mean())
    return "right" if on_right >= share else "left" if on_right <= 1 - share else "both"


def _middle_plane(bright: np.ndarray, affine: np.ndarray) -> Midline:
    """The plane across x with as many bright voxels on either side of it."""
    along_x = bright.sum(axis=(1, 2)).cumsum()
    middle = np.searchsorted(along_x, along_x[-1] / 2)
    centre = [middle, *(np.array(bright.shape[1:]) / 2)]
    return Midline((1.0, 0.0, 0.0), float(affine[0, :3] @ centre + affine[0, 3]))


def _symmetry_plane(found: _Coarse, affine: np.ndarray) -> Midline | None:
    """The plane in which a head is most like its mirror image, or None where none is good."""
    to_mm = affine @ np.diag([*found.step, 1.0])
    to_mm[:3, 3] = affine[:3, :3] @ ((np.array(found.step) - 1) / 2) + affine[:3, 3]
    to_block = np.linalg.inv(to_mm)
    inside = ndimage.binary_dilation(found.head, iterations=2)
    lowest = found.blocks.min()
    # Scalp and vessels are cut, or they alone would decide; smoothing bridges what differs.
    ceiling = lowest + 1.2 * (found.bright - lowest)
    shown = np.where(inside, np.minimum(found.blocks, ceiling), lowest)
    shown = ndimage.gaussian_filter(shown, 1)
    around = np.argwhere(ndimage.binary_dilation(found.head, iterations=4))
    places = around @ to_mm[:3, :3].T + to_mm[:3, 3]
    places = places[places[:, 2] > places[:, 2].max() - 150]
    places = places[:: max(1, len(places) // 6000)]
    centre = np.median(places, axis=0)
    centre[0] = (places[:, 0].min() + places[:, 0].max()) / 2

    def read(points: np.ndarray) -> np.ndarray:
        at = points @ to_block[:3, :3].T + to_block[:3, 3]
        values = ndimage.map_coordinates(shown, at.T, order=1, mode="nearest")
        beyond = ((at < -0.5) | (at > np.array(shown.shape) - 0.5)).any(1)
        return np.where(beyond, np.nan, values)

    here = read(places)

    def unlikeness(chosen) -> float:
        normal = _normal(chosen)
        mirrored = places - 2 * ((places - centre) @ normal - chosen[0])[:, None] * normal
        there = read(mirrored)
        known = np.isfinite(there)
        if known.sum() < max(100, len(places) / 2) or not np.ptp(there[known]):
            return 1.0
        return -float(np.corrcoef(here[known], there[known])[0, 1])

    starts = [
        (shift, yaw, roll)
        for shift in (-12, -4, 4, 12)
        for yaw in (-0.3, -0.1, 0.1, 0.3)
        for roll in (-0.2, 0.0, 0.2)
    ]
    start = np.array(min(starts, key=unlikeness))
    simplex = start + np.array([[0, 0, 0], [4, 0, 0], [0, 0.1, 0], [0, 0, 0.1]])
    best = optimize.minimize(
        unlikeness,
        start,
        method="Nelder-Mead",
        options=dict(initial_simplex=simplex, xatol=0.01, fatol=1e-4, maxfev=150),
    )
    if best.fun > -0.6 or np.abs(best.x[1:]).max() > np.deg2rad(35):
        return None
    normal = _normal(best.x)
    return Midline(tuple(normal.tolist()), float(normal @ centre + best.x[0]))


def _normal(chosen) -> np.ndarray:
    """The unit vector of a plane across x, turned by a yaw and a roll in radians."""
    normal = np.array([1.0, np.tan(chosen[1]), np.tan(chosen[2])])
    return normal / np.linalg.norm(normal)
