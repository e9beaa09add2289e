"""Optimisers whose weights shrink at each step, apart from the gradient.

That is the decoupled decay of Loshchilov and Hutter (2019). Keras's own does the same to the last
digit, but asks for the learning rate once for each weight: with a schedule, in TensorFlow, that was
a third of what a step of the Ken-model had to trace, and a branch a weight that each step then took
(`benchmarks/upstream/decay_with_schedule.py`; XLA makes one of them). Here it is asked for once.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

registered = keras.saving.register_keras_serializable(package="kenseg")


class Decoupled(keras.optimizers.Optimizer):
    """Before its update, each weight loses `shrink` · the learning rate of itself."""

    def __init__(self, *args: Any, shrink: float = 0.0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.shrink = shrink

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.decay(variable, learning_rate)
        super().update_step(gradient, variable, learning_rate)

    def decay(self, variable: Any, learning_rate: Any) -> None:
        """Let one weight shrink."""
        rate = ops.cast(learning_rate, variable.dtype)
        # The framework's own products: before one of Keras's, both factors are looked at.
        self.assign_sub(variable, variable * self.shrink * rate)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"shrink": self.shrink}


@registered
class DecoupledAdam(Decoupled, keras.optimizers.Adam):
    """Adam with decoupled decay of weights, as `keras.optimizers.AdamW`."""


@registered
class DecoupledRMSprop(Decoupled, keras.optimizers.RMSprop):
    """RMSprop with decoupled decay of weights."""
