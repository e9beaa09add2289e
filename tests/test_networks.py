"""Every network: its size to the parameter, what its special parts compute, and two backends."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from exercise_networks import SMALL
from keras import layers

from kenseg_utils import networks
from kenseg_utils.networks.deeplab_v3plus import PUBLISHED_RATES, atrous_pyramid, scaled_rates
from kenseg_utils.networks.fcn8s import enlarge
from kenseg_utils.networks.pspnet import AdaptiveAveragePooling
from kenseg_utils.networks.segnet import MaxUnpooling

BACKENDS = ("tensorflow", "jax")


@pytest.fixture(scope="module", autouse=True)
def exercises():
    """A process for each backend, started first and read last: they run beside the other tests."""
    script = Path(__file__).with_name("exercise_networks.py")
    started = {
        backend: subprocess.Popen(
            [sys.executable, str(script)],
            text=True,
            env=os.environ | {"KERAS_BACKEND": backend},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for backend in BACKENDS
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


# --- Sizes ---------------------------------------------------------------------------------------


WIDE = (64, 128, 256, 512, 1024)
PUBLISHED = {  # network, parameters, how it is built
    "U-Net, widths of its article": ("unet", 31_030_658, dict(widths=WIDE)),
    "U-Net of the UNet++ article": ("unet", 7_759_521, dict(classes=1)),
    "wide U-Net of the UNet++ article": (
        "unet",
        9_282_246,
        dict(classes=1, widths=(35, 70, 140, 280, 560)),
    ),
    "UNet++": ("unetpp", 9_041_601, dict(classes=1)),
    "UNet++, two classes": ("unetpp", 9_041_634, {}),
    "UNet++, four heads": ("unetpp", 9_041_832, dict(deep_supervision=True)),
    "ResUNet": ("resunet", 8_231_489, dict(classes=1)),
    "ResUNet, two classes": ("resunet", 8_231_554, {}),
    "ResUNet of X-Net's table": ("resunet", 33_160_257, dict(classes=1, widths=WIDE)),
    "ResUNet of X-Net's table, two classes": ("resunet", 33_160_322, dict(widths=WIDE)),
    "Dense-UNet": ("dense_unet_2d", 49_970_531, dict(classes=3, input_shape=(64, 64, 3))),
    "Dense-UNet, one slice": ("dense_unet_2d", 49_961_058, dict(input_shape=(64, 64, 1))),
    "Dense-UNet without Scale layers": (
        "dense_unet_2d",
        49_741_057,
        dict(classes=1, input_shape=(64, 64, 1), scale=False),
    ),
    "DeepLab v3+": ("deeplab_v3plus", 41_258_213, dict(classes=21, input_shape=(64, 64, 3))),
    "DeepLab v3+, one slice": ("deeplab_v3plus", 41_252_754, {}),
    "PSPNet-50": ("pspnet", 46_634_818, {}),
    "SegNet": ("segnet", 29_458_305, dict(classes=1)),
    "SegNet, three channels": ("segnet", 29_459_457, dict(classes=1, input_shape=(64, 64, 3))),
    "SegNet, two classes": ("segnet", 29_458_882, {}),
    "FCN-8s": ("fcn8s", 134_270_278, {}),
    "FCN-8s, colour": ("fcn8s", 134_489_759, dict(classes=21, input_shape=(64, 64, 3))),
    "D-UNet": ("dunet", 8_640_163, dict(classes=1)),
    "X-Net": ("xnet", 15_117_646, dict(classes=1, input_shape=(224, 192, 1))),
    "X-Net, two classes": ("xnet", 15_117_711, {}),
    "X-Net without its similarity module": ("xnet", 12_719_822, dict(classes=1, similarity=False)),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_parameters_are_the_published_ones(case):
    name, parameters, options = PUBLISHED[case]
    assert networks.sketch(name, **options).count_params() == parameters


LAYOUTS = {  # digests of `layout`, of the networks in SMALL
    "ken_unetpp": "58132ce0bb0f",
    "unetpp": "3a5c557e5421",
    "unet": "b6b821e94e96",
    "resunet": "3e4d0fb9b0c6",
    "deeplab_v3plus": "b8a0061b9c55",
    "dense_unet_2d": "078707038a1b",
    "pspnet": "81a4e4eaec6a",
    "segnet": "83b3b4f52c46",
    "fcn8s": "34d219d14a7a",
    "dunet": "304868f2c933",
    "xnet": "9a9aa08f8a5c",
}


def layout(model):
    """A digest of the layers in their order: name, kind, and the shapes of the weights."""
    lines = [
        f"{layer.name} {type(layer).__name__} {[tuple(weight.shape) for weight in layer.weights]}"
        for layer in model.layers
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def test_options_are_told_with_their_defaults():
    assert networks.options("segnet") == {"width_multiplier": 1.0}
    assert networks.options("ken_unetpp")["ken"] == "concatenate"
    for name in networks.names():
        assert not {"classes", "input_shape"} & set(networks.options(name))


@pytest.mark.parametrize("name", networks.names())
def test_names_of_layers_and_order_of_weights_stay(name):
    """Recorded weights are lists in this order, and drawings and chapters ask for layers by name.

    Whoever changes a network on purpose makes its recorded weights useless: record them anew.
    """
    assert layout(networks.sketch(name, **SMALL[name])) == LAYOUTS[name]


def ken_parameters(widths, block="residual", blocks=2, ken="concatenate", norm=4, classes=2):
    """The Ken-model's parameters from its figure; `norm`: values a channel in normalisation."""

    def node(inputs, filters):
        total = 0
        for c in [inputs] + [filters] * (blocks - 1):
            total += 9 * c * filters + 9 * filters * filters + 2 * norm * filters
            if block != "plain" and c != filters:
                total += c * filters + norm * filters
        return total

    levels, deep = len(widths), widths[-1]
    total = sum(node(above, width) for above, width in zip((1, *widths), widths))
    for j in range(1, levels):
        for i in range(levels - j):
            total += 4 * widths[i + 1] * widths[i] + widths[i]  # 2×2 transposed convolution
            total += node((j + 1) * widths[i], widths[i])
    kernels = 1 + 9 + 25 + 49
    total += {
        None: 0,
        "concatenate": kernels * deep * deep // 4 + norm * deep,
        "full": kernels * deep * deep + 4 * norm * deep + 4 * deep * deep + norm * deep,
    }[ken]
    return total + widths[0] * classes + classes


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(ken="full"),
        dict(ken=None),
        dict(block="plain"),
        dict(block="dilated"),
        dict(blocks_per_node=1, block="plain"),
        dict(normalisation="group"),
        dict(widths=(2, 4, 8, 16, 32, 64)),
        dict(widths=(8, 16, 32, 64, 128, 256)),
        dict(widths=(8, 16, 32, 64, 512), classes=1),
    ],
    ids=str,
)
def test_ken_model_and_its_variants_are_as_large_as_their_figure_says(options):
    widths = options.get("widths", (8, 16, 32, 64, 128))
    model = networks.sketch("ken_unetpp", input_shape=(64, 64, 1), **{**options, "widths": widths})
    assert model.count_params() == ken_parameters(
        widths,
        options.get("block", "residual"),
        options.get("blocks_per_node", 2),
        options.get("ken", "concatenate"),
        2 if options.get("normalisation") == "group" else 4,
        options.get("classes", 2),
    )


