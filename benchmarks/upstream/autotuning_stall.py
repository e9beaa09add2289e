"""An epoch from a tf.data generator that ends late: its autotuning thread sleeps through the end.

Each row reads a generator to its end and prints how long the iterator took to say that nothing is
left, after the last element had been handed over. The thread that tunes sleeps 10 ms, then twice as
long each time; an iterator that is finished waits for it. So the wait grows with the epoch.
"""

import platform
import time

import numpy as np
import tensorflow as tf

SECONDS = (0.5, 2.0, 8.0)  # lengths of an epoch
EVERY = 0.01  # seconds between two elements
REPEATS = 5


def end_waits(seconds: float, autotune: bool) -> list[float]:
    """Seconds from the last element to the end of the epoch, one an epoch."""

    def generate():
        for number in range(round(seconds / EVERY)):
            time.sleep(EVERY)
            yield np.float32(number)

    options = tf.data.Options()
    options.autotune.enabled = autotune
    signature = tf.TensorSpec((), tf.float32)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    dataset = dataset.prefetch(2).with_options(options)
    waits = []
    for _ in range(REPEATS):
        last = time.perf_counter()
        for _ in dataset:
            last = time.perf_counter()
        waits.append(time.perf_counter() - last)
    return waits


def main() -> None:
    print(f"TensorFlow {tf.__version__}, Python {platform.python_version()}")
    print("epoch (s)  autotuning  longest wait at its end (s)  all waits (s)")
    for seconds in SECONDS:
        for autotune in (True, False):
            waits = end_waits(seconds, autotune)
            every = " ".join(f"{wait:.2f}" for wait in waits)
            state = "on" if autotune else "off"
            print(f"{seconds:9.1f}  {state:10}  {max(waits):27.2f}  {every}", flush=True)


if __name__ == "__main__":
    main()
