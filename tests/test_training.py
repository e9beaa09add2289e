"""Recipe in, Run out: refused, resumed, repeated."""

import errno
import json
import signal
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from kenseg_utils import losses, networks, slices, training
from kenseg_utils.machine import _devices as devices
from kenseg_utils.training import _checkpoints as checkpoints
from kenseg_utils.training import _device as on_device
from kenseg_utils.training import _loop as loop
from kenseg_utils.training import _traced as traced

# The least network; chapter 5 trains, interrupts and resumes the Ken-model, test_networks all.
TINY = dict(network="unet", widths=(4, 8), epochs=3, batch_size=8, precision="float32")


@pytest.fixture(scope="module")
def data(smoke_crops):
    """A few slices to train on and to validate on."""
    train, validation, _ = smoke_crops
    return train.subset(np.linspace(0, len(train) - 1, 24).astype(int)), validation.subset(range(4))


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """An uninterrupted run."""
    return training.train(
        training.Recipe.quick(**TINY),
        *data,
        run_dir=tmp_path_factory.mktemp("runs") / "straight",
        progress=False,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", "u-net"),
        ("loss", "mse"),
        ("optimizer", "sgd"),
        ("schedule", "step"),
        ("precision", "half"),
        ("batch_size", 0),
        ("epochs", 2.5),
        ("learning_rate", 0),
        ("weight_decay", -1),
        ("steps_per_execution", 0),
        ("decay", "none"),
        ("batch_size", True),
        ("seed", True),
        ("seed", 2**32),
        ("seed", "3"),
        ("learning_rate", "1e-3"),
        ("learning_rate", True),
        ("learning_rate", float("nan")),
        ("weight_decay", None),
        ("lesion_prior", "0.05"),
        ("widths", (0, 8)),
        ("widths", (8.5, 16)),
        ("widths", "816"),
        ("widths", ()),
        ("options", None),
    ],
)
def test_a_recipe_names_the_field_that_is_out_of_range(field, value):
    with pytest.raises(ValueError, match=f"Recipe.{field} is"):
        training.Recipe(**{field: value})


def test_the_paper_s_recipe():
    recipe = training.Recipe.paper()
    assert (recipe.network, recipe.widths) == ("ken_unetpp", (32, 64, 128, 256, 512))
    assert (recipe.loss, recipe.optimizer) == ("sparse_categorical_crossentropy", "adam")
    assert (recipe.learning_rate, recipe.weight_decay) == (1e-6, 1e-4)
    assert (recipe.batch_size, recipe.epochs) == (1, 40)


def test_the_rate_falls_as_old_keras_let_it():
    """decay="rate": learning_rate / (1 + weight_decay · step), and no decay of the weights."""
    recipe = training.Recipe.paper(network="unet", widths=(4, 8), decay="rate")
    optimizer = training.build(recipe, (16, 16, 1)).optimizer
    for step in (0, 2429, 41293):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(1e-6 / (1 + 1e-4 * step))
    assert optimizer.weight_decay is None
    plain = training.build(replace(recipe, decay="decoupled"), (16, 16, 1)).optimizer
    plain.iterations.assign(41293)
    assert float(plain.learning_rate) == pytest.approx(1e-6) and plain.shrink == 1e-4
    with pytest.raises(ValueError, match="Recipe.schedule is 'cosine'.*decay='rate'"):
        replace(recipe, schedule="cosine")


@keras.saving.register_keras_serializable(package="tests")
class CountedRate(keras.optimizers.schedules.CosineDecay):
    """A falling rate that says how often it was asked for."""

    asked = 0

    def __call__(self, step):
        type(self).asked += 1
        return super().__call__(step)


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_weights_decay_as_keras_lets_them_and_the_rate_is_asked_for_once(kind, tmp_path):
    """To the last digit as Keras's decay; a rate for each weight would be traced for each."""
    recipe = training.Recipe.quick(
        network="unet", widths=(4, 8), optimizer=kind, weight_decay=0.05, precision="float32"
    )
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 16, 16, 1)).astype(np.float32)
    labels = rng.integers(0, 2, (2, 16, 16))

    def weights_after(optimizer, steps=3):
        keras.utils.set_random_seed(0)
        model = training.build(recipe, images.shape[1:])
        optimizer = optimizer or model.optimizer
        rate = CountedRate(1e-3, 5, warmup_target=1e-2, warmup_steps=2)
        optimizer.learning_rate = rate
        optimizer.build(model.trainable_variables)
        model.compile(optimizer, losses.get("cross_entropy_dice"), jit_compile=False)
        CountedRate.asked = 0
        for _ in range(steps):
            model.train_on_batch(images, labels)
        return model, model.get_weights(), CountedRate.asked

    library = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[kind]
    # How near fused updates are to Keras's is another test's question (test_speed).
    _, expected, often = weights_after(training.fuse_updates(library(1e-3, weight_decay=0.05)))
    model, found, once = weights_after(None)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert once <= 2 < often  # a step's, and Keras asks once for what it shows
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True).optimizer
    assert type(again) is type(model.optimizer) and again.shrink == 0.05


