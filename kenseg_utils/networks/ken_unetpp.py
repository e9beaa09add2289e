"""The Ken-model: UNet++ of residual blocks with a Ken block at its deepest node."""

from collections.abc import Callable, Sequence
from functools import partial

import keras
from keras import KerasTensor

from kenseg_utils.blocks import (
    convolution_block,
    dilated_block,
    head,
    image_input,
    ken_block,
    nested_grid,
    residual_block,
    scaled_widths,
)

BLOCKS: dict[str, Callable[..., KerasTensor]] = {
    "plain": convolution_block,
    "residual": residual_block,
    "dilated": dilated_block,
}


def ken_unetpp(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    width_multiplier: float = 1.0,
    block: str = "residual",
    blocks_per_node: int = 2,
    ken: str | None = "concatenate",
    normalisation: str | None = "batch",
) -> keras.Model:
    """The paper's network (section III-A): (height, width, channels) to class probabilities.

    Five levels, two residual blocks in each node, the Ken block after x40. What the paper leaves
    open is decided here: activation after the sum and a 1×1 projection where channels change (as
    in the first ResNet), enlarging by 2×2 transposed convolution (as in UNet++), normalisation
    after each convolution, one head on the last node of row 0.

    - `block`: "residual", as the text has it; "dilated", as the ablation section has it; "plain".
    - `ken`: "concatenate" or "full" (see `ken_block`), or None for none.
    - `normalisation`: "batch", "group" or None.

    The paper gives no size. Built so, it has 23,369,538 parameters with two classes, and 40,941,378
    with `ken="full"`.

    Returns a model whose nodes are the layers x00 … x40 and whose Ken block is "bottleneck".
    ValueError if the sides do not halve `len(widths) - 1` times, or an argument is unknown.
    """
    widths = scaled_widths(widths, width_multiplier)
    if block not in BLOCKS:
        raise ValueError(f"block must be one of {', '.join(BLOCKS)}; got {block!r}.")

    def node(x, filters, name):
        for k in range(1, blocks_per_node):
            x = BLOCKS[block](x, filters, f"{name}_block{k}", normalisation=normalisation)
        return BLOCKS[block](x, filters, name, normalisation=normalisation)

    bottleneck = partial(ken_block, width=ken, normalisation=normalisation) if ken else None
    inputs = image_input(input_shape, halvings=len(widths) - 1)
    x = nested_grid(inputs, widths, node, bottleneck)
    outputs = head(x[0, len(widths) - 1], classes)
    return keras.Model(inputs, outputs, name="ken_unetpp")
