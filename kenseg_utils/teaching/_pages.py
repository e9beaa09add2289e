"""Small helpers of the chapters: feedback, questions, tables, the device, the closing line."""

from __future__ import annotations

import hashlib
import html
import json
import logging
import numbers
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from IPython.display import HTML

from kenseg_utils import __version__, artifacts, figures, machine, profiles


def feedback(check: Callable, answer: Any, hint: str = "") -> None:
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


@dataclass(frozen=True)
class Chapter:
    """What a chapter works on: its size, its data's name, its scans (None without data)."""

    size: profiles.Profile
    data_name: str
    scans: pd.DataFrame | None
    started: float


def open_chapter(
    profile: str,
    data_root: str | os.PathLike | None = None,
    work_dir: str | os.PathLike | None = None,
    seed: int = 0,
    *,
    data: bool = True,
    demo: Mapping | None = None,
) -> Chapter:
    """Open a chapter: start its clock, set its pictures' style, find or write its scans.

    The four parameters are papermill's. `demo` changes numbers of the profile demo, for a page
    that shall be quicker; without `data` no scans are looked for. The data's name is that of its
    folder or table, never a path.
    Raises ValueError for an unknown profile and for a seed that is none; atlas.ScanError where
    there are no scans.
    """
    started = time.perf_counter()
    matplotlib.rcParams.update(figures.STYLE)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # remarks on tracing, for its makers
    size = profiles.get(profile)
    if demo and size.name == "demo":
        size = profiles.smaller(size, **demo)
    profiles.check_seed(seed)
    scans = profiles.open_scans(size, data_root, work_dir, seed) if data else None
    name = artifacts.as_path(data_root).name if data_root else "phantom ATLAS" if data else "none"
    return Chapter(size, name, scans, started)


def closing_line(chapter: Chapter) -> str:
    """The lines that end a chapter: what ran, on what, from what, for how long, and when.

    The data's name has a key of what its files hold. Parts stand between " · ", whole on one line.
    The device is named where Keras has been loaded; no chapter loads it for this line alone.
    """
    used = machine.device() if "keras" in sys.modules else "CPU (this chapter runs no network)"
    key = f" (key {data_key(chapter.scans)})" if chapter.scans is not None else ""
    what = [f"kenseg_utils {__version__}", f"commit {artifacts.commit()}", lock_hash()]
    ran = [
        used,
        f"profile {chapter.size.name}",
        f"data {chapter.data_name}{key}",
        f"{time.perf_counter() - chapter.started:.0f} s",
        f"verified on {date.today().isoformat()}",
    ]
    return " · ".join([*what, *_versions()]) + "\n" + " · ".join(ran)


def data_key(scans: pd.DataFrame) -> str:
    """A short key of the scans that a chapter worked on: the same files give the same key."""
    files = [[row.t1w, *row.masks] for row in scans.itertuples()]
    prints = iter(artifacts.fingerprints([path for each in files for path in each]))
    return artifacts.key(files=[[next(prints) for _ in each] for each in files])


def lock_hash() -> str:
    """Which pins the source tree carries: the first digits of its lock file's SHA-256."""
    name = "requirements-colab.lock" if on_colab() else "requirements.lock"
    lock = artifacts.source_tree() / name
    if not lock.exists():
        return "no lock file"
    return f"{name} {hashlib.sha256(lock.read_bytes()).hexdigest()[:8]}"


def _versions() -> list[str]:
    """Keras and the framework beneath it, where they were loaded, and NumPy."""
    keras = sys.modules.get("keras")
    loaded = [keras.backend.backend(), "keras"] if keras else []
    return [f"{name} {sys.modules[name].__version__}" for name in [*loaded, "numpy"]]


def on_colab() -> bool:
    """Whether this notebook runs on Google Colab."""
    return "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules


def device() -> str:
    """The device that Keras computes on, in a few words; on a Colab CPU, what to click."""
    text = machine.device()
    if text.startswith("CPU") and on_colab():
        text += " – for a GPU click Runtime → Change runtime type → T4 GPU, then Run all"
    return text


# --- Questions -----------------------------------------------------------------------------------


