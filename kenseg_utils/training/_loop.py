"""Recipe in, Run out: train a network on a SliceSet, survive interruption, keep the evidence.

A run is a folder: recipe.json, history.csv (a row an epoch), the checkpoint of the last whole
epochs, and, when done, model.keras and provenance.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from kenseg_utils import artifacts, losses, machine, metrics, networks
from kenseg_utils.artifacts import commit
from kenseg_utils.machine import so_many
from kenseg_utils.slices import SliceSet

from . import _batches, _checkpoints, _device, _traced
from ._decay import DecoupledAdam, DecoupledRMSprop
from ._recipes import Recipe
from ._updates import fuse_updates

if TYPE_CHECKING:
    from keras import Model


# So many steps in all end sooner as they are than traced: on a CPU tracing the Ken-model of widths
# 8 … 128 takes as long as five or six untraced steps of it, and so it is for one of widths 4 and 8.
FEW_STEPS = 5


class TrainingError(ValueError):
    """Training cannot go on; the message says why and what to try."""


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
    def model(self) -> Model:
        """The trained network."""
        import keras

        return machine.fuse_normalisation(
            keras.saving.load_model(self.folder / "model.keras", safe_mode=True, compile=False)
        )


def build(recipe: Recipe, input_shape: Sequence[int], steps: int = 1) -> Model:
    """Build and compile the recipe's network; `steps` is the number of steps in all.

    A deeply supervised one has several outputs: the loss is the mean of theirs.
    """
    return _compiled(recipe, _network(recipe, input_shape), steps)


def _compiled(recipe: Recipe, model: Model, steps: int) -> Model:
    """The network with the recipe's loss and optimiser, for so many steps in all."""
    import keras

    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        warmup = max(1, steps // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 10, max(1, steps - warmup), alpha=0.01, warmup_target=rate, warmup_steps=warmup
        )
    if recipe.decay == "rate":
        rate = keras.optimizers.schedules.InverseTimeDecay(
            rate, decay_steps=1, decay_rate=recipe.weight_decay
        )
    if recipe.decay == "coupled" and recipe.weight_decay > 0:
        for weight in model.trainable_weights:
            # The gradient of (decay/2)·w² is decay·w: what PyTorch's Adam adds.
            weight.regularizer = keras.regularizers.L2(recipe.weight_decay / 2)
    optimizer = fuse_updates(_optimiser(recipe, rate))
    optimizer.build(model.trainable_variables)  # or the first step would be traced twice
    heads = len(model.outputs)
    loss = losses.get(recipe.loss)
    model.compile(
        optimizer,
        loss=loss if heads == 1 else [loss] * heads,
        loss_weights=None if heads == 1 else [1 / heads] * heads,
        steps_per_execution=recipe.steps_per_execution,
    )
    return model


def _network(recipe: Recipe, input_shape: Sequence[int]) -> Model:
    """The recipe's network with its first weights, not compiled."""
    with machine.building_in(machine.choose_precision(recipe.precision)):
        model = networks.build(
            recipe.network, input_shape=input_shape, widths=recipe.widths, **recipe.options
        )
    machine.fuse_normalisation(model)
    if recipe.lesion_prior:
        networks.shift_scores(model, recipe.lesion_prior)
    return model


def _traced_alike(recipe: Recipe, input_shape: Sequence[int], steps: int) -> tuple:
    """What two trainings must have in common for one traced step to serve both."""
    told = recipe.as_dict()
    for name in ("seed", "epochs", "augment"):  # these lie outside the step
        del told[name]
    if _rate_is_variable(recipe):
        del told["learning_rate"]
    else:  # a schedule's numbers are traced, too
        told["steps"] = steps
    maker = networks.NETWORKS.get(recipe.network)  # a reader may give a name another network
    precision = machine.choose_precision(recipe.precision)
    return json.dumps(told, sort_keys=True), *input_shape, precision, maker, losses.get(recipe.loss)


