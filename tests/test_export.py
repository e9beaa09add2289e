"""ONNX and LiteRT: the same answer without Keras, and clear words where something is missing."""

import numpy as np
import pytest

from kenseg_utils import networks, prediction
from kenseg_utils.prediction import export

SLICES = np.random.default_rng(0).normal(size=(3, 32, 48, 1)).astype(np.float32)


def built(name, policy="float32", shape=(32, 48, 1), **options):
    """A small network whose batch statistics are not those of its first day."""
    import keras

    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(1)
        model = networks.build(name, input_shape=shape, **options)
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(2)
    model.set_weights(
        [
            weight * rng.uniform(0.8, 1.2, weight.shape).astype(np.float32)
            + rng.normal(0, 0.02, weight.shape).astype(np.float32)
            for weight in model.get_weights()
        ]
    )
    return model


@pytest.fixture(scope="module")
def ken():
    return built("ken_unetpp", widths=(4, 8, 16), blocks_per_node=1)


NETWORKS = [
    ("ken_unetpp", dict(widths=(4, 8, 16), blocks_per_node=1)),
    ("ken_unetpp", dict(widths=(4, 8), blocks_per_node=1, normalisation="group")),
    ("unetpp", dict(widths=(4, 8, 16), deep_supervision=True)),
    ("xnet", dict(width_multiplier=0.1)),
    ("deeplab_v3plus", dict(width_multiplier=0.1, middle_blocks=1)),
]
SHAPES = {"xnet": (64, 64, 1), "deeplab_v3plus": (64, 64, 1)}


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=lambda value: str(value)[:40])
def test_onnx_gives_what_keras_gives(name, options, tmp_path):
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    shape = SHAPES.get(name, (32, 48, 1))
    model = networks.average_heads(built(name, shape=shape, **options))
    images = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    path = export.to_onnx(model, tmp_path / "network.onnx")
    expected = np.asarray(model(images))
    assert np.abs(export.run_exported(path, images) - expected).max() < 1e-4
    assert np.abs(export.run_exported(path, images[:1]) - expected[:1]).max() < 1e-4  # any batch
    assert np.ptp(expected[..., -1]) > 0.01  # a constant would be too easy
    assert [item.name for item in tmp_path.iterdir()] == ["network.onnx"]


