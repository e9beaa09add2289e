"""A table of files with their lines, counted when the page is built: the package's reading path."""

from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import kenseg_utils

ROOT = Path(kenseg_utils.__file__).resolve().parents[1]


def lines(path: Path) -> int:
    """How many lines of a file a reader reads: all but the empty ones."""
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


class ReadingPath(SphinxDirective):
    """Content: a line for each file, `path: what it holds`, in the order of reading."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        rows, total = [], 0
        for entry in self.content:
            name, _, about = entry.partition(": ")
            if not (ROOT / name).is_file():
                raise self.error(f"the reading path names {name}, which is not there")
            self.env.note_dependency(str(ROOT / name))
            total += lines(ROOT / name)
            rows.append((nodes.literal(text=name), nodes.Text(about), lines(ROOT / name)))
        whole = sum(map(lines, (ROOT / "kenseg_utils").rglob("*.py")))
        rows.append(
            (
                nodes.strong(text="the core"),
                nodes.Text(f"of the whole package's {whole:,} lines"),
                total,
            )
        )
        return [self._table(rows)]

    def _table(self, rows: list) -> nodes.table:
        group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in (4, 6, 1)), cols=3)
        head = self._row([nodes.Text(text) for text in ("file", "what it holds", "lines")])
        body = [self._row([name, about, nodes.Text(f"{n:,}")]) for name, about, n in rows]
        group += [nodes.thead("", head), nodes.tbody("", *body)]
        return nodes.table("", group)

    def _row(self, cells: list) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def setup(app):
    app.add_directive("reading-path", ReadingPath)
    return {"parallel_read_safe": True}