def _rate_is_variable(recipe: Recipe) -> bool:
    """Whether the learning rate is a number of its own, and no schedule's."""
    return recipe.schedule != "cosine" and recipe.decay != "rate"


def _optimiser(recipe: Recipe, rate: Any) -> Any:
    """The recipe's optimiser; where weights decay apart from the gradient, one of our own."""
    import keras

    if recipe.decay == "decoupled" and recipe.weight_decay > 0:
        own = {"adam": DecoupledAdam, "rmsprop": DecoupledRMSprop}
        return own[recipe.optimizer](rate, shrink=recipe.weight_decay)
    plain = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
    return plain[recipe.optimizer](rate)


def train(
    recipe: Recipe,
    train: SliceSet,
    validation: SliceSet,
    run_dir: str | os.PathLike | None = None,
    work_dir: str | os.PathLike | None = None,
    progress: bool = True,
    devices: int | None = None,
    start_from: Any = None,
) -> Run:
    """Train, or go on from the last whole epoch, or return the run that is already done.

    The folder is `run_dir`, else one in the work folder named by recipe and data.
    `start_from` gives the weights to begin with in place of random ones: a Run, a Keras model, a
    .keras file, or a run's folder; it must be the network that the recipe builds.
    On one GPU, by TensorFlow or JAX, one compiled loop takes many steps a call over slices that lie
    on the device; slices that do not fit there are handed over in batches, and a warning says so.
    On a CPU TensorFlow takes the steps of a recipe of five or fewer as they are, untraced; a
    network that this process has traced before, for the same recipe with other slices, seed or
    start, is not traced again.
    Several GPUs share each batch, if they can share it evenly; `devices` gives another number of
    them. Same recipe, data and seed give the same history on one device, and to rounding on
    several; on a GPU only as far as its kernels are deterministic (sums of floats in changing
    order differ in the last digits).
    Raises ValueError where the folder holds another recipe or other data, where validation and
    training share slices (shared subjects are warned of), where a mask has a label beyond the
    network's classes, or where `start_from` is another network; TrainingError where the loss is not
    a number, memory does not suffice, or a checkpoint cannot be written.
    """
    if not len(validation):
        raise ValueError("The validation set is empty: nothing would show over-fitting.")
    _check_apart(train, validation)
    if recipe.batch_size > len(train):
        raise ValueError(
            f"Recipe.batch_size is {recipe.batch_size}, and there are only "
            f"{len(train)} slices to train on: lower it."
        )
    _check_labels(recipe, training=train, validation=validation)
    identity = dict(recipe=recipe.as_dict(), train=train.key, validation=validation.key)
    start = None if start_from is None else _weights_of(start_from)
    if start is not None:
        _check_fit(start, recipe, train.shape)
        identity["start"] = artifacts.key(
            weights=[hashlib.sha256(w.tobytes()).hexdigest() for w in start]
        )
    folder = (
        artifacts.as_path(run_dir)
        if run_dir
        else (
            artifacts.work_dir(work_dir) / "runs" / f"{recipe.network}-{artifacts.key(**identity)}"
        )
    )
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        _claim(folder, identity)
        if not (folder / "provenance.json").exists():
            count = machine.device_count(recipe.batch_size, devices)
            with machine.spread_over(count), _advice_on_memory(recipe, folder):
                _fit(recipe, train, validation, folder, count, progress, start)
    return Run(folder)


def _check_apart(train: SliceSet, validation: SliceSet) -> None:
    """Refuse slices that are in both sets, and warn of subjects that are.

    Their scores would show what was learned by heart.
    """
    remedy = "its scores would show what was learned by heart. Split by subject: SliceSet.split."
    if validation.key == train.key:
        raise ValueError(f"The validation set is the training set: {remedy}")
    if validation.stored == train.stored:
        if shared := np.isin(validation.rows, train.rows).sum():
            raise ValueError(
                f"{shared} of the validation set's {len(validation)} slices are in the training "
                f"set: {remedy}"
            )
    if both := sorted(set(train.index["subject"]) & set(validation.index["subject"])):
        warnings.warn(
            f"{so_many(len(both), 'subject')} in both the training and the validation set, such "
            f"as {both[0]}: {remedy}",
            stacklevel=3,
        )


