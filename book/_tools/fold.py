"""What a page shows of a chapter's code: what teaches stays, the rest is folded under a label.

The rule, for every code cell of an executed notebook:

- set-up, parameters, opening, claims, checks and solutions are folded, each under its own label;
- questions show no code at all, since it holds their answers;
- what an exercise leaves blank, what is tagged `same-as-package` or `teaches`, stays whole, and so
  does what is tagged `run`, whose outcome a reader is to predict: that one is folded;
- of other cells, what comes from the first statement on that shows a figure, a table or sentences
  is folded, and what comes before stays. A cell of both is shown as two, the second with outputs.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache

from IPython.core.inputtransformer2 import TransformerManager

QUESTIONS = {"teaching.quiz", "teaching.bet", "teaching.seed_dice"}
# tag of a cell → its label on the page
BY_TAG = {
    "setup": "Show the set-up",
    "parameters": "Show the parameters",
    "claims": "Show the code of these verdicts",
    "check": "Show the check",
    "solution": "Show solution",
}
SHOWN_WHOLE = {"exercise", "same-as-package", "teaches"}
# A shorter end of a cell is not worth a label of its own; a shorter start belongs to its figure.
LEAST_LINES = 3
# What a statement shows, by the names that it calls; the first that applies names the label.
SHOWS = {
    "figure": ("figures.show", "Figure", "plt.subplots", "plt.figure"),
    "viewer": ("viewers.",),
    "table": ("teaching.output_table", "pd.DataFrame", ".set_caption"),
    "result": ("display", "print", "Markdown", "teaching.settle"),
}


def for_page(cells: Iterable[dict]) -> list[dict]:
    """The cells as the page shows them; what was folded by hand keeps being folded."""
    return [part for cell in cells for part in _parts(cell)]


def shown(cell: dict) -> str:
    """The code of a cell that a reader sees without a click; "" where all of it is folded."""
    return "\n".join(
        _source(part)
        for part in _parts(cell)
        if part["cell_type"] == "code" and not HIDDEN & set(part["metadata"].get("tags", []))
    )


HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


def _parts(cell: dict) -> list[dict]:
    if cell["cell_type"] != "code":
        return [_with_hint(cell)]
    tags, statements = set(cell["metadata"].get("tags", [])), _statements(_source(cell))
    if "remove-cell" in tags:
        return [cell]
    if "closing" in tags or any(QUESTIONS & _calls(one) for one in statements):
        return [_tagged(cell, "remove-input")]
    for tag, label in BY_TAG.items():
        if tag in tags:
            if tag == "check":  # of an untouched blank it can only say that it is one
                cell = cell | {"outputs": []}
            return [_tagged(cell, "hide-cell" if tag == "solution" else "hide-input", label)]
    if "run" in tags:  # a prediction's code: what comes out waits for a click
        return [_tagged(cell, "hide-output", "Show what comes out")]
    if SHOWN_WHOLE & tags:
        return [cell]
    if any("teaching.open_chapter" in _calls(one) for one in statements):
        return [_tagged(cell, "hide-input", "Show the imports and the data")]
    label = _label(statements)
    if HIDDEN & tags:
        return [_tagged(cell, None, label)]
    first = _first_to_fold(statements)
    lines = _source(cell).splitlines()
    if first is None:
        return [cell]
    if all(isinstance(one, ast.Import | ast.ImportFrom) for one in statements[:first]):
        return [_tagged(cell, "hide-input", label)]
    cut = statements[first - 1].end_lineno
    before, after = (sum(map(bool, map(str.strip, part))) for part in (lines[:cut], lines[cut:]))
    long_enough = after >= LEAST_LINES or any(map(_draws, statements[first:]))
    if before < LEAST_LINES and not any(map(_teaches, statements[:first])):
        if long_enough or before + after >= LEAST_LINES:
            return [_tagged(cell, "hide-input", label)]
    if not long_enough:
        return [cell]
    head = cell | {"source": "\n".join(lines[:cut]).rstrip(), "outputs": []}
    tail = cell | {"source": "\n".join(lines[cut:]).strip("\n"), "id": f"{cell['id']}-folded"}
    return [head, _tagged(tail, "hide-input", label)]


def _source(cell: dict) -> str:
    return "".join(cell["source"])


def _statements(source: str) -> list[ast.stmt]:
    return ast.parse(TransformerManager().transform_cell(source)).body


def _tagged(cell: dict, tag: str | None, label: str | None = None) -> dict:
    """A copy with one more tag, and the words of the line that opens it."""
    metadata = dict(cell["metadata"])
    metadata["tags"] = [*metadata.get("tags", []), *([tag] if tag else [])]
    if label:
        words = {"code_prompt_show": label, "code_prompt_hide": label.replace("Show", "Hide", 1)}
        metadata["mystnb"] = metadata.get("mystnb", {}) | words
    return cell | {"metadata": metadata}


def _with_hint(cell: dict) -> dict:
    text = _source(cell).replace("<summary>Hint</summary>", "<summary>Show hint</summary>")
    return cell | {"source": text}


def _label(statements: list[ast.stmt]) -> str:
    called = set().union(*map(_calls, statements)) if statements else set()
    for kind, names in SHOWS.items():
        if any(_is_of(call, names) for call in called):
            return f"Show the code of this {kind}"
    return "Show this code"


def _is_of(call: str, names: tuple[str, ...]) -> bool:
    return any(
        call == name
        or (name.endswith(".") and call.startswith(name))
        or (name.startswith(".") and call.endswith(name))
        for name in names
    )


@cache  # each statement is asked about several times
def _calls(node: ast.AST) -> frozenset[str]:
    """The dotted names of what a piece of code calls, such as figures.show."""
    return frozenset(
        re.sub(r"[\[(].*[\])]", "", ast.unparse(one.func), flags=re.S)
        for one in ast.walk(node)
        if isinstance(one, ast.Call)
    )


def _first_to_fold(statements: list[ast.stmt]) -> int | None:
    """Where the part of a cell begins that shows; None where there is none.

    From the first statement on that shows a figure, a table or a sentence, if no function or class
    is defined after it, and with the words and tables that are put together just before it; else
    the longest end of which every statement only shows.
    """
    first = next((k for k, one in enumerate(statements) if _draws(one) or _speaks(one)), None)
    if first is None or any(map(_teaches, statements[first:])):
        first = len(statements)
    if first == len(statements) and not any(map(_shows_itself, statements[-1:])):
        return None
    while first and (_only_shows(statements[first - 1]) or _gathers(statements[first - 1])):
        first -= 1
    return first if first < len(statements) else None


def _teaches(statement: ast.stmt) -> bool:
    """A function or a class, but for one that only draws."""
    return isinstance(statement, ast.FunctionDef | ast.ClassDef) and not _draws(statement)


def _draws(statement: ast.stmt) -> bool:
    """Whether a statement begins a figure or shows one, or is a function that draws on axes."""
    if isinstance(statement, ast.FunctionDef):
        given = {one.arg for one in statement.args.args}
        return bool(given & {"axes", "figure"}) or any(
            _is_of(call, SHOWS["figure"]) for call in _calls(statement)
        )
    return any(_is_of(call, SHOWS["figure"] + SHOWS["viewer"]) for call in _calls(statement))


def _speaks(statement: ast.stmt) -> bool:
    """Whether a statement displays sentences or a table; a bare print is too little for that."""
    return not isinstance(statement, ast.FunctionDef | ast.ClassDef) and bool(
        _calls(statement) & {"display", "teaching.output_table", "teaching.settle"}
    )


def _only_shows(statement: ast.stmt) -> bool:
    """Whether a statement does nothing but print, show, or put words together for that."""
    if isinstance(statement, ast.Expr):
        return any(_is_of(call, sum(SHOWS.values(), ())) for call in _calls(statement))
    if isinstance(statement, ast.Assign):  # words, and tables put together to be shown
        return _is_text(statement.value) or ast.unparse(statement.value).startswith("pd.DataFrame(")
    if isinstance(statement, ast.For | ast.With | ast.If):
        inner = [*statement.body, *getattr(statement, "orelse", [])]
        return all(map(_only_shows, inner))
    return _draws(statement)


def _shows_itself(statement: ast.stmt) -> bool:
    """Whether something is seen of a statement: not only words or a table being put together."""
    return not isinstance(statement, ast.Assign) and _only_shows(statement)


def _gathers(statement: ast.stmt) -> bool:
    """Whether a statement only collects rows for a table: `rows = []`, and a loop that fills it."""
    if isinstance(statement, ast.Assign):
        return ast.unparse(statement.value) in ("[]", "{}")
    if not isinstance(statement, ast.For):
        return False
    last = statement.body[-1]
    if isinstance(last, ast.For):
        return _gathers(last)
    return isinstance(last, ast.Expr) and ".append(" in ast.unparse(last)


def _is_text(value: ast.expr) -> bool:
    """Whether an expression is a text that is put together: f"…", "…".join(…), their sum."""
    if isinstance(value, ast.BinOp):
        return _is_text(value.left) or _is_text(value.right)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return value.func.attr in ("join", "replace") and _is_text(value.func.value)
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    )
