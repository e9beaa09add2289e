"""Formulas as drawings, made when the page is built: no script, no font and nothing to wait for.

ziamath draws a formula's TeX with the glyphs of STIX Two Math. Beside each drawing stands the same
formula in MathML, unseen, for a screen reader and for whoever copies it.
"""

import html
import re

import ziamath
from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.errors import ExtensionError

SIZE = 20  # pixels a formula is drawn at; the page scales it to the text around it
LARGER = 1.14  # the letters of STIX are smaller than those of the pages
ziamath.config.svg2 = False  # with it, one glyph's name would stand in many drawings


def drawn(tex: str, inline: bool) -> str:
    """HTML of a formula: an SVG in the text's colour, on its line, and the MathML.

    ValueError says which formula cannot be drawn.
    """
    try:
        formula = ziamath.Latex(tex, size=SIZE, inline=inline, color="currentColor")
        picture = formula.svg()
        spoken = convert(tex, display="inline" if inline else "block")
    except Exception as reason:  # a parser's errors have no common kind
        raise ValueError(f"the formula {tex!r} cannot be drawn: {reason}") from reason
    left, top, width, height = map(float, re.search(r'viewBox="([^"]+)"', picture)[1].split())
    below = top + height  # of the line on which the letters stand
    style = f"width:{_em(width)};vertical-align:{_em(-below)}"
    picture = re.sub(
        r'<svg [^>]*?(viewBox="[^"]+")[^>]*>',
        rf'<svg \1 style="{style}" aria-hidden="true" focusable="false">',
        picture,
        count=1,
    )
    return f'{picture}<span class="visually-hidden">{spoken}</span>'


def _em(pixels: float) -> str:
    return f"{LARGER * pixels / SIZE:.3f}em"


def _html(writer, node, inline: bool) -> str:
    try:
        return drawn(node.astext().strip(), inline)
    except ValueError as error:
        raise ExtensionError(f"{writer.builder.current_docname}: {error}") from None


def visit_inline(writer, node):
    writer.body.append(f'<span class="math formula">{_html(writer, node, True)}</span>')
    raise SkipNode


def visit_block(writer, node):
    name = "".join(f' id="{html.escape(one)}"' for one in node["ids"][:1])
    writer.body.append(f'<div class="math formula"{name}>{_html(writer, node, False)}</div>\n')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("drawn", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
