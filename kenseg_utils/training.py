"""Recipe in, Run out: train a network on a SliceSet, survive interruption, keep the evidence.

A run is a folder: recipe.json, history.csv (a row an epoch), the checkpoint of the last whole
epochs, and, when done, model.keras and provenance.json.
"""

from __future__ import annotations

import json
import os
import platform
import time
import warnings
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from . import artifacts, batches, devices, losses, metrics, networks
from .artifacts import commit
from .slices import SliceSet

OPTIMIZERS = ("adam", "rmsprop")
SCHEDULES = ("constant", "cosine")
DECAYS = ("decoupled", "coupled")


class TrainingError(ValueError):
    """Training cannot go on; the message says why and what to try."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a training run besides the data.

    `options` go to `networks.build`; `precision` is "auto" or a Keras dtype policy.
    `decay` says how weight decay acts: "decoupled" from the gradient (Keras, AdamW) or
    "coupled" as an L2 term of the loss (PyTorch's Adam).
    `augment` is False, True for all of `batches.augment`, or "noise" for its noise alone.
    """

    network: str = "ken_unetpp"
    widths: tuple[int, ...] | None = (32, 64, 128, 256, 512)
    options: dict = field(default_factory=dict)
    loss: str = "sparse_categorical_crossentropy"
    optimizer: str = "adam"
    learning_rate: float = 1e-6
    schedule: str = "constant"
    weight_decay: float = 1e-4
    decay: str = "decoupled"
    batch_size: int = 1
    epochs: int = 40
    augment: bool | str = False
    precision: str = "auto"
    steps_per_execution: int = 1
    seed: int = 0

    def __post_init__(self):
        if self.widths is not None:
            object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        for name, choices in dict(network=networks.names(), loss=losses.names(),
                                  optimizer=OPTIMIZERS, schedule=SCHEDULES, decay=DECAYS,
                                  precision=devices.PRECISIONS,
                                  augment=batches.AUGMENTATIONS).items():
            if getattr(self, name) not in choices:
                raise ValueError(f"Recipe.{name} is {getattr(self, name)!r}: choose one of "
                                 f"{', '.join(map(str, choices))}.")
        for name, least in dict(batch_size=1, epochs=1, steps_per_execution=1, seed=0).items():
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"Recipe.{name} is {value!r}: it must be a whole number of at "
                                 f"least {least}.")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"Recipe.learning_rate is {self.learning_rate!r}: it must be above 0 "
                             "and at most 1.")
        if not 0 <= self.weight_decay < 1:
            raise ValueError(f"Recipe.weight_decay is {self.weight_decay!r}: it must be from 0 to "
                             "below 1.")

    @classmethod
    def paper(cls, **changes) -> Recipe:
        """Section IV.B and V of the paper: Adam at 1e-6, weight decay 1e-4, batch 1, 40 epochs."""
        return cls(**changes)

    @classmethod
    def quick(cls, **changes) -> Recipe:
        """Learns in minutes on a CPU: narrower, a larger rate that falls, cross-entropy + Dice."""
        quick = dict(widths=(8, 16, 32, 64, 128), loss="cross_entropy_dice", learning_rate=2e-3,
                     schedule="cosine", batch_size=16, epochs=12, augment=True)
        return cls(**(quick | changes))

    def as_dict(self) -> dict:
        """JSON-able fields."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Run:
    """A training run's folder."""

    folder: Path

    @property
    def recipe(self) -> Recipe:
        """What it was trained by."""
        return Recipe(**json.loads((self.folder / "recipe.json").read_text())["recipe"])

    @property
    def history(self) -> pd.DataFrame:
        """A row an epoch: losses, Dice, learning rate, seconds, share of time waiting for data."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def provenance(self) -> dict:
        """Versions, device, data key, commit, seconds."""
        return json.loads((self.folder / "provenance.json").read_text())

    @cached_property
    def model(self):
        """The trained network."""
        import keras

        return keras.saving.load_model(self.folder / "model.keras", safe_mode=True, compile=False)


def build(recipe: Recipe, input_shape: tuple[int, int, int], steps: int = 1):
    """Build and compile the recipe's network; `steps` is the number of steps in all."""
    import keras

    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(devices.choose_precision(recipe.precision))
    try:
        model = networks.build(recipe.network, input_shape=input_shape, widths=recipe.widths,
                               **recipe.options)
    finally:
        keras.config.set_dtype_policy(previous)
    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        warmup = max(1, steps // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 10, max(1, steps - warmup), alpha=0.01, warmup_target=rate, warmup_steps=warmup)
    coupled = recipe.decay == "coupled" and recipe.weight_decay > 0
    if coupled:
        for weight in model.trainable_weights:
            # The gradient of (decay/2)·w² is decay·w: what PyTorch's Adam adds.
            weight.regularizer = keras.regularizers.L2(recipe.weight_decay / 2)
    make = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[recipe.optimizer]
    optimizer = make(rate, weight_decay=None if coupled else recipe.weight_decay or None)
    optimizer.build(model.trainable_variables)  # or the first step would be traced twice
    model.compile(optimizer, loss=losses.get(recipe.loss),
                  steps_per_execution=recipe.steps_per_execution)
    return model


def train(recipe: Recipe, train: SliceSet, validation: SliceSet, run_dir=None,
          work_dir=None, progress: bool = True) -> Run:
    """Train, or go on from the last whole epoch, or return the run that is already done.

    The folder is `run_dir`, else one in the work folder named by recipe and data.
    Same recipe, data and seed give the same history on one device; on a GPU only as far as its
    kernels are deterministic (sums of floats in changing order differ in the last digits).
    Raises ValueError where the folder holds another recipe or other data, TrainingError where
    the loss is not a number.
    """
    if not len(validation):
        raise ValueError("The validation set is empty: nothing would show over-fitting.")
    if recipe.batch_size > len(train):
        raise ValueError(f"Recipe.batch_size is {recipe.batch_size}, and there are only "
                         f"{len(train)} slices to train on: lower it.")
    identity = dict(recipe=recipe.as_dict(), train=train.key, validation=validation.key)
    folder = Path(run_dir) if run_dir else (artifacts.work_dir(work_dir) / "runs" /
                                            f"{recipe.network}-{artifacts.key(**identity)}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        _claim(folder, identity)
        if not (folder / "provenance.json").exists():
            _fit(recipe, train, validation, folder, progress)
    return Run(folder)


def _claim(folder: Path, identity: dict) -> None:
    """Refuse a folder made by another recipe or from other data, naming what differs."""
    path = folder / "recipe.json"
    if not path.exists():
        artifacts.write_json(path, identity)
        return
    try:
        found = json.loads(path.read_text())
        before = found["recipe"] | {"train": found["train"], "validation": found["validation"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a recipe that this version wrote. Move the folder away or "
                         "choose another run_dir.") from error
    now = identity["recipe"] | {"train": identity["train"], "validation": identity["validation"]}
    differing = sorted(name for name in before.keys() | now.keys()
                       if before.get(name) != now.get(name))
    if differing:
        told = "; ".join(f"{name}: {before.get(name)!r} there, {now.get(name)!r} now"
                         for name in differing)
        raise ValueError(f"{folder} holds a run of another recipe or data ({told}). "
                         "Choose another run_dir; this one is left as it is.")


def _fit(recipe: Recipe, train: SliceSet, validation: SliceSet, folder: Path,
         progress: bool) -> None:
    """The loop over epochs, each closed by a checkpoint."""
    import keras

    keras.utils.set_random_seed(recipe.seed)
    _spare_graph_optimisers()
    steps = len(train) // recipe.batch_size
    model, history = _resume(folder)
    if model is None:
        model = build(recipe, train.shape, steps * recipe.epochs)
    bar = tqdm(total=recipe.epochs * steps, initial=len(history) * steps, unit="step",
               desc=f"{recipe.network}", disable=not progress)
    tick = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: bar.update(recipe.steps_per_execution))
    silent_epochs = 0
    for epoch in range(len(history), recipe.epochs):
        source = batches.Batches(train, recipe.batch_size, recipe.seed, epoch, recipe.augment)
        begun = time.perf_counter()
        logs = model.fit(source.generate(), steps_per_epoch=steps, verbose=0, shuffle=False,
                         callbacks=[tick])
        seconds = time.perf_counter() - begun
        loss = float(logs.history["loss"][0])
        if not np.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} in epoch {epoch + 1}: lower learning_rate (now "
                f"{recipe.learning_rate:g}), or set precision='float32'. The epochs before it "
                f"are kept in {folder}.")
        row = dict(epoch=epoch + 1, loss=loss, **validate(model, recipe, validation),
                   learning_rate=float(model.optimizer.learning_rate), seconds=seconds,
                   waiting=source.waited / seconds)
        silent_epochs = 0 if row.pop("found_lesion") else silent_epochs + 1
        if silent_epochs == 3:
            warnings.warn("For three epochs the network has called every pixel background. Try a "
                          "larger learning_rate, a loss with a Dice term, or more epochs.",
                          stacklevel=4)
        history.append(row)
        bar.set_postfix(loss=f"{loss:.3f}", val_dice=f"{row['val_dice']:.3f}")
        _checkpoint(model, history, folder)
    bar.close()
    with artifacts.write_aside(folder / "model.keras") as aside:
        model.save(aside)
    artifacts.write_json(folder / "provenance.json", provenance(
        train=train.key, validation=validation.key, recipe=recipe.as_dict(),
        parameters=model.count_params(), seconds=sum(row["seconds"] for row in history)))
    for old in folder.glob("epoch-*.keras"):
        old.unlink()


def _spare_graph_optimisers() -> None:
    """On a CPU, leave out TensorFlow's graph optimisers: they slow the first step, for no gain."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        on_cpu = not tf.config.list_physical_devices("GPU")
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": on_cpu})


def validate(model, recipe: Recipe, validation: SliceSet) -> dict:
    """Loss and Dice on a set that is not trained on; Dice is the mean over subjects."""
    from keras import ops

    loss_function = losses.get(recipe.loss)
    total, found = 0.0, []
    size = max(recipe.batch_size, 16)
    for start in range(0, len(validation), size):
        images, masks = validation.batch(range(start, min(start + size, len(validation))))
        probability = np.asarray(predict(model, images))
        total += float(ops.mean(loss_function(masks.astype("int32"), probability))) * len(images)
        found.append(probability[..., -1] >= 0.5)
    prediction = np.concatenate(found)
    masks = validation.masks
    dice = [metrics.dice(masks[where], prediction[where])
            for where in validation.index.groupby("subject").indices.values()]
    return dict(val_loss=total / len(validation), val_dice=float(np.mean(dice)),
                val_dice_pooled=float(metrics.dice(masks, prediction)),
                found_lesion=bool(prediction.any()))


def predict(model, images: np.ndarray) -> np.ndarray:
    """Class probabilities (n, H, W, classes) of one batch, padded to a fixed size for speed."""
    size = 16 * -(-len(images) // 16)
    filled = np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]),
                                              images.dtype)])
    return model.predict_on_batch(filled)[: len(images)]


def provenance(**more) -> dict:
    """What a result came from: versions, device, commit, time, and whatever is added."""
    import keras

    found = {}
    for package in ("kenseg-utils", "keras", "tensorflow", "jax", "torch", "numpy", "nibabel"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return dict(versions=found, python=platform.python_version(), backend=keras.backend.backend(),
                device=devices.device(), cores=os.cpu_count(), commit=commit(),
                finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **more)


def _checkpoint(model, history: list[dict], folder: Path) -> None:
    """Close an epoch: first its history, then the weights, whose name makes it count."""
    with artifacts.write_aside(folder / "history.csv") as aside:
        pd.DataFrame(history).to_csv(aside, index=False)
    with artifacts.write_aside(folder / f"epoch-{len(history):04d}.keras") as aside:
        model.save(aside)
    for old in sorted(folder.glob("epoch-*.keras"))[:-2]:
        old.unlink()


def _resume(folder: Path):
    """The newest whole checkpoint and the history up to it, or nothing to start afresh."""
    import keras

    for partial in folder.glob(".partial-*"):
        partial.unlink()  # under the run's lock, so nobody is writing it
    for path in sorted(folder.glob("epoch-*.keras"), reverse=True):
        epochs = int(path.stem.split("-")[1])
        try:
            model = keras.saving.load_model(path, safe_mode=True)
            history = pd.read_csv(folder / "history.csv").head(epochs).to_dict("records")
        except Exception as error:  # whatever a broken archive raises, the one before may serve
            warnings.warn(f"{path} cannot be read ({type(error).__name__}: {error}); going back "
                          "to the checkpoint before it.", stacklevel=5)
            continue
        if len(history) == epochs:
            return model, history
    return None, []


def with_changes(recipe: Recipe, **changes) -> Recipe:
    """A recipe that differs in some fields; unknown names are refused."""
    unknown = set(changes) - {f.name for f in fields(Recipe)}
    if unknown:
        raise ValueError(f"A recipe has no {', '.join(sorted(unknown))}.")
    return replace(recipe, **changes)
