"""What all benchmarks share: paired rounds, and a result file with its provenance."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
