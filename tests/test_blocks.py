"""The building blocks: what they compute, how far they see, what they weigh."""

import keras
import numpy as np
import pytest

from kenseg_utils import blocks
from kenseg_utils.networks.common import conv_norm_relu


def model_of(block, filters, shape=(15, 15, 4), **options):
    inputs = keras.Input(shape)
    return keras.Model(inputs, block(inputs, filters, "block", **options))


def random_images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def seen_side(model):
    """The side of the square of pixels that the middle pixel of the output depends on."""
    images = random_images(1, *model.input_shape[1:])
    middle = model.input_shape[1] // 2
    changed = []
    for offset in range(middle + 1):
        for change in (10.0, -10.0):  # relu may hide the one, not both
            image = images.copy()
            image[0, middle - offset] += change
            changed.append(image)
    after = np.array(model(np.concatenate([images, *changed])))[:, middle, middle]
    differs = (after[1:] != after[0]).any(axis=-1).reshape(middle + 1, 2).any(axis=1)
    return 2 * int(np.flatnonzero(differs).max()) + 1


@pytest.mark.parametrize(
    "block, options, side",
    [
        (blocks.convolution_block, {}, 5),
        (blocks.residual_block, {}, 5),
        (blocks.dilated_block, {}, 7),
        (blocks.ken_block, {}, 7),
        (blocks.ken_block, {"width": "full"}, 7),
    ],
)
def test_how_far_a_block_sees(block, options, side):
    assert seen_side(model_of(block, 4, normalisation=None, **options)) == side


@pytest.mark.parametrize(
    "block",
    [blocks.convolution_block, blocks.residual_block, blocks.dilated_block, blocks.ken_block],
)
def test_last_layer_of_a_block_bears_its_name(block):
    model = model_of(block, 4)
    assert model.layers[-1].name == "block" and model.get_layer("block").output is model.output
    assert model.output_shape == (None, 15, 15, 4)


def test_parameters_derived_by_hand():
    def norm(channels):
        return 4 * channels  # scale, offset, running mean, running variance

    assert model_of(blocks.convolution_block, 8).count_params() == (
        9 * 4 * 8 + norm(8) + 9 * 8 * 8 + norm(8)
    )
    without_norm = model_of(blocks.convolution_block, 8, normalisation=None).count_params()
    assert without_norm == 9 * 4 * 8 + 8 + 9 * 8 * 8 + 8
    projected = 4 * 8 + norm(8) + 9 * 4 * 8 + norm(8) + 9 * 8 * 8 + norm(8)
    assert model_of(blocks.residual_block, 8).count_params() == projected
    assert model_of(blocks.dilated_block, 8).count_params() == projected
    assert model_of(blocks.residual_block, 4).count_params() == 2 * (9 * 4 * 4 + norm(4))
    taps = 1 + 9 + 25 + 49
    shape = (15, 15, 8)
    assert model_of(blocks.ken_block, 8, shape).count_params() == taps * 8 * 2 + 4 * norm(2)
    assert model_of(blocks.ken_block, 8, shape, width="full").count_params() == (
        taps * 8 * 8 + 4 * norm(8) + 32 * 8 + norm(8)
    )


@pytest.mark.parametrize(
    "block, last",
    [
        (blocks.residual_block, ["block_second_norm"]),
        (blocks.dilated_block, ["block_second_norm"]),
        (blocks.ken_block, [f"block_{size}x{size}_norm" for size in (1, 3, 5, 7)]),
    ],
)
def test_skip_is_the_identity_when_the_branch_is_silent(block, last):
    model = model_of(block, 4)
    for name in last:
        model.get_layer(name).gamma.assign(np.zeros(model.get_layer(name).gamma.shape))
    images = random_images(2, 15, 15, 4)
    np.testing.assert_array_equal(np.array(model(images)), np.maximum(images, 0))


def test_group_normalisation_does_not_depend_on_the_batch():
    model = model_of(blocks.residual_block, 8, normalisation="group")
    images = random_images(3, 15, 15, 4)
    together = np.array(model(images, training=True))
    alone = np.array(model(images[:1], training=True))
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
    batch = model_of(blocks.residual_block, 8, normalisation="batch")
    assert not np.allclose(
        np.array(batch(images, training=True))[:1],
        np.array(batch(images[:1], training=True)),
        atol=1e-3,
    )


