"""Floor 6. Certificates: a numbered statement, computed along two routes whenever asked for."""
import math
import re
from dataclasses import dataclass
from html import escape

from .. import _checks as check
from .._ink import INK

KINDS = ("exact", "approximation", "empirical")
LARGE = 100             # how many times the counter-example must exceed the tolerance
REGISTRY = {}           # id -> (static fields, function of a generator), in the order of the book


@dataclass(frozen=True)
class Certificate:
    """What was claimed, how far two routes to it are apart, and what dropping an assumption does.

    residual : distance of the two routes relative to max(1, largest value); the worst instance
    witness : the second route, independent of the package's
    counterexample : the distance once the assumption named in `dropped` no longer holds
    """

    id: str
    claim: str
    kind: str
    residual: float
    tolerance: float
    witness: str
    counterexample: float
    dropped: str

    @property
    def passed(self):
        """The routes agree, and dropping the assumption is seen clearly. NaN never passes."""
        return bool(0 <= self.residual <= self.tolerance
                    and LARGE * self.tolerance <= self.counterexample < math.inf)

    def html(self, page=""):
        """The badge; `page` is the address of the chapter that holds the statement."""
        mark, result = ("✓", "pass") if self.passed else ("✕", "FAIL")
        return (f'<div class="cert" data-result="{result}"><p class="cert-head"><b>Certificate</b> '
                f'{_link(self, page)} <span class="cert-kind">{escape(self.kind)}</span> '
                f'<span class="cert-ok">{mark} {result}</span></p>'
                f'<p class="cert-claim">{_sentence(self.claim)}</p>{_ruler(self)}'
                f'<p class="cert-kind">Second route: {_set(self.witness)}. '
                f'Counter-example: {_set(self.dropped)}.</p></div>')

    def _repr_html_(self):
        return self.html()

    def __repr__(self):
        r, t, k = map(_figure, (self.residual, self.tolerance, self.counterexample))
        return (f"{'pass' if self.passed else 'FAIL'}  {self.id}: residual {r} (tolerance {t}), "
                f"counter-example {k}")


