"""The head on the first page: a phantom in 3-D with its lesion and what a network makes of it.

`head.js` holds the volumes at 2 mm, as a script, since a page that is opened from a file may load
scripts and nothing else; the page loads it, and NiiVue, when a reader asks for it. Until then
`poster.jpg` shows the same volumes from the same side. `about.json` is what the caption says.
"""

import base64
import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from kenseg_utils import anatomy, artifacts, figures, metrics, phantom, prediction

VERSION = 1  # raised by hand when what is made here changes
NETWORK = "whole_slices"
# The network was trained on phantoms 0 to 119; of those after them the first with 40 to 90 ml.
SUBJECT = 121
STEP = 2  # mm
ELEVATION = 35  # degrees from which the head is looked down upon, from behind
AZIMUTHS = {"R": 330, "L": 30}  # degrees, 0 from behind, so that left is left; by the lesion's side
FILES = ("about.json", "head.js", "poster.jpg")
PLACE = "<!-- here the build puts the head in 3-D: book/_tools/head_3d.py -->"


@dataclass(frozen=True)
class Volumes:
    """A head, its true lesion and the one that was found, (X, Y, Z) in RAS, uint8, 2 mm."""

    head: np.ndarray
    truth: np.ndarray
    found: np.ndarray | None
    affine: np.ndarray

    @classmethod
    def of(
        cls, image: np.ndarray, mask: np.ndarray, found: np.ndarray | None, affine: np.ndarray
    ) -> "Volumes":
        """From a scan of 1 mm: means of 2 mm, its brightest 0.2 % cut off; masks by majority."""
        coarse = anatomy.block_means(image, (STEP,) * 3)
        grey = np.clip(255 * coarse / (np.percentile(coarse, 99.8) or 1), 0, 255).astype(np.uint8)
        wider = affine @ np.diag([STEP, STEP, STEP, 1.0])
        wider[:3, 3] = affine[:3, :3] @ np.full(3, (STEP - 1) / 2) + affine[:3, 3]
        return cls(grey, _majority(mask), None if found is None else _majority(found), wider)

    @property
    def cut(self) -> int:
        """The axial slice with most lesion: what lies above it is taken off."""
        return int(self.truth.sum((0, 1)).argmax())

    @property
    def side(self) -> str:
        """L or R, whichever half holds most of the lesion."""
        middle = (self.truth.shape[0] - 1) / 2
        return "R" if np.argwhere(self.truth)[:, 0].mean() > middle else "L"


def _majority(mask: np.ndarray) -> np.ndarray:
    return (anatomy.block_means(mask.astype(np.float32), (STEP,) * 3) >= 0.5).astype(np.uint8)


# --- The poster ----------------------------------------------------------------------------------

SIDE, DEPTHS = 480, 140  # pixels; steps along a ray
SEEN = 210  # mm, in each direction
AIR = 40  # of 255: what is darker is no part of the head's outside


