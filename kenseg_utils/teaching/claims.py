"""The paper's claims: what a chapter measured about each, a verdict, and the way to the claims page.

A chapter calls `record` once. It shows its claims as a table and hands each text on to
book/claims.md, where roles of MyST-NB (`glue`) fetch them by name: so nothing is typed there.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from IPython.display import HTML, display

from . import _pages

# Verdicts that no data can change.
HOLDS = "holds"
FAILS = "does not hold"
CONTRADICTION = "contradicts itself"
UNSAID = "left open by the paper"
NEEDS_ATLAS = "cannot be tested without ATLAS and the paper's test images"


def judged(holds: bool | None, data: str) -> str:
    """The verdict of a measurement on `data`; None where its interval leaves both possible."""
    if holds is None:
        return f"undecided on {data}"
    return f"{'holds' if holds else 'does not hold'} on {data}"


def record(data: str, claims: Mapping[str, tuple[str, str, str | bool | None]]) -> HTML:
    """Hand the claims of a chapter on to the claims page, and return them as a table.

    data : the name of the data that the chapter measured on.
    claims : by name (claim in short, what was measured, verdict); the verdict is one of this
    module's words, or True, False or None for `judged`.
    Raises ValueError where a text is empty, since the page would have a hole.
    """
    rows = []
    for name, (short, measured, verdict) in claims.items():
        if not isinstance(verdict, str):
            verdict = judged(None if verdict is None else bool(verdict), data)
        if not all(text.strip() for text in (short, measured, verdict)):
            raise ValueError(
                f"The claim {name!r} lacks a text: give the claim, what was measured, "
                "and a verdict."
            )
        _glue(f"{name}_measured", measured)
        _glue(f"{name}_verdict", verdict)
        rows.append({"the paper says": short, "measured here": measured, "verdict": verdict})
    return _pages.output_table(pd.DataFrame(rows), "What the paper says, and what was found here.")


def _glue(name: str, text: str) -> None:
    """What `myst_nb.glue(name, text, display=False)` writes, on machines without myst_nb too."""
    prefix = "application/papermill.record/"
    display(
        {f"{prefix}text/plain": repr(text)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
    )
