"""The statistics room: intervals that hold, tests that say what they cannot find, one verdict."""

import gc
import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kenseg_utils.evaluation import statistics
from kenseg_utils.evaluation.statistics import Claim, Interval, Scores, Spreads, verdict


def test_it_loads_neither_keras_nor_matplotlib():
    code = (
        "import sys; import kenseg_utils.evaluation.statistics; heavy = 'keras tensorflow "
        "matplotlib sklearn'; print([name for name in heavy.split() if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_function_names_where_its_method_comes_from():
    methods = (
        "mean_interval share_interval family_level paired_test smallest_p subjects_needed "
        "holm pool_folds crossed_interval measure_spreads power every"
    )
    for name in methods.split():
        said = getattr(statistics, name).__doc__
        assert any(year in said for year in map(str, range(1900, 2020))), name


# --- Intervals -----------------------------------------------------------------------------------

DICE = np.array([0.9, 0.82, 0.75, 0.7, 0.66, 0.4, 0.21, 0.85, 0.9, 0.05])


def test_the_interval_of_a_mean_is_students():
    found = statistics.mean_interval(DICE)
    expected = stats.ttest_1samp(DICE, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.estimate == pytest.approx(DICE.mean()) and found.n == 10 and found.known
    assert found.method == "t" and found.coverage is None and found.level_text == "95 %"
    wider = statistics.mean_interval(DICE, level=0.99)
    assert wider.low < found.low and wider.high > found.high


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_the_bootstraps_are_scipys(method):
    found = statistics.mean_interval(DICE, method=method, seed=3)
    expected = stats.bootstrap(
        (DICE,),
        np.mean,
        method="BCa" if method == "bca" else method,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_slices_count_by_their_subject_and_weights_make_a_pooled_mean():
    random = np.random.default_rng(0)
    subjects = np.repeat(np.arange(12), random.integers(1, 30, 12))
    values = random.normal(0.5, 0.2, 12)[subjects] + random.normal(0, 0.05, len(subjects))
    whole = statistics.mean_interval(values, subjects)
    alone = statistics.mean_interval(values)
    assert whole.n == 12 and alone.n == len(values)
    assert whole.estimate == pytest.approx(values.mean()) == alone.estimate
    assert whole.high - whole.low > 2 * (alone.high - alone.low)
    percentile = statistics.mean_interval(values, subjects, method="percentile")
    means = []
    for _ in range(4000):  # whole subjects drawn, as the percentile bootstrap does
        drawn = random.integers(0, 12, 12)
        means.append(np.concatenate([values[subjects == one] for one in drawn]).mean())
    expected = np.quantile(means, [0.025, 0.975])
    assert (percentile.low, percentile.high) == pytest.approx(tuple(expected), abs=0.02)
    weights = random.uniform(1, 50, 10)
    pooled = statistics.mean_interval(DICE, weights=weights)
    assert pooled.estimate == pytest.approx(np.average(DICE, weights=weights))
    same = statistics.mean_interval(DICE, weights=np.full(10, 7.0))  # the plain mean's again
    assert same.low == pytest.approx(statistics.mean_interval(DICE).low)
    repeated = statistics.mean_interval(np.repeat(DICE, 9), np.repeat(np.arange(10), 9))
    assert repeated.low == pytest.approx(same.low) and repeated.n == 10


def test_the_ends_are_cut_at_what_a_mean_can_be():
    low = statistics.mean_interval([0.0, 0.0, 0.1, 0.9], bounds=(0, 1))
    assert low.low == 0 and statistics.mean_interval([0.0, 0.0, 0.1, 0.9]).low < 0


@pytest.mark.parametrize(
    "values, words, estimate",
    [
        ([], "no subject with a value", None),
        ([math.nan, math.inf], "no subject with a value; 2 undefined", None),
        ([0.7], "one subject", 0.7),
        ([0.7, math.nan], "one subject; 1 undefined", 0.7),
        ([0.4] * 14, "all 14 scores are equal", 0.4),
        ([0.0] * 3, "all 3 scores are equal", 0.0),
        ([0.1 + 0.2, 0.3], "all 2 scores are equal", 0.3),
    ],
)
@pytest.mark.parametrize("method", ["auto", "bca", "percentile"])
def test_where_there_is_no_interval_the_reason_stands(values, words, estimate, method):
    found = statistics.mean_interval(values, method=method)
    assert found.low is None and found.high is None and not found.known
    assert found.note.startswith("undefined: ") and words in found.note
    assert found.text() == found.note and not found.excludes(0)
    assert found.estimate == (None if estimate is None else pytest.approx(estimate))


def test_undefined_scores_are_left_out_and_counted():
    found = statistics.mean_interval([0.2, math.nan, 0.5, 0.6, math.inf, 0.4, 0.7, 0.1, 0.9, 0.3])
    assert found.n == 8 and found.note == "2 undefined scores left out"
    assert found.estimate == pytest.approx(np.mean([0.2, 0.5, 0.6, 0.4, 0.7, 0.1, 0.9, 0.3]))
    weighed = statistics.mean_interval([0.2, 0.5, 0.9], weights=[1, 1, 0])
    assert weighed.n == 2 and weighed.estimate == pytest.approx(0.35)
    grouped = statistics.mean_interval([0.2, math.nan, 0.5], groups=["a", "b", "c"])
    assert grouped.n == 2


def test_nothing_is_ever_nan():
    random = np.random.default_rng(4)
    for trial in range(80):
        values = random.choice([0.0, 0.5, 1.0, math.nan, random.random()], random.integers(0, 7))
        for method in ("auto", "bca", "percentile"):
            found = statistics.mean_interval(values, method=method, seed=trial)
            for number in (found.estimate, found.low, found.high):
                assert number is None or math.isfinite(number)
            assert found.known or found.note


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: statistics.mean_interval([1.0], method="magic"), "magic"),
        (lambda: statistics.mean_interval([1.0], level=95), "level is 95"),
        (lambda: statistics.mean_interval([1.0], kind="ratio"), "ratio"),
        (lambda: statistics.mean_interval([1.0, 2.0], groups=["a"]), "2 values, 1 groups"),
        (lambda: statistics.share_interval(3, 2), "3 of 2"),
        (lambda: statistics.family_level(0), "family of 0"),
        (lambda: statistics.simulate_coverage("t", 1, Scores()), "1 subjects"),
        (lambda: statistics.simulate_coverage("t", 5, Scores(zeros=1.0)), "equal"),
        (lambda: Interval(math.nan, None, None, 0.95, 3, "t"), "NaN"),
        (lambda: Interval(0.5, 0.6, 0.4, 0.95, 3, "t"), "from 0.6 down"),
        (lambda: Interval(0.5, 0.6, None, 0.95, 3, "t"), "two ends"),
    ],
)
def test_what_is_asked_wrongly_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("n, least", [(8, 0.92), (14, 0.93), (40, 0.94)])
def test_the_interval_that_the_book_prints_holds_its_level(n, least):
    random, population = np.random.default_rng(20), Scores()
    assert statistics.simulate_coverage("t", n, population, 40_000) >= least
    hits = []
    for _ in range(1500):  # the very function, not only its formula
        found = statistics.mean_interval(population.draw(random, (n,)), bounds=(0, 1))
        hits.append(found.low <= population.mean <= found.high)
    assert np.mean(hits) >= least - 0.02  # 1,500 draws know it to 0.7 points


