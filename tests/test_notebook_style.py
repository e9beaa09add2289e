"""The shape of a chapter, checked on the committed notebooks without running them."""

import ast
import importlib.util
import json
import re

import pytest
from conftest import NOTEBOOKS, ROOT
from IPython.core.inputtransformer2 import TransformerManager

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


def test_cells_are_short(notebook):
    for cell in cells(notebook):
        if cell["cell_type"] == "code" and not {"same-as-package", "check"} & set(tags(cell)):
            lines = [line for line in source(cell).splitlines() if line.strip()]
            assert len(lines) <= 34, f"{len(lines)} lines of code:\n{source(cell)[:200]}"


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
            assert ast.dump(node) == ast.dump(packaged[node.name]), (
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
    same = ast.dump(ast.parse("def f(x):\n    return x + 1"))
    assert same != ast.dump(ast.parse("def f(x):\n    return x + 2"))


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