def _check_labels(recipe: Recipe, **parts: SliceSet) -> None:
    """Refuse masks with a label that the network has no class for: no loss would tell.

    On some backends such a pixel counts as no class at all, on others as the last one.
    """
    for name, part in parts.items():
        try:
            for masks in part.mask_blocks():
                losses.check_labels(masks, recipe.options.get("classes", 2))
        except ValueError as error:
            raise ValueError(f"The {name} set's masks do not fit the network. {error}") from None


def _claim(folder: Path, identity: dict) -> None:
    """Refuse a folder made by another recipe or from other data, naming what differs."""
    path = folder / "recipe.json"
    if not path.exists():
        artifacts.write_json(path, identity)
        return
    try:
        found = json.loads(path.read_text())
        before = _told_apart(found)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a recipe that this version wrote. Move the folder away or "
            "choose another run_dir."
        ) from error
    now = _told_apart(identity)
    differing = sorted(
        name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
    )
    if differing:
        told = "; ".join(
            f"{name}: {before.get(name)!r} there, {now.get(name)!r} now" for name in differing
        )
        raise ValueError(
            f"{folder} holds a run of another recipe or data ({told}). "
            "Choose another run_dir; this one is left as it is."
        )


def _told_apart(identity: dict) -> dict:
    """The fields by which one run differs from another."""
    data = {name: identity[name] for name in ("train", "validation")}
    return identity["recipe"] | data | {"start_from": identity.get("start", "random weights")}


def _weights_of(start: Any) -> list[np.ndarray]:
    """The weights of a Run, a Keras model, a .keras file or a run's folder."""
    import keras

    if isinstance(start, str | os.PathLike):
        path = artifacts.as_path(start)
        file = path / "model.keras" if path.is_dir() else path
        if not file.is_file():
            raise ValueError(
                f"start_from is {start}, and {file} is not there: give a finished run's folder, a "
                ".keras file, a Run or a Keras model."
            )
        start = keras.saving.load_model(file, safe_mode=True, compile=False)
    model = start.model if isinstance(start, Run) else start
    if not hasattr(model, "get_weights"):
        raise ValueError(
            f"start_from is a {type(start).__name__}: give a Run, a Keras model, a .keras file or "
            "a run's folder."
        )
    return [np.asarray(weight) for weight in model.get_weights()]


def _check_fit(weights: list[np.ndarray], recipe: Recipe, shape: tuple[int, int, int]) -> None:
    """Refuse weights of another network than the recipe builds, before anything is written."""
    sketch = networks.sketch(recipe.network, shape, widths=recipe.widths, **recipe.options)
    wanted = [tuple(weight.shape) for weight in sketch.weights]
    found = [weight.shape for weight in weights]
    if found != wanted:
        differing = next(
            (
                f"array {number} is {one} there and {other} here"
                for number, (one, other) in enumerate(zip(found, wanted))
                if one != other
            ),
            f"{len(found)} arrays there and {len(wanted)} here",
        )
        raise ValueError(
            f"start_from holds another network than this recipe builds ({recipe.network}, widths "
            f"{recipe.widths}, slices {shape}): {differing}. Take the recipe that it was trained "
            "by, and slices with as many channels."
        )


