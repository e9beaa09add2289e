"""The synthetic heads' lesions beside real ones, in numbers: no mask is kept, none is learned from.

    python benchmarks/heads_beside_real.py --masks FOLDER … --heads 200

`--masks`: folders of real lesion masks (*.nii.gz) in MNI space, a name for each with `--names`.
All are measured in the template: a synthetic lesion's voxels by where they lie in it.
Writes results/synthetic_lesions.json: quantiles of each set, of all and of those above 20 ml.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from kenseg_utils import anatomy, experiments, metrics
from kenseg_utils.experiments import synthesis
from kenseg_utils.prediction import frames

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LARGE_ML = 20


def described(places: np.ndarray, ml: float, mask: np.ndarray) -> dict[str, float]:
    """Numbers of one mask: its voxels' places (3, n) in the template's mm, its array."""
    depth = synthesis.depth_in_template(places)
    white, gray = synthesis.tissue_in_template(places)
    edge = mask & ~ndimage.binary_erosion(mask)
    low, high = np.percentile(places, (0.5, 99.5), axis=1)
    return {
        "ml": ml,
        "components": float(metrics.label_lesions(mask, corners=True)[1]),
        **{f"extent {axis} (mm)": e for axis, e in zip("xyz", high - low)},
        "nearest to the skull (mm)": float(max(depth.min(), 0)),
        "share within 4 mm of the skull": float((depth <= 4).mean()),
        "share within 8 mm of the skull": float((depth <= 8).mean()),
        "share of gray matter": float((gray > 0.5).mean()),
        "share of white matter": float((white > 0.5).mean()),
        "border voxels / volume^(2/3)": float(edge.sum() / mask.sum() ** (2 / 3)),
        "left": float(places[0].mean() < 0),
        "below the tentorium": float((places[2].mean() < -20) and (places[1].mean() < -30)),
    }


def real(folder: Path) -> pd.DataFrame:
    rows = []
    for file in sorted(folder.glob("*.nii.gz")):
        image = nib.as_closest_canonical(nib.load(file))
        fine = np.asarray(image.dataobj) > 0
        # On 2 mm, as the synthetic ones are.
        whole = fine[tuple(slice(0, n - n % 2) for n in fine.shape)]
        mask = anatomy.block_means(whole, (2, 2, 2)) >= 0.5
        if not mask.any():
            continue
        affine = image.affine @ np.diag([2, 2, 2, 1])
        affine[:3, 3] += image.affine[:3, :3] @ np.full(3, 0.5)
        places = affine[:3, :3] @ np.argwhere(mask).T + affine[:3, 3:]
        ml = fine.sum() * anatomy.voxel_ml(image.affine)
        rows.append(described(places, float(ml), mask))
    return pd.DataFrame(rows)


def synthetic(count: int) -> pd.DataFrame:
    rows = []
    for number in range(count):
        mask, places = synthesis.lesion_in_template((8000, number))
        if mask.any():
            rows.append(described(places[:, mask], mask.sum() * frames.VOXEL_ML, mask))
    return pd.DataFrame(rows)


def quantiles(sets: dict[str, pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for name, table in sets.items():
        for told, part in (("all", table), (f"above {LARGE_ML} ml", table[table.ml > LARGE_ML])):
            for column in part:
                values = part[column].quantile(list(QUANTILES))
                rows.append(
                    dict(set=name, lesions=told, masks=len(part), measure=column)
                    | {f"{100 * q:.0f} %": v for q, v in values.items()}
                    | {"mean": part[column].mean()}
                )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=Path, nargs="*", default=[])
    parser.add_argument("--names", nargs="*", default=[])
    parser.add_argument("--heads", type=int, default=200)
    given = parser.parse_args()
    sets = {"synthetic heads": synthetic(given.heads)}
    sets |= {name: real(folder) for name, folder in zip(given.names, given.masks)}
    table = quantiles(sets)
    print(table.round(2).to_string())
    print(experiments.save_result("synthetic_lesions", {"lesions": table}, heads=synthesis.VERSION))


if __name__ == "__main__":
    main()
