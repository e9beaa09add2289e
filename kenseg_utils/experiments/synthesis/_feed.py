"""Heads made ahead by several processes, and batches that a training never waits for.

A `Pool` is a folder with two arrays on disk, images and masks in bytes, through which any number
of processes go round and round: new heads take the place of old ones, and readers take what is
whole. `Feed` draws from it, varies what it draws cheaply, and keeps batches ready.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kenseg_utils import artifacts
from kenseg_utils.prediction.frames import BRIGHTEST, SHAPE

from ._fields import moved, smooth_field, upsampled
from ._heads import VERSION, make_head

LEVELS = 255 / BRIGHTEST  # bytes of white matter's level
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CUT_OFF = 0.25  # of the heads drawn: their top lies beyond the field of view
FIRST = 32  # heads that must be there before the first batch
PATIENCE_S = 600  # for them


class Pool:
    """`size` heads in a folder: `open` it from any process; heads are numbered from 0 on.

    Head number n comes from the seed (seed, n), and lies in place n modulo `size`. ValueError for
    a folder with a pool of another size, or of another version of the heads.
    """

    def __init__(self, folder: str | os.PathLike, size: int) -> None:
        self.folder, self.size = Path(folder), size
        self.folder.mkdir(parents=True, exist_ok=True)
        self._claim()
        self.images = self._array("images", (size, *SHAPE), np.uint8)
        self.masks = self._array("masks", (size, *SHAPE), np.uint8)
        self.made = self._array("made", (size,), np.int64)  # the head's number plus one, or 0

    def _claim(self) -> None:
        """Note in the folder what its heads are, or see that they are these."""
        begun = (self.folder / "made.bytes").exists()  # asked first: others write it last
        file, told = self.folder / "pool.json", {"version of the heads": VERSION, "size": self.size}
        if not begun and not file.exists():
            artifacts.write_json(file, told)
            return
        known = json.loads(file.read_text()) if file.exists() else {}
        for name, value in told.items():
            if known.get(name) != value:
                raise ValueError(
                    f"{self.folder} holds a pool of heads with another {name} "
                    f"({known.get(name, 'unknown')}, not {value}): give another folder."
                )

    def _array(self, name: str, shape: tuple[int, ...], dtype: type) -> np.memmap:
        file = self.folder / f"{name}.bytes"
        wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if not file.exists() or file.stat().st_size != wanted:
            with open(file, "ab") as handle:
                handle.truncate(wanted)  # zeros, and no bytes on disk before they are written
        return np.memmap(file, dtype, "r+", shape=shape)

    def put(self, number: int, image: np.ndarray, mask: np.ndarray) -> None:
        """Lay head `number` in its place."""
        place = number % self.size
        self.made[place] = 0  # who reads it now will notice
        self.images[place] = np.rint(image * LEVELS).astype(np.uint8)
        self.masks[place] = mask
        self.made[place] = number + 1

    def get(self, place: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The head in a place, in bytes, or None if it was not whole."""
        before = int(self.made[place])
        if not before:
            return None
        image, mask = self.images[place].copy(), self.masks[place].copy()
        return (image, mask) if int(self.made[place]) == before else None

    @property
    def filled(self) -> np.ndarray:
        """The places that hold a head."""
        return np.flatnonzero(np.array(self.made))  # a copy: makers are writing to it

    @property
    def heads_made(self) -> int:
        """How many heads have been made so far, those that are gone included."""
        return int(np.array(self.made).max(initial=0))


