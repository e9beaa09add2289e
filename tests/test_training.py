"""Recipe in, Run out: refused, resumed, repeated."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from kenseg_utils import artifacts, batches, devices, training

TINY = dict(widths=(4, 8), options=dict(blocks_per_node=1), epochs=3, batch_size=8,
            precision="float32")


@pytest.fixture(scope="module")
def data(smoke_crops):
    """A few slices to train on and to validate on."""
    train, validation, _ = smoke_crops
    return train.subset(np.linspace(0, len(train) - 1, 24).astype(int)), validation.subset(range(4))


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """An uninterrupted run."""
    return training.train(training.Recipe.quick(**TINY), *data,
                          run_dir=tmp_path_factory.mktemp("runs") / "straight", progress=False)


@pytest.mark.parametrize(("field", "value"), [
    ("network", "u-net"), ("loss", "mse"), ("optimizer", "sgd"), ("schedule", "step"),
    ("precision", "half"), ("batch_size", 0), ("epochs", 2.5), ("learning_rate", 0),
    ("weight_decay", -1), ("steps_per_execution", 0), ("decay", "none")])
def test_a_recipe_names_the_field_that_is_out_of_range(field, value):
    with pytest.raises(ValueError, match=f"Recipe.{field} is"):
        training.Recipe(**{field: value})


def test_the_paper_s_recipe():
    recipe = training.Recipe.paper()
    assert (recipe.network, recipe.widths) == ("ken_unetpp", (32, 64, 128, 256, 512))
    assert (recipe.loss, recipe.optimizer) == ("sparse_categorical_crossentropy", "adam")
    assert (recipe.learning_rate, recipe.weight_decay) == (1e-6, 1e-4)
    assert (recipe.batch_size, recipe.epochs) == (1, 40)


def test_a_run_holds_its_evidence(straight, data):
    history = straight.history
    assert history.epoch.tolist() == [1, 2, 3]
    assert history.loss.iloc[-1] < history.loss.iloc[0]
    assert history.waiting.between(0, 1).all()
    assert straight.recipe == training.Recipe.quick(**TINY)
    evidence = straight.provenance
    assert evidence["train"] == data[0].key and evidence["versions"]["keras"]
    assert {path.name for path in straight.folder.iterdir()} == {
        "recipe.json", "history.csv", "model.keras", "provenance.json", ".lock"}
    images, _ = data[1].batch(range(2))
    assert np.asarray(straight.model(images)).shape == (2, 128, 128, 2)


def test_a_finished_run_is_opened_not_repeated(straight, data, monkeypatch):
    monkeypatch.setattr(training, "build", lambda *_: pytest.fail("trained again"))
    training.train(training.Recipe.quick(**TINY), *data, run_dir=straight.folder)


def test_another_recipe_is_refused_by_field_and_nothing_changes(straight, data):
    before = {path: path.read_bytes() for path in straight.folder.iterdir() if path.is_file()}
    other = training.Recipe.quick(**TINY | {"learning_rate": 1e-4})
    with pytest.raises(ValueError, match="learning_rate: 0.002 there, 0.0001 now"):
        training.train(other, *data, run_dir=straight.folder)
    with pytest.raises(ValueError, match="validation"):
        training.train(straight.recipe, data[0], data[1].subset([0]), run_dir=straight.folder)
    assert before == {path: path.read_bytes() for path in before}


def test_same_recipe_same_data_same_history_after_any_interruption(straight, data, tmp_path,
                                                                  monkeypatch):
    """Stopped after the first epoch, and again in the middle of writing the second checkpoint."""
    recipe = straight.recipe
    checkpoint = training._checkpoint
    stops = iter(["after", "before"])

    def stopping(model, history, folder):
        when = next(stops, None)
        if when == "before":  # the history is written, its weights are not
            with artifacts.write_aside(folder / "history.csv") as aside:
                pd.DataFrame(history).to_csv(aside, index=False)
            (folder / ".partial-x.keras").write_bytes(b"half a checkpoint")
            raise KeyboardInterrupt
        checkpoint(model, history, folder)
        if when == "after":
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_checkpoint", stopping)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            training.train(recipe, *data, run_dir=tmp_path / "run", progress=False)
    run = training.train(recipe, *data, run_dir=tmp_path / "run", progress=False)
    columns = ["epoch", "loss", "val_loss", "val_dice", "learning_rate"]
    pd.testing.assert_frame_equal(run.history[columns], straight.history[columns], rtol=1e-5)
    assert not list(run.folder.glob(".partial-*"))


def test_a_corrupt_checkpoint_is_named_and_the_one_before_it_serves(data, tmp_path, monkeypatch):
    recipe = training.Recipe.quick(**TINY)
    monkeypatch.setattr(training, "provenance", lambda **_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError):
        training.train(recipe, *data, run_dir=tmp_path, progress=False)
    monkeypatch.undo()
    last = tmp_path / "epoch-0003.keras"
    last.write_bytes(last.read_bytes()[:2000])
    with pytest.warns(UserWarning, match="epoch-0003.keras cannot be read"):
        run = training.train(recipe, *data, run_dir=tmp_path, progress=False)
    assert len(run.history) == 3


def test_a_loss_that_is_not_a_number_is_named(data, tmp_path, monkeypatch):
    plain = batches.Batches.batch

    def poisoned(self, number):
        images, labels = plain(self, number)
        return images * np.nan, labels

    monkeypatch.setattr(batches.Batches, "batch", poisoned)
    with pytest.raises(training.TrainingError, match="lower learning_rate"):
        training.train(training.Recipe.quick(**TINY), *data, run_dir=tmp_path, progress=False)


def test_more_in_a_batch_than_there_is(data, tmp_path):
    with pytest.raises(ValueError, match="only 24 slices"):
        training.train(training.Recipe.quick(**TINY | {"batch_size": 25}), *data, run_dir=tmp_path)


def test_batches_do_not_depend_on_what_ran_before(data):
    def drawn(epoch):
        made = batches.Batches(data[0], 8, seed=1, epoch=epoch, augment=True)
        return [images for images, _ in made.generate()]

    first = drawn(1)
    assert all((a == b).all() for a, b in zip(first, drawn(1), strict=True))
    assert not (first[0] == drawn(2)[0]).all()
    seen = np.concatenate([batches.Batches(data[0], 8, epoch=0).batch(n)[1] for n in range(3)])
    assert seen.sum() == data[0].masks.sum()  # every slice once


def test_an_error_in_the_reading_thread_reaches_the_caller(data, monkeypatch):
    made = batches.Batches(data[0], 8)
    monkeypatch.setattr(made, "batch", lambda number: (_ for _ in ()).throw(OSError("disk gone")))
    with pytest.raises(OSError, match="disk gone"):
        list(made.generate())


def test_augmentation_moves_image_and_mask_together():
    rows, columns = np.mgrid[:64, :64]
    mask = (((rows - 20) ** 2 + (columns - 40) ** 2) < 100).astype(np.uint8)
    image = mask[..., None].astype(np.float32) * 10
    for seed in range(20):
        moved, moved_mask = batches.augment(image, mask, np.random.default_rng(seed))
        inside = moved[..., 0] > (moved.max() + moved.min()) / 2
        assert moved.dtype == np.float32 and set(np.unique(moved_mask)) <= {0, 1}
        assert (inside & (moved_mask > 0)).sum() / (inside | (moved_mask > 0)).sum() > 0.85


def test_noise_alone_changes_the_image_and_nothing_else(data):
    plain, noisy = (batches.Batches(data[0], 8, seed=1, augment=augment).batch(0)
                    for augment in (False, "noise"))
    assert (plain[1] == noisy[1]).all()
    difference = (noisy[0] - plain[0]).reshape(8, -1)
    assert (0 < difference.std(axis=1)).all() and (difference.std(axis=1) < 0.16).all()
    assert np.abs(difference.mean(axis=1)).max() < 0.02
    with pytest.raises(ValueError, match="augment is 'blur': choose one of False, True, noise"):
        training.Recipe.quick(augment="blur")


def test_precision_can_be_forced_and_unknown_ones_are_refused():
    assert devices.choose_precision("float32") == "float32"
    assert devices.choose_precision() in devices.PRECISIONS
    with pytest.raises(ValueError, match="mixed_bfloat16"):
        devices.choose_precision("bf16")


KILLED = """
import json, sys
from kenseg_utils import slices, training
whole = slices.open_set(sys.argv[1])
train, validation = (whole.subset(rows) for rows in json.loads(sys.argv[2]))
recipe = training.Recipe.quick(**json.loads(sys.argv[3]))
training.train(recipe, train, validation, run_dir=sys.argv[4], progress=False)
"""


def test_killed_with_kill_9_it_goes_on_from_the_last_whole_epoch(straight, data, tmp_path):
    train, validation = data
    rows = [part.rows.tolist() for part in data]
    subset = train.subset(range(len(train)))
    recipe = TINY | {"epochs": 200}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(train.folder), json.dumps(rows),
                                json.dumps(recipe), str(tmp_path)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("epoch-0002.keras")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "provenance.json").exists()
    model, history = training._resume(tmp_path)
    assert model is not None and len(history) >= 2
    assert len(subset) == len(train) and [row["epoch"] for row in history] == list(
        range(1, len(history) + 1))
