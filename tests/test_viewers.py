"""Viewers move without a kernel: every picture is embedded, every control tied in the browser."""

import base64
import io
import json
import re

import ipywidgets
import numpy as np
import pytest
from ipywidgets.embed import dependency_state
from PIL import Image

from kenseg_utils import viewers


@pytest.fixture(scope="module")
def head():
    """A noisy ball of a head with a lesion off its middle: image, mask."""
    x, y, z = np.indices((60, 72, 54)) - np.array([30, 36, 27]).reshape(3, 1, 1, 1)
    image = ((x / 26) ** 2 + (y / 32) ** 2 + (z / 24) ** 2 < 1) * 100.0
    image += np.random.default_rng(0).normal(0, 8, image.shape) * (image > 0)
    mask = ((x + 10) ** 2 + (y - 5) ** 2 + (z - 8) ** 2 < 36)
    return image.astype("float32"), mask.astype("uint8")


def walk(widget):
    """A widget and everything below it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def of_kind(widget, kind):
    return [part for part in walk(widget) if type(part) is kind]


def state(widget):
    """What a page gets: {model id: its model's name and state}, links included."""
    return dependency_state([widget])


def links(widget):
    """The browser-side links, as (source's model, trait, target's model, trait)."""
    models = state(widget)

    def end(reference, trait):
        return models[reference.removeprefix("IPY_MODEL_")]["model_name"], trait
    return sorted((*end(*model["state"]["source"]), *end(*model["state"]["target"]))
                  for model in models.values() if model["model_name"] == "LinkModel")


def pictures(widget):
    """The embedded pictures, decoded: proves that each is a whole picture."""
    codes = [code for page in of_kind(widget, ipywidgets.HTML)
             for code in re.findall(r'src="data:image/webp;base64,([^"]+)"', page.value)]
    return [Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB") for code in codes]


def embedded_bytes(widget):
    return len(json.dumps(state(widget)))


def test_slice_browser_ties_planes_and_slices_in_the_browser(head):
    viewer = viewers.slice_browser(*head, count=9)
    buttons, = of_kind(viewer, ipywidgets.ToggleButtons)
    outer, *inner = of_kind(viewer, ipywidgets.Stack)
    assert buttons.options == ("axial", "coronal", "sagittal")
    assert [len(stack.children) for stack in (outer, *inner)] == [3, 9, 9, 9]
    sliders = of_kind(viewer, ipywidgets.SelectionSlider)
    assert len(sliders) == len(of_kind(viewer, ipywidgets.Play)) == 3
    assert links(viewer) == (
        3 * [("PlayModel", "value", "SelectionSliderModel", "index")]
        + 3 * [("SelectionSliderModel", "index", "StackModel", "selected_index")]
        + [("ToggleButtonsModel", "index", "StackModel", "selected_index")])


def test_slice_browser_opens_at_the_largest_lesion(head):
    image, mask = head
    viewer = viewers.slice_browser(image, mask, planes=("axial",), count=7)
    slider, = of_kind(viewer, ipywidgets.SelectionSlider)
    largest = np.argmax(mask.sum(axis=(0, 1)))
    assert slider.label == f"z = {largest}"
    page = of_kind(viewer, ipywidgets.Stack)[0].children[slider.index].value
    area = mask[:, :, largest].sum()
    assert f'alt="axial slice {largest} of 54; lesion {area} mm²"' in page


def test_slice_browser_draws_what_is_there(head):
    image, mask = head
    viewer = viewers.slice_browser(image, mask, planes=("axial",), count=7)
    drawn = pictures(viewer)
    assert len(drawn) == 7
    assert {picture.size for picture in drawn} == {(300, 360)}
    shown = of_kind(viewer, ipywidgets.SelectionSlider)[0].index
    pixels = np.asarray(drawn[shown], dtype=int)
    orange = (pixels[..., 0] - pixels[..., 2]) > 60
    rows, columns = np.nonzero(orange)
    # The lesion lies left of the middle (x = 20 of 60) and in the front half (y = 41 of 72).
    assert abs(columns.mean() / 300 - 20.5 / 60) < 0.02
    assert abs(1 - rows.mean() / 360 - 41.5 / 72) < 0.02


def test_slice_browser_without_mask_draws_no_colour(head):
    drawn = pictures(viewers.slice_browser(head[0], planes=("coronal",), count=3))
    pixels = np.asarray(drawn[1], dtype=int)
    assert np.abs(pixels[..., 0] - pixels[..., 2]).max() < 12


def test_slice_browser_keeps_to_its_budget_on_the_hardest_volume():
    noise = np.random.default_rng(0).uniform(0, 1, (150, 180, 150)).astype("float32")
    viewer = viewers.slice_browser(noise)
    assert len(pictures(viewer)) == 72
    assert embedded_bytes(viewer) <= viewers.BUDGET + 40_000  # the words beside the pictures


@pytest.mark.parametrize("change, message", [
    (dict(image=np.zeros((4, 4))), "volume"), (dict(mask=np.zeros((2, 2, 2))), "mask"),
    (dict(planes=("oblique",)), "oblique")])
def test_slice_browser_says_what_is_wrong(head, change, message):
    with pytest.raises(ValueError, match=message):
        viewers.slice_browser(**{"image": head[0], "mask": head[1], **change})


def test_without_stack_python_changes_the_picture(head, monkeypatch):
    """ipywidgets 7, as on Colab, has no Stack."""
    monkeypatch.delattr(ipywidgets, "Stack")
    viewer = viewers.slice_browser(*head, count=5)
    assert not [part for part in walk(viewer) if type(part).__name__ == "Stack"]
    slider = of_kind(viewer, ipywidgets.SelectionSlider)[0]
    before = pictures(viewer)[0].tobytes()
    slider.index = 0
    assert pictures(viewer)[0].tobytes() != before
    of_kind(viewer, ipywidgets.ToggleButtons)[0].index = 2
    assert "sagittal slice" in of_kind(viewer, ipywidgets.HTML)[0].value


def test_a_viewer_explains_itself_in_escaped_words(head):
    viewer = viewers.slice_browser(head[0], count=2, planes=("axial",), caption="a <b> & c")
    caption = of_kind(viewer, ipywidgets.HTML)[-1].value
    assert "a &lt;b&gt; &amp; c" in caption
