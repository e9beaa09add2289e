"""Networks whose steps are traced already, kept for a training that would trace the same ones.

Tracing and compiling a small network's step takes longer than a short training of it, and chapters
train the same network again and again: from other weights, with other seeds, on other slices.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

from ._checkpoints import state

if TYPE_CHECKING:
    from keras import Model

KEPT = 2  # networks at a time
MOST_WEIGHTS = 3_000_000  # beyond, a step takes longer than tracing, and memory counts

_kept: OrderedDict[Hashable, Model] = OrderedDict()
_lock = threading.Lock()


def take(key: Hashable, fresh: Model, rate: float | None) -> Model | None:
    """A compiled network kept under `key`, its state made that of `fresh`, newly compiled.

    `fresh` is the same network, uncompiled, whose weights and states of random numbers are taken
    over; `rate`: the learning rate where no schedule gives one. All goes on as with a new network.
    None where nothing is kept, or where what is kept is built otherwise.
    """
    with _lock:
        model = _kept.pop(key, None)  # whoever has it has it alone
    if model is None or _plan(fresh) != _plan(model):
        return None
    for own, new in zip(state(model), state(fresh)):
        own.assign(new.value)
    for variable in model.optimizer.variables:
        variable.assign(variable * 0)
    if rate is not None:
        model.optimizer.learning_rate = rate
    return model


def keep(key: Hashable, model: Model) -> None:
    """Keep a compiled network that has been trained; the one kept longest goes.

    Not one whose loss is scaled (mixed_float16): the scale is no state to begin with at zero.
    """
    if model.count_params() > MOST_WEIGHTS or hasattr(model.optimizer, "inner_optimizer"):
        return
    with _lock:
        _kept[key] = model
        while len(_kept) > KEPT:
            _kept.popitem(last=False)


def forget() -> None:
    """Keep none, as in a new process."""
    with _lock:
        _kept.clear()


def _plan(model: Model) -> list:
    """How a network is built, as far as two of one recipe can differ."""
    return [
        (
            type(layer),
            [(tuple(one.shape), str(one.dtype), one.trainable) for one in layer.variables],
        )
        for layer in model.layers
    ]
