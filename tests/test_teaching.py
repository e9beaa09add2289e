"""Feedback tells a reader what is wrong without raising; the closing line says what ran."""

import datetime
import hashlib
import html
import re
import subprocess
import sys
import time
import types
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, write_release

from kenseg_utils import __version__, artifacts, machine, profiles, teaching
from kenseg_utils.teaching import _pages


def check_dice(answer):
    """Dice counts the overlap twice."""
    # Raised by hand, since pytest adds words of its own to an assert statement's message.
    if answer is ...:
        raise AssertionError("Fill in the blank: what stands in Dice's numerator?")
    if abs(answer - 0.8) > 1e-6:
        raise AssertionError(f"Dice is 0.8 here, not {answer}: did you count twice?")


def test_feedback_of_a_right_answer(capsys):
    assert teaching.feedback(check_dice, 0.8) is None
    assert capsys.readouterr().out == "Right: Dice counts the overlap twice.\n"
    teaching.feedback(lambda answer: f"{answer} it is.", 3)
    assert capsys.readouterr().out == "Right: 3 it is.\n"


def test_feedback_of_a_wrong_answer_gives_the_checks_message(capsys):
    teaching.feedback(check_dice, 0.4)
    assert capsys.readouterr().out == (
        "Not there yet: Dice is 0.8 here, not 0.4: did you count twice?\n"
    )


@pytest.mark.parametrize("blank, said", [(..., "Fill in the blank"), (None, "replace the blank")])
def test_feedback_of_a_blank(capsys, blank, said):
    teaching.feedback(check_dice, blank)
    assert said in capsys.readouterr().out
    teaching.feedback(check_dice, blank, hint="twice the overlap over the sum of sizes.")
    assert capsys.readouterr().out == "Not there yet: twice the overlap over the sum of sizes.\n"


def test_feedback_of_code_that_stops(capsys):
    teaching.feedback(check_dice, "four fifths")
    assert capsys.readouterr().out.startswith("Not there yet: your code stopped with TypeError: ")


def chapter(profile, name, scans=None, seconds=0.0):
    size = profiles.get(profile)
    return teaching.Chapter(size, name, scans, time.perf_counter() - seconds)


def test_a_chapter_opens_with_its_scans_and_its_datas_name(tmp_path):
    (tmp_path / "private").mkdir()
    with pytest.raises(ValueError, match="Unknown profile"):
        teaching.open_chapter("large", tmp_path)
    for seed in ("abc", 1.5, None, True):  # papermill hands on whatever it is given
        with pytest.raises(ValueError, match="seed is .*give a whole number"):
            teaching.open_chapter("smoke", data=False, seed=seed)
    for root in (3, "s3://bucket/ATLAS", "a\0b"):
        with pytest.raises(ValueError, match="is none|address"):
            teaching.open_chapter("smoke", root)
    opened = teaching.open_chapter("demo", data=False, demo=dict(subjects=3))
    assert opened.scans is None and opened.data_name == "none" and opened.size.subjects == 3
    assert teaching.open_chapter("smoke", data=False, demo=dict(subjects=3)).size.subjects == 6
    write_release(
        tmp_path / "private" / "ATLAS", 3, (40, 40, 40), lambda number: np.s_[9:15, 9:15, 9:15]
    )
    opened = teaching.open_chapter("smoke", tmp_path / "private" / "ATLAS")
    assert opened.data_name == "ATLAS" and len(opened.scans) == 3
    assert "private" not in teaching.closing_line(opened)


def test_a_page_says_what_of_its_data_is_not_used(tmp_path):
    """Rendered pages show no warnings. Names are escaped, and no page tells where the data lie."""
    assert teaching.left_out(teaching.open_chapter("smoke", data=False)) is None
    root = tmp_path / "private" / "A<b>&C"
    scans = write_release(root, 4, (40, 40, 40), lambda number: np.s_[9 : 15 * (number != 1)])
    Path(scans.t1w[3]).with_name("other_T1w (1).nii.gz").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 4 scans left out"):
        opened = teaching.open_chapter("smoke", root, tmp_path / "work")
    assert len(opened.scans) == 3
    page = teaching.left_out(opened).data
    assert "called copies" in page and "1 of 4 scans left out" in page and "sub-r001s001" in page
    assert "A&lt;b&gt;&amp;C" in page and "<b>" not in page and "private" not in page


