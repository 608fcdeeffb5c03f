"""The front page's picture: one pyramid of receptive fields, drawn twice.

Above, the teacher: a tray of squares (states, one of them taken) for each region. Below, the
student: a tray of circles (neurons, filled by how active they are). Dotted lines join a region to
itself, and on the highlighted one lies the table F: a row for each state, a column for each neuron.

``python book/_ext/hero.py`` writes hero.html here (the page's own colours) and the two pictures of
the README into book/assets. The test suite holds the files to this script.
"""
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHILDREN = [None, [[0, 1, 2], [2, 3, 4], [4, 5, 6]], [[0, 1, 2]]]  # Hierarchy.pyramid(7, 3, 2)
REGIONS = [7, 3, 1]
SHOWN = (1, 1)  # the highlighted region: (level, region)
STATE = [[0, 1, 2, 1, 0, 2, 1], [0, 2, 1], [1]]
ACTIVE = [[(1, 0, .3), (0, .8, 0), (.3, 0, 1), (0, 1, .4), (.8, .2, 0), (0, .4, .9), (.2, 1, 0)],
          [(.9, 0, .4), (0, .7, 1), (.5, .9, 0)], [(1, .35, 0)]]
F = [(.95, .1, .3), (.2, .85, 0), (.05, .6, .9)]
TOP = {"t": 36, "s": 356}  # where the teacher's and the student's sheet begin
HEIGHT, MIDDLE, FLOOR = 590, 380, 196

COLOURED = dict(  # class -> attributes, for pictures outside the book's pages
    sheet="fill:{wash};stroke:{hair}", te="stroke:{teacher}", se="stroke:{student}",
    e="fill:none;stroke-width:1.3;opacity:.55", on="opacity:1;stroke-width:2.6",
    tn="fill:{paper};stroke:{teacher};stroke-width:1.5",
    tf="fill:{teacher};stroke:{teacher};stroke-width:1.5",
    s0="fill:{paper};stroke:{student};stroke-width:1.5", sn="fill:{student};stroke:none",
    c="stroke:{quiet};stroke-width:1.2;stroke-dasharray:1.5 4;stroke-linecap:round",
    ft="fill:{teacher};opacity:.13", fs="fill:{student};opacity:.15", page="fill:{paper}",
    cell="fill:{active};stroke:{line};stroke-width:.7", lt="fill:{teacher}", ls="fill:{student}",
    key="font-weight:600", i="font:italic 22px Georgia,serif",
    halo="paint-order:stroke;stroke:{paper};stroke-width:8px;stroke-linejoin:round")
TITLE = ("Two copies of one hierarchy of receptive fields. Above, the teacher: a tray of square"
         " states for each region. Below, the student: a tray of round neurons for each region."
         " Dotted lines join a region to itself; on one of them lies the table F, one row a state,"
         " one column a neuron.")


def place(level, region, sheet):
    """A region's place on a sheet that widens towards the reader."""
    near = (.9, .5, .12)[level]
    across = 0 if level == 2 else (region / (REGIONS[level] - 1) * 2 - 1) * (.86, .66)[level]
    return MIDDLE + across * (215 + 125 * near), TOP[sheet] + near * FLOOR


def ground(sheet):
    """The sheet itself, the highlighted receptive field, and the edges."""
    y = TOP[sheet]
    yield f'<path class="sheet" d="M165 {y}H595L720 {y + FLOOR}H40Z"/>'
    x, y = place(*SHOWN, sheet)
    (left, floor), (right, _) = (place(0, CHILDREN[1][1][i], sheet) for i in (0, -1))
    yield (f'<path class="f{sheet}" d="M{x - 20:.0f} {y:.0f}H{x + 20:.0f}'
           f'L{right + 34:.0f} {floor + 12:.0f}H{left - 34:.0f}Z"/>')
    for level in (2, 1):
        for a, children in enumerate(CHILDREN[level]):
            for b in children:
                (x, y), (u, v) = place(level, a, sheet), place(level - 1, b, sheet)
                on, mid = " on" if (level, a) == SHOWN else "", (y + v) / 2
                yield (f'<path class="e {sheet}e{on}" d="M{x:.0f} {y + 9:.0f}'
                       f'C{x:.0f} {mid:.0f} {u:.0f} {mid:.0f} {u:.0f} {v - 9:.0f}"/>')


