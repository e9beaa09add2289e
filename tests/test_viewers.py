"""Viewers move without a kernel: every picture is embedded, every control tied in the browser."""

import base64
import html
import io
import json
import re

import ipywidgets
import numpy as np
import pytest
from ipywidgets.embed import dependency_state
from PIL import Image

from kenseg_utils import figures, slices, viewers
from kenseg_utils.viewers import _viewers


@pytest.fixture(scope="module")
def head():
    """A noisy ball of a head with a lesion off its middle: image, mask."""
    x, y, z = np.indices((60, 72, 54)) - np.array([30, 36, 27]).reshape(3, 1, 1, 1)
    image = ((x / 26) ** 2 + (y / 32) ** 2 + (z / 24) ** 2 < 1) * 100.0
    image += np.random.default_rng(0).normal(0, 8, image.shape) * (image > 0)
    mask = (x + 10) ** 2 + (y - 5) ** 2 + (z - 8) ** 2 < 36
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

    return sorted(
        (*end(*model["state"]["source"]), *end(*model["state"]["target"]))
        for model in models.values()
        if model["model_name"] == "LinkModel"
    )


def pictures(widget):
    """The embedded pictures, decoded: proves that each is a whole picture."""
    codes = [
        code
        for page in of_kind(widget, ipywidgets.HTML)
        for code in re.findall(r'src="data:image/webp;base64,([^"]+)"', page.value)
    ]
    return [Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB") for code in codes]


def embedded_bytes(widget):
    return len(json.dumps(state(widget)))


def test_slice_browser_ties_planes_and_slices_in_the_browser(head):
    viewer = viewers.slice_browser(*head, count=9)
    (buttons,) = of_kind(viewer, ipywidgets.ToggleButtons)
    outer, *inner = of_kind(viewer, ipywidgets.Stack)
    assert buttons.options == ("axial", "coronal", "sagittal")
    assert [len(stack.children) for stack in (outer, *inner)] == [3, 9, 9, 9]
    sliders = of_kind(viewer, ipywidgets.SelectionSlider)
    assert len(sliders) == len(of_kind(viewer, ipywidgets.Play)) == 3
    assert links(viewer) == (
        3 * [("PlayModel", "value", "SelectionSliderModel", "index")]
        + 3 * [("SelectionSliderModel", "index", "StackModel", "selected_index")]
        + [("ToggleButtonsModel", "index", "StackModel", "selected_index")]
    )


def test_slice_browser_opens_at_the_largest_lesion(head):
    image, mask = head
    viewer = viewers.slice_browser(image, mask, planes=("axial",), count=7)
    (slider,) = of_kind(viewer, ipywidgets.SelectionSlider)
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
    assert {picture.size for picture in drawn} == {(480, 576)}
    shown = of_kind(viewer, ipywidgets.SelectionSlider)[0].index
    pixels = np.asarray(drawn[shown], dtype=int)
    orange = (pixels[..., 0] - pixels[..., 2]) > 60
    rows, columns = np.nonzero(orange)
    # The lesion lies left of the middle (x = 20 of 60) and in the front half (y = 41 of 72).
    assert abs(columns.mean() / 480 - 20.5 / 60) < 0.02
    assert abs(1 - rows.mean() / 576 - 41.5 / 72) < 0.02


def test_slice_browser_without_mask_draws_no_colour(head):
    drawn = pictures(viewers.slice_browser(head[0], planes=("coronal",), count=3))
    pixels = np.asarray(drawn[1], dtype=int)
    assert np.abs(pixels[..., 0] - pixels[..., 2]).max() < 12


def places(viewer):
    """The numbers of the slices behind each slider."""
    return [
        [int(label.split(" = ")[1]) for label, _ in slider.options]
        for slider in of_kind(viewer, ipywidgets.SelectionSlider)
    ]


@pytest.mark.parametrize("shift", [0, 1])
def test_slice_browser_shows_every_second_slice_and_the_largest_lesion(head, shift):
    image, mask = (np.roll(array, shift, axis=2) for array in head)
    (shown,) = places(viewers.slice_browser(image, mask, planes=("axial",)))
    assert set(np.diff(shown)) == {2} and np.argmax(mask.sum((0, 1))) in shown
    inside = np.flatnonzero((image > 20).mean((0, 1)) > 0.02)
    assert shown[0] <= inside[0] + 1 and shown[-1] >= inside[-1] - 1
    (bare,) = places(viewers.slice_browser(image, planes=("axial",)))
    assert set(np.diff(bare)) == {2} and len(bare) >= len(shown) - 1


def test_slice_browser_keeps_to_its_budget_on_the_hardest_volume():
    noise = np.random.default_rng(0).uniform(0, 1, (100, 120, 100)).astype("float32")
    viewer = viewers.slice_browser(noise)
    assert len(pictures(viewer)) == 160
    words = 160 * 700  # beside the pictures
    assert embedded_bytes(viewer) <= _viewers.SLICES_BUDGET + words


def test_left_and_right_change_places_at_a_tick(head, chromium):
    """In the page, where nothing runs but its style sheets; front and back stay."""
    viewer = viewers.slice_browser(*head, count=3)
    parts = [part.value for part in of_kind(viewer, ipywidgets.HTML)]
    tab = chromium.new_page()
    tab.set_content(f'<div class="kenseg-viewer">{"".join(parts)}</div>')
    axial, sagittal = (
        tab.locator(f'.kenseg-sided:has([alt^="{plane}"]:not([alt$=" 0 mm²"]))').first
        for plane in ("axial", "sagittal")
    )

    def seen(picture):
        """Its letters from left to right, and how bright its left half is next to its right."""
        letters = picture.locator(".kenseg-ends span")
        order = sorted(
            (letters.nth(k).bounding_box()["x"], letters.nth(k).text_content()) for k in (0, 1)
        )
        drawn = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("RGB"), float)
        orange = (drawn[..., 0] - drawn[..., 2] > 60).any(axis=0)
        return "".join(letter for _, letter in order), np.flatnonzero(orange).mean() / orange.size

    (axial_letters, before), side = seen(axial), seen(sagittal)
    assert axial_letters == "LR" and before < 0.45 and side[0] == "PA"
    box = tab.get_by_role("checkbox", name="Radiological view")
    assert "is on the left)" in tab.locator(".kenseg-mirror").inner_text()
    box.focus()
    tab.keyboard.press("Space")
    letters, after = seen(axial)
    assert letters == "RL" and after == pytest.approx(1 - before, abs=0.01)
    assert seen(sagittal) == side
    assert "is on the right)" in tab.locator(".kenseg-mirror").inner_text()
    tab.close()


