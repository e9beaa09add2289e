"""Training by the clock: a rate that ends when the minutes do, averaged weights, and resuming."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kenseg_utils import artifacts, machine, metrics, phantom, prediction
from kenseg_utils.prediction import frames

from ._device import DeviceLoop
from ._feed import FIRST, Feed, Pool, start_makers, wait_for_heads
from ._heads import VERSION, make_head
from ._views import VIEWS, View
from ._widen import widened

if TYPE_CHECKING:
    from keras import Model

CHECKPOINT = "checkpoint.npz"
LOSS_VERSION = 3  # raised by hand when what a training makes small changes
DEVELOPMENT_SEED = 900_000_000  # no training head has it
MOMENTUM, EVERY = 0.96, 8  # of the averaged weights: how much stays, each so many steps
SMOOTH = 30.0  # voxels added to both halves of the Dice loss
EVEN = 500.0  # voxels added to those of lesion by which cross-entropy is divided: 4 ml
COLUMNS = (
    "seconds", "step", "heads made", "rate", "loss",
    "Dice, own heads", "Dice, phantoms", "healthy ml", "score", "waiting",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """All that a training by the clock is told."""

    network: str = "unet3d"
    minutes: float = 15.0
    widths: tuple[int, ...] | None = None
    batch: int = 4  # volumes
    rate: float = 2e-3  # at its highest
    weight_decay: float = 1e-5
    precision: str = "auto"
    workers: int = 2
    pool_size: int = 600
    seed: int = 0
    phantoms: int = 4  # to develop on
    own: int = 12  # fresh heads to develop on, and half as many healthy ones
    log_seconds: float = 30.0  # at least: judging takes no more than a tenth of the time
    save_seconds: float = 180.0
    loop: str = "auto"  # see `loops_on_device`
    patch: tuple[int, ...] | None = None  # voxels of what a step sees of each volume; None: all
    start_from: str | None = None  # a recorded network (.npz) or .keras file; None: random weights
    clock: str = "wall"  # what minutes are of: "wall", or this process's "processor" time


class Watched(NamedTuple):
    """A volume in the frame, its lesion, and `frames.hull` of it: beyond, no answer counts."""

    image: np.ndarray
    mask: np.ndarray | None
    hull: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, mask: np.ndarray | None = None) -> Watched:
        return cls(image, mask, frames.hull(image))

    def found(self, probability: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What a network calls lesion, where an answer counts: bool."""
        return self.hull & (probability(self.image) >= 0.5)


@dataclass(frozen=True, eq=False)
class Development:
    """Volumes with masks that no step learns from, by name: what the best network is chosen by."""

    own: list[Watched]
    phantoms: list[Watched]
    healthy: list[Watched]


def develop_on(plan: Plan, healthy: Sequence[np.ndarray] = ()) -> Development:
    """Fresh heads of this generator, phantoms of the other one, and healthy heads.

    `healthy`: volumes in the frame (real heads, say) that take the place of synthetic healthy
    ones. The synthetic ones are made to mislead: a network was kept back for 8 ml in them that
    found nothing in real heads.
    """
    seeds = range(DEVELOPMENT_SEED, DEVELOPMENT_SEED + plan.own)
    own = [Watched.of(*make_head(seed, healthy=False)[:2]) for seed in seeds]
    empty = list(healthy) or [
        make_head(seed + plan.own, healthy=True)[0] for seed in seeds[: plan.own // 2]
    ]
    phantoms = [_phantom(index) for index in range(plan.phantoms)]
    return Development(own, phantoms, [Watched.of(image) for image in empty])


@lru_cache(maxsize=8)
def _phantom(index: int) -> Watched:
    """One to develop on, kept for the next training in this process: nobody writes to it."""
    image, mask, _ = phantom.make_subject(index, seed=DEVELOPMENT_SEED)
    frame, seen = frames.look(image, phantom.AFFINE)
    return Watched.of(seen, frame.into(mask, phantom.AFFINE) >= 0.5)


def judged(probability: Callable[[np.ndarray], np.ndarray], on: Development) -> dict[str, float]:
    """Mean Dice on heads and phantoms, ml found in a healthy head, and the score of them all.

    The score is the mean of both Dice less 0.02 for each ml found in a healthy head, at most 0.3:
    the rule by which the best of a training's networks is kept, written before any was trained.
    That nothing beyond the brain's hull counts was added later: no scan's answer shows it.
    """

    def mean_dice(cases):
        scores = [metrics.dice(case.mask, case.found(probability)) for case in cases]
        return float(np.mean(scores)) if scores else math.nan

    own, other = mean_dice(on.own), mean_dice(on.phantoms)
    found = [case.found(probability).sum() * frames.VOXEL_ML for case in on.healthy]
    ml = float(np.mean(found)) if found else 0.0
    known = [value for value in (own, other) if not math.isnan(value)]
    return {
        "Dice, own heads": own,
        "Dice, phantoms": other,
        "healthy ml": ml,
        "score": float(np.mean(known or [0.0])) - min(0.02 * ml, 0.3),
    }


def rate_at(share: float, highest: float) -> float:
    """The learning rate when `share` of the time is gone: a short rise, then half a cosine."""
    share = min(max(share, 0.0), 1.0)
    if share < 0.03:
        return highest * (0.1 + 0.9 * share / 0.03)
    return highest * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * (share - 0.03) / 0.97)))