def test_a_resumed_run_keeps_the_rate_that_falls(data, tmp_path, monkeypatch):
    """The rate goes on from the step that the checkpoint was written at."""
    recipe = training.Recipe.paper(
        **TINY | dict(epochs=2, network="unet", options={}),
        learning_rate=1e-3,
        weight_decay=0.5,
        decay="rate",
    )
    whole = training.train(recipe, *data, run_dir=tmp_path / "whole", progress=False)
    steps = len(data[0]) // recipe.batch_size
    expected = [1e-3 / (1 + 0.5 * steps * epoch) for epoch in (1, 2)]
    np.testing.assert_allclose(whole.history.learning_rate, expected, rtol=1e-5)
    stop_after_first_checkpoint(monkeypatch)
    with pytest.raises(training.TrainingError):
        training.train(recipe, *data, run_dir=tmp_path / "resumed", progress=False)
    monkeypatch.undo()
    resumed = training.train(recipe, *data, run_dir=tmp_path / "resumed", progress=False)
    pd.testing.assert_frame_equal(resumed.history[COMPARED], whole.history[COMPARED], rtol=1e-5)


def test_the_validation_set_is_scored_in_three_averages(monkeypatch):
    """A subject with two slices and one with one, so that no two averages agree."""
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2], masks[1, 0, 0], masks[2, 0, :2] = True, True, True
    index = pd.DataFrame({"subject": ["sub-a", "sub-a", "sub-b"]})

    class Three:
        def __init__(self):
            self.masks, self.index = masks, index

        def __len__(self):
            return 3

        def batch(self, positions):
            chosen = list(positions)
            return np.zeros((len(chosen), 4, 4, 1), np.float32), masks[chosen]

    found = masks.copy()
    found[1] = False  # Dice by slice: 1, 0, 2/3
    found[2, 0, 1] = False
    soft = np.stack([~found, found], -1).astype(np.float32)
    monkeypatch.setattr(loop, "predict", lambda model, images: soft)
    scores = training.validate(None, training.Recipe.paper(), Three())
    assert scores["val_dice_per_slice"] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert scores["val_dice"] == pytest.approx((16 / 17 + 2 / 3) / 2)
    assert scores["val_dice_pooled"] == pytest.approx(18 / 20)
    assert scores["found_lesion"] is True


def test_a_run_holds_its_evidence(straight, data):
    history = straight.history
    assert history.epoch.tolist() == [1, 2, 3]
    assert history.loss.iloc[-1] < history.loss.iloc[0]
    assert history.waiting.between(0, 1).all()
    assert history.val_dice_per_slice.between(0, 1).all()
    assert straight.recipe == training.Recipe.quick(**TINY)
    evidence = straight.provenance
    assert evidence["train"] == data[0].key and evidence["versions"]["keras"]
    assert {path.name for path in straight.folder.iterdir()} == {
        "recipe.json",
        "history.csv",
        "model.keras",
        "provenance.json",
        ".lock",
    }
    images, _ = data[1].batch(range(2))
    assert np.asarray(straight.model(images)).shape == (2, 128, 128, 2)
    with zipfile.ZipFile(straight.folder / "model.keras") as file:  # for a Keras that has not ours
        assert not json.loads(file.read("config.json")).get("compile_config")
    opened = keras.saving.load_model(straight.folder / "model.keras", safe_mode=True)
    assert not opened.compiled and opened.input.shape == (None, 128, 128, 1)  # no list of one


def test_a_finished_run_is_opened_not_repeated(straight, data, monkeypatch):
    monkeypatch.setattr(loop, "build", lambda *_: pytest.fail("trained again"))
    training.train(training.Recipe.quick(**TINY), *data, run_dir=straight.folder)


def test_another_recipe_is_refused_by_field_and_nothing_changes(straight, data):
    before = {path: path.read_bytes() for path in straight.folder.iterdir() if path.is_file()}
    other = training.Recipe.quick(**TINY | {"learning_rate": 1e-4})
    with pytest.raises(ValueError, match="learning_rate: 0.002 there, 0.0001 now"):
        training.train(other, *data, run_dir=straight.folder)
    with pytest.raises(ValueError, match="validation"):
        training.train(straight.recipe, data[0], data[1].subset([0]), run_dir=straight.folder)
    assert before == {path: path.read_bytes() for path in before}


