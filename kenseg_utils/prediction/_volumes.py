"""Whole volume in, mask out, on the same grid: what a trained network is for.

Research and teaching only: not for clinical use.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel import orientations
from scipy import ndimage

from kenseg_utils import artifacts, atlas, machine, metrics
from kenseg_utils.anatomy import (
    air_value,
    brain_hull,
    head_box,
    resized,
    slices_to_segment,
    spacing,
    voxel_ml,
    with_dark_air,
    without_spikes,
)
from kenseg_utils.slices import NEIGHBOURS, Intensity, Placement, pad, unpad

from ._answers import NEEDED, lesion_channel
from ._doubts import check_is_head, t1w_doubts
from ._frames import by_frame, check_volumes, takes_volumes
from ._onnx import OnnxNetwork
from ._recorded import best_recorded

BOX = (197, 233, 189)  # ATLAS's grid, 1 mm, on which networks are trained
HEAD = (98, 117, 172)  # where in it a head's middle (x, y) and top (z) come to lie
LEAST_ML = 0.03  # smaller finds are dropped, as entrants to the challenges do (30 mm³)


def segment_volume(
    model: Any,
    image: np.ndarray,
    affine: np.ndarray,
    threshold: float = 0.5,
    batch_size: int = 16,
    *,
    flips: bool | None = None,
    inside_brain: bool = True,
    least_ml: float | None = None,
) -> np.ndarray:
    """The lesion mask that a network sees in a T1w: uint8, of the image's shape.

    `image` (X, Y, Z) may lie in any orientation and have any voxel size; `affine` (4, 4, mm) tells.
    See `lesion_probability` for the way there and back and for `flips` and `inside_brain`.
    Voxels of at least `threshold` are lesion; pieces below `least_ml` millilitres are dropped
    (unless given, what was recorded with the network, else `LEAST_ML`).
    Research and teaching only: not for clinical use.
    Raises ValueError on arrays that are no volume, a model that segments neither slices nor
    volumes, and options out of range, before any work; and where the model's answers are no
    probabilities.
    """
    check_network(model, batch_size)
    least_ml = own_least_ml(model) if least_ml is None else least_ml
    check_cut(threshold, least_ml)
    probability = lesion_probability(
        model, image, affine, batch_size, flips=flips, inside_brain=inside_brain
    )
    return remove_small(probability >= threshold, voxel_ml(affine), least_ml)


def lesion_probability(
    model: Any,
    image: np.ndarray,
    affine: np.ndarray,
    batch_size: int = 16,
    *,
    flips: bool | None = None,
    inside_brain: bool = True,
) -> np.ndarray:
    """The lesion's probability in each voxel of a T1w, float32.

    The scan is brought to the working grid (`WorkingGrid`), normalised and cut
    into axial slices of their full extent: nothing is known of the lesion. The
    answer is taken all the way back.
    `flips` asks of each slice twice, once mirrored left to right, and averages;
    so it is done unless something else was recorded with the network.
    `inside_brain` asks about the brain alone: what lies outside a generous hull
    of it (eyes, neck, scalp) is made air before, and 0 afterwards.
    A network of volumes sees the head as one, in the frame of `frames` (see
    `by_frame`).
    """
    check_network(model, batch_size)
    flips = getattr(model, "mirrored", True) if flips is None else flips
    image, affine = checked_volume(image, affine)
    if takes_volumes(model):
        return by_frame(model, image, affine, flips, inside_brain)
    grid = WorkingGrid.of(image, affine)
    working = grid.there(image)
    hull = brain_hull(working) if inside_brain else np.ones(working.shape, bool)
    dark = air_value(working)
    working = np.where(hull, working, dark)
    intensity = Intensity.of(working)
    air = float(intensity.apply(dark))
    return grid.back(hull * by_slices(model, intensity.apply(working), batch_size, air, flips))


def segment_file(
    model: Any,
    scan: str | os.PathLike,
    target: str | os.PathLike,
    threshold: float = 0.5,
    batch_size: int = 16,
    *,
    least_ml: float | None = None,
    **options: Any,
) -> tuple[atlas.Scan, np.ndarray]:
    """Segment a NIfTI file and write the mask beside it in its own grid and affine.

    `scan`, `target`: paths (.nii or .nii.gz); the other arguments go to `segment_volume`.
    Returns the loaded scan (RAS) and its mask (X, Y, Z) uint8, both as `atlas.load_image` turns.
    What makes the scan doubtful as a T1w of a whole head (`t1w_doubts`) is warned of, a sentence
    a warning.
    Raises, before any work, ValueError for a target that cannot be written or is the scan, and
    for options out of range; atlas.ScanError for a file that is no usable scan; and ValueError
    for one that holds labels or nothing of a head's size.
    """
    check_network(model, batch_size)
    check_cut(threshold, own_least_ml(model) if least_ml is None else least_ml)
    target = artifacts.checked_target(target, (".nii", ".nii.gz"), [scan])
    loaded = atlas.load_image(scan)
    check_is_head(loaded.image, loaded.affine, loaded.path.name)
    for doubt in t1w_doubts(loaded.image, loaded.affine):
        warnings.warn(f"{loaded.path.name}: {doubt}", stacklevel=2)
    mask = segment_volume(
        model, loaded.image, loaded.affine, threshold, batch_size, least_ml=least_ml, **options
    )
    atlas.save_mask(loaded, mask, target)
    return loaded, mask


def check_network(model: Any, batch_size: int = 16) -> None:
    """ValueError, before any work, where a model cannot segment, or not in such batches.

    It must have `predict_on_batch` and take slices of one channel or four, or volumes of the
    frame's shape. What else can be read off it is read: how many outputs it has, and that they
    hold one class or two.
    """
    if not hasattr(model, "predict_on_batch") or not hasattr(model, "input_shape"):
        raise ValueError(
            f"{type(model).__name__} is no network: give a Keras model, or anything with "
            "input_shape and predict_on_batch."
        )
    if len(getattr(model, "outputs", None) or [0]) != 1:
        raise ValueError(
            f"The network has {len(model.outputs)} outputs, and one is needed: of a deeply "
            "supervised one take networks.average_heads(model) or networks.prune(model, level)."
        )
    channels = model.input_shape[-1]
    if takes_volumes(model):
        check_volumes(model)
    elif channels not in NEIGHBOURS:
        raise ValueError(
            f"The network takes {channels} channels; known are "
            f"{', '.join(map(str, NEIGHBOURS))} (a slice, or four neighbours)."
        )
    given = getattr(model, "output_shape", None)
    if given is not None and (len(given) != len(model.input_shape) or given[-1] not in (1, 2)):
        raise ValueError(
            f"The network answers with shape {given}: {NEEDED}. Of more classes, keep lesion's "
            "channel alone."
        )
    if not artifacts.is_whole(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}: give a whole number from 1 upwards.")


def check_cut(threshold: float, least_ml: float = 0.0) -> None:
    """ValueError, before any work, for a threshold outside (0, 1] or a least volume below 0."""
    if not _is_number(threshold) or not 0 < threshold <= 1:  # NaN is refused as well
        raise ValueError(f"threshold is {threshold!r}: give a probability above 0 and at most 1.")
    if not _is_number(least_ml) or not 0 <= least_ml < np.inf:
        raise ValueError(f"least_ml is {least_ml!r}: give millilitres, 0 or more.")


def own_least_ml(model: Any) -> float:
    """The smallest find in ml that was recorded with a network, or `LEAST_ML` where none was."""
    return float(getattr(model, "least_ml", LEAST_ML))


def _is_number(value) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def open_network(path: str | os.PathLike | None = None) -> Any:
    """Load a network for `segment_volume`: from a .keras or .onnx file, or a run's folder.

    Without a path, the best that is recorded with the book (`best_recorded`): the 3-D one of
    real-looking heads (`results/heads.npz`), else the one of whole slices
    (`results/whole_slices.npz`).
    Keras's safe mode: no code from the file is run; of an .onnx file, onnxruntime runs the
    operators that it knows. Raises ValueError naming file and cause.
    """
    if path is None:
        kept = best_recorded()
        if kept is not None:
            return kept[0]
        raise ValueError(
            "No network is recorded here: python -m kenseg_utils.experiments.whole_slices "
            "--record trains and records one; or give the path of yours."
        )
    path = artifacts.as_path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(
            f"{file} is not there: give the folder of a finished training (it holds "
            "model.keras), a .keras file, or an .onnx file."
        )
    if file.suffix == ".onnx":
        return OnnxNetwork(file)
    import keras

    try:
        model = keras.saving.load_model(file, safe_mode=True, compile=False)
    except Exception as error:  # an archive can be broken in many ways
        raise ValueError(
            f"{file} is no Keras network that can be loaded safely "
            f"({type(error).__name__}: {str(error)[:200]})."
        ) from error
    return machine.fuse_normalisation(model)


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
        head = head_box(grid._resampled(image), height=BOX[2])
        middle_x, middle_y = ((part.start + part.stop) // 2 for part in head[:2])
        corner = np.array([middle_x, middle_y, head[2].stop]) - HEAD
        return cls(turn, stored, size, tuple(corner.tolist()))

    def there(self, image: np.ndarray) -> np.ndarray:
        """A scan (as stored) on the working grid: float32 of shape BOX; beyond it is air."""
        resampled = self._resampled(image)
        box = np.full(BOX, air_value(resampled), np.float32)
        inside, beyond = self._overlap()
        box[inside] = resampled[beyond]
        return box

    def back(self, answer: np.ndarray) -> np.ndarray:
        """An answer on the working grid as float32 on the scan's own voxels, as stored."""
        resampled = np.zeros(self.size, np.float32)
        inside, beyond = self._overlap()
        resampled[beyond] = answer[inside]
        on_grid = resized(resampled, self.stored)
        back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), self.turn)
        return orientations.apply_orientation(on_grid, back).astype(np.float32)

    def _resampled(self, image: np.ndarray) -> np.ndarray:
        turned = orientations.apply_orientation(with_dark_air(image), self.turn)
        turned = turned.astype(np.float32)
        ratio = np.divide(self.size, self.stored)
        if ratio.min() < 0.75:  # finer than the grid: averaged first, or noise would be picked
            turned = ndimage.gaussian_filter(turned, 0.4 * np.clip(1 / ratio - 1, 0, None))
        return resized(turned, self.size)

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The part that box and scan share: as slices of the box, and of the scan at 1 mm."""
        start = np.maximum(self.corner, 0)
        stop = np.maximum(np.minimum(np.add(self.corner, BOX), self.size), start)
        return (
            tuple(map(slice, start - self.corner, stop - self.corner)),
            tuple(map(slice, start, stop)),
        )


def remove_small(mask: np.ndarray, millilitres_a_voxel: float, least_ml: float) -> np.ndarray:
    """A mask (X, Y, Z), uint8, less pieces (26-connected) below `least_ml`."""
    labels, count = metrics.label_lesions(np.asarray(mask, bool), corners=True)
    large = np.bincount(labels.ravel(), minlength=count + 1) * millilitres_a_voxel >= least_ml
    large[0] = False
    return large[labels].astype(np.uint8)


def checked_volume(image: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A volume without stray values far from all others, and its affine; ValueError if none."""
    image, affine = np.asarray(image), np.asarray(affine, float)
    if image.ndim != 3 or affine.shape != (4, 4):
        raise ValueError(
            f"A volume (X, Y, Z) and its affine (4, 4) are needed; got shapes "
            f"{image.shape} and {affine.shape}."
        )
    if image.dtype.kind not in "buif" or not image.size:
        raise ValueError(f"The image holds {image.size} values of {image.dtype}: no scan does.")
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
    return without_spikes(image), affine


def by_slices(
    model: Any, image: np.ndarray, batch_size: int, air: float, flips: bool
) -> np.ndarray:
    """Run the network over the axial slices with head of a normalised RAS volume."""
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
        probability = lesion_channel(model.predict_on_batch(batch), (batch_size, *frame))
        if flips:
            mirrored = lesion_channel(
                model.predict_on_batch(batch[:, ::-1].copy()), (batch_size, *frame)
            )
            probability = (probability + mirrored[:, ::-1]) / 2
        for row, z in enumerate(chosen):
            found[:, :, z] = unpad(probability[row], whole)
    return found


def at_shape(model: Any, frame: tuple[int, int]) -> Any:
    """The same network, sharing its weights, for slices of another height and width.

    ValueError for an exported file, which is bound to the size that it was exported for.
    """
    if isinstance(model, OnnxNetwork):
        return model.for_slices_of(frame)
    from kenseg_utils import networks

    machine.fuse_normalisation(model)
    return networks.for_slices_of(model, frame)
