"""Scans written as nnU-Net's raw data set, for those who outgrow this book's networks.

The layout is that of nnU-Net version 2 (Isensee et al., 2021): `imagesTr/<case>_0000.nii.gz`,
`labelsTr/<case>.nii.gz` and `dataset.json`; `splits_final.json` is what its preprocessed folder
takes for folds of one's own.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from tqdm import tqdm

from kenseg_utils import artifacts

from ._foreign import ScanError
from ._scans import load_scan


def write_nnunet(
    scans: pd.DataFrame,
    folder: str | Path,
    number: int = 501,
    name: str = "Strokes",
    folds: int = 5,
    by: str = "subject",
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write scans with masks as `folder/Dataset<number>_<name>`; returns that folder's path.

    `scans`: rows of `find_scans`. Images are written in RAS order with their values as they are,
    masks as 0 and 1 on the same voxels. A scan that cannot be read is left out and named in
    `left_out.csv`. The folds keep all scans of a `by` ("subject" or "site") together, since
    nnU-Net's own would split a subject's sessions.
    Nothing half-written is left behind; an existing data set is never touched.
    Raises ValueError for a name, number or folder that nnU-Net could not use, or fewer groups
    than folds; ScanError where no scan could be read.
    """
    if not re.fullmatch("[A-Za-z0-9]+", name) or not 1 <= number <= 999:
        raise ValueError(
            f"Dataset{number}_{name} is no name of an nnU-Net data set: a number from 1 to 999 and "
            "a name of letters and digits."
        )
    target = artifacts.as_path(folder) / f"Dataset{number:03d}_{name}"
    if target.exists():
        raise ValueError(f"{target} is there already: choose another number, name or folder.")
    rows = [row for row in scans.to_dict("records") if len(row["masks"])]
    cases = _case_names(rows)
    groups = [str(row.get(by, "")) for row in rows]
    if not 2 <= folds <= len(set(groups)):
        raise ValueError(
            f"{folds} folds of {len(set(groups))} {by}s: choose between 2 and {len(set(groups))}."
        )

    def make(partial: Path) -> None:
        written, lost = [], []
        for place in ("imagesTr", "labelsTr"):
            (partial / place).mkdir(exist_ok=True)
        work = zip(rows, cases, groups, strict=True)
        for row, case, group in tqdm(work, total=len(rows), unit="scan", disable=not progress):
            try:
                _write_case(row, case, partial)
            except ScanError as error:
                lost.append(dict(case=case, error=str(error)))
            else:
                written.append((case, group))
        if not written:
            raise ScanError(
                f"None of {len(rows)} scans could be read; the first: {lost[0]['error']}"
            )
        if lost:
            pd.DataFrame(lost).to_csv(partial / "left_out.csv", index=False)
        artifacts.write_json(partial / "splits_final.json", _splits(written, folds, seed))
        artifacts.write_json(
            partial / "dataset.json",
            dict(
                channel_names={"0": "T1"},
                labels={"background": 0, "lesion": 1},
                numTraining=len(written),
                file_ending=".nii.gz",
                name=name,
            ),
        )

    return artifacts.build(target, make)


def _case_names(rows: Sequence[dict]) -> list[str]:
    """A name for each scan that is safe in a file name, and no two alike, whatever their case."""
    plain = [
        re.sub("[^A-Za-z0-9]+", "-", "_".join(filter(None, map(str, parts)))).strip("-") or "case"
        for parts in ((row.get("subject", ""), row.get("session", "")) for row in rows)
    ]
    counts = Counter(name.lower() for name in plain)
    taken = {name for name, count in counts.items() if count == 1}
    names = []
    for name in plain:
        if counts[name.lower()] > 1:
            numbered = (f"{name}-{number}" for number in itertools.count(1))
            name = next(each for each in numbered if each.lower() not in taken)
            taken.add(name.lower())
        names.append(name)
    return names


def _write_case(row: dict, case: str, folder: Path) -> None:
    scan = load_scan(row, allow_empty_mask=True)
    image = nibabel.Nifti1Image(scan.image, scan.affine)
    image.header.set_xyzt_units("mm")
    written = folder / "imagesTr" / f"{case}_0000.nii.gz"
    if written.exists():  # no name is given twice; were one, a scan must not be lost over it
        raise FileExistsError(f"{written} is there already: two scans have one name.")
    nibabel.save(image, written)
    # Both take the grid of the scan as it was loaded, so the two cannot differ.
    label = nibabel.Nifti1Image(scan.mask, scan.affine)
    label.header.set_xyzt_units("mm")
    nibabel.save(label, folder / "labelsTr" / f"{case}.nii.gz")


def _splits(written: list[tuple[str, str]], folds: int, seed: int) -> list[dict]:
    """Folds in nnU-Net's form: which cases train and which validate, groups kept together."""
    names = np.unique([group for _, group in written])
    parts = np.array_split(np.random.default_rng(seed).permutation(names), min(folds, len(names)))
    return [
        dict(
            train=[case for case, group in written if group not in part],
            val=[case for case, group in written if group in part],
        )
        for part in parts
    ]
