"""Checkpoints: an epoch counts when its history and, after it, its weights are whole on disk.

A checkpoint holds numbers alone, of weights, random states and optimiser, in the network's order:
`Model.save` takes five times as long, since it looks for them in every object of the network.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kenseg_utils import artifacts

if TYPE_CHECKING:
    from keras import Model

FILES = "epoch-*.npz"
KEPT = 2  # so that a broken checkpoint costs one epoch


def write(model: Model, history: list[dict], folder: Path) -> None:
    """Close an epoch: first its history, then the weights, whose name makes it count.

    Each is written aside and renamed: whatever kills this, only whole files have their names.
    Raises OSError where the disk is full; the checkpoint before it then stays.
    """
    with artifacts.write_aside(folder / "history.csv") as aside:
        pd.DataFrame(history).to_csv(aside, index=False)
    with artifacts.write_aside(folder / f"epoch-{len(history):04d}.npz") as aside:
        save(model, aside)
    for old in sorted(folder.glob(FILES))[:-KEPT]:
        old.unlink()


def resume(make: Callable[[], Model], folder: Path) -> tuple[Model, list[dict]]:
    """A model as the newest whole checkpoint left it, and the history up to there, a row an epoch.

    `make()` builds it, compiled; with no checkpoint to trust it is returned fresh, with no
    history. A checkpoint that is broken or another network's is named in a warning.
    """
    for partial in folder.glob(".partial-*"):
        partial.unlink()  # under the run's lock, so nobody is writing it
    for path in sorted(folder.glob(FILES), reverse=True):
        epochs = int(path.stem.split("-")[1])
        model = make()  # anew: what fails half way may have changed the one before
        try:
            _load(model, path)
            history = pd.read_csv(folder / "history.csv").head(epochs).to_dict("records")
        except Exception as error:  # whatever a broken archive raises, the one before may serve
            told = str(error).strip().split("\n")[0]
            warnings.warn(
                f"{path} cannot be used ({type(error).__name__}: {told}); going back "
                "to the checkpoint before it.",
                stacklevel=5,
            )
            continue
        if len(history) == epochs:
            return model, history
        warnings.warn(
            f"{folder / 'history.csv'} ends before epoch {epochs}; going back to the "
            "checkpoint before it.",
            stacklevel=5,
        )
    return make(), []


def save(model: Model, path: Path) -> None:
    """Write the state of a compiled network into a NumPy archive."""
    whole = _whole_state(model)
    with open(path, "wb") as file:
        np.savez(file, **{f"{k:05d}": one.numpy() for k, one in enumerate(whole)})


def _load(model: Model, path: Path) -> None:
    """Give a compiled network the state that was written; ValueError where it is another's."""
    whole = _whole_state(model)
    with np.load(path, allow_pickle=False) as kept:
        found = [kept[name] for name in sorted(kept.files)]
    if [one.shape for one in found] != [tuple(one.shape) for one in whole]:
        raise ValueError("it is of another network")
    for variable, value in zip(whole, found):
        variable.assign(value)


def _whole_state(model: Model) -> list:
    return [*state(model), *model.optimizer.variables]


def state(model: Model) -> Iterator[Any]:
    """A network's weights, running statistics and states of random numbers, layer by layer."""
    for layer in model.layers:
        yield from layer.variables
