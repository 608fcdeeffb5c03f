"""Floor 6. Part I: one certificate for each numbered statement of the chapters networks, teachers, expansion, dynamics."""
from itertools import product

import torch

from ..expansion import backward, bias_update, expand, measure, reduced_loss, residuals, weight_update
from ..hierarchy import Hierarchy
from ..ladder import Ladder
from ..student import Student
from ..teacher import Teacher
from . import witness as plain
from .examples import CONDITIONS, coarse_example
from .registry import certificate

# seven leaves, three windows of which the middle one has two parents
OVERLAP = Hierarchy([None, [[0, 1, 2], [2, 3, 4], [4, 5, 6]], [[0, 1], [1, 2]], [[0, 1]]])


@certificate(
    "marginalized-gradient",
    claim="averaging a signal over all that its region does not see loses nothing: the recursion of the means "
          "E[g | x_α] gives the expected gradient",
    witness="autograd of the real loss on every input, averaged by enumeration",
    dropped="the mean is taken through a region that does not contain the child")
@torch.no_grad()
def marginalized_gradient(rng):
    gaps, wrong = [], []
    for bias in (False, True):
        pixels = torch.tensor(list(product((0.0, 1.0), repeat=7)), dtype=torch.float64)
        inputs, labels = pixels.repeat_interleave(3, 0)[..., None], torch.arange(3).repeat(128)
        weights = _simplex(384, rng)
        student = _student(OVERLAP, [1, 3, 3, 3], rng, bias)
        finest = Ladder.finest(OVERLAP, inputs, labels, weights, classes=3)
        real, x = plain.run(student, finest), plain.contents(finest)

        def given(l, r, values):
            return plain.mean(x[l][r], values, weights)[x[l][r]]
        e_y = torch.eye(3, dtype=torch.float64)[labels]
        signal = {(3, 0): given(3, 0, e_y) - real.f[3][0]}              # ḡ by the theorem, from the top down
        for l in (2, 1):
            for r in range(OVERLAP.regions[l]):
                signal[l, r] = real.d[l][r] * sum(
                    given(l, r, signal[l + 1, a]) @ student.W[l + 1][a, c].T for a, c in OVERLAP.parents(l)[r])
        package = measure(student, finest)
        for (l, r), s in signal.items():
            gaps += [_gap(s, given(l, r, real.g[l][r])), _gap(package.G[l][r, finest.codes[l][:, r]], s)]
            for c, b in enumerate(OVERLAP.children[l][r].tolist()):
                update = real.f[l - 1][b].T @ (weights[:, None] * s)
                gaps += [_gap(update, real.dW[l][r, c]), _gap(package.dW[l][r, c], update)]
        around = given(2, 1, real.g[3][0])                      # the top's signal, as the right half knows it
        wrong.append(_gap(given(2, 0, around), given(2, 0, real.g[3][0])))
    return max(gaps), min(wrong)


@certificate(
    "bayes-reversal",
    claim="the reverse tables by Bayes, Λ_β P^b = P^T Λ_α, are the adjoint of the forward ones, with one prior for "
          "all parents of a region",
    witness="joint frequencies of the summaries counted row by row",
    dropped="the prior: columns of P scaled to 1 as if all states were equally likely")
