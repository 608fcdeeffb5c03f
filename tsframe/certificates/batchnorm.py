"""Floor 6. Chapter `batchnorm`: what a normalisation takes out of a signal, on rows and on tables."""
import torch

from ..batchnorm import BatchNorm
from ..expansion import backward, bias_update, expand, weight_update
from ..hierarchy import Hierarchy
from ..training import train
from . import witness as plain
from .examples import normal, random_ladder, random_student, simplex
from .registry import certificate
from .witness import gap


def graphs():
    """An overlapping pyramid, and regions with two parents under a region with one."""
    return Hierarchy.pyramid(5, 3, 1), Hierarchy([None, [[0, 1], [1, 2]], [[0, 1]], [[0]]])


def batches(rng):
    """Values f, weights p and a target to pull towards; uniform and drawn weights, one of them 0."""
    for rows, uniform in ((3, True), (12, True), (7, False), (20, False)):
        p = torch.full((rows,), 1 / rows, dtype=torch.float64) if uniform else simplex((rows,), rng)
        if not uniform:
            p[0] = 0
        order = torch.stack([torch.randperm(rows, generator=rng) for _ in range(4)], 1)
        yield 4 * order / rows + normal((rows, 4), rng) / 4, p / p.sum(), normal((rows, 4), rng)


def written(f, p, eps=0.0, variance=None):
    """(f - μ)/s from the differences of rows alone; with `variance` the statistics are held fixed."""
    apart = f[:, None] - (f if variance is None else f.detach())
    if variance is None:
        variance = torch.einsum("n,m,nmj->j", p, p, apart**2) / 2
        variance = variance.where(variance > 0, 1)                  # a dead node: 0
    return torch.einsum("m,nmj->nj", p, apart) / (variance + eps)**0.5


@torch.enable_grad()
def pulled(f, p, target, **how):
    """g and g_f: minus the slopes of ¼ Σ p (v - t)⁴ at v and at f, a row, by autograd."""
    f = f.clone().requires_grad_()
    v = written(f, p, **how)
    slopes = torch.autograd.grad(p @ ((v - target)**4).sum(1) / 4, (v, f))
    return v.detach(), *(torch.where(p[:, None] > 0, -x / p[:, None].where(p[:, None] > 0, 1), 0) for x in slopes)


def projected(f, p, g):
    """P⊥ g column by column: what least squares with weights p leaves of g after 1 and f."""
    root, out = p.sqrt()[:, None], []
    for j in range(f.shape[1]):
        A = torch.stack([torch.ones_like(p), f[:, j]], 1)
        fit = torch.linalg.lstsq(root * A, root * g[:, j:j + 1], driver="gelsd").solution
        out.append(g[:, j] - (A @ fit)[:, 0])
    return torch.stack(out, 1)


@certificate(
    "batchnorm-projection",
    claim="the signal that comes back through a normalisation is P⊥ g / σ: the orthogonal projection "
          "of g onto the complement of span{1, f}, under the weights p of the rows",
    witness="autograd of the normalisation written out, and least squares on 1 and f",
    dropped="the statistics are held fixed while f moves")
def projection(rng):
    gaps, wrong = [], []
    for f, p, target in batches(rng):
        live = (p > 0)[:, None]
        σ = spread(f, p)
        v, g, g_f = pulled(f, p, target)
        gaps += [gap(BatchNorm().value(f, p), v), gap(live * BatchNorm().back(f, g, p), g_f),
                 gap(live * projected(f, p, g) / σ, g_f), gap(p @ g_f, torch.zeros(4)),
                 gap(p @ (f * g_f), torch.zeros(4))]
        fixed = pulled(f, p, target, variance=σ**2)[2]
        wrong.append(gap(live * BatchNorm().back(f, g, p), fixed))
    return max(gaps), min(wrong)


def spread(f, p):
    """σ of each column, from the mean square difference of two rows."""
    return (torch.einsum("n,m,nmj->j", p, p, (f[:, None] - f)**2) / 2).sqrt()


@certificate(
    "epsilon",
    claim="with s² = σ² + ε the mean of a signal is removed as before, of its part along f the share "
          "ε/s² stays, and the rest passes: back = (g − ḡ − (σ²/s²) f̂⟨f̂, g⟩)/s",
    witness="autograd of the normalisation written out, its parts by least squares",
    dropped="ε is left out of the projection, and kept in s only")
