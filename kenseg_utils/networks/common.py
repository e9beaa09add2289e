"""What several of the published networks share."""

from keras import KerasTensor, initializers, layers

from kenseg_utils.blocks import normalise, scaled

VGG16_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (filters, convolutions)


def convolve(
    x: KerasTensor,
    filters: int,
    size: int,
    name: str,
    strides: int = 1,
    dilation: int = 1,
    bias: bool = True,
    activation: str | None = None,
) -> KerasTensor:
    """A padded convolution, and an activation if one is named; the layer bears the name."""
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding="same",
        dilation_rate=dilation,
        activation=activation,
        use_bias=bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def norm_relu(x: KerasTensor, name: str) -> KerasTensor:
    """Batch normalisation, then relu."""
    return layers.Activation("relu", name=f"{name}_relu")(normalise(x, "batch", f"{name}_norm"))


def conv_norm_relu(
    x: KerasTensor,
    filters: int,
    size: int,
    name: str,
    strides: int = 1,
    dilation: int = 1,
    bias: bool = True,
    activation: str | None = "relu",
    normalisation: str | None = "batch",
) -> KerasTensor:
    """Convolution (with a bias, as most of the published code has), normalisation, activation."""
    if size == 1 and strides > 1:
        x, strides = every_nth_pixel(x, strides, f"{name}_subsample"), 1
    x = convolve(x, filters, size, f"{name}_conv", strides, dilation, bias)
    x = normalise(x, normalisation, f"{name}_norm")
    return layers.Activation(activation, name=name)(x) if activation else x


def every_nth_pixel(x: KerasTensor, n: int, name: str) -> KerasTensor:
    """The pixels that a 1×1 convolution of stride `n` reads.

    Convolving them at stride 1 is the same sum, and it runs: TensorFlow 2.21 on a CPU (oneDNN)
    crashes in the backward pass of a 1×1 convolution with a stride.
    """
    return layers.MaxPooling2D(1, strides=n, name=name)(x)


def depthwise_bn(x: KerasTensor, name: str, strides: int = 1, dilation: int = 1) -> KerasTensor:
    """A 3×3 convolution of each channel by itself, then batch normalisation.

    Keras takes all channels for the inputs of such a kernel, though it reads only one; counting
    the outputs instead gives the variance that He et al. (2015) derive.
    """
    x = layers.DepthwiseConv2D(
        3,
        strides,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        depthwise_initializer=initializers.VarianceScaling(2.0, mode="fan_out"),
        name=f"{name}_conv",
    )(x)
    return normalise(x, "batch", f"{name}_norm")


def vgg16_stages(width_multiplier: float) -> list[tuple[int, int]]:
    """VGG16's five stages as (filters, convolutions), their filters times the multiplier."""
    return [(scaled(filters, width_multiplier), count) for filters, count in VGG16_STAGES]
