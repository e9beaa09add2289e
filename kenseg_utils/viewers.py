"""Pictures to play with: each moves in a notebook, on Colab and in the book's static pages.

In a static page no Python runs. So every picture that a viewer can show is drawn beforehand and
put into a `Stack`, whose visible child a slider chooses through `jslink`, in the browser alone.
Where ipywidgets is too old for Stack (version 7, as on Colab), a Python callback does the same.

Pictures are small lossy WebP files inside HTML rather than Image widgets, since an Image widget
cannot carry alternative text. Arrays are in RAS order, as in `figures`.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import ipywidgets
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from kenseg_utils import figures

BUDGET = 600_000  # bytes of embedded pictures in one viewer, base64 included
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
ENDS = {"sagittal": ("P", "A"), "coronal": ("L", "R"), "axial": ("L", "R")}


# --- The moving parts ----------------------------------------------------------------------------

def _linked(chooser: ipywidgets.Widget, children: Sequence[ipywidgets.Widget],
            layout: ipywidgets.Layout | None = None) -> ipywidgets.Widget:
    """A container that shows the child at `chooser.index`, in the browser where that is possible."""
    layout = layout or ipywidgets.Layout()
    if hasattr(ipywidgets, "Stack"):
        stack = ipywidgets.Stack(children=children, selected_index=chooser.index, layout=layout)
        stack.link = ipywidgets.jslink((chooser, "index"), (stack, "selected_index"))
        return stack
    box = ipywidgets.VBox([children[chooser.index]], layout=layout)
    chooser.observe(lambda change: setattr(box, "children", (children[change.new],)), "index")
    return box


def _pages(texts: Sequence[str]) -> list[ipywidgets.HTML]:
    """HTML widgets that share one layout and one style, which keeps the page's state small."""
    first = ipywidgets.HTML(texts[0])
    return [first] + [ipywidgets.HTML(text, layout=first.layout, style=first.style)
                      for text in texts[1:]]


def _scrubber(name: str, labels: Sequence[str], texts: Sequence[str], start: int = 0,
              height: int | None = None, play: bool = True) -> ipywidgets.VBox:
    """A slider over `labels` with a play button, above the page of `texts` it points to."""
    slider = ipywidgets.SelectionSlider(
        options=[(label, place) for place, label in enumerate(labels)], index=start,
        description=name, layout=ipywidgets.Layout(width="100%", max_width="420px"),
        style={"description_width": "initial"})
    controls = [slider]
    if play and len(labels) > 4:
        button = ipywidgets.Play(value=start, min=0, max=len(labels) - 1, interval=250,
                                 layout=ipywidgets.Layout(flex="0 0 auto"))
        slider.play = ipywidgets.jslink((button, "value"), (slider, "index"))
        controls.insert(0, button)
    # A fixed least height keeps the page from jumping while one picture replaces another.
    layout = ipywidgets.Layout(min_height=f"{height}px" if height else None)
    row = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
    return ipywidgets.VBox([ipywidgets.HBox(controls, layout=row),
                            _linked(slider, _pages(texts), layout)])


def _choice(name: str, panels: dict[str, ipywidgets.Widget]) -> ipywidgets.Widget:
    """Buttons that choose one of several named panels; a single panel needs no buttons."""
    if len(panels) == 1:
        return next(iter(panels.values()))
    buttons = ipywidgets.ToggleButtons(options=list(panels), index=0, description=name,
                                       style={"button_width": "auto",
                                              "description_width": "initial"})
    return ipywidgets.VBox([buttons, _linked(buttons, list(panels.values()))])


def _with_caption(viewer: ipywidgets.Widget, caption: str) -> ipywidgets.VBox:
    """A viewer above the words that say what it shows."""
    text = f'<p class="kenseg-caption">{html.escape(caption)}</p>'
    return ipywidgets.VBox([viewer, ipywidgets.HTML(text)]).add_class("kenseg-viewer")


# --- Pictures ------------------------------------------------------------------------------------

def _picture(image: np.ndarray, grey: tuple[float, float], truth=None, prediction=None,
             ends: Sequence[str] = ("L", "R"), width: int = 300, aspect: float = 1.0):
    """A slice (X, Y) as an RGB picture `width` pixels wide, masks drawn as in `figures`."""
    low, high = grey
    values = np.nan_to_num(np.asarray(image, dtype="float32"), nan=low)
    levels = np.uint8(255 * np.clip((values - low) / (high - low), 0, 1))
    size = (width, round(width * image.shape[1] / image.shape[0] * aspect))
    resized = Image.fromarray(levels.T[::-1]).resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(resized.convert("RGB"), dtype="float32").copy()
    dashes = np.add.outer(np.arange(size[1]), np.arange(size[0])) // 5 % 2 == 0
    for mask, colour, line in ((truth, figures.TRUTH, True),
                               (prediction, figures.PREDICTION, dashes)):
        if mask is not None and np.any(mask):
            bits = Image.fromarray(np.uint8(255 * (np.asarray(mask) != 0)).T[::-1])
            inside = np.asarray(bits.resize(size, Image.Resampling.NEAREST)) > 0
            outline = inside & ~ndimage.binary_erosion(inside, iterations=2) & line
            tint = 255 * np.array(to_rgb(colour))
            pixels[inside] = 0.8 * pixels[inside] + 0.2 * tint
            pixels[outline] = tint
    picture = Image.fromarray(np.uint8(pixels))
    draw = ImageDraw.Draw(picture)
    letters = dict(font=ImageFont.load_default(14), fill="white", stroke_width=2,
                   stroke_fill="black")
    draw.text((6, 4), ends[0], **letters)
    draw.text((size[0] - 6, 4), ends[1], anchor="ra", **letters)
    return picture