def bayes_reversal(rng):
    gaps, wrong = [], []
    for ladder in (_random_ladder(OVERLAP, rng), _random_ladder(Hierarchy.pyramid(5, 3, 2), rng)):
        h, w, t, own = ladder.hierarchy, ladder.weights, ladder.teacher(), plain.count(ladder)
        for l in range(1, h.depth + 1):
            a = torch.randn(h.regions[l - 1], own.states[l - 1], 1, generator=rng, dtype=torch.float64)
            y = torch.randn(*h.children[l].shape, own.states[l], 1, generator=rng, dtype=torch.float64)
            up, down, pairing = t.up(l, a), t.down(l, y), 0
            for r, row in enumerate(h.children[l].tolist()):
                for c, b in enumerate(row):
                    z_a, z_b = own.codes[l][r], own.codes[l - 1][b]
                    p = plain.joint(z_b, z_a, w, own.states[l - 1], own.states[l])
                    true = plain.ratio(p, p.sum(1, keepdim=True))
                    gaps += [_gap(t.reverse[l][r, c], true), _gap(t.prior[l - 1][b], p.sum(1)),
                             _gap(up[r, c], plain.mean(z_a, a[b][z_b], w, own.states[l]))]
                    wrong.append(_gap(plain.turned(own.prior[l][r], own.P[l][r, c]), true))
                    pairing += w @ (a[b][z_b] * y[r, c][z_a])
            gaps.append(_gap((t.prior[l - 1][..., None] * a * down).sum(), pairing.sum()))
    return max(gaps), max(wrong)


@certificate(
    "tree-composition",
    claim="on a latent tree the table of a region and any descendant is the product of the tables "
          "along the edges; symmetric tables multiply their polarities",
    witness="every joint state of the tree enumerated, and ρ^l + (1-ρ^l)/m in closed form",
    dropped="the chain of summaries is not Markov: the middle one forgets what the ends share")
def tree_composition(rng):
    gaps, h = [], Hierarchy.tree(2, 2)
    rho = [None] + [1.4 * torch.rand(h.children[l].shape, generator=rng, dtype=torch.float64) - 0.4
                    for l in (1, 2)]
    stay = [None] + [r[..., None, None] for r in rho[1:]]
    equal = [None] + [r * torch.eye(3, dtype=torch.float64) + (1 - r) / 3 for r in stay[1:]]
    drawn = Teacher.latent_tree(h, [2, 3, 3], None, seed=rng)
    for t, P in ((Teacher.latent_tree(h, 3, rho, seed=rng), equal), (drawn, drawn.P)):
        m = t.states
        leaves = torch.eye(m[0], dtype=torch.float64).expand(4, -1, -1)
        path = t.up(2, t.up(1, leaves).transpose(1, 2).flatten(2)).unflatten(-1, (2, m[0]))[0]
        law, p = Ladder.enumerate(t), torch.zeros(2, 2, m[2], m[0]).tolist()
        tables, top = [x if x is None else x.tolist() for x in P], t.prior[2][0].tolist()
        for i, *z in product(range(m[2]), range(m[1]), range(m[1]), *[range(m[0])] * 4):
            q = top[i]
            for b, c in product((0, 1), (0, 1)):                    # two children, four leaves
                q *= tables[1][b][c][z[b]][z[2 + 2 * b + c]] * (c or tables[2][0][b][i][z[b]])
            for b, c in product((0, 1), (0, 1)):
                p[b][c][i][z[2 + 2 * b + c]] += q
        for b, c in product((0, 1), (0, 1)):
            both = torch.tensor(p[b][c], dtype=torch.float64)
            counted = plain.joint(law.codes[2][:, 0], law.codes[0][:, 2 * b + c], law.weights,
                                  m[2], m[0])
            gaps += [_gap(path[b, :, c], both / both.sum(1, keepdim=True)), _gap(counted, both),
                     _gap(t.reverse[1][b, c] @ t.reverse[2][0, b], (both / both.sum(0)).T)]
            if t is not drawn:
                r = rho[2][0, b] * rho[1][b, c]
                gaps.append(_gap(path[b, :, c].diagonal(), (r + (1 - r) / 3).expand(3)))
    bits = torch.tensor(list(product((0, 1), repeat=2)))            # the ends, and the middle
    chain = Ladder.coarse(Hierarchy.tree(2, 1), bits[:, :1, None].double(), bits[:, 0],
                          [bits[:, :1], bits[:, 1:], bits[:, :1]]).teacher()
    return max(gaps), _gap((chain.P[2] @ chain.P[1])[0, 0], torch.eye(2))


