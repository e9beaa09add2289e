"""Where a NIfTI header places its voxels: in millimetres, with doubts said instead of settled.

A header has two ways to say it, the sform (an affine) and the qform (a rotation with voxel
sizes), each with a code that is 0 where it says nothing. The sform is taken, else the qform, as
nibabel and the standard have it. What the header leaves open is kept as notes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from kenseg_utils import anatomy

from ._foreign import COPY_AGAIN, ScanError

# The longest side of a volume, in mm. Outside REFUSED no head can be; outside DOUBTED few are.
# Of few voxels, less is let pass: examples and tests are so small.
REFUSED_MM = (40, 1000)
REFUSED_MM_OF_FEW = 10
FEW_VOXELS = 40
DOUBTED_MM = (60, 450)
LEAST_VOXEL_MM = 0.01  # no scanner resolves a tenth of that
_UNITS = {1: ("metres", 1000.0), 3: ("microns", 0.001)}
# How far the two forms may turn the axis from left to right and still agree about it. No head lies
# askew in a coil, or to a template, by more; from 45 degrees on another axis is the nearest.
_SIDES_DEGREES = 30
# How much longer than 1 a quaternion may be by rounding, as in a text of four digits.
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class Orientation:
    """affine (4,4): stored voxel to mm. sides_known: whether left and right are more than a guess.

    is_placed: whether the header says at all where the volume lies. notes: what it leaves open, one
    sentence each, without the file's name.
    """

    affine: np.ndarray
    sides_known: bool = True
    is_placed: bool = True
    notes: tuple[str, ...] = ()


def orientation(
    path: Path, header: nibabel.Nifti1Header, stored_mm: Any, shape: Any
) -> Orientation:
    """The orientation in a header, whose quaternion is put right in place where rounding broke it.

    `stored_mm` are the header's pixdim 1 to 3 before any repair; `shape` is the volume's.
    Raises ScanError where no sound affine can be had, or the volume cannot be a head.
    """
    sform, qform = _sform(header), _qform(path, header, stored_mm)
    notes, sides_known = [], True
    if sform is not None:
        affine = sform
    elif qform is not None:
        affine = qform
    else:
        affine, sides_known = _no_form(path, header, stored_mm), False
        notes.append(
            "its header gives no orientation (sform and qform codes are 0), so which side is "
            "left is a guess, and so is what is up and what is front: none of its axes is known"
        )
    if sform is None and np.less(stored_mm, 0).any():
        sides_known = False
        notes.append(
            f"its header gives a negative voxel size, {_numbers(stored_mm)}, by which some "
            "programs mean a flip: which side is left is a guess"
        )
    unit, factor = _UNITS.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    if unit:
        notes.append(f"its header is in {unit}, which are converted to millimetres")
    elif int(header["xyzt_units"]) & 7 > 3:
        notes.append("its header names a unit that does not exist, and is taken for millimetres")
    affine = in_mm(affine, factor)
    _refuse_unsound(path, affine)
    if sform is not None and qform is not None:
        note, turned = _disagreement(affine, in_mm(qform, factor), shape)
        notes += [note] if note else []
        sides_known = sides_known and not turned
    notes += _size(path, affine, shape, unit)
    is_placed = sform is not None or qform is not None
    return Orientation(affine, sides_known, is_placed, tuple(notes))


def in_mm(affine: np.ndarray, factor: float) -> np.ndarray:
    """An affine whose world is in another unit, in millimetres."""
    return np.diag([factor] * 3 + [1.0]) @ affine if factor != 1 else affine


def other_form(header: nibabel.Nifti1Header) -> np.ndarray | None:
    """The qform of a header that has a sform too, in mm, or None."""
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        try:
            factor = _UNITS.get(int(header["xyzt_units"]) & 7, ("", 1.0))[1]
            return in_mm(np.asarray(header.get_qform(), np.float64), factor)
        except Exception:  # nibabel raises several kinds for a quaternion that is none
            return None
    return None


def _sform(header) -> np.ndarray | None:
    return np.asarray(header.get_sform(), np.float64) if header["sform_code"] > 0 else None


def _qform(path: Path, header, stored_mm) -> np.ndarray | None:
    """The qform, or None where its code is 0, or where it is damaged and the sform is there."""
    if header["qform_code"] <= 0:
        return None
    needed = header["sform_code"] <= 0
    if needed:
        _refuse_no_size(path, stored_mm)
    _shorten_quaternion(header)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(header.get_qform(), np.float64)
    except Exception as error:  # nibabel raises several kinds for a quaternion that is none
        if needed:
            raise ScanError(f"{path} has a damaged orientation: {error}. {COPY_AGAIN}") from error
        return None


def _shorten_quaternion(header) -> None:
    """Divide a quaternion that rounding made longer than 1 by its length, as the standard's code.

    Three of its four numbers are stored; the fourth is the root of what they leave of 1.
    """
    names = ("quatern_b", "quatern_c", "quatern_d")
    stored = np.array([float(header[name]) for name in names])
    with np.errstate(all="ignore"):
        square = float(stored @ stored)
    if 1 < square <= 1 + _ROUNDING:
        for name, value in zip(names, stored / np.sqrt(square)):
            header[name] = value


def _no_form(path: Path, header, stored_mm) -> np.ndarray:
    _refuse_no_size(path, stored_mm)
    return np.asarray(header.get_base_affine(), np.float64)


def _refuse_no_size(path: Path, stored_mm) -> None:
    if not all(np.isfinite(stored_mm)) or 0 in stored_mm:
        raise ScanError(
            f"{path} does not say how large its voxels are: its header has the sizes "
            f"{_numbers(stored_mm)}. Export it again from its source."
        )


def _refuse_unsound(path: Path, affine: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        lengths = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        volume = abs(np.linalg.det(affine[:3, :3] / lengths)) if np.isfinite(lengths).all() else 0
    sound = np.isfinite(affine).all() and lengths.min() > 0 and volume > 1e-3 and affine.max() < 1e9
    if not sound:
        raise ScanError(
            f"{path} has an unusable affine (voxel to mm), {affine.tolist()}: it must "
            f"be finite and invertible. {COPY_AGAIN}"
        )


def _disagreement(sform: np.ndarray, qform: np.ndarray, shape) -> tuple[str, bool]:
    """What to say of two forms that lie over a voxel apart, and whether it leaves the side open."""
    if not np.isfinite(qform).all():
        return "", False
    apart = anatomy.grid_distance(sform, qform, shape)
    if apart <= min(anatomy.spacing(sform)):
        return "", False
    told = (
        f"its header places it twice, up to {apart:.3g} mm apart: by the sform "
        f"({placed(sform)}), which is taken, and by the qform ({placed(qform)})"
    )
    # The first axis of the world, seen from the voxels: where it turns far, left is not left.
    one, other = (form[0, :3] / anatomy.spacing(sform) for form in (sform, qform))
    with np.errstate(all="ignore"):
        cosine = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    turned = not cosine >= np.cos(np.radians(_SIDES_DEGREES))  # NaN, of a form without size, too
    return told + (", so which side is left is a guess" if turned else ""), turned


def placed(affine: np.ndarray) -> str:
    """An affine in words: the way its axes run and where its first voxel lies."""
    codes = nibabel.aff2axcodes(affine)
    axes = "".join(code or "?" for code in codes)
    return f"axes {axes} from {_numbers(affine[:3, 3])} mm"


def _size(path: Path, affine: np.ndarray, shape, unit: str) -> list[str]:
    """A doubt about the size of the volume, in a list, if any; ScanError where it is no head."""
    sizes = anatomy.spacing(affine)
    sides = np.multiply(shape, sizes)
    longest = float(sides.max())
    said = f"{unit}" if unit else "millimetres, or no unit"
    told = f"{longest:.3g} mm along its longest side"
    least = REFUSED_MM[0] if max(shape) > FEW_VOXELS else REFUSED_MM_OF_FEW
    if not least <= longest <= REFUSED_MM[1]:
        raise ScanError(
            f"{path} would be {told} ({_numbers(anatomy.spacing(affine))} mm a voxel), and no "
            f"head is: its header ({said}) has a wrong unit or voxel size. Put both right, or "
            "export it again."
        )
    if min(sizes) < LEAST_VOXEL_MM:
        raise ScanError(
            f"{path} has voxels of {_numbers(sizes)} mm, and no scan's are that small: its header "
            "has a wrong voxel size. Put it right, or export it again."
        )
    if not DOUBTED_MM[0] <= longest <= DOUBTED_MM[1]:
        return [
            f"it is {told}, which is unusual for a head: check the unit and the voxel size in its "
            "header, or volumes in ml will be wrong"
        ]
    return []


def _numbers(values) -> str:
    return "(" + ", ".join(f"{float(value):.4g}" for value in values) + ")"
