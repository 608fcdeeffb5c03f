"""The research map: its data, what is drawn from them, and the page in a browser, with scripts and without."""
import gzip
import re
from collections import Counter

import pytest
import yaml
from conftest import PAGES, ROOT
from test_site import AXE, known, pages, visit     # the last two are fixtures  # noqa: F401  (fixtures)

import researchmap

DATA = ROOT / "book/research-map.yml"
PAGE = "book/appendix/map"
WORKS = researchmap.read(DATA)
ASSETS = ROOT / "book/assets"
LATER = {  # the works that build on the paper
    ("Luck Matters: Understanding Training Dynamics of Deep ReLU Networks", 2019),
    ("Understanding Self-supervised Learning with Dual Deep Networks", 2020),
    ("Understanding Deep Contrastive Learning via Coordinate-wise Optimization", 2022),
    ("Deep Contrastive Learning is Provably (almost) Principal Component Analysis", 2022),
    ("Understanding the wiring evolution in differentiable neural architecture search", 2020),
    ("Sharp Rate of Convergence for Deep Neural Network Classifiers under the Teacher-Student Setting", 2020),
    ("Optimal Rate of Convergence for Deep Neural Network Classifiers under the Teacher-Student Setting", 2020),
    ("Efficient Variational Inference for Sparse Deep Learning with Theoretical Guarantee", 2020),
    ("Adaptive Variational Bayesian Inference for Sparse Deep Neural Network", 2019),
    ("ML-guided optimization", 2023)}


def kind(name):
    return [w for w in WORKS.values() if w["kind"] == name]


# ---- the data

def test_later_works_are_the_ones_agreed_on():
    assert {(w["title"], w["year"]) for w in kind("later")} == LATER
    assert [w["key"] for w in kind("source")] == ["tian2018"]
    assert "Neural Scaling Laws of Deep ReLU and Deep Operator Network: A Theoretical Study" in {w["title"] for w in kind("related")}


def test_data_agree_with_the_references():
    def plain(text):
        return re.findall(r"\w+", re.sub("[{}]", "", text).lower())

    cited = {key: dict(re.findall(r"^\s*(title|year)\s*=\s*\{(.*)\},?$", entry, re.M))
             for key, entry in re.findall(r"^@\w+\{(\w+),(.*?)^\}", (ROOT / "book/references.bib").read_text(encoding="utf-8"), re.M | re.S)}
    shared = WORKS.keys() & cited.keys()
    assert {"tian2018", "rumelhart1986", "ioffe2015", "mossel2016"} <= shared
    for key in shared:
        assert (plain(WORKS[key]["title"]), str(WORKS[key]["year"])) == (plain(cited[key]["title"]), cited[key]["year"])
    for key, work in WORKS.items():
        assert {k for k, c in cited.items() if plain(c["title"]) == plain(work["title"])} <= {key}, f"{key} has another key there"


def test_lines_run_from_older_to_newer_and_leave_nobody_out():
    lines = researchmap.lines(WORKS)
    assert len(set(lines)) == len(lines) and all(WORKS[old]["year"] <= WORKS[new]["year"] for old, new, _ in lines)
    reached, more = {"tian2018"}, True
    while more:
        more = {k for old, new, _ in lines for k in (old, new) if {old, new} & reached} - reached
        reached |= more
    assert reached == WORKS.keys()
    assert set(WORKS["tian2018"]["builds_on"]) == {w["key"] for w in kind("earlier")}
    assert all("tian2018" in w["builds_on"] for w in kind("later"))


def test_columns_are_in_the_order_of_the_years():
    for name in ("earlier", "later", "related"):
        years = [w["year"] for w in kind(name)]
        assert years == sorted(years)


def test_links_and_chapters_are_of_a_known_form():
    for work in WORKS.values():
        assert work["link"] is None or re.fullmatch(r"arXiv:\d{4}\.\d{4,5}(v1)?|doi:10\.\d{4,}/\S+", work["link"]), work
        assert all(re.fullmatch(r"book/(setting|consequences|correspondence)/[a-z-]+", c) for c in work["chapters"])
        assert len(work["short"]) <= 18 and work["relation"].endswith(".")


@pytest.mark.parametrize("change, complaint", [
    (dict(year=None), "a needs"), (dict(colour="red"), "a needs"), (dict(kind="other"), "one of"), (dict(builds_on=["c"]), "['c']"),
    (dict(key="b"), "once"),
], ids=["missing", "unknown", "kind", "line", "twice"])
def test_an_entry_that_cannot_be_drawn_is_named(tmp_path, change, complaint):
    good = dict(kind="later", short="s", title="t", authors=["A B"], year=2000, where="w", relation="r")
    entries = [{"key": "a"} | good | change, {"key": "b"} | good]
    entries = [{k: v for k, v in e.items() if v is not None} for e in entries]
    (tmp_path / "map.yml").write_text(yaml.safe_dump(entries))
    with pytest.raises(ValueError, match=re.escape(complaint)):
        researchmap.read(tmp_path / "map.yml")


