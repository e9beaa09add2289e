"""On JAX, the heads lie on the device, and many steps are one call: nothing waits for the host.

Handing over a batch of volumes and fetching a loss takes longer than the step itself on a quick
card. Here the pool is copied to the device, in bytes, and renewed between calls; drawing, varying
and cutting, the step and the average of weights are one compiled loop.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from kenseg_utils.prediction.frames import BRIGHTEST, SHAPE

from ._feed import LEVELS, Pool
from ._views import SIDE, SLICES, View

SECONDS_A_CALL = 4.0
CHUNK = 16  # heads that are copied at once
CHUNKS_A_CALL = 12
MOST_MOVED = 4  # voxels
KEPT = 0.995  # of the averaged weights, each step


class DeviceLoop:
    """A compiled model's steps on heads of a pool; `take` does as many as suit a few seconds.

    `averages` are the weights' running means, in the order of the model's trainable variables.
    Only for JAX. The device holds 2 MB for each of the pool's places.
    """

    def __init__(self, model: Any, view: View, pool: Pool, batch: int, seed: int = 0) -> None:
        import jax
        import jax.numpy as jnp

        self.model, self.pool, self.count, self.fresh = model, pool, 1, 0
        model.optimizer.build(model.trainable_variables)
        nothing = np.full((1, *view.input_shape[:-1], 1), 0.5, np.float32)
        model.compute_loss(y=nothing, y_pred=nothing)  # makes its variables: the loop could not
        self._numbers = np.zeros(pool.size, np.int64)  # which head lies in each place, plus one
        self._images = jnp.zeros((pool.size, *SHAPE), jnp.uint8)
        self._masks = jnp.zeros((pool.size, *SHAPE), jnp.uint8)
        self._key = jax.random.key(seed)
        self._state = self._read()
        self.averages = [jnp.array(value) for value in self._state[0]]
        self._rate = next(
            number
            for number, variable in enumerate(model.optimizer.variables)
            if variable.path.endswith("learning_rate")
        )

        def put(images, masks, new_images, new_masks, places):
            return images.at[places].set(new_images), masks.at[places].set(new_masks)

        def loop(state, averages, steps_before, key, images, masks, places, filled, count):
            def step(number, carried):
                state, averages = carried
                ours = jax.random.fold_in(key, number)
                rows = places[jax.random.randint(ours, (batch,), 0, filled)]
                shown, truth = jax.vmap(_varied)(
                    jax.random.split(jax.random.fold_in(ours, 1), batch), images[rows], masks[rows]
                )
                data = _cut(jax.random.fold_in(ours, 2), view, shown, truth)
                state = model.train_step(state, data)[1]
                done = steps_before + number
                kept = jnp.minimum(KEPT, done / (done + 10))
                averages = [kept * a + (1 - kept) * w for a, w in zip(averages, state[0])]
                return state, averages

            return jax.lax.fori_loop(0, count, step, (state, averages))

        self._put = jax.jit(put, donate_argnums=(0, 1))
        self._loop = jax.jit(loop, donate_argnums=(0, 1))

    def renew(self) -> int:
        """Copy heads that are new in the pool to the device; how many."""
        made = np.array(self.pool.made)
        new = np.flatnonzero(made > self._numbers)[: CHUNK * CHUNKS_A_CALL]
        copied = 0
        for start in range(0, len(new), CHUNK):
            found = [(place, self.pool.get(int(place))) for place in new[start : start + CHUNK]]
            whole = [(place, head) for place, head in found if head is not None]
            if not whole:
                continue
            whole += [whole[-1]] * (CHUNK - len(whole))  # one shape for all
            places = np.array([place for place, _ in whole])
            self._images, self._masks = self._put(
                self._images,
                self._masks,
                np.stack([head[0] for _, head in whole]),
                np.stack([head[1] for _, head in whole]),
                places,
            )
            self._numbers[places] = made[places]
            copied += len(set(places.tolist()))
        self.fresh += copied
        return copied

    def take(self, rate: float, done: int, most: int | None = None) -> tuple[int, float]:
        """Some steps at a learning rate, `done` having been taken before: (how many, seconds)."""
        import jax

        filled = np.flatnonzero(self._numbers)
        places = np.zeros(self.pool.size, np.int32)
        places[: len(filled)] = filled
        count = min(self.count, most or self.count)
        begun = time.perf_counter()
        self._state[2][self._rate] = jax.numpy.asarray(rate, self._state[2][self._rate].dtype)
        self._key, key = jax.random.split(self._key)
        self._state, self.averages = jax.block_until_ready(
            self._loop(
                self._state, self.averages, float(done), key,
                self._images, self._masks, places, len(filled), count,
            )
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        if done or count > 1:  # the first call compiles
            self.count = int(np.clip(count * SECONDS_A_CALL / seconds, 1, 4 * self.count))
        return count, seconds

    def loss(self) -> float:
        """The mean loss since this was last asked."""
        variables = self.model.metrics_variables
        for variable, value in zip(variables, self._state[3]):
            variable.assign(value)
        mean = float(self.model.metrics[0].result())
        self.model.reset_metrics()
        self._state = (*self._state[:3], [variable.value for variable in variables])
        return mean

    def sync(self) -> None:
        """Give the model and its optimiser the values that the device has now."""
        for group, values in zip(self._groups(), self._state):
            for variable, value in zip(group, values):
                variable.assign(value.copy())  # the loop's own is given away at the next call

    def read(self, averages: dict[int, np.ndarray]) -> None:
        """Take the model's and its optimiser's values, as after resuming, and averages by id."""
        import jax

        self._state = self._read()
        learned = self.model.trainable_variables
        self.averages = [jax.numpy.array(averages[id(variable)]) for variable in learned]

    def by_variable(self) -> dict[int, Any]:
        """The averaged weights, and what is not learned as it is, by the variables' id."""
        learned, rest = self._groups()[:2]
        return dict(zip(map(id, learned), self.averages)) | dict(zip(map(id, rest), self._state[1]))

    def _groups(self) -> tuple:
        return (
            self.model.trainable_variables,
            self.model.non_trainable_variables,
            self.model.optimizer.variables,
            self.model.metrics_variables,
        )

    def _read(self) -> tuple:
        return tuple([variable.value.copy() for variable in group] for group in self._groups())


