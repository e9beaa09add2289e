"""Losses against NumPy in float64, their gradients against finite differences, and their edges."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kenseg_utils import losses


def reference(name, y, p):
    """The loss of one image in float64: y (pixels,) of 0 and 1, p (pixels,) the lesion's share."""
    y, p = np.asarray(y, "float64"), np.asarray(p, "float64")
    cross_entropy = -np.mean(np.where(y == 1, np.log(p), np.log(1 - p)))
    dice = 1 - (2 * (y * p).sum() + 1) / (y.sum() + p.sum() + 1)

    def focal(alpha, gamma):
        return -np.mean(
            np.where(
                y == 1, alpha * (1 - p) ** gamma * np.log(p), (1 - alpha) * p**gamma * np.log(1 - p)
            )
        )

    squared = (2 * (y * p).sum() + 1) / ((y**2).sum() + (p**2).sum() + 1)
    return {
        "sparse_categorical_crossentropy": cross_entropy,
        "dice": dice,
        "cross_entropy_dice": cross_entropy + dice,
        "cross_entropy_batch_dice": cross_entropy + dice,  # of a batch of one image
        "focal": focal(0.25, 2),
        "enhanced_mixing": focal(0.48, 1.1) - np.log(squared),
    }[name]


@pytest.fixture(scope="module")
def images():
    """Labels (3, 4, 6) and lesion probabilities (3, 4, 6, 1); the last image has no lesion."""
    generator = np.random.default_rng(1)
    labels = (generator.random((3, 4, 6)) > 0.6).astype("uint8")
    labels[2] = 0
    return labels, generator.uniform(0.02, 0.98, (3, 4, 6, 1)).astype("float32")


def two_classes(p):
    return np.concatenate([1 - p, p], axis=-1)


def each_image(name, labels, p):
    """The losses of a batch's images in float64."""
    if name != "cross_entropy_batch_dice":
        return [reference(name, y.ravel(), q.ravel()) for y, q in zip(labels, p)]
    together = reference("dice", labels.ravel(), p.ravel())
    return [
        reference("sparse_categorical_crossentropy", y.ravel(), q.ravel()) + together
        for y, q in zip(labels, p)
    ]


@pytest.mark.parametrize("name", losses.names())
def test_loss_is_its_formula_for_softmax_and_sigmoid(name, images):
    labels, p = images
    expected = each_image(name, labels, p)
    for probabilities in (p, p[..., 0], two_classes(p)):
        values = np.array(losses.get(name)(labels, probabilities))
        assert values.shape == (3,) and values.dtype == np.float32
        np.testing.assert_allclose(values, expected, rtol=2e-5)


@pytest.mark.parametrize("name", losses.names())
def test_gradient_is_the_finite_difference(name, images):
    labels, p = images[0][:1], images[1][:1]
    with tf.GradientTape() as tape:
        variable = tf.Variable(p)
        value = tf.reduce_sum(losses.get(name)(labels, variable))
    gradient = np.array(tape.gradient(value, variable)).ravel()
    step = 1e-5
    for k in range(gradient.size):
        up, down = p.ravel().astype("float64"), p.ravel().astype("float64")
        up[k] += step
        down[k] -= step
        difference = reference(name, labels.ravel(), up) - reference(name, labels.ravel(), down)
        assert gradient[k] == pytest.approx(difference / (2 * step), rel=1e-3, abs=1e-5)


def test_one_false_pixel_in_an_empty_slice_costs_the_batch_a_pixel():
    """Image by image it costs half of a Dice term or more, which taught networks to be silent."""
    labels = np.zeros((2, 8, 8), "uint8")
    labels[0, 2:6, 2:6] = 1
    right = np.where(labels, 0.999, 0.001)[..., None]
    one_more = right.copy()
    one_more[1, 4, 4] = 0.999
    cost = {
        name: float(
            np.mean(losses.get(name)(labels, two_classes(one_more)))
            - np.mean(losses.get(name)(labels, two_classes(right)))
        )
        - float(
            np.mean(losses.sparse_categorical_crossentropy(labels, two_classes(one_more)))
            - np.mean(losses.sparse_categorical_crossentropy(labels, two_classes(right)))
        )
        for name in ("cross_entropy_dice", "cross_entropy_batch_dice")
    }
    assert cost["cross_entropy_dice"] > 0.2 and 0 < cost["cross_entropy_batch_dice"] < 0.04


def test_enhanced_mixing_check_vector():
    y = np.array([[1, 1, 0, 0, 0, 0, 0, 0]])
    p = np.array([[0.9, 0.4, 0.2, 0.1, 0, 0, 0, 0.6]], "float32")
    assert float(losses.enhanced_mixing(y, p)[0]) == pytest.approx(0.264930, abs=1e-6)