@pytest.mark.parametrize(
    ("name", "shape"), [("unet3d", (16, 16, 8, 1)), ("ken_unetpp", (32, 48, 1))]
)
def test_kernels_alone_are_kept_in_half_precision(name, shape, tmp_path):
    """A normalisation's weights have as many axes as kernels have, and cost nothing."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    model = built(name, shape=shape, widths=(4, 8), normalisation="group")
    file = export.to_onnx(model, tmp_path / "network.onnx", half=True)
    numbers = onnx.TensorProto
    kept = {numbers.FLOAT16: 0, numbers.FLOAT: 0}
    for one in onnx.load(file).graph.initializer:
        if one.data_type in kept:
            kept[one.data_type] += int(np.prod(one.dims))
    kernels = sum(int(weight.size) for weight in model.get_weights() if weight.ndim > 1)
    vectors = sum(int(weight.size) for weight in model.get_weights() if weight.ndim == 1)
    assert kept[numbers.FLOAT16] == kernels
    assert vectors <= kept[numbers.FLOAT] < vectors + 16  # and an epsilon here and there


def test_a_network_with_mere_operations_is_exported_too(tmp_path):
    """Of `keras.ops` a functional model keeps operations, which have no precision of their own."""
    import keras

    pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    inputs = keras.Input((8, 12, 1))
    both = keras.layers.Concatenate()([inputs, keras.ops.flip(inputs, axis=2)])
    outputs = keras.layers.Conv2D(2, 3, padding="same", activation="softmax")(both)
    model = keras.Model(inputs, outputs)
    images = np.random.default_rng(0).normal(size=(2, 8, 12, 1)).astype(np.float32)
    path = export.to_onnx(model, tmp_path / "network.onnx")
    assert np.abs(export.run_exported(path, images) - np.asarray(model(images))).max() < 1e-5


def test_litert_gives_what_keras_gives(ken, tmp_path):
    pytest.importorskip("tensorflow")
    path = export.to_litert(ken, tmp_path / "network.tflite")
    expected = np.asarray(ken(SLICES))
    assert np.abs(export.run_exported(path, SLICES) - expected).max() < 1e-4
    with pytest.raises(ValueError, match=r"network.tflite cannot be run .*\(3, 16, 16, 1\)"):
        export.run_exported(path, np.zeros((3, 16, 16, 1)))


def test_the_graph_names_its_ends_and_takes_another_size(ken, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    larger = prediction.at_shape(ken, (64, 32))
    path = export.to_onnx(larger, tmp_path / "larger.onnx")
    session = onnxruntime.InferenceSession(str(path))
    entry, leaving = session.get_inputs()[0], session.get_outputs()[0]
    assert (entry.name, entry.shape) == ("image", ["batch", 64, 32, 1])
    assert (leaving.name, leaving.shape) == ("probabilities", ["batch", 64, 32, 2])
    with pytest.raises(ValueError, match="larger.onnx cannot be run"):
        export.run_exported(path, SLICES)


def test_a_mixed_network_is_exported_in_float32_with_its_weights(tmp_path):
    mixed = built("ken_unetpp", "mixed_bfloat16", widths=(4, 8), blocks_per_node=1)
    plain = export.in_float32(mixed)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    for a, b in zip(mixed.get_weights(), plain.get_weights(), strict=True):
        assert (a == b).all()
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    path = export.to_onnx(mixed, tmp_path / "mixed.onnx")
    assert np.abs(export.run_exported(path, SLICES) - np.asarray(plain(SLICES))).max() < 1e-4


def test_a_pruned_network_is_exported(tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    whole = built("unetpp", widths=(4, 8, 16), deep_supervision=True)
    with pytest.raises(ValueError, match="2. Of a deeply supervised one, take networks.prune"):
        export.to_onnx(whole, tmp_path / "whole.onnx")
    part = networks.prune(whole, 1)
    path = export.to_onnx(part, tmp_path / "part.onnx")
    assert np.abs(export.run_exported(path, SLICES) - np.asarray(part(SLICES))).max() < 1e-4


def test_what_is_missing_or_misnamed_is_said_before_anything_is_written(ken, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="must end in .onnx: 'network.pb'"):
        export.to_onnx(ken, tmp_path / "network.pb")
    with pytest.raises(ValueError, match="must end in .tflite"):
        export.to_litert(ken, tmp_path / "network.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="folder.onnx is a folder"):
        export.to_onnx(ken, tmp_path / "folder.onnx")
    with pytest.raises(ValueError, match="file is no folder"):
        export.to_litert(ken, tmp_path / "file" / "network.tflite")
    with pytest.raises(ValueError, match="no exported network"):
        export.run_exported(tmp_path / "network.h5", SLICES)
    with pytest.raises(ValueError, match="not there"):
        export.run_exported(tmp_path / "network.onnx", SLICES)
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(
        export.MissingPackage, match="needs onnx and tf2onnx: pip install onnx tf2onnx"
    ):
        export.to_onnx(ken, tmp_path / "network.onnx")
    (tmp_path / "network.onnx").write_bytes(b"")
    with pytest.raises(export.MissingPackage, match="pip install onnxruntime"):
        export.run_exported(tmp_path / "network.onnx", SLICES)


def test_a_failed_export_leaves_the_file_before_it(ken, tmp_path, monkeypatch):
    import keras

    path = tmp_path / "network.onnx"
    path.write_bytes(b"as it was")
    monkeypatch.setattr(export, "find_spec", lambda name: True)

    def failing(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "export", failing)
    with pytest.raises(OSError, match="No space left"):
        export.to_onnx(ken, path)
    assert path.read_bytes() == b"as it was" and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_none_is_named(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match="broken.onnx cannot be run"):
        export.run_exported(tmp_path / "broken.onnx", SLICES)
