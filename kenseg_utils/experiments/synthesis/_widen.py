"""A network's weights for one with more filters, which at first answers as it did.

After Net2Net (Chen, Goodfellow and Shlens, 2016): what was learned in a narrow network need not be
learned again in a wide one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras import Model

UNEVEN = 0.5  # how far copies' shares differ, in shares


def widened(narrow: Model, wide: Model, seed: int = 0) -> list[np.ndarray] | None:
    """Weights for `wide`, in its order, by which it answers as `narrow`; None where there are none.

    Each filter is there two times where there are twice as many (or three, …), and what reads it
    shares out its weight among the copies: unevenly, at random, since copies that are read alike
    would learn alike for ever. Group normalisation stays what it was, as copies lie side by side in
    the same group. There are none where the layers differ, or their filters not by whole multiples.
    """
    import keras

    rng = np.random.default_rng(seed)
    pairs = [[layer for layer in model.layers if layer.weights] for model in (narrow, wide)]
    if len(pairs[0]) != len(pairs[1]):
        return None
    found: dict[int, np.ndarray] = {}
    for before, after in zip(*pairs):
        transposed = isinstance(before, keras.layers.Conv2DTranspose | keras.layers.Conv3DTranspose)
        for values, new in zip(before.get_weights(), after.weights):
            shape = tuple(new.shape)
            if values.ndim != len(shape) or any(n % k for n, k in zip(shape, values.shape)):
                return None
            if values.ndim > 1:
                reads = values.ndim - (1 if transposed else 2)
                values = _shared_out(values, reads, shape[reads] // values.shape[reads], rng)
            for axis, size in enumerate(shape):
                values = np.repeat(values, size // values.shape[axis], axis)
            found[id(new)] = values
    return [found[id(weight)] for weight in wide.weights]


def _shared_out(kernel: np.ndarray, axis: int, copies: int, rng: np.random.Generator) -> np.ndarray:
    """The kernel for an input whose every channel is there `copies` times, side by side."""
    if copies == 1:
        return kernel
    parts = np.expand_dims(kernel, axis + 1)
    shares = rng.normal(
        0, UNEVEN / copies, (*parts.shape[: axis + 1], copies, *parts.shape[axis + 2 :])
    )
    shares += 1 / copies - shares.mean(axis + 1, keepdims=True)
    shape = (*kernel.shape[:axis], copies * kernel.shape[axis], *kernel.shape[axis + 1 :])
    return (parts * shares).astype(np.float32).reshape(shape)