def test_published_ken_model_has_the_size_that_its_docstring_says():
    from kenseg_utils.networks.ken_unetpp import ken_unetpp

    widths = (32, 64, 128, 256, 512)
    for ken in ("concatenate", "full"):
        parameters = ken_parameters(widths, ken=ken)
        assert networks.sketch("ken_unetpp", ken=ken).count_params() == parameters
        assert f"{parameters:,}" in ken_unetpp.__doc__


def test_ken_variants_differ_in_what_they_are_named_for():
    def second_convolutions(block):
        model = networks.sketch("ken_unetpp", input_shape=(8, 8, 1), widths=(4, 8), block=block)
        return [layer for layer in model.layers if layer.name.endswith("_second_conv")]

    assert not second_convolutions("plain")
    assert {layer.dilation_rate for layer in second_convolutions("residual")} == {(1, 1)}
    assert {layer.dilation_rate for layer in second_convolutions("dilated")} == {(2, 2)}
    without = networks.sketch("ken_unetpp", input_shape=(8, 8, 1), widths=(4, 8), ken=None)
    assert "bottleneck" not in {layer.name for layer in without.layers}
    group = networks.sketch(
        "ken_unetpp", input_shape=(8, 8, 1), widths=(4, 8), normalisation="group"
    )
    kinds = {type(layer) for layer in group.layers}
    assert layers.GroupNormalization in kinds and layers.BatchNormalization not in kinds


# --- Cost ----------------------------------------------------------------------------------------


