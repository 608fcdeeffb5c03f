"""Floor 6. Chapter `disentanglement`: factors that stay apart through passes and training."""
from dataclasses import replace
from itertools import product

import torch

from ..batchnorm import BatchNorm
from ..expansion import Expansion, backward, expand, weight_update
from ..factors import leak, product_teacher, random_teacher, separate, spread
from ..hierarchy import Hierarchy
from ..student import Student
from ..teacher import Teacher
from ..training import train
from .examples import normal, random_student, simplex
from .registry import certificate
from .witness import gap

FACTORS = [(2, 3, 2), (3, 2), (2, 3)]       # states of the factors, from the leaves up
HEARS = [None, (0, 0, 1), (0, 1)]           # which factor above each factor below belongs to


@certificate(
    "disentangled-forward",
    claim="if each factor of a child depends on one factor of its parent, separable weights hand "
          "on disentangled tables, with or without ReLU and normalisation",
    witness="each factor alone, from its own small tables; factors of a region are dependent, and "
            "dependent given the parent's state",
    dropped="the weights are not separable")
@torch.no_grad()
def disentangled_forward(rng):
    gaps, wrong, h = [], [], Hierarchy.tree(2, 2)
    labels = [torch.arange(len(s)).repeat_interleave(2) for s in FACTORS]       # two nodes each
    joint, alone = _dependent_factors(h, rng)
    for norm, kind in ((None, "relu"), (None, "linear"), (BatchNorm(), "relu"),
                       (BatchNorm("after", eps=0.1), "relu"), (BatchNorm(scale=False, top=True), "relu")):
        student = random_student(h, [len(x) for x in labels], rng, True, norm=norm, activation=kind)
        crossed = expand(student, joint).F
        for l in (1, 2):
            student.W[l].mul_(torch.tensor(HEARS[l])[labels[l - 1]][:, None] == labels[l])
        F = expand(student, joint).F
        own, far = _factors_alone(student, alone, labels, joint.features), []
        for l, r in ((1, 0), (1, 1), (2, 0)):
            z = torch.tensor(list(product(*map(range, FACTORS[l]))))
            for j, table in enumerate(own[l][r]):
                mine = labels[l] == j
                gaps.append(gap(F[l][r][:, mine], table[z[:, j]]))
                far.append(spread(crossed[l][r], FACTORS[l], joint.prior[l][r])[j, mine].max().item())
        wrong.append(max(far))
    return max(gaps), min(wrong)


def _dependent_factors(h, rng):
    """A teacher on a tree whose factors depend on one another, and the tables of single factors.

        P(z_β | z_α) = Π_c P_c[z_α[a(c)], z_β[c]] · (1 + κ(z_α) Σ_{c<d} v_c v_d),  E[v_c | z_α] = 0
    """
    top = simplex((2 * 3,), rng)
    P, alone = [None], [None]
    for l in (1, 2):
        above, below = (torch.tensor(list(product(*map(range, FACTORS[i])))) for i in (l, l - 1))
        shape = h.children[l].shape
        tables = [simplex((*shape, FACTORS[l][HEARS[l][c]], m), rng) for c, m in enumerate(FACTORS[l - 1])]
        wide, v = [], []
        for c, t in enumerate(tables):
            wide.append(t[..., above[:, HEARS[l][c]], :])                       # (R, C, m_α, m_c)
            x = 2 * torch.rand(wide[-1].shape, generator=rng, dtype=torch.float64) - 1
            x = (x - (wide[-1] * x).sum(-1, keepdim=True)) / 2
            wide[-1], x = wide[-1][..., below[:, c]], x[..., below[:, c]]
            v.append(x)
        pairs = sum(v[c] * v[d] for c in range(len(v)) for d in range(c))
        κ = torch.rand((*shape, len(above), 1), generator=rng, dtype=torch.float64) / 3
        P.append(torch.stack(wide).prod(0) * (1 + κ * pairs))
        alone.append(tables)
    features = torch.zeros(h.leaves, 2 * 3 * 2, 6, dtype=torch.float64)
    z = torch.tensor(list(product(*map(range, FACTORS[0]))))
    for c, m in enumerate(FACTORS[0]):
        features[..., 2 * c:2 * c + 2] = normal((h.leaves, m, 2), rng)[:, z[:, c]]
    teacher = Teacher(h, [None, None, top[None]], P, features, normal((6, 4), rng))
    prior = [None, None, [[top.view(2, 3).sum(1), top.view(2, 3).sum(0)]]]
    for l in (2, 1):
        prior[l - 1] = [[prior[l][r][HEARS[l][c]] @ alone[l][c][r, i] for c in range(len(FACTORS[l - 1]))]
                        for r in range(h.regions[l]) for i in range(2)]
    return teacher, (alone, prior)


