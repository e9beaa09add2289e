"""Scores of lesions as things with a place and an edge: detection, counts, distances in mm.

As with voxels, measuring is kept apart from reducing: `match_lesions` finds the lesions of two
masks and which of them overlap, and each challenge's F1 is a few lines on top of that.
`metrics` passes on all names of this module.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage, spatial

from kenseg_utils.anatomy import box_around


def checked_masks(truth: ArrayLike, prediction: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of one shape as boolean arrays, refused with the reason where they are not.

    Booleans are taken as they are. (ATLAS'22's scorer adds arrays and looks for a 2, so there two
    boolean masks never overlap; here they do.)

    Raises ValueError for what is no array or has no voxels, shapes that differ, NaN, hidden voxels
    of a masked array, a soft map, or labels other than 0 and 1.
    """
    truth, prediction = checked_array(truth, "truth"), checked_array(prediction, "prediction")
    if truth.shape != prediction.shape:
        raise ValueError(
            f"The truth has shape {truth.shape} and the prediction "
            f"{prediction.shape}: bring both to one grid before scoring."
        )
    return checked_mask(truth, "truth"), checked_mask(prediction, "prediction")


def checked_array(values: ArrayLike, name: str) -> np.ndarray:
    """An array with voxels, all of them seen; ValueError, which calls it `name`, otherwise."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"The {name} is no array: its lists have unequal lengths.") from error
    if not array.ndim:
        raise ValueError(f"The {name} is {type(values).__name__}: give an array of its voxels.")
    if not array.size:
        raise ValueError(f"The {name} has shape {array.shape}: it has no voxels to score.")
    if np.ma.is_masked(values):  # what is hidden would count as seen
        raise ValueError(f"The {name} hides voxels (numpy.ma): fill them, as `.filled(0)` does.")
    return array


def checked_mask(mask: ArrayLike, name: str = "mask") -> np.ndarray:
    """One mask as booleans; ValueError, which calls it `name`, as `checked_masks` raises it."""
    array = checked_array(mask, name)
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iuf":
        raise ValueError(f"The {name} holds {array.dtype}: a mask holds 0 and 1.")
    low, high = array.min(), array.max()  # NaN wins both
    if np.isnan(low):
        raise ValueError(f"The {name} holds NaN: find where it comes from before scoring.")
    if low < 0 or high > 1:
        raise ValueError(
            f"The {name} holds values from {low} to {high}: a mask holds 0 and 1 "
            "only. For one label of several, pass `labels == label`."
        )
    mask = array > 0.5 if array.dtype.kind == "f" else array.astype(bool)
    if array.dtype.kind == "f" and not np.array_equal(array, mask):
        raise ValueError(
            f"The {name} holds values between 0 and 1: it is a soft map. Pass "
            "`soft > 0.5` for a mask's score, or use `pr_auc`."
        )
    return mask


def checked_spacing(spacing: Sequence[float] | np.ndarray, ndim: int) -> tuple[float, ...]:
    """The size of a voxel in mm, a positive number for each axis; ValueError otherwise."""
    try:
        sizes = tuple(float(size) for size in np.ravel(spacing))
    except (TypeError, ValueError):  # None, text
        sizes = ()
    if len(sizes) != ndim or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise ValueError(f"spacing is {spacing}: give {ndim} positive sizes in mm, one an axis.")
    return sizes


def sheared_axes(affine: ArrayLike | None, spacing: Sequence[float]) -> np.ndarray | None:
    """The axes of a sheared grid as columns in mm (ndim, ndim); None where right angles do.

    `affine`: voxel to mm, or None where it is not known; `spacing`: as `checked_spacing` gives it.
    Raises ValueError for another shape, no numbers, an affine that lays the voxels into a plane,
    or one whose voxels have other sizes than `spacing`.
    """
    if affine is None:
        return None
    ndim = len(spacing)
    try:
        axes = np.asarray(affine, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"affine holds no numbers ({error}).") from error
    if axes.shape != (ndim + 1, ndim + 1):
        raise ValueError(f"affine has shape {axes.shape}: give one of {ndim + 1} by {ndim + 1}.")
    if not np.isfinite(axes).all():
        raise ValueError("affine holds values that are not finite: take the scan's own.")
    axes = axes[:ndim, :ndim]
    lengths = np.linalg.norm(axes, axis=0)
    if not abs(np.linalg.det(axes)) > 1e-6 * lengths.prod():
        raise ValueError("affine is singular, so its voxels hold nothing: take the scan's own.")
    if not np.allclose(lengths, spacing, rtol=1e-3):
        raise ValueError(
            f"spacing is {tuple(spacing)} mm and the affine's voxels are {lengths.tolist()} mm: "
            "give both of one scan."
        )
    cosines = axes.T @ axes / np.outer(lengths, lengths)
    return None if np.abs(cosines - np.eye(ndim)).max() <= 1e-4 else axes


def joint_crop(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both boolean masks cut to the smallest box that holds them: all else is background."""
    box = box_around(truth | prediction)
    return np.ascontiguousarray(truth[box]), np.ascontiguousarray(prediction[box])


