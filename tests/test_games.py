"""Bets, the seed dice, numbers: whole without scripts, quiet, and in a real browser alive."""

import json
import math
import re

import pandas as pd
import pytest
from conftest import bare_page
from test_pairs import KEN, drawn
from test_teaching import Page

from kenseg_utils import teaching
from kenseg_utils.experiments import pairs

QUESTION = 'Does it "help"?'
OPTIONS = ["yes & always", "no", "<b>not</b> known"]
FOUND = "Nobody knows: +0.010 (95 %: -0.020 to +0.040)."


@pytest.fixture(scope="module")
def rolls():
    return pairs.roll_seeds(drawn(0.02, seeds=6, own=0.05), KEN, sizes=(1, 2, 3, 6))


def dice(rolls):
    return teaching.seed_dice(rolls, KEN.part, pairs.rolls_words(rolls, KEN.part)).data


# --- As text -------------------------------------------------------------------------------------


def test_a_bet_is_a_group_of_radio_buttons_and_gives_nothing_away():
    text = teaching.bet(QUESTION, OPTIONS).data
    page = Page(text)
    buttons = page.all("input")
    assert [button["type"] for button in buttons] == ["radio"] * 3
    assert len({button["name"] for button in buttons}) == 1 and len(page.all("label")) == 3
    assert page.all("fieldset") and page.all("legend")
    assert [part for part in page.all("p") if part.get("role") == "status"]
    assert all(option in page.text for option in OPTIONS) and "<b>" not in text
    assert "scripts are off" in page.text and "http" not in text


def test_a_settled_bet_shows_what_was_found_without_scripts():
    page = Page(teaching.settle(QUESTION, OPTIONS, 2, FOUND).data)
    assert FOUND in page.text and "<b>not</b> known" in page.text.split("const")[0]
    assert teaching.settle(QUESTION, ["</script>", "b"], 1, "x").data.count("</script>") == 1
    for right, found in ((3, FOUND), (-1, FOUND), (0, " ")):
        with pytest.raises(ValueError, match="settle nothing"):
            teaching.settle(QUESTION, OPTIONS, right, found)


@pytest.mark.parametrize("question, options", [("", OPTIONS), ("Q?", ["a"]), ("Q?", ["a", "a"])])
def test_a_bet_says_what_it_needs(question, options):
    with pytest.raises(ValueError, match="a bet needs"):
        teaching.bet(question, options)


def test_the_dice_is_a_sentence_where_scripts_are_off(rolls):
    text = dice(rolls)
    page = Page(text)
    game = next(part for part in page.all("fieldset") if part.get("data-part") == "game")
    assert "hidden" in game  # the script uncovers it
    off = next(part for part in page.all("p") if part.get("data-part") == "off")
    assert "hidden" not in off and pairs.rolls_words(rolls, KEN.part) in page.text
    assert [option["value"] for option in page.all("option")] == ["1", "2", "3", "6"]
    assert all(button["type"] == "button" for button in page.all("button"))
    assert [head["scope"] for head in page.all("th")] == ["col"] * 5
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_dice_carries_the_recorded_pairs(rolls):
    content = json.loads(re.search(r"const game = (\{.*\});", dice(rolls))[1])
    assert content["seeds"] == list(range(6)) and len(content["shown"]) == len(rolls.shown)
    assert content["differences"] == [round(value, 6) for value in rolls.differences]


def test_a_dice_without_pairs_is_a_sentence():
    text = teaching.seed_dice(None, "it", "There is no pair of trainings to draw from.").data
    assert "no pair" in text and "<script" not in text
    with pytest.raises(ValueError, match="a seed dice needs"):
        teaching.seed_dice(None, "it", "")


# --- In a browser --------------------------------------------------------------------------------


@pytest.fixture
def page(chromium, rolls):
    """A page with all three, whose complaints are kept."""
    parts = (
        teaching.bet(QUESTION, OPTIONS).data,
        teaching.settle(QUESTION, OPTIONS, 2, FOUND).data,
        dice(rolls),
    )
    html = f"<!doctype html><html lang=en><body>{''.join(parts)}</body></html>"
    with bare_page(chromium, html) as tab:
        yield tab


def part(page, name):
    return page.locator(f'.kenseg-dice [data-part="{name}"]')


def test_a_bet_is_settled_by_the_keyboard(page):
    yours = page.locator('.kenseg-settled [data-part="yours"]')
    assert yours.text_content() == "You have not bet: do so further up."
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert "yes & always" in yours.text_content() and "do not bear" in yours.text_content()
    page.keyboard.press("ArrowUp")  # from the first to the last
    assert yours.text_content() == (
        "You bet: “<b>not</b> known” – the recorded seeds bear you out."
    )
    assert page.locator('.kenseg-bet [data-part="said"]').text_content() == "Your bet is taken."


def test_a_bet_may_be_settled_by_other_numbers(chromium):
    tab = chromium.new_page()
    parts = (
        teaching.bet(QUESTION, OPTIONS),
        teaching.settle(QUESTION, OPTIONS, 1, FOUND, "the counts"),
    )
    tab.set_content("".join(part.data for part in parts))
    yours = tab.locator('.kenseg-settled [data-part="yours"]')
    tab.get_by_label("no", exact=True).check()
    assert yours.text_content() == "You bet: “no” – the counts bear you out."
    tab.close()


