"""The paper's claims: what a chapter measured of each, a verdict, and the way to the claims page.

A chapter calls `record` once. It shows its claims as a table and leaves each as JSON among the
outputs of its cell, where `book/_tools/claims_page.py` finds it: so nothing there is typed.
Verdicts are made by `evaluation.statistics.verdict` alone; this module only shows them.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from IPython.display import HTML, display

from kenseg_utils.evaluation.statistics import (
    CONTRADICTED,
    INCONSISTENT,
    SUPPORTED,
    UNDECIDED,
    UNSAID,
    UNTESTABLE,
    WORDS,
    Claim,
    Interval,
    Verdict,
)

# As `myst_nb.glue` has it: outputs under this prefix are for pages to fetch, not to show.
PREFIX = "application/papermill.record/"
RECORD = f"{PREFIX}text/plain"  # where a claim lies in an output's data, as JSON
# A sign beside each word, and a colour for the line before it, so that neither stands alone.
SIGNS = {
    SUPPORTED: ("✓", "#009e73"),
    CONTRADICTED: ("✗", "#d55e00"),
    UNDECIDED: ("?", "#8a8a8a"),
    UNTESTABLE: ("–", "#56b4e9"),
    INCONSISTENT: ("↯", "#cc79a7"),
}


def record(data: str, claims: Mapping[str, tuple[str, str, Verdict]]) -> HTML:
    """Hand the claims of a chapter on to the claims page, and return them as a table.

    data : the name of the data that the chapter measured on.
    claims : by name (claim in one short sentence, what was measured in words, verdict).
    Raises ValueError for an empty text, since the page would have a hole, and for a verdict that
    is none of `evaluation.statistics`.
    """
    rows = []
    for name, (short, measured, verdict) in claims.items():
        if not isinstance(verdict, Verdict):
            raise ValueError(
                f"The claim {name!r} has {verdict!r} for a verdict: ask "
                "evaluation.statistics.verdict, which computes it from an interval."
            )
        if not all(text.strip() for text in (short, measured, verdict.reason)):
            raise ValueError(
                f"The claim {name!r} lacks a text: give the claim, what was measured, "
                "and a verdict with its reason."
            )
        row = dict(
            name=name,
            claim=short,
            measured=measured,
            verdict=str(verdict),
            word=verdict.word,
            reason=verdict.reason,
            number=number(verdict),
            picture=verdict_picture(verdict),
        )
        display(
            {RECORD: json.dumps(row, ensure_ascii=False)},
            raw=True,
            metadata={"scrapbook": {"name": f"claim_{name}", "mime_prefix": PREFIX}},
        )
        rows.append(row)
    return HTML(table(rows, f"What the paper says, and what was found here ({data})."))


def table(rows: Iterable[Mapping[str, Any]], caption: str) -> str:
    """Rows that `record` left, as an HTML table: claim, number and picture, verdict.

    What was measured and why the verdict is what it is lie folded under the claim; so do `quote`
    (the paper's own words), `section` and `link` (HTML, to the chapter) where a row has them.
    """
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("the paper says", "measured", "verdict")
    )
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows)
    return (
        '<table class="dataframe kenseg-table kenseg-claims"><caption style="color:inherit">'
        f"{html.escape(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _cells(row: Mapping[str, Any]) -> str:
    quote = row.get("quote", "")
    parts = [f"<p>“{html.escape(quote)}” ({html.escape(row['section'])})</p>"] if quote else []
    parts += [
        f"<p><strong>Measured:</strong> {html.escape(row['measured'])}.</p>",
        f"<p><strong>Verdict:</strong> {html.escape(row['verdict'])}, since: "
        f"{html.escape(row['reason'])}.</p>",
    ]
    if row.get("link"):
        parts.append(f"<p>{row['link']}</p>")
    claim = (
        f"<details><summary>{html.escape(row['claim'])}</summary>"
        f'<div style="text-align:left">{"".join(parts)}</div></details>'
    )
    shown = " ".join(part for part in (row["picture"], html.escape(row["number"])) if part)
    left = 'style="text-align:left"'
    unsaid = f"<br><small>{UNSAID}</small>" if row["reason"].startswith(UNSAID) else ""
    return (
        f"<td {left}>{claim}</td><td {left}>{shown or '–'}</td>"
        f"<td {left}>{badge(row['verdict'], row['word'])}{unsaid}</td>"
    )


def badge(text: str, word: str) -> str:
    """A verdict in words behind its sign and a coloured line."""
    sign, colour = SIGNS[word]
    return (
        f'<span class="kenseg-verdict" style="border-left:5px solid {colour};padding-left:.5em">'
        f'<span aria-hidden="true">{sign}</span> {html.escape(text)}</span>'
    )


def counts(number_of: Mapping[str, int]) -> str:
    """How many verdicts of each word there are, in HTML: a line of five numbers."""
    several = {INCONSISTENT: "contradict themselves"}
    shown = []
    for word in WORDS:
        count = number_of[word]
        text = f"{count} {word if count == 1 else several.get(word, word)}"
        shown.append(f'<span style="white-space:nowrap">{badge(text, word)}</span>')
    return f'<p class="kenseg-counts">{" &ensp; ".join(shown)}</p>'


def number(verdict: Verdict) -> str:
    """The measurement of a verdict in one short text; "" where there is none.

    The estimate with its interval; for a verdict put together from parts, how many of them say
    what.
    """
    if verdict.parts:
        said = [part.word for _, part in verdict.parts]
        return ", ".join(f"{said.count(word)} {word}" for word in WORDS if word in said)
    interval = verdict.interval
    if interval is None or interval.estimate is None:
        return ""
    if not interval.known:
        return f"{_written(interval.estimate)}, no interval"
    if interval.low == interval.high:
        return _written(interval.estimate)
    return f"{_written(interval.estimate)} ({interval.text('.2g')})"


def _written(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.2g}"


# --- The picture of a verdict --------------------------------------------------------------------

WIDTH, LINE, MARGIN = 170, 13, 5
ALIKE = 50  # lines whose lengths differ by more than this factor get a scale each


class _Line(NamedTuple):
    """A measurement and the range that the claim asserts for it."""

    name: str
    interval: Interval
    asserted: Claim


def verdict_picture(verdict: Verdict) -> str:
    """A verdict's measurements as inline SVG, a line each; "" where there is nothing to draw.

    A dot for the estimate, a line for its interval, a shaded band for the range that the claim
    asserts: supported is what lies in the band with its whole line. Measurements of very
    different size have a scale each, in which the band's edge is at the same place.
    """
    lines = _lines("", verdict)
    if not lines:
        return ""
    spans = [_span([line]) for line in lines]
    lengths = [high - low for low, high in spans]
    if max(lengths) <= ALIKE * min(lengths):
        spans = [_span(lines)] * len(lines)
    drawn = "".join(
        _drawn(line, span, 2 + LINE * place)
        for place, (line, span) in enumerate(zip(lines, spans, strict=True))
    )
    height = 4 + LINE * len(lines)
    label = html.escape("; ".join(_told(line) for line in lines))
    return (
        f'<svg role="img" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" style="vertical-align:middle"><title>{label}</title>'
        f"{drawn}</svg>"
    )


def _lines(name: str, verdict: Verdict) -> list[_Line]:
    if verdict.parts:
        return [
            line
            for inner, part in verdict.parts
            for line in _lines(f"{name}, {inner}" if name else inner, part)
        ]
    interval, asserted = verdict.interval, verdict.asserted
    if interval is None or asserted is None or interval.estimate is None:
        return []
    if math.isinf(asserted.low) and math.isinf(asserted.high):
        return []
    return [_Line(name, interval, asserted)]


def _span(lines: list[_Line]) -> tuple[float, float]:
    """From where to where an axis runs that shows these lines with the ends of their ranges."""
    places = [
        float(place)
        for line in lines
        for place in (
            line.interval.estimate,
            line.interval.low,
            line.interval.high,
            line.asserted.low,
            line.asserted.high,
        )
        if place is not None and math.isfinite(place)
    ]
    low, high = min(places), max(places)
    room = 0.12 * (high - low) or 0.5 * max(abs(high), 1.0)
    return low - room, high + room


def _drawn(line: _Line, span: tuple[float, float], top: float) -> str:
    def x(value: float) -> float:
        share = (min(max(value, span[0]), span[1]) - span[0]) / (span[1] - span[0])
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 1)

    middle = top + LINE / 2
    left, right = x(line.asserted.low), x(line.asserted.high)
    parts = [
        f'<rect x="{left}" y="{top}" width="{max(right - left, 3):g}" height="{LINE}" '
        'fill="#009e73" fill-opacity="0.25"/>'
    ]
    for end in (line.asserted.low, line.asserted.high):
        if math.isfinite(end):
            parts.append(
                f'<line x1="{x(end)}" x2="{x(end)}" y1="{top}" y2="{top + LINE}" '
                'stroke="#009e73" stroke-width="1.5"/>'
            )
    interval = line.interval
    if interval.low is not None and interval.high is not None and interval.low < interval.high:
        parts.append(
            f'<line x1="{x(interval.low)}" x2="{x(interval.high)}" y1="{middle}" y2="{middle}" '
            'stroke="currentColor" stroke-width="2"/>'
        )
    dot = x(float(interval.estimate or 0.0))
    filled = "currentColor" if interval.known else "none"
    parts.append(
        f'<circle cx="{dot}" cy="{middle}" r="3.4" fill="{filled}" stroke="currentColor"/>'
    )
    return "".join(parts)


def _told(line: _Line) -> str:
    interval = line.interval
    found = _written(float(interval.estimate or 0.0))
    if interval.low != interval.high:
        found += f", {interval.text()}"
    return f"{line.name + ': ' if line.name else ''}{found}; claimed is {line.asserted.range}"
