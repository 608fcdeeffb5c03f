"""Floor 6. The second route: every quantity once more, region by region and state by state.

Nothing here uses the recursion, the gathers or the means of the package. The network is written out
and differentiated by autograd, means are taken cell by cell, the equations summed edge by edge.
Lists are indexed [level][region]; a value per row is (N, n), a table (m, n).
"""
from types import SimpleNamespace

import torch


def contents(ladder):
    """The content of every region, numbered: [level][region] (N,)."""
    h = ladder.hierarchy
    seen = [[[tuple(x) for x in ladder.inputs[:, r].tolist()] for r in range(h.leaves)]]
    for l in range(1, h.depth + 1):
        seen.append([list(zip(*(seen[-1][b] for b in row))) for row in h.children[l].tolist()])

    def number(rows):
        index = {x: i for i, x in enumerate(dict.fromkeys(rows))}
        return torch.tensor([index[x] for x in rows])
    return [[number(rows) for rows in level] for level in seen]


@torch.enable_grad()
def run(student, ladder):
    """The real network on every row: f, h, gates d; signals u, g and updates dW, db by autograd of
    ½‖f_ω - e_y‖², with the book's signs (minus gradients); loss (N,). No biases: db is [None]."""
    h, L = student.hierarchy, student.hierarchy.depth
    W = [None] + [x.detach().clone().requires_grad_() for x in student.W[1:]]
    b = [None] + [x.detach().clone().requires_grad_() for x in student.b[1:] if x is not None]
    f, pre = [list(ladder.inputs.unbind(1))], [None]
    for l in range(1, L + 1):
        pre.append([sum(f[-1][child] @ W[l][r, c] for c, child in enumerate(row))
                    + (b[l][r] if b[1:] else 0) for r, row in enumerate(h.children[l].tolist())])
        linear = l == L or student.activation == "linear"
        f.append([x * 1 if linear else torch.relu(x) for x in pre[l]])
    e_y = torch.eye(student.widths[-1], dtype=torch.float64)[ladder.labels]
    loss = (f[L][0] - e_y).square().sum(1) / 2
    slope = torch.autograd.grad(ladder.weights @ loss, W[1:] + b[1:], retain_graph=True)
    inner = [x for l in range(1, L + 1) for x in f[l] + pre[l]]
    signals = iter([-x for x in torch.autograd.grad(loss.sum(), inner)])
    u, g, d = [None], [None], [None]
    for l in range(1, L + 1):
        for values in (u, g):
            values.append([next(signals) for _ in f[l]])
        linear = l == L or student.activation == "linear"
        d.append([torch.ones_like(x) if linear else (x > 0).to(x) for x in pre[l]])
    return SimpleNamespace(
        f=[[x.detach() for x in level] for level in f], d=d, u=u, g=g, loss=loss.detach(),
        h=[None] + [[x.detach() for x in level] for level in pre[1:]],
        dW=[None] + [-x for x in slope[:L]], db=[None] + [-x for x in slope[L:]])


def mean(code, x, weights, states=None):
    """E[x | code = i] for each i, as a table (m, n); 0 where P(code = i) = 0."""
    states = int(code.max()) + 1 if states is None else states
    table = torch.zeros(states, x.shape[1], dtype=x.dtype)
    for i in range(states):
        p = weights[code == i]
        if p.sum() > 0:
            table[i] = (p[:, None] * x[code == i]).sum(0) / p.sum()
    return table


def joint(a, b, weights, m_a, m_b):
    """P(a = i, b = k), counted row by row."""
    p = [[0.0] * m_b for _ in range(m_a)]
    for i, k, w in zip(a.tolist(), b.tolist(), weights.tolist()):
        p[i][k] += w
    return torch.tensor(p, dtype=weights.dtype)


def ratio(top, bottom):
    """top / bottom with 0 where bottom is 0."""
    return torch.where(bottom > 0, top / bottom.where(bottom > 0, 1), 0)


def bayes(p, P):
    """P(parent | child) from the parent's prior and table, and the marginal these two imply."""
    both = p[:, None] * P
    return ratio(both, both.sum(0)).T


