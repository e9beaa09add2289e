"""Training with the loop over steps on the device: a call for many steps, not one for each.

Handing over a batch of one takes a GPU longer than the step itself. Here the slices lie on the
device, where a compiled loop draws its batches from them; where they are augmented, or too many,
threads make the batches of the next call meanwhile. Order, augmentation and steps are those of
`Batches` and Keras's own loop, so the history is the same to rounding.

TensorFlow and JAX; one device. Nothing here knows of files.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kenseg_utils import machine
from kenseg_utils.slices import SliceSet

from ._batches import Batches

if TYPE_CHECKING:
    from keras import Model

SECONDS_A_CALL = 5.0  # so that an interruption, a clock and the progress bar have their turn
BYTES_A_CALL = 64 * 2**20  # of batches that are made ahead
BYTES_ON_DEVICE = 2 * 2**30  # of slices that stay there, where its memory is not known
SHARE_ON_DEVICE = 0.25  # of the memory that is free, where it is known; the rest is for the steps
_FORCED: bool | None = None  # tests choose; None: by the device


def is_wanted(devices: int) -> bool:
    """Whether a training on so many devices is quicker by this loop: on one GPU it is."""
    import keras

    if _FORCED is not None:
        return _FORCED
    known = keras.backend.backend() in _MAKERS
    return known and devices == 1 and machine.device().startswith("GPU")


@dataclass
class Speed:
    """How quick the calls of this process were: `compiling` is the first one's seconds.

    `steps` and `seconds` are of the calls after it, `waiting` the seconds without a batch.
    `count` is how many steps suit the next call.
    """

    compiling: float | None = None
    steps: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    count: int = 4

    def add(self, steps: int, seconds: float, waiting: float) -> None:
        """Count a call."""
        if self.compiling is None:
            self.compiling = seconds
            return
        self.steps += steps
        self.seconds += seconds
        self.waiting += waiting
        self.count = int(np.clip(steps * SECONDS_A_CALL / max(seconds, 1e-9), 1, 4 * self.count))

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

    model: Model
    take: Callable[..., None]
    speed: Speed = field(default_factory=Speed)


def compile_steps(model: Model) -> Steps:
    """The training step of a compiled Keras model, many times over in one call.

    Raises ValueError on a backend that has no such loop.
    """
    import keras

    backend = keras.backend.backend()
    if backend not in _MAKERS:
        raise ValueError(
            f"There is no loop on the device for {backend}: set KERAS_BACKEND to "
            f"{' or '.join(_MAKERS)}."
        )
    _make_variables(model)
    return Steps(model, _MAKERS[backend](model))


def _make_variables(model: Model) -> None:
    """Let loss and optimiser make their variables now, for a compiled loop could not."""
    model.optimizer.build(model.trainable_variables)
    shapes = [(1, *output.shape[1:]) for output in model.outputs]
    guesses = [np.full(shape, 1 / shape[-1], np.float32) for shape in shapes]
    labels = [np.zeros(shape[:-1], np.int32) for shape in shapes]
    one = len(shapes) == 1
    model.compute_loss(y=labels[0] if one else labels, y_pred=guesses[0] if one else guesses)


def _steps_on_jax(model: Model) -> Callable[..., None]:
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


def _steps_on_tensorflow(model: Model) -> Callable[..., None]:
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


_MAKERS: dict[str, Callable[[Any], Callable[..., None]]] = {
    "jax": _steps_on_jax,
    "tensorflow": _steps_on_tensorflow,
}


@dataclass
class Epochs:
    """The batches of any epoch, those of `Batches`, in the form that `Steps.take` takes.

    `room`: how many bytes of slices may stay on the device (None: as its memory allows); more are
    handed over in batches, and a warning says so.
    """

    slices: SliceSet
    batch_size: int
    seed: int = 0
    augment: bool | str = False
    room: int | None = None

    def __post_init__(self) -> None:
        pixels = len(self.slices) * int(np.prod(self.slices.shape[:2]))
        size = pixels * (2 * self.slices.shape[2] + 1)  # float16 and uint8
        room = room_on_device() if self.room is None else self.room
        self.stays = not self.augment and size <= room
        self._arrays: tuple | None = None
        if not self.stays and not self.augment:
            self._say(f"{size / 2**20:,.0f} MiB, and {room / 2**20:,.0f} MiB are set aside")

    def _say(self, why: str) -> None:
        warnings.warn(
            f"The {len(self.slices):,} slices do not fit on the device ({why}): they are handed "
            "over in batches while it trains.",
            stacklevel=6,
        )

    def __len__(self) -> int:
        return len(self.slices) // self.batch_size

    def begin(self, epoch: int, first: int = 0) -> _Resident | _MadeAhead:
        """The batches of an epoch (0 is the first), from number `first` on; close it after."""
        source = Batches(self.slices, self.batch_size, self.seed, epoch, self.augment)
        if self.stays and self._arrays is None:
            try:
                self._arrays = place(self.slices.images, self.slices.masks)
            except Exception as error:
                if not machine.is_out_of_memory(error):
                    raise
                self.stays = False
                self._say("its memory is full")
        if not self.stays or self._arrays is None:
            return _MadeAhead(source, first)
        return _Resident(source, self._arrays)


class _Resident:
    """An epoch of slices that lie on the device: only their order is handed over."""

    waited = 0.0

    def __init__(self, source: Batches, arrays: tuple) -> None:
        self.arrays, self.most = arrays, len(source)
        self.rows = (
            source.order[: len(source) * source.batch_size]
            .astype(np.int32)
            .reshape(len(source), source.batch_size)
        )

    def draw(self, start: int, count: int) -> tuple:
        """Images, labels, and the rows of so many batches."""
        rows = np.zeros_like(self.rows)  # always as many: what is beyond `count` is not taken
        rows[:count] = self.rows[start : start + count]
        return *self.arrays, rows

    def close(self) -> None:
        """Nothing is running."""


class _MadeAhead:
    """An epoch whose batches threads make, a call ahead of the one that is being trained on."""

    def __init__(self, source: Batches, first: int) -> None:
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
        """Images, labels, and the rows of so many batches."""
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
        """Let the threads end."""
        self.pool.shutdown(cancel_futures=True)


def place(*arrays: np.ndarray) -> tuple:
    """Arrays copied to the device, where they stay."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return tuple(jax.device_put(array) for array in arrays)
    import tensorflow as tf

    return tuple(tf.constant(array) for array in arrays)


