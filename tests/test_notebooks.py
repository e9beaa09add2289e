"""Every notebook runs through papermill in profile smoke, top to bottom, and shows something."""

import json

import pytest
from conftest import NOTEBOOKS


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_notebook_runs(name, executed):
    content = json.loads(executed(name).read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert content["metadata"]["papermill"]["exception"] is None
    assert all(cell["execution_count"] for cell in code if "".join(cell["source"]).strip())
    pictures = [output for cell in code for output in cell["outputs"]
                if "image/png" in output.get("data", {})]
    assert pictures, "a chapter without a picture"
    for picture in pictures:
        alt = picture["metadata"].get("image/png", {}).get("alt", "")
        assert len(alt.split()) >= 5, f"a figure without alternative text: {alt!r}"
    for cell in code:
        for output in cell["outputs"]:
            lines = "".join(output.get("text", "")).count("\n")
            assert lines <= 60, f"{lines} lines of output in one cell: a wall of text"
    assert "profile smoke" in "".join(code[-1]["outputs"][-1]["text"]), "no closing line"


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_exercises_blank_gets_a_hint_and_solution_passes(name, executed):
    content = json.loads(executed(name).read_text())
    tagged = {tag: [cell for cell in content["cells"] if tag in cell["metadata"].get("tags", [])]
              for tag in ("exercise", "check", "solution")}
    assert len(tagged["exercise"]) >= 2
    assert len(tagged["exercise"]) == len(tagged["check"]) == len(tagged["solution"])
    for cell in tagged["check"]:  # ran on the blank
        text = "".join("".join(output.get("text", "")) for output in cell["outputs"])
        assert text.startswith("Not there yet: "), text
        assert len(text.split()) > 6, f"no helpful hint: {text!r}"
    for number, cell in enumerate(tagged["solution"], 1):  # raises if the solution is wrong
        assert f"check_{number}(" in "".join(cell["source"])
