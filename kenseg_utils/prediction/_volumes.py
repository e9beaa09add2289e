"""Whole volume in, mask out, on the same grid: what a trained network is for.

Research and teaching only: not for clinical use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from nibabel import orientations
from scipy import ndimage

from kenseg_utils import atlas, machine, metrics
from kenseg_utils.anatomy import brain_hull, head_box, slices_to_segment, spacing, voxel_ml
from kenseg_utils.slices import Intensity, Placement, pad, unpad

from ._recorded import recorded_network

# Offsets along z that a network with this many input channels was trained with.
NEIGHBOURS = {1: (0,), 4: (-2, -1, 0, 1)}
BOX = (197, 233, 189)  # ATLAS's grid, 1 mm, on which networks are trained
HEAD = (98, 117, 172)  # where in it a head's middle (x, y) and top (z) come to lie
LEAST_ML = 0.03  # smaller finds are dropped, as entrants to the challenges do (30 mm³)


def segment_volume(
    model,
    image: np.ndarray,
    affine: np.ndarray,
    threshold: float = 0.5,
    batch_size: int = 16,
    *,
    flips: bool = True,
    inside_brain: bool = True,
    least_ml: float = LEAST_ML,
) -> np.ndarray:
    """The lesion mask that a network sees in a T1w: uint8, of the image's shape.

    `image` (X, Y, Z) may lie in any orientation and have any voxel size; `affine` (4, 4, mm) tells.
    See `lesion_probability` for the way there and back and for `flips` and `inside_brain`.
    Voxels of at least `threshold` are lesion; pieces below `least_ml` millilitres are dropped.
    Research and teaching only: not for clinical use.
    Raises ValueError on arrays that are no volume, a model that does not segment slices, or a
    threshold or `least_ml` that makes no sense, before any work.
    """
    check_cut(threshold, least_ml)
    probability = lesion_probability(
        model, image, affine, batch_size, flips=flips, inside_brain=inside_brain
    )
    return remove_small(probability >= threshold, voxel_ml(affine), least_ml)


def lesion_probability(
    model,
    image: np.ndarray,
    affine: np.ndarray,
    batch_size: int = 16,
    *,
    flips: bool = True,
    inside_brain: bool = True,
) -> np.ndarray:
    """The lesion's probability in each voxel of a T1w: float32, of the image's shape.

    The scan is brought to the working grid (`WorkingGrid`), normalised and cut into axial slices
    of their full extent: nothing is known of the lesion. The answer is taken all the way back.
    `flips` asks about each slice twice, once mirrored left to right, and averages the answers.
    `inside_brain` asks about the brain alone: what lies outside a generous hull of it (eyes, neck,
    scalp) is made air before, and 0 afterwards.
    """
    check_network(model, batch_size)
    image, affine = checked_volume(image, affine)
    grid = WorkingGrid.of(image, affine)
    working = grid.there(image)
    hull = brain_hull(working) if inside_brain else np.ones(working.shape, bool)
    working = np.where(hull, working, working.min())
    intensity = Intensity.of(working)
    air = float(intensity.apply(working.min()))
    return grid.back(hull * by_slices(model, intensity.apply(working), batch_size, air, flips))


def segment_file(model, scan, target, **options) -> tuple[atlas.Scan, np.ndarray]:
    """Segment a NIfTI file and write the mask beside it in its own grid and affine.

    `scan`, `target`: paths (.nii or .nii.gz); `options` go to `segment_volume`.
    Returns the loaded scan (RAS) and its mask (X, Y, Z) uint8, both as `atlas.load_image` turns.
    Raises atlas.ScanError for a file that is no usable scan; ValueError for a target whose name
    is no NIfTI's or which is the scan itself, and for what `segment_volume` refuses: all of it
    before any work.
    """
    target = atlas.check_mask_path(target, Path(scan).expanduser())
    check_cut(options.get("threshold", 0.5), options.get("least_ml", LEAST_ML))
    check_network(model, options.get("batch_size", 1))
    loaded = atlas.load_image(scan)
    mask = segment_volume(model, loaded.image, loaded.affine, **options)
    atlas.save_mask(loaded, mask, target)
    return loaded, mask


def open_network(path=None):
    """Load a network for `segment_volume` from a .keras file, or a run's folder that holds one.

    Without a path, the whole-slice network that is recorded with the book (`recorded_network`).
    Keras's safe mode: no code from the file is run. Raises ValueError naming file and cause.
    """
    import keras

    if path is None:
        kept = recorded_network("whole_slices")
        if kept is None:
            raise ValueError(
                "No network is recorded here: python -m kenseg_utils.experiments.whole_slices "
                "--record trains and records one; or give the path of yours."
            )
        return kept[0]
    path = Path(path).expanduser()
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(
            f"{file} is not there: give the folder of a finished training (it holds "
            "model.keras), or a .keras file."
        )
    try:
        return keras.saving.load_model(file, safe_mode=True, compile=False)
    except Exception as error:  # an archive can be broken in many ways
        raise ValueError(
            f"{file} is no Keras network that can be loaded safely "
            f"({type(error).__name__}: {str(error)[:200]})."
        ) from error


@dataclass(frozen=True)
class WorkingGrid:
    """How a scan comes to the grid that networks know, and how an answer comes back.

    Three steps: axes turned to RAS (to the nearest axis; an oblique scan stays oblique), all
    three spacings resampled to 1 mm, and a box of ATLAS's size laid so that the head's middle and
    top lie where they do in ATLAS. That is a rough alignment by shifting alone: nothing is
    registered, turned or scaled to a template. A scan on ATLAS's own grid is taken as it is.

    turn: nibabel's orientation (3, 2). stored: shape of the RAS array. size: its shape at 1 mm.
    corner: the box's first voxel in it.
    """

    turn: np.ndarray
    stored: tuple[int, ...]
    size: tuple[int, ...]
    corner: tuple[int, ...]

    @classmethod
    def of(cls, image: np.ndarray, affine: np.ndarray) -> WorkingGrid:
        """The way for this scan; ValueError where its size in mm is no head's."""
        turn = orientations.io_orientation(affine)
        axes = np.argsort(turn[:, 0])
        stored = tuple(image.shape[axis] for axis in axes)
        size_mm = np.array(spacing(affine))[axes]
        extent = np.multiply(stored, size_mm)
        if extent.max() > 700:
            raise ValueError(
                f"The scan is {extent.round().astype(int).tolist()} mm large: no "
                "head is. Check that the affine is in millimetres."
            )
        near = np.abs(size_mm - 1) <= 0.01
        size = tuple(np.where(near, stored, np.maximum(np.rint(extent), 1)).astype(int).tolist())
        grid = cls(turn, stored, size, (0, 0, 0))
        if size == BOX:
            return grid
        head = head_box(grid._resampled(image))
        middle_x, middle_y = ((part.start + part.stop) // 2 for part in head[:2])
        corner = np.array([middle_x, middle_y, head[2].stop]) - HEAD
        return cls(turn, stored, size, tuple(corner.tolist()))

    def there(self, image: np.ndarray) -> np.ndarray:
        """A scan (as stored) on the working grid: float32 of shape BOX; beyond it is air."""
        resampled = self._resampled(image)
        box = np.full(BOX, resampled.min(), np.float32)
        inside, beyond = self._overlap()
        box[inside] = resampled[beyond]
        return box

    def back(self, answer: np.ndarray) -> np.ndarray:
        """An answer on the working grid as float32 on the scan's own voxels, as stored."""
        resampled = np.zeros(self.size, np.float32)
        inside, beyond = self._overlap()
        resampled[beyond] = answer[inside]
        on_grid = _resized(resampled, self.stored)
        back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), self.turn)
        return orientations.apply_orientation(on_grid, back).astype(np.float32)

    def _resampled(self, image: np.ndarray) -> np.ndarray:
        turned = orientations.apply_orientation(image, self.turn).astype(np.float32)
        ratio = np.divide(self.size, self.stored)
        if ratio.min() < 0.75:  # finer than the grid: averaged first, or noise would be picked
            turned = ndimage.gaussian_filter(turned, 0.4 * np.clip(1 / ratio - 1, 0, None))
        return _resized(turned, self.size)

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The part that box and scan share: as slices of the box, and of the scan at 1 mm."""
        start = np.maximum(self.corner, 0)
        stop = np.maximum(np.minimum(np.add(self.corner, BOX), self.size), start)
        return (
            tuple(map(slice, start - self.corner, stop - self.corner)),
            tuple(map(slice, start, stop)),
        )


def remove_small(mask: np.ndarray, millilitres_a_voxel: float, least_ml: float) -> np.ndarray:
    """A mask (X, Y, Z) without its pieces (26-connected) of less than `least_ml`; uint8."""
    labels, count = metrics.label_lesions(np.asarray(mask, bool), corners=True)
    large = np.bincount(labels.ravel(), minlength=count + 1) * millilitres_a_voxel >= least_ml
    large[0] = False
    return large[labels].astype(np.uint8)


def check_cut(threshold: float, least_ml: float = 0.0) -> None:
    """Raise ValueError unless `threshold` lies in (0, 1] and `least_ml` is a number from 0 on."""
    if not 0 < threshold <= 1:  # NaN is refused as well
        raise ValueError(f"threshold is {threshold}: give a probability above 0 and at most 1.")
    if not 0 <= least_ml < np.inf:
        raise ValueError(f"least_ml is {least_ml}: give millilitres, 0 to keep every piece.")


def check_network(model, batch_size: int = 1) -> None:
    """Raise ValueError for what cannot segment slices into background and lesion.

    A network says its channels and classes beforehand; whether its answers are probabilities, only
    the answers can tell (`_lesion_channel`).
    """
    if not (isinstance(batch_size, int | np.integer) and batch_size >= 1):
        raise ValueError(f"batch_size is {batch_size}: give a whole number from 1 on.")
    channels = model.input_shape[-1] if hasattr(model, "input_shape") else None
    if channels not in NEIGHBOURS:
        raise ValueError(
            f"The network takes {channels} channels; known are "
            f"{', '.join(map(str, NEIGHBOURS))} (a slice, or four neighbours)."
        )
    shape = getattr(model, "output_shape", None)
    if isinstance(shape, tuple) and shape[-1] not in (None, 2):
        raise ValueError(
            f"The network gives {shape[-1]} classes and two are needed, background and lesion."
        )


def _lesion_channel(answer: np.ndarray) -> np.ndarray:
    """The lesion's probability (n, H, W) of a network's answer, or a ValueError on what it is."""
    if answer.ndim != 4 or answer.shape[-1] != 2:
        raise ValueError(
            f"The network answers with shape {answer.shape}; (n, H, W, 2) is needed, the "
            "probabilities of background and lesion."
        )
    lowest, highest = float(answer.min()), float(answer.max())
    if not (lowest >= -1e-3 and highest <= 1 + 1e-3):  # so that NaN is refused as well
        raise ValueError(
            f"The network's answers run from {lowest:g} to {highest:g}, which are no "
            "probabilities: give it a softmax at its end."
        )
    return answer[..., -1]


def checked_volume(image, affine) -> tuple[np.ndarray, np.ndarray]:
    image, affine = np.asarray(image), np.asarray(affine, float)
    if image.ndim != 3 or affine.shape != (4, 4):
        raise ValueError(
            f"A volume (X, Y, Z) and its affine (4, 4) are needed; got shapes "
            f"{image.shape} and {affine.shape}."
        )
    if not (np.isfinite(image).all() and np.isfinite(affine).all()):
        raise ValueError(
            "The image or its affine holds values that are not finite (NaN or Inf): "
            "repair the file before segmenting it."
        )
    if not voxel_ml(affine):
        raise ValueError(
            "The affine is singular, so a voxel has no volume: repair the file's "
            "geometry before segmenting it."
        )
    return image, affine


def _resized(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear resampling of the same extent to another number of voxels."""
    if volume.shape == tuple(shape):
        return volume
    return ndimage.zoom(
        volume, np.divide(shape, volume.shape), order=1, mode="nearest", grid_mode=True
    )


