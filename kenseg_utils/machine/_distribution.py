"""One training on several devices of one machine: each takes its share of every batch.

TensorFlow: MirroredStrategy. JAX: keras.distribution. Keras spreads no training on PyTorch, and
none over several machines on TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras import Model


def device_names() -> list[str]:
    """The devices that a training can be spread over: the GPUs, or without any the CPUs."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in found]
    if backend == "jax":
        return keras.distribution.list_devices()
    return ["the one device"]


def device_count(batch_size: int, wanted: int | None = None) -> int:
    """On how many devices to train: all that share the batch evenly, or as many as wanted.

    Without a wish, one is the answer where the batch cannot be shared among all.
    Raises ValueError where there are fewer, or they do not divide the batch.
    """
    there = len(device_names())
    if wanted is None:
        return there if batch_size % there == 0 else 1
    if not 1 <= wanted <= there:
        raise ValueError(f"devices is {wanted}: there are {there} ({', '.join(device_names())}).")
    if batch_size % wanted:
        raise ValueError(
            f"Recipe.batch_size is {batch_size}, which {wanted} devices cannot share "
            "evenly: make it a multiple, or give fewer devices."
        )
    return wanted


@contextmanager
def spread_over(count: int) -> Iterator[None]:
    """What is built and trained within runs on this many devices."""
    import keras

    if count == 1:
        yield
    elif keras.backend.backend() == "tensorflow":
        with _mirrored(count).scope():
            yield
    else:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(
                devices=device_names()[:count], auto_shard_dataset=False
            )
        )
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)


@lru_cache  # a second strategy on the same devices would get the first one's sums
def _mirrored(count: int):
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(device_names()[:count])


def feed(batches: Any, outputs: int = 1) -> Any:
    """An epoch of `batches`, a `training.Batches`, in the form that the backend trains from.

    A network of several outputs gets the labels once for each. On TensorFlow a dataset: devices
    share its batches evenly only where their size is known beforehand. Its autotuning, which Keras
    would switch on, is off: the thread that tunes sleeps 10 ms, then 20, 40 and so on, and at times
    an epoch does not end before it wakes, up to as late as the epoch was long.
    """
    import keras

    def generate():
        for images, labels in batches.generate():
            yield images, labels if outputs == 1 else (labels,) * outputs

    if keras.backend.backend() != "tensorflow":
        return generate()
    import tensorflow as tf

    height, width, channels = batches.slices.shape
    image = tf.TensorSpec((batches.batch_size, height, width, channels), tf.float32)
    label = tf.TensorSpec((batches.batch_size, height, width), tf.int32)
    kinds = (image, label if outputs == 1 else (label,) * outputs)
    options = tf.data.Options()
    options.autotune.enabled = False
    made = tf.data.Dataset.from_generator(generate, output_signature=kinds)
    return made.prefetch(2).with_options(options)


def share_statistics(model: Model, shared: bool) -> None:
    """Let batch normalisation take its mean over the whole batch, not over each device's share.

    So several devices give the history of one. Only TensorFlow must be told; on JAX the batch is
    one array wherever it lies.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = shared
