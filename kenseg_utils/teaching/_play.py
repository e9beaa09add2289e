"""Something to play with: the protocol that a Dice hangs on, as three dials.

HTML with a script of its own, as the games are: no kernel, nothing from the network, worked by the
keyboard, and a sentence where scripts are off.
"""

from __future__ import annotations

import html

import pandas as pd
from IPython.display import HTML

from ._scripts import form_name, in_script


def protocol_dial(counts: pd.DataFrame | None, summary: str) -> HTML:
    """Three dials: what of a head is looked at, what is averaged, what two empty masks score.

    `counts`: one set of predictions as `experiments.protocols.count_scopes` counts them, a row a
    slice (subject, scope, tp, fp, fn), with the scopes crops, slices and volume. The page computes
    the Dice of each of the 27 settings, and shows the chosen one among them. `summary`: a sentence
    for where scripts are off; without counts it stands alone.
    Raises ValueError for an empty sentence, and for counts that lack a column or a scope.
    """
    if not summary.strip():
        raise ValueError("a protocol dial needs a summary, for readers without scripts.")
    if counts is None or counts.empty:
        return HTML(f'<p class="kenseg-dial-off">{html.escape(summary)}</p>')
    lacking = {"subject", "scope", "tp", "fp", "fn"} - set(counts.columns)
    if lacking or set(counts.scope) != set(_SCOPES):
        raise ValueError(
            f"a protocol dial needs the columns subject, scope, tp, fp and fn, and the scopes "
            f"{', '.join(_SCOPES)}: take what experiments.protocols.count_scopes gives."
        )
    subjects = {name: place for place, name in enumerate(sorted(counts.subject.unique()))}
    content = {}
    for scope in _SCOPES:
        rows = counts[counts.scope == scope]
        filled = rows[["tp", "fp", "fn"]].any(axis=1)
        places = rows.subject.map(subjects)
        numbers = rows[["tp", "fp", "fn"]].to_numpy()[filled]
        content[scope] = dict(
            rows=[[int(p), *map(int, row)] for p, row in zip(places[filled], numbers)],
            empty=[int((~filled & (places == place)).sum()) for place in subjects.values()],
        )
    text = in_script(content, separators=(",", ":"))
    dials = "".join(_dial(name, legend, choices) for name, legend, choices in _DIALS)
    name = form_name("dial", text)
    return HTML(
        _DIAL.replace("@DIALS@", dials)
        .replace("@NAME@", name)
        .replace("@SUMMARY@", html.escape(summary))
        .replace("@CONTENT@", text)
    )


_SCOPES = ("crops", "slices", "volume")
_DIALS = (
    (
        "scope",
        "What is looked at",
        {
            "crops": "windows around each true lesion",
            "slices": "whole slices, those with lesion",
            "volume": "all slices of the head",
        },
    ),
    (
        "reduction",
        "What gets a Dice of its own",
        {"slice": "each slice", "subject": "each subject", "pooled": "all of it, pooled"},
    ),
    ("empty", "Two empty masks", {"0": "score 0", "1": "score 1", "NaN": "are left out"}),
)


def _dial(name: str, legend: str, choices: dict[str, str]) -> str:
    first = next(iter(choices))
    rows = "".join(
        f'<label style="margin-right:1.2rem;display:inline-block;min-height:1.8rem">'
        f'<input type="radio" name="@NAME@-{name}" data-dial="{name}" value="{value}"'
        f"{' checked' if value == first else ''}> {text}</label>"
        for value, text in choices.items()
    )
    style = "font-size:1rem;margin:0.4rem 0 0"
    return f'<fieldset><legend style="{style}">{legend}</legend>{rows}</fieldset>'


