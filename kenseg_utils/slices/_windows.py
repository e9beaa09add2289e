"""A window of a slice and the exact way back: `crop` and `pad`, `unpad` and `uncrop`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Placement:
    """Where a window lies in its slice: first row and column, its size, the slice's shape."""

    top: int
    left: int
    height: int
    width: int
    shape: tuple[int, int]


def crop(
    image: np.ndarray, centre: tuple[float, float], size: int = 124
) -> tuple[np.ndarray, Placement]:
    """Cut a `size`×`size` window around `centre` out of a slice, moved to stay inside it.

    `image` is (H, W) or (H, W, channels); `centre` is (row, column) in pixels.
    An axis shorter than `size` is taken whole.
    Returns the window and the Placement that `uncrop` needs.
    """
    height, width = image.shape[:2]
    rows, columns = min(size, height), min(size, width)
    top = int(np.clip(round(centre[0]) - rows // 2, 0, height - rows))
    left = int(np.clip(round(centre[1]) - columns // 2, 0, width - columns))
    window = image[top : top + rows, left : left + columns]
    return window, Placement(top, left, rows, columns, (height, width))


def pad(window: np.ndarray, size: int | tuple[int, int] = 128, fill: float = 0) -> np.ndarray:
    """Centre a window in a `size`×`size` frame of `fill`; 124 to 128 adds 2 pixels a side."""
    frame = size if isinstance(size, tuple) else (size, size)
    extra = [frame[axis] - window.shape[axis] for axis in (0, 1)]
    if min(extra) < 0:
        raise ValueError(
            f"A window of {window.shape[:2]} does not fit into {frame}: "
            "pad to a larger size or crop smaller."
        )
    top, left = extra[0] // 2, extra[1] // 2
    padded = np.full((*frame, *window.shape[2:]), fill, window.dtype)
    padded[top : top + window.shape[0], left : left + window.shape[1]] = window
    return padded


def unpad(padded: np.ndarray, placement: Placement) -> np.ndarray:
    """Take the window back out of its padded frame."""
    top = (padded.shape[0] - placement.height) // 2
    left = (padded.shape[1] - placement.width) // 2
    return padded[top : top + placement.height, left : left + placement.width]


def uncrop(window: np.ndarray, placement: Placement, fill: float = 0) -> np.ndarray:
    """Put a window back to its place in a slice that is `fill` everywhere else."""
    image = np.full(placement.shape + window.shape[2:], fill, window.dtype)
    rows = slice(placement.top, placement.top + placement.height)
    columns = slice(placement.left, placement.left + placement.width)
    image[rows, columns] = window
    return image


def lesion_centre(mask: np.ndarray) -> tuple[float, float]:
    """The middle of the box around a slice's lesion, in pixels.

    The truth is needed to know it: a window placed here is an oracle's, not a scanner's.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError("The mask is empty: there is no lesion to place a window on.")
    return float(rows[0] + rows[-1]) / 2, float(columns[0] + columns[-1]) / 2
