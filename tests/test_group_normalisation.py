"""Group normalisation with fewer operations: Keras's answers and Keras's gradients."""

import keras
import numpy as np
import pytest
from keras import layers

from kenseg_utils import machine, networks, prediction
from kenseg_utils.machine import _group_normalisation

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends keep Keras's own"
)
RNG = np.random
GROUPS = [(8, 16), (8, 8), (4, 12), (1, 6)]
SPACES = [(4, 5, 6), (7, 9)]  # of volumes and of slices


@pytest.fixture(autouse=True)
def same_numbers():
    """Each test draws the same numbers, whichever ran before it."""
    RNG.seed(0)


def both(groups, channels, space=(4, 5, 6)):
    """Keras's layer, and one that is fused, with the same weights: not those of the beginning."""
    pair = []
    weights = RNG.normal(size=(2, channels)).astype(np.float32)
    for change in (lambda model: model, machine.fuse_normalisation):
        inputs = keras.Input((*space, channels))
        layer = layers.GroupNormalization(groups)
        change(keras.Model(inputs, layer(inputs)))
        layer.set_weights(list(weights))
        pair.append(layer)
    assert ["call" in vars(layer) for layer in pair] == [False, True]
    return pair


def drawn(batch, channels, space=(4, 5, 6)):
    return (3 + 2 * RNG.normal(size=(batch, *space, channels))).astype(np.float32)


def learned(layer, x, upstream):
    """Answers, and the gradients of inputs and weights."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        x = tf.constant(x)
        tape.watch(x)
        y = layer(x)
        total = tf.reduce_sum(y * upstream)
    weights = [variable.value for variable in layer.trainable_variables]
    return [np.asarray(values) for values in (y, *tape.gradient(total, [x, *weights]))]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("groups", "channels"), GROUPS)
@pytest.mark.parametrize("batch", [1, 3])
def test_it_answers_as_keras_does_and_learns_what_keras_learns(groups, channels, batch, space):
    """A batch of one is fused, and has a gradient that is written by hand."""
    theirs, ours = both(groups, channels, space)
    x = drawn(batch, channels, space)
    upstream = RNG.normal(size=x.shape).astype(np.float32)
    pairs = list(zip(learned(theirs, x, upstream), learned(ours, x, upstream)))
    assert np.abs(np.subtract(*pairs[0])).max() < 1e-5  # the answers
    for wanted, found in pairs:
        assert np.abs(wanted).max() > 0.1
        assert np.abs(wanted - found).max() < 1e-4 * np.abs(wanted).max() + 1e-5


def test_a_batch_of_one_is_fused(monkeypatch):
    taken = []
    monkeypatch.setattr(
        _group_normalisation, "_fused", lambda x, *rest: taken.append(x.shape[0]) or x
    )
    ours = both(4, 8)[1]
    ours(drawn(1, 8))
    ours(drawn(2, 8))
    assert taken == [1]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("channels", [4, 16])
def test_sums_are_in_float32_whatever_comes(precision, batch, channels):
    """Far from zero and over many voxels, where half precision would lose mean and spread."""
    import tensorflow as tf

    theirs, ours = both(2, channels, (40, 40, 40))
    half = tf.cast(8 + RNG.normal(size=(batch, 40, 40, 40, channels)), precision)
    found = ours(half)
    assert found.dtype == precision
    wanted = np.asarray(theirs(tf.cast(half, "float32")))
    rounded = np.asarray(tf.cast(tf.cast(wanted, precision), "float32"))
    gap, rounding = (
        np.abs(values - wanted) for values in (np.asarray(tf.cast(found, "float32")), rounded)
    )
    assert gap.mean() < 1.5 * rounding.mean() and gap.max() < 1.5 * rounding.max()


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_3d_network_learns_alike_with_it(precision):
    built = []
    for change in (lambda model: model, machine.fuse_normalisation):
        keras.utils.set_random_seed(0)
        with machine.building_in(precision):
            model = change(networks.build("unet3d", input_shape=(16, 16, 8, 1), widths=(4, 8, 8)))
        model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
        built.append(model)
    x = RNG.normal(1, 2, (1, 16, 16, 8, 1)).astype(np.float32)
    truth = (x > 2).astype(np.float32)
    near = 1e-4 if precision == "float32" else 0.02
    losses = []
    for _ in range(4):
        theirs, ours = (float(model.train_on_batch(x, truth)) for model in built)
        assert theirs == pytest.approx(ours, rel=near)
        losses.append(ours)
    assert losses[-1] < 0.9 * losses[0]
    theirs, ours = (model.predict_on_batch(x) for model in built)
    assert np.abs(theirs - ours).max() < 10 * near


def test_a_fused_network_is_saved_as_keras_s_own(tmp_path):
    inputs = keras.Input((4, 4, 4, 8))
    model = keras.Model(inputs, layers.GroupNormalization(4)(inputs))
    machine.fuse_normalisation(model).save(tmp_path / "one.keras")
    opened = keras.models.load_model(tmp_path / "one.keras", safe_mode=True)
    assert type(opened.layers[-1]) is layers.GroupNormalization
    assert "call" in vars(model.layers[-1]) and "call" not in vars(opened.layers[-1])
    x = drawn(2, 8, (4, 4, 4))
    assert np.abs(opened.predict_on_batch(x) - model.predict_on_batch(x)).max() < 1e-5


@pytest.mark.parametrize("batch", [1, 2])
def test_sums_of_half_a_million_numbers_are_right(batch):
    """TensorFlow adds float32 one after another: Keras's layer is wrong in the third digit here."""
    x = np.random.default_rng(0).normal(3, 1, (batch, 48, 56, 48, 4)).astype(np.float32)
    x[:, :20] = 0.3  # air
    apart = x.astype(np.float64).reshape(batch, -1, 2, 2)
    mean, sd = (of(apart, axis=(1, 3), keepdims=True) for of in (np.mean, np.std))
    truth = ((apart - mean) / sd).reshape(x.shape)
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, layers.GroupNormalization(2, epsilon=1e-9)(inputs))
    found = machine.fuse_normalisation(model).predict_on_batch(x)
    assert np.abs(found - truth).max() < 2e-5


def test_a_file_of_somebody_s_own_is_fused_when_it_is_opened(tmp_path):
    """With a layer that is asked in two places, which has no one input."""
    inputs, twice = keras.Input((4, 4, 4, 8)), layers.GroupNormalization(4)
    outputs = layers.Conv3D(1, 1, activation="sigmoid")(
        twice(layers.Activation("relu")(twice(inputs)))
    )
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "own.keras")
    opened = prediction.open_network(tmp_path / "own.keras")
    assert any("call" in vars(layer) for layer in opened.layers)
    x = drawn(1, 8, (4, 4, 4))
    assert np.abs(opened.predict_on_batch(x) - model.predict_on_batch(x)).max() < 1e-5


def test_groups_along_another_axis_stay_keras_s():
    inputs = keras.Input((8, 4, 4, 4))
    layer = layers.GroupNormalization(4, axis=1)
    machine.fuse_normalisation(keras.Model(inputs, layer(inputs)))
    assert "call" not in vars(layer)
