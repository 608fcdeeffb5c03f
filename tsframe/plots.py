"""Drawing: one table of colours, one style, functions that draw on one pair of axes and return it.

A colour means a role and nothing else, and each role has a second sign beside it: a square is the
teacher, a circle the student, a line is theory, a diamond with a bar is a measurement, a cross is a
counter-example. Every function takes ``ax=None`` (the current axes) and returns the axes.
"""
import sys
from pathlib import Path as File

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import PathPatch, Polygon, Rectangle
from matplotlib.path import Path

# The one table of colours. On the page each hex below becomes the CSS variable of its name, so a
# figure follows light and dark; DARK holds those variables' values in the dark (see look.css).
INK = dict(
    teacher="#2f62d9", student="#a35c00", theory="#43107a", measure="#005539", warn="#c4187c",
    ink="#1d2025", quiet="#62666d", line="#868b94", hair="#dcdcd8", paper="#ffffff", wash="#f5f4f0",
    table="#1d51b6", active="#864508", neg="#7138af", pos="#006346", num="#010101", num2="#fefefe")
DARK = dict(
    teacher="#5b9df5", student="#fda241", theory="#d6c2ff", measure="#5fe3ab", warn="#ff5fa2",
    ink="#e4e6ea", quiet="#9ba1ab", line="#757b86", hair="#333842", paper="#15171c", wash="#1e2128",
    table="#4f8afb", active="#cc7939", neg="#aa71f1", pos="#29a077", num="#fefefe", num2="#010101")

CHANNEL = dict(  # what tells a role apart where colours cannot
    teacher=dict(color=INK["teacher"], ls="-", marker="s"),
    student=dict(color=INK["student"], ls=(0, (5, 1.6)), marker="o"),
    theory=dict(color=INK["theory"], ls="-", marker=""),
    measure=dict(color=INK["measure"], ls="none", marker="D", mfc=INK["paper"]),
    warn=dict(color=INK["warn"], ls=(0, (1.2, 1.2)), marker="x", mew=2.2),
    quiet=dict(color=INK["quiet"], ls=":", marker=""),  # chance level and the like
    ink=dict(color=INK["ink"], ls="-", marker=""))  # what has no role: sums, parts of a residual

PARTS = {  # the named parts of a residual have no role: ink, told apart by dashes and by name
    "gate": "-", "focus": (0, (5, 1.6)), "broadness": (0, (5, 1.6)), "gate table": (0, (1, 1.4)),
    "decorrelation": (0, (3, 1.4, 1, 1.4)), "inherited": (0, (9, 3)), "total": "-"}

STYLE = {
    "figure.figsize": (4.2, 2.7), "figure.dpi": 96, "figure.constrained_layout.use": True,
    "figure.facecolor": INK["paper"], "savefig.facecolor": INK["paper"], "axes.facecolor": "none",
    "font.family": ["DejaVu Sans"], "font.size": 9.5, "mathtext.fontset": "stix",
    "axes.titlesize": 9.5, "axes.titleweight": "normal", "axes.titlelocation": "left",
    "axes.labelsize": 9.5, "xtick.labelsize": 9, "ytick.labelsize": 9, "xtick.major.size": 3,
    "ytick.major.size": 3, "xtick.minor.size": 0, "ytick.minor.size": 0, "legend.fontsize": 9,
    "legend.frameon": False, "text.color": INK["ink"], "axes.labelcolor": INK["ink"],
    "xtick.color": INK["line"], "ytick.color": INK["line"], "xtick.labelcolor": INK["ink"],
    "ytick.labelcolor": INK["ink"], "axes.edgecolor": INK["line"], "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.8,
    "lines.markersize": 5, "lines.markeredgewidth": 1.3, "errorbar.capsize": 0,
    "axes.prop_cycle": mpl.cycler(color=[INK["theory"]]), "svg.fonttype": "path",
    "svg.hashsalt": "teachers-graph"}


def book_style():
    """Set the book's look in this process: fonts, sizes, ink, and SVG output in a notebook."""
    try:
        import font_source_sans_pro as source
        folder = File(source.__file__).parent / "files"
        for face in ("Regular", "Semibold", "It"):
            mpl.font_manager.fontManager.addfont(folder / f"SourceSansPro-{face}.ttf")
        family = ["Source Sans Pro", "DejaVu Sans"]
    except (ImportError, FileNotFoundError):  # DejaVu Sans, which matplotlib brings, stands in
        family = ["DejaVu Sans"]
    mpl.rcParams.update(STYLE | {"font.family": family})
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
        set_matplotlib_formats("svg", bbox_inches=None, metadata={"Date": None, "Creator": None})