@certificate(
    "gate-lemma",
    claim="Cov(1[h>0], h | z) = p(1-p)(E[h|h>0,z] - E[h|h≤0,z]) ≥ 0, so the gate condition says that no gate changes "
          "within a cell; with the gate of the mean E[f|z] is missed by min(E[h⁺|z], E[h⁻|z])",
    witness="the formulas cell by cell, on the rows of the network written out",
    dropped="gates may change within a cell: E[f|z] against E[f'|z] E[h|z]")
@torch.no_grad()
def gate_lemma(rng):
    gaps, wrong = [], []
    for bias in (False, True):
        ladder = _random_ladder(OVERLAP, rng)
        student = _student(OVERLAP, [2, 3, 3, 3], rng, bias)
        real, package = plain.run(student, ladder), measure(student, ladder)
        part = residuals(student, ladder).F
        for l, r in product((1, 2), range(3)):
            if r == OVERLAP.regions[l]:
                continue
            for i in ladder.codes[l][:, r].unique().tolist():
                cell = ladder.codes[l][:, r] == i
                p, h = ladder.weights[cell] / ladder.weights[cell].sum(), real.h[l][r][cell]
                on = p @ (h > 0).double()
                a = plain.ratio(p @ h.relu(), on)
                c = plain.ratio(p @ -(-h).relu(), 1 - on)
                formula = torch.where((on > 0) & (on < 1), on * (1 - on) * (a - c), 0)
                gaps += [_gap(part[l]["gate"][r, i], formula), (-formula).clamp(min=0).max().item(),
                         _gap(package.F[l][r, i] - package.H[l][r, i].relu(),
                              torch.minimum(p @ h.relu(), p @ (-h).relu())),
                         _gap(package.D[l][r, i], on)]
                wrong.append(_gap(p @ h.relu(), on * (p @ h)))
    return max(gaps), max(wrong)


@certificate(
    "broadness-lemma",
    claim="on a latent tree with z_ω = y broadness at the top holds iff F_α W_αω has equal rows on every connected "
          "part of the graph of z_α and y: the gap is -(I - P^b P) F_α W_αω",
    witness="signals of the real network on the enumerated tree by autograd, averaged cell by cell",
    dropped="unequal rows: a student whose output tells the labels apart")
@torch.no_grad()
def broadness_lemma(rng):
    gaps, wrong, h = [], [], Hierarchy.tree(2, 2)
    soft = Teacher.latent_tree(h, [3, 3, 3], None, seed=rng)
    two = torch.tensor([[0.7, 0.3, 0], [0.2, 0.8, 0], [0, 0, 1]], dtype=torch.float64)
    parts = Teacher(h, [None, None, soft.prior[2]], [None, soft.P[1], two.expand(1, 2, 3, 3)])
    rows = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    for t, equal in ((soft, None), (soft, [0, 0, 0]), (parts, [0, 0, 2]), (parts, None)):
        ladder, student = Ladder.enumerate(t), _student(h, [3, 5, 3], rng, True)
        real = plain.run(student, ladder)
        w, z = ladder.weights, ladder.codes
        F = [plain.mean(z[1][:, r], real.f[1][r], w, 3) for r in (0, 1)]
        if equal is not None:                                           # choose W_αω so that F W has equal rows
            for r, x in enumerate(F):
                across = torch.linalg.svd(x - x[equal]).Vh[3 - len(set(equal)):].T
                student.W[2][0, r] = across @ rows[:across.shape[1]]
            real = plain.run(student, ladder)
        part = residuals(student, ladder).G[1]["broadness"]
        G = plain.mean(z[2][:, 0], real.g[2][0], w, 3)
        for r in (0, 1):
            p = plain.joint(z[2][:, 0], z[1][:, r], w, 3, 3)
            P, back = p / p.sum(1, keepdim=True), (p / p.sum(0)).T
            seen = plain.mean(z[1][:, r], real.g[2][0], w, 3) - back @ G
            gaps.append(_gap(seen, -(F[r] - back @ P @ F[r]) @ student.W[2][0, r]))
            D = plain.mean(z[1][:, r], real.d[1][r], w, 3)
            gaps.append(_gap(part[r], D * (seen @ student.W[2][0, r].T)))
            if equal is None:
                wrong.append(_gap(seen, 0 * seen))
            else:
                gaps.append(_gap(seen, 0 * seen))
    return max(gaps), max(wrong)


