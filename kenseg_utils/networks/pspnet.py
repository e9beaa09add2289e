"""PSPNet-50 (Zhao et al., 2017)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from kenseg_utils.blocks import image_input, probabilities, scaled
from kenseg_utils.networks.common import conv_norm_relu

BINS = (1, 2, 3, 6)


def pspnet(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    width_multiplier: float = 1.0,
    blocks: Sequence[int] = (3, 4, 6, 3),
) -> keras.Model:
    """A dilated ResNet-50 at 1/8 of the sides, and averages over 1, 4, 9 and 36 parts of its map.

    The map of a 128×128 image is 16×16, which neither 3 nor 6 divides. So the parts overlap where
    they must (`AdaptiveAveragePooling`), and any multiple of 8 will do from 48 on.
    46,634,818 parameters with one channel and two classes: a 7×7 stem, no auxiliary head. X-Net's
    table says 48.1 million for a variant that it does not describe (the auxiliary head alone would
    add 2.4). `blocks` is the number of units in each of the four stages. With a batch of one,
    batch normalisation leaves nothing of the one-part average while training: take two or more.
    ValueError if the sides are no multiples of 8, or below 48.
    """
    inputs = image_input(input_shape, halvings=3)
    if min(input_shape[:2]) < 8 * max(BINS):
        raise ValueError(
            f"pspnet cuts its map, 1/8 of the image, into {max(BINS)} parts a side: height and "
            f"width must be at least {8 * max(BINS)}; got {input_shape[0]} x {input_shape[1]}."
        )
    x = resnet(inputs, blocks, width_multiplier)
    x = pyramid(x, scaled(512, width_multiplier), "pyramid")
    x = conv_norm_relu(x, scaled(512, width_multiplier), 3, "fuse", bias=False)
    x = layers.Dropout(0.1, name="drop")(x)
    x = layers.Conv2D(classes, 1, name="scores")(x)
    logits = layers.UpSampling2D(8, interpolation="bilinear", name="logits")(x)
    return keras.Model(inputs, probabilities(logits), name="pspnet")


def pyramid(x: KerasTensor, filters: int, name: str) -> KerasTensor:
    """The map beside its averages over 1, 2², 3² and 6² parts, each enlarged to the map's size."""
    height, width = x.shape[1:3]
    levels = [x]
    for bins in BINS:
        y = AdaptiveAveragePooling(bins, name=f"{name}{bins}_mean")(x)
        y = conv_norm_relu(y, filters, 1, f"{name}{bins}", bias=False)
        y = layers.Resizing(height, width, name=f"{name}{bins}_enlarge")(y)
        levels.append(y)
    return layers.Concatenate(name=name)(levels)


def resnet(x: KerasTensor, blocks: Sequence[int], width_multiplier: float) -> KerasTensor:
    """ResNet-50 whose last two stages dilate (rates 2 and 4) where others would halve again."""
    x = conv_norm_relu(x, scaled(64, width_multiplier), 7, "stem", strides=2, bias=False)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage, (count, strides, dilation) in enumerate(zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4))):
        for k in range(count):
            x = bottleneck_unit(
                x,
                scaled(64 * 2**stage, width_multiplier),
                f"stage{stage}_{k}",
                strides if k == 0 else 1,
                dilation,
                project=k == 0,
            )
    return x


def bottleneck_unit(
    x: KerasTensor, filters: int, name: str, strides: int, dilation: int, project: bool
) -> KerasTensor:
    """1×1, 3×3 and 1×1 convolutions to four times the filters, and a shortcut around them."""
    shortcut = x
    if project:
        shortcut = conv_norm_relu(
            x, 4 * filters, 1, f"{name}_shortcut", strides, bias=False, activation=None
        )
    x = conv_norm_relu(x, filters, 1, f"{name}_narrow", bias=False)
    x = conv_norm_relu(x, filters, 3, f"{name}_middle", strides, dilation, bias=False)
    x = conv_norm_relu(x, 4 * filters, 1, f"{name}_widen", bias=False, activation=None)
    x = layers.Add(name=f"{name}_sum")([x, shortcut])
    return layers.Activation("relu", name=name)(x)


def averaging_matrix(size: int, bins: int) -> np.ndarray:
    """The (bins, size) matrix that averages `size` pixels over `bins` parts.

    Part i goes from floor(i·size/bins) up to ceil((i+1)·size/bins), so that parts are as equal as
    can be and share a pixel where `bins` does not divide `size`.
    """
    matrix = np.zeros((bins, size), "float32")
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


@keras.saving.register_keras_serializable(package="kenseg")
class AdaptiveAveragePooling(layers.Layer):
    """Means over bins × bins parts of a map: (batch, h, w, channels) to (batch, bins, bins, c)."""

    def __init__(self, bins: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, inputs: KerasTensor) -> KerasTensor:
        height, width = inputs.shape[1:3]
        rows = ops.convert_to_tensor(averaging_matrix(height, self.bins), inputs.dtype)
        columns = ops.convert_to_tensor(averaging_matrix(width, self.bins), inputs.dtype)
        rowwise = ops.einsum("ih,bhwc->biwc", rows, inputs)
        return ops.einsum("jw,biwc->bijc", columns, rowwise)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.bins, self.bins, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bins": self.bins}