def epsilon(rng):
    gaps, wrong = [], []
    for f, p, target in batches(rng):
        live, σ = (p > 0)[:, None], spread(f, p)
        share = 0.01 + 2 * torch.rand(1, generator=rng, dtype=torch.float64).item()
        for eps in (1e-5, share):
            v, g, g_f = pulled(f, p, target, eps=eps)
            s, unit = (σ**2 + eps).sqrt(), (f - p @ f) / σ
            passed, along = projected(f, p, g) / s, p @ (unit * g)
            gaps += [gap(BatchNorm(eps=eps).value(f, p), v),
                     gap(live * BatchNorm(eps=eps).back(f, g, p), g_f), gap(p @ g_f, torch.zeros(4)),
                     gap(live * (passed + unit * along * eps / s**3), g_f),
                     gap(p @ (unit * g_f), along * eps / s**3)]
        wrong.append(gap(live * passed, g_f))
    return max(gaps), min(wrong)


@torch.enable_grad()
def normed(student, features, target, priors, see=None):
    """A normalised student once more, edge by edge, and autograd of ½ Σ p ‖F_ω - target‖².

    priors : weights of rows by level and region; see(l, r, c, x) : what region r meets of its child
    Returns ΔW, Δb (None without biases) by level, and H.
    """
    h, norm = student.hierarchy, student.norm
    W = [None] + [x.detach().clone().requires_grad_() for x in student.W[1:]]
    b = [None] + [None if x is None else x.detach().clone().requires_grad_() for x in student.b[1:]]
    F, H = list(features), [None]
    for l in range(1, h.depth + 1):
        H.append([sum((F[k] if see is None else see(l, r, c, F[k])) @ W[l][r, c] for c, k in enumerate(row))
                  + (0 if b[l] is None else b[l][r]) for r, row in enumerate(h.children[l].tolist())])
        F = []
        for x, p in zip(H[l], priors[l]):
            if l == h.depth:
                F.append(x - p @ x if norm.top else x)
                continue
            f = torch.relu(written(x, p, norm.eps) if norm.place == "before" else x)
            F.append(written(f, p, norm.eps) if norm.place == "after" else f)
    loss = priors[h.depth][0] @ (F[0] - target).square().sum(1) / 2
    given = [x for x in W + b if x is not None]
    slopes = iter([-x for x in torch.autograd.grad(loss, given)])
    dW, db = ([None if x is None else next(slopes) for x in part] for part in (W, b))
    return dW, db, [None] + [[x.detach() for x in level] for level in H[1:]]


def along(w, dw):
    """w·Δw of each node: (R, C, k, j) -> (R, j)."""
    return (w * dw).sum((-3, -2)).detach()


@certificate(
    "weight-norm",
    claim="a normalised node has w·Δw + bΔb = 0, with the normalisation before the gate even "
          "Δb = 0: the norm stands still under gradient flow, and a step adds lr² ‖Δw‖² to its "
          "square. The update at λw is the update at w divided by λ",
    witness="autograd of the network written out, the recursion on tables, and steps of training",
    dropped="the bias: w·Δw alone, where the normalisation stands behind the gate")
def weight_norm(rng):
    gaps, wrong = [], []
    for h, bias in zip(graphs(), (True, False)):
        rows = random_ladder(h, rng)
        e_y = torch.eye(3, dtype=torch.float64)[rows.labels]
        priors = [[rows.weights] * n for n in h.regions]
        for place in ("before", "after"):
            student = random_student(h, [2] + [4] * (h.depth - 1) + [3], rng, bias, norm=place)
            with torch.no_grad():
                dW, db = student.propagate(rows.inputs, rows.labels, rows.weights).update(h, rows.weights)
            own, own_b, _ = normed(student, rows.inputs.unbind(1), e_y, priors)
            tables = rows.teacher()
            e = backward(expand(student, tables), student, tables)
            counted, counted_b = weight_update(e, tables), bias_update(e, tables)
            start, lr = [x.detach().clone() for x in student.W[1:]], 0.1
            shift = [x.detach().clone() if bias else torch.zeros(1) for x in student.b[1:]]
            train(student, rows, steps=1, lr=lr)
            for l in range(1, h.depth):
                w, c, up = start[l - 1], shift[l - 1], own_b[l] if bias else torch.zeros(1)
                gaps += [gap(dW[l], own[l]), gap(along(w, own[l]) + c * up, torch.zeros(1))]
                gaps.append(gap(along(w, counted[l]) + c * counted_b[l].detach(), torch.zeros(1)))
                if bias:
                    gaps.append(gap(db[l], own_b[l]))
                if place == "before":
                    gaps.append(gap(up, torch.zeros(1)))
                elif bias:
                    wrong.append(along(w, own[l]).abs().max().item())
                end, end_b = student.W[l].detach(), student.b[l].detach() if bias else c
                gaps.append(gap(along(end, end) + end_b**2,
                                along(w, w) + c**2 + lr**2 * (along(own[l], own[l]) + up**2)))
            scale = 0.5 + 2 * torch.rand(4, generator=rng, dtype=torch.float64)
            with torch.no_grad():
                for l in range(1, h.depth + 1):
                    below = l < h.depth
                    student.W[l].copy_(start[l - 1] * (scale if below else 1))
                    if bias:
                        student.b[l].copy_(shift[l - 1] * (scale if below and place == "after" else 1))
            scaled = normed(student, rows.inputs.unbind(1), e_y, priors)[0]
            gaps += [gap(scaled[l] * (scale if l < h.depth else 1), own[l]) for l in range(1, h.depth + 1)]
    return max(gaps), min(wrong)