@certificate(
    "expansion",
    claim="where focus, gate, broadness and decorrelation hold, F, G and ΔW of the expansion are the true conditional "
          "means and the true gradient",
    witness="the network on every row, differentiated by autograd and averaged cell by cell",
    dropped="each of the four conditions by itself (the smallest of the four errors)")
@torch.no_grad()
def expansion(rng):
    good = [coarse_example(eps, seed=rng) for eps in (0.02, 0.25)]
    bad = [coarse_example(fails=f, seed=rng) for f in CONDITIONS]
    good, bad = ([_truth_gaps(e.student, e.ladder) for e in group] for group in (good, bad))
    hurt = dict(focus="FW", gate="F", broadness="G", decorrelation="W")     # what each condition is needed for
    wrong = [gap[which] for f, gap in zip(CONDITIONS, bad) for which in hurt[f]]
    kept = [bad[CONDITIONS.index("broadness")][x] for x in "FW"] + [
        bad[CONDITIONS.index("decorrelation")][x] for x in "FG"]
    return max([x for gap in good for x in gap.values()] + kept), min(wrong)


@certificate(
    "matrix-form",
    claim="F = D∘(ΣPFW + b), G = D∘ΣP^bGW^T and ΔW = (PF)^TΛG are the sums of the expansion over states, nodes, "
          "children and parents",
    witness="the sums written out edge by edge on random overlapping teachers",
    dropped="Bayes: the forward tables turned round without their prior")
@torch.no_grad()
def matrix_form(rng):
    gaps, wrong = [], []
    for h, bias in ((OVERLAP, True), (Hierarchy.pyramid(5, 2, 1), False), (Hierarchy.tree(2, 3), True)):
        ladder = _random_ladder(h, rng)
        t, own = ladder.teacher(), plain.count(ladder)
        many = _student(h, [2] + [3] * h.depth, rng, bias, ensemble=(2,))
        D = [None] + [torch.rand(2, h.regions[l], t.states[l], 3, generator=rng, dtype=torch.float64)
                      for l in range(1, h.depth + 1)]
        for gates in ("mean", D):
            e = backward(expand(many, t, gates), many, t)
            dW, db = weight_update(e, t), bias_update(e, t)
            for i in (0, 1):
                s = many.member(i)
                args = h, s.W, s.b, own.prior, own.P, own.features, own.target
                given = None if gates == "mean" else [x if x is None else x[i] for x in D]
                true = plain.sums(*args, gates=given)
                off = plain.sums(*args, gates=given, reverse=plain.turned)
                for l in range(1, h.depth + 1):
                    gaps += [_gap(e.F[l][i], torch.stack(true.F[l])), _gap(e.G[l][i], torch.stack(true.G[l])),
                             _gap(dW[l][i], true.dW[l]), _gap(db[l][i], true.db[l])]
                wrong += [_gap(torch.stack(off.G[l]), torch.stack(true.G[l])) for l in range(1, h.depth)]
    return max(gaps), max(wrong)


@certificate(
    "finest-ladder",
    claim="with the contents themselves as summaries the expansion is exact, and on a batch it is back-propagation",
    witness="autograd on the whole batch; means content by content",
    dropped="every summary cut to its parity")
