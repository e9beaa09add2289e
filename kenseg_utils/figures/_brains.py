"""Static pictures for the book; `show` puts one into the page with its alternative text.

Here are the pictures of slices. Those of tables are in `charts`, those of networks and of the
geometry of a slice in `diagrams`; all of them can be had from here.

Every function returns a matplotlib Figure and shows nothing. Arrays are in RAS order: a volume is
(X, Y, Z), a slice (X, Y), x grows to the subject's right, y to the front, z to the top. Pictures
follow the neurological convention: the subject's left is on the left.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image

from ._palette import PREDICTION, SKY_BLUE, TRUTH, YELLOW, styled

if TYPE_CHECKING:
    from kenseg_utils.slices import Placement


DRAWN_AT_MOST = 200_000  # bytes of a drawing; what would be heavier is kept as pixels alone


def show(figure: Figure, alt: str, dots_per_inch: int = 120) -> None:
    """Show a figure once, as drawing and as PNG, with its alternative text; then close it.

    A page shows the drawing (SVG), which stays sharp however large it is read; a figure that holds
    an image (a slice, a heat map) or is too heavy as a drawing has none. The same figure always
    gives the same bytes.
    `alt` says in a sentence or two what can be seen and what it means. It is stored in the
    output's metadata, from where the book's build copies it into the page.
    Raises ValueError where `alt` is no sentence (fewer than five words).
    """
    alt = " ".join(str(alt or "").split())
    if len(alt.split()) < 5:
        raise ValueError(
            f"alternative text {alt!r} is too short: say in a sentence what the "
            "figure shows, for a reader who cannot see it."
        )
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")  # nothing is cut off or lies on something else
    drawn, small = io.BytesIO(), io.BytesIO()
    drawing = _drawing(figure, alt, dots_per_inch)
    figure.savefig(drawn, format="png", dpi=dots_per_inch)
    plt.close(figure)
    # 256 colours are enough for grey slices and a few outlines, and keep a page light.
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    picture = base64.b64encode(small.getvalue()).decode("ascii")
    data = {"image/png": picture, "text/plain": f"[Figure: {alt}]"}
    if 0 < len(drawing.encode()) <= DRAWN_AT_MOST:
        data["image/svg+xml"] = drawing
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def _drawing(figure: Figure, alt: str, dots_per_inch: int) -> str:
    """The figure as SVG, as large as its PNG, letters as outlines; "" where it holds an image."""
    # Nothing of the moment: identifiers are made of what is drawn, and no date is written.
    with matplotlib.rc_context({"svg.hashsalt": "kenseg", "svg.fonttype": "path"}):
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    if "<image" in written.getvalue() or figure.findobj(QuadMesh):  # between cells light shines
        return ""
    text = re.sub(
        r"(?s)^.*?(?=<svg)|\s*<metadata>.*?</metadata>|<!--.*?-->", "", written.getvalue()
    )
    # A hundredth of a point is seen by nobody.
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    wide, high = (round(side * dots_per_inch) for side in figure.get_size_inches())
    text = re.sub(r'(<svg[^>]*? width=)"[^"]*"', rf'\1"{wide}"', text, count=1)
    text = re.sub(r'(<svg[^>]*? height=)"[^"]*"', rf'\1"{high}"', text, count=1)
    said = html.escape(alt)
    return text.replace("<svg", f'<svg role="img" aria-label="{said}"', 1).strip() + "\n"


def window(image: np.ndarray) -> tuple[float, float]:
    """The grey window of an image: percentiles 1 and 99.5 of what is not background.

    Background is the image's smallest value (ATLAS and padded slices are zero outside the head).
    Values that are not finite are left out.
    """
    values = np.asarray(image)
    if values.ndim == 3:  # every third slice and row of a volume says the same, sooner
        values = values[::3, ::3]
    values = values[np.isfinite(values)]
    foreground = values[values > values.min()] if values.size else values
    if foreground.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(foreground, (1, 99.5))
    # Zero background stays black although the darkest tissue is brighter.
    low = min(low, max(float(values.min()), 0.0))
    return float(low), float(high if high > low else low + 1)


def slice_overlay(
    axes: Axes,
    image: ArrayLike,
    truth: ArrayLike | None = None,
    prediction: ArrayLike | None = None,
    title: str | None = None,
    grey: tuple[float, float] | None = None,
    aspect: float = 1.0,
    ends: tuple[str, str] = ("L", "R"),
) -> None:
    """Draw a slice, the true lesion (orange, solid line) and the predicted one (blue, dashed).

    image, truth, prediction : (X, Y) or (X, Y, 1); masks are true where not zero.
    grey : window (low, high) of the image; by default `window(image)`.
    aspect : height of a pixel over its width. ends : letters for the left and right edge.
    """
    picture = _plane(image)
    low, high = grey or window(picture)
    axes.imshow(
        picture.T,
        origin="lower",
        cmap="gray",
        vmin=low,
        vmax=high,
        aspect=aspect,
        interpolation="nearest",
    )
    for mask, colour, line in ((truth, TRUTH, "solid"), (prediction, PREDICTION, "dashed")):
        if mask is not None:
            _draw_mask(axes, _plane(mask, picture.shape) != 0, colour, line, aspect)
    mark_sides(axes, ends)
    axes.set(xticks=[], yticks=[], title=title or "")
    axes.spines[:].set_visible(False)


def mark_sides(axes: Axes, ends: tuple[str, str] = ("L", "R")) -> None:
    """Letters in the upper corners of a drawn plane: which side of the subject is which.

    `slice_overlay` does it by itself; a map of pixels that is drawn otherwise needs it as much.
    """
    box = {"facecolor": "black", "alpha": 0.5, "pad": 1.5, "edgecolor": "none"}
    for letter, x, side in zip(ends, (0.03, 0.97), ("left", "right")):
        axes.text(
            x,
            0.97,
            letter,
            transform=axes.transAxes,
            color="white",
            fontsize=9,
            ha=side,
            va="top",
            bbox=box,
        )


def _plane(array: ArrayLike, shape: tuple[int, ...] | None = None) -> np.ndarray:
    plane = np.asarray(array)
    if plane.ndim == 3 and plane.shape[-1] == 1:
        plane = plane[..., 0]
    if plane.ndim != 2:
        raise ValueError(f"a slice has shape (X, Y) or (X, Y, 1), and this one {plane.shape}.")
    if shape is not None and plane.shape != shape:
        raise ValueError(f"the mask's shape {plane.shape} is not the image's {shape}.")
    return plane


def _draw_mask(axes: Axes, mask: np.ndarray, colour: str, line: str, aspect: float) -> None:
    if not mask.any():
        return
    fill = np.zeros((*mask.T.shape, 4))
    fill[mask.T] = to_rgba(colour, 0.25)
    axes.imshow(fill, origin="lower", aspect=aspect, interpolation="nearest")
    # One pixel of background all around closes outlines at the slice's edge.
    x, y = np.arange(-1, mask.shape[0] + 1), np.arange(-1, mask.shape[1] + 1)
    axes.contour(
        x, y, np.pad(mask, 1).T, levels=[0.5], colors=[colour], linestyles=line, linewidths=1.3
    )
    axes.set(xlim=(-0.5, mask.shape[0] - 0.5), ylim=(-0.5, mask.shape[1] - 0.5))


def legend(figure: Figure, truth: bool = True, prediction: bool = True) -> None:
    """Say below the figure what the colours of `slice_overlay` mean."""
    handles = []
    if truth:
        handles.append(Line2D([], [], color=TRUTH, lw=2, label="true lesion"))
    if prediction:
        handles.append(
            Line2D([], [], color=PREDICTION, lw=2, ls="dashed", label="predicted lesion")
        )
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


@styled
def three_planes(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    centre: Sequence[int] | None = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    title: str | None = None,
    prediction: np.ndarray | None = None,
) -> Figure:
    """The axial, coronal and sagittal slice through one voxel of a volume.

    image, mask, prediction : (X, Y, Z). centre : voxel (x, y, z); by default the middle of the
    lesion (true, else predicted), or of the volume. spacing : voxel size in mm.
    Raises ValueError on other shapes.
    """
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"a volume has shape (X, Y, Z), and this one {image.shape}.")
    for name, array in (("mask", mask), ("prediction", prediction)):
        if array is not None and np.shape(array) != image.shape:
            raise ValueError(
                f"the {name}'s shape {np.shape(array)} is not the image's {image.shape}."
            )
    place = centre if centre is not None else _middle(image, prediction if mask is None else mask)
    figure, panels = _plane_panels(image.shape, spacing)
    grey = window(image)
    for axes, (name, axis, aspect, ends) in zip(panels, _planes(spacing)):
        across, up = (place[other] for other in range(3) if other != axis)
        truth, found = (
            None if array is None else np.take(array, place[axis], axis)
            for array in (mask, prediction)
        )
        slice_overlay(
            axes,
            image.take(place[axis], axis),
            truth,
            found,
            title=f"{name}, {'xyz'[axis]} = {place[axis]}",
            grey=grey,
            aspect=aspect,
            ends=ends,
        )
        axes.axvline(across, color="white", lw=0.7, ls=(0, (2, 4)), alpha=0.7)
        axes.axhline(up, color="white", lw=0.7, ls=(0, (2, 4)), alpha=0.7)
    if title:
        figure.suptitle(title)
    legend(figure, truth=mask is not None, prediction=prediction is not None)
    return figure


def _planes(spacing: Sequence[float]):
    """Name, axis across the plane, pixel aspect and edge letters of the three planes."""
    dx, dy, dz = spacing
    return (
        ("axial", 2, dy / dx, ("L", "R")),
        ("coronal", 1, dz / dx, ("L", "R")),
        ("sagittal", 0, dz / dy, ("P", "A")),
    )


def _plane_panels(shape: Sequence[int], spacing: Sequence[float]):
    """A figure with a panel a plane, so wide that a millimetre is as long in all three."""
    wide, deep, high = np.multiply(shape, spacing)
    widths = [wide, wide, deep]
    figure = Figure(figsize=(9, 9 * max(deep, high) / sum(widths) + 0.75))
    return figure, figure.subplots(1, 3, width_ratios=widths)


def _middle(image: np.ndarray, mask: np.ndarray | None) -> tuple[int, ...]:
    """The lesion voxel nearest to the lesion's centre of mass; without one, the middle voxel."""
    if mask is None or not np.any(mask):
        return tuple(int(length) // 2 for length in image.shape)
    voxels = np.argwhere(mask)
    nearest = np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))
    return tuple(int(place) for place in voxels[nearest])


