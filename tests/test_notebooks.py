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
    pictures = [
        output
        for cell in code
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert pictures, "a chapter without a picture"
    for picture in pictures:
        alt = picture["metadata"].get("image/png", {}).get("alt", "")
        assert len(alt.split()) >= 5, f"a figure without alternative text: {alt!r}"
    for cell in code:
        for output in cell["outputs"]:
            lines = "".join(output.get("text", "")).count("\n")
            assert lines <= 60, f"{lines} lines of output in one cell: a wall of text"
    # A slow kernel may send a line and its end one after the other: join what was printed.
    printed = "".join("".join(output.get("text", "")) for output in code[-1]["outputs"])
    assert "profile smoke" in printed, "no closing line"
