"""Teachers: priors and Bayes by loops, tables as index and as numbers, padding, sampling frequencies, dtypes."""
import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import tsframe as tsf
from strategies import (close, coarse_ladders, few, finest_ladders, hierarchies, latent_teachers, rngs, students)
from witness import dense_tables


def edges(h, l):
    """(parent, slot, child) of every edge from level l down."""
    return [(r, c, b) for r, row in enumerate(h.children[l].tolist()) for c, b in enumerate(row)]


@given(latent_teachers())
def test_priors_by_the_law_of_total_probability(teacher):
    for l in range(teacher.hierarchy.depth, 0, -1):
        for r, c, b in edges(teacher.hierarchy, l):
            for k in range(teacher.states[l - 1]):
                total = sum(float(teacher.prior[l][r, i]) * float(teacher.P[l][r, c, i, k])
                            for i in range(teacher.states[l]))
                assert abs(total - float(teacher.prior[l - 1][b, k])) < 1e-14


@given(latent_teachers(), rngs())
def test_priors_given_and_computed_are_the_same_teacher(teacher, rng):
    again = tsf.Teacher(teacher.hierarchy, teacher.prior, teacher.P, teacher.features, teacher.target)
    assert all(torch.equal(a, b) for a, b in zip(again.prior, teacher.prior))
    level = rng.integers(teacher.hierarchy.depth)
    assume(teacher.states[level] > 1)
    prior = [p.clone() for p in teacher.prior]
    shift = 1e-6 if prior[level][0, 0] < 0.5 else -1e-6
    prior[level][0, 0] += shift
    prior[level][0, 1:] -= shift * prior[level][0, 1:] / prior[level][0, 1:].sum()
    with pytest.raises(ValueError, match=rf"prior\[{level}\] must agree with the tables of every parent: region 0"):
        tsf.Teacher(teacher.hierarchy, prior, teacher.P, teacher.features, teacher.target)