@certificate(
    "batchnorm-tables",
    claim="with normalisation under P(z_α) the recursion's ΔW is still minus the gradient of the reduced "
          "loss. The conditional mean of the normalisation of samples is that of the tables, times "
          "√(Var F / Var f); equal if and only if f is constant on cells",
    witness="autograd of the reduced loss of the recursion written out edge by edge; means of "
            "normalised samples, cell by cell",
    dropped="the spread within cells is left out")
def tables(rng):
    gaps, wrong = [], []
    for h, eps in zip(graphs(), (0, 0.1)):
        rows = random_ladder(h, rng)
        own, teacher = plain.count(rows), rows.teacher()
        for norm in (BatchNorm("before", eps=eps, top=True), BatchNorm("after", eps=eps)):
            student = random_student(h, [2] + [4] * (h.depth - 1) + [3], rng, True, norm=norm)
            with torch.no_grad():
                e = backward(expand(student, teacher), student, teacher)
            dW, db, H = normed(student, own.features, own.target, own.prior, lambda l, r, c, x: own.P[l][r, c] @ x)
            for l in range(1, h.depth + 1):
                gaps += [gap(weight_update(e, teacher)[l], dW[l]), gap(bias_update(e, teacher)[l], db[l])]
                gaps += [gap((p > 0)[:, None] * (x - y), torch.zeros(1)) for p, x, y in zip(own.prior[l], e.H[l], H[l])]
    z, p = torch.arange(30) % 5, simplex((30,), rng)
    prior, given, bn = torch.zeros(5).double().index_add(0, z, p), 2 * normal((5, 4), rng), BatchNorm()
    for width in (0, 1):                                            # of f within a cell
        f, g = given[z] + width * normal((30, 4), rng), normal((30, 4), rng)
        F, G = plain.mean(z, f, p), plain.mean(z, g, p)
        seen, ratio = plain.mean(z, written(f, p), p), spread(F, prior) / spread(f, p)
        gaps.append(gap(ratio * bn.value(F, prior), seen))
        within = p @ (f - F[z])**2
        gaps.append(gap(spread(f, p)**2, spread(F, prior)**2 + within))
        if width:
            wrong.append(gap(bn.value(F, prior), seen))
        else:
            gaps += [gap(bn.value(F, prior), seen),
                     gap(bn.back(F, G, prior), plain.mean(z, projected(f, p, g) / spread(f, p), p))]
    return max(gaps), min(wrong)


@certificate(
    "two-valued-node",
    claim="through a node with two values comes (g − E[g|f])/σ, so that the mean square of σ times the "
          "signal is E Var(g|f); nothing comes if and only if g is a function of f",
    witness="autograd of the normalisation written out; means of g for each value of f, row by row",
    dropped="two values: f has three")
def two_valued(rng):
    gaps, wrong = [], []
    for values, store in ((2, gaps), (3, wrong)):
        for n in (5, 24):
            code, levels = torch.arange(n) % values, torch.arange(values)[:, None]
            p = (simplex((n,), rng) + 1 / n) / 2
            f, same = (levels + normal((values, 4), rng) / 8)[code], normal((values, 4), rng)[code]
            _, g, g_f = pulled(f, p, normal((n, 4), rng))
            back, rest = spread(f, p) * BatchNorm().back(f, g, p), g - plain.mean(code, g, p)[code]
            gaps.append(gap(back / spread(f, p), g_f))
            store += [gap(back, rest), gap(p @ back**2, p @ rest**2), gap(BatchNorm().back(f, same, p), 0 * f)]
    return max(gaps), min(wrong)
