"""Any network drawn by its stages: at which size it works, how wide, and what goes where.

A stage is what a network does between two changes of size. Stages are found in the model itself,
by its public attributes (`layers`, `layer.input`, `layer.output`), so that nothing here imports
Keras and no edge of a drawing is typed in by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from kenseg_utils.machine import so_many

from ._diagrams import layer_sources
from ._palette import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, styled

if TYPE_CHECKING:
    from keras import Model

STAGE_EDGES = {
    "down": ("smaller", BLUE, "solid"),
    "up": ("larger", VERMILION, "solid"),
    "skip": ("skip", GREY, "dashed"),
    "places": ("places of the maxima", PURPLE, "dotted"),
    "flatten": ("3-D to 2-D", GREEN, "solid"),
    "stack": ("2-D to 3-D", GREEN, "dashed"),
}


@dataclass(frozen=True, order=True)
class Place:
    """Where a stage stands: changes of size so far (the longest way), pixels a side, 2-D or 3-D."""

    changes: int
    side: int
    dimensions: int


@dataclass(frozen=True)
class Stage:
    """A stage's layers by name, the channels it makes or hands on, and its convolutions."""

    layers: tuple[str, ...]
    channels: int
    convolutions: int


def stages(model: Model) -> tuple[dict[Place, Stage], dict[tuple[Place, Place], str]]:
    """The stages of a model by their place, and the edges between them by kind.

    Kinds are those of `STAGE_EDGES`. A map of one pixel that only weighs channels (squeeze and
    excitation) is no stage: it is part of the one whose channels it weighs.
    Raises ValueError where the model's layers give no maps (height, width, channels).
    """
    before, place = layer_sources(model), dict[str, Place]()
    for layer in model.layers:
        came_from = [place[source.name] for source in before[layer.name]]
        place[layer.name] = _place(layer, came_from)
    edges = {}
    for layer in model.layers:
        end = place[layer.name]
        for position, source in enumerate(before[layer.name]):
            start = place[source.name]
            if start != end and not _weighs_channels(layer, start, end):
                edges[start, end] = _kind(layer, position, start, end)
    leading = {start for start, _ in edges} | {place[model.layers[-1].name]}
    edges = {pair: kind for pair, kind in edges.items() if pair[1] in leading}
    return {each: _stage(model, before, place, each) for each in sorted(leading)}, edges


def _place(layer, came_from: list[Place]) -> Place:
    shape = layer.output.shape[1:]
    if len(shape) == 2 and came_from:  # a matrix of pixels by channels, or by pixels
        return came_from[0]
    if len(shape) not in (3, 4):
        raise ValueError(
            f"the layer {layer.name!r} gives {tuple(shape)}, and only networks whose "
            "layers give maps (height, width, channels) can be drawn by stages."
        )
    side = int(shape[0])
    here = Place(0, side, len(shape) - 1)
    passed = [
        one.changes + (one.side != side)
        for one in came_from
        if not _weighs_channels(layer, one, here)
    ]
    return Place(max(passed, default=0), side, len(shape) - 1)


def _weighs_channels(layer, start: Place, end: Place) -> bool:
    return type(layer).__name__ == "Multiply" and start.side == 1 < end.side


def _kind(layer, position: int, start: Place, end: Place) -> str:
    if start.dimensions != end.dimensions:
        return "flatten" if start.dimensions > end.dimensions else "stack"
    if start.side != end.side:
        return "down" if start.side > end.side else "up"
    return "places" if "Unpooling" in type(layer).__name__ and position == 1 else "skip"


def _stage(model, before: Mapping, place: Mapping, here: Place) -> Stage:
    inside = [layer for layer in model.layers if place[layer.name] == here]
    handed_on = {
        source.name
        for layer in model.layers
        if place[layer.name] != here
        for source in before[layer.name]
    }
    # What is only joined for the next convolution to read would overstate the width.
    made = [
        layer
        for layer in inside
        if layer.name in handed_on or type(layer).__name__ != "Concatenate"
    ]
    return Stage(
        tuple(layer.name for layer in inside),
        max(int(layer.output.shape[-1]) for layer in made or inside),
        sum("Conv" in type(layer).__name__ and len(layer.output.shape) > 3 for layer in inside),
    )


