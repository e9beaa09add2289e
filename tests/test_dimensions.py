"""Slices, neighbours and volumes under one rule: toys on heads that are made in no time."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kenseg_utils.experiments import dimensions, judging, synthesis
from kenseg_utils.experiments.synthesis import _feed, _train
from kenseg_utils.prediction import frames


def head(number):
    image, mask = np.zeros(frames.SHAPE, np.float32), np.zeros(frames.SHAPE, np.uint8)
    image[20:70, 20:90, 20:80] = 1
    mask[30:50, 30 + number : 60, 30:50] = 1
    return image * (1 - 0.6 * mask), mask


def test_each_is_trained_and_judged_once(tmp_path, monkeypatch):
    pool = _feed.Pool(tmp_path / "pool", 4)
    for number in range(4):
        pool.put(number, *head(number))
    monkeypatch.setattr(_train, "make_head", lambda seed, healthy: (*head(0), {}))
    plans = {
        name: replace(
            plan, widths=(2, 2), minutes=1e-4, pool_size=4, precision="float32", own=2, phantoms=1
        )
        for name, plan in dimensions.PLANS.items()
        if name != "2.5-D"
    }
    # Untrained networks answer everywhere: each choice would label whole heads, eighty times over.
    monkeypatch.setattr(judging, "TRIED_THRESHOLDS", (0.1, 0.5))
    monkeypatch.setattr(judging, "TRIED_PEAK_SHARES", (0.0, 0.4))
    asked = []

    def cases():
        asked.append(1)
        image, mask = head(3)
        empty = ("healthy", "b", 0, image * 0, None)
        return [(group, "a", 0, image, mask > 0) for group in ("phantoms", "painted")] + [empty]

    tables = dimensions.compare_dimensions(plans, tmp_path, cases)
    table, each = tables["networks"].set_index("network"), tables["cases"]
    assert list(table.index) == ["2-D", "3-D"] and (table.steps >= 1).all()
    assert table["Dice, phantoms"].between(0, 1).all() and asked == [1]
    assert np.allclose(table["Dice, phantoms"], table["Dice, painted"])
    assert (table["most ml in a healthy head"] >= 0).all()
    assert (table.minutes >= 0).all()  # of tenths of a second: these trainings may take less
    of_each = each.groupby("network").group.agg(list)
    assert of_each.tolist() == 2 * [["phantoms", "painted", "healthy"]]
    by_case = each[each.group == "phantoms"].set_index("network")
    assert np.allclose(by_case.dice, table["Dice, phantoms"]) and (by_case.lesion_ml > 0).all()
    again = dimensions.compare_dimensions(plans, tmp_path, cases)
    assert asked == [1] and all(again[name].equals(tables[name]) for name in tables)


def test_the_cases_are_those_to_develop_on(monkeypatch, tmp_path):
    monkeypatch.setattr(judging, "of_phantom", lambda n: ("phantoms", "p", n, None, None))
    monkeypatch.setattr(judging, "with_lesion", lambda f, n: ("painted", f.name, n, None, None))
    monkeypatch.setattr(judging, "opened", lambda f: (np.zeros((4, 4, 4)), np.eye(4)))
    monkeypatch.setattr(dimensions.frames, "look", lambda image, affine: (None, image))
    cases = dimensions.development_cases([tmp_path / "one.nii.gz"], 2)
    assert [case[:3] for case in cases] == [
        ("phantoms", "p", 0), ("phantoms", "p", 2),
        ("painted", "one.nii.gz", 0), ("painted", "one.nii.gz", 2), ("healthy", "one", 0),
    ]  # fmt: skip


def test_all_three_learn_for_as_long_from_the_same_heads():
    plans = list(dimensions.PLANS.values())
    assert {plan.network for plan in plans} == {"unet2d", "unet25d", "unet3d_half"}
    assert {(p.workers, p.clock, p.batch) for p in plans} == {(0, "processor", 1)}
    with pytest.raises(SystemExit):
        dimensions.main([])


def test_a_pool_that_is_full_is_left_alone(tmp_path, monkeypatch):
    pool = _feed.Pool(tmp_path, 2)
    for number in range(2):
        pool.put(number, *head(number))
    monkeypatch.setattr(_feed, "start_makers", None)  # not called
    assert list(synthesis.fill_pool(tmp_path, 2, workers=1).filled) == [0, 1]


def test_makers_that_ended_too_early_are_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(_feed, "start_makers", lambda *given, **more: [])
    with pytest.raises(RuntimeError, match="0 heads of 2"):
        synthesis.fill_pool(tmp_path, 2, workers=1)


@pytest.mark.parametrize("found, recorded", [(2.0, True), (0.0, False)])
def test_a_training_that_collapsed_is_not_recorded(tmp_path, monkeypatch, capsys, found, recorded):
    cases = pd.DataFrame(
        [("2-D", 0.0), ("2-D", found), ("3-D", 1.0)], columns=["network", "found_ml"]
    )
    tables = {"networks": pd.DataFrame({"network": ["2-D", "3-D"]}), "cases": cases}
    kept = []
    monkeypatch.setattr(dimensions, "fill_pool", lambda *given: None)
    monkeypatch.setattr(dimensions, "compare_dimensions", lambda *given, **more: tables)
    monkeypatch.setattr(dimensions, "save_result", lambda name, *given, **more: kept.append(name))
    told = ["--out", str(tmp_path), "--record"]
    if recorded:
        dimensions.main(told)
    else:
        with pytest.raises(SystemExit) as ended:
            dimensions.main(told)
        assert ended.value.code == 1 and "2-D found nothing" in capsys.readouterr().err
    assert kept == (["dimensions"] if recorded else [])
