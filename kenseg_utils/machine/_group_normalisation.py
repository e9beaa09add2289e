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

    Reads and gives half precision as it comes, with sums in float32. TensorFlow adds up one number
    after another, and in a sum of a million the third digit is wrong: so for means and variances
    each place along the last axis but one counts as channels of its own.
    """
    import tensorflow as tf

    gamma, beta = tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta)
    known = inputs.shape[0] == 1 and None not in inputs.shape
    if known and not tf.config.list_physical_devices("GPU"):
        return _fused(inputs, gamma, beta, layer.groups, layer.epsilon)
    channels, places = inputs.shape[-1], inputs.shape[-2] or 1
    shape = tf.shape(inputs)
    x = tf.cast(tf.reshape(inputs, (shape[0], -1, places * channels)), tf.float32)
    means = tf.reduce_mean(x, axis=1, keepdims=True)
    variances = tf.reduce_mean(tf.math.squared_difference(x, means), axis=1, keepdims=True)
    mean, variance = _of_groups(means, variances, channels, layer.groups)
    factor = tf.math.rsqrt(variance + layer.epsilon) * gamma
    x = tf.reshape(x, (shape[0], -1, channels))
    return tf.reshape(tf.cast(x * factor + (beta - mean * factor), inputs.dtype), shape)


def _of_groups(means: Any, variances: Any, channels: int, groups: int) -> list[Any]:
    """For each channel (batch, 1, channels), the mean and the variance of its group.

    `means`, `variances` (batch, …, places × channels): of each place's channels.
    """
    import tensorflow as tf

    size = channels // groups
    shape = (-1, means.shape[-1] // channels, groups, size)
    means, variances = tf.reshape(means, shape), tf.reshape(variances, shape)
    mean = tf.reduce_mean(means, axis=(1, 3), keepdims=True)
    apart = tf.math.squared_difference(means, mean)
    variance = tf.reduce_mean(variances + apart, axis=(1, 3), keepdims=True)
    return [
        tf.reshape(tf.tile(value, (1, 1, 1, size)), (-1, 1, channels)) for value in (mean, variance)
    ]


def _group_mean(values: Any, groups: int) -> Any:
    """Each channel's value (channels,) replaced by the mean of its group."""
    import tensorflow as tf

    means = tf.reduce_mean(tf.reshape(values, (groups, -1)), axis=-1)
    return tf.repeat(means, values.shape[0] // groups)


def _fused(inputs: Any, gamma: Any, beta: Any, groups: int, epsilon: float) -> Any:
    """A batch of one, by an operation that reads each number once.

    Of one volume, its means and variances are each channel's own, at each place along an axis;
    from these follow the groups', and with those given the same operation scales and shifts. Its
    gradient lacks what flows through the means and variances, which is linear in the inputs.
    """
    import tensorflow as tf

    along, (places, channels) = math.prod(inputs.shape[1:-2]), inputs.shape[-2:]
    pixels, apart = along * places, places * channels
    ones, zeros = tf.ones(channels), tf.zeros(channels)

    def scaled(x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> Any:
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=mean, variance=variance,
            epsilon=epsilon, is_training=False,
        ).y  # fmt: skip

    @tf.custom_gradient
    def normalised(x: Any, gamma: Any, beta: Any) -> Any:
        seen = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(x, (1, along, 1, apart)), scale=tf.ones(apart), offset=tf.zeros(apart),
            mean=[], variance=[], epsilon=epsilon, is_training=True,
        )  # fmt: skip
        # The operation divides by n - 1.
        variances = seen.batch_variance * ((along - 1) / along)
        found = _of_groups(seen.batch_mean, variances, channels, groups)
        mean, variance = (value[0, 0] for value in found)

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

    x = in_quick_format(tf.reshape(inputs, (1, along, places, channels)))
    return tf.cast(tf.reshape(normalised(x, gamma, beta), inputs.shape), inputs.dtype)


def in_quick_format(inputs: Any) -> Any:
    """What the fused operation reads quickly: bfloat16 as it is only in sixteens of channels.

    On a CPU it is else eight times as quick in float32, casts included.
    """
    import tensorflow as tf

    slow = inputs.dtype == tf.bfloat16 and inputs.shape[-1] % 16
    return tf.cast(inputs, tf.float32) if slow else inputs
