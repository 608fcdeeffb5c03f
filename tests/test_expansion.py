"""The recursion against measurement, autograd and loops; the residual parts against covariances."""
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tsframe as tsf
from strategies import (close, coarse_ladders, either_ladder, few, finest_ladders, hierarchies, latent_teachers,
                        overlapping_pyramids, rngs, scenes, students)
from witness import dense_tables, descent, mean_given, network, recursion, sample_loss, weights_of


def members(student):
    """Every index of the ensemble, as tuples."""
    return [tuple(i) for i in torch.ones(student.ensemble).nonzero().tolist()]


def run(student, teacher, gates="mean"):
    """Forward, backward and both updates."""
    e = tsf.backward(tsf.expand(student, teacher, gates), student, teacher)
    return e, tsf.weight_update(e, teacher), tsf.bias_update(e, teacher)


def same_updates(found, want, index):
    for a, b in zip(found[1:], want[1:]):
        if b is not None:
            close(a[index], b)


def exactness(scene):
    ladder, student = scene
    truth, teacher = tsf.measure(student, ladder), ladder.teacher()
    e, dW, db = run(student, teacher, truth.D)
    for l in range(1, student.hierarchy.depth + 1):
        for a, b in ((e.F, truth.F), (e.H, truth.H), (e.D, truth.D), (e.G, truth.G), (e.U, truth.U),
                     (dW, truth.dW), (db, truth.db)):
            close(a[l], b[l])
    close(e.F[0], truth.F[0])
    for index in members(student):
        W, b = weights_of(student.member(*index))
        f, _ = network(student.hierarchy, W, b, ladder.inputs, student.activation)
        want = descent(sample_loss(f[-1], ladder.labels, ladder.weights), W, b)
        same_updates(dW, want[0], index)
        same_updates(db, want[1], index)


@given(scenes(finest_ladders, overlapping_pyramids()))
@few(50)
def test_finest_ladder_is_measurement_and_autograd_on_pyramids(scene):
    exactness(scene)


@given(scenes(finest_ladders))
def test_finest_ladder_is_measurement_and_autograd_on_any_hierarchy(scene):
    exactness(scene)


@given(scenes(finest_ladders))
@few(25)
def test_on_a_finest_ladder_the_mean_gates_are_the_true_ones(scene):
    """h is a function of the content, so the reduced model is the network (up to a gate that stands at 0)."""
    ladder, student = scene
    truth = tsf.measure(student, ladder)
    if any((h[..., ladder.teacher().prior[l] > 0, :].abs() < 1e-9).any() for l, h in enumerate(truth.H) if l):
        return
    e, dW, _ = run(student, ladder.teacher())
    for l in range(1, student.hierarchy.depth + 1):
        close(e.F[l], truth.F[l])
        close(e.G[l], truth.G[l])
        close(dW[l], truth.dW[l])


@given(scenes(either_ladder, ensembles=((), (2,))))
@few(20)
def test_recursion_by_a_loop_over_regions(scene):
    """F, H, D from the equation; G and U from Bayes and the sum over parents; both updates from their sums."""
    ladder, student = scene
    teacher, h, truth = ladder.teacher(), ladder.hierarchy, tsf.measure(student, ladder)
    for gates in ("mean", truth.D):
        e, dW, db = run(student, teacher, gates)
        for index in members(student):
            W, b = [None if w is None else w.detach()[index] for w in student.W], [
                None if x is None else x.detach()[index] for x in student.b]
            given_gates = None if gates == "mean" else [None if d is None else d[index] for d in gates]
            F, H = recursion(W, b, teacher, student.activation, given_gates)
            G = teacher.target[None] - F[-1]
            for l in range(h.depth, 0, -1):
                P, p = dense_tables(teacher, l), teacher.prior[l]
                close(e.F[l][index], F[l])
                close(e.H[l][index], H[l])
                close(e.G[l][index], G)
                U = torch.zeros(h.regions[l - 1], teacher.states[l - 1], student.widths[l - 1], dtype=torch.float64)
                for r, row in enumerate(h.children[l].tolist()):
                    close(db[l][index][r], (p[r][:, None] * G[r]).sum(0))
                    for c, child in enumerate(row):
                        close(dW[l][index][r, c], (P[r, c] @ F[l - 1][child]).T @ torch.diag(p[r]) @ G[r])
                        for k in range(teacher.states[l - 1]):
                            below = teacher.prior[l - 1][child, k]
                            if below > 0:
                                U[child, k] += (p[r] * P[r, c, :, k] / below) @ G[r] @ W[l][r, c].T
                if l > 1:
                    close(e.U[l - 1][index], U)
                    D = e.D[l - 1][index]
                    live = (teacher.prior[l - 1] > 0)[..., None]
                    if student.activation == "linear":
                        want = live.expand_as(D).double() if gates == "mean" else gates[l - 1][index]
                    else:
                        want = ((H[l - 1] > 0) & live).double() if gates == "mean" else gates[l - 1][index]
                    if H[l - 1][live.expand_as(H[l - 1])].abs().min() > 1e-9:
                        assert torch.equal(D, want)
                    G = D * U


