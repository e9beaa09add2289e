"""Adam on TensorFlow: Keras builds each variable's update from some two dozen operations.

`keras.optimizers.Adam.update_step` is written in elementary operations, for every backend. In a
traced training step of a network with hundreds of variables they are most of what is traced before
the first step, and each of them is run in every step after it (XLA makes one of them).
TensorFlow has had the whole update as one operation since its beginnings.
"""

import platform
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

LAYERS, REPEATS = 100, 30


class AtOnce(keras.optimizers.Adam):
    """Adam whose update of a variable is TensorFlow's own."""

    def update_step(self, gradient, variable, learning_rate):
        number = tf.cast(self.iterations.value + 1, tf.float32)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, number),
            beta2_power=tf.pow(self.beta_2, number),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def timed(optimizer, eager: bool) -> tuple[float, float, np.ndarray]:
    """Seconds of the first step, the median of later ones in milliseconds, and a weight."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(8) for _ in range(LAYERS))])
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mse", jit_compile=False, run_eagerly=eager)
    images = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    times = []
    for _ in range(REPEATS + 1):
        begun = time.perf_counter()
        model.train_on_batch(images, images)
        times.append(time.perf_counter() - begun)
    return times[0], 1000 * statistics.median(times[1:]), model.get_weights()[0]


def main() -> None:
    print(
        f"Keras {keras.__version__} on TensorFlow {tf.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}; {2 * LAYERS} variables"
    )
    print("optimiser                first step (s)  a step (ms)")
    for eager in (False, True):
        weights = []
        for name, make in {"Adam": keras.optimizers.Adam, "Adam, at once": AtOnce}.items():
            first, later, weight = timed(make(1e-3), eager)
            weights.append(weight)
            kind = f"{name}, {'eager' if eager else 'traced'}"
            print(f"{kind:23s}  {first:14.2f}  {later:11.2f}", flush=True)
        print(f"largest difference of the two: {np.abs(weights[0] - weights[1]).max():.1g}")


if __name__ == "__main__":
    main()
