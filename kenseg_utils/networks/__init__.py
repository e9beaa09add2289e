"""The networks: one file each, built by name.

``build("ken_unetpp")`` gives the paper's network; ``names()`` lists the others. All are
``keras`` and ``keras.ops`` alone, so they run on TensorFlow, JAX and PyTorch.
"""

import inspect

from kenseg_utils.networks.cost import layer_costs, multiply_adds
from kenseg_utils.networks.ken_unetpp import ken_unetpp
from kenseg_utils.networks.unet import unet
from kenseg_utils.networks.unetpp import prune, unetpp

__all__ = ["build", "layer_costs", "multiply_adds", "names", "prune"]

NETWORKS = {
    "ken_unetpp": ken_unetpp,
    "unet": unet,
    "unetpp": unetpp,
}


def names():
    """The names that ``build`` knows, the paper's network first."""
    return list(NETWORKS)


def build(name, input_shape=(128, 128, 1), classes=2, widths=None, **options):
    """A network that turns images (batch, height, width, channels) into class probabilities.

    Its output is (batch, height, width, classes) in float32: softmax over two classes or more,
    sigmoid for one. ``widths`` (filters by level, the finest first) and ``width_multiplier``
    change a network's size; what else a network takes is in its own docstring.
    ValueError if the name or an option is unknown, or a value does not fit.
    """
    if name not in NETWORKS:
        raise ValueError(f"Unknown network {name!r}. Known: {', '.join(names())}.")
    network = NETWORKS[name]
    if widths is not None:
        options["widths"] = widths
    known = [p for p in inspect.signature(network).parameters if p not in ("input_shape", "classes")]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} takes no {', '.join(unknown)}. It takes: {', '.join(known)}.")
    return network(tuple(input_shape), classes, **options)
