"""Several devices on one machine train as one does: proven on logical CPUs, in own processes."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from kenseg_utils import training
from kenseg_utils.machine import _distribution as distribution

TWO = "--xla_force_host_platform_device_count=2"
TRAIN = """
import json, os, sys
folder, rows, out = sys.argv[1:]
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    cpu, = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy as np
from kenseg_utils import machine, slices, training
assert len(machine.device_names()) == 2, machine.device_names()
train, validation = (slices.open_set(folder).subset(part) for part in json.loads(rows))
images, _ = validation.batch(range(2))
# The first is another network, of several outputs; it must leave nothing behind that disturbs.
quick = dict(widths=(4, 8), options=dict(blocks_per_node=1, normalisation="batch"), epochs=2)
other = dict(network="unetpp", widths=(4, 8, 8), options=dict(deep_supervision=True), epochs=1)
for name, devices, made in (("other", 2, other), ("one", 1, quick), ("two", None, quick)):
    recipe = training.Recipe.quick(precision="float32", batch_size=8, **made)
    run = training.train(recipe, train, validation, run_dir=f"{out}/{name}", progress=False,
                         devices=devices)
    np.save(f"{out}/{name}/answer.npy", np.asarray(run.model.predict_on_batch(images)))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_give_the_history_of_one(backend, smoke_crops, tmp_path):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    train, validation, _ = smoke_crops
    rows = [train.rows[np.linspace(0, len(train) - 1, 24).astype(int)], validation.rows[:4]]
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            TRAIN,
            str(train.folder),
            json.dumps([part.tolist() for part in rows]),
            str(tmp_path),
        ],
        env=os.environ
        | {"KERAS_BACKEND": backend, "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {TWO}"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = (training.Run(tmp_path / name) for name in ("one", "two"))
    assert (one.provenance["devices"], two.provenance["devices"]) == (1, 2)
    compared = ["epoch", "loss", "val_loss", "val_dice", "learning_rate"]
    pd.testing.assert_frame_equal(
        one.history[compared], two.history[compared], rtol=2e-3, atol=1e-4
    )
    answers = [np.load(run.folder / "answer.npy") for run in (one, two)]
    assert np.abs(answers[0] - answers[1]).max() < 5e-3
    assert np.ptp(one.history.loss) > 0.02  # both have learned, and the same


def test_devices_share_a_batch_evenly_or_one_does_it(monkeypatch):
    monkeypatch.setattr(distribution, "device_names", lambda: ["gpu:0", "gpu:1", "gpu:2", "gpu:3"])
    assert distribution.device_count(16) == 4 and distribution.device_count(1) == 1
    assert distribution.device_count(6) == 1 and distribution.device_count(6, 3) == 3
    with pytest.raises(ValueError, match="there are 4"):
        distribution.device_count(16, 5)
    with pytest.raises(ValueError, match="batch_size is 6, which 4 devices cannot share"):
        distribution.device_count(6, 4)


def test_an_epoch_does_not_wait_for_the_thread_that_tunes(smoke_crops):
    pytest.importorskip("tensorflow")
    train, _, _ = smoke_crops
    source = training.Batches(train.subset(range(6)), batch_size=2)
    fed = distribution.feed(source, outputs=2)
    assert fed.options().autotune.enabled is False
    found = list(fed.as_numpy_iterator())
    assert len(found) == 3
    for (image, labels), number in zip(found, range(3), strict=True):
        expected, label = source.batch(number)
        np.testing.assert_array_equal(image, expected)
        assert len(labels) == 2 and all(np.array_equal(one, label) for one in labels)