def test_multiply_adds_counted_by_hand():
    inputs = keras.Input((8, 6, 3))
    x = layers.Conv2D(5, 3, strides=2, padding="same", name="strided")(inputs)  # 4×3×5
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.SeparableConv2D(7, 3, padding="same", name="separable")(x)
    x = layers.Conv2DTranspose(2, 2, strides=2, name="transposed")(x)  # 8×6×2
    x = layers.Reshape((48, 2))(x)
    x = layers.Dense(4, name="dense")(x)
    x = layers.Dot(axes=2, name="dot")([x, x])  # 48×48
    model = keras.Model(inputs, x)
    found = {row["name"]: row["multiply_adds"] for row in networks.layer_costs(model)}
    expected = dict(
        strided=12 * 5 * 27,
        depthwise=12 * 9 * 5,
        separable=12 * (9 * 5 + 5 * 7),
        transposed=12 * 4 * 7 * 2,
        dense=48 * 2 * 4,
        dot=48 * 48 * 4,
    )
    assert {name: found[name] for name in expected} == expected
    assert networks.multiply_adds(model) == sum(expected.values())


@pytest.mark.parametrize(
    "name, options, billions",
    [
        ("unetpp", dict(classes=1), 7.44),
        ("unet", dict(classes=1), 3.01),
        ("unet", dict(classes=1, widths=WIDE), 12.0),
    ],
)
def test_multiply_adds_at_128_are_those_counted_elsewhere(name, options, billions):
    counted = networks.multiply_adds(networks.sketch(name, **options)) / 1e9
    assert float(f"{counted:.3g}") == billions


# --- Sketches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*networks.names(), *networks.volume_names()])
def test_a_sketch_has_the_layers_and_sizes_of_the_network(name):
    given = SMALL.get(name, dict(input_shape=(8, 8, 8, 1), widths=(2, 4)))
    built, sketched = networks.build(name, **given), networks.sketch(name, **given)
    assert layout(sketched) == layout(built)
    assert sketched.count_params() == built.count_params()
    assert networks.layer_costs(sketched) == networks.layer_costs(built)


def test_a_sketch_is_of_a_function_of_ones_own_too_and_leaves_nothing_behind():
    def own(filters, size=3):
        inputs = keras.Input((8, 8, 1))
        return keras.Model(inputs, layers.Conv2D(filters, size)(inputs), name="own")

    sketched = networks.sketch(own, 4, size=5)
    assert (sketched.name, sketched.count_params()) == ("own", 25 * 4 + 4)
    assert keras.Model(sketched.input, sketched.layers[1].output).count_params() == 104
    with pytest.raises(ZeroDivisionError):
        networks.sketch(lambda: (own(4), 1 / 0))
    with keras.StatelessScope():  # at whose end Keras draws what it has noted to be undrawn
        pass
    assert all(weight._value is None for weight in sketched.weights)
    assert own(4).predict_on_batch(np.zeros((1, 8, 8, 1), "float32")).shape == (1, 6, 6, 4)


def test_a_sketch_that_is_put_to_work_says_what_it_lacks(tmp_path):
    sketched, images = networks.sketch("unet", (8, 8, 1), widths=(4, 4)), np.zeros((1, 8, 8, 1))
    for work in (
        lambda: sketched(images),
        lambda: sketched.predict(images),
        lambda: sketched.fit(images, images),
        lambda: sketched.get_weights(),
        lambda: sketched.save(tmp_path / "unet.keras"),
    ):
        with pytest.raises(ValueError, match="^This unet is a sketch, without weights"):
            work()
    assert not list(tmp_path.iterdir())
    part = keras.Model(sketched.input, sketched.get_layer("x00").output)
    for work in (lambda: part(images), lambda: part.predict(images), part.get_weights):
        with pytest.raises(ValueError, match="This unet is a sketch, without weights"):
            work()


# --- SegNet --------------------------------------------------------------------------------------


