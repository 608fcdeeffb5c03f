"""The recursion in the page, held to torch in a browser: the same tables, updates, samples and losses."""
import json

import numpy as np
import pytest
import torch
from conftest import ROOT

import tsframe as tsf

ENGINE = (ROOT / "tsframe/explorers/engine.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(chromium):
    """Evaluate a JavaScript function of (engine, argument)."""
    page = chromium.new_page()
    page.evaluate("async src => { window.engine = await import(URL.createObjectURL(new Blob([src], {type: 'text/javascript'}))) }",
                  ENGINE)
    yield lambda body, arg=None: page.evaluate(f"arg => ({body})(window.engine, arg)", arg)
    page.close()


def numbers(x):
    return None if x is None else x.detach().double().flatten().tolist()


def described(teacher, student):
    """What the page needs to rebuild a pair, as flat lists."""
    norm = student.norm and dict(place=student.norm.place, scale=student.norm.scale, eps=student.norm.eps, top=student.norm.top)
    return dict(
        teacher=dict(children=[None, *(c.tolist() for c in teacher.hierarchy.children[1:])],
                     prior=[p.tolist() for p in teacher.prior],
                     P=[None, *(teacher.dense(l).tolist() for l in range(1, teacher.hierarchy.depth + 1))],
                     features=teacher.features.tolist(), target=teacher.target.tolist(), classes=teacher.target.shape[1]),
        widths=student.widths, activation=student.activation, norm=norm, single=student.dtype == torch.float32,
        W=[numbers(w) for w in student.W], b=[numbers(b) for b in student.b])


BUILD = """
  const Real = c.single ? Float32Array : Float64Array, t = E.teacher(c.teacher, Real);
  const flat = (xs) => xs.map((x) => x && Real.from(x));
  const s = E.student(t.hierarchy, c.widths, { activation: c.activation, norm: c.norm, W: flat(c.W), b: flat(c.b) }, Real);
  const plain = (xs) => xs.map((x) => x && Array.from(x));
"""


def close(mine, theirs, tol, what):
    """Whether lists by level agree to tol times max(1, largest value)."""
    for l, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        assert (a is None) == (b is None), f"{what}[{l}]"
        if a is not None:
            a, b = np.asarray(a, float), np.asarray(numbers(b))
            assert a.shape == b.shape and np.isfinite(a).all(), f"{what}[{l}]"
            gap = abs(a - b).max()
            assert gap <= tol * max(1, abs(b).max()), f"{what}[{l}] is off by {gap:g}"


def amplified(s, t, e):
    """How much a batch normalisation enlarges rounding: the largest size of a node over its standard deviation, by level."""
    out = 1.0
    for l in range(1, s.hierarchy.depth) if s.norm and s.norm.scale else ():
        p, f = t.prior[l][..., None], e.H[l] if s.norm.place == "before" else e.D[l] * e.H[l]
        spread = ((p * f**2).sum(-2) - (p * f).sum(-2)**2).clamp(min=0).add(s.norm.eps).sqrt()
        out *= max([1.0, *((1 + abs(f).amax(-2)) / spread)[spread > 1e-4].tolist()])
    return out


HIERARCHIES = [lambda: tsf.Hierarchy.tree(3), lambda: tsf.Hierarchy.tree(1, 3), lambda: tsf.Hierarchy.tree(2, 3),
               lambda: tsf.Hierarchy.pyramid(7, 3, 2), lambda: tsf.Hierarchy.pyramid(6, 3, 1), lambda: tsf.Hierarchy.pyramid2d(3, 2, 1),
               lambda: tsf.Hierarchy([None, [[1, 0], [2, 2]], [[1, 0, 1]]])]
NORMS = [None, None, "before", "after", tsf.BatchNorm("before", eps=.1, top=True), tsf.BatchNorm("after", scale=False)]


def scene(seed, dtype=torch.float64):
    """A counted teacher (states of prior 0 included) on any hierarchy, and a student with biases and a norm or none."""
    rng = np.random.default_rng(seed)
    h = HIERARCHIES[seed % len(HIERARCHIES)]()
    norm = NORMS[seed % len(NORMS)]
    if norm and dtype == torch.float32:        # without epsilon, nodes that hardly move leave nothing of seven digits
        norm = tsf.BatchNorm("before" if norm == "before" else "after", eps=.1)
    rows, least = 40, 2 if norm else 1         # a single state, centred, is 0 up to rounding: the gate of chance
    codes = [rng.integers(0, rng.integers(least, 5, r), (rows, r)) for r in h.regions]
    x = rng.normal(size=(rows, h.leaves, 2))
    ladder = tsf.Ladder.coarse(h, x, rng.integers(0, 3, rows), codes, rng.exponential(size=rows), classes=3)
    student = tsf.Student(h, [2, *rng.integers(1, 9, h.depth - 1).tolist(), 3], norm=norm,
                          bias=bool(seed % 3), activation="linear" if seed % 5 == 4 else "relu", seed=seed)
    with torch.no_grad():
        for b in student.b:
            if b is not None:
                b.copy_(torch.as_tensor(rng.normal(size=tuple(b.shape))))
    return ladder, ladder.teacher().to(dtype), student.to(dtype)


@pytest.mark.parametrize("dtype, tol", [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["float64", "float32"])
@pytest.mark.parametrize("gates", ["mean", "given"])
def test_tables_signals_and_updates_are_torchs(run, dtype, tol, gates):
    scenes = [scene(seed, dtype)[1:] for seed in range(42)]
    given = [None if gates == "mean" else [None] + [torch.rand(t.hierarchy.regions[l], t.states[l], s.widths[l], dtype=dtype)
             for l in range(1, t.hierarchy.depth)] + [None] for t, s in scenes]
    found = run("(E, cases) => cases.map(([c, D]) => {" + BUILD + """
        const e = E.backward(E.expand(s, t, D ? D.map((x) => x && Real.from(x)) : "mean"), s, t);
        return { F: plain(e.F), H: plain(e.H), D: plain(e.D), G: plain(e.G), U: plain(e.U), loss: E.reducedLoss(e, s, t),
          dW: plain(E.weightUpdate(e, s, t)), db: plain(E.biasUpdate(e, s, t)) } })""",
                [(described(t, s), D and [numbers(x) for x in D]) for (t, s), D in zip(scenes, given)])
    for (t, s), D, mine in zip(scenes, given, found):
        with torch.no_grad():
            e = tsf.backward(tsf.expand(s, t, "mean" if D is None else D), s, t)
            for name, theirs in dict(F=e.F, H=e.H, D=e.D, G=e.G, U=e.U, dW=tsf.weight_update(e, t)).items():
                close(mine[name], theirs, tol * amplified(s, t, e), name)
            db = tsf.bias_update(e, t)
            close(mine["db"], [x if b is not None else None for x, b in zip(db, s.b)], tol * amplified(s, t, e), "db")
            assert mine["loss"] == pytest.approx(tsf.reduced_loss(e, t).item(), rel=10 * tol * amplified(s, t, e))


def test_padding_and_several_parents_are_among_the_scenes():
    teachers = [scene(seed)[1] for seed in range(42)]
    assert any((p == 0).any() for t in teachers for p in t.prior) and any(not t.hierarchy.is_tree for t in teachers)


def test_a_batch_is_a_teacher(run):
    """On the rows of a ladder the same two lines are the network and back-propagation; means over them are `measure`'s."""
    pairs = [scene(seed)[::2] for seed in range(21)]
    found = run("(E, cases) => cases.map(([c, codes, labels, weights, inputs]) => {" + BUILD + """
        const lad = E.ladder(t, codes.map((z) => Int32Array.from(z)), labels, weights, Real.from(inputs)), e = E.measure(s, lad);
        const count = E.counted(lad);
        return { F: plain(e.F), D: plain(e.D), H: plain(e.H), G: plain(e.G), U: plain(e.U), dW: plain(e.dW),
          P: plain(count.P), prior: plain(count.prior), features: [Array.from(count.features)], target: [Array.from(count.target)],
          below: plain(e.below) } })""",
                [(described(a.teacher(), s), [z.T.flatten().tolist() for z in a.codes], a.labels.tolist(), numbers(a.weights),
                  numbers(a.inputs.transpose(0, 1))) for a, s in pairs])
    for (ladder, s), mine in zip(pairs, found):
        with torch.no_grad():
            e, t = tsf.measure(s, ladder), ladder.teacher()
        theirs = dict(F=e.F, D=e.D, H=e.H, G=e.G, U=e.U, dW=e.dW, prior=t.prior, features=[t.features], target=[t.target],
                      P=[None] + [t.dense(l) for l in range(1, t.hierarchy.depth + 1)],
                      below=[None] + [x.transpose(-3, -2).flatten(-2) for x in e.below[1:]])
        for name, value in theirs.items():
            close(mine[name], value, 1e-12, name)


@pytest.mark.parametrize("gates", ["mean", "true"])
def test_residuals_by_cause(run, gates):
    pairs = [scene(seed)[::2] for seed in range(28)]
    pairs = [(a, s) for a, s in pairs if s.norm is None]
    found = run("(E, [cases, gates]) => cases.map(([c, codes, labels, weights, inputs]) => {" + BUILD + """
        const lad = E.ladder(t, codes.map((z) => Int32Array.from(z)), labels, weights, Real.from(inputs)), r = E.residuals(s, lad, gates);
        return Object.fromEntries(["F", "G", "dW"].map((k) => [k, r[k].map((d) => d && Object.fromEntries(Object.entries(d).map(([n, x]) => [n, Array.from(x)])))])) })""",
                [[(described(a.teacher(), s), [z.T.flatten().tolist() for z in a.codes], a.labels.tolist(), numbers(a.weights),
                   numbers(a.inputs.transpose(0, 1))) for a, s in pairs], gates])
    for (ladder, s), mine in zip(pairs, found):
        with torch.no_grad():
            theirs = tsf.residuals(s, ladder, "mean" if gates == "mean" else tsf.measure(s, ladder).D)
        for kind in ("F", "G", "dW"):
            for l in range(1, s.hierarchy.depth + 1):
                assert mine[kind][l].keys() == getattr(theirs, kind)[l].keys()
                for part, value in getattr(theirs, kind)[l].items():
                    close([mine[kind][l][part]], [value], 1e-12, f"{kind}[{l}] {part}")


def test_loss_after_200_steps(run):
    hierarchies = [tsf.Hierarchy.tree(3), tsf.Hierarchy.tree(2, 3), tsf.Hierarchy.pyramid(7, 3, 2), tsf.Hierarchy.pyramid(5, 2, 1)]
    scenes = []
    for seed in range(12):
        h = hierarchies[seed % 4]
        teacher = tsf.Teacher.latent_tree(h, 2 + seed % 2, .3 + .06 * seed, seed=0)
        widths = [2 + seed % 2] + [3 + seed] * (h.depth - 1) + [2 + seed % 2]
        scenes.append((teacher, tsf.Student(h, widths, norm=NORMS[seed % 3], bias=seed % 2 == 0, seed=seed)))
    found = run("(E, cases) => cases.map((c) => {" + BUILD + """
        let loss; for (let i = 0, e = E.expansion(s, t); i <= 200; i++) loss = E.descend(s, t, 0.05, e); return loss })""",
                [described(t, s) for t, s in scenes])
    for (t, s), loss in zip(scenes, found):
        theirs = tsf.train(s, t, steps=200, lr=.05, every=200).loss[-1].item()
        assert loss == pytest.approx(theirs, rel=1e-6)


def test_builders_agree(run):
    found = run("""E => [E.tree(3), E.tree(2, 3), E.pyramid(7, 3, 2), E.pyramid(9, 4, 1)].map((h) => [h.regions, h.isTree, h.children.map((c) => c && Array.from(c))])""")
    built = [tsf.Hierarchy.tree(3), tsf.Hierarchy.tree(2, 3), tsf.Hierarchy.pyramid(7, 3, 2), tsf.Hierarchy.pyramid(9, 4, 1)]
    assert found == [[h.regions, h.is_tree, [c if c is None else c.flatten().tolist() for c in h.children]] for h in built]
    for m, ρ in ((2, .8), (3, -.5), (4, 1.)):
        theirs = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), m, ρ, seed=0)
        P = run("(E, [m, r]) => Array.from(E.latentTree(E.tree(2), m, r).P[2])", [m, ρ])
        close([P], [theirs.P[2]], 1e-15, "P")


