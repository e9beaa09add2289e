"""SegNet (Badrinarayanan, Kendall and Cipolla, 2017), with true index unpooling."""

from collections.abc import Sequence

import keras
from keras import KerasTensor, layers, ops

from kenseg_utils.blocks import image_input, probabilities
from kenseg_utils.networks.common import conv_norm_relu, vgg16_stages


def segnet(
    input_shape: Sequence[int] = (128, 128, 1), classes: int = 2, width_multiplier: float = 1.0
) -> keras.Model:
    """VGG16's thirteen convolutions, then their mirror image with unpooling for pooling.

    The decoder gets no features from the encoder, only where each maximum lay: `MaxUnpooling`
    puts every value back at that place and leaves zeros elsewhere. Each convolution is normalised
    and activated but the last, 3×3 to the classes. 29,458,305 parameters with one class.
    ValueError if the sides are no multiples of 32.
    """
    x = inputs = image_input(input_shape, halvings=5)
    stages = vgg16_stages(width_multiplier)
    unpooled = []
    for i, (filters, count) in enumerate(stages):
        for k in range(count):
            x = conv_norm_relu(x, filters, 3, f"down{i}_{k}")
        unpooled.append(x)
        x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
    for i, (filters, count) in reversed(list(enumerate(stages))):
        x = MaxUnpooling(name=f"unpool{i}")([x, unpooled[i]])
        for k in range(count - 1):
            x = conv_norm_relu(x, filters, 3, f"up{i}_{k}")
        if i > 0:  # the last convolution of a stage goes to the width of the stage above
            x = conv_norm_relu(x, stages[i - 1][0], 3, f"up{i}_{count - 1}")
    logits = layers.Conv2D(classes, 3, padding="same", name="logits")(x)
    return keras.Model(inputs, probabilities(logits), name="segnet")


@keras.saving.register_keras_serializable(package="kenseg")
class MaxUnpooling(layers.Layer):
    """Undoes a 2×2 max-pooling: each value goes where the maximum lay, the rest is zero.

    Called on [values (batch, h, w, channels), what was pooled (batch, 2h, 2w, channels)]; returns
    (batch, 2h, 2w, channels). Of equal pixels the first holds the maximum, so each value is put
    back exactly once.
    """

    def call(self, inputs: Sequence[KerasTensor]) -> KerasTensor:
        values, pooled = inputs
        corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
        windows = ops.stack([pooled[:, row::2, column::2] for row, column in corners], axis=0)
        place = ops.argmax(windows, axis=0)
        a, b, c, d = (ops.where(place == k, values, ops.zeros_like(values)) for k in range(4))
        rows = [ops.stack(pair, axis=3) for pair in ((a, b), (c, d))]
        return ops.reshape(ops.stack(rows, axis=2), (-1, *pooled.shape[1:]))

    def compute_output_shape(
        self, input_shape: Sequence[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        return tuple(input_shape[1])
