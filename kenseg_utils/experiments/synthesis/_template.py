"""The maps that every head is made from: nilearn's MNI152, and shapes derived from it once.

Maps lie on the template's 1 mm grid (`place` leads there from mm), shapes on every second voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

STEP = 2  # mm between the points of the derived shapes
SHELL_MM = 60  # how far outside the brain's hull distances are kept


@dataclass(frozen=True, eq=False)
class Template:
    """Read only. Shares are 0–255."""

    origin: np.ndarray  # mm of the first voxel
    white: np.ndarray  # share of white matter, uint8
    gray: np.ndarray
    brain: np.ndarray  # 255 inside the brain with its sulci and ventricles
    picture: np.ndarray  # the T1w itself, white matter 200, uint8
    depth: np.ndarray  # mm beneath the hull's surface, negative outside; derived shape
    skin: np.ndarray  # mm beneath the skin of head, face and neck, negative in the air
    ventricles: np.ndarray  # share of ventricles, smoothed over 2 mm
    pull: np.ndarray  # (3, …) towards the ventricles, strongest at their wall; at most 1


@cache
def template() -> Template:
    """Read nilearn's maps, once a process (some seconds)."""
    from nilearn import datasets  # heavy: not for whoever trains on heads made before

    picture_image = datasets.load_mni152_template(resolution=1)
    picture = picture_image.get_fdata(dtype=np.float32)
    white = datasets.load_mni152_wm_template(resolution=1).get_fdata(dtype=np.float32)
    gray = datasets.load_mni152_gm_template(resolution=1).get_fdata(dtype=np.float32)
    brain = picture > 0
    origin = picture_image.affine[:3, 3].astype(np.float32)
    margin = 40 // STEP  # below and around the template, for face and neck
    hull = _hull(brain[::STEP, ::STEP, ::STEP], margin)
    beyond = ndimage.distance_transform_edt(~hull)  # the quickest way is slow: done once
    skin = _head_and_neck(beyond, origin - margin * STEP)
    ventricles = _ventricles(white + gray, brain, origin)
    smooth = ndimage.gaussian_filter(ventricles, 4 / STEP)
    pull = np.stack(np.gradient(smooth)).astype(np.float32)
    level = np.percentile(picture[white > 0.9], 50)
    return Template(
        origin,
        _in_bytes(255 * white),
        _in_bytes(255 * gray),
        _in_bytes(255 * brain),
        _in_bytes(200 * picture / level),
        _signed_distance(hull, beyond),
        _signed_distance(skin, ndimage.distance_transform_edt(~skin)),
        ndimage.gaussian_filter(ventricles, 2 / STEP),
        pull / np.abs(pull).max(),
    )


def _in_bytes(volume: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(volume, 0, 255)).astype(np.uint8)


def sample(volume: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values of a 1 mm map at places (3, …) in mm, 0 beyond it: float32."""
    at = places - template().origin.reshape(3, *(1,) * (places.ndim - 1))
    return ndimage.map_coordinates(volume, at, order=1, output=np.float32)


def sample_shape(shape: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values of a derived shape at places (3, …) in mm, its edge's beyond it: float32."""
    extra = (np.array(shape.shape) - -(-np.array(template().white.shape) // STEP)) // 2
    origin = template().origin - STEP * extra
    at = (places - origin.reshape(3, *(1,) * (places.ndim - 1))) / STEP
    return ndimage.map_coordinates(shape, at, order=1, mode="nearest", output=np.float32)


def depth_in_template(places: np.ndarray) -> np.ndarray:
    """mm beneath the surface of the brain's hull at places (3, n) in mm, negative outside."""
    return sample_shape(template().depth, places)


def tissue_in_template(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of white and gray matter at places (3, n) in mm."""
    return sample(template().white, places) / 255, sample(template().gray, places) / 255


def _signed_distance(inside: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """mm to a mask's surface, positive inside; smoothed a little. `beyond`: points outside it."""
    distance = ndimage.distance_transform_edt(inside) - beyond
    distance = np.clip(STEP * distance, -SHELL_MM, SHELL_MM).astype(np.float32)
    return ndimage.gaussian_filter(distance, 1)


def _hull(brain: np.ndarray, margin: int) -> np.ndarray:
    """The brain with its sulci and fissures closed, padded by `margin` points on every side."""
    reach = 10 // STEP
    padded = np.pad(brain, margin)
    padded[:, :, :margin] = padded[:, :, margin : margin + 1]  # the brain stem goes on below
    near = ndimage.distance_transform_edt(~padded) < reach
    hull = ndimage.distance_transform_edt(np.pad(near, 1, mode="edge")) > reach
    return hull[1:-1, 1:-1, 1:-1] | padded


def _head_and_neck(beyond: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """A head around the hull: 13 mm of skull and scalp, a face in front, temples, a neck below.

    `beyond`: how many points each lies outside the hull.
    """
    x, y, z = (
        STEP * np.arange(n, dtype=np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        + origin[axis]
        for axis, n in enumerate(beyond.shape)
    )
    skull = beyond < 13 / STEP
    around_stem = (x / 25) ** 2 + ((y + 35) / 28) ** 2 < 1  # the hull goes on, the skull does not
    skull &= ~around_stem | (z > -60)
    face = (x / 66) ** 2 + ((y - 32) / 62) ** 2 + ((z + 52) / 72) ** 2 < 1
    jaw = (x / 60) ** 2 + ((y - 10) / 70) ** 2 < 1
    neck = (x / 58) ** 2 + ((y + 22) / 62) ** 2 < 1
    temples = ((np.abs(x) - 60) / 20) ** 2 + ((y - 12) / 38) ** 2 + ((z + 32) / 44) ** 2 < 1
    return skull | face | temples | (jaw & (z < -45)) | (neck & (z < -40))


def _ventricles(tissue: np.ndarray, brain: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """The lateral and third ventricles, as floats on the derived shapes' grid without margin."""
    low, high = np.array([(-34, -64, -2), (34, 40, 40)]) - origin
    centre = tuple(slice(int(a), int(b)) for a, b in zip(low, high))
    found = np.zeros(brain.shape, np.float32)
    found[centre] = brain[centre] & (tissue[centre] < 0.5)
    middle = slice(int(-3 - origin[0]), int(4 - origin[0]))
    found[middle, :, int(18 - origin[2]) :] = 0  # the fissure above the corpus callosum
    blocks = found[::STEP, ::STEP, ::STEP]
    labels, count = ndimage.label(blocks > 0)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.where(sizes[labels] > 200 / STEP**3, blocks, 0).astype(np.float32)
