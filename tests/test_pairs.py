"""Two recipes by the same seeds: pairs, what pairing is worth, words that turn with numbers."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, shown

from kenseg_utils import experiments, figures
from kenseg_utils.evaluation import statistics
from kenseg_utils.experiments import ablation, pairs

KEN = pairs.Question(arm="with", base="without", part="the block")


def drawn(effect=0.0, seeds=10, subjects=14, own=0.02, luck=0.03, hard=0.15, start=0):
    """Scores of both arms: subjects differ by `hard`, seeds by `luck` (shared), cells by `own`."""
    random = np.random.default_rng(start)
    shared = 0.55 + random.normal(0, luck, (seeds, 1)) + random.normal(0, hard, (1, subjects))
    rows = []
    for name, more in (("without", 0.0), ("with", effect)):
        table = np.clip(shared + more + random.normal(0, own, (seeds, subjects)), 0, 1)
        rows += [
            dict(name=name, fold=0, seed=k, subject=f"s{i:02}", dice=table[k, i], error="")
            for k in range(seeds)
            for i in range(subjects)
        ]
    return pd.DataFrame(rows)


def collapsed(scores, name, seed):
    """The same scores, with a training that found nothing."""
    gone = scores["name"].eq(name) & scores["seed"].eq(seed)
    return scores.assign(dice=scores["dice"].mask(gone, 0.0))


def test_pairs_are_the_means_of_each_seed():
    scores = drawn(0.1)
    table = pairs.pair_seeds(scores, KEN)
    means = scores.pivot_table(index="seed", columns="name", values="dice")
    np.testing.assert_allclose(table["base"], means["without"])
    np.testing.assert_allclose(table["arm"], means["with"])
    np.testing.assert_allclose(table["difference"].astype(float), means["with"] - means["without"])
    effect = pairs.effect_of(scores, KEN)
    assert table["difference"].mean() == pytest.approx(effect.estimate)
    assert effect.verdict == "better" and KEN.labels == ("without the block", "with the block")


def test_a_collapsed_pair_is_named_and_has_no_difference():
    table = pairs.pair_seeds(collapsed(drawn(0.1), "with", 3), KEN).set_index("seed")
    assert table.loc[3, "collapsed"] == "with the block" and pd.isna(table.loc[3, "difference"])
    assert table.loc[3, "arm"] == 0 and (table["collapsed"] != "").sum() == 1
    effect = pairs.effect_of(collapsed(drawn(0.1), "with", 3), KEN)
    assert "1 of 10 trainings with the block collapsed" in pairs.answer(effect, KEN.part)
    figure = figures.paired_seeds(table.reset_index(), KEN.labels, effect.estimate)
    assert "a training collapsed" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_pairing_takes_away_what_is_shared():
    found = pairs.by_pairing(drawn(0.05), KEN)
    sizes = [len(values) for values in found.values()]
    assert sizes == [10 * 9 * 14 * 13, 10 * 9 * 14, 10 * 14] and tuple(found) == pairs.PAIRINGS
    means = [values.mean() for values in found.values()]
    np.testing.assert_allclose(means, means[0], atol=1e-9)
    loose, by_subject, both = (values.std(ddof=1) for values in found.values())
    assert loose > 0.2 > 0.06 > by_subject > both
    assert both == pytest.approx(0.02 * np.sqrt(2), rel=0.2)


def words_of_pairing(**spread):
    return pairs.pairing_words(pairs.by_pairing(drawn(**spread), KEN))


def test_words_about_pairing_turn_with_the_numbers():
    said = words_of_pairing()
    numbers = [values.std(ddof=1) for values in pairs.by_pairing(drawn(), KEN).values()]
    assert all(f"{number:.3f}" in said for number in numbers)
    assert "is what counts" in said and "takes a good deal more away" in said
    assert "a little more" in words_of_pairing(luck=0.012)
    assert f"{(numbers[0] / numbers[2]) ** 2:.1f} times smaller" in said
    alike = words_of_pairing(hard=0.0, luck=0.0)
    assert "changes little" in alike and "hardly anything more" in alike
    assert "not known" in pairs.pairing_words(pairs.by_pairing(drawn(seeds=1), KEN))


def test_words_about_the_seeds_turn_with_the_numbers():
    shared = pairs.seeds_words(pairs.pair_seeds(drawn(luck=0.05), KEN))
    assert "pairing the seeds helps" in shared
    table = pairs.pair_seeds(drawn(luck=0.05), KEN)
    assert f"{table['difference'].astype(float).std():.3f}" in shared
    against = table.assign(arm=table["arm"].to_numpy()[::-1])
    against["difference"] = against["arm"] - against["base"]
    said = pairs.seeds_words(against)
    assert "helps" not in said
    assert "not known" in pairs.seeds_words(table.head(1))


@pytest.mark.parametrize(
    "effect, said", [(0.08, "helps:"), (-0.08, "hurts:"), (0.0, "do not show")]
)
def test_the_answer_turns_with_the_numbers(effect, said):
    found = pairs.effect_of(drawn(effect), KEN)
    text = pairs.answer(found, KEN.part)
    assert said in text and f"{found.estimate:+.3f}" in text
    assert f"{found.interval.low:+.3f} to {found.interval.high:+.3f}" in text
    assert "10 paired seeds and 14 subjects" in text


def test_what_cannot_be_known_is_said_in_words():
    cases = dict(
        seed=drawn(seeds=1),
        subject=drawn(subjects=1),
        scores=drawn().assign(dice=0.5),
        gone=drawn().assign(dice=lambda t: t["dice"].mask(t["name"].eq("with"), 0.0)),
        alone=drawn()[lambda t: t["name"].eq("with")],
        parted=drawn()[lambda t: t["name"].eq("with") ^ t["seed"].gt(4)],
    )
    for name, scores in cases.items():
        effect = pairs.effect_of(scores, KEN)
        text = pairs.answer(effect, KEN.part)
        assert text.startswith("Whether the block helps is not known: "), name
        for said in (
            text,
            pairs.pairing_words(pairs.by_pairing(scores, KEN)),
            pairs.power_words(pairs.spread_of_pair(scores, KEN), 0.02, effect.seeds, 14),
            pairs.rolls_words(pairs.roll_seeds(scores, KEN), KEN.part),
            pairs.seeds_words(pairs.pair_seeds(scores, KEN)),
            pairs.collapse_words(scores),
        ):
            assert said and "nan" not in said.lower().split(), (name, said)


def test_power_words_hold_what_the_statistics_say():
    spreads = statistics.Spreads(seed=0.02, subject=0.05, residual=0.08)
    said = pairs.power_words(spreads, 0.02, 10, 14)
    reached = statistics.power(0.02, 10, 14, spreads)
    assert f"in {100 * reached:.0f} % of such" in said
    assert statistics.seeds_needed(0.02, spreads, 14).text in said
    here = statistics.seeds_needed(0.02, spreads, 14, scope=statistics.THESE_SUBJECTS)
    assert f"{here.seeds} seeds." in said
    quiet = statistics.Spreads(seed=0.001, subject=0.001, residual=0.01)
    assert "in 100 % of such" in pairs.power_words(quiet, 0.02, 10, 14)


def test_the_spreads_of_a_pair_are_those_it_was_drawn_with():
    found = pairs.spread_of_pair(drawn(0.2, seeds=60, subjects=60, own=0.03), KEN)
    assert found.residual == pytest.approx(0.03 * np.sqrt(2), rel=0.1)
    assert found.seed < 0.02 and found.subject < 0.02  # though the arms lie 0.2 apart
    gone = pairs.spread_of_pair(collapsed(drawn(0.2, own=0.03), "without", 9), KEN)
    assert gone.residual == pytest.approx(0.03 * np.sqrt(2), rel=0.2)  # a collapse is left out


def test_rolls_are_all_choices_of_the_pairs():
    scores = drawn(0.01, seeds=6)
    rolls = pairs.roll_seeds(scores, KEN, sizes=(1, 2, 6, 10))
    assert rolls.table["seeds"].tolist() == [1, 2, 6]
    assert rolls.table["choices"].tolist() == [6, 15, 1]
    differences = pairs.pair_seeds(scores, KEN)["difference"].astype(float)
    np.testing.assert_allclose(rolls.differences, differences)
    twos = [np.mean(two) for two in itertools.combinations(differences, 2)]
    row = rolls.table.set_index("seeds").loc[2]
    assert row["positive"] == np.mean(np.array(twos) > 0)
    assert row["low"] == pytest.approx(min(twos)) and row["high"] == pytest.approx(max(twos))
    assert not rolls.table["better"][0] and not rolls.table["worse"][0]  # one seed shows nothing


def test_what_a_roll_shows_is_what_the_statistics_say():
    scores = drawn(0.03, seeds=6)
    rolls = pairs.roll_seeds(scores, KEN, sizes=(2, 3, 6))
    for size in (2, 3, 6):
        for places in itertools.combinations(range(6), size):
            effect = pairs.effect_of(scores[scores["seed"].isin(places)], KEN)
            shown = rolls.shown.get(sum(2**place for place in places), "")
            assert shown == (effect.verdict if effect.verdict in ("better", "worse") else "")
    assert set(rolls.shown.values()) == {"better"}
    worse = pairs.roll_seeds(drawn(-0.1, seeds=6), KEN, sizes=(6,))
    assert worse.table["worse"].tolist() == [1.0]
    said = pairs.rolls_words(worse, KEN.part)
    assert "0 % of 1 possible" in said and "100 % an interval" in said
    assert pairs.roll_seeds(scores[scores["name"].eq("with")], KEN) is None


# --- At full width -------------------------------------------------------------------------------


def history(paper, no_ken, seeds=(0,)):
    rows = [
        dict(run=run, seed=seed, epoch=epoch, val_dice=value, val_dice_pooled=value + 0.2)
        for run, values in (("paper", paper), ("paper_no_ken", no_ken))
        for seed in seeds
        for epoch, value in enumerate(values, 1)
    ]
    return pd.DataFrame(rows, columns=["run", "seed", "epoch", "val_dice", "val_dice_pooled"])


def test_full_width_is_compared_at_the_same_epoch():
    table = pairs.full_width(history([0.1, 0.3, 0.5, 0.9], [0.2, 0.25, 0.1]))  # 0.9 comes later
    row = table.iloc[0]
    assert row["epoch"] == 3 and row["same_with"] == 0.5 and row["same_without"] == 0.1
    assert row["best_with"] == 0.5 and row["best_without"] == 0.25
    assert row["same_pooled_with"] == 0.7 and len(table) == 1  # the U-Net is not there


@pytest.mark.parametrize(
    "paper, other, said",
    [
        ([0.5], [0.3], "shows an advantage"),
        ([0.3], [0.5], "shows a disadvantage"),
        ([0.5, 0.3], [0.4, 0.4], "no advantage that does not depend"),
    ],
)
def test_full_width_words_turn_with_the_numbers(paper, other, said):
    text = pairs.full_width_words(pairs.full_width(history(paper, other)))
    assert said in text and "With one seed each" in text
    assert f"{paper[-1]:.2f} against {other[-1]:.2f}" in text
    many = pairs.full_width_words(pairs.full_width(history(paper, other, range(5))))
    assert "mean over 5 seeds" in many
    empty = history([], [])
    assert "is recorded here" in pairs.full_width_words(pairs.full_width(empty))


# --- Of what is recorded -------------------------------------------------------------------------


def recorded(scores, folder, name="some", **about):
    about = (
        dict(profile="demo", seed=[0, 1], seconds=120, device=["abacus"], commit=["c0ffee"]) | about
    )
    experiments.save_result(name, {"scores": scores}, folder, **about)
    return experiments.open_result(name, folder)


def test_an_effect_is_taken_from_the_result_with_most_pairs(tmp_path):
    few, many = (
        recorded(drawn(effect, seeds=seeds), tmp_path, name, data_name=data)
        for name, effect, seeds, data in (("few", -0.2, 2, "x"), ("many", 0.1, 6, "y"))
    )
    found = pairs.find_effect({"none": None, "few": few, "many": many}, "with", "without")
    assert found.result == "many" and found.data == "y" and found.effect.verdict == "better"
    assert f"{found.effect.estimate:+.3f}" in found.words and "profile demo" in found.words
    missing = pairs.find_effect({"few": few}, "with", "never trained")
    assert missing.words.startswith("not known: nothing is recorded of both")
    claim = statistics.Claim.more("it helps")
    for one, word in ((found, "supported"), (missing, "undecided")):
        effect = one.effect
        assert statistics.verdict(effect.estimate, effect.interval, claim).word == word


@pytest.mark.parametrize("gone, word", [(0, "contradicted"), (6, "supported"), (3, "undecided")])
def test_whether_a_recipe_can_be_trained_is_judged_by_what_collapsed(tmp_path, gone, word):
    scores = drawn(seeds=6)
    for seed in range(gone):
        scores = collapsed(scores, "with", seed)
    found = pairs.find_effect({"one": recorded(scores, tmp_path)}, "with", "without")
    assert found.collapsed_words.startswith(f"{gone} of 6 trainings collapsed")
    share = found.collapsed
    claim = statistics.Claim.more("most collapse", than=0.5)
    assert statistics.verdict(share.estimate, share, claim).word == word
    missing = pairs.find_effect({}, "with", "without")
    assert "not known" in missing.collapsed_words and not missing.collapsed.known


def test_the_origin_says_that_statistics_were_recomputed(tmp_path):
    plain = pairs.origin(recorded(drawn(), tmp_path))
    assert "2 seeds, 2 minutes" in plain and "statistics" not in plain
    redone = {"statistics recomputed": dict(day="2031-02-03")}
    assert "statistics of 2031-02-03" in pairs.origin(recorded(drawn(), tmp_path, **redone))


def grid(*verdicts):
    rows = [dict(name="base", verdict="base", verdict_of_family="base")]
    rows += [
        dict(name=f"arm {k}", verdict=one, verdict_of_family=family)
        for k, (one, family) in enumerate(verdicts)
    ]
    return pd.DataFrame(rows)


def test_words_about_a_grid_count_its_verdicts():
    none = "no difference shown"
    said = pairs.family_words(grid(("worse", "worse"), ("better", none), ("not known: x",) * 2))
    assert "Of 3 changes 2 differ" in said and "arm 0 (worse), arm 1 (better)" in said
    assert "for 2 questions asked at once: arm 0 (worse)." in said and "is there: 1." in said
    said = pairs.family_words(grid((none, none)))
    assert said.startswith("None of 1 changes differs") and said.endswith("at once: none.")


def test_words_about_collapsed_trainings_name_them():
    assert pairs.collapse_words(drawn()) == "None of 20 trainings collapsed."
    said = pairs.collapse_words(collapsed(drawn(), "with", 3))
    assert "1 of 20 trainings collapsed" in said and "with (1 of 10)" in said


# --- The chapter ---------------------------------------------------------------------------------


def test_ten_pairs_of_the_ken_block_are_recorded():
    kept = experiments.open_result("ken_block", ROOT / "results")
    scores = kept.tables["scores"]
    seeds = scores.groupby("name")["seed"].agg(set)
    assert seeds[ablation.BASE] == seeds[ablation.WITHOUT_KEN] == set(range(10))
    assert scores["subject"].nunique() >= 14 and {"name", "seed", "subject", "dice"} <= set(scores)


def test_the_credited_choices_have_five_seeds():
    kept = experiments.open_result("factors", ROOT / "results")
    if kept is None:
        pytest.skip("not recorded: --question factors --record")
    scores = kept.tables["scores"]
    seeds = scores.groupby("name")["seed"].nunique()
    assert set(seeds.index) == {ablation.BASE, *ablation.CREDITED} and seeds.min() >= 5


@pytest.fixture(scope="module")
def chapter():
    """Chapter 9 as it was committed: its markdown, and its code."""
    import json

    cells = json.loads((ROOT / "notebooks/09_ablation_study.ipynb").read_text())["cells"]
    return {
        kind: "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == kind)
        for kind in ("markdown", "code")
    }


def test_no_sentence_of_the_chapter_types_a_score(chapter):
    """What the text says of scores is printed by code; typed are the question and the recipe."""
    typed = set(re.findall(r"(?<![\w.])[-+−]?0\.\d+", chapter["markdown"]))
    assert typed <= {"0.02", "0.84"}  # the difference that is asked for, and a quantile
    for word in ("the block helps.", "the block does not help", "does not hold", "needs millions"):
        assert word not in chapter["markdown"].lower()


@pytest.mark.parametrize("name", ["ken_block", "factors"])
def test_equal_recipes_are_told_apart_as_seldom_with_the_spreads_that_the_page_has(name):
    """As in `test_statistics` with the older grid's: 5 seeds, 14 subjects, at most 7 of 100."""
    tables = experiments.open_result(name, ROOT / "results").tables
    if name == "ken_block":
        ken = pairs.Question(ablation.BASE, ablation.WITHOUT_KEN, "the Ken block")
        spreads = pairs.spread_of_pair(tables["scores"], ken)
    else:
        spreads = statistics.Spreads(**tables["spreads"].iloc[0])
    base, arm = spreads.draw(np.random.default_rng(3), 3000, seeds=5, subjects=14)
    alarms = [statistics.crossed_interval(one).interval.excludes(0) for one in arm - base]
    assert np.mean(alarms) <= 0.07
    assert statistics.simulate_power(0, 5, 14, spreads, 20_000) <= 0.07


