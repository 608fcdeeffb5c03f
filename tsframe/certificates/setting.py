"""Floor 6. Part I: a certificate for each numbered statement, from `networks` to `dynamics`."""
from itertools import product

import torch

from ..expansion import (backward, bias_update, expand, measure, reduced_loss, residuals,
                         weight_update)
from ..hierarchy import Hierarchy
from ..ladder import Ladder
from ..teacher import Teacher
from . import witness as plain
from .examples import CONDITIONS, coarse_example, normal, random_ladder, random_student, simplex
from .registry import certificate
from .witness import gap

# seven leaves, three windows of which the middle one has two parents
OVERLAP = Hierarchy([None, [[0, 1, 2], [2, 3, 4], [4, 5, 6]], [[0, 1], [1, 2]], [[0, 1]]])


@certificate(
    "marginalized-gradient",
    claim="averaging a signal over all that its region does not see loses nothing: the recursion "
          "of the means E[g | x_α] gives the expected gradient",
    witness="autograd of the real loss on every input, averaged by enumeration",
    dropped="the mean is taken through a region that does not contain the child")
@torch.no_grad()
def marginalized_gradient(rng):
    gaps, wrong = [], []
    pixels = torch.tensor(list(product((0.0, 1.0), repeat=7)), dtype=torch.float64)
    inputs, labels = pixels.repeat_interleave(3, 0)[..., None], torch.arange(3).repeat(128)
    for bias in (False, True):
        ladder = Ladder.finest(OVERLAP, inputs, labels, simplex(384, rng))
        student = random_student(OVERLAP, [1, 3, 3, 3], rng, bias)
        real, package = plain.run(student, ladder), measure(student, ladder)
        x = plain.contents(ladder)

        def given(l, r, values):
            return plain.mean(x[l][r], values, ladder.weights)[x[l][r]]

        e_y = torch.eye(3, dtype=torch.float64)[labels]
        signal = {(3, 0): given(3, 0, e_y) - real.f[3][0]}          # ḡ by the theorem, downwards
        for l in (2, 1):
            for r in range(OVERLAP.regions[l]):
                signal[l, r] = real.d[l][r] * sum(
                    given(l, r, signal[l + 1, a]) @ student.W[l + 1][a, c].T
                    for a, c in OVERLAP.parents(l)[r])
        for (l, r), s in signal.items():
            gaps += [gap(s, given(l, r, real.g[l][r])),
                     gap(package.G[l][r, ladder.codes[l][:, r]], s)]
            for c, b in enumerate(OVERLAP.children[l][r].tolist()):
                update = real.f[l - 1][b].T @ (ladder.weights[:, None] * s)
                gaps += [gap(update, real.dW[l][r, c]), gap(package.dW[l][r, c], update)]
        right = given(2, 1, real.g[3][0])                           # as the right half knows it
        wrong.append(gap(given(2, 0, right), given(2, 0, real.g[3][0])))
    return max(gaps), min(wrong)


@certificate(
    "bayes-reversal",
    claim="the reverse tables by Bayes, Λ_β P^b = P^T Λ_α, are the adjoint of the forward ones, "
          "with one prior for all parents of a region",
    witness="joint frequencies of the summaries counted row by row",
    dropped="the prior: columns of P scaled to 1 as if all states were equally likely")
def bayes_reversal(rng):
    gaps, wrong = [], []
    for ladder in (random_ladder(OVERLAP, rng), random_ladder(Hierarchy.pyramid(5, 3, 2), rng)):
        h, w, t, own = ladder.hierarchy, ladder.weights, ladder.teacher(), plain.count(ladder)
        for l in range(1, h.depth + 1):
            x = normal((h.regions[l - 1], own.states[l - 1], 1), rng)
            y = normal((*h.children[l].shape, own.states[l], 1), rng)
            up, down, pairing = t.up(l, x), t.down(l, y), 0
            for r, row in enumerate(h.children[l].tolist()):
                for c, b in enumerate(row):
                    z_a, z_b = own.codes[l][r], own.codes[l - 1][b]
                    p = plain.joint(z_b, z_a, w, own.states[l - 1], own.states[l])
                    true = plain.ratio(p, p.sum(1, keepdim=True))
                    gaps += [gap(t.reverse[l][r, c], true), gap(t.prior[l - 1][b], p.sum(1)),
                             gap(up[r, c], plain.mean(z_a, x[b][z_b], w, own.states[l]))]
                    wrong.append(gap(plain.turned(own.prior[l][r], own.P[l][r, c]), true))
                    pairing += w @ (x[b][z_b] * y[r, c][z_a])
            gaps.append(gap((t.prior[l - 1][..., None] * x * down).sum(), pairing.sum()))
    return max(gaps), max(wrong)


