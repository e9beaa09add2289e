"""Quicker, and the same numbers."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from conftest import NOTEBOOKS

from kenseg_utils import machine, networks, training

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow has the fused operation"
)

KERNELS = "TF_ENABLE_ONEDNN_OPTS"


def built():
    keras.utils.set_random_seed(3)
    model = networks.build(
        "ken_unetpp", input_shape=(32, 32, 1), widths=(4, 8, 16), blocks_per_node=1
    )
    model.compile(keras.optimizers.SGD(0.05), loss="sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("batch", [1, 6])
def test_fused_normalisation_trains_and_predicts_as_keras_does(batch):
    rng = np.random.default_rng(0)
    images = rng.normal(1, 2, (batch, 32, 32, 1)).astype(np.float32)
    labels = (rng.random((batch, 32, 32)) > 0.8).astype(np.int32)
    plain, fused = built(), machine.fuse_normalisation(built())
    assert any("call" in vars(layer) for layer in fused.layers)
    for _ in range(3):
        losses = [float(model.train_on_batch(images, labels)) for model in (plain, fused)]
        assert np.isclose(*losses, rtol=1e-4)
    for a, b in zip(plain.weights, fused.weights, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.abs(a - b).max() < 1e-3 * max(1, np.abs(a).max()), a.shape
    moved = [np.asarray(weight) for weight in fused.weights if weight.name == "moving_variance"]
    assert max(np.abs(weight - 1).max() for weight in moved) > 0.05  # they do move
    assert np.abs(plain.predict_on_batch(images) - fused.predict_on_batch(images)).max() < 1e-3


def test_a_fused_network_is_saved_as_keras_s_own(tmp_path):
    fused = machine.fuse_normalisation(built())
    fused.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert not any("call" in vars(layer) for layer in opened.layers)
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 1)).astype(np.float32)
    assert np.abs(fused.predict_on_batch(images) - opened.predict_on_batch(images)).max() < 1e-5


def test_frozen_layers_keep_their_statistics():
    fused = machine.fuse_normalisation(built())
    layer = next(one for one in fused.layers if isinstance(one, keras.layers.BatchNormalization))
    layer.trainable = False
    before = np.asarray(layer.moving_mean).copy()
    fused.compile("sgd", "sparse_categorical_crossentropy")
    fused.train_on_batch(np.ones((2, 32, 32, 1), np.float32), np.zeros((2, 32, 32), np.int32))
    assert (np.asarray(layer.moving_mean) == before).all()


@pytest.mark.parametrize("filters", [8, 16])  # of which only the second is fused in bfloat16 itself
def test_half_precision_normalises_as_keras_does(filters):
    images = np.random.default_rng(2).normal(1, 2, (3, 16, 16, filters)).astype(np.float32)
    outputs, means = [], []
    for change in (lambda model: model, machine.fuse_normalisation):
        inputs = keras.Input((16, 16, filters))
        layer = keras.layers.BatchNormalization(dtype="mixed_bfloat16")
        model = change(keras.Model(inputs, layer(inputs)))
        found = model(images, training=True)
        assert found.dtype == "bfloat16"
        outputs.append(np.asarray(keras.ops.cast(found, "float32")))
        means.append(np.asarray(layer.moving_variance))
        assert model(images).dtype == "bfloat16"
    assert np.abs(outputs[0] - outputs[1]).max() < 0.05 and outputs[0].std() > 0.9
    np.testing.assert_allclose(*means, rtol=1e-2)


def unchanged(optimizer):
    return optimizer


def optimisers():
    """By name what makes each; it is given what is done to the Adam in it."""
    from kenseg_utils.training import _decay

    adam, adamw = keras.optimizers.Adam, keras.optimizers.AdamW
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 10, warmup_target=3e-2, warmup_steps=2)
    return {
        "Adam": lambda change: change(adam(1e-2)),
        "Adam, a rate that moves": lambda change: change(adam(rate, beta_1=0.7, epsilon=1e-3)),
        "AdamW, clipped": lambda change: change(adamw(1e-2, weight_decay=0.1, global_clipnorm=0.5)),
        "our own decay": lambda change: change(_decay.DecoupledAdam(rate, shrink=0.3)),
        "scaled": lambda change: keras.optimizers.LossScaleOptimizer(
            change(adam(1e-2)), initial_scale=8.0
        ),
    }


def steps_of(optimizer, eager, xla=False):
    """Weights of one dense layer after four steps on a fixed problem, and the optimiser's own."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mse", run_eagerly=eager, jit_compile=xla)
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    for _ in range(4):
        model.train_on_batch(images, labels)
    return [[np.asarray(one) for one in many] for many in (model.weights, optimizer.variables)]


