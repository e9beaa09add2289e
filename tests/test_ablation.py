"""The grid of the ablation, what counts as luck, and the command."""

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
        model = networks.build(recipe.network, (32, 32, 1), widths=recipe.widths, **recipe.options)
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
    for scale in ablation.SCALES.values():
        ablation.grid(base, only=scale.live)
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


def test_large_effects_are_named_and_none_are_not():
    scores = drawn(dict(base=0, large=-0.2, helps=0.15, nothing=0))
    table = ablation.effects(planned("base", "large", "helps", "nothing"), scores)
    assert table["verdict"].tolist() == ["base", "worse", "better", "no more than luck"]
    assert table["difference"][1] == pytest.approx(-0.2, abs=0.03)
    cells = scores.pivot_table(index="subject", columns="name", values="dice")
    assert table["difference"][2] == pytest.approx((cells["helps"] - cells["base"]).mean())
    assert table["subjects"].tolist() == [20] * 4 and table["seeds"].tolist() == [3] * 4


def test_the_yardstick_agrees_with_its_definition():
    scores = drawn(dict(base=0, a=0.1, b=0.2), seeds=(0, 1))
    spread, freedom = ablation.yardstick(scores)
    squares = degrees = 0
    for name in ("base", "a", "b"):
        means = [part["dice"].mean() for _, part in scores[scores["name"] == name].groupby("seed")]
        squares += sum((value - np.mean(means)) ** 2 for value in means)
        degrees += len(means) - 1
    assert freedom == degrees == 4
    assert spread == pytest.approx(np.sqrt(squares / degrees))


def test_equal_recipes_are_seldom_told_apart():
    random, false_alarms = np.random.default_rng(1), 0
    for trial in range(200):
        means = random.normal(0, 0.01, 6)  # the subjects are many, so the seeds alone count
        rows = [
            dict(
                name=name,
                fold=0,
                seed=seed,
                subject=f"s{k}",
                error="",
                dice=0.5 + means[3 * (name == "a") + seed] + 1e-4 * k,
            )
            for name in ("base", "a")
            for seed in range(3)
            for k in range(4)
        ]
        table = ablation.effects(planned("base", "a"), pd.DataFrame(rows))
        false_alarms += table["verdict"][1] != "no more than luck"
    assert 1 <= false_alarms <= 22  # 5 % of 200, give or take


def test_what_cannot_be_said_is_not_said():
    once = drawn(dict(base=0, a=0.3), seeds=(0,), base_seeds=(0,))
    table = ablation.effects(planned("base", "a"), once)
    assert table["verdict"][1] == "undefined: no seed repeated" and np.isnan(table["luck"][1])
    lonely = drawn(dict(base=0, a=0.3), subjects=1)
    assert ablation.effects(planned("base", "a"), lonely)["verdict"][1] == "undefined: one subject"
    with pytest.raises(ValueError, match="base has no scores"):
        ablation.effects(planned("base", "a"), lonely[lonely["name"] == "a"])
    broken = drawn(dict(base=0, a=0.3))
    broken.loc[broken["name"] == "a", "error"] = "RuntimeError: no"
    assert ablation.effects(planned("base", "a"), broken)["name"].tolist() == ["base"]


def test_the_grid_is_run_and_recorded(base, smoke_crops, tmp_path):
    plan = ablation.grid(base, only=("learning rate: 1e-6",))
    crops = smoke_crops[0].subset(range(0, len(smoke_crops[0]), 8))
    table = ablation.run_ablation(
        plan, crops, seeds=(0,), base_seeds=(0, 1), folds=3, work_dir=tmp_path, progress=False
    )
    assert (table["status"] == "done").all()
    assert sorted(zip(table["name"], table["seed"])) == [
        ("base", 0),
        ("base", 1),
        ("learning rate: 1e-6", 0),
    ]
    path = ablation.record_ablation(plan, table, "smoke", tmp_path, folder=tmp_path / "results")
    kept = experiments.open_result("ablation", tmp_path / "results")
    assert path.exists() and kept.provenance["profile"] == "smoke"
    assert kept.tables["effects"]["name"].tolist() == ["base", "learning rate: 1e-6"]
    assert set(kept.tables) == {"effects", "scores", "experiments"}


def test_the_picture_has_a_bar_of_luck_and_a_point_for_every_change():
    scores = drawn(dict(base=0, large=-0.2, helps=0.15, nothing=0))
    table = ablation.effects(planned("base", "large", "helps", "nothing"), scores)
    axes = figures.effects_by_factor(table).axes[0]
    assert len(axes.patches) == 3 and axes.patches[0].get_width() == pytest.approx(
        2 * table["luck"][1]
    )
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "f (base: base)",
        "large",
        "helps",
        "nothing",
    ]
    points = [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
    assert [line.get_marker() for line in points] == ["v", "^", "o"]


def test_the_recorded_grid_can_be_drawn():
    if not (ROOT / "results" / "ablation.json").exists():
        pytest.skip("no ablation is recorded: python -m kenseg_utils.ablation --record")
    kept = experiments.open_result("ablation", ROOT / "results")
    effects = kept.tables["effects"]
    assert {"data", "device", "commit", "seed", "profile", "base"} <= set(kept.provenance)
    assert ablation.BASE in set(effects["name"])
    assert len(figures.effects_by_factor(effects).axes[0].lines) > len(
        effects[effects["verdict"] != "base"]
    )
