"""Correlations, matches and groups against numpy and plain search."""
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tsframe as tsf
from tsframe.correspondence import (Correlation, assignment, best_match, colinear_groups, contribution, correlation,
                                    layer_correlations, ranks, state_correlations, table_correlations)
from tsframe.dense import Dense
from tsframe.draws import dense_student, dense_teacher, near_teacher, normal_inputs, tuned
from strategies import close, few, finest_ladders

seeds = st.integers(0, 999)


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def given_ρ(ρ):
    ρ = torch.as_tensor(ρ, dtype=torch.float64)
    return Correlation(ρ, torch.zeros(ρ.shape[-1], dtype=torch.bool), torch.zeros(ρ.shape[-2], dtype=torch.bool))


@few(20)
@given(seeds, st.integers(2, 30))
def test_correlations_are_numpys_and_dead_nodes_are_apart(seed, rows):
    f, f0 = normal(2, rows, 4, seed=seed), normal(rows, 3, seed=seed + 1)
    f[..., 3], f0[:, 2] = 0, 0.1                                    # nodes that do not vary
    c = correlation(f, f0)
    for i in range(2):
        close(c.ρ[i, :2, :3], np.corrcoef(f0[:, :2].T, f[i, :, :3].T)[:2, 2:], 1e-12)
    assert not c.ρ[:, 2].any() and not c.ρ[..., 3].any()
    assert c.dead.tolist() == [[False] * 3 + [True]] * 2 and c.silent.tolist() == [False, False, True]
    close(correlation(1e-150 * f, 1e100 * f0 + 0).ρ, c.ρ, 1e-9)


@few(15)
@given(seeds)
def test_weights_count_rows_again(seed):
    f, f0, times = normal(5, 3, seed=seed), normal(5, 2, seed=seed + 1), torch.tensor([1, 3, 0, 2, 2])
    a, b = correlation(f, f0, times / 8.0), correlation(f.repeat_interleave(times, 0), f0.repeat_interleave(times, 0))
    close(a.ρ, b.ρ, 1e-12)


@few(20)
@given(seeds, st.integers(1, 4), st.integers(0, 2))
def test_the_assignment_is_the_best_of_all(seed, m, more):
    c = given_ρ(normal(3, m, m + more, seed=seed))
    a, b = assignment(c), best_match(c)
    for i in range(3):
        best = max(sum(c.ρ[i, j, k].item() for j, k in enumerate(p)) for p in permutations(range(m + more), m))
        assert a.value[i].sum().item() == pytest.approx(best) and len(set(a.winner[i].tolist())) == m
    assert (b.value >= a.value).all() and torch.equal(c.ρ.max(-1).values, b.value)


def test_shared_winners_and_ranks_by_hand():
    before, after = given_ρ([[0.1, 0.5, 0.2], [0.3, 0.3, 0.0], [0, -1, 0]]), given_ρ([[0, 0, 1.0], [1, 0, 0], [0.5, 0.4, 0]])
    m = best_match(after)
    assert m.winner.tolist() == [2, 0, 0] and m.shared.tolist() == [False, True, True]
    assert ranks(before, after).tolist() == [1, 0, 0]
    assert assignment(after).winner.tolist() == [2, 0, 1]
    assert best_match(given_ρ([[-1.0, 0.2]])).winner.tolist() == [1], "a negated copy counts as missing"


def test_a_copied_teacher_is_found_layer_by_layer():
    t, x = dense_teacher([4, 3, 5, 2], entries=None, seed=0), normal_inputs(4, 2.0)(500, seed=0)
    t = tuned(t, x)
    s = near_teacher(dense_student([4, 6, 9, 2], ensemble=(2,), seed=1), t, 0, seed=2)
    for l in (1, 2):                                                # other nodes must not feed the copies
        s.W[l + 1][:, :t.widths[l + 1], t.widths[l]:] = 0
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    s = Dense([None, s.W[1][:, order], s.W[2][..., order], s.W[3]], [None, s.b[1][:, order], *s.b[2:]])
    c = layer_correlations(s, t, x)
    assert c[0] is None and c[-1] is None and len(c) == 4
    assert best_match(c[1]).winner.tolist() == [[2, 4, 1]] * 2 and assignment(c[2]).winner.tolist() == [list(range(5))] * 2
    close(best_match(c[1]).value, torch.ones(2, 3), 1e-12)
    close(best_match(c[2]).value, torch.ones(2, 5), 1e-12)


def test_contributions_by_hand():
    s = dense_student([3, 4, 5, 2], ensemble=(2,), seed=0)
    s.b[1][0, 0] = -1e6                                             # a dead node
    x = normal(50, 3, seed=1)
    c = contribution(s, x)
    assert c[0] is None and c[3] is None and c[1][0, 0] == 0
    want = np.linalg.norm(s.W[3][1, :, 2]) * np.std(s(x)[2][1, :, 2].numpy())
    assert c[2][1, 2].item() == pytest.approx(want)


def test_groups_that_cancel_and_groups_that_do_not():
    w, v = normal(2, 4, seed=0), normal(2, 2, seed=1)
    rows = torch.cat([w[:1], -2 * w[:1], w[1:], 3 * w[1:] + 1e-5, normal(1, 4, seed=3), torch.zeros(2, 4)])
    V = torch.stack([v[:, 0], -v[:, 0] / 2, v[:, 1], v[:, 1], v[:, 0], v[:, 0], v[:, 0]], -1)
    one, two = colinear_groups(Dense([None, rows[:, :3], V], [None, rows[:, 3], torch.zeros(2)]))
    assert one.nodes == [0, 1] and one.signs == [1, -1] and one.rest < 1e-15
    assert two.nodes == [2, 3] and two.signs == [1, 1] and two.rest == pytest.approx(1)
    pair = Dense([None, rows[:2, :3], V[:, :2]], [None, rows[:2, 3], torch.zeros(2)])
    x = normal(30, 3, seed=5)
    close(pair(x)[-1], (x @ w[0, :3] + w[0, 3])[:, None] * v[:, 0])     # v σ(z) - v σ(-2z)/2 = v z: linear
    assert colinear_groups(dense_student([3, 8, 2], seed=0)) == []