def test_a_corrupt_checkpoint_is_named_and_the_one_before_it_serves(data, tmp_path, monkeypatch):
    recipe = training.Recipe.quick(**TINY)
    monkeypatch.setattr(loop, "provenance", lambda **_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(training.TrainingError, match="full"):
        training.train(recipe, *data, run_dir=tmp_path, progress=False)
    monkeypatch.undo()
    last = tmp_path / "epoch-0003.npz"
    last.write_bytes(last.read_bytes()[:2000])
    with pytest.warns(UserWarning, match="epoch-0003.npz cannot be used"):
        run = training.train(recipe, *data, run_dir=tmp_path, progress=False)
    assert len(run.history) == 3


def test_a_loss_that_is_not_a_number_is_named(data, tmp_path, monkeypatch):
    plain = training.Batches.batch

    def poisoned(self, number):
        images, labels = plain(self, number)
        return images * np.nan, labels

    monkeypatch.setattr(training.Batches, "batch", poisoned)
    with pytest.raises(training.TrainingError, match="lower learning_rate"):
        training.train(training.Recipe.quick(**TINY), *data, run_dir=tmp_path, progress=False)


def test_more_in_a_batch_than_there_is(data, tmp_path):
    with pytest.raises(ValueError, match="only 24 slices"):
        training.train(training.Recipe.quick(**TINY | {"batch_size": 25}), *data, run_dir=tmp_path)


def test_a_label_without_a_class_is_refused_before_any_work(data, tmp_path):
    train, validation = data
    masks = train.masks.copy()
    masks[-1, 3, 3] = 2
    for name, array in (("images", train.images), ("masks", masks)):
        np.save(tmp_path / f"{name}.npy", array)
    strange = replace(train, folder=tmp_path, rows=np.arange(len(train)), stored="other slices")
    recipe, run = training.Recipe.quick(**TINY), tmp_path / "run"
    for part, sets in (("training", (strange, validation)), ("validation", (train, strange))):
        with pytest.raises(ValueError, match=f"The {part} set's masks.*0 and 1; found.*0 to 2"):
            training.train(recipe, *sets, run_dir=run)
    assert not run.exists()
    three = training.Recipe.quick(**TINY | dict(options=dict(classes=3)))
    loop._check_labels(three, training=strange)


def test_batches_do_not_depend_on_what_ran_before(data):
    def drawn(epoch):
        made = training.Batches(data[0], 8, seed=1, epoch=epoch, augment=True)
        return [images for images, _ in made.generate()]

    first = drawn(1)
    assert all((a == b).all() for a, b in zip(first, drawn(1), strict=True))
    assert not (first[0] == drawn(2)[0]).all()
    seen = np.concatenate([training.Batches(data[0], 8, epoch=0).batch(n)[1] for n in range(3)])
    assert seen.sum() == data[0].masks.sum()  # every slice once


def test_an_error_in_the_reading_thread_reaches_the_caller(data, monkeypatch):
    made = training.Batches(data[0], 8)
    monkeypatch.setattr(made, "batch", lambda number: (_ for _ in ()).throw(OSError("disk gone")))
    with pytest.raises(OSError, match="disk gone"):
        list(made.generate())


def test_augmentation_moves_image_and_mask_together():
    rows, columns = np.mgrid[:64, :64]
    mask = (((rows - 20) ** 2 + (columns - 40) ** 2) < 100).astype(np.uint8)
    image = mask[..., None].astype(np.float32) * 10
    for seed in range(20):
        moved, moved_mask = training.augment(image, mask, np.random.default_rng(seed))
        inside = moved[..., 0] > (moved.max() + moved.min()) / 2
        assert moved.dtype == np.float32 and set(np.unique(moved_mask)) <= {0, 1}
        assert (inside & (moved_mask > 0)).sum() / (inside | (moved_mask > 0)).sum() > 0.85


def test_noise_alone_changes_the_image_and_nothing_else(data):
    plain, noisy = (
        training.Batches(data[0], 8, seed=1, augment=augment).batch(0)
        for augment in (False, "noise")
    )
    assert (plain[1] == noisy[1]).all()
    difference = (noisy[0] - plain[0]).reshape(8, -1)
    assert (0 < difference.std(axis=1)).all() and (difference.std(axis=1) < 0.16).all()
    assert np.abs(difference.mean(axis=1)).max() < 0.02
    with pytest.raises(ValueError, match="augment is 'blur': choose one of False, True, noise"):
        training.Recipe.quick(augment="blur")


def test_precision_can_be_forced_and_unknown_ones_are_refused(monkeypatch):
    monkeypatch.delenv("KENSEG_PRECISION", raising=False)
    assert devices.choose_precision("float32") == "float32"
    assert devices.choose_precision() in devices.PRECISIONS
    with pytest.raises(ValueError, match="mixed_bfloat16"):
        devices.choose_precision("bf16")


def test_float16_scales_its_loss_and_bfloat16_need_not(data, tmp_path):
    """Small gradients would vanish in float16; what decides is in float32 either way."""
    for precision, scaled in (("mixed_float16", True), ("mixed_bfloat16", False)):
        recipe = training.Recipe.quick(**TINY | dict(precision=precision, epochs=2))
        model = training.build(recipe, data[0].shape)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) is scaled
        assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
        assert model.get_layer("probabilities").compute_dtype == "float32"
        run = training.train(recipe, *data, run_dir=tmp_path / precision, progress=False)
        assert run.history.loss.iloc[1] < run.history.loss.iloc[0] < 10


