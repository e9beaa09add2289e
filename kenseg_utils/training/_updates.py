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
        self.powers: tuple | None = None

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update all weights; what is the same for each is computed once."""
        import tensorflow as tf

        # Each of several devices would compute it anew, in a place of its own.
        self.powers = None if tf.distribute.has_strategy() else self._powers()
        try:
            self.keras_apply(grads, trainable_variables)
        finally:
            self.powers = None

    def step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one weight, as Keras's `update_step`."""
        import tensorflow as tf

        if variable.dtype != tf.float32 or not isinstance(gradient, tf.Tensor):
            return self.keras_step(gradient, variable, learning_rate)
        if isinstance(self.optimizer, Decoupled):
            self.optimizer.decay(variable, learning_rate)
        index = self.optimizer._get_variable_index(variable)
        first, second = self.powers or self._powers()
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self.optimizer._momentums[index].value.handle,
            v=self.optimizer._velocities[index].value.handle,
            beta1_power=first,
            beta2_power=second,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.optimizer.beta_1,
            beta2=self.optimizer.beta_2,
            epsilon=self.optimizer.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )

    def _powers(self) -> tuple:
        """beta_1 and beta_2 to the power of the number of this step."""
        import tensorflow as tf

        number = tf.cast(self.optimizer.iterations.value + 1, tf.float32)
        betas = self.optimizer.beta_1, self.optimizer.beta_2
        first, second = (tf.pow(tf.constant(beta, tf.float32), number) for beta in betas)
        return first, second
