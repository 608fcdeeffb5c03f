"""Figures as part of the page: matplotlib's SVG goes into the HTML, and its role colours become CSS variables.

So one picture follows light and dark, is sharp at any width and prints in light colours. The roles and their light
colours come from the package's own table, `tsframe.plots.INK`.
"""
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from docutils import nodes

from tsframe._ink import INK, recolour

TOKENS = {colour.lower(): role for role, colour in INK.items()}
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
DROPPED = {SVG + "metadata", SVG + "style", SVG + "title"}    # a <style> would leak into the page


def shorten(path):
    """Path coordinates to a hundredth of a point."""
    return re.sub(r"-?\d+\.\d+", lambda m: f"{round(float(m[0]), 2):g}", path)


def live(svg, alt, prefix):
    """The text of an SVG file as an element of the page. `prefix` keeps its ids apart from other figures'."""
    root = ET.fromstring(svg)
    for parent in root.iter():
        for child in [c for c in parent if c.tag in DROPPED]:
            parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            name = "href" if name == XLINK + "href" else name
            if name == "id":
                value = prefix + value
            elif name == "href" and value.startswith("#"):
                value = "#" + prefix + value[1:]
            elif name == "d":
                value = shorten(value)
            else:
                value = recolour(value.replace("url(#", "url(#" + prefix))
            element.set(name, value)
    width = float(root.get("viewBox").split()[2]) / 72
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"class": "fig", "style": f"--w:{width:.2f}", "role": "img", "aria-label": alt})
    if not alt:                                       # the tests refuse a figure without one
        del root.attrib["role"], root.attrib["aria-label"]
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def source(app, uri):
    """The file of an image: beside the book, or among the results of an executed notebook."""
    return next((f for f in (Path(app.srcdir, uri), Path(app.outdir, uri), Path(app.outdir).parent / uri) if f.is_file()), None)


def embed(app, doctree, docname):
    if app.builder.format != "html":
        return
    for number, image in enumerate(list(doctree.findall(nodes.image)), 1):
        file = source(app, image["uri"]) if image["uri"].endswith(".svg") else None
        if file:
            html = live(file.read_text(encoding="utf-8"), image.get("alt", ""), f"f{number}-")
            image.replace_self(nodes.raw("", html, format="html"))


def setup(app):
    app.connect("doctree-resolved", embed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
