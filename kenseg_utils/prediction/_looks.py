"""How a scan is looked at before a network answers about it, and the form of what is doubted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from nibabel import orientations

from kenseg_utils import anatomy


@dataclass(frozen=True)
class Doubt:
    """A sentence that speaks against a scan, and whether it says that this is no T1w of a head."""

    sentence: str
    is_no_t1w: bool = False


def blocks_of(image: np.ndarray, affine: np.ndarray, about: float) -> tuple[np.ndarray, np.ndarray]:
    """A volume in RAS order, as means of blocks of `about` mm, and the blocks' sides in mm.

    Its air is dark, and it has no single stray values.
    """
    turn = orientations.io_orientation(affine)
    size = np.array(anatomy.spacing(affine))[np.argsort(turn[:, 0])]
    image = orientations.apply_orientation(image, turn)
    image = anatomy.with_dark_air(anatomy.without_spikes(image))
    x, y, z = (int(max(1, round(about / mm))) for mm in size)
    return anatomy.block_means(image, (x, y, z)), size * (x, y, z)


def by(sizes: Iterable[float], digits: int = 0) -> str:
    return " × ".join(f"{size:.{digits}f}" for size in sizes)
