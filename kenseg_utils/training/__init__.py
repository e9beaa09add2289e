"""Recipe in, Run out: train a network on a SliceSet, survive interruption, keep the evidence.

A run is a folder: recipe.json, history.csv (a row an epoch), the checkpoint of the last whole
epochs, and, when done, model.keras and provenance.json.
"""

from ._augment import augment, move, recolour, strip_skull, wide
from ._batches import Batches
from ._device import Epochs, Speed, Steps, compile_steps, place, run_epoch
from ._loop import Run, TrainingError, alone, build, predict, provenance, train, validate
from ._recipes import Recipe, with_changes
from ._updates import fuse_updates

__all__ = [
    "Batches",
    "Epochs",
    "Recipe",
    "Run",
    "Speed",
    "Steps",
    "TrainingError",
    "alone",
    "augment",
    "build",
    "compile_steps",
    "fuse_updates",
    "move",
    "place",
    "predict",
    "provenance",
    "recolour",
    "run_epoch",
    "strip_skull",
    "train",
    "validate",
    "wide",
    "with_changes",
]
