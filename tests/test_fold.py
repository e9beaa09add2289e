"""What a page shows of a chapter's code: the rule, cell by cell, and on the chapters themselves."""

import json
import sys

import pytest
from conftest import NOTEBOOKS, ROOT

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import fold  # noqa: E402 (a tool of the book's, not of the package)

TEACHING = """heights = [scan.mask.any((0, 1)) for scan in scans]
most = max(map(len, heights))
present = np.stack([np.pad(height, (0, most - len(height))) for height in heights])"""
FIGURE = """figure = Figure(figsize=(9, 3))
axes = figure.subplots()
axes.plot(present.sum(1))
told = ", ".join(f"{one}" for one in present.sum(1))
figures.show(figure, alt=f"A curve of heights, from the first to the last: {told}.")"""
SENTENCE = """display(Markdown(
    f"**{share:.1%}** of the slices hold lesion, and the "
    f"other {1 - share:.0%} do not."))"""


def cell(source, *tags):
    return {
        "cell_type": "code",
        "id": "one",
        "metadata": {"tags": list(tags)},
        "source": source,
        "outputs": [{"output_type": "stream", "text": "said"}],
    }


def parts(source, *tags):
    return fold.for_page([cell(source, *tags)])


def labels(cells):
    return [one["metadata"].get("mystnb", {}).get("code_prompt_show") for one in cells]


def test_what_teaches_stays_and_the_figure_that_follows_is_folded():
    first, second = parts(f"{TEACHING}\n{FIGURE}")
    assert first["source"] == TEACHING and first["outputs"] == []
    assert second["source"] == FIGURE and second["outputs"], "the outputs stand below the figure"
    assert "hide-input" in second["metadata"]["tags"] and first["id"] != second["id"]
    assert labels([first, second]) == [None, "Show the code of this figure"]
    assert second["metadata"]["mystnb"]["code_prompt_hide"] == "Hide the code of this figure"


@pytest.mark.parametrize(
    ("source", "label"),
    [
        (FIGURE, "figure"),
        (f"import numpy as np\n\n{FIGURE}", "figure"),
        (f"shown = present.sum(1)\n{FIGURE}", "figure"),  # a line that only serves it
        ("viewers.slice_browser(\n    image,\n    mask)", "viewer"),
        (f"share = present.mean()\n{SENTENCE}", "result"),
        (
            "lines = []\nfor one in found:\n    lines.append({'name': one})\n"
            "display(teaching.output_table(pd.DataFrame(lines), 'Lines.'))",
            "table",
        ),
        ('table = pd.DataFrame(rows)\nteaching.output_table(\n    table, "Rows.")', "table"),
        (f"if present.any():\n    {FIGURE.replace(chr(10), chr(10) + '    ')}", "figure"),
    ],
)
def test_a_cell_that_only_shows_is_folded_whole(source, label):
    (only,) = parts(source)
    assert "hide-input" in only["metadata"]["tags"] and only["outputs"]
    assert labels([only]) == [f"Show the code of this {label}"]


@pytest.mark.parametrize(
    "source",
    [
        TEACHING,
        f"{TEACHING}\ntable = pd.DataFrame(present)",  # nothing is seen of it here
        "lines = []\nfor one in found:\n    lines.append(one)",
        f"{TEACHING}\nprint(most)",  # too short an end for a label of its own
        f"{FIGURE}\n\n\ndef taught(x):\n    return x",  # what is defined must be seen
        "def taught(x):\n    return x\n\n\nprint(taught(1))",
    ],
)
def test_what_teaches_is_shown_whole(source):
    assert parts(source) == [cell(source)] and fold.shown(cell(source)) == source


@pytest.mark.parametrize("tag", ["exercise", "same-as-package", "teaches"])
def test_some_tags_keep_a_cell_whole(tag):
    assert parts(FIGURE, tag) == [cell(FIGURE, tag)]


def test_a_question_shows_no_code_since_it_holds_the_answers():
    for source in ('teaching.quiz("Q?", {})', 'options = ["a"]\nteaching.bet("Q?", options)'):
        (only,) = parts(source)
        assert "remove-input" in only["metadata"]["tags"] and fold.shown(cell(source)) == ""


def test_a_check_of_an_untouched_blank_says_nothing_on_the_page():
    (only,) = parts("teaching.feedback(check_1, None)", "check", "hide-input")
    assert only["outputs"] == [] and labels([only]) == ["Show the check"]


def test_solutions_and_outcomes_wait_for_a_click():
    (solution,) = parts("check_1(2)", "solution", "hide-cell")
    assert labels([solution]) == ["Show solution"] and solution["outputs"]
    (run,) = parts("teaching.settle(question, options, 0, found)", "run")
    assert "hide-output" in run["metadata"]["tags"] and fold.shown(run)


def test_hints_have_one_wording():
    text = "<details><summary>Hint</summary>Look again.</details>"
    markdown = {"cell_type": "markdown", "metadata": {}, "source": text}
    assert "<summary>Show hint</summary>" in fold.for_page([markdown])[0]["source"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_chapter_loses_code_or_shows_what_only_draws(path):
    cells = json.loads(path.read_text())["cells"]
    for one in cells:
        if one["cell_type"] != "code":
            continue
        shown_as = fold.for_page([one])
        kept = "\n".join("".join(part["source"]) for part in shown_as)
        assert kept.split() == "".join(one["source"]).split()
        if not fold.SHOWN_WHOLE & set(one["metadata"].get("tags", [])):
            assert "figures.show(" not in fold.shown(one) or "def " in fold.shown(one)
    everything = fold.for_page(cells)
    assert len({one["id"] for one in everything}) == len(everything)
