"""The 3-D frame in which a network sees a head: 2 mm, axes of the world, one size for all.

`look(image, affine)` gives a scan's `Frame` and what a network is shown of it; `Frame.back` lays
an answer on the scan's own grid again. Scans may have any grid: oblique, anisotropic, flipped,
cropped, whole heads as well as brains alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kenseg_utils import anatomy

SHAPE = (96, 112, 96)  # voxels: left to right, back to front, bottom to top
SPACING = 2.0  # mm
VOXEL_ML = SPACING**3 / 1000
ABOVE_MM = 8.0  # of air between the head's top and the frame's
SKULLCAP_MM = 100.0  # below its top, a head is centred by: neither nose nor ears nor neck
COARSE_MM = 4.0  # the grid on which the head is looked for
BRIGHTEST = 2.0  # where what is brighter than white matter is cut: fat and vessels tell nothing
# The middle of the brain, whole head or not: mm below the frame's top, and half its sides.
CORE_BELOW_MM, CORE_HALF_MM = 75.0, (50.0, 65.0, 45.0)
_CORNERS = np.array(list(np.ndindex(2, 2, 2)))


@dataclass(frozen=True, eq=False)
class Frame:
    """A grid of `shape` voxels of `SPACING` mm along the world's axes; `affine` leads to mm."""

    affine: np.ndarray
    shape: tuple[int, int, int] = SHAPE

    def into(
        self, volume: np.ndarray, affine: np.ndarray, order: int = 1, outside: float | None = None
    ) -> np.ndarray:
        """A volume (X, Y, Z) with its affine as it lies in the frame: float32 of `shape`.

        What is finer than the frame is smoothed before (unless `order` is 0, for labels), so that
        nothing is lost between its points. `outside`: what stands beyond the field of view, by
        default the 1st percentile, which is air in a scan and nothing in a mask.
        """
        to_scan = np.linalg.inv(affine) @ self.affine
        if outside is None:
            outside = float(np.percentile(volume[::4, ::4, ::4], 1))
        widths = _smoothing(affine) if order else np.zeros(3)
        part, start = _around(volume, to_scan, self.shape, margin=np.ceil(3 * widths) + 1)
        if not part.size:
            return np.full(self.shape, outside, np.float32)
        part = part.astype(np.float32)
        for axis in np.flatnonzero(widths > 0.2):
            part = ndimage.gaussian_filter1d(part, widths[axis], axis, mode="nearest", truncate=3)
        return _sampled(part, to_scan[:3, :3], to_scan[:3, 3] - start, self.shape, order, outside)

    def back(
        self, probabilities: np.ndarray, shape: tuple[int, ...], affine: np.ndarray
    ) -> np.ndarray:
        """Values of the frame on a scan's grid: float32 of the scan's `shape`, 0 beyond the frame.

        `affine` is the scan's. Between the frame's points values are interpolated linearly.
        """
        to_frame = np.linalg.inv(self.affine) @ affine
        corners = _CORNERS * np.array(self.shape) - 0.5
        low, high = _reached(corners, np.linalg.inv(to_frame), shape)
        result = np.zeros(shape, np.float32)
        if (high > low).all():
            result[tuple(map(slice, low, high))] = _sampled(
                np.asarray(probabilities, np.float32),
                to_frame[:3, :3],
                to_frame[:3, :3] @ low + to_frame[:3, 3],
                tuple(high - low),
                1,
                0.0,
            )
        return result


def frame_of(image: np.ndarray, affine: np.ndarray) -> Frame:
    """The frame of a scan (X, Y, Z): centred on the skullcap, its top just above the head's.

    It spans 192 × 224 × 192 mm, so brain and cerebellum are inside, however large the field of
    view is. Where no head stands out, what is bright counts as one.
    Raises ValueError for an image that has not three axes, or an affine that cannot be inverted.
    """
    affine = _checked(image, affine)
    return _frame_of(_settled(image), affine)


def look(image: np.ndarray, affine: np.ndarray) -> tuple[Frame, np.ndarray]:
    """A scan's frame and what a network is shown: float32 of `SHAPE`, 0 air, 1 white matter.

    Raises what `frame_of` raises.
    """
    affine = _checked(image, affine)
    settled = _settled(image)
    frame = _frame_of(settled, affine)
    return frame, normalised(frame.into(settled, affine))


def ways_to_look(mirrored: bool, moved: bool) -> list[tuple[bool, bool]]:
    """For each look, whether it is mirrored, and whether it is moved: as it is, and all others."""
    flips, moves = ((False, True) if more else (False,) for more in (mirrored, moved))
    return [(flip, move) for flip in flips for move in moves]


def asked_about(
    ask: Callable[[np.ndarray], np.ndarray], seen: np.ndarray, mirrored: bool, moved: bool
) -> np.ndarray:
    """What `ask` answers about a head in the frame, shown mirrored or moved, brought back.

    Moved by a voxel along each axis: a network that begins with a stride of 2 takes other voxels
    together then. What goes round is air: the last planes lie above, before and beside a head.
    """
    way, step, axes = -1 if mirrored else 1, int(moved), (0, 1, 2)
    return np.roll(ask(np.roll(seen[::way], step, axes)), -step, axes)[::way]


def hull(seen: np.ndarray) -> np.ndarray:
    """`anatomy.brain_hull` of a head in the frame: where an answer counts, bool of `SHAPE`."""
    step = round(SPACING)  # that one counts in mm
    fine = seen.repeat(step, 0).repeat(step, 1).repeat(step, 2)
    return anatomy.brain_hull(fine)[::step, ::step, ::step]