# Lines and marks ------------------------------------------------------------------------------

def curve(x, y, role="theory", ax=None, **style):
    """A line in the role's colour and dashes; give ``label`` and call ``label_end`` to name it."""
    x, y, ax = *_xy(x, y), ax or plt.gca()
    ax.plot(x, y, **_channel(role) | {"marker": ""} | style)
    return ax


def theory(x, y, ax=None, **style):
    """What the theory says: a solid line without marks."""
    return curve(x, y, "theory", ax, **style)


def measured(x, y, err=None, ax=None, role="measure", **style):
    """What was measured: open diamonds with bars of half-length ``err``, never joined by a line."""
    x, y, ax = *_xy(x, y), ax or plt.gca()
    if err is not None:
        err = _array(err, "err")
        if (err < 0).any():
            raise ValueError(f"err must not be negative; the smallest is {err.min():.3g}")
    ax.errorbar(x, y, err, elinewidth=1.1, zorder=3, **_channel(role) | {"ls": "none"} | style)
    return ax


def counter(x, y, ax=None, **style):
    """A counter-example: crosses."""
    x, y, ax = *_xy(x, y), ax or plt.gca()
    ax.plot(x, y, **CHANNEL["warn"] | {"ls": "none", "ms": 8, "zorder": 4} | style)
    return ax


def band(x, values, role="student", ax=None, **style):
    """Several seeds, values (seeds, len(x)): the mean, on a band from the lowest to the highest."""
    values, ax = _array(values, "values", 2), ax or plt.gca()
    x, mean = _xy(x, values.mean(0))
    ax.fill_between(x, values.min(0), values.max(0), color=INK[role], alpha=0.18, lw=0)
    if role == "measure":
        return measured(x, mean, None, ax, **style)
    return curve(x, mean, role, ax, **style)


def label_end(ax=None, gap=1.15):
    """Write the label of each labelled line at its right end, pushed apart where they would meet."""
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
    loss = _array(history.loss, "history.loss")
    loss, ax = loss.reshape(len(loss), -1), ax or plt.gca()
    if loss.shape[1] > 1:
        band(history.steps, loss.T, role, ax, **style)
    else:
        curve(history.steps, loss[:, 0], role, ax, **style)
    ax.set(xlabel="step", ylabel="loss")
    return ax


# Tables ---------------------------------------------------------------------------------------