def test_steps_grouped_in_one_call_are_the_same_steps(straight, data, tmp_path):
    """steps_per_execution saves calls; three steps an epoch are no multiple of two."""
    recipe = training.with_changes(straight.recipe, steps_per_execution=2, epochs=1)
    grouped = training.train(recipe, *data, run_dir=tmp_path, progress=False).history
    one = training.train(
        training.with_changes(recipe, steps_per_execution=1),
        *data,
        run_dir=tmp_path / "one",
        progress=False,
    ).history
    assert np.isclose(grouped.loss[0], one.loss[0], rtol=1e-4)
    assert np.isclose(grouped.val_loss[0], one.val_loss[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("gpu", "units", "backend", "policy"),
    [
        (("H200", 9.0), False, "tensorflow", "mixed_bfloat16"),
        (("A100", 8.0), False, "jax", "mixed_bfloat16"),
        (("T4", 7.5), True, "jax", "mixed_float16"),
        (("P100", 6.0), True, "tensorflow", "float32"),
        (None, True, "tensorflow", "mixed_bfloat16"),
        (None, False, "tensorflow", "float32"),
        (None, True, "jax", "float32"),
    ],
)
def test_precision_suits_the_device(monkeypatch, gpu, units, backend, policy):
    monkeypatch.delenv("KENSEG_PRECISION", raising=False)
    monkeypatch.setattr(devices, "_gpu", lambda: gpu)
    monkeypatch.setattr(devices, "_cpu_has_bfloat16", lambda: units)
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert devices.choose_precision() == policy
    assert devices.choose_precision("float32") == "float32"


def test_the_environment_takes_the_place_of_auto_alone(monkeypatch):
    monkeypatch.setenv("KENSEG_PRECISION", "mixed_float16")
    assert devices.choose_precision() == "mixed_float16"
    assert devices.choose_precision("float32") == "float32"
    monkeypatch.setenv("KENSEG_PRECISION", "")
    assert devices.choose_precision() in devices.PRECISIONS[1:]
    monkeypatch.setenv("KENSEG_PRECISION", "half")
    with pytest.raises(ValueError, match="'half': choose one of auto, float32"):
        devices.choose_precision()


def test_a_gpu_is_not_shared_and_cores_are(monkeypatch):
    monkeypatch.setattr(devices, "_gpu", lambda: ("T4", 7.5))
    assert devices.trainings_at_once() == 1
    monkeypatch.setattr(devices, "_gpu", lambda: None)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    for cores, trainings in ((None, 1), (1, 1), (2, 2), (64, 4)):
        monkeypatch.setattr(devices.os, "cpu_count", lambda cores=cores: cores)
        assert devices.trainings_at_once() == trainings
    for threads, trainings in (("1", 1), ("3", 3), ("0", 4), ("", 4), ("many", 4), ("128", 4)):
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
        assert devices.trainings_at_once() == trainings


# Trains until a moment in the second epoch, in the middle of the named work, and kills itself.
KILLED = """
import json, os, signal, sys
import keras, pandas as pd
from kenseg_utils import slices, training

moment, work = sys.argv[5], 0

def killed_in(owner, name, when, half):
    real = getattr(owner, name)
    def stopping(*arguments, **options):
        global work
        work += 1
        if work == when:
            half(real, *arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    setattr(owner, name, stopping)

def half_a_file(real, content, path, *_):
    real(content, path)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)

if moment == "epoch":  # three batches each
    killed_in(training.Batches, "batch", 5, lambda *_: None)
elif moment == "history":
    killed_in(pd.DataFrame, "to_csv", 2, half_a_file)
elif moment == "checkpoint":
    killed_in(training._checkpoints, "save", 2, half_a_file)
elif moment == "tidying":
    killed_in(keras.Model, "save", 1, lambda real, model, path: real(model, path))
whole = slices.open_set(sys.argv[1])
train, validation = (whole.subset(rows) for rows in json.loads(sys.argv[2]))
recipe = training.Recipe.quick(**json.loads(sys.argv[3]))
training.train(recipe, train, validation, run_dir=sys.argv[4], progress=False)
"""
COMPARED = ["epoch", "loss", "val_loss", "val_dice", "learning_rate"]


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("epoch", ["epoch-0001.npz"]),
        ("history", ["epoch-0001.npz"]),
        ("checkpoint", ["epoch-0001.npz"]),
        ("tidying", ["epoch-0002.npz", "epoch-0003.npz"]),
    ],
)
def test_killed_at_any_moment_it_ends_as_if_nothing_had_happened(
    straight, data, tmp_path, moment, left
):
    """kill -9 in the middle of an epoch, of writing history or weights, and of the last file."""
    folder = str(data[0].folder)
    rows = [part.rows.tolist() for part in data]
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED,
            folder,
            json.dumps(rows),
            json.dumps(TINY),
            str(tmp_path),
            moment,
        ],
        capture_output=True,
        timeout=240,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-2000:]
    assert sorted(path.name for path in tmp_path.glob("epoch-*")) == left
    assert not (tmp_path / "provenance.json").exists()
    same = [slices.open_set(folder).subset(part) for part in rows]
    run = training.train(straight.recipe, *same, run_dir=tmp_path, progress=False)
    pd.testing.assert_frame_equal(run.history[COMPARED], straight.history[COMPARED], rtol=1e-5)
    for ours, theirs in zip(run.model.get_weights(), straight.model.get_weights(), strict=True):
        assert np.allclose(ours, theirs, atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {
        "recipe.json",
        "history.csv",
        "model.keras",
        "provenance.json",
        ".lock",
    }


def stop_after_first_checkpoint(monkeypatch):
    """Let the write of the second checkpoint fail as on a full disk."""
    real, calls = checkpoints.save, []

    def save(model, path):
        calls.append(path)
        real(model, path)
        if len(calls) == 2:
            path.write_bytes(path.read_bytes()[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", save)


def test_a_full_disk_leaves_the_checkpoint_before_it(straight, data, tmp_path, monkeypatch):
    stop_after_first_checkpoint(monkeypatch)
    with pytest.raises(training.TrainingError, match="No space left .* make room and call again"):
        training.train(straight.recipe, *data, run_dir=tmp_path, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {
        "recipe.json",
        "history.csv",
        "epoch-0001.npz",
        ".lock",
    }
    monkeypatch.undo()
    run = training.train(straight.recipe, *data, run_dir=tmp_path, progress=False)
    pd.testing.assert_frame_equal(run.history[COMPARED], straight.history[COMPARED], rtol=1e-5)


def test_another_network_s_checkpoint_is_named_and_not_used(straight, data, tmp_path, monkeypatch):
    stop_after_first_checkpoint(monkeypatch)
    with pytest.raises(training.TrainingError):
        training.train(straight.recipe, *data, run_dir=tmp_path, progress=False)
    monkeypatch.undo()
    other = training.Recipe.quick(**TINY | dict(widths=(4, 8, 16)))
    checkpoints.save(training.build(other, (32, 32, 1)), tmp_path / "epoch-0002.npz")
    with pytest.warns(UserWarning, match="epoch-0002.npz cannot be used .* another network"):
        run = training.train(straight.recipe, *data, run_dir=tmp_path, progress=False)
    pd.testing.assert_frame_equal(run.history[COMPARED], straight.history[COMPARED], rtol=1e-5)


def test_a_resumed_run_keeps_its_coupled_decay(data, tmp_path, monkeypatch):
    """An L2 term is no part of what Keras saves, so it must be set again."""
    recipe = training.Recipe.quick(**TINY | dict(epochs=2), decay="coupled", weight_decay=0.5)
    whole = training.train(recipe, *data, run_dir=tmp_path / "whole", progress=False)
    stop_after_first_checkpoint(monkeypatch)
    with pytest.raises(training.TrainingError):
        training.train(recipe, *data, run_dir=tmp_path / "resumed", progress=False)
    monkeypatch.undo()
    resumed = training.train(recipe, *data, run_dir=tmp_path / "resumed", progress=False)
    pd.testing.assert_frame_equal(resumed.history[COMPARED], whole.history[COMPARED], rtol=1e-5)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory")]
)
def test_too_little_memory_says_what_to_lower(data, tmp_path, monkeypatch, error):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(
        training.TrainingError, match=r"lower batch_size first \(now 8\), then widths"
    ):
        training.train(training.Recipe.quick(**TINY), *data, run_dir=tmp_path, progress=False)


def test_a_network_that_sees_only_background_is_named(data, tmp_path, monkeypatch):
    recipe = training.Recipe.quick(**TINY)
    monkeypatch.setattr(
        loop,
        "predict",
        lambda model, images: np.stack(
            [np.ones(images.shape[:3]), np.zeros(images.shape[:3])], -1
        ).astype(np.float32),
    )
    with pytest.warns(UserWarning, match="every pixel background"):
        training.train(recipe, *data, run_dir=tmp_path, progress=False)


@pytest.mark.parametrize("name", ["unet", "segnet", "deeplab_v3plus", "ken_unetpp"])
def test_a_network_starts_from_its_prior(name):
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 1)).astype("float32")
    start = {}
    for prior in (0.0, 0.05):
        recipe = training.Recipe.quick(
            network=name,
            widths=None,
            precision="float32",
            options=dict(width_multiplier=0.125),
            lesion_prior=prior,
        )
        start[prior] = float(np.median(training.build(recipe, (32, 32, 1))(images)[..., 1]))
    assert start[0.05] < 0.2 < start[0.0]


def test_each_head_of_a_deeply_supervised_network_has_its_own_loss(data, tmp_path):
    recipe = training.Recipe.quick(
        network="unetpp",
        widths=(4, 8, 8),
        epochs=1,
        batch_size=8,
        precision="float32",
        options=dict(deep_supervision=True),
    )
    keras.utils.set_random_seed(0)
    model = training.build(recipe, data[0].shape)
    images, masks = data[0].batch(range(8))
    heads = [np.asarray(head) for head in model(images)]
    assert all(np.median(head[..., 1]) < 0.2 for head in heads)  # each starts from the prior
    loss = losses.get(recipe.loss)
    apart = [float(np.mean(loss(masks.astype("int32"), head))) for head in heads]
    assert apart[0] != pytest.approx(apart[1], abs=1e-4)
    step = model.train_on_batch(images, [masks.astype("int32")] * 2, return_dict=True)
    assert step["loss"] == pytest.approx(np.mean(apart), rel=1e-4)
    run = training.train(recipe, *data, run_dir=tmp_path, progress=False)
    assert np.isfinite(run.history.val_dice).all() and len(run.model.outputs) == 1
    pruned = [training.predict(networks.prune(run.model, level), images) for level in (1, 2)]
    np.testing.assert_allclose(training.predict(run.model, images), np.mean(pruned, 0), atol=1e-6)


def test_a_prior_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="Recipe.lesion_prior is 1"):
        training.Recipe.quick(lesion_prior=1)


