"""Floor 6. Chapter `winners`: who wins a teacher node, and what becomes of the others."""
import math
from functools import cache

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.special import ndtr

from .. import gaussian
from ..dense import Dense, unit_rows
from ..draws import dense_teacher
from ..ensembles import train_dense
from ..relu_teacher import fixed_readout, homogeneous
from .examples import normal
from .registry import certificate
from .witness import gap


@certificate(
    "angle-flow", tolerance=1e-9,
    claim="a unit student row turns towards the one teacher node with θ' = −A(π−θ) sin θ / 2π, and "
          "the time from one angle to another is the integral of 2π / A(π−θ) sin θ",
    witness="the pull summed over the directions of the plane, and a Runge-Kutta run of the flow "
            "in all dimensions for the time that the integral says",
    dropped="the row may change its length")
@torch.no_grad()
def angle_flow(rng):
    gaps, wrong = [], []
    for start, end in ((0.9, 0.25), (1.7, 0.6), (2.6, 1.4)):
        u, w = unit_rows(normal((2, 4), rng))
        w = unit_rows(w - (w @ u) * u)                              # across the teacher's row
        w = math.cos(start) * u + math.sin(start) * w
        v0, side = torch.linalg.qr(normal((3, 2), rng)).Q.T[:, :, None]
        A = 0.7 + 0.5 * torch.rand(1, generator=rng).item()
        v = A * v0 + side
        B = (v * v).sum().item()
        dW = gaussian.update(Dense([None, w[None], v]), Dense([None, u[None], v0]))[0][0]
        turn = -(dW - (dW @ w) * w) @ u / math.sin(start)
        gaps += [gap(turn, -A * (math.pi - start) * math.sin(start) / (2 * math.pi)),
                 gap(dW, A * _pull(w.numpy(), u.numpy()) - B * _pull(w.numpy(), w.numpy()))]
        time = gaussian.arrival_time(start, end) / A
        for unit, store in ((True, gaps), (False, wrong)):
            def flow(t, w):
                step = A * _pull(w, u.numpy()) - B * _pull(w, w)
                return step - (step @ w) / (w @ w) * w if unit else step
            w_t = solve_ivp(flow, (0, time), w.numpy(), "DOP853", rtol=1e-10, atol=1e-11).y[:, -1]
            cos = w_t @ u.numpy() / np.linalg.norm(w_t)
            store.append(abs(math.acos(min(cos, 1.0)) - end))
    return max(gaps), min(wrong)


@certificate(
    "losers-vanish",
    claim="with frozen rows that hold every teacher row the readout has one fixed point, V°S: the "
          "winner takes the teacher's fan-out and a loser nothing. Descent is V°S + e(I − ηL)^t",
    witness="powers of the eigenvalues of L, summed sample by sample, and V°S written down",
    dropped="L is invertible: one winner has a copy")
@torch.no_grad()
def losers_vanish(rng):
    gaps, wrong, m, n = [], [], 3, 5
    for copied in (False, True):
        teacher = dense_teacher([4, m, 2], entries=None, seed=rng)
        rows, s = normal((n, 5), rng), 0.5 + torch.rand(n, generator=rng, dtype=torch.float64)
        place = torch.randperm(n, generator=rng)[:m]                # the winners' places
        rows[place] = s[place, None] * teacher.rows(1)
        if copied:
            twin = next(k for k in range(n) if k not in place)
            rows[twin] = s[twin] * teacher.rows(1)[0]
        V, b = normal((2, n), rng), normal((2,), rng)
        student = Dense([None, rows[:, :4], V], [None, rows[:, 4], b])
        x = normal((60, 4), rng)
        f, f0 = (homogeneous(net(x)[1]) for net in (student, teacher))
        goal = torch.zeros(2, n + 1, dtype=torch.float64)           # V°S
        goal[:, place], goal[:, n] = teacher.W[2] / s[place], teacher.b[2]
        λ, Q = torch.linalg.eigh(sum(torch.outer(r, r) for r in f) / len(f))
        e = torch.cat([V, b[:, None]], 1) - goal
        if not copied:
            gaps.append(gap(fixed_readout(f, f0, teacher.rows(2)), goal))
        for η, t in ((0.3, 1), (1.9, 300), (2.1, 20)):
            η = η / λ[-1].item()
            net = student.copy()
            train_dense(net, teacher, lambda batch, seed: x, steps=t, lr=η, batch=60, every=t,
                        frozen=(1,), seed=0)
            said = goal + (e @ Q * (1 - η * λ)**t) @ Q.T
            gaps.append(gap(net.rows(2), said))
        if copied:                                                  # what no step ever changes
            wrong.append(gap(goal + (e @ Q * (λ < 1e-9)) @ Q.T, goal))
    return max(gaps), min(wrong)


