"""What other sites show where somebody links to a page: its title, first words and the card."""

import html

from docutils import nodes


def add_tags(app, pagename, templatename, context, doctree):
    """Add a description to each page, and the Open Graph tags where the book's address is known."""
    if doctree is None:
        return
    words = next(
        (
            node.astext()
            for node in doctree.findall(nodes.paragraph)
            if len(node.astext().split()) > 5
        ),
        "",
    )
    words = " ".join(words.split())
    words = words if len(words) <= 200 else words[:200].rsplit(" ", 1)[0] + " …"
    tags = {"name": {"description": words}}
    address = app.config.html_baseurl
    if address:
        tags["name"]["twitter:card"] = "summary_large_image"
        tags["property"] = {
            "og:type": "article",
            "og:site_name": app.config.html_title,
            "og:title": context.get("title", ""),
            "og:description": words,
            "og:url": f"{address}{pagename}.html",
            "og:image": f"{address}_static/social-card.png",
            "og:image:alt": f"{app.config.html_title}: a slice of a head and a UNet++",
        }
    context["metatags"] = context.get("metatags", "") + "".join(
        f'<meta {kind}="{name}" content="{html.escape(html.unescape(text))}">\n'
        for kind, entries in tags.items()
        for name, text in entries.items()
        if text
    )


def setup(app):
    app.connect("html-page-context", add_tags)
    return {"parallel_read_safe": True}