@certificate(
    "tree-composition",
    claim="on a latent tree the table of a region and any descendant is the product of the tables "
          "along the edges; symmetric tables multiply their polarities",
    witness="every joint state of the tree enumerated, and the closed form of the polarity's power",
    dropped="the chain of summaries is not Markov: the middle one forgets what the ends share")
def tree_composition(rng):
    gaps, h, eye = [], Hierarchy.tree(2, 2), torch.eye(3, dtype=torch.float64)
    rho = [None] + [1.4 * torch.rand(h.children[l].shape, generator=rng, dtype=torch.float64) - 0.4
                    for l in (1, 2)]
    equal = [None] + [x * eye + (1 - x) / 3 for x in (r[..., None, None] for r in rho[1:])]
    drawn = Teacher.latent_tree(h, [2, 3, 3], None, seed=rng)
    for t, P in ((Teacher.latent_tree(h, 3, rho, seed=rng), equal), (drawn, drawn.P)):
        m, law = t.states, Ladder.enumerate(t)
        leaves = torch.eye(m[0], dtype=torch.float64).expand(4, -1, -1)
        path = t.up(2, t.up(1, leaves).transpose(1, 2).flatten(2)).unflatten(-1, (2, m[0]))[0]
        edge, top = [x if x is None else x.tolist() for x in P], t.prior[2][0].tolist()
        p = torch.zeros(2, 2, m[2], m[0]).tolist()
        for i, *z in product(range(m[2]), range(m[1]), range(m[1]), *[range(m[0])] * 4):
            q = top[i] * edge[2][0][0][i][z[0]] * edge[2][0][1][i][z[1]]
            for b, c in product((0, 1), (0, 1)):                    # two children, four leaves
                q *= edge[1][b][c][z[b]][z[2 + 2 * b + c]]
            for b, c in product((0, 1), (0, 1)):
                p[b][c][i][z[2 + 2 * b + c]] += q
        for b, c in product((0, 1), (0, 1)):
            both = torch.tensor(p[b][c], dtype=torch.float64)
            counted = plain.joint(law.codes[2][:, 0], law.codes[0][:, 2 * b + c], law.weights,
                                  m[2], m[0])
            gaps += [gap(path[b, :, c], both / both.sum(1, keepdim=True)), gap(counted, both),
                     gap(t.reverse[1][b, c] @ t.reverse[2][0, b], (both / both.sum(0)).T)]
            if t is not drawn:
                r = rho[2][0, b] * rho[1][b, c]
                gaps.append(gap(path[b, :, c].diagonal(), (r + (1 - r) / 3).expand(3)))
    bits = torch.tensor(list(product((0, 1), repeat=2)))            # the ends, and the middle
    chain = Ladder.coarse(Hierarchy.tree(2, 1), bits[:, :1, None].double(), bits[:, 0],
                          [bits[:, :1], bits[:, 1:], bits[:, :1]]).teacher()
    return max(gaps), gap((chain.P[2] @ chain.P[1])[0, 0], torch.eye(2))


@certificate(
    "gate-lemma",
    claim="Cov(1[h>0], h | z) = p(1−p)(E[h|h>0,z] − E[h|h≤0,z]) ≥ 0, so the gate condition says "
          "that no gate changes within a cell; the gate of the mean misses E[f|z] by "
          "min(E[h⁺|z], E[h⁻|z])",
    witness="the formulas cell by cell, on the rows of the network written out",
    dropped="gates may change within a cell: E[f|z] against E[f'|z] E[h|z]")
