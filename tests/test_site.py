"""The built book: its pages, links, figures and statements, and how it behaves in a browser."""
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import NOTEBOOKS, PAGES, ROOT
from jupyter_cache import get_cache

import fresh
from tsframe.certificates.registry import REGISTRY

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
AXE = (ROOT / "tests/vendor/axe.min.js").read_text(encoding="utf-8")
SECONDS = 20        # a chapter takes 15 s at most on two cores of its own; a third more for a slower machine


class Page(HTMLParser):
    """Elements of a page as (tag, attributes, tags, classes and #ids around it), and its visible text outside code and math."""

    def __init__(self, file):
        super().__init__()
        self.elements, self.text, self.stack = [], [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        names = {tag, f"#{attrs.get('id')}", *(attrs.get("class") or "").split()}
        self.elements.append((tag, attrs, set().union(*(n for _, n in self.stack))))
        if tag not in VOID:
            self.stack.append((tag, names))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), set().union(*(n for _, n in self.stack))))

    def handle_endtag(self, tag):
        while any(t == tag for t, _ in self.stack) and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data):
        around = set().union(*(n for _, n in self.stack))
        if not around & {"script", "style", "code", "pre", "math"}:
            self.text.append((data, around))

    @property
    def ids(self):
        return Counter(a["id"] for _, a, _ in self.elements if a.get("id"))

    def inside(self, name):
        return [(tag, attrs) for tag, attrs, around in self.elements if name in around]

    def words(self, name):
        return " ".join("".join(t for t, around in self.text if name in around).split())


@pytest.fixture(scope="session")
def pages(site):
    return {f.relative_to(site).as_posix(): Page(f) for f in site.rglob("*.html") if not {"_static", "reports"} & set(f.parts)}


def title(page):
    """First heading of a page's source."""
    source = next(f for f in (ROOT / f"{page}.ipynb", ROOT / f"{page}.md") if f.exists())
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".ipynb":
        text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    return re.search(r"^# +(.+)$", text, re.M)[1].strip()


@pytest.mark.parametrize("page", PAGES)
def test_page_is_there_with_its_title(pages, page):
    heading = pages[f"{page}.html"].words("h1").replace("’", "'")
    assert title(page).replace("’", "'") in heading


def test_first_page_leads_to_the_introduction(site):
    assert f"{PAGES[0]}.html" in (site / "index.html").read_text()


def test_links_and_anchors_resolve(site, pages):
    broken = []
    for name, page in pages.items():
        for tag, attrs, _ in page.elements:
            link = attrs.get("href") if tag in ("a", "link") else attrs.get("src")
            if link is None or (tag == "a" and re.match(r"https?:|mailto:", link)) or link.startswith("data:"):
                continue
            url = urlsplit(link)
            target = (site / name).parent / unquote(url.path) if url.path else site / name
            at = target.resolve().relative_to(site).as_posix() if target.resolve().is_relative_to(site) else None
            if url.scheme or url.netloc or at is None or not target.is_file():
                broken.append(f"{name}: {link}")
            elif url.fragment and at in pages and unquote(url.fragment) not in pages[at].ids:
                broken.append(f"{name}: {link} (no such place)")
    assert not broken, "\n".join(broken)


def test_ids_are_unique(pages):
    # statements, figures, exercises and the parts of a picture; a dropdown's title also makes an id, which nothing uses
    twice = [f"{name}: {i}" for name, page in pages.items() for i, n in page.ids.items()
             if n > 1 and re.match(r"(thm|fig|ex|f\d+)-", i)]
    assert not twice, "\n".join(twice)


def test_no_dollar_sign_is_left_in_the_text(pages):
    stray = [f"{name}: {text.strip()[:80]}" for name, page in pages.items() for text, _ in page.text if "$" in text]
    assert not stray, "\n".join(stray)


def test_figures_say_their_finding(pages):
    mute, found = [], 0
    for name, page in pages.items():
        for tag, attrs in page.inside("bd-article"):
            if tag not in ("img", "svg") or attrs.get("aria-hidden") == "true":
                continue
            words = attrs.get("alt" if tag == "img" else "aria-label") or page.words(f"#{attrs.get('aria-labelledby')}")
            found += 1
            if len(words.split()) < 5 or (tag == "svg" and attrs.get("role") != "img"):
                mute.append(f"{name}: <{tag}> says {words!r}")
    assert not mute, "\n".join(mute)
    assert found >= len(NOTEBOOKS)


def test_matplotlib_figures_are_part_of_the_page(pages):
    cells = sum(len(re.findall(r'"alt":', f.read_text(encoding="utf-8"))) for f in NOTEBOOKS)
    live = [e for p in pages.values() for e in p.elements if e[0] == "svg" and "fig" in (e[1].get("class") or "").split()]
    assert len(live) >= cells > 0