def test_unpooling_puts_maxima_back():
    images = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype("float32")
    pooled = layers.MaxPooling2D(2)(images)
    back = np.asarray(MaxUnpooling()([pooled, images]))
    expected = np.zeros_like(images)
    for b, i, j, c in np.ndindex(2, 3, 4, 3):
        window = images[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        row, column = np.unravel_index(window.argmax(), (2, 2))
        expected[b, 2 * i + row, 2 * j + column, c] = window.max()
    np.testing.assert_array_equal(back, expected)
    np.testing.assert_array_equal(layers.MaxPooling2D(2)(np.abs(back)), np.abs(pooled))


def test_unpooling_places_other_values_where_the_maxima_lay_and_each_once():
    even = np.ones((1, 4, 4, 1), "float32")  # everywhere a tie
    values = np.arange(1, 5, dtype="float32").reshape(1, 2, 2, 1)
    back = np.asarray(MaxUnpooling()([values, even]))[0, ..., 0]
    np.testing.assert_array_equal(back[::2, ::2], values[0, ..., 0])
    assert back.sum() == values.sum()


# --- PSPNet --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_pooling_is_the_mean_of_each_part(bins):
    images = np.random.default_rng(1).normal(size=(2, 16, 13, 3)).astype("float32")
    expected = np.empty((2, bins, bins, 3))
    for i, j in np.ndindex(bins, bins):
        rows = slice(int(np.floor(i * 16 / bins)), int(np.ceil((i + 1) * 16 / bins)))
        columns = slice(int(np.floor(j * 13 / bins)), int(np.ceil((j + 1) * 13 / bins)))
        expected[:, i, j] = images[:, rows, columns].astype("float64").mean(axis=(1, 2))
    np.testing.assert_allclose(AdaptiveAveragePooling(bins)(images), expected, atol=1e-6)


# --- DeepLab v3+ ---------------------------------------------------------------------------------


def test_large_dilation_rates_on_a_small_map_are_their_centre_tap():
    """At 12 and 18 all but the middle weight of 3×3 meet padding on 8×8; at 6 some do not."""
    inputs = keras.Input((8, 8, 4))
    atrous_pyramid(inputs, 4, PUBLISHED_RATES, "aspp")
    image = np.random.default_rng(2).normal(size=(1, 8, 8, 4)).astype("float32")
    changed = []
    for rate in PUBLISHED_RATES:
        layer = layers.DepthwiseConv2D(3, padding="same", dilation_rate=rate, use_bias=False)
        full = np.asarray(layer(image))
        kernel = np.asarray(layer.kernel)
        centre = np.zeros_like(kernel)
        centre[1, 1] = kernel[1, 1]
        layer.kernel.assign(centre)
        changed.append(float(np.abs(full - np.asarray(layer(image))).max()))
        if rate > 6:
            np.testing.assert_allclose(full, image * kernel[1, 1, :, 0], atol=1e-6)
    assert changed[0] > 0.01 and changed[1] == changed[2] == 0


def test_dilation_rates_fit_the_map():
    def rates(**options):
        model = networks.sketch("deeplab_v3plus", width_multiplier=0.01, middle_blocks=1, **options)
        return [model.get_layer(f"aspp_rate{k}_depthwise_conv").dilation_rate[0] for k in range(3)]

    assert rates() == [1, 3, 4]
    assert rates(rates=PUBLISHED_RATES) == [6, 12, 18]
    assert scaled_rates(33) == scaled_rates(64) == PUBLISHED_RATES
    with pytest.raises(ValueError, match="three dilation rates.*0"):
        rates(rates=(0, 1, 2))


# --- FCN-8s, D-UNet, X-Net -----------------------------------------------------------------------


def test_fcn_enlarges_as_interpolation_does():
    """A slope stays a slope, away from the border where padding comes in."""
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, enlarge(inputs, 2, "up"))
    slope = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), -1)[None].astype("float32")
    found = model.predict_on_batch(slope)[0, 2:-2, 2:-2]
    finer = np.arange(16) / 2 - 0.25
    expected = np.stack(np.meshgrid(finer, finer), -1)[2:-2, 2:-2]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_dunet_shapes_between_three_dimensions_and_two():
    model = networks.sketch("dunet", input_shape=(192, 192, 4), classes=1)
    shapes = {
        name: model.get_layer(name).output.shape[1:]
        for name in (
            "volume0_1",
            "volume1_1",
            "volume2_1",
            "transform1_depth_as_channels",
            "transform2_depth_as_channels",
            "transform1",
            "transform2",
        )
    }
    assert shapes == {
        "volume0_1": (192, 192, 4, 32),
        "volume1_1": (96, 96, 2, 64),
        "volume2_1": (48, 48, 1, 128),
        "transform1_depth_as_channels": (96, 96, 2),
        "transform2_depth_as_channels": (48, 48, 1),
        "transform1": (96, 96, 64),
        "transform2": (48, 48, 128),
    }


