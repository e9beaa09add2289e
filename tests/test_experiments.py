"""Experiments: what is done stays, what fails is a row, who dies is replaced; and results."""

import json
import os
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_release

from kenseg_utils import experiments, slices
from kenseg_utils.experiments import _runs
from kenseg_utils.machine import _cluster as cluster
from kenseg_utils.training import _loop

TINY = dict(
    widths=(4, 8),
    options=dict(blocks_per_node=1),
    epochs=1,
    batch_size=4,
    precision="float32",
    augment=False,
)


def quick(**more):
    """A tiny recipe; imported here, so that workers of the stand-in import no TensorFlow."""
    from kenseg_utils.training._loop import Recipe

    return Recipe.quick(**TINY | more)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """24 slices of 32×32 pixels, four of each of six subjects."""
    root = tmp_path_factory.mktemp("small")
    scans = write_release(
        root, 6, (32, 32, 12), lambda number: np.s_[5 : 12 + number, 6:15, 4:8], dark=20
    )
    return slices.prepare(scans, size=28, padded=32, work_dir=root, workers=1)


@pytest.fixture(scope="module")
def recipes():
    return {"slow": quick(learning_rate=1e-4), "quick": quick(learning_rate=1e-2)}


def stand_in(experiment):
    """Scores that depend on recipe, fold and seed, without any training."""
    held_out = experiment.slice_sets()[2]
    rate, seed = experiment.recipe["learning_rate"], experiment.recipe["seed"]
    if rate > 0.5 and not Path(experiment.work_dir, "repaired").exists():
        raise ArithmeticError(f"diverged, see {experiment.work_dir}/runs")
    with open(Path(experiment.work_dir) / "starts.txt", "a") as file:
        file.write(f"{experiment.key}\n")
    subjects = held_out.index[["subject", "session"]].drop_duplicates().reset_index(drop=True)
    subjects["dice"] = rate + 0.1 * seed + 0.01 * subjects["subject"].str[-1].astype(int)
    subjects["error"] = ""
    return dict(
        dice=subjects["dice"].mean(),
        dice_pooled=np.float32(0.5),
        subjects=np.int64(len(subjects)),
        epochs=1,
        parameters=10,
        seconds=2.0,
        device="none",
        commit="none",
    ), subjects


def run(recipes, crops, work_dir, **more):
    return experiments.run(
        recipes, crops, work_dir=work_dir, progress=False, **dict(folds=3, conduct=stand_in) | more
    )


def starts(work_dir):
    return (work_dir / "starts.txt").read_text().splitlines()


# Trainings in this process ---------------------------------------------------------------------


def test_networks_are_trained_scored_and_kept(crops, tmp_path, monkeypatch):
    """Two folds of a real network; one whose options are wrong is a row, not the end."""

    recipes = {"broken": quick(options=dict(block="bricks")), "tiny": quick()}
    table = experiments.run(recipes, crops, folds=2, work_dir=tmp_path, progress=False)
    assert table[["name", "fold"]].to_numpy().tolist() == [
        ["broken", 0],
        ["tiny", 0],
        ["broken", 1],
        ["tiny", 1],
    ]
    broken, tiny = (table[table["name"] == name] for name in ("broken", "tiny"))
    assert (broken["status"] == "failed").all() and broken["dice"].isna().all()
    assert broken["error"].str.contains("block must be one of .*; got 'bricks'").all()
    assert (tiny["status"] == "done").all() and (tiny["error"] == "").all()
    assert tiny["dice"].between(0, 1).all() and tiny["dice_pooled"].between(0, 1).all()
    assert (tiny["subjects"] == 3).all() and (tiny["epochs"] == 1).all()
    assert tiny["seconds"].gt(0).all() and tiny["device"].ne("").all()

    scores = experiments.subject_scores(table, tmp_path)
    assert sorted(scores["subject"]) == sorted(crops.index.subject.unique())  # each once
    means = scores.groupby("fold")["dice"].mean()
    np.testing.assert_allclose(means, tiny["dice"].astype(float))

    # What is recorded is what the saved network does: trained without the held-out subjects.
    for row in tiny.itertuples():
        experiment = json.loads((tmp_path / "experiments" / f"{row.key}.json").read_text())
        assert experiment["recipe"]["network"] == "ken_unetpp" and experiment["fold"] == row.fold
    folders = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/recipe.json")]
    assert len(folders) == 4  # the broken ones claim theirs before their networks are built

    monkeypatch.setattr(_loop, "_fit", lambda *_: pytest.fail("trained again"))
    again = experiments.run(
        {"tiny": recipes["tiny"]}, crops, folds=2, work_dir=tmp_path, progress=False
    )
    pd.testing.assert_frame_equal(again, tiny.reset_index(drop=True))


