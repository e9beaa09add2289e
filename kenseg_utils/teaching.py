"""Small helpers of the chapters: feedback on an answer, the closing line, the device in use."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from kenseg_utils import __version__, devices


def feedback(check: Callable, answer, hint: str = "") -> None:
    """Run `check(answer)` and print whether the answer is right; never raise.

    check : a function that raises AssertionError, with a helpful message, where the answer is
    wrong. What it returns, if a text, or else the first line of its docstring, follows "Right:".
    hint : printed where the answer is still blank (None or ...).
    """
    blank = answer is None or answer is ...
    try:
        said = check(answer)
    except AssertionError as problem:
        message = hint if blank and hint else str(problem) or "the check does not hold."
    except Exception as problem:  # whatever the reader's own code raises is theirs to learn from
        kind = type(problem).__name__
        message = f"your code stopped with {kind}: {problem}"
        if blank:
            message = hint or "replace the blank with your answer."
    else:
        lines = (check.__doc__ or "").strip().splitlines() or ["well done."]
        print(f"Right: {said if isinstance(said, str) else lines[0]}")
        return
    print(f"Not there yet: {message}")


def start_clock() -> float:
    """The time now, in seconds, for `closing_line` to count from."""
    return time.perf_counter()


def closing_line(started: float, profile: str, data: str) -> str:
    """The line that ends a chapter: version, device, profile, data, seconds since `started`.

    The device is named where Keras has been loaded; no chapter loads it for this line alone.
    """
    used = device() if "keras" in sys.modules else "CPU (this chapter runs no network)"
    seconds = time.perf_counter() - started
    return (f"kenseg_utils {__version__} · {used} · profile {profile} · data {data} · "
            f"{seconds:.0f} s")


def on_colab() -> bool:
    """Whether this notebook runs on Google Colab."""
    return "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules


def device() -> str:
    """The device that Keras computes on, in a few words; on a Colab CPU, what to click."""
    text = devices.device()
    if text.startswith("CPU") and on_colab():
        text += " – for a GPU click Runtime → Change runtime type → T4 GPU, then Run all"
    return text