def test_any_number_of_slices_is_predicted():
    model = training.build(training.Recipe.quick(network="unet", widths=(4, 8)), (16, 16, 1))
    images = np.random.default_rng(0).normal(size=(50, 16, 16, 1)).astype(np.float16)
    found = training.predict(model, images)
    assert found.shape == (50, 16, 16, 2)
    one_by_one = np.concatenate([training.predict(model, image[None]) for image in images])
    np.testing.assert_allclose(found, one_by_one, atol=0.01)  # bfloat16, where the CPU has it


def test_slices_of_another_size_are_predicted_by_the_same_weights():
    """A ResUNet that averages pixels enlarges its answer again, and stopped at the second size."""
    recipe = training.Recipe.quick(network="resunet", widths=(4, 8), options=dict(reduce=2))
    model = training.build(recipe, (32, 48, 1))
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 1)).astype(np.float32)
    large = training.predict(model, image)
    assert large.shape == (1, 64, 64, 2)
    assert training.predict(model, image[:, :32, :48]).shape == (1, 32, 48, 2)
    twin = training.build(recipe, (64, 64, 1))
    twin.set_weights(model.get_weights())
    np.testing.assert_allclose(training.predict(twin, image), large, atol=1e-6)


def test_training_starts_from_given_weights(data, tmp_path):
    """No step taken far from them: the first epoch at a tiny rate leaves them as they were."""
    train, validation = data
    taught = training.train(training.Recipe.quick(**TINY), train, validation, tmp_path / "first")
    still = training.Recipe.quick(**(TINY | dict(epochs=1, learning_rate=1e-12)))
    for number, start in enumerate(
        (taught, taught.model, taught.folder, taught.folder / "model.keras")
    ):
        run = training.train(still, train, validation, tmp_path / f"next{number}", start_from=start)
        for before, after in zip(taught.model.trainable_weights, run.model.trainable_weights):
            np.testing.assert_allclose(before.numpy(), after.numpy(), atol=1e-6)
    fresh = training.train(still, train, validation, tmp_path / "fresh")
    gap = [
        np.abs(a.numpy() - b.numpy()).max()
        for a, b in zip(taught.model.trainable_weights, fresh.model.trainable_weights)
    ]
    assert max(gap) > 1e-3  # the same test without start_from would fail


