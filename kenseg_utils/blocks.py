"""The building blocks of the networks: each a short function from a tensor to a tensor.

Every block takes a feature map `x` of shape (batch, height, width, channels), the number of
`filters` it shall return, and a `name`. The last layer of a block bears exactly that name, so
`model.get_layer("x02").output` is what the node x02 of the picture computes.

In annotations, here and in `networks` and `losses`, `KerasTensor` stands for any backend's
tensor: symbolic while a network is built, with numbers in it when it runs.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Integral

from keras import Input, KerasTensor, layers


def image_input(input_shape: Sequence[int], halvings: int) -> KerasTensor:
    """The input layer of a network that halves its images `halvings` times.

    `input_shape` is (height, width, channels); ValueError if a side cannot be halved so often.
    """
    divisor = 2**halvings
    whole = all(isinstance(size, Integral) and size > 0 for size in input_shape)
    if len(input_shape) != 3 or not whole:
        raise ValueError(
            f"input_shape must be (height, width, channels), three whole numbers above zero; "
            f"got {tuple(input_shape)}."
        )
    if any(side % divisor for side in input_shape[:2]):
        raise ValueError(
            f"This network halves its input {halvings} times, so height and width must be "
            f"multiples of {divisor} (such as {divisor}, {2 * divisor}, {3 * divisor}, …); "
            f"got {input_shape[0]} x {input_shape[1]}. Pad the images, or take fewer levels."
        )
    return Input(input_shape, name="image")


def scaled_widths(widths: Sequence[int], multiplier: float = 1.0) -> tuple[int, ...]:
    """Widths times a multiplier, rounded to multiples of 4 (unchanged when it is 1).

    ValueError if there are fewer than two widths, or one is not a whole number above zero.
    """
    widths = tuple(widths)
    if len(widths) < 2:
        raise ValueError(f"widths needs two levels at least, such as (32, 64); got {widths}.")
    if not all(isinstance(width, Integral) and width > 0 for width in widths):
        raise ValueError(f"widths must be whole numbers above zero; got {widths}.")
    return tuple(scaled(width, multiplier) for width in widths)


def scaled(filters: int, multiplier: float) -> int:
    """One number of filters times a multiplier, rounded to a multiple of 4, never below 4."""
    if not multiplier > 0:
        raise ValueError(f"width_multiplier must be above zero; got {multiplier}.")
    return filters if multiplier == 1 else max(4, 4 * round(filters * multiplier / 4))


def normalise(x: KerasTensor, kind: str | None, name: str) -> KerasTensor:
    """Batch or group normalisation of a feature map, or none (`kind` None).

    Batch: statistics over the batch and all pixels. Keras's momentum of 0.99 would need hundreds
    of steps before its running averages are fit for prediction; 0.95 needs some sixty.
    Group: statistics of each image by itself, so a batch of one behaves like any other.
    """
    if kind is None:
        return x
    if kind == "batch":
        return layers.BatchNormalization(momentum=0.95, name=name)(x)
    if kind == "group":
        return layers.GroupNormalization(groups=math.gcd(8, x.shape[-1]), name=name)(x)
    raise ValueError(f'normalisation must be "batch", "group" or None; got {kind!r}.')


def convolution(
    x: KerasTensor,
    filters: int,
    name: str,
    size: int = 3,
    dilation: int = 1,
    normalisation: str | None = "batch",
    activation: str | None = "relu",
) -> KerasTensor:
    """Convolution, then normalisation, then activation; height and width stay.

    The bias is left out where normalisation follows, which would subtract it again.
    """
    x = layers.Conv2D(
        filters,
        size,
        padding="same",
        dilation_rate=dilation,
        use_bias=normalisation is None,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = normalise(x, normalisation, name=f"{name}_norm")
    return layers.Activation(activation, name=name)(x) if activation else x


def convolution_block(
    x: KerasTensor, filters: int, name: str, normalisation: str | None = "batch"
) -> KerasTensor:
    """The plain block of U-Net: two 3×3 convolutions (Ronneberger et al., 2015)."""
    x = convolution(x, filters, f"{name}_first", normalisation=normalisation)
    return convolution(x, filters, name, normalisation=normalisation)


def residual_block(
    x: KerasTensor, filters: int, name: str, dilation: int = 1, normalisation: str | None = "batch"
) -> KerasTensor:
    """Two 3×3 convolutions that learn what to add to their input (He et al., 2016).

    y = relu(F(x) + x). The activation follows the sum, as in the first ResNet; where the number of
    channels changes, a 1×1 convolution brings the shortcut to `filters` channels.
    """
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = convolution(
            x, filters, f"{name}_shortcut", size=1, normalisation=normalisation, activation=None
        )
    x = convolution(x, filters, f"{name}_first", normalisation=normalisation)
    x = convolution(
        x, filters, f"{name}_second", 3, dilation, normalisation=normalisation, activation=None
    )
    x = layers.Add(name=f"{name}_sum")([x, shortcut])
    return layers.Activation("relu", name=name)(x)


def dilated_block(
    x: KerasTensor, filters: int, name: str, normalisation: str | None = "batch"
) -> KerasTensor:
    """A residual block whose second convolution reads every second pixel (dilation 2).

    It sees 7×7 pixels where the residual block sees 5×5, for the same number of weights. The first
    convolution stays dense: two dilated ones in a row would never see the pixels in between.
    """
    return residual_block(x, filters, name, dilation=2, normalisation=normalisation)


def ken_block(
    x: KerasTensor,
    filters: int,
    name: str,
    width: str = "concatenate",
    normalisation: str | None = "batch",
) -> KerasTensor:
    """Parallel 1×1, 3×3, 5×5 and 7×7 convolutions with a skip around them (paper, figure 4).

    The paper leaves the widths of the branches open. `width` says which reading is built:

    - `"concatenate"`: `filters / 4` each; side by side they are as wide as the input, and the
      skip is the identity;
    - `"full"`: `filters` each, and a 1×1 convolution fuses the four into `filters`.

    `x` must have `filters` channels. As in the residual block, the activation follows the sum.
    ValueError if `filters` cannot be shared among four branches, or `width` is neither reading.
    """
    if width not in ("concatenate", "full"):
        raise ValueError(f'The Ken block is "concatenate" or "full"; got {width!r}.')
    if width == "concatenate" and filters % 4:
        raise ValueError(
            f"Four branches share the Ken block's filters: {filters} is no multiple of 4."
        )
    full = width == "full"
    branches = [
        convolution(
            x,
            filters if full else filters // 4,
            f"{name}_{size}x{size}",
            size=size,
            normalisation=normalisation,
            activation="relu" if full else None,
        )
        for size in (1, 3, 5, 7)
    ]
    y = layers.Concatenate(name=f"{name}_join")(branches)
    if full:
        y = convolution(
            y, filters, f"{name}_fuse", size=1, normalisation=normalisation, activation=None
        )
    y = layers.Add(name=f"{name}_sum")([y, x])
    return layers.Activation("relu", name=name)(y)


def upsample(x: KerasTensor, filters: int, name: str) -> KerasTensor:
    """Twice the height and width by a learned 2×2 transposed convolution of stride 2."""
    return layers.Conv2DTranspose(
        filters, 2, strides=2, padding="same", kernel_initializer="he_normal", name=name
    )(x)


def nested_grid(
    inputs: KerasTensor,
    widths: Sequence[int],
    node: Callable[..., KerasTensor],
    bottleneck: Callable[..., KerasTensor] | None = None,
) -> dict[tuple[int, int], KerasTensor]:
    """The grid of UNet++ (Zhou et al., 2018): a dictionary from (row, column) to feature map.

    Row i works at 1/2^i of the image's sides with `widths[i]` filters. Column 0 goes down by
    max-pooling; every other node reads all nodes to its left and the one below left, enlarged:
    x[i, j] = node([x[i, 0], …, x[i, j-1], up(x[i+1, j-1])]).
    `node(x, filters, name)` is what a node does; `bottleneck`, if given, is a function of the
    same kind that works on the deepest node.
    """
    x: dict[tuple[int, int], KerasTensor] = {}
    levels = len(widths)
    for i in range(levels):
        below = inputs if i == 0 else layers.MaxPooling2D(2, name=f"down{i}0")(x[i - 1, 0])
        x[i, 0] = node(below, widths[i], name=f"x{i}0")
    if bottleneck:
        x[levels - 1, 0] = bottleneck(x[levels - 1, 0], widths[-1], name="bottleneck")
    for j in range(1, levels):
        for i in range(levels - j):
            left = [x[i, k] for k in range(j)]
            up = upsample(x[i + 1, j - 1], widths[i], name=f"up{i}{j}")
            joined = layers.Concatenate(name=f"join{i}{j}")([*left, up])
            x[i, j] = node(joined, widths[i], name=f"x{i}{j}")
    return x


def probabilities(scores: KerasTensor, name: str = "probabilities") -> KerasTensor:
    """Scores as class probabilities: softmax, or the sigmoid of a single class.

    This activation stays in float32 under mixed precision too, where half precision would round
    small probabilities away.
    """
    activation = "sigmoid" if scores.shape[-1] == 1 else "softmax"
    return layers.Activation(activation, dtype="float32", name=name)(scores)


def head(x: KerasTensor, classes: int, name: str = "probabilities") -> KerasTensor:
    """A 1×1 convolution to `classes` scores, and their `probabilities`."""
    return probabilities(layers.Conv2D(classes, 1, name=f"{name}_conv")(x), name)
