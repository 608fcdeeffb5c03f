"""Drawing: every function draws on the axes it is given, in the book's colours, and refuses what it cannot draw."""
import importlib.util
import json
import re
from types import SimpleNamespace as Object

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from tsframe import Hierarchy, plots

mpl.use("Agg")
X, RNG = np.arange(5.0), np.random.default_rng(0)
SEEDS = RNG.random((3, 5))
PARTS = [None, dict(gate=torch.ones(2), total=torch.ones(2)), dict(gate=torch.zeros(2), total=torch.zeros(2))]
TREE, PYRAMID = Hierarchy.tree(2), Hierarchy.pyramid(7, 3, 2)
DRAWINGS = {
    "curve": lambda ax: plots.curve(X, X, "teacher", ax),
    "theory": lambda ax: plots.theory(X, X ** 2, ax, label="a"),
    "measured": lambda ax: plots.measured(X, X, np.ones(5), ax),
    "counter": lambda ax: plots.counter([1], [2], ax),
    "band": lambda ax: plots.band(X, SEEDS, ax=ax),
    "band of measurements": lambda ax: plots.band(X, SEEDS, "measure", ax),
    "label_end": lambda ax: plots.label_end(plots.measured(X, X + 1, ax=plots.theory(X, X, ax, label="here"))),
    "history": lambda ax: plots.history(Object(steps=list(range(5)), loss=torch.rand(5, 3)), ax=ax),
    "history of one": lambda ax: plots.history(Object(steps=list(range(5)), loss=torch.rand(5)), ax=ax),
    "table": lambda ax: plots.table(torch.tensor([[.2, .8], [1, 0]]), ax, title="P", rows="ab"),
    "active table": lambda ax: plots.table([[0, 3], [1, 2]], ax, "active"),
    "signed table": lambda ax: plots.table([[-1, 0], [.5, 1]], ax, "signed"),
    "large table": lambda ax: plots.table(RNG.normal(size=(30, 25)), ax, "signed"),
    "patches": lambda ax: plots.patches(RNG.random((5, 16)), ax, columns=3, labels=range(5)),
    "samples": lambda ax: plots.samples(torch.eye(3)[torch.tensor([[0, 1], [2, 0]])], [0, 1], ax),
    "tree": lambda ax: plots.hierarchy(TREE, highlight=(1, 0), ax=ax),
    "students": lambda ax: plots.hierarchy(PYRAMID, "student", states=[2, 3, 9], ax=ax),
    "both": lambda ax: plots.hierarchy(
        TREE, "both", (1, 1), [2, 2, 2], ([[0, 1, 0, 1], [1, 0], [1]], [RNG.random((n, 2)) for n in (4, 2, 1)]), ax),
    "large tree": lambda ax: plots.hierarchy(Hierarchy.tree(6), ax=ax),
    "digits": lambda ax: plots.hierarchy(Hierarchy.pyramid2d(4, 2, 1, levels=2), highlight=(1, 4), ax=ax),
    "residual_parts": lambda ax: plots.residual_parts(PARTS, ax=ax),
    "residual_parts of an object": lambda ax: plots.residual_parts(Object(G=PARTS), "G", ax),
    "parts_along": lambda ax: plots.parts_along(X, {"gate": X, "focus": SEEDS, "total": X + 1}, ax),
}


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context():
        plots.book_style()
        yield
    plt.close("all")


@pytest.mark.parametrize("name", DRAWINGS)
def test_it_draws_on_the_given_axes_in_the_books_colours(name, tmp_path):
    figure, (other, ax) = plt.subplots(1, 2)
    empty = len(other.get_children())
    before = len(ax.get_children())
    assert DRAWINGS[name](ax) is ax
    assert len(ax.get_children()) > before and len(other.get_children()) == empty
    figure.savefig(tmp_path / "f.svg")
    used = set(re.findall(r"#[0-9a-fA-F]{6}\b", re.sub(r'="#\w+"|url\(#\w+\)', "", (tmp_path / "f.svg").read_text())))
    assert used <= set(plots.INK.values()), used - set(plots.INK.values())


def test_without_axes_it_takes_the_current_ones():
    ax = plt.figure().add_subplot()
    assert plots.theory(X, X) is ax and plots.table([[1.0]]) is ax and plots.hierarchy(TREE) is ax