def test_samples_follow_the_law(run):
    """Drawn trees against every joint state with its probability; the posterior against Bayes' rule on that list."""
    rng = np.random.default_rng(0)
    h, m = tsf.Hierarchy.tree(2), [2, 3, 2]
    P = [None] + [rng.dirichlet(np.ones(m[l - 1]), size=(*h.children[l].shape, m[l])) for l in (1, 2)]
    t = tsf.Teacher(h, [None, None, np.array([[.3, .7]])], P, target=np.array([[.9, .1], [.2, .8]]))
    every = tsf.Ladder.enumerate(t)
    found = run("""(E, [c, leaves]) => { const t = E.teacher(c.teacher), n = 200000, b = E.sample(t, n, E.generator(3)), again = E.sample(t, 50, E.generator(3)),
        other = E.sample(t, 50, E.generator(4)), joint = {}, lad = E.enumerate(t), post = E.posterior(t, Int32Array.from(leaves), leaves.length / 4);
        for (let i = 0; i < n; i++) { const key = b.z.map((z, l) => Array.from({ length: t.hierarchy.regions[l] }, (_, r) => z[r * n + i]).join("")).join(".") + "." + b.y[i]; joint[key] = (joint[key] ?? 0) + 1 / n; }
        return { joint, same: again.z.every((z, l) => z.every((v, i) => v === E.sample(t, 50, E.generator(3)).z[l][i])), differs: again.z[0].some((v, i) => v !== other.z[0][i]),
          rows: lad.N, weights: Array.from(lad.prior[0].slice(0, lad.N)), post: Array.from(post.target), p: Array.from(post.p), first: Array.from(lad.codes[0]).length,
          features: Array.from(b.features.slice(0, 6)), z: Array.from(b.z[0].slice(0, 3)) } }""",
                [described(t, tsf.Student(h, [2, 2, 2], seed=0)), every.codes[0].T.flatten().tolist()])
    law = {}
    for i in range(len(every.labels)):
        key = ".".join("".join(str(int(v)) for v in z[i]) for z in every.codes) + f".{int(every.labels[i])}"
        law[key] = law.get(key, 0) + every.weights[i].item()
    assert found["joint"].keys() <= law.keys() and found["rows"] == len(every.labels)
    assert sorted(found["weights"]) == pytest.approx(sorted(every.weights.tolist()), abs=1e-15)
    n = 200_000
    χ2 = sum((found["joint"].get(k, 0) - p) ** 2 / p for k, p in law.items() if p > 0) * n
    dof = len(law) - 1
    assert χ2 < dof + 5 * (2 * dof) ** .5, f"{χ2:.0f} at {dof} degrees of freedom"
    assert found["same"] and found["differs"]
    assert found["features"] == [float(v) for z in found["z"] for v in np.eye(2)[z]]
    leaves = every.codes[0]
    for i in range(0, len(leaves), 17):
        like = (leaves == leaves[i]).all(1)
        q = torch.stack([every.weights[like & (every.labels == j)].sum() for j in (0, 1)])
        assert found["p"][i] == pytest.approx(q.sum().item(), abs=1e-12)
        assert found["post"][2 * i:2 * i + 2] == pytest.approx((q / q.sum()).tolist(), abs=1e-12)


