"""Formulas are drawn when a page is built: every one of the book, and never half."""

import json
import re
import sys

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

sys.path.insert(0, str(ROOT / "book/_ext"))
from formulas import drawn  # noqa: E402

BETWEEN = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+)\$", re.S)


def texts():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                yield path.stem, re.sub(r"`[^`]*`|```.*?```", "", "".join(cell["source"]))


FORMULAS = [
    (name, block or inline, bool(inline))
    for name, text in texts()
    for block, inline in BETWEEN.findall(text)
]


def test_every_formula_of_the_book_is_drawn_and_can_be_read_aloud():
    assert len(FORMULAS) > 80
    for name, tex, inline in FORMULAS:
        page = BeautifulSoup(drawn(tex.strip(), inline), "html.parser")
        picture, spoken = page.svg, page.math
        assert picture["aria-hidden"] == "true" and picture.path, (name, tex)
        assert spoken["display"] == ("inline" if inline else "block"), (name, tex)
        # TeX that is not understood is set as its own name.
        assert "\\" not in spoken.get_text(), (name, tex)


def test_a_drawing_takes_the_colour_and_the_size_of_its_text():
    picture = BeautifulSoup(drawn(r"\frac{a}{b}", True), "html.parser").svg
    colours = {one.get("fill") or one.get("stroke") for one in picture.find_all(["path", "rect"])}
    assert colours == {"currentColor"}
    assert re.fullmatch(r"width:[\d.]+em;vertical-align:-[\d.]+em", picture["style"])


def test_a_formula_stands_on_its_line():
    """What hangs below the line hangs lower: g below x, a fraction below both."""
    below = [
        float(re.search(r"vertical-align:(-?[\d.]+)em", drawn(tex, True))[1])
        for tex in (r"\frac{x}{y}", "g", "x")
    ]
    assert below[0] < below[1] < below[2] <= 0


@pytest.mark.parametrize("tex", [r"\frac{a}{", r"\begin{cases} a", ""])
def test_what_cannot_be_drawn_is_named(tex):
    with pytest.raises(ValueError, match=re.escape(repr(tex))):
        drawn(tex, True)


def test_pages_hold_drawings_in_place_of_tex(html):
    for name, count in (("03_residual_and_ken_blocks", 40), ("06_dice_evaluation", 6)):
        page = BeautifulSoup((html / f"notebooks/{name}.html").read_text(), "html.parser")
        formulas = page.select("article .math")
        assert len(formulas) >= count and all(one.svg and one.math for one in formulas)
