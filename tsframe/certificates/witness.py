"""Floor 6. The second route: every quantity once more, region by region and state by state.

Nothing here uses the recursion, the gathers or the means of the package: the network is written out and
differentiated by autograd, means are taken cell by cell, the equations are summed entry by entry.
Lists are indexed [level][region]; a value per row is (N, n), a table (m, n).
"""
from types import SimpleNamespace

import torch


def contents(ladder):
    """The content of every region, numbered: [level][region] (N,)."""
    h, inputs = ladder.hierarchy, ladder.inputs
    seen = [[[tuple(x) for x in inputs[:, r].tolist()] for r in range(h.leaves)]]
    for l in range(1, h.depth + 1):
        seen.append([list(zip(*(seen[-1][b] for b in row))) for row in h.children[l].tolist()])
    number = [[{x: i for i, x in enumerate(dict.fromkeys(rows))} for rows in level] for level in seen]
    return [[torch.tensor([index[x] for x in rows]) for rows, index in zip(level, numbers)]
            for level, numbers in zip(seen, number)]


@torch.enable_grad()
def run(student, ladder):
    """The real network on every row: f, h, gates d; u, g, dW, db by autograd of ½‖f_ω - e_y‖², with the book's
    signs (minus gradients); loss (N,)."""
    h, inputs, labels = student.hierarchy, ladder.inputs, ladder.labels
    W = [w if w is None else w.detach().clone().requires_grad_() for w in student.W]
    b = [x if x is None else x.detach().clone().requires_grad_() for x in student.b]
    f, pre = [[inputs[:, r].clone().requires_grad_() for r in range(h.leaves)]], [None]
    for l in range(1, h.depth + 1):
        pre.append([sum(f[-1][child] @ W[l][r, c] for c, child in enumerate(row))
                    + (0 if b[l] is None else b[l][r]) for r, row in enumerate(h.children[l].tolist())])
        linear = l == h.depth or student.activation == "linear"
        f.append([x * 1 if linear else torch.relu(x) for x in pre[-1]])
    e_y = torch.eye(student.widths[-1], dtype=inputs.dtype)[labels]
    loss = (f[-1][0] - e_y).square().sum(1) / 2

    weighed = W[1:] + [x for x in b[1:] if x is not None]
    slope = torch.autograd.grad(ladder.weights @ loss, weighed, retain_graph=True)
    inner = [x for l in range(1, h.depth + 1) for x in f[l] + pre[l]]
    signals = iter([-x for x in torch.autograd.grad(loss.sum(), inner)])
    levels, u, g = range(1, h.depth + 1), [None], [None]
    for l in levels:
        for values in (u, g):
            values.append([next(signals) for _ in f[l]])
    return SimpleNamespace(
        f=[[x.detach() for x in level] for level in f],
        h=[None] + [[x.detach() for x in pre[l]] for l in levels],
        d=[None] + [[(x > 0).to(x) if l < h.depth and student.activation == "relu" else torch.ones_like(x)
                     for x in pre[l]] for l in levels],
        u=u, g=g, loss=loss.detach(), dW=[None] + [-x for x in slope[:h.depth]],
        db=[None] + ([-x for x in slope[h.depth:]] or [None] * h.depth))


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
    """P(parent | child) from the parent's prior and its table, with the child's marginal that these two imply."""
    table = p[:, None] * P
    return ratio(table, table.sum(0)).T


def turned(p, P):
    """What Bayes gives if the prior is forgotten: the columns of P scaled to sum to 1."""
    return bayes(torch.ones_like(p), P)


