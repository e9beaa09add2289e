"""Training with the loop over steps on the device: a call for many steps, not one for each.

`training.train` hands over a batch at a time, and with a batch of one that takes a GPU longer than
the step itself. Here the slices lie on the device, where a compiled loop draws its batches from
them; where they are augmented, or too many, threads make the batches of the next call meanwhile.
Order, augmentation and steps are those of `training.train`, so the history is the same to rounding.

    history = run(compile_steps(model), Epochs(train, recipe.batch_size), Progress(), epochs=40)

TensorFlow and JAX; a device. Nothing here knows of files: `keep` is told when to write.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from kenseg_utils import training
from kenseg_utils.training import Batches

SECONDS_A_CALL = 5.0  # so that a clock can end a training between two calls
BYTES_A_CALL = 64 * 2**20  # of batches that are made ahead
BYTES_ON_DEVICE = 4 * 2**30  # of slices that stay there


@dataclass
class Progress:
    """Where a training stands: a row for each whole epoch, and how much of the next is done."""

    history: list[dict] = field(default_factory=list)
    batches: int = 0  # of the epoch that has begun
    seconds: float = 0.0  # of its steps
    waiting: float = 0.0  # of these, without a batch to train on


@dataclass
class Speed:
    """How quick the calls of this process were: `compiling` is the first one's seconds.

    `steps` and `seconds` are of the calls after it, `waiting` the seconds without a batch.
    """

    compiling: float | None = None
    steps: int = 0
    seconds: float = 0.0
    waiting: float = 0.0

    def add(self, steps: int, seconds: float, waiting: float) -> None:
        """Count a call."""
        if self.compiling is None:
            self.compiling = seconds
            return
        self.steps += steps
        self.seconds += seconds
        self.waiting += waiting

    def as_dict(self) -> dict[str, float | None]:
        """Seconds of compiling, steps a second, and the share of time without a batch."""
        return dict(
            compile_seconds=self.compiling,
            steps_per_second=self.steps / self.seconds if self.seconds else None,
            waiting=self.waiting / self.seconds if self.seconds else None,
        )


@dataclass(frozen=True)
class Steps:
    """A compiled network and `take(images, labels, rows, count)`: `count` steps in one call.

    images (n, H, W, channels) and labels (n, H, W) lie on the device or are copied there; `rows`
    (at least `count`, batch) says which of them make each batch.
    """

    model: object
    take: Callable
    speed: Speed = field(default_factory=Speed)


def compile_steps(model) -> Steps:
    """The training step of a compiled Keras model, many times over in one call.

    Raises ValueError on a backend that has no such loop.
    """
    import keras

    makers = {"jax": _steps_on_jax, "tensorflow": _steps_on_tensorflow}
    backend = keras.backend.backend()
    if backend not in makers:
        raise ValueError(
            f"There is no loop on the device for {backend}: set KERAS_BACKEND to "
            f"{' or '.join(makers)}."
        )
    _make_variables(model)
    return Steps(model, makers[backend](model))


def _make_variables(model) -> None:
    """Let loss and optimiser make their variables now, for a compiled loop could not."""
    model.optimizer.build(model.trainable_variables)
    shapes = [(1, *output.shape[1:]) for output in model.outputs]
    guesses = [np.full(shape, 1 / shape[-1], np.float32) for shape in shapes]
    labels = [np.zeros(shape[:-1], np.int32) for shape in shapes]
    one = len(shapes) == 1
    model.compute_loss(y=labels[0] if one else labels, y_pred=guesses[0] if one else guesses)


def _steps_on_jax(model) -> Callable:
    import jax

    heads = len(model.outputs)

    @jax.jit
    def loop(state, images, labels, rows, count):
        def step(number, state):
            chosen = labels[rows[number]].astype("int32")
            batch = (
                images[rows[number]].astype("float32"),
                chosen if heads == 1 else (chosen,) * heads,
            )
            return model.train_step(state, batch)[1]

        # Its length is not compiled in, as that of `scan` would be: one program for any count.
        return jax.lax.fori_loop(0, count, step, state)

    def take(images, labels, rows, count):
        groups = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        state = tuple([variable.value for variable in group] for group in groups)
        state = jax.block_until_ready(loop(state, images, labels, rows, count))
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    return take


def _steps_on_tensorflow(model) -> Callable:
    import tensorflow as tf

    heads = len(model.outputs)
    step = model.train_step
    if model.jit_compile:
        step = tf.function(step, jit_compile=True)

    @tf.function
    def loop(images, labels, rows, count):
        for number in tf.range(count):
            chosen = tf.cast(tf.gather(labels, rows[number]), tf.int32)
            batch = tf.cast(tf.gather(images, rows[number]), tf.float32)
            step((batch, chosen if heads == 1 else (chosen,) * heads))
        return model.optimizer.iterations + 0

    def take(images, labels, rows, count):
        int(loop(images, labels, rows, tf.constant(count)))  # waits for the device

    return take


@dataclass
class Epochs:
    """The batches of any epoch, those of `training.Batches`, in the form that `Steps.take` takes.

    `on_device`: how many bytes of slices may stay on the device; more are handed over in batches.
    """

    slices: object
    batch_size: int
    seed: int = 0
    augment: bool | str = False
    on_device: int = BYTES_ON_DEVICE

    def __post_init__(self):
        pixels = len(self.slices) * np.prod(self.slices.shape[:2])
        size = int(pixels * (2 * self.slices.shape[2] + 1))  # float16 and uint8
        self.stays = not self.augment and size <= self.on_device
        self._arrays = None

    def begin(self, epoch: int, first: int = 0):
        """The batches of an epoch (0 is the first), from number `first` on; close it after."""
        source = Batches(self.slices, self.batch_size, self.seed, epoch, self.augment)
        if not self.stays:
            return _MadeAhead(source, first)
        if self._arrays is None:
            self._arrays = place(self.slices.images, self.slices.masks)
        return _Resident(source, self._arrays)


class _Resident:
    """An epoch of slices that lie on the device: only their order is handed over."""

    waited = 0.0

    def __init__(self, source: Batches, arrays: tuple):
        self.arrays, self.most = arrays, len(source)
        self.rows = (
            source.order[: len(source) * source.batch_size]
            .astype(np.int32)
            .reshape(len(source), source.batch_size)
        )

    def draw(self, start: int, count: int) -> tuple:
        rows = np.zeros_like(self.rows)  # always as many: what is beyond `count` is not taken
        rows[:count] = self.rows[start : start + count]
        return *self.arrays, rows

    def close(self) -> None:
        """Nothing is running."""


class _MadeAhead:
    """An epoch whose batches threads make, a call ahead of the one that is being trained on."""

    def __init__(self, source: Batches, first: int):
        self.source, self.next, self.waited = source, first, 0.0
        height, width, channels = source.slices.shape
        size = source.batch_size * height * width * 4 * (channels + 1)
        self.most = int(np.clip(BYTES_A_CALL // size, 1, len(source)))
        self.pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2))
        self.ready: deque = deque()
        self._order(self.most)

    def _order(self, count: int) -> None:
        while len(self.ready) < count and self.next < len(self.source):
            self.ready.append(self.pool.submit(self.source.batch, self.next))
            self.next += 1

    def draw(self, start: int, count: int) -> tuple:
        begun = time.perf_counter()
        self._order(count)
        made = [self.ready.popleft().result() for _ in range(count)]
        self.waited += time.perf_counter() - begun
        self._order(self.most)
        size = self.source.batch_size
        images, labels = (
            np.zeros((self.most * size, *part.shape[1:]), part.dtype) for part in made[0]
        )
        for number, (image, label) in enumerate(made):
            images[number * size : (number + 1) * size] = image
            labels[number * size : (number + 1) * size] = label
        return images, labels, np.arange(self.most * size, dtype=np.int32).reshape(-1, size)

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)


def place(*arrays: np.ndarray) -> tuple:
    """Arrays copied to the device, where they stay."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return tuple(jax.device_put(array) for array in arrays)
    import tensorflow as tf

    return tuple(tf.constant(array) for array in arrays)


