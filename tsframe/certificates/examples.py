"""Floor 6. A coarse ladder on which every equation is exact, four that each lose a condition, and
a teacher with a hard region beside a spurious one."""
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch

from .. import _checks as check
from ..hierarchy import Hierarchy
from ..ladder import Ladder
from ..student import Student
from ..teacher import Teacher

CONDITIONS = ("focus", "gate", "broadness", "decorrelation")
PARTITIONS = (0, 1, 1, 2, 3, 3), (0, 0, 0, 1, 1, 1), (0, 0, 1, 2, 2, 3)     # codes of b by label
MARGIN = 0.5                                                # how far h keeps from 0, but for ε


@dataclass(frozen=True, eq=False)
class CoarseExample:
    """A law in weighted rows, its codes (list by level) and a student, from `coarse_example`."""

    hierarchy: Hierarchy
    inputs: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    codes: list
    student: Student

    @cached_property
    def ladder(self):
        return Ladder.coarse(self.hierarchy, self.inputs, self.labels, self.codes, self.weights)


def coarse_example(eps=0.02, *, fails=None, tilt=0.6, shift=0.0, seed=0):
    """Three noisy regions b under two clean a under ω; the middle b is shared; six labels, z_ω = y.

        inputs of b (s+ε, s-ε, s'+ε, s'-ε), ε = ±eps, P(ε>0) = 1/2 + shift ± tilt/2 by a fair bit r
        z_b = (code of s, r);  nodes of b in mirror pairs h = φ(s) ± cε, weighed equally by parents

    z_a is a partition of the labels and determines the codes of its children. All conditions hold
    as long as |c| eps < |φ(s)|; at the start |φ| >= 0.5 and |c| <= 1.5, so for eps < 1/3.

    fails : one of `CONDITIONS`, broken alone:
        "focus"          the code of the first leaf merges two values of s that z_b keeps apart
        "gate"           one pair of nodes with no outgoing weights changes its gate with ε
        "broadness"      the bit of the first b tells about y what z_a does not know; no tilt
        "decorrelation"  parents weigh a pair unequally, so that ε reaches the output; no tilt
    shift : E[ε] / (2 eps); if not 0, all is exact, but the first step of training breaks the mirror
    Source: chapter `expansion`, Proposition `coarse-ladder`.
    """
    check.number("eps", eps, positive=True)
    if fails is not None:
        check.choice("fails", fails, CONDITIONS)
    if fails in ("broadness", "decorrelation"):
        tilt = 0.0
    check.number("tilt", tilt, -1, 1)
    check.number("shift", shift, -(1 - abs(tilt)) / 2, (1 - abs(tilt)) / 2)
    rng = check.generator(seed)
    h = Hierarchy([None, [[0], [1], [2]], [[0, 1], [1, 2]], [[0, 1]]])

    rows = torch.tensor(list(product(range(6), *[(0, 1)] * 6)))     # label, bits r, signs of ε
    y, r, up = rows[:, 0], rows[:, 1:4].clone(), rows[:, 4:]
    if fails == "broadness":
        r[:, 0] = y % 2
    weights = (0.5 + (2 * up - 1) * (shift + tilt * (r - 0.5))).prod(1)
    s = torch.tensor(PARTITIONS).T[y]                               # (N, 3)
    values = torch.randn(3, 4, 2, generator=rng, dtype=torch.float64, device=rng.device).cpu()
    clean = values[torch.arange(3), s].repeat_interleave(2, -1)     # (N, 3, 4)
    noise = eps * (2 * up - 1.0)[..., None] * torch.tensor([1.0, -1, 1, -1])
    z_a, z_b = s[:, [0, 2]], 2 * s + r                              # the codes of the outer b
    leaf = z_b.clone()
    if fails == "focus":
        leaf[:, 0] = 2 * (s[:, 0] - 1).clamp(min=0) + r[:, 0]
    student = _student(h, values, eps, fails, rng)
    codes = [leaf, z_b, z_a, y[:, None]]
    return CoarseExample(h, clean + noise, y, weights / weights.sum(), codes, student)


def _student(h, values, eps, fails, rng, pairs=4, nodes=6):
    """Mirror pairs at level 1; h without ε keeps MARGIN from 0 and is on for some codes only."""
    student = Student(h, [4, 2 * pairs, nodes, 6], bias=True, seed=rng)
    c = torch.randn(3, pairs, generator=rng, dtype=torch.float64, device=rng.device).cpu()
    c = c.sign() * c.abs().clamp(0.5, 1.5)
    mirror = torch.tensor([1.0, -1, 1, -1])[:, None] / 4
    with torch.no_grad():
        f = []                                                      # sum of a pair, (codes, pairs)
        for b, part in enumerate(PARTITIONS):
            s = values[b, :max(part) + 1]
            a, bias = _nodes(s, pairs, rng)
            if fails == "gate":
                a[:, -1], bias[-1], c[b, -1] = 0, 0, 1 / eps        # h = ±1
            phi = s @ a + bias
            if fails == "decorrelation":
                c[b] = c[b].sign() * phi.abs().min(0).values / (2 * eps)
            w = a.repeat_interleave(2, 0) / 2
            student.W1[b, 0] = torch.cat([w + mirror * c[b], w - mirror * c[b]], -1)
            student.b1[b] = bias.repeat(2)
            f.append(2 * phi.relu())
        for region in range(2):
            codes = sorted(set(zip(*PARTITIONS[region:region + 2])))
            below = torch.stack([torch.cat([f[region][i], f[region + 1][k]]) for i, k in codes])
            w, student.b2[region] = _nodes(below, nodes, rng)
            tilt = 0
            if fails == "decorrelation":                            # ε moves h by MARGIN / 2
                tilt = (MARGIN / (below @ w.abs()).max(0).values).clamp(max=0.5)
            for slot, out in enumerate(w.unflatten(0, (2, pairs))):
                if fails == "gate":
                    out[-1] = 0
                student.W2[region, slot] = torch.cat([out * (1 + tilt), out * (1 - tilt)])
    return student


