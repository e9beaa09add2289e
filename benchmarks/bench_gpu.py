"""Training speed of the paper's network on whatever device Keras finds: made for a GPU.

Images a second at batch 1, 16 and 64, in float32 and bfloat16; what share that is of the device's
measured matrix peak; and the minutes that the paper's 40 epochs on ATLAS R2.0 would take. Choose
the backend with KERAS_BACKEND=tensorflow or jax. On a CPU it is slow, so it then measures batch 1
and 16 with few steps; `--widths` makes the network narrower.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np
from common import save

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIDE, SLICES, EPOCHS = 128, int(655 * 189 * 0.8), 40  # ATLAS R2.0, four fifths to train on


def matrix_peak(dtype: str, size: int) -> float:
    """The most multiply-adds a second that a product of two large matrices reaches here."""
    import keras
    from keras import ops

    rng = np.random.default_rng(0)
    a = ops.cast(rng.normal(size=(size, size)).astype(np.float32), dtype)

    def product(count):
        answer = a
        for _ in range(count):
            answer = ops.matmul(answer, a) / size
        return float(ops.sum(ops.cast(answer, "float32")))  # waits until all is done

    if keras.backend.backend() == "jax":
        import jax

        product_of = jax.jit(lambda x: ops.matmul(ops.matmul(x, x), x))
        run = lambda: product_of(a).block_until_ready()  # noqa: E731
        products = 2
    else:
        run, products = (lambda: product(4)), 4
    run()
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return products * size**3 / min(seconds)


def speed_of(recipe, batch: int, steps: int, rounds: int) -> tuple[float, float]:
    """Images a second (median of rounds) and the seconds of the first call, with compiling."""
    from kenseg_utils import training

    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch * steps, SIDE, SIDE, 1)).astype(np.float32)
    labels = (rng.random((batch * steps, SIDE, SIDE)) > 0.9).astype(np.int32)
    model = training.build(recipe, (SIDE, SIDE, 1))

    def run():
        begun = time.perf_counter()
        model.fit(images, labels, batch_size=batch, shuffle=False, verbose=0)
        return time.perf_counter() - begun

    first = run()
    return len(images) / statistics.median(run() for _ in range(rounds)), first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=None)
    parser.add_argument("--network", default="ken_unetpp")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    import keras

    from kenseg_utils import machine, networks, profiles, training

    machine.spare_graph_optimisers()
    on_gpu = machine.device().startswith("GPU")
    widths = arguments.widths or (
        training.Recipe.paper().widths if on_gpu else profiles.get("demo").widths
    )
    batches, steps, size = ((1, 16, 64), 32, 8192) if on_gpu else ((1, 16), 4, 1024)
    peaks = {name: matrix_peak(name, size) for name in ("float32", "bfloat16")}
    network = networks.build(arguments.network, widths=widths)
    forward = networks.multiply_adds(network)
    rows = []
    for precision in ("float32", "mixed_bfloat16"):
        for batch in batches:
            recipe = training.Recipe.paper(
                network=arguments.network,
                widths=widths,
                precision=precision,
                batch_size=batch,
                steps_per_execution=8 if on_gpu and batch == 1 else 1,
            )
            try:
                rate, first = speed_of(recipe, batch, steps, arguments.rounds)
            except Exception as error:  # too little memory has many names; the other sizes go on
                rows.append(dict(precision=precision, batch=batch, error=str(error)[:200]))
                continue
            peak = peaks["float32" if precision == "float32" else "bfloat16"]
            rows.append(
                dict(
                    precision=precision,
                    batch=batch,
                    images_per_second=rate,
                    first_call_seconds=first,
                    # a backward pass takes about twice the forward pass's products
                    share_of_matrix_peak=3 * forward * rate / peak,
                    minutes_of_the_paper=SLICES * EPOCHS / rate / 60,
                )
            )
    kind = "gpu" if on_gpu else "cpu"
    save(
        f"device_{kind}_{keras.backend.backend()}",
        {
            "what": "training speed by device",
            "network": arguments.network,
            "widths": list(widths),
            "side": SIDE,
            "multiply_adds_forward": forward,
            "matrix_peak_multiply_adds": peaks,
            "slices_an_epoch": SLICES,
            "epochs": EPOCHS,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
