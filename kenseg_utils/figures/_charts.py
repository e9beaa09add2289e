"""Charts of tables: lesion sizes, training, scores. Each takes numbers, returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ._palette import (
    BLACK,
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY_BLUE,
    TRUTH,
    VERMILION,
    styled,
)

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


# --- The data ------------------------------------------------------------------------------------


@styled
def volume_histogram(volumes_ml: Sequence[float]) -> Figure:
    """Lesion volumes in millilitres, on a logarithmic axis, with their median.

    Volumes of zero cannot stand on that axis: they are counted in the title.
    Raises ValueError where there is no volume above zero.
    """
    volumes = np.asarray(volumes_ml, dtype=float)
    present = volumes[volumes > 0]
    if present.size == 0:
        raise ValueError("no lesion volume above zero: there is nothing to draw.")
    low, high = np.log10(present.min()), np.log10(present.max())
    edges = np.logspace(low - 0.05, high + 0.05, int(np.clip(np.sqrt(present.size) * 2, 6, 40)))
    median = np.median(present)
    figure = Figure(figsize=(7, 3.2))
    axes = figure.subplots()
    axes.hist(present, edges.tolist(), color=SKY_BLUE, edgecolor="white")
    axes.axvline(median, color=BLACK, ls="dashed", lw=1.5, label=f"median {median:.3g} ml")
    axes.set(xscale="log", xlabel="lesion volume (ml)", ylabel="scans")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    zeros = volumes.size - present.size
    axes.set_title(f"{present.size} lesion volumes" + (f", and {zeros} of zero" if zeros else ""))
    axes.legend()
    return figure


@styled
def slices_with_lesion(present: np.ndarray) -> Figure:
    """Which axial slices hold lesion: a column a scan, sorted, and the share at each height.

    present : (scans, slices), true where the slice holds lesion.
    """
    present = np.asarray(present) != 0
    order = np.argsort(present.sum(axis=1), kind="stable")
    figure = Figure(figsize=(9, 3.6))
    each, share = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    each.imshow(
        present[order].T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="Greys",
        vmin=0,
        vmax=1.2,
    )
    each.set(
        xlabel="scans, from fewest to most slices with lesion",
        ylabel="axial slice, bottom to top",
        title="slices with lesion (dark)",
    )
    each.xaxis.set_major_locator(MaxNLocator(integer=True))
    edges = np.arange(present.shape[1] + 1) - 0.5
    share.stairs(
        100 * present.mean(axis=0), edges, orientation="horizontal", fill=True, color=SKY_BLUE
    )
    share.set(xlabel="scans (%)", title="share at each height")
    return figure


@styled
def class_imbalance(shares: Mapping[str, float] | pd.Series) -> Figure:
    """The share of lesion among all pixels or voxels, a bar a setting; shares lie in 0 … 1."""
    shares = pd.Series(shares, dtype=float)
    figure = Figure(figsize=(8, 0.9 + 0.55 * len(shares)))
    axes = figure.subplots()
    rows = np.arange(len(shares))[::-1]
    axes.barh(rows, 100, color="#d9d9d9", height=0.6, label="healthy or background")
    axes.barh(rows, 100 * shares, color=TRUTH, height=0.6, label="lesion")
    for row, share in zip(rows, shares):
        rarity = f", 1 in {1 / share:,.0f}" if 0 < share < 0.5 else ""
        axes.text(max(100 * share, 0) + 1.5, row, f"{share:.2%} lesion{rarity}", va="center")
    axes.set_yticks(rows, shares.index)
    axes.set(xlim=(0, 100), xlabel="share (%)")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


# --- Training ------------------------------------------------------------------------------------


@styled
def gradient_norms(norms_by_name: Mapping[str, Sequence[float]]) -> Figure:
    """Size of the gradient at each depth, on a logarithmic axis: a line a network.

    norms_by_name : for each network the norms from its first layer to its last. Norms of zero
    stand below the axis and are left out.
    """
    figure = Figure(figsize=(7.5, 3.6))
    axes = figure.subplots()
    for (name, norms), colour, marker in zip(norms_by_name.items(), CYCLE, MARKERS):
        sizes = np.asarray(norms, dtype=float)
        axes.plot(
            np.arange(1, len(sizes) + 1),
            np.where(sizes > 0, sizes, np.nan),
            color=colour,
            marker=marker,
            ms=5,
            label=name,
        )
    axes.set(
        yscale="log", xlabel="layer, from the input to the output", ylabel="norm of the gradient"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend()
    return figure


@styled
def learning_curves(histories: pd.DataFrame | Mapping[str, pd.DataFrame]) -> Figure:
    """Loss and Dice by epoch: dashed on training data, solid on validation data.

    histories : one table, or a table for each name; columns epoch, loss, val_loss, dice, val_dice
    (those that are there are drawn). Raises ValueError where no table has a loss.
    """
    if isinstance(histories, pd.DataFrame):
        histories = {"": histories}
    if not any("loss" in table for table in histories.values()):
        raise ValueError("no learning curve to draw: no table has a column named loss.")
    figure = Figure(figsize=(9, 3.4))
    panels = figure.subplots(1, 2)
    for (name, table), colour in zip(histories.items(), CYCLE * len(histories)):
        for axes, quantity in zip(panels, ("loss", "dice")):
            for column, line, data in (
                (quantity, "dashed", "training"),
                (f"val_{quantity}", "solid", "validation"),
            ):
                if column in table:
                    axes.plot(
                        table["epoch"],
                        table[column],
                        color=colour,
                        ls=line,
                        marker="o",
                        ms=3 if len(table) > 1 else 6,
                        label=f"{name}, {data}" if name else data,
                    )
    for axes, title in zip(panels, ("Loss (lower is better)", "Dice (higher is better)")):
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        if axes.lines:
            axes.legend()
        else:
            axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)
    panels[1].set_ylim(0, 1)
    return figure


# --- Scores --------------------------------------------------------------------------------------


@styled
def dice_by_size(
    table: pd.DataFrame,
    size: str = "truth_volume_ml",
    score: str = "dice",
    group: str | None = None,
) -> Figure:
    """Each subject's Dice against its lesion's size, with the median of thirds of the subjects.

    table : a row a subject with columns `size` (ml; rows of zero are left out) and `score`.
    group : a column whose values get a colour and a form each. ValueError for more than six.
    """
    used = table.assign(
        **{name: pd.to_numeric(table[name], errors="coerce") for name in (size, score)}
    ).dropna(subset=[size, score])
    used = used[used[size] > 0].sort_values(size)
    if used.empty:
        raise ValueError(f"no subject has both a {size} above zero and a {score}.")
    kinds = dict(list(used.groupby(group))) if group else {"a subject": used}
    colours = (SKY_BLUE, BLACK, GREEN, PURPLE, BLUE, ORANGE)  # vermilion is the medians'
    if len(kinds) > len(colours):
        raise ValueError(f"{group} has {len(kinds)} values: {len(colours)} can be told apart.")
    figure = Figure(figsize=(7, 3.6))
    axes = figure.subplots()
    for (name, rows), colour, form in zip(kinds.items(), colours, MARKERS):
        edge = BLUE if colour == SKY_BLUE else "white"
        axes.scatter(
            rows[size], rows[score], color=colour, edgecolor=edge, marker=form, s=28, label=name
        )
    label: str | None = "median of a third of the " + ("subjects" if group is None else "lesions")
    for part in np.array_split(np.arange(len(used)), 3) if len(used) >= 6 else ():
        third = used.iloc[part]
        middle = third[score].median()
        axes.plot(
            [third[size].min(), third[size].max()],
            [middle] * 2,
            color=VERMILION,
            lw=2.5,
            label=label,
        )
        label = None
    axes.set(
        xscale="log",
        ylim=(-0.03, 1.03),
        xlabel="volume of the true lesion (ml)",
        ylabel=score.replace("_", " ").capitalize(),
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def bars_with_intervals(
    table: pd.DataFrame,
    label: str | None = None,
    mean: str = "mean",
    low: str = "low",
    high: str = "high",
    xlabel: str = "mean Dice",
    sort: bool = True,
) -> Figure:
    """A point and its interval for each row, sorted, with the number beside it.

    table : columns `mean`, `low` and `high` (an interval may be missing); `label` names the column
    of names, by default the index.
    """
    names = table.index if label is None else table[label]
    rows = pd.DataFrame(
        {
            "name": [str(name) for name in names],
            **{
                part: pd.to_numeric(table[column], errors="coerce").to_numpy(
                    dtype=float, na_value=np.nan
                )
                for part, column in (("mean", mean), ("low", low), ("high", high))
            },
        }
    )
    rows = rows.sort_values("mean", kind="stable") if sort else rows[::-1]
    figure = Figure(figsize=(7.5, 0.9 + 0.38 * len(rows)))
    axes = figure.subplots()
    _points(axes, np.arange(len(rows)), rows, BLUE, "o")
    axes.set_yticks(np.arange(len(rows)), rows["name"])
    axes.set(xlabel=f"{xlabel} (line: interval)", ylim=(-0.6, len(rows) - 0.4))
    axes.grid(axis="x", alpha=0.25)
    return figure


@styled
def reduction_comparison(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame], xlabel: str = "Dice"
) -> Figure:
    """The same predictions scored per slice, per subject and pooled, with intervals.

    tables : one table with columns reduction, mean, low, high, or such a table for each method.
    """
    if isinstance(tables, pd.DataFrame):
        tables = {"": tables}
    first = next(iter(tables.values()))
    figure = Figure(figsize=(7.5, 1.0 + 0.34 * len(first) * len(tables)))
    axes = figure.subplots()
    offsets = np.linspace(0.25, -0.25, len(tables)) if len(tables) > 1 else [0.0]
    rows = np.arange(len(first))[::-1]
    for (name, table), offset, colour, marker in zip(tables.items(), offsets, CYCLE, MARKERS):
        numbers = table[["mean", "low", "high"]].astype("Float64").astype(float)
        _points(axes, rows + offset, numbers, colour, marker, label=name or None)
    axes.set_yticks(rows, first["reduction"])
    axes.set(xlabel=f"{xlabel} (line: interval by subject)", ylim=(-0.6, len(first) - 0.4))
    axes.grid(axis="x", alpha=0.25)
    if len(tables) > 1:
        figure.legend(loc="outside upper right", ncols=len(tables))
    return figure


VERDICTS = {
    "better": ("^", GREEN, GREEN),
    "worse": ("v", VERMILION, VERMILION),
    "no difference shown": ("o", GREY, "white"),
}
NOT_KNOWN = ("x", BLACK, BLACK)


@styled
def effects_by_factor(table: pd.DataFrame, xlabel: str = "difference in mean Dice") -> Figure:
    """What each setting of each factor changes, with its interval: a row a setting.

    table : of `ablation.grid_effects`: factor, setting, difference, low, high, verdict, collapsed,
    trainings. Rows whose verdict is "base" name their factor's base. Settings of which trainings
    collapsed say how many; what is not known has words in the place of an interval.
    """
    lines, place = [], 0.0
    for factor, rows in table.groupby("factor", sort=False):
        base = rows.loc[rows["verdict"] == "base", "setting"]
        lines.append((place, f"{factor} (base: {base.iloc[0]})" if len(base) else factor, None))
        for row in rows[rows["verdict"] != "base"].itertuples():
            place -= 1
            lines.append((place, row.setting, row))
        place -= 1.3
    figure = Figure(figsize=(8, 1.1 - 0.235 * place))
    axes = figure.subplots()
    seen: set[str] = set()
    for height, _, row in lines:
        if row is not None:
            _effect(axes, height, row, seen)
    axes.axvline(0, color=BLACK, lw=0.8)
    axes.set_yticks([height for height, _, _ in lines], [name for _, name, _ in lines])
    for label, (_, _, row) in zip(axes.get_yticklabels(), lines):
        label.set(fontweight="bold" if row is None else "normal")
    axes.set(
        xlabel=f"{xlabel} (line: 95 % interval over seeds and subjects)", ylim=(place + 0.6, 0.7)
    )
    axes.grid(axis="x", alpha=0.25)
    if seen:
        figure.legend(loc="outside upper center", ncols=4)
    return figure


def _effect(axes: Axes, height: float, row, seen: set[str]) -> None:
    """A setting's difference with its interval, and what collapsed, in words."""
    difference, low, high = (_number(x) for x in (row.difference, row.low, row.high))
    known = not np.isnan(low)
    marker, edge, face = VERDICTS.get(row.verdict, NOT_KNOWN)
    label = row.verdict if known else "not known"
    if known:
        axes.hlines(height, low, high, color=edge, lw=1.5)
    if not np.isnan(difference):
        axes.plot(
            difference,
            height,
            marker,
            color=edge,
            mfc=face,
            ms=7,
            ls="none",
            label=None if label in seen else label,
        )
        seen.add(label)
    words = (
        f"{row.collapsed} of {row.trainings} trainings collapsed"
        if row.collapsed
        else ""
        if known
        else row.verdict
    )
    if words:
        end = max(high, 0.0) if known else max(np.nan_to_num(difference), 0.0)
        axes.annotate(
            words,
            (end, height),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=VERMILION if row.collapsed else GREY,
        )