def test_the_same_as_keras_where_keras_has_it(images):
    labels, p = images
    ours = np.mean(losses.sparse_categorical_crossentropy(labels, two_classes(p)))
    theirs = keras.losses.SparseCategoricalCrossentropy()(labels, two_classes(p))
    assert ours == pytest.approx(float(theirs), rel=1e-5)
    theirs = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True)(labels, p[..., 0])
    assert np.mean(losses.focal(labels, p)) == pytest.approx(float(theirs), rel=1e-5)


def test_three_classes_average_the_lesions_and_leave_the_background(images):
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 3, (1, 4, 5))
    p = generator.dirichlet([1, 1, 1], (1, 4, 5)).astype("float32")
    for name in ("dice", "focal", "enhanced_mixing"):
        each = [reference(name, (labels == k).ravel(), p[..., k].ravel()) for k in (1, 2)]
        assert float(losses.get(name)(labels, p)[0]) == pytest.approx(np.mean(each), rel=2e-5)
    truth = np.take_along_axis(p, labels[..., None], axis=-1)
    value = losses.sparse_categorical_crossentropy(labels, p)[0]
    assert float(value) == pytest.approx(-np.log(truth).mean(), rel=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", losses.names())
def test_certain_and_wrong_stays_finite(name, dtype):
    labels = np.array([[[0, 1], [0, 1]], [[0, 0], [0, 0]]])
    for p in (1.0 - labels, 1.0 * labels):
        with tf.GradientTape() as tape:
            variable = tf.Variable(tf.cast(two_classes(p[..., None]), dtype))
            value = losses.get(name)(labels, variable)
        assert value.dtype == "float32"
        assert np.isfinite(np.array(value)).all()
        gradient = tf.cast(tape.gradient(value, variable), "float32")
        assert np.isfinite(np.array(gradient)).all()


@pytest.mark.parametrize("name", losses.names())
def test_right_is_nothing_and_wrong_is_more(name):
    labels = np.array([[[0, 1], [0, 1]]])
    loss = losses.get(name)
    right, unsure, wrong = (
        float(loss(labels, two_classes(p[..., None].astype("float32")))[0])
        for p in (1.0 * labels, np.full(labels.shape, 0.5), 1.0 - labels)
    )
    assert right == pytest.approx(0, abs=1e-6)
    assert 0 < unsure < wrong


@pytest.mark.parametrize("name", losses.names())
def test_compiled_model_saves_and_loads_in_safe_mode(name, tmp_path):
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax")(inputs))
    model.compile("sgd", losses.get(name), run_eagerly=True)
    images, labels = np.ones((2, 4, 4, 1), "float32"), np.ones((2, 4, 4), "uint8")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.loss is losses.get(name)
    assert float(model.test_on_batch(images, labels)) == pytest.approx(
        float(np.mean(losses.get(name)(labels, loaded(images)))), rel=1e-6
    )


def test_sigmoid_model_trains_on_plain_labels():
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs))
    model.compile("sgd", losses.get("enhanced_mixing"), run_eagerly=True)
    images, labels = np.ones((2, 4, 4, 1), "float32"), np.ones((2, 4, 4), "uint8")
    expected = float(np.mean(losses.enhanced_mixing(labels, model(images))))
    assert float(model.test_on_batch(images, labels)) == pytest.approx(expected, rel=1e-6)


def test_unknown_loss_lists_the_known():
    with pytest.raises(ValueError, match="Unknown loss 'mse'.*dice.*enhanced_mixing"):
        losses.get("mse")


@pytest.mark.parametrize(
    "labels, probabilities",
    [((2, 4, 4), (2, 4, 5, 2)), ((2, 4, 4, 1), (2, 4, 4, 2)), ((2, 4), (2, 4, 4, 2))],
)
def test_shapes_that_do_not_belong_together(labels, probabilities):
    with pytest.raises(ValueError, match="takes labels"):
        losses.dice(np.zeros(labels, "int32"), np.zeros(probabilities, "float32"))


def test_check_labels():
    losses.check_labels(np.array([0, 1], "uint8"), 2)
    losses.check_labels(np.array([False, True]), 1)
    losses.check_labels(np.array([], "uint8"), 2)
    losses.check_labels(np.array([0, 2]), 3)
    with pytest.raises(ValueError, match="between 0 and 1; found values from 0 to 255"):
        losses.check_labels(np.array([0, 255], "uint8"), 2)
    with pytest.raises(ValueError, match="found values from -1"):
        losses.check_labels(np.array([-1, 0]), 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        losses.check_labels(np.array([0, 2]), 1)
    with pytest.raises(ValueError, match="integers.*float32"):
        losses.check_labels(np.array([0.5], "float32"), 2)
