"""Masks on the grid of their scan: voxel for voxel if they lie on it, else by world coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy.ndimage import affine_transform

from kenseg_utils import anatomy

from ._foreign import ScanError
from ._nifti import Volume
from ._orientation import other_form, placed

LABEL_TOLERANCE = 0.01  # some ATLAS masks store 0.99999998 for 1
MASK_GRIDS = ("same", "world")
# The largest lesions of published sets have 500 to 600 ml, one of SOOP 853 ml in the template's
# space, where brains are larger by a third; masks of whole brains of adults begin at 1,000 ml.
MOST_ML = 1000
_MOST_SHARE = 0.5  # of a volume or of its border, which lies in air: a real lesion has 0.2 and 0.02
_MOST_LOST = 0.5  # of a lesion outside the scan: then the two were not taken in one session
_WORTH_SAYING = 0.02


def binary(volume: Volume) -> np.ndarray:
    """A mask file's values, as stored, as uint8 of 0 and 1; ScanError for other labels."""
    values = volume.values
    low, high = values.min(), values.max()
    if values.dtype.kind in "iu" and low >= 0 and high <= 1:  # as most masks are stored
        return values.astype(np.uint8, copy=False)
    top = 255 if high > 2 else 1
    flat = values.ravel(order="K")  # as it lies in memory: far quicker to choose from
    between = flat[flat != 0]
    between = between[between != top].astype(np.float64)
    off_label = ~(np.minimum(np.abs(between), np.abs(between - top)) <= LABEL_TOLERANCE)  # or NaN
    if off_label.any():
        odd = ", ".join(f"{value:g}" for value in np.unique(between[off_label])[:5])
        raise ScanError(
            f"{volume.path} holds {odd}; a lesion mask holds 0 and 1. Give one binary "
            "mask: threshold a probability map, choose one of several labels."
        )
    return (values > top / 2).view(np.uint8)


def refuse_no_lesion(path: str | Path, mask: np.ndarray, affine: np.ndarray) -> None:
    """Raise ScanError, naming `path`, where a mask (X,Y,Z) of 0 and 1 can be of no lesion.

    That is every voxel, most of them, most of the volume's border, or over `MOST_ML`.
    """
    lesion = int(np.count_nonzero(mask))
    if lesion == mask.size:
        raise ScanError(f"{path} marks every voxel as lesion. Copy it again or leave the scan out.")
    inner = mask[1:-1, 1:-1, 1:-1]
    share = lesion / mask.size
    border = (lesion - int(np.count_nonzero(inner))) / (mask.size - inner.size)
    if max(share, border) > _MOST_SHARE:
        raise ScanError(
            f"{path} marks {share:.0%} of its voxels as lesion, and {border:.0%} of those at its "
            "border, where air is: it is inverted, or a mask of the head or the air. Give one with "
            "1 in the lesion and 0 elsewhere, or leave the scan out."
        )
    ml = lesion * anatomy.voxel_ml(affine)
    if ml > MOST_ML:
        raise ScanError(
            f"{path} marks {ml:,.0f} ml as lesion, and at most {MOST_ML:,} ml can be one: the "
            "largest that are published have 500 to 600 ml, and a whole brain has over "
            f"{MOST_ML:,} ml. It is a mask of the brain or the head, or the voxel size in its "
            "header is wrong. Give the lesion's mask, and have others say in their names what they "
            "show (desc-brain), or leave the scan out."
        )


def on_same_grid(mask: Volume, image: Volume) -> np.ndarray:
    """A mask of 0 and 1 in the RAS order of an image with the same voxels, however it is stored.

    The mask's axes are matched to the image's, not to the world's: on a grid turned by 45 degrees
    two headers that differ in the seventh digit would each name their axes differently.
    Raises ScanError where corners lie over `anatomy.GRID_TOLERANCE_MM` apart, or where one of the
    two headers does not say where its volume lies.
    """
    if mask.is_placed != image.is_placed:  # by nibabel's guess they might lie mirrored
        raise ScanError(
            f"{mask.path} and {image.path} cannot be brought together."
            f"{_doubts(mask, image)} Give it the header of the image that it was drawn on."
        )
    way = io_orientation(np.linalg.solve(image.ras_affine, mask.affine))
    # An axis that runs along none of the image's is on another grid: then any order will do.
    if np.isnan(way).any() or len(set(way[:, 0])) < 3:
        way = mask.orientation
    shape = tuple(mask.values.shape[axis] for axis in np.argsort(way[:, 0]))
    needed = _ras_shape(image)
    if shape != needed:
        raise ScanError(
            f"{mask.path} and {image.path} do not fit: in RAS order the mask is {shape}, the T1w "
            f"{needed}. Use the mask that belongs to this T1w, or, if it was drawn on another "
            "image of the same session, say so: mask_grid='world'." + _doubts(mask, image)
        )
    affine = mask.affine @ inv_ornt_aff(way, mask.values.shape)
    apart = anatomy.grid_distance(affine, image.ras_affine, shape)
    if not apart <= anatomy.GRID_TOLERANCE_MM:
        raise ScanError(
            f"{mask.path} and {image.path} do not fit: their affines place the same voxel up to "
            f"{apart:.3g} mm apart. Use the mask that belongs to this T1w, or resample it to the "
            "T1w's grid." + _doubts(mask, image)
        )
    return np.asfortranarray(apply_orientation(binary(mask), way))


