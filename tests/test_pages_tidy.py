"""The last touch on built pages: pictures keep their place, and no page loads what it lacks."""

import sys

import pytest
from conftest import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import tidy  # noqa: E402 (a tool of the book's, not of the package)

HEAD = """<html><head><script>
    document.documentElement.dataset.mode = localStorage.getItem("mode") || "auto";
    document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";
</script>
<link rel="stylesheet" href="../_static/sphinx-design.min.css?v=6a60" />
<link rel="stylesheet" href="../_static/mystnb.11b3986.css" />
<link rel="stylesheet" href="../_static/sphinx-thebe.css?v=4f" />
<link rel="stylesheet" href="../_static/book.css?v=ed" />
<script data-x="tabs-" src="../_static/design-tabs.js?v=fc"></script>
<script src="../_static/searchtools.js"></script>
<script src="../_static/language_data.js"></script>
<script src="../searchindex.js"></script>
<script src="../_static/viewer.js?v=34"></script>
</head>"""


@pytest.mark.parametrize(
    ("name", "body", "kept"),
    [
        ("x.html", "<p>words</p>", ()),
        ("search.html", "<p>words</p>", ("searchtools", "language_data", "searchindex")),
        ("x.html", '<div class="docutils sd-card">', ("sphinx-design", "design-tabs")),
        ("x.html", '<div class="cell docutils">', ("mystnb",)),
    ],
)
def test_a_page_loads_what_it_uses(name, body, kept):
    page = tidy.without_unused(f"{HEAD}<body>{body}</body></html>", name)
    files = ("sphinx-design", "design-tabs", "mystnb", "searchtools", "language_data")
    found = [file for file in (*files, "searchindex", "thebe") if file in page]
    assert sorted(found) == sorted(kept)
    assert (
        "book.css" in page
        and "viewer.js" in page
        and page.count("<script")
        == 2 + len([file for file in kept if file not in ("sphinx-design", "mystnb")])
    )


def test_pictures_say_how_large_they_are(tmp_path):
    for folder in ("_images", "book"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (300, 200)).save(tmp_path / "_images/a.png")
    points = '<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}"/>'
    (tmp_path / "_images/b.svg").write_text(points.format("90.5pt", "45pt"))
    (tmp_path / "_images/c.svg").write_text(points.format("100%", "45pt"))
    page = "".join(f'<img alt="x" src="../_images/{name}">' for name in ("a.png", "b.svg", "c.svg"))
    page += '<img src="../_images/a.png" width="30"><img src="../_static/logo.png">'
    assert tidy.sized(page, tmp_path / "book") == page.replace(
        '<img alt="x" src="../_images/a', '<img width="300" height="200" alt="x" src="../_images/a'
    ).replace(
        '<img alt="x" src="../_images/b', '<img width="121" height="60" alt="x" src="../_images/b'
    )


def test_a_page_says_first_that_its_contents_come_last():
    page = f'{HEAD}<body data-x="auto">{{}}</body></html>'
    with_contents = tidy.steady(page.format('<dialog class="bd-sidebar-secondary bd-toc">'))
    assert '<body class="has-contents" data-x="auto">' in with_contents
    assert "has-contents" not in tidy.steady(page.format("<p>bd-sidebar-secondary</p>"))


@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize(
    ("chosen", "expected"), [(None, None), ("dark", "dark"), ("light", "light")]
)
def test_the_theme_is_there_before_the_first_word(chromium, tmp_path, system, chosen, expected):
    (tmp_path / "x.html").write_text(tidy.steady(f"{HEAD}<body></body></html>"))
    context = chromium.new_context(color_scheme=system)
    if chosen:
        context.add_init_script(f"localStorage.setItem('mode', '{chosen}')")
    tab = context.new_page()
    tab.goto((tmp_path / "x.html").as_uri())
    assert tab.evaluate("() => document.documentElement.dataset.theme") == (expected or system)
    context.close()


def test_pages_are_tidied(html):
    """The theme has not changed what is replaced in its pages, and no picture was overlooked."""
    for page in [*html.glob("book/*.html"), *html.glob("notebooks/*.html")]:
        text = page.read_text()
        if "<article" in text:
            assert tidy.THEME_AT_ONCE in text and "searchindex.js" not in text, page.name
            assert tidy.sized(text, page.parent) == text, page.name
            assert ('class="bd-sidebar-secondary' in text) == ('class="has-contents"' in text)
    assert "searchindex.js" in (html / "search.html").read_text()
