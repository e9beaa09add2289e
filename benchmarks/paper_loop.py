"""A training by the loop on the device, in pieces that a clock ends, also within an epoch.

`training.train` closes an epoch before it can be stopped for good; at the paper's scale one may
take longer than a piece. Here the state says how many batches of an epoch are done, and whoever
keeps it goes on with exactly the steps that are left.

    history = run(training.compile_steps(model), data, Progress(), epochs=40)

Nothing here knows of files: `keep` is told when to write.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kenseg_utils import training


@dataclass
class Progress:
    """Where a training stands: a row for each whole epoch, and how much of the next is done."""

    history: list[dict] = field(default_factory=list)
    batches: int = 0  # of the epoch that has begun
    seconds: float = 0.0  # of its steps
    waiting: float = 0.0  # of these, without a batch to train on


def run(
    steps: training.Steps,
    data: training.Epochs,
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
    silent = 0
    while len(state.history) < epochs:
        _go_on(steps, data, state, late)
        if state.batches < len(data):
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


def _go_on(
    steps: training.Steps, data: training.Epochs, state: Progress, late: Callable | None
) -> None:
    """Steps of the epoch to its end or until it is late."""
    begun = state.batches

    def after(count: int) -> bool:
        state.batches += count
        return state.batches < len(data) and late is not None and late(state)

    if begun < len(data):
        part = training.run_epoch(steps, data, len(state.history), begun, after)
        state.seconds += part.seconds
        state.waiting += part.waited


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