@given(st.data())
def test_reduced_update_is_the_gradient_of_the_reduced_loss(data):
    teacher = data.draw(st.one_of(latent_teachers(), latent_teachers(padding=True),
                                  hierarchies().flatmap(coarse_ladders).map(lambda ladder: ladder.teacher())))
    student = data.draw(students(teacher.hierarchy, teacher.features.shape[-1], teacher.target.shape[-1]))
    e, dW, db = run(student, teacher)
    loss = tsf.reduced_loss(e, teacher)
    assert loss.shape == student.ensemble
    for index in members(student):
        W, b = weights_of(student.member(*index))
        F, H = recursion(W, b, teacher, student.activation)
        want = ((F[-1][0] - teacher.target).square().sum(-1) * teacher.prior[-1][0]).sum() / 2
        close(loss[index], want)
        minus = descent(want, W, b)
        same_updates(dW, minus[0], index)
        same_updates(db, minus[1], index)


@given(st.data())
@few(20)
def test_expand_is_differentiable_and_gives_the_same_gradient(data):
    teacher = data.draw(st.one_of(latent_teachers(), hierarchies().flatmap(either_ladder).map(lambda x: x.teacher())))
    student = data.draw(students(teacher.hierarchy, teacher.features.shape[-1], teacher.target.shape[-1]))
    e, dW, db = run(student, teacher)
    given_parameters = list(student.parameters())
    found = torch.autograd.grad(tsf.reduced_loss(e, teacher).sum(), given_parameters, allow_unused=True)
    want = {f"W{l}": w for l, w in enumerate(dW) if l} | {f"b{l}": x for l, x in enumerate(db) if l}
    for (name, value), g in zip(student.named_parameters(), found):
        close(torch.zeros_like(value) if g is None else -g, want[name])


