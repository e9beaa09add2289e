"""What every prior-based method is given: a checked slice, where the brain is, and a click."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from skimage import morphology

from kenseg_utils.anatomy import brain_mask, measured_pixels

EIGHT = np.ones((3, 3), bool)


def check_seed_point(seed_point: ArrayLike | None, shape: tuple[int, ...]) -> tuple[int, int]:
    """The click as (row, column) whole numbers inside a slice of `shape`, or a ValueError."""
    advice = "pass seed_point=(row, column), for example classical.click(mask)"
    if seed_point is None:
        raise ValueError(f"This method starts from a click and got none: {advice}.")
    point = np.asarray(seed_point)
    if point.shape != (2,) or point.dtype.kind not in "uif" or (point != np.round(point)).any():
        raise ValueError(f"The seed point is {seed_point!r}: {advice}, in whole pixels.")
    row, column = (int(coordinate) for coordinate in point)
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise ValueError(
            f"The seed point ({row}, {column}) lies outside the slice of "
            f"{shape[0]}×{shape[1]} pixels."
        )
    return row, column


def click(mask: ArrayLike, jitter: float = 0.0, seed: int = 0) -> tuple[int, int]:
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


def brain_around(
    image: np.ndarray, brain: ArrayLike | None, seed_point: tuple[int, int] | None
) -> np.ndarray:
    """The brain that a method looks at, as an (H, W) bool mask: the caller's, else estimated.

    A clinician clicks into the brain, so an estimate is stretched (convexly) around a click that
    it misses, as on a large lesion that has eaten away the cortex.
    Raises ValueError for a mask that does not fit, is empty, or does not hold the click.
    """
    if brain is None:
        mask, measured = brain_mask(image), measured_pixels(image)
        if seed_point is not None:
            if not measured[seed_point]:
                raise ValueError(
                    f"The seed point {seed_point} lies in the slice's padding "
                    "(zeros up to its border): click on the lesion."
                )
            mask = morphology.convex_hull_image(mask | disc(image.shape, seed_point, 5)) & measured
        return mask
    mask = np.asarray(brain) > 0
    if mask.shape != image.shape or not mask.any():
        raise ValueError(
            f"The brain mask is {mask.shape} with {mask.sum()} pixels: it must have "
            f"the slice's shape {image.shape} and hold something."
        )
    if seed_point is not None and not mask[seed_point]:
        raise ValueError(f"The seed point {seed_point} lies outside the brain mask given.")
    return mask


def disc(shape: tuple[int, ...], centre: tuple[int, int], radius: float) -> np.ndarray:
    """Pixels within `radius` of `centre`, as an (H, W) bool mask."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def grey_levels(
    image: np.ndarray, brain: np.ndarray, seed_point: tuple[int, int], radius: int = 2
) -> tuple[float, float]:
    """Median grey value in a disc around the click, and of the brain."""
    near = disc(image.shape, seed_point, radius) & brain
    return float(np.median(image[near])), float(np.median(image[brain]))


def containing(
    region: np.ndarray, seed_point: tuple[int, int], connectivity: np.ndarray | None = EIGHT
) -> np.ndarray:
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
