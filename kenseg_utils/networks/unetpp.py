"""UNet++ (Zhou et al., 2018), with deep supervision and pruning. Written from the article."""

from collections.abc import Sequence

import keras
from keras import layers

from kenseg_utils.blocks import convolution_block, head, image_input, nested_grid, scaled_widths


def unetpp(
    input_shape: Sequence[int] = (128, 128, 1),
    classes: int = 2,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    width_multiplier: float = 1.0,
    normalisation: str | None = None,
    deep_supervision: bool = False,
) -> keras.Model:
    """U-Net with its skips filled by a grid of nodes x00 … x40.

    As published: two 3×3 convolutions in each node, no normalisation; 9,041,601 parameters with
    one class. The published code also drops half the activations after each convolution and
    penalises weights by L2; here that is the training recipe's matter.

    `deep_supervision` puts a head on each of x01 … x04 and returns all four, the shallowest
    first. `training.train` gives each its own loss, as the article does, and then returns
    `average_heads(model)` (the article's "accurate mode"), which `prune(model, level)` can cut
    down to the grid's left part (its "fast mode").
    ValueError if the sides do not halve `len(widths) - 1` times, or an argument is unknown.
    """
    widths = scaled_widths(widths, width_multiplier)
    if not isinstance(deep_supervision, bool):
        raise ValueError(f"deep_supervision must be True or False; got {deep_supervision!r}.")

    def node(x, filters, name):
        return convolution_block(x, filters, name, normalisation)

    last = len(widths) - 1
    inputs = image_input(input_shape, halvings=last)
    x = nested_grid(inputs, widths, node)
    if deep_supervision:
        outputs = [head(x[0, j], classes, name=f"head{j}") for j in range(1, last + 1)]
    else:
        outputs = head(x[0, last], classes)
    return keras.Model(inputs, outputs, name="unetpp")


def average_heads(model: keras.Model) -> keras.Model:
    """The network whose one output is the mean of all the model's outputs; it shares its weights.

    A model of one output is returned as it is.
    """
    if len(model.outputs) == 1:
        return model
    outputs = layers.Average(dtype="float32", name="probabilities")(model.outputs)
    return keras.Model(model.input, outputs, name=model.name)


def prune(model: keras.Model, level: int) -> keras.Model:
    """The part of a deeply supervised UNet++ that its head on x0`level` needs (L1 … L4).

    The smaller model shares its weights with the full one and gives exactly that head's output.
    ValueError if the model has no such head.
    """
    heads = [layer.name for layer in model.layers if layer.name.removeprefix("head").isdigit()]
    if f"head{level}" not in heads:
        raise ValueError(
            f"Cannot prune to level {level!r}; heads of this model: {', '.join(heads) or 'none'}. "
            "Build it with deep_supervision=True."
        )
    return keras.Model(
        model.input, model.get_layer(f"head{level}").output, name=f"{model.name}_l{level}"
    )