def _fit(
    recipe: Recipe,
    train: SliceSet,
    validation: SliceSet,
    folder: Path,
    count: int,
    progress: bool,
    start: list[np.ndarray] | None = None,
) -> None:
    """The loop over epochs, each closed by a checkpoint."""
    import keras

    machine.spare_graph_optimisers()
    steps = len(train) // recipe.batch_size
    on_device = _device.is_wanted(count)
    by_steps = count == 1 and not on_device and keras.backend.backend() == "tensorflow"
    is_traced = by_steps and recipe.epochs * steps > FEW_STEPS
    alike = _traced_alike(recipe, train.shape, steps * recipe.epochs) if is_traced else ()

    def make():
        keras.utils.set_random_seed(recipe.seed)
        fresh = _network(recipe, train.shape)
        rate = recipe.learning_rate if _rate_is_variable(recipe) else None
        model = _traced.take(alike, fresh, rate)
        if model is None:
            model = _compiled(recipe, fresh, steps * recipe.epochs)
        if start is not None:
            model.set_weights(start)
        machine.share_statistics(model, count > 1)
        return model

    model, history = _checkpoints.resume(make, folder)
    bar = tqdm(
        total=recipe.epochs * steps,
        initial=len(history) * steps,
        unit="step",
        desc=f"{recipe.network}",
        disable=not progress,
    )
    if by_steps and not is_traced:
        model.run_eagerly = True
    run_epoch = (_looped if on_device else _streamed)(model, recipe, train, bar)
    silent_epochs = 0
    for epoch in range(len(history), recipe.epochs):
        loss, seconds, waited = run_epoch(epoch)
        if not np.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} in epoch {epoch + 1}: lower learning_rate (now "
                f"{recipe.learning_rate:g}), or set precision='float32'. The epochs before it "
                f"are kept in {folder}."
            )
        row = dict(
            epoch=epoch + 1,
            loss=loss,
            **validate(model, recipe, validation),
            learning_rate=float(model.optimizer.learning_rate),
            seconds=seconds,
            waiting=waited / max(seconds, 1e-9),
        )
        silent_epochs = 0 if row.pop("found_lesion") else silent_epochs + 1
        if silent_epochs == 3:
            warnings.warn(
                "For three epochs the network has called every pixel background. Try a "
                "larger learning_rate, a loss with a Dice term, or more epochs.",
                stacklevel=4,
            )
        history.append(row)
        bar.set_postfix(loss=f"{loss:.3f}", val_dice=f"{row['val_dice']:.3f}")
        with _advice_on_disk(epoch, folder):
            _checkpoints.write(model, history, folder)
    bar.close()
    machine.share_statistics(model, False)  # alone again, the network is like any other
    with _advice_on_disk(recipe.epochs, folder):
        with artifacts.write_aside(folder / "model.keras") as aside:
            alone(model).save(aside)
        artifacts.write_json(
            folder / "provenance.json",
            provenance(
                train=train.key,
                validation=validation.key,
                recipe=recipe.as_dict(),
                devices=count,
                loop="one on the device" if on_device else "a call a step",
                parameters=model.count_params(),
                seconds=sum(row["seconds"] for row in history),
            ),
        )
    for old in folder.glob(_checkpoints.FILES):
        old.unlink()
    if alike:
        _traced.keep(alike, model)


def _streamed(
    model: Model, recipe: Recipe, train: SliceSet, bar: tqdm
) -> Callable[[int], tuple[float, float, float]]:
    """An epoch by Keras's own loop, a batch at a time: loss, seconds, and those of waiting."""
    import keras

    tick = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: bar.update(recipe.steps_per_execution)
    )

    def run_epoch(epoch: int) -> tuple[float, float, float]:
        source = _batches.Batches(train, recipe.batch_size, recipe.seed, epoch, recipe.augment)
        begun = time.perf_counter()
        logs = model.fit(
            machine.feed(source, len(model.outputs)),
            verbose=0,
            steps_per_epoch=len(source),
            shuffle=False,
            callbacks=[tick],
        )
        return float(logs.history["loss"][0]), time.perf_counter() - begun, source.waited

    return run_epoch