@torch.no_grad()
def gate_lemma(rng):
    gaps, wrong = [], []
    for bias in (False, True):
        ladder, student = random_ladder(OVERLAP, rng), random_student(OVERLAP, [2, 3, 3, 3], rng, bias)
        real, package = plain.run(student, ladder), measure(student, ladder)
        part = residuals(student, ladder).F
        for l, r in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1)):
            z = ladder.codes[l][:, r]
            for i in z[ladder.weights > 0].unique().tolist():
                p = ladder.weights[z == i] / ladder.weights[z == i].sum()
                h = real.h[l][r][z == i]
                on, plus, minus = p @ (h > 0).double(), p @ h.relu(), p @ (-h).relu()
                cov = torch.where((on > 0) & (on < 1), on * (1 - on) * (
                    plain.ratio(plus, on) + plain.ratio(minus, 1 - on)), 0)
                gaps += [gap(part[l]["gate"][r, i], cov), gap(package.D[l][r, i], on),
                         gap(package.F[l][r, i] - package.H[l][r, i].relu(),
                              torch.minimum(plus, minus))]
                wrong.append(gap(plus, on * (p @ h)))
    return max(gaps), max(wrong)


@certificate(
    "broadness-lemma",
    claim="on a latent tree with z_ω = y broadness at the top holds if and only if F_α W_αω has "
          "equal rows on every connected part of the graph of z_α and y: the gap is −(I − P^b P) F_α W_αω",
    witness="signals of the real network on the enumerated tree by autograd, averaged by cell",
    dropped="unequal rows: a student whose output tells the labels apart")
@torch.no_grad()
def broadness_lemma(rng):
    gaps, wrong, h = [], [], Hierarchy.tree(2, 2)
    soft = Teacher.latent_tree(h, [3, 3, 3], None, seed=rng)
    two = torch.tensor([[0.7, 0.3, 0], [0.2, 0.8, 0], [0, 0, 1]], dtype=torch.float64)
    split = Teacher(h, [None, None, soft.prior[2]], [None, soft.P[1], two.expand(1, 2, 3, 3)])
    for t, like in ((soft, None), (soft, [0, 0, 0]), (split, [0, 0, 2]), (split, None)):
        ladder, student = Ladder.enumerate(t), random_student(h, [3, 5, 3], rng, True)
        w, z = ladder.weights, ladder.codes
        f = plain.run(student, ladder).f[1]
        F = [plain.mean(z[1][:, r], f[r], w, 3) for r in (0, 1)]
        if like is not None:                                        # rows i, like[i] of F W agree
            for r in (0, 1):
                free = torch.linalg.svd(F[r] - F[r][like]).Vh[3 - len(set(like)):]
                student.W[2][0, r] = free.T @ normal((len(free), 3), rng)
        real, part = plain.run(student, ladder), residuals(student, ladder).G[1]["broadness"]
        G = plain.mean(z[2][:, 0], real.g[2][0], w, 3)
        for r in (0, 1):
            p = plain.joint(z[2][:, 0], z[1][:, r], w, 3, 3)
            P, back, W = p / p.sum(1, keepdim=True), (p / p.sum(0)).T, student.W[2][0, r]
            off = plain.mean(z[1][:, r], real.g[2][0], w, 3) - back @ G
            D = plain.mean(z[1][:, r], real.d[1][r], w, 3)
            gaps += [gap(off, (back @ P @ F[r] - F[r]) @ W), gap(part[r], D * (off @ W.T))]
            (wrong if like is None else gaps).append(gap(off, 0 * off))
    return max(gaps), max(wrong)


@certificate(
    "expansion",
    claim="where focus, gate, broadness and decorrelation hold, F, G and ΔW of the expansion are "
          "the true conditional means and the true gradient",
    witness="the network on every row, differentiated by autograd and averaged cell by cell",
    dropped="each of the four conditions by itself (the smallest of the four errors)")
