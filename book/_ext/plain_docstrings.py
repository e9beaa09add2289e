"""Docstrings here are plain text with `names` in backticks; Sphinx would read them as its markup."""

import re


def as_text(app, what, name, obj, options, lines):
    """Show single backticks as code and bars as bars."""
    lines[:] = [
        re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line).replace("|", r"\|") for line in lines
    ]


def setup(app):
    app.connect("autodoc-process-docstring", as_text)
    return {"parallel_read_safe": True}