def _nodes(x, count, rng, draws=16):
    """Weights and biases of `count` nodes: each parts the rows of x at their widest gap along the
    best of several random directions, with MARGIN on both sides."""
    w = torch.randn(x.shape[1], draws, count, generator=rng, dtype=torch.float64, device=rng.device)
    w = torch.nn.functional.normalize(w.cpu(), dim=0)
    at = (x @ w.flatten(1)).unflatten(1, (draws, count)).sort(0).values
    gap, where = at.diff(dim=0).max(0)                              # (draws, count)
    best = gap.argmax(0, keepdim=True)
    low = at.gather(0, where[None])[0].gather(0, best)[0]
    gap, w = gap.gather(0, best)[0], w.gather(1, best.expand(x.shape[1], 1, count))[:, 0]
    scale = 2 * MARGIN / gap
    w, bias = w * scale, -(low + gap / 2) * scale
    side = torch.where((x[1] @ w + bias > 0) == (torch.arange(count) % 2 == 0), 1, -1)
    return w * side, bias * side                                    # on and off in turn at row 1


def two_regions(contents=(64, 8), *, tilt=0.25, contrast=1.0, tie=0.0):
    """A Teacher whose label is known to a faint region α and seems known to a loud one, γ.

        z_α = y,  P(z_γ = y) = (1 + tie)/2,  y fair
        P(x_α = e | z_α) = (1 ± tilt)/m_α, + for z_α = 1 on the first half of the m_α contents
        x_γ in the first half of its m_γ contents for z_γ = 1, in the second for z_γ = 2

    Level 0 holds the contents, level 1 z_α and z_γ, level 2 the label. α (region 0) is hard because
    its contents hardly prefer a label (tilt) or because they all look alike (contrast c): its
    features are c e_x + (1-c)/m_α. Those of γ are e_x. With tie = 0 γ is independent of the label.

    contents : (m_α, m_γ), even numbers;  tilt, contrast : in [0, 1];  tie : in [-1, 1]
    Source: chapter `overfitting`.
    """
    if not isinstance(contents, (tuple, list)) or len(contents) != 2:
        raise TypeError(f"contents must be a pair (of α, of γ); found {contents!r}")
    for i, m in enumerate(contents):
        if check.count(f"contents[{i}]", m, 2) % 2:
            raise ValueError(f"contents[{i}] must be even, half for each state; found {m}")
    check.number("tilt", tilt, 0, 1)
    check.number("contrast", contrast, 0, 1)
    check.number("tie", tie, -1, 1)
    m, most = contents[0], max(contents)
    side = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    P = torch.zeros(2, 1, 2, most, dtype=torch.float64)
    features = torch.eye(most, dtype=torch.float64).repeat(2, 1, 1)
    for r, (n, lean) in enumerate(zip(contents, (tilt, 1.0))):
        half = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat_interleave(n // 2)
        P[r, 0, :, :n] = (1 + lean * side * half) / n
    features[0, :, :m] = contrast * features[0, :, :m] + (1 - contrast) / m
    top = torch.stack([torch.eye(2), (1 + tie * side * side.T) / 2])[None]
    prior = torch.full((1, 2), 0.5, dtype=torch.float64)
    return Teacher(Hierarchy([None, [[0], [1]], [[0, 1]]]), [None, None, prior], [None, P, top], features)


def normal(shape, rng):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def simplex(shape, rng):
    """Probabilities along the last axis, drawn uniformly."""
    x = -torch.rand(shape, generator=rng, dtype=torch.float64).clamp(min=1e-9).log()
    return x / x.sum(-1, keepdim=True)


def random_student(h, widths, rng, bias, **options):
    """A random student, with random biases that open more gates than they close."""
    student = Student(h, widths, bias=bias, seed=rng, **options)
    with torch.no_grad():
        for b in student.b[1:] if bias else ():
            b.copy_(normal(b.shape, rng) / 2 + 0.3)
    return student


def random_ladder(h, rng, rows=40):
    """Inputs that repeat, three labels, weights of which some are 0. A summary is the sign of its
    content's sum and a random bit; the first region of a level has a state less than the others."""
    inputs, weights = normal((rows, h.leaves, 2), rng), simplex(rows, rng)
    inputs[1::4], weights[2::9] = inputs[::4], 0
    inputs[:2] = 0                                                  # where h = 0, without biases
    codes = []
    for l, regions in enumerate(h.regions):
        total = torch.stack([inputs[:, h.field(l, r)].sum((1, 2)) for r in range(regions)], 1)
        codes.append(2 * (total > 0) + torch.randint(2, total.shape, generator=rng))
        if regions > 1:
            codes[l][:, 0].clamp_(max=2)
    return Ladder.coarse(h, inputs, torch.randint(3, (rows,), generator=rng), codes, weights, 3)
