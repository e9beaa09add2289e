"""Two things to play with: a dial of protocols that a Dice hangs on, and an editor of one mask.

HTML with a script of its own, as the games are: no kernel, nothing from the network, worked by the
keyboard, and a sentence or a table where scripts are off.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML

from kenseg_utils import metrics


def _name(kind: str, text: str) -> str:
    """An id that is the same in every build of the book."""
    return f"kenseg-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _as_script(content: dict) -> str:
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


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
    text = _as_script(content)
    dials = "".join(_dial(name, legend, choices) for name, legend, choices in _DIALS)
    name = _name("dial", text)
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


_DIAL = """<form id="@NAME@" class="kenseg-play kenseg-dial" onsubmit="return false">
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


def lesion_editor(
    truth: np.ndarray,
    start: np.ndarray,
    image: np.ndarray | None = None,
    spacing: Sequence[float] = (1.0, 1.0),
) -> HTML:
    """A slice whose mask can be painted, erased, grown and shrunk, while its scores follow.

    `truth`, `start`: masks (X, Y) of the lesion and of the prediction to begin with; `image`: grey
    values of the same shape; `spacing`: a pixel's sides in mm. Shown with x to the right and y up.
    Scores are those of `metrics`: Dice, `hd95_mm` and `f1_atlas22`, computed in the page. Where
    scripts are off, a table tells those of `start`. Raises ValueError for arrays that do not fit,
    masks that are none, or more than 128 pixels a side.
    """
    truth, start = metrics.checked_masks(truth, start)
    image = np.zeros(truth.shape) if image is None else np.asarray(image, float)
    if truth.ndim != 2 or image.shape != truth.shape or max(truth.shape) > 128:
        raise ValueError(
            f"a lesion editor takes one slice, up to 128 pixels a side, with an image of its "
            f"shape; got masks of {truth.shape} and an image of {image.shape}."
        )
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / (high - low or 1) * 255, 0, 255).astype(np.uint8)
    sizes = [float(size) for size in spacing]
    scores = dict(
        dice=metrics.dice(truth, start),
        hd95=metrics.hd95_mm(truth, start, sizes),
        f1=metrics.f1_atlas22(truth, start),
    )
    content = dict(
        wide=truth.shape[0],
        high=truth.shape[1],
        spacing=sizes,
        **{
            name: base64.b64encode(np.asarray(array, np.uint8).tobytes()).decode()
            for name, array in (("truth", truth), ("start", start), ("grey", grey))
        },
    )
    text = _as_script(content)
    cells = [f"{scores['dice']:.3f}", _mm(scores["hd95"]), f"{scores['f1']:.3f}"]
    return HTML(
        _EDITOR.replace("@NAME@", _name("editor", text))
        .replace("@START@", "".join(f"<td>{cell}</td>" for cell in cells))
        .replace("@CONTENT@", text)
    )


def _mm(value: float) -> str:
    return "not defined" if np.isnan(value) else f"{value:.2f} mm"