@pytest.mark.parametrize("n, least", [(8, 0.92), (14, 0.93), (40, 0.94)])
def test_the_interval_of_a_difference_holds_its_level(n, least):
    population = Scores(paired=True)
    assert statistics.simulate_coverage("t", n, population, 40_000) >= least
    random, hits = np.random.default_rng(21), []
    for _ in range(1500):
        found = statistics.mean_interval(population.draw(random, (n,)), kind="difference")
        hits.append(found.low <= population.mean <= found.high)
    assert np.mean(hits) >= least - 0.02  # 1,500 draws know it to 0.7 points


def test_percentiles_of_few_subjects_do_not():
    # What chapter 6 shows: t holds its level best, then BCa, then percentiles.
    for n in (5, 8, 14):
        t, bca, percentile = (
            statistics.simulate_coverage(method, n, Scores(), repeats)
            for method, repeats in (("t", 20_000), ("bca", 1500), ("percentile", 1500))
        )
        assert t > bca - 0.005 and bca > percentile - 0.005 and t > percentile
    assert statistics.simulate_coverage("percentile", 5, Scores(), 1500) < 0.87
    assert statistics.simulate_coverage("percentile", 8, Scores(), 1500) < 0.9


def test_weighted_means_hold_their_level_too():
    # Lesions of very different sizes, larger ones segmented better: a pooled Dice.
    random = np.random.default_rng(5)

    def subjects(shape):
        size = random.normal(size=shape)
        skill = stats.norm.cdf(0.5 * size + math.sqrt(0.75) * random.normal(size=shape))
        return stats.beta.ppf(skill, 2, 0.9), np.exp(size)

    dice, weights = subjects(400_000)
    truth = np.average(dice, weights=weights)
    for n, least in ((8, 0.92), (14, 0.93), (40, 0.93)):
        dice, weights = subjects((1500, n))
        found = [statistics.mean_interval(d, weights=w) for d, w in zip(dice, weights, strict=True)]
        assert np.mean([one.low <= truth <= one.high for one in found]) >= least


def test_with_few_subjects_or_many_zeros_the_simulated_level_is_printed():
    few = statistics.mean_interval([0.9, 0.8, 0.5, 0.7, 0.6])
    assert (
        few.coverage
        == statistics.usual_coverage(5)
        == pytest.approx(statistics.simulate_coverage("t", 5, Scores(), 20_000, seed=9), abs=0.006)
    )
    assert few.level_text == f"{100 * few.coverage:.0f} % by simulation"
    zeros = statistics.mean_interval([0.0, 0.0, *DICE])
    assert zeros.coverage == statistics.usual_coverage(12, 0.2)
    assert statistics.mean_interval([*DICE, *DICE]).coverage is None
    assert statistics.usual_coverage(5, 0.14) == statistics.usual_coverage(5, 0.1)
    coverages = [statistics.usual_coverage(n) for n in (3, 8, 40)]
    assert coverages == sorted(coverages)
    difference = statistics.mean_interval([0.1, 0.2, -0.1, 0.05], kind="difference")
    assert difference.coverage == statistics.usual_coverage(4, kind="difference") > 0.94
    few_bca = statistics.mean_interval([0.9, 0.8, 0.5, 0.7, 0.6], method="bca")
    assert few_bca.coverage < few.coverage