def test_training_validation_and_held_out_subjects_are_apart(crops, recipes, tmp_path):
    seen = []

    def look(experiment):
        seen.append([set(part.index.subject) for part in experiment.slice_sets()])
        return stand_in(experiment)

    run(recipes, crops, tmp_path, conduct=look, seeds=(0, 1))
    assert len(seen) == 2 * 2 * 3
    for train, validation, held_out in seen:
        assert train and validation and len(held_out) == 2
        assert not train & validation and not train & held_out and not validation & held_out
        assert train | validation | held_out == set(crops.index.subject)
    folds = {frozenset(held_out) for _, _, held_out in seen}
    assert len(folds) == 3  # the same for all recipes and seeds


# The table -------------------------------------------------------------------------------------


def test_rows_stream_into_one_table_and_nothing_is_done_twice(crops, recipes, tmp_path):
    lengths = []

    def watch(table):
        stored = experiments.open_experiments(tmp_path / "all.csv")
        assert (table["status"] == "done").sum() == len(stored)
        lengths.append(len(stored))

    first = run({"slow": recipes["slow"]}, crops, tmp_path, table=tmp_path / "all.csv", watch=watch)
    assert lengths == [1, 2, 3]
    both = run(recipes, crops, tmp_path, table=tmp_path / "all.csv")
    assert len(both) == 6 and len(starts(tmp_path)) == len(set(starts(tmp_path))) == 6
    pd.testing.assert_frame_equal(both[both["name"] == "slow"].reset_index(drop=True), first)
    stored = experiments.open_experiments(tmp_path / "all.csv")
    pd.testing.assert_frame_equal(
        stored, both.sort_values(["name", "fold", "seed"], ignore_index=True)
    )


def test_the_order_in_which_experiments_end_leaves_no_trace(crops, recipes, tmp_path):
    turned = dict(reversed(recipes.items()))
    run(recipes, crops, tmp_path / "a")
    run(turned, crops, tmp_path / "b")
    one, other = ((tmp_path / part / "experiments/table.csv").read_bytes() for part in "ab")
    assert one == other


def test_a_recipe_under_two_names_is_done_once(crops, recipes, tmp_path):
    table = run({"base": recipes["slow"], "rate=1e-4": recipes["slow"]}, crops, tmp_path)
    assert len(table) == 6 and table["key"].nunique() == 3 == len(starts(tmp_path))
    assert (table["status"] == "done").all()


def test_other_data_recipe_or_way_of_doing_it_is_another_experiment(crops, recipes, tmp_path):
    def other_way(experiment):
        return stand_in(experiment)

    keys = [
        set(run({"a": recipe}, data, tmp_path, **more)["key"])
        for recipe, data, more in (
            (recipes["slow"], crops, {}),
            (recipes["quick"], crops, {}),
            (recipes["slow"], crops.subset(range(20)), {}),
            (recipes["slow"], crops, {"folds": 2}),
            (recipes["slow"], crops, {"seeds": [7]}),
            (recipes["slow"], crops, {"conduct": other_way}),
        )
    ]
    assert len(set.union(*keys)) == sum(map(len, keys))
    part = run({"a": recipes["slow"]}, crops, tmp_path, only_folds=[2])
    assert part["fold"].tolist() == [2] and set(part["key"]) < keys[0]


def test_failures_are_rows_and_are_tried_again(crops, recipes, tmp_path):
    wild = recipes | {"wild": quick(learning_rate=0.9)}
    table = run(wild, crops, tmp_path)
    assert table["status"].value_counts().to_dict() == {"done": 6, "failed": 3}
    errors = table.loc[table["name"] == "wild", "error"]
    assert set(errors) == {"ArithmeticError: diverged, see <work folder>/runs"}

    key = table.loc[table["name"] == "wild", "key"].iloc[0]
    kept = json.loads((tmp_path / "experiments" / f"{key}.json").read_text())
    assert "Traceback" in kept["traceback"]
    (tmp_path / "repaired").touch()
    assert (run(wild, crops, tmp_path)["status"] == "done").all()
    assert len(starts(tmp_path)) == len(set(starts(tmp_path))) == 9  # the others were left alone
    stored = experiments.open_experiments(tmp_path / "experiments/table.csv")
    assert len(stored) == 9 and (stored["error"] == "").all()


def test_after_the_minutes_no_more_are_started(crops, recipes, tmp_path):
    table = run(recipes, crops, tmp_path, minutes=0)
    assert (table["status"] == "not started").all() and len(table) == 6
    assert not len(experiments.open_experiments(tmp_path / "experiments/table.csv"))
    line = experiments.summary_by_recipe(table, tmp_path).iloc[0]
    assert line["not_started"] == 3 and line["interval"] == "undefined: no experiment done"
    assert (run(recipes, crops, tmp_path, minutes=10)["status"] == "done").all()