def normalised(volume: np.ndarray) -> np.ndarray:
    """A volume in the frame with air at 0 and white matter at about 1: float32, cut at 2.

    White matter is the 85th percentile of what is not dark in the middle of the brain, which
    skull, fat and their absence leave alone, and which noise, a lesion or vessels hardly move.
    A volume without anything in it gives 0 everywhere.
    """
    volume = np.asarray(volume, np.float32)
    air, white = levels(volume)
    if not white > 0:
        return np.zeros_like(volume)
    return np.clip((volume - np.float32(air)) / np.float32(white), 0, BRIGHTEST)


def levels(volume: np.ndarray) -> tuple[float, float]:
    """What `normalised` takes for air, and how much brighter white matter is (0: nothing there)."""
    air = float(np.percentile(volume, 1))
    values = volume[_core(volume.shape)] - air
    solid = values[values > 0.3 * np.percentile(values, 95)]
    return air, float(np.percentile(solid, 85)) if solid.size else 0.0


def _checked(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The affine as floats; ValueError for what no frame can be laid around."""
    if np.ndim(image) != 3:
        raise ValueError(f"A frame needs a volume (X, Y, Z); got an array of shape {image.shape}.")
    affine = np.asarray(affine, float)
    if affine.shape != (4, 4) or not np.linalg.det(affine):
        raise ValueError("A frame needs the scan's affine (4, 4), which can be inverted.")
    return affine


def _settled(image: np.ndarray) -> np.ndarray:
    """A scan whose air is dark and which has no single values far beyond all others."""
    return anatomy.with_dark_air(anatomy.without_spikes(image))


def _frame_of(settled: np.ndarray, affine: np.ndarray) -> Frame:
    coarse, to_mm = _coarsely(settled, affine)
    box = anatomy.head_box(coarse, height=round(SKULLCAP_MM / COARSE_MM))
    low = to_mm[:3, 3] + COARSE_MM * (np.array([part.start for part in box]) - 0.5)
    high = to_mm[:3, 3] + COARSE_MM * (np.array([part.stop for part in box]) - 0.5)
    corner = (low + high) / 2 - SPACING * (np.array(SHAPE) - 1) / 2
    corner[2] = high[2] + ABOVE_MM - SPACING * (SHAPE[2] - 0.5)
    frame = np.diag([SPACING, SPACING, SPACING, 1.0])
    frame[:3, 3] = corner
    return Frame(frame)


def _coarsely(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole field of view on a coarse grid along the world's axes, and that grid's affine."""
    steps = tuple(max(1, int(COARSE_MM / size)) for size in anatomy.spacing(affine))
    blocks = anatomy.block_means(volume, (steps[0], steps[1], steps[2]))
    to_mm = affine @ np.diag([*steps, 1.0])
    to_mm[:3, 3] = affine[:3, :3] @ ((np.array(steps) - 1) / 2) + affine[:3, 3]
    corners = _CORNERS * (np.array(blocks.shape) - 1)
    places = corners @ to_mm[:3, :3].T + to_mm[:3, 3]
    coarse = np.diag([COARSE_MM, COARSE_MM, COARSE_MM, 1.0])
    coarse[:3, 3] = places.min(0)
    shape = tuple(np.ceil(np.ptp(places, axis=0) / COARSE_MM - 1e-6).astype(int) + 1)
    back = np.linalg.inv(to_mm) @ coarse
    outside = float(np.percentile(blocks, 1))
    return _sampled(blocks, back[:3, :3], back[:3, 3], shape, 1, outside), coarse


def _smoothing(affine: np.ndarray) -> np.ndarray:
    """SDs in voxels that make a voxel of each axis as wide as one of the frame."""
    sizes = np.array(anatomy.spacing(affine))
    return 0.42 * np.sqrt(np.clip(SPACING**2 - sizes**2, 0, None)) / sizes


def _around(volume, to_scan, shape, margin) -> tuple[np.ndarray, np.ndarray]:
    """The part of a volume that the frame lies over, and at which voxel it starts."""
    low, high = _reached(_CORNERS * (np.array(shape) - 1), to_scan, volume.shape, margin)
    return volume[tuple(map(slice, low, high))], low


def _reached(corners, matrix, shape, margin=0) -> tuple[np.ndarray, np.ndarray]:
    """Between which voxels of a grid of `shape` a box reaches; `matrix` leads `corners` there."""
    places = corners @ matrix[:3, :3].T + matrix[:3, 3]
    low = np.clip(np.floor(places.min(0) - margin), 0, shape).astype(int)
    return low, np.clip(np.ceil(places.max(0) + margin) + 1, low, shape).astype(int)


def _sampled(volume, matrix, offset, shape, order, outside) -> np.ndarray:
    """Values at `matrix @ index + offset`; half a voxel beyond the edge still is the edge's."""
    diagonal = np.diag(matrix)
    if np.allclose(matrix, np.diag(diagonal), atol=1e-5) and (diagonal > 0).all():
        matrix = diagonal  # far quicker
    padded = np.pad(volume, 1, mode="edge")
    return ndimage.affine_transform(
        padded, matrix, offset + 1, shape, np.float32, order, mode="constant", cval=outside
    )


def _core(shape: tuple[int, ...]) -> np.ndarray:
    """The middle of the brain in a frame: an ellipsoid, bool."""
    centre = (np.array(shape) - 1) / 2
    centre[2] = shape[2] - 0.5 - CORE_BELOW_MM / SPACING
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    return (
        sum(
            (SPACING * (axis - middle) / half) ** 2
            for axis, middle, half in zip(axes, centre, CORE_HALF_MM)
        )
        < 1
    )