def test_imaginary_scores_have_the_mean_that_they_say():
    random = np.random.default_rng(0)
    for population in (Scores(), Scores(zeros=0.3), Scores(5, 2, 0.1), Scores(paired=True)):
        drawn = population.draw(random, (400_000,))
        assert drawn.mean() == pytest.approx(population.mean, abs=0.003)
    assert (Scores(zeros=0.3).draw(random, (100_000,)) == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_shares_have_exact_intervals():
    found = statistics.share_interval(5, 5)
    assert (found.low, found.high) == pytest.approx((0.025 ** (1 / 5), 1)) and found.estimate == 1
    assert statistics.share_interval(0, 5).low == 0
    assert statistics.share_interval(0, 0).note == "undefined: nothing was tried"
    assert statistics.family_level(5) == pytest.approx(0.99)
    assert statistics.counted(4).text() == "4 to 4"


# --- Pairs ---------------------------------------------------------------------------------------


def test_the_sign_flip_p_is_exact():
    random = np.random.default_rng(1)
    for n in (3, 5, 8):
        difference = random.normal(0.1, 0.2, n)
        flips = np.array(list(itertools.product((-1, 1), repeat=n))) @ np.abs(difference) / n
        expected = (np.abs(flips) >= abs(difference.mean()) - 1e-12).mean()
        assert statistics.paired_test(difference, np.zeros(n)).p == pytest.approx(expected)


def test_a_paired_test_says_how_far_and_how_sure():
    a = np.array([0.6, 0.7, 0.8, 0.4, 0.9, 0.5])
    b = np.array([0.5, 0.5, 0.5, 0.45, 0.7, math.nan])
    found = statistics.paired_test(a, b)
    gap = (a - b)[:5]
    assert (found.pairs, found.unpaired, found.differing) == (5, 1, 5)
    assert found.difference.estimate == pytest.approx(gap.mean())
    expected = stats.ttest_1samp(gap, 0).confidence_interval()
    assert found.difference.low == pytest.approx(expected.low)
    assert found.cohen_d == pytest.approx(gap.mean() / gap.std(ddof=1))
    assert found.rank_biserial == pytest.approx((14 - 1) / 15)  # the smallest one is negative
    assert found.median == pytest.approx(0.2) and found.p == pytest.approx(4 / 32)
    swapped = statistics.paired_test(b, a)
    assert swapped.p == found.p and swapped.rank_biserial == -found.rank_biserial
    series = statistics.paired_test(pd.Series(a, list("abcdef")), pd.Series(b[:5], list("abcde")))
    assert (series.pairs, series.unpaired) == (5, 1) and series.p == found.p


def test_with_many_subjects_flips_are_drawn_and_seeded():
    random = np.random.default_rng(2)
    one = random.normal(0.1, 0.2, 30)
    found = statistics.paired_test(one, np.zeros(30))
    assert found.p == statistics.paired_test(one, np.zeros(30)).p
    assert found.p == pytest.approx(stats.ttest_1samp(one, 0).pvalue, abs=0.01)
    far = statistics.paired_test(one + 5, np.zeros(30))
    assert far.p == far.smallest_p == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "one, other, words, p",
    [
        ([], [], "no subject scored by both", None),
        ([math.nan, 0.2], [0.1, math.nan], "no subject scored by both", None),
        ([0.5], [0.2], "one subject", None),
        ([0.5, 0.3], [0.5, 0.3], "all 2 differences are equal", 1.0),
        ([0.3, 0.1 + 0.2], [0.1 + 0.2, 0.3], "all 2 differences are equal", 1.0),
        ([0.6] * 8, [0.5] * 8, "all 8 differences are equal", 2 / 256),
    ],
)
def test_pairs_without_an_answer_are_answered_in_words(one, other, words, p):
    found = statistics.paired_test(one, other)
    assert words in found.note and found.difference.low is None
    assert found.p == (None if p is None else pytest.approx(p)) and found.cohen_d is None
    table = statistics.paired_table(pd.DataFrame({"a": [*one, 0.1], "b": [*other, math.nan]}))
    assert not table["verdict"].str.contains("better").any()


def test_a_difference_of_shares_lies_between_minus_one_and_one():
    """Two subjects have an interval as wide as all numbers; of Dice it ends where Dice does."""
    one, other = np.array([0.9, 0.2]), np.array([0.1, 0.5])
    found = statistics.paired_test(one, other).difference
    assert (found.low, found.high) == (-1, 1) and found.estimate == pytest.approx(0.25)
    millilitres = statistics.paired_test(10 * one, 10 * other).difference
    assert millilitres.low < -10 and millilitres.high > 10
    enough = statistics.paired_test(np.tile(one, 10), np.tile(other, 10)).difference
    assert -1 < enough.low < enough.high < 1
    gap = statistics.paired_test([0.9, 0.2, np.nan], [0.1, 0.5, 0.3])
    assert (gap.difference.low, gap.unpaired) == (-1, 1)


def test_too_few_subjects_for_too_many_comparisons_are_warned_of():
    assert statistics.smallest_p(8) == 2 / 256
    assert statistics.smallest_p(8, 7) == pytest.approx(0.0547, abs=1e-4)
    assert statistics.pairs_needed(7) == 9 and statistics.smallest_p(9, 7) < 0.05
    assert statistics.power_note(9, 7) == ""
    assert statistics.power_note(8, 7) == (
        "this comparison cannot find anything: with 8 differing subjects and 7 comparisons "
        "the smallest possible p is 0.055; at least 9 subjects are needed"
    )
    for family, alpha in itertools.product((1, 2, 7, 10, 55), (0.05, 0.01)):
        n = statistics.pairs_needed(family, alpha)
        assert statistics.smallest_p(n, family) <= alpha < statistics.smallest_p(n - 1, family)
    # Wilcoxon's test can reach no smaller one.
    assert stats.wilcoxon(np.arange(1, 9)).pvalue == pytest.approx(statistics.smallest_p(8))
    with pytest.raises(ValueError, match="never reach"):
        statistics.pairs_needed(1000, 0.05)


def methods(subjects, *effects, seed=0, noise=0.03):
    random = np.random.default_rng(seed)
    hard = random.uniform(0.2, 0.8, subjects)
    return pd.DataFrame(
        {
            f"m{k}": hard + effect + random.normal(0, noise, subjects)
            for k, effect in enumerate(effects)
        },
        index=[f"sub-{k:02}" for k in range(subjects)],
    )


def test_a_family_finds_what_is_there_and_says_what_it_cannot():
    table = statistics.paired_table(methods(20, 0, 0.2, 0, -0.2), "m0").set_index("method")
    assert table["verdict"].to_dict() == {
        "m1": "m1 is better",
        "m2": "no difference shown",
        "m3": "m0 is better",
    }
    assert (table["note"] == "").all() and (table["p_holm"] >= table["p"]).all()
    distances = statistics.paired_table(methods(20, 0, 0.2), lower_is_better=True)
    assert distances["verdict"][0] == "m0 is better" and len(distances) == 1
    eight = statistics.paired_table(methods(8, *[0.3 * (k > 0) for k in range(8)]), "m0")
    assert len(eight) == 7 and (eight["verdict"] == "no difference shown").all()
    assert eight["note"].str.startswith("this comparison cannot find anything").all()
    nine = statistics.paired_table(methods(9, *[0.3 * (k > 0) for k in range(8)]), "m0")
    assert nine["verdict"].str.endswith("is better").all() and (nine["note"] == "").all()
    assert len(statistics.paired_table(methods(9, 0, 0, 0))) == 3


