"""What becomes of a slice before a network is trained on it: noise, light changes, or wide ones.

`AUGMENTATIONS` are the choices of `Recipe.augment`. Each takes an image (H, W, channels) float32,
its mask (H, W) and a generator of random numbers, and returns another such image and mask; what
it is given stays as it is. Images are normalised as `slices.Intensity` does it: ordinary brain has
median 0 and robust spread 1 and air lies lowest.

`wide` is for a network that has seen phantoms alone and shall read real T1. A network learns
whatever its training images share. Phantoms share a contrast, a smoothness and an anatomy that no
real scanner has, so each slice gets others: what is left in common is the shape of a head and a
lesion that is darker than its surroundings. The idea is that of SynthSeg (Billot et al., 2023) and
SynthStroke (Chalcroft et al., 2025).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from scipy.ndimage import affine_transform

from kenseg_utils.anatomy import brain_mask


def augment(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One random variant of a slice: flip, rotation, zoom, gain, offset, gamma and noise.

    Image (H, W, channels) float32 and mask (H, W) are moved together; intensities change only
    in the image. Left and right are swapped in half of the draws, top and bottom never:
    a lesion may sit on either side, but nobody's brain is upside down.
    """
    if rng.random() < 0.5:
        image, mask = image[::-1], mask[::-1]
    angle, zoom = np.deg2rad(rng.uniform(-15, 15)), rng.uniform(0.85, 1.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = (np.array(mask.shape) - 1) / 2
    offset = middle - turn @ middle
    moved = np.stack(
        [
            affine_transform(image[..., channel], turn, offset, order=1, mode="nearest")
            for channel in range(image.shape[-1])
        ],
        -1,
    )
    mask = affine_transform(mask, turn, offset, order=0, mode="constant")
    low, high = moved.min(), max(moved.max(), moved.min() + 1e-3)
    curved = ((moved - low) / (high - low)) ** np.exp(rng.uniform(-0.25, 0.25))
    moved = (low + curved * (high - low)) * rng.uniform(0.85, 1.15) + rng.uniform(-0.2, 0.2)
    moved = moved + rng.normal(0, rng.uniform(0, 0.15), moved.shape)
    return moved.astype(np.float32), mask


def add_noise(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The noise of `augment` alone, which is what the paper says it added to its images."""
    noisy = image + rng.normal(0, rng.uniform(0, 0.15), image.shape)
    return noisy.astype(np.float32), mask


# --- Wide randomisation --------------------------------------------------------------------------


def wide(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One widely randomised variant of a slice (H, W, channels) and its mask (H, W).

    In this order: another pose and shape, skull or none, another contrast, bias field, sharpness
    or blur, resolution, noise, and a normalisation that is a little off.
    The mask follows the pose; everything else changes the image alone.
    """
    air = float(image.min())
    image, mask = move(image, mask, rng, air)
    if rng.random() < 0.35:
        image = strip_skull(image, mask, rng, air)
    image, zero, one = recolour(image, rng)
    image = image * coil_field(image.shape[:2], rng)[..., None]
    image = resharpen(image, rng)
    if rng.random() < 0.4:
        image = coarsen(image, rng)
    image = add_rician_noise(image, rng)
    image = (image - zero) / one  # as a volume of this contrast would have been normalised
    image = image * np.exp(rng.normal(0, 0.15)) + rng.normal(0, 0.2)
    return np.clip(image, -5, 5).astype(np.float32), mask


def move(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, air: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror, turn, stretch, shift and bend a slice; what comes in from outside is `air`.

    Left and right change places in half of the draws. Bends are smooth over some 40 pixels.
    """
    if rng.random() < 0.5:
        image, mask = image[::-1], mask[::-1]
    angle = np.deg2rad(rng.uniform(-20, 20))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.exp(rng.uniform(np.log(0.8), np.log(1.2)) + rng.normal(0, 0.05, 2))
    middle = (np.array(mask.shape) - 1) / 2
    offset = middle + rng.normal(0, 6, 2)
    bend = rng.uniform(0, 2.5) * smooth_fields(mask.shape, 40, rng, count=2)
    rows, columns = np.indices(mask.shape, np.float32)
    centred = np.stack([rows - offset[0], columns - offset[1]])
    points = np.tensordot(turn / stretch, centred, 1) + middle[:, None, None] + bend
    points = points.astype(np.float32)
    moved = np.stack(
        [
            ndimage.map_coordinates(image[..., channel], points, order=1, cval=air)
            for channel in range(image.shape[-1])
        ],
        -1,
    )
    return moved, ndimage.map_coordinates(mask, points, order=0)


def strip_skull(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, air: float
) -> np.ndarray:
    """Set all but the brain to `air`, as brain extraction does: a little too wide or too tight.

    The brain is found roughly, on every second pixel; the lesion is always kept.
    """
    middle = image[::2, ::2, image.shape[-1] // 2]
    if np.ptp(middle) < 1e-3:
        return image
    brain = brain_mask(np.where(middle == air, 0, middle - air), cut=2)
    turns = int(rng.integers(-1, 3))
    if turns:
        change = ndimage.binary_dilation if turns > 0 else ndimage.binary_erosion
        brain = change(brain, iterations=abs(turns))
    brain = brain.repeat(2, 0).repeat(2, 1)[: image.shape[0], : image.shape[1]]
    return np.where((brain | (mask > 0))[..., None], image, np.float32(air))


def recolour(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Bend the grey scale: an image from about 0 (air) to 1, and where 0 and 1 of before now lie.

    The curve rises through nine random points; in one of five draws it may fall again above the
    median, where white matter and fat are, but what is dark stays dark, or no lesion would be left.
    Returns the image, where the old median lies now, and how far one old spread reaches.
    """
    low, high = float(image.min()), max(float(np.percentile(image, 99.5)), 1.0)
    at = np.linspace(0, 1, 9)
    steps = rng.gamma(rng.uniform(1.5, 6), size=8)
    bright = at > 0.1 - low / (high - low)  # above the median, which lies at 0 in the image
    if rng.random() < 0.2:
        steps *= np.where(bright[1:] & (rng.random(8) < 0.4), -0.5, 1)
    curve = np.concatenate([[0], np.cumsum(steps)])
    curve = np.maximum(curve, np.where(bright, 0.7 * curve[~bright].max(), 0))
    curve = (curve / curve.max()) ** np.exp(rng.uniform(-0.4, 0.4))
    scaled = (image - low) / (high - low)
    anchors = (np.array([-0.67, 0, 0.67]) - low) / (high - low)
    below, zero, above = np.interp(anchors, at, curve)
    beyond = np.clip(scaled - 1, 0, None)  # bright vessels and fat go on above 1
    spread = max(abs(above - below) / 1.349, 0.05)
    return np.interp(scaled, at, curve).astype(np.float32) + beyond, zero, spread


def coil_field(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A smooth positive field (H, W) of median near 1: coils see near tissue more brightly."""
    return np.exp(rng.uniform(0, 0.16) * smooth_fields(shape, rng.uniform(60, 150), rng)[0])


def resharpen(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur (an SD up to 1.2 pixels, each axis its own) or sharpen: phantoms are too smooth."""
    if rng.random() < 0.5:
        soft = ndimage.gaussian_filter(image, (*rng.uniform(0.8, 2, 2), 0), truncate=2.5)
        return image + rng.uniform(0, 1.5) * (image - soft)
    return ndimage.gaussian_filter(image, (*rng.uniform(0.1, 1.2, 2), 0), truncate=2.5)


def coarsen(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What thicker voxels leave of a slice: averages over 1 to 3 pixels, each axis its own."""
    size = rng.uniform(1, 3, 2) if rng.random() < 0.5 else rng.permutation([1, rng.uniform(1, 4)])
    small = ndimage.gaussian_filter(image, (*(0.4 * (size - 1)), 0), truncate=2.5)
    few = np.maximum(np.round(np.array(image.shape[:2]) / size), 8)
    at = np.stack(
        np.meshgrid(
            *(
                np.linspace(0, n - 1, int(k)).round().astype(int)
                for n, k in zip(image.shape[:2], few)
            ),
            indexing="ij",
        )
    )
    small = small[at[0], at[1]]
    zoom = np.array(image.shape[:2]) / small.shape[:2]
    return np.stack(
        [ndimage.zoom(small[..., channel], zoom, order=1) for channel in range(image.shape[-1])], -1
    )


def add_rician_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of a magnitude image, an SD of up to 0.08 of the bright end; air may stay clean."""
    level, clean_air = rng.uniform(0, 0.08), rng.random() < 0.5
    real, imaginary = level * rng.standard_normal((2, *image.shape), dtype=np.float32)
    noisy = np.hypot(image + real, imaginary)
    return np.where(image <= 0.01, image, noisy) if clean_air else noisy


def smooth_fields(
    shape: tuple[int, int], spacing: float, rng: np.random.Generator, count: int = 1
) -> np.ndarray:
    """`count` fields (count, H, W) of mean 0 and SD about 1, smooth over `spacing` pixels."""
    nodes = [max(2, int(np.ceil(length / spacing)) + 1) for length in shape]
    coarse = rng.standard_normal((count, *nodes)).astype(np.float32)
    return np.stack(
        [
            ndimage.zoom(field, np.divide(shape, nodes), order=3, mode="nearest", grid_mode=True)
            for field in coarse
        ]
    ) * np.float32(1.3)


AUGMENTATIONS: dict[bool | str, Callable] = {True: augment, "noise": add_noise, "wide": wide}
