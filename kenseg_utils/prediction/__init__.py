"""Whole volume in, mask out, on the same grid: what a trained network is for.

Research and teaching only: not for clinical use.
"""

from ._doubts import check_is_head, t1w_doubts
from ._finds import drawing_thresholds, finds
from ._frames import by_frame, takes_volumes
from ._onnx import OnnxNetwork
from ._recorded import BEST_FIRST, best_recorded, recorded_network, save_network
from ._volumes import (
    BOX,
    LEAST_ML,
    WorkingGrid,
    at_shape,
    by_slices,
    check_cut,
    check_network,
    checked_volume,
    lesion_probability,
    open_network,
    own_least_ml,
    remove_small,
    segment_file,
    segment_volume,
)

__all__ = [
    "BEST_FIRST",
    "BOX",
    "LEAST_ML",
    "OnnxNetwork",
    "WorkingGrid",
    "at_shape",
    "best_recorded",
    "by_frame",
    "by_slices",
    "check_cut",
    "check_is_head",
    "check_network",
    "checked_volume",
    "drawing_thresholds",
    "finds",
    "lesion_probability",
    "open_network",
    "own_least_ml",
    "recorded_network",
    "remove_small",
    "save_network",
    "segment_file",
    "segment_volume",
    "t1w_doubts",
    "takes_volumes",
]