@torch.no_grad()
def expansion(rng):
    gaps, wrong = [], []
    for eps in (0.02, 0.25):
        e = coarse_example(eps, seed=rng)
        gaps += _truth_gaps(e.student, e.ladder).values()
    hurt = dict(focus="FW", gate="F", broadness="G", decorrelation="W")     # what needs it
    kept = dict(broadness="FW", decorrelation="FG")                         # and what does not
    for condition in CONDITIONS:
        e = coarse_example(fails=condition, seed=rng)
        found = _truth_gaps(e.student, e.ladder)
        wrong += [found[which] for which in hurt[condition]]
        gaps += [found[which] for which in kept.get(condition, "")]
    return max(gaps), min(wrong)


@certificate(
    "matrix-form",
    claim="F = D∘(ΣPFW + b), G = D∘ΣP^bGW^T and ΔW = (PF)^TΛG are the sums of the expansion over "
          "states, nodes, children and parents",
    witness="the sums written out edge by edge on random overlapping teachers",
    dropped="Bayes: the forward tables turned round without their prior")
@torch.no_grad()
def matrix_form(rng):
    gaps, wrong = [], []
    for h, bias in ((OVERLAP, True), (Hierarchy.pyramid(5, 2, 1), False),
                    (Hierarchy.tree(2, 3), True)):
        ladder = random_ladder(h, rng)
        t, own, levels = ladder.teacher(), plain.count(ladder), range(1, h.depth + 1)
        many = random_student(h, [2] + [3] * h.depth, rng, bias, ensemble=(2,))
        D = [None] + [torch.rand((2, *p.shape, 3), generator=rng, dtype=p.dtype)
                      for p in t.prior[1:]]
        for gates in ("mean", D):
            e = backward(expand(many, t, gates), many, t)
            dW, db = weight_update(e, t), bias_update(e, t)
            for i, s in enumerate((many.member(0), many.member(1))):
                own_gates = None if gates == "mean" else [None] + [x[i] for x in D[1:]]
                true, off = (plain.sums(own, s.W, s.b, own_gates, reverse=reverse)
                             for reverse in (plain.bayes, plain.turned))
                for l in levels:
                    F, G = torch.stack(true.F[l]), torch.stack(true.G[l])
                    gaps += [gap(e.F[l][i], F), gap(e.G[l][i], G), gap(dW[l][i], true.dW[l]),
                             gap(db[l][i], true.db[l])]
                    wrong.append(gap(torch.stack(off.G[l]), G))
    return max(gaps), max(wrong)


@certificate(
    "finest-ladder",
    claim="with the contents themselves as summaries the expansion is exact, and on a batch it is "
          "back-propagation",
    witness="autograd on the whole batch; means content by content",
    dropped="the contents: every summary cut to its parity")
@torch.no_grad()
def finest_ladder(rng):
    gaps, wrong = [], []
    for h, bias in ((OVERLAP, False), (Hierarchy.pyramid(6, 3, 2), True),
                    (Hierarchy.pyramid2d(3, 2, 1), True)):
        inputs = torch.randint(2, (50, h.leaves, 1), generator=rng).double()
        inputs[1::5] = inputs[::5]                                  # repeats, with other labels
        labels = torch.randint(3, (50,), generator=rng)
        weights = None if bias else simplex(50, rng)
        student = random_student(h, [1] + [4] * (h.depth - 1) + [3], rng, bias)
        ladder = Ladder.finest(h, inputs, labels, weights, classes=3)
        parity = Ladder.coarse(h, inputs, labels, [z % 2 for z in ladder.codes], weights, classes=3)
        gaps += _truth_gaps(student, ladder, plain.contents(ladder)).values()
        wrong.append(_truth_gaps(student, parity)["W"])
    return max(gaps), min(wrong)


@certificate(
    "coarse-ladder",
    claim="on the mirrored coarse ladder the recursion is exact with gates that open and close, "
          "and gradient descent keeps it so as long as no gate moves within a cell",
    witness="ten steps of gradient descent by autograd on all rows, then means cell by cell",
    dropped="parents weigh the two nodes of a mirror pair unequally")
