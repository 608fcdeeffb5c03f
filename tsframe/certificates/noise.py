"""Floor 6. Chapter `noise`: what a mini-batch does to the tables, to a step and to many steps."""
import math
from itertools import combinations, combinations_with_replacement

import torch

from ..expansion import backward, bias_update, expand, weight_update
from ..hierarchy import Hierarchy
from ..ladder import Ladder
from ..student import Student
from . import witness as plain
from .examples import normal, random_student
from .registry import certificate
from .witness import gap

# three leaves under two windows that share one
SHARED = Hierarchy.pyramid(3, 2, 1)


@certificate(
    "minibatch-ladder",
    claim="a step of mini-batch training is the recursion on the finest tables of that batch, step after step; "
          "coded like the whole data set, a batch changes the law at the top and no forward table",
    witness="autograd on the rows of each batch, three steps long",
    dropped="the contents: every summary of the batch cut to its parity")
@torch.no_grad()
def minibatch_ladder(rng):
    gaps, wrong, N, lr = [], [], 24, 0.2
    for h, bias in ((SHARED, True), (Hierarchy.pyramid(5, 3, 2), False)):
        inputs = torch.randint(2, (N, h.leaves, 1), generator=rng).double()
        inputs[1::4] = inputs[::4]                                  # repeats, with other labels
        labels = torch.randint(3, (N,), generator=rng)
        whole = Ladder.finest(h, inputs, labels, classes=3)
        worst = 0
        by_hand = random_student(h, [1] + [4] * (h.depth - 1) + [3], rng, bias)
        tables, coded = by_hand.member(), by_hand.member()
        for _ in range(3):
            rows = torch.randint(N, (7,), generator=rng)
            own = Ladder.finest(h, inputs[rows], labels[rows], classes=3)
            share = torch.bincount(rows, minlength=N).double()
            seen = Ladder.coarse(h, inputs, labels, whole.codes, share, 3)
            parity = Ladder.coarse(h, own.inputs, own.labels, [z % 2 for z in own.codes], classes=3)
            real = plain.run(by_hand, own)
            dW = _recursion(by_hand, parity)[0]
            worst = max([worst] + [gap(dW[l], real.dW[l]) for l in range(1, h.depth + 1)])
            for l in range(1, h.depth + 1):
                here, there, met = seen.teacher().dense(l), whole.teacher().dense(l), seen.teacher().live[l]
                gaps.append(gap(here, there * met[:, None, :, None]))
            for student, update in ((tables, _recursion(tables, own)), (coded, _recursion(coded, seen)),
                                    (by_hand, (real.dW, real.db if bias else None))):
                for parameters, step in zip((student.W, student.b), update):
                    for x, dx in zip(parameters[1:], step[1:] if step else ()):
                        x.add_(lr * dx)
            gaps += [gap(s.get_parameter(name), x) for name, x in by_hand.named_parameters() for s in (tables, coded)]
        wrong.append(worst)
    return max(gaps), min(wrong)


def _recursion(student, ladder):
    """ΔW and Δb by the recursion on a ladder's tables; None for Δb where there are no biases."""
    t = ladder.teacher()
    e = backward(expand(student, t), student, t)
    return weight_update(e, t), bias_update(e, t) if student.b[1] is not None else None


@certificate(
    "batch-tables",
    claim="tables and steps of a random batch are right in the mean; their covariance is that of one row over B, "
          "times (N−B)/(N−1) without replacement; a row of P is short by the chance that its state is missing",
    witness="all batches of two or three of five rows enumerated, steps of single rows by autograd",
    dropped="a conditional table is taken to be right in the mean like the others")
