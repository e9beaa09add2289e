"""Group normalisation on a CPU: Keras's layer beside the same sums taken channel by channel first.

Keras gives the groups an axis of their own, so that a volume has six, and sums over five of them at
once; broadcasting over six axes is slow, too. Summing over voxels alone, and over a group's few
channels in what is left, computes the same to rounding. Times are of answers and gradients.
"""

import platform
import statistics
import time

import keras
import tensorflow as tf

SHAPES = ((1, 48, 56, 48, 16), (1, 24, 28, 24, 32), (4, 96, 96, 32))  # channels last
GROUPS, EPSILON, REPEATS = 8, 1e-3, 15


def by_channels(x, gamma, beta):
    """The layer's answer, without an axis of groups in anything large."""
    batch, channels, half = x.shape[0], x.shape[-1], x.dtype
    flat = tf.cast(tf.reshape(x, (batch, -1, channels)), tf.float32)

    def of_groups(values):
        means = tf.reduce_mean(tf.reshape(values, (batch, GROUPS, -1)), axis=-1)
        return tf.repeat(means, channels // GROUPS, axis=-1)[:, tf.newaxis]

    means = tf.reduce_mean(flat, axis=1, keepdims=True)
    spread = tf.reduce_mean(tf.math.squared_difference(flat, means), axis=1, keepdims=True)
    mean = of_groups(means)
    variance = of_groups(spread + tf.math.squared_difference(means, mean))
    factor = tf.math.rsqrt(variance + EPSILON) * gamma
    return tf.reshape(tf.cast(flat * factor + (beta - mean * factor), half), x.shape)


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
    print(f"{'shape':24}{'Keras (ms)':>12}{'by channels (ms)':>18}{'largest gap':>13}")
    for shape in SHAPES:
        layer = keras.layers.GroupNormalization(GROUPS, epsilon=EPSILON)
        layer.build(shape)
        x = tf.random.stateless_normal(shape, seed=(0, 1), mean=3.0)
        upstream = tf.random.stateless_normal(shape, seed=(0, 2))

        def ours(x, layer=layer):
            return by_channels(x, layer.gamma.value, layer.beta.value)

        gap = float(tf.reduce_max(tf.abs(layer(x) - ours(x))))
        times = [median_ms(normalise, x, upstream) for normalise in (layer, ours)]
        print(f"{shape!s:24}{times[0]:12.2f}{times[1]:18.2f}{gap:13.1e}", flush=True)


if __name__ == "__main__":
    main()