@pytest.mark.parametrize("draw, message", {
    "NaN": (lambda: plots.theory(X, X * np.nan), "y must be finite; 5 of 5"),
    "lengths": (lambda: plots.theory(X, X[1:]), r"equally long; found shapes \(5,\) and \(4,\)"),
    "bar": (lambda: plots.measured(X, X, -X), "err must not be negative; the smallest is -4"),
    "role": (lambda: plots.curve(X, X, "red"), "role must be one of .*found 'red'"),
    "band's role": (lambda: plots.band(X, SEEDS, "red"), "role must be one of .*found 'red'"),
    "band": (lambda: plots.band(X, X), r"values must have 2 axes.*\(5,\)"),
    "table's shape": (lambda: plots.table(X), r"M must have 2 axes.*\(5,\)"),
    "table's role": (lambda: plots.table([[1.0]], role="heat"), "found 'heat'"),
    "table's sign": (lambda: plots.table([[-1.0, 0]]), "smallest is -1"),
    "table's top": (lambda: plots.table([[2.0]]), "top is 1, the entry 2"),
    "table's rows": (lambda: plots.table([[1.0]], rows=["a", "b"]), "rows must hold 1 labels; found 2"),
    "no entry": (lambda: plots.table(np.ones((0, 2)), role="active"), r"\(0, 2\)"),
    "pictures": (lambda: plots.patches(np.ones((3, 5))), r"images must be.*\(3, 5\)"),
    "negative picture": (lambda: plots.patches(-np.ones((3, 4))), "smallest is -1"),
    "not one-hot": (lambda: plots.samples(np.ones((2, 3, 2))), "must be one-hot"),
    "codes": (lambda: plots.samples([[.5, 1]]), "codes .* that are integers"),
    "kind": (lambda: plots.hierarchy(TREE, "pupil"), "found 'pupil'"),
    "highlight": (lambda: plots.hierarchy(TREE, highlight=(1, 2)), r"within regions \[4, 2, 1\]; found \(1, 2\)"),
    "states": (lambda: plots.hierarchy(TREE, states=[1, 2]), "states must have one entry per level, 3; found 2"),
    "values": (lambda: plots.hierarchy(TREE, values=[[0], [0, 1], [0]]), r"values\[0\] must be \(4,\)"),
    "too full": (lambda: plots.hierarchy(TREE, values=[np.full((4, 1), 2.0), [0, 1], [0]]), r"lie in \[0, 1\]"),
    "which": (lambda: plots.residual_parts(PARTS, "H"), "found 'H'"),
    "residuals": (lambda: plots.residual_parts(3), "needs a list by level"),
    "history": (lambda: plots.history(Object(steps=[0, 1], loss=torch.ones(3))), "equally long"),
}.values())
def test_bad_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_a_hierarchy_is_asked_for():
    with pytest.raises(TypeError, match="needs a Hierarchy; found list"):
        plots.hierarchy([1, 2])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_labels_at_the_end_do_not_meet(ends):
    figure, ax = plt.subplots()
    for i, y in enumerate(ends):
        plots.theory([0, 1], [0, y], ax, label=f"line {i}")
    plots.label_end(ax)
    figure.draw_without_rendering()
    heights = sorted((t.get_window_extent().y0, t.get_window_extent().y1) for t in ax.texts)
    assert len(heights) == len(ends)
    assert all(a[1] <= b[0] + 2 for a, b in zip(heights, heights[1:]))
    plt.close(figure)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_a_table_says_its_numbers(values):
    ax = plots.table(np.reshape(values, (2, 2)), plt.figure().add_subplot(), "signed", top=1)
    said = [float(t.get_text().replace("−", "-")) for t in ax.texts]
    assert np.allclose(said, values, atol=.0051) and not any(t.get_text().strip("−+") == "−0.00" for t in ax.texts)
    assert not any(re.fullmatch(r"[−+]0\.00", t.get_text()) for t in ax.texts)
    plt.close(ax.figure)


def test_marks_are_labelled_like_lines():
    ax = plots.measured(X, X, ax=plots.theory(X, X, label="a line"), label="marks")
    assert {t.get_text() for t in plots.label_end(plots.measured(X, -X, ax=ax)).texts} == {"a line", "marks"}


def test_residual_bars_are_the_norms():
    parts = [None, dict(gate=torch.tensor([3.0, 4.0]), total=torch.tensor([6.0, 8.0]))]
    ax = plots.residual_parts(parts)
    assert [p.get_width() for p in ax.patches] == [5] and [t.get_text() for t in ax.get_yticklabels()] == ["gate", "total"]
    assert ax.lines[0].get_xdata()[0] == 10


def tokens(css, selector):
    block = re.search(re.escape(selector) + r"\{(.*?)\}", css, flags=re.S)[1]
    return dict(re.findall(r"--(\w+):(#[0-9a-f]{6})\b", block))