def test_updates_and_residuals_are_differentiable_too():
    """Gradients of a gradient's size: against central differences along a random direction."""
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), 2, 0.6, seed=0)
    student = tsf.Student(teacher.hierarchy, [2, 3, 2], seed=1)
    ladder = tsf.Ladder.enumerate(teacher)
    sizes = {"update": lambda: sum(w.square().sum() for w in run(student, teacher)[1][1:]),
             "measured update": lambda: sum(w.square().sum() for w in tsf.measure(student, ladder).dW[1:]),
             "residual": lambda: sum(x["total"].square().sum() for x in tsf.residuals(student, ladder).dW[1:])}
    direction = torch.randn(student.W[2].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name, size in sizes.items():
        slope = (torch.autograd.grad(size(), student.W[2])[0] * direction).sum()
        ends = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                student.W[2].add_(step * direction)
                ends.append(size().item())
        with torch.no_grad():
            student.W[2].add_(1e-6 * direction)
        assert abs(slope.item() - (ends[0] - ends[1]) / 2e-6) < 1e-6 * max(1, abs(slope.item())), name


@given(scenes(either_ladder, ensembles=((), (2,))))
@few(20)
def test_measure_by_a_loop(scene):
    ladder, student = scene
    truth, h, p = tsf.measure(student, ladder), ladder.hierarchy, ladder.weights
    e_y = torch.eye(ladder.classes, dtype=torch.float64)[ladder.labels]
    for index in members(student):
        W, b = weights_of(student.member(*index))
        f, pre = network(h, W, b, ladder.inputs, student.activation)
        loss = (f[-1][:, 0] - e_y).square().sum() / 2
        for l in range(1, h.depth + 1):
            g = -torch.autograd.grad(loss, pre[l], retain_graph=True)[0]
            gate = ((pre[l] > 0) if student.activation == "relu" and l < h.depth else pre[l] == pre[l]).double()
            for r, row in enumerate(h.children[l].tolist()):
                for name, x in (("F", f[l]), ("H", pre[l]), ("D", gate), ("G", g)):
                    want = mean_given(ladder.codes[l][:, r], p, x[:, r].detach(), ladder.states[l])
                    close(getattr(truth, name)[l][index][r], want)
                close(truth.db[l][index][r], p @ g[:, r])
                for c, child in enumerate(row):
                    close(truth.dW[l][index][r, c], f[l - 1][:, child].T @ (p[:, None] * g[:, r]))
                    want = mean_given(ladder.codes[l][:, r], p, f[l - 1][:, child].detach(), ladder.states[l])
                    seen = truth.below[l] if l == 1 else truth.below[l][index]   # leaves: the same for every student
                    close(seen[r, c], want)


@given(scenes(either_ladder, ensembles=((), (2,))))
@few(20)
def test_updates_follow_the_tables_that_they_are_given(scene):
    """Of measured tables: (P F)^T Λ G with the true F and G, exact on a finest ladder; and of a G put in by hand."""
    ladder, student = scene
    truth, teacher = tsf.measure(student, ladder), ladder.teacher()
    e = tsf.backward(tsf.expand(student, teacher), student, teacher)
    doubled = dataclasses.replace(e, G=[None if g is None else 2 * g for g in e.G])
    for found, F, G in ((truth, truth.F, truth.G), (doubled, e.F, doubled.G)):
        dW, db = tsf.weight_update(found, teacher), tsf.bias_update(found, teacher)
        for index, l in itertools.product(members(student), range(1, ladder.hierarchy.depth + 1)):
            P, below = dense_tables(teacher, l), F[l - 1] if l == 1 else F[l - 1][index]
            for r, row in enumerate(ladder.hierarchy.children[l].tolist()):
                g = teacher.prior[l][r][:, None] * G[l][index][r]
                close(db[l][index][r], g.sum(0))
                for c, child in enumerate(row):
                    close(dW[l][index][r, c], (P[r, c] @ below[child]).T @ g)


# ---- residuals ---------------------------------------------------------------------------------------------------

KEYS = dict(F={"gate", "focus", "inherited", "gate table", "total"},
            G={"gate", "broadness", "inherited", "gate table", "total"},
            dW={"focus", "decorrelation", "inherited", "total"})


@given(scenes(either_ladder), st.booleans())
def test_residual_parts_add_up_to_truth_minus_recursion(scene, mean):
    ladder, student = scene
    truth, teacher = tsf.measure(student, ladder), ladder.teacher()
    gates = "mean" if mean else truth.D
    e, dW, _ = run(student, teacher, gates)
    found = tsf.residuals(student, ladder, gates)
    for name, true, own in (("F", truth.F, e.F), ("G", truth.G, e.G), ("dW", truth.dW, dW)):
        parts = getattr(found, name)
        assert len(parts) == student.hierarchy.depth + 1 and parts[0] is None
        for l in range(1, student.hierarchy.depth + 1):
            assert set(parts[l]) == KEYS[name]
            size = max([1.0] + [x.detach().abs().max().item() for x in (true[l], own[l], *parts[l].values())])
            assert all(torch.isfinite(x).all() and x.shape == true[l].shape for x in parts[l].values())
            assert (parts[l]["total"] - (true[l] - own[l])).abs().max() <= 1e-12 * size
            total = sum(x for key, x in parts[l].items() if key != "total")
            assert (parts[l]["total"] - total).abs().max() <= 1e-12 * size
            if name != "dW":
                assert not any(x[..., teacher.prior[l] == 0, :].any() for x in parts[l].values())
            if not mean and name != "dW":
                assert parts[l]["gate table"].abs().max() <= 1e-12 * size
    top = found.F[-1]
    assert not top["gate"].any() and not top["gate table"].any()


@given(scenes(either_ladder, ensembles=((), (2,))))
@few(15)
def test_gate_focus_broadness_and_decorrelation_by_their_definitions(scene):
    """Cov(f',h|z), Cov(f',u|z), Σ P(z) Cov(f_k,g_j|z) row by row, and what focus and broadness compare."""
    ladder, student = scene
    h, p, teacher, found = ladder.hierarchy, ladder.weights, ladder.teacher(), tsf.residuals(student, ladder)
    f, gates, pre, u, g = student.propagate(ladder.inputs, ladder.labels)

    def mean(l, r, x):
        return mean_given(ladder.codes[l][:, r], p, x, ladder.states[l])

    def covariance(l, r, x, y):
        return mean(l, r, x * y) - mean(l, r, x) * mean(l, r, y)

    with torch.no_grad():
        for index, l in itertools.product(members(student), range(1, h.depth + 1)):
            P, full = dense_tables(teacher, l), dict(F=found.F[l], G=found.G[l], dW=found.dW[l])
            parts = {k: {n: x[index] for n, x in v.items()} for k, v in full.items()}
            large = max([1.0] + [x[l][index].abs().max().item() ** 2 for x in (f[1:] and f, pre, u, g) if l < len(x)])
            below = f[l - 1] if l == 1 else f[l - 1][index]              # leaves are the same for every student
            large = max(large, below.abs().max().item() ** 2)

            def alike(a, b):
                assert (a - b).abs().max() <= 1e-12 * large * max(1.0, student.W[l].abs().max().item())
            for r, row in enumerate(h.children[l].tolist()):
                alike(parts["F"]["gate"][r], covariance(l, r, gates[l][index][r], pre[l][index][r]))
                if l < h.depth:
                    alike(parts["G"]["gate"][r], covariance(l, r, gates[l][index][r], u[l][index][r]))
                gap = 0
                for c, b in enumerate(row):
                    focus = mean(l, r, below[b]) - P[r, c] @ mean(l - 1, b, below[b])
                    gap = gap + focus @ student.W[l][index][r, c]
                    alike(parts["dW"]["focus"][r, c], focus.T @ (teacher.prior[l][r][:, None] * mean(l, r, g[l][index][r])))
                    both = below[b].T @ (p[:, None] * g[l][index][r])
                    cells = mean(l, r, below[b]).T @ (teacher.prior[l][r][:, None] * mean(l, r, g[l][index][r]))
                    alike(parts["dW"]["decorrelation"][r, c], both - cells)
                alike(parts["F"]["focus"][r], mean(l, r, gates[l][index][r]) * gap)
            if l < h.depth:
                for b, pairs in enumerate(h.parents(l)):
                    gap = 0
                    for a, c in pairs:
                        up = dense_tables(teacher, l + 1)[a, c]
                        prior = teacher.prior[l][b][:, None]
                        back = torch.where(prior > 0, (teacher.prior[l + 1][a][:, None] * up).T / prior.clamp(min=1e-300), 0)
                        signal = g[l + 1][index][a]
                        gap = gap + (mean(l, b, signal) - back @ mean(l + 1, a, signal)) @ student.W[l + 1][index][a, c].T
                    size = 1e-12 * max(1.0, *(x[index].abs().max().item() for x in (u[l], g[l + 1], student.W[l + 1])))**2
                    assert (parts["G"]["broadness"][b] - mean(l, b, gates[l][index][b]) * gap).abs().max() <= size


def test_gate_part_of_f_is_never_negative():
    """The gate lemma: Cov(1[h>0], h | z) >= 0."""
    h, rng = tsf.Hierarchy.pyramid(5, 3, 1), np.random.default_rng(0)
    ladder = tsf.Ladder.coarse(h, rng.normal(size=(60, 5, 2)), rng.integers(0, 2, 60),
                               [rng.integers(0, 3, (60, r)) for r in h.regions])
    gate = tsf.residuals(tsf.Student(h, [2, 6, 2], ensemble=(4,), seed=0), ladder).F[1]["gate"]
    assert gate.min() > -1e-14 and gate.max() > 0.1


# ---- what the recursion promises about its arguments ------------------------------------------------------------

@given(scenes(either_ladder, ensembles=((2,), (2, 2))))
@few(15)
def test_members_expand_as_their_solo_runs(scene):
    ladder, many = scene
    teacher = ladder.teacher()
    truth, (e, dW, db) = tsf.measure(many, ladder), run(many, teacher)
    loss = tsf.reduced_loss(e, teacher)
    for index in members(many):
        solo = many.member(*index)
        t1, (e1, dW1, db1) = tsf.measure(solo, ladder), run(solo, teacher)
        for l in range(1, many.hierarchy.depth + 1):
            for a, b in ((e.F, e1.F), (e.G, e1.G), (dW, dW1), (db, db1), (truth.G, t1.G), (truth.dW, t1.dW)):
                close(a[l][index], b[l])
        close(loss[index], tsf.reduced_loss(e1, teacher))


@given(scenes(either_ladder))
@few(20)
def test_arguments_are_left_unchanged_and_results_repeat(scene):
    ladder, student = scene
    teacher = ladder.teacher()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    tables = [x.clone() for x in (*teacher.prior, *teacher.P[1:], teacher.features, teacher.target)]
    e = tsf.expand(student, teacher)
    first = tsf.backward(e, student, teacher)
    assert e.G is None, "backward returns a new expansion"
    again, dW, _ = run(student, teacher)
    tsf.residuals(student, ladder)
    assert torch.equal(first.F[-1], again.F[-1]) and torch.equal(first.G[-1], again.G[-1])
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())
    for a, b in zip(tables, (*teacher.prior, *teacher.P[1:], teacher.features, teacher.target)):
        assert torch.equal(a, b)
    with torch.no_grad():                                                # nothing stale is kept between calls
        student.W[1].mul_(-1.5)
    moved, W = run(student, teacher)[0], weights_of(student)
    if not student.ensemble:
        close(moved.F[-1], recursion(*W, teacher, student.activation)[0][-1])


