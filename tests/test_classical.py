"""The prior-based methods: exact answers on constructed slices, and properties on any slice."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import filters

from kenseg_utils import classical
from kenseg_utils.classical.brain import disc

SEEDED = [name for name in classical.names() if classical.needs(name) == "seed_point"]
TRAINED = [name for name in classical.names() if classical.needs(name) == "model"]
EVERYWHERE = np.ones((64, 64), bool)


def dice(truth, mask):
    return 2 * np.sum((truth > 0) & (mask > 0)) / (np.sum(truth > 0) + np.sum(mask > 0))


def head(seed, size=96, lesion=True):
    """A slice like a T1w head: bright scalp, dark bone, tissue, ventricle; and a dark lesion."""
    random = np.random.default_rng(seed)
    centre = (size // 2, size // 2)
    image = np.full((size, size), 0.02)
    image[disc(image.shape, centre, 46)] = 1.0
    image[disc(image.shape, centre, 43)] = 0.1
    brain = disc(image.shape, centre, 38)
    image[brain] = 0.7
    image[disc(image.shape, centre, 26)] = 1.0
    image[disc(image.shape, (centre[0], centre[1] - 4), 6)] = 0.3
    mask = np.zeros(image.shape, bool)
    if lesion:
        angle = random.uniform(0, np.pi)
        place = (int(48 + 22 * np.cos(angle)), int(48 + 22 * np.sin(angle)))
        mask = disc(image.shape, place, random.uniform(5, 10)) & brain
        image[mask] = 0.3
    image = ndimage.gaussian_filter(image, 0.7) + random.normal(0, 0.04, image.shape)
    inside = image[brain]
    return ((image - np.median(inside)) / inside.std()).astype(np.float32), mask.astype(np.uint8)


@pytest.fixture(scope="module")
def taught():
    images, masks = zip(*(head(seed) for seed in range(10)), strict=True)
    return {name: classical.fit(name, images, masks, seed=1) for name in TRAINED}


def call(name, image, mask, taught, **options):
    return classical.segment(name, image, classical.click(mask), taught.get(name), **options)


# --- exact answers -------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [3, 6, 15])
@pytest.mark.parametrize("grey", [-2.0, 2.0])
@pytest.mark.parametrize("options", [{}, {"smoothing": 0}])
def test_region_growing_recovers_a_disc_exactly(radius, grey, options):
    truth = disc((64, 64), (30, 33), radius)
    image = np.where(truth, grey, 0.5)
    mask = classical.segment("region_growing", image, (29, 32), brain=EVERYWHERE, **options)
    np.testing.assert_array_equal(mask, truth)


def test_region_growing_leaks_over_a_bridge_and_stops_at_the_brain():
    image = np.ones((64, 64))
    image[10:20, 10:20] = image[10:20, 40:50] = 0
    apart = classical.segment("region_growing", image, (15, 15), brain=EVERYWHERE, smoothing=0)
    assert apart.sum() == 100
    image[15, 20:40] = 0
    joined = classical.segment("region_growing", image, (15, 15), brain=EVERYWHERE, smoothing=0)
    assert joined.sum() == 220
    brain = EVERYWHERE.copy()
    brain[:, 30:35] = False  # beyond it the bridge goes on, but nothing grows around it
    kept = classical.segment("region_growing", image, (15, 15), brain=brain, smoothing=0)
    assert kept.sum() == 110


@pytest.mark.parametrize(("radius", "noise"), [(8, 0.0), (14, 0.0), (14, 0.03)])
def test_edges_and_filling_recover_what_a_ring_encloses(radius, noise):
    hole = disc((64, 64), (31, 33), radius)
    ring = disc((64, 64), (31, 33), radius + 4) & ~hole
    image = np.where(hole, 0.2, np.where(ring, 1.2, 0.7))
    image += np.random.default_rng(0).normal(0, 1, image.shape) * noise
    mask = classical.segment("edge_detection", image, (31, 33), brain=EVERYWHERE, sigma=1)
    # Canny places an edge to within a pixel, so only the outermost pixels may differ.
    assert np.all(mask[disc((64, 64), (31, 33), radius - 1)] == 1)
    assert np.all(mask[~disc((64, 64), (31, 33), radius + 1)] == 0)
    assert dice(hole, mask) > 0.95


def test_an_edge_with_a_gap_is_closed_and_an_open_one_gives_nothing():
    image = np.ones((64, 64))
    image[20:44, 20:44] = 0
    image[30:34, 44:] = 0  # a channel to the slice's rim, as dark as the hole
    settings_ = dict(seed_point=(31, 31), brain=EVERYWHERE, sigma=1)
    opened = classical.segment(
        "edge_detection", image, largest_gap=0, largest_share=0.2, **settings_
    )
    assert opened.sum() == 0
    closed = classical.segment(
        "edge_detection", image, largest_gap=6, largest_share=0.2, **settings_
    )
    assert dice(disc(image.shape, (31, 31), 99) & (image == 0), closed) > 0.8


def energy(labels, lesion_cost, other_cost, right, down):
    return (
        np.where(labels, lesion_cost, other_cost).sum()
        + right[labels[:, 1:] != labels[:, :-1]].sum()
        + down[labels[1:] != labels[:-1]].sum()
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 10, 1000]))
def test_the_cut_has_the_least_energy_of_all_labellings(seed, largest):
    random = np.random.default_rng(seed)
    lesion_cost, other_cost = random.integers(-largest, largest + 1, (2, 3, 3))
    right, down = random.integers(0, largest, (3, 2)), random.integers(0, largest, (2, 3))
    found = classical.minimum_cut(lesion_cost, other_cost, right, down)
    costs = [lesion_cost, other_cost, right, down]
    every = [np.reshape(bits, (3, 3)) for bits in product([False, True], repeat=9)]
    energies = np.array([energy(labels, *costs) for labels in every])
    assert energy(found, *costs) == energies.min()
    # Of the labellings that reach it the smallest is meant, and it lies within all of them.
    for index in np.flatnonzero(energies == energies.min()):
        assert not np.any(found & ~every[index])


def test_a_cut_of_fractions_or_negative_links_is_refused():
    costs = [np.ones((3, 3), int), np.ones((3, 3), int), np.ones((3, 2), int), np.ones((2, 3), int)]
    with pytest.raises(ValueError, match="whole numbers below"):
        classical.minimum_cut(costs[0] * 0.5, *costs[1:])
    with pytest.raises(ValueError, match="link between neighbours is negative"):
        classical.minimum_cut(*costs[:2], -costs[2], costs[3])


def test_the_cut_keeps_its_seeds_and_smoothness_removes_specks():
    truth = disc((64, 64), (32, 32), 9)
    image = np.where(truth, 0.0, 1.0)
    noisy = image + np.random.default_rng(3).normal(0, 0.35, image.shape)
    rough, smooth = (
        classical.segment("graph_cut", noisy, (32, 32), brain=EVERYWHERE, smoothness=smoothness)
        for smoothness in (0, 10)
    )
    assert dice(truth, smooth) > max(0.95, dice(truth, rough))
    border = [np.abs(np.diff(mask.astype(int), axis=0)).sum() for mask in (rough, smooth)]
    assert border[1] < border[0]
    brain = EVERYWHERE.copy()
    brain[:30] = False
    cut = classical.steps("graph_cut", noisy, (32, 32), brain=brain)["minimum cut"]
    assert not cut[:30].any()
    # What the clinician's disc covers is lesion, however bright it is.
    image[disc(image.shape, (32, 32), 5) & ~disc(image.shape, (32, 32), 2)] = 1.0
    covered = disc(image.shape, (32, 32), 5)
    given_ = dict(seed_point=(32, 32), brain=EVERYWHERE, smoothness=0)
    assert not classical.steps("graph_cut", image, radius=2, **given_)["minimum cut"][covered].all()
    assert classical.steps("graph_cut", image, radius=5, **given_)["minimum cut"][covered].all()


@pytest.mark.parametrize("contour", ["chan_vese", "geodesic"])
def test_the_level_set_comes_to_rest_on_a_disc(contour):
    truth = disc((64, 64), (30, 34), 12)
    image = np.where(truth, -1.0, 1.0) + np.random.default_rng(0).normal(0, 0.05, (64, 64))
    given_ = dict(seed_point=(31, 33), brain=EVERYWHERE, contour=contour)
    mask = classical.segment("level_set", image, **given_)
    assert dice(truth, mask) > (0.97 if contour == "chan_vese" else 0.9)
    longer = classical.segment("level_set", image, iterations=400, **given_)
    np.testing.assert_array_equal(mask, longer)
    early = classical.segment("level_set", image, iterations=3, **given_)
    assert 0 < early.sum() < mask.sum()


def test_otsu_is_that_of_the_brain_and_hypointense_counts_deviations():
    image, _ = head(4)
    brain = classical.brain_mask(image)
    level = filters.threshold_otsu(image[brain])
    mask = classical.segment("thresholding", image, rule="otsu", opening=0)
    np.testing.assert_array_equal(mask, brain & (image < level))
    assert level != pytest.approx(filters.threshold_otsu(image), abs=0.05)
    middle = np.median(image[brain])
    deviation = 1.4826 * np.median(np.abs(image[brain] - middle))
    mask = classical.segment("thresholding", image, rule="hypointense", deviations=1.5, opening=0)
    np.testing.assert_array_equal(mask, brain & (image < middle - 1.5 * deviation))


# --- clicks and the brain ------------------------------------------------------------------


def test_a_click_is_the_most_interior_point_of_the_largest_lesion():
    mask = np.zeros((40, 50), np.uint8)
    mask[3:6, 3:40] = 1  # more pixels in a row, but fewer altogether
    mask[20:35, 20:35] = 1
    assert classical.click(mask) == (27, 27)
    mask[20:35, 20:35] = 0
    mask[20:28, 20:28] = 1  # the largest is meant, even where another is thicker
    assert classical.click(mask)[0] == 4
    corner = np.zeros((20, 20))
    corner[:5, :5] = 1
    assert classical.click(corner) == (2, 2)


def test_a_jittered_click_varies_and_stays_in_the_lesion():
    mask = disc((60, 60), (30, 30), 8) & ~disc((60, 60), (30, 36), 5)
    points = [classical.click(mask, jitter=5, seed=seed) for seed in range(40)]
    assert all(mask[point] for point in points)
    assert len(set(points)) > 20
    assert classical.click(mask, jitter=5, seed=7) == points[7]


def test_the_brain_is_found_inside_skull_and_scalp():
    image, _ = head(2)
    truth = disc(image.shape, (48, 48), 38)
    assert dice(truth, classical.brain_mask(image)) > 0.95
    thick_scalp = disc(image.shape, (48, 48), 47) & ~disc(image.shape, (48, 48), 38)
    brain = disc(image.shape, (48, 48), 34)
    assert dice(brain, classical.brain_mask(np.where(brain | thick_scalp, 1.0, 0.0))) > 0.95
    # Zeros around a crop are the grey of tissue after normalisation, and still no brain.
    padded = np.pad(image[:, :60], 6)
    assert not classical.brain_mask(padded)[:6].any()
    assert not classical.brain_mask(padded)[:, -6:].any()


# --- trained methods -----------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINED)
def test_trained_methods_beat_chance_on_slices_never_seen(name, taught):
    scores, chance = [], []
    for seed in range(100, 106):
        image, mask = head(seed)
        found = classical.segment(name, image, model=taught[name])
        scores.append(dice(mask, found))
        # The same number of pixels, thrown anywhere into the brain, over and over.
        brain = classical.brain_mask(image)
        random = np.random.default_rng(seed)
        chance += [dice(mask[brain], random.permutation(found[brain])) for _ in range(20)]
    assert np.mean(scores) > 0.6
    assert min(scores) > np.max(chance)


@pytest.mark.parametrize("name", TRAINED)
def test_fitting_is_deterministic_and_reads_nothing_but_its_slices(name, taught):
    images, masks = zip(*(head(seed) for seed in range(10)), strict=True)
    again = classical.fit(name, [image.copy() for image in images], masks, seed=1)
    other = classical.fit(name, images, masks, seed=2)
    unseen, truth = head(200)
    first = classical.steps(name, unseen, model=taught[name])["score"]
    np.testing.assert_array_equal(first, classical.steps(name, unseen, model=again)["score"])
    assert np.any(first != classical.steps(name, unseen, model=other)["score"])
    assert again.threshold == taught[name].threshold
    # With the labels turned around it learns the reverse: so the labels are what it learned from.
    turned = classical.fit(
        name,
        images[:8],
        [classical.brain_mask(i) & (m == 0) for i, m in zip(images[:8], masks, strict=False)],
    )
    reverse = classical.steps(name, unseen, model=turned)["score"]
    brain = classical.brain_mask(unseen)
    inside, outside = truth > 0, brain & (truth == 0)
    assert first[inside].mean() > first[outside].mean()
    assert reverse[inside].mean() < reverse[outside].mean()


def test_the_threshold_comes_from_subjects_held_back(taught):
    images, masks = zip(*(head(seed) for seed in range(10)), strict=True)
    model = taught["random_forest"]
    assert model.training_slices == 8
    # Another lesion in the last fifth moves the threshold and leaves the trees as they are.
    wide = list(masks[:8]) + [ndimage.binary_dilation(mask, iterations=4) for mask in masks[8:]]
    moved = classical.fit("random_forest", images, wide, seed=1)
    unseen, _ = head(300)
    np.testing.assert_array_equal(
        classical.steps("random_forest", unseen, model=model)["score"],
        classical.steps("random_forest", unseen, model=moved)["score"],
    )
    assert moved.threshold < model.threshold
    # Of three subjects the last is held back whole, wherever its slices stand.
    whose = ["a", "b", "c", "a", "b", "c", "a", "b", "c", "c"]
    assert classical.fit("svm", images, masks, subjects=whose).training_slices == 6
    assert classical.fit("svm", images, masks, subjects=["a"] * 5 + ["b"] * 5).training_slices == 10


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ([], [], "0 slices"),
        ([np.eye(20)], [], "1 slices, 0 masks and 1 subjects"),
        ([np.eye(20)], [np.zeros((20, 21))], r"slice 0 is \(20, 20\) and its mask \(20, 21\)"),
        ([np.eye(20)], [np.full((20, 20), 2)], r"other labels than 0 and 1: \[2\]"),
        ([np.eye(20)], [np.zeros((20, 20))], "no lesion pixels"),
        ([np.where(np.eye(20) > 0, np.nan, 1)], [np.eye(20)], "Training slice 0: .* 20 values"),
        ([np.ones((20, 20))], [np.ones((20, 20))], "Every training slice is constant"),
    ],
)
def test_bad_training_data_is_refused(images, masks, message):
    with pytest.raises(ValueError, match=message):
        classical.fit("svm", images, masks)


def test_only_trained_methods_are_fitted():
    with pytest.raises(ValueError, match="'graph_cut' is not trained: choose 'svm' or 'random"):
        classical.fit("graph_cut", [np.eye(20)], [np.eye(20)])
    with pytest.raises(ValueError, match="1 slices, 1 masks and 2 subjects"):
        classical.fit("svm", [np.eye(20)], [np.eye(20)], subjects=[1, 2])
    with pytest.raises(ValueError, match="pixels_per_slice is 0"):
        classical.fit("svm", [np.eye(20)], [np.eye(20)], pixels_per_slice=0)


# --- all seven -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", classical.names())
def test_each_method_finds_a_plain_lesion_and_repeats_itself(name, taught):
    image, mask = head(101)
    before = image.copy()
    found = call(name, image, mask, taught)
    np.testing.assert_array_equal(found, call(name, image, mask, taught))
    np.testing.assert_array_equal(image, before)
    assert found.dtype == np.uint8 and found.shape == image.shape
    assert found[mask > 0].mean() > 0.6
    # Otsu's two classes are grey and white matter here, with the lesion in the darker one.
    assert (dice(mask, found) < 0.3) if name == "thresholding" else (dice(mask, found) > 0.6)


@pytest.mark.parametrize("name", classical.names())
def test_the_steps_are_pictures_and_end_in_the_mask(name, taught):
    image, mask = head(102)
    click, model = classical.click(mask), taught.get(name)
    steps = classical.steps(name, image, click, model)
    assert list(steps)[0] == "image" and list(steps)[-1] == "mask" and len(steps) >= 4
    for step in steps.values():
        assert step.shape == image.shape and np.isfinite(step).all()
    np.testing.assert_array_equal(steps["mask"], classical.segment(name, image, click, model))


def slices(draw):
    """Any small slice: few values with much padding, or many values of any size."""
    shape = draw(st.tuples(st.integers(4, 24), st.integers(4, 24)))
    few, many = st.integers(0, 3), st.floats(-1e4, 1e4, width=16)
    values = draw(hnp.arrays(np.float32, shape, elements=draw(st.sampled_from([few, many]))))
    values = values * draw(st.sampled_from([1e-9, 1, 1e6]))
    return values.astype(draw(st.sampled_from([np.float32, np.float64, np.int64, np.bool_])))


@pytest.mark.parametrize("name", classical.names())
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_slice_gives_a_mask_of_its_shape_or_a_clear_error(name, taught, data):
    image = slices(data.draw)
    point = (
        data.draw(st.integers(0, image.shape[0] - 1)),
        data.draw(st.integers(0, image.shape[1] - 1)),
    )
    told, steps = "", {}
    try:
        steps = classical.steps(name, image, point, taught.get(name))
    except ValueError as error:
        told = str(error)
    if told:
        reasons = ("constant", "padding") if name in SEEDED else ("constant",)
        assert any(reason in told for reason in reasons)
        return
    assert steps["mask"].shape == image.shape and steps["mask"].dtype == np.uint8
    assert set(np.unique(steps["mask"])) <= {0, 1}
    assert all(np.isfinite(step).all() for step in steps.values())


@pytest.mark.parametrize("name", [name for name in classical.names() if name not in TRAINED])
def test_gain_and_offset_of_the_scanner_change_nothing_where_no_training_was(name):
    image, mask = head(103)
    image = np.round(image * 64) / 64  # so that the scaled slice is exact
    point = classical.click(mask)
    brain = classical.brain_mask(image)
    first = classical.segment(name, image, point, brain=brain)
    second = classical.segment(name, 4 * image + 8, point, brain=brain)
    assert dice(first, second) > 0.99


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((30, 30)), "constant: every pixel is 0"),
        (np.full((30, 30), 7.5), "constant: every pixel is 7.5"),
        (np.zeros((0, 30)), r"empty: its shape is \(0, 30\)"),
        (np.eye(3), "3×3 pixels: at least 4×4"),
        (np.eye(30) * 1e300, r"from 0 to 1e\+300: normalise"),
        (np.where(np.eye(30) > 0, np.nan, 1), "30 values that are NaN"),
        (np.where(np.eye(30) > 0, np.inf, 1), "30 values that are NaN or infinite"),
        (np.ones((30, 30, 1)), r"shape \(30, 30, 1\): pass image\[..., 0\]"),
        (np.array([["a", "b"]]), "must be real numbers"),
        (np.eye(30) * 1j, "must be real numbers"),
    ],
)
@pytest.mark.parametrize("name", classical.names())
def test_slices_that_cannot_be_used_are_refused(name, image, message, taught):
    with pytest.raises(ValueError, match=message):
        classical.segment(name, image, (3, 3), taught.get(name))


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize(
    ("point", "message"),
    [
        (None, "needs? .*|got none"),
        ((96, 3), r"\(96, 3\) lies outside the slice of 96×96"),
        ((3, -1), r"\(3, -1\) lies outside"),
        ((3, 4, 5), "seed point is"),
        ((3.5, 4), "whole pixels"),
        ((np.nan, 4), "whole pixels"),
        ("here", "seed point is 'here'"),
    ],
)
def test_clicks_that_cannot_be_used_are_refused(name, point, message):
    with pytest.raises(ValueError, match=message):
        classical.segment(name, head(1)[0], point)


def test_a_click_on_padding_or_outside_a_given_brain_is_refused():
    image = np.pad(head(1)[0], 4)
    with pytest.raises(ValueError, match=r"\(1, 50\) lies in the slice's padding"):
        classical.segment("graph_cut", image, (1, 50))
    with pytest.raises(ValueError, match="outside the brain mask"):
        classical.segment("level_set", image, (1, 50), brain=image > 0)
    with pytest.raises(ValueError, match="must have the slice's shape"):
        classical.segment("level_set", image, (50, 50), brain=EVERYWHERE)


def test_unknown_names_and_options_are_named():
    image, mask = head(1)
    with pytest.raises(ValueError, match="'watershed': choose one of thresholding, region_growing"):
        classical.segment("watershed", image)
    with pytest.raises(ValueError, match="graph_cut has no option 'lambda_': .* smoothness, radi"):
        classical.segment("graph_cut", image, classical.click(mask), lambda_=3)
    with pytest.raises(ValueError, match="Unknown prior-based method None"):
        classical.needs(None)
    assert classical.names() == [
        "thresholding",
        "region_growing",
        "edge_detection",
        "graph_cut",
        "level_set",
        "svm",
        "random_forest",
    ]


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("thresholding", "rule", "li"),
        ("thresholding", "deviations", -1),
        ("region_growing", "tolerance", -0.1),
        ("region_growing", "smoothing", np.nan),
        ("edge_detection", "weak", 0.95),
        ("edge_detection", "sigma", "wide"),
        ("graph_cut", "smoothness", -2),
        ("level_set", "contour", "snake"),
        ("level_set", "iterations", 0),
        ("level_set", "smoothing", 1.5),
        ("level_set", "radius", None),
        ("graph_cut", "smoothness", 2000),
        ("thresholding", "opening", 0.5),
        ("edge_detection", "largest_gap", -3),
        ("edge_detection", "strong", np.inf),
    ],
)
def test_options_out_of_range_are_named_with_their_value(name, option, value):
    image, mask = head(1)
    with pytest.raises(ValueError, match=f"{option} is .*{value}"):
        classical.segment(name, image, classical.click(mask), **{option: value})


def test_a_trained_method_asks_for_its_own_model(taught):
    image, _ = head(1)
    with pytest.raises(ValueError, match=r"got no model: .* classical.fit\('svm', images, masks"):
        classical.segment("svm", image)
    with pytest.raises(ValueError, match="svm got a model of random_forest"):
        classical.segment("svm", image, model=taught["random_forest"])
    with pytest.raises(ValueError, match="svm got <class 'str'>"):
        classical.segment("svm", image, model="svm.pkl")


@pytest.mark.parametrize("name", classical.names())
def test_a_stack_may_hold_empty_slices(name, taught):
    (image, mask), (healthy, _) = head(5), head(6, lesion=False)
    stack = np.stack([np.zeros_like(image), image, healthy])
    points = [None, classical.click(mask), None]
    masks = classical.segment_slices(name, stack, points, taught.get(name))
    assert masks.shape == stack.shape and masks.dtype == np.uint8 and masks[0].sum() == 0
    np.testing.assert_array_equal(masks[1], call(name, image, mask, taught))
    assert name not in SEEDED or masks[2].sum() == 0
    stack[2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="Slice 2: .*1 values that are NaN"):
        classical.segment_slices(name, stack, [None, points[1], points[1]], taught.get(name))


def test_a_stack_needs_a_click_for_each_slice():
    with pytest.raises(ValueError, match="3 clicks"):
        classical.segment_slices("graph_cut", np.zeros((3, 9, 9)), [(1, 1)])
    with pytest.raises(ValueError, match=r"stack of slices \(n, H, W\)"):
        classical.segment_slices("thresholding", np.zeros((9, 9)))


@pytest.mark.parametrize("mask", [np.zeros((9, 9)), np.ones((9, 9, 9))])
def test_a_click_needs_a_lesion_in_one_slice(mask):
    with pytest.raises(ValueError, match="no lesion to click|made on one slice"):
        classical.click(mask)
    with pytest.raises(ValueError, match="jitter is -1, and it must be"):
        classical.click(np.ones((9, 9)), jitter=-1)