def test_a_state_of_probability_zero_is_never_drawn(run):
    found = run("""E => { const t = E.teacher({ children: [null, [[0, 1]]], prior: [[[0, 1, 0], [.5, 0, .5]], [[.5, 0, .5]]],
        P: [null, [[[[0, 1, 0], [0, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 0], [0, 0, 1]]]]] }), z = E.sampleStates(t, 5000, E.generator(1));
        return [z[1].includes(1), z[0].slice(0, 5000).every((v) => v === 1), z[0].slice(5000).includes(1)] }""")
    assert found == [False, True, False]


def test_normal_numbers_are_normal(run):
    x = np.asarray(run("E => { const g = E.generator(7); return Array.from({ length: 100000 }, g.normal) }"))
    assert abs(x.mean()) < .015 and abs(x.std() - 1) < .01 and abs((x ** 4).mean() - 3) < .1 and abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < .015


def test_dense_students_and_correlation(run):
    """A dense network is a student on a tree of branching 1; the correlation of its nodes with a teacher's is numpy's."""
    rng = np.random.default_rng(2)
    h, x = tsf.Hierarchy.tree(3, branching=1), rng.normal(size=(60, 1, 5))
    teacher = tsf.Student(h, [5, 4, 3, 2], seed=0, bias=True)
    s = tsf.Student(h, [5, 8, 6, 2], seed=1, bias=True)
    target = teacher(torch.as_tensor(x))[-1][:, 0].detach()
    mine = run("""(E, [c, d, x]) => { const h = E.tree(3, 1), make = (c) => E.student(h, c.widths, { W: c.W, b: c.b }), s = make(c), t = make(d);
        const none = E.rows(h, Float64Array.from(x), new Float64Array(120), 60), f = E.expand(t, none), batch = E.rows(h, Float64Array.from(x), f.F[3], 60);
        const e = E.expansion(s, batch), loss = E.descend(s, batch, 0, e);
        return { loss, dW: e.dW.map((w) => w && Array.from(w)), db: e.db.map((b) => b && Array.from(b)), r: Array.from(E.correlation(f.F[1], e.F[1], 60, 4, 8)) } }""",
                [described(_line(h), s) | {"teacher": None}, described(_line(h), teacher) | {"teacher": None}, x.flatten().tolist()])
    out = s(torch.as_tensor(x))[-1][:, 0]
    loss = (out - target).square().sum(1).mean() / 2
    loss.backward()
    assert mine["loss"] == pytest.approx(loss.item(), rel=1e-12)
    close(mine["dW"], [None] + [-w.grad for w in s.W[1:]], 1e-12, "dW")
    close(mine["db"], [None] + [-b.grad for b in s.b[1:]], 1e-12, "db")
    a, b = (net(torch.as_tensor(x))[1][:, 0].detach().numpy() for net in (teacher, s))
    with np.errstate(invalid="ignore"):
        r = np.nan_to_num(np.corrcoef(a.T, b.T)[:4, 4:])
    assert np.asarray(mine["r"]).reshape(4, 8) == pytest.approx(r, abs=1e-12)


