"""The whole book as one PDF: `python book/_tools/pdf.py _build/html _build/book.pdf`.

A browser prints every page in the order of the contents; then they are put together, with an
outline, and links from page to page made to work inside the file. What is folded stays folded, and
what moves stands still: for that, and for code to run, there are the pages.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import browsing
import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject, NullObject, NumberObject

SIZE = dict(format="A4", margin=dict(top="16mm", bottom="18mm", left="14mm", right="14mm"))
FOOTER = (
    '<div style="font-size:8px;width:100%;text-align:center;color:#555">'
    '<span class="title"></span> · <span class="pageNumber"></span></div>'
)
# Of the page only what is read; paper is white, whatever the reader's screen was.
ON_PAPER = """
  .bd-header, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .prev-next-area,
  .header-article, #pst-back-to-top, .bd-footer, .bd-footer-article, .headerlink, .skip-link,
  .kenseg-lightbox, button.copybtn { display: none !important; }
  .bd-main .bd-content .bd-article-container { max-width: 100% !important; }
  pre { white-space: pre-wrap !important; }
  figure, img, svg, tr, .kenseg-viewer { break-inside: avoid; }
  h1, h2, h3 { break-after: avoid; }
"""


def pages(contents: Path) -> list[str]:
    """The book's pages in the order of its contents, such as `notebooks/05_gpu_training`."""

    def files(part) -> Iterator[str]:
        if isinstance(part, dict):
            yield from [part["file"]] if "file" in part else []
            for name in ("parts", "chapters", "sections"):
                yield from files(part.get(name, []))
        else:
            for one in part:
                yield from files(one)

    table = yaml.safe_load(contents.read_text(encoding="utf-8"))
    return [table["root"], *files(table)]


def printed(browser, address: str, names: list[str], folder: Path) -> list[tuple[str, Path]]:
    """A title and a PDF of each page, as `browser` (a Playwright one) prints it."""
    done = []
    tab = browser.new_page(color_scheme="light", reduced_motion="reduce")
    for number, name in enumerate(names):
        tab.goto(f"{address}/{name}.html", wait_until="load")
        tab.evaluate("() => { document.documentElement.dataset.theme = 'light'; }")
        tab.add_style_tag(content=ON_PAPER)
        # Pictures below the screen are fetched when they come into sight: on paper, at once.
        tab.evaluate(
            """async () => {
              for (const image of document.images) image.loading = "eager";
              await Promise.allSettled([...document.images].map((image) => image.decode()));
              await document.fonts.ready;
            }"""
        )
        title = re.sub(r"\s*#?$", "", tab.evaluate("document.querySelector('h1')?.innerText || ''"))
        target = folder / f"{number:03d}.pdf"
        tab.pdf(
            path=target,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            print_background=True,
            **SIZE,
        )
        done.append((title or name, target))
        print(f"{number + 1}/{len(names)} {name}", file=sys.stderr)
    tab.close()
    return done


def bound(parts: list[tuple[str, Path]], names: list[str], address: str) -> PdfWriter:
    """One file of all parts, with an outline; links to `address` lead to a part's first page."""
    book, first = PdfWriter(), {}
    for name, (title, file) in zip(names, parts):
        start = len(book.pages)
        book.append(PdfReader(file), import_outline=False)
        book.add_outline_item(title=title, page_number=start)
        first[name] = book.pages[start].indirect_reference
    for page in book.pages:
        for link in page.get("/Annots") or []:
            link = link.get_object()
            target = str((link.get("/A") or {}).get("/URI", ""))
            if not target.startswith(address):
                continue
            del link[NameObject("/A")]
            name = re.sub(r"(\.html)?(#.*)?$", "", target.removeprefix(address).lstrip("/"))
            if name in first:
                # To the top of that page, at the zoom that the reader has.
                place = [first[name], NameObject("/XYZ"), NumberObject(0), NumberObject(10_000)]
                link[NameObject("/Dest")] = ArrayObject([*place, NullObject()])
    return book


def write(html: Path, target: Path, browser, names: list[str]) -> int:
    """Print pages and bind them to `target`; how many sheets it has. Nothing half-written."""
    missing = [name for name in names if not (html / f"{name}.html").is_file()]
    if missing:
        raise ValueError(f"{html} holds no {missing[0]}.html: build the book first (make book).")
    with tempfile.TemporaryDirectory() as folder, browsing.served(html) as address:
        book = bound(printed(browser, address, names, Path(folder)), names, address)
        aside = target.with_suffix(".part")
        with open(aside, "wb") as file:
            book.write(file)
        aside.replace(target)
        return len(book.pages)


def main(html: Path, target: Path) -> None:
    """What the command does."""
    program = browsing.program()
    if not program:
        sys.exit("A PDF is printed by a browser, and none was found: install chromium.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if _is_root() else []
        browser = playwright.chromium.launch(executable_path=program, args=options)
        try:
            sheets = write(html, target, browser, pages(Path("book/_toc.yml")))
        except ValueError as error:
            sys.exit(str(error))
        finally:
            browser.close()
    print(f"{target}: {sheets} pages, {target.stat().st_size / 1e6:.0f} MB")


def _is_root() -> bool:
    """Whether Chromium would refuse its sandbox, as it does for root."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
