"""D-UNet (Zhou et al., 2019), written from the article: 2-D and 3-D convolutions side by side."""

from collections.abc import Sequence

import keras
from keras import KerasTensor, layers

from kenseg_utils.blocks import head, image_input, normalise, scaled_widths
from kenseg_utils.networks.common import conv_norm_relu, convolve

CHANNELS = 4


def dunet(
    input_shape: Sequence[int] = (128, 128, 4),
    classes: int = 2,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    width_multiplier: float = 1.0,
) -> keras.Model:
    """A U-Net on four neighbouring slices, helped by a short 3-D encoder on the same four.

    The image's four channels are the slices i−2, i−1, i, i+1; what is segmented is slice i
    (channel 2). Where the volume ends, slices of zeros stand in. At the second and third level a
    dimension-transform block turns the 3-D features into 2-D ones and adds them.
    8,640,163 parameters with one class, as its authors state. The first two widths have both
    branches, so there must be at least three.
    ValueError if there are not four channels, or the sides do not halve often enough.
    """
    widths = scaled_widths(widths, width_multiplier)
    last = len(widths) - 1
    if last < 2:
        raise ValueError(f"dunet needs three widths at least; got {widths}.")
    inputs = image_input(input_shape, halvings=last)
    if input_shape[2] != CHANNELS:
        raise ValueError(
            f"dunet reads {CHANNELS} neighbouring slices as channels: input_shape must be "
            f"(height, width, {CHANNELS}); got {tuple(input_shape)}."
        )
    volumes = volume_branch(inputs, widths[:3])
    x = inputs
    skips = []
    for i in range(last + 1):
        if i > 0:
            x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
        x = double_convolution(x, widths[i], f"down{i}")
        if i in (1, 2):
            x = dimension_transform(volumes[i], x, f"transform{i}")
        if i > 2:
            x = layers.Dropout(0.3, name=f"drop{i}")(x)
        skips.append(x)
    for i in reversed(range(last)):
        x = layers.UpSampling2D(2, name=f"enlarge{i}")(x)
        x = convolve(x, widths[i], 2, f"narrow{i}", activation="relu")
        x = layers.Concatenate(name=f"join{i}")([skips[i], x])
        x = double_convolution(x, widths[i], f"up{i}")
    return keras.Model(inputs, head(x, classes), name="dunet")


def volume_branch(inputs: KerasTensor, widths: Sequence[int]) -> list[KerasTensor]:
    """The 3-D encoder: maps of 4, 2 and 1 slices, (height/2^i, width/2^i, 4/2^i, widths[i])."""
    x = layers.Reshape((*inputs.shape[1:], 1), name="volume")(inputs)
    maps = []
    for i, filters in enumerate(widths):
        if i > 0:
            x = layers.MaxPooling3D(2, name=f"volume_pool{i}")(x)
        for k in range(2):
            name = f"volume{i}_{k}"
            x = layers.Conv3D(
                filters, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_conv"
            )(x)
            x = normalise(x, "batch", f"{name}_norm")
            x = layers.Activation("relu", name=name)(x)
        maps.append(x)
    return maps


def dimension_transform(volume: KerasTensor, x: KerasTensor, name: str) -> KerasTensor:
    """3-D features (h, w, depth, c) brought to 2-D ones (h, w, f) and added to `x`.

    A 1×1×1 convolution leaves one value a voxel, so that depth can stand in for channels; both
    sides then weigh their channels (squeeze and excitation) before they meet.
    """
    filters = x.shape[-1]
    flat = layers.Conv3D(1, 1, kernel_initializer="he_normal", name=f"{name}_flatten")(volume)
    flat = layers.Reshape(flat.shape[1:4], name=f"{name}_depth_as_channels")(flat)
    flat = convolve(flat, filters, 3, f"{name}_conv", activation="relu")
    flat = squeeze_excite(flat, f"{name}_excite3d")
    return layers.Add(name=name)([flat, squeeze_excite(x, f"{name}_excite2d")])


def squeeze_excite(x: KerasTensor, name: str, ratio: int = 16) -> KerasTensor:
    """Each channel times a weight between 0 and 1, computed from all channels' means."""
    filters = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    for k, (units, activation) in enumerate(
        ((max(1, filters // ratio), "relu"), (filters, "sigmoid"))
    ):
        weights = layers.Dense(
            units, activation, use_bias=False, kernel_initializer="he_normal", name=f"{name}_{k}"
        )(weights)
    return layers.Multiply(name=name)([x, weights])


def double_convolution(x: KerasTensor, filters: int, name: str) -> KerasTensor:
    """Two 3×3 convolutions, each normalised and activated."""
    x = conv_norm_relu(x, filters, 3, f"{name}_first")
    return conv_norm_relu(x, filters, 3, name)