def _line(h):
    return tsf.Teacher.latent_tree(h, 2, .5, seed=0)


@pytest.mark.parametrize("seed", range(4))
def test_exact_flow_is_the_packages(run, seed):
    """Angles, update and flow of two layers on normal inputs, against tsframe.gaussian; rows of any length, some alike."""
    rng = np.random.default_rng(seed)
    n, m, d, c = rng.integers(1, 6, 4).tolist()
    d += 1
    W, W0, V, V0 = (rng.normal(size=k) for k in ((n, d), (m, d), (c, n), (c, m)))
    W[0] = 2 * W0[0] if seed % 2 else -W0[0] + 1e-7 * W[0]
    s, t = tsf.Dense([None, W, V]), tsf.Dense([None, W0, V0])
    mine = run("""(E, [W, V, W0, V0, d]) => { [W, V, W0, V0] = [W, V, W0, V0].map((x) => Float64Array.from(x)); const u = E.gaussianUpdate(W, V, W0, V0, d), plain = (x) => Array.from(x);
        const first = plain(E.angles(W, W0, d)); for (let i = 0; i < 40; i++) E.flowStep(W, V, W0, V0, d, 0.02);
        return { first, dW: plain(u.dW), dV: plain(u.dV), W: plain(W), V: plain(V) } }""",
               [W.ravel().tolist(), V.T.ravel().tolist(), W0.ravel().tolist(), V0.T.ravel().tolist(), d])
    dW, dV = tsf.gaussian.update(s, t)
    flow = tsf.gaussian.flow(s, t, time=.8, step=.02)
    close([mine[k] for k in ("first", "dW", "dV")], [tsf.gaussian.angles(s.W[1], t.W[1]), dW, dV.mT], 1e-12, "update")
    close([mine["W"], mine["V"]], [flow.W[-1], flow.V[-1].mT], 1e-11, "flow")


SPEED = """E => { const t = E.latentTree(E.tree(3), 2, 0.8), s = E.student(t.hierarchy, [2, 8, 8, 2], { random: E.generator(0) }), e = E.expansion(s, t);
  const until = (ms, f) => { let n = 0; for (const end = performance.now() + ms; performance.now() < end; n++) f(); return n / ms * 1000; };
  until(150, () => E.descend(s, t, 1e-9, e));
  const x = new Float64Array(4096).fill(1.1), y = new Float64Array(4096), loop = () => { for (let i = 0; i < 4096; i++) y[i] += 1e-9 * x[i]; };
  until(50, loop);
  return [0, 1, 2].map(() => [until(100, () => E.descend(s, t, 1e-9, e)), until(50, loop)]) }"""


def test_training_is_fast(run):
    """5,000 steps a second on a free core, where a loop of 4096 products takes some 4 µs; a busy core slows both alike."""
    pairs = run(SPEED)
    steps, loops = max(p[0] for p in pairs), max(p[1] for p in pairs)
    assert steps > 5_000 * min(1, loops / 100_000), f"{steps:.0f} steps a second beside {loops:.0f} loops"
