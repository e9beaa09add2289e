"""The grid of the ablation, its questions, their effects, and the command."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from kenseg_utils import experiments, figures, profiles
from kenseg_utils.experiments import ablation

TINY = dict(widths=(4, 8), options=dict(blocks_per_node=1), epochs=1, batch_size=4)


@pytest.fixture(scope="module")
def base():
    from kenseg_utils.training import Recipe

    return Recipe.quick(**TINY)


def test_the_grid_changes_one_factor_at_a_time(base):
    plan = ablation.grid(base)
    assert plan["name"].nunique() == 1 + sum(len(s) - 1 for s in ablation.FACTORS.values())
    before = base.as_dict()
    for row in plan.itertuples():
        after = row.recipe.as_dict()
        differing = {field for field in before if after[field] != before[field]}
        assert (row.name == ablation.BASE) == (not differing)
        # A network brings its options; a normalisation its batch; the first guess is tried on two.
        allowed = {"network": 2, "normalisation": 2, "first guess": 3}.get(row.factor, 1)
        assert len(differing) <= allowed, (row.name, differing)
        if row.recipe.network == base.network:
            assert row.recipe.options["blocks_per_node"] == 1  # the base's options stay


def test_every_recipe_of_the_grid_can_be_built(base):
    from kenseg_utils import networks

    for name, recipe in ablation.grid(base).groupby("name")["recipe"].first().items():
        model = networks.sketch(recipe.network, (32, 32, 1), widths=recipe.widths, **recipe.options)
        assert model.output_shape == (None, 32, 32, 2), name


def test_all_that_the_paper_tried_is_in_the_grid(base):
    recipes = ablation.grid(base)["recipe"]
    assert {(2, 4, 8, 16, 32, 64), (8, 16, 32, 64, 128, 256)} <= {one.widths for one in recipes}
    assert {1e-6, 1e-5, 1e-4, 1e-3} <= {one.learning_rate for one in recipes}
    assert {one.optimizer for one in recipes} == {"adam", "rmsprop"}
    assert {one.decay for one in recipes} == {"coupled", "decoupled"}
    assert len({one.loss for one in recipes}) == 5
    assert {one.augment for one in recipes} == {True, False, "noise"}
    assert {one.options.get("block") for one in recipes} >= {"plain", "dilated"}
    assert {one.options.get("ken", "concatenate") for one in recipes} == {
        "concatenate",
        "full",
        None,
    }
    at_one = [one.options.get("normalisation") for one in recipes if one.batch_size == 1]
    assert at_one == [None, "group"]
    assert len({one.widths[-1] for one in recipes if len(one.widths) == 2}) == 4


def test_some_settings_keep_the_base_and_unknown_ones_are_refused(base):
    plan = ablation.grid(base, only=("loss: Dice", "block: plain"))
    assert set(plan["name"]) == {"base", "loss: Dice", "block: plain"}
    assert set(plan["factor"]) == {"loss", "block"}
    with pytest.raises(ValueError, match="no .'loss: dise'"):
        ablation.grid(base, only=("loss: dise",))
    for question in ablation.QUESTIONS.values():
        ablation.grid(base, only=question.names)
    assert set(ablation.SCALES) == set(profiles.PROFILES)


def drawn(effects, subjects=20, seeds=(0, 1, 2), luck=0.01, base_seeds=(0, 1, 2)):
    """Scores of subjects under recipes whose true differences are known."""
    random = np.random.default_rng(0)
    hardness = random.uniform(0.3, 0.8, subjects)
    rows = []
    for name, effect in effects.items():
        for seed in base_seeds if name == "base" else seeds:
            draw = random.normal(0, luck)
            noise = random.normal(0, 0.02, subjects)
            rows += [
                dict(
                    name=name,
                    fold=0,
                    seed=seed,
                    subject=f"s{k:02}",
                    error="",
                    dice=hardness[k] + effect + draw + noise[k],
                )
                for k in range(subjects)
            ]
    return pd.DataFrame(rows)


def planned(*names):
    return pd.DataFrame([dict(factor="f", setting=name, name=name) for name in names])


FIVE = dict(seeds=range(5), base_seeds=range(5))


def test_large_effects_are_named_and_none_are_not():
    scores = drawn(dict(base=0, large=-0.2, helps=0.15, nothing=0), **FIVE)
    table = ablation.grid_effects(planned("base", "large", "helps", "nothing"), scores)
    assert table["verdict"].tolist() == ["base", "worse", "better", "no difference shown"]
    assert table["difference"][1] == pytest.approx(-0.2, abs=0.03)
    cells = scores.pivot_table(index="subject", columns="name", values="dice")
    assert table["difference"][2] == pytest.approx((cells["helps"] - cells["base"]).mean())
    assert table["mean"][0] == pytest.approx(cells["base"].mean())
    assert table["subjects"].tolist() == [20] * 4 and table["seeds"].tolist() == [5] * 4
    assert "luck" not in table and pd.isna(table["difference"][0])


def test_a_verdict_turns_with_its_numbers():
    for effect, verdict in ((0.1, "better"), (-0.1, "worse")):
        table = ablation.grid_effects(planned("base", "a"), drawn(dict(base=0, a=effect), **FIVE))
        assert table["verdict"][1] == verdict


def test_a_setting_that_shares_the_base_is_named_in_each_factor():
    plan = pd.DataFrame(
        [("f", "old", "base"), ("f", "new", "a"), ("g", "old", "base"), ("g", "new", "b")],
        columns=["factor", "setting", "name"],
    )
    table = ablation.grid_effects(plan, drawn(dict(base=0, a=0.2, b=0), **FIVE))
    assert table["name"].tolist() == ["base", "a", "base", "b"]
    assert table["factor"].tolist() == ["f", "f", "g", "g"]
    assert table["verdict"].tolist() == ["base", "better", "base", "no difference shown"]


def test_collapsed_trainings_are_counted_apart():
    scores = drawn(dict(base=0, a=0.1, b=0.1), **FIVE)
    scores.loc[scores["name"].eq("a") & scores["seed"].eq(3), "dice"] = 0.0
    scores.loc[scores["name"].eq("b"), "dice"] = 0.0
    table = ablation.grid_effects(planned("base", "a", "b"), scores).set_index("name")
    assert table.loc["a", "verdict"] == "better" and table.loc["a", "collapsed"] == 1
    assert "seed 3" in table.loc["a", "note"] and table.loc["a", "seeds"] == 4
    assert table.loc["b", "verdict"] == "not known: all trainings of b collapsed"
    assert pd.isna(table.loc["b", "difference"])


def test_what_cannot_be_said_is_said_in_words():
    def verdict(scores):
        table = ablation.grid_effects(planned("base", "a"), scores)
        assert not table["verdict"].isna().any()
        return table.set_index("name")["verdict"].get("a")

    assert verdict(drawn(dict(base=0, a=0.3), seeds=(0,), base_seeds=(0,))) == "not known: one seed"
    lonely = drawn(dict(base=0, a=0.3), subjects=1)
    assert verdict(lonely) == "not known: one subject"
    assert verdict(lonely[lonely["name"] == "a"]) == "not known: base has no scores"
    broken = drawn(dict(base=0, a=0.3))
    broken.loc[broken["name"] == "a", "error"] = "RuntimeError: no"
    assert verdict(broken) == "not known: a has no scores"
    equal = drawn(dict(base=0, a=0))
    equal["dice"] = 0.5
    assert verdict(equal) == "not known: all differences are equal"
    assert verdict(drawn(dict(base=0, a=0.3), seeds=(3, 4))).startswith("not known: no seed")


def test_the_grid_is_run_and_recorded(base, smoke_crops, tmp_path):
    plan = ablation.grid(base, only=("learning rate: 1e-6",))
    crops = smoke_crops[0].subset(range(0, len(smoke_crops[0]), 8))
    seen = []
    table = ablation.run_ablation(
        plan,
        crops,
        seeds=(0,),
        base_seeds=(0, 1),
        folds=3,
        work_dir=tmp_path,
        progress=False,
        watch=seen.append,
    )
    assert (table["status"] == "done").all()
    assert sorted(zip(table["name"], table["seed"])) == [
        ("base", 0),
        ("base", 1),
        ("learning rate: 1e-6", 0),
    ]
    assert [part["status"].eq("done").sum() for part in seen] == [1, 2, 3]
    path = ablation.record_ablation(plan, table, "smoke", tmp_path, folder=tmp_path / "results")
    kept = experiments.open_result("ablation", tmp_path / "results")
    assert path.exists() and kept.provenance["profile"] == "smoke"
    assert kept.provenance["data_name"] == "phantom ATLAS"
    assert kept.tables["effects"]["name"].tolist() == ["base", "learning rate: 1e-6"]
    assert set(kept.tables) == {"effects", "scores", "experiments", "spreads"}


def stand_in(experiment):
    """Scores by recipe and seed, without any training."""
    held_out = experiment.slice_sets()[2]
    subjects = held_out.index[["subject", "session"]].drop_duplicates().reset_index(drop=True)
    without = experiment.recipe["options"].get("ken", "") is None
    subjects["dice"] = 0.5 + 0.01 * experiment.recipe["seed"] - 0.1 * without
    subjects["error"] = ""
    about = dict(dice=0.5, dice_pooled=0.5, subjects=len(subjects), epochs=1, parameters=1)
    return about | dict(seconds=0.0, device="none", commit="none"), subjects


def test_a_question_goes_pair_by_pair_and_on_where_it_was_stopped(base, smoke_crops, tmp_path):
    plan = ablation.grid(base, only=ablation.QUESTIONS["ken"].names)
    crops = smoke_crops[0].subset(range(0, len(smoke_crops[0]), 8))
    settings = dict(folds=3, work_dir=tmp_path, progress=False, conduct=stand_in)
    none = ablation.run_ablation(plan, crops, range(3), minutes=0, **settings)
    assert (none["status"] == "not started").all()
    order = []

    def watch(table):
        order.append({(row.name, row.seed) for row in table.itertuples() if row.status == "done"})

    table = ablation.run_ablation(plan, crops, range(3), watch=watch, **settings)
    assert (table["status"] == "done").all() and len(order) == 6
    assert order[1] == {("base", 0), ("Ken block: off", 0)}  # a whole pair before the next
    again = ablation.run_ablation(plan, crops, range(4), watch=order.append, **settings)
    assert len(again) == 8 and len(order) == 8  # the six are not done again


def recorded_by_hand(folder, scores, **about):
    plan = planned("base", "a")
    effects = ablation.grid_effects(plan, scores).assign(verdict="old")
    return experiments.save_result(
        "ablation", {"effects": effects, "scores": scores}, folder, seed=[0], **about
    )


def test_recorded_scores_are_read_again_and_their_provenance_stays(tmp_path):
    scores = drawn(dict(base=0, a=0.2), **FIVE)
    recorded_by_hand(tmp_path, scores, finished="long ago", device=["abacus"])
    before = experiments.open_result("ablation", tmp_path)
    ablation.recompute("ablation", tmp_path)
    after = experiments.open_result("ablation", tmp_path)
    assert after.tables["effects"]["verdict"].tolist() == ["base", "better"]
    pd.testing.assert_frame_equal(before.tables["scores"], after.tables["scores"])
    assert after.provenance["finished"] == "long ago" and after.provenance["device"] == ["abacus"]
    assert set(after.provenance["statistics recomputed"]) == {"commit", "day", "tables"}
    with pytest.raises(ValueError, match="Nothing is recorded as 'ken_block'"):
        ablation.recompute("ken_block", tmp_path)


@pytest.mark.parametrize("question", ablation.QUESTIONS)
def test_recorded_effects_are_those_of_the_recorded_scores(question):
    result = ablation.QUESTIONS[question].result
    kept = experiments.open_result(result, ROOT / "results")
    if kept is None:
        pytest.skip(f"not recorded: --question {question} --record")
    assert {"data", "device", "commit", "seed", "profile", "base"} <= set(kept.provenance)
    effects = kept.tables["effects"]
    assert ablation.BASE in set(effects["name"])
    plan = effects[["factor", "setting", "name"]]
    today = ablation.grid_effects(plan, kept.tables["scores"])
    assert today["verdict"].tolist() == effects["verdict"].tolist()
    assert today["note"].tolist() == effects["note"].tolist()
    for column in ("mean", "difference", "low", "high", "p_holm"):
        then, now = (pd.to_numeric(t[column]).astype(float) for t in (effects, today))
        np.testing.assert_allclose(then, now, atol=1e-9)
    figures.effects_by_factor(effects)


def test_the_command_asks_questions(capsys, monkeypatch, tmp_path):
    with pytest.raises(SystemExit) as ended:
        ablation.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and "{ken,factors,grid}" in said
    assert "Ken block: off; 10 seeds, results/ken_block.json" in said
    with pytest.raises(SystemExit):
        ablation.main(["--question", "all"])
    monkeypatch.setattr(ablation.artifacts, "source_tree", lambda: tmp_path)
    with pytest.raises(SystemExit, match="Nothing is recorded as 'ken_block'"):
        ablation.main(["--question", "ken", "--recompute"])


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_picture_has_an_interval_and_a_point_for_every_change():
    scores = drawn(dict(base=0, large=-0.2, helps=0.15, nothing=0), **FIVE)
    table = ablation.grid_effects(planned("base", "large", "helps", "nothing"), scores)
    figure = figures.effects_by_factor(table)
    axes = figure.axes[0]
    assert not axes.patches and not texts(figure)  # no bar of luck, nothing collapsed
    ends = [line.get_segments()[0][:, 0].tolist() for line in axes.collections]
    assert ends == [pytest.approx([row.low, row.high]) for row in table[1:].itertuples()]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "f (base: base)",
        "large",
        "helps",
        "nothing",
    ]
    points = [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
    assert [line.get_marker() for line in points] == ["v", "^", "o"]


def test_the_picture_names_what_collapsed_and_what_is_not_known():
    scores = drawn(dict(base=0, some=0.1, every=0.1, once=0.1), **FIVE)
    scores.loc[scores["name"].eq("some") & scores["seed"].eq(3), "dice"] = 0.0
    scores.loc[scores["name"].eq("every"), "dice"] = 0.0
    scores = scores[scores["name"].ne("once") | scores["seed"].eq(0)]
    table = ablation.grid_effects(planned("base", "some", "every", "once"), scores)
    # Recorded and read again, what is missing is None or NaN.
    again = pd.DataFrame(json.loads(table.to_json(orient="records")))
    for one in (table, again):
        figure = figures.effects_by_factor(one)
        assert texts(figure) == [
            "1 of 5 trainings collapsed",
            "5 of 5 trainings collapsed",
            "not known: one seed",
        ]
        assert len(figure.axes[0].collections) == 1  # an interval for the one that has one