def test_closing_line_counts_seconds_and_names_what_ran(monkeypatch):
    monkeypatch.setattr(machine, "device", lambda: "GPU (Tesla T4)")
    monkeypatch.setattr(artifacts, "commit", lambda: "0123456789ab+")
    monkeypatch.setattr(_pages, "lock_hash", lambda: "requirements.lock 01234567")
    keras = types.SimpleNamespace(
        __version__="3.13.2", backend=types.SimpleNamespace(backend=lambda: "jax")
    )
    monkeypatch.setitem(sys.modules, "keras", keras)
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(__version__="0.7.2"))
    line = teaching.closing_line(chapter("demo", "phantom ATLAS", seconds=41.2))
    today = datetime.date.today().isoformat()
    assert line == (
        f"kenseg_utils {__version__} · commit 0123456789ab+ · requirements.lock 01234567 · "
        f"jax 0.7.2 · keras 3.13.2 · numpy {np.__version__}\n"
        f"GPU (Tesla T4) · profile demo · data phantom ATLAS · 41 s · verified on {today}"
    )
    monkeypatch.delitem(sys.modules, "keras")
    assert "runs no network" in teaching.closing_line(chapter("smoke", "x"))


def test_closing_line_names_the_data_by_what_the_files_hold(tmp_path):
    scan, mask = tmp_path / "a_T1w.nii.gz", tmp_path / "a_mask.nii.gz"
    scan.write_bytes(b"scan"), mask.write_bytes(b"mask")
    scans = pd.DataFrame({"t1w": [scan], "masks": [[mask]]})
    key = teaching.data_key(scans)
    assert f"data ATLAS (key {key}) ·" in teaching.closing_line(chapter("smoke", "ATLAS", scans))
    copy = tmp_path / "elsewhere.nii.gz"
    copy.write_bytes(b"scan")
    assert teaching.data_key(scans.assign(t1w=[copy])) == key
    mask.write_bytes(b"another mask")
    assert teaching.data_key(scans) != key


