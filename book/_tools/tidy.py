"""The last touch on built pages: nothing in them moves while they load, or loads in vain.

Pictures say how large they are, a page says at its beginning whether its contents will stand beside
it, and its theme is the reader's from the first word on. The search's index is a third of what a
page would weigh, and only the search's own page asks it; the styles of cards and of cells go where
there are cards and cells.
"""

import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

IMAGE = re.compile(r'<img\b[^>]*\bsrc="(?P<where>(?:\.\./)*_images/[^"]+)"[^>]*>')
LOADED = r'\s*<(?:script|link)\b[^>]*\b(?:src|href)="[^"]*(?:{})(?:\?[^"]*)?"[^>]*>(?:</script>)?'
# What a page loads → what must stand in it for that to be of use.
SEARCH = "/searchtools.js|/language_data.js|searchindex.js"
USES = {
    "/sphinx-thebe.css": None,  # starts kernels, which no page does
    "/sphinx-design.min.css|/design-tabs.js": r'class="[^"]*\bsd-',
    r"/mystnb\.\w+\.css": r'class="[^"]*\b(?:cell|cell_output|ansi-\w+)\b',
}
# The theme's first script leaves "auto" to one that comes last: till then there were two logos.
THEME = 'document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";'
THEME_AT_ONCE = """\
    document.documentElement.dataset.theme = (({ mode }) => mode !== "auto" ? mode :
      matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"
    )(document.documentElement.dataset);""".lstrip()
# Of SVG's units the pixels; matplotlib writes points.
PIXELS = {"": 1, "px": 1, "pt": 4 / 3}


def sized(text: str, folder: Path) -> str:
    """A page, which lies in `folder`, with width and height on pictures that say neither."""

    def with_size(found: re.Match) -> str:
        tag = found[0]
        if re.search(r"\b(?:width|height)=", tag):
            return tag
        size = picture_size((folder / found["where"]).resolve())
        return (
            tag
            if size is None
            else tag.replace("<img", '<img width="{}" height="{}"'.format(*size), 1)
        )

    return IMAGE.sub(with_size, text)


@cache
def picture_size(file: Path) -> tuple[int, int] | None:
    """Width and height in pixels as a browser takes them; None where the file does not tell."""
    if file.suffix == ".svg":
        root = ElementTree.parse(file).getroot()
        sides = [re.fullmatch(r"([\d.]+)(\w*)", root.get(name, "")) for name in ("width", "height")]
        if not all(side and side[2] in PIXELS for side in sides):
            return None
        width, height = (round(float(side[1]) * PIXELS[side[2]]) for side in sides)
        return width, height
    with Image.open(file) as picture:
        return picture.size


def without_unused(text: str, name: str) -> str:
    """A page without the scripts and styles that are of no use to it."""
    head, end, body = text.partition("</head>")
    unused = [files for files, sign in USES.items() if not (sign and re.search(sign, body))]
    if name != "search.html":
        unused.append(SEARCH)
    return re.sub(LOADED.format("|".join(unused)), "", head) + end + body


def steady(text: str) -> str:
    """A page that says first what else it finds out later, when its words have to move for it."""
    _, _, body = text.partition("</head>")
    if 'class="bd-sidebar-secondary' in body:
        text = re.sub(r"<body(?![^>]*\bclass=)", '<body class="has-contents"', text, count=1)
    return text.replace(THEME, THEME_AT_ONCE)


def finish(html: Path) -> None:
    """Finish all pages of a built book, in place."""
    for page in html.rglob("*.html"):
        if "_static" not in page.relative_to(html).parts:
            text = page.read_text(encoding="utf-8")
            done = steady(sized(without_unused(text, page.name), page.parent))
            if done != text:
                page.write_text(done, encoding="utf-8")