@torch.no_grad()
def batch_tables(rng):
    gaps, wrong, h, N = [], [], SHARED, 5
    codes = [torch.tensor([0, 0, 1, 1, 2])[torch.rand(N, n, generator=rng).argsort(0)] for n in h.regions]
    inputs, labels = normal((N, h.leaves, 2), rng), torch.randint(2, (N,), generator=rng)
    student = random_student(h, [2, 3, 2], rng, True)

    def tables(share):
        return Ladder.coarse(h, inputs, labels, codes, share, 2).teacher()

    def flat(dW, db):
        return torch.cat([x.flatten() for x in dW[1:] + db[1:]])
    alone = [plain.run(student, Ladder.finest(h, inputs[[n]], labels[[n]], classes=2)) for n in range(N)]
    alone = torch.stack([flat(x.dW, x.db) for x in alone])
    whole = tables(torch.ones(N))
    for B, replace in ((2, True), (3, True), (2, False), (3, False)):
        κ = 1 if replace else (N - B) / (N - 1)
        batches = _batches(N, B, replace)
        steps, found, P = [], [], []
        for rows, _ in batches:
            here = tables(torch.bincount(torch.tensor(rows), minlength=N).double())
            update = student.propagate(inputs[list(rows)], labels[list(rows)]).update(
                h, torch.full((B,), 1 / B, dtype=torch.float64))
            steps.append(flat(*update))
            found.append(here.prior)
            P.append([here.dense(l) for l in (1, 2)])
        w = torch.tensor([p for _, p in batches], dtype=torch.float64)
        mean, cov = _moments(torch.stack(steps), w)
        each = alone - alone.mean(0)
        gaps += [gap(mean, alone.mean(0)), gap(cov, κ / B * each.T @ each / N)]
        for l, p in enumerate(whole.prior):
            for r, p_z in enumerate(p):
                mean, cov = _moments(torch.stack([prior[l][r] for prior in found]), w)
                gaps += [gap(mean, p_z), gap(cov, κ / B * (p_z.diag() - p_z[:, None] * p_z))]
        for l in (1, 2):
            mean = sum(p * x[l - 1] for x, p in zip(P, w))
            p_z = whole.prior[l][:, None, :, None]
            met = 1 - (1 - p_z)**B if replace else torch.tensor(
                [[1 - math.comb(N - round(N * p), B) / math.comb(N, B) for p in row]
                 for row in whole.prior[l].tolist()], dtype=torch.float64)[:, None, :, None]
            gaps.append(gap(mean, met * whole.dense(l)))
            wrong.append(gap(mean, whole.dense(l)))
    return max(gaps), min(wrong)


def _batches(N, B, replace):
    """Every batch of B of N rows, and its probability."""
    if not replace:
        return [(rows, 1 / math.comb(N, B)) for rows in combinations(range(N), B)]
    return [(rows, math.factorial(B) / math.prod(math.factorial(rows.count(n)) for n in set(rows)) / N**B)
            for rows in combinations_with_replacement(range(N), B)]


def _moments(x, w):
    """Mean and covariance of rows of probability w."""
    mean = w @ x
    x = x - mean
    return mean, x.T @ (w[:, None] * x)


@certificate(
    "noise-stability",
    claim="of mini-batch training of a readout, mean and mean square follow a linear recursion; it is stable for no "
          "smaller batch where it is not for a larger one, and only if λ + κ Var[(v·f)²]/(Bλ) < 2/η along every axis",
    witness="three steps with every sequence of batches, as so many students at once",
    dropped="independent batches: the second takes rows that the first left")