def test_equal_methods_are_seldom_told_apart():
    alarms = sum(
        statistics.paired_table(methods(9, 0, 0, 0, seed=trial))["verdict"]
        .str.contains("better")
        .any()
        for trial in range(60)
    )
    assert alarms <= 8  # 5 % of 60 families, give or take


@pytest.mark.parametrize(
    "wide, words",
    [
        (methods(5, 0), "1 methods and 5 subjects"),
        (methods(0, 0, 0), "0 subjects"),
        (pd.concat([methods(5, 0, 0)] * 2), "several rows"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(wide, words):
    with pytest.raises(ValueError, match=words):
        statistics.paired_table(wide)
    with pytest.raises(ValueError, match="no method 'x'"):
        statistics.paired_table(methods(5, 0, 0), "x")


def test_holm_leaves_the_garbage_alone(monkeypatch):
    """statsmodels collects it at every call: two seconds where TensorFlow is loaded."""
    monkeypatch.setattr(gc, "collect", lambda *_: pytest.fail("collected"))
    assert statistics.holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])


def test_holm_steps_down_and_skips_what_is_missing():
    assert statistics.holm([0.01, pd.NA, 0.04, 0.03]) == [
        pytest.approx(0.03),
        pd.NA,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert statistics.holm([None, math.nan]) == [pd.NA, pd.NA] and statistics.holm([]) == []
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]


def test_subjects_needed_are_the_fewest():
    for difference, sd, family in ((0.05, 0.1, 1), (0.02, 0.1, 1), (0.05, 0.1, 7), (0.3, 0.1, 1)):
        n = statistics.subjects_needed(difference, sd, family=family)
        alpha = 0.05 / family
        reached = [
            stats.nct.sf(stats.t.ppf(1 - alpha / 2, m - 1), m - 1, difference / sd * m**0.5)
            for m in (n - 1, n)
        ]
        assert reached[0] < 0.8 <= reached[1] + 1e-6
    assert statistics.subjects_needed(0.03, 0.0) == 2
    assert statistics.subjects_needed(0.0, 0.1) is None
    assert statistics.subjects_needed(math.nan, 0.1) is None


def test_folds_are_pooled_to_one_test_set():
    rows = [
        dict(
            name=name,
            fold=fold,
            seed=seed,
            subject=f"s{fold}{k}",
            error="",
            dice=0.1 * k + 0.01 * seed,
        )
        for name in ("b", "a")
        for fold in range(3)
        for seed in (0, 1)
        for k in range(4)
    ]
    scores = pd.DataFrame(rows)
    pooled = statistics.pool_folds(scores)
    assert pooled.wide.shape == (12, 2) and list(pooled.wide) == ["b", "a"]
    assert pooled.wide.loc["s13", "a"] == pytest.approx(0.305)
    assert pooled.note == "12 held-out subjects of folds 0, 1, 2, 12 of them scored by all 2"
    scores.loc[(scores["name"] == "a") & (scores["fold"] == 2), "error"] = "RuntimeError: no"
    assert "8 of them" in statistics.pool_folds(scores).note
    with pytest.raises(ValueError, match="s00 was held out in 2 folds"):
        statistics.pool_folds(scores.assign(subject=scores["subject"].replace("s10", "s00")))
    with pytest.raises(ValueError, match="no column fold"):
        statistics.pool_folds(scores.drop(columns="fold"))
    none = statistics.pool_folds(scores.assign(error="lost"))
    assert not len(none.wide) and "0 held-out subjects" in none.note


# --- Seeds ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(root):
    """The scores of the recorded ablation."""
    tables = json.loads((root / "results/ablation.json").read_text())["tables"]
    return pd.DataFrame(tables["scores"])


@pytest.fixture(scope="module")
def spreads(recorded):
    """How far the recorded ablation's scores spread near its base."""
    return statistics.measure_spreads(recorded)


def long_table(base, arm, names=("base", "a")):
    """Scores (seeds, subjects) of two arms as a long table."""
    rows = [
        dict(name=name, seed=k, subject=f"s{i:02}", dice=scores[k, i], error="")
        for name, scores in zip(names, (base, arm), strict=True)
        for k in range(scores.shape[0])
        for i in range(scores.shape[1])
    ]
    return pd.DataFrame(rows)


def yardstick_rule(base, arm, freedom=None):
    """The verdict of the rule that this one replaces: beyond luck, and an interval without 0.

    Luck: seeds taken as independent, their SD pooled over both recipes, or over a grid of
    `freedom` degrees. The interval: percentiles over subjects, seeds averaged.
    """
    repeats, seeds, subjects = base.shape
    variance = sum(part.mean(2).var(1, ddof=1) for part in (base, arm)) / 2
    spread = np.sqrt(variance if freedom is None else np.full(repeats, variance.mean()))
    luck = stats.t.ppf(0.975, freedom or 2 * (seeds - 1)) * spread * np.sqrt(2 / seeds)
    difference = (arm - base).mean(1)
    drawn = np.random.default_rng(0).multinomial(subjects, [1 / subjects] * subjects, 1000)
    low, high = np.quantile(drawn @ difference.T / subjects, [0.025, 0.975], axis=0)
    return (np.abs(difference.mean(1)) > luck) & ~((low <= 0) & (0 <= high))


def verdicts(base, arm):
    """Whether the interval of each grid leaves zero out, by the package's function."""
    return np.array([statistics.crossed_interval(one).interval.excludes(0) for one in arm - base])


def test_the_recorded_spreads_are_measured(recorded, spreads):
    assert 0.005 < spreads.seed < 0.06 and 0.02 < spreads.subject < 0.12
    assert 0.03 < spreads.residual < 0.15 and 0.1 < spreads.shared_subject < 0.3
    bare = recorded[recorded["name"] == "base"]
    assert statistics.measure_spreads(bare) is None
    assert statistics.measure_spreads(recorded[recorded["seed"] == 0]) is None
    assert statistics.measure_spreads(recorded[recorded["name"] != "base"]) is None
    one = recorded[recorded["subject"] == recorded["subject"][0]]
    assert statistics.measure_spreads(one) is None


def test_spreads_that_were_put_in_are_measured_again():
    true = Spreads(0.03, 0.05, 0.06, 0.04, 0.1, 0.03)
    found = []
    for seed in range(30):
        base, arm = true.draw(np.random.default_rng(seed), 1, 12, 30)
        found.append(statistics.measure_spreads(long_table(base[0], arm[0]), near=1.0))
    for name in ("seed", "subject", "residual", "shared_seed", "shared_subject", "shared_residual"):
        squares = np.mean([getattr(one, name) ** 2 for one in found])
        assert math.sqrt(squares) == pytest.approx(getattr(true, name), rel=0.2), name


def test_equal_recipes_are_told_apart_in_at_most_seven_of_a_hundred_draws(spreads):
    base, arm = spreads.draw(np.random.default_rng(1), 4000, seeds=5, subjects=14)
    assert verdicts(base, arm).mean() <= 0.07
    assert statistics.simulate_power(0, 5, 14, spreads, 20_000) <= 0.07
    table = long_table(base[0], arm[0])  # the function that chapters call judges the same
    effect = statistics.paired_effect(table, "a")
    crossed = statistics.crossed_interval((arm - base)[0])
    assert (effect.interval.low, effect.p) == pytest.approx((crossed.interval.low, crossed.p))


# What the first grid, of two seeds, showed: trainings that share a seed have something in common.
SHARED = Spreads(0.0290, 0.0487, 0.0774, 0.0232, 0.1761, 0.0350)


def test_where_seeds_are_shared_it_sees_more_than_the_rule_that_it_replaces():
    base, arm = SHARED.draw(np.random.default_rng(2), 3000, 5, 14, effect=0.03)
    sees = verdicts(base, arm).mean()
    assert sees > yardstick_rule(base, arm).mean() + 0.01
    assert sees > yardstick_rule(base, arm, freedom=42).mean() + 0.01  # pooled over a whole grid
    base, arm = SHARED.draw(np.random.default_rng(2), 1500, 5, 40, effect=0.03)
    assert verdicts(base, arm).mean() > yardstick_rule(base, arm, freedom=42).mean() + 0.05


@pytest.mark.parametrize("subjects", [14, 40])
def test_where_they_share_nothing_that_rule_cries_wolf_and_this_one_does_not(spreads, subjects):
    """So it is in today's grid of five seeds: there the old rule would see more, and too much."""
    assert spreads.shared_seed < 0.01
    base, arm = spreads.draw(np.random.default_rng(2), 3000, 5, subjects)
    assert verdicts(base, arm).mean() <= 0.07
    assert yardstick_rule(base, arm, freedom=42).mean() > 0.07


HARD_SPREADS = [
    (0.03, 0.03, 0.01),
    (0.018, 0.074, 0.072),
    (0.0, 0.1, 0.03),
    (0.04, 0.05, 0.06),
    (0.029, 0.049, 0.077),
    (0.0, 0.0, 0.06),
    (0.06, 0.08, 0.02),
]


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 10])
@pytest.mark.parametrize("subjects", [14, 40])
def test_few_seeds_cry_wolf_no_more_often(seeds, subjects):
    for parts in HARD_SPREADS:
        alarms = statistics.simulate_power(0, seeds, subjects, Spreads(*parts), repeats=4000)
        assert alarms <= 0.075, parts  # 7 %, known to 0.4 points


