"""What is dark in a head and no stroke: lacunes, white-matter disease, atrophy; and a missing face.

Each is drawn into a whole T1w (X, Y, Z) in RAS order with voxels of about 1 mm, background dark.
It returns the image, float32, and where it drew: bool of the same shape. `strength` 0 changes
nothing. `away_from`, a mask, is left as it is: what is drawn lies beside the lesion, never in it.
The shapes follow words (STRIVE: Wardlaw et al. 2013), not measurements: they try a network out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage import filters

from kenseg_utils import anatomy

Drawn = tuple[np.ndarray, np.ndarray]
LEAST_MM, MOST_MM = 3, 15  # diameters of a lacune, by STRIVE


class Brain(NamedTuple):
    """A head's brain: its hull, how deep each voxel lies in it (mm), and three grey values."""

    hull: np.ndarray
    depth: np.ndarray
    fluid: float
    gray: float
    white: float

    @property
    def fluid_below(self) -> float:
        """The grey value between fluid and gray matter."""
        return (self.fluid + self.gray) / 2

    @classmethod
    def of(cls, image: np.ndarray) -> Brain:
        """Found by its grey values: fluid, gray and white matter, parted by Otsu's rule."""
        hull = anatomy.brain_hull(image)
        step = 3  # slow things are kept on every third voxel
        coarse = np.pad(hull[::step, ::step, ::step], 1)
        deep = ndimage.distance_transform_edt(coarse, sampling=step)[1:-1, 1:-1, 1:-1]
        for axis, length in enumerate(image.shape):
            deep = deep.repeat(step, axis).take(range(length), axis)
        inner = image[(deep > 15) & (image > 0)][::7]
        if inner.size < 1000 or anatomy.is_constant(inner):
            raise ValueError(
                "No brain was found in this image: give a whole head with voxels of about 1 mm."
            )
        edges = filters.threshold_multiotsu(inner, 3, nbins=128)
        which = np.digitize(inner, edges)
        levels = [float(np.median(inner[which == k])) for k in range(3)]
        return cls(hull, deep.astype(np.float32), *levels)


def lacunes(
    image: np.ndarray, strength: float, seed: int, brain: Brain, away_from: np.ndarray
) -> Drawn:
    """`strength` round holes full of fluid, deep in the brain, 3 to 15 mm across."""
    if strength != int(strength):
        raise ValueError(f"There are {strength} lacunes: give a whole number.")
    random, weight = np.random.default_rng(seed), np.zeros(image.shape, np.float32)
    places = np.argwhere((brain.depth > 25) & (image > (brain.gray + brain.white) / 2))
    left = int(strength)
    for centre in random.permutation(places)[:2000]:
        if not left:
            break
        radius = np.exp(random.uniform(np.log(LEAST_MM), np.log(MOST_MM))) / 2
        reach = int(np.ceil(radius)) + 2
        box = tuple(slice(max(0, at - reach), at + reach + 1) for at in centre)
        if away_from[box].any() or weight[box].any():
            continue
        offsets = np.meshgrid(
            *[
                np.arange(part.start, part.start + n) - at
                for part, n, at in zip(box, weight[box].shape, centre)
            ],
            indexing="ij",
            sparse=True,
        )
        far = np.sqrt(sum(offset**2 for offset in offsets))
        weight[box] = np.clip(radius - far + 0.5, 0, 1)
        left -= 1
    if left:
        raise ValueError(f"Only {int(strength) - left} of {strength} lacunes found room.")
    return _towards(image, weight, 1.1 * brain.fluid, _without_noise(image))


