"""Floor 0. The look of figures: one table of colours, a style, and what all drawing functions need.

A colour means a role and nothing else, and each role has a second sign beside it: a square is the
teacher, a circle the student, a line is theory, a diamond with a bar is a measurement, a cross is a
counter-example. The style sheet of the pages holds the same table (tests/test_plots.py).
"""
import re
import sys
from functools import cache
from pathlib import Path as File

import matplotlib as mpl
import numpy as np
from matplotlib.patches import PathPatch
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


def recolour(text):
    """Hex colours of the table in a piece of HTML or SVG become the page's variables, var(--role,#hex)."""
    names = {colour: role for role, colour in INK.items()}
    return re.sub(r"#[0-9a-fA-F]{6}\b", lambda m: f"var(--{names[m[0].lower()]},{m[0]})"
                  if m[0].lower() in names else m[0], text)


@cache
def _family():
    """The fonts of figures: Source Sans where its package is installed, else matplotlib's own."""
    try:
        import font_source_sans_pro as source
        folder = File(source.__file__).parent / "files"
        for face in ("Regular", "Semibold", "It"):
            mpl.font_manager.fontManager.addfont(folder / f"SourceSansPro-{face}.ttf")
    except (ImportError, FileNotFoundError):
        return ["DejaVu Sans"]
    return ["Source Sans Pro", "DejaVu Sans"]


def book_style():
    """Set the book's look in this process: fonts, sizes, ink, and SVG output in a notebook."""
    mpl.rcParams.update(STYLE | {"font.family": _family()})
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
        set_matplotlib_formats("svg", bbox_inches=None, metadata={"Date": None, "Creator": None})


def array(x, name, ndim=None):
    """x as a float array, or an error that names it."""
    x = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, float)
    if ndim is not None and x.ndim != ndim or not x.size:
        raise ValueError(f"{name} must have {ndim or 'at least 1'} axes and an entry;"
                         f" found shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} must be finite; {(~np.isfinite(x)).sum()} of {x.size} entries"
                         " are NaN or infinite")
    return x


def xy(x, y):
    """Two equally long sequences of finite numbers."""
    x, y = (np.atleast_1d(array(v, name)) for v, name in ((x, "x"), (y, "y")))
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"x and y must be equally long; found shapes {x.shape} and {y.shape}")
    return x, y


def channel(role):
    """How a role is drawn."""
    if role not in CHANNEL:
        raise ValueError(f"role must be one of {', '.join(CHANNEL)}; found {role!r}")
    return CHANNEL[role]


def names(names, n, what):
    """n labels, or 1..n."""
    names = [str(s) for s in (range(1, n + 1) if names is None else names)]
    if len(names) != n:
        raise ValueError(f"{what} must hold {n} labels; found {len(names)}")
    return names


def number(v, fmt, signed):
    """fmt with a true minus, no minus zero, and + where signs carry the meaning."""
    text = fmt.format(v)
    if not re.search("[1-9]", text):
        return fmt.format(0)
    return ("+" if signed and v > 0 else "") + text.replace("-", "−")


def square(x, y, size=1):
    """A square from its lower corner, as a path."""
    return Path([(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)],
                [1, 2, 2, 2, 79])


def shades(ax, shapes, **style):
    """Draw {(colour name, opacity): paths}, one compound path a shade."""
    for (colour, opacity), paths in shapes.items():
        if opacity > 0 or style.get("lw"):
            ax.add_patch(PathPatch(Path.make_compound_path(*paths), fc=(INK[colour], opacity),
                                   **style))
