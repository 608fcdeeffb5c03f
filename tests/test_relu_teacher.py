"""Identities of the signal on teacher and student activations, against autograd and plain loops."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsframe.dense import Dense
from tsframe.draws import dense_student, dense_teacher, normal_inputs
from tsframe.relu_teacher import (alignment, averaged_update, balance, fixed_readout, gradient_expansion, homogeneous,
                                  small_gradient)
from strategies import close, few

seeds, leaks = st.integers(0, 999), st.sampled_from([0.0, 0.25])


def normal(*shape, rng):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def scene(seed, depth=3, bias=True, leak=0.0, ensemble=(), outputs=3):
    rng = torch.Generator().manual_seed(seed)
    hidden = [6, 5, 4][:depth - 1]
    student = dense_student([4, *hidden, outputs], ensemble=ensemble, bias=bias, leak=leak, init=0.7, seed=rng)
    if bias:
        student = Dense(student.W, [None] + [normal(*b.shape, rng=rng) for b in student.b[1:]], leak=leak)
    teacher = dense_teacher([4, *(n - 2 for n in hidden), outputs], entries=None, bias="uniform" if bias else None, leak=leak,
                            seed=rng)
    return student, teacher, normal(9, 4, rng=rng), rng


def by_autograd(student, teacher, x, index=()):
    """Signals of every sample, ΔW and Δb of one student, all written out and differentiated."""
    W = [w if w is None else w[index].clone().requires_grad_() for w in student.W]
    b = [w if w is None else w[index].clone().requires_grad_() for w in student.b]
    f, h = x, []
    for l in range(1, len(W)):
        h.append(f @ W[l].T + (0 if b[l] is None else b[l]))
        h[-1].retain_grad()
        f = torch.where(h[-1] > 0, h[-1], student.leak * h[-1]) if l < len(W) - 1 else h[-1]
    loss = (teacher(x)[-1] - f).square().sum() / 2
    loss.backward()
    n = len(x)
    return ([None] + [-v.grad for v in h], [None] + [-w.grad / n for w in W[1:]],
            [None] + [None if v is None else -v.grad / n for v in b[1:]])


# ---- the expansion through depth

@few(40)
@given(seeds, st.integers(1, 4), st.booleans(), leaks)
def test_the_expansion_is_the_gradient_of_every_sample(seed, depth, bias, leak):
    student, teacher, x, _ = scene(seed, depth, bias, leak, (2,))
    e = gradient_expansion(student, teacher, x)
    for i in range(2):
        g = by_autograd(student, teacher, x, (i,))[0]
        for l in range(1, depth + 1):
            close(e.g[l][i], g[l], 1e-14)
    for l in range(depth):
        close((e.V[l] @ e.f[l][..., None])[..., 0], student(x)[-1], 1e-14)
        λ = torch.linalg.eigvalsh(e.B[l])
        assert (λ > -1e-12 * λ[..., -1:].clamp(min=1)).all()
        assert torch.linalg.matrix_rank(e.B[l], hermitian=True).max() <= student.widths[-1]


def test_without_the_constant_channel_it_is_not():
    gaps = []
    for seed in range(10):
        student, teacher, x, _ = scene(seed)
        e, g = gradient_expansion(student, teacher, x), by_autograd(student, teacher, x)[0]
        u = (e.A[1][..., :-1, :-1] @ e.f0[1][:, :-1, None] - e.B[1][..., :-1, :-1] @ e.f[1][:, :-1, None])[..., 0]
        gaps.append((student.gate(student.propagate(x).h[1]) * u - g[1]).norm() / g[1].norm())
    assert min(gaps) > 0.02 and np.median(gaps) > 0.3


def test_in_two_layers_A_and_B_do_not_depend_on_x():
    student, teacher, x, _ = scene(0, 2)
    e = gradient_expansion(student, teacher, x)
    close(e.A[1][:, :-1, :-1], (student.W[2].T @ teacher.W[2]).expand(9, -1, -1))
    close(e.B[1][:, :-1, :-1], (student.W[2].T @ student.W[2]).expand(9, -1, -1))


# ---- balance

@few(20)
@given(seeds, st.integers(2, 4), leaks)
def test_what_comes_in_and_goes_out_moves_alike(seed, depth, leak):
    student, teacher, x, _ = scene(seed, depth, leak=leak)
    _, dW, db = by_autograd(student, teacher, x)
    for l in range(1, depth):
        into = (student.W[l] * dW[l]).sum(-1) + student.b[l] * db[l]
        close(into, (student.W[l + 1] * dW[l + 1]).sum(0), 1e-13)
    lr = 0.1
    moved = Dense([None] + [w + lr * d for w, d in zip(student.W[1:], dW[1:])],
                  [None] + [w + lr * d for w, d in zip(student.b[1:], db[1:])], leak=leak)
    for l in range(1, depth):
        gained = lr**2 * (dW[l].square().sum(-1) + db[l].square() - dW[l + 1].square().sum(0))
        close(balance(moved)[l] - balance(student)[l], gained, 1e-13)
    assert balance(student)[0] is balance(student)[-1] is None


def test_balance_is_broken_by_a_norm():
    student, teacher, x, _ = scene(1, 3)
    normed = Dense(student.W, student.b, norm="after")
    dW, db = normed.propagate(x, teacher(x)[-1]).update()
    into = (normed.W[1] * dW[1]).sum(-1) + normed.b[1] * db[1]
    assert (into - (normed.W[2] * dW[2]).sum(0)).abs().max() > 1e-3


# ---- the averaged rule

@few(20)
@given(seeds, st.integers(2, 4), leaks, st.booleans())
def test_the_averaged_rule_is_exact_for_one_sample_at_the_top_and_for_constant_gates(seed, depth, leak, layerwise):
    student, teacher, x, rng = scene(seed, depth, leak=leak)
    _, dW, db = by_autograd(student, teacher, x[:1])
    said, said_b = averaged_update(student, teacher, x[:1], layerwise)
    for l in range(1, depth + 1):
        close(said[l], dW[l], 1e-13)
        close(said_b[l], db[l], 1e-13)
    _, dW, db = by_autograd(student, teacher, x)
    said, said_b = averaged_update(student, teacher, x, layerwise)
    close(said[-1], dW[-1], 1e-13)
    close(said_b[-1], db[-1], 1e-13)
    near = x[:1] + 1e-9 * normal(9, 4, rng=rng)                     # one linear piece: gates are constant
    same = all(((p.h[l] > 0) == (p.h[l][0] > 0)).all() for p in (student.propagate(near), teacher.propagate(near))
               for l in range(1, depth))
    if same:
        said = averaged_update(student, teacher, near, layerwise)[0]
        for l in range(1, depth + 1):
            close(said[l], by_autograd(student, teacher, near)[1][l], 1e-12)


def test_elsewhere_it_is_an_approximation_and_so_is_the_layerwise_one():
    far, cosines, apart = [], [], []
    for seed in range(8):
        student, teacher, _, rng = scene(seed, 3)
        x = normal(400, 4, rng=rng)
        dW = by_autograd(student, teacher, x)[1]
        said, other = averaged_update(student, teacher, x)[0], averaged_update(student, teacher, x, layerwise=True)[0]
        far.append((said[1] - dW[1]).norm() / dW[1].norm())
        cosines.append(torch.cosine_similarity(said[1].flatten(), dW[1].flatten(), dim=0))
        close(said[2], other[2], 1e-13)                             # one layer below the top they are the same
        apart.append((said[1] - other[1]).norm() / dW[1].norm())
    assert 0.1 < np.median(far) < 1.5 and np.median(cosines) > 0.6 and min(apart) > 1e-3


def test_the_averaged_rule_by_a_loop_over_samples():
    student, teacher, x, _ = scene(2, 3)
    W1, W2, U1, U2 = (torch.cat([net.rows(l), torch.eye(net.widths[l - 1] + 1, dtype=x.dtype)[-1:]])
                      for net in (student, teacher) for l in (1, 2))
    H, H0, L, L0 = 0, 0, 0, 0
    for v in x:
        a = torch.cat([v, torch.ones(1).double()])
        d1, e1 = (torch.diag(torch.cat([(w @ a > 0).double()[:-1], torch.ones(1).double()])) for w in (W1, U1))
        f, f0 = d1 @ W1 @ a, e1 @ U1 @ a
        d2, e2 = (torch.diag(torch.cat([(w @ f_ > 0).double()[:-1], torch.ones(1).double()])) for w, f_ in ((W2, f), (U2, f0)))
        V, V0 = student.rows(3) @ d2 @ W2, teacher.rows(3) @ e2 @ U2
        H, H0 = H + d1 @ V.T @ V @ d1 / 9, H0 + d1 @ V.T @ V0 @ e1 / 9
        L = L + torch.outer(a, a) / 9
    want = (H0 @ U1 @ L - H @ W1 @ L)[:-1]
    dW, db = averaged_update(student, teacher, x)
    close(dW[1], want[:, :-1])
    close(db[1], want[:, -1])


# ---- frozen layers: losers vanish

@few(20)
@given(seeds, st.integers(0, 5), st.floats(0.3, 3))
def test_winners_take_the_teachers_fan_out_and_losers_nothing(seed, losers, scale):
    rng = torch.Generator().manual_seed(seed)
    teacher = dense_teacher([5, 4, 3], entries=None, seed=rng)
    extra = normal(losers, 6, rng=rng)
    f0 = teacher(x := normal(3000, 5, rng=rng))[1]
    f = torch.cat([scale * f0, (x @ extra[:, :5].T + extra[:, 5]).relu()], -1)
    f, f0 = homogeneous(f), homogeneous(f0)
    V, V0 = fixed_readout(f, f0, teacher.rows(2)), teacher.rows(2)
    condition = torch.linalg.cond(f.T @ f).item()
    want = torch.cat([V0[:, :4] / scale, torch.zeros(3, losers).double(), V0[:, 4:]], -1)
    close(V, want, 1e-15 * condition + 1e-13)


def test_descent_on_the_top_comes_to_the_fixed_readout_below_twice_the_inverse_curvature():
    rng = torch.Generator().manual_seed(0)
    f, f0, V0 = normal(60, 4, rng=rng).relu(), normal(60, 3, rng=rng).relu(), normal(2, 3, rng=rng)
    L, cross = f.T @ f / 60, f.T @ f0 / 60
    V = fixed_readout(f, f0, V0)
    start, high = normal(2, 4, rng=rng), torch.linalg.eigvalsh(L)[-1]
    v, η = start, 1.9 / high
    for _ in range(7):
        v = v + η * (V0 @ cross.T - v @ L)
    close(v - V, (start - V) @ torch.linalg.matrix_power(torch.eye(4).double() - η * L, 7), 1e-12)
    assert torch.linalg.eigvalsh(torch.eye(4).double() - 2.1 / high * L).abs().max() > 1


def test_no_unique_readout_where_winners_are_doubled_or_columns_depend():
    z = normal(50, 3, rng=torch.Generator().manual_seed(0))
    for f in (torch.cat([z.relu(), z.relu()[:, :1]], -1), torch.cat([z[:, :2] @ torch.tensor([[1, -1, 0, 0, 1, -1], [0, 0, 1, -1, 1, -1]]).double()]).relu()):
        with pytest.raises(ValueError, match="linearly independent columns.*eigenvalues .* from"):
            fixed_readout(f, z.relu(), torch.ones(2, 3))


def test_students_of_any_size_side_by_side_have_the_readouts_they_have_alone():
    f = normal(2, 50, 3, rng=torch.Generator().manual_seed(0)) * torch.tensor([1e-9, 1.0])[:, None, None]
    V = fixed_readout(f, f[1], torch.ones(1, 3))
    for i in range(2):
        close(V[i] * f[i].norm(), fixed_readout(f[i], f[1], torch.ones(1, 3)) * f[i].norm())


@few(15)
@given(seeds, st.sampled_from([0.1, 0.01, 0.001]))
def test_rows_that_are_only_near_leave_a_bounded_rest(seed, off):
    rng = torch.Generator().manual_seed(seed)
    teacher = dense_teacher([4, 3, 2], entries=None, bias=None, seed=rng)
    x, extra = normal(2000, 4, rng=rng), normal(3, 4, rng=rng)
    near = teacher.W[1] + off * normal(3, 4, rng=rng)
    f, f0, V0 = (x @ torch.cat([near, extra]).T).relu(), teacher(x)[1], teacher.W[2]
    r = f0 - f[:, :3]
    gap = (fixed_readout(f, f0, V0) - torch.cat([V0, torch.zeros(2, 3)], -1)).norm()
    low = torch.linalg.eigvalsh(f.T @ f / 2000)[0]
    assert gap <= torch.linalg.matrix_norm(V0, 2) * (r.square().sum(-1).mean() / low).sqrt() * (1 + 1e-12)


def test_two_near_copies_do_not_make_a_loser():
    """Their smallest eigenvalue falls as the square of their distance, and both keep half, however close they are."""
    x, w = normal(20_000, 3, rng=torch.Generator().manual_seed(0)), torch.tensor([[1.0, 0, 0]]).double()
    aside, low = torch.tensor([[0.0, 1, 0]]).double(), []
    for δ in (0.1, 0.05, 0.025):
        f = (x @ torch.cat([w + δ * aside, w - δ * aside]).T).relu()
        low.append(torch.linalg.eigvalsh(f.T @ f / len(x))[0].item())
        close(fixed_readout(f, (x @ w.T).relu(), torch.ones(1, 1)), torch.full((1, 2), 0.5), 0.05)
    assert all(3.5 < a / b < 4.5 for a, b in zip(low, low[1:]))


# ---- boundaries

@few(25)
@given(seeds, leaks)
def test_the_signal_jumps_where_a_boundary_is_crossed(seed, leak):
    """∇u_k jumps by A_kj w°_j on a teacher's hyperplane and by -B_kk' w_k' on a student's, times 1 - leak."""
    student, teacher, x, _ = scene(seed, 2, leak=leak)
    A, B = student.W[2].T @ teacher.W[2], student.W[2].T @ student.W[2]

    def slopes(x):
        """∇u of every k at x, by autograd of u = V^T (y° - y)."""
        x = x.clone().requires_grad_()
        u = ((teacher(x[None])[-1] - student(x[None])[-1]) @ student.W[2])[0]
        return torch.stack([torch.autograd.grad(v, x, retain_graph=True)[0] for v in u])
    for net, C, sign in ((teacher, A, 1), (student, B, -1)):
        for j in range(net.widths[1]):
            w, b = net.W[1][j], net.b[1][j]
            x0 = x[j] - (w @ x[j] + b) / w.square().sum() * w
            step = 1e-6 * w / w.norm()
            jump = slopes(x0 + step) - slopes(x0 - step)
            close(jump, sign * (1 - leak) * C[:, j, None] * w, 1e-13)


def split_student(seed, scale=1.0):
    """Copies of teacher nodes split and rescaled, a node without fan-out and a pair that cancels: an exact student."""
    rng = torch.Generator().manual_seed(seed)
    t = dense_teacher([4, 3, 2], entries=None, seed=rng)
    λ, share = 0.5 + torch.rand(3, 2, generator=rng).double(), torch.rand(3, generator=rng).double()
    copies = torch.cat([t.rows(1) * λ[:, :1], t.rows(1) * λ[:, 1:]])
    v = torch.cat([t.W[2] * share / λ[:, 0], t.W[2] * (1 - share) / λ[:, 1]], -1)
    idle, pair, out = normal(1, 5, rng=rng), normal(1, 5, rng=rng), normal(2, 1, rng=rng)
    rows = torch.cat([copies, idle, pair, 2 * pair])
    v = torch.cat([v, torch.zeros(2, 1), out, -out / 2], -1) * scale
    teacher = Dense([None, t.W[1], t.W[2] * scale], [None, t.b[1], t.b[2] * scale])
    return Dense([None, rows[:, :4], v], [None, rows[:, 4], t.b[2] * scale]), teacher, normal(500, 4, rng=rng)


@few(15)
@given(seeds, st.sampled_from([1.0, 100.0]))
def test_aligned_students_add_up_to_the_teacher_where_the_signal_is_zero(seed, scale):
    student, teacher, x = split_student(seed, scale)
    g = student.propagate(x, teacher(x)[-1]).g[1]
    a = alignment(student, teacher)
    assert g.abs().max() <= 1e-12 * (a.A.abs() @ teacher(x)[1].T).max()
    close(a.reached, a.A)
    assert ((a.λ != 0).sum(0) == 2).all() and (a.λ[6:] == 0).all()
    close((student.W[2][:, 7:] * student.rows(1)[7:].norm(dim=-1)).sum(-1), torch.zeros(2).double(), 1e-12 * scale)
    flipped = Dense([None, -student.W[1], student.W[2]], [None, -student.b[1], student.b[2]])
    assert (alignment(flipped, teacher).λ[:6].sum(0) < 0).all()
    assert (alignment(dense_student([4, 5, 2], seed=seed), teacher).λ == 0).all()


@few(20)
@given(seeds)
def test_a_small_gradient_bounds_what_is_not_aligned(seed):
    student, teacher, x, rng = scene(seed, 2)
    x = normal(300, 4, rng=rng)
    for j in range(teacher.widths[1]):
        left, ε = small_gradient(student, teacher, x, j)
        assert (left <= 4 * ε * (1 + 1e-9) + 1e-12).all() and (left > 0).any()
        w = teacher.W[1][j]
        x0 = x - ((x @ w + teacher.b[1][j]) / w.square().sum())[:, None] * w
        k = int(left[0].argmax())
        if left[0, k] > 0:                                          # t from its definition, by walking out
            A = (student.W[2].T @ teacher.W[2])[k, j].abs() * w.norm()
            t, ray = left[0, k] / A, w / w.norm()
            signs = [torch.cat([student.propagate(p).h[1] > 0, (teacher.propagate(p).h[1] > 0)[:, [i for i in range(4) if i != j]]], -1)
                     for p in (x0[:1] + s * ray for s in (-0.999 * t, 0, 0.999 * t))]
            assert torch.equal(signs[0], signs[1]) and torch.equal(signs[2], signs[1])
            walk = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None] * t * ray + x0[:1]
            close(ε[0, k], student.propagate(walk, teacher(walk)[-1]).g[1][:, k].abs().max(), 1e-9)


def test_the_bound_of_the_small_gradient_is_nearly_reached():
    best = 0
    for seed in range(30):
        student, teacher, _, rng = scene(seed, 2, outputs=1)
        for j in range(4):
            left, ε = small_gradient(student, teacher, normal_inputs(4)(2000, seed=rng), j)
            best = max(best, (left / ε.clamp(min=1e-12)).max().item())
    assert 3.5 < best <= 4 + 1e-6


def test_nodes_with_distinct_hyperplanes_are_independent():
    φ, x = torch.tensor([0.3, 1.4, 2.5]).double(), 3 * normal(4000, 2, rng=torch.Generator().manual_seed(0))
    w = torch.stack([φ.cos(), φ.sin()], -1)

    def least(rows):
        M = torch.cat([(x @ rows.T).relu(), homogeneous(x)], -1)
        return torch.linalg.svdvals(M / M.norm(dim=0))[-1].item()
    turn = torch.tensor([[0.0, -1], [1, 0]]).double()
    values = [least(torch.cat([w, math.cos(δ) * w[:1] + math.sin(δ) * w[:1] @ turn])) for δ in (0.02, 0.01, 0.005)]
    assert least(w) > 1e-3 and all(1.8 < a / b < 2.2 for a, b in zip(values, values[1:]))
    assert least(torch.cat([w, -w[:1]])) < 1e-12


# ---- what is refused

S, T, X = dense_student([3, 4, 2], seed=0), dense_teacher([3, 2, 2], seed=0), np.ones((5, 3))
MANY = {n: dense_student([3, 4, 2], ensemble=(n,), seed=0) for n in (2, 3)}


@pytest.mark.parametrize("call, error, words", [
    (lambda: gradient_expansion(3, T, X), TypeError, "student must be a Dense; found int"),
    (lambda: gradient_expansion(S, None, X), TypeError, "teacher must be a Dense; found NoneType"),
    (lambda: gradient_expansion(S, dense_teacher([3, 2, 2, 2], seed=0), X), ValueError, "one depth, and the same"),
    (lambda: gradient_expansion(S, dense_teacher([3, 2, 3], seed=0), X), ValueError, "same inputs and outputs"),
    (lambda: gradient_expansion(S.to(torch.float32), T, X), TypeError, "one dtype"),
    (lambda: gradient_expansion(dense_student([3, 4, 2], norm="after", seed=0), T, X), ValueError, "without norm; found BatchNorm"),
    (lambda: gradient_expansion(S, T, np.ones((5, 4))), ValueError, r"x must have shape \(..., rows, 3\)"),
    (lambda: gradient_expansion(MANY[2], MANY[3], X), ValueError, r"ensembles of student and teacher must.*\(2,\) and \(3,\)"),
    (lambda: alignment(MANY[2], MANY[3]), ValueError, "ensembles of student and teacher must"),
    (lambda: averaged_update(S, T, np.full((5, 3), np.nan)), ValueError, "x.0, 0. must be finite"),
    (lambda: balance(T.W), TypeError, "student must be a Dense"),
    (lambda: fixed_readout(np.ones(3), np.ones((3, 1)), np.ones((2, 1))), ValueError, "must have shapes"),
    (lambda: fixed_readout(np.ones((3, 1)), np.ones((4, 1)), np.ones((2, 1))), ValueError, "must have shapes"),
    (lambda: alignment(dense_student([3, 4, 4, 2], seed=0), T), ValueError, "student must have 2 layers of weights; found 3"),
    (lambda: alignment(S, T, tol=2), ValueError, "tol must lie in"),
    (lambda: small_gradient(S, T, X, 2), ValueError, "j must be between 0 and 1; found 2"),
    (lambda: small_gradient(dense_student([3, 4, 2], ensemble=(2,), seed=0), T, X, 0), ValueError, "single networks without leak"),
])
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