def volume_loss(truth: Any, probability: Any) -> Any:
    """Cross-entropy, and 1 − soft Dice where there is lesion, volume by volume: (batch,).

    Where a network is sure that there is no lesion, Dice has almost no gradient left; the
    cross-entropy has, and is summed over all voxels and divided by the lesion's, since in a mean
    over a million voxels a small lesion is lost. A volume without lesion learns from the
    cross-entropy alone: its Dice is content only when all its probabilities together are a few
    voxels, and the easiest way there is to be sure of nothing in every volume.
    """
    return _loss(truth, probability, tuple(range(1, len(truth.shape))))


def slices_loss(truth: Any, probability: Any) -> Any:
    """As `volume_loss`, over all slices of a batch together: one number.

    Slice by slice, half of them without lesion, a few false pixels would cost much of the term.
    """
    return _loss(truth, probability, tuple(range(len(truth.shape))))


def _loss(truth: Any, probability: Any, together: tuple[int, ...]) -> Any:
    """Cross-entropy a voxel of lesion, and 1 − soft Dice, over the axes taken `together`."""
    from keras import ops

    truth, probability = ops.cast(truth, "float32"), ops.cast(probability, "float32")
    # Added, not clipped: what is clipped has no gradient, and would be missed for good.
    surprise = -truth * ops.log(probability + 1e-8)
    surprise -= (1 - truth) * ops.log(1 - probability + 1e-8)
    lesion = ops.sum(truth, axis=together)
    overlap = ops.sum(truth * probability, axis=together)
    total = lesion + ops.sum(probability, axis=together)
    dice = (2 * overlap + SMOOTH) / (total + SMOOTH)
    some = ops.cast(lesion > 0, "float32")
    return some * (1 - dice) + ops.sum(surprise, axis=together) / (lesion + EVEN)


