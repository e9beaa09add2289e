"""Pages under names that the book once used, or that are quick to type, leading to today's.

`redirects` in _config.yml maps an old name to a page: {intro: book/intro}.
"""

from pathlib import PurePosixPath

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>This page has moved</title>
<meta http-equiv="refresh" content="0; url={target}"><link rel="canonical" href="{target}"></head>
<body><p>This page has moved: <a href="{target}">{target}</a></p></body></html>
"""


def write_pages(app, exception):
    """Write a page that leads on for each old name; stop the build where its target is no page."""
    if exception or app.builder.format != "html":
        return
    for old, new in app.config.redirects.items():
        if new not in app.env.found_docs:
            raise ValueError(f"redirects in _config.yml: {old} leads to {new}, which is no page.")
        if old in app.env.found_docs:
            raise ValueError(f"redirects in _config.yml: {old} is a page of its own.")
        path = app.outdir / f"{old}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (len(PurePosixPath(old).parts) - 1)
        path.write_text(PAGE.format(target=f"{up}{new}.html"), encoding="utf-8")


def setup(app):
    app.add_config_value("redirects", {}, "html")
    app.connect("build-finished", write_pages)
    return {"parallel_read_safe": True}
