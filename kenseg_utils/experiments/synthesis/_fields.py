"""Smooth random fields and positions on the frame: what everything random here is made of."""

from __future__ import annotations

from functools import cache

import numpy as np

from kenseg_utils import anatomy, phantom
from kenseg_utils.prediction.frames import SHAPE, SPACING

COARSE = 2  # voxels of the frame between points on which slow things are kept
COARSE_SHAPE = tuple(-(-n // COARSE) for n in SHAPE)


def smooth_field(rng: np.random.Generator, width: float, coarse: bool = False) -> np.ndarray:
    """A random field over the frame, smooth over about `width` mm, of mean 0 and SD 1: float32.

    Cubic B-splines on a grid of normal numbers (`phantom.spline_weights`). `coarse`: on
    every second voxel only.
    """
    step, spacing = COARSE if coarse else 1, width / SPACING
    weights = [
        phantom.spline_weights(spacing, int(np.ceil(n / spacing)) + 4, n)[::step] for n in SHAPE
    ]
    values = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    return anatomy.along_axes(values, weights)


def upsampled(coarse: np.ndarray) -> np.ndarray:
    """A coarse field on all voxels of the frame, interpolated linearly."""
    return anatomy.along_axes(coarse, [_linear_weights(n) for n in SHAPE])


@cache
def _linear_weights(length: int) -> np.ndarray:
    nodes = -(-length // COARSE)
    place = np.minimum(np.arange(length) / COARSE, nodes - 1)
    return np.clip(1 - np.abs(place[:, None] - np.arange(nodes)), 0, None).astype(np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two positive ones, any factor as likely as any other."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def logistic(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-values)), which does not overflow."""
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


def moved(volume: np.ndarray, by: tuple[int, ...]) -> np.ndarray:
    """A volume moved by whole voxels, 0 where nothing was."""
    result = np.zeros_like(volume)
    to = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in zip(by, volume.shape))
    of = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in zip(by, volume.shape))
    result[to] = volume[of]
    return result