@pytest.mark.parametrize("shape, pixels", [((128, 128, 1), 64), ((224, 192, 1), 168)])
def test_similarity_matrix_has_a_row_and_a_column_a_pixel(shape, pixels):
    model = networks.sketch("xnet", input_shape=shape, width_multiplier=0.07)
    assert model.get_layer("similarity_matrix").output.shape[1:] == (pixels, pixels)


def test_a_network_of_ones_own_is_built_by_its_name(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "mine", networks.NETWORKS["unet"])
    assert networks.names()[-1] == "mine" and "widths" in networks.options("mine")
    assert networks.build("mine", input_shape=(8, 8, 1), widths=(4, 4)).name == "unet"
    with pytest.raises(ValueError, match="Known: ken_unetpp, .*, xnet, mine, unet3d"):
        networks.build("yours")


def test_similarity_is_the_product_of_two_projections():
    keras.utils.set_random_seed(0)  # of some draws single precision keeps fewer digits
    model = networks.build("xnet", input_shape=(32, 32, 1), widths=(4, 16, 64))
    names = ("theta_pixels", "phi_pixels", "g_pixels", "matrix", "gathered")
    parts = keras.Model(model.input, [model.get_layer(f"similarity_{n}").output for n in names])
    image = np.random.default_rng(3).normal(size=(2, 32, 32, 1)).astype("float32")
    theta, phi, g, matrix, gathered = map(np.asarray, parts.predict_on_batch(image))
    # Sums of large terms of either sign: single precision keeps their digits, not the sum's.
    for found, one, other in ((matrix, theta, phi.transpose(0, 2, 1) / 64), (gathered, matrix, g)):
        np.testing.assert_array_less(
            np.abs(found - one @ other), 1e-5 * (np.abs(one) @ np.abs(other)) + 1e-6
        )


# --- UNet++ --------------------------------------------------------------------------------------


def test_pruned_networks_are_the_heads_of_the_full_one():
    widths = (4, 8, 12, 16, 20)
    model = networks.build("unetpp", (32, 32, 1), widths=widths, deep_supervision=True)
    image = np.random.default_rng(4).normal(size=(2, 32, 32, 1)).astype("float32")
    heads = model.predict_on_batch(image)
    sizes = []
    for level, head in enumerate(heads, 1):
        pruned = networks.prune(model, level)
        np.testing.assert_allclose(pruned.predict_on_batch(image), head, atol=1e-6)
        sizes.append((pruned.count_params(), networks.multiply_adds(pruned)))
    assert sizes == sorted(set(sizes)) and len(heads) == 4
    assert np.abs(heads[0] - heads[3]).max() > 1e-3  # or the comparison above would say nothing
    average = networks.average_heads(model)
    np.testing.assert_allclose(average.predict_on_batch(image), np.mean(heads, axis=0), atol=1e-6)
    np.testing.assert_allclose(
        networks.prune(average, 2).predict_on_batch(image), heads[1], atol=1e-6
    )
    assert networks.average_heads(average) is average


def test_pruning_needs_a_head_at_that_level():
    for options, there in ((dict(deep_supervision=True), "head1, head2"), ({}, "none")):
        model = networks.build("unetpp", (8, 8, 1), widths=(4, 4, 4), **options)
        with pytest.raises(ValueError, match=f"level 3; heads of this model: {there}"):
            networks.prune(model, 3)


def test_a_reduced_resunet_is_the_same_network_between_an_average_and_an_enlargement():
    import tensorflow as tf

    widths, rng = (4, 4, 8), np.random.default_rng(0)
    small = networks.build("resunet", (16, 16, 1), widths=widths)
    reduced = networks.build("resunet", (32, 32, 1), widths=widths, reduce=2)
    reduced.set_weights(small.get_weights())
    image = rng.normal(size=(1, 32, 32, 1)).astype("float32")
    averaged = image.reshape(1, 16, 2, 16, 2, 1).mean((2, 4))
    scores = np.log(np.array(small(averaged)))  # softmax forgets a constant, so these serve
    enlarged = np.array(tf.nn.softmax(tf.image.resize(scores, (32, 32), "bilinear")))
    np.testing.assert_allclose(np.array(reduced(image)), enlarged, atol=1e-5)
    with pytest.raises(ValueError, match="multiples of 8 .*got 12 x 32"):
        networks.build("resunet", (12, 32, 1), widths=widths, reduce=2)
    with pytest.raises(ValueError, match="reduce must be 1, 2, 4 or 8; got 3"):
        networks.build("resunet", (32, 32, 1), widths=widths, reduce=3)


