"""Find the scans of any ATLAS release, and load them checked and in one orientation.

`find_scans(folder)` gives a table with a row per T1w; `load_scan(row)` gives its arrays in RAS
order; `save_mask` writes a result back in the scan's own grid.
"""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, ornt_transform

from kenseg_utils import anatomy
from kenseg_utils.artifacts import checked_target, write_aside

from ._foreign import ScanError
from ._grids import MASK_GRIDS, by_world, on_same_grid, refuse_no_lesion
from ._nifti import Volume, read_volume

# Part of every key of prepared data: raised when the same files would be found or loaded otherwise.
LOADER_VERSION = 3


@dataclass(frozen=True, eq=False)
class Scan:
    """One T1w volume with its lesion mask, in RAS order.

    image: float32 (X,Y,Z), intensities as the file's header scales them.
    mask: uint8 (X,Y,Z) of 0 and 1, or None where the release ships none.
    affine: (4,4), voxel of these arrays to mm. spacing: voxel size along x, y, z in mm.
    path: the T1w's file. original_affine (4,4), original_shape, orientation (3,2; nibabel's) and
    header are the file's own: what it takes to write a result back in its grid. mask_paths: the
    files that the mask was read from.
    sides_known: False where the header leaves it open which side is left; never print a side then.
    notes: what else the headers leave open, and what was done about it, a sentence each.
    """

    image: np.ndarray
    mask: np.ndarray | None
    affine: np.ndarray
    spacing: tuple[float, float, float]
    subject: str
    session: str
    path: Path
    original_affine: np.ndarray
    original_shape: tuple[int, int, int]
    orientation: np.ndarray
    header: nibabel.Nifti1Header
    mask_paths: tuple[Path, ...] = ()
    sides_known: bool = True
    notes: tuple[str, ...] = ()


def load_scan(row: Any, *, allow_empty_mask: bool = False) -> Scan:
    """Load one row of `find_scans` (a Series, a dict, or a tuple of `itertuples`).

    Several masks are merged. A mask may store 0 and 1, within 0.01, or 0 and 255 as R1.x does;
    it is binarised at half of its upper value. T1w and mask may be stored in different
    orientations, but must lie on the same voxels in space, unless the row's `mask_grid` is
    "world": then the mask was drawn on another image of the session and is brought to the T1w's
    grid by world coordinates (trilinear, cut where the lesion's volume is kept).

    Raises ScanError, naming file, cause and remedy, for anything that `load_image` refuses, a mask
    on another grid, with other labels, of what can be no lesion (most of the volume or its border,
    or over 1,000 ml), or, unless `allow_empty_mask`, without lesion.
    """
    path, paths = _field(row, "t1w", ""), _field(row, "masks", ())
    if not path or not isinstance(path, (str, os.PathLike)) or not isinstance(paths, (tuple, list)):
        raise ScanError(
            f"A row of scans needs t1w, a path, and masks, a tuple of paths; here they "
            f"are {path!r} and {paths!r}. Take rows from atlas.find_scans: a table "
            "read back from a text file has lost its tuples."
        )
    grid = _field(row, "mask_grid", "same")
    if grid not in MASK_GRIDS:
        raise ScanError(
            f"{path}: mask_grid is {grid!r}, and must be 'same' (the mask lies on the T1w's "
            "voxels) or 'world' (it was drawn on another image of the session)."
        )
    volume = read_volume(path)
    scan = _scan(volume)
    # The T1w as stored is needed no longer, only where its voxels lie.
    place = replace(volume, values=np.broadcast_to(np.uint8(0), volume.values.shape))
    del volume
    mask, notes = _merged(place, paths, grid == "world")
    if mask is not None:
        _refuse_empty(mask, paths, allow_empty_mask, grid == "world")
    return replace(
        scan,
        mask=mask,
        mask_paths=tuple(map(Path, paths)),
        subject=str(_field(row, "subject", "")),
        session=str(_field(row, "session", "")),
        notes=scan.notes + notes,
    )


def load_image(path: str | os.PathLike) -> Scan:
    """Load any single T1w in NIfTI: a Scan without mask, subject or session.

    Raises ScanError for anything that is no whole volume of a head in one NIfTI file, or if the
    image has NaN, Inf or one value only.
    """
    return _scan(read_volume(path))


def _scan(volume: Volume) -> Scan:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes Inf and is refused below
        image = volume.in_ras(volume.values.astype(np.float32, order="K", copy=False))
    low, high = float(image.min()), float(image.max())
    if not np.isfinite([low, high]).all():
        count = image.size - int(np.isfinite(image).sum())
        raise ScanError(
            f"{volume.path} has {count:,} voxels that are NaN or Inf. Export it again "
            "from its source, or set them to 0 knowing what they stood for."
        )
    if low == high:
        raise ScanError(
            f"{volume.path} is constant: every voxel is {low:g}. It holds no image; "
            "copy or export it again."
        )
    affine = volume.ras_affine
    return Scan(
        image=image,
        mask=None,
        affine=affine,
        spacing=anatomy.spacing(affine),
        subject="",
        session="",
        path=volume.path,
        original_affine=volume.affine,
        original_shape=volume.values.shape,
        orientation=volume.orientation,
        header=volume.header,
        sides_known=volume.sides_known,
        notes=volume.notes,
    )