@pytest.mark.parametrize("eager", [False, True], ids=["traced", "eager"])
@pytest.mark.parametrize("name", list(optimisers()))
def test_fused_updates_are_those_of_keras(name, eager):
    plain, fused = (optimisers()[name](change) for change in (unchanged, training.fuse_updates))
    (a, states_a), (b, states_b) = steps_of(plain, eager), steps_of(fused, eager)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    for one, other in zip(states_a, states_b, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-7)
    assert type(plain) is type(fused)
    start = steps_of(keras.optimizers.Adam(0.0), eager)[0]
    assert np.abs(a[0] - start[0]).max() > 0.01  # they do move


def test_fused_updates_are_those_of_keras_where_xla_compiles_them():
    plain, fused = (
        steps_of(change(keras.optimizers.Adam(1e-2)), eager=False, xla=True)[0]
        for change in (unchanged, training.fuse_updates)
    )
    for one, other in zip(plain, fused, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_fused_updates_are_one_operation_a_weight_and_saved_as_keras_s_own(tmp_path):
    import tensorflow as tf

    counts = []
    for fuse in (unchanged, training.fuse_updates):
        model = built()
        weights = model.trainable_variables
        optimizer = fuse(keras.optimizers.Adam(1e-3))
        optimizer.build(weights)
        step = tf.function(lambda: optimizer.apply([tf.ones(w.shape) for w in weights]))  # noqa: B023
        kinds = [done.type for done in step.get_concrete_function().graph.get_operations()]
        counts.append((len(kinds), kinds.count("ResourceApplyAdam")))
    assert counts[0][1] == 0 and counts[1][1] == len(weights)
    assert counts[1][0] < 0.3 * counts[0][0]
    step()
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(opened.optimizer) is keras.optimizers.Adam and opened.optimizer.iterations == 1
    assert "apply" not in vars(opened.optimizer)
    for kept, read in zip(optimizer.variables, opened.optimizer.variables, strict=True):
        assert np.array_equal(np.asarray(kept), np.asarray(read))


def test_other_optimisers_are_left_as_they_are():
    for optimizer in (
        keras.optimizers.RMSprop(1e-3),
        keras.optimizers.Adam(amsgrad=True),
        keras.optimizers.SGD(0.1),
    ):
        assert "apply" not in vars(training.fuse_updates(optimizer))


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN was measured on x86 alone"
)
@pytest.mark.parametrize(("given", "taken"), [(None, "1"), ("0", "0")])
def test_importing_the_package_lets_tensorflow_take_onednn_s_kernels(given, taken):
    """On whatever processor; and whoever said otherwise is heard."""
    code = "import kenseg_utils, os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    others = {name: value for name, value in os.environ.items() if name != KERNELS}
    given = {} if given is None else {KERNELS: given}
    told = subprocess.run(
        [sys.executable, "-c", code], env=others | given, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == taken


def test_the_tests_themselves_run_on_them():
    told = pytest.importorskip("tensorflow.python.util._pywrap_util_port")
    asked = os.environ.get(KERNELS) == "1" and platform.system() == "Linux"
    assert told.IsMklEnabled() or not asked


def test_every_notebook_imports_the_package_before_keras():
    for notebook in NOTEBOOKS:
        cells = json.loads(notebook.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        lines = [line for cell in code for line in cell.splitlines()]
        first = next(n for n, line in enumerate(lines) if line.startswith("import kenseg_utils"))
        assert not any("keras" in line or "tensorflow" in line for line in lines[:first]), notebook
