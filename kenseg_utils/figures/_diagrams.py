"""Drawings of networks, taken from the models themselves, and of the sizes they work at.

A model is read through its public attributes only (`layers`, `layer.input`, `layer.output`), so
no code here imports Keras, and no edge of a drawing is typed in by hand.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from ._palette import BLUE, GREEN, GREY, ORANGE, VERMILION, styled

if TYPE_CHECKING:
    from keras import Model

NODE = re.compile(r"x(\d)(\d)")
GRID_EDGES = {
    "down": ("half the size, down", BLUE, "solid"),
    "up": ("twice the size, up", VERMILION, "solid"),
    "skip": ("skip", GREY, "solid"),
    "dense": ("dense skip", GREEN, "dashed"),
}


# --- Reading a model -----------------------------------------------------------------------------


def _tensors(given) -> list:
    return list(given) if isinstance(given, (list, tuple)) else [given]


def layer_sources(model: Model) -> dict[str, list]:
    """For each layer's name the layers that its inputs come from, in order."""
    maker = {id(tensor): layer for layer in model.layers for tensor in _tensors(layer.output)}
    return {
        layer.name: [
            maker[id(tensor)]
            for tensor in _tensors(layer.input)
            if id(tensor) in maker and maker[id(tensor)] is not layer
        ]
        for layer in model.layers
    }


def grid_edges(model: Model) -> dict[tuple[str, str], str]:
    """The edges between a model's nodes x00, x01 …: {(from, to): kind}.

    Nodes are the layers of such names; what lies between two of them is walked over. An edge that
    passes a pooling goes "down", one that passes an enlarging layer goes "up", and the others stay
    on their row: a "skip" from the nearest node to the left, a "dense" skip from those farther.
    """
    sources, edges = layer_sources(model), {}
    for layer in model.layers:
        if NODE.fullmatch(layer.name):
            for start, passed in _nearest_nodes(sources, layer.name, ()):
                kinds = "".join(type(between).__name__ for between in passed)
                kind = (
                    "down"
                    if "Pooling" in kinds
                    else "up"
                    if "Transpose" in kinds or "UpSampling" in kinds
                    else "skip"
                )
                edges[start, layer.name] = kind
    for (start, end), kind in edges.items():
        nearest = (
            max(
                other
                for other, target in edges
                if target == end and edges[other, target] in ("skip", "dense")
            )
            if kind == "skip"
            else start
        )
        edges[start, end] = "dense" if start != nearest else kind
    return edges


def _nearest_nodes(sources, name: str, passed: tuple) -> Iterator[tuple[str, tuple]]:
    """Walk back from a layer to the nodes before it; yield each with the layers passed."""
    for source in sources[name]:
        if NODE.fullmatch(source.name):
            yield source.name, passed
        else:
            yield from _nearest_nodes(sources, source.name, (*passed, source))


# --- Networks ------------------------------------------------------------------------------------


