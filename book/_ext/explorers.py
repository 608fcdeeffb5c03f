"""Explorers on built pages: their script and style, on the pages that have one (and on the front page), and no widget state, which they do not need."""
from pathlib import Path

from docutils import nodes

from tsframe.explorers import _base

STATE = "application/vnd.jupyter.widget-state+json"
FILES = {"explorers.js": _base.page_script, "explorers.css": _base.style}


def write(app):
    """Both files among the site's own, before its pages, which carry their checksums."""
    folder = Path(app.outdir, "_static")
    if app.builder.format == "html":
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            (folder / name).write_text(text(), encoding="utf-8")


def load(app, pagename, templatename, context, doctree):
    scripts = context.get("script_files", [])
    scripts[:] = [s for s in scripts if (getattr(s, "attributes", None) or {}).get("type") != STATE]
    if doctree is not None and any("data-explorer=" in raw.astext() or 'class="hero"' in raw.astext() for raw in doctree.findall(nodes.raw)):
        app.add_css_file("explorers.css")
        app.add_js_file("explorers.js", loading_method="defer")


def setup(app):
    app.connect("builder-inited", write)
    app.connect("html-page-context", load, priority=980)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
