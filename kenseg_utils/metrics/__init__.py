"""Scores of a segmentation, each with its convention named. NumPy only: no network is needed.

Counting is kept apart from reducing. `count` and `count_slices` say how many voxels are true and
false positives and negatives; `dice_from`, `iou_from` … turn counts into a score; `per_slice`,
`per_subject` and `pooled` say over what. The same predictions score very differently per slice,
per subject and pooled, so every number should carry its reduction.

Scores of whole lesions and of distances are in `lesion_metrics`; their names are here as well.
"""

from ._lesions import (
    LesionMatch,
    assd_mm,
    checked_masks,
    f1_atlas22,
    f1_from_lenient_match,
    f1_from_strict_match,
    f1_isles26,
    hd95_mm,
    label_lesions,
    lesion_count_difference,
    match_lesions,
    surface_distances,
    surface_scores,
)
from ._overlap import (
    SCORES,
    Counts,
    Interval,
    bootstrap_interval,
    calibration_error,
    checked_soft_map,
    count,
    count_slices,
    dice,
    dice_from,
    iou,
    iou_from,
    lesion_scores,
    paper_dice,
    paper_prose_dice,
    per_slice,
    per_subject,
    pooled,
    pr_auc,
    precision,
    precision_from,
    recall,
    recall_from,
    reliability_table,
    volume_difference_ml,
    volume_difference_voxels,
)

__all__ = ["Counts", "Interval", "LesionMatch", "SCORES", "assd_mm", "bootstrap_interval",
           "calibration_error", "checked_masks", "checked_soft_map", "count", "count_slices",
           "dice", "dice_from", "f1_atlas22", "f1_from_lenient_match", "f1_from_strict_match",
           "f1_isles26", "hd95_mm", "iou", "iou_from", "label_lesions", "lesion_count_difference",
           "lesion_scores", "match_lesions", "paper_dice", "paper_prose_dice", "per_slice",
           "per_subject", "pooled", "pr_auc", "precision", "precision_from", "recall",
           "recall_from", "reliability_table", "surface_distances", "surface_scores",
           "volume_difference_ml", "volume_difference_voxels"]
