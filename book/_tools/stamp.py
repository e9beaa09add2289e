"""Write the repository's address and a commit into a notebook's set-up cell, for Colab.

Committed notebooks name neither: a fork's copies must not fetch somebody else's package.

What is true only where the repository is known, such as a word on Colab or on the launch buttons,
is marked: in pages and in notebooks' Markdown by `<!-- published: … -->`, which may stand within a
line, be a line or hold several; in code by a comment that begins with `# published: `. Stamped
copies and the pages of a published book say it, and those of any other book do not.
"""

import argparse
import json
import re
from pathlib import Path

BLANK = 'REPOSITORY, COMMIT = "", ""'
WITHIN = r"<!-- published:\s+((?:(?!-->).)*?)\s+-->"
ALONE = rf"^[ \t]*{WITHIN}[ \t]*(?:\n|\Z)"
COMMENT = r"^([ \t]*# )published: (.*(?:\n|\Z))"


def in_words(text: str, known: bool) -> str:
    """A Markdown text with what is marked `<!-- published: … -->` said, or left out."""
    if not known:
        text = re.sub(ALONE, "", text, flags=re.M | re.S)
    return re.sub(WITHIN, r"\1" if known else "", text, flags=re.S)


def in_code(source: str, known: bool) -> str:
    """A cell's code with comments that are marked `# published: ` said, or left out."""
    return re.sub(COMMENT, r"\1\2" if known else "", source, flags=re.M)


def _spoken(content: dict, known: bool) -> dict:
    """A copy of a notebook in which what is marked is said, or left out."""
    kept = []
    for cell in content["cells"]:
        in_cell = in_code if cell["cell_type"] == "code" else in_words
        source = "".join(cell["source"])
        said = in_cell(source, known)
        if said.strip() or not source.strip():
            kept.append(cell | {"source": said.splitlines(keepends=True)})
    return json.loads(json.dumps(content | {"cells": kept}))


def unpublished(content: dict) -> dict:
    """A copy of a notebook for the pages of a book whose repository is not known.

    The set-up cell fetches the package from there, so these pages do not show it.
    """
    content = _spoken(content, known=False)
    for cell in content["cells"]:
        tags = cell["metadata"].setdefault("tags", [])
        if "setup" in tags:
            tags.append("remove-cell")
    return content


def stamped(content: dict, address: str, commit: str) -> dict:
    """A copy of a notebook whose set-up cell knows where its package is to be had.

    ValueError where address or commit hold anything that a shell would read as more than a word,
    or where the notebook has no set-up cell left blank.
    """
    for name, text in (("address", address), ("commit", commit)):
        if not re.fullmatch(r"[\w./:@+~-]+", text) or text.startswith("-"):
            raise ValueError(f"{name} {text!r}: letters, digits and . / : @ + ~ - only.")
    content = _spoken(content, known=True)
    found = 0
    for cell in content["cells"]:
        if "setup" in cell["metadata"].get("tags", []):
            source = "".join(cell["source"])
            found += source.count(BLANK)
            new = source.replace(BLANK, f'REPOSITORY, COMMIT = "{address}", "{commit}"')
            cell["source"] = new.splitlines(keepends=True)
    if found != 1:
        raise ValueError(f"{found} set-up cells with the line {BLANK}: there must be one.")
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="such as https://github.com/owner/name")
    parser.add_argument("commit", help="the tag or commit whose package the notebooks fetch")
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, required=True, help="the folder to write them to")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    for notebook in arguments.notebooks:
        try:
            content = stamped(
                json.loads(notebook.read_text(encoding="utf-8")),
                arguments.address,
                arguments.commit,
            )
        except ValueError as error:
            raise SystemExit(f"{notebook}: {error}") from None
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (arguments.to / notebook.name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
