"""The page where masks are drawn: its scores are the package's, and it works without a mouse."""

import json
import re
import sys

import numpy as np
import pytest
from conftest import ROOT, bare_page

from kenseg_utils import metrics

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import first_look  # noqa: E402 (a tool of the book's, not of the package)

SCRIPT = (ROOT / "book/_static/lesion-editor.js").read_text(encoding="utf-8")
BODY = re.search(r"```\{raw\} html\n(.+?)```", (ROOT / "book/lesion-editor.md").read_text(), re.S)[
    1
]


@pytest.fixture(scope="module")
def heads():
    image = np.random.default_rng(0).random((120, 130, 4)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[50:70, 60:75, 2] = 1
    return first_look.Heads(image, mask, image, mask)


@pytest.fixture(scope="module")
def written(tmp_path_factory, heads):
    """The script with the slice, cut from a made-up head; its poster lies beside it."""
    path = tmp_path_factory.mktemp("editor") / "slice.js"
    first_look.editor_slice(heads, path)
    return path


@pytest.fixture
def page(chromium, written):
    body = re.sub(r"<script.*?</script>", "", BODY)
    script = written.read_text(encoding="utf-8") + SCRIPT
    html = f"<html><body>{body}<script>{script}</script></body></html>"
    with bare_page(chromium, html) as tab:
        yield tab


def now(page):
    return page.evaluate("() => document.getElementById('kenseg-editor').kensegNow")


def test_the_scores_are_the_packages_on_random_masks(page):
    draw = np.random.default_rng(3)
    cases = [
        (draw.random((12, 17)) < a, draw.random((12, 17)) < b)
        for a, b in draw.uniform(0, 0.6, (25, 2))
    ]
    empty, block = np.zeros((12, 17), bool), np.zeros((12, 17), bool)
    block[3:8, 4:9] = True
    for truth, mask in [*cases, (block, empty), (empty, block), (empty, empty), (block, block)]:
        found = page.evaluate(
            "([truth, mask, wide]) => window.kensegScores(truth, mask, wide)",
            [truth.astype(int).ravel().tolist(), mask.astype(int).ravel().tolist(), 17],
        )
        assert found["dice"] == pytest.approx(metrics.dice(truth, mask))
        assert found["iou"] == pytest.approx(metrics.iou(truth, mask))
        assert found["f1"] == pytest.approx(metrics.f1_atlas22(truth, mask))
        wanted = metrics.hd95_mm(truth, mask, (1, 1))
        assert found["hd95"] == pytest.approx(wanted, nan_ok=True)


def test_it_begins_with_the_experts_mask_and_every_button_does_something(page):
    assert now(page)["dice"] == 1 and now(page)["hd95"] == 0 and now(page)["f1"] == 1
    seen = {}
    for name in ("A pixel wider", "A pixel narrower", "Two pixels to the right", "A spot far away"):
        page.get_by_role("button", name="The expert's mask again").click()
        page.get_by_role("button", name=name).click()
        seen[name] = now(page)
    assert all(one["dice"] < 1 for one in seen.values())
    spot, wider = seen["A spot far away"], seen["A pixel wider"]
    assert spot["invented"] == 1 and spot["f1"] < 1 and wider["f1"] == 1
    assert wider["hd95"] == 1 and wider["dice"] < spot["dice"]
    page.get_by_role("button", name="Empty").click()
    assert page.locator("[data-part=hd95]").text_content() == "none: a mask is empty"


def test_the_keyboard_and_the_mouse_paint_and_erase(page):
    canvas = page.locator("canvas")
    page.get_by_role("button", name="Empty").click()
    canvas.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    painted = now(page)
    assert painted["found"] + painted["invented"] == 1
    assert "Dice" in canvas.get_attribute("aria-label")
    page.get_by_label("Erase").check()
    page.get_by_label("Size").fill("6")
    canvas.focus()
    page.keyboard.press("Enter")
    assert now(page)["found"] + now(page)["invented"] == 0
    page.get_by_label("Paint").check()
    canvas.click(position={"x": 30, "y": 30})
    assert now(page)["invented"] == 1


def test_the_slice_holds_the_lesion(written):
    content = json.loads(written.read_text().removeprefix("window.kensegSlice = ").rstrip(";\n"))
    assert content["wide"] == content["high"] == 96


def test_without_scripts_there_is_a_poster_with_the_scores(heads, written):
    grey, truth = first_look._editor_pixels(heads, 96)
    poster = first_look._editor_poster(grey, truth > 0)
    spot = truth.astype(bool)
    spot[6:10, 6:10] = True
    dice = metrics.dice(truth > 0, spot)
    assert f"a spot far away:\nDice {dice:.2f}" in poster.axes[2].get_title()
    width, height = re.search(r'editor-slice.png" width="(\d+)" height="(\d+)"', BODY).groups()
    assert (int(width), int(height)) == tuple(round(110 * x) for x in poster.get_size_inches())
    assert written.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
