"""Figures in a page: the drawing is taken, with its words, and opens large in a dialog."""

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure

from kenseg_utils import figures

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import render  # noqa: E402 (a tool of the book's, not of the package)

SCRIPT = (ROOT / "book/_static/book.js").read_text(encoding="utf-8")
CSS = (ROOT / "book/_static/book.css").read_text(encoding="utf-8")
ALT = 'Five panels with a "curve" each, for a < b & c.'


@pytest.fixture(scope="module")
def outputs():
    """What two cells of a notebook hold: a plot's drawing and a slice's pixels."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.display_pub = CapturingDisplayPublisher()
    plot = Figure(figsize=(10, 2.4))
    for axes in plot.subplots(1, 5):
        axes.plot([1, 3, 2])
    figures.show(plot, ALT)
    slice_ = Figure(figsize=(3, 3))
    slice_.subplots().imshow(np.random.default_rng(0).random((20, 20)))
    figures.show(slice_, "A slice of noise, as an image.")
    yield shell.display_pub.outputs
    InteractiveShell.clear_instance()


def test_the_page_takes_the_drawing_and_its_words(outputs, tmp_path):
    cells = [
        {
            "cell_type": "code",
            "execution_count": 1,
            "metadata": {},
            "source": "1",
            "outputs": [{"output_type": "display_data", **output}],
        }
        for output in outputs
    ]
    cells.insert(0, {"cell_type": "markdown", "metadata": {}, "source": "# Title"})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}
    content = {"nbformat": 4, "nbformat_minor": 4, "metadata": kernel, "cells": cells}
    (tmp_path / "index.ipynb").write_text(json.dumps(render._for_page(content)))
    (tmp_path / "conf.py").write_text("extensions = ['myst_nb']\nnb_execution_mode = 'off'\n")
    command = [sys.executable, "-m", "sphinx", "-q", tmp_path, tmp_path / "html"]
    subprocess.run(command, check=True)
    page = (tmp_path / "html/index.html").read_text()
    drawn, pixels = re.findall(r"<img[^>]*_images/[^>]*>", page)
    assert '.svg"' in drawn and "curve" in drawn and "a &lt; b &amp; c" in drawn
    assert '.png"' in pixels and 'alt="A slice of noise, as an image."' in pixels


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Figures</title><style>{css}</style>
<body style="margin:0"><main class="bd-article bd-content">
<p><a href="#x" id="before">before</a></p>
<div class="cell"><div class="cell_output"><img id="plot" alt="{alt}" src="{source}"></div></div>
<figure><a href="#there"><img id="linked" alt="within a link" src="{source}"></a></figure>
<div class="cell_output"><div class="kenseg-viewer"><img id="viewed" alt="in a viewer"
  src="{source}"></div></div>
<p style="height:3000px">words</p></main><script>{script}</script></body></html>"""


@pytest.fixture(params=[(1280, 900), (360, 740)], ids=["desk", "phone"])
def page(request, chromium, outputs):
    drawing = outputs[0]["data"]["image/svg+xml"].encode()
    source = "data:image/svg+xml;base64," + base64.b64encode(drawing).decode()
    wide, high = request.param
    tab = chromium.new_page(viewport={"width": wide, "height": high})
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    words = ALT.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    tab.set_content(PAGE.format(css=CSS, alt=words, source=source, script=SCRIPT))
    tab.wait_for_function("() => [...document.images].every((image) => image.complete)")
    yield tab
    assert not tab.errors
    tab.close()


OPEN = "() => document.querySelector('dialog.kenseg-lightbox').open"


def test_a_figure_opens_at_its_full_size_and_closes_in_each_way(page):
    figure = page.locator("#plot")
    page.locator("#before").focus()
    page.keyboard.press("Tab")
    focused = "() => document.activeElement.querySelector('img')?.id"
    assert page.evaluate(focused) == "plot"
    page.evaluate("() => scrollTo(0, 30)")

    def beside_it():
        page.mouse.click(2, 2)

    def beside_the_picture():
        box = page.locator("dialog.kenseg-lightbox div").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 30)

    ways = [
        lambda: page.keyboard.press("Escape"),
        lambda: page.get_by_role("button", name="Close").click(),
        beside_it,
        beside_the_picture,
    ]
    for number, leave in enumerate(ways):
        assert not page.evaluate(OPEN)
        page.keyboard.press("Enter") if number % 2 == 0 else figure.click()
        assert page.evaluate(OPEN)
        large = page.locator("dialog.kenseg-lightbox img")
        assert large.get_attribute("alt") == ALT
        assert large.bounding_box()["width"] >= 1200 - 1, "as large as it was drawn"
        assert page.evaluate("() => document.scrollingElement.scrollWidth <= innerWidth")
        leave()
        assert not page.evaluate(OPEN)
        assert page.evaluate(focused) == "plot" and page.evaluate("() => scrollY") == 30


def test_it_is_enlarged_and_scrolled_by_keyboard(page):
    page.locator("#plot").click()
    large, box = page.locator("dialog.kenseg-lightbox img"), "dialog.kenseg-lightbox div"
    before = large.bounding_box()["width"]
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert large.bounding_box()["width"] == pytest.approx(1.5 * before, abs=2)
    page.locator(box).focus()
    at = page.evaluate(f"() => document.querySelector('{box}').scrollLeft")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"(at) => document.querySelector('{box}').scrollLeft > at", arg=at)
    for _ in range(9):
        if page.get_by_role("button", name="Larger").is_disabled():
            break
        page.get_by_role("button", name="Larger").click()
    assert large.bounding_box()["width"] == pytest.approx(4 * 1200, abs=2)


def test_pictures_in_links_and_viewers_open_nothing(page):
    for name in ("linked", "viewed"):
        assert not page.locator(f"button:has(#{name})").count()
        page.locator(f"#{name}").click()
        assert not page.evaluate(OPEN)
    assert page.evaluate("() => location.hash") == "#there"


def test_the_figure_keeps_its_place_and_moves_only_for_who_likes_it(page):
    wrapped = page.locator("#plot").bounding_box()
    page.evaluate(
        "() => { const one = document.querySelector('#plot'); one.parentNode.replaceWith(one); }"
    )
    assert page.locator("#plot").bounding_box() == wrapped
    for motion, name in (("no-preference", "kenseg-open"), ("reduce", "none")):
        page.emulate_media(reduced_motion=motion)
        found = page.evaluate(
            "() => { const dialog = document.querySelector('dialog.kenseg-lightbox');"
            "dialog.showModal(); const { animationName } = getComputedStyle(dialog);"
            "dialog.close(); return animationName; }"
        )
        assert found == name
