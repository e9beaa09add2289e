"""Exercises teach: the blank gets a hint, the solution passes, and questions answer every choice.

Each chapter holds, for each exercise, a blank, its check and a solution that the book executes.
So the executed copy shows what a reader sees first, the check run on the blank, and it exists
only if each check accepted its solution.
"""

import ast
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import CHAPTERS
from test_teaching import Page

from kenseg_utils import classical, metrics

LEAST = 3
ASK_A_QUESTION = [path.stem for path in CHAPTERS if "01" <= path.stem[:2] <= "06"]


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return json.loads(request.param.read_text())["cells"]


def tagged(cells, tag):
    return [cell for cell in cells if tag in cell["metadata"].get("tags", [])]


def source(cell):
    return "".join(cell["source"])


def printed(cell):
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def exercises(cells):
    return list(
        zip(
            tagged(cells, "exercise"),
            tagged(cells, "check"),
            tagged(cells, "solution"),
            strict=True,
        )
    )


def test_at_least_three_exercises_in_order(chapter):
    tags = [
        tag
        for cell in chapter
        for tag in cell["metadata"].get("tags", [])
        if tag in ("exercise", "check", "solution")
    ]
    assert tags == ["exercise", "check", "solution"] * (len(tags) // 3)
    assert len(tags) // 3 >= LEAST


def test_each_exercise_has_a_heading_and_a_hint(chapter):
    text = "\n".join(source(cell) for cell in chapter if cell["cell_type"] == "markdown")
    parts = re.split(r"^### Exercise \d+: .+$", text, flags=re.M)[1:]
    assert len(parts) == len(tagged(chapter, "exercise"))
    for part in parts:
        hint = re.search(r"<details><summary>[^<]*</summary>(.+?)</details>", part, re.S)
        assert hint and len(hint.group(1).split()) >= 5, part


def test_blanks_are_blank_checks_check_and_solutions_are_checked(chapter):
    for number, (blank, check, solution) in enumerate(exercises(chapter), 1):
        assert re.search(r"\.\.\.|= None", source(blank)), "nothing to fill in"
        assert f"def check_{number}(answer" in source(check)
        assert f"teaching.feedback(check_{number}," in source(check)
        asserts = [
            node for node in ast.walk(ast.parse(source(check))) if isinstance(node, ast.Assert)
        ]
        assert asserts and all(node.msg for node in asserts), "an assert says what is wrong"
        # Called directly, so that a solution that is wrong stops the build.
        assert re.search(rf"^(?:print\()?check_{number}\(", source(solution), re.M)
        assert "hide-cell" in solution["metadata"]["tags"]
        assert "hide-input" in check["metadata"]["tags"]


@pytest.mark.parametrize("name", [path.stem for path in CHAPTERS])
def test_the_blank_gets_a_hint_and_the_solution_passes(name, executed):
    cells = json.loads(executed(name).read_text())["cells"]
    for _, check, solution in exercises(cells):
        said = printed(check)  # ran on the blank
        assert said.startswith("Not there yet: "), said
        assert "your code stopped" not in said, "a blank is no error of the reader's"
        assert len(said.split()) > 6, f"no helpful hint: {said!r}"
        # The check was called on it without feedback around it: a wrong one would have raised.
        assert solution["execution_count"]
        assert not any(output["output_type"] == "error" for output in solution["outputs"])


@pytest.mark.parametrize("name", ASK_A_QUESTION)
def test_chapters_ask_questions_that_answer_every_choice(name, executed):
    cells = json.loads(executed(name).read_text())["cells"]
    pages = [
        "".join(output["data"]["text/html"])
        for cell in cells
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if "text/html" in output.get("data", {})
    ]
    quizzes = [page for page in pages if 'class="kenseg-quiz"' in page]
    assert quizzes, "no multiple-choice question"
    for quiz in map(Page, quizzes):
        choices = [field for field in quiz.all("input") if field.get("type") == "radio"]
        answers = [part for part in quiz.all("p") if part.get("class") == "kenseg-answer"]
        assert len(choices) == len(answers) >= 2
        # Radio buttons of one name in one fieldset: the keyboard's arrows move among them.
        assert len({field["name"] for field in choices}) == 1 == len(quiz.all("fieldset"))
        assert len(quiz.all("legend")) == 1


def test_these_tests_can_fail():
    cell = {"cell_type": "code", "metadata": {"tags": ["exercise"]}, "source": "x = ..."}
    check = {**cell, "metadata": {"tags": ["check"]}}
    with pytest.raises(ValueError, match="shorter than arguments"):
        exercises([cell, check])
    with pytest.raises(AssertionError):
        test_at_least_three_exercises_in_order([cell, check])


@pytest.mark.parametrize("radius, mine, said", [(6, 4, "a vote of the four"), (1, 5, "has 0.")])
def test_a_method_of_ones_own_need_not_beat_what_nothing_on_the_page_beats(radius, mine, said):
    """The blind disc is the truth itself (radius 6), or worse than what the four agree on (1)."""
    (path,) = (path for path in CHAPTERS if path.stem.startswith("07"))
    check = tagged(json.loads(path.read_text())["cells"], "check")[2]
    rows, columns = np.indices((21, 21))
    distance = np.hypot(rows - 10, columns - 10)
    truth = np.repeat((distance <= 6)[None], 3, 0).astype(np.uint8)
    part = SimpleNamespace(index=pd.DataFrame({"subject": ["a", "b", "c"]}))
    space = dict(
        np=np,
        classical=classical,
        teaching=SimpleNamespace(feedback=lambda *_: None),
        my_method=None,
        test=part,
        tune=part,
        tune_images=truth.astype(np.float32),
        tune_clicks=[(10, 10)] * 3,
        best_disc=radius,
        discs=lambda points, size: np.repeat((distance <= size)[None], len(points), 0),
        tune_score=lambda found: metrics.per_slice(metrics.count_slices(truth, found)).mean(),
        results={name: [(truth * (distance <= 4))] for name in classical.names()},
    )
    exec(source(check), space)

    def of_radius(size):
        return lambda image, brain, click: distance <= size

    assert said in space["check_3"](of_radius(mine))
    with pytest.raises(AssertionError, match="the blind disc has"):
        space["check_3"](of_radius(0.5))