def test_a_roll_draws_recorded_pairs_and_says_what_they_say(page, rolls):
    assert part(page, "off").is_hidden() and part(page, "game").is_visible()
    for size in (1, 2, 6):
        part(page, "size").select_option(str(size))
        part(page, "roll").focus()
        page.keyboard.press("Enter")
        said = part(page, "said").text_content()
        seeds = [int(seed) for seed in re.match(r"Seeds? ([\d, ]+):", said)[1].split(", ")]
        assert len(set(seeds)) == size
        mean = sum(rolls.differences[seed] for seed in seeds) / size
        printed = float(re.search(r"difference ([+−]\d\.\d+)", said)[1].replace("−", "-"))
        assert printed == pytest.approx(mean, abs=5.1e-4)
        assert ("claimed a win: that the block helps" in said) == (mean > 0)
        shown = rolls.shown.get(sum(2**seed for seed in seeds), "")
        words = {"better": "higher with it", "worse": "lower with it", "": "no difference shown"}
        assert said.endswith(f"{'not known, one seed' if size == 1 else words[shown]}.")


def test_rolls_are_counted_drawn_and_forgotten(page, rolls):
    part(page, "many").click()
    part(page, "size").select_option("2")
    part(page, "many").click()
    rows = part(page, "tally").locator("tr")
    assert rows.count() == 2 and part(page, "kept").is_visible()
    for row, size in zip(rows.all(), (1, 2)):
        cells = [cell.text_content() for cell in row.locator("th, td").all()]
        assert cells[:2] == [str(size), "100"]
        higher = int(cells[2].split()[0])
        expected = 100 * rolls.table.set_index("seeds").loc[size, "positive"]
        assert abs(higher - expected) < 30  # of a hundred draws: six SDs
    assert part(page, "picture").locator("circle").count() == 200
    assert "200 rolls" in part(page, "picture").get_attribute("aria-label")
    wide = page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert wide, "a phone's page scrolls sideways"
    part(page, "again").click()
    assert rows.count() == 0 and part(page, "picture").locator("circle").count() == 0
    assert part(page, "kept").is_hidden(), "a table's head without rows"


def test_without_scripts_the_sentences_are_there(chromium, rolls):
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.set_content(dice(rolls) + teaching.settle(QUESTION, OPTIONS, 2, FOUND).data)
    assert tab.get_by_text(pairs.rolls_words(rolls, KEN.part)).is_visible()
    assert tab.get_by_text(FOUND).is_visible()
    assert tab.locator('[data-part="game"]').is_hidden()
    context.close()


def test_a_loss_is_claimed_where_the_mean_is_lower(chromium):
    rolls = pairs.roll_seeds(drawn(-0.2, seeds=6), KEN, sizes=(6,))
    tab = chromium.new_page()
    tab.set_content(dice(rolls))
    tab.locator('[data-part="roll"]').click()
    said = tab.locator('[data-part="said"]').text_content()
    assert "claimed a loss: that the block hurts" in said and said.endswith("lower with it.")
    tab.close()


def test_the_summary_is_a_table_of_shares(rolls):
    assert rolls.table[["positive", "better", "worse"]].le(1).all(axis=None)
    assert isinstance(rolls.table, pd.DataFrame) and len(rolls.table) == 4


ANSWERS = [(0.445, 0.455, True, "Nine of twenty."), (0, 0.4, False, "<b>More</b> & more.")]


@pytest.mark.parametrize(
    "typed, said",
    [
        ("0.45", "Right. Nine of twenty."),
        (" .45 ", "Right. Nine of twenty."),
        ("0,45", "Right. Nine of twenty."),
        ("45 %", "Right. Nine of twenty."),
        ("4.5e-1", "Right. Nine of twenty."),
        ("0", "Not yet. <b>More</b> & more."),
        ("1,000,000", "Not yet. Otherwise."),
        ("\N{MINUS SIGN}1", "Not yet. Otherwise."),
        ("", "A number is asked for, such as 0.5."),
        ("half", "A number is asked for, such as 0.5."),
        ("e", "A number is asked for, such as 0.5."),
    ],
)
def test_a_number_is_read_as_people_write_it_and_answered(chromium, typed, said):
    with bare_page(chromium, teaching.number_quiz(QUESTION, ANSWERS, "Otherwise.").data) as tab:
        assert tab.locator('[data-part="said"]').text_content() == ""
        tab.get_by_label(QUESTION).fill(typed)
        tab.keyboard.press("Enter")
        assert tab.locator('[data-part="said"]').text_content() == said


def test_open_ends_of_an_answer_hold_what_is_beyond(chromium):
    half = [(-math.inf, 0, True, "Below."), (7e9, math.inf, False, "Far above.")]
    with bare_page(chromium, teaching.number_quiz(QUESTION, half, "Between.").data) as tab:
        for typed, said in (("-1e12", "Below."), ("7000000000", "Far above."), ("6e9", "Between.")):
            tab.get_by_label(QUESTION).fill(typed)
            tab.get_by_role("button", name="Check").click()
            assert said in tab.locator('[data-part="said"]').text_content()


def test_a_number_s_question_is_text_and_hidden_without_scripts():
    text = teaching.number_quiz("</script><b>?", ANSWERS, "</script>").data
    assert text.count("</script>") == 1 and "<b>" not in text and "http" not in text
    assert "hidden" in Page(text).all("form")[0]


@pytest.mark.parametrize(
    "question, answers, otherwise, message",
    [
        ("", ANSWERS, "no", "words"),
        ("Q?", ANSWERS, " ", "words"),
        ("Q?", [(0, 1, True, "")], "no", "words"),
        ("Q?", ANSWERS[1:], "no", "right"),
        ("Q?", [], "no", "right"),
        ("Q?", [(2, 1, True, "yes")], "no", "between 2 and 1"),
        ("Q?", [(math.nan, 1, True, "yes")], "no", "between nan"),
    ],
)
def test_a_number_s_question_says_what_it_needs(question, answers, otherwise, message):
    with pytest.raises(ValueError, match=message):
        teaching.number_quiz(question, answers, otherwise)