_DIAL = """<form id="@NAME@" class="kenseg-dial" onsubmit="return false">
<p data-part="off">@SUMMARY@</p>
<div data-part="game" hidden>@DIALS@
<p data-part="said" role="status" style="min-height:3.2em"></p>
<svg data-part="picture" viewBox="0 0 400 96" role="img" aria-label="" \
style="width:100%;max-width:560px;height:auto"></svg>
<p>A line for each of the 27 protocols, the chosen one long: the predictions are the same.</p>
</div></form>
<script>
(() => {
  const counts = @CONTENT@;
  const values = {scope: ["crops", "slices", "volume"], reduction: ["slice", "subject", "pooled"],
    empty: ["0", "1", "NaN"]};
  const dice = ([, tp, fp, fn], empty) =>
    tp + fp + fn ? 2 * tp / (2 * tp + fp + fn) : empty;
  const mean = (some) => {
    const kept = some.filter((one) => !Number.isNaN(one));
    return kept.length ? kept.reduce((sum, one) => sum + one, 0) / kept.length : NaN;
  };
  const total = (rows) => rows.reduce((sum, row) => sum.map((one, k) => k ? one + row[k] : 0),
    [0, 0, 0, 0]);
  const score = (scope, reduction, empty) => {
    const {rows, empty: none} = counts[scope], nothing = Number(empty);
    if (reduction === "pooled") return dice(total(rows), nothing);
    if (reduction === "subject") {
      return mean(none.map((_, place) =>
        dice(total(rows.filter((row) => row[0] === place)), nothing))
        .filter((_, place) => none[place] || rows.some((row) => row[0] === place)));
    }
    const blank = none.reduce((sum, one) => sum + one, 0);
    return mean([...rows.map((row) => dice(row, nothing)), ...Array(blank).fill(nothing)]);
  };
  const all = values.scope.flatMap((scope) => values.reduction.flatMap((reduction) =>
    values.empty.map((empty) => score(scope, reduction, empty))));
  const known = all.filter((one) => !Number.isNaN(one)), low = Math.min(...known);
  const high = Math.max(...known), across = (value) => 20 + 360 * value;
  const svg = (kind, attributes, text) => {
    const part = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
    if (text !== undefined) part.textContent = text;
    return part;
  };
  for (const form of document.querySelectorAll("form#@NAME@")) {
    const part = (name) => form.querySelector(`[data-part="${name}"]`);
    const chosen = (dial) => form.querySelector(`[data-dial="${dial}"]:checked`);
    const show = () => {
      const [scope, reduction, empty] = ["scope", "reduction", "empty"].map((dial) => chosen(dial));
      const value = score(scope.value, reduction.value, empty.value);
      form.kensegDice = value;
      const {rows, empty: none} = counts[scope.value];
      const blank = none.reduce((sum, one) => sum + one, 0);
      const rank = 1 + known.filter((one) => one < value - 1e-9).length;
      const words = (input) => input.parentNode.textContent.trim();
      part("said").textContent = `Dice ${value.toFixed(3)}: ${words(scope)}, ${words(reduction)}; `
        + `two empty masks ${words(empty)}. There are ${rows.length + blank} slices, and in `
        + `${blank} of them nothing is and nothing was found. From below it is number ${rank} of `
        + `the ${known.length} protocols, which run from ${low.toFixed(3)} to ${high.toFixed(3)}.`;
      const line = {stroke: "currentColor", "stroke-width": 1};
      const label = {fill: "currentColor", "font-size": 14, "text-anchor": "middle"};
      part("picture").replaceChildren(svg("line", {x1: 20, x2: 380, y1: 66, y2: 66, ...line}),
        ...[0, 0.5, 1].map((at) => svg("text", {x: across(at), y: 86, ...label}, String(at))),
        ...known.map((at) => svg("line", {x1: across(at), x2: across(at), y1: 50, y2: 66, ...line,
          "stroke-width": 2, opacity: 0.6})),
        svg("line", {x1: across(value), x2: across(value), y1: 26, y2: 66, ...line,
          "stroke-width": 5}),
        svg("text", {x: Math.max(50, Math.min(350, across(value))), y: 18, ...label,
          "font-weight": "bold"}, `Dice ${value.toFixed(3)}`));
      part("picture").setAttribute("aria-label", `The chosen protocol's Dice, ${value.toFixed(3)}, `
        + `among those of ${known.length}, from ${low.toFixed(3)} to ${high.toFixed(3)}`);
    };
    form.addEventListener("change", show);
    part("off").hidden = true;
    part("game").hidden = false;
    show();
  }
})();
</script>"""
