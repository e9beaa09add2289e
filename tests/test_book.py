"""The book itself: rendered from executed notebooks, and refused where one is missing or fails."""

import json
import os
import re
import shutil
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from conftest import NOTEBOOKS, ROOT, render
from PIL import Image


def test_every_page_is_there_with_its_pictures(html):
    assert (html / "index.html").exists()
    for path in NOTEBOOKS:
        page = (html / "notebooks" / f"{path.stem}.html").read_text()
        images = re.findall(r"<img[^>]*_images/[^>]*>", page)
        assert images
        for image in images:
            alt = re.search(r'alt="([^"]*)"', image)
            assert alt and len(alt.group(1).split()) >= 5, image
        for target in re.findall(r'(?:src|href)="(\.\./_images/[^"]+)"', page):
            assert (html / "notebooks" / target).exists()


def test_internal_links_and_anchors_resolve(html):
    found = {
        page: BeautifulSoup(page.read_text(), "html.parser")
        for page in html.rglob("*.html")
        if "_static" not in page.parts and page.name != "404.html"
    }
    anchors = {
        page: {
            tag.get("id") or tag.get("name")
            for tag in soup.find_all(
                lambda tag: tag.has_attr("id") or tag.name == "a" and tag.has_attr("name")
            )
        }
        for page, soup in found.items()
    }
    broken = []
    for page, soup in found.items():
        for tag in soup.find_all(["a", "img", "script", "link"]):
            address = urlsplit(tag.get("href") or tag.get("src") or "")
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            if not target.exists():
                broken.append(f"{page.relative_to(html)} → {address.path}")
            elif address.fragment and unquote(address.fragment) not in anchors.get(
                target, {unquote(address.fragment)}
            ):
                broken.append(f"{page.relative_to(html)} → {address.path}#{address.fragment}")
    assert len(found) > len(NOTEBOOKS) and not broken, broken[:20]


def weighed(page):
    """Bytes of a page with the files that it names, as they lie there: (words, pictures).

    Files that pages share are counted on each; what a script fetches on a click is not named.
    """
    text = page.read_text()
    own = sum(map(len, re.findall(r"data:image/[^\"')]+", text)))
    words, pictures = {page: len(text.encode()) - own}, {}
    soup = BeautifulSoup(text, "html.parser")
    for tag in soup.select("script[src], link[rel~=stylesheet], link[rel~=preload], img[src]"):
        where = urlsplit(tag.get("src") or tag["href"])
        if not where.scheme:
            file = (page.parent / unquote(where.path)).resolve()
            (pictures if tag.name == "img" else words)[file] = file.stat().st_size
    # Of its fonts a page asks for the one with the signs before notes.
    for font in html_of(page).glob("_static/vendor/fontawesome/webfonts/fa-solid-900.woff*"):
        words[font] = font.stat().st_size
    return sum(words.values()), own + sum(pictures.values())


def html_of(page):
    """The folder of the book that a page belongs to."""
    return next(folder for folder in page.parents if (folder / "_static").is_dir())


def test_pages_are_light(html):
    heavy = {}
    for page in html.rglob("*.html"):
        if "_static" not in page.parts:
            words, pictures = weighed(page)
            if words > 1.5e6 or words + pictures > 6e6:
                heavy[str(page.relative_to(html))] = words, pictures
    assert not heavy


def test_the_first_page_has_three_doors_and_the_second_is_the_network(html):
    page = BeautifulSoup((html / "book/intro.html").read_text(), "html.parser")
    cards = page.select(".sd-card a[href]")
    doors = [(html / "book" / urlsplit(card["href"]).path).resolve() for card in cards]
    assert len(doors) == 3 and all(door.exists() for door in doors)
    assert "try-it.html" in page.select_one("a.right-next")["href"]
    # What a door names as the beginning is where it leads.
    beginnings = [card.find_parent(class_="sd-card").select_one("em") for card in cards]
    for door, begin in zip(doors, beginnings):
        title = BeautifulSoup(door.read_text(), "html.parser").h1.get_text().lower()
        words = begin.get_text().lower().split()
        assert set(words) <= set(re.findall(r"\w+", title)), (begin, title)


def test_paths_answer_how_long_they_take(html):
    text = BeautifulSoup((html / "book/learning-paths.html").read_text(), "html.parser").article
    said = re.findall(r"about .*? to read and do its (\d+) chapters", text.get_text())
    assert len(said) == 3 and int(said[1]) == len(NOTEBOOKS)
    assert len(text.find_all("table")[-1].select("tbody tr")) == len(NOTEBOOKS) + 1


# Chapters that still speak of it; the list only gets shorter.
SPEAK_OF_COLAB = {"00_start_here", "05_gpu_training", "15_train_on_your_own_data"}


def test_no_page_speaks_of_colab_or_rockets_where_no_repository_is_known(html):
    """Of the package's own pages the words stay: what a function does on Colab, it does."""
    if os.environ.get("REPOSITORY") or os.environ.get("GITHUB_REPOSITORY"):
        pytest.skip("a repository is known: its pages may")
    speak = set()
    for page in [*html.glob("book/*.html"), *html.glob("notebooks/*.html")]:
        article = BeautifulSoup(page.read_text(), "html.parser").select_one("article")
        if article and not page.stem.startswith("api"):
            if re.search(r"\brockets?\b|\bcolab\b", article.get_text(), re.I):
                speak.add(page.stem)
    assert speak <= SPEAK_OF_COLAB