def test_the_start_is_part_of_what_a_run_is(data, tmp_path):
    train, validation = data
    recipe = training.Recipe.quick(**(TINY | dict(epochs=1)))
    first = training.train(recipe, train, validation, work_dir=tmp_path)
    second = training.train(recipe, train, validation, work_dir=tmp_path, start_from=first)
    assert first.folder != second.folder
    with pytest.raises(ValueError, match="start_from: 'random weights' there"):
        training.train(recipe, train, validation, first.folder, start_from=second)


def test_weights_of_another_network_are_refused_before_anything_is_written(data, tmp_path):
    train, validation = data
    small = training.Recipe.quick(**(TINY | dict(epochs=1)))
    wide = training.Recipe.quick(**(TINY | dict(epochs=1, widths=(4, 12))))
    taught = training.train(small, train, validation, tmp_path / "first")
    with pytest.raises(ValueError, match="another network than this recipe builds.*widths"):
        training.train(wide, train, validation, tmp_path / "second", start_from=taught)
    with pytest.raises(ValueError, match="not there: give a finished run"):
        training.train(small, train, validation, tmp_path / "second", start_from=tmp_path / "no")
    with pytest.raises(ValueError, match="start_from is a int"):
        training.train(small, train, validation, tmp_path / "second", start_from=3)
    assert not (tmp_path / "second").exists()


# --- The loop on the device ----------------------------------------------------------------------


