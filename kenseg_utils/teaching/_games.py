"""Games of the page alone: a bet that is settled further down, and a seed dice to roll.

Both are HTML with a script of their own: no kernel, nothing from the network. They are worked by
the keyboard, speak to screen readers, and where scripts are off a sentence says what they show.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Protocol

import pandas as pd
from IPython.display import HTML

from ._scripts import form_name, in_script


def bet(question: str, options: Sequence[str]) -> HTML:
    """A choice that the page keeps and `settle` takes up; it does not say what is right.

    Radio buttons, so that the arrow keys work them. Raises ValueError for fewer than two options,
    the same one twice, or an empty text.
    """
    texts = [str(option).strip() for option in options]
    if len(texts) < 2 or len(set(texts)) < len(texts) or not all((question.strip(), *texts)):
        raise ValueError("a bet needs a question and two or more options, each with its words.")
    name = bet_name(question)
    rows = "".join(
        f'<div><label><input type="radio" name="{name}" value="{number}"> '
        f"{html.escape(text)}</label></div>"
        for number, text in enumerate(texts)
    )
    return HTML(_BET.format(name=name, question=html.escape(question), rows=rows))


def bet_name(question: str) -> str:
    """The id of a bet's form: the same in every build of the book."""
    return form_name("bet", question)


_BET = """<form id="{name}" class="kenseg-quiz kenseg-bet" onsubmit="return false">
<fieldset><legend style="font-size:1.1rem">{question}</legend>{rows}
<p data-part="said" role="status">Choose one: the page keeps your bet and settles it further \
down. (Where scripts are off, keep it in mind.)</p></fieldset></form>
<script>
(() => {{
  for (const form of document.querySelectorAll("form#{name}")) {{
    form.addEventListener("change", () => {{
      form.querySelector('[data-part="said"]').textContent = "Your bet is taken.";
    }});
  }}
}})();
</script>"""


def settle(
    question: str,
    options: Sequence[str],
    right: int,
    found: str,
    judges: str = "the recorded seeds",
) -> HTML:
    """What came of a bet: `found` for everybody, and beneath it whether the reader's choice holds.

    `right`: the place in `options` of the one that the numbers bear out. `judges`: what bears it
    out, in the plural. Where the bet cannot be read (scripts off, pages that keep their outputs
    apart), `found` stands alone. Raises ValueError for a place that there is not, or an empty text.
    """
    if not 0 <= right < len(options) or not found.strip():
        raise ValueError(f"option {right} of {len(options)} and {found!r} settle nothing.")
    name = bet_name(question)
    content = in_script([str(option) for option in options])
    return HTML(
        _SETTLED.format(
            name=name,
            found=html.escape(found),
            borne=html.escape(str(options[right])),
            options=content,
            right=right,
            judges=in_script(judges),
        )
    )


_SETTLED = """<div class="kenseg-settled" data-bet="{name}"><p><strong>{found}</strong></p>
<p>Borne out: “{borne}”</p><p data-part="yours" role="status"></p></div>
<script>
(() => {{
  const options = {options}, right = {right}, judges = {judges};
  const form = document.querySelector("form#{name}");
  const say = () => {{
    const chosen = form && form.querySelector("input:checked");
    for (const box of document.querySelectorAll('[data-bet="{name}"] [data-part="yours"]')) {{
      box.textContent = !form ? "" : !chosen ? "You have not bet: do so further up."
        : `You bet: “${{options[chosen.value]}}” – ${{Number(chosen.value) === right
          ? `${{judges}} bear you out.` : `${{judges}} do not bear that out.`}}`;
    }}
  }};
  if (form) form.addEventListener("change", say);
  say();
}})();
</script>"""


class Choices(Protocol):
    """What `seed_dice` rolls: `experiments.pairs.Rolls` is such."""

    @property
    def seeds(self) -> tuple[int, ...]: ...
    @property
    def differences(self) -> tuple[float, ...]: ...
    @property
    def shown(self) -> Mapping[int, str]: ...
    @property
    def table(self) -> pd.DataFrame: ...


