"""Does a head look to the front of its scan, as its header says, or to the back?

Whoever takes DICOM's axes (left, back) for NIfTI's (right, front) turns a head by half a circle:
what is up stays up, so nothing else here notices, and every side that is told is the wrong one.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from kenseg_utils import anatomy

from .frames import SKULLCAP_MM

WEIGHTS = Path(__file__).parent / "facing.tsv"  # written by benchmarks/facing.py
HALF_MM, PATCH_MM = 20.0, 16.0  # of a slab at the midline, and of the square patches in it
ROWS, COLUMNS = 14, 12  # of patches: from back to front, and from the head's top down
BRIGHTEST = 1.5  # of the head's median: fat and vessels tell nothing
BACKWARDS = -20.0  # of what `facing` says; `benchmarks/facing.py` tells what heads have


def facing(blocks: np.ndarray, size: np.ndarray) -> float:
    """How much a head seems to look to the front: below 0, rather to the back.

    `blocks` in RAS order, of sides `size` in mm. Turned round, a head has the other sign.
    """
    return float((_weights() * differences(blocks, size)).sum())


def differences(blocks: np.ndarray, size: np.ndarray) -> np.ndarray:
    """By how much patches at the midline differ from those as far on the other side of its middle.

    Of shape (ROWS / 2, COLUMNS): from the back's end to the middle, by from the head's top down.
    """
    head = anatomy.head_mask(blocks)
    box = anatomy.box_of_head(head, height=max(1, round(SKULLCAP_MM / size[2])))
    x, y, z = ((np.arange(n) + 0.5) * mm for n, mm in zip(blocks.shape, size))
    middle = [(part.start + part.stop) / 2 * mm for part, mm in zip(box[:2], size)]
    air = float(blocks.min())
    most = BRIGHTEST * (float(np.median(blocks[head])) - air) if head.any() else 0.0
    slab = np.minimum(blocks[np.abs(x - middle[0]) <= HALF_MM] - air, most).mean(0)
    rows = np.floor((y - middle[1]) / PATCH_MM + ROWS / 2).astype(int)
    columns = np.floor((box[2].stop * size[2] - z) / PATCH_MM).astype(int)
    inside = np.ix_((rows >= 0) & (rows < ROWS), (columns >= 0) & (columns < COLUMNS))
    place = (rows[:, None] * COLUMNS + columns)[inside].ravel()
    sums = np.bincount(place, slab[inside].ravel(), ROWS * COLUMNS)
    counts = np.bincount(place, minlength=ROWS * COLUMNS)
    patches = (sums / np.maximum(counts, 1)).reshape(ROWS, COLUMNS)
    patches /= max(float(patches.mean()), 1e-9)
    return (patches - patches[::-1])[: ROWS // 2]


@lru_cache(maxsize=1)
def _weights() -> np.ndarray:
    return np.loadtxt(WEIGHTS, delimiter="\t")