def _number(value) -> float:
    """A number, or NaN for what is missing."""
    return float("nan") if pd.isna(value) else float(value)


@styled
def paired_seeds(
    table: pd.DataFrame,
    labels: tuple[str, str] = ("without", "with"),
    estimate: float | None = None,
    limits: tuple[float, float] | None = None,
    score: str = "mean Dice of the held-out subjects",
) -> Figure:
    """Each seed's two trainings as a line, and beside them the differences with their interval.

    table : as of `pairs.pair_seeds`: seed, base, arm, difference, collapsed. Lines that rise and
    lines that fall differ in colour and marker; pairs of which a training collapsed are dotted and
    have no difference. estimate, limits : of the mean difference, where it is known.
    Raises ValueError for no pair.
    """
    if table.empty:
        raise ValueError("no pair of trainings to draw.")
    figure = Figure(figsize=(9, 4.2))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    seen: set[str] = set()
    for row in table.itertuples():
        difference = _number(row.difference)
        name, colour, marker, line = (
            ("a training collapsed", GREY, "x", "dotted")
            if np.isnan(difference)
            else ("higher with it", GREEN, "^", "solid")
            if difference > 0
            else ("not higher", VERMILION, "v", "dashed")
        )
        look = dict(color=colour, marker=marker, ms=6)
        label = None if name in seen else name
        left.plot([0, 1], [row.base, row.arm], lw=1.5, ls=line, label=label, **look)
        right.plot(difference, row.seed, ls="none", **look)
        seen.add(name)
    used = table[table["collapsed"].eq("")]
    if len(used):
        means = [used["base"].mean(), used["arm"].mean()]
        left.plot([0, 1], means, color=BLACK, lw=3.5, alpha=0.85, label="mean")
        # What collapsed would press all the others together: its lines leave the picture.
        ends = used[["base", "arm"]].to_numpy()
        room = 0.12 * max(np.ptp(ends), 0.01)
        left.set_ylim(ends.min() - room * (2 if len(used) < len(table) else 1), ends.max() + room)
    gone = "\n".join(
        f"seed {row.seed}: collapsed {row.collapsed}"
        for row in table[table["collapsed"].ne("")].itertuples()
    )
    left.text(0.02, 0.02, gone, transform=left.transAxes, fontsize=9, color=GREY)
    left.set_xticks([0, 1], labels)
    left.set(xlim=(-0.25, 1.25), ylabel=score, title="two trainings of each seed, joined")
    left.grid(axis="y", alpha=0.25)
    right.axvline(0, color=BLACK, lw=0.8)
    lowest = table["seed"].min() - 1.4
    if estimate is not None:
        right.plot(estimate, lowest, "D", color=BLACK, ms=8)
        if limits:
            right.hlines(lowest, *limits, color=BLACK, lw=2.5)
    right.set_yticks(
        [*table["seed"], lowest], [*(f"seed {seed}" for seed in table["seed"]), "mean, 95 %"]
    )
    right.xaxis.set_major_locator(MaxNLocator(5))
    right.set(xlabel="difference in mean Dice", title="what the joined lines rise or fall by")
    right.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@styled