def label_lesions(mask: np.ndarray, corners: bool = False) -> tuple[np.ndarray, int]:
    """Number the lesions (connected components) of a boolean mask: (labels from 1, how many).

    Voxels belong together across faces (6 neighbours in 3-D, 4 in 2-D); with `corners` across
    edges and corners too (26 in 3-D, 8 in 2-D). Raises ValueError as `checked_masks` does.
    """
    mask = checked_mask(mask)
    reach = mask.ndim if corners else 1
    structure = ndimage.generate_binary_structure(mask.ndim, reach)
    box = box_around(mask)  # a lesion fills little of a head: label no more than its box
    labels = np.zeros(mask.shape, np.int32)
    return labels, ndimage.label(np.ascontiguousarray(mask[box]), structure, output=labels[box])


@dataclass(frozen=True)
class LesionMatch:
    """The lesions of two masks and their overlaps: what every lesion-wise score is made from.

    truth_sizes, prediction_sizes: voxels of each lesion.
    pairs: (n, 2) positions in those two, a row for each truth and predicted lesion that overlap;
    shared: (n,) voxels that the two have in common.
    """

    truth_sizes: np.ndarray
    prediction_sizes: np.ndarray
    pairs: np.ndarray
    shared: np.ndarray

    @property
    def count_difference(self) -> int:
        """How many lesions too many or too few the prediction has, as an absolute number."""
        return abs(len(self.truth_sizes) - len(self.prediction_sizes))


def match_lesions(truth: ArrayLike, prediction: ArrayLike, corners: bool = False) -> LesionMatch:
    """Find the lesions of two masks of one shape and which of them overlap.

    `corners`: see `label_lesions`. Raises ValueError as `checked_masks` does.
    """
    truth, prediction = checked_masks(truth, prediction)
    truth_labels, truth_count = label_lesions(truth, corners)
    prediction_labels, prediction_count = label_lesions(prediction, corners)
    both = truth & prediction
    # One number for each pair of labels, so that one pass counts all overlaps.
    codes = truth_labels[both].astype(np.int64) * (prediction_count + 1) + prediction_labels[both]
    codes, shared = np.unique(codes, return_counts=True)
    return LesionMatch(
        truth_sizes=np.bincount(truth_labels[truth], minlength=truth_count + 1)[1:],
        prediction_sizes=np.bincount(prediction_labels[prediction], minlength=prediction_count + 1)[
            1:
        ],
        pairs=np.stack(np.divmod(codes, prediction_count + 1), axis=1) - 1,
        shared=shared,
    )


