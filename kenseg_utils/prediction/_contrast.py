"""Is it a T1w? The grey values of CT, and the contrast deep in the brain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kenseg_utils.anatomy import blurred

from ._looks import Doubt

SMOOTH_MM = 1.0  # an SD: else what is beside fluid is beside noise, and brighter than it is
DEEP_MM = 22  # below a head's surface is brain, with skull (about 15 mm with scalp) or without
CT_PADDING = -3024  # what scanners write where they measured nothing
# How much brighter white matter is than what lies beside fluid. T1w, real and phantom, with real
# lesions of up to 376 ml, noise and slices of 1 to 7 mm: at least 1.12, and down to 1.09 where they
# were interpolated twice. FLAIR: below 1.05 in voxels of up to 3 mm, up to 1.15 in slices of 7 mm.
RISE, SURE_RISE, SURE_RISE_THICK = 1.05, 1.08, 1.12
SURE_UP_TO_MM = 3.5
# A map of white matter is 0 where a T1w is grey: it spreads more, and more of it is nearly black.
# Smoothed by 2 to 8 mm: from 1.38, from 0.24. T1w, real ones with real outlines of up to 306 ml
# painted in: up to 1.0 and 0.10; 300 synthetic heads of any contrast: 1.6 and 0.245, none both.
MAP_SPREAD, MAP_BLACK = 1.33, 0.2


def is_ct(image: np.ndarray) -> bool:
    """Air at -1000 Hounsfield units, or padding below it, and soft tissue near 0."""
    air = (image < -850) & (image > -1150)
    padding = (image <= CT_PADDING + 1) & (image >= CT_PADDING - 1)
    if image.min() >= -850 or image.min() < -5000 or max(air.mean(), padding.mean()) < 0.02:
        return False
    soft = (image > -200) & (image < 300)
    return bool(soft.sum() > 0.3 * (image > -850).sum())


@dataclass(frozen=True)
class _Contrast:
    """Grey values deep in a head, after a bias field is divided out.

    skew: of the brightest and the darkest hundredth, which lies further from the middle: from -1
    (the dark) to 1 (the bright). rise: how much brighter is what lies far from fluid than what
    lies beside it, as a ratio. spread: of nine tenths of the values, as a share of the way from
    air to their middle. black: the share of values in the lowest three tenths of the way from air
    to the brightest.
    """

    skew: float
    rise: float
    spread: float
    black: float

    @property
    def has_large_lesion(self) -> bool:
        """A T1w all the same: a lesion of 300 ml makes as much of a brain dark as tissue is bright.

        A phantom's skew was 0.07, its rise 1.38 and its spread 1.0 to 1.3, with noise. A T2w's skew
        is at least 0.14; of a proton density image with such a skew the rise is at most 1.19, and
        of a knee the spread at least 1.7.
        """
        return self.skew < 0.12 and 1.3 <= self.rise < np.inf and self.spread < 1.5


def of_contrast(image: np.ndarray, size: np.ndarray, depth: np.ndarray) -> list[Doubt]:
    """What the grey values deep in the head say: at most one doubt."""
    found = _contrast(image, size, depth)
    if found is None:
        return [
            Doubt(
                "whether it is a T1w could not be checked: too little of what is deep in a brain "
                "is in it."
            )
        ]
    if found.spread < 0.08:
        sentence = "it shows hardly any contrast in the brain, as a CT does: it is no T1w."
    elif found.skew > 0 and not found.has_large_lesion:
        sentence = (
            "fluid in the brain is brighter than tissue, as in a T2w or a proton density image: "
            "it does not look like a T1w."
        )
    elif found.rise < RISE:
        sentence = (
            "white matter is no brighter than grey matter, as in a FLAIR: it does not look like "
            "a T1w."
        )
    elif found.spread > MAP_SPREAD and found.black > MAP_BLACK:
        return [
            Doubt(
                "too much of the brain is nearly black for a T1w: it may be a map of white matter "
                "(or of fractional anisotropy), in which grey matter passes for lesion."
            )
        ]
    elif found.rise < (SURE_RISE_THICK if max(size) > SURE_UP_TO_MM else SURE_RISE):
        return [
            Doubt(
                "white matter is hardly brighter than grey matter: it may be a FLAIR, and no T1w."
            )
        ]
    elif found.rise == np.inf:
        return [
            Doubt(
                "whether it is a T1w or a FLAIR could not be checked: its voxels are too large, or "
                "too little of the brain is in it."
            )
        ]
    else:
        return []
    return [Doubt(sentence, True)]


def _contrast(image: np.ndarray, size: np.ndarray, depth: np.ndarray) -> _Contrast | None:
    """Measured `DEEP_MM` below the surface of a head's upper 110 mm.

    None where there are less than 100 ml of it.
    """
    top = np.flatnonzero((depth > 0).any((0, 1)))[-1]
    inside = depth > DEEP_MM
    inside[:, :, : max(0, int(top + 1 - 110 / size[2]))] = False
    if inside.sum() * size.prod() < 1e5:
        return None
    image = blurred(image, SMOOTH_MM / size)
    above_air = image - np.percentile(image, 2)
    own = above_air[inside]
    low, fifth, middle, last, high = np.percentile(own, (2, 5, 50, 95, 98))
    if middle <= 0:
        return None
    weight = blurred(inside, 20 / size) + 1e-6
    clipped = np.where(inside, np.clip(above_air, low, high), 0).astype(np.float32)
    field = blurred(clipped, 20 / size) / weight
    flat = np.where(inside, above_air / np.maximum(field, 0.1 * middle), 0)
    dark, half, bright = np.percentile(flat[inside], (1, 50, 99))
    fluid = inside & (flat < half - 0.6 * (half - dark))
    away = ndimage.distance_transform_edt(~fluid, sampling=size)
    tissue = inside & ~fluid
    beside, far = tissue & (away > 1.5) & (away <= 4.6), tissue & (away > 6.5)
    rise = (
        float(np.median(flat[far]) / np.median(flat[beside]))
        if min(beside.sum(), far.sum()) > 500
        else np.inf
    )
    return _Contrast(
        skew=float(((bright - half) - (half - dark)) / max(bright - dark, 1e-6)),
        rise=rise,
        spread=float((last - fifth) / middle),
        black=float((own < 0.3 * high).mean()),
    )
