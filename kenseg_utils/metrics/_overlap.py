"""Scores of a segmentation, each with its convention named. NumPy only: no network is needed.

Counting is kept apart from reducing. `count` and `count_slices` say how many voxels are true and
false positives and negatives; `dice_from`, `iou_from` … turn counts into a score; `per_slice`,
`per_subject` and `pooled` say over what. The same predictions score very differently per slice,
per subject and pooled, so every number should carry its reduction.

Scores of whole lesions and of distances are in `lesion_metrics`; their names are here as well.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kenseg_utils.artifacts import is_whole

from ._lesions import (
    checked_array,
    checked_masks,
    checked_spacing,
    f1_from_lenient_match,
    f1_from_strict_match,
    joint_crop,
    match_lesions,
    surface_scores,
)


@dataclass(frozen=True)
class Counts:
    """True and false positives and negatives: numbers, or arrays of one number a slice."""

    tp: int | np.ndarray
    fp: int | np.ndarray
    fn: int | np.ndarray
    tn: int | np.ndarray


def count(truth: np.ndarray, prediction: np.ndarray) -> Counts:
    """Count the voxels of two masks of one shape (any number of axes).

    Raises ValueError for shapes that differ, NaN, soft maps, or labels other than 0 and 1.
    """
    truth, prediction = checked_masks(truth, prediction)
    tp = int(np.count_nonzero(truth & prediction))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Counts(tp, fp, fn, truth.size - tp - fp - fn)


def count_slices(truth: np.ndarray, prediction: np.ndarray) -> Counts:
    """Count each slice of two stacks (n, H, W) of masks: a Counts of arrays (n,).

    Raises ValueError as `count` does, and for a stack without slices.
    """
    if np.ndim(truth) < 2 or len(truth) == 0:
        raise ValueError(f"Expected a stack of slices (n, H, W), got shape {np.shape(truth)}.")
    truth, prediction = checked_masks(truth, prediction)
    truth, prediction = truth.reshape(len(truth), -1), prediction.reshape(len(truth), -1)
    tp = np.count_nonzero(truth & prediction, axis=1)
    fp = np.count_nonzero(prediction, axis=1) - tp
    fn = np.count_nonzero(truth, axis=1) - tp
    return Counts(tp, fp, fn, truth.shape[1] - tp - fp - fn)


def dice_from(counts: Counts, empty: float = 1.0) -> float | np.ndarray:
    """Dice = 2 tp / (2 tp + fp + fn); `empty` where both masks are empty (0 / 0)."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts, empty)


def iou_from(counts: Counts, empty: float = 1.0) -> float | np.ndarray:
    """Intersection over union = tp / (tp + fp + fn); `empty` where both masks are empty."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn, counts, empty)


def precision_from(counts: Counts, empty: float = 1.0) -> float | np.ndarray:
    """tp / (tp + fp); `empty` where both masks are, and 0 where only the prediction is."""
    return _ratio(counts.tp, counts.tp + counts.fp, counts, empty)


def recall_from(counts: Counts, empty: float = 1.0) -> float | np.ndarray:
    """tp / (tp + fn); `empty` where both masks are, and 0 where only the truth is."""
    return _ratio(counts.tp, counts.tp + counts.fn, counts, empty)


def _ratio(part, whole, counts: Counts, empty: float):
    """part / whole; 0 / 0 is `empty` where both masks are empty and 0 where one is."""
    nothing = np.where(counts.tp + counts.fp + counts.fn == 0, empty, 0.0)
    score = np.where(np.equal(whole, 0), nothing, part / np.maximum(whole, 1))
    return score if score.ndim else float(score)


SCORES: dict[str, Callable] = {
    "dice": dice_from,
    "iou": iou_from,
    "precision": precision_from,
    "recall": recall_from,
}


def dice(truth: np.ndarray, prediction: np.ndarray, empty: float = 1.0) -> float:
    """Dice coefficient `2|A∩B| / (|A| + |B|)` of two masks of one shape.

    Two empty masks score `empty`: 1 here as in both official scorers; X-Net's code takes 0, and
    NaN leaves such cases out of a nanmean, as MONAI does. Raises ValueError as `count` does.
    """
    return float(dice_from(count(truth, prediction), empty))


def iou(truth: np.ndarray, prediction: np.ndarray, empty: float = 1.0) -> float:
    """Intersection over union `|A∩B| / |A∪B|` of two masks; two empty ones score `empty`."""
    return float(iou_from(count(truth, prediction), empty))


def precision(truth: np.ndarray, prediction: np.ndarray, empty: float = 1.0) -> float:
    """Share of the predicted voxels that are lesion: see `precision_from` for empty masks."""
    return float(precision_from(count(truth, prediction), empty))


def recall(truth: np.ndarray, prediction: np.ndarray, empty: float = 1.0) -> float:
    """Share of the lesion's voxels that were predicted: see `recall_from` for empty masks."""
    return float(recall_from(count(truth, prediction), empty))