def test_the_page_prints_what_the_recorded_numbers_say(executed):
    page = shown(executed("09_ablation_study"))
    results = {
        name: experiments.open_result(name, ROOT / "results")
        for name in ("ken_block", "factors", "ablation", "paper_scale")
    }
    ken = pairs.Question(ablation.BASE, ablation.WITHOUT_KEN, "the Ken block")
    scores = results["ken_block"].tables["scores"]
    effect = pairs.effect_of(scores, ken)
    wide = results["paper_scale"]
    sentences = [
        pairs.answer(effect, ken.part),
        pairs.pairing_words(pairs.by_pairing(scores, ken)),
        pairs.seeds_words(pairs.pair_seeds(scores, ken)),
        pairs.power_words(pairs.spread_of_pair(scores, ken), 0.02, effect.seeds, effect.subjects),
        pairs.family_words(results["ablation"].tables["effects"]),
        pairs.collapse_words(results["ablation"].tables["scores"]),
        pairs.full_width_words(
            pd.DataFrame() if wide is None else pairs.full_width(wide.tables["history"])
        ),
        pairs.find_effect(results, ablation.BASE, "block: plain").words,
        pairs.find_effect(results, "widths: 8 … 256", ablation.BASE).collapsed_words,
        pairs.find_effect(results, "widths: 2 … 64", ablation.BASE).collapsed_words,
    ]
    if results["factors"] is not None:
        effects = results["factors"].tables["effects"]
        sentences.append(pairs.family_words(effects))
        spreads = statistics.Spreads(**results["factors"].tables["spreads"].iloc[0])
        credited = effects[effects.name.isin(ablation.CREDITED)]
        sentences.append(
            pairs.power_words(
                spreads, 0.03, int(credited.seeds.min()), int(credited.subjects.min())
            )
        )
    for sentence in sentences:
        assert sentence in page, sentence