def described(model: Model) -> str:
    """A sentence on a model's stages, for readers who cannot see the drawing."""
    found, edges = stages(model)
    top, deep = min(found), min(found, key=lambda place: (place.side, place.changes))
    counts = {kind: list(edges.values()).count(kind) for kind in STAGE_EDGES}
    passed = ", ".join(
        f"{count} × {STAGE_EDGES[kind][0]}" for kind, count in counts.items() if count
    )
    first = found[top].channels
    return (
        f"The network {model.name} by stages, from left to right: {len(found)} stages, from "
        f"{top.side}×{top.side} pixels and {so_many(first, 'channel')} down to "
        f"{deep.side}×{deep.side} and {found[deep].channels}; arrows: {passed}."
    )


@styled
def stage_diagram(
    model: Model, marks: Mapping[str, str] | None = None, title: str | None = None
) -> Figure:
    """Draw a network by its stages: to the right, what comes later; downwards, smaller maps.

    A box holds the channels of a stage and how many convolutions it has. `marks`: beginning of
    layers' names to a word; the last stage with such layers gets a bold border and that word.
    """
    found, edges = stages(model)
    sides = sorted({place.side for place in found}, reverse=True)
    rows = {side: -1.05 * row for row, side in enumerate(sides)}
    # What works in 3-D stands above and to the right of its 2-D neighbour, between the skips.
    spot = {
        place: (
            place.changes + 0.72 * (place.dimensions == 3),
            rows[place.side] + 0.62 * (place.dimensions == 3),
        )
        for place in found
    }
    columns = max(place.changes for place in found)
    figure = Figure(figsize=(min(9, 2.4 + 0.95 * columns), 0.9 + 0.56 * len(sides)))
    axes = figure.subplots()
    boxes = {
        place: _draw_stage(axes, spot[place], stage, place.dimensions)
        for place, stage in found.items()
    }
    for prefix, word in (marks or {}).items():
        having = [
            place
            for place, stage in found.items()
            if any(name.startswith(prefix) for name in stage.layers)
        ]
        if not having:
            raise ValueError(f"{model.name} has no layers whose names begin with {prefix!r}.")
        last = max(having)
        boxes[last].get_bbox_patch().set(edgecolor=ORANGE, linewidth=2.4)
        # Below its box, unless arrows come from there.
        beside = any(end == last and spot[start][1] < spot[last][1] for start, end in edges)
        axes.annotate(
            word,
            spot[last],
            (24, 0) if beside else (0, -17),
            textcoords="offset points",
            ha="left" if beside else "center",
            va="center" if beside else "top",
            fontsize=8.5,
            color="#1a1a1a",
            zorder=4,
        )
    for (start, end), kind in edges.items():
        _, colour, line = STAGE_EDGES[kind]
        crossed = (
            any(
                start.changes < other.changes < end.changes and other.side == end.side
                for other in found
            )
            and start.side == end.side
        )
        axes.add_patch(
            FancyArrowPatch(
                spot[start],
                spot[end],
                arrowstyle="-|>",
                mutation_scale=10,
                color=colour,
                ls=line,
                lw=1.3,
                patchA=boxes[start].get_bbox_patch(),
                patchB=boxes[end].get_bbox_patch(),
                connectionstyle=f"arc3,rad={-0.14 if crossed else 0}",
                shrinkA=2,
                shrinkB=2,
                zorder=1,
            )
        )
    for side in sides:
        axes.text(-1.05, rows[side], f"{side}×{side}", ha="right", va="center", fontsize=9)
    handles = [
        Line2D([], [], color=colour, ls=line, label=word)
        for kind, (word, colour, line) in STAGE_EDGES.items()
        if kind in edges.values()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    axes.set(
        xlim=(-1.1, columns + 0.5), ylim=(min(rows.values()) - 0.7, 1.3), title=title or model.name
    )
    axes.set_axis_off()
    return figure


def _draw_stage(axes, spot: tuple[float, float], stage: Stage, dimensions: int):
    """A box with a stage's channels and convolutions."""
    count = f"\n{stage.convolutions} conv" if stage.convolutions else ""
    return axes.text(
        *spot,
        f"{stage.channels}{count}",
        ha="center",
        va="center",
        fontsize=8.5,
        zorder=3,
        linespacing=1.0,
        bbox=dict(
            boxstyle="round,pad=0.25",
            linewidth=1,
            edgecolor="#1a1a1a",
            facecolor="#cdebe0" if dimensions == 3 else "#e6f1f9",
        ),
    )
