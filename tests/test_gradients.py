"""Gradients before training and after: what the record rests on."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from kenseg_utils.experiments import gradients


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    masks = np.zeros((24, 32, 32), np.uint8)
    masks[:, 10:20, 12:22] = 1
    images = random.normal(size=(24, 32, 32, 1)) + 3.0 * masks[..., None]
    return images.astype("float32"), masks


def test_a_stack_starts_as_its_kind_says_and_from_its_seed():
    small, usual, again = (
        first_kernel(gradients.started(name, 2, 1))
        for name in ("plain, Keras's default start", "plain, He's start", "plain, He's start")
    )
    np.testing.assert_allclose(small, usual * np.sqrt(0.5), rtol=1e-6)
    np.testing.assert_array_equal(usual, again)


def first_kernel(model):
    return next(
        one.kernel.numpy()
        for one in model.layers
        if one.name.startswith("block1") and one.name.endswith("_conv")
    )


def test_a_training_is_said_in_numbers_that_can_be_checked(data):
    images, masks = data
    name = "residual, batch normalisation"
    row = gradients.train_stack(name, images, masks, seed=3, depth=2, steps=60)
    share = masks.mean()
    assert row["guess"] == pytest.approx(-(share * np.log(share) + (1 - share) * np.log(1 - share)))
    assert row["loss"] < 0.5 * row["guess"]  # the lesion is bright: it is learned at once
    values = gradients.block_gradients(gradients.started(name, 2, 3), 2, images[:16], masks[:16])
    assert row["before"] == pytest.approx(np.log10(values[0] / values[-1]), abs=1e-4)
    assert row["after"] != pytest.approx(row["before"], abs=1e-3)


def test_where_no_gradient_arrives_that_is_said(data, monkeypatch):
    """Zero over something has no order of magnitude."""
    images, masks = data
    monkeypatch.setattr(gradients, "block_gradients", lambda *_: np.array([0.0, 1.0, 1.0]))
    row = gradients.train_stack("plain, He's start", images, masks, seed=0, depth=2, steps=2)
    assert row["before"] is None and row["after"] is None and np.isfinite(row["loss"])


def test_the_loss_is_that_of_the_last_steps_and_not_a_running_mean(data, monkeypatch):
    """Keras reports the mean of all losses since the epoch began."""
    images, masks = data
    losses = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.125])

    def fit(self, x, y, callbacks, **more):
        for k in range(len(losses)):
            callbacks[0].on_train_batch_end(k, {"loss": losses[: k + 1].mean()})

    monkeypatch.setattr(keras.Model, "fit", fit)
    row = gradients.train_stack("plain, He's start", images, masks, seed=0, depth=1, steps=10)
    assert row["loss"] == pytest.approx(0.125)


def test_the_field_of_one_convolution_is_its_kernel():
    inputs = keras.Input((31, 31, 1))
    model = keras.Model(inputs, layers.Conv2D(4, 5, padding="same")(inputs))
    share = gradients.centre_gradient(model, np.ones((2, 31, 31, 1)), seed=1)
    assert share.shape == (31, 31) and share.sum() == pytest.approx(1)
    rows, columns = np.nonzero(share)
    assert rows.min() == columns.min() == 13 and rows.max() == columns.max() == 17
    assert gradients.side_holding(share, 0.999) == 5
    assert gradients.side_holding(np.eye(1), 0.5) == 1


def test_the_command_records_what_it_prints(smoke_crops, work_dir, tmp_path, capsys, monkeypatch):
    one = "residual, He's start"  # the others take as long again, and differ in three arguments
    monkeypatch.setattr(gradients, "KINDS", {one: gradients.KINDS[one]})
    monkeypatch.setattr(gradients, "BOTTLENECKS", {"concatenated": "concatenate"})
    asked = ["--profile", "smoke", "--seeds", "1", "--work-dir", str(work_dir)]
    gradients.main([*asked, "--record", "--results", str(tmp_path)])
    kept = json.loads((tmp_path / "trained_gradients.json").read_text())
    stacks, fields = (kept["tables"][name] for name in ("stacks", "fields"))
    assert [row["kind"] for row in stacks] == list(gradients.KINDS)
    assert [row["bottleneck"] for row in fields] == list(gradients.BOTTLENECKS)
    assert all(1 <= row["after"] <= 128 for row in fields)
    assert kept["provenance"]["profile"] == "smoke" and kept["provenance"]["commit"]
    assert "residual, He's start" in capsys.readouterr().out


def test_no_seeds_are_refused(capsys):
    with pytest.raises(SystemExit):
        gradients.main(["--seeds", "0"])
    assert "give at least 1" in capsys.readouterr().err
