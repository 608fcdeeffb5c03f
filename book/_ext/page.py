"""What a page needs beyond the theme: it loads without an error, its download button works without a server, and
neither a test's mark nor a title said twice stands in the text."""
import base64
from pathlib import Path

from docutils import nodes

COMPARED = "# NBVAL_CHECK_OUTPUT\n"             # nbval's mark of a cell whose output it compares


def once(app, pagename, templatename, context, doctree):
    """Jupyter Book lists one inline script twice; its second run is an error in the reader's console."""
    seen, scripts = set(), []
    for script in context.get("script_files", []):
        key = (str(getattr(script, "filename", script) or ""), (getattr(script, "attributes", None) or {}).get("body"))
        if key not in seen:
            seen.add(key)
            scripts.append(script)
    context["script_files"][:] = scripts


def carry_source(app, pagename, templatename, context, doctree):
    """Put the source (the notebook) into its download button: a link to a file would open it, not save it."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button["label"] == "download-source-button":
                source = base64.b64encode(Path(app.env.doc2path(pagename)).read_bytes()).decode()
                button |= {"url": f"data:application/octet-stream;base64,{source}", "tooltip": "Download this page's source"}


def tidy(app, doctree):
    """Leave out nbval's mark; and "Proof." before a proof, which stands under that title already, with an id of its own."""
    for block in doctree.findall(nodes.literal_block):
        if block.astext().startswith(COMPARED):
            block.rawsource = block.astext().removeprefix(COMPARED)
            block[:] = [nodes.Text(block.rawsource)]
    for proof in doctree.findall(nodes.admonition):
        if proof["classes"][:2] == ["proof", "proof"]:
            proof["ids"] = []
            first = next(iter(proof.findall(nodes.Text)), nodes.Text(""))
            if first.startswith("Proof. "):
                first.parent.replace(first, nodes.Text(first.removeprefix("Proof. ")))


def setup(app):
    app.connect("doctree-read", tidy)
    app.connect("html-page-context", once, priority=990)
    app.connect("html-page-context", carry_source, priority=990)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
