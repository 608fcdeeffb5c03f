"""Floor 6. Chapter `deep`: what a correlation means, what chance gives, and what a pruned node costs."""
import math

import torch
from scipy.integrate import quad

from ..correspondence import contribution, correlation
from ..dense import Dense
from ..gaussian import chance_match, node_correlation
from .examples import normal
from .registry import certificate
from .witness import gap


@certificate(
    "angle-correlation",
    claim="under normal inputs two ReLU nodes without bias at angle θ have correlation "
          "((π−θ) cos θ + sin θ − 1)/(π − 1), and the nearest of n random directions is farther "
          "than θ with the n-th power of a Beta probability",
    witness="means by quadrature over the plane of the two rows, shares of the sphere by "
            "quadrature over its caps",
    dropped="inputs stretched threefold along one axis")
@torch.no_grad()
def angle_correlation(rng):
    gaps, wrong = [], []
    for d in (2, 5):
        W, U = normal((3, d), rng), normal((3, d), rng)
        U[0], U[1] = 3 * W[0], -W[1]                                # angles 0 and π
        said, stretch = node_correlation(W, U), torch.eye(d, dtype=torch.float64)
        for store, by in ((gaps, 1), (wrong, 3)):
            stretch[0, 0] = by
            store.append(gap(said, [[_correlation((w @ stretch).tolist(), (u @ stretch).tolist()) for u in U] for w in W]))
    for n, d in ((1, 2), (4, 3), (30, 20)):
        level = 0.05 + 0.9 * torch.rand(1, generator=rng, dtype=torch.float64).item()
        end = chance_match(n, d, level)
        cap, all_ = (quad(lambda t: math.sin(t) ** (d - 2), 0, θ, epsabs=1e-14)[0] for θ in (end, math.pi))
        gaps.append(abs((1 - cap / all_) ** n - level))
    return max(gaps), min(wrong)


def _correlation(w, u):
    """Pearson correlation of (w·x)+ and (u·x)+, x = r (cos φ, sin φ) in their plane, E r = √(π/2), E r² = 2."""
    size = math.hypot(*w)
    e = [a / size for a in w]
    along = sum(a * b for a, b in zip(e, u))
    across = math.hypot(*(b - along * a for a, b in zip(e, u)))
    start = math.atan2(across, along)                               # where u points; w points to 0

    def mean(f, lo, hi):
        return quad(f, lo, hi, epsabs=1e-13)[0] / (2 * math.pi) if hi - lo > 1e-9 else 0.0
    on, half = (start - math.pi / 2, math.pi / 2), math.pi / 2
    both = 2 * mean(lambda φ: math.cos(φ) * math.cos(φ - start), *on)
    first, second = math.sqrt(half) * mean(math.cos, -half, half), 2 * mean(lambda φ: math.cos(φ) ** 2, -half, half)
    return (both - first**2) / (second - first**2)


@certificate(
    "pruning-cost",
    claim="a node moved into the bias by its mean changes the next layer by its contribution, a "
          "node moved onto another one by √(1−ρ²) times that, many nodes by the sum at most, and "
          "the outputs by the norms of the weights above",
    witness="the network evaluated without the nodes, best constants and slopes by least squares",
    dropped="the mean is not moved into the bias")
@torch.no_grad()
def pruning_cost(rng):
    gaps, wrong = [], []
    for widths in ([3, 6, 5, 2], [4, 7, 3]):
        W = [None] + [normal((n, k), rng) for n, k in zip(widths[1:], widths)]
        b = [None] + [normal((n,), rng) / 2 for n in widths[1:]]
        net, x = Dense(W, b), normal((60, widths[0]), rng)
        f, s, ρ = net(x)[1], contribution(net, x)[1], correlation(net(x)[1], net(x)[1]).ρ
        one = torch.ones(60, 1, dtype=torch.float64)
        h, left, bound = f @ W[2].T + b[2], f.clone(), 0.0
        for k in range(2, widths[1]):                               # nodes 0 and 1 are kept
            for kept, share in ((one, 1.0), (torch.cat([f[:, :1], one], 1), (1 - ρ[k, 0] ** 2).clamp(min=0).sqrt())):
                best = torch.linalg.lstsq(kept, f[:, k:k + 1]).solution
                without = f.clone()
                without[:, k:k + 1] = kept @ best
                gaps.append(gap(share * s[k], (h - without @ W[2].T - b[2]).square().sum(1).mean().sqrt()))
            left[:, k:k + 1], bound = kept @ best, bound + share * s[k]
            without = f.clone()
            without[:, k] = 0
            wrong.append(gap(s[k], (h - without @ W[2].T - b[2]).square().sum(1).mean().sqrt()))
        below = left @ W[2].T + b[2]
        y, z = (t if len(widths) == 3 else t.relu() @ W[3].T + b[3] for t in (h, below))
        slope = 1 if len(widths) == 3 else torch.linalg.svdvals(W[3])[0]
        refit = torch.cat([f[:, :2], one], 1)
        rest = h - refit @ torch.linalg.lstsq(refit, h).solution
        moved, moved_y, fitted = (t.square().sum(1).mean().sqrt() for t in (h - below, y - z, rest))
        for small, large in ((moved, bound), (moved_y, slope * moved), (fitted, moved)):
            gaps.append(max((small / large).item() - 1, 0))
    return max(gaps), max(wrong)
