"""Floor 6. Chapter `nonlinearity`: corners and cuts, linear losses, what a layer keeps of a hull."""
from itertools import product

import numpy as np
import torch
from scipy.optimize import linprog, nnls

from ..convexity import best_linear, linear_loss, margins, separating_weights, vertices
from ..hierarchy import Hierarchy
from ..ladder import Ladder
from ..student import Student
from . import witness as plain
from .examples import normal, simplex
from .registry import certificate
from .witness import gap


@certificate(
    "relu-expressibility",
    claim="one ReLU layer gives each state a node of its own, relu(H_α) = I, if and only if every "
          "row of [P_αβ F_β] is a vertex; else some entry misses by ½. Full row rank of F_β is "
          "enough to ask it of P, and for weights without bias",
    witness="every input run through a Student, hulls by nonnegative least squares, and the least "
            "possible error by another linear program",
    dropped="all-vert: one row is moved into the hull of the others",
    tolerance=1e-9)
@torch.no_grad()
def relu_expressibility(rng):
    gaps, wrong = [], []
    for s in ((2, 2, 2), (3, 2), (2, 4)):
        z = torch.tensor(list(product(*map(range, s))))
        m, n, I = len(z), max(s) + 1, torch.eye(len(z), dtype=torch.float64)
        F = [torch.linalg.qr(normal((n, k), rng)).Q.T for k in s]               # full row rank
        sure = [torch.eye(k, dtype=torch.float64)[z[:, c]] for c, k in enumerate(s)]
        noisy = [(0.5 * torch.eye(k, dtype=torch.float64) + 0.5 * simplex((k, k), rng))[z[:, c]]
                 for c, k in enumerate(s)]
        for P in (sure, noisy):
            V, b = separating_weights(torch.cat(P, 1))
            V[:s[0]] += b                                                       # absorbed
            W = [f.T @ v for f, v in zip(F, V.split(s))]                        # F F^T = I
            gaps.append(gap(sum(p @ f @ w for p, f, w in zip(P, F, W)).relu(), I))
            if P is sure:                                                       # states are inputs
                h = Hierarchy([None, [list(range(len(s)))], [[0]]])
                inputs = torch.stack([f[z[:, c]] for c, f in enumerate(F)], 1)
                student = Student(h, [n, m, m], seed=0)
                student.W1[0], student.W2[0, 0] = torch.stack(W), I
                real = plain.run(student, Ladder.finest(h, inputs, torch.arange(m)))
                gaps += [gap(real.f[1][0], I), real.loss.max().item()]
        A = torch.cat([p @ f for p, f in zip(noisy, F)], 1)
        gaps += [least_error(A), gap(vertices(A).double(), outside(A).double())]
        A[-1] = (A[0] + A[1]) / 2
        gaps.append(gap(vertices(A).double(), outside(A).double()))
        wrong.append(least_error(A))
    return max(gaps), min(wrong)


@certificate(
    "linear-loss",
    claim="the least loss of a linear map is m − rank P, under P(z) it is tr Λ(I − Π); for the "
          "product of b children with s states it is s^b − b(s − 1) − 1",
    witness="the loss summed state by state at weights whose gradient vanishes, and the closed form",
    dropped="linearity: one ReLU layer, with a cut for each state",
    tolerance=1e-10)
def linear_losses(rng):
    gaps, wrong = [], []
    for b, s in ((2, 2), (3, 2), (4, 2), (2, 3), (3, 3)):
        z = torch.tensor(list(product(range(s), repeat=b)))
        turn = 0.5 * torch.eye(s, dtype=torch.float64) + 0.5 * simplex((b, s, s), rng)
        P = torch.cat([turn[c][z[:, c]] for c in range(b)], 1)
        gaps.append(gap(linear_loss(P), s**b - b * (s - 1) - 1))
        W, bias = separating_weights(P)
        left = ((P @ W + bias).relu() - torch.eye(s**b, dtype=torch.float64)).square().sum()
        wrong.append(gap(left, linear_loss(P)))
    for m, states in ((7, (2, 3)), (5, (2, 2, 2)), (9, (3, 3))):
        P = torch.cat([simplex((m, k), rng) for k in states], 1)
        P[-1] = P[:2].mean(0)
        prior = simplex((m,), rng)
        prior[0] = 0
        for p in (None, prior / prior.sum()):
            U, weight = best_linear(P, p), torch.ones(m).double() if p is None else p
            miss = P @ U - torch.eye(m, dtype=torch.float64)
            gaps += [gap(linear_loss(P, p), sum(w * (x @ x) for w, x in zip(weight, miss))),
                     gap(P.T @ (weight[:, None] * miss), torch.zeros(1))]
    return max(gaps), min(wrong)