def test_bad_input_is_refused_before_anything_starts(crops, recipes, tmp_path):
    def refused(match, recipes=recipes, data=crops, **more):
        with pytest.raises(ValueError, match=match):
            run(recipes, data, tmp_path, **more)

    refused("7 folds of 6 subjects", folds=7)
    refused(
        "1 is left to train on", data=crops.of_subjects(crops.index.subject.unique()[:2]), folds=2
    )
    refused("this one is empty", recipes={})
    refused("no slices for 'quick'", data={"slow": crops})
    refused("'unet' is none", recipes={"unet": "unet"})
    refused("each once", seeds=(1, 1))
    refused("at least one", seeds=())
    refused("choose from 0 to 2", only_folds=[3])
    foreign = tmp_path / "other.csv"
    foreign.write_text("subject,dice\na,0.5\n")
    refused("is no table of experiments", table=foreign)
    assert foreign.read_text() == "subject,dice\na,0.5\n"
    assert not (tmp_path / "starts.txt").exists()


# On a cluster ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three_workers():
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as local,
    ):
        yield local.scheduler_address


def wait_for(path):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def test_a_killed_worker_loses_its_own_experiment_alone(three_workers, crops, recipes, tmp_path):
    """One of three workers gets SIGKILL in the middle; two others are in the middle as well."""
    wild = recipes | {"wild": quick(learning_rate=0.9)}
    here = run(wild, crops, tmp_path / "here", seeds=(0, 1))

    def conduct(experiment):
        folder = Path(experiment.work_dir)
        with open(folder / "tries.txt", "a") as file:
            file.write(f"{experiment.key} {os.getpid()}\n")
        while not (folder / "go on").exists():  # until the test has killed somebody
            time.sleep(0.02)
        return stand_in(experiment)

    conduct.__qualname__ = "stand_in"  # the same keys as `here`
    tables = []
    there = tmp_path / "there"
    there.mkdir()
    thread = threading.Thread(
        target=lambda: tables.append(
            run(wild, crops, there, seeds=(0, 1), conduct=conduct, scheduler=three_workers)
        )
    )
    thread.start()
    deadline = time.monotonic() + 120
    running = []
    while len(running) < 3:
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.05)
        if (there / "tries.txt").exists():
            running = [line.split() for line in (there / "tries.txt").read_text().splitlines()]
    victim, process = running[1]
    assert len({pid for _, pid in running}) == 3
    os.kill(int(process), signal.SIGKILL)
    (there / "go on").touch()
    thread.join(timeout=120)

    tries = [line.split() for line in (there / "tries.txt").read_text().splitlines()]
    again = [pid for key, pid in tries if key == victim]
    assert len(again) == 2 and again[1] != process
    assert len(tries) == 18 + 1 and len({key for key, _ in tries}) == 18
    pd.testing.assert_frame_equal(tables[0], here)
    assert (there / "experiments/table.csv").read_bytes() == (
        tmp_path / "here/experiments/table.csv"
    ).read_bytes()


def test_a_recipe_that_kills_every_worker_is_a_row(three_workers, crops, recipes, tmp_path):
    def deadly(experiment):
        if experiment.recipe["learning_rate"] == 1e-2:
            os.kill(os.getpid(), signal.SIGKILL)
        return stand_in(experiment)

    table = run(recipes, crops, tmp_path, conduct=deadly, scheduler=three_workers, only_folds=[0])
    assert table["status"].tolist() == ["done", "failed"]
    assert "KilledWorker" in table["error"].iloc[1]


def test_side_by_side_in_processes_gives_the_same_table(crops, recipes, tmp_path):
    wild = recipes | {"wild": quick(learning_rate=0.9)}
    here = run(wild, crops, tmp_path / "here", seeds=(0, 1))
    pids = tmp_path / "pids.txt"

    def conduct(experiment):
        with open(pids, "a") as file:
            file.write(f"{os.getpid()} {os.environ['TF_NUM_INTRAOP_THREADS']}\n")
        return stand_in(experiment)

    conduct.__qualname__ = "stand_in"  # the same keys as `here`
    there = run(wild, crops, tmp_path / "there", seeds=(0, 1), conduct=conduct, workers=2)
    pd.testing.assert_frame_equal(there, here)
    assert str(os.getpid()) not in pids.read_text().split()


def test_when_a_process_is_killed_the_rest_is_done_here(crops, recipes, tmp_path):
    me = os.getpid()

    def deadly(experiment):
        if experiment.recipe["learning_rate"] == 1e-2 and os.getpid() != me:
            os.kill(os.getpid(), signal.SIGKILL)
        return stand_in(experiment)

    with pytest.warns(UserWarning, match="memory: going on with one training at a time"):
        table = run(recipes, crops, tmp_path, conduct=deadly, workers=2)
    assert table["status"].eq("done").all() and len(table) == 6


