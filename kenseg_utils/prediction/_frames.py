"""A whole head through a network of volumes: one look, or the mean of two or four."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from kenseg_utils import anatomy

from . import frames
from ._answers import lesion_channel


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
    network with the attribute `moved` is also asked about the head a voxel further on (`look`).
    Then log-odds are shifted so that the threshold that was recorded with the network (its
    attribute `threshold`) becomes 0.5.
    `inside_brain` answers 0 outside a generous hull of the brain. Unlike a network of slices, one
    of volumes is shown all of the head, as it was in training.
    """
    frame, seen = frames.look(image, affine)
    answers = [
        look(lambda one: _asked(model, one), seen, *way)
        for way in ways_to_look(flips, getattr(model, "moved", False))
    ]
    probability = _shifted(np.mean(answers, axis=0), getattr(model, "threshold", 0.5))
    if inside_brain:
        probability = probability * _hull(seen)
    return frame.back(probability, image.shape, affine)


def ways_to_look(mirrored: bool, moved: bool) -> list[tuple[bool, bool]]:
    """For each look, whether it is mirrored, and whether it is moved: as it is, and all others."""
    return list(itertools.product(*([False, True][: 1 + more] for more in (mirrored, moved))))


def look(
    ask: Callable[[np.ndarray], np.ndarray], seen: np.ndarray, mirrored: bool, moved: bool
) -> np.ndarray:
    """What `ask` answers about a head in the frame, shown mirrored or moved, brought back.

    Moved by a voxel along each axis: a network that begins with a stride of 2 takes other voxels
    together then. What goes round is air: the last planes lie above, before and beside a head.
    """
    way, step, axes = -1 if mirrored else 1, int(moved), (0, 1, 2)
    return np.roll(ask(np.roll(seen[::way], step, axes)), -step, axes)[::way]


def _asked(model: Any, seen: np.ndarray) -> np.ndarray:
    batch = seen[np.newaxis, ..., np.newaxis]
    return lesion_channel(model.predict_on_batch(batch), batch.shape[:-1])[0]


def _shifted(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Log-odds shifted so that `threshold` becomes 0.5."""
    if threshold == 0.5:
        return probability
    here, there = probability * (1 - threshold), (1 - probability) * threshold
    return here / np.maximum(here + there, np.finfo(np.float32).tiny)


def _hull(seen: np.ndarray) -> np.ndarray:
    """`anatomy.brain_hull`, which counts in mm, of a head in the frame."""
    step = round(frames.SPACING)
    fine = seen.repeat(step, 0).repeat(step, 1).repeat(step, 2)
    return anatomy.brain_hull(fine)[::step, ::step, ::step]