def train_by_clock(
    plan: Plan,
    out: str | os.PathLike,
    pool_folder: str | os.PathLike | None = None,
    healthy: Sequence[np.ndarray] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train by the clock into the folder `out`, going on with what it holds; the network's file.

    `out` gets `log.csv` (a row each half minute), `checkpoint.npz` (weights, optimiser, averages),
    `best.keras` (float32; by `judged`), `last.keras` and `plan.json`. `pool_folder`: a pool that
    another training may share (then with `workers=0` here); by default one in a temporary folder.
    ValueError if the network is unknown, what it should start from is another network or none, it
    cannot learn from such patches, or `out` holds a training by another plan.
    """
    out = Path(out)
    if plan.network not in VIEWS:
        raise ValueError(f"Unknown network {plan.network!r}: choose one of {', '.join(VIEWS)}.")
    if plan.clock not in ("wall", "processor"):
        raise ValueError(f'clock is "wall" or "processor"; got {plan.clock!r}.')
    if plan.patch:
        _check_patch(plan)
    if plan.start_from and not artifacts.as_path(plan.start_from).is_file():
        raise ValueError(f"There is no network {plan.start_from} to start from.")
    _claim(out, plan)
    with tempfile.TemporaryDirectory(prefix="heads-") as temporary:
        pool = Pool(pool_folder or temporary, plan.pool_size)
        makers = start_makers(pool, plan.workers, plan.seed)
        try:
            return _Clock(plan, out, pool, healthy, say).run()
        finally:
            for maker in makers:
                maker.terminate()
            for maker in makers:
                maker.join(timeout=10)


def _claim(out: Path, plan: Plan) -> None:
    """Note the plan in the folder, or see that it is the one noted there."""
    made_on = {"heads": VERSION, "loss": LOSS_VERSION, "device": machine.device()}
    told = json.loads(json.dumps(asdict(plan) | made_on))
    file = out / "plan.json"
    if file.exists():
        lasting = ("network", "widths", "batch", "seed", "heads", "loss", "patch", "start_from")
        known = json.loads(file.read_text())
        other = [name for name in lasting if known.get(name) != told[name]]
        if other:
            raise ValueError(
                f"{out} holds a training with another {' and '.join(other)} "
                f"({', '.join(f'{name}={known.get(name)}' for name in other)}): "
                "choose another folder, or the same plan to go on with it."
            )
    artifacts.write_json(file, told)


def _check_patch(plan: Plan) -> None:
    """ValueError for patches that no head has, or that nothing cuts."""
    if VIEWS[plan.network].planes:
        raise ValueError(f"{plan.network} learns from slices: give no patch.")
    if loops_on_device(plan.loop):
        raise ValueError('Patches are cut on the host: take loop="host" with them.')
    fits = len(plan.patch or ()) == 3
    if not fits or any(not 0 < n <= most for n, most in zip(plan.patch or (), frames.SHAPE)):
        raise ValueError(f"A patch has three sides up to {frames.SHAPE} voxels; got {plan.patch}.")


def weights_to_start_from(file: str | os.PathLike, model: Model) -> list[np.ndarray]:
    """The weights that `file` holds for such a model: a recorded network (.npz), or .keras.

    A model with twice the filters (or three times, …) of the file's begins with its answers.
    ValueError where it is not there, cannot be read, or holds another network.
    """
    import keras

    file = artifacts.as_path(file)
    if file.suffix == ".npz":
        kept = prediction.recorded_network(file.stem, file.parent)
        if kept is None:
            raise ValueError(f"There is no network {file} to start from.")
        found = kept[0]
    else:
        try:
            found = keras.models.load_model(file, compile=False)
        except Exception as error:  # an archive can be broken in many ways
            raise ValueError(f"{file} is no Keras model: {str(error)[:200]}") from error
    weights = widened(found, model)
    if weights is None:
        raise ValueError(
            f"{file} holds another network than this plan trains, and no narrower one."
        )
    return weights


class _HostSteps:
    """A call a step, on batches that threads make ready: for any backend."""

    def __init__(self, model: Model, view: View, pool: Pool, plan: Plan, done: int) -> None:
        self.model = model
        self.averages = [np.array(weight) for weight in model.get_weights()]
        self._losses: list[float] = []
        self._begun = 0.0
        self._feed = Feed(pool, plan.batch, view.cut, seed=plan.seed + 1000 * done)

    def advance(self, rate: float, done: int) -> int:
        """Take a step at a learning rate; how many were taken."""
        images, masks = self._feed.next()
        self.model.optimizer.learning_rate.assign(rate)
        self._losses.append(float(self.model.train_on_batch(images, masks)))
        if not self._begun:  # the first one compiles
            self._begun, self._feed.waited = time.monotonic(), 0.0
        if (done + 1) % EVERY == 0:
            rounds = (done + 1) / EVERY
            kept = min(MOMENTUM, rounds / (rounds + 9))
            for average, weight in zip(self.averages, self.model.get_weights()):
                average += (1 - kept) * (weight - average)
        return 1

    def loss(self) -> float:
        """The mean loss since this was last asked."""
        mean = float(np.mean(self._losses)) if self._losses else math.nan
        self._losses = []
        return mean

    def waiting(self) -> float:
        """The share of time that steps waited for batches."""
        return self._feed.waited / max(time.monotonic() - self._begun, 1e-9)

    def averaged(self) -> list[np.ndarray]:
        """The averaged weights, in the order of the model's."""
        return self.averages

    def sync(self) -> None:
        """The model has its weights already."""

    def close(self) -> None:
        """End the threads."""
        self._feed.close()


class _DeviceSteps:
    """Many steps a call, on heads that lie on the device: for JAX."""

    def __init__(self, model: Model, view: View, pool: Pool, plan: Plan, done: int) -> None:
        wait_for_heads(pool, FIRST)
        self.model = model
        self._loop = DeviceLoop(model, view, pool, plan.batch, plan.seed + 1000 * done)
        self._copying = self._working = 0.0

    def advance(self, rate: float, done: int) -> int:
        """Take some steps at a learning rate; how many were taken."""
        begun = time.monotonic()
        self._loop.renew()
        self._copying += time.monotonic() - begun
        count, seconds = self._loop.take(rate, done)
        self._working += seconds
        return count

    def loss(self) -> float:
        """The mean loss since this was last asked."""
        return self._loop.loss()

    def waiting(self) -> float:
        """The share of time that steps waited for heads to be copied to the device."""
        return self._copying / max(self._copying + self._working, 1e-9)

    @property
    def averages(self) -> list[np.ndarray]:
        """As `averaged`, to be set after resuming."""
        return self.averaged()

    @averages.setter
    def averages(self, values: list[np.ndarray]) -> None:
        self._loop.read(dict(zip(map(id, self.model.weights), values)))

    def averaged(self) -> list[np.ndarray]:
        """The averaged weights, in the order of the model's; what is not learned as it is."""
        known = self._loop.by_variable()
        return [np.array(known[id(variable)]) for variable in self.model.weights]

    def sync(self) -> None:
        """Give the model its weights."""
        self._loop.sync()

    def close(self) -> None:
        """Nothing is running."""


class _Clock:
    """One training under way."""

    def __init__(
        self,
        plan: Plan,
        out: Path,
        pool: Pool,
        healthy: Sequence[np.ndarray],
        say: Callable[[str], None],
    ) -> None:
        import keras

        from kenseg_utils import training

        self.plan, self.out, self.pool, self.say = plan, out, pool, say
        self.view = replace(VIEWS[plan.network], patch=plan.patch)
        keras.utils.set_random_seed(plan.seed)
        precision = machine.choose_precision(plan.precision)
        self.model = self._built(precision, self.view.training_shape)
        self.shadow = self._built(precision)  # holds averaged weights
        self.plain = self.shadow if precision == "float32" else self._built("float32")
        optimizer = keras.optimizers.AdamW(
            plan.rate, weight_decay=plan.weight_decay, global_clipnorm=1.0
        )
        training.fuse_updates(optimizer).build(self.model.trainable_variables)
        self.model.compile(optimizer, loss=slices_loss if self.view.planes else volume_loss)
        self.step, self.seconds, self.best = 0, 0.0, -math.inf
        averages = self._resume()
        if plan.start_from and not averages:
            self.model.set_weights(weights_to_start_from(plan.start_from, self.model))
        self.development = develop_on(plan, healthy)
        self.view.probability(self.shadow, np.zeros(frames.SHAPE, np.float32))  # compiled here
        make = _DeviceSteps if loops_on_device(plan.loop) else _HostSteps
        self.steps = make(self.model, self.view, pool, plan, self.step)
        if averages:
            self.steps.averages = averages

    def _built(self, precision: str, shape: tuple[int, ...] | None = None) -> Model:
        with machine.building_in(precision):
            return machine.fuse_normalisation(self.view.build(self.plan.widths, shape))

    def run(self) -> Path:
        plan, total = self.plan, 60 * self.plan.minutes
        clock = time.process_time if plan.clock == "processor" else time.monotonic
        before, begun = self.seconds, 0.0
        logged = saved = 0.0
        pause = plan.log_seconds
        try:
            while self.seconds < total:
                rate = rate_at(self.seconds / total, plan.rate)
                self.step += self.steps.advance(rate, self.step)
                if not begun:  # compiling does not count
                    begun = logged = saved = clock()
                now = clock()
                self.seconds = before + now - begun
                if now - logged > pause or self.seconds >= total:
                    self._log()
                    logged = clock()
                    pause = max(plan.log_seconds, 9 * (logged - now))  # judging takes a tenth
                if now - saved > plan.save_seconds:
                    self._save()
                    saved = clock()
        finally:
            self.steps.close()
        self._save()
        self._keep("last.keras")
        best = self.out / "best.keras"
        return best if best.exists() else self._keep("best.keras")

    def _log(self) -> None:
        self.shadow.set_weights(self.steps.averaged())
        scores = judged(lambda image: self.view.probability(self.shadow, image), self.development)
        row = {
            "seconds": round(self.seconds, 1),
            "step": self.step,
            "heads made": self.pool.heads_made,
            "rate": rate_at(self.seconds / (60 * self.plan.minutes), self.plan.rate),
            "loss": self.steps.loss(),
            **scores,
            "waiting": self.steps.waiting(),
        }
        if scores["score"] > self.best:
            self.best = scores["score"]
            self._keep("best.keras")
        file = self.out / "log.csv"
        new = not file.exists()
        with open(file, "a", newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow({name: _short(row[name]) for name in COLUMNS})
        self.say(", ".join(f"{name} {_short(row[name])}" for name in COLUMNS))

    def _keep(self, name: str) -> Path:
        """Save the averaged network in float32."""
        self.plain.set_weights(self.steps.averaged())
        with artifacts.write_aside(self.out / name) as aside:
            self.plain.save(aside)
        return self.out / name

    def _save(self) -> None:
        """Weights, optimiser and averages in one file, written aside: numbers and text."""
        self.steps.sync()
        parts = {
            "weight": self.model.get_weights(),
            "optimizer": [np.asarray(v) for v in self.model.optimizer.variables],
            "average": self.steps.averaged(),
        }
        arrays = {
            f"{part}_{number:04d}": array
            for part, values in parts.items()
            for number, array in enumerate(values)
        }
        about = dict(step=self.step, seconds=self.seconds, best=self.best)
        with artifacts.write_aside(self.out / CHECKPOINT) as aside:
            np.savez(aside, allow_pickle=False, about=json.dumps(about), **arrays)

    def _resume(self) -> list[np.ndarray]:
        """Give model and optimiser what the folder has; the averaged weights, or none."""
        file = self.out / CHECKPOINT
        if not file.exists():
            return []
        with np.load(file, allow_pickle=False) as found:
            about = json.loads(str(found["about"]))
            parts: dict[str, list[np.ndarray]] = {"weight": [], "optimizer": [], "average": []}
            for key in sorted(found):
                part = key.rpartition("_")[0]
                if part in parts:
                    parts[part].append(found[key])
        self.model.set_weights(parts["weight"])
        for variable, value in zip(self.model.optimizer.variables, parts["optimizer"]):
            variable.assign(value)
        self.step, self.seconds, self.best = about["step"], about["seconds"], about["best"]
        return parts["average"]


def loops_on_device(wanted: str) -> bool:
    """Whether steps loop on the device: "device", "host", or "auto" (JAX on a GPU).

    ValueError for another word, or where there is no such loop.
    """
    import keras

    jax = keras.backend.backend() == "jax"
    if wanted not in ("auto", "device", "host"):
        raise ValueError(f'loop is "auto", "device" or "host"; got {wanted!r}.')
    if wanted == "device" and not jax:
        raise ValueError('The loop on the device needs KERAS_BACKEND=jax; take loop="host".')
    return wanted == "device" or (wanted == "auto" and jax and machine.device().startswith("GPU"))


def _short(value: float) -> str:
    return f"{value:.5g}"