def test_the_first_page_shows_its_head(html):
    page = BeautifulSoup((html / "book/intro.html").read_text(), "html.parser")
    poster = page.select_one("#kenseg-head img[data-part=poster]")
    assert poster and (html / "book" / poster["src"]).resolve().stat().st_size > 5_000
    assert (html / "_static/head/head.js").exists() and "ml" in page.figcaption.get_text()


def test_what_pages_share_is_light(html):
    """Icons are those in use; no page loads MathJax (formulas are drawn) or a widget manager."""
    icons = html / "_static/scripts/fontawesome.js"
    assert icons.stat().st_size < 150_000 and not list(html.glob("_static/scripts/*.map"))
    for page in html.rglob("*.html"):
        text = page.read_text()
        assert "tex-svg" not in text and "MathJax" not in text, page.name
        assert "embed-amd" not in text and "require.js" not in text


def test_every_page_has_its_license_and_leads_to_how_to_cite(html):
    for name in ("book/intro", "notebooks/06_dice_evaluation", "search"):
        page = BeautifulSoup((html / f"{name}.html").read_text(), "html.parser")
        link = page.select_one("footer a[href$='citing.html']")
        assert link and ((html / name).parent / link["href"]).resolve().exists()
        assert "MIT license" in link.find_parent("footer").get_text()


def test_old_and_short_names_lead_on(html):
    page = (html / "intro.html").read_text()
    assert 'url=book/intro.html"' in page and (html / "book/intro.html").exists()


def test_other_sites_get_a_description_and_no_made_up_address(html):
    page = BeautifulSoup((html / "book/try-it.html").read_text(), "html.parser")
    assert "network" in page.find("meta", attrs={"name": "description"})["content"]
    if not (os.environ.get("REPOSITORY") or os.environ.get("GITHUB_REPOSITORY")):
        assert not page.find("meta", attrs={"property": "og:url"})
    with Image.open(html / "_static/social-card.png") as card:
        assert card.size == (1200, 630)


def test_no_made_up_launch_button(html):
    """Without a known repository there is no address to launch from."""
    known = os.environ.get("REPOSITORY") or os.environ.get("GITHUB_REPOSITORY")
    pages = "".join(path.read_text() for path in (html / "notebooks").glob("*.html"))
    assert ("colab.research.google.com" in pages) == bool(known)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_gives_no_answer_away_and_labels_what_it_folds(path, html):
    page = BeautifulSoup((html / "notebooks" / f"{path.stem}.html").read_text(), "html.parser")
    assert page.h1.get_text().startswith(f"{int(path.stem[:2])} · ")
    code = "".join(part.get_text() for part in page.select(".cell_input"))
    assert "teaching.quiz(" not in code and "teaching.bet(" not in code
    labels = {part.get_text() for part in page.select("details.hide > summary")}
    assert not [text for text in labels if "code cell" in text], "a label that says nothing"
    hints = {part.get_text() for part in page.find_all("summary")} & {"Hint", "Solution"}
    assert not hints, "one wording: Show hint, Show solution"
    outputs = "".join(part.get_text() for part in page.select(".cell_output"))
    assert "Not there yet" not in outputs, "an untouched blank looks like a failure"
    for trace in ("it/s]", "step/s]", "scan/s]", "\r", "oneDNN", "WARNING:", "Traceback"):
        assert trace not in outputs, trace


def test_a_notebook_without_outputs_stops_the_build(executed, tmp_path):
    copies = tmp_path / "executed"
    copies.mkdir()
    for path in NOTEBOOKS:
        shutil.copy(executed(path.stem), copies)
    name = NOTEBOOKS[1].name
    content = json.loads((copies / name).read_text())
    for cell in content["cells"]:
        cell["outputs"] = [] if cell["cell_type"] == "code" else None
    (copies / name).write_text(json.dumps(content))
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("the last good book")
    result = render(copies, tmp_path)
    assert result.returncode != 0 and name in result.stderr
    assert (tmp_path / "html" / "index.html").read_text() == "the last good book"


def notebook(folder, *cells):
    path = folder / "09_broken.ipynb"
    cells = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": source,
        }
        for number, source in enumerate(cells)
    ]
    path.write_text(
        json.dumps(
            {
                "cells": cells,
                "metadata": {
                    "kernelspec": {
                        "name": "python3",
                        "display_name": "Python 3",
                        "language": "python",
                    }
                },
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )
    )
    return path


def test_a_failing_cell_is_named_and_leaves_no_executed_copy(tmp_path):
    path = notebook(tmp_path, "print('fine')", "raise ValueError('the mask is upside down')")
    copy = tmp_path / "out" / path.name
    result = subprocess.run(
        [sys.executable, "book/_tools/execute.py", path, copy],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    # The first cell that papermill puts in holds the parameters, so the second one is [3].
    assert f"{path.name}, cell [3]: ValueError: the mask is upside down" in result.stderr
    assert not copy.exists() and (copy.parent / f"failed-{path.name}").exists()


def make(*arguments):
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_make_refuses_an_unknown_profile():
    result = make("-n", "book", "PROFILE=huge")
    assert result.returncode and "choose smoke, demo or paper" in result.stderr


def test_make_says_what_to_install_without_a_python():
    result = make("PYTHON=", "VENV=no-such-venv", "no-such-venv/bin/python")
    assert result.returncode and "Python 3.11, 3.12 or 3.13" in result.stderr


def test_make_help_lists_the_commands():
    listed = make("help").stdout
    assert all(
        f"make {name}" in listed
        for name in ("book", "test", "install", "serve", "lock", "clean", "bench", "help")
    )


def test_a_bad_data_root_is_one_clear_line(tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "kenseg_utils.profiles",
            "smoke",
            "--data-root",
            tmp_path / "nowhere",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "nowhere" in result.stderr and "Traceback" not in result.stderr
