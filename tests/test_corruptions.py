"""Corruptions: what each does to an image, and what it leaves alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kenseg_utils import figures, slices
from kenseg_utils.evaluation import corruptions
from kenseg_utils.evaluation.corruptions import corrupt

STRONG = {
    "noise": 0.2,
    "gain": 1.7,
    "gamma": 1.5,
    "bias field": 0.5,
    "blur": 2,
    "ghosting": 0.8,
    "flip": 1,
}


def head(shape=(40, 48)):
    """A grey disc on black with a dark spot to one side."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = 100.0 * ((rows - 20) ** 2 + (columns - 24) ** 2 < 230)
    image[12:17, 20:26] = 30
    return image.astype(np.float32)


@pytest.mark.parametrize("kind", sorted(corruptions.CORRUPTIONS))
def test_each_keeps_the_shape_and_the_input_and_changes_something(kind):
    for image in (head(), np.stack([head(), 2 * head()], -1)):
        before = image.copy()
        changed = corrupt(image, kind, STRONG[kind], seed=1)
        assert changed.shape == image.shape and changed.dtype == np.float32
        assert np.isfinite(changed).all() and np.array_equal(image, before)
        assert np.abs(changed - image).max() > 5
        assert np.array_equal(changed, corrupt(image, kind, STRONG[kind], seed=1))


@pytest.mark.parametrize("kind", sorted(corruptions.CORRUPTIONS))
def test_no_strength_changes_nothing(kind):
    unchanged = corrupt(head(), kind, corruptions.UNCHANGED.get(kind, 0))
    assert unchanged == pytest.approx(head(), abs=1e-4)


@pytest.mark.parametrize("kind", ["noise", "bias field"])
def test_another_seed_is_another_draw(kind):
    one, other = (corrupt(head(), kind, 0.3, seed) for seed in (1, 2))
    assert np.abs(one - other).max() > 1


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(0.02, 0.3), st.integers(0, 1000))
def test_noise_is_rician(strength, seed):
    """Background of Rayleigh noise: mean s·√(π/2); bright tissue keeps its mean, with SD s."""
    image = np.where(np.arange(60_000) < 20_000, 0.0, 100.0)
    noisy, spread = corruptions.noise(image, strength, seed), 100 * strength
    assert noisy[:20_000].mean() == pytest.approx(spread * np.sqrt(np.pi / 2), rel=0.03)
    assert (noisy >= 0).all()
    expected = np.sqrt(100**2 + spread**2)  # good to second order
    assert noisy[20_000:].mean() == pytest.approx(expected, rel=0.02)
    assert noisy[20_000:].std() == pytest.approx(spread, rel=0.06)


def test_gain_vanishes_in_the_books_normalisation_and_gamma_does_not():
    image = head() * np.random.default_rng(0).uniform(0.3, 1.7, head().shape).astype(np.float32)
    clean = slices.Intensity.of(image).apply(image)
    for strength in (0.1, 3, 250):
        louder = corrupt(image, "gain", strength)
        assert slices.Intensity.of(louder).apply(louder) == pytest.approx(clean, abs=1e-3)
    bent = corrupt(image, "gamma", 2)
    assert np.abs(slices.Intensity.of(bent).apply(bent) - clean).max() > 0.1


def test_gamma_bends_in_the_right_direction_and_keeps_its_ends():
    image = np.linspace(0, 100, 1001)
    darker, brighter = corruptions.gamma(image, 2), corruptions.gamma(image, 0.5)
    assert darker[500] < image[500] < brighter[500]
    top = np.percentile(image, 99.5)
    at_top = int(np.argmin(np.abs(image - top)))
    for bent in (darker, brighter):
        assert bent[0] == 0 and bent[at_top] == pytest.approx(top, rel=1e-3)
        assert (np.diff(bent) >= 0).all()


def test_a_bias_field_is_smooth_and_as_strong_as_told():
    ones = np.ones((50, 60))
    field = corruptions.bias_field(ones, 0.4, seed=3)
    assert (field.min(), field.max()) == (pytest.approx(0.6), pytest.approx(1.4))
    assert np.abs(np.diff(field, axis=0)).max() < 0.1


def test_blur_keeps_what_there_is_and_stays_within_slices():
    stack = np.stack([head(), 0 * head()], -1)
    blurred = corruptions.blur(stack, 2)
    assert (blurred[..., 1] == 0).all()
    assert blurred[..., 0].sum() == pytest.approx(stack[..., 0].sum(), rel=1e-3)
    assert blurred[..., 0].max() <= 100.01


def test_ghosts_appear_where_there_was_nothing_along_one_axis():
    image = np.zeros((32, 64), np.float32)
    image[10:20, 28:36] = 100
    ghosted = corruptions.ghosting(image, 1)
    assert np.abs(ghosted[10:20, 10:18]).max() > 5 > np.abs(ghosted[:8]).max()
    assert ghosted.sum() == pytest.approx(image.sum(), rel=1e-4)  # the mean is kept


def test_a_flip_undoes_itself():
    once = corrupt(head(), "flip", 1)
    assert np.array_equal(once, head()[::-1]) and np.array_equal(corrupt(once, "flip", 1), head())


@pytest.mark.parametrize(
    "kind, strength, message",
    [
        ("noise", -0.1, "strength"),
        ("noise", np.nan, "strength"),
        ("gain", -1, "strength"),
        ("gain", np.inf, "strength"),
        ("gamma", 0, "gamma"),
        ("gamma", np.nan, "gamma"),
        ("bias field", 1, "share"),
        ("blur", -2, "strength"),
        ("ghosting", 1.2, "share"),
        ("flip", 0.5, "flip"),
        ("fog", 1, "noise, gain"),
    ],
)
def test_bad_strengths_and_names_are_refused(kind, strength, message):
    with pytest.raises(ValueError, match=message):
        corrupt(head(), kind, strength)


def test_images_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        corrupt(head() * np.nan, "gain", 2)


def test_an_empty_image_survives():
    for kind, strength in STRONG.items():
        assert (corrupt(np.zeros((8, 8)), kind, strength) == 0).all(), kind


def test_curves_have_a_line_a_method_and_mark_what_is_unchanged():
    table = pd.DataFrame(
        [
            dict(kind=kind, strength=strength, method=method, mean=0.5, low=np.nan, high=np.nan)
            for kind in ("noise", "gain")
            for strength in (0.5, 1, 2)
            for method in ("a", "b")
        ]
    )
    figure = figures.curves_by_strength(table, corruptions.UNCHANGED)
    for axes, kind, place in zip(figure.axes, ("noise", "gain"), (0, 1)):
        assert axes.get_title() == kind and len(axes.lines) == 3
        assert axes.lines[-1].get_xdata()[0] == place
        assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()
