"""What all benchmarks share: paired rounds, and a result file with its provenance."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

RESULTS = Path(__file__).parent / "results"


LEAST_ROUNDS = 3  # of fewer, a median is no better than a guess


def paired_rounds(
    contenders: dict[str, Callable[[], object]],
    rounds: int = 5,
    at_most_s: float = float("inf"),
    clock: Callable[[], float] = time.perf_counter,
) -> dict:
    """Seconds of each contender in each round, by turns, so that both meet the same noise.

    The order turns round by round; ratios are of medians over rounds. `at_most_s`: no round begins
    that would end later, going by those before, but there are always three.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    started = clock()
    for number in range(rounds):
        if number >= LEAST_ROUNDS and (clock() - started) * (number + 1) > at_most_s * number:
            break
        for name in names if number % 2 == 0 else reversed(names):
            begun = clock()
            contenders[name]()
            seconds[name].append(clock() - begun)
    return seconds


PEAK = "matrix product"  # the contender that does nothing else


def matrix_product(kind: str, size: int) -> Callable[[int], None]:
    """`run(count)`: so many products of two large matrices, each of size³ multiply-adds.

    What it reaches a second is the roof that a network of convolutions is measured by.
    """
    import keras
    from keras import ops

    rng = np.random.default_rng(0)
    matrix = ops.cast(rng.normal(size=(size, size)).astype(np.float32) / np.sqrt(size), kind)
    product = ops.matmul
    if keras.backend.backend() == "jax":
        import jax

        product = jax.jit(ops.matmul)

    def run(count: int) -> None:
        answer = matrix
        for _ in range(count):
            answer = product(answer, matrix)
        float(ops.cast(answer[0, 0], "float32"))  # waits until all is done

    run(1)
    return run


def rounds_under_roof(
    contenders: dict[str, Callable[[], object]],
    products: dict[str, float],
    precision: str,
    **limits,
) -> tuple[dict, dict]:
    """`paired_rounds`, and what `shares_of_peak` says of a matrix product that took part."""
    size, times = 2048, 8
    product = matrix_product(precision.removeprefix("mixed_"), size)
    seconds = paired_rounds(contenders | {PEAK: lambda: product(times)}, **limits)
    return seconds, shares_of_peak(seconds, products, times * size**3)


def monai_if_there():
    """MONAI, or None and a word. Before TensorFlow: Triton, which it needs, crashes after it."""
    try:
        import monai
        import torch._dynamo  # noqa: F401  with it Triton
    except ImportError:
        print("MONAI is not installed: measuring kenseg_utils alone (pip install -e .[peers]).")
        return None
    return monai


def shares_of_peak(
    seconds: dict[str, list[float]], products: dict[str, float], peak_products: int
) -> dict:
    """Of contenders the share of the matrix product's speed, which is taken out of `seconds`.

    `products`: multiply-adds of a round, by contender.
    """
    peak = peak_products / statistics.median(seconds.pop(PEAK))
    shares = {
        name: count / statistics.median(seconds[name]) / peak for name, count in products.items()
    }
    return dict(matrix_peak_multiply_adds=peak, share_of_matrix_peak=shares)


def products_of_a_slice(widths: tuple[int, ...], height: int, width: int, monai: bool) -> dict:
    """Multiply-adds of a slice, forward: of our UNet++, and of MONAI's as PyTorch counts them."""
    from kenseg_utils import networks

    ours = networks.sketch("unetpp", input_shape=(height, width, 1), widths=widths)
    found = {"kenseg_utils": networks.multiply_adds(ours)}
    if monai:
        import torch
        from monai.networks.nets import BasicUNetPlusPlus
        from torch.utils.flop_counter import FlopCounterMode

        theirs = BasicUNetPlusPlus(2, 1, 2, features=(*widths, widths[0]), norm="batch").eval()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            theirs(torch.zeros(1, 1, height, width))
        found["MONAI"] = counter.get_total_flops() // 2
    return found


def vector_units() -> str:
    """The widest of the processor's units for vectors that TensorFlow asks about (Linux tells)."""
    try:
        known = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "unknown"
    units = ("amx_tile", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "avx")
    return next((unit for unit in units if unit in known), "none")


def cpu_seconds() -> float:
    """Processor time that this process and its workers have had, without other people's work."""
    process = psutil.Process()
    return sum(
        time.user + time.system
        for time in (each.cpu_times() for each in (process, *process.children(recursive=True)))
    )


def save(name: str, result: dict) -> None:
    """Write benchmarks/results/<name>.json with versions, device, commit and load; print it."""
    from kenseg_utils import artifacts, training

    # With BFLOAT16=off the processor is held to older instructions than it has.
    about = dict(
        load_average=psutil.getloadavg(), instructions=os.environ.get("ONEDNN_MAX_CPU_ISA", "all")
    )
    result = result | {"provenance": training.provenance(**about)}
    artifacts.write_json(RESULTS / f"{name}.json", result)
    print(
        f"{name}: "
        + ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in result.items()
            if isinstance(value, int | float | str)
        ),
        file=sys.stdout,
    )


def named(name: str, precision: str) -> str:
    """A result's name: one in float32 stands beside that in bfloat16, and replaces it nowhere."""
    return name if precision == "mixed_bfloat16" else f"{name}_{precision}"


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}