def spread_by_pairing(
    differences: Mapping[str, np.ndarray], xlabel: str = "difference of two scores"
) -> Figure:
    """How far differences spread by what is paired: a histogram a way, all on one axis.

    differences : arrays by name, as of `pairs.by_pairing`, the least paired first.
    Raises ValueError where there are none.
    """
    present = {name: values for name, values in differences.items() if len(values)}
    if not present:
        raise ValueError("no differences to draw: it takes two seeds and two subjects.")
    far = max(np.abs(values).max() for values in present.values())
    edges = np.linspace(-far, far, 42)
    figure = Figure(figsize=(8, 1.45 * len(present) + 0.7))
    panels = figure.subplots(len(present), 1, sharex=True, squeeze=False).ravel()
    for axes, (name, values), colour in zip(panels, present.items(), CYCLE):
        axes.hist(values, edges, color=colour, alpha=0.75)
        deviation = values.std(ddof=1)
        axes.hlines(
            -0.06 * axes.get_ylim()[1],
            values.mean() - deviation,
            values.mean() + deviation,
            color=BLACK,
            lw=3,
        )
        axes.axvline(0, color=BLACK, lw=0.8)
        axes.set_title(f"{name}: SD {deviation:.3f}", loc="left")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    panels[-1].set_xlabel(f"{xlabel} (bar: one SD on either side of the mean)")
    return figure


