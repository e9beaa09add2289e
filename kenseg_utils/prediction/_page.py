"""A finding as one HTML file: picture, numbers, doubts. Nothing in it is fetched from elsewhere."""

from __future__ import annotations

import base64
import html
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from kenseg_utils import artifacts

from . import report
from ._findings import Finding

COLUMNS, ROWS = 4, 3
PIXEL_MM = 1.0
OUTLINE = (230, 97, 0)  # orange, which grey scale and most colour-blind eyes leave alone
_GREYS = 255  # the palette's last colour is the outline's
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff }
svg { width: 100%; height: auto; background: #000 }
svg text { fill: #fff; font: 11px system-ui, sans-serif }
table { border-collapse: collapse }
th, td { padding: .2rem .8rem; border-bottom: 1px solid #ccc; text-align: right }
.warning { border-left: .4rem solid #b30000; padding: .3rem 1rem; background: #fdf0f0 }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616 }
  .warning { background: #331515 } }
"""


def save_page(
    finding: Finding, target: str | os.PathLike, network: str = "", mask_name: str = ""
) -> Path:
    """Write a finding as a page of its own, which any browser opens without a connection.

    `network` says what drew the mask, `mask_name` where it lies. Returns the path.
    Raises ValueError for a target that does not end in .html or cannot be written.
    """
    target = artifacts.checked_target(target, (".html", ".htm"), [finding.scan.path])
    with artifacts.write_aside(target) as partial:
        partial.write_text(page(finding, network, mask_name), encoding="utf-8")
    return target


def page(finding: Finding, network: str = "", mask_name: str = "") -> str:
    """The page's HTML; names are escaped, and its policy forbids it to load anything."""
    name = _safe(finding.scan.path.name)
    spacing = " × ".join(f"{mm:.2f}" for mm in finding.scan.spacing)
    made = [
        f"Network: {_safe(network)}." if network else "",
        f"Mask: {_safe(mask_name)}." if mask_name else "",
        f"Lesion is what has a probability of at least {finding.threshold:g}; pieces below "
        f"{finding.least_ml:g} ml are left out.",
        f"Voxels: {' × '.join(map(str, finding.scan.image.shape))} of {spacing} mm.",
    ]
    doubted = "".join(f"<li>{_safe(_sentence(doubt))}</li>" for doubt in finding.doubts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Lesions in {name}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{name}</h1>
<p class="warning"><strong>Not for patients.</strong> {_safe(report.WARNING)}</p>
<p><strong>{_safe(report.summary(finding.table))}</strong></p>
<p>{_safe(finding.how_sure)}</p>
{f"<h2>What is doubtful</h2><ul>{doubted}</ul>" if doubted else ""}
{overview(finding)}
{_table(finding)}
<h2>How it was made</h2>
<p>{" ".join(part for part in made if part)}</p>
</body>
</html>
"""


def overview(finding: Finding, columns: int = COLUMNS, rows: int = ROWS) -> str:
    """Axial slices with the mask's outline as one SVG, upright, the patient's left on the left.

    They lie evenly over the mask, or over the head where nothing was found. Letters L and R and
    heights in mm are drawn only where the header says which side is which.
    """
    levels = _levels(finding, columns * rows)
    tiles = [_tile(finding, level) for level in levels]
    height, width = tiles[0].shape
    sheet = np.zeros((rows * height, columns * width), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = tile
    known = finding.scan.sides_known
    letters = [
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'
        for number, level in enumerate(levels)
        for x, y, anchor, text in _labels(
            number % columns * width, number // columns * height, width, height, known,
            finding.scan.affine @ [*(np.array(finding.scan.image.shape[:2]) / 2), level, 1],
        )
    ]  # fmt: skip
    where = "the patient's left is on the left" if known else "which side is left is not known"
    what = (
        f"Axial slices of the scan, {where}; what was called lesion has an orange outline."
        if finding.mask.any()
        else f"Axial slices of the scan, {where}; nothing was called lesion."
    )
    picture = base64.b64encode(png(sheet)).decode()
    size = f"{sheet.shape[1]} {sheet.shape[0]}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" '
        f'aria-label="{_safe(what)}"><image width="{sheet.shape[1]}" height="{sheet.shape[0]}" '
        f'href="data:image/png;base64,{picture}"/>{"".join(letters)}</svg><p>{_safe(what)}</p>'
    )


def png(indices: np.ndarray) -> bytes:
    """A picture (height, width) of palette indices as PNG: 0 to 254 are greys, 255 the outline."""
    greys = np.repeat(np.round(np.linspace(0, 255, _GREYS)).astype(np.uint8)[:, None], 3, 1)
    picture = Image.fromarray(indices)
    picture.putpalette(np.concatenate([greys, np.array([OUTLINE], np.uint8)]).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _levels(finding: Finding, count: int) -> list[int]:
    """Which slices are shown: evenly over the mask and a little beyond, else over the head."""
    image = finding.scan.image
    shown = np.flatnonzero(finding.mask.any((0, 1)))
    if shown.size:
        reach = max(1, round(6 / finding.scan.spacing[2]))
        low, high = max(0, shown[0] - reach), min(image.shape[2] - 1, shown[-1] + reach)
    else:
        bright = np.flatnonzero((image > image.mean()).mean((0, 1)) > 0.03)
        low, high = (bright[0], bright[-1]) if bright.size else (0, image.shape[2] - 1)
    return np.round(np.linspace(low, high, count)).astype(int).tolist()


def _tile(finding: Finding, level: int) -> np.ndarray:
    """One slice as palette indices, front up, pixels of `PIXEL_MM`."""
    image, mask = finding.scan.image[:, :, level], finding.mask[:, :, level]
    dark, bright = np.percentile(finding.scan.image[::3, ::3, ::3], (1, 99.5))
    grey = np.clip((image - dark) / max(bright - dark, 1e-9), 0, 1)
    zoom = [mm / PIXEL_MM for mm in finding.scan.spacing[:2]]
    grey = ndimage.zoom(grey, zoom, order=1)
    drawn = ndimage.zoom(mask.astype(np.float32), zoom, order=1) >= 0.5
    outline = ndimage.binary_dilation(drawn) & ~drawn
    indices = np.where(outline, _GREYS, np.round(grey * (_GREYS - 1))).astype(np.uint8)
    return np.flipud(indices.T)


def _labels(left, top, width, height, known, place):
    """x, y, anchor and text of what stands in a tile's corners."""
    if known:
        yield left + 3, top + height // 2, "start", "L"
        yield left + width - 3, top + height // 2, "end", "R"
        yield left + width // 2, top + height - 4, "middle", f"z = {place[2]:.0f} mm"


def _table(finding: Finding) -> str:
    if finding.table.empty:
        return ""
    heads = ("piece", "ml", "share", "side", "longest side (mm)")
    rows = [
        f"<tr><td>{number}</td><td>{row.ml:.2f}</td><td>{row.share:.0%}</td><td>{row.side}</td>"
        f"<td>{row.longest:.0f}</td></tr>"
        for number, row in finding.table.head(10).iterrows()
    ]
    return (
        "<h2>The largest pieces</h2><table><thead><tr>"
        + "".join(f'<th scope="col">{head}</th>' for head in heads)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _safe(text: str) -> str:
    """Escaped for HTML; what is no UTF-8 in a file's name is shown as a question mark."""
    return html.escape(text.encode("utf-8", "replace").decode(), quote=True)
