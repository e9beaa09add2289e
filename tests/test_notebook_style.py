"""The shape of a chapter, checked on the committed notebooks without running them."""

import ast
import importlib.util
import json
import re
import sys

import pytest
from conftest import NOTEBOOKS, ROOT
from IPython.core.inputtransformer2 import TransformerManager

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import fold  # noqa: E402 (a tool of the book's, not of the package)

OVERVIEW = ("**You will learn**", "**Prerequisites**", "**Time**", "**Memory**")


def cells(path):
    return json.loads(path.read_text())["cells"]


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def tree(cell):
    return ast.parse(TransformerManager().transform_cell(source(cell)))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_order_of_a_chapter(notebook):
    found = cells(notebook)
    number = notebook.stem[:2]
    assert source(found[0]).startswith(f"(chapter-{number})=\n# ")
    assert all(word in source(found[1]) for word in OVERVIEW)
    assert "at most" in source(found[1])
    assert "setup" in tags(found[2])
    assert "parameters" in tags(found[3])
    headings = re.findall(
        r"^## (.+)$", "\n".join(source(c) for c in found if c["cell_type"] == "markdown"), re.M
    )
    assert headings[-2:] == ["Key takeaways", "Where next"]
    assert "closing" in tags(found[-1])


def test_set_up_and_parameters_are_the_same_everywhere(notebook):
    first = cells(NOTEBOOKS[0])
    assert source(cells(notebook)[2]) == source(first[2])
    parameters = source(cells(notebook)[3])  # a chapter may add some of its own
    assert f"{parameters}\n".startswith(f"{source(first[3])}\n")
    names = [target.id for node in tree(first[3]).body for target in node.targets]
    assert names == ["profile", "data_root", "work_dir", "seed"]


def test_committed_without_outputs(notebook):
    for cell in cells(notebook):
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None


def test_shown_code_is_short_and_within_80_columns(notebook):
    shown = [fold.shown(cell) for cell in cells(notebook) if cell["cell_type"] == "code"]
    for cell, text in zip((one for one in cells(notebook) if one["cell_type"] == "code"), shown):
        if "same-as-package" not in tags(cell):
            lines = [line for line in text.splitlines() if line.strip()]
            assert len(lines) <= 45, f"{len(lines)} lines of code:\n{text[:200]}"
    wide = [line for text in shown for line in text.splitlines() if len(line) > 80]
    assert not wide


def test_every_map_of_a_head_says_which_side_is_which(notebook):
    """`slice_overlay` does; a plane (X, Y) drawn otherwise is turned by `.T`, and may lack it."""
    for cell in cells(notebook):
        if cell["cell_type"] == "code" and re.search(r"imshow\([^\n]*\.T\b", source(cell)):
            assert "figures.mark_sides(axes)" in source(cell), source(cell)[:300]


def test_a_chapter_asks_to_predict_run_and_explain(notebook):
    if notebook.stem[:2] in ("00", "09"):  # a quick start; chapter 9 begins with a bet
        return
    found = cells(notebook)
    bets = [place for place, cell in enumerate(found) if "predict" in tags(cell)]
    assert bets, "no prediction"
    for place in bets:
        assert source(found[place - 1]).startswith("### Predict, run, explain: ")
        settled = next(
            later
            for later in range(place, len(found))
            if "teaching.settle(" in source(found[later])
        )
        assert "<summary>Show explanation</summary>" in source(found[settled + 1])
        assert "run" in tags(found[settled]), "the answer stands there unasked"
        for cell in found[place + 1 : settled]:
            assert cell["cell_type"] == "code", "what stands before the answer may give it away"
            shows = re.search(r"figures\.show\(|output_table\(", source(cell))
            assert "run" in tags(cell) or not shows, source(cell)[:300]


def unseen(tree_of_cell):
    """What a cell makes for the page and never shows: only its last statement shows itself."""
    last = tree_of_cell.body[-1:]
    return [
        ast.unparse(node.value.func)
        for node in ast.walk(tree_of_cell)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node not in last
        and re.match(r"teaching\.output_table|Markdown|HTML|viewers\.", ast.unparse(node.value))
    ]  # fmt: skip


def test_what_a_cell_makes_for_the_page_is_shown(notebook):
    """A table in an else without display() is made, and seen by nobody."""
    for cell in cells(notebook):
        if cell["cell_type"] == "code":
            assert unseen(tree(cell)) == [], cell["id"]


def test_the_test_of_what_is_shown_can_fail():
    assert unseen(ast.parse("if x:\n    pass\nelse:\n    teaching.output_table(t, 'c')"))
    assert unseen(ast.parse("Markdown('a')\nb = 1")) == ["Markdown"]
    assert not unseen(ast.parse("a = 1\nteaching.output_table(t, 'c')"))
    assert not unseen(ast.parse("if x:\n    display(Markdown('a'))"))