def to_original_grid(scan: Scan, array: np.ndarray) -> np.ndarray:
    """Bring an array (X,Y,Z) on the scan's RAS grid back to the order in which its file stores.

    Raises ValueError if the shape is not the scan's.
    """
    array = np.asarray(array)
    if array.shape != scan.image.shape:
        raise ValueError(
            f"The array is {array.shape}, but the scan {scan.path} is "
            f"{scan.image.shape}: undo crops and pads before writing it back."
        )
    back = ornt_transform([[0, 1], [1, 1], [2, 1]], scan.orientation)
    return apply_orientation(array, back)


def save_mask(scan: Scan, mask: np.ndarray, path: str | os.PathLike) -> Path:
    """Write a mask (X,Y,Z) of 0 and 1 as uint8 NIfTI on the voxels of the scan's own file.

    Geometry (sform, qform, their codes, voxel sizes, unit of length), byte order and kind of NIfTI
    are the T1w's. Nothing else of its header is passed on: what it describes is the T1w, and
    descriptions, file names and extensions can name a person. The file appears when it is whole,
    and equal masks give equal bytes. Returns the path.
    Raises ValueError for another shape, other values, a path not ending in .nii or .nii.gz or
    where nothing can be written, and one that leads to the scan or one of its masks.
    """
    path = checked_target(path, (".nii", ".nii.gz"), (scan.path, *scan.mask_paths))
    mask = to_original_grid(scan, mask)
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"A mask to write to {path} holds values other than 0 and 1: threshold it first."
        )
    return _write(scan, mask.astype(np.uint8), path)


def save_probability(scan: Scan, probability: np.ndarray, path: str | os.PathLike) -> Path:
    """Write probabilities (X,Y,Z) as float32 NIfTI on the voxels of the scan's own file.

    As `save_mask` does; ValueError also for values outside 0 to 1.
    """
    path = checked_target(path, (".nii", ".nii.gz"), (scan.path, *scan.mask_paths))
    probability = to_original_grid(scan, probability)
    if not (probability.min() >= 0 and probability.max() <= 1):  # NaN is refused as well
        raise ValueError(f"What is to be written to {path} holds values outside 0 to 1.")
    return _write(scan, probability.astype(np.float32), path)


def _write(scan: Scan, array: np.ndarray, path: Path) -> Path:
    """An array on the grid of the scan's own file, whole or not at all."""
    kind = (
        nibabel.Nifti2Image
        if isinstance(scan.header, nibabel.Nifti2Header)
        else nibabel.Nifti1Image
    )
    content = kind(array, None, _own_header(scan, kind, array.dtype)).to_bytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, 6, mtime=0)
    with write_aside(path) as partial:
        partial.write_bytes(content)
    return path


def _own_header(scan: Scan, kind, dtype) -> nibabel.Nifti1Header:
    """A new header with the geometry of the scan's file."""
    header = kind.header_class(endianness=scan.header.endianness)
    header.set_data_dtype(dtype)
    header.set_data_shape(scan.original_shape)
    for name in (
        *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
        *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
    ):
        header[name] = scan.header[name]
    header["pixdim"][:4] = scan.header["pixdim"][:4]
    header["xyzt_units"] = int(scan.header["xyzt_units"]) & 7  # of length; there is no time axis
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 1
    return header


def _field(row, name: str, default):
    """A field of a Series, a dict or a named tuple; a missing value is the default."""
    value = row.get(name, default) if hasattr(row, "get") else getattr(row, name, default)
    return default if isinstance(value, float) and np.isnan(value) else value


def _merged(image: Volume, paths, is_world: bool) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """All masks of a scan as one in its RAS order, or None without any, and notes about them."""
    whole: np.ndarray | None = None
    notes: list[str] = []
    for path in paths:
        mask = read_volume(path)
        if is_world:
            part, said = by_world(mask, image)
            notes += said
        else:
            part = on_same_grid(mask, image)
        refuse_no_lesion(mask.path, part, image.ras_affine)
        notes += [f"{mask.path.name}: {note}" for note in mask.notes if note not in image.notes]
        whole = part if whole is None else whole | part
    if whole is not None and len(paths) > 1:
        refuse_no_lesion(f"{paths[0]} with its scan's other masks", whole, image.ras_affine)
    return whole, tuple(dict.fromkeys(notes))


def _refuse_empty(mask: np.ndarray, paths, allow_empty: bool, is_world: bool) -> None:
    if not mask.any() and not allow_empty:
        there = " on the grid of its T1w" if is_world else ""
        raise ScanError(
            f"{paths[0]} is empty{there}: no voxel is marked as lesion, and every scan to learn "
            "from has one. Copy it again, leave the scan out, or pass allow_empty_mask=True."
        )