def test_only_pictures_with_sides_can_be_mirrored(cut):
    image, mask, soft = cut
    sided = [
        viewers.threshold_slider(image, mask, soft),
        viewers.strength_slider("noise", ("0", "1"), [image] * 2, mask, [mask] * 2),
        viewers.best_to_worst([image] * 2, [mask] * 2, [mask] * 2, [0.5, 1]),
    ]
    for viewer in sided:
        values = [part.value for part in of_kind(viewer, ipywidgets.HTML)]
        assert sum("kenseg-mirror" in value for value in values) == 1
        assert all("data-mirrors" in value for value in values if "<img" in value)
    for viewer in (
        viewers.crop_explorer(image, mask, sizes=(16, 32)),
        viewers.slice_browser(image[..., None].repeat(9, 2), planes=("sagittal",), count=3),
    ):
        text = "".join(part.value for part in of_kind(viewer, ipywidgets.HTML))
        assert "kenseg-mirror" not in text and "data-mirrors" not in text


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(image=np.zeros((4, 4))), "volume"),
        (dict(mask=np.zeros((2, 2, 2))), "mask"),
        (dict(planes=("oblique",)), "oblique"),
    ],
)
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


# --- The other viewers ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cut(head):
    """A slice, its mask, and a soft map that is 0.9 on the mask and 0.3 on a band beside it."""
    image, mask = (array[:, :, 35] for array in head)
    soft = np.where(mask, 0.9, 0.0)
    soft[40:45, 20:30] = 0.3
    return image, mask, soft


def notes(widget):
    """The line below each picture, in the order of the slider."""
    return [
        html.unescape(re.search(r"<div>([^<]*)</div>", page.value).group(1))
        for page in of_kind(widget, ipywidgets.HTML)
        if "<img" in page.value
    ]


def test_every_picture_carries_its_line_as_alternative_text(cut, head):
    image, mask, soft = cut
    for viewer in (
        viewers.threshold_slider(image, mask, soft),
        viewers.crop_explorer(image, mask, sizes=(16, 32)),
        viewers.slice_browser(*head, count=2),
    ):
        pages = [page.value for page in of_kind(viewer, ipywidgets.HTML) if "<img" in page.value]
        assert pages
        for page in pages:
            alt, line = re.search(r'alt="([^"]+)".*<div>([^<]*)</div>', page).groups()
            assert alt == line and len(alt.split()) >= 4
        caption = of_kind(viewer, ipywidgets.HTML)[-1].value
        assert "kenseg-caption" in caption and len(caption.split()) > 10


def test_strength_slider_tells_the_dice_at_each_step(cut):
    image, mask, _ = cut
    found = [mask, np.zeros_like(mask)]
    viewer = viewers.strength_slider("noise", ("0", "0.4"), [image, image[::-1]], mask, found)
    lesion = int(mask.sum())
    assert notes(viewer) == [
        f"noise 0: Dice 1.00, {lesion} pixels called lesion, {lesion} are lesion",
        f"noise 0.4: Dice 0.00, 0 pixels called lesion, {lesion} are lesion",
    ]
    (slider,) = of_kind(viewer, ipywidgets.SelectionSlider)
    assert slider.label == "0"
    with pytest.raises(ValueError, match="one shape"):
        viewers.strength_slider("noise", ("0",), [image], mask[1:], [mask])
    with pytest.raises(ValueError, match="labels"):
        viewers.strength_slider("noise", ("0",), [image], mask, found)