def test_power_is_what_simulation_finds(spreads):
    for seeds, subjects, effect in (
        (5, 14, 0.03),
        (10, 14, 0.03),
        (5, 40, 0.03),
        (20, 40, 0.02),
        (3, 14, 0.05),
    ):
        given = (effect, seeds, subjects, spreads)
        simulated = statistics.simulate_power(*given, repeats=4000)
        assert statistics.power(*given) == pytest.approx(simulated, abs=0.04)
    assert statistics.power(-0.03, 5, 14, spreads) == statistics.power(0.03, 5, 14, spreads)
    assert statistics.power(0.0, 5, 14, spreads) == pytest.approx(0.05, abs=0.001)
    assert statistics.power(5.0, 5, 14, spreads) == 1.0
    still = Spreads(0.0, 0.0, 0.0)
    assert statistics.power(0.01, 5, 14, still) == 1.0
    fixed = statistics.power(0.03, 10, 14, spreads, scope=statistics.THESE_SUBJECTS)
    assert fixed > statistics.power(0.03, 10, 14, spreads)


@pytest.mark.parametrize("subjects", [14, 40, 150, 600])
def test_power_grows_with_the_seeds_and_is_never_missing(subjects):
    quiet = Spreads(seed=0.0, subject=0.0, residual=0.12)
    found = [statistics.power(0.02, seeds, subjects, quiet) for seeds in range(5, 120)]
    assert not np.isnan(found).any() and (np.diff(found) > -1e-6).all()


def test_the_seeds_needed_are_the_fewest(spreads):
    for effect, subjects in ((0.05, 14), (0.03, 40), (0.03, 65)):
        found = statistics.seeds_needed(effect, spreads, subjects)
        fewer, enough = (
            statistics.power(effect, seeds, subjects, spreads)
            for seeds in (found.seeds - 1, found.seeds)
        )
        assert fewer < 0.8 <= enough == pytest.approx(found.power)
        assert found.text == f"{found.seeds} seeds"
    # Fourteen subjects are too few for 0.02, however often one trains.
    never = statistics.seeds_needed(0.02, spreads, 14)
    assert never.seeds is None and "no number of seeds up to 500 is enough with 14" in never.text
    least = int(never.text.split("at least ")[1].split()[0])
    assert statistics.seeds_needed(0.02, spreads, least).seeds is not None
    assert statistics.seeds_needed(0.02, spreads, least - 1).seeds is None
    assert "nor would" in statistics.seeds_needed(0.0, spreads, 14).text
    here = statistics.seeds_needed(0.03, spreads, 14, scope=statistics.THESE_SUBJECTS)
    assert 8 <= here.seeds <= 30