@few(10)
@given(finest_ladders(tsf.Hierarchy.pyramid(4, 2, 1)))
def test_states_of_ladders_by_a_loop(ladder):
    student = tsf.Student(ladder.hierarchy, [ladder.inputs.shape[-1], 3, 2, ladder.classes], ensemble=(2,), bias=True, seed=0)
    found = state_correlations(student, ladder)
    f = student.propagate(ladder.inputs, ladder.labels).f
    for l, c in enumerate(found):
        for r in range(ladder.hierarchy.regions[l]):
            for i in range(ladder.states[l]):
                for k in range(f[l].shape[-1]):
                    x = (f[l] if l else f[l].expand(2, -1, -1, -1))[1, r, :, k].detach().numpy()
                    z, p = (ladder.codes[l][:, r] == i).double().numpy(), ladder.weights.numpy()
                    cov = p @ (x * z) - (p @ x) * (p @ z)
                    size = np.sqrt(max(p @ x**2 - (p @ x)**2, 0) * max(p @ z - (p @ z)**2, 0))
                    ρ = (c.ρ if l else c.ρ.expand(2, -1, -1, -1))[1, r, i, k].item()
                    assert ρ == pytest.approx(cov / size, abs=1e-5) if size > 1e-6 * (p @ x**2) else abs(ρ) <= 1
    tables = table_correlations(tsf.measure(student, ladder), ladder.teacher())
    for c, t in zip(found, tables):                                 # a finest ladder: nodes are functions of states
        close(t.ρ.expand(2, -1, -1, -1) if t.ρ.ndim < 4 else t.ρ, c.ρ.expand(2, -1, -1, -1) if c.ρ.ndim < 4 else c.ρ, 1e-6)


def test_a_node_that_reads_one_state_is_that_state():
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), 3, 0.8, seed=0)
    student = tsf.Student(teacher.hierarchy, [3, 4, 3], seed=0)
    ladder = tsf.Ladder.enumerate(teacher)
    close(table_correlations(tsf.expand(student, teacher), teacher)[0].ρ[0].diagonal(), torch.ones(3))
    tables, real = table_correlations(tsf.measure(student, ladder), ladder.teacher()), state_correlations(student, ladder)
    assert (tables[1].ρ.abs() >= real[1].ρ.abs() - 1e-12).all()


C = given_ρ([[0.5, 0.1]])
S, T, X = dense_student([3, 4, 2], seed=0), dense_teacher([3, 2, 2], seed=0), np.ones((5, 3))


@pytest.mark.parametrize("call, error, words", [
    (lambda: correlation(np.ones(3), np.ones((3, 1))), ValueError, "f and f0 must have shapes"),
    (lambda: correlation(np.ones((3, 1)), np.ones((4, 1))), ValueError, r"found \(3, 1\) and \(4, 1\)"),
    (lambda: correlation(np.ones((0, 1)), np.ones((0, 1))), ValueError, "N of at least 1"),
    (lambda: correlation([[np.nan]], [[1.0]]), ValueError, r"f\[0, 0\] must be finite"),
    (lambda: correlation(np.eye(2), np.eye(2), [0.5, 0.6]), ValueError, "weights must have entries that sum to 1"),
    (lambda: correlation(np.eye(2), np.eye(2), [1.0]), ValueError, "one a row; found"),
    (lambda: layer_correlations(S, dense_teacher([3, 2], seed=0), X), ValueError, "one depth"),
    (lambda: layer_correlations(*(dense_student([3, 4, 2], ensemble=(n,), seed=0) for n in (2, 3)), X), ValueError,
     r"ensembles of student and teacher must.*\(2,\) and \(3,\)"),
    (lambda: correlation(np.ones((2, 5, 1)), np.ones((3, 5, 1))), ValueError, "leading axes of f and f0 must"),
    (lambda: colinear_groups(dense_student([3, 2], seed=0)), ValueError, "student must have a hidden layer; found Dense"),
    (lambda: layer_correlations(S, 3, X), TypeError, "teacher must be a Dense"),
    (lambda: best_match(np.eye(2)), TypeError, "correlation must be a Correlation; found ndarray"),
    (lambda: best_match(given_ρ(np.ones((2, 0)))), ValueError, "must hold a teacher and a student"),
    (lambda: assignment(given_ρ(np.ones((2, 1)))), ValueError, r"at least as many students as teachers.*\(2, 1\)"),
    (lambda: ranks(C, given_ρ(np.ones((2, 2)))), ValueError, "before and after must have one shape"),
    (lambda: ranks(C, 3), TypeError, "after must be a Correlation"),
    (lambda: contribution(3, X), TypeError, "student must be a Dense"),
    (lambda: colinear_groups(dense_student([3, 4, 2], ensemble=(2,), seed=0)), ValueError, "take a member"),
    (lambda: colinear_groups(S, 2), ValueError, "l must be between 1 and 1"),
    (lambda: colinear_groups(S, tol=-1), ValueError, "tol"),
    (lambda: state_correlations(S, 3), TypeError, "student must be a Student; found Dense"),
    (lambda: table_correlations(3, 3), TypeError, "expansion must be a Expansion|expansion must be"),
])
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
