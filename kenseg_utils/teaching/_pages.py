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

from ._scripts import form_name


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


def left_out(chapter: Chapter) -> HTML | None:
    """What is not used of a chapter's data, and why, as a table; None where all of it is.

    Paths begin at the data's folder: where that lies is nobody's business on a page.
    """
    attrs = {} if chapter.scans is None else chapter.scans.attrs
    problems = attrs.get("problems", ())
    if not problems:
        return None
    root = attrs["seen"].root
    name = os.path.basename(root) or root
    told = pd.DataFrame({"left out": [text.replace(root, name) for text in problems]})
    return output_table(told, f"What of {chapter.data_name} is not used, and why.")


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
    name = form_name("quiz", content)
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


ROWS = 10  # of a longer table a page shows so many before it is asked for all
WORDS = 30  # of a longer caption the first part stands above, the rest below


def output_table(
    table: pd.DataFrame, caption: str, decimals: int | None = None, index: bool = False
) -> HTML:
    """A table for the page: caption, column heads with scope, numbers rounded and set right.

    Numbers get the digits that a column needs: whole ones none after the point; others `decimals`
    places (2) as far as three digits in all go, or, where `decimals` is given, one more than it.
    A share beside volumes of hundreds of millilitres keeps two; what rounds to zero even so is
    "< 0.01". Thousands are separated, missing values are a dash, all text is escaped.
    After ten rows the rest is folded. Of a long caption the rest, and a column that says the same
    in each row, stand below the table.
    index : show the index as row heads. Raises ValueError without a caption.
    """
    caption = " ".join(str(caption).split())
    if not caption:
        raise ValueError("a table needs a caption that says what it shows.")
    caption, *notes = _parted(caption)
    columns = {number: table.iloc[:, number].tolist() for number in range(table.shape[1])}
    for number in _alike(columns):
        value = f"{columns.pop(number)[0]}"
        stop = "" if value.endswith((".", "…")) else "."
        notes.append(f"In every row, {table.columns[number]}: {value}{stop}")
    cells = [_cells(values, decimals) for values in columns.values()]
    head = f'<th scope="col">{html.escape(str(table.index.name or ""))}</th>' if index else ""
    for number, values in columns.items():  # a head stands above what it heads
        style = "" if any(map(_is_number, values)) else ' style="text-align:left"'
        head += f'<th scope="col"{style}>{html.escape(str(table.columns[number]))}</th>'
    if index:
        cells.insert(0, [f'<th scope="row">{html.escape(str(each))}</th>' for each in table.index])
    rows = [f"<tr>{''.join(row)}</tr>" for row in zip(*cells)]
    drawn = _TABLE.format(html.escape(caption), head, "".join(rows[:ROWS]))
    if len(rows) > ROWS:
        more = _TABLE.format(f"Rows {ROWS + 1} to {len(rows)}", head, "".join(rows[ROWS:]))
        drawn += f"<details><summary>Show all {len(rows)} rows</summary>{more}</details>"
    below = "".join(f'<p class="kenseg-caption">{html.escape(note)}</p>' for note in notes)
    return HTML(drawn + below)


_TABLE = (
    '<table class="dataframe kenseg-table"><caption style="color:inherit">{}</caption>'
    "<thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
)


def _parted(caption: str) -> list[str]:
    """A caption, and what of a long one is said below the table: its first sentence stays, or
    what comes before a colon or a semicolon."""
    if len(caption.split()) <= WORDS:
        return [caption]
    for end in (". ", ": ", "; "):
        first, found, rest = caption.partition(end)
        if found and 4 <= len(first.split()) <= WORDS:
            return [f"{first}.", rest[0].upper() + rest[1:]]
    return [caption]


def _alike(columns: Mapping[int, list]) -> list[int]:
    """The columns that have the same words in each of several rows, unless all have."""
    alike = [
        number
        for number, values in columns.items()
        if len(values) > 1
        and all(isinstance(value, str) and value.strip() for value in values)
        and len(set(values)) == 1
    ]
    return alike if len(alike) < len(columns) else []


def _cells(values: list, decimals: int | None) -> list[str]:
    """A column's cells."""
    shown = _in_digits(values, decimals)
    cells = []
    for value, digits in zip(values, shown):
        style = "" if digits is None else ' style="text-align:right"'
        cells.append(f"<td{style}>{html.escape(str(value) if digits is None else digits)}</td>")
    return cells


def _in_digits(values: list, decimals: int | None) -> list[str | None]:
    """A column's numbers as its reader needs them; None for what is no number."""
    found = [value for value in values if _is_number(value)]
    top = max((abs(float(value)) for value in found if np.isfinite(value)), default=0.0)
    places, most = (2, 2) if decimals is None else (decimals, max(2, decimals))
    if top >= 1:
        places = max(0, min(places, most - int(np.floor(np.log10(top)))))
        while places and all(f"{value:.{places}f}"[-1] in "0nf" for value in found):
            places -= 1
        if all(float(value).is_integer() for value in found):
            places = 0
    least, shares = 10.0**-places, 2 if decimals is None else min(decimals, 2)

    def digits(value: Any) -> str | None:
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return "–"
        if not _is_number(value):
            return None
        if isinstance(value, numbers.Integral):
            return f"{value:,}"
        if 0 < top < least:
            return f"{value:.2g}" if value else "0"
        finer = max(places, shares) if 0 < abs(value) < 1 else places
        if 0 < abs(value) < 10.0**-finer / 2:
            return f"{'<' if value > 0 else '> -'} {10.0**-finer:.{finer}f}".replace("- ", "-")
        return f"{value:,.{finer}f}"

    return [digits(value) for value in values]


def _is_number(value: Any) -> bool:
    """Whether a cell holds a number that is there."""
    plain = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    return plain and not pd.isna(value)
