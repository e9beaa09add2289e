"""Heads as geometry: where they are, whatever the scanner did; volumes; left and right."""

import nibabel as nib
import numpy as np
import pytest
from heads import SPOILERS, head, noisy, z_scored
from scipy import ndimage

from kenseg_utils import anatomy


@pytest.fixture(scope="module")
def clean():
    return head()[0]


def ends(box):
    """The middle along x and y, and the top, in voxels."""
    return np.array(
        [(box[0].start + box[0].stop) / 2, (box[1].start + box[1].stop) / 2, box[2].stop]
    )


@pytest.mark.parametrize("shape", [(7,), (6, 9), (5, 8, 7)])
@pytest.mark.parametrize("margin", [0, 2])
def test_the_box_around_a_mask_is_the_smallest(shape, margin):
    """All of the mask is in it, its ends touch the mask; a margin ends where the array does."""
    rng = np.random.default_rng(len(shape))
    for _ in range(20):
        mask = np.zeros(shape, bool)
        places = [tuple(rng.integers(0, shape)) for _ in range(rng.integers(1, 4))]
        for place in places:
            mask[place] = True
        low, high = np.min(places, 0) - margin, np.max(places, 0) + 1 + margin
        wanted = [slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, shape)]
        assert list(anatomy.box_around(mask, margin)) == wanted


@pytest.mark.parametrize("shape", [(40, 30, 26), (9, 50, 1), (21, 8, 60), (20, 30, 26)])
def test_resampling_is_scipy_s_of_the_same_extent(shape):
    volume = 1000 * np.random.default_rng(0).random((20, 30, 26)).astype(np.float32)
    expected = ndimage.zoom(
        volume, np.divide(shape, volume.shape), order=1, mode="nearest", grid_mode=True
    )
    found = anatomy.resized(volume, shape)
    assert found.shape == shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("widths", [(0.5, 1, 3), (20, 6, 13), (0.2, 0.3, 2)])
def test_a_blur_is_scipy_s(widths):
    volume = 1000 * np.random.default_rng(0).random((20, 30, 26)).astype(np.float32)
    found = anatomy.blurred(volume, widths)
    assert found.shape == volume.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, ndimage.gaussian_filter(volume, widths), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 7), (20, 30, 26)])
@pytest.mark.parametrize("filled", [0, 0.2, 0.55, 0.65, 0.9, 1])
def test_holes_are_filled_plane_by_plane(shape, filled):
    """As SciPy fills those of each plane: what only the corner of a pixel joins to the outside is
    a hole, and so is what only another plane joins to it."""
    mask = np.random.default_rng(1).random(shape) < filled
    for axis in range(3):
        planes = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(mask, axis, 0)]
        assert np.array_equal(anatomy.planes_filled(mask, axis), np.stack(planes, axis))


def test_the_box_around_nothing_is_the_first_voxel():
    """Empty masks are scored, too: a box of no voxels would have no minimum and no mean."""
    assert anatomy.box_around(np.zeros((4, 5, 6), bool), 3) == (slice(0, 1),) * 3


@pytest.mark.parametrize("name", SPOILERS)
def test_the_head_s_box_stays_where_it_is(clean, name):
    """Within 3 mm, a voxel; half a head's height away it would lose a lesion in the cerebellum."""
    expected = ends(anatomy.head_box(clean))
    assert np.abs(expected * 3 - (118, 136, 223)).max() <= 3
    found = ends(anatomy.head_box(SPOILERS[name](clean)))
    assert np.abs(found - expected).max() <= 1, f"off by {(found - expected) * 3} mm"


# A brain that is darker than its surroundings is no T1w's: only its box is promised.
LIKE_T1W = [name for name in SPOILERS if name != "negated"]


@pytest.mark.parametrize("name", LIKE_T1W)
def test_the_same_slices_show_a_head(clean, name):
    spoilt = SPOILERS[name](clean)
    segment = [set(anatomy.slices_to_segment(image).tolist()) for image in (clean, spoilt)]
    assert len(segment[0] ^ segment[1]) <= 2
    train = [anatomy.slices_to_train_on(image) for image in (clean, spoilt)]
    assert (train[0] != train[1]).sum() <= 2 and 40 < train[0].sum() < 80


