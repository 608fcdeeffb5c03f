"""The research map: a graph of works and the list of them, made from book/research-map.yml when the book is built.

Without scripts a page shows the picture and the full list; assets/research-map.js makes them one interactive map. What
stands where is decided here, so nothing jumps. A chapter that the book does not have is not linked.
"""
import html
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

KINDS = {"source": "The paper", "earlier": "What it builds on", "later": "What builds on it", "related": "Related"}
FIELDS = {"key", "kind", "short", "title", "authors", "year", "where", "relation"}
OPTIONAL = {"link", "builds_on", "chapters"}
WIDTH, ROW, EDGE, WAIST, BULGE = 360, 46, 36, 48, 22      # width, rows, first row, half the gap, and how it opens
SHAPES = {"source": '<rect x="-40" y="-17" width="80" height="34" rx="4"/>',
          "earlier": '<path d="M-6-7.5L8 0-6 7.5Z"/>', "later": '<path d="M-8 0L-4-7H4L8 0 4 7H-4Z"/>',
          "related": '<path d="M-8 0L-4-7H4L8 0 4 7H-4Z"/>'}
SCRIPTS = [f"d3/d3-{name}.min.js" for name in
           ("dispatch", "selection", "timer", "ease", "color", "interpolate", "transition", "drag", "zoom")]


def escape(text):
    """Text for the page, with the apostrophes that its other words have."""
    return html.escape(text, quote=False).replace("'", "\u2019").replace('"', "&quot;")


def read(file):
    """The works of a map: key -> work. An entry that cannot be drawn is an error that names it."""
    works = {}
    for entry in yaml.safe_load(Path(file).read_text(encoding="utf-8")):
        key = entry.get("key", "?")
        if FIELDS - entry.keys() or entry.keys() - FIELDS - OPTIONAL:
            raise ValueError(f"{file}: {key} needs {sorted(FIELDS)} and may have {sorted(OPTIONAL)}; it has {sorted(entry)}")
        if key in works or entry["kind"] not in KINDS:
            raise ValueError(f"{file}: {key} must stand there once and be one of {list(KINDS)}; it is {entry['kind']}")
        works[key] = {"link": None, "builds_on": [], "chapters": []} | entry
    for key, work in works.items():
        if unknown := set(work["builds_on"]) - works.keys():
            raise ValueError(f"{file}: {key} builds on {sorted(unknown)}, which the map does not have")
    return works


def columns(works):
    """The works of the left column and those of the right one."""
    left = [k for k, w in works.items() if w["kind"] == "earlier"]
    return left, [k for k, w in works.items() if w["kind"] in ("later", "related")]


def layout(works):
    """(height, key -> (x, y)): earlier works on the left, later ones on the right, time downwards, the paper between."""
    sides = columns(works)
    height = 2 * EDGE + ROW * (max(map(len, sides)) - 1)
    places = {k: (WIDTH / 2, height / 2) for k, w in works.items() if w["kind"] == "source"}
    for side, column in zip((-1, 1), sides, strict=True):
        for i, key in enumerate(column):
            y = height / 2 + ROW * (i - (len(column) - 1) / 2)
            places[key] = (WIDTH / 2 + side * (WAIST + BULGE * (1 - (2 * y / height - 1) ** 2)), y)
    return height, places


def lines(works):
    """(older, newer, related) of every line of the map."""
    return [(old, new, works[new]["kind"] == "related") for new, work in works.items() for old in work["builds_on"]]


def curve(a, b):
    """A line from a to b that leaves both towards the middle of the map. research-map.js draws the same one."""
    turn = [x + .7 * (WIDTH / 2 - x) for x in (a[0], b[0])]
    return f"M{a[0]:.1f} {a[1]:.1f}C{turn[0]:.1f} {a[1]:.1f} {turn[1]:.1f} {b[1]:.1f} {b[0]:.1f} {b[1]:.1f}"


def first(work):
    """Name and year by which a work is known."""
    return f"{work['authors'][0].split()[-1]} {work['year']}"


def label(work):
    if work["kind"] == "source":
        return f'<text y="4.5">{escape(work["short"])}</text>'
    x = -14 if work["kind"] == "earlier" else 14
    return f'<text x="{x}" y="-2">{escape(work["short"])}</text><text x="{x}" y="12" class="by">{escape(first(work))}</text>'