def turned(p, P):
    """What Bayes gives if the prior is forgotten: the columns of P scaled to sum to 1."""
    return bayes(torch.ones_like(p), P)


def count(ladder):
    """Priors, tables, features and target of a ladder's rows, counted: what `sums` needs."""
    h, w, z = ladder.hierarchy, ladder.weights, [list(c.T) for c in ladder.codes]
    m, P = [int(c.max()) + 1 for c in ladder.codes], [None]
    for l in range(1, h.depth + 1):
        both = {(r, c): joint(z[l][r], z[l - 1][child], w, m[l], m[l - 1])
                for r, row in enumerate(h.children[l].tolist()) for c, child in enumerate(row)}
        P.append({edge: ratio(p, p.sum(1, keepdim=True)) for edge, p in both.items()})
    e_y = torch.eye(ladder.classes, dtype=w.dtype)[ladder.labels]
    return SimpleNamespace(
        h=h, codes=z, states=m, P=P, target=mean(z[-1][0], e_y, w, m[-1]),
        prior=[[joint(x, x, w, k, k).diagonal() for x in level] for level, k in zip(z, m)],
        features=[mean(z[0][r], ladder.inputs[:, r], w, m[0]) for r in range(h.leaves)])


def sums(own, W, b, gates=None, linear=False, reverse=bayes):
    """The equations (F), (G), (ΔW), summed edge by edge; differentiable in W and b.

    own : as `count` gives it; gates : tables [level][region], or None for 1[H > 0]
    reverse : how the backward tables come from the prior and table of the parent
    """
    h, prior, P, L = own.h, own.prior, own.P, own.h.depth
    rows = [None] + [list(enumerate(h.children[l].tolist())) for l in range(1, L + 1)]
    F, H, D, below = [own.features], [None], [None], [None]
    for l in range(1, L + 1):
        live = [(p > 0)[:, None] for p in prior[l]]
        below.append([[P[l][r, c] @ F[-1][child] for c, child in enumerate(row)]
                      for r, row in rows[l]])
        H.append([on * (sum(x @ W[l][r, c] for c, x in enumerate(below[l][r]))
                        + (0 if b[l] is None else b[l][r])) for r, on in enumerate(live)])
        gate = ([torch.ones_like(x) for x in H[l]] if l == L or linear else
                [(x > 0).to(x) for x in H[l]] if gates is None else gates[l])
        D.append([on * x for on, x in zip(live, gate)])
        F.append([d * x for d, x in zip(D[l], H[l])])
    U, G = [None] * (L + 1), [None] * (L + 1)
    U[L] = G[L] = [own.target - F[L][0]]
    for l in range(L, 1, -1):
        U[l - 1] = [torch.zeros_like(x) for x in H[l - 1]]
        for r, row in rows[l]:
            for c, child in enumerate(row):
                heard = reverse(prior[l][r], P[l][r, c]) @ G[l][r] @ W[l][r, c].T
                U[l - 1][child] = U[l - 1][child] + heard
        G[l - 1] = [d * x for d, x in zip(D[l - 1], U[l - 1])]
    dW, db = [None], [None]
    for l in range(1, L + 1):
        PG = [p[:, None] * g for p, g in zip(prior[l], G[l])]
        dW.append(torch.stack([torch.stack([x.T @ y for x in row])
                               for row, y in zip(below[l], PG)]))
        db.append(torch.stack([x.sum(0) for x in PG]))
    loss = prior[L][0] @ (F[L][0] - own.target).square().sum(1) / 2
    return SimpleNamespace(F=F, H=H, D=D, U=U, G=G, dW=dW, db=db, loss=loss)


