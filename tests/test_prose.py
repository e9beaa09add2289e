"""Words are spelt right, and what prose points at inside this repository is there."""

import re
import subprocess
import sys
import tomllib

import pytest
from conftest import NOTEBOOKS, ROOT

PROSE = [
    "README.md",
    "CONTRIBUTING.md",
    "NOTICE",
    "CITATION.cff",
    "Makefile",
    "_config.yml",
    "pyproject.toml",
    "book",
    "notebooks",
    "kenseg_utils",
    "tests",
    "benchmarks",
    ".github",
]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "book").glob("*.md"), *NOTEBOOKS]
)


def spell(*arguments, cwd):
    pytest.importorskip("codespell_lib", reason="codespell is not installed")
    return subprocess.run(
        [sys.executable, "-m", "codespell_lib", *arguments], cwd=cwd, capture_output=True, text=True
    )


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


def test_every_module_has_its_place_on_the_package_pages():
    pages = "".join(path.read_text() for path in (ROOT / "book").glob("api-*.md"))
    documented = re.findall(r"^\.\. automodule:: ([\w.]+)$", pages, re.M)
    listed = re.findall(r"^   (kenseg_utils[\w.]*)$", (ROOT / "book/api.md").read_text(), re.M)
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "kenseg_utils").rglob("*.py")
        if path.name == "__init__.py" or not path.name.startswith("_")  # the others are private
    } - {"kenseg_utils"}
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


def test_every_work_stands_once_among_the_references():
    text = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"^@", text, flags=re.M) if entry.strip()]
    keys = [re.match(r"\w+\{(\S+),", entry)[1] for entry in entries]
    titles = [
        re.sub(r"\W", "", re.search(r"(?<!book)title\s*=\s*\{(.*)\}", entry)[1]).lower()
        for entry in entries
    ]
    assert len(set(keys)) == len(keys)
    assert sorted(titles) == sorted(set(titles)), "one work under two keys"
    prose = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    cited = {
        key for group in re.findall(r"\{cite:[a-z]+\}`([^`]+)`", prose) for key in group.split(",")
    }
    assert {key.strip() for key in cited} <= set(keys)