def paper_dice(truth: np.ndarray, prediction: np.ndarray, empty: float = 0.5) -> float:
    """The paper's equation (1) as printed, `|A∩B| / (n(A) + n(B))`: half of Dice, 0.5 at best."""
    return dice(truth, prediction, empty=2 * empty) / 2


def paper_prose_dice(truth: np.ndarray, prediction: np.ndarray, empty: float = math.nan) -> float:
    """The paper's formula in words (V.A): intersection / product of the masks' pixel numbers.

    A perfect mask of n pixels scores 1/n, so this is no overlap score. `empty` (NaN) where a mask
    has no pixel, since the product is 0 then.
    """
    counts = count(truth, prediction)
    product = (counts.tp + counts.fn) * (counts.tp + counts.fp)
    return float(counts.tp / product) if product else empty


def per_slice(counts: Counts, score: str = "dice", empty: float = 1.0) -> np.ndarray:
    """The score of each slice, (n,), from `count_slices`. Empty slices score `empty`.

    Raises ValueError for an unknown score, counts that are none, and an `empty` that is no number.
    """
    return np.atleast_1d(_score(score)(_checked_counts(counts, empty), empty))


def per_subject(
    counts: Counts, subjects: ArrayLike, score: str = "dice", empty: float = 1.0
) -> pd.Series:
    """The score of each subject's voxels taken together: a Series by subject, in sorted order.

    `subjects`: (n,), the subject of each slice. This is the score of a whole volume, not the mean
    of its slices' scores. Raises ValueError where the lengths differ, there is no subject, one is
    missing or named in two ways, and as `per_slice` does.
    """
    counts, subjects = _checked_counts(counts, empty), np.asarray(subjects)
    if subjects.size == 0 or subjects.shape != np.shape(counts.tp):
        raise ValueError(
            f"{np.shape(counts.tp)} counted slices need one subject each; "
            f"got an array of shape {subjects.shape}."
        )
    checked_subjects(subjects)
    table = pd.DataFrame({"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn})
    table = table.groupby(subjects).sum()
    grouped = Counts(*(table[name].to_numpy() for name in ("tp", "fp", "fn", "tn")))
    return pd.Series(_score(score)(grouped, empty), index=table.index.rename("subject"), name=score)


def pooled(counts: Counts, score: str = "dice", empty: float = 1.0) -> float:
    """One score over the voxels of all slices together: large lesions weigh most.

    Raises ValueError as `per_slice` does.
    """
    counts = _checked_counts(counts, empty)
    total = Counts(*(int(np.sum(part)) for part in (counts.tp, counts.fp, counts.fn, counts.tn)))
    return _score(score)(total, empty)


def checked_subjects(subjects: Any, where: str = "") -> tuple[np.ndarray, pd.Index]:
    """Whom each value is of: positions (n,) among the subjects' names, and these in order.

    Raises ValueError, which begins with `where`, for a subject that is missing, as it would count
    for nobody, and for one that is named in two ways, as it would count as two: 1 and "01" (where a
    table's names were read as numbers), "01" and "sub-01", "S1" and "s1".
    """
    array = np.asarray(subjects, dtype=object).ravel()
    try:
        member, found = pd.factorize(array)
    except TypeError as error:
        raise ValueError(f"{where}A subject is named by text or a number ({error}).") from error
    labels = [_label(name) for name in found]
    blank = np.array([*(label == "" for label in labels), True])  # missing ones are at -1
    nameless = blank[member]
    if nameless.any():
        raise ValueError(
            f"{where}{nameless.sum()} of {nameless.size} rows name no subject: fill in whose they "
            "are, or leave them out."
        )
    spellings: dict[str, Hashable] = {}
    for label, name in zip(labels, found, strict=True):
        if (other := spellings.setdefault(label, name)) is not name:
            raise ValueError(
                f"{where}One subject is named in two ways, {other!r} and {name!r}, and would count "
                "as two: name it in one way (evaluation.open_table keeps names as text)."
            )
    try:
        order = np.argsort(found)
    except TypeError:  # text beside numbers
        order = np.array(sorted(range(len(found)), key=lambda k: str(found[k])))
    return np.argsort(order)[member], pd.Index(found[order], name="subject")


def _label(subject: Hashable) -> str:
    """What a subject's names have in common, however a table, a file or BIDS spells them."""
    text = str(subject).strip().casefold().removeprefix("sub-")
    number = re.fullmatch(r"0*(\d+)(\.0+)?", text)
    return number[1] if number else text


def _checked_counts(counts: Counts, empty: float) -> Counts:
    """The same counts as arrays or, for all slices alike, one number; ValueError for what is none.

    Lists become numbers: twice a list is a longer list.
    """
    if not isinstance(counts, Counts):
        raise ValueError(f"counts is {type(counts).__name__}: give what `count_slices` returns.")
    if not isinstance(empty, numbers.Real):
        raise ValueError(f"empty is {empty!r}: give what two empty masks score, a number or NaN.")
    try:
        parts = [np.asarray(part, dtype=float) for part in vars(counts).values()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"The counts hold no numbers ({error}).") from error
    if len({part.shape for part in parts if part.ndim}) > 1 or not all(
        (part >= 0).all() and np.isfinite(part).all() for part in parts
    ):
        raise ValueError("The counts are no numbers of voxels, 0 or more, of the same slices each.")
    return Counts(*(np.asarray(part)[()] for part in vars(counts).values()))


def _score(name: str) -> Callable:
    if not isinstance(name, str) or name not in SCORES:
        raise ValueError(f"There is no score {name!r}: choose one of {', '.join(SCORES)}.")
    return SCORES[name]


def volume_difference_voxels(truth: np.ndarray, prediction: np.ndarray) -> int:
    """`|voxels predicted - voxels of lesion|`, as ATLAS'22.

    That scorer's unbatched branch compares the prediction with itself and always gives 0; the
    branch which the challenge ran does not, and this follows it.
    """
    counts = count(truth, prediction)
    return int(abs(counts.fp - counts.fn))


def volume_difference_ml(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    *,
    voxel_ml: float | None = None,
) -> float:
    """`|volume predicted - volume of lesion|` in ml, as ISLES'26; `spacing` in mm for each axis.

    `voxel_ml`: see `lesion_scores`. Raises ValueError as `lesion_scores` does.
    """
    truth, prediction = checked_masks(truth, prediction)
    voxel_ml = _checked_voxel_ml(voxel_ml, checked_spacing(spacing, truth.ndim))
    return volume_difference_voxels(truth, prediction) * voxel_ml


def _checked_voxel_ml(voxel_ml: float | None, spacing: tuple[float, ...]) -> float:
    """What a voxel holds: as given, else the product of its sides."""
    if voxel_ml is None:
        return math.prod(spacing) / 1000
    if not isinstance(voxel_ml, numbers.Real) or not 0 < voxel_ml < math.inf:
        raise ValueError(f"voxel_ml is {voxel_ml!r}: give a voxel's volume in ml, above 0.")
    return float(voxel_ml)


def lesion_scores(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    prediction_spacing: Sequence[float] | None = None,
    *,
    voxel_ml: float | None = None,
    affine: ArrayLike | None = None,
) -> dict[str, float]:
    """Every score of one predicted mask against its truth (3-D; 2-D works as well).

    `spacing`: voxel size in mm for each axis; `prediction_spacing`: the prediction's own, if it
    is known, to be checked against it. `voxel_ml`, `affine`: a voxel's volume
    (`anatomy.voxel_ml`) and the way from voxels to mm where they are known; without them axes are
    taken to be at right angles, which those of a sheared affine are not.
    Conventions where masks are empty: both empty gives 1 for dice, iou, precision, recall and both
    F1, and 0 for differences and distances; one empty gives 0 for those scores and NaN for hd95_mm
    and assd_mm, which are not defined then.

    Keys: dice, iou, precision, recall · f1_atlas22, f1_isles26 · count_difference (6-connected,
    ATLAS'22), count_difference_isles26 (26-connected) · volume_difference_voxels,
    volume_difference_ml · hd95_mm, assd_mm · truth_volume_ml, prediction_volume_ml,
    truth_lesions, prediction_lesions (6-connected). Differences are absolute.
    Raises ValueError for masks, spacings or an affine that are not as described, or contradict.
    """
    truth, prediction = checked_masks(truth, prediction)
    spacing = checked_spacing(spacing, truth.ndim)
    if prediction_spacing is not None:
        other = checked_spacing(prediction_spacing, truth.ndim)
        if not np.allclose(spacing, other, rtol=1e-3):
            raise ValueError(
                f"The truth's spacing is {spacing} mm and the prediction's {other} "
                "mm: resample the prediction to the truth's grid before scoring."
            )
    voxel_ml = _checked_voxel_ml(voxel_ml, spacing)
    truth, prediction = joint_crop(truth, prediction)  # nothing below depends on the background
    counts = count(truth, prediction)
    six, twenty_six = (match_lesions(truth, prediction, corners) for corners in (False, True))
    return {
        **{name: score(counts) for name, score in SCORES.items()},
        "f1_atlas22": f1_from_lenient_match(six),
        "f1_isles26": f1_from_strict_match(twenty_six),
        "count_difference": six.count_difference,
        "count_difference_isles26": twenty_six.count_difference,
        "volume_difference_voxels": abs(counts.fp - counts.fn),
        "volume_difference_ml": abs(counts.fp - counts.fn) * voxel_ml,
        **surface_scores(truth, prediction, spacing, affine=affine),
        "truth_volume_ml": (counts.tp + counts.fn) * voxel_ml,
        "prediction_volume_ml": (counts.tp + counts.fp) * voxel_ml,
        "truth_lesions": len(six.truth_sizes),
        "prediction_lesions": len(six.prediction_sizes),
    }


def checked_soft_map(truth: ArrayLike, soft: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """A boolean truth and a float32 soft map, both flat; ValueError for shapes, NaN, no voxels."""
    soft = checked_array(soft, "soft map")
    truth, _ = checked_masks(truth, np.zeros(soft.shape, bool))
    with np.errstate(all="ignore"):  # what is too large for float32 becomes infinite
        floats = soft.astype(np.float32) if soft.dtype.kind in "biuf" else np.float32(math.nan)
    if not np.isfinite(floats).all():
        raise ValueError(
            "The soft map holds NaN, infinities or no numbers: "
            "find where they come from before scoring."
        )
    return truth.ravel(), floats.ravel()


def pr_auc(truth: ArrayLike, soft: ArrayLike, empty: float = 1.0) -> float:
    """Area under the precision-recall curve over voxels, as ISLES'26: by trapezoids.

    `soft` need not lie in [0, 1]. A truth without lesion scores `empty` if the map is constant
    and 0 otherwise, so a softmax that is right about a healthy head still scores 0 there. A
    constant map on a real lesion scores about 0.5, an effect of the trapezoids, not a merit.
    Raises ValueError for different shapes, a truth that is no mask, or NaN.
    Source: ezequieldlrosa/isles26, utils/eval_utils.py.
    """
    truth, soft = checked_soft_map(truth, soft)
    if not truth.any():
        return empty if soft.min() == soft.max() else 0.0
    # Recall rises only where the threshold passes a lesion voxel's value, and area needs a rise.
    # So the curve is needed just before and just after those values, and nothing below the lowest
    # of them counts. That is scikit-learn's curve and area, without sorting the whole head.
    levels, hits = np.unique(soft[truth], return_counts=True)
    others = np.sort(soft[~truth & (soft >= levels[0])])
    levels, hits = levels[::-1], hits[::-1]
    tp_after = np.cumsum(hits)
    tp_before = tp_after - hits
    fp_after = len(others) - np.searchsorted(others, levels, side="left")
    fp_before = len(others) - np.searchsorted(others, levels, side="right")
    after = tp_after / (tp_after + fp_after)
    called_before = tp_before + fp_before  # where nothing is called yet, precision starts at 1
    before = np.where(called_before > 0, tp_before / np.maximum(called_before, 1), 1.0)
    return float(np.sum(hits * (before + after)) / (2 * tp_after[-1]))


def reliability_table(truth: ArrayLike, soft: ArrayLike, bins: int = 10) -> pd.DataFrame:
    """How often voxels called lesion with a certain probability are lesion: a row a bin.

    Bins of equal width over [0, 1], the lower edge included (and 1 in the last). Columns: lower,
    upper, voxels, mean_probability, lesion_share (both NaN in a bin without voxels).
    Most of a head is surely background; for a telling table pass the voxels of interest only.
    Raises ValueError for different shapes, NaN, values outside [0, 1], no voxels, or no bins.
    """
    if not is_whole(bins) or bins < 1:
        raise ValueError(f"bins is {bins!r}: give a whole number, at least one.")
    truth, soft = checked_soft_map(truth, soft)
    if soft.min() < 0 or soft.max() > 1:
        raise ValueError(
            f"The soft map runs from {soft.min()} to {soft.max()}: calibration "
            "needs probabilities in [0, 1]."
        )
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, soft, side="right") - 1, 0, bins - 1)
    voxels = np.bincount(place, minlength=bins)
    filled = np.where(voxels > 0, voxels, np.nan)
    return pd.DataFrame(
        {
            "lower": edges[:-1],
            "upper": edges[1:],
            "voxels": voxels,
            "mean_probability": np.bincount(place, weights=soft, minlength=bins) / filled,
            "lesion_share": np.bincount(place, weights=truth, minlength=bins) / filled,
        }
    )


def calibration_error(truth: ArrayLike, soft: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: the mean over voxels of `|probability - lesion share|` by bin.

    Source: Guo et al. 2017, for the lesion's probability rather than the likelier class's.
    """
    table = reliability_table(truth, soft, bins)
    gap = (table["mean_probability"] - table["lesion_share"]).abs()
    return float((gap * table["voxels"]).sum() / table["voxels"].sum())
