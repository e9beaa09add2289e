"""What was found in a scan, in words and millilitres.

Research and teaching only: not for clinical use.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kenseg_utils import anatomy, atlas, metrics
from kenseg_utils.machine import so_many

MNI_CODE = 4  # of a NIfTI header's sform: MNI 152 space
WARNING = (
    "Not for clinical use. A network trained on synthetic heads drew this mask, and it both "
    "misses lesions and invents them. It is no diagnosis, and nobody may be treated by it."
)


def volume_report(scan: atlas.Scan, mask: np.ndarray, space: str | None = None) -> pd.DataFrame:
    """A row for each piece (26-connected) of a mask (X, Y, Z) on a scan, the largest first.

    Columns: ml; share (of all pieces); side ("left", "right" or "both" of the patient, 90 % of a
    piece deciding); x, y, z (mm, the scanner's coordinates of the piece's middle); longest (mm,
    the longest side of the box around it). `scan_midline` parts the sides, and is handed
    `space`.
    Where the header leaves open which side is which, side is "unknown" and there are no x, y, z;
    the table's attrs["sides"] then says why, and `summary` repeats it.
    Raises ValueError for a mask of another shape than the scan's, or other values than 0 and 1.
    """
    mask = np.asarray(mask)
    if mask.shape != scan.image.shape:
        raise ValueError(
            f"The mask is {mask.shape} and the scan {scan.image.shape}: report a mask "
            "on the scan's own grid."
        )
    if not np.isin(mask, (0, 1)).all():
        raise ValueError("The mask holds values other than 0 and 1: threshold it first.")
    mask = mask.astype(bool)
    labels, count = metrics.label_lesions(mask, corners=True)
    parted = scan_midline(scan, space) if count else None
    unknown = why_sides_are_unknown(scan)
    rows = []
    for number in range(1, count + 1):
        voxels = np.argwhere(labels == number)
        place = scan.affine[:3, :3] @ voxels.mean(0) + scan.affine[:3, 3]
        lengths = (np.ptp(voxels, axis=0) + 1) * scan.spacing
        rows.append(
            dict(
                ml=len(voxels) * anatomy.voxel_ml(scan.affine),
                side=anatomy.lesion_side(labels == number, scan.affine, parted),
                **dict(zip("xyz", np.full(3, np.nan) if unknown else place.round(0))),
                longest=float(lengths.max()),
            )
        )
    table = pd.DataFrame(rows, columns=["ml", "side", "x", "y", "z", "longest"])
    table.insert(1, "share", table.ml / max(table.ml.sum(), 1e-12))
    table = table.sort_values("ml", ascending=False, ignore_index=True)
    table.index = pd.RangeIndex(1, len(table) + 1, name="piece")
    table.attrs["sides"] = unknown
    return table


def summary(table: pd.DataFrame) -> str:
    """One line about a report: how much, in how many pieces, on which side most."""
    if table.empty:
        return "Nothing was found. (That does not mean that nothing is there.)"
    total = f"{table.ml.sum():.1f} ml in {so_many(len(table), 'piece')}"
    if (table.side == "unknown").all():
        why = table.attrs.get("sides") or "the scan does not say which side is which"
        return f"{total}: side unknown, since {why}."
    by_side = table.groupby("side").ml.sum().sort_values(ascending=False)
    return f"{total}: " + ", ".join(f"{ml:.1f} ml {side}" for side, ml in by_side.items()) + "."


def scan_midline(scan: atlas.Scan, space: str | None = None) -> anatomy.Midline | None:
    """What parts a scan's left from its right, for `anatomy.lesion_side`; None where none can tell.

    `space` as in a row of `atlas.find_scans`. Without one, the header's code or the file's name
    (`space-MNI…`) tells whether the scan lies in MNI space, where x = 0 parts the sides.
    """
    if why_sides_are_unknown(scan):
        return None
    if space is None:
        named = "_space-MNI" in scan.path.name
        space = "MNI" if named or _code(scan, "sform_code") == MNI_CODE else ""
    return anatomy.midline(scan.image, scan.affine, space)


def why_sides_are_unknown(scan: atlas.Scan) -> str:
    """Why left and right cannot be told in a scan, as the end of a sentence; "" where they can."""
    if getattr(scan, "sides_known", True):
        return ""
    if _code(scan, "sform_code") <= 0 and _code(scan, "qform_code") <= 0:
        return "its header gives no orientation (sform and qform codes are both 0)"
    return "what its header says about the orientation (sform and qform) does not agree"


def _code(scan: atlas.Scan, name: str) -> int:
    return int(scan.header[name])
