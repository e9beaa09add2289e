"""The paper at its own scale: what is recorded, the loop on the device, and the command."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.text import Text

from kenseg_utils import experiments, figures, training
from kenseg_utils.figures import _paper

sys.path.append(str(ROOT / "benchmarks"))
import paper  # noqa: E402
import paper_loop  # noqa: E402

COMPARED = ["epoch", "loss", "val_loss", "val_dice", "val_dice_pooled", "learning_rate"]


# --- The recorded result -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    return experiments.open_result("paper_scale", ROOT / "results").tables


@pytest.fixture(scope="module")
def h100(tables):
    """The runs of the card that the first record was made on, by name."""
    runs = tables["runs"]
    return runs[runs["seed"].eq(0) & runs["device"].str.contains("H100")].set_index("run")


def curve(tables, name):
    history = tables["history"]
    return history[history["run"].eq(name) & history["seed"].eq(0)].set_index("epoch")


@pytest.mark.parametrize(
    ("name", "epochs", "steps", "dice"),
    [
        ("paper", 17, 41293, (0.29, 0.35, 0.48)),
        ("paper_legacy_decay", 16, 38864, (0.30, 0.36, 0.53)),
        ("paper_no_ken", 6, 14574, (0.29, 0.33, 0.59)),
        ("paper_unet", 16, 38864, None),
        ("quick_full", 31, 4681, (0.73, 0.77, 0.86)),
    ],
)
def test_the_recorded_runs_are_those_of_the_card(h100, name, epochs, steps, dice):
    if name not in h100.index:
        pytest.skip("another machine's run got further and has its place")
    row = h100.loc[name]
    if row["key"]:
        pytest.skip("a later run got further and has its place")
    assert (row["epochs"], row["epochs_meant"], row["steps"]) == (epochs, 40, steps)
    assert "by the clock" in row["ended"] and "one seed" in row["note"]
    found = row[list(paper.AVERAGES.values())]
    assert found.isna().all() if dice is None else tuple(found.astype(float).round(2)) == dice
    assert (row["backend"], row["commit"], row["precision"]) == (
        "jax",
        "45fc29607895",
        "mixed_bfloat16",
    )


def test_what_is_recorded_says_where_it_came_from():
    about = experiments.open_result("paper_scale", ROOT / "results").provenance
    first = about["by_run"]["paper-0"]
    assert "H100" in first["device"] and first["versions"]["jax"] == "0.11.2"
    assert set(about["by_run"]) == set(about["recipes"])
    assert training.Recipe(**about["recipes"]["paper-0"]) == training.Recipe.paper()
    # Keys were computed otherwise at first; by subject and pixel the slices are the same.
    assert about["data"]["keys"]["train"] == "b90f4db86793"
    assert about["data"]["keys_at_first"]["train"] == "45cf2ee62d8a"
    assert about["by_run"]["paper_unet-0"]["device"] == "GPU (NVIDIA H200)"


def test_rows_of_subjects_and_means_agree(tables):
    """The three averages can be computed anew from the rows of the test subjects."""
    scored = tables["runs"].dropna(subset=["tested_epoch"])
    assert len(scored) >= 4
    for row in scored.to_dict("records"):
        subjects = paper._rows_of(tables["test_subjects"], row)
        assert len(subjects) == row["test_subjects"]
        assert subjects["slices"].sum() == row["test_slices"]
        tp, fp, fn = (subjects[name].sum() for name in ("tp", "fp", "fn"))
        by_slice = np.average(subjects["mean_slice_dice"], weights=subjects["slices"])
        for found, column in (
            (by_slice, "test_dice_per_slice"),
            (subjects["dice"].mean(), "test_dice_per_subject"),
            (2 * tp / (2 * tp + fp + fn), "test_dice_pooled"),
        ):
            assert found == pytest.approx(row[column], abs=1e-8), (row["run"], column)


def test_all_runs_were_tested_on_the_same_slices(tables):
    """Whichever card and day: the same lesions' pixels in as many slices of each subject."""
    subjects = tables["test_subjects"].assign(
        lesion=lambda rows: rows["tp"] + rows["fn"], rest=lambda rows: rows["fp"] + rows["tn"]
    )
    counts = subjects.groupby("subject")[["slices", "lesion", "rest"]].nunique()
    assert len(counts) == 16 and counts.eq(1).all(axis=None)
    assert tables["runs"]["data"].nunique() == 1


