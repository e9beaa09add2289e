"""The networks: one file each, built by name.

`build("ken_unetpp")` gives the paper's network; `names()` lists the others, and `volume_names()`
those that take volumes in place of slices. `sketch` gives any of them without weights, to be
counted or drawn. All are `keras` and `keras.ops` alone, so they run on TensorFlow, JAX and PyTorch.
"""

import inspect
from collections import ChainMap
from collections.abc import Callable, Sequence
from math import log
from numbers import Integral
from typing import Any

import keras

from kenseg_utils.networks.cost import layer_costs, multiply_adds
from kenseg_utils.networks.deeplab_v3plus import deeplab_v3plus
from kenseg_utils.networks.dense_unet_2d import dense_unet_2d
from kenseg_utils.networks.dunet import dunet
from kenseg_utils.networks.fcn8s import fcn8s
from kenseg_utils.networks.ken_unetpp import ken_unetpp
from kenseg_utils.networks.pspnet import pspnet
from kenseg_utils.networks.resunet import resunet
from kenseg_utils.networks.segnet import segnet
from kenseg_utils.networks.unet import unet
from kenseg_utils.networks.unet3d import unet3d
from kenseg_utils.networks.unetpp import average_heads, prune, unetpp
from kenseg_utils.networks.xnet import xnet

from ._sizes import for_slices_of
from ._sketch import refuse_work, without_weights

__all__ = [
    "average_heads",
    "build",
    "for_slices_of",
    "layer_costs",
    "multiply_adds",
    "names",
    "options",
    "prune",
    "shift_scores",
    "sketch",
    "volume_names",
]

NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "ken_unetpp": ken_unetpp,
    "unetpp": unetpp,
    "unet": unet,
    "resunet": resunet,
    "deeplab_v3plus": deeplab_v3plus,
    "dense_unet_2d": dense_unet_2d,
    "pspnet": pspnet,
    "segnet": segnet,
    "fcn8s": fcn8s,
    "dunet": dunet,
    "xnet": xnet,
}
# Apart from the others, which the paper compares, and which share slices and a line-up.
VOLUME_NETWORKS: dict[str, Callable[..., keras.Model]] = {"unet3d": unet3d}
# A view of both: what a reader adds to either is known at once. The first is listed last.
_ALL = ChainMap(VOLUME_NETWORKS, NETWORKS)


def names() -> list[str]:
    """The names that `build` knows of networks for slices, the paper's first."""
    return list(NETWORKS)


def volume_names() -> list[str]:
    """The names that `build` knows of networks for volumes."""
    return list(VOLUME_NETWORKS)


def options(name: str) -> dict[str, object]:
    """The options of a network besides its classes and input's shape, each with its default."""
    parameters = inspect.signature(_ALL[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("classes", "input_shape")}


def build(
    name: str,
    input_shape: Sequence[int] | None = None,
    classes: int | None = None,
    widths: Sequence[int] | None = None,
    **options: Any,
) -> keras.Model:
    """A network that turns images (batch, height, width, channels) into class probabilities.

    Its output is (batch, height, width, classes) in float32: softmax over two classes or more,
    sigmoid for one (a list of such outputs under deep supervision). `input_shape` is
    (128, 128, 1) unless given, (128, 128, 4) for dunet; `classes` are 2.
    One of `volume_names` takes volumes (batch, x, y, z, channels), by itself (96, 112, 96, 1),
    and gives the sigmoid of one class unless told otherwise.
    Every network takes `width_multiplier`; those of a U-Net's shape also take `widths`
    (filters by level, the finest first). What else one takes is in its own docstring.
    ValueError if the name or an option is unknown, or a value does not fit.
    """
    if name not in _ALL:
        raise ValueError(f"Unknown network {name!r}. Known: {', '.join(_ALL)}.")
    if classes is None:
        classes = 1 if name in VOLUME_NETWORKS else 2
    if not isinstance(classes, Integral) or classes < 1:
        raise ValueError(f"classes must be a whole number of at least 1; got {classes!r}.")
    network = _ALL[name]
    if input_shape is not None:
        options["input_shape"] = tuple(input_shape)
    if widths is not None:
        options["widths"] = widths
    known = list(inspect.signature(network).parameters)
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} takes no {', '.join(unknown)}. It takes: {', '.join(known)}.")
    return network(classes=classes, **options)


def sketch(
    network: str | Callable[..., keras.Model], *arguments: Any, **options: Any
) -> keras.Model:
    """The network that `build` would give, or a function of yours, without its weights.

    Layers, shapes, `count_params()`, `layer_costs` and drawings are those of the network itself. It
    is there in a fraction of the time, and takes no memory for weights: of 134 million in FCN-8s
    none is drawn.
    `network`: a name and what `build` takes, or a function that builds a model and its arguments.
    What `build` or the function raises; whoever trains, asks or saves a sketch gets a ValueError.
    """
    with without_weights():
        if isinstance(network, str):
            model = build(network, *arguments, **options)
        else:
            model = network(*arguments, **options)
    return refuse_work(model)


def shift_scores(model: keras.Model, probability: float) -> None:
    """Add the log-odds of `probability` to the last class's score, at each of a model's outputs.

    A fresh network, whose scores are about equal, then begins by guessing that probability; of a
    trained one, what had the probability `1 - probability` becomes 0.5.
    ValueError if it is not between 0 and 1, or no layer has a bias for each class.
    """
    if not 0 < probability < 1:
        raise ValueError(f"A probability lies between 0 and 1; got {probability!r}.")
    for output in model.outputs:
        classes = output.shape[-1]
        scores = [
            layer
            for layer in keras.Model(model.inputs, output).layers
            if getattr(layer, "bias", None) is not None and tuple(layer.bias.shape) == (classes,)
        ]
        if not scores:
            raise ValueError(
                f"{model.name} has no layer with a bias for each of {classes} classes."
            )
        shift = [0.0] * (classes - 1) + [log(probability / (1 - probability))]
        scores[-1].bias.assign(scores[-1].bias + keras.ops.cast(shift, scores[-1].bias.dtype))
