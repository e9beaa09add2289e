"""Networks without their weights: to be measured and drawn at once, whatever their size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state  # no public door leads to what is noted there

WANTS_WEIGHTS = (
    "__call__", "fit", "evaluate", "predict", "predict_on_batch", "train_on_batch", "test_on_batch",
    "get_weights", "set_weights", "save", "save_weights", "load_weights", "export",
)  # fmt: skip
NOTED = "uninitialized_variables"  # Keras's list of what the end of some later scope would draw


@contextmanager
def without_weights() -> Iterator[None]:
    """What Keras builds inside has shapes, and neither numbers nor memory for them."""
    before = list(global_state.get_global_attribute(NOTED) or ())
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(NOTED, before)


def refuse_work(model: keras.Model) -> keras.Model:
    """The model, which from now on says what it lacks: Keras would make up weights at each call.

    So do models of its layers, such as a pruned one, and its variables.
    """

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ValueError(
            f"This {model.name} is a sketch, without weights: it can be counted and drawn. "
            "Build it with networks.build to train it, to ask it or to save it."
        )

    for variable in model.variables:
        variable._initializer = refuse  # what Keras asks for the value of one that has none
    kind = type(model)
    model.__class__ = type(kind.__name__, (kind,), dict.fromkeys(WANTS_WEIGHTS, refuse))
    return model
