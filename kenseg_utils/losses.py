"""The losses that the paper and its related work name, for labels and class probabilities.

Each takes integer labels (batch, height, width) and probabilities (batch, height, width, classes)
as a network's softmax gives them, or (batch, height, width[, 1]) as a sigmoid does, and returns
one value an image: (batch,), float32. Lower is better. Pass the function to `model.compile`.

Sums and logarithms are taken in float32 whatever the network computes in, and probabilities are
kept 1e-7 away from 0 and 1, so neither a value nor a gradient becomes infinite.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import ArrayLike

EPSILON = 1e-7
registered = keras.saving.register_keras_serializable(package="kenseg")


def one_channel_per_class(
    labels: KerasTensor, probabilities: KerasTensor
) -> tuple[KerasTensor, KerasTensor]:
    """Labels (one-hot) and probabilities as float32 of shape (batch, pixels, classes).

    A sigmoid's single channel is the probability of class 1 and stays single.
    ValueError if the two shapes do not belong together.
    """
    if len(labels.shape) == len(probabilities.shape):
        probabilities = probabilities[..., None]
    if len(labels.shape) + 1 != len(probabilities.shape) or any(
        a != b for a, b in zip(labels.shape, probabilities.shape) if None not in (a, b)
    ):
        raise ValueError(
            "A loss takes labels (batch, height, width) and probabilities "
            f"(batch, height, width, classes); got {tuple(labels.shape)} and "
            f"{tuple(probabilities.shape)}."
        )
    classes = probabilities.shape[-1]
    batch = ops.shape(probabilities)[0]
    if classes == 1:
        truth = ops.cast(labels, "float32")[..., None]
    else:
        truth = ops.one_hot(ops.cast(labels, "int32"), classes, dtype="float32")
    probabilities = ops.cast(probabilities, "float32")
    return ops.reshape(truth, (batch, -1, classes)), ops.reshape(
        probabilities, (batch, -1, classes)
    )


def lesion_channels(
    labels: KerasTensor, probabilities: KerasTensor
) -> tuple[KerasTensor, KerasTensor]:
    """As `one_channel_per_class`, without the background: class 0 of a softmax."""
    truth, probability = one_channel_per_class(labels, probabilities)
    first = 0 if truth.shape[-1] == 1 else 1
    return truth[..., first:], probability[..., first:]


@registered
def sparse_categorical_crossentropy(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    """−ln of the probability given to the true class, averaged over pixels (paper, III-B).

    With one sigmoid channel this is binary cross-entropy.
    """
    truth, probability = one_channel_per_class(labels, probabilities)
    log = ops.log(ops.clip(probability, EPSILON, 1 - EPSILON))
    total = -ops.sum(truth * log, axis=-1)
    if truth.shape[-1] == 1:
        rest = ops.log(1 - ops.clip(probability, EPSILON, 1 - EPSILON))
        total = total - ops.sum((1 - truth) * rest, axis=-1)
    return ops.mean(total, axis=1)


@registered
def dice(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    """1 − soft Dice: 1 − (2Σyp + 1) / (Σy + Σp + 1), over the pixels of each image.

    Averaged over the classes but the background. The two ones make an empty image that is
    predicted empty score a loss of 0 and keep the gradient finite (Milletari et al., 2016).
    """
    truth, probability = lesion_channels(labels, probabilities)
    overlap = ops.sum(truth * probability, axis=1)
    total = ops.sum(truth, axis=1) + ops.sum(probability, axis=1)
    return ops.mean(1 - (2 * overlap + 1) / (total + 1), axis=-1)


@registered
def cross_entropy_dice(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    """Cross-entropy plus the Dice loss: smooth far from the goal, close to the score near it."""
    return sparse_categorical_crossentropy(labels, probabilities) + dice(labels, probabilities)


@registered
def cross_entropy_batch_dice(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    """Cross-entropy plus the Dice loss of all the batch's pixels taken together.

    For slices of which many hold no lesion. Image by image, one false pixel in an empty slice
    costs the whole Dice term, and a network soon learns to say nothing at all; taken together,
    it costs a pixel (nnU-Net's `batch_dice`, Isensee et al., 2021). Where several devices share
    a batch, each takes its own part together.
    """
    truth, probability = lesion_channels(labels, probabilities)
    overlap = ops.sum(truth * probability, axis=(0, 1))
    total = ops.sum(truth, axis=(0, 1)) + ops.sum(probability, axis=(0, 1))
    together = ops.mean(1 - (2 * overlap + 1) / (total + 1))
    return sparse_categorical_crossentropy(labels, probabilities) + together


def weighted_focal(
    truth: KerasTensor, probability: KerasTensor, alpha: float, gamma: float
) -> KerasTensor:
    """−α(1−p)^γ ln p where y = 1 and −(1−α)p^γ ln(1−p) where y = 0, averaged over all pixels."""
    p = ops.clip(probability, EPSILON, 1 - EPSILON)
    lesion = alpha * truth * (1 - p) ** gamma * ops.log(p)
    rest = (1 - alpha) * (1 - truth) * p**gamma * ops.log(1 - p)
    return ops.mean(-lesion - rest, axis=1)


@registered
def focal(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    """Focal loss with its authors' α = 0.25 and γ = 2 (Lin et al., 2017).

    Cross-entropy in which pixels that are already right count little. With more than one class
    of lesion, the mean over them, each against the rest.
    """
    truth, probability = lesion_channels(labels, probabilities)
    return ops.mean(weighted_focal(truth, probability, alpha=0.25, gamma=2.0), axis=-1)


@registered
def enhanced_mixing(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    """D-UNet's Enhanced Mixing Loss: focal loss − ln D (Zhou et al., 2019).

    α = 0.48, γ = 1.1, D = (2Σyp + 1) / (Σy² + Σp² + 1). Sums run over each image; the authors'
    run over the batch, which is the same for a batch of one.
    """
    truth, probability = lesion_channels(labels, probabilities)
    overlap = ops.sum(truth * probability, axis=1)
    squares = ops.sum(truth**2, axis=1) + ops.sum(probability**2, axis=1)
    log_dice = ops.log((2 * overlap + 1) / (squares + 1))
    return ops.mean(weighted_focal(truth, probability, alpha=0.48, gamma=1.1) - log_dice, axis=-1)


LOSSES = {
    loss.__name__: loss
    for loss in (
        sparse_categorical_crossentropy,
        dice,
        cross_entropy_dice,
        enhanced_mixing,
        focal,
        cross_entropy_batch_dice,
    )
}


def names() -> list[str]:
    """The names that `get` knows, the paper's loss first."""
    return list(LOSSES)


def get(name: str) -> Callable[[KerasTensor, KerasTensor], KerasTensor]:
    """The loss function of that name, for `model.compile`; ValueError if there is none."""
    if name not in LOSSES:
        raise ValueError(f"Unknown loss {name!r}. Known: {', '.join(names())}.")
    return LOSSES[name]


def check_labels(labels: ArrayLike, classes: int) -> None:
    """ValueError unless `labels` (an array) are whole numbers from 0 to `classes` − 1.

    One class, a sigmoid, tells 1 from 0 and so has the same labels as two.
    """
    found = np.asarray(labels)
    highest = max(classes, 2) - 1
    if found.dtype.kind not in "biu":
        raise ValueError(f"Labels must be integers, one a pixel; got {found.dtype}.")
    if found.size and (found.min() < 0 or found.max() > highest):
        raise ValueError(
            f"Labels must lie between 0 and {highest}; "
            f"found values from {found.min()} to {found.max()}."
        )
