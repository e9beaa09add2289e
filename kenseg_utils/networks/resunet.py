"""ResUNet (Zhang, Liu and Wang, 2018: "Road extraction by deep residual U-Net")."""

from collections.abc import Sequence

import keras
from keras import KerasTensor, layers

from kenseg_utils.blocks import image_input, normalise, probabilities, scaled_widths
from kenseg_utils.networks.common import convolve, every_nth_pixel, norm_relu


def resunet(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    widths: Sequence[int] = (64, 128, 256, 512),
    width_multiplier: float = 1.0,
    reduce: int = 1,
) -> keras.Model:
    """A U-Net of pre-activation residual units; strides of 2 take the place of pooling.

    As in the article: widths 64, 128, 256 and a bridge of 512, enlarging by repeated pixels,
    concatenated skips. 8,231,489 parameters with one class. The article says 7.8 million; the
    gap is unexplained. With widths 64 … 1024 it has 33,160,257, the 33.2 million that X-Net's
    table gives.
    `reduce` pixels a side, 2 say, are averaged before anything else, and the class scores are
    enlarged again by interpolation: a quarter of the work, for outlines as coarse as that.
    ValueError if the sides do not halve `len(widths) - 1` times.
    """
    widths = scaled_widths(widths, width_multiplier)
    last = len(widths) - 1
    x = inputs = image_input(input_shape, halvings=last + reduced(reduce))
    if reduce > 1:
        x = layers.AveragePooling2D(reduce, name="reduce")(x)
    x = residual_unit(x, widths[0], "down0", first=True)
    skips = [x]
    for i in range(1, last + 1):
        x = residual_unit(x, widths[i], f"down{i}", strides=2)
        skips.append(x)
    for i in reversed(range(last)):
        x = layers.UpSampling2D(2, name=f"enlarge{i}")(x)
        x = layers.Concatenate(name=f"join{i}")([skips[i], x])
        x = residual_unit(x, widths[i], f"up{i}")
    x = layers.Conv2D(classes, 1, name="probabilities_conv")(x)
    if reduce > 1:
        x = layers.UpSampling2D(reduce, interpolation="bilinear", name="enlarge_scores")(x)
    return keras.Model(inputs, probabilities(x), name="resunet")


def reduced(factor: int) -> int:
    """How often a side is halved by averaging `factor` pixels; ValueError if not 1 … 8."""
    if factor not in (1, 2, 4, 8):
        raise ValueError(f"reduce must be 1, 2, 4 or 8; got {factor!r}.")
    return int(factor).bit_length() - 1


def residual_unit(
    x: KerasTensor, filters: int, name: str, strides: int = 1, first: bool = False
) -> KerasTensor:
    """(Normalise, activate, convolve) twice, plus a normalised 1×1 convolution of the input.

    The network's `first` unit convolves the image as it is, on both ways.
    """
    shortcut = every_nth_pixel(x, strides, f"{name}_subsample") if strides > 1 else x
    shortcut = convolve(shortcut, filters, 1, f"{name}_shortcut")
    if not first:
        shortcut = normalise(shortcut, "batch", f"{name}_shortcut_norm")
        x = norm_relu(x, f"{name}_first")
    x = convolve(x, filters, 3, f"{name}_first_conv", strides)
    x = norm_relu(x, f"{name}_second")
    x = convolve(x, filters, 3, f"{name}_second_conv")
    return layers.Add(name=name)([x, shortcut])