@torch.no_grad()
def finest_ladder(rng):
    gaps, wrong = [], []
    for h, bias in ((OVERLAP, False), (Hierarchy.pyramid(6, 3, 2), True), (Hierarchy.pyramid2d(3, 2, 1), True)):
        inputs = torch.randint(2, (50, h.leaves, 1), generator=rng).double()
        inputs[1::5], labels = inputs[::5], torch.randint(3, (50,), generator=rng)      # repeats that disagree
        weights = None if bias else _simplex(50, rng)
        student = _student(h, [1] + [4] * (h.depth - 1) + [3], rng, bias)
        ladder = Ladder.finest(h, inputs, labels, weights, classes=3)
        gaps.append(max(_truth_gaps(student, ladder, plain.contents(ladder)).values()))
        parity = Ladder.coarse(h, inputs, labels, [z % 2 for z in ladder.codes], weights, classes=3)
        wrong.append(_truth_gaps(student, parity)["W"])
    return max(gaps), min(wrong)


@certificate(
    "coarse-ladder",
    claim="on the mirrored coarse ladder the recursion is exact with gates that open and close, and "
          "gradient descent keeps it so as long as no gate moves within a cell",
    witness="ten steps of gradient descent by autograd on all rows, then means cell by cell",
    dropped="parents weigh the two nodes of a mirror pair unequally")
@torch.no_grad()
def coarse_ladder(rng):
    e, broken = coarse_example(seed=rng), coarse_example(0.25, seed=rng)
    s, by_hand, c = e.student, e.student.member(), _noise_weights(e.student)
    t, gaps, levels = e.ladder.teacher(), [*_truth_gaps(s, e.ladder).values()], range(1, 4)
    for _ in range(10):
        table = backward(expand(s, t), s, t)                        # the recursion alone
        dW, db = weight_update(table, t), bias_update(table, t)
        real = plain.run(by_hand, e.ladder)                         # the real network
        for student, (U, V) in ((s, (dW, db)), (by_hand, (real.dW, real.db))):
            for l in levels:
                student.W[l].add_(0.02 * U[l])
                student.b[l].add_(0.02 * V[l])
    for l in levels:
        gaps += [_gap(s.W[l], by_hand.W[l]), _gap(s.b[l], by_hand.b[l])]
    mirror = s.W1[..., [1, 0, 3, 2], :].roll(4, -1)                 # features and nodes exchanged
    gaps += [_gap(s.W1, mirror), _gap(s.W2, s.W2.roll(4, -2)), _gap(_noise_weights(s), c),
             *_truth_gaps(s, e.ladder).values()]
    broken.student.W2[..., :4, :] *= 1.5
    return max(gaps), _truth_gaps(broken.student, broken.ladder)["W"]


@certificate(
    "error-decomposition",
    claim="truth minus recursion is the sum of its named parts (gate, focus, broadness, decorrelation, "
          "gate table, inherited) on any ladder, hard or soft",
    witness="every part from covariances within each cell, row by row",
    dropped="one part left out of the sum (the smallest one)")
@torch.no_grad()
def error_decomposition(rng):
    gaps, largest = [], {}
    for h, bias in ((OVERLAP, True), (Hierarchy.pyramid(5, 2, 1), False)):
        soft = _random_ladder(h, rng)
        finest = Ladder.finest(h, soft.inputs, soft.labels, soft.weights)
        hard = Ladder.coarse(h, soft.inputs, soft.labels, [z % 3 for z in finest.codes],
                             soft.weights)
        student = _student(h, [2] + [3] * h.depth, rng, bias)
        for ladder, mean_gates in ((soft, True), (hard, True), (hard, False)):
            D = "mean" if mean_gates else measure(student, ladder).D
            package = residuals(student, ladder, D)
            parts, total = plain.error_parts(student, ladder, None if mean_gates else D)
            for which, table in zip(("F", "G", "dW"), package):
                for l in range(1, h.depth + 1):
                    gaps += [_gap(sum(parts[which, l].values()), total[which, l]),
                             _gap(table[l]["total"], total[which, l])]
                    for name, value in parts[which, l].items():
                        gaps.append(_gap(table[l][name], value))
                        key, size = (which, name), _gap(value, 0 * value)
                        largest[key] = max(largest.get(key, 0), size)
    return max(gaps), min(largest.values())


