"""Whole volume in, mask out, on the same grid: what a trained network is for."""

from __future__ import annotations

from functools import lru_cache

import nibabel as nib
import numpy as np
from nibabel import orientations

from .slices import Intensity, Placement, pad, unpad

# Offsets along z that a network with this many input channels was trained with.
NEIGHBOURS = {1: (0,), 4: (-2, -1, 0, 1)}


def segment_volume(model, image: np.ndarray, affine: np.ndarray, threshold: float = 0.5,
                   batch_size: int = 16) -> np.ndarray:
    """The lesion mask that a network sees in a T1w: uint8, of the image's shape.

    `image` (X, Y, Z) may lie in any orientation, which `affine` (4, 4, mm) tells.
    It is turned to RAS, brought to pixels of 1 mm, normalised, cut into axial slices of their
    full extent (nothing is known of the lesion), and the answer is taken all the way back.
    Research and teaching only: not for clinical use.
    Raises ValueError on arrays that are no volume.
    """
    probability = lesion_probability(model, image, affine, batch_size)
    return (probability >= threshold).astype(np.uint8)


def lesion_probability(model, image: np.ndarray, affine: np.ndarray,
                       batch_size: int = 16) -> np.ndarray:
    """The lesion's probability in each voxel of a T1w: float32, of the image's shape."""
    image, affine = np.asarray(image), np.asarray(affine, float)
    if image.ndim != 3 or affine.shape != (4, 4):
        raise ValueError(f"A volume (X, Y, Z) and its affine (4, 4) are needed; got shapes "
                         f"{image.shape} and {affine.shape}.")
    if not (np.isfinite(image).all() and np.isfinite(affine).all()):
        raise ValueError("The image or its affine holds values that are not finite (NaN or Inf): "
                         "repair the file before segmenting it.")
    turn = orientations.io_orientation(affine)
    canonical = orientations.apply_orientation(image, turn).astype(np.float32)
    spacing = nib.affines.voxel_sizes(affine)[np.argsort(turn[:, 0])]
    working = _to_pixels_of_one_mm(canonical, spacing)
    found = _by_slices(model, Intensity.of(working).apply(working), batch_size,
                       fill=float(Intensity.of(working).apply(np.float32(0))))
    on_grid = _to_shape(found, canonical.shape)
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), turn)
    return orientations.apply_orientation(on_grid, back).astype(np.float32)


def _to_pixels_of_one_mm(image: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Resample in the axial plane where pixels differ from 1 mm by over 1 %; z stays."""
    if np.all(np.abs(spacing[:2] - 1) <= 0.01):
        return image
    from scipy.ndimage import zoom

    return zoom(image, (spacing[0], spacing[1], 1), order=1)


def _to_shape(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if volume.shape == shape:
        return volume
    from scipy.ndimage import zoom

    return zoom(volume, np.divide(shape, volume.shape), order=1)


def _by_slices(model, image: np.ndarray, batch_size: int, fill: float) -> np.ndarray:
    """Run the network over all axial slices of a normalised RAS volume."""
    channels = model.input_shape[-1]
    if channels not in NEIGHBOURS:
        raise ValueError(f"The network takes {channels} channels; known are "
                         f"{', '.join(map(str, NEIGHBOURS))} (a slice, or four neighbours).")
    height, width, depth = image.shape
    frame = (-(-height // 16) * 16, -(-width // 16) * 16)
    whole = Placement(0, 0, height, width, (height, width))
    model = at_shape(model, frame)
    found = np.zeros(image.shape, np.float32)
    margin = np.full((height, width), fill, np.float32)
    for start in range(0, depth, batch_size):
        levels = range(start, min(start + batch_size, depth))
        batch = np.full((batch_size, *frame, channels), fill, np.float32)
        for row, z in enumerate(levels):
            stack = [image[:, :, z + k] if 0 <= z + k < depth else margin
                     for k in NEIGHBOURS[channels]]
            batch[row] = pad(np.stack(stack, -1), frame, fill)
        probability = np.asarray(model.predict_on_batch(batch))[..., -1]
        for row, z in enumerate(levels):
            found[:, :, z] = unpad(probability[row], whole)
    return found


@lru_cache(maxsize=2)  # or each volume of an evaluation would be traced anew
def at_shape(model, frame: tuple[int, int]):
    """The same network, sharing its weights, for slices of another height and width."""
    import keras

    if model.input_shape[1:3] == frame:
        return model
    inputs = keras.Input((*frame, model.input_shape[-1]))
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda layer: layer)