def test_ledger_shows_a_pass_for_every_statement(pages):
    stated = {i for page in pages.values() for i in page.ids if i.startswith("thm-")}
    ledger = pages["book/appendix/ledger.html"]
    shown = {a["href"].partition("#")[2] for tag, a in ledger.inside("bd-article") if tag == "a" and "#thm-" in a["href"]}
    assert shown == stated == {f"thm-{name}" for name in REGISTRY}
    assert Counter(a["data-result"] for _, a, _ in ledger.elements if "data-result" in a) == {"pass": len(stated)}


def test_chapters_run_in_time(built):
    """Every chapter was run on this state of the package, and those of this build in time."""
    began, share = built
    records = get_cache(ROOT / "_build" / f".jupyter_cache-{fresh.digest(ROOT)}").list_cache_records()
    assert {Path(r.uri).name for r in records} >= {f.name for f in NOTEBOOKS}
    slow = {Path(r.uri).name: r.data["execution_seconds"] for r in records if r.created >= began}
    assert all(seconds * share < SECONDS for seconds in slow.values()), slow


def test_pages_are_light(site):
    heavy = {f.name: f.stat().st_size for f in site.rglob("*.html") if f.stat().st_size > 1_500_000}
    assert not heavy


# ---- in the browser

@pytest.fixture
def visit(chromium, base):
    """Open a page; afterwards it must have loaded all, from here only, and without an error."""
    faults, contexts = [], []

    def go(way, page, **options):
        context = chromium.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda e: faults.append(f"error: {e}"))
        tab.on("console", lambda m: m.type == "error" and faults.append(f"console: {m.text}"))
        tab.on("requestfailed", lambda r: faults.append(f"failed: {r.url}"))
        tab.on("response", lambda r: r.status >= 400 and faults.append(f"{r.status}: {r.url}"))
        tab.on("request", lambda r: r.url.startswith((base[way], "data:", "blob:")) or faults.append(f"outside: {r.url}"))
        tab.goto(f"{base[way]}/{page}.html", wait_until="load")
        tab.evaluate("document.fonts.ready")
        if tab.locator(".math").count():
            tab.wait_for_function("window.MathJax?.startup?.promise")
            tab.evaluate("MathJax.startup.promise.then(() => 0)")
        tab.faults = faults
        return tab

    yield go
    for context in contexts:
        context.close()


def known(tab):
    """axe's findings that are the theme's own, by rule and number: a toggle for each cell that can be shown, and the
    roles that docutils gives to a list of works and to each of them."""
    works = tab.locator("div.citation").count()
    return {"label-content-name-mismatch": 2 + tab.locator("details.hide").count(), "region": 1,
            "aria-allowed-role": works, "aria-deprecated-role": works, "aria-required-children": min(works, 1)}


@pytest.mark.parametrize("way", ["served", "file"])
@pytest.mark.parametrize("page", PAGES)
def test_page_in_the_browser(visit, page, way):
    tab = visit(way, page, viewport={"width": 1280, "height": 900})
    fonts = tab.evaluate("[...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)")
    assert any("TG Serif" in f for f in fonts), f"the text's font did not load: {fonts}"
    unread = tab.locator(".math:not(:has(mjx-container)), mjx-merror, mjx-container [style*='color: red']")
    assert unread.count() == 0, f"MathJax cannot read {unread.first.evaluate('e => e.closest(`.math`).textContent')}"
    tab.set_viewport_size({"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360, "the page scrolls sideways on a phone"
    assert not tab.faults, "\n".join(tab.faults)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible(visit, page, mode):
    tab = visit("served", page, viewport={"width": 1280, "height": 900})
    tab.evaluate(f"document.documentElement.dataset.theme = document.documentElement.dataset.mode = '{mode}'")
    tab.evaluate("document.getAnimations().forEach(a => a.finish())")       # colours on their way would be judged half-way
    tab.evaluate(AXE)
    found = tab.evaluate("axe.run({preload: false}).then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 120))]))")
    allowed = known(tab)
    faults = [f"{rule}: {where}" for rule, where in found if len(where) > allowed.get(rule, 0)]
    assert not faults, "\n".join(faults)


def test_figures_follow_the_dark_mode(visit):
    page = next(p for p in PAGES if "setting" in p)
    tab = visit("served", page)
    ink = "getComputedStyle(document.querySelector('svg.fig [style*=\"var(--\"]'))"
    colours = []
    for mode in ("light", "dark"):
        tab.evaluate(f"document.documentElement.dataset.theme = '{mode}'")
        colours.append(tab.evaluate(f"(s => s.fill + s.stroke)({ink})"))
    assert colours[0] != colours[1]


@pytest.mark.parametrize("way", ["served", "file"])
@pytest.mark.parametrize("page", ["book/setting/networks", "book/appendix/notation"])
def test_download_button_gives_the_source(visit, page, way):
    tab = visit(way, page, viewport={"width": 1280, "height": 900})
    tab.locator(".dropdown-download-buttons > button").click()
    with tab.expect_download() as download:
        tab.locator(".btn-download-source-button").click()
    source = next(f for f in (ROOT / f"{page}.ipynb", ROOT / f"{page}.md") if f.exists())
    assert download.value.suggested_filename == source.name
    assert Path(download.value.path()).read_bytes() == source.read_bytes()