def f1_from_lenient_match(match: LesionMatch, empty: float = 1.0) -> float:
    """F1 in which a lesion is found as soon as one voxel of it is hit; no lesions give `empty`.

    tp: truth lesions touched by the prediction; fn: those not touched; fp: predicted lesions that
    touch no truth. F1 = tp / (tp + (fp + fn) / 2). ValueError for what is no LesionMatch.
    """
    _check_match(match)
    found = len(np.unique(match.pairs[:, 0]))
    missed = len(match.truth_sizes) - found
    invented = len(match.prediction_sizes) - len(np.unique(match.pairs[:, 1]))
    total = found + (missed + invented) / 2
    return found / total if total else empty


def f1_from_strict_match(match: LesionMatch, least_iou: float = 0.25, empty: float = 1.0) -> float:
    """F1 in which lesions are paired one to one and a pair counts from IoU `least_iou` upwards.

    Pairs are made greedily, best IoU first (ties in the order of the lesions in the array), as
    panoptica's NaiveThresholdMatching does; below IoU 0.5 that can be a pair fewer than the best
    possible. No lesions in either mask give `empty`.
    Raises ValueError for what is no LesionMatch, or an IoU that is no share.
    """
    _check_match(match)
    if not isinstance(least_iou, numbers.Real) or not 0 <= least_iou <= 1:
        raise ValueError(f"least_iou is {least_iou!r}: give a share from 0 to 1, such as 0.25.")
    in_truth, in_prediction = match.pairs[:, 0], match.pairs[:, 1]
    iou = match.shared / (
        match.truth_sizes[in_truth] + match.prediction_sizes[in_prediction] - match.shared
    )
    paired_truth, paired_prediction = set(), set()
    for row in np.argsort(-iou, kind="stable"):
        if iou[row] < least_iou:
            break
        if in_truth[row] not in paired_truth and in_prediction[row] not in paired_prediction:
            paired_truth.add(in_truth[row])
            paired_prediction.add(in_prediction[row])
    lesions = len(match.truth_sizes) + len(match.prediction_sizes)
    return 2 * len(paired_truth) / lesions if lesions else empty


def _check_match(match: LesionMatch) -> None:
    if not isinstance(match, LesionMatch):
        raise ValueError(f"match is {type(match).__name__}: give what `match_lesions` returns.")


def f1_atlas22(truth: ArrayLike, prediction: ArrayLike, empty: float = 1.0) -> float:
    """Lesion-wise F1 as ATLAS'22 scored it: 6-connected lesions, found by one voxel of overlap.

    Two empty masks give `empty`. Source: npnl/atlas2_grand_challenge, isles/scoring.py.
    """
    return f1_from_lenient_match(match_lesions(truth, prediction), empty)


def f1_isles26(truth: ArrayLike, prediction: ArrayLike, empty: float = 1.0) -> float:
    """Lesion-wise F1 as ISLES'26 scores it: 26-connected, paired one to one at IoU >= 0.25.

    Two empty masks give `empty`. Source: ezequieldlrosa/isles26, utils/eval_utils.py (the
    recognition quality of panoptica).

    On equal connectivity the lenient F1 is never below the strict one. The two official scores
    differ in connectivity as well, and there it happens, on real masks too. A truth of two voxels
    that touch at a corner, of which one is predicted, is one lesion found here (F1 1), and two
    lesions with one missed there (F1 2/3).
    """
    return f1_from_strict_match(match_lesions(truth, prediction, corners=True), empty=empty)


def lesion_count_difference(truth: ArrayLike, prediction: ArrayLike, corners: bool = False) -> int:
    """`|lesions in the prediction - lesions in the truth|`, 6-connected (26 with `corners`)."""
    return match_lesions(truth, prediction, corners).count_difference


def mask_surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a boolean mask with a face on the background or on the array's edge."""
    inside = np.pad(mask, 1)
    core = mask.copy()
    for axis in range(mask.ndim):
        for shift in (slice(None, -2), slice(2, None)):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = shift
            core &= inside[tuple(window)]
    return mask & ~core