# Not augmented, so that its slices may stay on the device.
PLAIN = dict(TINY, network="unet", options={}, augment=False, epochs=2)


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    """An uninterrupted run by Keras's own loop."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    return training.train(training.Recipe.quick(**PLAIN), *data, run_dir=folder, progress=False)


def test_a_few_steps_are_not_traced_and_give_the_same_history(data, tmp_path, monkeypatch):
    """Tracing takes longer than a few steps; more are traced, whatever a resumed run has left."""
    recipe = training.Recipe.quick(**TINY, learning_rate=1e-6)  # 9 steps: rounding, and no more
    histories, eager = [], []
    once = loop._checkpoints.write

    def write(model, history, folder):
        eager.append(model.run_eagerly)
        return once(model, history, folder)

    monkeypatch.setattr(loop._checkpoints, "write", write)
    for most in (9, 8):
        monkeypatch.setattr(loop, "FEW_STEPS", most)
        run = training.train(recipe, *data, run_dir=tmp_path / str(most), progress=False)
        histories.append(run.history[COMPARED])
    assert eager == [True] * 3 + [False] * 3
    pd.testing.assert_frame_equal(*histories, rtol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True)])
def test_a_run_goes_on_in_either_loop_from_what_the_other_left(
    plain, data, tmp_path, monkeypatch, before, after
):
    """A step a call, or many: the same history, each epoch from the checkpoint before it."""
    straight = plain
    monkeypatch.setattr(on_device, "_FORCED", before)
    with monkeypatch.context() as full:
        stop_after_first_checkpoint(full)
        with pytest.raises(training.TrainingError, match="No space left"):
            training.train(straight.recipe, *data, run_dir=tmp_path, progress=False)
    assert [path.name for path in tmp_path.glob("epoch-*")] == ["epoch-0001.npz"]
    monkeypatch.setattr(on_device, "_FORCED", after)
    run = training.train(straight.recipe, *data, run_dir=tmp_path, progress=False)
    pd.testing.assert_frame_equal(
        run.history[COMPARED], straight.history[COMPARED], rtol=1e-4, atol=1e-5
    )
    assert run.history.columns.tolist() == straight.history.columns.tolist()
    assert run.history.waiting.between(0, 1).all()
    assert run.provenance["loop"] == ("one on the device" if after else "a call a step")
    for ours, theirs in zip(run.model.get_weights(), straight.model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def full_device(*_):
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("room_on_device", lambda: 1000, "0 MiB are set aside"), ("place", full_device, "is full")],
)
def test_slices_that_do_not_fit_are_streamed_and_it_is_said_once(
    plain, data, tmp_path, monkeypatch, name, value, why
):
    monkeypatch.setattr(on_device, "_FORCED", True)
    monkeypatch.setattr(on_device, name, value)
    with pytest.warns(UserWarning, match="24 slices do not fit on the device") as said:
        streamed = training.train(plain.recipe, *data, run_dir=tmp_path, progress=False)
    found = [str(one.message) for one in said if "do not fit" in str(one.message)]
    assert len(found) == 1 and why in found[0] and "handed over in batches" in found[0]
    pd.testing.assert_frame_equal(
        streamed.history[COMPARED], plain.history[COMPARED], rtol=1e-4, atol=1e-5
    )


def test_slices_that_fit_are_not_talked_about(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert training.Epochs(data[0], 8, room=2**30).stays
        assert not training.Epochs(data[0], 8, augment=True, room=2**30).stays


def test_other_errors_at_placing_are_not_taken_for_too_little_memory(data, monkeypatch):
    monkeypatch.setattr(on_device, "place", lambda *_: (_ for _ in ()).throw(RuntimeError("odd")))
    with pytest.raises(RuntimeError, match="odd"):
        training.Epochs(data[0], 8, room=2**30).begin(0)


def test_the_loop_on_the_device_names_a_loss_that_is_not_a_number(data, tmp_path, monkeypatch):
    plain = training.Batches.batch
    monkeypatch.setattr(on_device, "_FORCED", True)
    monkeypatch.setattr(
        training.Batches, "batch", lambda self, n: (plain(self, n)[0] * np.nan, plain(self, n)[1])
    )
    recipe = training.Recipe.quick(**PLAIN | dict(augment=True))
    with pytest.raises(training.TrainingError, match="nan in epoch 1: lower learning_rate"):
        training.train(recipe, *data, run_dir=tmp_path, progress=False)
    assert not list(tmp_path.glob("epoch-*"))


def test_the_loop_on_the_device_moves_the_bar_and_can_be_interrupted(data, tmp_path, monkeypatch):
    """Interrupted between two calls of the second epoch, it keeps the first."""
    moved, calls = [], []

    class Bar(loop.tqdm):
        def update(self, n=1):
            moved.append(n)
            if sum(moved) > 6:
                raise KeyboardInterrupt
            return True  # as tqdm where it draws: no reason to end an epoch

    monkeypatch.setattr(loop, "tqdm", Bar)
    monkeypatch.setattr(on_device, "_FORCED", True)
    monkeypatch.setattr(on_device.Speed, "add", lambda self, *_: calls.append(self.count))
    recipe = training.Recipe.quick(**PLAIN | dict(batch_size=4, epochs=3))  # 6 batches: 4 and 2
    with pytest.raises(KeyboardInterrupt):
        training.train(recipe, *data, run_dir=tmp_path, progress=False)
    assert moved == [4, 2, 4] and len(calls) == 3
    assert [path.name for path in tmp_path.glob("epoch-*")] == ["epoch-0001.npz"]


@pytest.mark.parametrize(
    ("backend", "name", "count", "wanted"),
    [
        ("jax", "GPU (H200)", 1, True),
        ("tensorflow", "GPU (T4)", 1, True),
        ("jax", "GPU (H200)", 2, False),  # each takes its share of a batch, which Keras hands over
        ("torch", "GPU (T4)", 1, False),
        ("tensorflow", "CPU (2 cores)", 1, False),
    ],
)
def test_the_loop_is_chosen_by_the_device(monkeypatch, backend, name, count, wanted):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(on_device.machine, "device", lambda: name)
    assert on_device.is_wanted(count) is wanted


def test_the_room_on_a_device_is_a_share_of_what_is_free(monkeypatch):
    monkeypatch.setattr(on_device.machine, "free_bytes", lambda: 80 * 2**30)
    assert on_device.room_on_device() == 20 * 2**30
    monkeypatch.setattr(on_device.machine, "free_bytes", lambda: None)
    assert on_device.room_on_device() == on_device.BYTES_ON_DEVICE


def test_calls_grow_to_some_seconds_and_no_further():
    speed = training.Speed()
    speed.add(4, 30.0, 0.0)  # compiles
    assert speed.compiling == 30 and speed.as_dict()["steps_per_second"] is None
    counts = []
    for _ in range(5):
        speed.add(speed.count, speed.count / 50, 0.1)
        counts.append(speed.count)
    assert counts == [16, 64, 250, 250, 250]  # at 50 a second, 250 take five
    told = speed.as_dict()
    assert told["steps_per_second"] == pytest.approx(50) and 0 < told["waiting"] < 1
    assert told["compile_seconds"] == 30


# --- One trace for several trainings --------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        dict(seed=1),
        dict(learning_rate=1e-3, epochs=2, schedule="constant"),
        dict(optimizer="rmsprop", schedule="constant", learning_rate=1e-4),
        dict(network="fcn8s", widths=None, options=dict(width_multiplier=0.03125)),  # with dropout
    ],
)
def test_a_network_traced_before_learns_as_a_new_one(data, tmp_path, changed):
    first = training.Recipe.quick(**TINY | changed | dict(seed=7))
    second = training.with_changes(first, seed=1, augment=not first.augment)
    if "learning_rate" in changed:
        second = training.with_changes(second, learning_rate=first.learning_rate * 2)
    traced.forget()
    training.train(first, *data, run_dir=tmp_path / "first", progress=False)
    kept = list(traced._kept.values())
    again = training.train(second, *data, run_dir=tmp_path / "again", progress=False)
    assert [*traced._kept.values()] == kept and len(kept) == 1  # it was taken and given back
    traced.forget()
    anew = training.train(second, *data, run_dir=tmp_path / "anew", progress=False)
    assert list(traced._kept.values()) != kept
    pd.testing.assert_frame_equal(again.history[COMPARED], anew.history[COMPARED], check_exact=True)
    for ours, theirs in zip(again.model.get_weights(), anew.model.get_weights(), strict=True):
        assert (ours == theirs).all()


def test_another_network_under_the_same_name_is_traced_anew(data, tmp_path, monkeypatch):
    traced.forget()
    recipe = training.Recipe.quick(**TINY)
    training.train(recipe, *data, run_dir=tmp_path / "unet", progress=False)
    monkeypatch.setitem(networks.NETWORKS, "unet", networks.NETWORKS["resunet"])
    other = training.train(recipe, *data, run_dir=tmp_path / "resunet", progress=False)
    wanted = networks.NETWORKS["resunet"](data[0].shape, widths=(4, 8)).count_params()
    assert other.model.count_params() == wanted


def test_one_kept_that_is_built_otherwise_changes_no_draw(data, tmp_path):
    recipe = training.Recipe.quick(**TINY)
    wider = training.build(training.with_changes(recipe, widths=(4, 16)), data[0].shape)
    found = []
    for kept in ((), (wider,)):
        traced.forget()
        for model in kept:
            traced.keep(loop._traced_alike(recipe, data[0].shape, 9), model)
            assert traced._kept
        run = training.train(recipe, *data, run_dir=tmp_path / str(len(kept)), progress=False)
        found.append(run.history[COMPARED])
    pd.testing.assert_frame_equal(*found, check_exact=True)


def test_what_is_kept_is_taken_once_and_only_as_it_is_built(data):
    traced.forget()
    recipe = training.Recipe.quick(**TINY)
    model, fresh = (training.build(recipe, data[0].shape) for _ in range(2))
    traced.keep("a", model)
    assert traced.take("b", fresh, None) is None
    assert traced.take("a", fresh, None) is model and traced.take("a", fresh, None) is None
    traced.keep("a", model)
    wider = training.Recipe.quick(**TINY | dict(widths=(4, 16)))
    assert traced.take("a", training.build(wider, data[0].shape), None) is None
    for name in "abc":
        traced.keep(name, model)
    assert list(traced._kept) == ["b", "c"]
    traced.forget()