def white_matter_disease(
    image: np.ndarray, strength: float, seed: int, brain: Brain, away_from: np.ndarray
) -> Drawn:
    """Pale white matter around the ventricles, darker than gray matter; it reaches further as
    `strength` goes from 0 to 1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"The strength is {strength}: give a share from 0 to 1.")
    far = ndimage.distance_transform_edt(~_ventricles(image, brain))
    reach = 10 * strength * (0.5 + _smooth(image.shape, seed))
    smooth = _without_noise(image)
    matter = smooth > brain.fluid_below
    weight = np.clip((reach - far) / 2, 0, 1) * matter * (brain.depth > 15) * ~away_from
    return _towards(image, weight, brain.gray - 0.3 * (brain.gray - brain.fluid), smooth)


def atrophy(
    image: np.ndarray, strength: float, seed: int, brain: Brain, away_from: np.ndarray
) -> Drawn:
    """A brain that has shrunk: fluid spaces, furrows as well as ventricles, `strength` mm wider."""
    dark = _without_noise(image) < brain.fluid_below
    far = ndimage.distance_transform_edt(~dark)
    weight = np.clip(strength + 0.5 - far, 0, 1) * (~dark & brain.hull & (brain.depth > 6))
    weight = weight * ~away_from if strength else np.zeros(image.shape)
    return _towards(image, weight, brain.fluid, _without_noise(image))


def defacing(
    image: np.ndarray, strength: float, seed: int, brain: Brain, away_from: np.ndarray
) -> Drawn:
    """Air instead of a face, as in public data, where `strength` is 1."""
    if strength not in (0, 1):
        raise ValueError(f"A face is cut off (1) or not (0); got {strength}.")
    rows = np.flatnonzero(brain.hull.any((0, 2)))
    levels = np.flatnonzero(brain.hull.any((0, 1)))
    y, z = np.arange(image.shape[1])[:, None], np.arange(image.shape[2])
    ahead = (y > rows.mean()) & (z < levels.mean())
    gone = ahead & ~brain.hull & ~away_from & bool(strength)
    out = image.copy()
    out[gone] = anatomy.air_value(image)
    return out, gone


LOOK_ALIKES: dict[str, Callable] = {
    "lacunes": lacunes,
    "white-matter disease": white_matter_disease,
    "atrophy": atrophy,
    "defacing": defacing,
}


def draw(
    image: np.ndarray,
    kind: str,
    strength: float,
    seed: int = 0,
    away_from: np.ndarray | None = None,
    brain: Brain | None = None,
) -> Drawn:
    """A head with one of LOOK_ALIKES drawn into it, and where: (X, Y, Z) float32 and bool.

    `brain`, where it is known already (`Brain.of`), saves the search. ValueError for other names,
    bad strengths, a mask of another shape, values that are not finite, and where no brain is.
    """
    if kind not in LOOK_ALIKES:
        raise ValueError(f"Unknown look-alike {kind!r}: choose one of {', '.join(LOOK_ALIKES)}.")
    if not 0 <= strength < np.inf:
        raise ValueError(f"strength is {strength}: give a number of at least 0.")
    image = np.asarray(image, np.float32)
    if image.ndim != 3 or not np.isfinite(image).all():
        raise ValueError("Give a volume (X, Y, Z) of finite values.")
    kept = np.zeros(image.shape, bool) if away_from is None else np.asarray(away_from) != 0
    if kept.shape != image.shape:
        raise ValueError(f"The image has shape {image.shape}, what to keep {kept.shape}.")
    return LOOK_ALIKES[kind](image, strength, seed, brain or Brain.of(image), kept)


def _without_noise(image: np.ndarray) -> np.ndarray:
    """The image smoothed a little, so that single dark voxels are no fluid."""
    return ndimage.gaussian_filter(image, 1)


def _ventricles(image: np.ndarray, brain: Brain) -> np.ndarray:
    """Fluid deep in the upper half of the brain, bool; ValueError if there is none."""
    dark = _without_noise(image) < brain.fluid_below
    upper = np.arange(image.shape[2]) > np.flatnonzero(brain.hull.any((0, 1))).mean()
    found = ndimage.binary_erosion(dark & (brain.depth > 40) & upper)
    if not found.any():
        raise ValueError("No ventricle was found in this image.")
    return found


def _towards(image, weight, level, seen=None) -> Drawn:
    """The image drawn towards a darker level by `weight` 0 … 1, and where that is seen.

    Of an image without noise, `seen`, the change keeps the noise as it is.
    """
    change = weight * np.minimum(level - (image if seen is None else seen), 0)
    drawn = np.maximum(image + change, image.min())
    return drawn.astype(np.float32), (weight >= 0.5) & (change < 0)


def _smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A random field of 0 … 1 that changes over about 20 voxels."""
    random = np.random.default_rng(seed)
    coarse = random.random([max(2, n // 20) for n in shape])
    zoomed = ndimage.zoom(coarse, [n / m for n, m in zip(shape, coarse.shape)], order=1)
    return zoomed.astype(np.float32)