_EDITOR = """<form id="@NAME@" class="kenseg-play kenseg-editor" onsubmit="return false">
<div data-part="game" hidden>
<p><label><input type="radio" name="@NAME@-tool" value="1" checked> paint</label>
<label><input type="radio" name="@NAME@-tool" value="0"> erase</label>
<label>with <select data-part="brush" style="min-height:2rem"><option value="0">1 pixel</option>
<option value="1" selected>3 pixels</option><option value="3">7 pixels</option></select></label></p>
<canvas data-part="canvas" tabindex="0" role="img" aria-label="" style="display:block;width:100%;\
max-width:480px;height:auto;background:#000;touch-action:pinch-zoom;cursor:crosshair"></canvas>
<p>Drag, or move by the arrow keys and paint by the space bar. True lesion: orange, solid line; \
your mask: blue, dashed line.</p>
<p><button type="button" data-act="grow" style="min-height:2rem">Grow by a pixel</button>
<button type="button" data-act="shrink" style="min-height:2rem">Shrink by a pixel</button>
<button type="button" data-act="shift" style="min-height:2rem">Move right by a pixel</button>
<button type="button" data-act="clear" style="min-height:2rem">Nothing</button>
<button type="button" data-act="truth" style="min-height:2rem">The truth</button>
<button type="button" data-act="undo" style="min-height:2rem">Undo</button>
<button type="button" data-act="again" style="min-height:2rem">Start again</button></p>
<p data-part="said" role="status"></p></div>
<table class="kenseg-table"><caption style="color:inherit">A mask's three scores</caption>
<thead><tr>
<th scope="col">mask</th><th scope="col">Dice</th><th scope="col">HD95</th>
<th scope="col">F1 of lesions</th></tr></thead><tbody>
<tr><th scope="row">to begin with</th>@START@</tr>
<tr data-part="now" hidden><th scope="row">as it is now</th><td></td><td></td><td></td></tr>
</tbody></table></form>
<script>
(() => {
  const given = @CONTENT@, {wide, high, spacing} = given;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const truth = bytes(given.truth), start = bytes(given.start), grey = bytes(given.grey);
  const STEPS = [[1, 0], [-1, 0], [0, 1], [0, -1]];
  const inside = (x, y) => x >= 0 && y >= 0 && x < wide && y < high;
  const at = (mask, x, y) => inside(x, y) ? mask[x * high + y] : 0;
  const each = (make) => Uint8Array.from({length: wide * high}, (_, k) =>
    make(Math.floor(k / high), k % high));
  const grown = (mask) => each((x, y) => at(mask, x, y)
    || STEPS.some(([dx, dy]) => at(mask, x + dx, y + dy)) ? 1 : 0);
  const shrunk = (mask) => each((x, y) => at(mask, x, y)
    && STEPS.every(([dx, dy]) => at(mask, x + dx, y + dy)) ? 1 : 0);
  const count = (mask) => mask.reduce((sum, one) => sum + one, 0);

  const dice = (mask) => {
    const sum = count(truth) + count(mask);
    return sum ? 2 * mask.reduce((both, one, k) => both + (one & truth[k]), 0) / sum : 1;
  };
  const surface = (mask) => {
    const points = [];
    mask.forEach((one, k) => {
      const x = Math.floor(k / high), y = k % high;
      if (one && !STEPS.every(([dx, dy]) => at(mask, x + dx, y + dy))) {
        points.push([x * spacing[0], y * spacing[1]]);
      }
    });
    return points;
  };
  const percentile = (values, share) => {
    const ordered = values.sort((one, other) => one - other), place = share * (ordered.length - 1);
    const low = Math.floor(place), next = Math.min(low + 1, ordered.length - 1);
    return ordered[low] + (place - low) * (ordered[next] - ordered[low]);
  };
  const hd95 = (mask) => {
    const [a, b] = [surface(truth), surface(mask)];
    if (!a.length || !b.length) return a.length || b.length ? NaN : 0;
    const away = (from, to) => from.map(([x, y]) =>
      Math.min(...to.map(([u, v]) => Math.hypot(x - u, y - v))));
    return Math.max(percentile(away(a, b), 0.95), percentile(away(b, a), 0.95));
  };
  /* Lesions hang together across sides; each is a list of places. */
  const lesions = (mask) => {
    const seen = new Uint8Array(mask.length), found = [];
    mask.forEach((one, seed) => {
      if (!one || seen[seed]) return;
      const own = [seed];
      seen[seed] = 1;
      for (let next = 0; next < own.length; next++) {
        const x = Math.floor(own[next] / high), y = own[next] % high;
        for (const [dx, dy] of STEPS) {
          const place = (x + dx) * high + y + dy;
          if (at(mask, x + dx, y + dy) && !seen[place]) {
            seen[place] = 1;
            own.push(place);
          }
        }
      }
      found.push(own);
    });
    return found;
  };
  const f1 = (mask) => {
    const real = lesions(truth), called = lesions(mask);
    const hit = real.filter((own) => own.some((k) => mask[k])).length;
    const wrong = called.filter((own) => !own.some((k) => truth[k])).length;
    const total = hit + (real.length - hit + wrong) / 2;
    return total ? hit / total : 1;
  };

  for (const form of document.querySelectorAll("form#@NAME@")) {
    const part = (name) => form.querySelector(`[data-part="${name}"]`);
    const canvas = part("canvas"), pen = canvas.getContext("2d"), SCALE = Math.ceil(480 / wide);
    canvas.width = wide * SCALE;
    canvas.height = high * SCALE;
    let mask = start.slice(), before = [], cursor = [wide >> 1, high >> 1], drawing = false;
    const outline = (some, colour, dashes) => {
      pen.strokeStyle = pen.fillStyle = colour;
      pen.lineWidth = 2.5;
      pen.beginPath();
      some.forEach((one, k) => {
        if (!one) return;
        const x = Math.floor(k / high), y = k % high, left = x * SCALE;
        const top = (high - 1 - y) * SCALE, gap = dashes ? SCALE / 5 : 0;
        pen.globalAlpha = 0.25;
        pen.fillRect(left, top, SCALE, SCALE);
        for (const [dx, dy] of STEPS) {
          if (at(some, x + dx, y + dy)) continue;
          const from = dx ? left + (dx > 0 ? SCALE : 0) : left + gap;
          const level = dx ? top + gap : top + (dy < 0 ? SCALE : 0);
          pen.moveTo(from, level);
          pen.lineTo(dx ? from : left + SCALE - gap, dx ? top + SCALE - gap : level);
        }
      });
      pen.globalAlpha = 1;
      pen.stroke();
    };
    const draw = () => {
      grey.forEach((value, k) => {
        pen.fillStyle = `rgb(${value}, ${value}, ${value})`;
        pen.fillRect(Math.floor(k / high) * SCALE, (high - 1 - k % high) * SCALE, SCALE, SCALE);
      });
      outline(truth, "#E69F00", false);
      outline(mask, "#56B4E9", true);
      if (document.activeElement === canvas) {
        const reach = Number(part("brush").value), side = (2 * reach + 1) * SCALE;
        const corner = [cursor[0] - reach, high - 1 - cursor[1] - reach].map((one) => one * SCALE);
        pen.strokeStyle = "#fff";
        pen.strokeRect(...corner, side, side);
      }
    };
    const show = () => {
      const scores = {dice: dice(mask), hd95: hd95(mask), f1: f1(mask)};
      form.kensegScores = scores;
      form.kensegMask = mask;
      const told = [scores.dice.toFixed(3), Number.isNaN(scores.hd95) ? "not defined"
        : `${scores.hd95.toFixed(2)} mm`, scores.f1.toFixed(3)];
      const pieces = lesions(mask).length;
      part("now").querySelectorAll("td").forEach((cell, k) => { cell.textContent = told[k]; });
      part("said").textContent = `${count(mask)} pixels in `
        + `${pieces === 1 ? "1 piece" : `${pieces} pieces`}: Dice ${told[0]}, `
        + `HD95 ${told[1]}, F1 of lesions ${told[2]}.`;
      canvas.setAttribute("aria-label", `A slice with its true lesion and your mask. `
        + part("said").textContent);
      draw();
    };
    const keep = () => { before = [...before.slice(-49), mask.slice()]; };
    const paint = ([x, y]) => {
      const value = Number(form.querySelector('input[type="radio"]:checked').value);
      const reach = Number(part("brush").value);
      for (let dx = -reach; dx <= reach; dx++) {
        for (let dy = -reach; dy <= reach; dy++) {
          const near = dx * dx + dy * dy <= (reach + 0.5) ** 2;
          if (near && inside(x + dx, y + dy)) mask[(x + dx) * high + y + dy] = value;
        }
      }
      show();
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [Math.floor((event.clientX - box.left) / box.width * wide),
        high - 1 - Math.floor((event.clientY - box.top) / box.height * high)];
    };
    canvas.addEventListener("pointerdown", (event) => {
      drawing = true;
      canvas.setPointerCapture(event.pointerId);
      keep();
      paint(cursor = place(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drawing) paint(cursor = place(event));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => { drawing = false; });
    }
    const KEYS = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
    canvas.addEventListener("keydown", (event) => {
      const step = KEYS[event.key];
      if (!step && event.key !== " ") return;
      event.preventDefault();
      if (step) {
        cursor = [Math.max(0, Math.min(wide - 1, cursor[0] + step[0])),
          Math.max(0, Math.min(high - 1, cursor[1] + step[1]))];
        draw();
      } else {
        keep();
        paint(cursor);
      }
    });
    canvas.addEventListener("focus", draw);
    canvas.addEventListener("blur", draw);
    const acts = {grow: () => grown(mask), shrink: () => shrunk(mask),
      shift: () => each((x, y) => at(mask, x - 1, y)), clear: () => each(() => 0),
      truth: () => truth.slice(), again: () => start.slice()};
    for (const button of form.querySelectorAll("[data-act]")) {
      button.addEventListener("click", () => {
        const act = button.dataset.act;
        if (act === "undo") {
          mask = before.pop() || mask;
        } else {
          keep();
          mask = acts[act]();
        }
        show();
      });
    }
    part("game").hidden = part("now").hidden = false;
    show();
  }
})();
</script>"""