@torch.no_grad()
def noise_stability(rng):
    gaps, wrong, N = [], [], 4
    for d, B, replace in ((1, 1, True), (2, 2, True), (2, 2, False), (3, 1, False)):
        f, t = normal((N, d), rng), normal((N, 1), rng)
        Σ = f.T @ f / N
        best = torch.linalg.lstsq(f, t, driver="gelsd").solution[:, 0]
        r, η = t[:, 0] - f @ best, 0.9 / torch.linalg.eigvalsh(Σ)[-1].item()
        κ = 1 if replace else (N - B) / (N - 1)
        batches = _batches(N, B, replace)
        n, w = len(batches), torch.tensor([p for _, p in batches], dtype=torch.float64)
        rows = torch.tensor([rows for rows, _ in batches])
        paths = (w[:, None, None] * w[:, None] * w).flatten()
        start = normal((d,), rng)
        many = Student(Hierarchy.tree(1, 1), [d, 1], ensemble=(n, n, n), seed=0)
        many.W1.copy_(start[:, None].expand_as(many.W1))
        m, M = start - best, torch.outer(start - best, start - best)
        for step in range(3):
            own = rows.view(*[n if i == step else 1 for i in range(3)], B).expand(n, n, n, B)
            dW, _ = many.propagate(f[own][..., None, :], t[own]).update(
                many.hierarchy, torch.full((B,), 1 / B, dtype=torch.float64))
            many.W1.add_(η * dW[1])
            K = sum(r_n * (x @ m) * torch.outer(x, x) for r_n, x in zip(r, f)) / N
            C = sum(r_n**2 * torch.outer(x, x) for r_n, x in zip(r, f)) / N
            M = _square(f, η, κ / B, M) + η**2 * κ / B * (C - 2 * K)
            m = m - η * Σ @ m
            e = many.W1[..., 0, 0, :, 0].flatten(0, 2) - best
            gaps += [gap(paths @ e, m), gap(e.T @ (paths[:, None] * e), M)]
            if step == 0:
                once = m, M
        if B == 2 and not replace:                                  # a pass through the data
            two = many.W1.new_zeros(d)
            for (a, p) in batches:
                left = [i for i in range(N) if i not in a]
                e = start - best
                for part in (list(a), left):
                    e = e - η * f[part].T @ (f[part] @ e - r[part]) / B
                two = two + p * e
            wrong.append(gap(two, once[0] - η * Σ @ once[0]))
        gaps += _order(f, η, (1.0, 0.5, 1 / 3, 0.0)) + _settled(f, r, batches, κ / B)
    return max(gaps), min(wrong)


def _square(f, η, noise, S):
    """𝒯S, row by row."""
    Σ = f.T @ f / len(f)
    keep = torch.eye(len(Σ), dtype=f.dtype) - η * Σ
    rows = sum((x @ S @ x) * torch.outer(x, x) for x in f) / len(f)
    return keep @ S @ keep + η**2 * noise * (rows - Σ @ S @ Σ)


def _radius(f, η, noise):
    """Spectral radius of 𝒯 on symmetric matrices, from its matrix on all."""
    d = f.shape[1]
    basis = torch.eye(d * d, dtype=f.dtype).view(-1, d, d)
    T = torch.stack([_square(f, η, noise, (S + S.T) / 2).flatten() for S in basis], 1)
    return torch.linalg.eigvalsh(T).abs().max().item()       # 𝒯 is its own adjoint


def _order(f, η, noises):
    """How far the radii fail to fall with the noise, to stay above their bounds, or to meet them at d = 1 or noise 0."""
    λ, v = torch.linalg.eigh(f.T @ f / len(f))
    out, last = [], math.inf
    for noise in noises:
        radius = _radius(f, η, noise)
        bounds = (1 - η * λ)**2 + η**2 * noise * (f @ v).square().var(0, correction=0)
        out += [max(radius - last, 0), max(bounds.max().item() - radius, 0)]
        if f.shape[1] == 1 or noise == 0:
            out.append(gap(radius, bounds.max()))
        last = radius
    return out


def _settled(f, r, batches, noise):
    """Where 𝒯 is stable, the mean square that it settles at is kept by one more step over all batches."""
    η, (N, d) = 0.5 / (f.square().sum(1).max().item()), f.shape
    basis = torch.eye(d * d, dtype=f.dtype).view(-1, d, d)
    T = torch.stack([_square(f, η, noise, S).flatten() for S in basis], 1)
    C = sum(r_n**2 * torch.outer(x, x) for r_n, x in zip(r, f)) / N
    S = torch.linalg.solve(torch.eye(d * d, dtype=f.dtype) - T, (η**2 * noise * C).flatten()).view(d, d)
    after = 0
    for rows, p in batches:
        x, rest = f[list(rows)], r[list(rows)]
        keep, push = torch.eye(d, dtype=f.dtype) - η * x.T @ x / len(rows), η * x.T @ rest / len(rows)
        after = after + p * (keep @ S @ keep + torch.outer(push, push))
    return [gap(after, S)]
