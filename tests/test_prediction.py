"""Whole volumes: any orientation and spacing in, the same grid out."""

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations

from kenseg_utils import networks, prediction


@pytest.fixture(scope="module")
def model():
    return networks.build("ken_unetpp", widths=(4, 8), blocks_per_node=1)


@pytest.fixture(scope="module")
def head():
    """A small volume of smooth noise in RAS, 1 mm."""
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(np.random.default_rng(0).random((30, 37, 12)), 1).astype(np.float32)
    return nib.Nifti1Image(image * 1000, np.diag([1.0, 1, 1, 1]))


@pytest.mark.parametrize("code", ["LPS", "SAR", "AIR", "PLI"])
def test_the_answer_does_not_depend_on_how_the_scan_is_stored(model, head, code):
    expected = prediction.lesion_probability(model, head.get_fdata(), head.affine)
    change = orientations.ornt_transform(orientations.io_orientation(head.affine),
                                         orientations.axcodes2ornt(code))
    turned = head.as_reoriented(change)
    found = prediction.lesion_probability(model, turned.get_fdata(), turned.affine)
    assert found.shape == turned.shape
    assert np.abs(found - orientations.apply_orientation(expected, change)).max() < 1e-5


def test_gain_and_offset_of_the_scanner_do_not_matter(model, head):
    image = head.get_fdata()
    first = prediction.lesion_probability(model, image, head.affine)
    second = prediction.lesion_probability(model, image * 3 + 50, head.affine)
    assert np.abs(first - second).max() < 0.02


def test_other_spacing_comes_back_on_its_own_grid(model, head):
    affine = np.diag([0.7, 1.4, 2.0, 1.0])
    mask = prediction.segment_volume(model, head.get_fdata(), affine)
    assert mask.shape == head.shape and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1}


def test_a_slice_s_answer_lies_where_the_slice_lies(head):
    """A stand-in network that answers with the brightness of its input."""
    import keras

    inputs = keras.Input((16, 16, 1))
    bright = keras.layers.Rescaling(1.0)(inputs)
    double = keras.Model(inputs, keras.layers.Concatenate()([-bright, bright]))
    image = head.get_fdata().copy()
    image[20, 5, 7] = 1e6
    found = prediction.lesion_probability(double, image, head.affine)
    assert np.unravel_index(found.argmax(), found.shape) == (20, 5, 7)


def test_four_channels_get_the_neighbouring_slices(head):
    import keras

    inputs = keras.Input((16, 16, 4))
    below = keras.layers.Conv2D(2, 1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(inputs, below(inputs))
    kernel = np.zeros((1, 1, 4, 2), np.float32)
    kernel[0, 0, 1, 1] = 1  # offset -1: the slice below
    below.set_weights([kernel])
    image = np.zeros((20, 20, 10))
    image[5:15, 5:15, :] = 100
    image[8, 9, 4] = 1e6
    found = prediction.lesion_probability(model, image, np.eye(4))
    assert np.unravel_index(found.argmax(), found.shape) == (8, 9, 5)


@pytest.mark.parametrize(("image", "affine", "told"), [
    (np.zeros((5, 5)), np.eye(4), "volume"),
    (np.zeros((5, 5, 5)), np.eye(3), "volume"),
    (np.full((5, 5, 5), np.nan), np.eye(4), "not finite")])
def test_bad_volumes(model, image, affine, told):
    with pytest.raises(ValueError, match=told):
        prediction.segment_volume(model, image, affine)