@torch.no_grad()
def coarse_ladder(rng):
    e, broken = coarse_example(seed=rng), coarse_example(0.25, seed=rng)
    s, by_hand, levels = e.student, e.student.member(), (1, 2, 3)
    t, c, gaps = e.ladder.teacher(), _noise_weights(s), [*_truth_gaps(s, e.ladder).values()]
    for _ in range(10):
        table, real = backward(expand(s, t), s, t), plain.run(by_hand, e.ladder)
        for student, dW, db in ((s, weight_update(table, t), bias_update(table, t)),
                                (by_hand, real.dW, real.db)):
            for l in levels:
                student.W[l].add_(0.02 * dW[l])
                student.b[l].add_(0.02 * db[l])
    for l in levels:
        gaps += [gap(s.W[l], by_hand.W[l]), gap(s.b[l], by_hand.b[l])]
    mirror = s.W[1][..., [1, 0, 3, 2], :].roll(4, -1)               # features and nodes exchanged
    gaps += [gap(s.W[1], mirror), gap(s.W[2], s.W[2].roll(4, -2)), gap(_noise_weights(s), c),
             *_truth_gaps(s, e.ladder).values()]
    broken.student.W[2][..., :4, :] *= 1.5
    return max(gaps), _truth_gaps(broken.student, broken.ladder)["W"]


@certificate(
    "error-decomposition",
    claim="truth minus recursion is the sum of its named parts (gate, focus, broadness, "
          "decorrelation, gate table, inherited) on any ladder, hard or soft",
    witness="every part from covariances within each cell, row by row",
    dropped="one part left out of the sum (the smallest one)")
@torch.no_grad()
def error_decomposition(rng):
    gaps, largest = [], {}
    for h, bias in ((OVERLAP, True), (Hierarchy.pyramid(5, 2, 1), False)):
        student, soft = random_student(h, [2] + [3] * h.depth, rng, bias), random_ladder(h, rng)
        finest = Ladder.finest(h, soft.inputs, soft.labels, soft.weights)
        hard = Ladder.coarse(h, soft.inputs, soft.labels, [z % 3 for z in finest.codes],
                             soft.weights)
        for ladder, gates in ((soft, None), (hard, None), (hard, measure(student, hard).D)):
            package = residuals(student, ladder, "mean" if gates is None else gates)
            parts, total = plain.error_parts(student, ladder, gates)
            for which, l in total:
                table, true = getattr(package, which)[l], total[which, l]
                gaps += [gap(sum(parts[which, l].values()), true), gap(table["total"], true)]
                for name, value in parts[which, l].items():
                    gaps.append(gap(table[name], value))
                    size = largest.get((which, name), 0)
                    largest[which, name] = max(size, gap(value, 0 * value))
    return max(gaps), min(largest.values())


@certificate(
    "reduced-gradient",
    claim="with gates from the means the backward recursion and ΔW are minus the gradient of "
          "½ Σ P(z_ω)‖F_ω − Y_ω‖²: the reduced model is a network of its own",
    tolerance=1e-11,                                                # finite differences lose digits
    witness="autograd of that loss summed edge by edge, and its finite differences",
    dropped="parents that disagree on the prior of a shared region, each reversed by Bayes with "
            "its own")
def reduced_gradient(rng):
    gaps, wrong = [], []
    for h in (OVERLAP, Hierarchy.pyramid(5, 2, 1)):
        ladder = random_ladder(h, rng)
        t, own, L = ladder.teacher(), plain.count(ladder), h.depth
        s = random_student(h, [2] + [3] * L, rng, True)
        e = backward(expand(s, t), s, t)
        update, weights = weight_update(e, t)[1:] + bias_update(e, t)[1:], [*s.W[1:], *s.b[1:]]

        def model(values):
            return plain.sums(own, [None, *values[:L]], [None, *values[L:]])

        loss = model(weights).loss
        gaps.append(gap(reduced_loss(e, t), loss))
        gaps += [gap(u, -x) for u, x in zip(update, torch.autograd.grad(loss, weights))]
        way = [normal(x.shape, rng) / 10 for x in weights]
        with torch.no_grad():
            slope = _slope(lambda x: model([a + x * b for a, b in zip(weights, way)]))
        gaps.append(gap(sum((u * b).sum() for u, b in zip(update, way)), -slope))

        for l in range(L, 0, -1):                                   # tables that do not fit
            own.P[l] = {edge: simplex(P.shape, rng) for edge, P in own.P[l].items()}
            first = [pairs[0] for pairs in h.parents(l - 1)]        # parent and slot
            own.prior[l - 1] = [own.prior[l][a] @ own.P[l][a, c] for a, c in first]
        off = model(weights)
        slopes = torch.autograd.grad(off.loss, weights[:L])
        wrong += [gap(u, -x) for u, x in zip(off.dW[1:], slopes)]
    return max(gaps), max(wrong)