class Certificates(list):
    """A list of certificates: badges in Jupyter, a plain table in print."""

    def html(self, pages=None):
        """All badges; `pages` maps an id to the address of its chapter."""
        return "".join(c.html((pages or {}).get(c.id, "")) for c in self)

    def _repr_html_(self):
        return self.html()

    def table(self, pages=None):
        """The ledger as an HTML table: one row a certificate, linked to its statement."""
        names = ("Statement", "Claim", "Kind", "Residual", "Tolerance", "Counter-example", "Result")
        head, rows = "".join(f'<th scope="col">{name}</th>' for name in names), []
        for c in self:
            cells = [_sentence(c.claim), escape(c.kind), _figure(c.residual), _figure(c.tolerance),
                     _figure(c.counterexample), "✓ pass" if c.passed else "✕ FAIL"]
            rows.append(f'<tr data-result="{"pass" if c.passed else "FAIL"}"><th scope="row">'
                        f'{_link(c, (pages or {}).get(c.id, ""))}</th>'
                        + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        return (f'<table class="ledger"><thead><tr>{head}</tr></thead>'
                f'<tbody>{"".join(rows)}</tbody></table>')

    def __repr__(self):
        width = max([9] + [len(c.id) for c in self])
        head = f"      {'statement':{width}}  residual  tolerance  counter-example"
        return "\n".join([head] + [
            f"{'pass' if c.passed else 'FAIL'}  {c.id:{width}}  {_figure(c.residual):>8}  "
            f"{_figure(c.tolerance):>9}  {_figure(c.counterexample):>15}" for c in self])


def certificate(id, *, claim, witness, dropped, kind="exact", tolerance=1e-12):
    """Register a function of a `torch.Generator` that returns (residual, counterexample)."""
    if id in REGISTRY:
        raise ValueError(f"a certificate's id must be its own; {id!r} is registered already")
    static = dict(id=id, claim=claim, witness=witness, dropped=dropped, tolerance=tolerance,
                  kind=check.choice("kind", kind, KINDS))

    def register(compute):
        REGISTRY[id] = static, compute
        return compute
    return register


def certify(name=None, *, seed=0):
    """Compute the certificate of one statement, or all in the order of the book; nothing is stored.

    name : the id of a statement, `thm-<id>` in its chapter; by default all
    seed : int or torch.Generator; draws the instances
    Raises `ValueError` for an unknown name, and lists the known ones.
    """
    if name is not None and name not in list(REGISTRY):
        raise ValueError(f"name must be the id of a certificate; found {name!r}, "
                         f"known are {', '.join(REGISTRY)}")
    out = Certificates()
    for static, compute in (REGISTRY.values() if name is None else [REGISTRY[name]]):
        residual, counterexample = compute(check.generator(seed))
        out.append(Certificate(residual=residual, counterexample=counterexample, **static))
    return out


def _link(c, page):
    return f'<a href="{escape(page)}#thm-{escape(c.id)}"><code>{escape(c.id)}</code></a>'


def _sentence(claim):
    return _set(claim[:1].upper() + claim[1:]) + "."


def _set(text):
    """Words as HTML, the indices of x_α and P^b set low and high."""
    return re.sub(r"_([α-ω]+)", r"<sub>\1</sub>", re.sub(r"\^([a-zA-Z])", r"<sup>\1</sup>", escape(text)))


def _figure(v):
    """0, 3e−15, 0.42, 12 or 2e4: at most two digits, with a minus sign."""
    if v == 0 or not math.isfinite(v):
        return str(v).replace("0.0", "0").replace("-", "−")
    if 0.01 <= abs(v) < 99.5:
        return f"{v:.2g}".replace("-", "−")
    digits, power = f"{v:.0e}".split("e")
    return f"{digits}e{int(power)}".replace("-", "−")


def _ruler(c):
    """Residual (diamond), tolerance (bar), counter-example (cross) on a log axis, 1e-18 to 1e3."""
    def x(v):
        return 12 + 16 * ((3 if math.isnan(v) else math.log10(min(max(v, 1e-18), 1e3))) + 18)

    r, t, k = x(c.residual), x(c.tolerance), x(c.counterexample)
    words = [f"residual {_figure(c.residual)}", f"tolerance {_figure(c.tolerance)}",
             f"counter-example {_figure(c.counterexample)}"]
    left, right = _apart(r, k) if r <= k else _apart(k, r)
    labels = [((left if r <= k else right), 16, "m"), (min(max(t, 60), 300), 55, "q"),
              ((right if r <= k else left), 16, "w")]
    ticks = "".join(f'<line x1="{x(10.0**p):.0f}" x2="{x(10.0**p):.0f}" y1="31" y2="35"/>'
                    for p in range(-18, 4, 3))
    text = "".join(f'<text x="{at:.0f}" y="{y}" class="{role}" stroke="none">{word}</text>'
                   for (at, y, role), word in zip(labels, words))
    # The style sheet of the book overrides these attributes; Jupyter has none.
    return (f'<svg viewBox="0 0 360 56" width="360" role="img" aria-label="{", ".join(words)}" '
            'fill="currentColor" stroke="currentColor" font-size="10.5" text-anchor="middle">'
            f'<g class="axis"><line x1="12" x2="348" y1="33" y2="33"/>{ticks}</g>'
            f'<rect class="ok" x="12" y="30" width="{t - 12:.0f}" height="6" '
            f'fill="{INK["measure"]}" stroke="none" opacity=".22"/>'
            f'<line class="tol" x1="{t:.0f}" x2="{t:.0f}" y1="23" y2="42" stroke-width="2"/>'
            f'<path class="res" d="M{r:.0f} 27l6 6-6 6-6-6z" fill="{INK["paper"]}" '
            f'stroke="{INK["measure"]}" stroke-width="2"/>'
            f'<path class="ce" d="M{k - 5:.0f} 28l10 10m0-10l-10 10" fill="none" '
            f'stroke="{INK["warn"]}" stroke-width="2.4"/>{text}</svg>')


def _apart(left, right, gap=130, margin=76, width=360):
    """Centres of two labels: at their marks where there is room, else `gap` apart."""
    left, right = (min(max(v, margin), width - margin) for v in (left, right))
    short = max(gap - (right - left), 0)
    left, right = left - short / 2, right + short / 2
    over = max(right - (width - margin), 0) - max(margin - left, 0)
    return left - over, right - over