def _looped(
    model: Model, recipe: Recipe, train: SliceSet, bar: tqdm
) -> Callable[[int], tuple[float, float, float]]:
    """The same by one compiled loop on the device."""
    steps = _device.compile_steps(model)
    data = _device.Epochs(train, recipe.batch_size, recipe.seed, recipe.augment)

    def tick(count: int) -> bool:
        bar.update(count)
        return False  # go on

    def run_epoch(epoch: int) -> tuple[float, float, float]:
        part = _device.run_epoch(steps, data, epoch, after=tick)
        return float(model.get_metrics_result()["loss"]), part.seconds, part.waited

    return run_epoch


def alone(model: Model) -> Model:
    """The network of one output, without optimiser and loss, which a reader's Keras may not know.

    It shares the model's weights; its file is a third as large.
    """
    import keras

    whole = networks.average_heads(model)
    return keras.Model(whole.input, whole.output, name=whole.name)


@contextmanager
def _advice_on_memory(recipe: Recipe, folder: Path) -> Iterator[None]:
    """Say what to lower where a device's memory does not suffice, in whichever words it told."""
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        if not machine.is_out_of_memory(error):
            raise
        raise TrainingError(
            f"The memory of {machine.device()} does not suffice: lower batch_size first (now "
            f"{recipe.batch_size}), then widths (now {recipe.widths}). The epochs before are kept "
            f"in {folder}."
        ) from error


@contextmanager
def _advice_on_disk(epochs: int, folder: Path) -> Iterator[None]:
    """Say that what is there stays, where the disk is full or gone."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"What follows epoch {epochs} cannot be written to {folder}: {error}. The checkpoint "
            "before it is still there: make room and call again, and training goes on from it."
        ) from error


def validate(model: Model, recipe: Recipe, validation: SliceSet) -> dict[str, float | bool]:
    """Loss and Dice on a set that is not trained on, and whether any lesion was found.

    The same predictions score in three averages: val_dice_per_slice, val_dice (per subject), and
    val_dice_pooled (all pixels at once).
    """
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
    counts = metrics.count_slices(validation.masks, prediction)
    subjects = validation.index["subject"].to_numpy()
    return dict(
        val_loss=total / len(validation),
        val_dice_per_slice=float(metrics.per_slice(counts).mean()),
        val_dice=float(metrics.per_subject(counts, subjects).mean()),
        val_dice_pooled=float(metrics.pooled(counts)),
        found_lesion=bool(prediction.any()),
    )


def predict(model: Model, images: np.ndarray) -> np.ndarray:
    """Class probabilities (n, H, W, classes); of several outputs, the mean. 32 slices at once.

    Slices of another size than the model was built for are asked of one that shares its weights.
    What is left over is padded to a multiple of 16: each new size would be traced anew.
    """
    if len(images) > 32:
        return np.concatenate(
            [predict(model, images[start : start + 32]) for start in range(0, len(images), 32)]
        )
    size = 16 * -(-len(images) // 16)
    filled = np.zeros((size, *images.shape[1:]), np.float32)
    filled[: len(images)] = images
    built_for = getattr(model, "input_shape", (None,) * 4)[1:3]
    if None not in built_for and built_for != images.shape[1:3]:
        model = networks.for_slices_of(model, images.shape[1:3])
    found = model.predict_on_batch(filled)
    return (np.mean(found, axis=0) if len(model.outputs) > 1 else found)[: len(images)]


def provenance(**more: Any) -> dict[str, Any]:
    """What a result came from: versions, device, commit, time, and whatever is added."""
    import keras

    found = {}
    for package in ("kenseg-utils", "keras", "tensorflow", "jax", "torch", "numpy", "nibabel"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return dict(
        versions=found,
        python=platform.python_version(),
        backend=keras.backend.backend(),
        device=machine.device(),
        processor=machine.processor(),
        cores=os.cpu_count(),
        commit=commit(),
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **more,
    )
