"""The protocol dial: whole without scripts, and right in a real browser."""

import math

import numpy as np
import pandas as pd
import pytest
from conftest import bare_page
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


# --- In a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(chromium, counts):
    """A phone's page with the dial, whose complaints are kept."""
    dial = teaching.protocol_dial(counts, SUMMARY).data
    with bare_page(chromium, f"<!doctype html><html lang=en><body>{dial}</body></html>") as tab:
        fits = tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        assert fits, "scrolls sideways"
        yield tab


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
