"""Floor 6. Chapter `overfitting`: the signal of a region that knows nothing, by chance."""
import math
from itertools import product

import torch

from ..expansion import measure
from ..hierarchy import Hierarchy
from ..ladder import Ladder
from ..student import Student
from .examples import normal, random_student, simplex, two_regions
from .registry import certificate
from .witness import gap


@certificate(
    "readout-signal",
    claim="at zero readout with centred labels the update through a region is p̂(1−p̂) times the "
          "difference of its mean activities given the label: chance correlation times "
          "separation, and a part within cells",
    witness="autograd of the loss of the network written out, on random samples",
    dropped="the labels are not centred")
def readout_signal(rng):
    gaps, wrong = [], []
    for n, tilt in ((7, 0.25), (12, 1.0), (40, 0.5)):
        teacher = two_regions((6, 4), tilt=tilt, tie=0.3)
        student = random_student(teacher.hierarchy, [6, 5, 1], rng, True)
        z = teacher.sample_states(n, seed=rng)
        y, x = z[2][:, 0], teacher.features[torch.arange(2), z[0]]
        y[:2] = torch.tensor([0, 1])                                # both labels occur
        one, p = (y == 0).double(), (y == 0).double().mean()
        w = [v.detach()[:, 0].requires_grad_() for v in (student.W1, torch.zeros(2, 1, 5, 1).double())]
        f = [(x[:, r] @ w[0][r] + student.b1[r].detach()).relu() for r in (0, 1)]
        out = sum(v @ u for v, u in zip(f, w[1]))[:, 0]
        with torch.no_grad():
            student.W2.zero_()
            student.b2.zero_()
        for t, store in ((one - p, gaps), (one, wrong)):
            loss = (t - out).square().mean() / 2
            slope = torch.autograd.grad(loss, w, retain_graph=True)
            dW, _ = student.propagate(x, t[:, None]).update(
                student.hierarchy, torch.full((n,), 1 / n, dtype=torch.float64))
            gaps += [gap(dW[2].detach()[0], -slope[1]), gap(dW[1].detach(), 0 * dW[1]),
                     gap(slope[0], 0 * slope[0])]
            for r in (0, 1):
                rows, first = f[r].detach(), (z[1][:, r] == 0).double()
                F = normal((2, 5), rng)                             # any table: the sum is the same
                rest = rows - F[z[1][:, r]]
                delta = first[y == 0].mean() - first[y == 1].mean()
                within = rest[y == 0].mean(0) - rest[y == 1].mean(0)
                said = p * (1 - p) * (delta * (F[0] - F[1]) + within)
                store.append(gap(dW[2].detach()[0, r, :, 0], said))
    return max(gaps), min(wrong)


@certificate(
    "chance-correlation",
    claim="given the labels, a region's signal has the mean p̂(1−p̂)(μ₁−μ₂) and the variance "
          "p̂²(1−p̂)²(v₁/N₁+v₂/N₂); of a fair z_γ that is independent of N/2 labels of each kind, "
          "E|δ̂| is the middle binomial probability of N coins",
    witness="all samples of two to six rows enumerated, each with its probability",
    dropped="z_γ is tied to the label")