def _embedded(pictures: Sequence, budget: int = BUDGET) -> list[str]:
    """Pictures as data addresses, at the best quality whose sum keeps within `budget` bytes."""
    for quality, scale in ((70, 1), (45, 1), (45, 0.6), (45, 0.3), (45, 0.1)):
        addresses = [_address(picture, scale, quality) for picture in pictures]
        if sum(map(len, addresses)) <= budget:
            return addresses
    raise ValueError(f"{len(pictures)} pictures do not fit into {budget} bytes: show fewer.")


def _address(picture, scale: float, quality: int) -> str:
    buffer = io.BytesIO()
    if scale < 1:
        picture = picture.resize([round(scale * side) for side in picture.size])
    picture.save(buffer, "WEBP", quality=quality, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _figure_page(address: str, alt: str, note: str, size: tuple[int, int]) -> str:
    """The HTML of one picture with its alternative text and a line below it."""
    return (f'<img src="{address}" alt="{html.escape(alt)}" width="{size[0]}" height="{size[1]}" '
            f'style="max-width:100%;height:auto"><div>{html.escape(note)}</div>')


# --- Viewers -------------------------------------------------------------------------------------

def slice_browser(image: np.ndarray, mask: np.ndarray | None = None,
                  prediction: np.ndarray | None = None,
                  planes: Sequence[str] = ("axial", "coronal", "sagittal"), count: int = 24,
                  spacing: Sequence[float] = (1.0, 1.0, 1.0), caption: str = "") -> ipywidgets.VBox:
    """Leaf through a volume's slices in each plane, with the true and the predicted lesion.

    image, mask, prediction : (X, Y, Z); spacing : voxel size in mm; count : slices a plane.
    The slice with most lesion is among them, and shown first.
    Raises ValueError on other shapes or an unknown plane.
    """
    image = np.asarray(image)
    for name, array in (("image", image), ("mask", mask), ("prediction", prediction)):
        if array is not None and (np.ndim(array) != 3 or np.shape(array) != image.shape):
            raise ValueError(f"the {name} has shape {np.shape(array)}; a volume (X, Y, Z) of the "
                             f"image's shape {image.shape} is needed.")
    unknown = [plane for plane in planes if plane not in AXES]
    if unknown or not planes:
        raise ValueError(f"unknown plane {unknown}: choose from {', '.join(AXES)}.")
    grey = figures.window(image)
    panels = {}
    for plane in planes:
        panels[plane] = _plane_panel(image, mask, prediction, plane, count, spacing, grey,
                                     budget=BUDGET // len(planes))
    words = "Slices of a T1-weighted head; the subject's left is on the left."
    if mask is not None:
        words += " The true lesion is orange with a solid outline."
    if prediction is not None:
        words += " The predicted lesion is blue with a dashed outline."
    return _with_caption(_choice("plane", panels), caption or words)


def _plane_panel(image, mask, prediction, plane: str, count: int, spacing, grey,
                 budget: int) -> ipywidgets.VBox:
    axis = AXES[plane]
    places, start = _chosen_slices(image, mask, axis, count, grey)
    across, up = (spacing[other] for other in range(3) if other != axis)
    pictures, notes = [], []
    for place in places:
        here = tuple(place if other == axis else slice(None) for other in range(3))
        cut = [None if array is None else array[here] for array in (image, mask, prediction)]
        pictures.append(_picture(cut[0], grey, cut[1], cut[2], ENDS[plane], aspect=up / across))
        area = "" if mask is None else f"; lesion {np.count_nonzero(cut[1]) * across * up:.0f} mm²"
        notes.append(f"{plane} slice {place} of {image.shape[axis]}{area}")
    texts = [_figure_page(address, note, note, picture.size)
             for address, note, picture in zip(_embedded(pictures, budget), notes, pictures)]
    labels = [f"{'xyz'[axis]} = {place}" for place in places]
    return _scrubber(f"{plane} slice", labels, texts, start, height=pictures[0].size[1] + 30)


def _chosen_slices(image, mask, axis: int, count: int, grey) -> tuple[list[int], int]:
    """Evenly spaced slices through the head, the one with most lesion among them; where it is."""
    others = tuple(other for other in range(3) if other != axis)
    low, high = grey
    head = np.flatnonzero((image > low + 0.1 * (high - low)).mean(axis=others) > 0.01)
    first, last = (head[0], head[-1]) if head.size else (0, image.shape[axis] - 1)
    places = np.unique(np.linspace(first, last, min(count, last - first + 1)).round().astype(int))
    middle = len(places) // 2
    if mask is not None and np.any(mask):
        areas = np.count_nonzero(mask, axis=others)
        middle = int(np.argmin(np.abs(places - np.argmax(areas))))
        places[middle] = np.argmax(areas)
    return [int(place) for place in places], middle
