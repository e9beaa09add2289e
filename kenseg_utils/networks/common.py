"""What several of the published networks share."""

from keras import initializers, layers

from kenseg_utils.blocks import normalise, scaled

VGG16_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (filters, convolutions)


def conv_bn_relu(x, filters, size, name, strides=1, dilation=1, bias=True, activation="relu"):
    """Convolution (with a bias, as most of the published code has), batch norm., activation."""
    if size == 1 and strides > 1:
        x, strides = every_nth_pixel(x, strides, f"{name}_subsample"), 1
    x = layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        dilation_rate=dilation,
        use_bias=bias,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = normalise(x, "batch", f"{name}_norm")
    return layers.Activation(activation, name=name)(x) if activation else x


def every_nth_pixel(x, n, name):
    """The pixels that a 1×1 convolution of stride `n` reads.

    Convolving them at stride 1 is the same sum, and it runs: TensorFlow 2.21 on a CPU (oneDNN)
    crashes in the backward pass of a 1×1 convolution with a stride.
    """
    return layers.MaxPooling2D(1, strides=n, name=name)(x)


def depthwise_bn(x, name, strides=1, dilation=1):
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


def vgg16_stages(width_multiplier):
    """VGG16's five stages as (filters, convolutions), their filters times the multiplier."""
    return [(scaled(filters, width_multiplier), count) for filters, count in VGG16_STAGES]


def probabilities(logits, name="probabilities"):
    """Softmax over the classes, or the sigmoid of one, in float32 under mixed precision too."""
    activation = "sigmoid" if logits.shape[-1] == 1 else "softmax"
    return layers.Activation(activation, dtype="float32", name=name)(logits)