def quiz(question: str, options: Mapping[str, tuple[bool, str]]) -> HTML:
    """A multiple-choice question that answers each choice with its explanation, in the page alone.

    options : {choice: (whether it is right, explanation)}, at least two, one or more of them right.
    Radio buttons, so that the arrow keys work them; without scripts all explanations are shown.
    Raises ValueError on fewer options, none that is right, or an empty text.
    """
    if len(options) < 2 or not any(right for right, _ in options.values()):
        raise ValueError("a quiz needs at least two options, and one of them right.")
    explanations = [explanation for _, explanation in options.values()]
    if not all(str(text).strip() for text in (question, *options, *explanations)):
        raise ValueError("a quiz needs words: its question, an option or an explanation is empty.")
    content = json.dumps([question, {text: list(said) for text, said in options.items()}])
    # A name of its own for each question, and the same one in every build of the book.
    name = "kenseg-quiz-" + hashlib.sha256(content.encode()).hexdigest()[:12]
    rows = []
    for number, (text, (right, explanation)) in enumerate(options.items()):
        verdict = "Right" if right else "Not quite"
        rows.append(
            f'<div><label><input type="radio" name="{name}" value="{number}"> '
            f"{html.escape(text)}</label>"
            f'<p class="kenseg-answer" data-option="{number}"><strong>{verdict}.</strong> '
            f"{html.escape(explanation)}</p></div>"
        )
    return HTML(_QUIZ.format(name=name, question=html.escape(question), rows="".join(rows)))


# Explanations are hidden by the script, so that without it nothing is lost. The chosen one is
# shown where it stands and repeated to screen readers by the live region.
_QUIZ = """<form id="{name}" class="kenseg-quiz" onsubmit="return false">
<fieldset><legend style="font-size:1.1rem">{question}</legend>{rows}</fieldset>
<div role="status" style="position:absolute;width:1px;height:1px;overflow:hidden;\
clip-path:inset(50%)"></div>
<noscript><p>Scripts are off in this browser, so every explanation is shown at once.</p></noscript>
</form>
<script>
(() => {{
  for (const form of document.querySelectorAll("form#{name}")) {{
    const answers = form.querySelectorAll(".kenseg-answer");
    const choose = (option) => answers.forEach((answer) => {{
      answer.hidden = answer.dataset.option !== option;
      if (!answer.hidden) form.querySelector('[role="status"]').textContent = answer.textContent;
    }});
    choose(null);
    form.addEventListener("change", (event) => choose(event.target.value));
  }}
}})();
</script>"""


# --- Tables --------------------------------------------------------------------------------------


def output_table(table: pd.DataFrame, caption: str, decimals: int = 2, index: bool = False) -> HTML:
    """A table for the page: caption, column heads with scope, numbers rounded and set right.

    Whole numbers get thousands separators, others `decimals` places (those too small for that two
    significant digits), missing values a dash; all text is escaped.
    index : show the index as row heads. Raises ValueError without a caption.
    """
    if not str(caption).strip():
        raise ValueError("a table needs a caption that says what it shows.")
    heads = ([table.index.name or ""] if index else []) + list(table.columns)
    lines = ["".join(f'<th scope="col">{html.escape(str(head))}</th>' for head in heads)]
    for label, *values in table.itertuples(name=None):
        cells = [f'<th scope="row">{html.escape(str(label))}</th>'] if index else []
        lines.append("".join(cells + [_cell(value, decimals) for value in values]))
    head, *body = (f"<tr>{line}</tr>" for line in lines)
    return HTML(
        '<table class="dataframe kenseg-table"><caption style="color:inherit">'
        f"{html.escape(caption)}</caption><thead>{head}</thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _cell(value, decimals: int) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        text, number = "–", True
    elif isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)):
        whole = isinstance(value, numbers.Integral)
        tiny = (
            0.0 < abs(float(value)) < 10**-decimals
        )  # which rounding would turn into zero, or nearly so
        text = f"{value:,}" if whole else f"{value:.2g}" if tiny else f"{value:,.{decimals}f}"
        number = True
    else:
        text, number = str(value), False
    style = ' style="text-align:right"' if number else ""
    return f"<td{style}>{html.escape(text)}</td>"
