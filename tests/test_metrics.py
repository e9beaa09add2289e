"""Every score against a reference written plainly here: loops over voxels, no shared code."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, precision_recall_curve

from kenseg_utils import metrics

HUNDREDS = settings(max_examples=300, deadline=None, derandomize=True)
VOXEL_TOLERANCE = dict(rel=0, abs=1e-6)
DISTANCE_TOLERANCE = dict(rel=0, abs=1e-3)


# --- random masks -------------------------------------------------------------------------------


@st.composite
def masks(draw, shape):
    kind = draw(st.sampled_from(["empty", "full", "one voxel", "speckle", "boxes", "boxes"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = np.zeros(shape, bool)
    if kind == "full":
        mask[:] = True
    elif kind == "one voxel":
        mask[tuple(random.integers(0, shape))] = True
    elif kind == "speckle":
        mask = random.random(shape) < random.choice([0.05, 0.2, 0.5, 0.8])
    elif kind == "boxes":
        for _ in range(random.integers(1, 5)):
            low = random.integers(0, shape)
            high = low + random.integers(1, 5, len(shape))
            mask[tuple(map(slice, low, high))] = True
    return mask


@st.composite
def mask_pairs(draw, axes=(2, 3)):
    dimensions = draw(st.sampled_from(axes))
    shape = tuple(draw(st.integers(1, 8)) for _ in range(dimensions))
    truth = draw(masks(shape))
    relation = draw(st.sampled_from(["free", "noisy", "shifted", "same"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if relation == "free":
        prediction = draw(masks(shape))
    elif relation == "noisy":
        prediction = truth ^ (random.random(shape) < 0.1)
    elif relation == "shifted":
        prediction = np.roll(truth, 1, axis=random.integers(dimensions))
    else:
        prediction = truth.copy()
    kind = draw(st.sampled_from([bool, np.uint8, np.int64, np.float32, np.float64]))
    order = draw(st.sampled_from("CF"))
    return truth.astype(kind, order=order), prediction.astype(kind, order=order)


spacings = st.tuples(*[st.floats(0.2, 6.0)] * 3)


# --- references ---------------------------------------------------------------------------------


def plain_counts(truth, prediction):
    tp = fp = fn = tn = 0
    for true, called in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if true and called:
            tp += 1
        elif called:
            fp += 1
        elif true:
            fn += 1
        else:
            tn += 1
    return tp, fp, fn, tn


def plain_lesions(mask, corners):
    """Lesions as sets of voxels, by flooding from each voxel in the order of the array."""
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=mask.ndim)
        if any(step) and (corners or sum(map(abs, step)) == 1)
    ]
    left = set(map(tuple, np.argwhere(mask).tolist()))
    lesions = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        lesion, front = {start}, [start]
        while front:
            voxel = front.pop()
            for step in steps:
                other = tuple(a + b for a, b in zip(voxel, step, strict=True))
                if other in left:
                    left.remove(other)
                    lesion.add(other)
                    front.append(other)
        lesions.append(lesion)
    return lesions


def plain_lenient_f1(truth, prediction, corners=False):
    truths, predictions = plain_lesions(truth, corners), plain_lesions(prediction, corners)
    tp = sum(any(lesion & other for other in predictions) for lesion in truths)
    fn = len(truths) - tp
    fp = sum(not any(lesion & other for other in truths) for lesion in predictions)
    return 1.0 if tp + fn + fp == 0 else tp / (tp + (fp + fn) / 2)


def plain_pairs(truths, predictions):
    return sorted(
        (
            (-len(t & p) / len(t | p), i, j)
            for i, t in enumerate(truths)
            for j, p in enumerate(predictions)
            if len(t & p) / len(t | p) >= 0.25
        )
    )


def plain_strict_f1(truth, prediction, corners=True):
    truths, predictions = plain_lesions(truth, corners), plain_lesions(prediction, corners)
    taken_truth, taken_prediction = set(), set()
    for _, i, j in plain_pairs(truths, predictions):
        if i not in taken_truth and j not in taken_prediction:
            taken_truth.add(i)
            taken_prediction.add(j)
    tp, lesions = len(taken_truth), len(truths) + len(predictions)
    return 1.0 if lesions == 0 else tp / (tp + (lesions - 2 * tp) / 2)


def plain_surface(mask):
    filled = set(map(tuple, np.argwhere(mask).tolist()))
    surface = []
    for voxel in sorted(filled):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            neighbour = list(voxel)
            neighbour[axis] += step
            if tuple(neighbour) not in filled:
                surface.append(voxel)
                break
    return surface


def plain_distances(truth, prediction, spacing):
    """All surface distances in mm, both ways; None where a mask has no surface."""
    surfaces = [np.array(plain_surface(mask), float) for mask in (truth, prediction)]
    if not all(map(len, surfaces)):
        return None
    apart = (surfaces[0][:, None] - surfaces[1][None]) * np.array(spacing)
    apart = np.sqrt((apart**2).sum(axis=2))
    return apart.min(axis=1), apart.min(axis=0)


def plain_percentile(values, share):
    """Linear between the two nearest ranks."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


# --- voxels -------------------------------------------------------------------------------------


@HUNDREDS
@given(mask_pairs(axes=(1, 2, 3)))
def test_voxel_scores_agree_with_plain_counting(pair):
    tp, fp, fn, tn = plain_counts(*pair)
    counts = metrics.count(*pair)
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (tp, fp, fn, tn)
    nothing = tp + fp + fn == 0
    expected = {
        "dice": 1 if nothing else 2 * tp / (2 * tp + fp + fn),
        "iou": 1 if nothing else tp / (tp + fp + fn),
        "precision": 1 if nothing else tp / (tp + fp) if tp + fp else 0,
        "recall": 1 if nothing else tp / (tp + fn) if tp + fn else 0,
    }
    for name, value in expected.items():
        assert getattr(metrics, name)(*pair) == pytest.approx(value, **VOXEL_TOLERANCE), name
    assert metrics.paper_dice(*pair) == pytest.approx(expected["dice"] / 2, **VOXEL_TOLERANCE)
    prose = metrics.paper_prose_dice(*pair)
    product = (tp + fn) * (tp + fp)
    if product:
        assert prose == pytest.approx(tp / product, **VOXEL_TOLERANCE)
    else:
        assert math.isnan(prose)
    assert metrics.volume_difference_voxels(*pair) == abs((tp + fp) - (tp + fn))
    spacing = [0.9, 1.1, 2.5][: pair[0].ndim]
    assert metrics.volume_difference_ml(*pair, spacing) == pytest.approx(
        abs(fp - fn) * math.prod(spacing) / 1000, **VOXEL_TOLERANCE
    )


@pytest.mark.parametrize("empty", [0.0, 1.0, 0.25, math.nan])
def test_two_empty_masks_score_what_is_asked_for(empty):
    nothing = np.zeros((4, 5), np.uint8)
    something = nothing.copy()
    something[1, 2] = 1
    for score in (
        metrics.dice,
        metrics.iou,
        metrics.precision,
        metrics.recall,
        metrics.paper_dice,
        metrics.f1_atlas22,
        metrics.f1_isles26,
    ):
        assert score(nothing, nothing, empty=empty) == pytest.approx(empty, nan_ok=True)
        assert score(nothing, something, empty=empty) == 0
        assert score(something, nothing, empty=empty) == 0


def test_the_papers_formulas_do_not_reach_one():
    mask = np.ones((5, 8), np.uint8)
    assert metrics.dice(mask, mask) == 1
    assert metrics.paper_dice(mask, mask) == 0.5
    assert metrics.paper_prose_dice(mask, mask) == 1 / 40
    assert metrics.paper_dice(mask * 0, mask * 0) == 0.5


@HUNDREDS
@given(
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(metrics.SCORES)),
    st.sampled_from([0.0, 1.0]),
)
def test_reductions_agree_with_plain_loops(slices, side, seed, score, empty):
    random = np.random.default_rng(seed)
    truth, prediction = random.random((2, slices, side, side)) < random.choice([0, 0.1, 0.5])
    subjects = random.choice(["s3", "s1", "s2"], slices)
    one = {
        "dice": metrics.dice,
        "iou": metrics.iou,
        "precision": metrics.precision,
        "recall": metrics.recall,
    }[score]
    counts = metrics.count_slices(truth, prediction)
    assert metrics.per_slice(counts, score, empty) == pytest.approx(
        [one(t, p, empty=empty) for t, p in zip(truth, prediction, strict=True)]
    )
    table = metrics.per_subject(counts, subjects, score, empty)
    assert list(table.index) == sorted(set(subjects))
    for subject, value in table.items():
        mine = subjects == subject
        assert value == pytest.approx(one(truth[mine], prediction[mine], empty=empty))
    assert metrics.pooled(counts, score, empty) == pytest.approx(
        one(truth, prediction, empty=empty)
    )


def test_the_three_reductions_differ_on_the_same_predictions():
    truth = np.zeros((4, 10, 10), np.uint8)
    truth[0], truth[1, 0, 0], truth[2, 0, 0] = 1, 1, 1  # one huge slice, two tiny, one empty
    prediction = truth.copy()
    prediction[1:3] = 0
    counts = metrics.count_slices(truth, prediction)
    assert metrics.per_slice(counts).tolist() == [1, 0, 0, 1]
    assert metrics.per_slice(counts, empty=0).tolist() == [1, 0, 0, 0]
    assert metrics.per_subject(counts, ["a", "b", "b", "b"]).tolist() == [1, 0]
    assert metrics.pooled(counts) == pytest.approx(200 / 202)


# --- lesions ------------------------------------------------------------------------------------


@HUNDREDS
@given(mask_pairs())
def test_lesion_scores_agree_with_flood_filling(pair):
    truth, prediction = pair[0].astype(bool), pair[1].astype(bool)
    assert metrics.f1_atlas22(*pair) == pytest.approx(
        plain_lenient_f1(truth, prediction), **VOXEL_TOLERANCE
    )
    assert metrics.f1_isles26(*pair) == pytest.approx(
        plain_strict_f1(truth, prediction), **VOXEL_TOLERANCE
    )
    for corners in (False, True):
        counted = [len(plain_lesions(mask, corners)) for mask in (truth, prediction)]
        assert metrics.lesion_count_difference(*pair, corners) == abs(counted[0] - counted[1])


@HUNDREDS
@given(mask_pairs(), st.booleans())
def test_lenient_f1_is_never_below_strict_f1_on_equal_connectivity(pair, corners):
    match = metrics.match_lesions(*pair, corners)
    assert metrics.f1_from_lenient_match(match) >= metrics.f1_from_strict_match(match) - 1e-12
    if all(
        metrics.label_lesions(mask.astype(bool), True)[1]
        == metrics.label_lesions(mask.astype(bool), False)[1]
        for mask in pair
    ):
        assert metrics.f1_atlas22(*pair) >= metrics.f1_isles26(*pair) - 1e-12


def test_the_two_official_f1_can_swap_order_because_their_connectivity_differs():
    truth, prediction = np.zeros((2, 3, 3, 3), np.uint8)
    truth[0, 0, 0] = truth[1, 1, 1] = 1  # one lesion for ISLES'26, two for ATLAS'22
    prediction[0, 0, 0] = 1
    assert metrics.f1_isles26(truth, prediction) == 1
    assert metrics.f1_atlas22(truth, prediction) == pytest.approx(2 / 3)


def test_lesions_that_touch_at_a_corner_or_an_edge():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 1] = True
    assert metrics.label_lesions(mask)[1] == 3
    assert metrics.label_lesions(mask, corners=True)[1] == 1


def test_one_blob_over_two_lesions_counts_for_both_only_in_the_lenient_sense():
    truth, prediction = np.zeros((2, 5, 5, 12), np.uint8)
    truth[1:4, 1:4, 1:5] = truth[1:4, 1:4, 7:11] = 1
    prediction[1:4, 1:4, 1:11] = 1
    assert metrics.f1_atlas22(truth, prediction) == 1
    assert metrics.f1_isles26(truth, prediction) == pytest.approx(2 / 3)  # IoU 0.4 with one


@pytest.mark.parametrize("length, found", [(4, 1.0), (3, 0.0)])
def test_the_strict_threshold_is_an_iou_of_a_quarter_and_counts_itself(length, found):
    truth, prediction = np.zeros((2, 1, 1, 16), np.uint8)
    truth[..., :16], prediction[..., :length] = 1, 1  # IoU 4/16, 3/16
    assert metrics.f1_isles26(truth, prediction) == found
    assert metrics.f1_atlas22(truth, prediction) == 1


# --- distances ----------------------------------------------------------------------------------


@HUNDREDS
@given(mask_pairs(), spacings)
def test_distances_agree_with_brute_force(pair, spacing):
    spacing = spacing[: pair[0].ndim]
    expected = plain_distances(pair[0].astype(bool), pair[1].astype(bool), spacing)
    hd95, assd = metrics.hd95_mm(*pair, spacing), metrics.assd_mm(*pair, spacing)
    if expected is None:
        nothing = not pair[0].any() and not pair[1].any()
        for value in (hd95, assd):
            assert value == 0 if nothing else math.isnan(value)
        return
    assert hd95 == pytest.approx(
        max(plain_percentile(one, 0.95) for one in expected), **DISTANCE_TOLERANCE
    )
    assert assd == pytest.approx(
        sum(map(sum, expected)) / sum(map(len, expected)), **DISTANCE_TOLERANCE
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), spacings, st.booleans())
def test_both_ways_of_measuring_distance_are_exact(seed, spacing, speckled):
    """A few lesions in a large box are measured by a tree, speckle by a distance transform."""
    random = np.random.default_rng(seed)
    truth, prediction = random.random((2, 9, 10, 11)) < (0.3 if speckled else 0.01)
    truth[0, 0, 0] = prediction[-1, -1, -1] = True
    expected = plain_distances(truth, prediction, spacing)
    measured = metrics.surface_distances(truth, prediction, spacing)
    for one, other in zip(measured, expected, strict=True):
        assert np.sort(one) == pytest.approx(np.sort(other), **DISTANCE_TOLERANCE)


def test_distance_is_in_mm_along_each_axis():
    truth, prediction = np.zeros((2, 6, 6, 6), np.uint8)
    truth[1, 1, 1] = 1
    for axis, expected in enumerate([2 * 0.5, 2 * 1.0, 2 * 3.0]):
        moved = np.roll(truth, 2, axis)
        assert metrics.hd95_mm(truth, moved, (0.5, 1, 3)) == pytest.approx(expected)
        assert metrics.assd_mm(truth, moved, (0.5, 1, 3)) == pytest.approx(expected)
    assert metrics.hd95_mm(truth, prediction, (1, 1, 1), missing=99.0) == 99.0


# --- all at once --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(mask_pairs(axes=(3,)), spacings)
def test_lesion_scores_holds_each_score_and_ignores_surrounding_background(pair, spacing):
    before = [mask.copy() for mask in pair]
    scores = metrics.lesion_scores(*pair, spacing)
    expected = {
        "dice": metrics.dice(*pair),
        "iou": metrics.iou(*pair),
        "precision": metrics.precision(*pair),
        "recall": metrics.recall(*pair),
        "f1_atlas22": metrics.f1_atlas22(*pair),
        "f1_isles26": metrics.f1_isles26(*pair),
        "count_difference": metrics.lesion_count_difference(*pair),
        "count_difference_isles26": metrics.lesion_count_difference(*pair, corners=True),
        "volume_difference_voxels": metrics.volume_difference_voxels(*pair),
        "volume_difference_ml": metrics.volume_difference_ml(*pair, spacing),
        "hd95_mm": metrics.hd95_mm(*pair, spacing),
        "assd_mm": metrics.assd_mm(*pair, spacing),
        "truth_volume_ml": pair[0].sum() * math.prod(spacing) / 1000,
        "prediction_volume_ml": pair[1].sum() * math.prod(spacing) / 1000,
        "truth_lesions": len(plain_lesions(pair[0], False)),
        "prediction_lesions": len(plain_lesions(pair[1], False)),
    }
    assert scores == pytest.approx(expected, nan_ok=True, rel=1e-6)
    padded = [np.pad(mask, ((2, 0), (0, 3), (1, 4))) for mask in pair]
    assert metrics.lesion_scores(*padded, spacing) == pytest.approx(scores, nan_ok=True)
    for mask, untouched in zip(pair, before, strict=True):
        assert np.array_equal(mask, untouched)


def test_scoring_an_atlas_volume_stays_within_a_gibibyte():
    random = np.random.default_rng(0)
    truth, prediction = np.zeros((2, 197, 233, 189), np.uint8)
    truth[60:100, 80:130, 60:100] = 1
    prediction[
        random.integers(0, 197, 30_000),
        random.integers(0, 233, 30_000),
        random.integers(0, 189, 30_000),
    ] = 1  # false alarms over the whole head
    tracemalloc.start()
    try:
        scores = metrics.lesion_scores(truth, prediction, (1, 1, 1))
        assert tracemalloc.get_traced_memory()[1] < 2**30
    finally:
        tracemalloc.stop()
    assert scores["truth_volume_ml"] == 80


# --- soft maps ----------------------------------------------------------------------------------


@HUNDREDS
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 5, 1000]))
def test_pr_auc_agrees_with_scikit_learn(voxels, seed, levels):
    random = np.random.default_rng(seed)
    truth = random.random(voxels) < random.choice([0.1, 0.5, 1.0])
    truth[random.integers(voxels)] = True
    soft = (random.integers(0, levels + 1, voxels) / levels).astype(np.float32)
    curve = precision_recall_curve(truth, soft)
    assert metrics.pr_auc(truth, soft) == pytest.approx(auc(curve[1], curve[0]), abs=1e-9)
    assert metrics.pr_auc(truth, 5 * soft - 2) == pytest.approx(metrics.pr_auc(truth, soft))


def test_pr_auc_without_a_lesion():
    nothing, noisy = np.zeros((3, 3, 3), np.uint8), np.linspace(0, 0.1, 27).reshape(3, 3, 3)
    assert metrics.pr_auc(nothing, nothing.astype(float)) == 1
    assert metrics.pr_auc(nothing, noisy) == 0
    assert math.isnan(metrics.pr_auc(nothing, noisy * 0, empty=math.nan))


@HUNDREDS
@given(st.integers(1, 80), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_calibration_agrees_with_plain_bins(voxels, bins, seed):
    random = np.random.default_rng(seed)
    soft = random.choice([0, 0.5, 1, *random.random(5)], voxels).astype(np.float32)
    truth = random.random(voxels) < soft**2
    error, seen = 0.0, 0
    table = metrics.reliability_table(truth, soft, bins)
    for place in range(bins):
        last = place == bins - 1
        inside = [
            (float(s), bool(t))
            for s, t in zip(soft, truth, strict=True)
            if place / bins <= s and (s < (place + 1) / bins or last)
        ]
        assert table["voxels"][place] == len(inside)
        if inside:
            probability = sum(s for s, _ in inside) / len(inside)
            share = sum(t for _, t in inside) / len(inside)
            assert table["mean_probability"][place] == pytest.approx(probability, abs=1e-6)
            assert table["lesion_share"][place] == pytest.approx(share, abs=1e-6)
            error += abs(probability - share) * len(inside)
        seen += len(inside)
    assert seen == voxels
    assert metrics.calibration_error(truth, soft, bins) == pytest.approx(error / voxels, abs=1e-6)


# --- bad input ----------------------------------------------------------------------------------

MASK = np.ones((3, 3, 3), np.uint8)


@pytest.mark.parametrize(
    "truth, prediction, message",
    [
        (MASK, MASK[:2], "shape"),
        (MASK, MASK * 2, "0 and 1"),
        (MASK, -1 * MASK.astype(int), "0 and 1"),
        (MASK, MASK * 0.4, "soft map"),
        (MASK * 0.99999998, MASK, "soft map"),
        (MASK * np.nan, MASK, "truth holds NaN"),
        (MASK, np.where(np.eye(3, dtype=bool), np.nan, MASK), "prediction holds NaN"),
        (MASK, MASK * np.inf, "0 and 1"),
        (MASK, MASK.astype(str), "0 and 1"),
    ],
)
@pytest.mark.parametrize(
    "score",
    [
        metrics.dice,
        metrics.iou,
        metrics.precision,
        metrics.recall,
        metrics.paper_dice,
        metrics.paper_prose_dice,
        metrics.count_slices,
        metrics.f1_atlas22,
        metrics.f1_isles26,
        metrics.lesion_count_difference,
        metrics.volume_difference_voxels,
        lambda truth, prediction: metrics.lesion_scores(truth, prediction, (1, 1, 1)),
        lambda truth, prediction: metrics.hd95_mm(truth, prediction, (1, 1, 1)),
    ],
)
def test_masks_that_are_none_are_refused(score, truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        score(truth, prediction)


@pytest.mark.parametrize("spacing", [(1, 1), 1.0, (1, 1, 0), (1, -1, 1), (1, 1, math.nan)])
def test_a_spacing_that_is_none_is_refused(spacing):
    for score in (metrics.lesion_scores, metrics.hd95_mm, metrics.volume_difference_ml):
        with pytest.raises(ValueError, match="spacing"):
            score(MASK, MASK, spacing)


def test_a_voxel_s_volume_can_be_told():
    """Axes of a sheared affine are not at right angles: its voxel holds less than their product."""
    other = MASK.copy()
    other[0] = 0
    told = metrics.lesion_scores(MASK, other, (2, 1, 3), voxel_ml=0.005)
    taken = metrics.lesion_scores(MASK, other, (2, 1, 3))
    for name in ("truth_volume_ml", "prediction_volume_ml", "volume_difference_ml"):
        assert told[name] == pytest.approx(taken[name] * 5 / 6)
    assert told["hd95_mm"] == taken["hd95_mm"] and told["truth_volume_ml"] > 0
    difference = metrics.volume_difference_ml(MASK, MASK * 0, (2, 1, 3), voxel_ml=0.005)
    assert difference == pytest.approx(MASK.sum() * 0.005)
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="voxel_ml"):
            metrics.lesion_scores(MASK, MASK, (1, 1, 1), voxel_ml=wrong)


def test_spacings_that_differ_are_refused():
    assert metrics.lesion_scores(MASK, MASK, (1, 1, 2), (1, 1, 2.0000001))["dice"] == 1
    with pytest.raises(ValueError, match="resample"):
        metrics.lesion_scores(MASK, MASK, (1, 1, 2), (1, 1, 1))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.pr_auc(MASK, MASK[:2] * 0.5), "shape"),
        (lambda: metrics.pr_auc(MASK * 0.5, MASK * 0.5), "soft map"),
        (lambda: metrics.pr_auc(MASK, MASK * np.nan), "NaN"),
        (lambda: metrics.calibration_error(MASK, MASK * 1.5), r"\[0, 1\]"),
        (lambda: metrics.calibration_error(MASK[:0], MASK[:0] * 0.5), "no voxels"),
        (lambda: metrics.pr_auc(MASK[:0], MASK[:0] * 0.5), "no voxels"),
        (lambda: metrics.reliability_table(MASK, MASK * 0.5, bins=0), "bins"),
        (lambda: metrics.count_slices(MASK[:0], MASK[:0]), "stack"),
        (lambda: metrics.per_slice(metrics.count_slices(MASK, MASK), "f1"), "dice, iou"),
        (lambda: metrics.per_subject(metrics.count_slices(MASK, MASK), ["a"]), "subject"),
    ],
)
def test_other_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_per_subject_is_a_table_of_its_own():
    table = metrics.per_subject(metrics.count_slices(MASK, MASK), pd.Series(["b", "a", "b"]))
    assert table.to_dict() == {"a": 1.0, "b": 1.0}
    assert table.index.name == "subject" and table.name == "dice"