def square(x, y, taken, size=16):
    return (f'<rect class="{"tf" if taken else "tn"}" x="{x - size / 2:.1f}" y="{y - size / 2:.1f}"'
            f' width="{size}" height="{size}"/>')


def circle(x, y, active, r=8):
    rim = f'<circle class="s0" cx="{x:.0f}" cy="{y:.0f}" r="{r}"/>'
    fill = f'<circle class="sn" cx="{x:.0f}" cy="{y:.0f}" r="{r}" style="fill-opacity:{active}"/>'
    return rim + (fill if active else "")


def trays(sheet):
    for level, n in enumerate(REGIONS):
        for r in range(n):
            x, y = place(level, r, sheet)
            for k in range(3):
                at = x + (k - 1) * 19
                yield (square(at, y, STATE[level][r] == k) if sheet == "t"
                       else circle(at, y, ACTIVE[level][r][k]))


def links():
    for level, r in ((2, 0), (1, 0), (1, 1), (1, 2), (0, 2), (0, 4)):
        (x, y), (u, v) = place(level, r, "t"), place(level, r, "s")
        yield f'<line class="c" x1="{x:.0f}" y1="{y + 10:.0f}" x2="{u:.0f}" y2="{v - 10:.0f}"/>'


def table():
    """F on the highlighted line; squares mark its rows, circles its columns."""
    x, y, cell = MIDDLE, 300, 23
    yield f'<rect class="page" x="{x - 62}" y="{y - 60}" width="104" height="102"/>'
    for k in range(3):
        yield square(x - 48, y + (k - 1) * cell, STATE[1][1] == k, 12)
        yield circle(x + (k - 1) * cell, y - 48, ACTIVE[1][1][k], 6.5)
    for i, row in enumerate(F):
        for j, v in enumerate(row):
            yield (f'<rect class="cell" x="{x + (j - 1.5) * cell:.1f}" y="{y + (i - 1.5) * cell:.1f}"'
                   f' width="{cell}" height="{cell}" style="fill-opacity:{v}"/>')


def words():
    foot = HEIGHT - 8
    yield ('<text x="40" y="26" class="key lt">Teacher</text><text x="112" y="26" class="lt wide">'
           'states of each region, tables <tspan class="i">P</tspan></text>')
    yield (f'<text x="40" y="{foot}" class="key ls">Student</text><text x="112" y="{foot}"'
           ' class="ls wide">neurons of each region, weights <tspan class="i">W</tspan></text>')
    yield '<text x="430" y="304" class="i">F</text>'
    for line, text in ((294, "a row for each state,"), (316, "a column for each neuron")):
        yield f'<text x="456" y="{line}" class="wide halo">{text}</text>'
    for sheet, letter in (("t", "P"), ("s", "W")):
        x, y = place(2, 0, sheet)
        yield f'<text x="{x - 130:.0f}" y="{y + 32:.0f}" class="i l{sheet}">{letter}</text>'


def picture(head=""):
    parts = [*ground("s"), *trays("s"), *ground("t"), *links(), *trays("t"), *table(), *words()]
    return (f'<svg {head}viewBox="34 0 692 {HEIGHT}" role="img" aria-labelledby="hero-title">'
            f'<title id="hero-title">{TITLE}</title>' + "".join(parts) + "</svg>\n")


def files():
    """{path: text} of everything that this script writes."""
    from tsframe.plots import DARK, INK
    made = {HERE / "hero.html": f'<div class="hero">{picture().strip()}</div>\n'}
    for name, ink in (("light", INK), ("dark", DARK | {"paper": "#0d1117"})):  # the host's dark page
        style = "".join(f".{c}{{{rule.format(**ink)}}}" for c, rule in COLOURED.items())
        base = f"text{{font:17px 'Source Sans 3',Helvetica,Arial,sans-serif;fill:{ink['ink']}}}"
        head = 'xmlns="http://www.w3.org/2000/svg" width="692" height="590" '
        svg = picture(head).replace("</title>", f"</title><style>{base}{style}</style>", 1)
        made[HERE.parent / "assets" / f"hero-{name}.svg"] = svg
    return made


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
