"""What a network costs: parameters and multiply-adds, layer by layer, read off the model."""

import math
from typing import Any

import keras
from keras import layers

CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


def layer_costs(model: keras.Model) -> list[dict[str, Any]]:
    """A list of dictionaries, a layer each: `name`, `kind`, `shape`, `parameters` and
    `multiply_adds` for one image.

    `shape` is that of the layer's output without the batch. Counted are the products in
    convolutions (also depthwise, separable and transposed), dense layers and matrix products,
    which are nearly all of the work; additions of a bias, normalisation, activations, pooling and
    resizing are not. Products with the padding's zeros count, as the hardware does them too.
    """
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "shape": tuple(layer.output.shape[1:]),
            "parameters": layer.count_params(),
            "multiply_adds": layer_multiply_adds(layer),
        }
        for layer in model.layers
        if not isinstance(layer.output, (list, tuple))
    ]


def layer_multiply_adds(layer: layers.Layer) -> int:
    """Multiplications, each with its addition, that one layer does for one image."""
    if isinstance(layer, layers.SeparableConv2D):
        pixels = math.prod(layer.output.shape[1:-1])
        return pixels * (
            math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        )
    if isinstance(layer, TRANSPOSED):  # every pixel of the input meets the whole kernel
        return math.prod(layer.input.shape[1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, CONVOLUTIONS):
        return math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.Dense):
        return math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.Dot):
        summed = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
        return math.prod(layer.output.shape[1:]) * layer.input[0].shape[summed]
    return 0


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one forward pass of one image through `model`.

    Training costs about three times as much: the backward pass multiplies once for the weights
    and once for the inputs.
    """
    return sum(row["multiply_adds"] for row in layer_costs(model))