# --- Pictures ------------------------------------------------------------------------------------


def test_lines_that_rise_and_fall_look_different():
    table = pairs.pair_seeds(collapsed(drawn(0.0, own=0.05), "with", 3), KEN)
    rising = (table["difference"] > 0).fillna(False)
    figure = figures.paired_seeds(table, KEN.labels, 0.01, (-0.02, 0.04))
    left, right = figure.axes
    drawn_lines = left.lines[:-1]  # the last is the mean
    assert [line.get_ydata().tolist() for line in drawn_lines] == table[
        ["base", "arm"]
    ].to_numpy().tolist()
    markers = np.array([line.get_marker() for line in drawn_lines])
    assert set(markers[rising]) == {"^"} and markers[3] == "x" and set(markers) == {"^", "v", "x"}
    assert [text.get_text() for text in left.get_xticklabels()] == list(KEN.labels)
    (interval,) = right.collections
    assert interval.get_segments()[0][:, 0].tolist() == [-0.02, 0.04]
    assert len(right.get_yticklabels()) == 11
    with pytest.raises(ValueError, match="no pair"):
        figures.paired_seeds(table.head(0))


def test_spreads_are_drawn_on_one_axis():
    figure = figures.spread_by_pairing(pairs.by_pairing(drawn(), KEN))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.split(": SD ")[0] for title in titles] == list(pairs.PAIRINGS)
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    with pytest.raises(ValueError, match="no differences"):
        figures.spread_by_pairing(pairs.by_pairing(drawn(seeds=1), KEN))


def test_power_is_a_line_for_each_number_of_subjects():
    table = pd.DataFrame(
        [dict(subjects=n, seeds=k, power=k / 20) for n in (14, 40) for k in (2, 5, 20)]
    )
    axes = figures.power_curves(table, planned=10).axes[0]
    assert axes.lines[1].get_ydata().tolist() == [10, 25, 100]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "5", "10", "20"]
    assert "the 10 recorded" in axes.get_xlabel()
