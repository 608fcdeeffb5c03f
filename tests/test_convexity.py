"""Corners and linear losses against QHull, nonnegative least squares, closed forms and each other."""
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.spatial import ConvexHull
from strategies import close, few, rngs

import tsframe as tsf


def reached(A, i):
    """Whether nonnegative weights of the other rows, with sum 1, give row i."""
    system = np.vstack([np.delete(A, i, 0).T, np.ones(len(A) - 1)])
    return nnls(system, np.append(A[i], 1))[1] < 1e-9


def cube(b, ρ=1.0):
    s = ρ * np.array(list(product((1.0, -1.0), repeat=b)))
    return np.stack([1 + s, 1 - s], 2).reshape(len(s), -1) / 2


@st.composite
def clouds(draw, most=9):
    """Random rows, some of them mixtures of others, some twice."""
    rng, m, M = draw(rngs()), draw(st.integers(2, most)), draw(st.integers(1, 5))
    A = rng.normal(size=(m, M)) if draw(st.booleans()) else rng.dirichlet(np.ones(M), m)
    mixed, twice = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    return rng.permutation(np.vstack([A, rng.dirichlet(np.ones(m), mixed) @ A, A[:twice]]))


def test_the_picture_of_the_chapter():
    A = np.array([[82, 9, 9], [9, 82, 9], [7, 15, 78], [50, 48, 2], [52, 4, 44], [36, 33, 31]]) / 100
    assert tsf.vertices(A).tolist() == [True] * 5 + [False]
    assert tsf.margins(A)[5] < 1e-15


@given(clouds())
def test_vertices_are_the_rows_that_others_do_not_reach(A):
    assert tsf.vertices(A).tolist() == [not reached(A, i) for i in range(len(A))]


@given(rngs(), st.integers(2, 4), st.integers(6, 20))
@few(20)
def test_vertices_are_those_of_qhull(rng, d, m):
    A = rng.normal(size=(m, d))
    assert set(np.flatnonzero(tsf.vertices(A))) == set(ConvexHull(A).vertices.tolist())


@given(clouds())
def test_separating_weights_isolate_and_are_least(A):
    A = A[tsf.vertices(A).numpy()]
    if len(A) < 2:
        return
    W, b = tsf.separating_weights(A)
    H = torch.as_tensor(A) @ W + b
    assert close(H.diagonal(), torch.ones(len(A)), 1e-9)
    assert (H - 2 * H.diagonal().diag() <= -1 + 1e-9).all()
    assert torch.equal(H.relu() > 0, torch.eye(len(A)) > 0)
    assert close(W.abs().amax(0) * tsf.margins(A), torch.full((len(A),), 2.0), 1e-7)


@given(rngs(), st.integers(2, 12))
def test_on_a_line_only_the_ends_are_vertices_and_margins_are_gaps(rng, m):
    x = np.sort(rng.normal(size=m))
    want = np.zeros(m)
    want[0], want[-1] = x[1] - x[0], x[-1] - x[-2]
    at = rng.permutation(m)
    assert close(tsf.margins(x[at, None]), want[at], 1e-9)


@pytest.mark.parametrize("b", [1, 2, 3, 4])
@pytest.mark.parametrize("ρ", [1.0, 0.3, 1e-4, 1e-9])
def test_corners_of_the_cube_have_margin_two_rho(b, ρ):
    assert close(tsf.margins(cube(b, ρ)) / ρ, np.full(2**b, 2.0), 1e-6)
    assert tsf.vertices(cube(b, ρ)).all()


@given(clouds(6), st.sampled_from([1e-30, 1e-6, -3.0, 1e6, 1e30]), rngs())
@few(20)
def test_scale_does_not_matter_and_margins_follow_it(A, c, rng):
    assert torch.equal(tsf.vertices(A), tsf.vertices(c * A))
    assert close(tsf.margins(c * A) / abs(c), tsf.margins(A), 1e-7)