def run(
    steps: Steps,
    data: Epochs,
    state: Progress,
    epochs: int,
    *,
    validate: Callable[[], dict] | None = None,
    keep: Callable[[Progress], None] | None = None,
    late: Callable[[Progress], bool] | None = None,
) -> list[dict]:
    """Train until `epochs` are whole, or it is `late`; returns the history, a row an epoch.

    `state` says where to begin and is kept up to date. `validate()` gives what a row says of the
    validation set. `keep(state)` is called after each whole epoch, and where it is late in the
    middle of one (`state.batches` is above 0 then): whoever writes the weights and the state there
    goes on later with exactly the steps that are left. `late(state)` is asked between two calls.
    Raises training.TrainingError where the loss is not a number.
    """
    count, silent = 4, 0
    while len(state.history) < epochs:
        if not state.batches:
            steps.model.reset_metrics()
        count = _go_on(steps, data, state, count, late)
        if state.batches < len(data.slices) // data.batch_size:
            return _kept(state, keep)
        row = _close_epoch(steps.model, state, validate)
        silent = silent + 1 if row.pop("found_lesion", True) is False else 0
        if silent == 3:
            warnings.warn(
                "For three epochs the network has called every pixel background. Try a "
                "larger learning_rate, a loss with a Dice term, or more epochs.",
                stacklevel=2,
            )
        state.history.append(row)
        state.batches, state.seconds, state.waiting = 0, 0.0, 0.0
        _kept(state, keep)
        if len(state.history) < epochs and late and late(state):
            break
    return state.history


def _kept(state: Progress, keep: Callable | None) -> list[dict]:
    if keep:
        keep(state)
    return state.history


def _go_on(steps: Steps, data: Epochs, state: Progress, count: int, late: Callable | None) -> int:
    """Steps of the epoch to its end or until it is late; returns how many suit a call."""
    epoch = data.begin(len(state.history), state.batches)
    total = len(data.slices) // data.batch_size
    first = True  # it may compile, so its time says nothing about the next
    try:
        while state.batches < total:
            some = min(count, epoch.most, total - state.batches)
            begun, waited = time.perf_counter(), epoch.waited
            steps.take(*epoch.draw(state.batches, some), some)
            took = time.perf_counter() - begun
            state.batches += some
            state.seconds += took
            state.waiting += epoch.waited - waited
            steps.speed.add(some, took, epoch.waited - waited)
            if not first:
                count = int(np.clip(some * SECONDS_A_CALL / max(took, 1e-9), 1, 4 * count))
            first = False
            if state.batches < total and late and late(state):
                break
    finally:
        epoch.close()
    return count


def _close_epoch(model, state: Progress, validate: Callable | None) -> dict:
    """The row of an epoch whose steps are done."""
    number = len(state.history) + 1
    loss = float(model.get_metrics_result()["loss"])
    if not np.isfinite(loss):
        raise training.TrainingError(
            f"The loss became {loss} in epoch {number}: lower learning_rate (now "
            f"{float(model.optimizer.learning_rate):g}), or set precision='float32'."
        )
    return dict(
        epoch=number,
        loss=loss,
        **(validate() if validate else {}),
        learning_rate=float(model.optimizer.learning_rate),
        seconds=state.seconds,
        waiting=state.waiting / max(state.seconds, 1e-9),
    )