def test_two_parents_that_disagree_are_refused():
    h = tsf.Hierarchy([None, [[0, 1], [1, 2]], [[0, 1]]])
    keep, swap, half = np.eye(2), np.eye(2)[::-1], np.full((2, 2), 0.5)
    top = [np.stack([keep, keep])]
    agree = tsf.Teacher(h, [None, None, [[0.3, 0.7]]], [None, [[keep, keep], [keep, half]], top])
    close(agree.prior[0], torch.tensor([[0.3, 0.7], [0.3, 0.7], [0.5, 0.5]], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"prior\[0\] must agree .* region 1, state [01] has prior 0\.[37], but prior\[1\]"
                                         r"\[[01]\] times P\[1\]\[[01], [01]\] gives 0\.[37]"):
        tsf.Teacher(h, [None, None, [[0.3, 0.7]]], [None, [[keep, keep], [swap, half]], top])


def test_contradictions_are_judged_by_the_dtype():
    h, prior = tsf.Hierarchy.tree(1), torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    P = [None, torch.eye(2, dtype=torch.float64).repeat(1, 2, 1, 1)]
    below = torch.tensor([[0.3, 0.7], [0.3 + 1e-7, 0.7 - 1e-7]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"prior\[0\] must agree"):
        tsf.Teacher(h, [below, prior], P)
    tsf.Teacher(h, [below.float(), prior.float()], [None, P[1].float()])
    nearly = prior.repeat(2, 1) + torch.tensor([[0, 0], [5e-10, -5e-10]], dtype=torch.float64)
    tsf.Teacher(h, [nearly, prior], P)


@given(hierarchies().flatmap(coarse_ladders))
def test_reverse_is_bayes_by_a_loop(ladder):
    teacher = ladder.teacher()
    assert teacher.reverse[0] is None
    for l in range(1, teacher.hierarchy.depth + 1):
        P = dense_tables(teacher, l)
        found = teacher.reverse[l]
        assert found.shape == (*P.shape[:2], teacher.states[l - 1], teacher.states[l])
        for r, c, b in edges(teacher.hierarchy, l):
            for k, i in itertools.product(range(teacher.states[l - 1]), range(teacher.states[l])):
                below = float(teacher.prior[l - 1][b, k])
                want = float(teacher.prior[l][r, i]) * float(P[r, c, i, k]) / below if below else 0.0
                assert abs(float(found[r, c, k, i]) - want) < 1e-13


@given(st.data())
def test_up_and_down_are_adjoint_under_the_prior(data):
    teacher = data.draw(st.one_of(latent_teachers(), hierarchies().flatmap(coarse_ladders).map(lambda x: x.teacher())))
    rng = data.draw(rngs())
    for l in range(1, teacher.hierarchy.depth + 1):
        R, C = teacher.hierarchy.children[l].shape
        x = torch.tensor(rng.normal(size=(2, teacher.hierarchy.regions[l - 1], teacher.states[l - 1], 3)))
        y = torch.tensor(rng.normal(size=(2, R, C, teacher.states[l], 3)))
        up, down = teacher.up(l, x), teacher.down(l, y)
        assert up.shape == y.shape and down.shape == x.shape
        P, live = dense_tables(teacher, l), teacher.prior[l] > 0
        for r, c, b in edges(teacher.hierarchy, l):
            close(up[:, r, c][:, live[r]], (P[r, c] @ x[:, b])[:, live[r]])
        above = (teacher.prior[l][:, None, :, None] * up * y).sum()
        close(above, (teacher.prior[l - 1][..., None] * x * down).sum())
        assert not down[:, teacher.prior[l - 1] == 0].any()


@given(st.data())
@few(25)
def test_an_index_is_its_table_in_everything(data):
    """Codes of a finest ladder are deterministic: the same teacher from numbers and from an index."""
    ladder = data.draw(hierarchies().flatmap(finest_ladders))
    dense = ladder.teacher()
    index = [None] + [dense_tables(dense, l).argmax(-1) for l in range(1, dense.hierarchy.depth + 1)]
    table = [None] + [dense_tables(dense, l) for l in range(1, dense.hierarchy.depth + 1)]
    a = tsf.Teacher(dense.hierarchy, dense.prior, table, dense.features, dense.target)
    b = tsf.Teacher(dense.hierarchy, dense.prior, index, dense.features, dense.target)
    assert not b.P[1].is_floating_point() and a.P[1].is_floating_point()
    assert a.states == b.states and all(torch.equal(x, y) for x, y in zip(a.prior, b.prior))
    student = data.draw(students(ladder.hierarchy, ladder.inputs.shape[-1], ladder.classes))
    ea, eb = (tsf.backward(tsf.expand(student, t), student, t) for t in (a, b))
    for l in range(1, a.hierarchy.depth + 1):
        close(a.reverse[l], b.reverse[l])
        close(a.dense(l), b.dense(l))
        for x, y in ((ea.F, eb.F), (ea.H, eb.H), (ea.D, eb.D), (ea.G, eb.G), (ea.U, eb.U),
                     (tsf.weight_update(ea, a), tsf.weight_update(eb, b)),
                     (tsf.bias_update(ea, a), tsf.bias_update(eb, b))):
            close(x[l], y[l])
    close(tsf.reduced_loss(ea, a), tsf.reduced_loss(eb, b))
    if a.hierarchy.is_tree:
        z = b.sample_states(20, seed=4)
        for l in range(1, a.hierarchy.depth + 1):
            for r, c, child in edges(a.hierarchy, l):
                assert torch.equal(z[l - 1][:, child], index[l][r, c, z[l][:, r]])


@given(st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 4), st.floats(0, 1)))
def test_latent_tree_closed_form(case):
    """P(z_β = z_α) = ρ + (1-ρ)/m; over a path of l edges the polarity is ρ^l (products of symmetric tables)."""
    depth, m, rho = case
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(depth), m, rho, seed=0)
    path = torch.eye(m, dtype=torch.float64)
    for l in range(depth, 0, -1):
        stay, move = rho + (1 - rho) / m, (1 - rho) / m
        for r, c, _ in edges(teacher.hierarchy, l):
            for i, k in itertools.product(range(m), range(m)):
                assert abs(float(teacher.P[l][r, c, i, k]) - (stay if i == k else move)) < 1e-15
        path = path @ teacher.P[l][0, 0]
        close(teacher.prior[l - 1], torch.full((teacher.hierarchy.regions[l - 1], m), 1 / m, dtype=torch.float64))
    close(path, rho**depth * torch.eye(m, dtype=torch.float64) + (1 - rho**depth) / m)