def _factors_alone(student, alone, labels, features):
    """F of every factor, [level][region][factor], from the tables and priors of single factors."""
    (tables, prior), h = alone, student.hierarchy
    first = [(torch.tensor(list(product(*map(range, FACTORS[0]))))[:, c] == i).nonzero()[:, 0][0].item()
             for c in range(3) for i in range(FACTORS[0][c])]                   # a state that shows each value
    F, at = [[]], [0, 2, 5, 7]
    for r in range(h.leaves):
        F[0].append([features[r][first[at[c]:at[c + 1]]][:, labels[0] == c] for c in range(3)])
    for l in (1, 2):
        F.append([])
        for r, row in enumerate(h.children[l].tolist()):
            H = [0] * len(FACTORS[l])
            for i, child in enumerate(row):
                for c, j in enumerate(HEARS[l]):
                    w = student.W[l][r, i][labels[l - 1] == c][:, labels[l] == j]
                    H[j] = H[j] + tables[l][c][r, i] @ F[l - 1][child][c] @ w
            F[l].append([_activate(x + student.b[l][r][labels[l] == j], prior[l][r][j], student, l)
                         for j, x in enumerate(H)])
    return F


def _activate(H, p, student, l):
    """The layer's ReLU and normalisation of a table's columns under p, written out; autograd sees all of it."""
    norm, top = student.norm, l == student.hierarchy.depth

    def normal(x):
        x = x - p @ x
        return x / ((p @ x**2) + norm.eps).sqrt() if norm.scale and not top else x
    bend = torch.relu if student.activation == "relu" else torch.clone
    if top:
        return normal(H) if norm and norm.top else H
    if norm is None:
        return bend(H)
    return bend(normal(H)) if norm.place == "before" else normal(bend(H))


@certificate(
    "separable-update",
    claim="with disentangled F and G and independent factors the update of a weight between "
          "factors is the product of two means, of F and of G, so it vanishes if one is centred; "
          "within a factor it is that of the factor alone",
    witness="sums over the states of single factors",
    dropped="the factors are dependent, with the same margins")
@torch.no_grad()
def separable_update(rng):
    gaps, wrong, h = [], [], Hierarchy.tree(1, 2)
    for sizes, above in (((2, 2), (2, 2)), ((3, 2), (2, 4)), ((4, 3), (3, 3))):
        blocks = [random_teacher(h, [sizes[i], above[i]], 0.7, seed=rng) for i in (0, 1)]
        labels = [torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])]
        F, G = ([normal((2, sizes[i], 2 - i), rng) for i in (0, 1)], [normal((above[i], 1 + i), rng) for i in (0, 1)])
        p = [t.prior[1][0] for t in blocks]
        for shift in ("none", "F", "G"):
            if shift == "F":
                F = [f - (t.prior[0][..., None] * f).sum(1, keepdim=True) for f, t in zip(F, blocks)]
            if shift == "G":
                F, G = [f + 1 for f in F], [g - q @ g for g, q in zip(G, p)]
            shown = [replace(t, features=f, target=g) for t, f, g in zip(blocks, F, G)]
            dependent = (p[0][:, None] * p[1]).clone()
            step = 0.9 * dependent[:2, :2].min()
            dependent[:2, :2] += step * torch.tensor([[1, -1], [-1, 1]])
            found, other = (weight_update(_tables(t), t)[1][0]
                            for t in (product_teacher(shown), product_teacher(shown, dependent)))
            missed = []
            for c, k, j in product((0, 1), range(3), range(3)):
                a, b = labels[0][k].item(), labels[1][j].item()
                f, g = F[a][c][:, k - 2 * a], G[b][:, j - b]
                said = (p[a] * (blocks[a].P[1][0, c] @ f) @ g if a == b
                        else (blocks[a].prior[0][c] @ f) * (p[b] @ g))
                gaps.append(gap(found[c, k, j], said))
                if a != b:
                    if shift != "none":
                        gaps.append(abs(found[c, k, j].item()))
                    missed.append(gap(other[c, k, j], said))
            wrong.append(max(missed))
    return max(gaps), min(wrong)


