"""Batches for training: shuffled, augmented, and ready before the network asks for them.

Plain NumPy and threads, so it works the same on every Keras backend.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kenseg_utils.slices import SliceSet

from ._augment import AUGMENTATIONS


@dataclass
class Batches:
    """One epoch of a SliceSet, in an order and with augmentations set by (seed, epoch).

    Each batch is drawn from its own random stream, so it does not matter which thread makes it,
    how many there are, or whether the epochs before it were run in this process.
    Slices that do not fill a last batch wait for an epoch that shuffles them forward.
    """

    slices: SliceSet
    batch_size: int
    seed: int = 0
    epoch: int = 0
    augment: bool | str = False  # a key of AUGMENTATIONS
    waited: float = 0.0  # seconds in which the network found no batch ready

    def __len__(self) -> int:
        return len(self.slices) // self.batch_size

    @cached_property
    def order(self) -> np.ndarray:
        """Positions of the slices in the order in which this epoch draws them."""
        return np.random.default_rng((self.seed, self.epoch)).permutation(len(self.slices))

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Images (batch, H, W, channels) float32 and labels (batch, H, W) int32."""
        chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        images, masks = self.slices.batch(chosen)
        if self.augment:
            rng = np.random.default_rng((self.seed, self.epoch, number))
            change = AUGMENTATIONS[self.augment]
            pairs = [change(image, mask, rng) for image, mask in zip(images, masks, strict=True)]
            images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
        return images, masks.astype(np.int32)

    def generate(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the epoch's batches; half of the cores' threads keep some of them ready."""
        threads = max(1, (os.cpu_count() or 1) // 2)
        ahead = range(min(len(self), 2 * threads + 2))
        with ThreadPoolExecutor(threads) as pool:
            ready = deque(pool.submit(self.batch, number) for number in ahead)
            try:
                for number in range(len(self)):
                    begun = time.perf_counter()
                    item = ready.popleft().result()
                    if number:  # the first batch can't be ready before its thread has begun
                        self.waited += time.perf_counter() - begun
                    if number + len(ahead) < len(self):
                        ready.append(pool.submit(self.batch, number + len(ahead)))
                    yield item
            finally:  # also where the training stops in the middle
                pool.shutdown(cancel_futures=True)