def test_polarity_per_edge_negative_and_at_its_ends():
    h = tsf.Hierarchy.tree(2)
    rho = [None, np.array([[0.1, -0.5], [1.0, 0.0]]), np.array([[0.7, 0.3]])]
    t = tsf.Teacher.latent_tree(h, 3, rho, seed=0)
    for l in (1, 2):
        for r, c, _ in edges(h, l):
            close(t.P[l][r, c], torch.tensor(rho[l][r, c] * np.eye(3) + (1 - rho[l][r, c]) / 3))
    assert torch.equal(t.P[1][1, 0], torch.eye(3, dtype=torch.float64)) and (t.P[1][0, 1].diag() == 0).all()
    assert tsf.Teacher.latent_tree(h, seed=0).states == [2, 2, 2]
    close(tsf.Teacher.latent_tree(h, seed=0).P[1][0, 0], torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64))


def test_drawn_tables_follow_their_seed():
    h = tsf.Hierarchy.tree(2)
    a, b, c = (tsf.Teacher.latent_tree(h, [2, 3, 4], None, seed=s) for s in (5, torch.Generator().manual_seed(5), 6))
    assert torch.equal(a.P[1], b.P[1]) and torch.equal(a.P[2], b.P[2]) and not torch.equal(a.P[1], c.P[1])
    assert a.P[1].shape == (2, 2, 3, 2) and a.P[2].shape == (1, 2, 4, 3) and a.states == [2, 3, 4]
    close(a.P[1].sum(-1), torch.ones(2, 2, 3, dtype=torch.float64))
    many = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(8), 3, None, seed=1).P[1].flatten(0, 2)   # Dirichlet(1): mean 1/3
    assert (many.mean(0) - 1 / 3).abs().max() < 5 * (1 / 18 / len(many)) ** 0.5
    assert abs(many.var(0).mean() - 1 / 18) < 0.01


def test_overlapping_fields_take_symmetric_tables_and_refuse_drawn_ones():
    h = tsf.Hierarchy.pyramid(4, 2, 1)
    assert tsf.Teacher.latent_tree(h, 2, 0.5, seed=0).hierarchy is h
    with pytest.raises(ValueError, match="polarity must be given where fields overlap"):
        tsf.Teacher.latent_tree(h, 2, None, seed=0)


# ---- sampling ----------------------------------------------------------------------------------------------------

def within_five_sigma(count, n, p):
    assert abs(count - n * p) <= 5 * (n * p * (1 - p)) ** 0.5 + 1e-9, f"{count} of {n}, expected {n * p}"


def test_sampled_frequencies_of_every_state_and_edge():
    h, n = tsf.Hierarchy.tree(2), 40_000
    teacher = tsf.Teacher.latent_tree(h, [3, 2, 3], None, seed=2)
    z = teacher.sample_states(n, seed=0)
    assert [x.shape for x in z] == [(n, 4), (n, 2), (n, 1)]
    for l in range(3):
        for r in range(h.regions[l]):
            for i in range(teacher.states[l]):
                within_five_sigma(int((z[l][:, r] == i).sum()), n, float(teacher.prior[l][r, i]))
    for l in (1, 2):
        for r, c, b in edges(h, l):
            for i, k in itertools.product(range(teacher.states[l]), range(teacher.states[l - 1])):
                both = int(((z[l][:, r] == i) & (z[l - 1][:, b] == k)).sum())
                within_five_sigma(both, n, float(teacher.prior[l][r, i] * teacher.P[l][r, c, i, k]))


def test_siblings_are_independent_given_their_parent():
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(1), 2, 0.5, seed=0)
    n = 40_000
    z = teacher.sample_states(n, seed=1)
    for top, a, b in itertools.product(range(2), repeat=3):
        joint = int(((z[1][:, 0] == top) & (z[0][:, 0] == a) & (z[0][:, 1] == b)).sum())
        within_five_sigma(joint, n, 0.5 * (0.75 if a == top else 0.25) * (0.75 if b == top else 0.25))