def test_one_run_has_all_its_epochs(tables):
    """The U-Net under the paper's recipe: over-fits, too, and is scored."""
    row = paper._rows_of(tables["runs"], dict(run="paper_unet", seed=0)).iloc[0]
    assert (row["epochs"], row["steps"], row["ended"]) == (40, 97160, "complete")
    epochs = curve(tables, "paper_unet")
    assert epochs["val_loss"].idxmin() < 20 and epochs["loss"].idxmin() == 40
    assert epochs["val_loss"][40] > 1.2 * epochs["val_loss"].min()
    assert epochs["val_dice_per_slice"].notna().all()


def test_rows_of_epochs_and_runs_agree(tables):
    for row in tables["runs"].to_dict("records"):
        epochs = paper._rows_of(tables["history"], row)
        assert epochs["epoch"].tolist() == list(range(1, row["epochs"] + 1))
        assert epochs["steps"].iloc[-1] == row["steps"]
        assert row["steps"] == row["epochs"] * (row["train_slices"] // row["batch"])
        assert epochs[["loss", "val_loss", "val_dice", "val_dice_pooled"]].notna().all(axis=None)


def test_what_the_book_says_of_the_paper_s_recipe_can_be_read_from_the_rows(tables, h100):
    recipe = curve(tables, "paper")
    # At full width a rate of 1e-6 learns within five epochs, 12,145 steps ...
    assert recipe["val_dice"][1] < 0.15 and recipe["val_dice"][5] > 0.45
    assert recipe["steps"][5] == 12145
    # ... and then over-fits: what it trains on gets better, what it is judged by worse.
    lowest = recipe["val_loss"].idxmin()
    assert lowest <= 5 and recipe["loss"].is_monotonic_decreasing
    assert recipe["val_loss"].iloc[-1] > 1.3 * recipe["val_loss"][lowest]
    assert recipe["val_dice"].idxmax() <= 7
    # After as many epochs, neither the Ken block nor the grid is ahead.
    without, unet = curve(tables, "paper_no_ken"), curve(tables, "paper_unet")
    assert recipe["val_dice"][6] < without["val_dice"][6]
    assert recipe["val_dice"][16] < unet["val_dice"][16]
    # The old reading of decay changes little, and the other recipe much.
    old = curve(tables, "paper_legacy_decay")
    assert abs(recipe["val_dice"][16] - old["val_dice"][16]) < 0.02
    per_subject = h100["test_dice_per_subject"].astype(float)
    assert per_subject["quick_full"] > 2 * per_subject["paper"]


# --- The loop ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def size():
    return paper.SIZES["smoke"]


@pytest.fixture(scope="module")
def plans(size):
    """Two small runs: of the paper's recipe, and of the quick one, which augments."""
    return {plan.name: plan for plan in paper.plans(size) if plan.recipe.seed == 0}


@pytest.fixture(scope="module")
def parts(plans, size, smoke_scans, work_dir):
    return paper.open_parts(plans["paper_unet"], size, smoke_scans, work_dir)


@pytest.fixture(scope="module")
def straight(plans, parts, tmp_path_factory):
    """The history that `training.train` gives of a plan."""

    def history(name):
        run = training.train(
            plans[name].recipe,
            *parts[:2],
            progress=False,
            run_dir=tmp_path_factory.mktemp("straight"),
        )
        return run.history

    return {name: history(name) for name in ("paper_unet", "quick_full_unet")}


def through_the_loop(plan, parts, state=None, model=None, **options):
    """A plan's history by `paper_loop.run`."""
    recipe, (train, validation, _) = plan.recipe, parts
    model = model or paper.build(plan, train.shape, len(train) // recipe.batch_size * recipe.epochs)
    data = training.Epochs(
        train, recipe.batch_size, recipe.seed, recipe.augment, options.pop("room", 2**30)
    )
    return pd.DataFrame(
        paper_loop.run(
            training.compile_steps(model),
            data,
            state or paper_loop.Progress(),
            recipe.epochs,
            validate=lambda: training.validate(model, recipe, validation),
            **options,
        )
    )


def test_the_loop_s_history_is_that_of_train(plans, parts, straight):
    """With augmentation, whose batches are made ahead, and a rate that changes each step."""
    history = through_the_loop(plans["quick_full_unet"], parts)
    expected = straight["quick_full_unet"]
    pd.testing.assert_frame_equal(history[COMPARED], expected[COMPARED], rtol=1e-4, atol=1e-5)
    assert expected.loss[0] != pytest.approx(expected.loss[1], rel=1e-3)  # it did learn something
    assert history.waiting.between(0, 1).all() and "found_lesion" not in history


def test_slices_that_do_not_fit_are_handed_over_in_batches(plans, parts, straight):
    with pytest.warns(UserWarning, match="do not fit on the device.*handed over in batches"):
        history = through_the_loop(plans["paper_unet"], parts, room=1000)
    pd.testing.assert_frame_equal(
        history[COMPARED], straight["paper_unet"][COMPARED], rtol=1e-4, atol=1e-5
    )


def test_both_ways_of_handing_over_draw_the_batches_of_batches(parts):
    from kenseg_utils.training import Batches

    train = parts[0]
    for augment in (False, True):
        source = Batches(train, 4, seed=1, epoch=3, augment=augment)
        drawn = training.Epochs(train, 4, 1, augment).begin(3, first=2)
        images, labels, rows = drawn.draw(2, 2)
        drawn.close()
        for number in range(2):
            image, label = source.batch(2 + number)
            for drawn_part, part in ((images, image), (labels, label)):
                found = np.asarray(drawn_part)[rows[number]].astype(part.dtype)
                np.testing.assert_array_equal(found, part)


def test_a_loss_that_is_not_a_number_is_named(plans, parts, monkeypatch):
    plan = plans["quick_full_unet"]
    model = paper.build(plan, parts[0].shape, 4)
    state = paper_loop.Progress(batches=len(parts[0]) // plan.recipe.batch_size)  # all are done
    monkeypatch.setattr(model, "get_metrics_result", lambda: {"loss": float("nan")})
    with pytest.raises(training.TrainingError, match="nan in epoch 1: lower learning_rate"):
        through_the_loop(plan, parts, state, model)


def test_the_three_readings_of_weight_decay_are_run():
    plans = {plan.name: plan for plan in paper.plans(paper.SIZES["paper"])}
    readings = [plans[name] for name in ("paper", "paper_legacy_decay", "paper_coupled_decay")]
    assert [plan.recipe.decay for plan in readings] == ["decoupled", "rate", "coupled"]
    assert {plan.recipe.weight_decay for plan in readings} == {1e-4}
    assert len({plan.decay for plan in readings}) == 3


def test_the_runs_are_those_that_are_wanted():
    plans = paper.plans(paper.SIZES["paper"])
    names = [plan.name for plan in plans]
    assert names[:4] == ["paper", "paper_unet", "paper_no_ken", "paper_legacy_decay"]
    assert all(
        names.count(name) == 3
        for name in ("quick_full", "quick_full_no_ken", "quick_full_unetpp", "quick_full_unet")
    )
    quick = {plan.recipe.network for plan in plans if plan.name.startswith("quick_full")}
    assert len(quick) == 11
    assert {plan.protocol for plan in plans if plan.name.startswith("whole")} == {"whole_slice"}
    assert {plan.recipe.epochs for plan in plans} == {40}
    assert next(plan for plan in plans if plan.recipe.network == "dunet").channels == 4


# --- The command ---------------------------------------------------------------------------------


class Killed(KeyboardInterrupt):
    """What a killed process is to a test."""


@pytest.fixture
def command(work_dir, smoke_scans, tmp_path):
    """Run the command on profile smoke, with nothing there before: command(*arguments)."""
    shutil.rmtree(work_dir / "paper", ignore_errors=True)

    def run(*arguments):
        return paper.main(
            [
                "--profile",
                "smoke",
                "--work-dir",
                str(work_dir),
                "--results",
                str(tmp_path),
                *arguments,
            ]
        )

    return run


def test_interrupted_and_killed_it_ends_as_if_nothing_had_happened(
    command, straight, work_dir, tmp_path, monkeypatch, capsys
):
    """A piece that ends within an epoch, one that is killed in the next, and the rest."""
    once = ("--runs", "paper_unet")
    assert command(*once, "--minutes", "0.0001") == paper.MORE
    (folder,) = (work_dir / "paper").glob("paper_unet-0-*")
    with np.load(folder / "state.npz", allow_pickle=False) as state:
        left = json.loads(state["about"].tobytes())
    assert left["batches"] > 0 and left["history"] == []

    real, calls = training.validate, []

    def killed_in_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(training, "validate", killed_in_the_second)
    monkeypatch.setattr(paper, "SAVED_EVERY", 0)
    with pytest.raises(Killed):
        command(*once)
    assert len(experiments.open_result(paper.NAME, tmp_path).tables["history"]) == 1
    monkeypatch.undo()

    assert command(*once) == paper.DONE
    assert "from epoch 2, batch 1" in capsys.readouterr().out
    run = training.Run(folder)
    pd.testing.assert_frame_equal(
        run.history[COMPARED], straight["paper_unet"][COMPARED], rtol=1e-4, atol=1e-5
    )
    assert run.model.count_params() == run.provenance["parameters"]
    assert not (folder / "state.npz").exists()

    tables = experiments.open_result(paper.NAME, tmp_path).tables
    row = tables["runs"].iloc[0]
    assert (row["epochs"], row["ended"], row["tested_epoch"]) == (2, "complete", 2)
    np.testing.assert_allclose(tables["history"]["loss"], run.history["loss"], atol=1e-9)
    assert row["test_dice_per_subject"] == pytest.approx(tables["test_subjects"]["dice"].mean())
    assert tables["history"]["val_dice_per_slice"].notna().all()

    shutil.rmtree(tmp_path)  # what is done can be recorded anew, and is not trained again
    monkeypatch.setattr(paper, "build", lambda *_: pytest.fail("trained again"))
    assert command(*once) == paper.DONE
    assert len(experiments.open_result(paper.NAME, tmp_path).tables["history"]) == 2
    command("--list")
    listed = capsys.readouterr().out
    assert "paper_unet" in listed and "2 of 2" in listed and "whole_full_unet" in listed


def test_a_run_that_fails_lets_the_others_go_on(command, work_dir, monkeypatch, capsys):
    monkeypatch.setattr(
        paper,
        "advance",
        lambda plan, *_: (
            (_ for _ in ()).throw(RuntimeError("RESOURCE_EXHAUSTED: out of memory"))
            if plan.name == "paper"
            else True
        ),
    )
    two = ("--runs", "paper", "paper_unet")
    assert command(*two) == paper.FAILED
    out = capsys.readouterr().out
    assert "out of memory" in out and "paper_unet, seed 0 (the paper's, U-Net):\n  done" in out
    assert command(*two) == paper.FAILED and "out of memory" not in capsys.readouterr().out
    (folder,) = (work_dir / "paper").glob("paper-0-*")
    assert "RESOURCE_EXHAUSTED" in json.loads((folder / "failed.json").read_text())["error"]


def test_a_state_that_is_broken_is_named_and_left_out(plans, parts, tmp_path, capsys):
    model = paper.build(plans["paper_unet"], parts[0].shape, 4)
    training.compile_steps(model)
    paper.save_state(model, paper_loop.Progress([dict(epoch=1, loss=1.0)], 3, 0.5), tmp_path)
    assert paper.open_state(model, tmp_path).batches == 3
    other = paper.build(
        replace(
            plans["paper_unet"], recipe=training.Recipe.paper(network="unet", widths=(4, 8, 8))
        ),
        parts[0].shape,
        4,
    )
    training.compile_steps(other)
    assert paper.open_state(other, tmp_path) == paper_loop.Progress()
    assert "another network" in capsys.readouterr().out
    file = tmp_path / "state.npz"
    file.write_bytes(file.read_bytes()[:1000])
    assert paper.open_state(model, tmp_path) == paper_loop.Progress()
    assert "state.npz cannot be used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "papper"], "no run is called papper: there are paper, paper_unet"),
        (["--minutes", "0"], "give more than 0"),
        (["--minutes", "nan"], "give more than 0"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as refusal:
        paper.main(arguments)
    assert refusal.value.code == 2 and message in " ".join(capsys.readouterr().err.split())


ON_JAX = """
import sys
from pathlib import Path
sys.path.insert(0, "benchmarks")
import pandas as pd
import paper
from kenseg_utils import training
from kenseg_utils.training import _device
work, results, out = map(Path, sys.argv[1:])
size = paper.SIZES["smoke"]
once = ["--profile", "smoke", "--work-dir", str(work), "--results", str(results), "--runs",
        "paper_unet"]
assert paper.main([*once, "--minutes", "0.0001"]) == paper.MORE
assert paper.main(once) == paper.DONE
plan = next(plan for plan in paper.plans(size) if plan.name == "paper_unet")
parts = paper.open_parts(plan, size, paper.open_scans("smoke", None, work), work)
run = training.train(plan.recipe, *parts[:2], run_dir=out, progress=False)
_device._FORCED = True
run = training.train(plan.recipe, *parts[:2], run_dir=out / "looped", progress=False)
assert run.provenance["loop"] == "one on the device"
"""


def test_on_jax_too_it_resumes_to_the_history_of_train(work_dir, smoke_scans, tmp_path):
    if not find_spec("jax"):
        pytest.skip("jax is not installed")
    shutil.rmtree(work_dir / "paper", ignore_errors=True)
    results, out = tmp_path / "results", tmp_path / "run"
    process = subprocess.run(
        [sys.executable, "-c", ON_JAX, str(work_dir), str(results), str(out)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "from epoch 1, batch 5" in process.stdout  # where the first piece had ended
    straight = training.Run(out).history
    (folder,) = (work_dir / "paper").glob("paper_unet-0-*")
    for looped in (folder, out / "looped"):  # the command's, and what `training.train` does itself
        pd.testing.assert_frame_equal(
            training.Run(looped).history[COMPARED], straight[COMPARED], rtol=1e-4, atol=1e-5
        )
    row = experiments.open_result(paper.NAME, results).tables["runs"].iloc[0]
    assert (row["backend"], row["ended"]) == ("jax", "complete")


def test_make_paper_calls_for_pieces_until_all_is_done(tmp_path):
    """The loop of the Makefile, with a stand-in that wants two pieces more, or fails."""
    stand_in = tmp_path / "python"
    stand_in.write_text(
        '#!/bin/sh\necho "$@" >> calls\n'
        "[ $(wc -l < calls) -ge ${WANTED:-3} ] && exit ${ENDS:-0}\nexit 75\n"
    )
    stand_in.chmod(0o755)

    def make(*arguments, **environment):
        (tmp_path / "calls").unlink(missing_ok=True)
        ended = subprocess.run(
            [
                "make",
                "-f",
                str(ROOT / "Makefile"),
                "-o",
                ".venv/.book",
                f"PY={stand_in}",
                "paper",
                *arguments,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"KENSEG_HOME": str(tmp_path), **environment},
        )
        return ended.returncode, (tmp_path / "calls").read_text().splitlines()

    code, calls = make("RUNS=paper paper_unet")
    assert code == 0 and calls == ["benchmarks/paper.py --minutes 10 --runs paper paper_unet"] * 3
    assert make(ENDS="1")[0] != 0
    code, calls = make("MINUTES=4", WANTED="1")
    assert code == 0 and calls == ["benchmarks/paper.py --minutes 4"]
    code, calls = make("MINUTES=0", WANTED="2")
    assert code == 0 and len(calls) == 1  # time is up after what was begun


# --- Merging -------------------------------------------------------------------------------------


def one_run(epochs, scored=True, run="paper", seed=0, key="here", device="GPU", data="slices"):
    row = dict(
        run=run,
        seed=seed,
        epochs=epochs,
        tested_epoch=epochs if scored else None,
        key=key,
        device=device,
        data=data,
        parameters=7,
    )
    tables = {
        "runs": pd.DataFrame([row]),
        "history": pd.DataFrame(
            [dict(run=run, seed=seed, epoch=epoch + 1, loss=1 / epochs) for epoch in range(epochs)]
        ),
    }
    if scored:
        tables["test_subjects"] = pd.DataFrame(
            [dict(run=run, seed=seed, subject="sub-1", dice=epochs / 100)]
        )
    return tables


@pytest.mark.parametrize(
    ("there", "comes", "epochs"),
    [
        (dict(epochs=17), dict(epochs=16, key="other"), 17),  # not as far
        (dict(epochs=17), dict(epochs=17, key="other"), 17),  # no further
        (dict(epochs=17), dict(epochs=18, key="other"), 18),
        (
            dict(epochs=17),
            dict(epochs=18, key="other", scored=False),
            17,
        ),  # further, but not scored
        (dict(epochs=16, scored=False), dict(epochs=16, key="other"), 16),
        (dict(epochs=17), dict(epochs=18, scored=False), 18),  # its own rows
        (dict(epochs=17), dict(epochs=3), 17),
    ],
)  # killed, it goes on from before
def test_a_run_takes_another_s_place_where_it_got_further(there, comes, epochs):
    before, fresh = paper.merge({}, one_run(**there)), one_run(**comes)
    after = paper.merge(before, fresh)
    assert after["runs"]["epochs"].tolist() == [epochs]
    assert after["history"]["epoch"].tolist() == list(range(1, epochs + 1))
    kept = there if after["history"].equals(before["history"]) else comes
    if comes["epochs"] == there["epochs"]:  # the rows of epochs cannot tell, those of subjects do
        kept = comes if not there.get("scored", True) else there
    assert len(after["test_subjects"]) == kept.get("scored", True)


def test_other_runs_and_seeds_stay(tmp_path):
    tables = {}
    for name, seed, epochs in (("quick_full", 0, 2), ("paper", 1, 3), ("paper", 0, 4)):
        tables = paper.merge(tables, one_run(epochs, run=name, seed=seed))
    assert tables["runs"][["run", "seed", "epochs"]].to_numpy().tolist() == [
        ["paper", 0, 4],
        ["paper", 1, 3],
        ["quick_full", 0, 2],
    ]
    assert tables["history"].groupby(["run", "seed"]).size().tolist() == [4, 3, 2]
    assert len(tables["test_subjects"]) == 3
    experiments.save_result(
        "kept", tables, tmp_path
    )  # and the same once it has been through a file
    opened = experiments.open_result("kept", tmp_path).tables
    assert paper.merge(opened, one_run(4))["runs"]["parameters"].tolist() == [7, 7, 7]


def test_runs_on_other_slices_are_refused():
    before = paper.merge({}, one_run(3))
    with pytest.raises(ValueError, match="paper, seed 0, is recorded on other slices"):
        paper.merge(before, one_run(5, data="others"))


def test_a_record_keeps_each_run_s_own_provenance(tmp_path, work_dir):
    about = dict(
        versions={"keras": "3.15.1"}, device="GPU (A)", finished="2026-01-02", python="3.12"
    )
    paper.record(one_run(3), about, {"seed": 0}, tmp_path)
    paper.record(
        one_run(2, run="quick_full", key="other"),
        about | dict(device="GPU (B)", versions={"keras": "3.16"}, finished="2026-01-01"),
        {"seed": 0},
        tmp_path,
    )
    paper.record(one_run(2, key="late"), about | dict(device="GPU (C)"), {"seed": 1}, tmp_path)
    found = experiments.open_result(paper.NAME, tmp_path).provenance
    assert found["device"] == ["GPU (A)", "GPU (B)"] and found["python"] == "3.12"
    assert found["versions"] == {"keras": ["3.15.1", "3.16"]} and found["finished"] == "2026-01-02"
    assert found["by_run"]["paper-0"]["device"] == "GPU (A)"  # the late one did not get further
    assert found["recipes"] == {"paper-0": {"seed": 0}, "quick_full-0": {"seed": 0}}


# --- The figure ----------------------------------------------------------------------------------


def texts(figure):
    return " | ".join(text.get_text() for text in figure.findobj(Text) if text.get_text())


def test_the_figure_names_what_it_shows(tables):
    figure = figures.paper_scale(tables["history"], tables["runs"])
    drawn = texts(figure)
    about = tables["runs"].set_index(["run", "seed"]).loc[("paper", 0)]
    for said in (
        f"{about['epochs']} of 40 epochs",
        f"{about['steps']:,} steps of 1 slice",
        f"{about['test_dice_pooled']:.2f}",
        "per slice",
        "per subject",
        "validation",
        "ended by\nthe clock",
        "lowest on validation slices: epoch 3",
    ):
        assert said in drawn, said
    left, right = figure.axes[0], figure.axes[1]
    epochs = curve(tables, "paper")
    np.testing.assert_array_equal(left.lines[0].get_ydata(), epochs["loss"])
    np.testing.assert_array_equal(left.lines[1].get_ydata(), epochs["val_loss"])
    assert right.get_title() != left.get_title()


def test_the_alternative_text_is_put_together_from_the_numbers(tables):
    said = figures.paper_scale_alt(tables["history"], tables["runs"])
    about = tables["runs"].set_index(["run", "seed"]).loc[("paper", 0)]
    assert f"over {about['epochs']} of 40 epochs" in said
    assert f"{about['test_dice_per_slice']:.2f} per slice" in said and "nan" not in said
    changed = tables["runs"].assign(test_dice_pooled=0.111)
    assert "0.11 pooled" in figures.paper_scale_alt(tables["history"], changed)
    unscored = tables["runs"].assign(**dict.fromkeys(paper.AVERAGES.values(), None))
    assert "was not scored" in figures.paper_scale_alt(tables["history"], unscored)


def test_a_figure_of_a_run_that_is_not_there_is_refused(tables):
    with pytest.raises(ValueError, match="no run 'other' with seed 0 is recorded: there are paper"):
        figures.paper_scale(tables["history"], tables["runs"], {"other": "Another"})


def test_labels_of_points_that_lie_close_do_not_cover_each_other():
    moved = _paper._apart([0.86, 0.77, 0.76, 0.75])
    assert moved[:2] == [0.86, 0.77] and np.diff(moved).max() <= -0.06


def test_what_was_kept_by_slice_is_drawn_and_a_whole_run_says_so(tables):
    history = tables["history"].assign(val_dice_per_slice=0.5)
    runs = tables["runs"].assign(epochs_meant=tables["runs"]["epochs"])
    drawn = texts(figures.paper_scale(history, runs, {"paper": "Paper"}))
    assert "ended by" not in drawn and "per slice" in drawn
    assert "per slice from 0.50 to 0.50" in figures.paper_scale_alt(
        history, runs, {"paper": "Paper"}
    )
