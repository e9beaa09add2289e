"""FCN-8s (Long, Shelhamer and Darrell, 2015)."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import KerasTensor, layers

from kenseg_utils.blocks import image_input, probabilities, scaled
from kenseg_utils.networks.common import conv_norm_relu, vgg16_stages


def fcn8s(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    width_multiplier: float = 1.0,
    normalisation: str | None = None,
) -> keras.Model:
    """VGG16 with its dense layers turned into convolutions, read out at three scales.

    Class scores at 1/32 are doubled and added to those of 1/16, doubled and added to those of
    1/8, and enlarged eight times; the enlarging convolutions start as bilinear interpolation.
    134,270,278 parameters with one channel in and two classes, of which the 7×7 convolution that
    was VGG's first dense layer holds 103 million. The article pads the image by 100 pixels so
    that nothing is lost to unpadded convolutions; here they are padded instead. It fine-tuned a
    VGG16 that had learned from photographs; to learn from nothing, ask for `normalisation`
    ("batch" or "group"), without which deep stacks of relus fall silent at usual rates.
    ValueError if the sides are no multiples of 32.
    """
    x = inputs = image_input(input_shape, halvings=5)
    pooled = []
    for i, (filters, count) in enumerate(vgg16_stages(width_multiplier)):
        for k in range(count):
            name = f"conv{i + 1}_{k + 1}"
            x = conv_norm_relu(x, filters, 3, name, normalisation=normalisation)
        x = layers.MaxPooling2D(2, name=f"pool{i + 1}")(x)
        pooled.append(x)
    wide = scaled(4096, width_multiplier)
    for k, size in ((6, 7), (7, 1)):
        x = layers.Dropout(0.5, name=f"drop{k}")(
            conv_norm_relu(x, wide, size, f"fc{k}", normalisation=normalisation)
        )
    x = layers.Conv2D(classes, 1, name="score7")(x)
    for stage in (4, 3):
        score = layers.Conv2D(classes, 1, name=f"score{stage}")(pooled[stage - 1])
        x = layers.Add(name=f"fuse{stage}")([enlarge(x, 2, f"up{stage}"), score])
    return keras.Model(inputs, probabilities(enlarge(x, 8, "logits")), name="fcn8s")


def enlarge(x: KerasTensor, factor: int, name: str) -> KerasTensor:
    """`factor` times the sides, by a transposed convolution that starts as interpolation."""
    return layers.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        strides=factor,
        padding="same",
        use_bias=False,
        kernel_initializer=Bilinear(),
        name=name,
    )(x)


@keras.saving.register_keras_serializable(package="kenseg")
class Bilinear(keras.initializers.Initializer):
    """Weights with which a transposed convolution interpolates each channel by itself."""

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> KerasTensor:
        size, _, outputs, inputs = shape
        weights = 1 - np.abs(np.arange(size) - (size - 1) / 2) / (size / 2)
        kernel = weights[:, None, None, None] * weights[:, None, None] * np.eye(outputs, inputs)
        return keras.ops.convert_to_tensor(kernel, dtype=dtype)