def test_an_effect_is_paired_by_seed_and_subject():
    random = np.random.default_rng(3)
    shared = 0.5 + random.normal(0, 0.1, (6, 1)) + random.normal(0, 0.15, (1, 20))
    base, arm = (shared + random.normal(0, 0.01, (6, 20)) for _ in range(2))
    table = long_table(base, arm + 0.04)
    effect = statistics.paired_effect(table, "a")
    assert effect.verdict == "better" and (effect.seeds, effect.subjects) == (6, 20)
    assert effect.estimate == pytest.approx((arm + 0.04 - base).mean()) and effect.note == ""
    assert effect.interval.method == "t over 6 seeds and 20 subjects"
    assert statistics.paired_effect(table, "base", "a").verdict == "worse"
    assert statistics.paired_effect(long_table(base, arm), "a").verdict == "no difference shown"
    # The very same scores with other partners: pairing is what makes it seen.
    parted = table.assign(seed=(table["seed"] + 3 * (table["name"] == "a")) % 6)
    assert statistics.paired_effect(parted, "a").verdict == "no difference shown"
    shuffled = statistics.paired_effect(table.sample(frac=1, random_state=0), "a")
    assert shuffled.interval == effect.interval


def test_a_collapsed_training_is_counted_apart_and_named(spreads):
    base, arm = (part[0] for part in spreads.draw(np.random.default_rng(4), 1, 6, 14, 0.2))
    whole = statistics.paired_effect(long_table(base, arm), "a")
    arm[3] = 0.001
    effect = statistics.paired_effect(long_table(base, arm), "a")
    kept = np.arange(6) != 3
    assert effect.estimate == pytest.approx((arm - base)[kept].mean())
    assert effect.collapsed == ("seed 3",) and effect.base_collapsed == () and effect.seeds == 5
    assert effect.note == "1 of 6 trainings of a collapsed and count apart: seed 3"
    assert effect.verdict == whole.verdict == "better" and effect.left_out == 0
    base[1] = 0.0
    both = statistics.paired_effect(long_table(base, arm), "a")
    assert both.base_collapsed == ("seed 1",) and both.seeds == 4
    assert "4 seeds, of which 5 are the least" in both.note
    arm[:] = 0.0
    lost = statistics.paired_effect(long_table(base, arm), "a")
    assert lost.verdict == "not known: all trainings of a collapsed" and lost.estimate is None
    assert len(lost.collapsed) == lost.trainings == 6
    other = statistics.paired_effect(long_table(arm, base), "a")
    assert other.verdict == "not known: all trainings of base collapsed"
    folds = long_table(base, np.where(np.arange(6)[:, None] == 2, 0.0, base)).assign(fold=1)
    assert statistics.paired_effect(folds, "a").collapsed == ("fold 1, seed 1", "fold 1, seed 2")
    # Noted for some trainings only.
    some = folds.assign(fold=folds["fold"].where(folds["seed"] < 2))
    effect = statistics.paired_effect(some, "a")
    assert len(effect.collapsed) == 2 and effect.trainings == 6


def test_the_recorded_collapses_are_below_the_rule_and_the_rest_above(recorded):
    means = statistics.collapsed_trainings(recorded)
    low = means.loc[means["collapsed"], "mean"].max()
    high = means.loc[~means["collapsed"], "mean"].min()
    assert low < 0.03 and high > 0.1
    assert math.sqrt(low * high) == pytest.approx(statistics.COLLAPSED, abs=0.01)


def test_missing_pairs_are_left_out_and_counted(spreads):
    base, arm = (part[0] for part in spreads.draw(np.random.default_rng(5), 1, 5, 14))
    table = long_table(base, arm)
    gaps = table[~((table["name"] == "a") & (table["seed"] == 1) & (table["subject"] == "s03"))]
    effect = statistics.paired_effect(gaps, "a")
    rest = np.arange(14) != 3
    assert effect.estimate == pytest.approx((arm - base)[:, rest].mean())
    assert (effect.seeds, effect.subjects, effect.left_out) == (5, 13, 5)
    assert effect.note == "5 scores without a partner left out"
    failed = table.assign(
        error=np.where((table["name"] == "a") & (table["seed"] == 4), "RuntimeError: no", "")
    )
    effect = statistics.paired_effect(failed, "a")
    assert (effect.seeds, effect.subjects, effect.left_out) == (4, 14, 14)
    thin = table[~((table["name"] == "a") & (table["seed"] == 2) & (table["subject"] > "s02"))]
    assert statistics.paired_effect(thin, "a").seeds == 4  # a seed with 3 subjects goes, not 11
    nan = table.assign(dice=table["dice"].where(table["subject"] != "s00"))
    assert statistics.paired_effect(nan, "a").subjects == 13


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t[t["seed"] == 0], "one seed"),
        (lambda t: t[t["subject"] == "s00"], "one subject"),
        (lambda t: t.assign(dice=0.4), "all differences are equal"),
        (lambda t: t[t["name"] == "base"], "a has no scores"),
        (lambda t: t[t["name"] == "a"], "base has no scores"),
        (lambda t: t.assign(error="lost"), "a has no scores"),
        (lambda t: t.assign(dice=math.nan), "a has no scores"),
        (lambda t: t[(t["name"] == "a") ^ (t["seed"] < 2)], "no seed and subject scored by both"),
        (lambda t: t[(t["name"] == "a") ^ (t["subject"] < "s05")], "no seed and subject scored by"),
        (
            lambda t: t.assign(
                dice=t["subject"].str[1:].astype(int) * 0.05 * (1 + (t["name"] == "a"))
            ),
            "all seeds have the same scores",
        ),
        (
            lambda t: t.assign(dice=np.where((t["name"] == "a") ^ (t["seed"] < 3), t["dice"], 0)),
            "no seed at which neither a nor base collapsed",
        ),
        (
            lambda t: t[(t["name"] == "base") | (t["seed"] < 2)].assign(
                dice=lambda u: np.where((u["name"] == "a") & (u["seed"] == 1), 0, u["dice"])
            ),
            "one seed; 1 seed left out, since a training collapsed",
        ),
        (lambda t: t[:0], "a has no scores"),
    ],
)
def test_what_is_not_known_is_said_in_words(spreads, change, words):
    base, arm = (part[0] for part in spreads.draw(np.random.default_rng(6), 1, 5, 14))
    table = change(long_table(base, arm))
    effect = statistics.paired_effect(table, "a")
    assert effect.verdict.startswith("not known: ") and words in effect.verdict
    assert effect.interval.low is None and effect.p is None
    assert effect.estimate is None or math.isfinite(effect.estimate)
    judged = verdict(effect.estimate, effect.interval, Claim.more("a helps"))
    assert judged.word == "undecided" and words in judged.reason
    row = statistics.effects(table, names=["a"]).iloc[0]
    assert row["verdict"] == row["verdict_of_family"] == effect.verdict and pd.isna(row["p_holm"])