def test_one_table_of_colours():
    """tsframe.plots, the style sheet and the embedding of figures use the same names and values."""
    css = (ROOT / "book" / "assets" / "look.css").read_text(encoding="utf-8")
    assert tokens(css, "html[data-theme]") == plots.INK
    assert tokens(css, "html[data-theme=dark]") == plots.DARK
    assert len(set(plots.INK.values())) == len(plots.INK), "two roles of one colour could not be told apart on the page"
    assert set(re.findall(r"var\(--([a-z0-9]+)\)", css)) - {"serif", "sans", "code", "rule", "w"} <= set(plots.INK)
    assert "!important" not in css and not re.search(r"gradient|box-shadow:(?!none)|https?:", css)


def test_colours_of_channels_are_roles():
    assert {to_hex(c["color"]) for c in plots.CHANNEL.values()} <= set(plots.INK.values())
    marks = [(str(c["ls"]), c["marker"]) for name, c in plots.CHANNEL.items() if name != "ink"]
    assert len(set(marks)) == len(marks), "every role needs a sign beside its colour"


def script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_hero_is_what_its_script_draws():
    hero = script(ROOT / "book" / "_ext" / "hero.py")
    pyramid = Hierarchy.pyramid(7, 3, 2)
    assert hero.REGIONS == pyramid.regions
    assert all(torch.equal(torch.tensor(a), b) for a, b in zip(hero.CHILDREN[1:], pyramid.children[1:]))
    for path, text in hero.files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run python book/_ext/hero.py"


def test_a_player_holds_every_frame_and_shows_the_last(tmp_path):
    shown = plots.player(lambda i: plots.theory(X, i * X), [0, 1.5, 3], "lines <that> turn", label="t = {:.1f} s")
    html = shown._repr_html_()
    assert html.count("<svg") == 3 and html.count(" hidden>") == 2 and not plt.get_fignums()
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids)) and set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)
    assert "t = 3.0 s</output>" in html and '"t = 1.5 s"' in html and "lines &lt;that&gt; turn" in html
    assert "var(--theory,#43107a)" in html and not re.search(r"(?<!,)#43107a", html)
    assert html == plots.player(lambda i: plots.theory(X, i * X), [0, 1.5, 3], "lines <that> turn", label="t = {:.1f} s")
    assert repr(shown) == "player of 3 frames"


@pytest.mark.parametrize("times, alt, message", [
    ([], "some words", "times must have 1 axes and an entry"), ([0, np.nan], "some words", "times must be finite"),
    ([0], " ", "alt must say in words"), ([0], None, "alt must say in words")])
def test_a_player_needs_times_and_words(times, alt, message):
    with pytest.raises(ValueError, match=message):
        plots.player(lambda i: None, times, alt)


def test_a_player_keeps_what_is_read_as_it_was_written():
    draw = lambda i: plt.figtext(.5, .5, "γ = 0.00125")                                # noqa: E731
    html = str(plots.player(draw, [0, 1], r"a \d \g<0> step", label="</script> {:g}"))
    assert html.count("γ = 0.00125") == 2 and r'aria-label="a \d \g&lt;0&gt; step"' in html
    assert not re.search(r"<[^>]*\d\.\d{3}", html), "places are rounded"
    assert html.count("</script>") == 1 and json.loads(re.search("names = (.*);", html)[1]) == ["</script> 0", "</script> 1"]
    with pytest.raises(ZeroDivisionError):
        plots.player(lambda i: 1 / 0, [0], "nothing")
    assert not plt.get_fignums()


# numbers in the text

def test_a_number_of_a_table_may_have_any_format():
    ax = plots.table([[.5, 0.001, 0]], fmt="{:.0%}")
    assert [t.get_text() for t in ax.texts] == ["50%", "0%", "0%"]


@pytest.mark.parametrize("value, words, text", [(0.1263, "a:.1%", "12.6%"), (7, "a", "7"), ("−0.1 ± 2", "a", "−0.1 ± 2"),
                                                ("0.30", "a", "0.30"), ("+2", "a", "+2"), ("1, 2", "a", "1, 2"),
                                                (np.float64(1.5), "a:.2f", "1.50"), (torch.tensor(1.5), "a:.2f", "1.50"),
                                                (2, "a:.1f", "2.0")])
def test_a_number_is_kept_for_the_book_and_said_in_jupyter(value, words, text, monkeypatch):
    from myst_nb.core.variables import format_plain_text

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append((data, options)))
    plots.glue("a", value)
    (data, options), = shown
    assert options["metadata"]["scrapbook"]["name"] == "a" and plots.glue[words] == text
    kept = data["application/papermill.record/text/plain"]
    assert format_plain_text(kept, words.partition(":")[2]) == text         # what the page says
