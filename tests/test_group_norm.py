"""The 3-D network's normalisation: Keras's answers and gradients, in fewer passes."""

import keras
import numpy as np
import pytest
from keras import layers

from kenseg_utils.networks._group_norm import VolumeGroupNormalization

RNG = np.random.default_rng(0)
tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the fused way is TensorFlow's"
)


def both(groups, channels, dtype=None):
    """Keras's layer and ours with the same weights, which are not those of the beginning."""
    pair = [
        kind(groups, dtype=dtype) for kind in (layers.GroupNormalization, VolumeGroupNormalization)
    ]
    weights = RNG.normal(size=(2, channels)).astype(np.float32)
    for layer in pair:
        layer.build((None, 4, 5, 6, channels))
        layer.set_weights(list(weights))
    return pair


def volumes(batch, channels):
    return (3 + 2 * RNG.normal(size=(batch, 4, 5, 6, channels))).astype(np.float32)


def gradients(layer, x, upstream):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        x = tf.constant(x)
        tape.watch(x)
        y = layer(x, training=True) if isinstance(layer, VolumeGroupNormalization) else layer(x)
        total = tf.reduce_sum(tf.cast(y, tf.float32) * upstream)
    learned = [variable.value for variable in layer.trainable_variables]
    return [
        np.asarray(y, np.float32),
        *(np.asarray(g) for g in tape.gradient(total, [x, *learned])),
    ]


@pytest.mark.parametrize(("groups", "channels"), [(8, 16), (8, 8), (4, 12), (1, 6)])
@pytest.mark.parametrize("batch", [1, 3])
def test_it_answers_as_keras_does(groups, channels, batch):
    theirs, ours = both(groups, channels)
    x = volumes(batch, channels)
    assert np.abs(np.asarray(theirs(x)) - np.asarray(ours(x))).max() < 1e-5


@tensorflow
@pytest.mark.parametrize(("groups", "channels"), [(8, 16), (8, 8), (4, 12), (1, 6)])
@pytest.mark.parametrize("batch", [1, 3])
def test_what_it_learns_is_what_keras_learns(groups, channels, batch):
    """A batch of one takes the fused way, whose gradient is written by hand."""
    theirs, ours = both(groups, channels)
    x = volumes(batch, channels)
    upstream = RNG.normal(size=x.shape).astype(np.float32)
    for wanted, found in zip(gradients(theirs, x, upstream), gradients(ours, x, upstream)):
        assert np.abs(wanted).max() > 0.1
        assert np.abs(wanted - found).max() < 1e-4 * np.abs(wanted).max() + 1e-5


@tensorflow
def test_one_volume_takes_the_fused_way_and_several_do_not(monkeypatch):
    from kenseg_utils.networks import _group_norm

    taken = []
    monkeypatch.setattr(_group_norm, "_fused", lambda x, *rest: taken.append(x.shape[0]) or x)
    _, ours = both(4, 8)
    ours(volumes(1, 8), training=True)
    ours(volumes(1, 8))
    ours(volumes(2, 8), training=True)
    assert taken == [1]


@tensorflow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("training", [True, False])
def test_sums_are_in_float32_whatever_the_precision(precision, training):
    """Far from zero, where half precision would lose the spread, and over many voxels."""
    theirs, ours = both(2, 4)
    ours16 = VolumeGroupNormalization.from_config(
        ours.get_config() | {"dtype": f"mixed_{precision}"}
    )
    ours16.build((None, 40, 40, 40, 4))
    ours16.set_weights(ours.get_weights())
    x = (8 + RNG.normal(size=(1, 40, 40, 40, 4))).astype(np.float32)
    import tensorflow as tf

    half = tf.cast(x, precision)
    y = ours16(half, training=training)
    assert y.dtype == precision and ours16.gamma.dtype == "float32"
    wanted = np.asarray(theirs(tf.cast(half, "float32")))
    assert np.abs(np.asarray(tf.cast(y, "float32")) - wanted).max() < 0.03


def test_it_is_saved_and_opened_in_safe_mode(tmp_path):
    inputs = keras.Input((4, 4, 4, 8))
    model = keras.Model(inputs, VolumeGroupNormalization(4)(inputs))
    model.save(tmp_path / "one.keras")
    opened = keras.models.load_model(tmp_path / "one.keras", safe_mode=True)
    x = volumes(2, 8)[:, :4, :4, :4]
    assert np.array_equal(opened.predict_on_batch(x), model.predict_on_batch(x))
    assert opened.layers[-1].groups == 4 and not opened.layers[-1].autocast
