"""A whole head through a network of volumes: one look, or the mean of two or four."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import frames
from ._answers import lesion_channel
from ._finds import drawing_thresholds


def takes_volumes(model: Any) -> bool:
    """Whether a network takes volumes (batch, x, y, z, channels) in place of slices."""
    return len(model.input_shape) == 5


def check_volumes(model: Any) -> None:
    """ValueError where a network of volumes takes others than `frames` makes."""
    wanted = (*frames.SHAPE, 1)
    if tuple(model.input_shape[1:]) != wanted:
        raise ValueError(
            f"The network takes volumes of {tuple(model.input_shape[1:])}, and a head is brought "
            f"to {wanted}: build it with input_shape={wanted}."
        )


def by_frame(
    model: Any, image: np.ndarray, affine: np.ndarray, flips: bool = True, inside_brain: bool = True
) -> np.ndarray:
    """The lesion's probability by a network of volumes: float32 of the image's shape.

    The head is laid into the frame (2 mm, axes of the world, whatever the scan's are), its grey
    values are normalised there, and the network answers about it as a whole; the answer is
    interpolated on the scan's grid. `flips` asks about the mirror image, too, and averages; a
    network with the attribute `moved` is also asked about the head a voxel further on.
    Then log-odds are shifted so that the threshold that was recorded with the network (its
    attribute `threshold`) becomes 0.5; where it has `peak_share`, so does each find's own
    (`drawing_thresholds`).
    `inside_brain` answers 0 outside a generous hull of the brain. Unlike a network of slices, one
    of volumes is shown all of the head, as it was in training.
    """
    frame, seen = frames.look(image, affine)
    answers = [
        frames.asked_about(lambda one: _asked(model, one), seen, *way)
        for way in frames.ways_to_look(flips, getattr(model, "moved", False))
    ]
    probability = np.mean(answers, axis=0)
    if inside_brain:
        probability = probability * frames.hull(seen)
    threshold = drawing_thresholds(
        probability, getattr(model, "threshold", 0.5), getattr(model, "peak_share", 0.0)
    )
    return frame.back(_shifted(probability, threshold), image.shape, affine)


def _asked(model: Any, seen: np.ndarray) -> np.ndarray:
    batch = seen[np.newaxis, ..., np.newaxis]
    return lesion_channel(model.predict_on_batch(batch), batch.shape[:-1])[0]


def _shifted(probability: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    """Log-odds shifted so that `threshold`, one for all or one a voxel, becomes 0.5."""
    if np.ndim(threshold) == 0 and threshold == 0.5:
        return probability
    here, there = probability * (1 - threshold), (1 - probability) * threshold
    return here / np.maximum(here + there, np.finfo(np.float32).tiny)
