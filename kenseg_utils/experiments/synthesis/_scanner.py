"""What a scanner makes of a head: contrast, coil, blur, thick slices, noise, a field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kenseg_utils.prediction.frames import SHAPE

from ._anatomy import Person
from ._fields import smooth_field


@dataclass(frozen=True)
class Contrast:
    """How bright tissues are, white matter being 1."""

    gray: float
    fluid: float
    deep: float  # gray matter inside the brain, times this
    below: float  # cerebellum and stem, times this


def draw_contrast(rng: np.random.Generator) -> Contrast:
    """A T1w's contrast: mostly plain, sometimes faint, fluid always darkest."""
    kind = rng.random()
    if kind < 0.65:
        gray, fluid = rng.uniform(0.62, 0.82), rng.uniform(0.12, 0.40)
    elif kind < 0.85:
        gray, fluid = rng.uniform(0.78, 0.93), rng.uniform(0.15, 0.55)
    else:
        gray, fluid = rng.uniform(0.5, 0.7), rng.uniform(0.03, 0.3)
    return Contrast(gray, min(fluid, 0.75 * gray), rng.uniform(0.98, 1.15), rng.uniform(0.93, 1.06))


def shown(
    rng: np.random.Generator, person: Person, contrast: Contrast, textured: bool
) -> np.ndarray:
    """The brain's noiseless picture; `textured`: with the template's own grey values in it."""
    x, y, z = person.places
    below = 1 / (1 + np.exp(np.clip((z + 12 - 0.18 * (y + 35)) / 4, -20, 20)))
    below = below * (y < -15)
    inner = np.clip((person.depth - 18) / 10, 0, 1) * (1 - below)
    gray = contrast.gray * (1 + (contrast.deep - 1) * inner)
    tone = 1 + 0.012 * smooth_field(rng, 4) + 0.02 * smooth_field(rng, 14)
    tissue = (person.white + gray * person.gray) * tone * (1 + (contrast.below - 1) * below)
    picture = tissue + contrast.fluid * person.fluid
    if textured:  # the template's gray matter is 0.73, its fluid 0.3 or so
        levels = (0, 0.3, 0.73, 1, 1.3)
        own = np.interp(person.picture, levels, (0, contrast.fluid, contrast.gray, 1, 1.2))
        share = rng.uniform(0.3, 1.0) * np.clip(2 * (person.white + person.gray) - 0.5, 0, 1)
        picture += share * (own.astype(np.float32) - picture)
    return picture


def scanned(rng: np.random.Generator, head: np.ndarray, clean_air: bool) -> np.ndarray:
    """Blur, thick slices, coil and Rician noise; `clean_air`: exact zeros stay zeros."""
    air = head <= 0
    blur = rng.uniform(0.15, 0.65) if rng.random() < 0.8 else rng.uniform(0.6, 1.1)
    signal = ndimage.gaussian_filter(head, blur, truncate=2.5)
    if rng.random() < 0.15:
        signal = _in_thick_slices(rng, signal)
    strength = rng.uniform(0, 0.18) if rng.random() < 0.8 else rng.uniform(0.1, 0.35)
    coil = smooth_field(rng, 110) + 0.4 * smooth_field(rng, 60)
    signal = signal * np.exp(strength * coil)
    noise = rng.uniform(0.003, 0.04) if rng.random() < 0.85 else rng.uniform(0.03, 0.08)
    grain = rng.standard_normal((2, *SHAPE), dtype=np.float32)
    if rng.random() < 0.5:  # resampled scans have noise of a certain width
        grain = ndimage.gaussian_filter(grain, (0, *rng.uniform(0.3, 0.7, 3)), truncate=2.5)
        grain /= grain[0, :20].std() + 1e-6
    stored = np.hypot(signal + noise * grain[0], noise * grain[1])
    if clean_air:
        stored[air] = 0
    return stored


def _in_thick_slices(rng: np.random.Generator, volume: np.ndarray) -> np.ndarray:
    """The volume as slices 4 to 6 mm thick show it, filled up between them."""
    axis, thick = int(rng.choice(3, p=(0.2, 0.2, 0.6))), int(rng.integers(2, 4))
    even = ndimage.uniform_filter1d(volume, thick, axis)
    along = np.moveaxis(even, axis, 0)
    centres = np.arange(int(rng.integers(thick)), len(along), thick)
    place = np.clip((np.arange(len(along)) - centres[0]) / thick, 0, len(centres) - 1)
    low = np.minimum(place.astype(int), len(centres) - 2)
    share = (place - low).astype(np.float32)[:, None, None]
    filled = along[centres[low]] * (1 - share) + along[centres[low + 1]] * share
    return np.moveaxis(filled, 0, axis)


def draw_field_of_view(rng: np.random.Generator, person: Person) -> np.ndarray:
    """What a scan shows of a head: bool of the frame; mostly all of it, down to some level."""
    shown = np.ones(SHAPE, bool)
    if rng.random() < 0.6:  # few scans reach down the neck
        shown[:, :, : int(rng.integers(0, 26))] = False
    if rng.random() < 0.12:
        edge = int(rng.integers(4, 22))
        cut = ("top", "front", "back", "left", "right", "bottom")[rng.integers(6)]
        axis, part = {
            "top": (2, slice(SHAPE[2] - edge, None)),
            "bottom": (2, slice(edge + 22)),
            "front": (1, slice(SHAPE[1] - edge, None)),
            "back": (1, slice(edge)),
            "left": (0, slice(edge)),
            "right": (0, slice(SHAPE[0] - edge, None)),
        }[cut]
        np.moveaxis(shown, axis, 0)[part] = False
    return shown
