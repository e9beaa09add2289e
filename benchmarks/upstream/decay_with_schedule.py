"""Weight decay with a learning-rate schedule: Keras asks for the rate once for each variable.

`Optimizer._apply_weight_decay` reads `self.learning_rate` inside its loop over variables. Where
that is a schedule, its graph (`CosineDecay` with a warm-up has a branch) is traced and run as often
as there are variables: the first step takes far longer, and every step after it somewhat.
The same decay in `update_step`, which is handed the rate, changes no digit.
"""

import platform
import statistics
import time

import keras
import numpy as np

LAYERS, REPEATS = 100, 30


class InStep(keras.optimizers.Adam):
    """AdamW whose decay is part of the update, with the rate that the update is given."""

    def __init__(self, rate, decay):
        super().__init__(rate)
        self.decay = decay

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, variable * self.decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)


def falling():
    return keras.optimizers.schedules.CosineDecay(1e-4, 100, warmup_target=1e-3, warmup_steps=10)


def timed(optimizer) -> tuple[float, float, np.ndarray]:
    """Seconds of the first step, the median of later ones in milliseconds, and a weight."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(8) for _ in range(LAYERS))])
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mse", jit_compile=False)
    images = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    times = []
    for _ in range(REPEATS + 1):
        begun = time.perf_counter()
        model.train_on_batch(images, images)
        times.append(time.perf_counter() - begun)
    return times[0], 1000 * statistics.median(times[1:]), model.get_weights()[0]


def main() -> None:
    print(
        f"Keras {keras.__version__} on {keras.backend.backend()}, Python "
        f"{platform.python_version()}, {platform.machine()}; {2 * LAYERS} variables"
    )
    print("optimiser                        first step (s)  a step (ms)")
    weights = []
    for name, make in {
        "Adam, schedule, no decay": lambda: keras.optimizers.Adam(falling()),
        "AdamW, constant rate": lambda: keras.optimizers.AdamW(1e-3, weight_decay=0.01),
        "AdamW, schedule": lambda: keras.optimizers.AdamW(falling(), weight_decay=0.01),
        "the same, decay in the update": lambda: InStep(falling(), 0.01),
    }.items():
        first, later, weight = timed(make())
        weights.append(weight)
        print(f"{name:31s}  {first:14.2f}  {later:11.2f}", flush=True)
    print(f"largest difference of the last two: {np.abs(weights[2] - weights[3]).max():.1g}")


if __name__ == "__main__":
    main()