def seed_dice(rolls: Choices | None, part: str, summary: str) -> HTML:
    """A dice: each roll draws so many of the recorded pairs, and says what one would have claimed.

    It shows the mean difference, whether a report of means alone would have claimed a win, and
    whether the interval over seeds and subjects leaves zero out; and it counts. `part`: what the
    pairs differ by. `summary`: a sentence for where scripts are off. Without rolls it stands alone.
    Raises ValueError for an empty text.
    """
    if not part.strip() or not summary.strip():
        raise ValueError("a seed dice needs the name of what is compared, and a summary.")
    if rolls is None or rolls.table.empty:
        return HTML(f'<p class="kenseg-dice-off">{html.escape(summary)}</p>')
    content = dict(
        part=part,
        seeds=list(rolls.seeds),
        differences=[round(value, 6) for value in rolls.differences],
        shown={str(key): word for key, word in rolls.shown.items()},
    )
    text = in_script(content)
    name = form_name("dice", text)
    sizes = [int(size) for size in rolls.table["seeds"]]
    start = 1 if 1 in sizes else sizes[0]
    return HTML(
        _DICE.format(
            name=name,
            legend=html.escape(f"Roll the seeds: does {part} help?"),
            part=html.escape(part),
            summary=html.escape(summary),
            choices="".join(
                f'<option value="{size}"{" selected" if size == start else ""}>{size}</option>'
                for size in sizes
            ),
            content=text,
        )
    )