def test_conventions_of_the_lists():
    h = tsf.Hierarchy.pyramid(4, 2, 1)
    teacher = tsf.Teacher.latent_tree(h, 3, 0.5, seed=0)
    student = tsf.Student(h, [3, 4, 5, 3], ensemble=(2,), bias=True, seed=0)
    e, dW, db = run(student, teacher)
    truth = tsf.measure(student, tsf.Ladder.finest(h, np.eye(3)[np.random.default_rng(0).integers(0, 3, (6, 4))], [0, 1, 2] * 2))
    for x in (e.D, e.H, e.G, dW, db, truth.D, truth.H, truth.G, truth.dW, truth.db):
        assert isinstance(x, list) and len(x) == 4 and x[0] is None
    assert e.F[0].shape[-3:] == (4, 3, 3) and (e.D[-1] == 1).all() and (truth.D[-1] == 1).all()
    for l, (r, n) in enumerate(zip(h.regions, student.widths)):
        if l:
            assert e.F[l].shape == e.G[l].shape == e.H[l].shape == (2, r, 3, n)
            assert dW[l].shape == student.W[l].shape and db[l].shape == student.b[l].shape
    close(e.G[-1], (teacher.target - e.F[-1]))
    assert tsf.expand(student, teacher).G is None


def test_gates_may_be_any_tables_between_0_and_1():
    h = tsf.Hierarchy.tree(2)
    teacher, student = tsf.Teacher.latent_tree(h, seed=0), tsf.Student(h, [2, 3, 2], seed=0)
    half = [None, torch.full((2, 2, 3), 0.5, dtype=torch.float64), torch.ones(1, 2, 2, dtype=torch.float64)]
    e = tsf.expand(student, teacher, gates=half)
    close(e.F[1], e.H[1] / 2)
    close(tsf.backward(e, student, teacher).G[1], tsf.backward(e, student, teacher).U[1] / 2)
    ignored = tsf.expand(student, teacher, gates=[*half[:2], None])      # the top is linear whatever stands there
    close(ignored.F[-1], e.F[-1])