@pytest.fixture
def silent_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_scheduler_that_does_not_answer(crops, recipes, tmp_path, silent_port, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 0.3)
    for address in (f"tcp://127.0.0.1:{silent_port}", "tcp://127.0.0.1:9"):
        with pytest.raises(ValueError, match="No Dask scheduler answered at .*tcp://127"):
            run(recipes, crops, tmp_path, scheduler=address)
    for address in ("nonsense", "tcp://127.0.0.1:port"):
        with pytest.raises(ValueError, match="is no address of a Dask scheduler"):
            run(recipes, crops, tmp_path, scheduler=address)
    assert not (tmp_path / "starts.txt").exists()


def test_a_worker_without_the_work_folder_says_so(crops, recipes, tmp_path):
    experiment = next(iter(_runs._plan(recipes, crops, 3, (0,), None, tmp_path, stand_in).values()))
    elsewhere = replace(experiment, slices_folder="/not/mounted/here")
    result = _runs.perform(elsewhere, stand_in, None)
    assert result["status"] == "failed"
    assert "every worker must reach the same work folder" in result["error"]


def test_nothing_large_travels_to_a_worker(crops, recipes, tmp_path):
    from distributed.protocol.pickle import dumps

    for data in (crops, crops.subset(range(1, 24))):
        plan = _runs._plan(recipes, data, 3, (0,), None, tmp_path, stand_in)
        assert max(len(dumps(experiment)) for experiment in plan.values()) < 2000


# Summaries and recorded results ----------------------------------------------------------------


def test_a_summary_rests_on_subjects(crops, recipes, tmp_path):
    wild = recipes | {"wild": quick(learning_rate=0.9)}
    table = run(wild, crops, tmp_path, seeds=(0, 1, 2))
    lines = experiments.summary_by_recipe(table, tmp_path).set_index("name")
    # Of the stand-in: rate + 0.1 × seed + 0.01 × number of the subject, 0 to 5.
    assert lines.loc["slow", "mean"] == pytest.approx(1e-4 + 0.1 + 0.025)
    assert lines.loc["quick", "mean"] == pytest.approx(1e-2 + 0.1 + 0.025)
    assert lines.loc["slow", "seed_sd"] == pytest.approx(0.1)
    assert lines.loc["slow", ["experiments", "failed", "subjects"]].tolist() == [9, 0, 6]
    low, high = lines.loc["slow", ["low", "high"]]
    # Seeds of a subject stay together, so between subjects there are 0.01 × (0 … 5) alone.
    assert 0.1251 - 0.025 < low < 0.1251 < high < 0.1251 + 0.025
    assert lines.loc["wild", ["experiments", "failed", "subjects"]].tolist() == [0, 9, 0]
    assert pd.isna(lines.loc["wild", "mean"])
    assert pd.isna(
        experiments.summary_by_recipe(table[table["seed"] == 0], tmp_path)["seed_sd"]
    ).all()
    with pytest.raises(ValueError, match="give the work_dir"):
        experiments.subject_scores(table, tmp_path / "elsewhere")


def test_a_recorded_result_comes_back_with_its_provenance(crops, recipes, tmp_path):
    table = run(recipes, crops, tmp_path)
    tables = {"summary": experiments.summary_by_recipe(table, tmp_path), "experiments": table}
    assert experiments.open_result("networks-smoke", tmp_path) is None
    file = experiments.save_result(
        "networks-smoke", tables, tmp_path, profile="smoke", **experiments.evidence(table)
    )
    text = file.read_text()
    assert file == tmp_path / "networks-smoke.json" and str(tmp_path) not in text
    assert text.count('"name":"slow"') == 1 + 3
    found = experiments.open_result("networks-smoke", tmp_path)
    assert found.tables["experiments"]["dice"].tolist() == pytest.approx(table["dice"].tolist())
    assert found.tables["summary"]["name"].tolist() == ["slow", "quick"]
    about = found.provenance
    assert about["data"] == [crops.key] and about["seed"] == [0] and about["device"] == ["none"]
    assert about["seconds"] == 12 and about["versions"]["keras"] and about["profile"] == "smoke"
    assert {"commit", "finished", "cores"} <= set(about)


def test_a_file_that_is_no_result_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"tables": []}')
    with pytest.raises(ValueError, match="a.json is no recorded result"):
        experiments.open_result("a", tmp_path)
    with pytest.raises(ValueError, match="is no name of a result"):
        experiments.open_result("../a", tmp_path)
