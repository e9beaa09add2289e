"""A trained network as a file that runs without Keras: ONNX and LiteRT (TensorFlow Lite).

Both hold the forward pass alone, in float32. They need packages that the rest of the package does
without: `pip install kenseg-utils[export]`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from kenseg_utils import artifacts

# By Keras backend, what its ONNX exporter needs.
ONNX_PACKAGES = {
    "tensorflow": ("onnx", "tf2onnx"),
    "jax": ("onnx", "jax2onnx"),
    "torch": ("onnx", "onnxscript"),
}
LITERT_PACKAGES = {"tensorflow": ("tensorflow",), "torch": ("litert_torch",)}


def to_onnx(model: Any, path: str | os.PathLike) -> Path:
    """Write a network as an ONNX file, which onnxruntime runs anywhere, a browser included.

    Input "image" (batch, height, width, channels) and output "probabilities" (batch, height,
    width, classes), both float32, as the Keras model has them; the batch may have any size
    (on PyTorch: 1). For slices of another size give `prediction.at_shape(model, (height, width))`.
    Returns the path. Raises ValueError where a package is missing, the name does not end in
    .onnx, or the network is none of one input and one output; an existing file stays until the
    new one is whole.
    """
    path = _checked(model, path, ".onnx", ONNX_PACKAGES)
    with artifacts.write_aside(path) as partial, _quietly():
        in_float32(model).export(str(partial), format="onnx", verbose=False)
        _name_ends(partial)
    return path


def to_litert(model: Any, path: str | os.PathLike) -> Path:
    """Write a network as a LiteRT file, for phones and small devices.

    Input and output as in `to_onnx`. Returns the path. Raises ValueError where a package is
    missing, the backend has no such export (JAX), the name does not end in .tflite, or the
    network is none of one input and one output.
    """
    path = _checked(model, path, ".tflite", LITERT_PACKAGES)
    with artifacts.write_aside(path) as partial, _quietly():
        in_float32(model).export(str(partial), format="litert", verbose=False)
    return path


def run_exported(path: str | os.PathLike, images: np.ndarray) -> np.ndarray:
    """What an exported file makes of images (batch, H, W, channels): (batch, H, W, classes).

    Without Keras: by onnxruntime or by the LiteRT interpreter. Raises ValueError where neither is
    installed, the file is of another kind, or the images do not fit it.
    """
    path, images = artifacts.as_path(path), np.asarray(images, np.float32)
    if path.suffix not in (".onnx", ".tflite"):
        raise ValueError(
            f"{path.name} is no exported network: it ends neither in .onnx nor in .tflite."
        )
    if not path.is_file():
        raise ValueError(f"{path} is not there: export a network to it first.")
    return (_run_onnx if path.suffix == ".onnx" else _run_litert)(path, images)


def in_float32(model: Any) -> Any:
    """The same network with the same weights, every layer computing in float32."""
    import keras

    def rebuilt(layer):
        return layer.__class__.from_config(layer.get_config() | {"dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=rebuilt)
    copy.set_weights(model.get_weights())
    copy(np.zeros((1, *model.input_shape[1:]), np.float32))  # Keras exports only what was called
    return copy


def _checked(model, path, suffix: str, packages: dict) -> Path:
    """The path, once all that can be known beforehand is in order."""
    import keras

    path, backend = artifacts.checked_target(path, (suffix,)), keras.backend.backend()
    if backend not in packages:
        raise ValueError(
            f"Keras has no such export on the backend {backend}: save the model, and "
            f"open it with KERAS_BACKEND={next(iter(packages))}."
        )
    missing = [name for name in packages[backend] if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"Exporting to {suffix} with the backend {backend} needs "
            f"{' and '.join(missing)}: pip install {' '.join(missing)}."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"Only a network of one input and one output can be exported; "
            f"{model.name} has {len(model.inputs)} and {len(model.outputs)}. Of a "
            "deeply supervised one, take networks.prune(model, level)."
        )
    return path


@contextlib.contextmanager
def _quietly():
    """Without the exporters' remarks on themselves; errors pass."""
    levels = {name: logging.getLogger(name).level for name in ("tf2onnx", "tensorflow", "absl")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _name_ends(path: Path) -> None:
    """Call the graph's ends "image" and "probabilities", whichever exporter wrote it."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for ends, name in ((graph.input, "image"), (graph.output, "probabilities")):
        before = ends[0].name
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [name if other == before else other for other in names]
        ends[0].name = name
        if ends[0].type.tensor_type.shape.dim[0].dim_param:
            ends[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    if find_spec("onnxruntime") is None:
        raise ValueError("Running an ONNX file needs onnxruntime: pip install onnxruntime.")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: images})[0]
    except Exception as error:  # onnxruntime has some ten kinds of its own
        raise ValueError(
            f"{path.name} cannot be run on images of shape {images.shape}: {error}"
        ) from error


def _run_litert(path: Path, images: np.ndarray) -> np.ndarray:
    if find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter
    elif find_spec("tensorflow"):
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter  # lazily loaded: cannot be imported by name
    else:
        raise ValueError("Running a LiteRT file needs its interpreter: pip install ai-edge-litert.")
    try:
        with _quietly():
            interpreter = Interpreter(str(path), num_threads=os.cpu_count())
        (entry,) = interpreter.get_input_details()
        if tuple(entry["shape_signature"][1:]) != images.shape[1:]:
            raise ValueError(f"it takes {tuple(entry['shape_signature'][1:])}")
        interpreter.resize_tensor_input(entry["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path.name} cannot be run on images of shape {images.shape}: {error}"
        ) from error