@torch.no_grad()
def chance_correlation(rng):
    gaps, wrong, h = [], [], Hierarchy.tree(1, 1)
    for n1, n2 in ((2, 3), (1, 4), (3, 1)):
        n, m = n1 + n2, 3
        y = torch.tensor([0] * n1 + [1] * n2)
        p, t = n1 / n, ((y == 0).double() - n1 / n)[:, None]
        student, law = Student(h, [2, 1], seed=rng), simplex((2, m), rng)
        student.W1.zero_()
        f = normal((m, 2), rng)                                     # two nodes on three contents
        total, square = 0, 0
        for code in map(list, product(range(m), repeat=n)):
            s = student.propagate(f[code][:, None], t).update(
                h, torch.full((n,), 1 / n, dtype=torch.float64))[0][1].flatten()
            chance = law[y, code].prod()
            total, square = total + chance * s, square + chance * s**2
        mean = law @ f
        var = law @ f**2 - mean**2
        gaps += [gap(total, p * (1 - p) * (mean[0] - mean[1])),
                 gap(square - total**2, (p * (1 - p))**2 * (var[0] / n1 + var[1] / n2))]
    for n in (2, 4, 6):
        y, found = torch.arange(n) % 2, {0.0: 0, 0.6: 0}
        for z in product((0, 1), repeat=n):
            z = torch.tensor(z)
            rows = Ladder.coarse(h, z[:, None, None].double(), y, [z[:, None], y[:, None]], classes=2)
            P = rows.teacher().P[1][0, 0]
            delta = P[0, 0] - P[1, 0] if P.shape[1] == 2 else 0 * P[0, 0]
            for tie in found:
                agree = (z == y).double()
                found[tie] += ((1 + tie * (2 * agree - 1)) / 2).prod() * delta.abs()
        middle = math.comb(n, n // 2) / 2**n
        gaps.append(gap(found[0.0], middle))
        wrong.append(gap(found[0.6], middle))
    return max(gaps), min(wrong)


@certificate(
    "spurious-crossing", kind="approximation", tolerance=0.01,
    claim="E|δ̂| is √(2/πN) but for one part in 2N, so the signal through γ falls below that through "
          "α at N* = (2/π)(sep_γ/sep_α)², and its hold on the first output at (2/π)(sep_γ/sep_α)⁴",
    witness="sums over both binomial counts, and the crossings found by bisection on them; "
            "separations summed content by content",
    dropped="z_γ is tied to the label")
@torch.no_grad()
def spurious_crossing(rng):
    gaps = [abs(math.sqrt(2 / (math.pi * n)) / _mean_difference(n) - 1) for n in (100, 256, 1000)]
    tilt = 0.1 + 0.05 * torch.rand(1, generator=rng).item()
    for tilt, contents, power in ((tilt, (128, 8), 2), (0.4 + tilt, (64, 8), 4)):
        teacher = two_regions(contents, tilt=tilt, tie=1.0)         # δ = 1 in both regions
        student = Student(teacher.hierarchy, [contents[0], 400, 2], seed=rng)
        student.W2.zero_()
        dW = measure(student, Ladder.enumerate(teacher)).dW[2][0]   # (2, 400, 2)
        s = (dW[..., 0] - dW[..., 1]).norm(dim=-1) / 2              # labels centred: a difference
        star = 2 / math.pi * (s[1] / s[0]).item()**power
        m, f = contents, student.W1[:, 0].relu()
        hard = tilt * (f[0, :m[0] // 2].sum(0) - f[0, m[0] // 2:].sum(0)) * 2 / m[0]
        loud = (f[1, :m[1] // 2].sum(0) - f[1, m[1] // 2:m[1]].sum(0)) * 2 / m[1]
        ratio = (hard.norm() / loud.norm()).item()**(power // 2)
        low, high = 1, 1024                                         # halves of N: γ leads at low
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _mean_difference(2 * middle) > ratio else (low, middle)
        gaps.append(abs(2 * high / star - 1))
    n = 2 * high
    return max(gaps), abs(_mean_difference(n, 0.6) / math.sqrt(2 / (math.pi * n)) - 1)


def _mean_difference(n, tie=0.0):
    """E|A/½N - B/½N|, the states z = 1 counted among N/2 rows of each label, summed over A and B."""
    half = n // 2
    k = torch.arange(half + 1, dtype=torch.float64)
    ways = math.lgamma(half + 1) - torch.lgamma(k + 1) - torch.lgamma(half - k + 1)
    A, B = (torch.exp(ways + k * math.log(q) + (half - k) * math.log(1 - q))
            for q in ((1 + tie) / 2, (1 - tie) / 2))
    return (A @ (k[:, None] - k).abs() @ B).item() / half
