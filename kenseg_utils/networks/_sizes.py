"""A network for slices of another height and width than it was built for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import keras


@lru_cache(maxsize=2)  # or each batch would be traced anew
def for_slices_of(model: Any, frame: tuple[int, int]) -> Any:
    """The same Keras model, sharing its weights, that takes slices (height, width) of `frame`.

    Asked about another size than its input's, a model loses all that it knows of shapes, and
    layers that enlarge bilinearly stop.
    """
    if tuple(model.input_shape[1:3]) == tuple(frame):
        return model
    inputs = keras.Input((*frame, model.input_shape[-1]))
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda layer: layer)
