"""The pictures of the page "Reading a head": drawn from phantom heads when the book is built.

A line such as `<!-- picture: planes -->` in the page becomes a figure with its caption and its
alternative text; the numbers in them are counted here.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from kenseg_utils import anatomy, figures, metrics, phantom, slices

PICTURE = re.compile(r"^<!-- picture: ([\w-]+) -->$", re.M)
VENTRICLES = 94  # an axial slice 22 mm above the template's origin
SKIN_AND_SKULL = 14  # mm
LARGE, SMALL = 5, 3  # phantoms with a lesion of 40 to 90 ml, and of 0.1 to 1 ml


@dataclass(frozen=True)
class Picture:
    """A drawn figure, what stands below it, and what it says to who cannot see it."""

    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True)
class Heads:
    """Two phantom heads (X, Y, Z) in RAS: one with a large old lesion, one with a small one."""

    image: np.ndarray
    mask: np.ndarray
    small_image: np.ndarray
    small_mask: np.ndarray

    @classmethod
    def drawn(cls) -> "Heads":
        """Phantoms `LARGE` and `SMALL`."""
        return cls(*phantom.make_subject(LARGE)[:2], *phantom.make_subject(SMALL)[:2])


def widest(mask: np.ndarray) -> int:
    """The axial slice with most lesion."""
    return int(mask.sum((0, 1)).argmax())


def planes(heads: Heads) -> Picture:
    figure = figures.three_planes(heads.image, heads.mask)
    return Picture(
        figure,
        "One head, cut in three ways. The dotted lines show where the other two cuts lie.",
        "An axial, a coronal and a sagittal slice of a head with a lesion outlined in orange. "
        "L and R mark the person's left and right, on the left and right of the picture; P and A "
        "mark back and front.",
    )


def sides(heads: Heads) -> Picture:
    z = widest(heads.mask)
    image, mask = heads.image[:, :, z], heads.mask[:, :, z]
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    ours, theirs = figure.subplots(1, 2)
    figures.slice_overlay(ours, image, mask, title="neurological, as in this book")
    figures.slice_overlay(
        theirs, image[::-1], mask[::-1], title="radiological, as on the ward", ends=("R", "L")
    )
    side = "left" if np.argwhere(mask)[:, 0].mean() < (image.shape[0] - 1) / 2 else "right"
    return Picture(
        figure,
        f"The same slice twice: the lesion is in the {side} hemisphere in both. Trust the letters, "
        "never the side of the page.",
        "One axial slice drawn twice. In neurological order the letter L stands on the left and "
        f"the {side}-sided lesion on the {side} of the picture; in radiological order both are "
        "mirrored.",
    )


def bare_and_traced(head: np.ndarray, lesion: np.ndarray, title: str) -> Figure:
    """The slice with most lesion twice: as it is, and with the lesion's outline."""
    z = widest(lesion)
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    bare, traced = figure.subplots(1, 2)
    figures.slice_overlay(bare, head[:, :, z], title="the scan")
    figures.slice_overlay(traced, head[:, :, z], lesion[:, :, z], title=title)
    return figure


def scar(heads: Heads) -> Picture:
    volume = heads.mask.sum() / 1000
    return Picture(
        bare_and_traced(heads.image, heads.mask, "with the expert's mask"),
        f"A large old stroke, {volume:.0f} ml: the dead tissue has gone, and fluid fills its "
        "place. Look first at the left picture alone: where would you draw the line?",
        f"Twice the same axial slice. Left, a dark hollow where brain should be; right, the same "
        f"hollow of {volume:.0f} millilitres in all outlined in orange.",
    )


def small(heads: Heads) -> Picture:
    volume = heads.small_mask.sum() / 1000
    return Picture(
        bare_and_traced(heads.small_image, heads.small_mask, "with the mask"),
        f"A small lesion, {volume:.2f} ml: a few drops. About half of the lesions of ATLAS are "
        "below 5 ml.",
        f"Twice the same axial slice. Left, a spot that is hard to tell from its surroundings; "
        f"right, outlined in orange, a lesion of {volume:.2f} millilitres.",
    )


