"""What a network answers with, checked before anybody believes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

NEEDED = "the lesion's probability is needed, on the input's own pixels and of one class or two"

# What may be recorded with a network beside its threshold, and becomes an attribute of it.
CHOICES = {"least_ml": float, "mirrored": bool, "moved": bool, "peak_share": float}


def lesion_channel(answer: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The lesion's probability, of `shape` (batch, then two or three axes), in an answer.

    Raises ValueError for another shape, more than two classes, NaN, and values outside [0, 1].
    """
    answer = np.asarray(answer, np.float32)
    if answer.shape[:-1] != tuple(shape) or answer.shape[-1] not in (1, 2):
        raise ValueError(
            f"The network answered with shape {answer.shape} to a batch of {tuple(shape)}: "
            f"{NEEDED}."
        )
    lowest, highest = float(answer.min()), float(answer.max())  # NaN wins both
    if np.isnan(lowest):
        raise ValueError(
            "The network answered with NaN: its weights or its precision are broken. Train it "
            "again, or run it in float32."
        )
    if lowest < -1e-3 or highest > 1 + 1e-3:
        raise ValueError(
            f"The network's answers run from {lowest:.3g} to {highest:.3g}, and probabilities are "
            "needed: end it with a softmax over two classes, or a sigmoid."
        )
    return answer[..., -1]


def give_choices(network: Any, about: Mapping[str, Any]) -> None:
    """Make attributes of what was recorded with a network: how it is asked, and what counts."""
    for name, kind in CHOICES.items():
        if name in about:
            setattr(network, name, kind(about[name]))
