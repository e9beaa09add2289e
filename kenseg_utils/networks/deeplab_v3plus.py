"""DeepLab v3+ with the modified Xception-65 backbone (Chen et al., 2018)."""

from collections.abc import Sequence

import keras
from keras import KerasTensor, layers

from kenseg_utils.blocks import image_input, probabilities, scaled
from kenseg_utils.networks.common import conv_norm_relu, depthwise_bn

PUBLISHED_RATES = (6, 12, 18)
PUBLISHED_SIDE = 33  # of the map that these rates were chosen for: 513×513 images at 1/16


def deeplab_v3plus(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    width_multiplier: float = 1.0,
    middle_blocks: int = 16,
    rates: Sequence[int] | None = None,
) -> keras.Model:
    """Xception, pooled at several dilation rates (ASPP), and a small decoder.

    The backbone ends at 1/16 of the sides, 8×8 for a 128×128 image. There the published rates 6,
    12, 18 would be a quiet mistake: of a 3×3 kernel at rate 12 or 18 only the middle weight ever
    meets the image, the others always meet padding, so that the branch is a 1×1 convolution. Thus
    `rates=None` scales them to the map (1, 3, 4 for 8×8; 6, 12, 18 from 33×33 on);
    `rates=(6, 12, 18)` builds the published ones. The number of weights is the same.

    41,258,213 parameters with three channels and 21 classes, as published; 41,252,754 with one
    and two. `middle_blocks` is the depth of the backbone's middle part. With a batch of one,
    batch normalisation leaves nothing of the branch that pools the whole image (one value, less
    its own mean), while training: take batches of two or more.
    ValueError if the sides are no multiples of 16, or the rates are not three positive numbers.
    """
    inputs = image_input(input_shape, halvings=4)
    x, low = xception(inputs, middle_blocks, width_multiplier)
    if rates is None:
        rates = scaled_rates(min(x.shape[1:3]))
    if len(rates) != 3 or min(rates) < 1:
        raise ValueError(f"rates must be three dilation rates of 1 or more; got {rates}.")
    filters = scaled(256, width_multiplier)
    x = atrous_pyramid(x, filters, rates, "aspp")
    x = layers.UpSampling2D(4, interpolation="bilinear", name="enlarge")(x)
    low = conv_norm_relu(low, scaled(48, width_multiplier), 1, "low", bias=False)
    x = layers.Concatenate(name="join")([x, low])
    x = separable(x, filters, "decoder0", activate_inside=True)
    x = separable(x, filters, "decoder1", activate_inside=True)
    x = layers.Conv2D(classes, 1, name="scores")(x)
    logits = layers.UpSampling2D(4, interpolation="bilinear", name="logits")(x)
    return keras.Model(inputs, probabilities(logits), name="deeplab_v3plus")


def scaled_rates(side: int) -> tuple[int, ...]:
    """The published dilation rates in proportion to a map of this side, 1 at the least."""
    return tuple(
        max(1, round(rate * min(side, PUBLISHED_SIDE) / PUBLISHED_SIDE)) for rate in PUBLISHED_RATES
    )


def atrous_pyramid(x: KerasTensor, filters: int, rates: Sequence[int], name: str) -> KerasTensor:
    """Atrous spatial pyramid pooling: 1×1, three dilated 3×3, and the whole image, joined."""
    height, width = x.shape[1:3]
    whole = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    whole = conv_norm_relu(whole, filters, 1, f"{name}_whole", bias=False)
    whole = layers.UpSampling2D((height, width), name=f"{name}_whole_enlarge")(whole)
    branches = [whole, conv_norm_relu(x, filters, 1, f"{name}_pixel", bias=False)]
    for k, rate in enumerate(rates):
        branches.append(separable(x, filters, f"{name}_rate{k}", 1, rate, activate_inside=True))
    x = layers.Concatenate(name=f"{name}_join")(branches)
    x = conv_norm_relu(x, filters, 1, name, bias=False)
    return layers.Dropout(0.1, name=f"{name}_drop")(x)


def xception(
    x: KerasTensor, middle_blocks: int, width_multiplier: float
) -> tuple[KerasTensor, KerasTensor]:
    """The backbone: features at 1/16, and those at 1/4 that the decoder wants."""

    def widths(*filters):
        return [scaled(number, width_multiplier) for number in filters]

    first, second = widths(32, 64)
    x = conv_norm_relu(x, first, 3, "stem0", strides=2, bias=False)
    x = conv_norm_relu(x, second, 3, "stem1", bias=False)
    x, _ = xception_block(x, widths(128, 128, 128), "entry0", "projected", strides=2)
    x, low = xception_block(x, widths(256, 256, 256), "entry1", "projected", strides=2)
    x, _ = xception_block(x, widths(728, 728, 728), "entry2", "projected", strides=2)
    for k in range(middle_blocks):
        x, _ = xception_block(x, widths(728, 728, 728), f"middle{k}", "identity")
    x, _ = xception_block(x, widths(728, 1024, 1024), "exit0", "projected")
    x, _ = xception_block(
        x, widths(1536, 1536, 2048), "exit1", "none", dilation=2, activate_inside=True
    )
    return x, low


def xception_block(
    x: KerasTensor,
    widths: Sequence[int],
    name: str,
    shortcut: str,
    strides: int = 1,
    dilation: int = 1,
    activate_inside: bool = False,
) -> tuple[KerasTensor, KerasTensor]:
    """Three separable convolutions, the last with the stride, and a shortcut around them.

    Returns the block's output and what its second convolution gave.
    """
    y = x
    maps = []
    for k, filters in enumerate(widths):
        stride = strides if k == 2 else 1
        y = separable(y, filters, f"{name}_{k}", stride, dilation, activate_inside)
        maps.append(y)
    if shortcut == "projected":
        x = conv_norm_relu(
            x, widths[-1], 1, f"{name}_shortcut", strides, bias=False, activation=None
        )
    if shortcut != "none":
        y = layers.Add(name=name)([y, x])
    return y, maps[1]


def separable(
    x: KerasTensor,
    filters: int,
    name: str,
    strides: int = 1,
    dilation: int = 1,
    activate_inside: bool = False,
) -> KerasTensor:
    """A depthwise 3×3 and a 1×1 convolution, each normalised.

    Relu comes before both, or (`activate_inside`) after each.
    """
    if not activate_inside:
        x = layers.Activation("relu", name=f"{name}_relu")(x)
    x = depthwise_bn(x, f"{name}_depthwise", strides, dilation)
    if activate_inside:
        x = layers.Activation("relu", name=f"{name}_depthwise_relu")(x)
    activation = "relu" if activate_inside else None
    return conv_norm_relu(x, filters, 1, name, bias=False, activation=activation)