def room_on_device() -> int:
    """Bytes of slices that may stay on the device."""
    free = machine.free_bytes()
    return BYTES_ON_DEVICE if free is None else int(SHARE_ON_DEVICE * free)


@dataclass(frozen=True)
class Part:
    """What was done of an epoch: batches, the seconds they took, and those without a batch."""

    batches: int
    seconds: float
    waited: float


def run_epoch(
    steps: Steps,
    data: Epochs,
    epoch: int,
    first: int = 0,
    after: Callable[[int], bool] | None = None,
) -> Part:
    """The steps of an epoch (0 is the first) from batch `first` on, in a few calls.

    `after(count)` is told after each call how many steps it took; where it answers True, the epoch
    ends there. The loss of the whole epoch is then in the model's metrics.
    """
    if not first:
        steps.model.reset_metrics()
    batches = data.begin(epoch, first)
    done, seconds = 0, 0.0
    try:
        while first + done < len(data):
            some = min(steps.speed.count, batches.most, len(data) - first - done)
            begun, waited = time.perf_counter(), batches.waited
            steps.take(*batches.draw(first + done, some), some)
            took = time.perf_counter() - begun
            steps.speed.add(some, took, batches.waited - waited)
            done += some
            seconds += took
            if after and after(some):
                break
    finally:
        batches.close()
    return Part(done, seconds, batches.waited)
