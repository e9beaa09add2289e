"""Links in code are those that codeautolink finds, found in one pass."""

import json
import re
import sys
from copy import deepcopy
from types import SimpleNamespace

import pytest
import sphinx_codeautolink.extension.block
from conftest import ROOT
from sphinx_codeautolink import clean_ipython
from sphinx_codeautolink.parse import parse_names

sys.path.insert(0, str(ROOT / "book/_ext"))
from quick_links import LANGUAGES, OnePass  # noqa: E402


@pytest.mark.parametrize("chapter", ["02_cropping_and_padding", "04_unetpp_assembly"])
def test_each_cell_has_the_names_that_the_whole_text_has(chapter):
    cells = json.loads((ROOT / f"notebooks/{chapter}.ipynb").read_text())["cells"]
    code = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    sources = [clean_ipython(source)[1] for source in code]
    one_pass, node = OnePass(), SimpleNamespace(document="a page")
    found = [
        deepcopy(one_pass("\n".join(sources[: count + 1]), node)) for count in range(len(sources))
    ]
    whole = parse_names("\n".join(sources), node)
    line = 0
    for source, names in zip(sources, found, strict=True):
        end = line + source.count("\n") + 1
        assert names == [name for name in whole if line < name.lineno <= end]
        line = end
    assert sum(map(len, found)) == len(whole) > 100


def test_another_page_begins_anew_and_so_does_a_text_that_does_not_go_on():
    first, more = "import numpy as np", "import numpy as np\nx = np.zeros(3)"
    pages = [SimpleNamespace(document=name) for name in ("one", "two")]
    one_pass = OnePass()
    one_pass(first, pages[0])
    assert one_pass(more, pages[1]) == parse_names(more, pages[1])
    assert one_pass("y = np.ones(2)", pages[1]) == parse_names("y = np.ones(2)", pages[1])


def test_a_cell_that_is_no_python_leaves_what_was_read():
    one_pass, node = OnePass(), SimpleNamespace(document="a page")
    one_pass("import numpy as np", node)
    with pytest.raises(SyntaxError):
        one_pass("import numpy as np\nx = (", node)
    (name,) = one_pass("import numpy as np\nnp.ones(2)", node)
    assert (name.code_str, name.lineno) == ("np.ones", 2)


def test_no_page_has_code_in_a_language_that_is_not_looked_for():
    pages = [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    used = {
        language
        for page in pages
        for language in re.findall(r"(?:```|code-block:: )(\w+)", page.read_text(encoding="utf-8"))
    }
    assert "python" in used
    assert not used & (sphinx_codeautolink.extension.block.BUILTIN_BLOCKS.keys() - set(LANGUAGES))
