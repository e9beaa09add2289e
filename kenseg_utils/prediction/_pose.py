"""Does the head lie as the scan's header says? Told by mirror images, its neck, and its front."""

from __future__ import annotations

import numpy as np
from nibabel import orientations
from scipy import ndimage

from kenseg_utils import anatomy

from ._facing import BACKWARDS, facing
from ._looks import Doubt

COARSE_MM = 4.0
# How like its mirror image along another axis a head must be, and how much less so from side to
# side, to lie wrongly. Right heads reach 0.19 more along another (and are then below 0.55): with
# a lesion of 356 ml, rolled by 25 degrees. Real ones with axes exchanged have at least 0.24.
LIKE, UNLIKE = 0.6, 0.2
SHEAR = 0.22  # the cosine between two axes of voxels: 0.2 still leaves volumes right, 0.3 not
NECK = 0.35  # of the fullest plane's area is at the end of a neck; of a brain it is 0.23 at most
_TILTS = (-0.2, 0.0, 0.2)  # radians
_SHIFTS = np.arange(-12, 13, 4)  # mm
_ALONG = ("from side to side", "from back to front", "from bottom to top")


def of_shear(affine: np.ndarray) -> list[Doubt]:
    """What the angles between the voxels' axes say."""
    axes = np.asarray(affine, float)[:3, :3] / anatomy.spacing(affine)
    most = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if most <= SHEAR:
        return []
    angle = np.degrees(np.arccos(most))
    return [
        Doubt(
            f"its header shears it: two axes of its voxels stand at {angle:.0f} and not 90 degrees "
            "to each other, and lesions are invented in what is bent so far. Resample it to axes "
            "at right angles."
        )
    ]


def of_pose(
    image: np.ndarray, affine: np.ndarray, blocks: np.ndarray, size: np.ndarray
) -> list[Doubt]:
    """A doubt, or none, about how the head lies.

    `image` with its `affine` as stored; `blocks` the same in RAS order, of sides `size`.
    """
    flat, near = _ends(blocks, size)
    if flat and "the bottom" not in flat:
        why = f"it ends flat, as at a neck, at {' and '.join(flat)}, and not at the bottom"
    else:  # of a head that is cut at a side, the other half's mirror image is missing
        why = "" if "a side" in flat else _of_mirrors(image, affine)
        why = why or ("" if flat or size.max() > 3.1 else _of_stem(near))
        cut = {"a side", "the back", "the front"} & set(flat)  # what is left says little
        why = why or ("" if cut else _of_front(blocks, size))
    if not why:
        return []
    return [
        Doubt(
            f"the head does not seem to lie as its header says: {why}. The mask may be wrong "
            "wherever it is, and so may sides. Look at the scan in a viewer, and mend the header."
        )
    ]


def _ends(blocks: np.ndarray, size: np.ndarray) -> tuple[list[str], dict[str, float]]:
    """Where the head ends flat, as a neck does; and how full it is 16 mm from each end."""
    head = anatomy.head_mask(blocks)
    flat, near = [], {}
    sides = ("a side", "a side"), ("the back", "the front"), ("the bottom", "the top")
    for axis, names in enumerate(sides):
        share = head.sum(tuple(other for other in range(3) if other != axis)).astype(float)
        share /= max(share.max(), 1)
        filled = np.flatnonzero(share > 0.01)
        places = (np.arange(len(share)) + 0.5) * size[axis]
        ends = (filled[0] * size[axis], (filled[-1] + 1) * size[axis])
        for name, end, inwards, edge in zip(names, ends, (1, -1), (share[0], share[-1])):
            inner = np.interp(end + np.array([8, 16]) * inwards, places, share)
            if edge > 0.15 or (axis and inner[0] > NECK):  # sides are flat in any head
                flat.append(name)
            near[name] = float(inner[1])
    return flat, near


def _of_stem(near: dict[str, float]) -> str:
    """Whether a brain alone, of voxels fine enough, narrows where none does.

    Its stem makes it narrow at the bottom, and it is as wide behind as in front. Of real ones,
    tilted by up to 30 degrees, both ratios were at most and at least 1.0; upside down it is 1.7.
    """
    upside_down = 1.3 * near["the top"] < near["the bottom"] < 0.45
    on_its_back = near["the back"] < 0.75 * near["the front"]
    return "it narrows where a brain does not" if upside_down or on_its_back else ""


def _of_front(blocks: np.ndarray, size: np.ndarray) -> str:
    """Whether the head's front lies at the back."""
    if facing(blocks, size) >= BACKWARDS:
        return ""
    return (
        "its front seems to lie at the back, as where DICOM's axes (left, back) were taken for "
        "NIfTI's (right, front)"
    )


def _of_mirrors(image: np.ndarray, affine: np.ndarray) -> str:
    """Along which axis the head is most like its mirror image: it should be from side to side."""
    turn = orientations.io_orientation(affine)
    to_mm = np.asarray(affine, float) @ orientations.inv_ornt_aff(turn, image.shape)
    image = anatomy.with_dark_air(
        anatomy.without_spikes(orientations.apply_orientation(image, turn))
    )
    step = np.maximum(1, np.rint(COARSE_MM / np.array(anatomy.spacing(to_mm)))).astype(int)
    blocks = anatomy.block_means(image, tuple(step.tolist()))
    to_mm[:3, 3] += to_mm[:3, :3] @ ((step - 1) / 2)
    to_mm[:3, :3] *= step
    depth = anatomy.head_depth(blocks, anatomy.spacing(to_mm))
    if depth is None:
        return ""
    like = [_likeness(blocks, depth > 0, to_mm, axis) for axis in range(3)]
    best = int(np.argmax(like))
    if like[best] < max(LIKE, like[0] + UNLIKE):
        return ""
    return f"it is more like its mirror image {_ALONG[best]} than {_ALONG[0]}"


def _likeness(blocks: np.ndarray, head: np.ndarray, to_mm: np.ndarray, axis: int) -> float:
    """How like its mirror image a head is, across the best plane that stands about on an axis."""
    low = float(blocks.min())
    # Scalp and vessels are cut, or they alone would decide.
    shown = np.minimum(blocks, low + 1.2 * (float(np.median(blocks[head])) - low))
    shown = np.where(ndimage.binary_dilation(head), shown, low)
    at = np.argwhere(head)
    at = at[:: max(1, len(at) // 3000)]
    here = shown[tuple(at.T)]
    places = at @ to_mm[:3, :3].T + to_mm[:3, 3]
    centre = (places.min(0) + places.max(0)) / 2
    back = np.linalg.inv(to_mm)
    best = -1.0
    for tilts in ((one, other) for one in _TILTS for other in _TILTS):
        normal = np.insert(np.tan(tilts), axis, 1.0)
        normal /= np.linalg.norm(normal)
        beyond = (places - centre) @ normal
        for shift in _SHIFTS:
            mirrored = places - 2 * (beyond - shift)[:, None] * normal
            index = mirrored @ back[:3, :3].T + back[:3, 3]
            inside = ((index > -0.5) & (index < np.array(shown.shape) - 0.5)).all(1)
            if inside.sum() < max(100, len(at) / 2):
                continue
            there = ndimage.map_coordinates(shown, index[inside].T, order=1, mode="nearest")
            if np.ptp(there) and np.ptp(here[inside]):
                best = max(best, float(np.corrcoef(here[inside], there)[0, 1]))
    return best
