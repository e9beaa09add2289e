"""The paper's recipe at the paper's scale beside the quick one: a picture of recorded trainings.

The tables are those of the recorded result `paper_scale`, which `benchmarks/paper.py` writes.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kenseg_utils.machine import so_many

from ._palette import BLACK, BLUE, GREEN, GREY, VERMILION, styled

# Ways to average one set of predictions: columns of the history and of the runs, and their look.
AVERAGES = {
    "pooled": ("val_dice_pooled", "test_dice_pooled", VERMILION, "^"),
    "per subject": ("val_dice", "test_dice_per_subject", BLUE, "o"),
    "per slice": ("val_dice_per_slice", "test_dice_per_slice", GREEN, "s"),
}
TESTED_AT, RIGHT = 1.34, 1.82  # on the axis of epochs, as shares of the epochs that were meant
BESIDE = {"paper": "The paper's recipe", "quick_full": "The quick recipe, same network"}


@styled
def paper_scale(
    history: pd.DataFrame, runs: pd.DataFrame, titles: dict[str, str] | None = None, seed: int = 0
) -> Figure:
    """Loss and Dice by epoch of some recorded runs, a column a run; at the right end the test set.

    history : a row an epoch and run: run, seed, epoch, loss, val_loss, val_dice_per_slice,
    val_dice (per subject), val_dice_pooled. What was not kept is not drawn.
    runs : a row a run: run, seed, epochs, epochs_meant, steps, batch, ended, test_dice_per_slice,
    test_dice_per_subject, test_dice_pooled. titles : what to call each run, by name.
    Raises ValueError where a run has no row in either table.
    """
    titles = titles or BESIDE
    figure = Figure(figsize=(5.2 * len(titles), 6.4))
    panels = figure.subplots(2, len(titles), squeeze=False, height_ratios=(3, 4))
    for (name, title), (above, below) in zip(titles.items(), panels.T, strict=True):
        epochs, about = _of_run(history, runs, name, seed)
        slices = so_many(about["batch"], "slice")
        above.set_title(
            f"{title}\n{about['epochs']} of {about['epochs_meant']} epochs, "
            f"{about['steps']:,} steps of {slices}",
            fontweight="bold",
        )
        _losses(above, epochs)
        _dice(below, epochs, about)
        for axes in (above, below):
            _until(axes, about)
    panels[0, 0].set_ylabel("loss")
    panels[1, 0].set_ylabel("Dice (lines: validation set)")
    return figure


def _of_run(history: pd.DataFrame, runs: pd.DataFrame, name: str, seed: int) -> tuple:
    """A run's epochs, and its row."""
    epochs, rows = (
        table[table["run"].eq(name) & table["seed"].eq(seed)] for table in (history, runs)
    )
    if epochs.empty or rows.empty:
        raise ValueError(
            f"no run {name!r} with seed {seed} is recorded: there are "
            f"{', '.join(sorted(set(runs['run'])))}."
        )
    return epochs.sort_values("epoch"), rows.iloc[0].to_dict()