@styled
def gallery(
    images: Sequence,
    truths: Sequence,
    predictions: Sequence | None = None,
    titles: Sequence[str] | None = None,
    columns: int = 4,
) -> Figure:
    """A grid of slices (X, Y), each with its true and, if given, its predicted lesion.

    Raises ValueError where the sequences differ in length or are empty.
    """
    count = len(images)
    for name, given in (("truths", truths), ("predictions", predictions), ("titles", titles)):
        if given is not None and len(given) != count:
            raise ValueError(f"{name} has {len(given)} entries for {count} images.")
    if count == 0:
        raise ValueError("a gallery needs at least one image.")
    columns = min(columns, count)
    rows = -(-count // columns)
    wide, high = _plane(images[0]).shape
    width = 9 / columns if columns > 2 else 3.2
    figure = Figure(figsize=(width * columns, (width * high / wide + 0.3) * rows + 0.4))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, position in zip(panels, range(count)):
        slice_overlay(
            axes,
            images[position],
            truths[position],
            None if predictions is None else predictions[position],
            title=None if titles is None else titles[position],
        )
    for axes in panels[count:]:
        axes.set_axis_off()
    legend(figure, prediction=predictions is not None)
    return figure


@styled
def overlap_map(
    counts: np.ndarray, background: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0)
) -> Figure:
    """How many subjects have lesion at each place, seen from three sides over a head's slices.

    counts, background : (X, Y, Z). Each picture shows the largest count along the line of sight
    (nothing where it is zero) over the middle slice of `background`.
    """
    if np.shape(counts) != np.shape(background) or np.ndim(counts) != 3:
        raise ValueError(
            f"counts {np.shape(counts)} and background {np.shape(background)} must "
            "be volumes of one shape (X, Y, Z)."
        )
    figure, panels = _plane_panels(background.shape, spacing)
    figure.set_figheight(figure.get_figheight() + 0.4)
    grey, most = window(background), max(int(np.max(counts)), 1)
    for axes, (name, axis, aspect, ends) in zip(panels, _planes(spacing)):
        slice_overlay(
            axes,
            background.take(background.shape[axis] // 2, axis),
            title=name,
            grey=grey,
            aspect=aspect,
            ends=ends,
        )
        seen = np.max(counts, axis=axis)
        drawn = axes.imshow(
            np.ma.masked_equal(seen, 0).T,
            origin="lower",
            cmap="plasma",
            vmin=0,
            vmax=most,
            alpha=0.85,
            aspect=aspect,
            interpolation="nearest",
        )
    bar = figure.colorbar(
        drawn,
        ax=panels,
        orientation="horizontal",
        fraction=0.05,
        aspect=50,
        label="subjects with lesion here (most along the line of sight)",
    )
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()
    return figure


@styled
def crop_and_pad(
    image: ArrayLike, placement: Placement, padded: int = 128, mask: ArrayLike | None = None
) -> Figure:
    """Where a window lies on its slice, and the window in its padded frame.

    image, mask : (X, Y). placement : first row and column of the window and its size (`top`,
    `left`, `height`, `width`, as of `slices.crop`); rows run along x, columns along y.
    padded : side of the square frame in whose middle the window is put.
    """
    top, left, height, width = (placement.top, placement.left, placement.height, placement.width)
    before, beside = (padded - height) // 2, (padded - width) // 2
    if before < 0 or beside < 0:
        raise ValueError(f"a window of {height}×{width} does not fit into {padded}×{padded}.")
    cut = np.s_[top : top + height, left : left + width]
    picture, frame = _plane(image), np.full((padded, padded), np.nan)
    frame[before : before + height, beside : beside + width] = picture[cut]
    figure = Figure(figsize=(9, 4.6))
    whole, window_axes = figure.subplots(1, 2)
    slice_overlay(
        whole, picture, mask, title=f"slice, {picture.shape[0]}×{picture.shape[1]} pixels"
    )
    whole.add_patch(
        Rectangle(
            (top - 0.5, left - 0.5),
            height,
            width,
            fill=False,
            lw=2,
            edgecolor=SKY_BLUE,
            label=f"window, {height}×{width}",
        )
    )
    window_axes.set_facecolor(YELLOW)
    inside = None
    if mask is not None:
        inside = np.zeros(frame.shape, bool)
        inside[before : before + height, beside : beside + width] = _plane(mask)[cut] != 0
    slice_overlay(
        window_axes,
        frame,
        inside,
        grey=window(picture),
        title=f"window in its frame, {padded}×{padded}",
    )
    window_axes.add_patch(
        Rectangle((before - 0.5, beside - 0.5), height, width, fill=False, lw=1, edgecolor=SKY_BLUE)
    )
    margins = sorted({before, padded - height - before, beside, padded - width - beside})
    handles = [
        Line2D([], [], color=SKY_BLUE, lw=2, label=f"window, {height}×{width}"),
        Patch(color=YELLOW, label=f"padding, {' or '.join(map(str, margins))} pixels a side"),
    ]
    if mask is not None:
        handles.append(Line2D([], [], color=TRUTH, lw=2, label="true lesion"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
