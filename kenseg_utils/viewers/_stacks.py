"""What the viewers are made of: embedded pictures, and controls that choose among them.

In a static page no Python runs. So every picture that a viewer can show is drawn beforehand and
put into a `Stack`, whose visible child a slider chooses through `jslink`, in the browser alone.
Where ipywidgets is too old for Stack (version 7, as on Colab), a Python callback does the same.

Pictures are small lossy WebP files inside HTML rather than Image widgets, since an Image widget
cannot carry alternative text.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from kenseg_utils.figures import PREDICTION, TRUTH

BUDGET = 600_000  # bytes of embedded pictures in one viewer, base64 included


# --- The moving parts ----------------------------------------------------------------------------


def _linked(
    chooser: ipywidgets.Widget,
    children: Sequence[ipywidgets.Widget],
    layout: ipywidgets.Layout | None = None,
) -> ipywidgets.Widget:
    """A container that shows the child at `chooser.index`, in the browser where it can."""
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
    return [first] + [
        ipywidgets.HTML(text, layout=first.layout, style=first.style) for text in texts[1:]
    ]


def scrubber(
    name: str,
    labels: Sequence[str],
    texts: Sequence[str],
    start: int = 0,
    height: int | None = None,
    play: bool = True,
) -> ipywidgets.VBox:
    """A slider over `labels` with a play button, above the page of `texts` it points to."""
    if len(texts) == 1:  # a slider needs somewhere to go
        return ipywidgets.VBox(_pages(texts))
    slider = ipywidgets.SelectionSlider(
        options=[(label, place) for place, label in enumerate(labels)],
        index=start,
        description=name,
        layout=ipywidgets.Layout(flex="1 1 240px", max_width="420px"),
        style={"description_width": "initial"},
    )
    _explained(slider)
    controls = [slider]
    if play and len(labels) > 4:
        button = ipywidgets.Play(
            value=start,
            min=0,
            max=len(labels) - 1,
            interval=250,
            show_repeat=False,
            layout=ipywidgets.Layout(flex="0 0 auto"),
        )
        slider.play = ipywidgets.jslink((button, "value"), (slider, "index"))
        controls.insert(0, button)
    # A fixed least height keeps the page from jumping while one picture replaces another.
    layout = ipywidgets.Layout(min_height=f"{height}px" if height else None)
    row = ipywidgets.Layout(flex_flow="row wrap", align_items="center", width="100%")
    return ipywidgets.VBox(
        [ipywidgets.HBox(controls, layout=row), _linked(slider, _pages(texts), layout)]
    )


def choice(name: str, panels: dict[str, ipywidgets.Widget]) -> ipywidgets.Widget:
    """Buttons that choose one of several named panels; a single panel needs no buttons."""
    if len(panels) == 1:
        return next(iter(panels.values()))
    buttons = ipywidgets.ToggleButtons(
        options=list(panels),
        index=0,
        description=name,
        style={"button_width": "auto", "description_width": "initial"},
    )
    _explained(buttons)
    return ipywidgets.VBox([buttons, _linked(buttons, list(panels.values()))])


def _explained(control: ipywidgets.Widget) -> None:
    """Set the tooltip, which ipywidgets 8 otherwise fills with the word "null"."""
    if hasattr(control, "tooltip"):
        control.tooltip = control.description


def with_caption(viewer: ipywidgets.Widget, caption: str) -> ipywidgets.VBox:
    """A viewer above the words that say what it shows."""
    text = f'<p class="kenseg-caption">{html.escape(caption)}</p>'
    return ipywidgets.VBox([viewer, ipywidgets.HTML(text)]).add_class("kenseg-viewer")


# --- Pictures ------------------------------------------------------------------------------------


def picture(
    image: np.ndarray,
    grey: tuple[float, float],
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    ends: Sequence[str] = ("L", "R"),
    width: int = 300,
    aspect: float = 1.0,
) -> Image.Image:
    """A slice (X, Y) as an RGB picture `width` pixels wide, masks drawn as in `figures`."""
    low, high = grey
    values = np.nan_to_num(np.asarray(image, dtype="float32"), nan=low)
    levels = (255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)
    size = (width, round(width * image.shape[1] / image.shape[0] * aspect))
    resized = Image.fromarray(levels.T[::-1]).resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(resized.convert("RGB"), dtype="float32").copy()
    dashes = np.add.outer(np.arange(size[1]), np.arange(size[0])) // 5 % 2 == 0
    for mask, colour, line in ((truth, TRUTH, True), (prediction, PREDICTION, dashes)):
        if mask is not None and np.any(mask):
            bits = Image.fromarray((255 * (np.asarray(mask) != 0)).astype(np.uint8).T[::-1])
            inside = np.asarray(bits.resize(size, Image.Resampling.NEAREST)) > 0
            outline = inside & ~ndimage.binary_erosion(inside, iterations=2) & line
            tint = 255 * np.array(to_rgb(colour))
            pixels[inside] = 0.8 * pixels[inside] + 0.2 * tint
            pixels[outline] = tint
    drawn = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    letters: dict[str, Any] = dict(
        font=ImageFont.load_default(14), fill="white", stroke_width=2, stroke_fill="black"
    )
    pen.text((6, 4), ends[0], **letters)
    pen.text((size[0] - 6, 4), ends[1], anchor="ra", **letters)
    return drawn


def _embedded(pictures: Sequence, budget: int = BUDGET) -> list[str]:
    """Pictures as data addresses, at the best quality whose sum keeps within `budget` bytes."""
    for quality, scale in ((70, 1), (45, 1), (45, 0.6), (45, 0.3), (45, 0.1)):
        addresses = [_address(each, scale, quality) for each in pictures]
        if sum(map(len, addresses)) <= budget:
            return addresses
    raise ValueError(f"{len(pictures)} pictures do not fit into {budget} bytes: show fewer.")


def _address(drawn: Image.Image, scale: float, quality: int) -> str:
    buffer = io.BytesIO()
    if scale < 1:
        drawn = drawn.resize([round(scale * side) for side in drawn.size])
    drawn.save(buffer, "WEBP", quality=quality, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def pictured(
    name: str,
    labels: Sequence[str],
    pictures: Sequence,
    notes: Sequence[str],
    start: int = 0,
    budget: int = BUDGET,
) -> ipywidgets.VBox:
    """A slider over pictures, each with a line below it that is its alternative text as well."""
    texts = []
    for address, drawn, note in zip(_embedded(pictures, budget), pictures, notes):
        wide, high = drawn.size
        words = html.escape(note)
        texts.append(
            f'<img src="{address}" alt="{words}" width="{wide}" height="{high}" '
            f'style="max-width:100%;height:auto"><div>{words}</div>'
        )
    return scrubber(name, labels, texts, start, height=pictures[0].size[1] + 30)
