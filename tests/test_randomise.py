"""Wide randomisation: what changes, what may not, and that the same seed draws the same."""

import numpy as np
import pytest

from kenseg_utils import training


@pytest.fixture(scope="module")
def head():
    """A slice in normalised greys: air, a bright scalp, dark bone, brain, and a darker lesion."""
    rows, columns = np.mgrid[:112, :128]
    radius = np.hypot((rows - 56) / 46, (columns - 64) / 56)
    image = np.full((112, 128), -3, np.float32)
    for outer, value in ((1.0, 1.5), (0.92, -2.5), (0.84, 0.0)):
        image[radius < outer] = value
    image[(radius < 0.84) & ((rows // 6 + columns // 6) % 2 == 0)] = 0.8
    mask = (np.hypot(rows - 40, columns - 60) < 9).astype(np.uint8)
    image[mask > 0] = -2
    return image[..., None], mask


def draws(head, count=60):
    return [training.wide(*head, np.random.default_rng(seed)) for seed in range(count)]


def test_what_comes_out_is_a_slice_and_its_mask(head):
    for image, mask in draws(head):
        assert image.shape == head[0].shape and image.dtype == np.float32
        assert np.isfinite(image).all() and np.abs(image).max() <= 5
        assert mask.shape == head[1].shape and set(np.unique(mask)) <= {0, 1}


def test_the_same_seed_draws_the_same_and_others_differ(head):
    first, again = (training.wide(*head, np.random.default_rng(3))[0] for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, training.wide(*head, np.random.default_rng(4))[0], atol=0.1)


def test_the_input_is_left_alone(head):
    before = head[0].copy(), head[1].copy()
    draws(head, 5)
    assert np.array_equal(before[0], head[0]) and np.array_equal(before[1], head[1])


def test_lesions_stay_and_stay_darker_than_the_brain(head):
    """In each draw's pose, a lesion has its usual size and is darker than the brain's median."""
    areas, darker = [], []
    for image, mask in draws(head):
        areas.append(mask.sum() / head[1].sum())
        brain = image[image > image.mean()]
        darker.append(np.median(image[mask > 0]) < np.median(brain))
    assert 0.5 < np.median(areas) < 1.6 and min(areas) > 0.2
    assert np.mean(darker) == 1


def test_ordinary_brain_stays_near_the_normalised_range(head):
    """As after `Intensity`: the median of the brighter half near 0, its spread near 1."""
    medians = [np.median(image[image > image.mean()]) for image, _ in draws(head)]
    assert abs(np.median(medians)) < 0.8 and np.percentile(np.abs(medians), 90) < 2.5


def test_skulls_go_and_lesions_stay(head):
    """Most of the scalp is gone, on average: a hull may be up to four pixels too wide."""
    image, mask = head
    scalp, left = image[..., 0] == 1.5, []
    for seed in range(12):
        stripped = training.strip_skull(image, mask, np.random.default_rng(seed), air=-3.0)
        assert (stripped[mask > 0] == image[mask > 0]).all()
        assert stripped[56, 64] == image[56, 64]
        left.append((stripped[scalp] != -3).mean())
    assert np.mean(left) < 0.25 and min(left) < 0.02


def test_contrast_curves_rise_below_the_median(head):
    image = np.linspace(-3, 3, 200, dtype=np.float32)[:, None, None]
    for seed in range(200):
        curved, zero, spread = training.recolour(image, np.random.default_rng(seed))
        dark = curved[image < 0]
        assert (np.diff(dark) >= -1e-6).all() and np.isfinite(curved).all()
        assert spread > 0 and curved.min() <= zero <= curved.max()


def test_several_channels_move_together(head):
    image = np.concatenate([head[0], head[0] * 0.5], -1)
    moved, _ = training.move(image, head[1], np.random.default_rng(1), air=0.0)
    assert np.allclose(moved[..., 1], moved[..., 0] * 0.5, atol=1e-5)


def test_a_recipe_takes_it_by_name(smoke_crops):
    train = smoke_crops[0]
    recipe = training.Recipe.quick(augment="wide")
    source = training.Batches(train, 4, augment=recipe.augment)
    plain = training.Batches(train, 4)
    (varied, labels), (stored, _) = source.batch(0), plain.batch(0)
    assert varied.shape == stored.shape and labels.dtype == np.int32
    assert not np.allclose(varied, stored, atol=0.1)
    with pytest.raises(ValueError, match="augment"):
        training.Recipe.quick(augment="wild")
