"""Smooth random fields and positions on the frame: what everything random here is made of."""

from __future__ import annotations

from functools import cache

import numpy as np

from kenseg_utils.prediction.frames import SHAPE, SPACING

COARSE = 2  # voxels of the frame between points on which slow things are kept
COARSE_SHAPE = tuple(-(-n // COARSE) for n in SHAPE)


def smooth_field(rng: np.random.Generator, width: float, coarse: bool = False) -> np.ndarray:
    """A random field over the frame, smooth over about `width` mm, of mean 0 and SD 1: float32.

    Cubic B-splines on a grid of normal numbers: three products of small matrices. `coarse`: on
    every second voxel only.
    """
    step = COARSE if coarse else 1
    weights = [_spline_weights(width, n, step) for n in SHAPE]
    values = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    return _along_axes(values, weights)


def upsampled(coarse: np.ndarray) -> np.ndarray:
    """A coarse field on all voxels of the frame, interpolated linearly."""
    return _along_axes(coarse, [_linear_weights(n) for n in SHAPE])


def _along_axes(values: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """A (points, nodes) matrix applied along each axis."""
    along_z = values @ weights[2].T
    along_y = weights[1] @ along_z
    nodes, ny, nz = along_y.shape
    return (weights[0] @ along_y.reshape(nodes, ny * nz)).reshape(-1, ny, nz)


@cache
def _spline_weights(width: float, length: int, step: int) -> np.ndarray:
    """(points, nodes) cubic B-spline weights, each row scaled to give unit variance."""
    nodes = int(np.ceil(length * SPACING / width)) + 4
    position = np.arange(0, length, step)[:, None] * SPACING / width + 1.5
    t = np.abs(position - np.arange(nodes)[None, :])
    weights = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


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