@certificate(
    "readout",
    claim="a ReLU layer with a linear readout behind it reaches the loss m − r, where r rows are "
          "different, and no less; r − 1 nodes are enough",
    witness="r − 1 thresholds along a line, put into a Student that is run on every row",
    dropped="the ReLU, so that thresholds do nothing")
@torch.no_grad()
def readout(rng):
    gaps, wrong, h = [], [], Hierarchy.tree(2, 1)
    for m, M, twice in ((6, 4, 0), (8, 3, 2), (7, 2, 3)):
        A = torch.cat([simplex((m - twice, M), rng)] + [torch.zeros(twice, M).double()])
        A[m - twice:] = A[:twice]
        w = normal((M, 1), rng)
        at = (A[:m - twice] @ w)[:, 0].sort().values
        low, high, r = at[:-1], at[1:], len(at)
        ramps = (A @ (w / (high - low)) - low / (high - low))                   # (m, r - 1)
        Φ = torch.cat([ramps.relu(), torch.ones(m, 1, dtype=torch.float64)], 1)
        same = (A[:, None] == A).all(2).double()                                # pairs of equal rows
        means = same / same.sum(1, keepdim=True)
        U = torch.linalg.lstsq(Φ, means, driver="gelsd").solution
        student = Student(h, [M, r - 1, m], bias=True, seed=0)
        student.W1[0, 0], student.b1[0] = w / (high - low), -low / (high - low)
        student.W2[0, 0], student.b2[0] = U[:-1], U[-1]
        real = plain.run(student, Ladder.finest(h, A[:, None], torch.arange(m)))
        gaps += [gap(2 * real.loss.sum(), m - r), gap(linear_loss(Φ), m - r)]
        bent = torch.cat([ramps, torch.ones(m, 1, dtype=torch.float64)], 1)
        wrong.append(gap(linear_loss(bent), m - r))
    return max(gaps), min(wrong)


@certificate(
    "vertex-price",
    claim="the least weights that cut a row off have norm 1 / d, with d its distance in the dual "
          "norm from the hull of the others; for b binary children of polarity ρ the largest "
          "weight is 1/(2ρ), the Euclidean norm √(b/2)/ρ",
    witness="the nearest point of the hull by the dual linear program and by nonnegative least "
            "squares, and the closed forms",
    dropped="the hull: the distance is taken from the nearest other row",
    tolerance=1e-9)
def vertex_price(rng):
    gaps, wrong = [], []
    A = torch.cat([simplex((5, 3), rng), simplex((5, 4), rng)], 1)
    cubes = [(b, 0.2 + 0.7 * torch.rand(1, generator=rng, dtype=torch.float64).item()) for b in (1, 2, 3)]
    for b, ρ in [(0, 0.0), *cubes]:
        if b:
            s = torch.tensor(list(product((1.0, -1.0), repeat=b)), dtype=torch.float64)
            A = torch.stack([1 + ρ * s, 1 - ρ * s], 2).flatten(1) / 2
        W, bias = separating_weights(A)
        W, bias = W / 2, (bias + 1) / 2                             # others at 0 instead of -1
        H, own = A @ W + bias, margins(A)
        gaps += [gap(H.diagonal(), torch.ones(1)), (H - 2 * H.diagonal().diag()).max().clamp(min=0).item()]
        for i in range(len(A)):
            others = torch.cat([A[:i], A[i + 1:]])
            d = l1_distance(A, i)
            w, q = least_norm(A, i)
            gaps += [gap(own[i], d), gap(W[:, i].abs().max() * d, 1), gap(w.norm() * (A[i] - q).norm(), 1),
                     gap((others - A[i]) @ w, ((others - A[i]) @ w).clamp(max=-1))]
            if b:
                gaps += [gap(d, 2 * ρ), gap(w.norm(), (b / 2) ** 0.5 / ρ)]
            nearest = (others - A[i]).abs().sum(1).min()
            wrong.append(gap(W[:, i].abs().max() * nearest, 1))
    return max(gaps), max(wrong)