def by_world(mask: Volume, image: Volume) -> tuple[np.ndarray, tuple[str, ...]]:
    """A mask of 0 and 1 drawn on another image of the session, on the RAS grid of this one.

    Both headers lead to the scanner's space, so a voxel of the image is looked up in the mask by
    world coordinates. Its share of lesion is interpolated trilinearly, averaged over as many points
    within the voxel as the mask's voxels are smaller. The voxels with the largest shares become
    lesion, as many as the lesion's volume asks for: the cut lies near 0.5, which itself would eat
    away thin lesions and small ones (by a tenth where voxels are coarse), and nearest neighbour,
    which keeps the volume on average, makes borders rough.

    Returns it with notes: what share of the lesion lies outside the image, if any.
    Raises ScanError where a header gives no orientation, or where most of the lesion lies outside.
    """
    for volume in (mask, image):
        if not volume.sides_known:
            raise ScanError(
                f"{mask.path} was drawn on another image than {image.path}, and would be brought "
                f"to it by world coordinates, but {volume.path.name} does not say for certain "
                f"where it lies: {'; '.join(volume.notes)}."
            )
    lesion = binary(mask)
    shape, notes = _ras_shape(image), tuple[str, ...]()
    result = np.zeros(shape, np.uint8, order="F")
    voxels = np.argwhere(lesion)
    if not len(voxels):
        return result, notes
    there = np.linalg.solve(mask.affine, image.ras_affine)  # the image's voxel to the mask's
    lost = _outside(voxels, np.linalg.inv(there), shape)
    if lost > _MOST_LOST:
        raise ScanError(
            f"{mask.path} and {image.path} do not fit: {lost:.0%} of the lesion lies outside the "
            f"image in the scanner's space. They are not of one session, or a header is wrong: "
            f"the mask has {placed(mask.affine)}, the image {placed(image.affine)}."
        )
    if lost > _WORTH_SAYING:
        notes = (f"{lost:.0%} of the lesion in {mask.path.name} lies outside this image",)
    low, high = voxels.min(0) - 1, voxels.max(0) + 2
    box = _box_around(low, high, np.linalg.inv(there), shape)
    cut = np.pad(lesion, 1)[tuple(slice(a + 1, b + 1) for a, b in zip(low, high))]
    start = np.array([part.start for part in box])
    size = [part.stop - part.start for part in box]
    points = _points(there[:3, :3])
    share = np.zeros(size, np.float32)
    for point in points:
        origin = apply_affine(there, start + point) - low
        share += affine_transform(
            cut, there[:3, :3], origin, size, np.float32, order=1, mode="constant"
        )
    result[box] = _fullest(share / len(points))
    return result, notes


def _fullest(share: np.ndarray) -> np.ndarray:
    """The voxels with the largest shares of lesion, as many as they all hold together; bool."""
    if not share.size or not share.any():
        return np.zeros(share.shape, bool)
    count = max(1, round(float(share.sum(dtype=np.float64))))
    least = np.partition(share, -count, axis=None)[-count]
    over, with_ties = share > least, share >= least
    # Of shares that tie at the cut all become lesion or none, whichever comes closer.
    few, many = np.count_nonzero(over), np.count_nonzero(with_ties)
    return over if few and count - few < many - count else with_ties


def _ras_shape(volume: Volume) -> tuple[int, int, int]:
    return tuple(volume.values.shape[axis] for axis in np.argsort(volume.orientation[:, 0]))


def _points(step: np.ndarray) -> np.ndarray:
    """Where to look within a voxel of size 1: (n, 3), evenly around its middle.

    `step` (3,3) has for each axis of the image how far one voxel leads in the mask's voxels.
    """
    counts = np.maximum(1, np.rint(np.linalg.norm(step, axis=0))).astype(int)
    along = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    return np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, 3)


def _outside(voxels: np.ndarray, way: np.ndarray, shape) -> float:
    """The share of some voxels that `way` (4,4) leads out of a volume of `shape`."""
    sample = voxels[:: max(1, len(voxels) // 100_000)]
    led = apply_affine(way, sample)
    return float(((led < -0.5) | (led > np.array(shape) - 0.5)).any(1).mean())


def _box_around(low, high, way: np.ndarray, shape) -> tuple[slice, ...]:
    """The part of a volume of `shape` to which `way` leads a box of voxels, and a margin of one."""
    corners = np.array(
        [[(low, high)[bit][axis] for axis, bit in enumerate(bits)] for bits in np.ndindex(2, 2, 2)]
    )
    led = apply_affine(way, corners)
    first = np.clip(np.floor(led.min(0)) - 1, 0, shape).astype(int)
    last = np.clip(np.ceil(led.max(0)) + 2, 0, shape).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last))


def _doubts(mask: Volume, image: Volume) -> str:
    """What in the two headers may be the reason why they do not fit, as more sentences."""
    told = [
        f" {volume.path.name}: {note}."
        for volume in (mask, image)
        for note in volume.notes
        if note.startswith("its header")  # not what concerns size
    ]
    for one, other in ((mask, image), (image, mask)):
        form = other_form(one.header)
        if form is not None and one.values.shape == other.values.shape:
            apart = anatomy.grid_distance(form, other.affine, other.values.shape)
            if apart <= anatomy.GRID_TOLERANCE_MM:
                told.append(
                    f" They fit by the qform of {one.path.name}: a program that reads qforms has "
                    "been at work. Make sform and qform of the two files agree."
                )
    return "".join(told)
