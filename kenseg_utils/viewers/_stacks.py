"""What the viewers are made of: embedded pictures, and controls that choose among them.

In a static page no Python runs. So every picture that a viewer can show is drawn beforehand and
put into a `Stack`, whose visible child a slider chooses through `jslink`, in the browser alone.
Where ipywidgets is too old for Stack (version 7, as on Colab), a Python callback does the same.

Pictures are small lossy WebP files inside HTML rather than Image widgets, since an Image widget
cannot carry alternative text. Whoever is used to radiologists' pictures mirrors them by a box to
tick, which style sheets alone obey: pictures turn round, and their letters change places.
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
WIDTH = 480  # pixels of a picture


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


def with_caption(viewer: ipywidgets.Widget, caption: str, sided: bool = False) -> ipywidgets.VBox:
    """A viewer above the words that say what it shows, and what mirrors it where it is `sided`."""
    text = f'<p class="kenseg-caption">{html.escape(caption)}</p>'
    inner = [viewer, *([ipywidgets.HTML(_MIRROR)] if sided else []), ipywidgets.HTML(text)]
    return ipywidgets.VBox(inner).add_class("kenseg-viewer")


# `:has` lets the box turn pictures that stand before it, without a script and without a kernel.
_MIRROR = """<style>
.kenseg-sided { display: block; position: relative; width: min(100%, 480px); }
.kenseg-sided + div { min-height: 1.7rem; }
.kenseg-ends { position: absolute; inset: 4px 4px auto; display: flex; color: #fff;
  justify-content: space-between; font: 14px/1.2 sans-serif; pointer-events: none; }
.kenseg-ends span { background: #000; padding: 0 3px; }
.kenseg-mirror, .kenseg-mirror [data-way="radiological"] { display: none; }
@supports selector(:has(*)) {
  .kenseg-mirror { display: block; }
  .kenseg-viewer:has(.kenseg-mirror input:checked) [data-mirrors] img { transform: scaleX(-1); }
  .kenseg-viewer:has(.kenseg-mirror input:checked) [data-mirrors] .kenseg-ends {
    flex-direction: row-reverse; }
  .kenseg-mirror:has(input:checked) [data-way="neurological"] { display: none; }
  .kenseg-mirror:has(input:checked) [data-way="radiological"] { display: inline; }
}
</style>
<label class="kenseg-mirror"><input type="checkbox" autocomplete="off"> Radiological view
<span data-way="neurological">(now neurological: the subject's left is on the left)</span>
<span data-way="radiological">(the subject's left is on the right)</span></label>"""


# --- Pictures ------------------------------------------------------------------------------------


def picture(
    image: np.ndarray,
    grey: tuple[float, float],
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    ends: Sequence[str] = ("L", "R"),
    width: int = WIDTH,
    aspect: float = 1.0,
) -> Image.Image:
    """A slice (X, Y) as an RGB picture `width` pixels wide, masks drawn as in `figures`.

    ends : letters for its upper corners; none where the page writes them.
    """
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
    if not ends:
        return drawn
    pen = ImageDraw.Draw(drawn)
    letters: dict[str, Any] = dict(
        font=ImageFont.load_default(14), fill="white", stroke_width=2, stroke_fill="black"
    )
    pen.text((6, 4), ends[0], **letters)
    pen.text((size[0] - 6, 4), ends[1], anchor="ra", **letters)
    return drawn


def _embedded(pictures: Sequence, budget: int = BUDGET) -> list[str]:
    """Pictures as data addresses, at the best quality whose sum keeps within `budget` bytes."""
    some = pictures[:: max(1, len(pictures) // 12)]
    for quality, scale in ((70, 1), (45, 1), (30, 1), (20, 1), (45, 0.6), (45, 0.3), (45, 0.1)):
        # A few of many say beforehand that all would be too heavy.
        each = sum(len(_address(one, scale, quality)) for one in some) / len(some)
        if len(some) < len(pictures) and each * len(pictures) > 1.1 * budget:
            continue
        addresses = [_address(one, scale, quality) for one in pictures]
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
    ends: Sequence[str] = (),
) -> ipywidgets.VBox:
    """A slider over pictures, each with a line below it that is its alternative text as well.

    ends : letters that the page writes into the pictures' upper corners; L and R can be mirrored.
    """
    mirrors = " data-mirrors" if set(ends) == {"L", "R"} else ""
    letters = "".join(f"<span>{letter}</span>" for letter in ends)
    before = f'<span class="kenseg-sided"{mirrors}>' if ends else ""
    after = f'<span class="kenseg-ends" aria-hidden="true">{letters}</span></span>' if ends else ""
    texts = []
    for address, drawn, note in zip(_embedded(pictures, budget), pictures, notes):
        wide, high = drawn.size
        words = html.escape(note)
        texts.append(
            f'{before}<img src="{address}" alt="{words}" width="{wide}" height="{high}" '
            f'style="max-width:100%;height:auto">{after}<div>{words}</div>'
        )
    return scrubber(name, labels, texts, start, height=pictures[0].size[1] + 30)
