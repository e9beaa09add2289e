"""A small 3-D U-Net (after Çiçek et al., 2016), for whole heads at 2 mm."""

import math
from collections.abc import Sequence
from numbers import Integral

import keras
from keras import Input, KerasTensor, layers

from kenseg_utils.blocks import probabilities, scaled_widths

HEAD = (96, 112, 96, 1)  # 192 × 224 × 192 mm at 2 mm: every adult's brain


def unet3d(
    input_shape: Sequence[int] = HEAD,
    classes: int = 1,
    widths: Sequence[int] = (16, 32, 64, 80, 80),
    width_multiplier: float = 1.0,
    normalisation: str | None = "group",
    reduce: int = 1,
) -> keras.Model:
    """A U-Net whose convolutions, strides and skips run along three axes.

    Volumes (batch, x, y, z, channels) in, (batch, x, y, z, classes) out: as a rule the sigmoid of
    lesion alone. Three changes to the article keep it small and whole: convolutions are padded,
    strides take the place of pooling, and the second convolution of a level is residual.
    1,939,905 parameters with these widths and 56 billion multiply-adds a head.
    With group normalisation, computed in float32, a volume's answer does not depend on what else
    is in its batch, and batches of whole heads are small.

    With `reduce=2` a convolution of stride 2 comes first and a transposed one gives the scores, so
    that all of the U-Net is at half the resolution: an eighth of the work for as many filters.
    With widths 32, 64, 96 and 128 that is 2,737,921 parameters and 29 billion multiply-adds a head.
    The levels bear the names of U-Net's: x00 … x40 down, x31 … x04 up.
    ValueError if the sides do not halve `len(widths) - 1` times (once more with `reduce=2`), or
    `reduce` is neither 1 nor 2.
    """
    if reduce not in (1, 2):
        raise ValueError(f"reduce must be 1 or 2; got {reduce!r}.")
    widths = scaled_widths(widths, width_multiplier)
    last = len(widths) - 1
    x = inputs = _volume_input(input_shape, halvings=last + reduce - 1)
    if reduce == 2:
        x = _convolution(x, widths[0], "stem", normalisation, strides=2, size=2)
    skips = []
    for i in range(last + 1):
        x = _convolution(x, widths[i], f"down{i}0", normalisation, strides=1 if i == 0 else 2)
        x = _residual(x, f"x{i}0", normalisation)
        skips.append(x)
    for i in reversed(range(last)):
        j = last - i
        x = layers.Conv3DTranspose(
            widths[i], 2, strides=2, kernel_initializer="he_normal", name=f"up{i}{j}"
        )(x)
        x = layers.Concatenate(name=f"join{i}{j}")([skips[i], x])
        x = _convolution(x, widths[i], f"merge{i}{j}", normalisation)
        x = _residual(x, f"x{i}{j}", normalisation)
    if reduce == 2:
        scores = layers.Conv3DTranspose(classes, 2, strides=2, name="probabilities_conv")(x)
    else:
        scores = layers.Conv3D(classes, 1, name="probabilities_conv")(x)
    return keras.Model(inputs, probabilities(scores), name="unet3d")


def _residual(x: KerasTensor, name: str, normalisation: str | None) -> KerasTensor:
    """One 3×3×3 convolution that learns what to add to its input: relu(F(x) + x).

    The block before it changed the number of channels, so the shortcut is the identity.
    """
    added = _convolution(x, x.shape[-1], f"{name}_add", normalisation, activation=None)
    total = layers.Add(name=f"{name}_sum")([added, x])
    return layers.Activation("relu", name=name)(total)


def _convolution(
    x: KerasTensor,
    filters: int,
    name: str,
    normalisation: str | None,
    strides: int = 1,
    activation: str | None = "relu",
    size: int = 3,
) -> KerasTensor:
    """A padded convolution (3×3×3 unless told otherwise), normalisation, activation."""
    x = layers.Conv3D(
        filters,
        size,
        strides,
        padding="same",
        use_bias=normalisation is None,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = _normalise(x, normalisation, f"{name}_norm")
    return layers.Activation(activation, name=name)(x) if activation else x


def _normalise(x: KerasTensor, kind: str | None, name: str) -> KerasTensor:
    """`blocks.normalise`, in float32: a million voxels' mean would be lost in half precision."""
    if kind == "batch":
        return layers.BatchNormalization(momentum=0.95, name=name)(x)
    if kind == "group":
        groups = math.gcd(8, x.shape[-1])
        return layers.GroupNormalization(groups, dtype="float32", name=name)(x)
    if kind is None:
        return x
    raise ValueError(f'normalisation must be "batch", "group" or None; got {kind!r}.')


def _volume_input(input_shape: Sequence[int], halvings: int) -> KerasTensor:
    """The input layer; ValueError if a side cannot be halved so often."""
    divisor = 2**halvings
    whole = all(isinstance(size, Integral) and size > 0 for size in input_shape)
    if len(input_shape) != 4 or not whole:
        raise ValueError(
            "input_shape must be (x, y, z, channels), four whole numbers above zero; got "
            f"{tuple(input_shape)}."
        )
    if any(side % divisor for side in input_shape[:3]):
        raise ValueError(
            f"This network halves its input {halvings} times, so each side must be a multiple of "
            f"{divisor}; got {' x '.join(map(str, input_shape[:3]))}. Pad the volumes, or take "
            "fewer levels."
        )
    return Input(input_shape, name="image")
