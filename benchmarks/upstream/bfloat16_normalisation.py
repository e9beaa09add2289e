"""Fused batch normalisation on a CPU: bfloat16 beside float32, by the number of channels.

Where the channels are no multiple of 16, the bfloat16 form takes several times as long as the same
operation in float32 with a cast before and after it, which computes the same to rounding.
"""

import platform
import statistics
import time

import tensorflow as tf

SHAPE = (4, 128, 128)  # batch, height, width
CHANNELS = (8, 12, 16, 24, 32, 48, 64)
REPEATS = 15


def median_ms(run, inputs) -> float:
    """The median time of one call, in milliseconds, after two that do not count."""
    times = []
    for _ in range(REPEATS + 2):
        begin = time.perf_counter()
        run(inputs)[0].numpy()
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times[2:])


def normalise(inputs, scale, offset):
    return tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=1e-3)


def main() -> None:
    print(f"TensorFlow {tf.__version__}, Python {platform.python_version()}, {platform.machine()}")
    print("channels  float32 (ms)  bfloat16 (ms)  bfloat16 cast to float32 and back (ms)")
    for channels in CHANNELS:
        scale, offset = tf.ones(channels), tf.zeros(channels)

        @tf.function
        def as_it_is(inputs, scale=scale, offset=offset):
            return normalise(inputs, scale, offset)

        @tf.function
        def by_float32(inputs, scale=scale, offset=offset):
            outputs, *rest = normalise(tf.cast(inputs, tf.float32), scale, offset)
            return (tf.cast(outputs, inputs.dtype), *rest)

        single = tf.random.stateless_normal((*SHAPE, channels), seed=(0, 1))
        half = tf.cast(single, tf.bfloat16)
        row = (median_ms(as_it_is, single), median_ms(as_it_is, half), median_ms(by_float32, half))
        print(f"{channels:8d}  {row[0]:12.2f}  {row[1]:13.2f}  {row[2]:38.2f}", flush=True)


if __name__ == "__main__":
    main()
