"""Trained networks kept with the book, as results/<name>.npz: numbers and text, never code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from kenseg_utils import artifacts, machine

from ._answers import give_choices
from ._frames import takes_volumes

# What `open_network` opens, by preference: the 3-D network, else the one of whole slices.
BEST_FIRST = ("heads", "whole_slices")


def save_network(
    name: str,
    run: Any,
    folder: str | os.PathLike | None = None,
    threshold: float = 0.5,
    **more: Any,
) -> Path:
    """Record a finished run's network as `results/<name>.npz`: its weights, and what made it.

    In place of a run, a Keras model will do, if `recipe` (a dictionary with `network` and `widths`
    at least) says how `networks.build` makes another like it.

    `threshold`: from which probability on its answer is lesion; `more` joins what is kept of it,
    among it `least_ml`, the smallest find in millilitres that shall count, `peak_share`, which part
    of a find's highest probability a voxel of it must have, and `mirrored` and `moved`, whether it
    shall be asked about the mirror image, and about the head a voxel on, too.
    Kernels are kept in half precision and vectors (biases, normalisation) in single precision; a
    test holds what that changes in a probability below 0.01. Numbers and text, never code.
    """
    model = getattr(run, "model", run)
    if model is run and "recipe" not in more:
        raise ValueError("A model alone does not say how it was built: give recipe=, too.")
    weights = {
        f"weight_{number:04d}": np.float16(array) if array.ndim > 1 else np.float32(array)
        for number, array in enumerate(model.get_weights())
    }
    about = {} if model is run else run.provenance | dict(history=run.history.to_dict("records"))
    about |= dict(input_shape=model.input_shape[1:], threshold=threshold, **more)
    file = artifacts.results_file(name, folder, ".npz")
    with artifacts.write_aside(file) as aside:
        told = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez_compressed(aside, allow_pickle=False, about=told, **weights)
    return file


def best_recorded(folder: str | os.PathLike | None = None) -> tuple[Any, dict] | None:
    """The first of `BEST_FIRST` that is recorded, as `recorded_network` gives it, or None."""
    found = (recorded_network(name, folder) for name in BEST_FIRST)
    return next((kept for kept in found if kept is not None), None)


def recorded_network(name: str, folder: str | os.PathLike | None = None) -> tuple[Any, dict] | None:
    """The network that `save_network` recorded and its provenance, or None if there is none.

    It is built anew from its recipe and given the recorded weights. Its lesion scores are shifted
    so that the threshold recorded with it becomes 0.5, which is what everything else assumes (of a
    network of volumes, `prediction.by_frame` shifts the mean of its looks); `least_ml`, `mirrored`,
    `moved` and `peak_share` become its attributes, where they were recorded. A network of volumes
    computes in float32 on whatever device, so that its masks are everywhere the same.
    Raises ValueError for a file that holds something else.
    """
    from kenseg_utils import networks

    file = artifacts.results_file(name, folder, ".npz")
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as found:
            about = json.loads(found["about"].tobytes())
            weights = [found[key].astype(np.float32) for key in sorted(found) if key != "about"]
        model = _built(about)
        model.set_weights(weights)
        if takes_volumes(model):
            model.threshold = float(about.get("threshold", 0.5))
        else:
            networks.shift_scores(model, 1 - about.get("threshold", 0.5))
        give_choices(model, about)
    except Exception as error:  # an archive can be broken in many ways
        raise ValueError(
            f"{file} is no recorded network ({type(error).__name__}: "
            f"{str(error)[:200]}): record it anew, or remove it."
        ) from error
    return model, about


def _built(about: dict) -> Any:
    """The untrained network of a recorded one's recipe."""
    from kenseg_utils import networks, training

    recipe, shape = about["recipe"], tuple(about["input_shape"])
    if recipe["network"] not in networks.volume_names():
        return training.build(training.Recipe(**recipe), shape)
    with machine.building_in("float32"):
        model = networks.build(
            recipe["network"], shape, widths=recipe.get("widths"), **recipe.get("options", {})
        )
    return machine.fuse_normalisation(model)
