"""Builds, trains, runs, saves and loads a small version of every network, on one backend.

As a script (``python exercise_networks.py``, with KERAS_BACKEND set) it does so for all of them
and prints one line of JSON: the backend, and what each network gave.
"""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np

from kenseg_utils import losses, machine, networks

# Small in width, depth and image, and whole in kind: every block of each network is there.
SMALL = {
    "ken_unetpp": dict(input_shape=(8, 8, 1), widths=(4, 4)),
    "unetpp": dict(input_shape=(8, 8, 1), widths=(4, 4, 4)),
    "unet": dict(input_shape=(8, 8, 1), widths=(4, 4)),
    "resunet": dict(input_shape=(8, 8, 1), widths=(4, 4, 4)),
    "deeplab_v3plus": dict(input_shape=(32, 32, 1), width_multiplier=0.001, middle_blocks=1),
    "dense_unet_2d": dict(input_shape=(32, 32, 1), width_multiplier=0.01, blocks=(1, 1, 1, 1)),
    "pspnet": dict(input_shape=(48, 48, 1), width_multiplier=0.001, blocks=(1, 1, 1, 1)),
    "segnet": dict(input_shape=(32, 32, 1), width_multiplier=0.001),
    "fcn8s": dict(input_shape=(32, 32, 1), width_multiplier=0.001),
    "dunet": dict(input_shape=(8, 8, 4), widths=(4, 4, 4)),
    "xnet": dict(input_shape=(8, 8, 1), widths=(4, 4)),
}


def exercise(name, folder, eager=False):
    """One step of training, a prediction, and the same prediction from the file saved."""
    machine.spare_graph_optimisers()
    keras.utils.set_random_seed(0)
    model = networks.build(name, **SMALL[name])
    generator = np.random.default_rng(0)
    images = generator.random((2, *model.input_shape[1:]), "float32")
    labels = (images[..., 0] > 0.7).astype("int32")
    model.compile("sgd", losses.get("enhanced_mixing"), run_eagerly=eager)
    before = [np.array(variable) for variable in model.trainable_variables]
    loss = float(model.train_on_batch(images, labels))
    moved = sum(
        bool(np.any(np.array(variable) != old))
        for variable, old in zip(model.trainable_variables, before)
    )
    prediction = model.predict_on_batch(images)
    model.save(Path(folder) / f"{name}.keras")
    loaded = keras.saving.load_model(Path(folder) / f"{name}.keras", safe_mode=True)
    return {
        "loss": loss,
        "moved": moved / len(before),
        "shape": list(prediction.shape),
        "dtype": str(prediction.dtype),
        "sum_error": float(np.abs(prediction.sum(-1) - 1).max()),
        "loaded_loss": loaded.loss.__name__,
        "load_error": float(np.abs(loaded.predict_on_batch(images) - prediction).max()),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        results = {name: exercise(name, folder) for name in networks.names()}
    print(json.dumps({"backend": keras.backend.backend(), "results": results}))
