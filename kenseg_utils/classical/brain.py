"""What every prior-based method is given: a checked slice, where the brain is, and a click."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy import ndimage
from skimage import filters, morphology

EIGHT = np.ones((3, 3), bool)


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
        raise ValueError(f"A prior-based method works on one slice (H, W), and got shape "
                         f"{array.shape}: pass image[..., 0] or volume[:, :, z].")
    if array.size == 0:
        raise ValueError(f"The slice is empty: its shape is {array.shape}.")
    wrong = np.count_nonzero(~np.isfinite(array))
    if wrong:
        raise ValueError(f"The slice has {wrong} values that are NaN or infinite "
                         f"(of {array.size}): repair or leave out the scan.")
    lowest, highest = float(array.min()), float(array.max())
    if is_constant(array):
        raise ValueError(f"The slice is constant: every pixel is {lowest:g}, so there is "
                         "nothing to segment. Leave it out, or use segment_slices, "
                         "which gives such a slice an empty mask.")
    if max(abs(lowest), abs(highest)) > 1e12:
        raise ValueError(f"The slice's grey values go from {lowest:g} to {highest:g}: "
                         "normalise the scan first.")
    if min(array.shape) < 4:
        raise ValueError(f"The slice is {array.shape[0]}×{array.shape[1]} pixels: "
                         "at least 4×4 are needed.")
    return array.astype(np.float32)


def is_constant(array: np.ndarray) -> bool:
    """Whether all of an array (that is not empty) is one value, to within 1e-12."""
    numbers = array.dtype.kind in "buif" and array.size > 0
    return numbers and float(array.max()) - float(array.min()) < 1e-12


def check_seed_point(seed_point, shape: tuple[int, int]) -> tuple[int, int]:
    """The click as (row, column) whole numbers inside a slice of `shape`, or a ValueError."""
    advice = "pass seed_point=(row, column), for example classical.click(mask)"
    if seed_point is None:
        raise ValueError(f"This method starts from a click and got none: {advice}.")
    point = np.asarray(seed_point)
    if point.shape != (2,) or point.dtype.kind not in "uif" or (point != np.round(point)).any():
        raise ValueError(f"The seed point is {seed_point!r}: {advice}, in whole pixels.")
    row, column = (int(coordinate) for coordinate in point)
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise ValueError(f"The seed point ({row}, {column}) lies outside the slice of "
                         f"{shape[0]}×{shape[1]} pixels.")
    return row, column


def click(mask, jitter: float = 0.0, seed: int = 0) -> tuple[int, int]:
    """Where a clinician would click: the most interior point of the slice's largest lesion.

    `mask` is an (H, W) truth. So this uses the truth, as a clinician's eye does: a method that is
    given it has been told where the lesion is, and only has to find how far it reaches.
    The point is the maximum of the Euclidean distance to the lesion's border.
    `jitter` (pixels) is the SD of a less careful hand: a lesion pixel is drawn with a Gaussian
    weight around that point, so that the click never leaves the lesion.
    Returns (row, column). Raises ValueError for an empty mask.
    """
    lesion = np.asarray(mask)
    if lesion.ndim != 2:
        raise ValueError(f"A click is made on one slice (H, W), and the mask is {lesion.shape}.")
    at_least(0, jitter=jitter)
    lesion = lesion > 0
    if not lesion.any():
        raise ValueError("The mask is empty: there is no lesion to click on.")
    labels, _ = ndimage.label(lesion, EIGHT)
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    point = np.unravel_index(depth.argmax(), depth.shape)
    if jitter > 0:
        pixels = np.argwhere(largest)
        weight = np.exp(-((pixels - point) ** 2).sum(axis=1) / (2 * jitter**2))
        point = np.random.default_rng(seed).choice(pixels, p=weight / weight.sum())
    return int(point[0]), int(point[1])


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
    whole_number(0, cut=cut)
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


def brain_around(image: np.ndarray, brain, seed_point: tuple[int, int] | None) -> np.ndarray:
    """The brain that a method looks at, as an (H, W) bool mask: the caller's, else estimated.

    A clinician clicks into the brain, so an estimate is stretched (convexly) around a click that
    it misses, as on a large lesion that has eaten away the cortex.
    Raises ValueError for a mask that does not fit, is empty, or does not hold the click.
    """
    if brain is None:
        mask, measured = brain_mask(image), measured_pixels(image)
        if seed_point is not None:
            if not measured[seed_point]:
                raise ValueError(f"The seed point {seed_point} lies in the slice's padding "
                                 "(zeros up to its border): click on the lesion.")
            mask = morphology.convex_hull_image(mask | disc(image.shape, seed_point, 5)) & measured
        return mask
    mask = np.asarray(brain) > 0
    if mask.shape != image.shape or not mask.any():
        raise ValueError(f"The brain mask is {mask.shape} with {mask.sum()} pixels: it must have "
                         f"the slice's shape {image.shape} and hold something.")
    if seed_point is not None and not mask[seed_point]:
        raise ValueError(f"The seed point {seed_point} lies outside the brain mask given.")
    return mask


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: float) -> np.ndarray:
    """Pixels within `radius` of `centre`, as an (H, W) bool mask."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def grey_levels(image: np.ndarray, brain: np.ndarray,
                seed_point: tuple[int, int], radius: int = 2) -> tuple[float, float]:
    """Median grey value in a disc around the click, and of the brain."""
    near = disc(image.shape, seed_point, radius) & brain
    return float(np.median(image[near])), float(np.median(image[brain]))


def containing(region: np.ndarray, seed_point: tuple[int, int],
               connectivity: np.ndarray | None = EIGHT) -> np.ndarray:
    """The connected piece of `region` under the click; nothing if the click is not in it.

    Pixels hang together over corners too, or, with `connectivity` None, over edges alone.
    """
    labels, _ = ndimage.label(region, connectivity)
    found = labels[seed_point]
    return (labels == found) & (found > 0)


def at_least(lowest: float, **options: float) -> None:
    """Raise a ValueError naming the first option that is not a finite number ≥ `lowest`."""
    for name, value in options.items():
        if not (isinstance(value, Real) and lowest <= value < np.inf):
            raise ValueError(f"{name} is {value!r}, and it must be a number ≥ {lowest:g}.")


def whole_number(lowest: int, **options: int) -> None:
    """Raise a ValueError naming the first option that is not a whole number ≥ `lowest`."""
    for name, value in options.items():
        if not (isinstance(value, Integral) and value >= lowest):
            raise ValueError(f"{name} is {value!r}, and it must be a whole number ≥ {lowest}.")