# ---- what is drawn

def test_places_are_apart_and_inside():
    height, places = researchmap.layout(WORKS)
    assert places.keys() == WORKS.keys() and researchmap.layout(WORKS) == (height, places)
    for key, (x, y) in places.items():
        side = {"earlier": -1, "later": 1, "related": 1, "source": 0}[WORKS[key]["kind"]]
        assert (x - researchmap.WIDTH / 2) * side >= (40 if side else 0) and 20 <= y <= height - 20
        room = x if side < 0 else researchmap.WIDTH - x
        assert 14 + 6.1 * max(len(WORKS[key]["short"]), len(researchmap.first(WORKS[key]))) <= room + 12 or not side
    for column in researchmap.columns(WORKS):
        ys = [places[k][1] for k in column]
        assert all(b - a >= 40 for a, b in zip(ys, ys[1:], strict=False))


def test_kinds_differ_in_shape_too():
    shapes = researchmap.SHAPES
    assert len({shapes["source"], shapes["earlier"], shapes["later"]}) == 3
    css = (ASSETS / "research-map.css").read_text()
    assert re.search(r"\.related>path[^}]*stroke-dasharray", css) and re.search(r"\.line\.related\{[^}]*stroke-dasharray", css)


def test_only_chapters_that_exist_are_linked():
    work = WORKS["ioffe2015"]
    here = researchmap.entry(work, "ioffe2015", {"book/consequences/batchnorm": ("../x.html", "A <title>")})
    assert '<a href="../x.html">A &lt;title&gt;</a>' in here
    assert "In this book" not in researchmap.entry(work, "ioffe2015", {"book/intro": ("../intro.html", "Intro")})


def test_words_of_the_data_are_no_markup():
    work = WORKS["ioffe2015"] | dict(title="<b>&", authors=["<i>A</i> B"], relation='it\'s "so" <', where="<u>", short="<s>")
    html = researchmap.entry(work, "k", {}) + researchmap.picture({"tian2018": WORKS["tian2018"] | {"builds_on": ["k"]}, "k": work})
    assert not re.search(r"<[biu]>|<s>", html)


def test_scripts_are_small():
    sent = sum(len(gzip.compress((ASSETS / name).read_bytes())) for name in [*researchmap.SCRIPTS, "research-map.js", "research-map.css"])
    assert sent < 40_000


# ---- the built page

def test_every_work_stands_on_the_page_with_its_links(pages):
    page = pages[f"{PAGE}.html"]
    assert Counter(a["data-key"] for tag, a, _ in page.elements if tag == "li" and "data-key" in a) == Counter(WORKS.keys())
    assert Counter(a["data-key"] for tag, a, _ in page.elements if tag == "g" and "data-key" in a) == Counter(WORKS.keys())
    for key, work in WORKS.items():
        links = [a["href"] for tag, a in page.inside(f"#work-{key}") if tag == "a"]
        inside = [link for link in links if not link.startswith("https://")]
        assert len(links) - len(inside) == bool(work["link"])
        assert [link.removeprefix("../") for link in inside] == [f"{c.removeprefix('book/')}.html" for c in work["chapters"] if c in PAGES]
        assert all(part in page.words(f"#work-{key}") for part in (str(work["year"]), work["authors"][0], work["relation"].replace("'", "’")))


def test_other_pages_do_not_load_the_map(site):
    for page in PAGES:
        assert ("research-map.js" in (site / f"{page}.html").read_text(encoding="utf-8")) == (page == PAGE)


# ---- in the browser