def test_lock_hash_is_the_files_own(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    name, digits = teaching.lock_hash().split()
    assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest().startswith(digits)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert teaching.lock_hash().startswith("requirements-colab.lock ")


def test_device_tells_what_to_click_only_on_a_colab_cpu(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.setattr(machine, "device", lambda: "CPU (2 cores)")
    assert teaching.device() == "CPU (2 cores)"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_1")
    assert re.match(r"CPU \(2 cores\) – .*Change runtime type → T4 GPU", teaching.device())
    monkeypatch.setattr(machine, "device", lambda: "GPU (Tesla T4)")
    assert teaching.device() == "GPU (Tesla T4)"


def test_the_three_modules_load_no_framework():
    code = (
        "import sys, kenseg_utils.figures, kenseg_utils.viewers, kenseg_utils.teaching;"
        "loaded = {'keras', 'tensorflow', 'jax', 'torch', 'kenseg_utils.training'}"
        " & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


QUESTION = 'Is 2 < 3 "really"?'
OPTIONS = {
    "yes & always": (True, "It's <b>true</b>."),
    "no": (False, "Count again."),
    "sometimes": (False, "Numbers do not change."),
}


class Page(HTMLParser):
    """Collects a page's elements with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_quiz_is_a_group_of_named_radio_buttons():
    page = Page(teaching.quiz(QUESTION, OPTIONS).data)
    buttons = page.all("input")
    assert [button["type"] for button in buttons] == ["radio"] * 3
    assert len({button["name"] for button in buttons}) == 1
    assert page.all("fieldset") and page.all("legend") and len(page.all("label")) == 3
    assert page.all("form")[0]["id"] == buttons[0]["name"]
    assert any(element.get("role") == "status" for element in page.all("div"))
    answers = [element for element in page.all("p") if element.get("class") == "kenseg-answer"]
    assert [answer["data-option"] for answer in answers] == ["0", "1", "2"]
    assert not any("hidden" in answer for answer in answers)  # readable where scripts are off
    assert page.all("noscript")


def test_quiz_escapes_what_it_is_given_and_asks_nothing_of_the_network():
    text = teaching.quiz(QUESTION, OPTIONS).data
    page = Page(text)
    assert (
        QUESTION in page.text and "yes & always" in page.text and "It's <b>true</b>." in page.text
    )
    assert "<b>true" not in text and "http" not in text
    hostile = teaching.quiz("</legend><script>alert(1)</script>", OPTIONS).data
    assert len(Page(hostile).all("script")) == 1


def test_quizzes_do_not_share_names_and_keep_them():
    first, other = (teaching.quiz(question, OPTIONS).data for question in ("One?", "Two?"))
    assert Page(first).all("form")[0]["id"] != Page(other).all("form")[0]["id"]
    assert teaching.quiz("One?", OPTIONS).data == first


@pytest.mark.parametrize(
    "question, options, message",
    [
        ("Q?", {"a": (True, "yes")}, "two options"),
        ("Q?", {"a": (False, "no"), "b": (False, "no")}, "right"),
        ("", OPTIONS, "words"),
        ("Q?", {"a": (True, ""), "b": (False, "no")}, "words"),
    ],
)
def test_quiz_says_what_is_missing(question, options, message):
    with pytest.raises(ValueError, match=message):
        teaching.quiz(question, options)


def test_output_table_has_caption_heads_and_rounded_numbers():
    table = pd.DataFrame(
        {"network": ["U-Net", "<Ken>"], "Dice": [0.46123, np.nan], "parameters": [7759521, 12]}
    )
    text = teaching.output_table(table, "Scores & sizes").data
    page = Page(text)
    assert [head["scope"] for head in page.all("th")] == ["col"] * 3
    for piece in ("Scores & sizes", "<Ken>", "0.46", "–", "7,759,521"):
        assert piece in page.text
    assert "<Ken>" not in text and "0.46123" not in text
    assert (
        len([cell for cell in page.all("td") if "text-align:right" in cell.get("style", "")]) == 4
    )


@pytest.mark.parametrize(
    "value, shown",
    [
        (1e-6, "1e-06"),
        (0.0042, "0.0042"),
        (0.0, "0.00"),
        (-2500.5, "-2,500"),
        (0.01, "0.01"),
        (np.int64(7), "7"),
        (np.float32(0.5), "0.50"),
        (None, "–"),
        ((1, 2), "(1, 2)"),
    ],
)
def test_output_table_rounds_no_number_away(value, shown):
    text = teaching.output_table(
        pd.DataFrame({"value": pd.Series([value], dtype=object)}), "C"
    ).data
    assert f">{shown}</td>" in text


def test_output_table_with_row_heads_and_nullable_numbers():
    table = pd.DataFrame(
        {"mean": pd.array([0.5, pd.NA], dtype="Float64"), "ok": [True, False]},
        index=pd.Index(["a", "b"], name="method"),
    )
    page = Page(teaching.output_table(table, "By method", decimals=3, index=True).data)
    assert [head["scope"] for head in page.all("th")] == ["col"] * 3 + ["row"] * 2
    for piece in ("method", "0.500", "–", "True"):
        assert piece in page.text
    with pytest.raises(ValueError, match="caption"):
        teaching.output_table(table, " ")


@pytest.mark.parametrize(
    "values, decimals, shown",
    [
        ([0.55, 0.00094, 1.6e-05, 0.0], None, ["0.55", "< 0.01", "< 0.01", "0.00"]),
        ([0.5, -0.0001], None, ["0.50", "> -0.01"]),
        ([4.0, 4.0], 3, ["4", "4"]),
        ([70.5, 165.62], None, ["70", "166"]),
        ([100.0, 42.57], None, ["100", "43"]),
        ([82.5, 22.5, 32.5], 3, ["82.5", "22.5", "32.5"]),
        ([16384.0, np.nan], None, ["16,384", "–"]),
        ([27.509, 77.104], 3, ["27.51", "77.10"]),
        ([0.164, 0.0005, 0.0001], 3, ["0.164", "0.001", "< 0.001"]),
        ([1e-06, 0.001], None, ["1e-06", "0.001"]),
        ([0.0042, 0.0051], None, ["0.0042", "0.0051"]),
        ([3, 0.25], None, ["3", "0.25"]),
        ([238.2, 0.336, 1.0, -0.25, 0.004], None, ["238", "0.34", "1", "-0.25", "< 0.01"]),
        ([66.12, 0.04], None, ["66.1", "0.04"]),
        ([22.6, 0.64, 0.004], None, ["22.6", "0.64", "< 0.01"]),
        ([22.6, 0.64, 0.004], 1, ["22.6", "0.6", "< 0.1"]),
        ([np.inf, 2.5], None, ["inf", "2.5"]),
        (["a", 1.5, True], None, ["a", "1.5", "True"]),
    ],
)
def test_output_table_gives_a_column_the_digits_that_it_needs(values, decimals, shown):
    text = teaching.output_table(
        pd.DataFrame({"x": pd.Series(values, dtype=object)}), "C", decimals
    ).data
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>([^<]*)</td>", text)]
    assert cells == shown


def test_output_table_folds_what_comes_after_ten_rows():
    for count, folded in ((10, 0), (11, 1), (25, 1)):
        table = pd.DataFrame({"n": range(count), "word": [f"w{k}" for k in range(count)]})
        text = teaching.output_table(table, "Many rows.", index=True).data
        page = Page(text)
        assert len(page.all("details")) == folded and len(page.all("table")) == 1 + folded
        assert text.partition("<details>")[0].count("<tr>") == 1 + min(count, 10)
        assert all(text.count(f">w{k}</td>") == 1 for k in range(count))
        assert (f"Show all {count} rows" in page.text) == bool(folded)
        assert page.text.count("word") == 1 + folded  # a head for each part
        assert len(page.all("caption")) == 1 + folded and "<script" not in text


def test_output_table_says_once_what_each_row_says():
    table = pd.DataFrame(
        {"score": ["Dice", "F1"], "mean": [0.5, 0.25], "level": ["95 %"] * 2, "n": [8, 8]}
    )
    page = Page(teaching.output_table(table, "Scores.").data)
    assert page.text.count("95 %") == 1 and "In every row, level: 95 %." in page.text
    assert len(page.all("th")) == 3 and page.text.count("8") == 2  # numbers stay
    for kept in (table[:1], table.assign(level=["95 %", "93 %"]), table[["level"]]):
        assert "In every row" not in Page(teaching.output_table(kept, "Scores.").data).text
    assert "In every row" not in teaching.output_table(table.assign(level=""), "Scores.").data
    said = Page(teaching.output_table(table.assign(level="It is so."), "Scores.").data).text
    assert "In every row, level: It is so." in said and "so.." not in said


def test_the_head_of_a_column_stands_above_what_it_heads():
    """The pages' style sets heads right, as numbers are."""
    table = pd.DataFrame({"network": ["U-Net", "SegNet"], "Dice": [0.5, None], "n": [8, 9]})
    page = teaching.output_table(table, "Scores.").data
    assert '<th scope="col" style="text-align:left">network</th>' in page
    assert '<th scope="col">Dice</th><th scope="col">n</th>' in page


def test_output_table_puts_the_end_of_a_long_caption_below():
    table, where = pd.DataFrame({"x": [1]}), "recorded on <one> machine in " + "some years " * 20
    for end in (". ", ": ", "; "):
        text = teaching.output_table(table, f"Means of five subjects{end}{where}").data
        caption, below = re.search(r"<caption[^>]*>(.*?)</caption>(.*)", text, re.S).groups()
        assert caption == "Means of five subjects."
        assert "Recorded on &lt;one&gt; machine" in below
    for whole in ("Means: of five subjects; few.", "word " * 40):
        text = teaching.output_table(table, whole).data
        assert f">{whole.strip()}</caption>" in text and "<p" not in text
