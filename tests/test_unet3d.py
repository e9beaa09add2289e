"""The 3-D network: its size, its shape, and that it stays apart from the paper's networks."""

import random

import keras
import numpy as np
import pytest
from test_networks import layout

from kenseg_utils import networks, training

SMALL = dict(input_shape=(16, 16, 8, 1), widths=(4, 8, 8))


@pytest.fixture(scope="module")
def small():
    random.seed(1)  # of which Keras draws: a fixture of a file is made before `drawn_alike`
    return networks.build("unet3d", **SMALL)


@pytest.fixture(scope="module")
def volumes():
    return np.random.default_rng(0).normal(size=(2, 16, 16, 8, 1)).astype(np.float32)


def test_a_whole_head_and_its_size():
    model = networks.build("unet3d")
    assert model.input_shape == model.output_shape == (None, 96, 112, 96, 1)
    assert model.count_params() == 1_939_905 < 2e6
    assert 50e9 < networks.multiply_adds(model) < 60e9


def test_names_of_layers_and_order_of_weights_stay(small):
    """Whoever changes it on purpose makes its recorded weights useless: record them anew."""
    assert layout(small) == "bd6e7b892e2e"
    assert {"x00", "x20", "x11", "x02", "up02", "join11"} <= {layer.name for layer in small.layers}


def test_at_half_the_resolution_it_takes_an_eighth_of_the_work(small):
    half = networks.build("unet3d", reduce=2, **SMALL)
    assert half.output_shape == small.output_shape
    assert half.get_layer("x00").output.shape[1:4] == (8, 8, 4)
    assert networks.multiply_adds(half) < networks.multiply_adds(small) / 5
    assert layout(half) == "f370bb31f9c7"


def test_a_volume_s_answer_does_not_depend_on_its_batch(small, volumes):
    both, one = small.predict_on_batch(volumes), small.predict_on_batch(volumes[1:])
    assert np.abs(both[1] - one[0]).max() < 1e-5
    assert both.dtype == np.float32 and (both > 0).all() and (both < 1).all()


def test_neighbours_decide_along_all_three_axes(small, volumes):
    changed = volumes[:1].copy()
    changed[0, 8, 8, 4] += 5
    moved = np.abs(small.predict_on_batch(changed) - small.predict_on_batch(volumes[:1]))[0, ..., 0]
    for axis in range(3):
        along = np.take(np.moveaxis(moved, axis, 0), (0, -1), 0)
        assert along.max() > 0


def test_normalisation_is_computed_in_float32_whatever_the_precision(small, volumes):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = networks.build("unet3d", **SMALL)
    finally:
        keras.config.set_dtype_policy(previous)
    norms = [one for one in half.layers if isinstance(one, keras.layers.GroupNormalization)]
    assert norms and {one.compute_dtype for one in norms} == {"float32"}
    assert half.get_layer("x00_add_conv").compute_dtype == "bfloat16"
    half.set_weights(small.get_weights())
    far = volumes * 0.01 + 20  # a mean that bfloat16 would round
    gap = half.predict_on_batch(volumes) - small.predict_on_batch(volumes)
    # What is left is the rounding of the convolutions: 0.02 here, 0.02 to 0.05 of six draws.
    assert np.abs(gap).max() < 0.03 and np.isfinite(half.predict_on_batch(far)).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(input_shape=(16, 16, 1)), "x, y, z, channels"),
        (dict(input_shape=(20, 16, 6, 1)), "multiple of 4"),
        (dict(normalisation="instance"), "batch"),
        (dict(blocks=3), "takes no blocks"),
        (dict(reduce=3), "1 or 2"),
        (dict(reduce=2, input_shape=(16, 16, 4, 1)), "multiple of 8"),
    ],
)
def test_what_does_not_fit_is_refused(options, told):
    with pytest.raises(ValueError, match=told):
        networks.build("unet3d", **(SMALL | options))


def test_it_is_no_member_of_the_paper_s_line_up():
    assert "unet3d" not in networks.names() and networks.volume_names() == ["unet3d"]
    recipe = training.Recipe.quick(network="unet3d", widths=(4, 8), options=dict(classes=1))
    assert training.build(recipe, (8, 8, 8, 1)).output_shape == (None, 8, 8, 8, 1)


def test_a_slice_network_takes_five_neighbouring_slices():
    """2.5-D is a matter of channels: any network for slices takes them."""
    model = networks.build("unet", input_shape=(32, 32, 5), widths=(4, 8), classes=1)
    assert model.output_shape == (None, 32, 32, 1)
