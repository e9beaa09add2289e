"""Viewers as plain HTML: all pictures there, one of them seen, worked by keyboard, no manager."""

import copy
import sys

import ipywidgets
import numpy as np
import pytest
from conftest import ROOT
from ipywidgets.embed import embed_data
from test_teaching import Page

from kenseg_utils import viewers

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import plain_viewers  # noqa: E402 (a tool of the book's, not of the package)

SCRIPT = (ROOT / "book" / "_static" / "viewer.js").read_text(encoding="utf-8")


def notebook(widget):
    """An executed notebook that shows a widget, as papermill keeps it."""
    embedded = embed_data(views=[widget], drop_defaults=False)
    (view,) = embedded["view_specs"]
    return {
        "metadata": {"widgets": {plain_viewers.STATE: embedded["manager_state"]}, "kept": 1},
        "cells": [
            {"cell_type": "markdown", "source": "words"},
            {
                "cell_type": "code",
                "outputs": [{"output_type": "display_data", "data": {plain_viewers.VIEW: view}}],
            },
        ],
    }


@pytest.fixture(scope="module")
def browser():
    """A slice browser with three planes, each with a slider and a play button."""
    image = np.random.default_rng(0).random((24, 28, 20))
    return notebook(viewers.slice_browser(image, image > 0.99, count=6))


def drawn(content):
    (output,) = plain_viewers.in_plain_html(content)["cells"][1]["outputs"]
    return output["data"]["text/html"]


def test_all_pictures_are_there_and_one_is_seen(browser):
    before = copy.deepcopy(browser)
    page = Page(drawn(copy.deepcopy(browser)))
    assert before == browser
    pictures = page.all("img")
    assert len(pictures) == 18 and all(len(one["alt"].split()) > 3 for one in pictures)
    assert all(one["width"] and one["height"] for one in pictures), "room is kept for each"
    sliders = [one for one in page.all("input") if one["type"] == "range"]
    assert len(sliders) == 3 and len(page.all("output")) == 3
    buttons = page.all("button")
    assert [one.get("aria-pressed") for one in buttons if "data-place" in one].count("true") == 1
    assert all(one["type"] == "button" for one in buttons)


def test_the_state_is_gone_and_the_rest_is_kept(browser):
    content = plain_viewers.in_plain_html(copy.deepcopy(browser))
    assert content["metadata"] == {"kept": 1} and content["cells"][0]["source"] == "words"


def test_a_widget_without_a_plain_form_stops_the_build():
    with pytest.raises(plain_viewers.UnknownWidget, match="TextModel"):
        plain_viewers.in_plain_html(notebook(ipywidgets.VBox([ipywidgets.Text("?")])))


def test_a_notebook_without_widgets_stays_as_it_is():
    content = {"metadata": {}, "cells": [{"cell_type": "code", "outputs": []}]}
    assert plain_viewers.in_plain_html(content) == content


@pytest.fixture
def page(chromium, browser):
    tab = chromium.new_page()
    text = drawn(copy.deepcopy(browser))
    tab.set_content(f"<html><body>{text}<script>{SCRIPT}</script></body></html>")
    yield tab
    tab.close()


def seen(tab):
    return tab.locator("img:visible").get_attribute("alt")


def test_sliders_buttons_and_play_work_by_keyboard(page):
    assert page.locator("img:visible").count() == 1 and seen(page).startswith("axial slice")
    slider = page.locator("input[type=range]:visible")
    slider.focus()
    page.keyboard.press("Home")
    first = seen(page)
    page.keyboard.press("ArrowRight")
    assert seen(page) != first
    label = page.locator("output:visible").text_content()
    assert label == slider.get_attribute("aria-valuetext") and label.startswith("z = ")
    page.get_by_role("button", name="coronal").focus()
    page.keyboard.press("Enter")
    assert seen(page).startswith("coronal") and page.locator("img:visible").count() == 1
    page.locator("[aria-pressed=true]").get_by_text("coronal").wait_for()


def test_play_walks_on_and_stops(page):
    button = page.locator(".kenseg-play:visible")
    before = seen(page)
    button.click()
    page.wait_for_function(
        "(old) => [...document.images].some((one) => one.offsetParent && one.alt !== old)",
        arg=before,
    )
    assert button.text_content() == "Pause"
    button.click()
    stopped = seen(page)
    page.wait_for_timeout(400)
    assert seen(page) == stopped and button.text_content() == "Play"


def test_without_scripts_a_picture_stays(chromium, browser):
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.set_content(drawn(copy.deepcopy(browser)))
    assert tab.locator("img:visible").count() == 1
    context.close()
