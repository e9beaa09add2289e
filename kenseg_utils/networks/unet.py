"""U-Net (Ronneberger, Fischer and Brox, 2015), the paper's baseline."""

from collections.abc import Sequence

import keras
from keras import layers

from kenseg_utils.blocks import convolution_block, head, image_input, scaled_widths, upsample


def unet(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    width_multiplier: float = 1.0,
    normalisation: str | None = None,
) -> keras.Model:
    """An encoder, a decoder, and at each level a skip from the one to the other.

    Two changes to the article, both usual: convolutions are padded, so the output is as large as
    the input and nothing is cropped, and the widths start at 32, the U-Net that UNet++ was
    compared with (7,759,521 parameters with one class; 31,030,658 with two classes at the
    article's widths 64 … 1024). As published there, no normalisation unless asked for.

    The nodes bear the names of the UNet++ grid, whose edge they are: x00 … x40 down, x31 … x04 up.
    ValueError if the sides do not halve `len(widths) - 1` times.
    """
    widths = scaled_widths(widths, width_multiplier)
    last = len(widths) - 1
    x = inputs = image_input(input_shape, halvings=last)
    skips = []
    for i in range(last):
        x = convolution_block(x, widths[i], f"x{i}0", normalisation)
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{i + 1}0")(x)
    x = convolution_block(x, widths[last], f"x{last}0", normalisation)
    for i in reversed(range(last)):
        j = last - i
        x = upsample(x, widths[i], name=f"up{i}{j}")
        x = layers.Concatenate(name=f"join{i}{j}")([skips[i], x])
        x = convolution_block(x, widths[i], f"x{i}{j}", normalisation)
    return keras.Model(inputs, head(x, classes), name="unet")