@certificate(
    "near-copies",
    claim="if teacher activations are S times the student's plus a rest r, the readout's fixed "
          "point V̂ is within ‖V°‖ √(E‖r‖² / λ_min) of V°S",
    witness="the rest projected on an orthonormal basis of the activations, and autograd of the "
            "loss, which is 0 there",
    dropped="λ_min: closeness alone, for two copies at angles δ and 2δ")
def near_copies(rng):
    gaps, wrong = [], []
    for off in (0.3, 0.03, 0.003):
        teacher = dense_teacher([4, 3, 2], entries=None, bias=None, seed=rng)
        V0, x = teacher.W[2], normal((80, 4), rng)
        near = teacher.W[1] + off * normal((3, 4), rng)
        f = (x @ torch.cat([near, normal((2, 4), rng)]).T).relu()
        f0, S = teacher(x)[1], torch.eye(3, 5, dtype=torch.float64)
        r = f0 - f @ S.T
        V = fixed_readout(f, f0, V0).requires_grad_()
        slope, = torch.autograd.grad((f @ V.T - f0 @ V0.T).square().sum() / 160, V)
        Q, R = torch.linalg.qr(f)
        said = V0 @ torch.linalg.solve_triangular(R.T, r.T @ Q, upper=False, left=False)
        bound = torch.linalg.matrix_norm(V0, 2) * (r.square().sum() / torch.linalg.svdvals(R)[-1]**2).sqrt()
        distance = (V.detach() - V0 @ S).norm()
        gaps += [gap(slope, 0 * slope), gap(V - V0 @ S, said), max((distance / bound - 1).item(), 0.0)]
    δ = 0.01 * (1 + torch.rand(1, generator=rng, dtype=torch.float64))
    f, f0 = (torch.stack([_ray(x * δ) for x in at], -1) for at in ((1, 2), (0,)))
    V, r = fixed_readout(f, f0, torch.ones(1, 1)), f0[:, 0] - f[:, 0]
    wrong.append(((V - torch.tensor([1.0, 0.0])).norm() / r.square().mean().sqrt() - 1).item())
    return max(gaps), min(wrong)


@certificate(
    "twins", tolerance=1e-8,
    claim="two students at angles aδ and bδ from the only teacher node end, as δ falls, with the "
          "fan-outs (b²+c²−a²)/2c² and (a²+c²−b²)/2c², c the third side of the triangle",
    witness="both overlaps summed over directions, the two equations solved by hand, and a "
            "polynomial in δ continued to 0",
    dropped="the angles are small")
@torch.no_grad()
def twins(rng):
    gaps, wrong = [], []
    for ψ in (0.0, 0.7, 1.6, math.pi):
        a, b = (0.5 + torch.rand(2, generator=rng, dtype=torch.float64)).tolist()
        b += a * (ψ == 0)                                           # two of them, not one
        c = math.sqrt(a * a + b * b - 2 * a * b * math.cos(ψ))
        goal = torch.tensor([[b * b + c * c - a * a, a * a + c * c - b * b]], dtype=torch.float64) / (2 * c * c)
        teacher = Dense([None, torch.eye(1, 4, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)])
        δs = 0.25 - 0.2 * np.cos(np.pi * (2 * np.arange(14) + 1) / 28)
        found = []
        for δ in [*δs, 0.8]:
            rows = torch.tensor([[math.cos(a * δ), math.sin(a * δ), 0, 0],
                                 [math.cos(b * δ), math.sin(b * δ) * math.cos(ψ), math.sin(b * δ) * math.sin(ψ), 0]],
                                dtype=torch.float64)
            p, q = (float(_pull(w, np.eye(4)[0]) @ w) for w in rows.numpy())      # E[f f°]
            k = float(_pull(rows[0].numpy(), rows[1].numpy()) @ rows[0].numpy())
            V = torch.tensor([[p / 2 - k * q, q / 2 - k * p]], dtype=torch.float64) / (0.25 - k * k)
            gaps.append(gap(gaussian.update(Dense([None, rows, V]), teacher)[1], torch.zeros(1)))
            κ = gaussian.kernel(rows, rows)
            found.append(torch.linalg.solve(κ, gaussian.kernel(rows, teacher.W[1])).T)
        fit = np.polynomial.Polynomial.fit
        limit = [fit(δs, [float(v[0, i]) for v in found[:-1]], 13)(0.0) for i in (0, 1)]
        gaps.append(gap(torch.tensor([limit]), goal))
        wrong.append(gap(found[-1], goal))
    return max(gaps), max(wrong)