def picture(works):
    height, places = layout(works)
    count = {kind: sum(w["kind"] == kind for w in works.values()) for kind in KINDS}
    says = (f"A graph of {len(works)} works, oldest at the top. The paper stands in the middle; lines join it to"
            f" {count['earlier']} earlier works on the left and {count['later'] + count['related']} later ones on the right."
            " The list has all of them.")
    edges = "".join(f'<path class="line{" related" * related}" data-old="{old}" data-new="{new}" d="{curve(places[old], places[new])}"/>'
                    for old, new, related in lines(works))
    marks = "".join(f'<g class="work {w["kind"]}" data-key="{k}" transform="translate({places[k][0]:.1f},{places[k][1]:.1f})">'
                    f'<title>{escape(w["title"])}</title>{SHAPES[w["kind"]]}{label(w)}</g>' for k, w in works.items())
    return (f'<div class="picture"><svg class="graph" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{says}">'
            f'<g class="view">{edges}{marks}</g></svg></div>')


def mark(kind):
    """A kind's mark, for the list and the key."""
    shape = '<rect x="-9" y="-6" width="18" height="12" rx="2"/>' if kind == "source" else SHAPES[kind]
    return f'<svg class="glyph {kind}" viewBox="-10 -10 20 20" aria-hidden="true">{shape}</svg>'


def outside(link):
    scheme, _, name = link.partition(":")
    base = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}[scheme]
    return f'<a class="outside" href="{base}{escape(name)}">{scheme.replace("doi", "DOI")} {escape(name)}</a>'


def names(authors):
    return authors[0] if len(authors) == 1 else f"{', '.join(authors[:-1])} and {authors[-1]}"


def entry(work, key, chapters):
    """One work of the list. `chapters`: page -> (address, title) of the pages that the book has."""
    inside = [f'<a href="{chapters[c][0]}">{escape(chapters[c][1])}</a>' for c in work["chapters"] if c in chapters]
    links = [outside(work["link"])] if work["link"] else []
    if inside:
        links.append(f"In this book: {', '.join(inside)}")
    return (f'<li id="work-{key}" data-key="{key}" class="{work["kind"]}"><p class="name">{mark(work["kind"])}'
            f'<span><span class="title">{escape(work["title"])}</span>&nbsp;<span class="year">{work["year"]}</span></span></p>'
            f'<div class="about"><p class="from">{escape(names(work["authors"]))}. {escape(work["where"])}, {work["year"]}.</p>'
            f'<p>{escape(work["relation"])}</p>' + f'<p class="links">{" · ".join(links)}</p>' * bool(links) + "</div></li>")


def listing(works, chapters):
    parts = []
    for kind, heading in KINDS.items():
        items = "".join(entry(w, k, chapters) for k, w in works.items() if w["kind"] == kind)
        parts.append(f'<p class="kind" id="kind-{kind}">{heading}</p><ul aria-labelledby="kind-{kind}">{items}</ul>')
    return f'<div class="works">{"".join(parts)}</div>'


def page(works, chapters):
    key = "".join(f"<li>{mark(kind)}{words.lower()}</li>" for kind, words in KINDS.items())
    return (f'<ul class="key-strip" aria-label="Key of marks">{key}</ul>'
            f'<div class="map">{listing(works, chapters)}{picture(works)}</div>')


class Map(nodes.General, nodes.Element):
    """The map's place on its page; it becomes HTML when all chapters are known."""


class ResearchMap(SphinxDirective):
    required_arguments = 1

    def run(self):
        relative, file = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        return [Map(works=read(file))]


def show(writer, node):
    builder = writer.builder
    chapters = {page: (builder.get_relative_uri(builder.current_docname, page), title.astext())
                for page, title in builder.env.titles.items()}
    writer.body.append(page(node["works"], chapters))
    raise nodes.SkipNode


def skip(writer, node):
    raise nodes.SkipNode


def load(app, pagename, templatename, context, doctree):
    """The map's style and scripts, on its page only."""
    if doctree is not None and next(doctree.findall(Map), None) is not None:
        app.add_css_file("research-map.css")
        for script in [*SCRIPTS, "research-map.js"]:
            app.add_js_file(script, loading_method="defer")


def setup(app):
    app.add_node(Map, html=(show, None), latex=(skip, None), text=(skip, None))
    app.add_directive("research-map", ResearchMap)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
