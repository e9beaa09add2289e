"""Leave out of pages what does not belong there."""

import re

from docutils import nodes

# Of a chapter's cells these say nothing that anybody looks for: they are the same on every page.
NOT_SEARCHED = {"tag_setup", "tag_parameters", "tag_closing"}


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


def with_citing(app, pagename, templatename, context, doctree):
    """Let the footer lead to the page that says how to cite, from wherever it stands."""
    footer = context.get("theme_extra_footer", "")
    context["theme_extra_footer"] = footer.replace("{citing}", context["pathto"]("book/citing"))


def search_what_teaches(app):
    """Keep set-up cells out of the search: every page has them, so they make every page a hit."""
    builder = app.builder
    if not hasattr(builder, "index_page"):
        return
    index_page = builder.index_page

    def index_what_teaches(pagename, doctree, title):
        kept = doctree.deepcopy()
        for cell in list(kept.findall(nodes.container)):
            if NOT_SEARCHED & set(cell.get("classes", [])):
                cell.parent.remove(cell)
        index_page(pagename, kept, title)

    builder.index_page = index_what_teaches


def setup(app):
    app.connect("builder-inited", search_what_teaches)
    app.connect("html-page-context", with_citing, priority=900)
    app.connect("html-page-context", without_thebe, priority=900)
    app.connect("html-page-context", without_an_address, priority=900)
    return {"parallel_read_safe": True}
