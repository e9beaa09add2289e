"""What lesion masks look like in numbers, to print any set of masks beside ATLAS R2.0.

`measure` makes a row a mask, `summarise` the rows of the comparison, `ATLAS_R2` holds ATLAS's.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import ndimage

FULL_CONNECTIVITY = np.ones((3, 3, 3), bool)
VOLUME_EDGES = (0.1, 0.5, 1, 5, 10, 20, 50, 100, 200)  # ml
# Wider bins for comparing shapes: each holds more than 40 of 200 subjects, as fewer say little
# about a distribution (two samples of 40 of the same one differ by 0.19 on average).
SHAPE_EDGES = (0, 1, 5, 50, np.inf)  # ml

# ATLAS R2.0, the 655 training subjects, counted from the per-subject and per-slice tables that
# liamirpy/RAX-NET_ISCHEMIC_STROKE_SEGMENTATION publishes (commit 34fd335b, Dataset/CSV,
# Apache-2.0); components are joined by faces, edges and corners (3×3×3). Aggregates only.
ATLAS_R2 = pd.Series({
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
}, name="ATLAS R2.0")


def measure(masks: Iterable[np.ndarray]) -> pd.DataFrame:
    """A row for each (X, Y, Z) mask of 1 mm voxels: volume, components, extent and shape.

    `sphericity` is that of a sphere of the same volume over the mask's surface, counted in voxel
    faces (a voxelised ball scores about 0.67); `surface_to_volume` is per mm; `extent` is the
    longer side (mm) of the box around the largest axial slice. Empty masks raise ValueError.
    """
    return pd.DataFrame([_measure_one(np.asarray(mask) > 0) for mask in masks])


def _measure_one(mask: np.ndarray) -> dict:
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        raise ValueError("A mask is empty: leave scans without a lesion out of the statistics.")
    lesion = mask[found[0]]
    labels, components = ndimage.label(lesion, FULL_CONNECTIVITY)
    areas = lesion.sum((0, 1))
    widest = ndimage.find_objects(lesion[:, :, areas.argmax()].astype(np.uint8))[0]
    volume = int(areas.sum())
    surface = sum(int(np.count_nonzero(np.diff(np.pad(lesion, 1), axis=axis)))
                  for axis in range(3))
    return {
        "volume_ml": volume / 1000,
        "components": components,
        "largest_share": np.bincount(labels.ravel())[1:].max() / volume,
        "axial_slices": np.count_nonzero(areas),
        "axial_share": np.count_nonzero(areas) / mask.shape[2],
        "coronal_share": lesion.any((0, 2)).sum() / mask.shape[1],
        "sagittal_share": lesion.any((1, 2)).sum() / mask.shape[0],
        "volume_share": volume / mask.size,
        "sphericity": np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface,
        "surface_to_volume": surface / volume,
        "extent": max(s.stop - s.start for s in widest),
        "slice_areas": tuple(areas[areas > 0].tolist()),
        "slice_components": tuple(ndimage.label(lesion[:, :, z], np.ones((3, 3)))[1]
                                  for z in np.flatnonzero(areas)),
    }


def summarise(measures: pd.DataFrame, name: str = "these masks") -> pd.Series:
    """The rows of `ATLAS_R2`, in its order and units, for what `measure` returned."""
    volume, components = measures.volume_ml, measures.components
    areas = np.concatenate(measures.slice_areas.to_list())
    pieces = np.concatenate(measures.slice_components.to_list())
    shares = np.histogram(volume, (0, *VOLUME_EDGES, np.inf))[0] / len(volume)
    values = [
        volume.mean(), volume.std(), volume.median(), volume.min(), volume.max(), *shares,
        components.mean(), components.max(), (components == 1).mean(), (components == 2).mean(),
        (components >= 3).mean(), measures.largest_share.mean(),
        measures.axial_share.mean(), measures.coronal_share.mean(), measures.sagittal_share.mean(),
        measures.axial_slices.mean(), measures.axial_slices.median(),
        np.median(areas), areas.mean(), *np.percentile(areas, (25, 75)), (areas < 50).mean(),
        (pieces == 1).mean(), pieces.mean(), 100 * measures.volume_share.mean()]
    return pd.Series(values, index=ATLAS_R2.index, name=name)


def shape_distances(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Two-sample Kolmogorov–Smirnov distances of sphericity and extent within volume bins.

    A row a bin of `SHAPE_EDGES` with both counts; NaN where one set has no mask in the bin.
    """
    from scipy.stats import ks_2samp

    rows = []
    for low, high in zip(SHAPE_EDGES[:-1], SHAPE_EDGES[1:]):
        parts = [m[(m.volume_ml > low) & (m.volume_ml <= high)] for m in (first, second)]
        row = {"volume_ml": f"{low:g}–{high:g}", "first": len(parts[0]), "second": len(parts[1])}
        for column in ("sphericity", "surface_to_volume", "extent"):
            row[column] = (ks_2samp(parts[0][column], parts[1][column]).statistic
                           if min(map(len, parts)) else np.nan)
        rows.append(row)
    return pd.DataFrame(rows).set_index("volume_ml")
