"""2-D Dense-UNet (Li et al., 2018: the 2-D half of H-DenseUNet), written from the article."""

from collections.abc import Sequence

import keras
from keras import KerasTensor, layers

from kenseg_utils.blocks import head, image_input, normalise, scaled
from kenseg_utils.networks.common import conv_norm_relu, convolve, norm_relu


def dense_unet_2d(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    width_multiplier: float = 1.0,
    blocks: Sequence[int] = (6, 12, 36, 24),
    scale: bool = True,
) -> keras.Model:
    """A DenseNet-161 encoder and a decoder whose skips are added, not concatenated.

    Each layer of a dense block adds 48 channels to all that came before; `blocks` says how many
    layers each of the four blocks has. `scale` keeps the learned factor and offset that the
    published network puts after every normalisation (redundant, since normalisation has its own).
    49,970,531 parameters with three channels in and three classes, as published (three
    neighbouring slices; background, liver, tumour); 49,961,058 with one and two.
    ValueError if the sides are no multiples of 32, or there are not four blocks.
    """
    if len(blocks) != 4:
        raise ValueError(f"blocks must name the layers of four dense blocks; got {blocks}.")
    growth, stem = scaled(48, width_multiplier), scaled(96, width_multiplier)
    inputs = image_input(input_shape, halvings=5)
    x = convolve(inputs, stem, 7, "stem_conv", strides=2, bias=False)
    x = norm_scale_relu(x, scale, "stem")
    skips = [x]
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for i, count in enumerate(blocks):
        if i > 0:
            x = transition(x, scale, f"transition{i}")
        x = dense_block(x, count, growth, scale, f"dense{i + 1}")
        skips.append(x)
    x = norm_scale_relu(skips.pop(), scale, "encoder")
    for i in reversed(range(4)):
        skip = skips[i]
        if i == 3:  # the deepest skip alone is brought to the decoder's width
            skip = layers.Conv2D(x.shape[-1], 1, name="skip3_widen")(skip)
        x = layers.UpSampling2D(2, name=f"enlarge{i}")(x)
        x = layers.Add(name=f"sum{i}")([x, skip])
        x = conv_norm_relu(x, skips[max(i - 1, 0)].shape[-1], 3, f"up{i}")
    x = layers.UpSampling2D(2, name="enlarge")(x)
    x = convolve(x, scaled(64, width_multiplier), 3, "last")
    x = layers.Dropout(0.3, name="drop")(x)
    return keras.Model(inputs, head(norm_relu(x, "last"), classes), name="dense_unet_2d")


def dense_block(x: KerasTensor, count: int, growth: int, scale: bool, name: str) -> KerasTensor:
    """`count` layers, each of which reads all maps before it and adds `growth` new ones."""
    for k in range(count):
        y = norm_scale_relu(x, scale, f"{name}_{k}_narrow")
        y = convolve(y, 4 * growth, 1, f"{name}_{k}_narrow_conv", bias=False)
        y = norm_scale_relu(y, scale, f"{name}_{k}")
        y = convolve(y, growth, 3, f"{name}_{k}_conv", bias=False)
        x = layers.Concatenate(name=f"{name}_{k}_join")([x, y])
    return x


def transition(x: KerasTensor, scale: bool, name: str) -> KerasTensor:
    """Half the channels, half the sides."""
    filters = x.shape[-1] // 2
    x = convolve(norm_scale_relu(x, scale, name), filters, 1, f"{name}_conv", bias=False)
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def norm_scale_relu(x: KerasTensor, scale: bool, name: str) -> KerasTensor:
    """Batch normalisation, the learned factor and offset if wanted, relu."""
    x = normalise(x, "batch", f"{name}_norm")
    if scale:
        x = Scale(name=f"{name}_scale")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


@keras.saving.register_keras_serializable(package="kenseg")
class Scale(layers.Layer):
    """A learned factor and a learned offset for each channel: y = γx + β."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(shape=input_shape[-1:], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="beta")

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return inputs * self.gamma + self.beta

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape
