"""Bad input of scores, comparisons and corruptions: one clear message, and nothing counts twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kenseg_utils import evaluation, metrics
from kenseg_utils.evaluation import corruptions, statistics
from kenseg_utils.evaluation.statistics import Scores

FOUR = pd.DataFrame({"a": [0.1, 0.2, 0.3, 0.4], "b": [0.2, 0.3, 0.4, 0.6]}, index=list("wxyz"))
DICE = pd.DataFrame({"subject": ["1", "2", "3"], "error": "", "dice": [0.1, 0.2, 0.3]})


def named(*subjects):
    return FOUR.set_axis(list(subjects))


# --- What would count twice ---------------------------------------------------------------------

TWICE = [
    (pd.concat([FOUR, FOUR], axis=1), "method 'a' stands in several columns"),
    (FOUR.set_axis([1, "1"], axis=1), "method '1' stands in several columns"),
    (pd.concat([FOUR, FOUR]), "several rows"),
    (named("1", 1, "2", "3"), "named in two ways, '1' and 1"),
    (named("01", "1", "2", "3"), "named in two ways"),
    (named(1.0, "001", "2", "3"), "named in two ways"),
    (named("sub-01", "01", "2", "3"), "'sub-01' and '01'"),
    (named("S1", "s1 ", "2", "3"), "named in two ways"),
    (
        FOUR.set_axis(
            pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["subject", "session"])
        ),
        r"2 levels, \['subject', 'session'\]",
    ),
    (pd.concat({"dice": FOUR, "iou": FOUR}, axis=1), "methods are named by 2 levels"),
    (FOUR.assign(subject=[1, 2, 3, 4]), "'subject' is no method"),
    (FOUR.assign(participant_id=[1, 2, 3, 4]), "'participant_id' is no method"),
    (FOUR.reset_index(drop=True).reset_index(), "'index' is no method"),
    (FOUR.assign(**{"Unnamed: 0": range(4)}), "'Unnamed: 0' is no method"),
    (FOUR.assign(who=list("abcd")), "scores of 'who' are no numbers"),
    (named(None, "1", "2", "3"), "1 of 4 rows name no subject"),
    (named("", "1", "2", "3"), "1 of 4 rows name no subject"),
]


@pytest.mark.parametrize(("wide", "message"), TWICE)
def test_nothing_counts_twice_in_a_comparison(wide, message):
    """Four subjects, written down twice, were eight pairs, p 0.008 and "b is better"."""
    for compare in (evaluation.compare, statistics.paired_table):
        with pytest.raises(ValueError, match=message):
            compare(wide)


def test_four_subjects_are_four_pairs():
    line = evaluation.compare(FOUR).iloc[0]
    assert (line["pairs"], line["verdict"]) == (4, "no difference shown")
    # Names that differ in more than their spelling are different people.
    assert evaluation.compare(named("s1", "s10", "10", 1)).iloc[0]["pairs"] == 4


def test_tables_of_methods_agree_on_what_a_subject_is_called():
    """pd.read_csv makes numbers of names, and `open_table` does not."""
    numbered = DICE.assign(subject=[1, 2, 3], dice=[0.2, 0.3, 0.5])
    for other in (numbered, DICE.assign(subject=["01", "02", "03"])):
        with pytest.raises(ValueError, match="named in two ways.*open_table"):
            evaluation.compare({"a": DICE, "b": other})
    assert evaluation.compare({"a": numbered, "b": numbered})["pairs"].tolist() == [3]
    apart = DICE.assign(subject=["x", "y", 7])  # text beside a number, but three people
    assert evaluation.compare({"a": DICE, "b": apart})["unpaired"].tolist() == [6]
    with pytest.raises(ValueError, match="table of 'b': .*named in two ways, 'sub-1' and '1'"):
        evaluation.compare({"a": DICE, "b": DICE.assign(subject=["sub-1", "1", "2"])})
    with pytest.raises(ValueError, match="table of 'b': 1 of 3 rows name no subject"):
        evaluation.compare({"a": DICE, "b": DICE.assign(subject=["1", np.nan, "3"])})
    with pytest.raises(ValueError, match="method '1' stands"):
        evaluation.compare({1: DICE, "1": DICE})


def test_pairs_of_series_count_each_subject_once():
    one = pd.Series([0.1, 0.2], ["a", "a"])
    with pytest.raises(ValueError, match="several rows"):
        statistics.paired_test(one, one)
    with pytest.raises(ValueError, match="named in two ways"):
        statistics.paired_test(pd.Series([0.1, 0.2], ["01", "02"]), pd.Series([0.3, 0.4], [1, 2]))
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        statistics.paired_test(FOUR, FOUR)
    cases = pd.MultiIndex.from_tuples([("1", 1), ("1", 2), (1, 3)])  # a case, told by two names
    assert statistics.paired_test(pd.Series([0.1, 0.2, 0.3], cases), [0.0, 0.0, 0.1]).pairs == 3
    both = pd.Series([0.1, 0.2, 0.4], cases)
    assert statistics.paired_test(both, both - [0.1, 0.2, 0.1]).pairs == 3


ROWS = pd.DataFrame(
    dict(name="m", fold=[0, 0, 1, 1], seed=0, subject=list("wxyz"), dice=FOUR["a"], error="")
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(subject=["1", "2", "01", "3"]), "named in two ways"),
        (dict(subject=["1", None, "3", "4"]), "name no subject"),
        (dict(dice=list("abcd")), "dice are text"),
        (dict(dice=list("1234")), "dice are text"),
        (dict(name=["m", None, "m", "m"]), "rows without name"),
    ],
)
def test_a_long_table_counts_each_subject_once(change, message):
    for ask in (statistics.pool_folds, lambda rows: statistics.paired_effect(rows, "m", "base")):
        with pytest.raises(ValueError, match=message):
            ask(ROWS.assign(**change))
        with pytest.raises(ValueError, match="got NoneType"):
            ask(None)
        with pytest.raises(ValueError, match="column name several times"):
            ask(pd.concat([ROWS, ROWS], axis=1))


def test_a_long_table_leaves_out_what_is_infinite():
    pooled = statistics.pool_folds(ROWS.assign(dice=[0.1, np.inf, 0.3, 0.4], error=np.nan))
    assert len(pooled.wide) == 3 and np.isfinite(pooled.wide.to_numpy()).all()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([None, None, np.nan], "3 of 3 rows name no subject"),
        (["a", None, "b"], "1 of 3 rows name no subject"),
        ([np.nan, "a", "b"], "1 of 3 rows name no subject"),
        ([1, "1", "b"], "named in two ways"),
    ],
)
def test_an_interval_knows_whose_each_value_is(groups, message):
    with pytest.raises(ValueError, match=message):
        statistics.mean_interval([0.5, 0.4, 0.3], groups)
    with pytest.raises(ValueError, match=message):
        evaluation.summarise(DICE.assign(subject=pd.Series(groups, dtype=object)))
    with pytest.raises(ValueError, match=message):
        metrics.per_subject(metrics.Counts(*np.ones((4, 3), int)), np.array(groups, dtype=object))


def test_values_that_are_not_used_need_no_subject():
    assert statistics.mean_interval([0.5, np.nan, 0.3], ["a", None, "b"]).n == 2
    failed = DICE.assign(subject=["1", None, "3"], error=["", "lost", ""])
    assert evaluation.summarise(failed)["subjects"].tolist() == [2]


# --- Summaries ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (dict(dice=[10, 20, 90]), {}, "dice from 10 to 90.*percent"),
        (dict(dice=[-0.2, 0.1, 0.3]), {}, "dice from -0.2"),
        (dict(calibration_error=[0, 2, 3]), {}, "calibration_error from 0 to 3"),
        (dict(hd95_mm=[-1.0, 2, 3]), {}, "hd95_mm from -1 to 3"),
        (dict(dice=list("abc")), {}, "'dice' are no numbers"),
        (dict(truth_volume_ml=[-1.0, 2, 3]), dict(by="size"), "from -1 to 3 ml"),
        (dict(truth_volume_ml=[np.inf, 2, 3]), dict(by="size"), "to inf ml"),
        (dict(truth_volume_ml=list("abc")), dict(by="size"), "volumes are no numbers"),
        ({}, dict(by=["site"]), "no column .*site"),
        ({}, dict(scores=5), "no column .5"),
        ({}, dict(level=95), "level is 95"),
        ({}, dict(level="95 %"), "level is '95 %'"),
    ],
)
def test_a_summary_refuses_what_its_scores_cannot_be(change, options, message):
    with pytest.raises(ValueError, match=message):
        evaluation.summarise(DICE.assign(**change), **options)
    if "dice" in change:
        with pytest.raises(ValueError, match=message.replace("'dice'", ".dice.")):
            evaluation.compare({"a": DICE, "b": DICE.assign(**change)})


def test_an_infinite_score_is_undefined_in_mean_and_interval_alike():
    line = evaluation.summarise(DICE.assign(hd95_mm=[2.0, np.inf, 6]), "hd95_mm").iloc[0]
    assert (line["mean"], line["median"], line["undefined"], line["subjects"]) == (4, 4, 1, 2)
    assert line["low"] < 4 < line["high"]
    pairs = evaluation.compare({"a": DICE.assign(dice=[np.inf, 0.2, 0.3]), "b": DICE}).iloc[0]
    assert (pairs["pairs"], pairs["unpaired"]) == (2, 1)
    assert evaluation.compare(FOUR.replace(0.1, np.inf)).iloc[0]["unpaired"] == 1
    assert statistics.paired_test([np.inf, 1, 2], [np.inf, 2, 4]).pairs == 2


def test_no_error_is_read_as_none_however_it_was_read():
    """A column without errors is text from `open_table` and NaN from pd.read_csv."""
    for none in ("", np.nan, None):
        table = DICE.assign(error=none)
        assert not evaluation.failed(table).any()
        assert evaluation.summarise(table)["scored"].tolist() == [3]


@pytest.mark.parametrize("nothing", [None, {"dice": [1.0]}, "scores.csv", [DICE]])
def test_what_is_no_table_is_refused(nothing, tmp_path):
    for ask in (evaluation.summarise, evaluation.failed):
        with pytest.raises(ValueError, match="give what `evaluate` returns"):
            ask(nothing)
    with pytest.raises(ValueError, match="give a pandas DataFrame"):
        evaluation.save_table(nothing, tmp_path / "t.csv")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="table of 'b' is|needs a table|tables is"):
        evaluation.compare({"a": DICE, "b": nothing})
    with pytest.raises(ValueError, match="tables is|table of 'dice' is"):
        evaluation.compare(nothing)
    with pytest.raises(ValueError, match="needs a table"):
        statistics.paired_table(nothing)


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ({}, {}, "no table"),
        ({"a": DICE, "b": DICE.drop(columns="subject")}, {}, "'b' has no column 'subject'"),
        ({"a": DICE, "b": DICE.set_index("subject")}, {}, "reset_index"),
        ({"a": DICE, "b": pd.concat([DICE, DICE], axis=1)}, {}, "several times"),
        ({"a": DICE, "b": DICE.assign(dice=[10, 20, 30])}, {}, "'b' has dice from 10 to 30"),
        (100 * FOUR, {}, "column 'a' has dice from 10 to 40"),
        (FOUR.assign(b=100 * FOUR["b"]), {}, "column 'b' has dice"),
        (FOUR, dict(score=["dice"]), "name one column"),
        (FOUR, dict(reference=["a"]), "no method"),
        (FOUR, dict(level=95), "level is 95"),
        (FOUR, dict(level=None), "level is None"),
        (FOUR, dict(seed="x"), "seed is 'x'"),
        (FOUR, dict(seed=-1), "seed is -1"),
    ],
)
def test_comparisons_refuse_what_they_cannot_compare(tables, options, message):
    with pytest.raises(ValueError, match=message):
        evaluation.compare(tables, **options)


def test_a_frame_may_hold_differences_distances_and_missing_scores():
    assert evaluation.compare(FOUR - 0.3).iloc[0]["pairs"] == 4
    line = evaluation.compare(100 * FOUR, "hd95_mm").iloc[0]
    assert line["mean_difference"] == pytest.approx(-12.5)
    missing = FOUR.astype("Float64").mask(FOUR < 0.15)
    assert evaluation.compare(missing).iloc[0]["pairs"] == 3


def test_bins_need_volumes_and_rising_edges():
    assert list(evaluation.size_bins(pd.array([0, 7], "Float64"))) == ["no lesion", "5–20 ml"]
    for volumes, edges, message in (
        ([-1.0, 0], (1, 5), "from -1 to 0 ml"),
        (None, (1, 5), "volumes are None"),
        (np.ones((2, 2)), (1, 5), "shape"),
        ([1.0], (5, 1), "edges"),
        ([1.0], (0, 1), "edges"),
        ([1.0], (), "edges"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.size_bins(volumes, edges)


# --- Files --------------------------------------------------------------------------------------


def test_files_that_hold_no_table_are_refused(tmp_path):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "blank.csv").write_text("\n\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n1,2,3,4\n")
    (tmp_path / "binary.csv").write_bytes(b'\0\0\x1f\x8b,"\n\0')
    for name, message in (
        ("missing.csv", "missing.csv cannot be read.*No such file"),
        ("empty.csv/t.csv", "cannot be read"),
        ("empty.csv", "empty.csv is empty"),
        ("blank.csv", "blank.csv is empty"),
        ("ragged.csv", "is no table of scores"),
        ("binary.csv", "is no table of scores"),
        ("", "is a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.open_table(tmp_path / name)
    for nothing in (None, 5, ""):
        with pytest.raises(ValueError, match="path is needed"):
            evaluation.open_table(nothing)


# --- Statistics ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (None, {}, "scores are None"),
        ("abc", {}, "scores are no numbers"),
        (["a", 0.2], {}, "scores are no numbers"),
        (np.ones((5, 2)), {}, r"shape \(5, 2\)"),
        ([[0.1], [0.2, 0.3]], {}, "scores are no numbers"),
        ([0.1, 0.2], dict(weights=["a", "b"]), "weights are no numbers"),
        (
            [10, 20, 90],
            dict(bounds=(0, 1)),
            "mean is 40, beyond its bounds, 0 and 1: divide percent",
        ),
        ([0.1, 0.2], dict(bounds=(1, 0)), "bounds"),
        ([0.1, 0.2], dict(bounds=1), "bounds"),
        ([0.1, 0.2], dict(bounds=(0, np.nan)), "bounds"),
        ([0.1, 0.2], dict(bounds="ab"), "bounds"),
        ([0.1, 0.2], dict(level="x"), "level is 'x'"),
        ([0.1, 0.2], dict(level=None), "level is None"),
        ([0.1, 0.2], dict(seed=1.5), "seed is 1.5"),
        ([0.1, 0.2], dict(method=None), "method is None"),
    ],
)
def test_an_interval_refuses_what_it_cannot_be_of(values, options, message):
    with pytest.raises(ValueError, match=message):
        statistics.mean_interval(values, **options)


def test_an_interval_takes_what_pandas_calls_missing():
    found = statistics.mean_interval([pd.NA, 0.5, None, 0.2])
    assert found.n == 2 and found.note.startswith("2 undefined")
    assert statistics.mean_interval(pd.array([None, 0.5, 0.2], "Float64")).n == 2
    # A score may miss its bounds by float32's last digit.
    assert statistics.mean_interval([1 + 1e-8, 0.5, 0.7], bounds=(0, 1)).high == 1
    barely = statistics.mean_interval([1 + 1e-7, 1 + 1.1e-7], bounds=(0, 1))
    assert (barely.low, barely.high) == (1, 1)


@pytest.mark.parametrize("wrong", [[2, -1], [-0.01], [0.1, np.inf], ["x"], "x", None, [[0.1, 0.2]]])
def test_holm_takes_p_values_alone(wrong):
    with pytest.raises(ValueError, match="p-value"):
        statistics.holm(wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.paired_test(["a"], [1.0]), "no numbers"),
        (lambda: statistics.paired_test(None, [1.0]), "None"),
        (lambda: statistics.paired_test([1.0], [2.0], 95), "level is 95"),
        (lambda: statistics.paired_test([1.0], [2.0], seed="x"), "seed"),
        (lambda: statistics.share_interval(3.5, 5), "successes is 3.5"),
        (lambda: statistics.share_interval(None, 5), "successes is None"),
        (lambda: statistics.share_interval(np.nan, 5), "successes is nan"),
        (lambda: statistics.share_interval(1, np.inf), "n is inf"),
        (lambda: statistics.share_interval(1, 2, 95), "level is 95"),
        (lambda: statistics.family_level(None), "count is None"),
        (lambda: statistics.family_level(np.nan), "count is nan"),
        (lambda: statistics.family_level(1.5), "count is 1.5"),
        (lambda: statistics.family_level(3, 95), "level is 95"),
        (lambda: statistics.counted(None), "value is None"),
        (lambda: statistics.counted("4"), "value is '4'"),
        (lambda: Scores(a=-1), "a is -1"),
        (lambda: Scores(zeros=15), "zeros is 15"),
        (lambda: Scores(zeros=np.nan), "zeros is nan"),
        (lambda: statistics.simulate_coverage("t", 2.5, Scores()), "n is 2.5"),
        (lambda: statistics.simulate_coverage("t", None, Scores()), "n is None"),
        (lambda: statistics.simulate_coverage("t", 5, Scores(), "all"), "repeats is 'all'"),
        (lambda: statistics.simulate_coverage("t", 5, None), "give a population"),
        (lambda: statistics.simulate_coverage("t", 5, Scores(), 10, "x"), "seed"),
        (lambda: statistics.usual_coverage(None), "n is None"),
        (lambda: statistics.usual_coverage(1), "n is 1"),
        (lambda: statistics.usual_coverage(5, 50), "zeros is 50"),
        (lambda: statistics.usual_coverage(5, np.nan), "zeros is nan"),
        (lambda: statistics.usual_coverage(5, level=95), "level is 95"),
        (lambda: statistics.smallest_p(None), "n is None"),
        (lambda: statistics.smallest_p(np.nan), "n is nan"),
        (lambda: statistics.smallest_p(5, 1.5), "family is 1.5"),
        (lambda: statistics.power_note(5, 1, 5), "alpha is 5"),
        (lambda: statistics.power_note("all"), "n is 'all'"),
        (lambda: statistics.pairs_needed(1, 5), "alpha is 5"),
        (lambda: statistics.pairs_needed(None), "family is None"),
        (lambda: statistics.subjects_needed("a", 0.1), "no numbers"),
        (lambda: statistics.subjects_needed(0.1, 0.1, 80), "power is 80"),
        (lambda: statistics.subjects_needed(0.1, 0.1, level=95), "level is 95"),
        (lambda: statistics.subjects_needed(0.1, 0.1, family=None), "family is None"),
    ],
)
def test_what_is_no_number_of_its_kind_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_was_right_stays():
    assert statistics.share_interval(3.0, np.int64(5)).estimate == 0.6
    assert statistics.smallest_p(14) == 2.0**-13 and statistics.smallest_p(15) == 1e-4
    assert statistics.smallest_p(10**9) == 1e-4  # 2 to that power is no number to compute
    auto, t = (statistics.simulate_coverage(how, 5, Scores(), 200) for how in ("auto", "t"))
    assert auto == t


# --- Metrics ------------------------------------------------------------------------------------

MASK = np.zeros((5, 5, 5), np.uint8)
MASK[1:3, 1:3, 1:3] = 1
MOVED = np.roll(MASK, 1, axis=0)
COUNTS = metrics.count_slices(MASK, MOVED)
SHEARED_FLAT = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (None, "NoneType"),
        ("lesion.nii.gz", "is str"),
        (1, "is int"),
        (MASK[:0], "no voxels"),
        (np.ma.masked_array(MASK, MASK > 0), "hides voxels"),
        ([[0, 1], [1]], "unequal lengths"),
        (MASK.astype(object), "holds object"),
        (MASK.astype(complex), "holds complex"),
    ],
)
@pytest.mark.parametrize(
    "score",
    [
        metrics.dice,
        metrics.paper_dice,
        metrics.match_lesions,
        metrics.f1_isles26,
        lambda truth, found: metrics.label_lesions(found),
        lambda truth, found: metrics.hd95_mm(truth, found, (1, 1, 1)),
        lambda truth, found: metrics.volume_difference_ml(truth, found, (1, 1, 1)),
        lambda truth, found: metrics.lesion_scores(truth, found, (1, 1, 1)),
    ],
)
def test_a_mask_is_an_array_whose_voxels_are_all_seen(score, mask, message):
    for truth in (mask, MASK):
        with pytest.raises(ValueError, match=message):
            score(truth, mask)


def test_lesions_are_numbered_in_masks_of_every_form():
    assert metrics.label_lesions([[0, 1], [1, 0]])[1] == 2
    assert metrics.label_lesions([[0, 1], [1, 0]], corners=True)[1] == 1
    labels, many = metrics.label_lesions(np.zeros((3, 3), bool))
    assert many == 0 and not labels.any()
    for wrong in (MASK * 0.5, MASK * 2, MASK * np.nan):
        with pytest.raises(ValueError, match="soft map|0 and 1|NaN"):
            metrics.label_lesions(wrong)


@pytest.mark.parametrize("spacing", [None, "abc", (1, 1, "a"), (1, 1, None), [[1], [1, 2]]])
def test_a_spacing_is_a_number_an_axis(spacing):
    for score in (metrics.hd95_mm, metrics.assd_mm, metrics.lesion_scores):
        with pytest.raises(ValueError, match="spacing is .*: give 3 positive sizes"):
            score(MASK, MOVED, spacing)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.zeros((4, 4)), "singular"),
        (np.diag([1, 1, 0, 1.0]), "singular"),
        (SHEARED_FLAT, "singular"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.eye(3), "4 by 4"),
        ("x", "no numbers"),
        ([["a"] * 4] * 4, "no numbers"),
        (np.diag([10, 10, 10, 1.0]), "affine's voxels are .*10.0"),
    ],
)
def test_an_affine_that_is_none_is_refused(affine, message):
    """Voxels that lie all in one point were 0 mm apart."""
    for found in (MOVED, 0 * MASK):
        with pytest.raises(ValueError, match=message):
            metrics.lesion_scores(MASK, found, (1, 1, 1), affine=affine)
        with pytest.raises(ValueError, match=message):
            metrics.surface_distances(MASK, found, (1, 1, 1), affine)


def test_a_mirrored_affine_is_one_too():
    mirrored = np.diag([-2.0, 1, 3, 1])
    told = metrics.lesion_scores(MASK, MOVED, (2, 1, 3), affine=mirrored)
    assert told == metrics.lesion_scores(MASK, MOVED, (2, 1, 3)) and told["hd95_mm"] == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.calibration_error(MASK, MASK, bins=1.5), "bins is 1.5"),
        (lambda: metrics.reliability_table(MASK, MASK, bins="a"), "bins is 'a'"),
        (lambda: metrics.reliability_table(MASK, MASK, bins=None), "bins is None"),
        (lambda: metrics.pr_auc(MASK, None), "soft map is NoneType"),
        (lambda: metrics.pr_auc(MASK, MASK * 1e300), "infinities"),
        (lambda: metrics.pr_auc(MASK, MASK.astype(str)), "no numbers"),
        (lambda: metrics.lesion_scores(MASK, MASK, (1, 1, 1), voxel_ml="a"), "voxel_ml is 'a'"),
        (lambda: metrics.f1_from_lenient_match(None), "match is NoneType"),
        (lambda: metrics.f1_from_strict_match((1, 2)), "match is tuple"),
        (
            lambda: metrics.f1_from_strict_match(metrics.match_lesions(MASK, MASK), 25),
            "least_iou is 25",
        ),
        (lambda: metrics.per_slice((1, 2, 3, 4)), "counts is tuple"),
        (lambda: metrics.pooled(None), "counts is NoneType"),
        (lambda: metrics.per_slice(metrics.Counts(-1, 2, 3, 4)), "0 or more"),
        (lambda: metrics.per_slice(metrics.Counts(np.nan, 2, 3, 4)), "0 or more"),
        (lambda: metrics.pooled(metrics.Counts([1, 2], [1], [1], [1])), "same slices"),
        (lambda: metrics.pooled(metrics.Counts("a", 2, 3, 4)), "no numbers"),
        (lambda: metrics.pooled(COUNTS, ["dice"]), "no score"),
        (lambda: metrics.per_slice(COUNTS, empty=None), "empty is None"),
        (lambda: metrics.per_subject(COUNTS, None), "one subject each"),
    ],
)
def test_scores_name_what_they_cannot_take(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_counts_in_lists_are_numbers():
    """Twice a list is a longer list, and Dice came from that."""
    counts = metrics.Counts([1, 2], [0, 1], [1, 0], [5, 5])
    assert metrics.per_slice(counts) == pytest.approx([2 / 3, 4 / 5])
    assert metrics.per_subject(counts, ["a", "a"]).tolist() == [pytest.approx(6 / 8)]
    assert metrics.pooled(counts) == pytest.approx(6 / 8)
    untold = metrics.Counts([1, 2], [0, 1], [1, 0], 0)  # one number for all slices
    assert metrics.per_subject(untold, ["a", "b"]).tolist() == pytest.approx([2 / 3, 4 / 5])


# --- Corruptions --------------------------------------------------------------------------------

IMAGE = np.random.default_rng(0).random((20, 24))


@pytest.mark.parametrize("kind", sorted(corruptions.CORRUPTIONS))
def test_a_corruption_refuses_what_it_cannot_do(kind):
    fine = {"bias field": 0.5}.get(kind, 1)
    for image, strength, seed, message in (
        (IMAGE, "strong", 0, "strength is 'strong'"),
        (IMAGE, None, 0, "strength is None"),
        (IMAGE, fine, "x", "seed is 'x'"),
        (IMAGE, fine, -1, "seed is -1"),
        (IMAGE, fine, None, "seed is None"),
        (None, fine, 0, "image is object"),
        ("t1w.nii", fine, 0, "image is <U7"),
        (IMAGE[:0], fine, 0, r"shape \(0, 24\)"),
        (IMAGE * 1e300, fine, 0, "float32"),
        ([[1.0], [1.0, 2.0]], fine, 0, "unequal lengths"),
    ):
        with pytest.raises(ValueError, match=message):
            corruptions.corrupt(image, kind, strength, seed)
    if kind not in ("blur",):
        with pytest.raises(ValueError, match="is not finite|share from 0|done .1. or not"):
            corruptions.corrupt(IMAGE, kind, 1e300)
    for image in (None, IMAGE * np.nan, IMAGE[:0]):
        with pytest.raises(ValueError, match="The image"):
            corruptions.CORRUPTIONS[kind](image, fine)
    assert corruptions.corrupt(IMAGE.tolist(), kind, fine).shape == IMAGE.shape


def test_corruptions_name_what_is_none():
    for kind in (["noise"], None):
        with pytest.raises(ValueError, match="Unknown corruption"):
            corruptions.corrupt(IMAGE, kind, 1)
    with pytest.raises(ValueError, match="every is 0"):
        corruptions.ghosting(IMAGE, 0.5, every=0)
    for blurred in (corruptions.blur, corruptions.ghosting):
        with pytest.raises(ValueError, match=r"shape \(24,\)"):
            blurred(IMAGE[0], 0.5)
