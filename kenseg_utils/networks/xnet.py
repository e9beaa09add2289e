"""X-Net (Qi et al., MICCAI 2019), written from the article."""

from collections.abc import Sequence

import keras
from keras import KerasTensor, layers

from kenseg_utils.blocks import head, image_input, scaled_widths
from kenseg_utils.networks.common import conv_norm_relu, depthwise_bn


def xnet(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    width_multiplier: float = 1.0,
    similarity: bool = True,
) -> keras.Model:
    """A U-Net of depthwise-separable X-blocks with a feature-similarity module at the bottom.

    15,117,646 parameters with one class, of which the module holds 2,397,824; the article trains
    on 224×192 slices. `similarity=False` leaves the module out.
    ValueError if the sides do not halve `len(widths) - 1` times.
    """
    widths = scaled_widths(widths, width_multiplier)
    last = len(widths) - 1
    x = inputs = image_input(input_shape, halvings=last)
    skips = []
    for i in range(last):
        x = x_block(x, widths[i], f"down{i}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
    x = x_block(x, widths[last], "bottleneck")
    if similarity:
        x = feature_similarity(x, "similarity")
    for i in reversed(range(last)):
        x = layers.UpSampling2D(2, name=f"enlarge{i}")(x)
        x = conv_norm_relu(x, widths[i], 3, f"narrow{i}")
        x = layers.Concatenate(name=f"join{i}")([skips[i], x])
        x = x_block(x, widths[i], f"up{i}")
    return keras.Model(inputs, head(x, classes), name="xnet")


def x_block(x: KerasTensor, filters: int, name: str) -> KerasTensor:
    """Three depthwise-separable 3×3 convolutions beside a 1×1 convolution, added."""
    shortcut = conv_norm_relu(x, filters, 1, f"{name}_shortcut")
    for k in range(3):
        x = layers.Activation("relu", name=f"{name}_depthwise{k}")(
            depthwise_bn(x, f"{name}_depthwise{k}")
        )
        x = conv_norm_relu(x, filters, 1, f"{name}_pointwise{k}")
    return layers.Add(name=name)([x, shortcut])


def feature_similarity(x: KerasTensor, name: str) -> KerasTensor:
    """The feature-similarity module (FSM): every pixel gathers from all pixels alike.

    θ, φ and g are 1×1 convolutions. S = θφᵀ / N is (N, N) for a map of N pixels (64×64 at the
    bottom of a 128×128 image) and holds how alike any two pixels are; S·g is what each gathers.
    S is divided by N and not turned into a softmax: the dot-product form of non-local networks.
    """
    height, width, channels = x.shape[1:]
    pixels = height * width
    narrow, inner = max(1, channels // 8), max(1, channels // 16)
    y = conv_norm_relu(x, narrow, 3, f"{name}_in")
    theta, phi, g = (
        layers.Reshape((pixels, inner), name=f"{name}_{part}_pixels")(
            project(y, inner, f"{name}_{part}")
        )
        for part in ("theta", "phi", "g")
    )
    products = layers.Dot(axes=2, name=f"{name}_products")([theta, phi])
    matrix = layers.Rescaling(1 / pixels, name=f"{name}_matrix")(products)
    gathered = layers.Dot(axes=(2, 1), name=f"{name}_gathered")([matrix, g])
    gathered = layers.Reshape((height, width, inner), name=f"{name}_map")(gathered)
    y = layers.Add(name=f"{name}_sum")([y, project(gathered, narrow, f"{name}_out")])
    y = conv_norm_relu(y, channels, 3, f"{name}_widen")
    return layers.Add(name=name)([y, x])


def project(x: KerasTensor, filters: int, name: str) -> KerasTensor:
    """A 1×1 convolution without a bias."""
    return layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal", name=name)(x)