def _losses(axes: Axes, epochs: pd.DataFrame) -> None:
    lines = (("loss", "dashed", "training"), ("val_loss", "solid", "validation"))
    for column, line, label in lines:
        axes.plot(epochs["epoch"], epochs[column], color=BLACK, ls=line, lw=1.6)
        axes.annotate(
            label,
            (epochs["epoch"].iloc[-1], epochs[column].iloc[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    lowest = epochs.loc[epochs["val_loss"].idxmin()]
    axes.plot(lowest["epoch"], lowest["val_loss"], "o", color=BLACK, ms=7, mfc="white")
    axes.text(
        0.98,
        0.97,
        f"○ lowest on validation slices: epoch {lowest['epoch']:.0f}",
        ha="right",
        va="top",
        transform=axes.transAxes,
    )
    axes.set_ylim(0, 1.12 * epochs[["loss", "val_loss"]].max(axis=None))


def _dice(axes: Axes, epochs: pd.DataFrame, about: dict) -> None:
    """Averages: on the validation set lines, named at their ends, on the test set points."""
    right, labels = TESTED_AT * about["epochs_meant"], []
    for name, (validation, test, colour, marker) in AVERAGES.items():
        kept = validation in epochs and epochs[validation].notna().any()
        if kept:
            values = epochs[validation].astype(float)
            axes.plot(epochs["epoch"], values, color=colour, marker=marker, ms=3.5, lw=1.6)
            axes.annotate(
                name,
                (epochs["epoch"].iloc[-1], values.iloc[-1]),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=colour,
            )
        if not pd.isna(about[test]):
            axes.plot(right, about[test], marker, color=colour, ms=8, mec=BLACK)
            labels.append((about[test], f"{about[test]:.2f}{'' if kept else f' {name}'}", colour))
    for height, (_, label, colour) in zip(_apart([value for value, _, _ in labels]), labels):
        axes.annotate(
            label,
            (right, height),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    axes.text(
        right - 0.03 * about["epochs_meant"],
        0.02,
        "test set" if labels else "test set:\nnot scored",
        color=GREY,
    )
    if about["epochs"] < about["epochs_meant"]:
        axes.text(about["epochs"] + 0.5, 0.02, "ended by\nthe clock", color=GREY)
    axes.set_ylim(0, 1)


def _apart(heights: list[float], gap: float = 0.062) -> list[float]:
    """Heights for labels of points at `heights` (highest first), no two closer than `gap`."""
    moved: list[float] = []
    for height in heights:
        moved.append(min(height, moved[-1] - gap) if moved else height)
    return moved


def _until(axes: Axes, about: dict) -> None:
    """The epochs that were meant, where the run ended before them, and the test set's place."""
    meant = about["epochs_meant"]
    axes.axvspan((TESTED_AT - 0.06) * meant, RIGHT * meant, color="#f0f0f0", lw=0, zorder=0)
    if about["epochs"] < meant:
        axes.axvline(about["epochs"], color=GREY, lw=1, ls="dotted")
    axes.set(xlim=(0.5, RIGHT * meant), xlabel="epoch")
    axes.set_xticks([epoch for epoch in range(10, meant + 1, 10)] or [meant])
    axes.grid(alpha=0.25, axis="y")


def paper_scale_alt(
    history: pd.DataFrame, runs: pd.DataFrame, titles: dict[str, str] | None = None, seed: int = 0
) -> str:
    """What `paper_scale` shows, in words put together from its numbers."""
    return " ".join(
        _in_words(title, *_of_run(history, runs, name, seed))
        for name, title in (titles or BESIDE).items()
    )


def _in_words(title: str, epochs: pd.DataFrame, about: dict) -> str:
    first, last = epochs.iloc[0], epochs.iloc[-1]
    lowest = epochs.loc[epochs["val_loss"].idxmin()]
    turned = (
        "its lowest"
        if lowest["epoch"] == last["epoch"]
        else f"{last['val_loss']:.2f}, after {lowest['val_loss']:.2f} in epoch "
        f"{lowest['epoch']:.0f}"
    )
    scored = [
        f"{about[test]:.2f} {name}"
        for name, (_, test, _, _) in AVERAGES.items()
        if not pd.isna(about[test])
    ]
    dice = [
        f"{name} from {first[column]:.2f} to {last[column]:.2f}"
        for name, (column, _, _, _) in AVERAGES.items()
        if column in epochs and not pd.isna(last[column])
    ]
    return (
        f"{title}: over {about['epochs']} of {about['epochs_meant']} epochs the training loss "
        f"goes from {first['loss']:.2f} to {last['loss']:.2f} and the validation loss from "
        f"{first['val_loss']:.2f} to {turned}; validation Dice goes {', '.join(dice)}. "
        + (
            f"On the test set the same predictions score {', '.join(scored)}."
            if scored
            else "The test set was not scored."
        )
    )