def test_threshold_slider_tells_the_dice_at_each_threshold(cut):
    image, mask, soft = cut
    viewer = viewers.threshold_slider(image, mask, soft, thresholds=(0.2, 0.5, 0.9, 0.95))
    lesion = int(mask.sum())
    at_low = 2 * lesion / (2 * lesion + 50)
    assert notes(viewer) == [
        f"threshold 0.20: Dice {at_low:.2f}, {lesion + 50} pixels called lesion, "
        f"{lesion} are lesion",
        f"threshold 0.50: Dice 1.00, {lesion} pixels called lesion, {lesion} are lesion",
        f"threshold 0.90: Dice 1.00, {lesion} pixels called lesion, {lesion} are lesion",
        f"threshold 0.95: Dice 0.00, 0 pixels called lesion, {lesion} are lesion",
    ]
    (slider,) = of_kind(viewer, ipywidgets.SelectionSlider)
    assert slider.label == "0.50"
    low, high = (np.asarray(drawn, dtype=int) for drawn in pictures(viewer)[:2])
    blue = (low[..., 2] - low[..., 0] > 60) & ~(high[..., 2] - high[..., 0] > 60)
    assert blue.sum() > 50  # the band's outline, gone at the higher threshold
    with pytest.raises(ValueError, match="one shape"):
        viewers.threshold_slider(image, mask, soft[1:])


def test_crop_explorer_shows_the_windows_of_the_package(cut):
    image, mask, _ = cut
    viewer = viewers.crop_explorer(image, mask, sizes=(16, 24, 60), multiple=16)
    found = notes(viewer)
    expected = []
    for centre in (slices.lesion_centre(mask), (29.5, 35.5)):
        for size, side in ((16, 16), (24, 32), (60, 64)):
            inside = slices.crop(mask, centre, size)[0].sum() / mask.sum()
            expected.append(
                f"{size}×{size} pixels, padded to {side}×{side}; {inside:.0%} of the lesion inside"
            )
    assert found == expected
    assert found[0].endswith("100% of the lesion inside") and not found[3].endswith(
        "100% of the lesion inside"
    )
    assert of_kind(viewer, ipywidgets.ToggleButtons)[0].options[0].startswith("around the true")
    padded, unpadded = (np.asarray(pictures(viewer)[k], dtype=int) for k in (1, 0))
    yellow = lambda pixels: ((pixels[..., 0] > 200) & (pixels[..., 2] < 120)).mean()  # noqa: E731
    assert yellow(padded) > 0.15 > 0.02 > yellow(unpadded)


def test_crop_explorer_without_lesion_offers_no_oracle(cut):
    viewer = viewers.crop_explorer(cut[0], np.zeros_like(cut[1]), sizes=(16, 32))
    assert not of_kind(viewer, ipywidgets.ToggleButtons)
    assert len(notes(viewer)) == 2


def test_best_to_worst_sorts_by_score(cut):
    image, mask, _ = cut
    nothing = np.zeros_like(mask)
    viewer = viewers.best_to_worst(
        [image] * 3,
        [mask] * 3,
        [nothing, mask, mask[::-1]],
        [0.0, 1.0, 0.25],
        names=["a", "b", "<c>"],
    )
    assert notes(viewer) == [
        "1 of 3, b: Dice 1.00",
        "2 of 3, <c>: Dice 0.25",
        "3 of 3, a: Dice 0.00",
    ]
    assert "<c>" not in "".join(page.value for page in of_kind(viewer, ipywidgets.HTML))
    with pytest.raises(ValueError, match="equally long"):
        viewers.best_to_worst([image], [mask], [mask], [0.1, 0.2])


def test_one_picture_needs_no_slider(cut):
    """A slider whose ends are the same would be an error in the browser."""
    image, mask, _ = cut
    viewer = viewers.best_to_worst([image], [mask], [mask], [1.0])
    assert len(pictures(viewer)) == 1 and not of_kind(viewer, ipywidgets.SelectionSlider)


def test_all_viewers_keep_to_their_budget(cut):
    image = np.random.default_rng(1).uniform(0, 1, (197, 233))
    mask = np.zeros(image.shape)
    mask[60:120, 90:150] = 1
    for viewer in (
        viewers.threshold_slider(image, mask, image),
        viewers.crop_explorer(image, mask),
        viewers.best_to_worst([image] * 12, [mask] * 12, [image > 0.5] * 12, np.linspace(0, 1, 12)),
    ):
        assert embedded_bytes(viewer) <= viewers.BUDGET + 40_000


def test_controls_are_named(head, cut):
    """ipywidgets 8 would put the word "null" on a control without a tooltip."""
    for control in walk(viewers.slice_browser(*head, count=5)):
        if isinstance(control, (ipywidgets.SelectionSlider, ipywidgets.ToggleButtons)):
            assert control.description and control.tooltip == control.description


def test_colours_are_those_of_the_figures():
    image = np.full((60, 60), 0.5)
    mask = np.zeros((60, 60))
    mask[20:40, 20:40] = 1
    pixels = np.asarray(viewers.picture(image, (0, 1), truth=mask))
    assert tuple(pixels[240, 160]) == tuple(int(figures.TRUTH[k : k + 2], 16) for k in (1, 3, 5))