def test_labels_are_drawn_from_the_target_and_inputs_are_the_features():
    h, n = tsf.Hierarchy.tree(1), 40_000
    features = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, 2)))
    target = torch.tensor([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25]], dtype=torch.float64)
    P = np.random.default_rng(1).dirichlet(np.ones(3), size=(1, 2, 2))
    teacher = tsf.Teacher(h, [None, [[0.4, 0.6]]], [None, P], features, target)
    inputs, labels = teacher.sample(n, seed=7)
    assert inputs.shape == (n, 2, 2) and labels.shape == (n,) and labels.dtype == torch.long
    marginal = 0.4 * target[0] + 0.6 * target[1]
    for y in range(3):
        within_five_sigma(int((labels == y).sum()), n, float(marginal[y]))
    for r, k in itertools.product(range(2), range(3)):                   # each row is one state's features, as often
        hits = int((inputs[:, r] == features[r, k]).all(-1).sum())
        within_five_sigma(hits, n, float(teacher.prior[0][r, k]))
    posterior = labels[(inputs[:, 0] == features[0, 0]).all(-1)]
    given_leaf = torch.tensor([0.4, 0.6]).double() * torch.tensor(P[0, 0, :, 0])
    for y in range(3):
        within_five_sigma(int((posterior == y).sum()), len(posterior), float(given_leaf @ target[:, y] / given_leaf.sum()))


def test_sampling_follows_its_seed_and_advances_a_generator():
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(3), seed=0)
    a, b = teacher.sample(50, seed=3), teacher.sample(50, seed=3)
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    rng = torch.Generator().manual_seed(3)
    first, second = teacher.sample(50, seed=rng), teacher.sample(50, seed=rng)
    assert torch.equal(first[0], a[0]) and not torch.equal(first[0], second[0])
    assert not torch.equal(teacher.sample(50, seed=4)[0], a[0])
    x, y = teacher.sample(0, seed=0)
    assert x.shape == (0, 8, 2) and y.shape == (0,)


def test_sampling_leaves_torch_s_own_generator_alone():
    teacher, state = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), 2, None, seed=0), torch.get_rng_state()
    teacher.sample(10, seed=0)
    tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), 2, None, seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_deterministic_tables_hand_the_label_down():
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(3), 3, 1.0, seed=0)
    inputs, labels = teacher.sample(100, seed=0)
    assert torch.equal(inputs.argmax(-1), labels[:, None].expand(-1, 8)) and labels.unique().numel() == 3


def test_sampling_never_draws_a_state_of_probability_zero():
    P = [None, [[[[0, 1, 0], [0, 0.5, 0.5]]] * 2]]
    teacher = tsf.Teacher(tsf.Hierarchy.tree(1), [None, [[0.0, 1.0]]], P)
    z = teacher.sample_states(2000, seed=0)
    assert (z[1] == 1).all() and (z[0] > 0).all() and set(z[0].flatten().tolist()) == {1, 2}


# ---- padding, dtypes, frozenness --------------------------------------------------------------------------------

@given(latent_teachers(padding=True), st.data())
def test_nothing_depends_on_states_of_prior_zero(teacher, data):
    """Every number that belongs to a state of prior 0 is replaced: nothing else moves and no NaN appears."""
    h, rng = teacher.hierarchy, data.draw(rngs())
    P, prior = [None if p is None else p.clone() for p in teacher.P], [p.clone() for p in teacher.prior]
    features, target = teacher.features.clone(), teacher.target.clone()
    features[prior[0] == 0] = torch.tensor(rng.normal(size=features.shape))[prior[0] == 0]
    for l in range(1, h.depth + 1):
        dead = (prior[l] == 0)[:, None].expand(P[l].shape[:3])
        junk = torch.tensor(rng.dirichlet(np.ones(P[l].shape[-1]), size=P[l].shape[:3]))
        P[l][dead] = junk[dead] * data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    target[prior[-1][0] == 0] = 0.1 * data.draw(st.sampled_from([0.0, 1.0, 5.0]))
    other = tsf.Teacher(h, prior, P, features, target)
    student = data.draw(students(h, features.shape[-1], target.shape[-1]))
    runs = [tsf.backward(tsf.expand(student, t), student, t) for t in (teacher, other)]
    for l in range(1, h.depth + 1):
        for x, y in [(r.F[l], s.F[l]) for r, s in [runs]] + [(r.G[l], s.G[l]) for r, s in [runs]] + [
                (r.D[l], s.D[l]) for r, s in [runs]]:
            close(x, y)
            assert not x[..., prior[l] == 0, :].any()
        close(tsf.weight_update(runs[0], teacher)[l], tsf.weight_update(runs[1], other)[l])
        close(teacher.reverse[l], other.reverse[l])
        assert not other.P[l][(prior[l] == 0)[:, None].expand(P[l].shape[:3])].any(), "rows of prior 0 are stored as 0"
    assert not other.features[prior[0] == 0].any() and not other.target[prior[-1][0] == 0].any()