def error_parts(student, ladder, gates=None):
    """The parts of truth minus recursion, from their definitions, and that difference itself.

    Two dicts keyed ("F" | "G" | "dW", level): of dicts of named parts, and of totals.
    """
    own, real, h, w = count(ladder), run(student, ladder), student.hierarchy, ladder.weights
    W, m, z, L = student.W, own.states, own.codes, student.hierarchy.depth
    linear = student.activation == "linear"
    recursion = sums(own, W, student.b, gates, linear)

    def given(l, a, x):
        return mean(z[l][a], x, w, m[l])

    def cov(l, a, x, y):
        """Cov(x_i, y_j | z_α) of two values per row, as (m, i, j)."""
        x, y = x - given(l, a, x)[z[l][a]], y - given(l, a, y)[z[l][a]]
        both = x[:, :, None] * y[:, None, :]
        return given(l, a, both.flatten(1)).unflatten(1, both.shape[1:])

    def own_cov(l, a, x, y):
        return cov(l, a, x, y).diagonal(dim1=1, dim2=2)

    levels, parts, total = range(1, L + 1), {}, {}
    F, D, G = ([None] + [[given(l, a, x) for a, x in enumerate(values[l])] for l in levels]
               for values in (real.f, real.d, real.g))
    F[0] = own.features
    for l in levels:
        regions, edges = [], []
        for a, row in enumerate(h.children[l].tolist()):
            P, p = [own.P[l][a, c] for c in range(len(row))], own.prior[l][a][:, None]
            f, f_r = [F[l - 1][b] for b in row], [recursion.F[l - 1][b] for b in row]
            missed = [given(l, a, real.f[l - 1][b]) - x @ y for b, x, y in zip(row, P, f)]
            error = [x @ (y - y_r) for x, y, y_r in zip(P, f, f_r)]
            constant = l == L or linear
            regions.append({
                "gate": 0 * F[l][a] if constant else own_cov(l, a, real.d[l][a], real.h[l][a]),
                "focus": D[l][a] * sum(x @ W[l][a, c] for c, x in enumerate(missed)),
                "inherited": D[l][a] * sum(x @ W[l][a, c] for c, x in enumerate(error)),
                "gate table": (D[l][a] - recursion.D[l][a]) * recursion.H[l][a]})
            PG, PG_e = p * G[l][a], p * (G[l][a] - recursion.G[l][a])
            edges.append({
                "focus": torch.stack([x.T @ PG for x in missed]),
                "decorrelation": torch.stack([torch.einsum(
                    "z,zkj->kj", p[:, 0], cov(l, a, real.f[l - 1][b], real.g[l][a])) for b in row]),
                "inherited": torch.stack([
                    e.T @ PG + (x @ y).T @ PG_e for e, x, y in zip(error, P, f_r)])})
        parts["F", l], parts["dW", l] = _stacked(regions), _stacked(edges)
        total["F", l] = torch.stack(F[l]) - torch.stack(recursion.F[l])
        total["G", l] = torch.stack(G[l]) - torch.stack(recursion.G[l])
        total["dW", l] = real.dW[l] - recursion.dW[l]
    parts["G", L] = {"inherited": -total["F", L]}
    for l in range(1, L):
        regions = []
        for b, pairs in enumerate(h.parents(l)):
            missed = error = 0
            for a, c in pairs:
                back, turn = bayes(own.prior[l + 1][a], own.P[l + 1][a, c]), W[l + 1][a, c].T
                missed = missed + (given(l, b, real.g[l + 1][a]) - back @ G[l + 1][a]) @ turn
                error = error + back @ (G[l + 1][a] - recursion.G[l + 1][a]) @ turn
            regions.append({
                "gate": own_cov(l, b, real.d[l][b], real.u[l][b]),
                "broadness": D[l][b] * missed, "inherited": D[l][b] * error,
                "gate table": (D[l][b] - recursion.D[l][b]) * recursion.U[l][b]})
        parts["G", l] = _stacked(regions)
    return parts, total


def gap(a, b):
    """Largest difference, relative to max(1, the largest value of b); a NaN counts as infinite."""
    b = torch.as_tensor(b, dtype=torch.float64)
    worst = (a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1)
    return worst.item() if worst == worst else float("inf")


def _stacked(dicts):
    return {name: torch.stack([d[name] for d in dicts]) for name in dicts[0]}
