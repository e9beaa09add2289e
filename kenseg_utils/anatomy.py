"""Heads and lesions as geometry: grids in mm, volumes in ml, where head and brain are, and sides.

What several rooms need stands here once, each rule under a name that says what it is for.
Volumes are (X, Y, Z) in RAS order unless a docstring says otherwise; affines (4, 4) lead to mm.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from scipy import ndimage
from skimage import filters, morphology

# How far the corners of two grids may lie apart, in mm, and the grids still count as the same.
GRID_TOLERANCE_MM = 0.1

# --- Grids ---------------------------------------------------------------------------------------


def voxel_ml(affine: np.ndarray) -> float:
    """How many millilitres a voxel holds."""
    return float(abs(np.linalg.det(np.asarray(affine, float)[:3, :3])) / 1000)


def spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """The size of a voxel along each axis of the array, in mm."""
    return tuple(float(size) for size in np.linalg.norm(np.asarray(affine)[:3, :3], axis=0))


def grid_distance(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The farthest that two affines place a corner voxel of a grid of `shape` apart, in mm."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    apart = nib.affines.apply_affine(np.subtract(one, other), corners)
    return float(np.linalg.norm(apart, axis=1).max())


# --- Head and brain ------------------------------------------------------------------------------


def head_box(volume: np.ndarray) -> tuple[slice, slice, slice]:
    """The box around the head: where over 1 % of a plane's largest share is above the mean."""
    bright = volume > volume.mean()
    box = []
    for axis in range(3):
        share = bright.sum(tuple(other for other in range(3) if other != axis))
        filled = np.flatnonzero(share > 0.01 * share.max())
        box.append(
            slice(int(filled[0]), int(filled[-1]) + 1)
            if filled.size
            else slice(0, volume.shape[axis])
        )
    return tuple(box)


def slices_to_train_on(image: np.ndarray) -> np.ndarray:
    """Which axial slices show enough head to learn from: bool (Z,).

    At least 2 % of their pixels are brighter than the volume's mean.
    """
    return (image > image.mean()).mean((0, 1)) >= 0.02


def slices_to_segment(image: np.ndarray) -> np.ndarray:
    """The axial slices z that show more than a trace of head, where a lesion could be found.

    Over 5 % as many pixels brighter than the volume's mean as in the fullest slice: however much
    air a field of view has around the head, the answer is the same.
    """
    filled = (image > image.mean()).sum((0, 1))
    return np.flatnonzero(filled > 0.05 * filled.max())


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
    if len(brain) * step**3 < 2e5:
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


def check_image(image) -> np.ndarray:
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


def lesion_side(
    mask: np.ndarray, affine: np.ndarray, midline: float = 0.0, share: float = 0.9
) -> str:
    """Where a lesion lies: "left" or "right" of the patient, "both", or "none" if it is empty.

    `mask` (X, Y, Z) with its RAS `affine`; `midline` is the x in mm that parts the halves (0 in
    MNI space). A side is named if at least `share` of the voxels are in it.
    """
    voxels = np.argwhere(mask)
    if not len(voxels):
        return "none"
    on_right = float((voxels @ affine[0, :3] + affine[0, 3] > midline).mean())
    return "right" if on_right >= share else "left" if on_right <= 1 - share else "both"


def head_middle(image: np.ndarray, affine: np.ndarray) -> float:
    """The x in mm that parts a head in two: the median of the voxels brighter than the mean."""
    along_x = (image > image.mean()).sum(axis=(1, 2)).cumsum()
    middle = np.searchsorted(along_x, along_x[-1] / 2)
    centre = [middle, *(np.array(image.shape[1:]) / 2)]
    return float(affine[0, :3] @ centre + affine[0, 3])