@styled
def network_grid(model: Model, title: str | None = None) -> Figure:
    """Draw a U-Net or UNet++ from the model itself: nodes x00 …, edges by kind, channels, sizes.

    A Ken block (a layer named "bottleneck") is shown on the node whose output it works on.
    Raises ValueError where the model has no layers named like grid nodes.
    """
    nodes = {layer.name: layer for layer in model.layers if NODE.fullmatch(layer.name)}
    if not nodes:
        raise ValueError(
            f"the model {model.name!r} has no layers named x00, x01 …: only networks "
            "built on that grid can be drawn as one."
        )
    place = {name: (2 * int(name[2]) + int(name[1]), -1.25 * int(name[1])) for name in nodes}
    edges = grid_edges(model)
    last = max(x for x, _ in place.values())
    figure = Figure(figsize=(9, 1.4 + 1.05 * len({y for _, y in place.values()})))
    axes = figure.subplots()
    for (start, end), kind in edges.items():
        _, colour, line = GRID_EDGES[kind]
        bend = -0.16 - 0.03 * (place[end][0] - place[start][0]) / 2 if kind == "dense" else 0
        if kind == "skip" and place[end][0] - place[start][0] > 2:
            bend = 0  # U-Net's skips run straight: nothing lies between their ends
        axes.add_patch(
            FancyArrowPatch(
                place[start],
                place[end],
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=11,
                shrinkA=17,
                shrinkB=18,
                color=colour,
                ls=line,
                lw=1.4,
                zorder=1,
            )
        )
    ken = _ken_node(model)
    for name, (x, y) in place.items():
        special = name == ken
        axes.plot(
            x,
            y,
            "o",
            ms=31,
            mfc="#fff3d6" if special else "white",
            mew=1.6,
            mec=ORANGE if special else "#1a1a1a",
            zorder=2,
        )
        axes.text(
            x,
            y,
            f"{name}\n{nodes[name].output.shape[-1]}",
            ha="center",
            va="center",
            fontsize=9,
            zorder=3,
        )
        if special:
            axes.text(x + 0.4, y, "with the\nKen block", va="center", fontsize=9)
    for row in sorted({name[1] for name in nodes}):
        first = nodes[f"x{row}0"]
        high, wide = first.output.shape[1:3]
        axes.text(-1.5, place[f"x{row}0"][1], f"{high}×{wide}", va="center", fontsize=9)
    used = [kind for kind in GRID_EDGES if kind in edges.values()]
    handles = [
        Line2D([], [], color=GRID_EDGES[kind][1], ls=GRID_EDGES[kind][2], label=GRID_EDGES[kind][0])
        for kind in used
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    axes.set(
        xlim=(-1.6, last + 0.8),
        ylim=(min(y for _, y in place.values()) - 0.5, 1.35 if "dense" in used else 0.5),
        title=title or f"{model.name}: a node's name and its channels; left, pixels of a row",
    )
    axes.set_axis_off()
    return figure


def _ken_node(model) -> str | None:
    if not any(layer.name == "bottleneck" for layer in model.layers):
        return None
    return next(
        (start for start, _ in _nearest_nodes(layer_sources(model), "bottleneck", ())), None
    )


@styled
def block_diagram(model: Model, block: str | None = None, title: str | None = None) -> Figure:
    """Draw the layers of a block from left to right, as the model connects them.

    block : draw only the layers of that name or beginning with it and an underscore, such as
    "bottleneck"; what comes from outside is drawn as the block's input.
    Raises ValueError where the model has no such layers.
    """
    chosen = [
        layer
        for layer in model.layers
        if block is None or layer.name == block or layer.name.startswith(f"{block}_")
    ]
    if not chosen:
        raise ValueError(f"the model {model.name!r} has no layers of a block named {block!r}.")
    sources = layer_sources(model)
    labels = {layer.name: _layer_label(layer) for layer in chosen}
    arrows = []
    for layer in chosen:
        for source in sources[layer.name]:
            if source.name not in labels:
                labels[source.name] = ("input", f"{source.output.shape[-1]} channels")
            arrows.append((source.name, layer.name))
    place, lanes = _left_to_right(list(labels), arrows)
    columns, rows = (1 + np.ptp([xy[axis] for xy in place.values()]) for axis in (0, 1))
    # No narrower than the words in the boxes, however long the block.
    figure = Figure(figsize=(max(1.07 * columns, min(9, 1.25 * columns)), 0.75 * rows + 0.5))
    axes = figure.subplots()
    for route in lanes:
        corners = _bends([place[stop] for stop in route])
        axes.plot(corners[:, 0], corners[:, 1], color=GREY, lw=1.3, zorder=1)
        axes.add_patch(
            FancyArrowPatch(
                corners[-2],
                corners[-1],
                arrowstyle="-|>",
                shrinkA=0,
                mutation_scale=11,
                shrinkB=0,
                color=GREY,
                lw=1.3,
                zorder=1,
                patchB=_box(axes, corners[-1], None),
            )
        )
    for name, (kind, detail) in labels.items():
        _box(axes, place[name], kind)
        x, y = place[name]
        axes.text(x, y, f"{kind}\n{detail}".strip(), ha="center", va="center", fontsize=9, zorder=3)
    axes.set(
        xlim=(min(x for x, _ in place.values()) - 0.55, max(x for x, _ in place.values()) + 0.55),
        ylim=(min(y for _, y in place.values()) - 0.6, max(y for _, y in place.values()) + 0.6),
        title=title or "",
    )
    axes.set_axis_off()
    return figure


def _bends(stops: list[tuple[float, float]]) -> np.ndarray:
    """The corners of a route: it leaves and enters its boxes in the gaps between columns."""
    first, *passed, last = stops
    if passed:
        passed = [(first[0] + 0.5, passed[0][1]), *passed, (last[0] - 0.5, passed[-1][1])]
    return np.array([first, *passed, last], dtype=float)


FILLS = {"input": "white", "conv": "#cfe6f7", "add": "#fbdcc4", "join": "#cdebe0"}


def _box(axes: Axes, centre, kind: str | None) -> FancyBboxPatch:
    """A rounded box around a centre; invisible where there is no kind (for arrows to end at)."""
    x, y = centre
    box = FancyBboxPatch(
        (x - 0.38, y - 0.27),
        0.76,
        0.54,
        boxstyle="round,pad=0.04",
        lw=1.1,
        facecolor=FILLS.get((kind or "").split()[0] if kind else "", "#eeeeee"),
        edgecolor="#1a1a1a",
        zorder=2,
        visible=kind is not None,
    )
    axes.add_patch(box)
    return box


def _layer_label(layer) -> tuple[str, str]:
    """What a layer is called in a drawing, and a line of detail."""
    kind, settings = type(layer).__name__, layer.get_config()
    if kind == "InputLayer":
        return "input", f"{layer.output.shape[-1]} channels"
    if kind.startswith("Conv"):
        size = "×".join(map(str, settings["kernel_size"]))
        dilation = max(settings.get("dilation_rate", (1,)))
        apart = f", dilation {dilation}" if dilation > 1 else ""
        return f"conv {size}", f"{settings['filters']}{apart}"
    names = {
        "BatchNormalization": ("batch", "norm"),
        "GroupNormalization": ("group", "norm"),
        "Add": ("add", ""),
        "Concatenate": ("join", f"{layer.output.shape[-1]}"),
    }
    if kind == "Activation":
        return settings["activation"], ""
    return names.get(kind, (kind, ""))


def _left_to_right(names: list[str], arrows: list[tuple[str, str]]):
    """Places (column, height) of a graph's boxes, and each arrow's route of places.

    A box stands right of all it comes from. An arrow that passes columns gets a stop in each, so
    that no box stands in its way (Sugiyama's layered drawing, in its simplest form).
    """
    column = dict.fromkeys(names, 0)
    for _ in names:
        for start, end in arrows:
            column[end] = max(column[end], column[start] + 1)
    routes, before = [], defaultdict(list)
    for start, end in arrows:
        stops = [f"{start}→{end} {k}" for k in range(column[start] + 1, column[end])]
        column |= {stop: column[start] + 1 + k for k, stop in enumerate(stops)}
        routes.append([start, *stops, end])
        for left, right in zip(routes[-1], routes[-1][1:]):
            before[right].append(left)
    height: dict[str, float] = {}
    for place in range(max(column.values()) + 1):
        here = [name for name in column if column[name] == place]
        # In the order of what they come from; among equals, passing arrows above boxes.
        here.sort(
            key=lambda name: (
                -np.mean([height[b] for b in before[name]]) if before[name] else 0,
                "→" not in name,
            )
        )
        for rank, name in enumerate(here):
            height[name] = (len(here) - 1) / 2 - rank
    return {name: (column[name], height[name]) for name in column}, routes


# --- Sizes ---------------------------------------------------------------------------------------


@styled
def halving_ladder(sizes: int | Sequence[int] = (124, 128)) -> Figure:
    """How often a side of so many pixels can be halved before it is odd: a row a size."""
    sizes = [sizes] if isinstance(sizes, (int, np.integer)) else list(sizes)
    ladders = []
    for size in sizes:
        ladder = [int(size)]
        while ladder[-1] % 2 == 0 and ladder[-1] > 0:
            ladder.append(ladder[-1] // 2)
        ladders.append(ladder)
    figure = Figure(figsize=(9, 0.5 + 0.95 * len(sizes)))
    axes = figure.subplots()
    for row, ladder in enumerate(ladders):
        for step, side in enumerate(ladder):
            last = step == len(ladder) - 1
            width = 0.32 + 0.5 * side / max(sizes)
            axes.add_patch(
                Rectangle(
                    (step - width / 2, -row - 0.22),
                    width,
                    0.44,
                    lw=1.2,
                    facecolor="#fbdcc4" if last else "#cfe6f7",
                    edgecolor="#1a1a1a",
                )
            )
            axes.text(step, -row, str(side), ha="center", va="center")
            if not last:
                axes.annotate(
                    "",
                    (step + 1 - 0.17 - 0.25 * ladder[step + 1] / max(sizes), -row),
                    (step + width / 2, -row),
                    arrowprops={"arrowstyle": "-|>"},
                )
        end = "1 cannot be halved" if ladder[-1] == 1 else f"{ladder[-1]} is odd"
        times = len(ladder) - 1
        axes.text(
            len(ladder) - 0.6, -row, f"{end}: {times} halving{'s' * (times != 1)}", va="center"
        )
    longest = max(map(len, ladders))
    axes.set(xlim=(-0.6, longest + 1.9), ylim=(-len(sizes) + 0.6, 0.4))
    axes.set_axis_off()
    return figure


@styled
def receptive_field(maps: Mapping[str, np.ndarray]) -> Figure:
    """How much each input pixel weighs on the output pixel in the middle: a map for each block.

    maps : name to (height, width) array of weights or gradient sizes; zero is drawn white. The
    title tells the size of the smallest box around all that is not zero.
    """
    columns = min(len(maps), 4)
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(2.25 * columns, 2.6 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, weights) in zip(panels, maps.items()):
        weights = np.abs(np.asarray(weights, dtype=float))
        seen = np.argwhere(weights > 0)
        box = np.ptp(seen, axis=0) + 1 if len(seen) else (0, 0)
        axes.imshow(np.ma.masked_equal(weights, 0), cmap="viridis", interpolation="nearest")
        axes.plot(
            (weights.shape[1] - 1) / 2,
            (weights.shape[0] - 1) / 2,
            "x",
            color=VERMILION,
            ms=7,
            mew=2,
        )
        axes.set(title=f"{name}\nsees {box[0]}×{box[1]} pixels", xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
    for axes in panels[len(maps) :]:
        axes.set_axis_off()
    return figure
