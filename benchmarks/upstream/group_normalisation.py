"""Group normalisation on a CPU: Keras's layer beside the same sums taken channel by channel first.

Keras gives the groups an axis of their own, so that a volume has six, and sums over five of them at
once; broadcasting over six axes is slow, too. Summing over voxels alone, and over a group's few
channels in what is left, computes the same to rounding. Times are of answers and gradients.
Errors are the largest of an answer beside float64's: TensorFlow adds one number after another, so
that in a sum of a million the third digit is wrong. Summed by place along an axis first, it is not.
"""

import platform
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

SHAPES = ((1, 48, 56, 48, 16), (1, 24, 28, 24, 32), (4, 96, 96, 32))  # channels last
GROUPS, EPSILON, REPEATS = 8, 1e-3, 15


def by_channels(x, gamma, beta):
    """The layer's answer, without an axis of groups in anything large."""
    batch, places, channels, half = x.shape[0], x.shape[-2], x.shape[-1], x.dtype
    flat = tf.cast(tf.reshape(x, (batch, -1, places * channels)), tf.float32)

    def of_groups(values):
        apart = tf.reshape(values, (batch, places, GROUPS, -1))
        means = tf.reduce_mean(apart, axis=(1, 3))
        return tf.tile(tf.repeat(means, channels // GROUPS, axis=-1), (1, places))[:, tf.newaxis]

    means = tf.reduce_mean(flat, axis=1, keepdims=True)
    spread = tf.reduce_mean(tf.math.squared_difference(flat, means), axis=1, keepdims=True)
    mean = of_groups(means)
    variance = of_groups(spread + tf.math.squared_difference(means, mean))
    factor = tf.math.rsqrt(variance + EPSILON) * tf.tile(gamma, [places])
    shifted = flat * factor + (tf.tile(beta, [places]) - mean * factor)
    return tf.reshape(tf.cast(shifted, half), x.shape)


def in_float64(x) -> np.ndarray:
    """The right answer, where gamma is 1 and beta 0."""
    apart = x.numpy().astype(np.float64).reshape(x.shape[0], -1, GROUPS, x.shape[-1] // GROUPS)
    mean, variance = (of(apart, axis=(1, 3), keepdims=True) for of in (np.mean, np.var))
    return ((apart - mean) / np.sqrt(variance + EPSILON)).reshape(x.shape)


def median_ms(normalise, x, upstream) -> float:
    """The median time of answers and gradients, in milliseconds, after two that do not count."""

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = normalise(x)
        return tape.gradient(y, x, output_gradients=tf.cast(upstream, y.dtype))

    times = []
    for _ in range(REPEATS + 2):
        begin = time.perf_counter()
        step(x).numpy()
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times[2:])


def main() -> None:
    print(
        f"Keras {keras.__version__}, TensorFlow {tf.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}"
    )
    print(f"{'shape':24}{'Keras (ms)':>12}{'by channels (ms)':>18}{'errors':>18}")
    for shape in SHAPES:
        layer = keras.layers.GroupNormalization(GROUPS, epsilon=EPSILON)
        layer.build(shape)
        x = tf.random.stateless_normal(shape, seed=(0, 1), mean=3.0)
        upstream = tf.random.stateless_normal(shape, seed=(0, 2))

        def ours(x, layer=layer):
            return by_channels(x, layer.gamma.value, layer.beta.value)

        truth = in_float64(x)
        errors = [float(np.abs(one(x).numpy() - truth).max()) for one in (layer, ours)]
        times = [median_ms(normalise, x, upstream) for normalise in (layer, ours)]
        print(
            f"{shape!s:24}{times[0]:12.2f}{times[1]:18.2f}{errors[0]:10.1e}{errors[1]:8.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