def _varied(key, image, mask):
    """`_feed.varied` on the device: mirrored or not, moved, its brightness, coil, noise."""
    import jax
    import jax.numpy as jnp

    flip, by, gamma, scale, coil, coil_on, grain, grain_on = jax.random.split(key, 8)
    mirrored = jax.random.bernoulli(flip)
    start = jax.random.randint(by, (3,), 0, 2 * MOST_MOVED + 1)

    def moved(volume):
        volume = jnp.where(mirrored, volume[::-1], volume)
        return jax.lax.dynamic_slice(jnp.pad(volume, MOST_MOVED), start, SHAPE)

    levels = moved(image).astype("float32") / LEVELS
    power = jnp.exp(0.12 * jax.random.normal(gamma))
    shown = jnp.exp(0.06 * jax.random.normal(scale)) * jnp.where(
        levels > 0, jnp.maximum(levels, 1e-3) ** power, 0
    )
    nodes = jax.random.normal(coil, (4, 5, 4))
    field = jax.image.resize(nodes, SHAPE, "cubic")
    shown *= 1 + jnp.maximum(jax.random.uniform(coil_on, minval=-0.12, maxval=0.12), 0) * field
    much = jnp.maximum(jax.random.uniform(grain_on, minval=-0.03, maxval=0.03), 0)
    shown += much * jax.random.normal(grain, SHAPE) * (shown > 0)
    return jnp.clip(shown, 0, BRIGHTEST), moved(mask).astype("float32")


def _cut(key, view: View, images, masks):
    """`View.cut` on the device; all slices of a step are of one plane."""
    import jax
    import jax.numpy as jnp

    if not view.planes:
        return images[..., None], masks[..., None]
    which, draw = jax.random.split(key)
    reach = view.channels // 2

    def across(plane):
        def cut(_):
            def of_one(ours, image, mask):
                image, mask = jnp.moveaxis(image, plane, 0), jnp.moveaxis(mask, plane, 0)
                hit = mask.any((1, 2))
                share = hit / jnp.maximum(hit.sum(), 1) + 1 / len(hit)
                at = jax.random.categorical(ours, jnp.log(share), shape=(SLICES,))
                near = jnp.clip(at[:, None] + jnp.arange(-reach, reach + 1), 0, len(hit) - 1)
                rest = [(0, 0)] + [(0, SIDE - n) for n in image.shape[1:]]
                shown = jnp.moveaxis(image[near], 1, -1)
                return jnp.pad(shown, [*rest, (0, 0)]), jnp.pad(mask[at], rest)[..., None]

            keys = jax.random.split(draw, len(images))
            shown, truth = jax.vmap(of_one)(keys, images, masks)
            count = len(images) * SLICES
            return shown.reshape(count, *shown.shape[2:]), truth.reshape(count, *truth.shape[2:])

        return cut

    chosen = jax.random.randint(which, (), 0, len(view.planes))
    return jax.lax.switch(chosen, [across(plane) for plane in view.planes], 0)