def table(M, ax=None, role="table", top=None, fmt="{:.2f}", rows=None, cols=None, title=None):
    """A table of numbers: one colour at opacity |v| / top over the page, 0 is the paper.

    role "table" for probabilities (top 1), "active" for F, D, H >= 0, "signed" for G, dW and
    residuals (the numbers carry their signs). Above 20 x 20 the numbers are left out.
    """
    M, ax = _array(M, "M", 2), ax or plt.gca()
    if role not in ("table", "active", "signed"):
        raise ValueError(f"role must be 'table', 'active' or 'signed'; found {role!r}")
    if role != "signed" and M.min() < 0:
        raise ValueError(f"role {role!r} shows values >= 0; the smallest is {M.min():.3g}"
                         " (use role='signed')")
    top = float(top or (1 if role == "table" else max(abs(M).max(), 1e-12)))
    if abs(M).max() > top * (1 + 1e-9):
        raise ValueError(f"top must reach the largest entry; top is {top:.3g}, the entry"
                         f" {abs(M).max():.3g}")
    names = [_names(given, n, what) for given, n, what in zip((rows, cols), M.shape, ("rows", "cols"))]
    small = max(M.shape) <= 20
    cells = {}  # (colour, opacity) -> corners: one path a shade keeps large tables light
    for (i, j), v in np.ndenumerate(M):
        opacity = round(abs(v) / top * 20) / 20
        colour = role if role != "signed" else "neg" if v < 0 else "pos"
        cells.setdefault((colour, opacity), []).append(_square(j, i))
        if small:
            ax.text(j + .5, i + .5, _number(v, fmt, role == "signed"), ha="center", va="center",
                    fontsize=9, color=INK["num2" if opacity > .8 else "num"])
    _shades(ax, cells, **dict(ec=INK["line"], lw=.5) if small else dict(lw=0))
    R, C = M.shape
    ax.set(xlim=(0, C), ylim=(R, 0), aspect="equal")
    for axis, n, texts in ((ax.yaxis, R, names[0]), (ax.xaxis, C, names[1])):
        at = np.arange(n) if small or texts != _names(None, n, "") else np.arange(0, n, max(n // 6, 1))
        axis.set_ticks(at + .5, [texts[i] for i in at])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(not small)
    if title:
        ax.set_title(title)
    return ax


def patches(images, ax=None, columns=8, labels=None):
    """Small pictures (n, height, width), or (n, pixels) of square ones, in rows: ink on paper."""
    images, ax = _array(images, "images"), ax or plt.gca()
    if images.ndim == 2 and round(images.shape[1] ** .5) ** 2 == images.shape[1]:
        images = images.reshape(len(images), *2 * [round(images.shape[1] ** .5)])
    if images.ndim != 3 or not images.size:
        raise ValueError(f"images must be (n, height, width); found shape {images.shape}")
    if images.min() < 0:
        raise ValueError(f"images must not be negative; the smallest is {images.min():.3g}")
    n, h, w = images.shape
    labels = None if labels is None else _names(labels, n, "labels")
    columns, down, top = min(columns, n), h * (1.45 if labels else 1.2), max(images.max(), 1e-12)
    cells = {}
    for k, image in enumerate(images):
        x, y = k % columns * w * 1.2, k // columns * down
        ax.add_patch(Rectangle((x, y), w, h, fill=False, ec=INK["hair"], lw=.8))
        for (i, j), v in np.ndenumerate(image):
            cells.setdefault(("ink", round(v / top * 16) / 16), []).append(_square(x + j, y + i))
        if labels:
            ax.text(x + w / 2, y + h * 1.06, labels[k], ha="center", va="top")
    _shades(ax, cells, lw=0)
    ax.set(xlim=(-.5, columns * w * 1.2), ylim=(-(-n // columns) * down, -.5), aspect="equal")
    ax.axis("off")
    return ax


def samples(inputs, labels=None, ax=None):
    """Inputs of a latent tree, one a row: one-hot (n, R, m) or codes (n, R); a fuller square is a
    higher state, open the first."""
    inputs, ax = _array(inputs, "inputs"), ax or plt.gca()
    if inputs.ndim == 3:
        if not (np.isin(inputs, (0, 1)).all() and (inputs.sum(-1) == 1).all()):
            raise ValueError("inputs (n, R, m) must be one-hot; some rows are not")
        codes, states = inputs.argmax(-1), inputs.shape[-1]
    elif inputs.ndim == 2:
        codes, states = inputs, int(inputs.max()) + 1
    else:
        raise ValueError(f"inputs must be (n, R, m) or (n, R); found shape {inputs.shape}")
    labels = None if labels is None else _names(_array(labels, "labels").astype(int), len(codes), "labels")
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
    states and values may be pairs, teacher's first. ``highlight`` = (level, region) shows its field.
    """
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
                                       lw=thin * (1.7 if on else 1), alpha=1 if on else .5, zorder=1))
    for level, x in enumerate(xs):
        tray = marks[level]
        gap, (_, m) = np.diff(np.sort(x)).min() if len(x) > 1 else width, tray.shape
        size = min((.66 if m == 1 else .8) * gap / (1.12 * m - .12), .034 * width, .4 * rise)
        shapes = {("paper", 1): []}
        for r, k in np.ndindex(tray.shape):
            centre = x[r] + (k - (m - 1) / 2) * 1.12 * size, base + level * rise
            shape = (_square(centre[0] - size / 2, centre[1] - size / 2, size)
                     if role == "teacher" else Path.circle(centre, size / 2))
            shapes["paper", 1].append(shape)  # hides the edges behind the mark
            shapes.setdefault((role, round(float(tray[r, k]), 2)), []).append(shape)
        _shades(ax, shapes, ec=INK[role], lw=min(thin, .9), zorder=3)


def _places(h, width):
    """Horizontal places by level: a region in the middle of its children, or evenly if they meet."""
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
            raise ValueError(f"{what} must have one entry per level, {h.depth + 1}; found {len(given)}")
    marks = []
    for level, n in enumerate(h.regions):
        v = None if values is None else _array(values[level], f"values[{level}]")
        k = min(4, states[level] if states is not None else
                v.shape[1] if v is not None and v.ndim == 2 else 1 if v is None else int(v.max()) + 1)
        if v is None:
            marks.append(np.zeros((n, k)) if states is not None else np.ones((n, k)))
            continue
        if len(v) != n or v.ndim > 2:
            raise ValueError(f"values[{level}] must be ({n},) or ({n}, k); found shape {v.shape}")
        v = v[:, :k] if v.ndim == 2 else (v[:, None] == np.arange(k)).astype(float)
        if v.min() < 0 or v.max() > 1:
            raise ValueError(f"values[{level}] must lie in [0, 1]; found {v.min():.3g} to {v.max():.3g}")
        marks.append(v)
    return marks


# Residuals ------------------------------------------------------------------------------------

def residual_parts(residuals, which="F", ax=None):
    """How large each named part of a residual is, by level: bars, the number at the end of each.

    Takes the result of ``tsf.residuals`` with ``which`` = "F", "G" or "dW", or a list by level of
    dicts {part: tensor}. A bar is the part's Frobenius norm, the diamond the norm of the total;
    parts can cancel, so bars need not add up to it.
    """
    levels = getattr(residuals, which, residuals)
    if not isinstance(levels, (list, tuple)) or not any(levels):
        raise ValueError("residual_parts needs a list by level of dicts {part: tensor}; found"
                         f" {type(levels).__name__}")
    ax, y, ticks, names = ax or plt.gca(), 0, [], []
    norms = [(level, {name: np.linalg.norm(_array(v, f"{name} at level {level}"))
                      for name, v in parts.items()})
             for level, parts in reversed(list(enumerate(levels))) if parts]
    top = max(max(parts.values()) for _, parts in norms) or 1
    for level, parts in norms:
        ax.text(-.02, y, f"level {level}", transform=ax.get_yaxis_transform(), ha="right", va="center",
                color=INK["quiet"])
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
        series = _array(series, name)
        draw = curve if series.ndim == 1 else band
        draw(steps, series, role, ax, label=name, ls=PARTS.get(name, "-"),
             lw=2.6 if name == "total" else 1.5)
    return label_end(ax)


# Helpers --------------------------------------------------------------------------------------

def _array(x, name, ndim=None):
    """x as a float array, or an error that names it."""
    x = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, float)
    if ndim is not None and x.ndim != ndim or not x.size:
        raise ValueError(f"{name} must have {ndim or 'at least 1'} axes and an entry;"
                         f" found shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} must be finite; {(~np.isfinite(x)).sum()} of {x.size} entries"
                         " are NaN or infinite")
    return x


def _xy(x, y):
    """Two equally long sequences of finite numbers."""
    x, y = (np.atleast_1d(_array(v, name)) for v, name in ((x, "x"), (y, "y")))
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"x and y must be equally long; found shapes {x.shape} and {y.shape}")
    return x, y


def _channel(role):
    if role not in CHANNEL:
        raise ValueError(f"role must be one of {', '.join(CHANNEL)}; found {role!r}")
    return CHANNEL[role]


def _names(names, n, what):
    """n labels, or 1..n."""
    names = [str(s) for s in (range(1, n + 1) if names is None else names)]
    if len(names) != n:
        raise ValueError(f"{what} must hold {n} labels; found {len(names)}")
    return names


def _number(v, fmt, signed):
    """fmt with a true minus, no minus zero, and + where signs carry the meaning."""
    text = fmt.format(v)
    if float(text) == 0:
        return fmt.format(0)
    return ("+" if signed and v > 0 else "") + text.replace("-", "−")


def _square(x, y, size=1):
    return Path([(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)],
                [1, 2, 2, 2, 79])


def _shades(ax, shapes, **style):
    """Draw {(colour name, opacity): paths}, one compound path a shade."""
    for (colour, opacity), paths in shapes.items():
        if opacity > 0 or style.get("lw"):
            ax.add_patch(PathPatch(Path.make_compound_path(*paths), fc=(INK[colour], opacity), **style))
