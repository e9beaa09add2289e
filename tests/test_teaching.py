"""Feedback tells a reader what is wrong without raising; the closing line says what ran."""

import re
import subprocess
import sys

import pytest

from kenseg_utils import __version__, devices, teaching


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
        "Not there yet: Dice is 0.8 here, not 0.4: did you count twice?\n")


@pytest.mark.parametrize("blank, said", [(..., "Fill in the blank"), (None, "replace the blank")])
def test_feedback_of_a_blank(capsys, blank, said):
    teaching.feedback(check_dice, blank)
    assert said in capsys.readouterr().out
    teaching.feedback(check_dice, blank, hint="twice the overlap over the sum of sizes.")
    assert capsys.readouterr().out == "Not there yet: twice the overlap over the sum of sizes.\n"


def test_feedback_of_code_that_stops(capsys):
    teaching.feedback(check_dice, "four fifths")
    assert capsys.readouterr().out.startswith("Not there yet: your code stopped with TypeError: ")


def test_closing_line_counts_seconds_and_names_what_ran(monkeypatch):
    monkeypatch.setattr(teaching, "device", lambda: "GPU (Tesla T4)")
    monkeypatch.setitem(sys.modules, "keras", object())
    line = teaching.closing_line(teaching.start_clock() - 41.2, "demo", "phantom-a1b2")
    assert line == (f"kenseg_utils {__version__} · GPU (Tesla T4) · profile demo · "
                    "data phantom-a1b2 · 41 s")
    monkeypatch.delitem(sys.modules, "keras")
    assert "runs no network" in teaching.closing_line(teaching.start_clock(), "smoke", "x")


def test_device_tells_what_to_click_only_on_a_colab_cpu(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.setattr(devices, "device", lambda: "CPU (2 cores)")
    assert teaching.device() == "CPU (2 cores)"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_1")
    assert re.match(r"CPU \(2 cores\) – .*Change runtime type → T4 GPU", teaching.device())
    monkeypatch.setattr(devices, "device", lambda: "GPU (Tesla T4)")
    assert teaching.device() == "GPU (Tesla T4)"


def test_the_three_modules_load_no_framework():
    code = ("import sys, kenseg_utils.figures, kenseg_utils.viewers, kenseg_utils.teaching;"
            "loaded = {'keras', 'tensorflow', 'jax', 'torch', 'kenseg_utils.atlas',"
            " 'kenseg_utils.training'} & set(sys.modules); assert not loaded, loaded")
    subprocess.run([sys.executable, "-c", code], check=True)