def test_figures_are_shown_with_alternative_text(notebook):
    for cell in cells(notebook):
        if cell["cell_type"] != "code":
            continue
        shows = [
            node
            for node in ast.walk(tree(cell))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "figures.show"
        ]
        assert len(shows) <= 1, "one figure a cell: the page takes one alternative text from each"
        assert "plt.show" not in source(cell)


def meaning(node):
    """What a function or class says, however its lines and its docstring's are broken."""
    node = ast.parse(ast.unparse(node))
    for one in ast.walk(node):
        if isinstance(one, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(one):
            one.body[0].value.value = " ".join(ast.get_docstring(one).split())
    return ast.dump(node)


def test_shown_code_equals_packaged_code(notebook):
    for cell in cells(notebook):
        if "same-as-package" not in tags(cell):
            continue
        module = cell["metadata"]["same_as"]
        path = importlib.util.find_spec(module).origin
        packaged = {
            node.name: node for node in ast.parse(open(path).read()).body if hasattr(node, "name")
        }
        shown = [node for node in tree(cell).body if hasattr(node, "name")]
        assert shown, "a cell tagged same-as-package without a function or class"
        for node in shown:
            assert node.name in packaged, f"{module} has no {node.name}"
            assert meaning(node) == meaning(packaged[node.name]), (
                f"{notebook.name} shows another {node.name} than {module} holds"
            )


# What the chapters teach to build, and must therefore show as it runs: {chapter: {module: names}}.
TAUGHT = {
    "02": {
        "slices._prepare": "Intensity",
        "slices._windows": "Placement crop lesion_centre pad unpad uncrop",
    },
    "03": {
        "blocks": "normalise convolution convolution_block residual_block dilated_block ken_block"
    },
    "04": {
        "blocks": "upsample probabilities head nested_grid",
        "networks.ken_unetpp": "ken_unetpp",
    },
    "05": {"training._augment": "augment"},
    "06": {"metrics._overlap": "Counts count dice_from iou_from dice paper_dice paper_prose_dice"},
    "10": {"evaluation.corruptions": "noise"},
}


@pytest.mark.parametrize("chapter", TAUGHT)
def test_every_function_that_a_chapter_teaches_is_held_to_the_package(chapter):
    path = next(path for path in NOTEBOOKS if path.stem.startswith(chapter))
    shown = {
        (cell["metadata"]["same_as"], node.name)
        for cell in cells(path)
        if "same-as-package" in tags(cell)
        for node in tree(cell).body
    }
    wanted = {
        (f"kenseg_utils.{module}", name)
        for module, names in TAUGHT[chapter].items()
        for name in names.split()
    }
    assert wanted <= shown, f"not shown as packaged: {sorted(wanted - shown)}"


def test_the_same_code_test_can_fail():
    text = 'def f(x):\n    """One {} more."""\n    return x + {}'
    same, broken, longer, other = (
        meaning(ast.parse(text.format(*parts)).body[0])
        for parts in (("a", 1), ("\n    a", 1), ("and a", 1), ("a", 2))
    )
    assert same != other and same != longer
    assert meaning(ast.parse(text.format("\n   a", 1)).body[0]) == broken


def test_terms_are_linked_once_and_are_in_the_glossary(notebook):
    prose = "\n".join(source(cell) for cell in cells(notebook) if cell["cell_type"] == "markdown")
    entries = [link.split("<")[-1].strip(">") for link in re.findall(r"{term}`([^`]+)`", prose)]
    glossary = re.findall(r"^(\S.*)\n  \S", (ROOT / "book/glossary.md").read_text(), re.M)
    assert set(entries) <= set(glossary)
    assert len(entries) == len(set(entries)), "the first use links, the others do not"
    if "01" <= notebook.stem[:2] <= "07":  # the chapters that introduce the words
        assert len(entries) >= 3, "which words are new here?"


def test_code_prints_no_links_to_files(notebook):
    """Markdown that code displays is not MyST: such a link would lead nowhere on the page."""
    for cell in cells(notebook):
        if cell["cell_type"] == "code":
            assert not re.search(r"\(\S+\.(?:ipynb|md)\)", source(cell)), source(cell)


def test_three_cells_from_the_first_page_to_a_trained_model():
    code = [source(cell) for cell in cells(NOTEBOOKS[0]) if cell["cell_type"] == "code"]
    first = next(number for number, text in enumerate(code, 1) if "training.train(" in text)
    assert first <= 3


def test_every_notebook_is_in_the_contents():
    contents = (ROOT / "book/_toc.yml").read_text()
    listed = re.findall(r"notebooks/(\w+)", contents)
    assert listed == [path.stem for path in NOTEBOOKS]