_DICE = """<form id="{name}" class="kenseg-quiz kenseg-dice" onsubmit="return false">
<p data-part="off">{summary}</p>
<fieldset data-part="game" hidden><legend style="font-size:1.1rem">{legend}</legend>
<p><label>Seeds a roll <select data-part="size" style="min-height:2rem">{choices}</select></label>
<button type="button" data-part="roll" style="min-height:2rem">Roll</button>
<button type="button" data-part="many" style="min-height:2rem">Roll 100 times</button>
<button type="button" data-part="again" style="min-height:2rem">Start again</button></p>
<p data-part="said" role="status">Choose how many seeds an experiment has, and roll.</p>
<svg data-part="picture" viewBox="0 0 640 150" role="img" aria-label="No roll yet" \
style="width:100%;max-width:640px;height:auto"></svg>
<p>Right of zero it is higher with it; a ring marks an interval that leaves zero out.</p>
<table class="kenseg-table" data-part="kept" hidden>
<caption style="color:inherit">Your rolls</caption><thead><tr>
<th scope="col">seeds</th><th scope="col">rolls</th><th scope="col">mean higher: “it helps”</th>
<th scope="col">interval above 0</th><th scope="col">interval below 0</th></tr></thead>
<tbody data-part="tally"></tbody></table></fieldset></form>
<script>
(() => {{
  const game = {content};
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
  const draw = (size, random) => {{
    const left = game.seeds.map((_, place) => place), taken = [];
    while (taken.length < size) {{
      taken.push(left.splice(Math.floor(random() * left.length), 1)[0]);
    }}
    return taken.sort((one, other) => one - other);
  }};
  const judge = (places) => {{
    const sum = places.reduce((total, place) => total + game.differences[place], 0);
    const key = places.reduce((total, place) => total + 2 ** place, 0);
    return {{places, mean: sum / places.length, shown: game.shown[key] || ""}};
  }};
  const claimed = (roll) => roll.mean > 0 ? `a win: that ${{game.part}} helps` : roll.mean < 0
    ? `a loss: that ${{game.part}} hurts` : "nothing";
  const ruled = (roll) => roll.places.length < 2 ? "not known, one seed"
    : roll.shown === "better" ? "higher with it" : roll.shown === "worse" ? "lower with it"
    : "no difference shown";
  const named = (roll) => `Seed${{roll.places.length > 1 ? "s" : ""}} `
    + roll.places.map((place) => game.seeds[place]).join(", ");
  const words = (roll) => `${{named(roll)}}: mean difference ${{signed(roll.mean)}}. `
    + `Who reports means alone would have claimed ${{claimed(roll)}}. `
    + `The interval over seeds and subjects says: ${{ruled(roll)}}.`;
  const far = Math.max(...game.differences.map(Math.abs)) * 1.05 || 1;
  const across = (value) => 320 + 300 * value / far;
  const svg = (kind, attributes, text) => {{
    const part = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
    if (text !== undefined) part.textContent = text;
    return part;
  }};
  for (const form of document.querySelectorAll("form#{name}")) {{
    const part = (name) => form.querySelector(`[data-part="${{name}}"]`);
    let rolls = [];
    const count = (some, test) => {{
      const number = some.filter(test).length;
      return `${{number}} (${{Math.round(100 * number / some.length)}} %)`;
    }};
    const paint = () => {{
      const picture = part("picture");
      const line = {{stroke: "currentColor", "stroke-width": 1}};
      const label = {{fill: "currentColor", "font-size": 13, "text-anchor": "middle"}};
      const drawn = [svg("line", {{x1: 20, x2: 620, y1: 118, y2: 118, ...line}}),
        svg("line", {{x1: 320, x2: 320, y1: 8, y2: 118, "stroke-dasharray": "4 3", ...line}}),
        svg("text", {{x: 320, y: 134, ...label}}, "0"),
        svg("text", {{x: across(-far) + 24, y: 134, ...label}}, signed(-far)),
        svg("text", {{x: across(far) - 24, y: 134, ...label}}, signed(far)),
        svg("text", {{x: 320, y: 148, ...label}}, "mean difference of a roll")];
      const heights = {{}};
      for (const roll of rolls.slice(-400)) {{
        const column = Math.round(across(roll.mean) / 8);
        heights[column] = (heights[column] || 0) + 1;
        const y = 118 - 6 * Math.min(heights[column], 17);
        drawn.push(svg("circle", {{cx: across(roll.mean), cy: y, r: 4, stroke: "currentColor",
          fill: roll.mean > 0 ? "#009E73" : "#D55E00", "stroke-width": roll.shown ? 2.5 : 0}}));
      }}
      picture.replaceChildren(...drawn);
      picture.setAttribute("aria-label", !rolls.length ? "No roll yet" : `${{rolls.length}} rolls, `
        + `mean differences from ${{signed(Math.min(...rolls.map((roll) => roll.mean)))}} to `
        + `${{signed(Math.max(...rolls.map((roll) => roll.mean)))}}; a ring marks an interval that `
        + "leaves zero out");
      const sizes = [...new Set(rolls.map((roll) => roll.places.length))].sort((a, b) => a - b);
      part("kept").hidden = !rolls.length;
      part("tally").replaceChildren(...sizes.map((size) => {{
        const some = rolls.filter((roll) => roll.places.length === size);
        const row = document.createElement("tr");
        [size, some.length, count(some, (roll) => roll.mean > 0),
          count(some, (roll) => roll.shown === "better"),
          count(some, (roll) => roll.shown === "worse")].forEach((text, place) => {{
          const cell = document.createElement(place ? "td" : "th");
          if (!place) cell.setAttribute("scope", "row");
          cell.textContent = text;
          row.append(cell);
        }});
        return row;
      }}));
    }};
    const roll = (times) => {{
      const size = Number(part("size").value);
      for (let turn = 0; turn < times; turn++) rolls.push(judge(draw(size, Math.random)));
      const some = rolls.slice(-times);
      part("said").textContent = times === 1 ? words(some[0])
        : `${{times}} rolls of ${{size}}: a higher mean in `
          + `${{count(some, (one) => one.mean > 0)}}, an interval that `
          + `leaves zero out in ${{count(some, (one) => one.shown !== "")}}.`;
      paint();
    }};
    part("off").hidden = true;
    part("game").hidden = false;
    part("roll").addEventListener("click", () => roll(1));
    part("many").addEventListener("click", () => roll(100));
    part("again").addEventListener("click", () => {{
      rolls = [];
      part("said").textContent = "Choose how many seeds an experiment has, and roll.";
      paint();
    }});
    paint();
  }}
}})();
</script>"""