def test_depth_six_population_gradient_of_2_to_the_64_inputs():
    """One deep case against autograd through the bare recursion."""
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(6), 2, 0.8, seed=0)
    student = tsf.Student(teacher.hierarchy, [2] + [16] * 5 + [2], seed=0)
    W, b = weights_of(student)
    F, _ = recursion(W, b, teacher)
    loss = ((F[-1][0] - teacher.target).square().sum(-1) * teacher.prior[-1][0]).sum() / 2
    for a, w in zip(run(student, teacher)[1][1:], descent(loss, W, b)[0][1:]):
        close(a, w)
    assert loss > 0.01


@given(latent_teachers(), st.data())
@few(15)
def test_forward_is_exact_for_a_linear_student_on_a_latent_tree(teacher, data):
    """theory 3e: focus holds by the Markov property; and mean gates of a linear student are 1."""
    student = data.draw(students(teacher.hierarchy, teacher.features.shape[-1], teacher.target.shape[-1]))
    linear = tsf.Student(teacher.hierarchy, student.widths, ensemble=student.ensemble, activation="linear",
                         bias=student.b[1] is not None, seed=0)
    linear.load_state_dict(student.state_dict())
    ladder = tsf.Ladder.enumerate(teacher)
    truth, e = tsf.measure(linear, ladder), tsf.expand(linear, teacher)
    for a, b in zip(e.F, truth.F):
        close(a, b, 1e-11)