@pytest.fixture
def tab(visit):
    tab = visit("file", PAGE, viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
    yield tab
    assert not tab.faults, "\n".join(tab.faults)


def node(tab, key):
    return tab.locator(f".graph .work[data-key={key}]")


def numbers(text):
    return [float(v) for v in re.findall(r"-?[\d.]+", text)]


def at(tab, key):
    return numbers(node(tab, key).get_attribute("transform"))


def chosen(tab):
    """The title on the card, the pressed name and the marked node, which must be the same work."""
    pressed = tab.locator(".works button[aria-pressed=true]")
    assert pressed.count() == tab.locator(".graph .work.on").count() == 1
    key = tab.locator(".works li:has(button[aria-pressed=true])").get_attribute("data-key")
    assert tab.locator(".graph .work.on").get_attribute("data-key") == key
    assert tab.locator(".chosen .title").inner_text() == WORKS[key]["title"]
    return key


def test_paper_is_chosen_at_first(tab):
    assert chosen(tab) == "tian2018"
    assert tab.locator(".graph .line.on").count() == sum("tian2018" in line for line in researchmap.lines(WORKS))


def test_hover_shows_the_title(tab):
    tip = tab.locator(".tip")
    assert not tip.is_visible()
    for key in ("mossel2016", "tian2023", "rumelhart1986", "liu2024"):
        node(tab, key).locator("path").hover()
        assert tip.inner_text() == WORKS[key]["title"]
        frame, box = tab.locator(".picture").bounding_box(), tip.bounding_box()
        assert frame["x"] - 1 <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
    tab.locator(".bd-article h1").hover()
    assert not tip.is_visible() and chosen(tab) == "tian2018"


def test_click_shows_the_details_and_their_links(tab):
    for key in ("saad1995", "tian2022", "tian2020", "tian2018"):
        node(tab, key).locator("text").first.click()
        assert chosen(tab) == key
        words, work = tab.locator(".chosen").inner_text(), WORKS[key]
        assert all(a in words for a in work["authors"]) and str(work["year"]) in words and work["relation"].replace("'", "’") in words
        scheme, name = work["link"].split(":", 1)
        assert name in tab.locator(".chosen a.outside").get_attribute("href")
        assert tab.locator(".chosen").evaluate("e => e.getBoundingClientRect().bottom <= innerHeight"), "the details are out of sight"
    tab.locator(".chosen a", has_text="Learning in table space").click()
    tab.wait_for_url("**/book/setting/dynamics.html")


def test_keyboard_goes_through_the_list(tab):
    tab.locator(".works button").first.focus()
    order = list(dict.fromkeys(k for name in researchmap.KINDS for k, w in WORKS.items() if w["kind"] == name))
    for key in order[:5]:
        assert tab.evaluate("document.activeElement.closest('li').dataset.key") == key
        assert tab.locator(".works button:focus").inner_text().split("\n")[0].startswith(WORKS[key]["title"].replace("'", "’"))
        tab.keyboard.press("Enter")
        assert chosen(tab) == key
        tab.keyboard.press("Tab")
    assert tab.locator(".tip").inner_text() == WORKS[order[5]]["title"] and "hover" in node(tab, order[5]).get_attribute("class")
    tab.keyboard.press("Escape")
    assert not tab.locator(".tip").is_visible()
    for _ in order[5:]:
        tab.keyboard.press("Tab")
    focus = tab.evaluate("[!!document.activeElement.closest('.works'), !!document.activeElement.closest('.map')]")
    assert focus == [False, True], "from the list the focus goes on to the details"


def test_list_scrolls_to_the_work_chosen_on_the_map(tab):
    node(tab, "liu2024").locator("path").click()
    inside = """e => { const box = e.closest('.works').getBoundingClientRect(), r = e.getBoundingClientRect();
                       return r.top >= box.top - 1 && r.bottom <= box.bottom + 1 }"""
    assert tab.locator("#work-liu2024").evaluate(inside)


def test_drag_moves_a_work_with_its_lines_and_reset_puts_it_back(tab):
    before, others = at(tab, "ioffe2015"), at(tab, "mossel2016")
    lines = [e.get_attribute("d") for e in tab.locator(".graph .line").all()]
    box = node(tab, "ioffe2015").locator("path").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    scale = tab.locator(".graph").bounding_box()["width"] / researchmap.WIDTH
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 20, y + 30, steps=4)
    tab.mouse.move(x + 30, y + 50, steps=4)
    tab.mouse.up()
    after = at(tab, "ioffe2015")
    assert after == pytest.approx([before[0] + 30 / scale, before[1] + 50 / scale], abs=1)
    line = tab.locator(".line[data-old=ioffe2015]").get_attribute("d")
    assert numbers(line)[:2] == pytest.approx(after, abs=.01)
    assert chosen(tab) == "tian2018", "a drag is no click"
    assert at(tab, "mossel2016") == others, "the others stay"
    tab.locator(".bar .reset").click()
    assert at(tab, "ioffe2015") == pytest.approx(before, abs=.01)
    for old, new in zip(lines, tab.locator(".graph .line").all(), strict=True):
        assert numbers(new.get_attribute("d")) == pytest.approx(numbers(old), abs=.11)     # the script's curve is the build's


