"""The comparison of all networks: one recipe, the same slices and subjects, an honest ranking."""

import numpy as np
import pandas as pd
import pytest
from conftest import write_release

from kenseg_utils import experiments, networks
from kenseg_utils.experiments import lineup

TINY = lineup.LineupScale(0.01, True, slices=2, epochs=1, batch_size=2, widths=(4, 8, 12), folds=3)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Six scans of 64×64×9 voxels with six slices of lesion each."""
    return write_release(
        tmp_path_factory.mktemp("small"),
        6,
        (64, 64, 9),
        lambda number: np.s_[20 : 40 + number, 20:44, 1:7],
    )


@pytest.fixture(scope="module")
def sets(scans, tmp_path_factory):
    return lineup.slices_by_channels(TINY, scans, tmp_path_factory.mktemp("work"))


def test_scans_without_a_session_keep_their_slices(sets):
    part = next(iter(sets.values()))
    whole = lineup.spread_out(part, 1)
    part = part.subset(range(len(part)))
    part.index["session"] = None
    assert len(lineup.spread_out(part, 1)) == len(whole) > 0


def stand_in(experiment):
    """Scores that depend on the network's name alone, without any training."""
    held_out = experiment.slice_sets()[2]
    network = experiment.recipe["network"]
    if network == "pspnet":
        raise ArithmeticError("diverged")
    subjects = held_out.index[["subject", "session"]].drop_duplicates().reset_index(drop=True)
    subjects["dice"] = len(network) / 20 + 0.01 * subjects["subject"].str[-1].astype(int)
    subjects["channels"], subjects["error"] = held_out.shape[-1], ""
    return dict(
        dice=subjects["dice"].mean(),
        dice_pooled=0.5,
        subjects=len(subjects),
        epochs=1,
        parameters=10,
        seconds=2.0,
        device="none",
        commit="none",
    ), subjects


def run(sets, work_dir, **more):
    return lineup.run_lineup(
        lineup.recipes(TINY),
        sets,
        TINY.folds,
        conduct=stand_in,
        work_dir=work_dir,
        progress=False,
        **more,
    )


def test_every_network_takes_part_and_the_recipes_differ_in_it_alone():
    assert list(lineup.MEMBERS) == networks.names()
    recipes = lineup.recipes(lineup.SCALES["demo"])
    rest = [recipe.as_dict() for recipe in recipes.values()]
    for one in rest:
        for field in ("network", "options", "widths"):
            one.pop(field)
    assert all(one == rest[0] for one in rest)
    with pytest.raises(ValueError, match="No such network.*vnet.*ken_unetpp"):
        lineup.recipes(TINY, ["vnet"])


def test_at_the_papers_scale_networks_are_as_published_but_for_normalisation():
    for name in networks.names():
        expected = dict(normalisation="batch") if name in ("unet", "unetpp", "fcn8s") else {}
        assert lineup.size_of(name, lineup.SCALES["paper"]) == dict(widths=None, options=expected)


@pytest.mark.parametrize("name", networks.names())
def test_smoke_scale_builds(name):
    scale = lineup.SCALES["smoke"]
    size = lineup.size_of(name, scale)
    model = networks.sketch(
        name, (64, 64, lineup.MEMBERS[name].channels), widths=size["widths"], **size["options"]
    )
    assert model.count_params() < 60_000


def test_all_networks_get_the_same_slices(sets):
    one, four = sets[1], sets[4]
    assert one.index[["subject", "z"]].equals(four.index[["subject", "z"]])
    assert (one.index.groupby("subject").size() == 2).all()
    assert set(one.index.z) == {1, 6}  # the first and the last with lesion
    np.testing.assert_array_equal(one.images[..., 0], four.images[..., 2])
    np.testing.assert_array_equal(one.masks, four.masks)
    for (_, held_one), (_, held_four) in zip(one.split(3), four.split(3)):
        assert set(held_one.index.subject) == set(held_four.index.subject)