def by_slices(model, image: np.ndarray, batch_size: int, air: float, flips: bool) -> np.ndarray:
    """Run the network over the axial slices with head of a normalised RAS volume."""
    check_network(model, batch_size)
    channels = model.input_shape[-1]
    height, width, depth = image.shape
    frame = (-(-height // 16) * 16, -(-width // 16) * 16)
    whole = Placement(0, 0, height, width, (height, width))
    model = at_shape(model, frame)
    found = np.zeros(image.shape, np.float32)
    margin = np.full((height, width), air, np.float32)
    levels = slices_to_segment(image)
    for start in range(0, len(levels), batch_size):
        chosen = levels[start : start + batch_size]
        batch = np.full((batch_size, *frame, channels), air, np.float32)
        for row, z in enumerate(chosen):
            stack = [
                image[:, :, z + k] if 0 <= z + k < depth else margin for k in NEIGHBOURS[channels]
            ]
            batch[row] = pad(np.stack(stack, -1), frame, air)
        probability = _lesion_channel(np.asarray(model.predict_on_batch(batch)))
        if flips:
            mirrored = _lesion_channel(np.asarray(model.predict_on_batch(batch[:, ::-1].copy())))
            probability = (probability + mirrored[:, ::-1]) / 2
        for row, z in enumerate(chosen):
            found[:, :, z] = unpad(probability[row], whole)
    return found


@lru_cache(maxsize=2)  # or each volume of an evaluation would be traced anew
def at_shape(model, frame: tuple[int, int]):
    """The same network, sharing its weights, for slices of another height and width."""
    import keras

    machine.fuse_normalisation(model)
    if model.input_shape[1:3] == frame:
        return model
    inputs = keras.Input((*frame, model.input_shape[-1]))
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda layer: layer)