def test_a_normalised_fcn8s_has_the_same_convolutions():
    plain = networks.sketch("fcn8s", (32, 32, 1), width_multiplier=0.01)
    normalised = networks.sketch("fcn8s", (32, 32, 1), width_multiplier=0.01, normalisation="batch")
    extra = sum(
        4 * layer.filters
        for layer in plain.layers
        if hasattr(layer, "filters") and layer.name.endswith("_conv")
    )
    assert normalised.count_params() - plain.count_params() == extra > 0


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, multiple",
    [
        ("ken_unetpp", 16),
        ("unetpp", 16),
        ("unet", 16),
        ("resunet", 8),
        ("deeplab_v3plus", 16),
        ("dense_unet_2d", 32),
        ("pspnet", 8),
        ("segnet", 32),
        ("fcn8s", 32),
        ("dunet", 16),
        ("xnet", 16),
    ],
)
def test_sizes_that_do_not_fit_are_told_those_that_do(name, multiple):
    channels = 4 if name == "dunet" else 1
    with pytest.raises(ValueError, match=f"multiples of {multiple} .*got 125 x 128"):
        networks.build(name, (125, 128, channels))


def test_every_network_is_tested_for_size():
    assert {name for name, *_ in PUBLISHED.values()} | {"ken_unetpp"} == set(networks.names())
    assert set(SMALL) == set(networks.names())


@pytest.mark.parametrize(
    "given, told",
    [
        (dict(name="u_net"), "Unknown network 'u_net'. Known: ken_unetpp, unetpp, unet"),
        (dict(name="unet", classes=0), "classes must be.*0"),
        (dict(name="unet", classes=1.5), "classes must be.*1.5"),
        (dict(name="unet", widths=(8,)), "widths needs two levels"),
        (dict(name="unet", widths=(8, -4)), "whole numbers above zero.*-4"),
        (dict(name="unet", widths=(8, 2.5)), "whole numbers above zero.*2.5"),
        (dict(name="unet", width_multiplier=0), "width_multiplier must be above zero; got 0"),
        (dict(name="unet", depth=3), "unet takes no depth. It takes: input_shape, classes, widths"),
        (dict(name="unet", input_shape=(128, 128)), "three whole numbers above zero"),
        (dict(name="segnet", widths=(8, 8)), "segnet takes no widths"),
        (dict(name="unetpp", deep_supervision="list"), "deep_supervision must be.*'list'"),
        (dict(name="dunet", input_shape=(128, 128, 1)), r"\(height, width, 4\)"),
        (dict(name="dunet", widths=(8, 8)), "three widths at least"),
        (dict(name="pspnet", input_shape=(40, 128, 1)), "at least 48; got 40 x 128"),
        (dict(name="dense_unet_2d", blocks=(1, 1)), "four dense blocks"),
        (dict(name="ken_unetpp", block="dense"), "block must be one of plain, residual, dilated"),
        (dict(name="ken_unetpp", ken="half"), "concatenate.*full.*half"),
        (dict(name="ken_unetpp", widths=(4, 6)), "6 is no multiple of 4"),
        (dict(name="ken_unetpp", normalisation="layer"), "normalisation must be.*layer"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_named(given, told):
    with pytest.raises(ValueError, match=told):
        networks.build(**given)


@pytest.mark.parametrize("name", networks.names())
def test_one_class_is_a_sigmoid(name):
    model = networks.sketch(name, classes=1, **SMALL[name])
    last = model.layers[-1]
    assert model.output.shape[-1] == 1
    assert last.name == "probabilities" and (
        isinstance(last, layers.Average) or last.activation is keras.activations.sigmoid
    )


# --- Backends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_network_learns_predicts_and_is_saved_and_loaded(exercises, backend):
    output, errors = exercises[backend].communicate(timeout=600)
    assert exercises[backend].returncode == 0, errors[-3000:]
    report = json.loads(output.splitlines()[-1])
    assert report["backend"] == backend
    assert list(report["results"]) == networks.names()
    for name, found in report["results"].items():
        assert np.isfinite(found["loss"]), name
        # Of so few channels, all that a relu lets through may be zero; more would be a bug.
        assert found["moved"] > 0.9, f"{name}: {1 - found['moved']:.0%} of weights got no gradient"
        assert found["shape"] == [2, *SMALL[name]["input_shape"][:2], 2], name
        assert found["dtype"] == "float32" and found["sum_error"] < 1e-6, name
        assert found["loaded_loss"] == "enhanced_mixing" and found["load_error"] < 1e-6, name