@pytest.fixture(scope="module", params=[True, False], ids=["skull", "no skull"])
def at_1_mm(request):
    """A head at 1 mm in a small field of view, as the hull takes it, and its hull."""
    image = head(1.0, middle=(84, 104, 115), extent=(168, 208, 215), skull=request.param)[0]
    return image, anatomy.brain_hull(image)


@pytest.mark.parametrize("name", ["SNR 5", "wrap-around", "z-scored in the head", "spike down"])
def test_the_brain_s_hull_stays_what_it_is(at_1_mm, name):
    image, hull = at_1_mm
    spoilt = anatomy.brain_hull(SPOILERS[name](image))
    assert 1.2e6 < hull.sum() < 4e6
    assert 2 * (hull & spoilt).sum() > 0.9 * (hull.sum() + spoilt.sum())
    assert (hull & ~spoilt).sum() < 0.03 * hull.sum()


def test_shoulders_do_not_move_the_head(clean):
    """They count for the box, and not for the sides of what lies 180 mm below the top."""
    body = np.zeros((*clean.shape[:2], 30), np.float32)
    x, y = np.meshgrid(*(np.arange(n) for n in body.shape[:2]), indexing="ij")
    body[((x - 30) / 26.0) ** 2 + ((y - 38) / 24.0) ** 2 < 1] = 90
    whole = np.concatenate([body, clean], axis=2)
    expected = ends(anatomy.head_box(clean)) + (0, 0, 30)
    assert np.abs(ends(anatomy.head_box(whole)) - expected).max() > 2
    assert np.abs(ends(anatomy.head_box(whole, height=60)) - expected).max() <= 1


def test_where_nothing_stands_out_bright_is_above_the_mean():
    image = np.random.default_rng(0).random((20, 24, 16))
    box = anatomy.head_box(image)
    assert [(part.start, part.stop) for part in box] == [(0, 20), (0, 24), (0, 16)]
    assert anatomy.head_box(np.zeros((5, 6, 7))) == (slice(0, 5), slice(0, 6), slice(0, 7))
    assert len(anatomy.slices_to_segment(np.zeros((5, 6, 7)))) == 0
    assert anatomy.head_depth(np.zeros((5, 6, 7)), (1, 1, 1)) is None


def test_dark_air_and_spikes_touch_nothing_else(clean):
    assert anatomy.with_dark_air(clean) is clean and anatomy.without_spikes(clean) is clean
    scored = z_scored(clean)
    dark = anatomy.with_dark_air(scored)
    assert (dark[clean == 0] < scored.min()).all()
    assert np.array_equal(dark[clean > 0], scored[clean > 0])
    ringing = clean + np.where(clean > 0, 0, np.random.default_rng(0).normal(0, 0.2, clean.shape))
    ringing[[0, -1]] = 0
    assert anatomy.with_dark_air(ringing) is ringing
    for value in (1e9, -1e9):
        spoilt = clean.copy()
        spoilt[7, 8, 9] = value
        cut = anatomy.without_spikes(spoilt)
        assert abs(cut[7, 8, 9]) < 500
        assert np.array_equal(
            np.delete(cut.ravel(), 7),
            np.delete(np.where(np.abs(spoilt) > 1e8, cut, spoilt).ravel(), 7),
        )
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[3, 3, 3] = 1
    assert anatomy.without_spikes(mask) is mask


def test_depth_is_in_mm_from_the_surface(clean):
    depth = anatomy.head_depth(clean, (3, 3, 3))
    assert abs(depth[39, 45, 45] - 78) < 12 and depth[0, 0, 0] == 0
    assert abs(depth[39, 45, 66] - 24) < 9  # 24 mm below the vertex


@pytest.mark.parametrize("step", [(1, 1, 1), (2, 3, 4), (5, 1, 7)])
def test_block_means_are_means(step):
    volume = np.random.default_rng(0).integers(0, 200, (11, 9, 14)).astype(np.uint8)
    means = anatomy.block_means(volume, step)
    padded = np.pad(volume, [(0, -n % s) for n, s in zip(volume.shape, step)], mode="edge")
    for place in np.ndindex(means.shape):
        part = padded[tuple(slice(k * s, (k + 1) * s) for k, s in zip(place, step))]
        assert means[place] == pytest.approx(part.mean(), rel=1e-5)


# --- Sides ---------------------------------------------------------------------------------------