def test_a_grid_is_told_arm_by_arm_and_as_a_family(recorded, spreads):
    table = statistics.effects(recorded).set_index("name")
    assert len(table) == recorded["name"].nunique() - 1
    assert table.loc["learning rate: 1e-6", "verdict"].startswith("not known: all trainings of")
    assert table.loc["learning rate: 1e-4", "verdict"] == "worse"
    assert (table["low"].dropna() >= -1).all() and (table["high"].dropna() <= 1).all()
    random = np.random.default_rng(7)
    base, arm = (part[0] for part in spreads.draw(random, 1, 8, 20))
    grid = pd.concat(
        [
            long_table(base, arm + shift, ("base", name))
            for name, shift in (("none", 0.0), ("small", 0.055), ("large", -0.3))
        ]
    ).drop_duplicates(["name", "seed", "subject"])
    found = statistics.effects(grid, names=["large", "none", "small"]).set_index("name")
    assert list(found.index) == ["large", "none", "small"]
    assert found.loc["large", "verdict_of_family"] == "worse"
    assert found.loc["none", "verdict"] == "no difference shown"
    assert (found["p_holm"] >= found["p"]).all()
    assert found.loc["large", "mean"] == pytest.approx(arm.mean() - 0.3)
    with pytest.raises(ValueError, match="no column seed"):
        statistics.effects(grid.drop(columns="seed"))
    assert not len(statistics.effects(grid[:0]))


def test_tables_with_gaps_and_unknown_scopes_are_refused():
    with pytest.raises(ValueError, match="without gaps"):
        statistics.crossed_interval(np.array([[0.1, math.nan], [0.1, 0.2]]))
    with pytest.raises(ValueError, match="scope is 'all'"):
        statistics.crossed_interval(np.zeros((2, 2)), scope="all")
    for call in (statistics.power, statistics.simulate_power):
        with pytest.raises(ValueError, match="at least two"):
            call(0.03, 1, 14, Spreads(0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="0 < power < 1"):
        statistics.seeds_needed(0.03, Spreads(0.1, 0.1, 0.1), 14, power=80)
    pattern = np.array([[1.0, -1.0], [-1.0, 1.0]])  # neither seeds nor subjects differ in the mean
    assert statistics.crossed_interval(pattern).interval.note.startswith("not known: seeds")


def test_on_the_very_subjects_only_seeds_are_luck(spreads):
    base, arm = spreads.draw(np.random.default_rng(8), 1, 6, 14)
    found = statistics.crossed_interval((arm - base)[0], scope=statistics.THESE_SUBJECTS)
    expected = stats.ttest_1samp((arm - base)[0].mean(1), 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval.low == pytest.approx(expected.confidence_interval().low)
    still = replace(spreads, subject=0.0)
    alarms = statistics.simulate_power(0, 5, 14, still, 4000, scope=statistics.THESE_SUBJECTS)
    assert 0.03 <= alarms <= 0.07


# --- Verdicts ------------------------------------------------------------------------------------


def interval(low, high, **more):
    return Interval((low + high) / 2, low, high, 0.95, 14, "t", **more)


@pytest.mark.parametrize(
    "claim, low, high, word",
    [
        (Claim.more("helps"), 0.01, 0.05, "supported"),
        (Claim.more("helps"), -0.01, 0.05, "undecided"),
        (Claim.more("helps"), -0.05, -0.01, "contradicted"),
        (Claim.more("helps"), 0.0, 0.05, "undecided"),
        (Claim.more("helps"), -0.05, 0.0, "contradicted"),
        (Claim.more("by 0.23 and more", 0.23), 0.1, 0.2, "contradicted"),
        (Claim.less("smaller"), -0.2, -0.1, "supported"),
        (Claim.less("smaller"), -0.2, 0.1, "undecided"),
        (Claim.less("smaller"), 0.1, 0.2, "contradicted"),
        (Claim.within("0.7", 0.65, 0.75), 0.66, 0.74, "supported"),
        (Claim.within("0.7", 0.65, 0.75), 0.65, 0.75, "supported"),
        (Claim.within("0.7", 0.65, 0.75), 0.6, 0.7, "undecided"),
        (Claim.within("0.7", 0.65, 0.75), 0.5, 0.9, "undecided"),
        (Claim.within("0.7", 0.65, 0.75), 0.2, 0.5, "contradicted"),
        (Claim.within("0.7", 0.65, 0.75), 0.8, 0.9, "contradicted"),
        (Claim.within("no worse than 0.02", -0.02, math.inf), -0.01, 0.03, "supported"),
    ],
)
def test_a_verdict_flips_with_its_numbers(claim, low, high, word):
    found = verdict((low + high) / 2, interval(low, high), claim, "phantom ATLAS")
    assert found.word == word and found.claim == claim.text
    assert str(found) == f"{word} on phantom ATLAS"
    assert f"{low:.3g} to {high:.3g}" in found.reason and "95 %" in found.reason


def test_a_verdict_follows_the_interval_and_not_the_sign():
    gains = {1: (0.055, 0.08), 4: (-0.035, 0.08), 16: (-0.152, 0.05)}
    parts = {
        f"{count} subjects": verdict(
            gain, interval(gain - half, gain + half), Claim.more("pre-training helps")
        )
        for count, (gain, half) in gains.items()
    }
    assert [part.word for part in parts.values()] == ["undecided", "undecided", "contradicted"]
    whole = statistics.every(parts, "transfer learning boosts performance", "phantom ATLAS")
    assert str(whole) == "contradicted on phantom ATLAS" and "16 subjects" in whole.reason


def test_what_is_counted_has_no_chance_in_it():
    four = Claim.within("a depth of 4", 4, 4)
    assert verdict(4, statistics.counted(4), four).word == "supported"
    assert verdict(7, statistics.counted(7), four).word == "contradicted"
    fewer = Claim.less("fewer parameters")
    assert verdict(0, statistics.counted(0), fewer).word == "contradicted"
    assert str(verdict(-9, statistics.counted(-9), fewer)) == "supported"


@pytest.mark.parametrize(
    "claim, word, said",
    [
        (
            Claim.without_test("helps patients", untestable="no patients here"),
            "cannot be tested here",
            "no patients here",
        ),
        (
            Claim.without_test("dice", inconsistent="a perfect answer scores 0.5"),
            "contradicts itself",
            "a perfect answer scores 0.5",
        ),
        (
            Claim.without_test("narrow", unsaid="the block's width"),
            "undecided",
            "depends on what the paper does not say: the block's width",
        ),
    ],
)
def test_what_no_measurement_can_judge_says_so(claim, word, said):
    found = verdict(0.5, interval(0.4, 0.6), claim)
    assert (found.word, found.reason) == (word, said)
    assert verdict(None, None, claim).word == word


def test_bad_numbers_are_undecided_with_the_reason():
    claim = Claim.more("helps")
    assert verdict(None, None, claim).reason == "not known: nothing was measured"
    assert verdict(math.nan, interval(0.1, 0.2), claim).word == "undecided"
    strange = verdict(0.5, interval(0.1, 0.2), claim)
    assert strange.word == "undecided" and "outside its own interval" in strange.reason
    for values, words in (([0.7], "one subject"), ([0.4] * 9, "equal"), ([], "no subject")):
        measured = statistics.mean_interval(values)
        found = verdict(measured.estimate, measured, claim)
        assert found.word == "undecided" and words in found.reason
    few = statistics.mean_interval([0.5, 0.6, 0.7])
    assert "by simulation" in verdict(few.estimate, few, claim).reason


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Claim(" ", low=0), "needs words"),
        (lambda: Claim("x"), "asserts nothing"),
        (lambda: Claim("x", 2, 1), "from 2 to 1"),
        (lambda: Claim("x", low=math.nan), "from nan"),
        (lambda: Claim("x", untestable="a", unsaid="b"), "give one"),
        (lambda: Claim.without_test("x"), "needs the reason"),
        (lambda: statistics.Verdict("holds", ""), "'holds' is no verdict"),
        (lambda: statistics.first_testable([]), "no verdicts"),
        (lambda: statistics.count_verdicts(["holds on phantom ATLAS"]), "no verdict"),
    ],
)
def test_claims_without_sense_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def of(word):
    return statistics.Verdict(word, f"because {word}", data="phantom ATLAS")