@certificate(
    "vertices-preserved",
    claim="a linear layer makes no new vertices, and a layer with full row rank loses none: "
          "row by row, vert(P F) = vert(P)",
    witness="hulls by nonnegative least squares; the weights that put a row of P F into the hull "
            "of the others put the same row of P there",
    dropped="full row rank: F has two columns",
    tolerance=1e-9)
def vertices_preserved(rng):
    gaps, wrong = [], []
    for s in ((2, 2, 2), (3, 3)):
        z = torch.tensor(list(product(*map(range, s))))
        P = torch.cat([(0.5 * torch.eye(k, dtype=torch.float64) + 0.5 * simplex((k, k), rng))[z[:, c]]
                       for c, k in enumerate(s)], 1)
        P = torch.cat([P, simplex((3, len(P)), rng) @ P])           # three rows inside
        blocks = [torch.linalg.qr(normal((k + 1, k), rng)).Q.T for k in s]
        full, thin = torch.block_diag(*blocks), normal((sum(s), 2), rng)
        here, there = vertices(P), outside(P @ full)
        gaps += [gap(here.double(), there.double()), gap(vertices(P @ full).double(), outside(P).double()),
                 (vertices(P @ thin) & ~outside(P)).any().item()]
        for i in range(len(P)):
            for F, store in ((full, gaps), (thin, wrong)):
                λ, out = in_hull(P @ F, i)
                if not out:
                    store.append(gap(λ @ torch.cat([P[:i], P[i + 1:]]), P[i]))
    return float(max(gaps)), max(wrong)


def in_hull(A, i):
    """Nonnegative weights with sum 1 that come closest to row i, homogeneously, and whether they miss it."""
    others = torch.cat([A[:i], A[i + 1:]])
    system = torch.cat([others.T, torch.ones(1, len(others), dtype=torch.float64)])
    λ, left = nnls(system.numpy(), np.append(A[i].numpy(), 1.0))
    return torch.as_tensor(λ), left > 1e-8


def outside(A):
    """Rows that are no vertices have weights that reach them."""
    return torch.tensor([in_hull(A, i)[1] for i in range(len(A))])


def least_error(A):
    """The least t with relu(A w + b) within t of the unit vector, the worst row's: 0, or ½ in a hull."""
    worst, (m, M) = 0.0, A.shape
    for i in range(m):
        sign = np.ones(m)
        sign[i] = -1                                                # h_i >= 1 - t, h_k <= t
        rows = np.column_stack([sign[:, None] * A.numpy(), sign, -np.ones(m)])
        found = linprog([0] * (M + 1) + [1], A_ub=rows, b_ub=np.where(sign < 0, -1.0, 0.0),
                        bounds=[(None, None)] * (M + 1) + [(0, None)], method="highs-ipm")
        worst = max(worst, found.fun)
    return worst


def l1_distance(A, i):
    """The distance of row i from the hull of the others, by the weights of the nearest point."""
    others, (m, M) = np.delete(A.numpy(), i, 0), A.shape
    cost = [0] * (m - 1) + [1] * (2 * M)
    system = np.block([[others.T, np.eye(M), -np.eye(M)], [np.ones(m - 1), np.zeros(2 * M)]])
    return linprog(cost, A_eq=system, b_eq=np.append(A[i].numpy(), 1.0), method="highs").fun


def least_norm(A, i):
    """The shortest w with w·(a_i - a_k) >= 1 for all k, and the point of the hull nearest to a_i."""
    others = torch.cat([A[:i], A[i + 1:]])
    system = torch.cat([(A[i] - others).T, torch.ones(1, len(others), dtype=torch.float64)])
    u, _ = nnls(system.numpy(), np.append(np.zeros(A.shape[1]), 1.0))
    u = torch.as_tensor(u)
    left = system @ u - torch.tensor([0.0] * A.shape[1] + [1.0], dtype=torch.float64)
    return -left[:-1] / left[-1], u / u.sum() @ others