@pytest.mark.parametrize("filters", [2, 6, 35])
def test_group_normalisation_takes_any_width(filters):
    assert model_of(blocks.convolution_block, filters, normalisation="group").output_shape[3] == (
        filters
    )


def test_nested_grid_reads_all_nodes_to_its_left():
    inputs = keras.Input((16, 16, 1))
    read = {}

    def node(x, filters, name):
        read[name] = x.shape
        return keras.layers.Conv2D(filters, 1, name=name)(x)

    def bottleneck(x, filters, name):
        read[name] = x.shape
        return keras.layers.Conv2D(filters, 1, name=name)(x)

    grid = blocks.nested_grid(inputs, (3, 5, 7), node, bottleneck)
    assert set(grid) == {(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)}
    assert {name: shape[1:] for name, shape in read.items()} == {
        "x00": (16, 16, 1),
        "x10": (8, 8, 3),
        "x20": (4, 4, 5),
        "bottleneck": (4, 4, 7),
        "x01": (16, 16, 3 + 3),
        "x11": (8, 8, 5 + 5),
        "x02": (16, 16, 3 + 3 + 3),
    }


def test_head_is_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((4, 4, 3))
        softmax = blocks.head(inputs, 2, "softmax")
        sigmoid = blocks.head(inputs, 1, "sigmoid")
        model = keras.Model(inputs, [softmax, sigmoid])
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("softmax_conv").compute_dtype == "bfloat16"
    two, one = (np.array(y) for y in model(random_images(1, 4, 4, 3)))
    assert two.dtype == one.dtype == np.float32
    np.testing.assert_allclose(two.sum(-1), 1, atol=1e-6)
    assert one.shape == (1, 4, 4, 1) and ((one > 0) & (one < 1)).all()


def test_subsampling_first_is_a_strided_pointwise_convolution():
    inputs = keras.Input((8, 10, 3))
    strided = keras.layers.Conv2D(5, 1, strides=2, padding="same", use_bias=True)
    expected = keras.Model(inputs, strided(inputs))
    model = keras.Model(inputs, conv_norm_relu(inputs, 5, 1, "c", strides=2, activation=None))
    model.get_layer("c_conv").set_weights(strided.get_weights())
    images = random_images(2, 8, 10, 3)
    unnormalised = np.array(model(images)) * np.sqrt(1 + 1e-3)  # fresh running mean 0, variance 1
    np.testing.assert_allclose(unnormalised, np.array(expected(images)), atol=1e-5)


def test_bad_input_is_named():
    x = keras.Input((16, 16, 6))
    with pytest.raises(ValueError, match="6 is no multiple of 4"):
        blocks.ken_block(x, 6, "ken")
    with pytest.raises(ValueError, match="'wide'"):
        blocks.ken_block(x, 6, "ken", width="wide")
    with pytest.raises(ValueError, match="'layer'"):
        blocks.convolution(x, 4, "c", normalisation="layer")
    with pytest.raises(ValueError, match="multiples of 16.*124 x 124"):
        blocks.image_input((124, 124, 1), halvings=4)
    for shape in ((128, 128), (128, 128, 0), (None, 128, 1)):
        with pytest.raises(ValueError, match="three whole numbers"):
            blocks.image_input(shape, halvings=4)
    for widths in ((), (32,)):
        with pytest.raises(ValueError, match="two levels at least"):
            blocks.scaled_widths(widths)
    for widths in ((32, 0), (32, -4), (32, 6.5)):
        with pytest.raises(ValueError, match="whole numbers above zero"):
            blocks.scaled_widths(widths)
    for multiplier in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="width_multiplier"):
            blocks.scaled_widths((32, 64), multiplier)


def test_scaled_widths():
    assert blocks.scaled_widths((35, 70)) == (35, 70)
    assert blocks.scaled_widths([32, 64, 728], 0.125) == (4, 8, 92)
    assert blocks.scaled_widths((2, 32), 0.01) == (4, 4)
