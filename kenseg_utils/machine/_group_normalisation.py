"""Group normalisation for which a CPU does not wait.

Keras's layer gives groups an axis of their own and works on five or six axes: of a training step of
the book's 3-D network it took 0.45 of the time. Here channels stay where they are, and of a batch
of one, which whole heads are, TensorFlow's fused batch normalisation does nearly all of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras.layers import GroupNormalization


def normalise_groups(layer: GroupNormalization, inputs: Any) -> Any:
    """What `keras.layers.GroupNormalization.call` computes, channels last, on TensorFlow.

    Reads and gives half precision as it comes, with sums in float32.
    """
    import tensorflow as tf

    gamma, beta = tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta)
    known = inputs.shape[0] == 1 and None not in inputs.shape
    if known and not tf.config.list_physical_devices("GPU"):
        return _fused(inputs, gamma, beta, layer.groups, layer.epsilon)
    channels = inputs.shape[-1]
    shape = tf.shape(inputs)
    x = tf.cast(tf.reshape(inputs, (shape[0], -1, channels)), tf.float32)
    means = tf.reduce_mean(x, axis=1, keepdims=True)
    variances = tf.reduce_mean(tf.math.squared_difference(x, means), axis=1, keepdims=True)
    mean, variance = _of_groups(means, variances, layer.groups)
    factor = tf.math.rsqrt(variance + layer.epsilon) * gamma
    return tf.reshape(tf.cast(x * factor + (beta - mean * factor), inputs.dtype), shape)


def _of_groups(means: Any, variances: Any, groups: int) -> tuple[Any, Any]:
    """Means and variances of the groups, from those of channels, on whose axis (the last) each
    channel gets its group's."""
    import tensorflow as tf

    mean = _group_mean(means, groups)
    return mean, _group_mean(variances + tf.math.squared_difference(means, mean), groups)


def _group_mean(values: Any, groups: int) -> Any:
    """Each channel's value, on the last axis, replaced by the mean of its group."""
    import tensorflow as tf

    size = values.shape[-1] // groups
    apart = tf.reshape(values, (-1, groups, size))
    means = tf.repeat(tf.reduce_mean(apart, axis=-1), size, axis=-1)
    return tf.reshape(means, tf.shape(values))


def _fused(inputs: Any, gamma: Any, beta: Any, groups: int, epsilon: float) -> Any:
    """A batch of one, by an operation that reads each number once.

    Of one volume, its means and variances are each channel's own; from these follow the groups',
    and with those given the same operation scales and shifts. Its gradient lacks what flows
    through the means and variances, which is linear in the inputs.
    """
    import tensorflow as tf

    channels = inputs.shape[-1]
    pixels = math.prod(inputs.shape[1:-1])
    flat = (1, pixels // inputs.shape[-2], inputs.shape[-2], channels)
    ones, zeros = tf.ones(channels), tf.zeros(channels)

    def scaled(x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> Any:
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=mean, variance=variance,
            epsilon=epsilon, is_training=False,
        ).y  # fmt: skip

    @tf.custom_gradient
    def normalised(x: Any, gamma: Any, beta: Any) -> Any:
        seen = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=ones, offset=zeros, mean=[], variance=[], epsilon=epsilon, is_training=True
        )
        # The operation divides by n - 1.
        variances = seen.batch_variance * ((pixels - 1) / pixels)
        mean, variance = _of_groups(seen.batch_mean, variances, groups)

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            known = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream, x=x, scale=gamma, reserve_space_1=mean,
                reserve_space_2=variance, reserve_space_3=[], epsilon=epsilon, is_training=False,
            )  # fmt: skip
            to_gamma, to_beta = known.scale_backprop, known.offset_backprop
            inverse = tf.math.rsqrt(variance + epsilon)
            slope = -tf.square(inverse) * _group_mean(gamma * to_gamma, groups) / pixels
            level = -inverse * _group_mean(gamma * to_beta, groups) / pixels - slope * mean
            # Mean 0 and variance 1 - epsilon leave slope and level as they are.
            through = scaled(x, slope, level, zeros, ones - epsilon)
            return known.x_backprop + through, to_gamma, to_beta

        return scaled(x, gamma, beta, mean, variance), gradient

    x = in_quick_format(tf.reshape(inputs, flat))
    return tf.cast(tf.reshape(normalised(x, gamma, beta), inputs.shape), inputs.dtype)


def in_quick_format(inputs: Any) -> Any:
    """What the fused operation reads quickly: bfloat16 as it is only in sixteens of channels.

    On a CPU it is else eight times as quick in float32, casts included.
    """
    import tensorflow as tf

    slow = inputs.dtype == tf.bfloat16 and inputs.shape[-1] % 16
    return tf.cast(inputs, tf.float32) if slow else inputs
