"""The protocol dial and the lesion editor: whole without scripts, and right in a real browser."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from test_teaching import Page

from kenseg_utils import artifacts, metrics, teaching
from kenseg_utils.experiments import protocols

EMPTY = {"0": 0.0, "1": 1.0, "NaN": math.nan}
SUMMARY = "Turned, the <dials> move the Dice."


@pytest.fixture(scope="module")
def counts():
    """Three heads: one found, one found in part with things that are none, one without lesion."""
    rng, tables = np.random.default_rng(0), []
    for number in range(3):
        truth = np.zeros((24, 28, 7), bool)
        found = truth.copy()
        if number < 2:
            truth[8 : 12 + number, 9:15, 2:5] = True
            found[8:12, 10:15, 2:4] = True
        if number == 1:
            found |= rng.random(truth.shape) < 0.01
            found[:, :, 6] = False
        tables.append(protocols.count_scopes(truth, found, f"sub-{number}", size=10))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def masks():
    """Two lesions of which one is found, and something that is none."""
    truth, start = np.zeros((2, 26, 22), bool)
    truth[4:9, 5:12] = truth[16:20, 14:17] = True
    start[5:11, 4:12] = start[22:24, 3:5] = True
    return truth, start


# --- Counting ------------------------------------------------------------------------------------


def test_scopes_see_more_and_more(counts):
    rows = {scope: counts[counts.scope == scope] for scope in protocols.SCOPES}
    assert [len(rows[scope]) for scope in protocols.SCOPES] == [6, 6, 21]
    assert all((rows[scope].tp.sum() == rows["crops"].tp.sum()) for scope in protocols.SCOPES)
    wrong = [int(rows[scope].fp.sum()) for scope in protocols.SCOPES]
    assert wrong[0] < wrong[1] < wrong[2]


@pytest.mark.parametrize("empty", EMPTY.values(), ids=EMPTY)
def test_the_dice_of_a_protocol_is_that_of_the_metrics(counts, empty):
    rows = counts[counts.scope == "volume"]
    told = metrics.Counts(*(rows[name].to_numpy() for name in ("tp", "fp", "fn")), 0)
    found = {name: protocols.dice_of(counts, "volume", name, empty) for name in REDUCTIONS}
    assert found["slice"] == pytest.approx(np.nanmean(metrics.per_slice(told, empty=empty)))
    each = metrics.per_subject(
        metrics.Counts(told.tp, told.fp, told.fn, told.tp), rows.subject, empty=empty
    )
    assert found["subject"] == pytest.approx(np.nanmean(each))
    assert found["pooled"] == pytest.approx(metrics.pooled(told, empty=empty))


REDUCTIONS = ("slice", "subject", "pooled")


def test_an_unknown_protocol_is_refused(counts):
    for scope, reduction in (("head", "slice"), ("crops", "person")):
        with pytest.raises(ValueError, match="scopes are crops, slices, volume"):
            protocols.dice_of(counts, scope, reduction)


def test_counts_are_recorded_with_the_book(tmp_path):
    kept = protocols.recorded_counts()
    assert set(kept.scope) == set(protocols.SCOPES) and list(kept.columns) == [*protocols.COLUMNS]
    assert kept.subject.nunique() >= 4
    volume = kept[kept.scope == "volume"]
    assert (volume.groupby("subject").size() == 189).all()
    assert kept[kept.scope == "crops"][["tp", "fn"]].sum(axis=1).min() > 0
    assert protocols.recorded_counts(tmp_path) is None
    artifacts.results_file("protocols", tmp_path).write_text("[]")
    with pytest.raises(ValueError, match="holds no counts of slices"):
        protocols.recorded_counts(tmp_path)


# --- As text -------------------------------------------------------------------------------------


def test_the_dial_is_a_sentence_where_scripts_are_off(counts):
    text = teaching.protocol_dial(counts, SUMMARY).data
    page = Page(text)
    assert (
        SUMMARY in page.text
        and "<dials>" not in text
        and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    )
    assert "hidden" in next(one for one in page.all("div") if one.get("data-part") == "game")
    assert len(page.all("input")) == 9 and len(page.all("legend")) == 3
    assert "<script" not in teaching.protocol_dial(None, SUMMARY).data
    with pytest.raises(ValueError, match="needs a summary"):
        teaching.protocol_dial(counts, " ")
    with pytest.raises(ValueError, match="needs the columns"):
        teaching.protocol_dial(counts[counts.scope != "crops"], SUMMARY)


def test_the_editor_tells_its_first_scores_without_scripts(masks):
    text = teaching.lesion_editor(*masks, spacing=(1, 2)).data
    page = Page(text)
    for value in (metrics.dice(*masks), metrics.f1_atlas22(*masks)):
        assert f"{value:.3f}" in page.text
    assert f"{metrics.hd95_mm(*masks, (1, 2)):.2f} mm" in page.text
    assert "not defined" in teaching.lesion_editor(masks[0], masks[0] * 0).data
    assert not re.search(r"@[A-Z]+@", text + teaching.protocol_dial(None, "x").data)


@pytest.mark.parametrize(
    "truth, image",
    [(np.zeros((3, 3, 3)), None), (np.zeros((3, 3)), np.zeros((4, 4))), (np.zeros((130, 3)), None)],
)
def test_the_editor_says_what_it_takes(truth, image):
    with pytest.raises(ValueError, match="takes one slice"):
        teaching.lesion_editor(truth, truth, image)


# --- In a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(chromium, counts, masks):
    """A phone's page with both, whose complaints are kept."""
    context = chromium.new_context(viewport={"width": 360, "height": 700})
    tab = context.new_page()
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    image = np.random.default_rng(0).random(masks[0].shape)
    parts = (
        teaching.protocol_dial(counts, SUMMARY).data,
        teaching.lesion_editor(*masks, image, (1, 2)).data,
    )
    tab.set_content(f"<!doctype html><html lang=en><body>{''.join(parts)}</body></html>")
    assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), "scrolls sideways"
    yield tab
    assert not complaints
    context.close()