@certificate(
    "bias-variance",
    claim="for z_ω = y the sample loss is that of the true means F plus the spread of the output "
          "within each label; the reduced loss sees the first only, exactly where F is exact",
    witness="the loss and the spread summed over every joint state of the tree",
    dropped="z_ω no longer tells the label: two labels share a state")
@torch.no_grad()
def bias_variance(rng):
    gaps, wrong, h = [], [], Hierarchy.tree(2, 2)
    e = torch.eye(3, dtype=torch.float64)
    for activation in ("relu", "linear"):
        t = Teacher.latent_tree(h, [2, 3, 3], None, seed=rng)
        ladder = Ladder.enumerate(t)
        student = random_student(h, [2, 4, 3], rng, True, activation=activation)
        real, w, y = plain.run(student, ladder), ladder.weights, ladder.labels
        sample, f = 2 * w @ real.loss, real.f[2][0]
        for z, store in ((y, gaps), (y // 2, wrong)):
            F, Y = plain.mean(z, f, w)[z], plain.mean(z, e[y], w)[z]
            store.append(gap(w @ ((F - Y).square() + (f - F).square()).sum(1), sample))
        F = measure(student, ladder).F[2][0]
        of_means = t.prior[2][0] @ (F - e).square().sum(1)
        gaps.append(gap(of_means + w @ (f - F[y]).square().sum(1), sample))
        if activation == "linear":                                  # F is exact: focus by Markov
            gaps.append(gap(2 * reduced_loss(expand(student, t), t), of_means))
    return max(gaps), min(wrong)







def _truth_gaps(student, ladder, codes=None):
    """How far the recursion on a ladder is from the real network: F, D, G, and W (all updates).

    codes : the cells over which the truth is averaged, [level][region]; by default the ladder's
    """
    t, h = ladder.teacher(), student.hierarchy
    e, real = backward(expand(student, t), student, t), plain.run(student, ladder)
    dW, db = weight_update(e, t), bias_update(e, t)
    gaps = dict(F=[], D=[], G=[], W=[])
    for l in range(1, h.depth + 1):
        gaps["W"] += [gap(dW[l], real.dW[l])] + [gap(db[l], x) for x in real.db[l:l + 1]]
        for r in range(h.regions[l]):
            row = ladder.codes[l][:, r]
            z = row if codes is None else codes[l][r]
            for name, table, values in (("F", e.F, real.f), ("D", e.D, real.d), ("G", e.G, real.g)):
                true = plain.mean(z, values[l][r], ladder.weights)[z]
                gaps[name].append(gap(table[l][r, row], true))
    return {name: max(values) for name, values in gaps.items()}


def _noise_weights(student):
    """c of every node of the coarse example: what multiplies ε."""
    return (student.W[1] * torch.tensor([1.0, -1, 1, -1])[:, None]).sum(-2).detach()


def _slope(model, step=0.1):
    """Slope of model(x).loss at 0 from eight points: exact for a polynomial of degree 8, so the
    step need not be small; it is halved until all points have the gates of 0."""
    def gates(x):
        return torch.cat([d.flatten() for level in model(x).D[1:] for d in level])

    while not all(torch.equal(gates(k * step), gates(0)) for k in (-4, -3, -2, -1, 1, 2, 3, 4)):
        step /= 2
    weights = zip((1, 2, 3, 4), (4 / 5, -1 / 5, 4 / 105, -1 / 280))
    return sum(w * (model(k * step).loss - model(-k * step).loss) for k, w in weights) / step