def test_several_measurements_make_one_verdict():
    yes, no, open_, never = (of(word) for word in statistics.WORDS[:4])
    for parts, all_must, readings in (
        ((yes, yes), "supported", "supported"),
        ((yes, open_), "undecided", "undecided"),
        ((yes, no), "contradicted", "undecided"),
        ((no, no), "contradicted", "contradicted"),
        ((never, never), "cannot be tested here", "cannot be tested here"),
        ((yes, never), "undecided", "undecided"),
        ((), "undecided", "undecided"),
    ):
        named = {f"part {k}": part for k, part in enumerate(parts)}
        assert statistics.every(named, "a claim").word == all_must
        assert statistics.over_readings(named, "a claim").word == readings
    both = statistics.over_readings({"concatenated": no, "added": yes}, "fewer parameters")
    assert both.reason == (
        "depends on what the paper does not say; concatenated: contradicted "
        "(because contradicted); added: supported (because supported)"
    )
    assert both.data == "phantom ATLAS"


def test_real_data_are_asked_before_the_phantom():
    real, phantom = replace(of("undecided"), data="ATLAS"), of("supported")
    assert statistics.first_testable([real, phantom]) is real
    assert statistics.first_testable([of("cannot be tested here"), phantom]) is phantom
    assert statistics.first_testable([of("cannot be tested here")]).word == "cannot be tested here"


def test_verdicts_are_counted_in_their_order():
    counts = statistics.count_verdicts(
        [of("undecided"), "supported", "undecided on phantom ATLAS", of("contradicts itself")]
    )
    assert list(counts) == list(statistics.WORDS) and list(counts.values()) == [1, 0, 2, 0, 1]
    for word in statistics.WORDS:
        assert word in statistics.RULE.replace("*cannot be tested here*", "cannot be tested here")


def test_a_rank_in_words_is_the_rank_in_the_table():
    means = {"a": 0.5, "b": 0.7, "c": 0.6, "d": math.nan, "e": None}
    order = sorted(("a", "b", "c"), key=lambda name: -means[name])
    assert [statistics.rank(means, name) for name in order] == [(1, 5), (2, 5), (3, 5)]
    assert statistics.rank({"a": 0.5, "b": 0.5}, "b") == (1, 2)
    assert statistics.rank(pd.Series(means, dtype=float), "c") == (2, 5)
    with pytest.raises(ValueError, match="'d' has no mean"):
        statistics.rank(means, "d")


def test_paired_scores_are_what_the_effect_compares():
    random = np.random.default_rng(3)
    base, arm = random.uniform(0.3, 0.8, (2, 6, 9))
    arm[4] = 0.0  # collapsed
    table = long_table(base, arm).drop(index=0)
    one, other = statistics.paired_scores(table, "a")
    effect = statistics.paired_effect(table, "a")
    assert one.shape == other.shape == (effect.seeds, effect.subjects) and 4 not in one.index
    assert (one - other).to_numpy().mean() == pytest.approx(effect.estimate)
    assert all(part.empty for part in statistics.paired_scores(table, "a", "nobody"))