def _tables(teacher):
    """An Expansion of one layer whose F and G are the teacher's features and target."""
    G = teacher.target[None]
    return Expansion([teacher.features, G], [None, G], [None, G], [None, G])


@certificate(
    "factor-blocks",
    claim="independent blocks, tables that are products, weights within blocks and an end of each edge "
          "centred: F and G keep to their blocks, and gradient descent trains every block as if it "
          "were alone",
    witness="each block's own student on its own tables, written out region by region and trained "
            "by autograd",
    dropped="the linear top is not centred")
def factor_blocks(rng):
    gaps, wrong, h = [], [], Hierarchy.pyramid(5, 2, 1)
    states, nodes = [(3, 2), (2, 3), (3, 3), (2, 3), (2, 2)], [(3, 2), (2, 3), (3, 2), (2, 3), (1, 1)]
    labels = [torch.arange(2).repeat_interleave(torch.tensor(n)) for n in nodes]
    for norm in (BatchNorm(eps=0.1, top=True), BatchNorm("after", eps=0.1), BatchNorm(scale=False, top=True)):
        alone = []
        for i in (0, 1):
            t = random_teacher(h, [s[i] for s in states], 0.9, seed=rng)
            t = replace(t, target=normal((states[-1][i], 1), rng))
            if norm.place == "after":                                           # centred inputs
                t = replace(t, features=t.features - (t.prior[0][..., None] * t.features).sum(1, keepdim=True))
            alone.append(t)
        teacher = product_teacher(alone)
        student = separate(random_student(h, [len(x) for x in labels], rng, True, norm=norm), labels)
        plain = separate(random_student(h, [len(x) for x in labels], rng, True, norm=BatchNorm(eps=0.1)), labels)
        own = [_trained_alone(student, t, [x == i for x in labels], steps=4, lr=0.1)
               for i, t in enumerate(alone)]
        train(student, teacher, steps=4, lr=0.1)
        train(plain, teacher, steps=4, lr=0.1)
        gaps.append(leak(student.W, labels).item())
        wrong.append(leak(plain.W, labels).item())
        for i, parameters in enumerate(own):
            mine = [x == i for x in labels]
            for l in range(1, 5):
                W, b = parameters[l]
                gaps += [gap(student.W[l].detach()[..., mine[l - 1], :][..., mine[l]], W),
                         gap(student.b[l].detach()[..., mine[l]], b)]
        with torch.no_grad():
            e = backward(expand(student, teacher), student, teacher)
        for l in range(1, 5):
            for x in (e.F[l], e.G[l]):
                far = spread(x, states[l], teacher.prior[l])                    # (R, 2, n)
                gaps.append(max(far[:, i, labels[l] == i].max().item() for i in (0, 1)))
    return max(gaps), min(wrong)


@torch.enable_grad()
def _trained_alone(student, teacher, mine, steps, lr):
    """The weights and biases of one block after descent on its own teacher: [level] of (W, b)."""
    h = student.hierarchy
    own = [None] + [(w.detach()[..., mine[l], :][..., mine[l + 1]].clone().requires_grad_(),
                     b.detach()[..., mine[l + 1]].clone().requires_grad_())
                    for l, (w, b) in enumerate(zip(student.W[1:], student.b[1:]))]
    for _ in range(steps):
        F = list(teacher.features)
        for l in range(1, h.depth + 1):
            W, b = own[l]
            F = [_activate(sum(teacher.P[l][r, c] @ F[child] @ W[r, c] for c, child in enumerate(row)) + b[r],
                           teacher.prior[l][r], student, l) for r, row in enumerate(h.children[l].tolist())]
        loss = teacher.prior[-1][0] @ (F[0] - teacher.target).square().sum(1) / 2
        parameters = [x for pair in own[1:] for x in pair]
        with torch.no_grad():
            for x, slope in zip(parameters, torch.autograd.grad(loss, parameters)):
                x -= lr * slope
    return own