@certificate(
    "reduced-gradient",
    claim="with gates from the means the backward recursion and ΔW are minus the gradient of "
          "½ Σ P(z_ω)‖F_ω - Y_ω‖²: the reduced model is a network of its own",
    tolerance=1e-11,                                                # finite differences lose digits
    witness="autograd of that loss summed edge by edge, and its finite differences",
    dropped="parents that disagree on the prior of a shared region, each reversed by Bayes with "
            "its own")
def reduced_gradient(rng):
    gaps, wrong = [], []
    for h, bias in ((OVERLAP, True), (Hierarchy.pyramid(5, 2, 1), True)):
        ladder = _random_ladder(h, rng)
        t, own = ladder.teacher(), plain.count(ladder)
        s = _student(h, [2] + [3] * h.depth, rng, bias)
        e = backward(expand(s, t), s, t)
        update = weight_update(e, t)[1:] + bias_update(e, t)[1:]
        weights = [*s.W[1:], *s.b[1:]]

        def loss(values, P=own.P, prior=own.prior):
            W, b = [None, *values[:h.depth]], [None, *values[h.depth:]]
            return plain.sums(h, W, b, prior, P, own.features, own.target)
        slope = torch.autograd.grad(loss(weights).loss, weights)
        gaps += [_gap(u, -x) for u, x in zip(update, slope)]
        gaps.append(_gap(reduced_loss(e, t), loss(weights).loss))
        way = [torch.randn(w.shape, generator=rng, dtype=w.dtype) / 10 for w in weights]
        along = sum((u * v).sum() for u, v in zip(update, way))
        with torch.no_grad():
            gaps.append(_gap(along, -_slope(lambda x: loss(
                [w + x * v for w, v in zip(weights, way)]))))
        P = [None] + [{edge: _simplex((t.states[l], t.states[l - 1]), rng) for edge in own.P[l]}
                      for l in range(1, h.depth + 1)]
        prior = own.prior[:]
        for l in range(h.depth, 0, -1):
            prior[l - 1] = [prior[l][a] @ P[l][a, c]                # as the first parent has it
                            for (a, c), *_ in map(h.parents(l - 1).__getitem__, range(h.regions[l - 1]))]
        off = loss(weights, P, prior)
        slope = torch.autograd.grad(off.loss, weights[:h.depth])
        wrong += [_gap(u, -x) for u, x in zip(off.dW[1:], slope)]
    return max(gaps), max(wrong)


@certificate(
    "bias-variance",
    claim="for z_ω = y the sample loss is that of the true means F plus the spread of the output within "
          "each label; the reduced loss sees the first only, and exactly where F is exact",
    witness="the loss and the spread summed over every joint state of the tree",
    dropped="z_ω no longer tells the label: two labels share a state")
