"""Names in code that lead to their pages, found in one pass over a chapter.

For each of the sixty cells of a chapter codeautolink reads all cells above anew, for what they
import and assign: a sixth of the time of a build. It goes through them from top to bottom, so that
going on where the last cell ended finds the same. It also looks through each page for blocks of
thirteen languages, of which the book has four.
"""

import ast

from sphinx_codeautolink.extension import block
from sphinx_codeautolink.parse import ImportTrackerVisitor, Name

LANGUAGES = ("default", "python", "ipython3", "pycon")


class OnePass:
    """`parse_names` of cells that go on from one another: each returns its own names alone."""

    def __init__(self) -> None:
        self.document, self.read = None, ""
        self.visitor: ImportTrackerVisitor | None = None

    def __call__(self, source: str, node) -> list[Name]:
        above = self.read + "\n"
        if node.document is not self.document or not source.startswith(above):
            above, self.visitor = "", ImportTrackerVisitor(node)
        cell = ast.parse(source[len(above) :])
        self.document, self.read = node.document, source
        self.visitor.accessed = []
        self.visitor.visit(ast.increment_lineno(cell, above.count("\n")))
        return self.visitor.accessed


def setup(app):
    block.parse_names = OnePass()
    for language in block.BUILTIN_BLOCKS.keys() - set(LANGUAGES):
        del block.BUILTIN_BLOCKS[language]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
