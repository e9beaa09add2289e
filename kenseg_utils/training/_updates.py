"""Adam's update of a weight as one operation of TensorFlow's, where Keras traces two dozen.

A Ken-model of five levels has 259 weights: their updates were more than half of what had to be
traced before its first step (`benchmarks/upstream/adam_by_operation.py`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ._decay import Decoupled


def fuse_updates(optimizer: Any) -> Any:
    """Let Adam, AdamW or `Recipe`'s own Adam update each weight at once; returns the same one.

    `optimizer`: a Keras optimiser, which keeps its class, its variables and what it is saved as.
    On other backends, and for optimisers other than Adam without `amsgrad`, nothing is changed.
    What is computed is the same beyond rounding (one minus beta is rounded to float32).
    """
    import keras

    adam = isinstance(optimizer, keras.optimizers.Adam) and not optimizer.amsgrad
    if adam and keras.backend.backend() == "tensorflow":
        update = _Update(optimizer)
        optimizer.apply, optimizer.update_step = update.apply, update.step
    return optimizer


class _Update:
    """What replaces two methods of one optimiser."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.keras_apply = partial(type(optimizer).apply, optimizer)
        self.keras_step = partial(type(optimizer).update_step, optimizer)
        self.shared: dict[str, Any] | None = None

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update all weights; what is the same for each is computed once."""
        import tensorflow as tf

        # Each of several devices would compute it anew, in a place of its own.
        self.shared = None if tf.distribute.has_strategy() else self._shared()
        try:
            self.keras_apply(grads, trainable_variables)
        finally:
            self.shared = None

    def step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one weight, as Keras's `update_step`."""
        import tensorflow as tf

        if variable.dtype != tf.float32 or not isinstance(gradient, tf.Tensor):
            return self.keras_step(gradient, variable, learning_rate)
        if isinstance(self.optimizer, Decoupled):
            self.optimizer.decay(variable, learning_rate)
        index = self.optimizer._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self.optimizer._momentums[index].value.handle,
            v=self.optimizer._velocities[index].value.handle,
            lr=tf.cast(learning_rate, tf.float32),
            grad=tf.cast(gradient, tf.float32),
            **(self.shared or self._shared()),
        )

    def _shared(self) -> dict[str, Any]:
        """What the updates of one step have in common: betas, their powers, epsilon."""
        import tensorflow as tf

        number = tf.cast(self.optimizer.iterations.value + 1, tf.float32)
        first, second, least = (
            tf.constant(value, tf.float32)
            for value in (self.optimizer.beta_1, self.optimizer.beta_2, self.optimizer.epsilon)
        )
        return dict(
            beta1=first,
            beta2=second,
            beta1_power=tf.pow(first, number),
            beta2_power=tf.pow(second, number),
            epsilon=least,
        )