@torch.no_grad()
def bias_variance(rng):
    gaps, wrong, h = [], [], Hierarchy.tree(2, 2)
    for activation in ("relu", "linear"):
        t = Teacher.latent_tree(h, [2, 3, 3], None, seed=rng)
        ladder = Ladder.enumerate(t)
        student = _student(h, [2, 4, 3], rng, True, activation=activation)
        real, w = plain.run(student, ladder), ladder.weights
        sample, y = 2 * (w @ real.loss), ladder.labels
        for z, store in ((y, gaps), (y // 2, wrong)):
            F, Y = plain.mean(z, real.f[2][0], w), plain.mean(z, torch.eye(3).double()[y], w)
            p = plain.joint(z, z, w, len(F), len(F)).diagonal()
            spread = w @ (real.f[2][0] - F[z]).square().sum(1)
            store.append(_gap(p @ (F - Y).square().sum(1) + spread, sample))
        coarse = Ladder.coarse(h, ladder.inputs, y, [*ladder.codes[:2], y[:, None]], w)
        true = measure(student, coarse).F[2][0]
        mean_loss = (p := coarse.prior[2][0]) @ (true - torch.eye(3)).square().sum(1)
        gaps.append(_gap(mean_loss + w @ (real.f[2][0] - true[y]).square().sum(1), sample))
        if activation == "linear":                                  # F is exact: focus by Markov
            gaps.append(_gap(2 * reduced_loss(expand(student, t), t), mean_loss))
    return max(gaps), min(wrong)


def _simplex(shape, rng):
    """Probabilities along the last axis, drawn uniformly."""
    x = -torch.rand(shape, generator=rng, dtype=torch.float64).clamp(min=1e-9).log()
    return x / x.sum(-1, keepdim=True)


def _student(h, widths, rng, bias, **options):
    """A random student, with random biases."""
    student = Student(h, widths, bias=bias, seed=rng, **options)
    with torch.no_grad():
        for b in student.b[1:] if bias else ():
            b.copy_(torch.randn(b.shape, generator=rng, dtype=b.dtype) / 2)
    return student


def _random_ladder(h, rng, rows=40):
    """Real inputs that repeat, three labels, weights of which some are 0; the summaries know the sign of the
    content's sum and a random bit, and the first region of each level has a state less than the others."""
    inputs = torch.randn(rows, h.leaves, 2, generator=rng, dtype=torch.float64)
    inputs[1::4] = inputs[::4]
    inputs[:2] = 0                                                  # h = 0 in a student without biases
    weights = _simplex(rows, rng)
    weights[2::9] = 0
    codes = []
    for l, regions in enumerate(h.regions):
        bits = torch.randint(2, (rows, regions), generator=rng)
        total = torch.stack([inputs[:, h.field(l, r)].sum((1, 2)) for r in range(regions)], 1)
        codes.append(2 * (total > 0) + bits)
        if regions > 1:
            codes[-1][:, 0].clamp_(max=2)
    return Ladder.coarse(h, inputs, torch.randint(3, (rows,), generator=rng), codes, weights, 3)


def _gap(a, b):
    """Largest difference, relative to max(1, the largest value of b); NaN stays NaN."""
    b = torch.as_tensor(b, dtype=torch.float64)
    worst = (a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1)
    return worst.item() if worst == worst else float("inf")


def _truth_gaps(student, ladder, codes=None):
    """How far the recursion on a ladder is from the real network: F, D, G and W (all updates).

    codes : the cells over which the truth is averaged, [level][region]; by default the ladder's
    """
    t = ladder.teacher()
    e = backward(expand(student, t), student, t)
    dW, db, real = weight_update(e, t), bias_update(e, t), plain.run(student, ladder)
    gaps = dict(F=[], D=[], G=[], W=[])
    for l in range(1, student.hierarchy.depth + 1):
        gaps["W"].append(_gap(dW[l], real.dW[l]))
        if real.db[l] is not None:
            gaps["W"].append(_gap(db[l], real.db[l]))
        for r in range(student.hierarchy.regions[l]):
            row = ladder.codes[l][:, r]
            z = row if codes is None else codes[l][r]
            for name, table, values in (("F", e.F, real.f), ("D", e.D, real.d), ("G", e.G, real.g)):
                gaps[name].append(_gap(table[l][r, row], plain.mean(z, values[l][r], ladder.weights)[z]))
    return {name: max(values) for name, values in gaps.items()}


def _noise_weights(student):
    """c of every node of the coarse example: what multiplies ε."""
    return (student.W1 * torch.tensor([1.0, -1, 1, -1])[:, None]).sum(-2).detach()


def _slope(run, step=0.1):
    """d/dx of run(x).loss at 0 by eight points: exact for a polynomial of degree 8, so the step need not be small;
    it is halved until no gate changes between them."""
    def gates(x):
        return torch.cat([d.flatten() for level in run(x).D[1:] for d in level])
    while not all(torch.equal(gates(k * step), gates(0)) for k in (-4, -3, -2, -1, 1, 2, 3, 4)):
        step /= 2
    weights = zip((4 / 5, -1 / 5, 4 / 105, -1 / 280), (1, 2, 3, 4))
    return sum(w * (run(k * step).loss - run(-k * step).loss) for w, k in weights) / step
