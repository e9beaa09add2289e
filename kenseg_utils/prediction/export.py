"""A trained network as a file that runs without Keras: ONNX and LiteRT (TensorFlow Lite).

Both hold the forward pass alone, in float32. They need packages that the rest of the package does
without: `pip install kenseg-utils[export]`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from kenseg_utils import artifacts, machine

from ._answers import CHOICES
from ._frames import takes_volumes
from ._onnx import NOTES, OnnxNetwork
from ._recorded import recorded_network
from ._volumes import BOX, at_shape

# What an exported file says of a recorded network.
KEPT = ("commit", "device", "finished", "seconds", "threshold", *CHOICES)
# By Keras backend, what its ONNX exporter needs.
ONNX_PACKAGES = {
    "tensorflow": ("onnx", "tf2onnx"),
    "jax": ("onnx", "jax2onnx"),
    "torch": ("onnx", "onnxscript"),
}
HAVE_KERNELS = ("Conv", "ConvTranspose", "MatMul", "Gemm")  # as their second input
LITERT_PACKAGES = {"tensorflow": ("tensorflow",), "torch": ("litert_torch",)}


class MissingPackage(ValueError):
    """Nothing is wrong with what was given: a package is not installed; the message names it."""


def to_onnx(
    model: Any, path: str | os.PathLike, half: bool = False, about: Mapping[str, Any] | None = None
) -> Path:
    """Write a network as an ONNX file, which onnxruntime runs anywhere, a browser included.

    Input "image" (batch, height, width, channels) and output "probabilities" (batch, height,
    width, classes), both float32, as the Keras model has them; the batch may have any size
    (on PyTorch: 1). For slices of another size give `prediction.at_shape(model, (height, width))`.
    Volumes have one axis more.
    `half` keeps the kernels in half precision, as `prediction.save_network` does, and so halves
    the file; they are made single again when it is opened, and all is computed in float32.
    `about`, JSON-able, is kept in the file; `prediction.open_network` gives it back.
    Returns the path. Raises ValueError where a package is missing, the name does not end in
    .onnx, or the network is none of one input and one output; an existing file stays until the
    new one is whole.
    """
    path = _checked(model, path, ".onnx", ONNX_PACKAGES)
    network = in_float32(model)
    if takes_volumes(network):  # whose sums of a million numbers Keras's own layers get wrong
        machine.fuse_normalisation(network)
    with artifacts.write_aside(path) as partial, _quietly():
        network.export(str(partial), format="onnx", verbose=False)
        _finish(partial, half, about)
    return path


def record_onnx(name: str, folder: str | os.PathLike | None = None) -> Path:
    """Write the recorded network `results/<name>.npz` again beside it, as `<name>.onnx`.

    What was recorded with it stands in the file. Of a network of slices, the scores are shifted as
    `prediction.recorded_network` shifts them, and slices are those of the working grid. It gives
    the same masks. Returns the path.
    Raises ValueError where none is recorded, and what `to_onnx` raises.
    """
    kept = recorded_network(name, folder)
    if kept is None:
        raise ValueError(
            f"No network is recorded as {artifacts.results_file(name, folder, '.npz')}."
        )
    model, about = kept
    if not takes_volumes(model):
        model = at_shape(model, (-(-BOX[0] // 16) * 16, -(-BOX[1] // 16) * 16))
    notes = {key: about[key] for key in KEPT if key in about} | {"name": name}
    return to_onnx(model, artifacts.results_file(name, folder, ".onnx"), half=True, about=notes)


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
        if not isinstance(layer, keras.Layer):  # a mere operation, without weights
            return layer.__class__.from_config(layer.get_config())
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
        raise MissingPackage(
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


def _finish(path: Path, half: bool, about: Mapping[str, Any] | None) -> None:
    """Name a file's ends, make its kernels half as long if asked to, and note what it is."""
    import onnx

    model = onnx.load(path)
    _name_ends(model)
    if half:
        _halve(model)
    if about is not None:
        onnx.helper.set_model_props(model, {NOTES: json.dumps(about)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _halve(model: Any) -> None:
    """Kernels in half precision, and a cast to single before whatever reads them.

    onnxruntime folds the cast when it opens the file.
    """
    import onnx

    graph, casts = model.graph, []
    kernels = {node.input[1] for node in graph.node if node.op_type in HAVE_KERNELS}
    for kernel in graph.initializer:
        if kernel.name not in kernels or kernel.data_type != onnx.TensorProto.FLOAT:
            continue  # biases and normalisation, however many axes they have, stay as they are
        name, values = kernel.name, onnx.numpy_helper.to_array(kernel)
        kernel.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(
            onnx.helper.make_node("Cast", [kernel.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _name_ends(model: Any) -> None:
    """Call the graph's ends "image" and "probabilities", whichever exporter wrote it."""
    graph = model.graph
    for ends, name in ((graph.input, "image"), (graph.output, "probabilities")):
        before = ends[0].name
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [name if other == before else other for other in names]
        ends[0].name = name
        if ends[0].type.tensor_type.shape.dim[0].dim_param:
            ends[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def _run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    if find_spec("onnxruntime") is None:
        raise MissingPackage("Running an ONNX file needs onnxruntime: pip install onnxruntime.")
    return OnnxNetwork(path).predict_on_batch(images)


def _run_litert(path: Path, images: np.ndarray) -> np.ndarray:
    if find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter
    elif find_spec("tensorflow"):
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter  # lazily loaded: cannot be imported by name
    else:
        raise MissingPackage(
            "Running a LiteRT file needs its interpreter: pip install ai-edge-litert."
        )
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