@given(clouds(6), rngs())
@few(20)
def test_neither_place_nor_order_matter(A, rng):
    at, move = rng.permutation(len(A)), rng.normal(size=A.shape[1])
    assert close(tsf.margins(A[at] + move), tsf.margins(A)[at], 1e-8)


@given(clouds(), rngs())
@few(20)
def test_rows_of_probability_zero_are_left_out(A, rng):
    prior = rng.dirichlet(np.ones(len(A))) * (rng.random(len(A)) < 0.6)
    if (prior > 0).sum() < 2:
        return
    live, prior = prior > 0, prior / prior.sum()
    full, kept = tsf.vertices(A, prior), tsf.vertices(A[live])
    assert torch.equal(full[live], kept) and not full[~live].any()
    assert close(tsf.margins(A, prior)[live], tsf.margins(A[live])) and not tsf.margins(A, prior)[~live].any()
    if kept.all():
        W, b = tsf.separating_weights(A, prior)
        assert close((torch.as_tensor(A[live]) @ W + b).relu(), np.eye(len(A))[live], 1e-9)
        assert not W[:, ~live].any() and not b[~live].any()


def test_equal_rows_are_no_vertices_and_a_single_row_is_one():
    assert tsf.vertices([[1.0, 0], [1, 0], [0, 1]]).tolist() == [False, False, True]
    assert not tsf.vertices(np.full((3, 2), 0.1)).any() and not tsf.margins(np.full((3, 2), 0.1)).any()
    assert tsf.vertices([[0.3, 0.7]]).tolist() == [True]
    assert tsf.vertices([[0.3, 0.7], [1, 0]], [0, 1]).tolist() == [False, True]
    W, b = tsf.separating_weights([[0.3, 0.7]])
    assert W.tolist() == [[0], [0]] and b.tolist() == [1]


@pytest.mark.parametrize("ε", [1e-2, 1e-4, 1e-6, 1e-8])
def test_a_row_close_to_the_hull_is_judged_by_the_tolerance(ε):
    A = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5 + ε, 0.5, -ε]])
    assert abs(tsf.margins(A)[3] / ε - 2) < 1e-4
    assert tsf.vertices(A)[3] == (ε > 1e-5) and tsf.vertices(A, tol=ε)[3] and not tsf.vertices(A, tol=9 * ε)[3]
    A[3] = 0.5 - ε, 0.5 - ε, 2 * ε
    assert not tsf.vertices(A, tol=1e-12)[3]


def test_tables_written_in_float32_have_no_corners_from_rounding():
    rng = np.random.default_rng(0)
    for _ in range(20):
        A = rng.dirichlet(np.ones(3), 6)
        A[5] = A[:5].mean(0)
        rough = torch.tensor(A, dtype=torch.float32)
        assert not tsf.vertices(rough)[5] and not tsf.vertices(rough.double())[5]
        assert torch.equal(tsf.vertices(rough), tsf.vertices(A))


def test_dtype_follows_the_table():
    A = torch.eye(3, dtype=torch.float32, requires_grad=True)
    W, b = tsf.separating_weights(A)
    assert {tsf.margins(A).dtype, W.dtype, b.dtype, tsf.best_linear(A).dtype} == {torch.float32}
    assert not W.requires_grad


def test_a_hidden_bias_works_in_a_student():
    P = torch.as_tensor(cube(3))
    W, b = tsf.separating_weights(P)
    W[2:4] += b                                                     # any child may take it
    h = tsf.Hierarchy([None, [[0, 1, 2]], [[0]]])
    student = tsf.Student(h, [2, 8, 8], seed=0)
    student.W[1].data[0] = W.view(3, 2, 8)
    assert close(student(P.view(8, 3, 2))[1][:, 0], torch.eye(8), 1e-12)


# ---- linear maps

