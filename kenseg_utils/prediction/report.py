"""What was found in a scan, in words and ml. Research and teaching: not for clinical use."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kenseg_utils import anatomy, atlas, metrics

WARNING = (
    "Not for clinical use. A network trained on synthetic heads drew this mask, and it both "
    "misses lesions and invents them. It is no diagnosis, and nobody may be treated by it."
)


def volume_report(scan: atlas.Scan, mask: np.ndarray) -> pd.DataFrame:
    """A row for each piece (26-connected) of a mask (X, Y, Z) on a scan, the largest first.

    Columns: ml; share (of all pieces); side ("left", "right" or "both" of the patient, 90 % of a
    piece deciding; "unknown" where the file leaves open which side is which); x, y, z (mm, the
    scanner's coordinates of the piece's middle); longest (mm, the longest side of the box around
    it). `anatomy.midline` parts the halves: sides of pieces near it are uncertain.
    Raises ValueError for a mask of another shape than the scan's.
    """
    mask = np.asarray(mask) > 0
    if mask.shape != scan.image.shape:
        raise ValueError(
            f"The mask is {mask.shape} and the scan {scan.image.shape}: report a mask "
            "on the scan's own grid."
        )
    labels, count = metrics.label_lesions(mask, corners=True)
    midline = anatomy.midline(scan.image, scan.affine) if scan.sides_known else None
    rows = []
    for number in range(1, count + 1):
        voxels = np.argwhere(labels == number)
        place = scan.affine[:3, :3] @ voxels.mean(0) + scan.affine[:3, 3]
        lengths = (np.ptp(voxels, axis=0) + 1) * scan.spacing
        rows.append(
            dict(
                ml=len(voxels) * anatomy.voxel_ml(scan.affine),
                side=anatomy.lesion_side(labels == number, scan.affine, midline),
                **dict(zip("xyz", place.round(0))),
                longest=float(lengths.max()),
            )
        )
    table = pd.DataFrame(rows, columns=["ml", "side", "x", "y", "z", "longest"])
    table.insert(1, "share", table.ml / max(table.ml.sum(), 1e-12))
    table = table.sort_values("ml", ascending=False, ignore_index=True)
    table.index = pd.RangeIndex(1, len(table) + 1, name="piece")
    return table


def summary(table: pd.DataFrame) -> str:
    """One line about a report: how much, in how many pieces, on which side most."""
    if table.empty:
        return "Nothing was found. (That does not mean that nothing is there.)"
    by_side = table.groupby("side").ml.sum().sort_values(ascending=False)
    names = {"unknown": "on a side that the file does not tell"}
    sides = ", ".join(f"{ml:.1f} ml {names.get(side, side)}" for side, ml in by_side.items())
    return f"{table.ml.sum():.1f} ml in {len(table)} piece(s): {sides}."