TURN = """(form) => {
  const values = {scope: ["crops", "slices", "volume"], reduction: ["slice", "subject", "pooled"],
    empty: ["0", "1", "NaN"]}, told = [];
  const check = (value) => { form.querySelector(`input[value="${value}"]`).checked = true; };
  for (const scope of values.scope) {
    for (const reduction of values.reduction) {
      for (const empty of values.empty) {
        [scope, reduction, empty].forEach(check);
        form.dispatchEvent(new Event("change"));
        told.push([scope, reduction, empty, form.kensegDice,
          form.querySelector('[data-part="said"]').textContent]);
      }
    }
  }
  return told;
}"""


def test_each_of_the_27_protocols_is_the_package_s(page, counts):
    dial, values = page.locator("form.kenseg-dial"), []
    assert dial.locator('[data-part="off"]').is_hidden()
    for scope, reduction, empty, found, said in dial.evaluate(TURN):
        expected = protocols.dice_of(counts, scope, reduction, EMPTY[empty])
        assert found == pytest.approx(expected, abs=1e-9), (scope, reduction, empty)
        assert said.startswith(f"Dice {expected:.3f}: ")
        values.append(expected)
    assert len(values) == 27 and len({round(value, 9) for value in values}) > 9
    assert f"from {min(values):.3f} to {max(values):.3f}." in said
    assert dial.locator("svg line").count() == 1 + 27 + 1


def test_a_dial_turns_by_the_keyboard(page):
    dial = page.locator("form.kenseg-dial")
    dial.locator('input[value="crops"]').check()
    before = dial.locator('[data-part="said"]').text_content()
    page.keyboard.press("ArrowDown")
    assert dial.locator('input[value="slices"]').is_checked()
    assert dial.locator('[data-part="said"]').text_content() != before


def test_the_editor_s_scores_are_the_package_s(page, masks):
    truth, start = masks
    form = page.locator("form.kenseg-editor")

    def state():
        told = form.evaluate(
            "(form) => ({...form.kensegScores, mask: Array.from(form.kensegMask),"
            " lost: Number.isNaN(form.kensegScores.hd95)})"
        )
        return np.array(told["mask"], bool).reshape(truth.shape), told

    def agrees():
        mask, told = state()
        assert told["dice"] == pytest.approx(metrics.dice(truth, mask), abs=1e-9)
        assert told["f1"] == pytest.approx(metrics.f1_atlas22(truth, mask), abs=1e-9)
        expected = metrics.hd95_mm(truth, mask, (1, 2))
        assert math.isnan(expected) == told["lost"]
        assert told["lost"] or told["hd95"] == pytest.approx(expected, abs=1e-9)
        said = form.locator('[data-part="said"]').text_content()
        assert f"Dice {metrics.dice(truth, mask):.3f}" in said
        return mask

    def press(act):
        form.locator(f'[data-act="{act}"]').click()
        return agrees()

    from scipy import ndimage

    assert np.array_equal(agrees(), start)
    assert np.array_equal(press("grow"), ndimage.binary_dilation(start))
    assert np.array_equal(press("undo"), start)
    assert np.array_equal(press("shrink"), ndimage.binary_erosion(start))
    assert np.array_equal(press("shift")[1:], ndimage.binary_erosion(start)[:-1])
    assert not press("clear").any()
    assert np.array_equal(press("truth"), truth)
    assert np.array_equal(press("again"), start)
    canvas = form.locator("canvas")
    canvas.focus()  # the cursor begins in the middle
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    painted = agrees()
    assert painted[12, 11] and painted.sum() > start.sum()
    form.get_by_label("erase").check()
    canvas.focus()
    page.keyboard.press("Space")
    assert not agrees()[12, 11]
    form.get_by_label("paint").check()
    box = canvas.bounding_box()
    across, down = box["width"] / truth.shape[0], box["height"] / truth.shape[1]
    page.mouse.move(box["x"] + 2.5 * across, box["y"] + 1.5 * down)
    page.mouse.down()
    page.mouse.move(box["x"] + 6.5 * across, box["y"] + 1.5 * down, steps=6)
    page.mouse.up()
    drawn = agrees()
    assert drawn[2:7, truth.shape[1] - 2].all(), "x goes right and y up"