@given(clouds(), rngs(), st.booleans())
def test_linear_loss_is_reached_at_the_best_map_and_nowhere_beaten(A, rng, weighted):
    p = rng.dirichlet(np.ones(len(A))) if weighted else np.ones(len(A))
    prior = p if weighted else None

    def loss(U):
        return float((p * ((A @ U - np.eye(len(A))) ** 2).sum(1)).sum())
    U = tsf.best_linear(A, prior).numpy()
    assert abs(loss(U) - tsf.linear_loss(A, prior)) < 1e-9
    assert all(loss(U + rng.normal(size=U.shape) * size) > loss(U) - 1e-9 for size in (1e-3, 0.1, 1))


@given(clouds(), rngs())
@few(20)
def test_without_weights_it_is_rows_minus_rank(A, rng):
    rank = np.linalg.matrix_rank(A)
    assert abs(tsf.linear_loss(A) - (len(A) - rank)) < 1e-9
    uniform = np.full(len(A), 1 / len(A))
    assert abs(tsf.linear_loss(A, uniform) - (1 - rank / len(A))) < 1e-9
    more = np.hstack([A, rng.normal(size=(len(A), 1))])
    assert tsf.linear_loss(more) <= tsf.linear_loss(A) + 1e-9
    assert abs(tsf.linear_loss(1e-40 * A) - tsf.linear_loss(A)) < 1e-9


@pytest.mark.parametrize("b", range(1, 7))
def test_the_product_summary_loses_all_but_b_plus_one(b):
    assert abs(tsf.linear_loss(cube(b, 0.4)) - (2**b - b - 1)) < 1e-9


def test_an_empty_table_explains_nothing():
    assert tsf.linear_loss(np.zeros((3, 2))) == 3 and abs(tsf.linear_loss(np.zeros((3, 2)), [0.5, 0.5, 0]) - 1) < 1e-15
    assert not tsf.best_linear(np.zeros((3, 2))).any()


# ---- bad input

BAD = {
    "one row": (lambda: tsf.margins([[0.5, 0.5]]), "A must have at least 2 rows of positive probability.*found 1"),
    "one live row": (lambda: tsf.margins(np.eye(3), [0, 1, 0]), "A must have at least 2 rows of positive probability.*found 1"),
    "NaN": (lambda: tsf.vertices([[0.5, float("nan")], [1, 0]]), r"A\[0, 1\] must be finite; found nan"),
    "infinite": (lambda: tsf.linear_loss([[0.5, float("inf")]]), r"A\[0, 1\] must be finite; found inf"),
    "three axes": (lambda: tsf.vertices(np.ones((2, 2, 2))), r"A must have shape \(any, any\); found \(2, 2, 2\)"),
    "no rows": (lambda: tsf.vertices(np.ones((0, 2))), r"A must have a row and a column; found shape \(0, 2\)"),
    "no columns": (lambda: tsf.linear_loss(np.ones((2, 0))), r"A must have a row and a column; found shape \(2, 0\)"),
    "prior too short": (lambda: tsf.vertices(np.eye(3), [0.5, 0.5]), r"prior must have shape \(3,\); found \(2,\)"),
    "prior sum": (lambda: tsf.linear_loss(np.eye(2), [0.5, 0.6]), "prior must have entries that sum to 1; they sum to 1.1"),
    "prior negative": (lambda: tsf.best_linear(np.eye(2), [1.5, -0.5]), r"prior\[1\] must not be negative; found -0.5"),
    "tolerance": (lambda: tsf.vertices(np.eye(2), tol=-1), "tol must be at least 0; found -1"),
    "inside": (lambda: tsf.separating_weights([[1.0, 0], [0.5, 0.5], [0, 1]]), r"A must .*row 1 does not \(margin 0\)"),
    "twins": (lambda: tsf.separating_weights([[1.0, 0], [0, 1], [0, 1]]), "A must .*row 1 does not"),
    "too close": (lambda: tsf.separating_weights([[1.0, 0], [0.5 + 1e-7, 0.5 + 1e-7], [0, 1]]), r"row 1 does not \(margin 2e-07\)"),
    "too small": (lambda: tsf.separating_weights([[1e-310, 0], [0, 1e-310]]), "A must be large enough for finite W"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
