"""Leave out of pages what does not belong there."""

import re


def without_thebe(app, pagename, templatename, context, doctree):
    """Drop sphinx-thebe's scripts: no page starts a kernel; declared twice they are an error."""

    def of_thebe(script):
        where = str(getattr(script, "filename", script))
        attributes = getattr(script, "attributes", {})
        return "thebe" in where.lower() or "THEBE_JS_URL" in str(attributes.get("body", ""))

    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if not of_thebe(script)]


def without_an_address(app, pagename, templatename, context, doctree):
    """Drop links to a page's own address where none is known: only its description stays."""
    if not app.config.html_baseurl:
        tags = context.get("metatags", "")
        context["metatags"] = re.sub(r'<meta (property="og:|name="twitter:)[^>]*>\s*', "", tags)


def setup(app):
    app.connect("html-page-context", without_thebe, priority=900)
    app.connect("html-page-context", without_an_address, priority=900)
    return {"parallel_read_safe": True}