def test_padding_rows_are_exempt_from_the_sum_check_and_others_are_not():
    h = tsf.Hierarchy.tree(1)
    P = np.tile([[1.0, 0.0], [0.0, 0.0]], (1, 2, 1, 1))
    teacher = tsf.Teacher(h, [None, [[1.0, 0.0]]], [None, P])
    assert teacher.live[0].tolist() == [[True, False]] * 2
    with pytest.raises(ValueError, match=r"P\[1\]\[0, 0\] must have rows that sum to 1; row 1 sums to 0"):
        tsf.Teacher(h, [None, [[0.5, 0.5]]], [None, P])


@given(latent_teachers(), st.data())
@few(20)
def test_float32_follows_float64(teacher, data):
    single = teacher.to(torch.float32)
    assert single.dtype == torch.float32 and all(p.dtype == torch.float32 for p in single.prior)
    assert single.features.dtype == single.target.dtype == single.reverse[1].dtype == torch.float32
    student = data.draw(students(teacher.hierarchy, teacher.features.shape[-1], teacher.target.shape[-1],
                                 ensembles=((), (2,))))
    with pytest.raises(TypeError, match="one dtype; found torch.float64 and torch.float32"):
        tsf.expand(student, single)
    e = tsf.expand(student, teacher)
    gates = [None if d is None else d.clone() for d in e.D]
    F = tsf.expand(student.to(torch.float32), single, gates=gates).F
    assert F[-1].dtype == torch.float32
    close(F[-1].double(), e.F[-1], 1e-4)
    inputs, labels = single.sample(5, seed=0)
    assert inputs.dtype == torch.float32


def test_to_keeps_an_index_an_index():
    h = tsf.Hierarchy.tree(1)
    index = torch.tensor([[[0, 1], [1, 1]]])
    teacher = tsf.Teacher(h, [[[0.4, 0.6], [0.0, 1.0]], [[0.4, 0.6]]], [None, index]).to(torch.float32)
    assert torch.equal(teacher.P[1], index) and teacher.dtype == torch.float32


def test_a_teacher_is_frozen_and_keeps_copies():
    h = tsf.Hierarchy.tree(1)
    top, P = torch.tensor([[0.5, 0.5]], dtype=torch.float64), torch.eye(2, dtype=torch.float64).repeat(1, 2, 1, 1)
    features, target = torch.eye(2, dtype=torch.float64).repeat(2, 1, 1), torch.eye(2, dtype=torch.float64)
    teacher = tsf.Teacher(h, [None, top], [None, P], features, target)
    for x in (top, P, features, target):
        x.fill_(9)
    assert teacher.prior[1].tolist() == [[0.5, 0.5]] and teacher.P[1].max() == 1
    assert teacher.features.max() == 1 and teacher.target.max() == 1
    with pytest.raises(AttributeError):
        teacher.prior = []


def test_identity_is_the_default_of_features_and_target():
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), 3, 0.4, seed=0)
    assert torch.equal(teacher.features, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert torch.equal(teacher.target, torch.eye(3, dtype=torch.float64))
    wide = tsf.Teacher(tsf.Hierarchy.tree(1), [None, [[1.0]]], [None, np.full((1, 2, 1, 40), 1 / 40)])
    assert wide.features.shape == (2, 40, 40) and wide.target.tolist() == [[1.0]]
