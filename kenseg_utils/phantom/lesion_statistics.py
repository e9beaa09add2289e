"""What lesion masks look like in numbers, to print any set of masks beside ATLAS R2.0.

`measure` makes a row a mask, `atlas_rows` the rows of the comparison, `ATLAS_R2` holds ATLAS's;
`REAL_SHAPES` holds how real masks are shaped, `shape_distances` says how far others are, and
`REAL_FITS_124` how many real lesions fit the paper's window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
import pandas as pd
from scipy import ndimage

from kenseg_utils.anatomy import box_around

from ._lesions import FULL_CONNECTIVITY

VOLUME_EDGES = (0.1, 0.5, 1, 5, 10, 20, 50, 100, 200)  # ml
# Wider bins for comparing shapes: each holds more than 40 of 200 subjects, as fewer say little
# about a distribution (two samples of 40 of the same one differ by 0.19 on average).
SHAPE_EDGES = (0, 1, 5, 50, np.inf)  # ml
SHAPES = ("sphericity", "surface_to_volume", "extent")

# ATLAS R2.0, the 655 training subjects, counted from the per-subject and per-slice tables that
# liamirpy/RAX-NET_ISCHEMIC_STROKE_SEGMENTATION publishes (commit 34fd335b, Dataset/CSV,
# Apache-2.0); components are joined by faces, edges and corners (3×3×3). Aggregates only.
ATLAS_R2 = pd.Series(
    {
        "volume, mean (ml)": 33.2,
        "volume, SD (ml)": 62.2,
        "volume, median (ml)": 5.29,
        "volume, smallest (ml)": 0.013,
        "volume, largest (ml)": 496.7,
        "share below 0.1 ml": 0.029,
        "share 0.1–0.5 ml": 0.095,
        "share 0.5–1 ml": 0.087,
        "share 1–5 ml": 0.276,
        "share 5–10 ml": 0.119,
        "share 10–20 ml": 0.070,
        "share 20–50 ml": 0.113,
        "share 50–100 ml": 0.106,
        "share 100–200 ml": 0.067,
        "share above 200 ml": 0.038,
        "components, mean": 2.54,
        "components, most": 33,
        "subjects with one component": 0.469,
        "subjects with two": 0.208,
        "subjects with three or more": 0.324,
        "largest component's share of the volume, mean": 0.89,
        "axial slices with lesion, share of all": 0.266,
        "coronal slices with lesion, share of all": 0.223,
        "sagittal slices with lesion, share of all": 0.182,
        "axial slices with lesion a subject, mean": 50.4,
        "axial slices with lesion a subject, median": 45,
        "area a lesion slice, median (mm²)": 231,
        "area a lesion slice, mean (mm²)": 660,
        "area a lesion slice, 25th percentile (mm²)": 53,
        "area a lesion slice, 75th percentile (mm²)": 895,
        "lesion slices below 50 mm²": 0.238,
        "lesion slices with one component": 0.508,
        "components a lesion slice, mean": 2.09,
        "lesion share of the volume (%)": 0.383,
    },
    name="ATLAS R2.0",
)

# Deciles of shape of 200 real masks, by volume in ml (`SHAPE_EDGES`): acute strokes that were
# traced on diffusion MRI, drawn from 1,449 so that their volumes follow ATLAS R2.0's; the lower
# cerebellum is cut off. From neurolabusc/StrokeOutcomeOptimizationProjectDemo (BSD-2-Clause), after
# OpenNeuro ds004889 (CC0). Aggregates only: no mask and no person can be made out from them.
REAL_SHAPES = {
    "0–1": {  # 42 masks
        "sphericity": (0.447, 0.493, 0.501, 0.509, 0.528, 0.552, 0.587, 0.618, 0.632),
        "surface_to_volume": (0.884, 1.044, 1.133, 1.191, 1.288, 1.36, 1.604, 1.802, 2.057),
        "extent": (6, 7, 8, 10, 11, 11.6, 13, 14, 19),
    },
    "1–5": {  # 55 masks
        "sphericity": (0.325, 0.382, 0.41, 0.449, 0.479, 0.508, 0.543, 0.581, 0.615),
        "surface_to_volume": (0.635, 0.668, 0.723, 0.749, 0.778, 0.814, 0.859, 0.994, 1.178),
        "extent": (12, 14, 16, 17, 20, 23, 28.6, 35.4, 53.8),
    },
    "5–50": {  # 61 masks
        "sphericity": (0.281, 0.312, 0.34, 0.357, 0.363, 0.389, 0.407, 0.459, 0.487),
        "surface_to_volume": (0.374, 0.431, 0.461, 0.507, 0.552, 0.581, 0.622, 0.676, 0.735),
        "extent": (25, 30, 36, 41, 44, 53, 64, 71, 95),
    },
    "50–inf": {  # 42 masks
        "sphericity": (0.281, 0.3, 0.335, 0.352, 0.373, 0.388, 0.397, 0.415, 0.444),
        "surface_to_volume": (0.192, 0.217, 0.237, 0.263, 0.288, 0.309, 0.333, 0.375, 0.396),
        "extent": (58.1, 70.4, 75.6, 85.8, 98, 100.6, 105.4, 119.2, 137.7),
    },
}

# How many subjects' lesions fit a window of 124×124 pixels of 1 mm in every axial slice, counted on
# real masks in MNI space. The first sample is that of `REAL_SHAPES`; the second is of 99 chronic
# strokes of the left hemisphere, from dorianps/LESYMAP (Apache-2.0), much larger than ATLAS's.
REAL_FITS_124 = pd.DataFrame(
    [
        ("acute strokes with ATLAS's volumes", 200, 188, 5.2),
        ("chronic strokes of the left hemisphere, large", 99, 80, 73.1),
    ],
    columns=["masks", "subjects", "fitting", "median_ml"],
)


def fits_window(mask: np.ndarray, side: int = 124) -> bool:
    """Whether the lesion of a (X, Y, Z) mask fits a `side`×`side` window in every axial slice."""
    for z in np.flatnonzero(mask.any((0, 1))):
        rows, columns = np.nonzero(mask[:, :, z])
        if max(np.ptp(rows), np.ptp(columns)) >= side:
            return False
    return True


def measure(
    masks: Iterable[np.ndarray], spacings: Iterable[tuple[float, float, float]] | None = None
) -> pd.DataFrame:
    """A row for each (X, Y, Z) mask: volume, components, extent and shape.

    `spacings` are the masks' voxel sizes in mm (None: all of 1 mm).
    `sphericity` is that of a sphere of the same volume over the mask's surface, counted in voxel
    faces (a voxelised ball scores about 0.67); `surface_to_volume` is per mm; `extent` is the
    longer side (mm) of the box around the largest axial slice; `slice_areas` are in mm².
    Empty masks raise ValueError.
    """
    spacings = repeat((1.0, 1.0, 1.0)) if spacings is None else spacings
    return pd.DataFrame(
        [
            _measure_one(np.asarray(mask) > 0, np.asarray(spacing, float))
            for mask, spacing in zip(masks, spacings)
        ]
    )


def _measure_one(mask: np.ndarray, spacing: np.ndarray) -> dict:
    if not mask.any():
        raise ValueError("A mask is empty: leave scans without a lesion out of the statistics.")
    lesion = mask[box_around(mask)]
    labels, components = ndimage.label(lesion, FULL_CONNECTIVITY)
    areas = lesion.sum((0, 1))
    widest = box_around(lesion[:, :, areas.argmax()])
    voxels = int(areas.sum())
    volume = voxels * spacing.prod()
    surface = sum(
        int(np.count_nonzero(np.diff(np.pad(lesion, 1), axis=axis)))
        * spacing.prod()
        / spacing[axis]
        for axis in range(3)
    )
    return {
        "volume_ml": volume / 1000,
        "components": components,
        "largest_share": np.bincount(labels.ravel())[1:].max() / voxels,
        "axial_slices": np.count_nonzero(areas),
        "axial_share": np.count_nonzero(areas) / mask.shape[2],
        "coronal_share": lesion.any((0, 2)).sum() / mask.shape[1],
        "sagittal_share": lesion.any((1, 2)).sum() / mask.shape[0],
        "volume_share": voxels / mask.size,
        "sphericity": np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface,
        "surface_to_volume": surface / volume,
        "extent": max((s.stop - s.start) * mm for s, mm in zip(widest, spacing)),
        "slice_areas": tuple((areas[areas > 0] * spacing[:2].prod()).tolist()),
        "slice_components": tuple(
            ndimage.label(lesion[:, :, z], np.ones((3, 3)))[1] for z in np.flatnonzero(areas)
        ),
    }


def atlas_rows(measures: pd.DataFrame, name: str = "these masks") -> pd.Series:
    """The rows of `ATLAS_R2`, in its order and units, for what `measure` returned."""
    volume, components = measures.volume_ml, measures.components
    areas = np.concatenate(measures.slice_areas.to_list())
    pieces = np.concatenate(measures.slice_components.to_list())
    shares = np.histogram(volume, (0, *VOLUME_EDGES, np.inf))[0] / len(volume)
    values = [
        volume.mean(),
        volume.std(),
        volume.median(),
        volume.min(),
        volume.max(),
        *shares,
        components.mean(),
        components.max(),
        (components == 1).mean(),
        (components == 2).mean(),
        (components >= 3).mean(),
        measures.largest_share.mean(),
        measures.axial_share.mean(),
        measures.coronal_share.mean(),
        measures.sagittal_share.mean(),
        measures.axial_slices.mean(),
        measures.axial_slices.median(),
        np.median(areas),
        areas.mean(),
        *np.percentile(areas, (25, 75)),
        (areas < 50).mean(),
        (pieces == 1).mean(),
        pieces.mean(),
        100 * measures.volume_share.mean(),
    ]
    return pd.Series(values, index=ATLAS_R2.index, name=name)


def by_volume(measures: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of `measure` apart by volume: a name and a table for each bin of `SHAPE_EDGES`."""
    volume = measures.volume_ml
    return [
        (f"{low:g}–{high:g}", measures[(volume > low) & (volume <= high)])
        for low, high in zip(SHAPE_EDGES[:-1], SHAPE_EDGES[1:])
    ]


def shape_distances(measures: pd.DataFrame) -> pd.DataFrame:
    """How far the shapes of masks lie from those of real ones: a row a bin of `SHAPE_EDGES`.

    At each decile of `REAL_SHAPES` the same share of the masks would lie below, were they shaped
    like real ones: each of `SHAPES` gets the largest gap between the two shares, as in a
    Kolmogorov–Smirnov distance. `masks`: how many there are; gaps are NaN where there are none.
    """
    rows = []
    for name, part in by_volume(measures):
        gaps = {
            shape: _largest_gap(part[shape].to_numpy(), REAL_SHAPES[name][shape])
            for shape in SHAPES
        }
        rows.append({"volume_ml": name, "masks": len(part)} | gaps)
    return pd.DataFrame(rows).set_index("volume_ml")


def _largest_gap(values: np.ndarray, deciles: Sequence[float]) -> float:
    if not len(values):
        return np.nan
    wanted = np.arange(1, 10) / 10
    # Where values are equal, as whole millimetres often are, any share of them counts as below.
    least = np.greater.outer(deciles, values).mean(1)
    most = np.greater_equal.outer(deciles, values).mean(1)
    return float(max(0, *(wanted - most), *(least - wanted)))
