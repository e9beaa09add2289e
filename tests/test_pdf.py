"""The book as one PDF: order, outline, links inside it, and what is said where there is none."""

import subprocess
import sys

import pytest
from conftest import ROOT
from pypdf import PdfReader

sys.path.insert(0, str(ROOT / "book/_tools"))
import pdf  # noqa: E402


def page(title, words, link):
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title>"
        f'<div class="bd-header">menu of {title}</div><main><h1>{title}<a class="headerlink" '
        f'href="#x">#</a></h1><p>{words}</p><a href="{link}">further</a></main>'
    )


@pytest.fixture
def html(tmp_path):
    folder = tmp_path / "html"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "intro.html").write_text(
        page("The way in", "apples", "notebooks/05_training.html#part-2"), encoding="utf-8"
    )
    (folder / "notebooks/05_training.html").write_text(
        page("5 · Zwölf Boxkämpfer", "pears", "https://example.org/elsewhere"), encoding="utf-8"
    )
    return folder


def test_the_contents_give_every_page_once_in_order():
    names = pdf.pages(ROOT / "book/_toc.yml")
    assert names[0] == "book/intro" and len(names) == len(set(names))
    chapters = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [name[10:] for name in names if name.startswith("notebooks/")] == chapters
    assert "book/api-pages" in names


def test_pages_are_bound_in_order_and_their_links_lead_inside(html, tmp_path, chromium):
    target = tmp_path / "book.pdf"
    sheets = pdf.write(html, target, chromium, ["intro", "notebooks/05_training"])
    book = PdfReader(target)
    assert sheets == len(book.pages) == 2
    assert [one.title for one in book.outline] == ["The way in", "5 · Zwölf Boxkämpfer"]
    texts = [one.extract_text() for one in book.pages]
    assert "apples" in texts[0] and "pears" in texts[1] and "menu of" not in "".join(texts)
    inner, outer = (one["/Annots"][0].get_object() for one in book.pages)
    assert "/A" not in inner and inner["/Dest"][0] == book.pages[1].indirect_reference
    assert outer["/A"]["/URI"] == "https://example.org/elsewhere"
    assert b"127.0.0.1" not in target.read_bytes()
    assert [path.name for path in tmp_path.glob("book.*")] == ["book.pdf"]


def test_a_page_that_is_not_built_is_named_and_nothing_written(html, tmp_path):
    with pytest.raises(ValueError, match="no book/status.html: build the book first"):
        pdf.write(html, tmp_path / "book.pdf", None, ["intro", "book/status"])
    assert not (tmp_path / "book.pdf").exists()


def test_without_a_browser_there_is_one_sentence(html, tmp_path):
    said = subprocess.run(
        [sys.executable, "book/_tools/pdf.py", html, tmp_path / "book.pdf"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 1 and said.stderr.strip().endswith("install chromium.")
    assert said.stderr.count("\n") == 1
