"""Words are spelt right, and what prose points at inside this repository is there."""

import html as markup
import re
import subprocess
import sys
import tomllib
from urllib.parse import unquote

import pytest
from conftest import NOTEBOOKS, ROOT

PROSE = ["README.md", "CONTRIBUTING.md", "NOTICE", "CITATION.cff", "Makefile", "_config.yml",
         "pyproject.toml", "book", "notebooks", "kenseg_utils", "tests", "benchmarks", ".github"]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "book").glob("*.md"),
                *NOTEBOOKS])


def spell(*arguments, cwd):
    pytest.importorskip("codespell_lib", reason="codespell is not installed")
    return subprocess.run([sys.executable, "-m", "codespell_lib", *arguments], cwd=cwd,
                          capture_output=True, text=True)


def test_words_are_spelt_right():
    result = spell(*PROSE, cwd=ROOT)
    assert result.returncode == 0, result.stdout[-3000:]


def test_a_misspelt_word_would_be_found(tmp_path):
    (tmp_path / "page.md").write_text("A ne" + "twrok of layers.\n")
    assert "ne" + "twrok" in spell("page.md", cwd=tmp_path).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    text = page.read_text(encoding="utf-8").replace('\\"', '"')
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
        file = re.search(r"\.(md|ipynb|py|toml|cff)$|^[A-Z]+$", target)
        if re.match(r"[a-z]+:", target) or not file:
            continue
        assert (page.parent / target).exists(), f"{page.name} → {target}"


def broken_links(folder):
    """"page → target" for each link inside the book whose page or anchor is not there."""
    pages = {path.resolve(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    anchors = {path: set(re.findall(r'\b(?:id|name)="([^"]+)"', text))
               for path, text in pages.items()}
    broken = []
    for path, text in pages.items():
        for target in set(re.findall(r'<a\b[^>]*\bhref="([^"]*)"', text)):
            if re.match(r"[a-z]+:", target):
                continue
            place, _, anchor = markup.unescape(target).partition("#")
            page = (path.parent / unquote(place)).resolve() if place else path
            found = page in pages and (not anchor or unquote(anchor) in anchors[page])
            if not found and not (page.exists() and page not in pages and not anchor):
                broken.append(f"{path.relative_to(folder.resolve())} → {target}")
    return sorted(broken)


def test_links_and_anchors_of_the_pages_resolve(html):
    assert broken_links(html) == []


def test_a_broken_anchor_would_be_found(tmp_path):
    (tmp_path / "a.html").write_text('<p id="x"></p><a href="b.html#y">1</a><a href="#x">2</a>'
                                     '<a class="c" href="c.html">3</a><a href="https://d">4</a>')
    (tmp_path / "b.html").write_text('<p id="z"></p>')
    assert broken_links(tmp_path) == ["a.html → b.html#y", "a.html → c.html"]


def test_every_module_has_its_place_on_the_package_pages():
    pages = "".join(path.read_text() for path in (ROOT / "book").glob("api-*.md"))
    documented = re.findall(r"^\.\. automodule:: ([\w.]+)$", pages, re.M)
    listed = re.findall(r"^   (kenseg_utils[\w.]*)$", (ROOT / "book/api.md").read_text(), re.M)
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
               for path in (ROOT / "kenseg_utils").rglob("*.py")} - {"kenseg_utils"}
    assert sorted(documented) == sorted(modules) == sorted(listed)


def test_every_page_is_in_the_contents():
    contents = (ROOT / "book/_toc.yml").read_text()
    listed = set(re.findall(r"book/([\w-]+)", contents))
    assert listed == {path.stem for path in (ROOT / "book").glob("*.md")}


def test_the_version_is_the_same_everywhere():
    from kenseg_utils import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert project["version"] == __version__
    assert re.search(rf"^version: \"?{re.escape(__version__)}\"?$", citation, re.M)
