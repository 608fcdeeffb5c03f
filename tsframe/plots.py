"""Floor 7. Drawing: functions that draw on one pair of axes and return it.

Each takes ``ax=None``, the current axes, and keeps to the book's colours: a colour means a role,
with a second sign beside it (`_ink.py`). ``book_style()`` sets fonts, sizes and SVG output.
"""
import hashlib
import io
import json
import re
from html import escape

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from . import _ink as ink
from ._ink import CHANNEL, DARK, INK, PARTS, book_style, recolour
from .hierarchy import Hierarchy

__all__ = ["CHANNEL", "DARK", "INK", "PARTS", "band", "book_style", "counter", "curve",
           "hierarchy", "history", "label_end", "measured", "parts_along", "patches", "player",
           "residual_parts", "samples", "table", "theory"]


class _Glue:
    """Numbers in the text: ``glue(name, value)`` keeps one, and {eval}`glue["name:.2f"]` in a text cell says it.

    Jupyter evaluates these words. The book takes the value from the cell's result, where it is kept as `myst_nb.glue`
    would, without importing Sphinx for it.
    """

    def __init__(self):
        self.kept = {}

    def __call__(self, name, value):
        from IPython.display import display
        self.kept[name] = value = value.item() if hasattr(value, "item") else value
        display({"application/papermill.record/text/plain": repr(value)}, raw=True,
                metadata={"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}})

    def __getitem__(self, text):
        name, _, spec = text.partition(":")
        return format(self.kept[name], spec)


glue = _Glue()


# Lines and marks ------------------------------------------------------------------------------

def curve(x, y, role="theory", ax=None, **style):
    """A line in the role's colour and dashes; give ``label`` and call ``label_end`` to name it."""
    x, y, ax = *ink.xy(x, y), ax or plt.gca()
    ax.plot(x, y, **ink.channel(role) | {"marker": ""} | style)
    return ax


def theory(x, y, ax=None, **style):
    """What the theory says: a solid line without marks."""
    return curve(x, y, "theory", ax, **style)


def measured(x, y, err=None, ax=None, role="measure", **style):
    """What was measured: open diamonds with bars of half-length ``err``, never joined by a line."""
    x, y, ax = *ink.xy(x, y), ax or plt.gca()
    if err is not None:
        err = ink.array(err, "err")
        if (err < 0).any():
            raise ValueError(f"err must not be negative; the smallest is {err.min():.3g}")
    label = style.pop("label", "_")  # on the marks themselves, where label_end looks for it
    style = ink.channel(role) | dict(ls="none", elinewidth=1.1, zorder=3) | style
    bars = ax.errorbar(x, y, err, **style)
    bars.lines[0].set_label(label)
    return ax


def counter(x, y, ax=None, **style):
    """A counter-example: crosses."""
    x, y, ax = *ink.xy(x, y), ax or plt.gca()
    ax.plot(x, y, **CHANNEL["warn"] | {"ls": "none", "ms": 8, "zorder": 4} | style)
    return ax


def band(x, values, role="student", ax=None, **style):
    """Several seeds, values (seeds, len(x)): the mean, on a band from the lowest to the highest."""
    colour, values, ax = ink.channel(role)["color"], ink.array(values, "values", 2), ax or plt.gca()
    x, mean = ink.xy(x, values.mean(0))
    ax.fill_between(x, values.min(0), values.max(0), color=colour, alpha=.18, lw=0)
    if role == "measure":
        return measured(x, mean, None, ax, **style)
    return curve(x, mean, role, ax, **style)


def label_end(ax=None, gap=1.15):
    """Write the label of each labelled line at its right end, apart where two would meet."""
    ax = ax or plt.gca()
    lines = [c for c in ax.get_lines() if not c.get_label().startswith("_") and len(c.get_xdata())]
    ax.figure.draw_without_rendering()  # so that positions below are the final ones
    to_points = 72 / ax.figure.dpi
    ends = [ax.transData.transform(np.transpose(c.get_data())[-1]) * to_points for c in lines]
    step, below = gap * mpl.rcParams["font.size"], -np.inf
    order = sorted(range(len(lines)), key=lambda i: ends[i][1])
    heights = {}
    for i in order:
        heights[i] = below = max(ends[i][1], below + step)
    lift = np.mean([heights[i] - ends[i][1] for i in order]) if order else 0  # centre the stack
    for i in order:
        ax.annotate(lines[i].get_label(), np.transpose(lines[i].get_data())[-1],
                    (8, heights[i] - ends[i][1] - (lift if len(order) > 1 else 0)),
                    textcoords="offset points", va="center", color=lines[i].get_color())
    return ax


def history(history, role="student", ax=None, **style):
    """The loss along training; of an ensemble the mean, on the band between its members."""
    loss = ink.array(history.loss, "history.loss")
    loss, ax = loss.reshape(len(loss), -1), ax or plt.gca()
    if loss.shape[1] > 1:
        band(history.steps, loss.T, role, ax, **style)
    else:
        curve(history.steps, loss[:, 0], role, ax, **style)
    ax.set(xlabel="step", ylabel="loss")
    return ax


# Tables ---------------------------------------------------------------------------------------

def table(M, ax=None, role="table", top=None, fmt="{:.2f}", rows=None, cols=None, title=None):
    """A table of numbers: one colour, at opacity ``abs(v) / top``; 0 is the paper.

    role "table" for probabilities (top 1), "active" for F, D, H >= 0, "signed" for G, dW and
    residuals (the numbers carry their signs). Above 20 x 20 the numbers are left out.
    """
    M, ax = ink.array(M, "M", 2), ax or plt.gca()
    if role not in ("table", "active", "signed"):
        raise ValueError(f"role must be 'table', 'active' or 'signed'; found {role!r}")
    if role != "signed" and M.min() < 0:
        raise ValueError(f"role {role!r} shows values >= 0; the smallest is {M.min():.3g}"
                         " (use role='signed')")
    top = float(top or (1 if role == "table" else max(abs(M).max(), 1e-12)))
    if abs(M).max() > top * (1 + 1e-9):
        raise ValueError(f"top must reach the largest entry; top is {top:.3g}, the entry"
                         f" {abs(M).max():.3g}")
    R, C = M.shape
    rows, cols = ink.names(rows, R, "rows"), ink.names(cols, C, "cols")
    small = max(M.shape) <= 20
    cells = {}  # (colour, opacity) -> corners: one path a shade keeps large tables light
    for (i, j), v in np.ndenumerate(M):
        opacity = round(abs(v) / top * 20) / 20
        colour = role if role != "signed" else "neg" if v < 0 else "pos"
        cells.setdefault((colour, opacity), []).append(ink.square(j, i))
        if small:
            ax.text(j + .5, i + .5, ink.number(v, fmt, role == "signed"), ha="center", va="center",
                    fontsize=9, color=INK["num2" if opacity > .8 else "num"])
    ink.shades(ax, cells, **dict(ec=INK["line"], lw=.5) if small else dict(lw=0))
    ax.set(xlim=(0, C), ylim=(R, 0), aspect="equal")
    for axis, names in ((ax.yaxis, rows), (ax.xaxis, cols)):
        at = np.arange(0, len(names), 1 if small else max(len(names) // 6, 1))
        axis.set_ticks(at + .5, [names[i] for i in at])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(not small)
    if title:
        ax.set_title(title)
    return ax


def patches(images, ax=None, columns=8, labels=None):
    """Small pictures (n, height, width), or (n, pixels) of square ones, in rows: ink on paper."""
    images, ax = ink.array(images, "images"), ax or plt.gca()
    if images.ndim == 2 and round(images.shape[1] ** .5) ** 2 == images.shape[1]:
        images = images.reshape(len(images), *2 * [round(images.shape[1] ** .5)])
    if images.ndim != 3 or not images.size:
        raise ValueError(f"images must be (n, height, width); found shape {images.shape}")
    if images.min() < 0:
        raise ValueError(f"images must not be negative; the smallest is {images.min():.3g}")
    n, h, w = images.shape
    labels = None if labels is None else ink.names(labels, n, "labels")
    columns, down, top = min(columns, n), h * (1.45 if labels else 1.2), max(images.max(), 1e-12)
    cells = {}
    for k, image in enumerate(images):
        x, y = k % columns * w * 1.2, k // columns * down
        ax.add_patch(Rectangle((x, y), w, h, fill=False, ec=INK["hair"], lw=.8))
        for (i, j), v in np.ndenumerate(image):
            cells.setdefault(("ink", round(v / top * 16) / 16), []).append(ink.square(x + j, y + i))
        if labels:
            ax.text(x + w / 2, y + h * 1.06, labels[k], ha="center", va="top")
    ink.shades(ax, cells, lw=0)
    ax.set(xlim=(-.5, columns * w * 1.2), ylim=(-(-n // columns) * down, -.5), aspect="equal")
    ax.axis("off")
    return ax


def samples(inputs, labels=None, ax=None):
    """Inputs of a latent tree, one a row: one-hot (n, R, m) or codes (n, R); a fuller square is a
    higher state, open the first."""
    codes, ax = ink.array(inputs, "inputs"), ax or plt.gca()
    states = codes.shape[-1] if codes.ndim == 3 else int(codes.max()) + 1
    if codes.ndim == 3:
        if not (np.isin(codes, (0, 1)).all() and (codes.sum(-1) == 1).all()):
            raise ValueError("inputs (n, R, m) must be one-hot; some rows are not")
        codes = codes.argmax(-1)
    if codes.ndim != 2 or (codes != codes.round()).any() or codes.min() < 0:
        raise ValueError("inputs must be one-hot (n, R, m), or codes (n, R) that are integers >= 0;"
                         f" found shape {np.shape(inputs)}, values {codes.min():.3g} to"
                         f" {codes.max():.3g}")
    if labels is not None:
        labels = ink.names(ink.array(labels, "labels").astype(int), len(codes), "labels")
    for (i, j), z in np.ndenumerate(codes):
        ax.add_patch(Rectangle((j - .36, i - .36), .72, .72, lw=1.1, ec=INK["teacher"],
                               fc=(INK["teacher"], z / max(states - 1, 1))))
    for i, y in enumerate(labels or ()):
        ax.text(-.9, i, y, ha="right", va="center")
    ax.set(xlim=(-.6, codes.shape[1] - .4), ylim=(len(codes) - .4, -.6), aspect="equal")
    ax.axis("off")
    return ax


# Graphs ---------------------------------------------------------------------------------------

def hierarchy(h, kind="teacher", highlight=None, states=None, values=None, ax=None):
    """A Hierarchy as a graph: squares for the teacher, circles for the student, "both" for the
    teacher above the student with dotted lines that join a region to itself.

    ``states``: list by level, marks per region (at most 4 are drawn). ``values``: list by level,
    (R,) integers fill one mark of a region, (R, k) numbers in [0, 1] fill its k marks. For "both",
    each may be a pair, the teacher's first. ``highlight=(level, region)`` shows a receptive field.
    """
    if not isinstance(h, Hierarchy):
        raise TypeError(f"hierarchy needs a Hierarchy; found {type(h).__name__}")
    if kind not in ("teacher", "student", "both"):
        raise ValueError(f"kind must be 'teacher', 'student' or 'both'; found {kind!r}")
    ax, regions, depth = ax or plt.gca(), list(h.regions), h.depth
    if highlight is not None and not (0 <= highlight[0] <= depth
                                      and 0 <= highlight[1] < regions[highlight[0]]):
        raise ValueError(f"highlight must be (level, region) within regions {regions};"
                         f" found {highlight}")
    kinds = ("teacher", "student") if kind == "both" else (kind,)
    states, values = ((v if kind == "both" and isinstance(v, tuple) else (v,) * 2)
                      for v in (states, values))
    width = max(regions[0], 4)
    rows = depth if len(kinds) == 1 else 2 * depth + 1.2
    box = ax.get_window_extent()
    rise = min(.32, .88 * box.height / box.width / rows) * width  # a level's height fills the axes
    drop = (depth + 1.2) * rise  # from the teacher's sheet to the student's
    xs = _places(h, width)
    if len(kinds) == 2:
        for level, x in enumerate(xs):
            for r in range(regions[level]) if len(x) <= 16 else ():
                ax.plot([x[r]] * 2, [level * rise, level * rise - drop], color=INK["quiet"], lw=.8,
                        ls=(0, (1, 2.5)), zorder=0)
    for sheet, role in enumerate(kinds):
        _sheet(ax, h, xs, -sheet * drop, rise, role, highlight,
               _marks(h, states[sheet], values[sheet]))
    margin = .04 * width
    ax.set(xlim=(-margin, width + margin), aspect="equal",
           ylim=(-(len(kinds) - 1) * drop - margin, depth * rise + margin))
    ax.axis("off")
    return ax


def _sheet(ax, h, xs, base, rise, role, highlight, marks):
    """One copy of the graph: edges, the highlighted field, the trays of marks."""
    width = max(h.regions[0], 4)
    n_edges = sum(h.children[level].numel() for level in range(1, h.depth + 1))
    thin = 1.1 if n_edges < 60 else .8 if n_edges < 160 else .5
    inside = [set() for _ in xs]
    if highlight is not None:
        top, region = highlight
        inside[top] = {region}
        for level in range(top, 0, -1):
            inside[level - 1] = set(h.children[level][sorted(inside[level])].flatten().tolist())
        first, last = min(inside[0]), max(inside[0])
        if last - first < len(inside[0]):  # a field of neighbours gets its cone
            half = .35 * width / max(h.regions[0], 8)
            cone = [(xs[top][region], base + top * rise), (xs[0][last] + half, base),
                    (xs[0][first] - half, base)]
            ax.add_patch(Polygon(cone, fc=INK[role], alpha=.13, lw=0, zorder=0))
    for level in range(1, h.depth + 1):
        strokes = {False: [], True: []}
        y, below = base + level * rise, base + (level - 1) * rise
        for a, children in enumerate(h.children[level].tolist()):
            for b in children:
                mid, (x, X) = (y + below) / 2, (xs[level][a], xs[level - 1][b])
                strokes[a in inside[level]].append(Path(
                    [(x, y), (x, mid), (X, mid), (X, below)], [1, 4, 4, 4]))
        for on, paths in strokes.items():
            if paths:
                ax.add_patch(PathPatch(Path.make_compound_path(*paths), fc="none", ec=INK[role],
                                       lw=thin * (1.7 if on else 1), alpha=1 if on else .5,
                                       zorder=1))
    for level, x in enumerate(xs):
        tray = marks[level]
        gap, (_, m) = np.diff(np.sort(x)).min() if len(x) > 1 else width, tray.shape
        size = min((.66 if m == 1 else .8) * gap / (1.12 * m - .12), .034 * width, .4 * rise)
        shapes = {("paper", 1): []}
        for r, k in np.ndindex(tray.shape):
            centre = x[r] + (k - (m - 1) / 2) * 1.12 * size, base + level * rise
            shape = (ink.square(centre[0] - size / 2, centre[1] - size / 2, size)
                     if role == "teacher" else Path.circle(centre, size / 2))
            shapes["paper", 1].append(shape)  # hides the edges behind the mark
            shapes.setdefault((role, round(float(tray[r, k]), 2)), []).append(shape)
        ink.shades(ax, shapes, ec=INK[role], lw=min(thin, .9), zorder=3)


def _places(h, width):
    """Where regions stand: each in the middle of its children, or evenly if these would meet."""
    n = h.regions[0]
    xs = [(np.arange(n) + .5) * width / n]
    for level in range(1, h.depth + 1):
        x = xs[-1][h.children[level].numpy()].mean(1)
        n = len(x)
        if n > 1 and np.diff(x).min() < .4 * width / n:
            x = x.min() + (x.max() - x.min()) * np.arange(n) / (n - 1)
        xs.append(x)
    return xs


def _marks(h, states, values):
    """How full each mark is: by level (R, k) in [0, 1], k <= 4 marks a region."""
    for given, what in ((states, "states"), (values, "values")):
        if given is not None and len(given) != h.depth + 1:
            raise ValueError(f"{what} must have one entry per level, {h.depth + 1};"
                             f" found {len(given)}")
    marks = []
    for level, n in enumerate(h.regions):
        if values is None:
            k = 1 if states is None else min(4, states[level])
            marks.append(np.full((n, k), states is None, float))
            continue
        v = ink.array(values[level], f"values[{level}]")
        if len(v) != n or v.ndim > 2:
            raise ValueError(f"values[{level}] must be ({n},) or ({n}, k); found shape {v.shape}")
        k = min(4, states[level] if states is not None else
                v.shape[1] if v.ndim == 2 else int(v.max()) + 1)
        v = v[:, :k] if v.ndim == 2 else (v[:, None] == np.arange(k)).astype(float)
        if v.min() < 0 or v.max() > 1:
            raise ValueError(f"values[{level}] must lie in [0, 1]; found {v.min():.3g} to"
                             f" {v.max():.3g}")
        marks.append(v)
    return marks


# Residuals ------------------------------------------------------------------------------------

def residual_parts(residuals, which="F", ax=None):
    """How large each named part of a residual is, by level: bars, the number at the end of each.

    Takes the result of ``tsf.residuals`` with ``which`` = "F", "G" or "dW", or a list by level of
    dicts {part: tensor}. A bar is the part's Frobenius norm, the diamond the norm of the total;
    parts can cancel, so bars need not add up to it.
    """
    if which not in ("F", "G", "dW"):
        raise ValueError(f"which must be 'F', 'G' or 'dW'; found {which!r}")
    levels = getattr(residuals, which, residuals)
    if not isinstance(levels, (list, tuple)) or not any(levels):
        raise ValueError("residual_parts needs a list by level of dicts {part: tensor}; found"
                         f" {type(levels).__name__}")
    ax, y, ticks, names = ax or plt.gca(), 0, [], []
    norms = [(level, {name: np.linalg.norm(ink.array(v, f"{name} at level {level}"))
                      for name, v in parts.items()})
             for level, parts in reversed(list(enumerate(levels))) if parts]
    top = max(max(parts.values()) for _, parts in norms) or 1
    for level, parts in norms:
        ax.text(-.02, y, f"level {level}", transform=ax.get_yaxis_transform(), ha="right",
                va="center", color=INK["quiet"])
        y += 1
        for name, v in parts.items():
            zero = v < 1e-10 * top
            if name == "total":
                ax.plot(v, y, **CHANNEL["measure"] | {"clip_on": False})
            else:
                ax.barh(y, v, .6, fc=(INK["ink"], .22), ec=INK["ink"], lw=.8 * (not zero))
            ax.annotate("0" if zero else f"{v:.2g}", (v, y), (7 if name == "total" else 4, 0),
                        textcoords="offset points", va="center", fontsize=9)
            ticks, names, y = ticks + [y], names + [name], y + 1
        y += .5
    ax.set(ylim=(y - .5, -.8), xlim=(0, 1.12 * top), yticks=ticks, yticklabels=names, xlabel="norm")
    ax.tick_params(axis="y", length=0)
    ax.spines.left.set_visible(False)
    return ax


def parts_along(steps, parts, ax=None, role="ink"):
    """Named parts along training, {part: (steps,) or (seeds, steps)}: one colour, a part's own
    dashes, its name at the line's end; several seeds as their mean and range."""
    ax = ax or plt.gca()
    for name, series in parts.items():
        series = ink.array(series, name)
        draw = curve if series.ndim == 1 else band
        draw(steps, series, role, ax, label=name, ls=PARTS.get(name, "-"),
             lw=2.6 if name == "total" else 1.5)
    return label_end(ax)


# Moving pictures ------------------------------------------------------------------------------

def player(draw, times, alt, label="t = {:g}", seconds=6):
    """A moving picture for the page and for Jupyter: one frame a time, a slider and a button.

    ``draw(i)`` draws frame i on the current figure, empty at the start. The last frame is shown first, and
    alone in print; ``alt`` says what is seen, ``label`` names a frame by its time. Needs no kernel.
    """
    times = ink.array(times, "times", 1)
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError("alt must say in words what the moving picture shows")
    frames, last = [], len(times) - 1
    with mpl.rc_context({"svg.fonttype": "none"}):              # letters as text: a tenth of the bytes
        for i in range(len(times)):
            figure, file = plt.figure(), io.StringIO()
            try:
                draw(i)
                figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            finally:
                plt.close(figure)
            svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "",
                         file.getvalue(), flags=re.S)
            frames.append(svg[svg.index("<svg"):])
    key = "p" + hashlib.sha256("".join(frames).encode()).hexdigest()[:8]
    for i, svg in enumerate(frames):
        svg = re.sub(r'\bid="', f'id="{key}-{i}-', svg)
        svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-{i}-", svg)
        svg = re.sub(r"<[^>]*>", _rounded, svg)
        width, height = figure.get_size_inches()
        head = (f'<svg viewBox="0 0 {width * 72:g} {height * 72:g}" class="fig" style="--w:{width:g}" role="img"'
                f' aria-label="{escape(alt)}"{" hidden" * (i < last)}>')
        frames[i] = recolour(re.sub(r"<svg[^>]*>", lambda tag: head, svg, count=1))
    names = json.dumps([label.format(t) for t in times]).replace("<", r"\u003c")          # no label ends the script
    return _Player(f'''<div class="player" id="{key}">{"".join(frames)}
<p class="controls"><button type="button">Play</button>
<input type="range" min="0" max="{last}" value="{last}" aria-label="time">
<output>{escape(label.format(times[-1]))}</output></p>
<style>.player svg[hidden]{{display:none}} .player text{{font-family:var(--sans,sans-serif)!important}}
.player svg{{max-width:min(100%,calc(var(--w)*112px))}}
.player .controls{{display:flex;gap:.8em;align-items:center;justify-content:center;font:.95rem var(--sans,sans-serif)}}
.player input{{flex:0 1 16em;min-width:5em;height:28px;accent-color:var(--student)}}
.player button{{min-height:36px;min-width:4em}}
.player output{{min-width:5em}} @media (pointer:coarse){{.player button,.player input{{min-height:44px}}}}
@media print{{.player .controls{{display:none}}}}</style>
<script>(() => {{
  const box = document.getElementById("{key}"), frames = box.querySelectorAll("svg");
  const [button, range, out] = ["button", "input", "output"].map(name => box.querySelector(name));
  const names = {names};
  let clock = 0;
  const show = () => {{
    frames.forEach((svg, i) => svg.toggleAttribute("hidden", i != range.value));
    out.textContent = names[range.value];
    range.setAttribute("aria-valuetext", names[range.value]);
  }};
  const stop = () => {{ clearInterval(clock); clock = 0; button.textContent = "Play"; }};
  range.addEventListener("input", () => {{ stop(); show(); }});
  button.addEventListener("click", () => {{
    if (clock) return stop();
    if (range.value == {last}) range.value = 0;
    button.textContent = "Stop";
    show();
    clock = setInterval(() => {{
      range.value++;
      show();
      if (range.value == {last}) stop();
    }}, {1000 * seconds // len(times)});
  }});
  show();
}})();</script></div>''')


def _rounded(tag):
    """A tag with places to a hundredth of a point; the numbers between tags are the reader's."""
    return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", tag[0])


class _Player(str):
    """HTML that Jupyter and the book show as it is."""

    def _repr_html_(self):
        return str(self)

    def __repr__(self):
        return f"player of {self.count('<svg')} frames"