def make_heads(folder: str, size: int, seed: int, first: int, step: int, most: int | None) -> None:
    """What one process does: heads first, first + step, … into a pool, up to `most` if given."""
    pool = Pool(folder, size)
    parent = os.getppid()
    number = max(first, first + step * -(-(pool.heads_made - first) // step))
    while (most is None or number < most) and os.getppid() == parent:
        image, mask, _ = make_head(np.random.default_rng((seed, number)))
        pool.put(number, image, mask)
        number += step


def start_makers(
    pool: Pool, workers: int, seed: int = 0, most: int | None = None
) -> list[multiprocessing.process.BaseProcess]:
    """Start `workers` processes that fill a pool and go on renewing it (`most`: up to so many).

    They end with the process that started them. They are spawned, never forked, since a
    framework's threads do not survive a fork.
    """
    context = multiprocessing.get_context("spawn")
    kept = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # one process is one core
    try:
        makers: list[multiprocessing.process.BaseProcess] = [
            context.Process(
                target=make_heads,
                args=(str(pool.folder), pool.size, seed, worker, workers, most),
                daemon=True,
            )
            for worker in range(workers)
        ]
        for maker in makers:
            maker.start()
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return makers


def fill_pool(folder: str | os.PathLike, size: int, workers: int, seed: int = 0) -> Pool:
    """A pool of `size` heads that no longer changes: made by `workers` processes where they lack.

    RuntimeError if a process ended before its heads were made.
    """
    pool = Pool(folder, size)
    if len(pool.filled) < size:
        makers = start_makers(pool, workers, seed, most=size)
        for maker in makers:
            maker.join()
        if len(pool.filled) < size:
            raise RuntimeError(f"{pool.folder} has {len(pool.filled)} heads of {size}: try again.")
    return pool


def wait_for_heads(pool: Pool, first: int) -> None:
    """Until a pool holds `first` heads (or is full); RuntimeError if it never does."""
    begun = time.monotonic()
    while len(pool.filled) < min(first, pool.size):
        if time.monotonic() - begun > PATIENCE_S:
            raise RuntimeError(
                f"{pool.folder} has {len(pool.filled)} heads after {PATIENCE_S} s: "
                "nobody makes any. Give workers=1 or more, or a pool that is being filled."
            )
        time.sleep(0.05)


Batch = tuple[np.ndarray, np.ndarray]
Cut = Callable[[np.ndarray, np.ndarray, np.random.Generator], Batch]


class Feed:
    """Batches from a pool, made ready by `threads` threads; counts the time waited for them.

    `cut(images, masks, rng)` turns float volumes `(n, *SHAPE)` into what a network reads. Two feeds
    of a pool that no longer changes give the same batches for a seed, if they have one thread.
    """

    def __init__(
        self, pool: Pool, heads: int, cut: Cut, seed: int = 0, threads: int = 4, first: int = FIRST
    ) -> None:
        self.pool, self.heads, self.cut = pool, heads, cut
        self.waited = 0.0
        self._ready: queue.Queue[Batch] = queue.Queue(maxsize=2 * threads)
        self._ended = threading.Event()
        wait_for_heads(pool, first)
        self._broken: BaseException | None = None
        self._threads = [
            threading.Thread(
                target=self._work, args=(np.random.default_rng((seed, k)),), daemon=True
            )
            for k in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def next(self) -> Batch:
        """The next batch; waits if none is ready."""
        begun = time.perf_counter()
        while True:
            if self._broken is not None:
                raise RuntimeError("A thread that makes batches ended.") from self._broken
            try:
                batch = self._ready.get(timeout=1)
                break
            except queue.Empty:
                continue
        self.waited += time.perf_counter() - begun
        return batch

    def close(self) -> None:
        """End the threads."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _work(self, rng: np.random.Generator) -> None:
        while not self._ended.is_set():
            try:
                batch = self._draw(rng)
            except BaseException as error:  # `next` says it, where somebody listens
                self._broken = error
                return
            while not self._ended.is_set():
                try:
                    self._ready.put(batch, timeout=0.2)
                    break
                except queue.Full:
                    continue

    def _draw(self, rng: np.random.Generator) -> Batch:
        images: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        while len(images) < self.heads:
            filled = self.pool.filled
            found = self.pool.get(int(filled[rng.integers(len(filled))]))
            if found is not None:
                image, mask = varied(*found, rng)
                images.append(image)
                masks.append(mask)
        return self.cut(np.stack(images), np.stack(masks), rng)


def varied(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A head in bytes as floats, varied anew: mirrored or not, moved, its brightness, noise.

    All that costs milliseconds, so that a head can be used several times.
    """
    if rng.random() < 0.5:
        image, mask = image[::-1], mask[::-1]
    if rng.random() < CUT_OFF:
        image, mask = without_top(image, mask, int(rng.integers(4, 30)))
    by = tuple(int(n) for n in rng.integers(-4, 5, 3))
    image, mask = moved(image, by), moved(mask, by)
    levels = np.arange(256, dtype=np.float32) / np.float32(LEVELS)
    gamma, scale = np.exp(rng.normal(0, 0.12)), np.exp(rng.normal(0, 0.06))
    table = np.clip(scale * levels**gamma, 0, BRIGHTEST).astype(np.float32)
    shown = table[image]
    if rng.random() < 0.5:
        coil = upsampled(smooth_field(rng, 90, coarse=True))
        shown *= 1 + np.float32(rng.uniform(0, 0.12)) * coil
    if rng.random() < 0.5:
        grain = rng.standard_normal(shown.shape, dtype=np.float32)
        shown += np.float32(rng.uniform(0, 0.03)) * grain * (shown > 0)
    return np.clip(shown, 0, BRIGHTEST), mask


def without_top(image: np.ndarray, mask: np.ndarray, lost: int) -> tuple[np.ndarray, np.ndarray]:
    """A head in bytes whose `lost` upper slices no scan shows.

    `frames.look` hangs a head from its top, so what is left of it hangs higher by as much.
    """
    bright = (image > 0.3 * LEVELS).sum((0, 1)) > 20
    above = int(bright[::-1].argmax()) if bright.any() else 0  # slices of air over the head
    image, mask = (moved(volume, (0, 0, lost)) for volume in (image, mask))
    if above:
        image[:, :, -above:] = mask[:, :, -above:] = 0
    return image, mask