def surface_distances(
    truth: ArrayLike,
    prediction: ArrayLike,
    spacing: Sequence[float] | np.ndarray,
    affine: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Distances in mm between the surfaces of two masks, for voxel sizes `spacing` in mm.

    `affine` (voxel to mm), where it is known: voxel sizes measure along axes at right angles,
    which those of a sheared grid are not.
    Raises ValueError for masks, a spacing or an affine that are none, or that contradict.
    Returns, for each surface voxel of the truth, how far the prediction's surface is, and the
    same the other way round. None where a mask is empty: there is no surface to measure from.
    """
    truth, prediction = checked_masks(truth, prediction)
    spacing = np.array(checked_spacing(spacing, truth.ndim))
    axes = sheared_axes(affine, spacing.tolist())
    surfaces = [mask_surface(mask) for mask in joint_crop(truth, prediction)]
    points = [np.argwhere(surface) for surface in surfaces]
    if not (len(points[0]) and len(points[1])):
        return None
    if axes is not None:
        one, other = (found @ axes.T for found in points)
        return spatial.KDTree(other).query(one)[0], spatial.KDTree(one).query(other)[0]
    # A tree of surface points costs by the surface, a distance transform by the box around it.
    # Lesions are small in their box; only a mask that is speckled all over is not.
    speckled = len(points[0]) + len(points[1]) > surfaces[0].size / 8
    distances = _distances_by_transform if speckled else _distances_by_tree
    return (
        distances(points[0], points[1], surfaces[1], spacing),
        distances(points[1], points[0], surfaces[0], spacing),
    )


def _distances_by_tree(points, targets, _target_mask, spacing) -> np.ndarray:
    tree = spatial.KDTree(targets * spacing, balanced_tree=False, compact_nodes=False)
    return tree.query(points * spacing)[0]


def _distances_by_transform(points, _targets, target_mask, spacing) -> np.ndarray:
    nearest = ndimage.distance_transform_edt(
        ~target_mask, sampling=spacing, return_distances=False, return_indices=True
    )
    steps = nearest[(slice(None), *points.T)].T - points
    return np.sqrt(((steps * spacing) ** 2).sum(axis=1))


def surface_scores(
    truth: ArrayLike,
    prediction: ArrayLike,
    spacing: Sequence[float] | np.ndarray,
    missing: float = math.nan,
    affine: ArrayLike | None = None,
) -> dict[str, float]:
    """`hd95_mm` and `assd_mm` of two masks, measured once: {"hd95_mm": …, "assd_mm": …}.

    `affine`: see `surface_distances`.
    """
    distances = surface_distances(truth, prediction, spacing, affine)
    if distances is None:
        both_empty = not (np.any(truth) or np.any(prediction))
        return dict.fromkeys(("hd95_mm", "assd_mm"), 0.0 if both_empty else missing)
    return {
        "hd95_mm": float(max(np.percentile(one_way, 95) for one_way in distances)),
        "assd_mm": float(np.concatenate(distances).mean()),
    }


def hd95_mm(
    truth: ArrayLike,
    prediction: ArrayLike,
    spacing: Sequence[float] | np.ndarray,
    missing: float = math.nan,
) -> float:
    """95th-percentile Hausdorff distance in mm: the worse of the two directions' percentiles.

    Two empty masks give 0. With one empty there is no distance: `missing` (NaN) is returned.
    Source: the form of Metrics Reloaded, MONAI and surface-distance; medpy and nnU-Net take one
    percentile over both directions together, which is rarely larger.
    """
    return surface_scores(truth, prediction, spacing, missing)["hd95_mm"]


def assd_mm(
    truth: ArrayLike,
    prediction: ArrayLike,
    spacing: Sequence[float] | np.ndarray,
    missing: float = math.nan,
) -> float:
    """Average symmetric surface distance in mm: the mean over the surface voxels of both masks.

    Two empty masks give 0. With one empty there is no distance: `missing` (NaN) is returned.
    """
    return surface_scores(truth, prediction, spacing, missing)["assd_mm"]