def test_each_network_is_trained_on_its_channels_and_failures_are_rows(sets, tmp_path):
    seen = []
    table = run(sets, tmp_path, watch=lambda rows: seen.append(len(rows)))
    assert len(table) == 33 and (table.status == "done").sum() == 30
    assert set(table[table.status == "failed"].name) == {"pspnet"}
    scores = experiments.subject_scores(table, tmp_path)
    assert set(scores[scores.name == "dunet"].channels) == {4}
    assert set(scores[scores.name != "dunet"].channels) == {1}
    assert seen == sorted(seen) and seen[-1] == 33  # never fewer rows than before
    assert scores.groupby("name").subject.nunique().eq(6).all()


def test_after_the_minutes_nothing_more_is_started(sets, tmp_path):
    table = run(sets, tmp_path, minutes=0)
    assert set(table.status) == {"not started"} and len(table) == 33


def test_ranking_is_sorted_and_beside_the_ken_model(sets, tmp_path):
    scores = experiments.subject_scores(run(sets, tmp_path), tmp_path)
    ranking = lineup.ranking(scores)
    assert list(ranking["mean"]) == sorted(ranking["mean"], reverse=True)
    assert ranking.title[0] == "DeepLab v3+"  # the longest name
    line = ranking.set_index("title").loc["U-Net"]
    assert line.difference == pytest.approx((len("unet") - len("ken_unetpp")) / 20)
    assert line.pairs == 6 and pd.isna(line.difference_low)
    assert line.verdict == "undefined: all 6 differences are equal"
    assert line.subjects == 6 and line.low < line["mean"] < line.high
    assert line.level.endswith("by simulation")
    own = ranking.set_index("title").loc["Ken-model"]
    assert pd.isna(own.difference) and pd.isna(own.verdict)
    alone = lineup.ranking(scores[scores.name == "unet"])
    assert list(alone.title) == ["U-Net"] and "difference" not in alone


def test_verdicts_of_the_ranking_name_titles_and_what_few_subjects_can_show():
    random = np.random.default_rng(0)
    own = random.uniform(0.3, 0.6, 20)

    def scores(count, folds):
        return pd.DataFrame(
            [
                dict(name=name, fold=k % folds, subject=f"s{k}", dice=value + shift, error="")
                for name, shift in (("ken_unetpp", 0.0), ("unet", 0.2))
                for k, value in enumerate(own[:count] + shift * random.uniform(0.9, 1, count))
            ]
        )

    many = lineup.ranking(scores(20, 3)).set_index("name")
    assert many.loc["unet", "verdict"] == "U-Net is better" and many.loc["unet", "note"] == ""
    assert many.loc["unet", "pairs"] == 20  # of three folds
    few = lineup.ranking(scores(4, 1)).set_index("name")
    assert few.loc["unet", "verdict"] == "no difference shown"
    assert "at least 6 subjects are needed" in few.loc["unet", "note"]
    with pytest.raises(ValueError, match="s0 was held out in 2 folds"):
        lineup.ranking(pd.concat([scores(4, 1), scores(4, 1).assign(fold=1)]))


def test_a_comparison_is_recorded_with_its_scale(sets, tmp_path):
    table = run(sets, tmp_path)
    lineup.record_lineup(table, TINY, "small scans", tmp_path, tmp_path)
    found = experiments.open_result("networks", tmp_path)
    assert (
        found.provenance["scale"]["epochs"] == 1 and found.provenance["data_name"] == "small scans"
    )
    assert "filters × 0.01" in found.provenance["meaning"]
    expected = lineup.ranking(experiments.subject_scores(table, tmp_path))
    again = lineup.ranking(found.tables["scores"])
    assert list(again.title) == list(expected.title)
    np.testing.assert_allclose(again["mean"].astype(float), expected["mean"].astype(float))


def test_the_command_says_what_is_wrong(capsys):
    with pytest.raises(SystemExit, match="No such network"):
        lineup.main(["--profile", "smoke", "--networks", "vnet", "--data-root", "nowhere"])
