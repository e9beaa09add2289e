"""Two things that TensorFlow does slowly where Keras leaves them as they come.

Neither changes what is computed beyond rounding; on other backends both do nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ._group_normalisation import in_quick_format, normalise_groups

if TYPE_CHECKING:
    from keras import Model


def spare_graph_optimisers() -> None:
    """On a CPU, leave out TensorFlow's graph optimisers: they slow the first step, for no gain."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        on_cpu = not tf.config.list_physical_devices("GPU")
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": on_cpu})


def fuse_normalisation(model: Model) -> Model:
    """Let a network's normalisations run as one or few operations; returns the same network.

    Keras 3 computes them from a dozen elementary operations in float32, each of which reads and
    writes a whole feature map. TensorFlow has one that reads bfloat16 and does it all at once, for
    a batch; that of groups is made of it, or of fewer operations.
    Saving is not affected: the file holds Keras's own layers.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        by_kind = {
            keras.layers.BatchNormalization: (_normalise, (4,)),  # of slices alone
            keras.layers.GroupNormalization: (normalise_groups, (4, 5)),
        }
        for layer in model.layers:
            call, ranks = by_kind.get(type(layer), (None, ()))
            if call and layer.built and layer.scale and layer.center:
                rank = layer.input_spec.ndim  # a layer that is asked in two places has no one input
                if rank in ranks and layer.axis in (-1, rank - 1):
                    layer.call = partial(call, layer)
    return model


def _normalise(layer, inputs, training=None, mask=None):
    """What `keras.layers.BatchNormalization.call` computes, by TensorFlow's fused operation."""
    import keras
    import tensorflow as tf

    if layer.synchronized or mask is not None:  # the mean over several devices has no fused form
        return keras.layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    gamma, beta, mean, variance = (
        tf.convert_to_tensor(weight)
        for weight in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    )
    fused = tf.compat.v1.nn.fused_batch_norm
    kind = inputs.dtype
    inputs = in_quick_format(inputs)
    if not (training and layer.trainable):
        outputs = fused(inputs, gamma, beta, mean, variance, layer.epsilon, is_training=False)[0]
        return tf.cast(outputs, kind)
    outputs, batch_mean, batch_variance = fused(inputs, gamma, beta, epsilon=layer.epsilon)
    # The operation divides by n - 1, Keras by n, which are all pixels of a channel.
    count = tf.cast(tf.size(inputs, tf.int64), batch_variance.dtype) / inputs.shape[-1]
    batch_variance -= batch_variance / count
    kept = layer.momentum
    layer.moving_mean.assign(mean * kept + batch_mean * (1 - kept))
    layer.moving_variance.assign(variance * kept + batch_variance * (1 - kept))
    return tf.cast(outputs, kind)