def test_zoom_buttons(tab):
    def scale():
        return tab.evaluate("d3.zoomTransform(document.querySelector('svg.graph')).k")

    zoom_in, zoom_out = tab.get_by_role("button", name="Zoom in"), tab.get_by_role("button", name="Zoom out")
    assert scale() == 1 and zoom_out.is_disabled()
    zoom_in.click()
    assert scale() == pytest.approx(1.5)
    for key in ("rumelhart1986", "liu2024"):                    # a work chosen in the list comes into view
        tab.locator(f"#work-{key} button").click()
        frame, box = tab.locator(".graph").bounding_box(), node(tab, key).locator("path").bounding_box()
        assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"]
        assert frame["y"] <= box["y"] and box["y"] + box["height"] <= frame["y"] + frame["height"]
    for _ in range(3):
        zoom_in.click()
    assert scale() == 4 and zoom_in.is_disabled()
    tab.get_by_role("button", name="Reset").click()
    assert scale() == 1 and zoom_in.is_enabled() and chosen(tab) == "tian2018"
    tab.mouse.move(600, 600)
    tab.mouse.wheel(0, 300)
    assert scale() == 1, "the wheel scrolls the page"


@pytest.mark.parametrize("hash, key", [("#work-tian2022", "tian2022"), ("#work-none", "tian2018"), ("#work-<b>", "tian2018"),
                                       ("#work-constructor", "tian2018")])
def test_link_to_a_work(visit, hash, key):
    tab = visit("file", PAGE, viewport={"width": 1280, "height": 1000})
    tab.evaluate("hash => { location.hash = hash }", hash)
    fresh = tab.context.new_page()
    fresh.goto(tab.url)
    assert chosen(tab) == chosen(fresh) == key and not tab.faults


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_map_in_use_is_accessible(visit, mode, width):
    tab = visit("served", PAGE, viewport={"width": width, "height": 900}, reduced_motion="reduce")
    tab.evaluate(f"document.documentElement.dataset.theme = document.documentElement.dataset.mode = '{mode}'")
    tab.evaluate("document.getAnimations().forEach(a => a.finish())")       # colours on their way would be judged half-way
    tab.locator("#work-tian2019 button").click()
    tab.get_by_role("button", name="Zoom in").click()
    tab.locator("#work-tian2019 button").focus()
    faults = list(tab.faults)
    tab.evaluate(AXE)
    found = tab.evaluate("axe.run({preload: false}).then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 120))]))")
    assert not [f for f in found if len(f[1]) > known(tab).get(f[0], 0)]
    assert not faults


def test_on_a_narrow_phone(visit):
    tab = visit("file", PAGE, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True, reduced_motion="reduce")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    size = """e => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getBoundingClientRect().width / 360"""
    assert min(e.evaluate(size) for e in tab.locator(".graph text").all()) >= 9.5
    frame = tab.locator(".graph").bounding_box()
    for text in tab.locator(".graph text").all():
        box = text.bounding_box()
        assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"], text.text_content()
    node(tab, "tian2019").locator("path").tap()
    assert chosen(tab) == "tian2019"
    assert tab.locator(".chosen").evaluate("e => e.getBoundingClientRect().top < innerHeight - 100"), "the details are out of sight"
    tab.locator("#work-xie2020 button").tap()
    assert chosen(tab) == "xie2020" and tab.locator("#work-xie2020 .about").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320 and not tab.faults


def everything_is_there(tab):
    assert tab.locator(".graph").is_visible() and tab.locator(".graph .work").count() == len(WORKS)
    for key in WORKS:
        assert tab.locator(f"#work-{key} .about").is_visible()
    assert tab.locator(".bar:visible, .tip:visible, .chosen:visible").count() == 0
    picture, works = (tab.locator(c).bounding_box() for c in (".picture", ".works"))
    assert picture["y"] + picture["height"] <= works["y"] + 1


def test_print_has_the_picture_and_the_whole_list(visit):
    tab = visit("file", PAGE, viewport={"width": 760, "height": 900}, reduced_motion="reduce")
    tab.evaluate("document.documentElement.dataset.theme = document.documentElement.dataset.mode = 'dark'")
    tab.locator("#work-bai2020 button").click()
    tab.get_by_role("button", name="Zoom in").click()
    tab.emulate_media(media="print")
    everything_is_there(tab)
    assert tab.locator(".view").evaluate("e => getComputedStyle(e).transform") == "none"
    fills = {k: tab.locator(f".work.{k}").last.locator("path, rect").evaluate("e => getComputedStyle(e).fill") for k in ("source", "earlier", "later")}
    assert fills == {"source": "rgb(69, 74, 82)", "earlier": "rgb(32, 101, 143)", "later": "rgb(59, 122, 46)"}


def test_without_scripts_it_is_a_picture_and_a_list(chromium, base):
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.goto(f"{base['file']}/{PAGE}.html")
    everything_is_there(tab)
    assert tab.locator(".map button").count() == 0
    assert tab.locator(".graph .work title").count() == len(WORKS)
    context.close()