def sums(h, W, b, prior, P, features, target, gates=None, linear=False, reverse=bayes, first_parent=False):
    """The equations (F), (G), (ΔW), summed edge by edge; differentiable in W and b.

    gates : tables [level][region], or None for 1[H > 0]; reverse : how the backward tables come from the forward
    ones; first_parent : leave the other parents out of (G)
    """
    L = h.depth
    F, H, D, U, G, below = [list(features)], [None], [None], [None] * (L + 1), [None] * (L + 1), [None]
    for l in range(1, L + 1):
        below.append([[P[l][r, c] @ F[-1][child] for c, child in enumerate(row)]
                      for r, row in enumerate(h.children[l].tolist())])
        H.append([sum(x @ W[l][r, c] for c, x in enumerate(row)) + (0 if b[l] is None else b[l][r])
                  for r, row in enumerate(below[l])])
        H[l] = [x * (prior[l][r] > 0)[:, None] for r, x in enumerate(H[l])]
        one = [torch.ones_like(x) for x in H[l]] if l == L or linear else [(x > 0).to(x) for x in H[l]]
        D.append([x * (prior[l][r] > 0)[:, None] for r, x in
                  enumerate(one if gates is None or l == L else gates[l])])
        F.append([d * x for d, x in zip(D[l], H[l])])
    U[L] = G[L] = [target - F[L][0]]
    for l in range(L, 1, -1):
        U[l - 1] = [torch.zeros_like(x) for x in H[l - 1]]
        met = set()
        for r, row in enumerate(h.children[l].tolist()):
            for c, child in enumerate(row):
                if not (first_parent and child in met):
                    back = reverse(prior[l][r], P[l][r, c])
                    U[l - 1][child] = U[l - 1][child] + back @ G[l][r] @ W[l][r, c].T
                met.add(child)
        G[l - 1] = [d * x for d, x in zip(D[l - 1], U[l - 1])]
    dW = [None] + [torch.stack([torch.stack([x.T @ (prior[l][r][:, None] * G[l][r]) for x in row])
                                for r, row in enumerate(below[l])]) for l in range(1, L + 1)]
    db = [None] + [torch.stack([prior[l][r] @ x for r, x in enumerate(G[l])]) for l in range(1, L + 1)]
    loss = (prior[L][0] @ (F[L][0] - target).square().sum(1)) / 2
    return SimpleNamespace(F=F, H=H, D=D, U=U, G=G, below=below, dW=dW, db=db, loss=loss)


def count(ladder):
    """Priors, tables, features and target of a ladder's rows, counted one by one: what `sums` needs."""
    h, w, z = ladder.hierarchy, ladder.weights, [list(c.T) for c in ladder.codes]
    m = [int(c.max()) + 1 for c in ladder.codes]
    prior = [[joint(x, x, w, k, k).diagonal() for x in level] for level, k in zip(z, m)]
    P = [None]
    for l in range(1, h.depth + 1):
        pairs = {(r, c): joint(z[l][r], z[l - 1][child], w, m[l], m[l - 1])
                 for r, row in enumerate(h.children[l].tolist()) for c, child in enumerate(row)}
        P.append({edge: ratio(p, p.sum(1, keepdim=True)) for edge, p in pairs.items()})
    e_y = torch.eye(ladder.classes, dtype=w.dtype)[ladder.labels]
    return SimpleNamespace(
        h=h, codes=z, states=m, prior=prior, P=P, target=mean(z[-1][0], e_y, w, m[-1]),
        features=[mean(z[0][r], ladder.inputs[:, r], w, m[0]) for r in range(h.leaves)])