def poster(volumes: Volumes, azimuth: float, elevation: float = ELEVATION) -> Image.Image:
    """The opened head, seen from outside, by rays that are all parallel: (480, 480) RGB."""
    across, up, towards = _camera(azimuth, elevation)
    middle = (np.array(volumes.head.shape) - 1) / 2
    # From pixel (row, column, depth) to voxel: rows go down, depth leads away from the reader.
    scale = SEEN / STEP * np.array([1 / SIDE, 1 / SIDE, 1 / DEPTHS])
    matrix = np.stack([-up, across, -towards], axis=1) * scale
    offset = middle - matrix @ np.array([SIDE, SIDE, DEPTHS]) / 2

    def body(volume: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Where each ray meets what is above the level, and whether it does, (SIDE, SIDE)."""
        coarse = matrix * np.array([2, 2, 1])  # every second ray, for the time that it takes
        soft = ndimage.affine_transform(
            volume.astype(np.float32), coarse, offset, (SIDE // 2, SIDE // 2, DEPTHS), order=1
        )
        depth, hit = _first(soft > level)
        wide = ndimage.zoom(np.stack([depth, hit]).astype(np.float32), (1, 2, 2), order=1)
        return wide[0], wide[1] > 0.5

    def tissue(depth: np.ndarray) -> np.ndarray:
        rows, columns = np.indices(depth.shape)
        places = np.stack([rows, columns, depth]).reshape(3, -1)
        found = ndimage.map_coordinates(
            volumes.head.astype(np.float32), matrix @ places + offset[:, None], order=1
        )
        return found.reshape(depth.shape)

    opened = volumes.head.copy()
    opened[:, :, volumes.cut + 1 :] = 0
    depth, hit = body(opened, AIR)
    # Where each ray meets the plane of the cut; what it meets about there is the cut itself.
    rows, columns = np.indices(depth.shape)
    plane = (volumes.cut - offset[2] - matrix[2, 0] * rows - matrix[2, 1] * columns) / matrix[2, 2]
    flat = np.abs(depth - plane) < 4
    # Tissue a little below the skin, where no air is averaged in.
    grey = np.where(flat, tissue(plane), tissue(depth + 2) * _light(depth))
    picture = np.repeat(np.where(hit, grey, 0)[..., None], 3, axis=2)
    for mask, colour, most in (
        (volumes.truth, figures.TRUTH, 0.9),
        (volumes.found, figures.PREDICTION, 0.55),
    ):
        if mask is None:
            continue
        place, there = body(ndimage.gaussian_filter(mask.astype(np.float32), 0.6), 0.4)
        # Through tissue it only shines.
        shown = most * there * np.where(place <= np.where(flat, plane, depth), 1, 0.5)
        tint = 255 * np.array(to_rgb(colour)) * _light(place)[..., None]
        picture += shown[..., None] * (tint - picture)
    drawn = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    _letters(drawn, across, up)
    return drawn


def _camera(azimuth: float, elevation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is right, up and towards the reader of a picture from there, as RAS directions."""
    turn, lift = np.radians([azimuth, elevation])
    towards = np.array([-np.sin(turn) * np.cos(lift), -np.cos(turn) * np.cos(lift), np.sin(lift)])
    across = np.array([np.cos(turn), -np.sin(turn), 0.0])
    return across, np.cross(towards, across), towards


def _first(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each ray first meets a body (its last step if never), and whether it does."""
    hit = inside.any(axis=2)
    return np.where(hit, inside.argmax(axis=2), inside.shape[2] - 1), hit


def _light(depth: np.ndarray) -> np.ndarray:
    """How bright a surface is in a light that shines from the reader, from how steep it is."""
    down, right = np.gradient(ndimage.gaussian_filter(depth.astype(np.float32), 2))
    return 0.35 + 0.65 / np.sqrt(1 + 6 * (down**2 + right**2))


def _letters(drawn: Image.Image, across: np.ndarray, up: np.ndarray) -> None:
    """L and R along the line through the ears, where the page's script puts them, too."""
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(26)
    for letter, away in (("R", 0.46), ("L", -0.46)):
        place = SIDE * (0.5 + away * across[0]), SIDE * (0.5 - away * up[0])
        pen.text(
            place, letter, font=font, fill="white", anchor="mm", stroke_width=2, stroke_fill="black"
        )


# --- What the page gets --------------------------------------------------------------------------


def write(volumes: Volumes, folder: Path, about: dict) -> None:
    """`head.js`, `poster.jpg` and `about.json` in an existing folder."""
    azimuth = AZIMUTHS[volumes.side]
    poster(volumes, azimuth).save(folder / "poster.jpg", quality=88)
    named = {"head": volumes.head, "truth": volumes.truth, "found": volumes.found}
    content = {
        "volumes": {
            name: _nifti(volume, volumes.affine)
            for name, volume in named.items()
            if volume is not None
        },
        "cut": round((volumes.cut + 0.5) / volumes.head.shape[2] - 0.5, 4),
        "azimuth": azimuth,
        "elevation": ELEVATION,
        "colours": {"truth": figures.TRUTH, "found": figures.PREDICTION},
    }
    (folder / "head.js").write_text(
        f"window.kensegHead = {json.dumps(content)};\n", encoding="utf-8"
    )
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _nifti(volume: np.ndarray, affine: np.ndarray) -> str:
    """A volume as .nii.gz in base64; the same bytes whenever it is made."""
    content = nib.Nifti1Image(volume, affine).to_bytes()
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def make(folder: Path) -> None:
    """The phantom, what the recorded network finds in it, and the page's files, in a folder."""
    image, mask, info = phantom.make_subject(SUBJECT)
    kept = prediction.recorded_network(NETWORK)
    found = None if kept is None else prediction.segment_volume(kept[0], image, phantom.AFFINE)
    about = {
        "side": "right" if info["side"] == "R" else "left",
        "lesion_ml": round(info["volume_ml"], 1),
        "found_ml": None
        if found is None
        else round(found.sum() * anatomy.voxel_ml(phantom.AFFINE), 1),
        "dice": None if found is None else round(float(metrics.dice(mask, found)), 2),
    }
    write(Volumes.of(image, mask, found, phantom.AFFINE), folder, about)


def kept(target: Path, work_dir: Path | None = None) -> None:
    """Put the page's files into a folder; made first unless the work folder has them."""
    network = artifacts.results_file(NETWORK, None, ".npz")
    key = artifacts.key(
        version=VERSION,
        phantom=phantom.VERSION,
        subject=SUBJECT,
        network=artifacts.fingerprint(network) if network.exists() else None,
    )
    made = artifacts.build(artifacts.work_dir(work_dir) / f"head-{key}", make)
    shutil.copytree(made, target, dirs_exist_ok=True)


# --- The first page ------------------------------------------------------------------------------


def fill(page: Path, folder: Path, library: Path | None) -> None:
    """Put the head into the staged page, which names what its script may load on a click.

    `library`: NiiVue's script, or None where it was not to be had; then the poster stays.
    ValueError where the page has no place for it, or where the head has not been made.
    """
    text = page.read_text(encoding="utf-8")
    if PLACE not in text:
        raise ValueError(f"{page}: the line {PLACE!r} is missing.")
    lacking = [name for name in FILES if not (folder / name).exists()]
    if lacking:
        raise ValueError(f"{page}: the head in 3-D was not made, {folder} lacks {lacking[0]}.")
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    page.write_text(text.replace(PLACE, _block(about, folder, library)), encoding="utf-8")


def _block(about: dict, folder: Path, library: Path | None) -> str:
    found = about["found_ml"] is not None
    weight = (folder / "head.js").stat().st_size + (library.stat().st_size if library else 0)
    network = (
        ""
        if not found
        else (
            f" In blue what a network of this book finds, {about['found_ml']:g} ml: "
            f"a Dice of {about['dice']:.2f}; where both lie, the colours mix."
        )
    )
    return _HEAD.format(
        alt=(
            "A head, opened from above and seen from behind: on the cut the brain in grey, and in "
            f"its {about['side']} half, in orange, a body that reaches above the cut and below it"
            + (", with another in blue that covers most of it" if found else "")
        ),
        library=library.name if library else "",
        megabytes=f"{weight / 1e6:.1f}",
        network=network,
        side=about["side"],
        lesion=f"{about['lesion_ml']:g}",
        of_found=_OF_FOUND if found else "",
    )


_OF_FOUND = """
    <label><input type="checkbox" checked data-part="found"> the network's (blue)</label>"""
_HEAD = """```{{raw}} html
<figure id="kenseg-head" class="kenseg-try kenseg-head" data-library="{library}">
  <div class="kenseg-stage" data-part="stage"><img src="../_static/head/poster.jpg" width="480"
    height="480" data-part="poster" alt="{alt}"></div>
  <p data-part="ask" hidden><button type="button" class="kenseg-button" data-part="load">Turn this
    head ({megabytes} MB)</button></p>
  <p data-part="message" role="status"></p>
  <noscript><p>Where JavaScript is switched off, as here, this picture stays.</p></noscript>
  <div data-part="controls" hidden>
    <p id="kenseg-head-keys" class="kenseg-caption">Drag the head to turn it, or choose it and use
      the arrow keys.</p>
    <p><label for="kenseg-head-cut">Where it is cut, from the neck to the crown</label>
      <input id="kenseg-head-cut" type="range" min="0" max="100" value="50" data-part="cut"></p>
    <p>Lesion: <label><input type="checkbox" checked data-part="truth"> the true one
      (orange)</label>{of_found}</p>
  </div>
  <figcaption>A synthetic head, opened above the {side} half's old stroke: in orange the lesion
    as it was drawn, {lesion} ml.{network}</figcaption>
</figure>
<script src="../_static/head-3d.js"></script>
```"""
