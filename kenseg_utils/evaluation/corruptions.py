"""What a scanner, a patient or a file can do to an image: noise, gain, gamma, bias, blur, motion.

Every function takes an image as a scanner gives it, background 0 and tissue above (X, Y) or
(X, Y, Z), and how strong the change is; it returns float32 of the same shape. `strength` 0 (for
gain and gamma: 1) changes nothing. None moves the lesion but `flip`, which moves the mask too.
All raise ValueError for a strength out of range and an image that is none; `corrupt` does so for
whatever it is given, and for a result that is not finite.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from kenseg_utils.artifacts import is_whole


def noise(image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Rician noise, as magnitude MRI has it; `strength` is its SD as a share of the tissue level.

    Source: Gudbjartsson and Patz 1995: the magnitude of a signal with normal noise in its real
    and its imaginary part.
    """
    random, spread = np.random.default_rng(seed), _positive(strength) * tissue_level(image)
    if not spread:
        return np.asarray(image, np.float32).copy()
    real = image + random.normal(0, spread, np.shape(image))
    return np.hypot(real, random.normal(0, spread, np.shape(image))).astype(np.float32)


def gain(image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """All grey values times `strength`: another coil, another scanner, another export."""
    image = _checked_image(image)
    return np.asarray(image, np.float32) * np.float32(_positive(_checked_number(strength)))


def gamma(image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Grey values bent: `(v / top) ** strength · top`, with the 99.5th percentile as top.

    Below 1 dark tissue brightens, above 1 it darkens; black and `top` stay.
    """
    image = np.maximum(np.asarray(_checked_image(image), np.float32), 0)
    if not 0 < _checked_number(strength) < np.inf:
        raise ValueError(f"gamma is {strength}: give a number above 0.")
    top = np.percentile(image, 99.5) or 1.0
    return (top * (image / top) ** strength).astype(np.float32)


def bias_field(image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """A smooth shading over the image, from 1 - strength to 1 + strength times its grey values.

    The field is a random polynomial of second degree over the image's axes, as coils leave it.
    """
    image = _checked_image(image)
    if not 0 <= _checked_number(strength) < 1:
        raise ValueError(
            f"The bias field's strength is {strength}: give a share from 0 to below 1."
        )
    random = np.random.default_rng(seed)
    axes = np.meshgrid(
        *[np.linspace(-1, 1, length) for length in np.shape(image)], indexing="ij", sparse=True
    )
    terms = [*axes, *(a * b for k, a in enumerate(axes) for b in axes[k:])]
    field = np.sum([random.normal() * np.broadcast_to(t, np.shape(image)) for t in terms], axis=0)
    field = 2 * (field - field.min()) / max(np.ptp(field), 1e-9) - 1
    return (np.asarray(image) * (1 + strength * field)).astype(np.float32)


def blur(image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """A Gaussian blur in the first two axes; `strength` is its SD in pixels."""
    image = _checked_image(image, axes=2)
    widths = (_positive(_checked_number(strength)),) * 2 + (0,) * (np.ndim(image) - 2)
    return ndimage.gaussian_filter(np.asarray(image, np.float32), widths)


def ghosting(image: np.ndarray, strength: float, seed: int = 0, every: int = 4) -> np.ndarray:
    """Pale copies of the head along the second axis, as a head that nods leaves them.

    Every `every`-th line of the image's spatial frequencies is weakened by `strength` (0 to 1),
    the central ones excepted: the lines were not all measured with the head in one place.
    Source: the ghosting artefact of TorchIO, after Pérez-García et al. 2021, written anew.
    """
    image = _checked_image(image, axes=2)
    if not 0 <= _checked_number(strength) <= 1:
        raise ValueError(f"The ghosts' strength is {strength}: give a share from 0 to 1.")
    if not is_whole(every) or every < 1:
        raise ValueError(f"every is {every!r}: give a whole number of lines, at least 1.")
    spectrum = np.fft.rfft(np.asarray(image, np.float32), axis=1)
    lines = np.arange(spectrum.shape[1])
    weights = np.where((lines % every == 0) & (lines > 0), 1 - strength, 1.0)
    shaped = weights.reshape(1, -1, *[1] * (np.ndim(image) - 2))
    return np.fft.irfft(spectrum * shaped, n=np.shape(image)[1], axis=1).astype(np.float32)


def flip(image: np.ndarray, strength: float = 1, seed: int = 0) -> np.ndarray:
    """Left and right swapped (the first axis) where `strength` is 1: flip the mask as well."""
    if _checked_number(strength) not in (0, 1):
        raise ValueError(f"A flip is done (1) or not (0); got {strength}.")
    image = np.asarray(_checked_image(image), np.float32)
    return image[::-1].copy() if strength else image.copy()


CORRUPTIONS: dict[str, Callable] = {
    "noise": noise,
    "gain": gain,
    "gamma": gamma,
    "bias field": bias_field,
    "blur": blur,
    "ghosting": ghosting,
    "flip": flip,
}
UNCHANGED = {"gain": 1.0, "gamma": 1.0}  # the strength that changes nothing; 0 for the others


def corrupt(image: np.ndarray, kind: str, strength: float, seed: int = 0) -> np.ndarray:
    """An image after one of CORRUPTIONS.

    Raises ValueError for other names, bad strengths and seeds, what is no image, and a strength at
    which its grey values outgrow float32.
    """
    if not isinstance(kind, str) or kind not in CORRUPTIONS:
        raise ValueError(f"Unknown corruption {kind!r}: choose one of {', '.join(CORRUPTIONS)}.")
    image = _checked_image(image)
    _checked_number(strength)
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed is {seed!r}: give a whole number, 0 or more.")
    with np.errstate(all="ignore"):
        changed = CORRUPTIONS[kind](image, strength, seed)
    if not np.isfinite(changed).all():
        raise ValueError(f"After {kind} {strength} the image is not finite: give a lower strength.")
    return changed


def tissue_level(image: np.ndarray) -> float:
    """The median of what is brighter than the mean: about the grey value of brain tissue."""
    image = _checked_image(image)
    bright = image[image > image.mean()]
    return float(np.median(bright)) if bright.size else 0.0


def _checked_image(image: np.ndarray, axes: int = 1) -> np.ndarray:
    """An image as an array of finite numbers with at least so many axes; ValueError otherwise."""
    try:
        array = np.asarray(image)
    except ValueError as error:
        raise ValueError("The image is no array: its lists have unequal lengths.") from error
    if array.dtype.kind not in "biuf" or array.ndim < axes or not array.size:
        raise ValueError(
            f"The image is {array.dtype} of shape {array.shape}: give numbers, (X, Y) or (X, Y, Z)."
        )
    if not np.isfinite(array).all() or np.abs(array).max() > np.finfo(np.float32).max:
        raise ValueError("The image holds values that are not finite (NaN or Inf) in float32.")
    return array


def _checked_number(strength: float) -> float:
    if not isinstance(strength, numbers.Real):
        raise ValueError(f"strength is {strength!r}: give a number.")
    return float(strength)


def _positive(strength: float) -> float:
    if not 0 <= strength < np.inf:
        raise ValueError(f"strength is {strength}: give a number of at least 0.")
    return float(strength)
