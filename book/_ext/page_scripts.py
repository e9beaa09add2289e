"""Leave out Thebe's scripts: no page starts a kernel, and declared twice they are an error."""


def without_thebe(app, pagename, templatename, context, doctree):
    """Drop what sphinx-thebe put into a page; it cannot be told not to."""

    def of_thebe(script):
        where, attributes = (
            str(getattr(script, "filename", script)),
            getattr(script, "attributes", {}),
        )
        return "thebe" in where.lower() or "THEBE_JS_URL" in str(attributes.get("body", ""))

    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if not of_thebe(script)]


def setup(app):
    app.connect("html-page-context", without_thebe, priority=900)
    return {"parallel_read_safe": True}
