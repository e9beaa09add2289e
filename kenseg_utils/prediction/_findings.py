"""All that is found out about one scan: mask, volumes, how sharp the border is, what is doubted."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kenseg_utils import atlas
from kenseg_utils.anatomy import voxel_ml

from . import report
from ._doubts import check_is_head, doubts
from ._volumes import check_cut, check_network, lesion_probability, own_least_ml, remove_small

ODDS = 3.0  # how much surer, or less sure, a voxel must be for the smaller and the larger volume


class NoT1wError(ValueError):
    """A scan does not look like a T1w of a head, so that a mask of it would mean nothing."""


@dataclass(frozen=True, eq=False)
class Finding:
    """What a network makes of a scan.

    probability: float32 (X, Y, Z); mask: uint8, where it is at least `threshold`, without pieces
    below `least_ml`; table: a row a piece (`report.volume_report`). smaller_ml and larger_ml: what
    the mask would have if voxels counted that are three times as sure, or a third as sure.
    doubts: what speaks against the scan, and what its header leaves open, a sentence each.
    """

    scan: atlas.Scan
    probability: np.ndarray
    mask: np.ndarray
    table: pd.DataFrame
    threshold: float
    least_ml: float
    smaller_ml: float
    larger_ml: float
    doubts: tuple[str, ...]

    @property
    def ml(self) -> float:
        """The mask's volume in millilitres."""
        return float(self.table.ml.sum())

    @property
    def how_sure(self) -> str:
        """What the two other volumes say, in words."""
        return (
            f"{self.smaller_ml:.1f} to {self.larger_ml:.1f} ml, if a voxel had to be three times "
            "as sure, or only a third as sure, to count (odds). That is how sharp the network's "
            "own border is, and no confidence interval: what it overlooks is in neither."
        )


def examine(
    model: Any,
    path: str | os.PathLike,
    threshold: float = 0.5,
    least_ml: float | None = None,
    *,
    force: bool = False,
    said: Callable[[str], None] = lambda step: None,
) -> Finding:
    """Load a T1w, ask a network about it, and measure what it found; nothing is written.

    `threshold` and `least_ml` as for `segment_volume`; `said` is told of each step that begins.
    Raises ValueError for options out of range before any work, atlas.ScanError for a file that is
    no usable scan, ValueError for labels and for nothing of a head's size, and, unless `force`,
    NoT1wError for what does not look like a T1w of a head.
    """
    check_network(model)
    least_ml = own_least_ml(model) if least_ml is None else least_ml
    check_cut(threshold, least_ml)
    said("reading")
    scan = atlas.load_image(path)
    check_is_head(scan.image, scan.affine, scan.path.name)
    doubted = doubts(scan.image, scan.affine)
    against = [doubt.sentence for doubt in doubted if doubt.is_no_t1w]
    if against and not force:
        raise NoT1wError(
            f"{scan.path.name} does not look like a T1w of a head: {' '.join(against)} Nothing "
            "was segmented."
        )
    said("looking for lesions")
    probability = lesion_probability(model, scan.image, scan.affine)
    said("measuring")
    voxel = voxel_ml(scan.affine)

    def mask_at(cut: float) -> np.ndarray:
        return remove_small(probability >= cut, voxel, least_ml)

    mask = mask_at(threshold)
    smaller, larger = (
        float(mask_at(_at_odds(threshold, factor)).sum() * voxel) for factor in (ODDS, 1 / ODDS)
    )
    return Finding(
        scan=scan,
        probability=probability,
        mask=mask,
        table=report.volume_report(scan, mask),
        threshold=threshold,
        least_ml=least_ml,
        smaller_ml=smaller,
        larger_ml=larger,
        doubts=(*(doubt.sentence for doubt in doubted), *scan.notes),
    )


def _at_odds(probability: float, factor: float) -> float:
    """The probability whose odds are `factor` times as high."""
    return factor * probability / (factor * probability + 1 - probability)


def scan_name(path: str | os.PathLike) -> str:
    """A scan's file name without its ending: what results are named after."""
    name = Path(path).name
    return next(
        (name[: -len(end)] for end in (".nii.gz", ".nii") if name.lower().endswith(end)), name
    )