def off_by(plane, middle, yaw, roll):
    """How far a plane lies from a head's own, at most, at places in its brain (mm)."""
    places = np.random.default_rng(0).uniform(-60, 60, (500, 3))
    turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    lean = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    own = (places @ (lean @ turn).T)[:, 0]
    return np.abs(plane.right_of(places + middle) - own).max()


@pytest.mark.parametrize(("yaw", "roll"), [(0, 0), (0.2, 0), (-0.3, 0.15)])
@pytest.mark.parametrize("spoil", ["as it is", "SNR 5", "z-scored in the head", "bright plane"])
def test_the_midline_is_the_head_s_own(yaw, roll, spoil):
    middle = (100.0, 140.0, 130.0)  # away from the field of view's
    image, affine = head(middle=middle, yaw=yaw, roll=roll, lesion=(40, 10, 20, 30))
    plane = anatomy.midline(SPOILERS[spoil](image), affine)
    assert np.linalg.norm(plane.normal) == pytest.approx(1) and plane.normal[0] > 0.9
    assert off_by(plane, np.array(middle), yaw, roll) < 5


def test_a_lesion_in_a_turned_head_lies_on_its_own_side():
    """Its x is left of the head's middle, and it lies right of the head's own plane."""
    image, affine = head(yaw=0.35)
    front_right = np.array([12.0, 60.0, 0.0])
    turned = [
        front_right[0] * np.cos(0.35) - front_right[1] * np.sin(0.35),
        front_right[0] * np.sin(0.35) + front_right[1] * np.cos(0.35),
        0,
    ]
    at = np.rint((np.array(turned) + (118, 136, 135) - 1.5) / 3).astype(int)
    mask = np.zeros(image.shape, np.uint8)
    mask[tuple(slice(k - 1, k + 2) for k in at)] = 1
    assert anatomy.lesion_side(mask, affine, 118.0) == "left"
    assert anatomy.lesion_side(mask, affine, anatomy.midline(image, affine)) == "right"


def test_in_mni_space_x_is_what_parts_the_sides():
    image, affine = head(middle=(90.0, 136.0, 135.0))
    assert anatomy.midline(image, affine, "MNI152NLin2009aSym") == anatomy.MNI_MIDLINE
    own = anatomy.midline(image, affine, "orig")
    assert np.abs(own.right_of([[90, 136, 135], [90, 90, 160]])).max() < 3


def test_without_a_head_the_middle_of_what_is_bright_parts_the_sides():
    image = np.random.default_rng(0).random((20, 12, 8))
    image[15:] += 5
    plane = anatomy.midline(image, np.diag([2.0, 1, 1, 1]))
    assert plane.normal == (1.0, 0.0, 0.0) and 28 <= plane.at <= 38


def test_a_side_is_named_only_where_it_is_known():
    mask = np.zeros((10, 4, 4), np.uint8)
    mask[7:] = 1
    oblique = np.eye(4)
    oblique[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    for midline in (4.5, anatomy.Midline((1.0, 0.0, 0.0), 4.5)):
        assert anatomy.lesion_side(mask, np.eye(4), midline) == "right"
        assert anatomy.lesion_side(mask[::-1], np.eye(4), midline) == "left"
    assert anatomy.lesion_side(mask + 1, np.eye(4), 4.5) == "both"
    assert anatomy.lesion_side(mask, np.eye(4), None) == "unknown"
    assert anatomy.lesion_side(mask * 0, np.eye(4), None) == "none"
    assert anatomy.lesion_side(mask, oblique, 5.5) == "both"


# --- Voxels --------------------------------------------------------------------------------------


def test_a_sheared_voxel_holds_what_its_determinant_says():
    affine = np.diag([1.0, 1, 1, 1])
    affine[1, 2] = np.tan(np.deg2rad(25))
    assert anatomy.voxel_ml(affine) == pytest.approx(0.001)
    assert np.prod(anatomy.spacing(affine)) == pytest.approx(1.1034, abs=1e-4)
    assert anatomy.voxel_ml(nib.affines.from_matvec(np.diag([-2, 1, 3]))) == pytest.approx(0.006)


def test_noise_in_the_test_s_own_heads_is_what_it_says(clean):
    assert noisy(clean, 0.1)[:5, :5].mean() == pytest.approx(12.5, rel=0.1)
