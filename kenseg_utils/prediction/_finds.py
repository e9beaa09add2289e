"""From probabilities to what is drawn: a threshold for finding, and each find's own for drawing."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from kenseg_utils import metrics


def finds(probability: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The pieces (26-connected) of at least `threshold`: their labels, and each one's highest.

    labels: int32 of the shape of `probability`, 0 where nothing is found; highest: float32, by
    label, of which the first (what is not found) is 0.
    """
    labels, count = metrics.label_lesions(probability >= threshold, corners=True)
    highest = np.zeros(count + 1, np.float32)
    found = labels > 0
    np.maximum.at(highest, labels[found], probability[found])
    return labels, highest


def drawing_thresholds(
    probability: np.ndarray, threshold: float, peak_share: float
) -> np.ndarray | float:
    """From which probability on a voxel is drawn as lesion, so that each find has its own border.

    A find is a piece of at least `threshold`; of it is drawn what has at least `peak_share` times
    its highest probability. A low threshold finds faint lesions and would draw clear ones too
    large. What is not in a find goes with the nearest, so that no border runs around a find.
    Returns `threshold` itself, or float32 of the shape of `probability`, nowhere below it.
    """
    if not peak_share:
        return threshold
    labels, highest = finds(probability, threshold)
    if not labels.any():
        return threshold
    own = np.maximum(threshold, peak_share * highest).astype(np.float32)
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    return own[labels[tuple(nearest)]]