@styled
def power_curves(table: pd.DataFrame, planned: int | None = None, wanted: float = 0.8) -> Figure:
    """The chance to see a true difference by the number of seeds: a line a number of subjects.

    table : columns subjects, seeds, power. planned : the seeds that were trained, a dotted line.
    """
    figure = Figure(figsize=(8, 3.6))
    axes = figure.subplots()
    styles = zip(CYCLE, MARKERS, ("solid", "dashed", "dashdot", "dotted") * 2)
    for (subjects, rows), (colour, marker, line) in zip(table.groupby("subjects"), styles):
        rows = rows.sort_values("seeds")
        axes.plot(
            rows["seeds"],
            100 * rows["power"],
            color=colour,
            marker=marker,
            ms=4,
            ls=line,
            label=f"{subjects} subjects",
        )
    axes.axhline(100 * wanted, color=GREY, lw=1, ls="dashed")
    if planned is not None:
        axes.axvline(planned, color=GREY, lw=1, ls="dotted")
    axes.set(
        xscale="log",
        ylim=(0, 101),
        xlabel="paired seeds" + (f" (dotted: the {planned} recorded)" if planned else ""),
        ylabel=f"chance to see it (%; dashed: {100 * wanted:.0f})",
    )
    ends = table["seeds"].min(), table["seeds"].max()
    ticks = [value for value in (2, 5, 10, 20, 50, 100, 200, 500) if ends[0] <= value <= ends[1]]
    axes.set_xticks(ticks, [str(value) for value in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    figure.legend(loc="outside upper center", ncols=5)
    return figure


@styled
def curves_by_strength(
    table: pd.DataFrame,
    unchanged: Mapping[str, float],
    ylabel: str = "mean Dice per subject",
    columns: int = 3,
) -> Figure:
    """A score against the strength of each kind of change, a panel a kind, a line a method.

    table : columns kind, strength, method, mean, low, high. unchanged : by kind, the strength at
    which nothing is changed (0 where it is not named), drawn as a dotted line.
    """
    kinds, methods = table["kind"].unique(), table["method"].unique()
    columns = min(columns, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(9, 2.5 * rows + 0.5))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    styles = list(zip(CYCLE, MARKERS, ("solid", "dashed", "dotted", "dashdot") * 2))
    for axes, kind in zip(panels, kinds):
        for method, (colour, marker, line) in zip(methods, styles):
            part = table[(table["kind"] == kind) & (table["method"] == method)]
            part = part.sort_values("strength")
            axes.fill_between(
                part["strength"],
                part["low"].astype(float),
                part["high"].astype(float),
                color=colour,
                alpha=0.13,
                lw=0,
            )
            axes.plot(
                part["strength"],
                part["mean"],
                color=colour,
                marker=marker,
                ms=4,
                ls=line,
                label=method if axes is panels[0] else None,
            )
        axes.axvline(unchanged.get(kind, 0), color=GREY, lw=1, ls="dotted")
        axes.set(title=kind, ylim=(0, 1))
        axes.grid(alpha=0.25)
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    figure.supylabel(ylabel, fontsize=10)
    figure.supxlabel("strength (dotted: unchanged); shaded: interval by subject", fontsize=10)
    figure.legend(loc="outside upper center", ncols=min(3, len(methods)))
    return figure


def _points(
    axes: Axes, heights, rows: pd.DataFrame, colour: str, marker: str, label: str | None = None
) -> None:
    """Points with their intervals (where there are any) and their numbers."""
    axes.hlines(heights, rows["low"], rows["high"], color=colour, lw=2)
    axes.plot(rows["mean"], heights, marker, color=colour, ms=7, ls="none", label=label)
    for height, value in zip(heights, rows["mean"]):
        if np.isfinite(value):
            axes.annotate(
                f"{value:.2f}",
                (value, height),
                xytext=(0, 6),
                fontsize=9,
                textcoords="offset points",
                ha="center",
            )