def error_parts(student, ladder, gates=None):
    """The parts of truth minus recursion, from their definitions, and that difference itself.

    Two dicts keyed ("F" | "G" | "dW", level): of dicts of named parts, and of totals, stacked like the package's.
    """
    own, real, h, w = count(ladder), run(student, ladder), student.hierarchy, ladder.weights
    W, m, z, L = student.W, own.states, own.codes, student.hierarchy.depth
    r = sums(h, W, student.b, own.prior, own.P, own.features, own.target, gates, student.activation == "linear")

    def means(x):
        return [None] + [[mean(z[l][a], x[l][a], w, m[l]) for a in range(h.regions[l])] for l in range(1, L + 1)]
    F, D, G = [own.features] + means(real.f)[1:], means(real.d), means(real.g)

    def cov(l, a, x, y):
        """Cov(x_i, y_j | z_α) of two values per row, as (m, i, j)."""
        x, y = x - mean(z[l][a], x, w, m[l])[z[l][a]], y - mean(z[l][a], y, w, m[l])[z[l][a]]
        both = (x[:, :, None] * y[:, None, :]).flatten(1)
        return mean(z[l][a], both, w, m[l]).unflatten(1, (x.shape[1], y.shape[1]))

    def own_cov(l, a, x, y):
        return cov(l, a, x, y).diagonal(dim1=1, dim2=2)
    parts, total = {}, {}
    for l in range(1, L + 1):
        rows = {name: [] for name in ("gate", "focus", "inherited", "gate table")}
        edges = {name: [] for name in ("focus", "decorrelation", "inherited")}
        for a, row in enumerate(h.children[l].tolist()):
            P, p = [own.P[l][a, c] for c in range(len(row))], own.prior[l][a][:, None]
            seen = [mean(z[l][a], real.f[l - 1][b], w, m[l]) - x @ F[l - 1][b] for x, b in zip(P, row)]
            error = [x @ (F[l - 1][b] - r.F[l - 1][b]) for x, b in zip(P, row)]
            top = l == L or student.activation == "linear"
            rows["gate"].append(0 * F[l][a] if top else own_cov(l, a, real.d[l][a], real.h[l][a]))
            rows["focus"].append(D[l][a] * sum(x @ W[l][a, c] for c, x in enumerate(seen)))
            rows["inherited"].append(D[l][a] * sum(x @ W[l][a, c] for c, x in enumerate(error)))
            rows["gate table"].append((D[l][a] - r.D[l][a]) * r.H[l][a])
            edges["focus"].append(torch.stack([x.T @ (p * G[l][a]) for x in seen]))
            edges["decorrelation"].append(torch.stack([
                (p[..., None] * cov(l, a, real.f[l - 1][b], real.g[l][a])).sum(0) for b in row]))
            edges["inherited"].append(torch.stack([
                x.T @ (p * G[l][a]) + (y @ r.F[l - 1][b]).T @ (p * (G[l][a] - r.G[l][a]))
                for x, y, b in zip(error, P, row)]))
        parts["F", l] = {name: torch.stack(x) for name, x in rows.items()}
        parts["dW", l] = {name: torch.stack(x) for name, x in edges.items()}
        total["F", l] = torch.stack([x - y for x, y in zip(F[l], r.F[l])])
        total["dW", l] = real.dW[l] - r.dW[l]
        total["G", l] = torch.stack([x - y for x, y in zip(G[l], r.G[l])])
        parts["G", l] = dict(inherited=torch.stack([y - x for x, y in zip(F[l], r.F[l])]))
    for l in range(1, L):
        rows = {name: [] for name in ("gate", "broadness", "inherited", "gate table")}
        for b, pairs in enumerate(h.parents(l)):
            seen = error = 0
            for a, c in pairs:
                back = bayes(own.prior[l + 1][a], own.P[l + 1][a, c])
                given = mean(z[l][b], real.g[l + 1][a], w, m[l])
                seen = seen + (given - back @ G[l + 1][a]) @ W[l + 1][a, c].T
                error = error + back @ (G[l + 1][a] - r.G[l + 1][a]) @ W[l + 1][a, c].T
            rows["gate"].append(own_cov(l, b, real.d[l][b], real.u[l][b]))
            rows["broadness"].append(D[l][b] * seen)
            rows["inherited"].append(D[l][b] * error)
            rows["gate table"].append((D[l][b] - r.D[l][b]) * r.U[l][b])
        parts["G", l] = {name: torch.stack(x) for name, x in rows.items()}
    return parts, total
