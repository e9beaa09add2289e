"""A question whose answer is a number, which the page itself checks: no kernel, no network."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from IPython.display import HTML

from ._scripts import form_name, in_script

Answer = tuple[float, float, bool, str]


def number_quiz(question: str, answers: Sequence[Answer], otherwise: str) -> HTML:
    """A field for a number, a button, and what the page says of what was typed.

    answers : (from, to, whether it is right, explanation) in the order in which they are asked:
    the first whose range, ends included, holds the number speaks; one of them at least is right.
    otherwise : what is said of any other number.
    Read are 0.45, .45, 0,45, 45 %, 1,000 and 4.5e-1. Where scripts are off nothing is shown, since
    the exercise around it has its solution.
    Raises ValueError where no range is right, one holds no number, or a text is empty.
    """
    texts = [question, otherwise, *(said for *_, said in answers)]
    if not all(str(text).strip() for text in texts):
        raise ValueError("a question needs words: it, an explanation or `otherwise` is empty.")
    if not any(right for _, _, right, _ in answers):
        raise ValueError("none of the answers is right.")
    for low, high, _, _ in answers:
        if not low <= high:  # so that NaN is refused as well
            raise ValueError(f"no number lies between {low} and {high}.")
    # JSON has no infinities: an open end is null there.
    ranges = [
        [*(None if math.isinf(end) else float(end) for end in (low, high)), bool(right), str(said)]
        for low, high, right, said in answers
    ]
    content = in_script([ranges, otherwise])
    name = form_name("number", question + content)
    return HTML(_FORM.format(name=name, question=html.escape(question), content=content))


_FORM = """<form id="{name}" class="kenseg-quiz kenseg-number" hidden>
<p><label>{question} <input type="text" inputmode="decimal" autocomplete="off" size="12" \
style="min-height:2rem"></label>
<button type="submit" style="min-height:2rem">Check</button></p>
<p data-part="said" role="status"></p></form>
<script>
(() => {{
  const [ranges, otherwise] = {content};
  const read = (typed) => {{
    let text = typed.trim().replace("\\u2212", "-").replace(/[\\s_]/g, "");
    const share = text.endsWith("%");
    if (share) text = text.slice(0, -1);
    text = /^[+-]?[1-9]\\d{{0,2}}(,\\d{{3}})+(\\.\\d*)?$/.test(text) ? text.replaceAll(",", "")
      : text.replace(",", ".");
    return /\\d/.test(text) ? Number(text) / (share ? 100 : 1) : NaN;
  }};
  for (const form of document.querySelectorAll("form#{name}")) {{
    form.hidden = false;
    form.addEventListener("submit", (event) => {{
      event.preventDefault();
      const value = read(form.querySelector("input").value);
      const found = ranges.find(([low, high]) =>
        (low === null || low <= value) && (high === null || value <= high));
      const [right, said] = found ? found.slice(2) : [false, otherwise];
      form.querySelector('[data-part="said"]').textContent = Number.isNaN(value)
        ? "A number is asked for, such as 0.5." : `${{right ? "Right." : "Not yet."}} ${{said}}`;
    }});
  }}
}})();
</script>"""