def test_an_index_and_a_batch_of_students_stay_float32():
    h = tsf.Hierarchy.pyramid(4, 3, 1)
    index = [None, torch.zeros(2, 3, 1, dtype=torch.long), torch.zeros(1, 2, 1, dtype=torch.long)]
    prior = [torch.ones(r, 1) for r in h.regions]
    teacher = tsf.Teacher(h, prior, index)
    student = tsf.Student(h, [1, 2, 1], ensemble=(3,), seed=0).to(torch.float32)
    e, dW, _ = run(student, teacher)
    assert e.G[1].dtype == dW[1].dtype == torch.float32


@pytest.mark.parametrize("scale", [1e-8, 1e4])
def test_exact_at_extreme_weights(scale):
    h, rng = tsf.Hierarchy.pyramid(5, 3, 2), np.random.default_rng(1)
    ladder = tsf.Ladder.finest(h, rng.normal(size=(3, 2))[rng.integers(0, 3, (20, 5))], rng.integers(0, 2, 20))
    student = tsf.Student(h, [2, 5, 2], bias=True, seed=0)
    with torch.no_grad():
        for w in student.parameters():
            w.mul_(scale)
    exactness((ladder, student))


def test_the_update_is_that_of_the_teacher_and_the_tables_it_is_given():
    h = tsf.Hierarchy.tree(2)
    teacher, other = (tsf.Teacher.latent_tree(h, 2, ρ, seed=0) for ρ in (0.9, 0.2))
    student = tsf.Student(h, [2, 3, 2], seed=0)
    for change in (lambda e: other, lambda e: e.F.__setitem__(1, e.F[1] + 1) or teacher):
        e = tsf.backward(tsf.expand(student, teacher), student, teacher)
        law = change(e)
        for a, b in zip(tsf.weight_update(e, law)[1:], tsf.weight_update(dataclasses.replace(e), law)[1:]):
            close(a, b)                                                  # a replaced expansion keeps nothing