@certificate(
    "overlap-bias", tolerance=1e-10,
    claim="for normal pre-activations of bias b and no correlation, P(both on)/P(on) = Φ(b) and "
          "E[ff']/E[f²] = (bΦ+φ)²/((1+b²)Φ+bφ); both rise with b, the first at any correlation",
    witness="moments by Gauss's rule in one and two dimensions, slopes by Cauchy-Schwarz's gap",
    dropped="no correlation: it is 0.3")
def overlap_bias(rng):
    gaps, wrong = [], []
    biases = torch.linspace(-2, 1, 4).add(0.5 * torch.rand(4, generator=rng)).tolist()
    for b in biases:
        z, p = _normal_rule(-b)
        m = [p @ (z + b)**i for i in range(3)]                      # E[1], E[f], E[f²] where on
        on, both = gaussian.overlap(b)
        gaps += [gap(on, m[0]), gap(on, ndtr(b)), gap(both, m[1]**2 / m[2])]
        for r in (-0.5, 0.3):
            s, c = math.sqrt(1 - r * r), math.sqrt((1 - r) / (1 + r))
            other = (z - r * z[:, None]) / s                        # what the first one leaves free
            joint = p[:, None] * p * np.exp((z**2 - other**2) / 2) / s
            on, both = gaussian.overlap(b, r)
            gaps += [gap(on, joint.sum() / m[0]), gap(both, (z + b) @ joint @ (z + b) / m[2]),
                     gap(on, 2 * p @ ndtr(-c * z) / m[0])]
        wrong.append(gap(on, ndtr(b)))
    seen = [[gaussian.overlap(b, r)[0] for b in biases] for r in (-0.5, 0, 0.3)]
    gaps.append(float(any(x >= y for row in seen for x, y in zip(row, row[1:]))))
    x, p = _gauss(40)
    for low, high in zip(biases, biases[1:]):                       # the slope, summed from one bias to the next
        b = low + (high - low) * (1 + x) / 2
        φ, Φ = np.exp(-b * b / 2) / math.sqrt(2 * math.pi), ndtr(b)
        m1, m2 = b * Φ + φ, (1 + b * b) * Φ + b * φ
        slope = 2 * m1 * (Φ * m2 - m1**2) / m2**2
        gaps += [max(-slope.min(), 0.0), gap(gaussian.overlap(high)[1] - gaussian.overlap(low)[1],
                                             (high - low) / 2 * p @ slope)]
    return max(gaps), min(wrong)


def _pull(w, u, nodes=24):
    """E[σ'(w·x) σ(u·x) x], x ~ N(0, I): Gauss's rule over the directions of the plane where both are on."""
    one = w / np.linalg.norm(w)
    along = u @ one
    rest = u - along * one
    across = np.linalg.norm(rest)
    θ = math.atan2(across, along)
    x, p = _gauss(nodes)
    half = (math.pi - θ) / 2
    φ = math.pi / 2 - half + half * x
    both = half * p * np.cos(φ - θ) * np.linalg.norm(u) / math.pi            # E r² / 2π = 1/π
    return (both @ np.cos(φ)) * one + (both @ np.sin(φ)) * rest / (across or 1)


_gauss = cache(np.polynomial.legendre.leggauss)


def _ray(angle, n=4001):
    """max(cos(φ - angle), 0) at n directions φ around the circle."""
    return (torch.arange(n) * (2 * math.pi / n) - angle).cos().relu()


def _normal_rule(low, length=14, nodes=90):
    """Points z > low and weights for the integral of the normal density times a smooth function."""
    x, p = _gauss(nodes)
    z = low + length * (1 + x) / 2
    return z, p * length / 2 * np.exp(-z**2 / 2) / math.sqrt(2 * math.pi)
