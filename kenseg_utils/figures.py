"""Static pictures for the book: slices with masks, curves, counts.

Every function returns a matplotlib Figure and shows nothing; `show` puts a figure into the page
together with its alternative text.

Arrays are in RAS order: a volume is (X, Y, Z), a slice (X, Y), x grows to the subject's right,
y to the front, z to the top. Pictures follow the neurological convention: the subject's left is
on the left. Colours are those of Okabe and Ito (2008), which people with colour-vision
deficiencies can tell apart; where two things overlap, line styles tell them apart as well.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#595959"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK)

TRUTH, PREDICTION = ORANGE, SKY_BLUE

STYLE = {
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "text.color": "#1a1a1a", "axes.labelcolor": "#1a1a1a", "axes.edgecolor": GREY,
    "xtick.color": "#1a1a1a", "ytick.color": "#1a1a1a",
    "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 9.5,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "figure.titlesize": 12,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE), "figure.constrained_layout.use": True,
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a drawing function under the book's style, leaving the reader's own settings alone."""
    @wraps(draw)
    def styled(*arguments, **options):
        with matplotlib.rc_context(STYLE):
            return draw(*arguments, **options)
    return styled


def show(figure: Figure, alt: str, dots_per_inch: int = 120) -> None:
    """Show a figure once, as PNG, with its alternative text; then close it.

    `alt` says in a sentence or two what can be seen and what it means. It is stored in the
    output's metadata, from where the book's build copies it into the page.
    Raises ValueError where `alt` is no sentence (fewer than five words).
    """
    alt = " ".join(str(alt or "").split())
    if len(alt.split()) < 5:
        raise ValueError(f"alternative text {alt!r} is too short: say in a sentence what the "
                         "figure shows, for a reader who cannot see it.")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch)
    plt.close(figure)
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    display({"image/png": picture, "text/plain": f"[Figure: {alt}]"},
            metadata={"image/png": {"alt": alt}}, raw=True)


# --- Slices ------------------------------------------------------------------------------------

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


def slice_overlay(axes: Axes, image: np.ndarray, truth=None, prediction=None,
                  title: str | None = None, grey: tuple[float, float] | None = None,
                  aspect: float = 1.0, ends: tuple[str, str] = ("L", "R")) -> None:
    """Draw a slice, the true lesion (orange, solid line) and the predicted one (blue, dashed).

    image, truth, prediction : (X, Y) or (X, Y, 1); masks are true where not zero.
    grey : window (low, high) of the image; by default `window(image)`.
    aspect : height of a pixel over its width. ends : letters for the left and right edge.
    """
    picture = _plane(image)
    low, high = grey or window(picture)
    axes.imshow(picture.T, origin="lower", cmap="gray", vmin=low, vmax=high, aspect=aspect,
                interpolation="nearest")
    for mask, colour, line in ((truth, TRUTH, "solid"), (prediction, PREDICTION, "dashed")):
        if mask is not None:
            _draw_mask(axes, _plane(mask, picture.shape) != 0, colour, line, aspect)
    box = {"facecolor": "black", "alpha": 0.5, "pad": 1.5, "edgecolor": "none"}
    for letter, x, side in zip(ends, (0.03, 0.97), ("left", "right")):
        axes.text(x, 0.97, letter, transform=axes.transAxes, color="white", fontsize=9,
                  ha=side, va="top", bbox=box)
    axes.set(xticks=[], yticks=[], title=title or "")
    axes.spines[:].set_visible(False)


def _plane(array, shape: tuple[int, int] | None = None) -> np.ndarray:
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
    axes.contour(x, y, np.pad(mask, 1).T, levels=[0.5], colors=[colour], linestyles=line,
                 linewidths=1.3)
    axes.set(xlim=(-0.5, mask.shape[0] - 0.5), ylim=(-0.5, mask.shape[1] - 0.5))


def legend(figure: Figure, truth: bool = True, prediction: bool = True) -> None:
    """Say below the figure what the colours of `slice_overlay` mean."""
    handles = []
    if truth:
        handles.append(Line2D([], [], color=TRUTH, lw=2, label="true lesion"))
    if prediction:
        handles.append(Line2D([], [], color=PREDICTION, lw=2, ls="dashed",
                              label="predicted lesion"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


@_styled
def three_planes(image: np.ndarray, mask=None, centre: Sequence[int] | None = None,
                 spacing: Sequence[float] = (1.0, 1.0, 1.0), title: str | None = None) -> Figure:
    """The axial, coronal and sagittal slice through one voxel of a volume.

    image, mask : (X, Y, Z). centre : voxel (x, y, z); by default the middle of the lesion, or of
    the volume. spacing : voxel size in mm. Raises ValueError on other shapes.
    """
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"a volume has shape (X, Y, Z), and this one {image.shape}.")
    if mask is not None and np.shape(mask) != image.shape:
        raise ValueError(f"the mask's shape {np.shape(mask)} is not the image's {image.shape}.")
    x, y, z = centre if centre is not None else _middle(image, mask)
    dx, dy, dz = spacing
    planes = ((f"axial, z = {z}", (slice(None), slice(None), z), dy / dx, ("L", "R"), (x, y)),
              (f"coronal, y = {y}", (slice(None), y, slice(None)), dz / dx, ("L", "R"), (x, z)),
              (f"sagittal, x = {x}", (x, slice(None), slice(None)), dz / dy, ("P", "A"), (y, z)))
    # Each panel as wide as its plane, so that a millimetre is as long in all three.
    size = np.multiply(image.shape, spacing)
    widths = [size[0], size[0], size[1]]
    figure = Figure(figsize=(9, 9 * max(size[1], size[2]) / sum(widths) + 0.9))
    panels = figure.subplots(1, 3, width_ratios=widths)
    grey = window(image)
    for axes, (name, index, aspect, ends, (across, up)) in zip(panels, planes):
        slice_overlay(axes, image[index], None if mask is None else mask[index], title=name,
                      grey=grey, aspect=aspect, ends=ends)
        axes.axvline(across, color="white", lw=0.7, ls=(0, (2, 4)), alpha=0.7)
        axes.axhline(up, color="white", lw=0.7, ls=(0, (2, 4)), alpha=0.7)
    figure.suptitle(title or "")
    legend(figure, truth=mask is not None, prediction=False)
    return figure


def _middle(image: np.ndarray, mask) -> tuple[int, int, int]:
    """The lesion voxel nearest to the lesion's centre of mass; without one, the middle voxel."""
    if mask is None or not np.any(mask):
        return tuple(int(length) // 2 for length in image.shape)
    voxels = np.argwhere(mask)
    nearest = np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))
    return tuple(int(place) for place in voxels[nearest])


@_styled
def gallery(images: Sequence, truths: Sequence, predictions: Sequence | None = None,
            titles: Sequence[str] | None = None, columns: int = 4) -> Figure:
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
        slice_overlay(axes, images[position], truths[position],
                      None if predictions is None else predictions[position],
                      title=None if titles is None else titles[position])
    for axes in panels[count:]:
        axes.set_axis_off()
    legend(figure, prediction=predictions is not None)
    return figure


# --- Training ----------------------------------------------------------------------------------

@_styled
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
            for column, line, data in ((quantity, "dashed", "training"),
                                       (f"val_{quantity}", "solid", "validation")):
                if column in table:
                    axes.plot(table["epoch"], table[column], color=colour, ls=line, marker="o",
                              ms=3 if len(table) > 1 else 6,
                              label=f"{name}, {data}" if name else data)
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