def as_dark(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What lies within the skull and is at least as dark as the middle of the lesion."""
    depth = anatomy.head_depth(image, (1, 1, 1))
    inside = anatomy.brain_hull(image) & (depth > SKIN_AND_SKULL)
    return inside & (image <= np.median(image[mask > 0]))


def mimics(heads: Heads) -> Picture:
    z = widest(heads.mask)
    dark = as_dark(heads.image, heads.mask)
    share = heads.mask[dark].mean()
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    bare, marked = figure.subplots(1, 2)
    image, mask = heads.image[:, :, z], heads.mask[:, :, z]
    figures.slice_overlay(bare, image, mask, title="the lesion")
    figures.slice_overlay(marked, image, None, dark[:, :, z], title="all that is as dark")
    return Picture(
        figure,
        "Everything within the skull that is at least as dark as the middle of the lesion (blue): "
        f"{share:.0%} of it is lesion. The rest is the fluid around and inside the brain.",
        "Twice the same axial slice. Left, the lesion outlined in orange; right, all voxels that "
        "are as dark outlined in blue: besides the lesion the fluid in the ventricles and furrows.",
    )


def marks(heads: Heads) -> Picture:
    """The slice of the small lesion with four things named, each pointed at where it is found."""
    plane = heads.small_image[:, :, VENTRICLES].astype(float)
    figure = Figure(figsize=(7.4, 5), layout="none")
    axes = figure.add_axes((0.2, 0.01, 0.58, 0.98))
    figures.slice_overlay(axes, plane)
    for name, (x, y), (far_x, far_y) in _places(plane):
        axes.annotate(
            name,
            (x, y),
            (far_x, far_y),
            color="black",
            fontsize=10,
            ha="right" if far_x < 0 else "left",
            va="center",
            arrowprops={"arrowstyle": "-|>", "color": figures.YELLOW, "lw": 1.5},
            annotation_clip=False,
        )
    return Picture(
        figure,
        "What the greys mean in a T1-weighted picture.",
        "An axial slice of a head through the ventricles with arrows to four things: white matter, "
        "which is brightest; the cortex around it, which is grey; the fluid of the ventricles, "
        "which is dark; and the skull, a dark ring inside the bright scalp.",
    )


def _places(plane: np.ndarray) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    """What an axial slice through the ventricles shows: name, pixel (x, y), place of the label.

    Each is looked for where the atlas grid has it: the brightest, the darkest, a middle grey.
    """
    smooth = ndimage.gaussian_filter(plane, 2)
    half, (wide, deep) = plane.shape[0] // 2, plane.shape
    far, near = wide + 6, -6

    def least(values: np.ndarray, rows: slice, columns: slice) -> tuple[int, int]:
        x, y = np.unravel_index(values[rows, columns].argmin(), values[rows, columns].shape)
        return int(x) + rows.start, int(y) + columns.start

    white = least(-smooth, slice(half + 15, half + 40), slice(120, 160))
    cortex = least(
        np.abs(smooth - 0.72 * smooth[white]), slice(half + 40, half + 62), slice(60, 100)
    )
    fluid = least(smooth, slice(half - 16, half + 1), slice(100, 150))
    # From outside: the bright scalp, and the skull as the darkest of the next millimetres.
    scalp = int(np.flatnonzero(smooth[:, deep // 2] > smooth[white] / 2)[0])
    skull = scalp + int(smooth[scalp : scalp + 16, deep // 2].argmin()), deep // 2
    return [
        ("white matter", white, (far, 165)),
        ("cortex\n(grey matter)", cortex, (far, 70)),
        ("fluid in\na ventricle", fluid, (near, 165)),
        ("skull", skull, (near, 80)),
    ]


DRAW: dict[str, Callable[[Heads], Picture]] = {
    "planes": planes,
    "greys": marks,
    "sides": sides,
    "scar": scar,
    "small": small,
    "mimics": mimics,
}


def _editor_pixels(heads: Heads, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey values 0 … 255 and truth around the lesion; rows go from top to bottom."""
    z = widest(heads.mask)
    image, mask = heads.image[:, :, z], heads.mask[:, :, z] > 0
    centre = slices.lesion_centre(mask)
    low, high = figures.window(image)
    grey = 255 * np.clip((image - low) / (high - low), 0, 1)
    grey, truth = (
        slices.crop(one, centre, side)[0].T[::-1].astype(np.uint8) for one in (grey, mask)
    )
    return grey, truth


def editor_slice(heads: Heads, path: Path, side: int = 96) -> None:
    """The slice of the page where masks are drawn, and a poster beside it, `<name>.png`.

    As a script, since a page that is opened from a file may load scripts and nothing else.
    """
    grey, truth = _editor_pixels(heads, side)
    content = {
        "wide": grey.shape[1],
        "high": grey.shape[0],
        "grey": base64.b64encode(grey.tobytes()).decode("ascii"),
        "truth": base64.b64encode(truth.tobytes()).decode("ascii"),
    }
    path.write_text(f"window.kensegSlice = {json.dumps(content)};\n", encoding="utf-8")
    _editor_poster(grey, truth > 0).savefig(path.with_suffix(".png"), dpi=110)


def _editor_poster(grey: np.ndarray, truth: np.ndarray) -> Figure:
    """What three of the page's buttons do to the mask and to its scores, for who has no scripts."""
    shifted = np.zeros_like(truth)
    shifted[:, 2:] = truth[:, :-2]
    spot = truth.copy()
    spot[6:10, 6:10] = True
    changed = {
        "a pixel wider": ndimage.binary_dilation(truth),
        "two pixels to the right": shifted,
        "a spot far away": spot,
    }
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, (name, mask) in zip(figure.subplots(1, 3), changed.items()):
        upright = (one[::-1].T for one in (grey, truth, mask))  # x right, y up
        figures.slice_overlay(axes, *upright, grey=(0, 255))
        scores = metrics.dice(truth, mask), metrics.hd95_mm(truth, mask, (1, 1))
        found = metrics.f1_atlas22(truth, mask)
        axes.set_title(
            f"{name}:\nDice {scores[0]:.2f}, HD95 {scores[1]:.1f} mm, F1 {found:.2f}", fontsize=9
        )
    figures.legend(figure)
    return figure


def fill(page: Path, heads: Heads) -> None:
    """Draw what the page asks for beside it, in the folder `_drawn`, and put the figures in."""
    matplotlib.rcParams.update(figures.STYLE)
    folder = page.parent / "_drawn"
    folder.mkdir(exist_ok=True)

    def put(found: re.Match) -> str:
        name = found[1]
        if name not in DRAW:
            raise SystemExit(f"{page.name} wants a picture {name!r}: there is {', '.join(DRAW)}.")
        picture = DRAW[name](heads)
        picture.figure.savefig(folder / f"{name}.png", dpi=110)
        return (
            f":::{{figure}} _drawn/{name}.png\n:alt: {picture.alt}\n:name: head-{name}\n\n"
            f"{picture.caption}\n:::"
        )

    page.write_text(PICTURE.sub(put, page.read_text(encoding="utf-8")), encoding="utf-8")
