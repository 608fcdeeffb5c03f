"""Batch normalisation: torch's own layer, projections by least squares, autograd of loops; what has no variance."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import close, few, hierarchies, latent_teachers, rngs
from witness import dense_tables, weights_of

import tsframe as tsf
from tsframe import BatchNorm


def tensors(rng, *shapes):
    return [torch.as_tensor(rng.normal(size=s)) for s in shapes]


# value and back, alone

@few(20)
@given(rngs(), st.integers(3, 12), st.sampled_from([1e-14, 1e-5, 0.3]))
def test_uniform_weights_are_torchs_layer(rng, rows, eps):
    f, pull = tensors(rng, (rows, 5), (rows, 5))
    f = 2 * f + 1
    layer = torch.nn.BatchNorm1d(5, eps=eps, affine=False, track_running_stats=False).double()
    x = f.clone().requires_grad_()
    v = layer(x)
    g_f, = torch.autograd.grad((v.sin() * pull).sum(), x)
    g = pull * v.detach().cos()                                         # signals: per row, the 1/N of a mean apart
    norm = BatchNorm(eps=0.0 if eps == 1e-14 else eps)
    assert close(norm.value(f), v, 1e-10) and close(norm.back(f, g), g_f, 1e-10)


@few(30)
@given(rngs(), st.integers(2, 9), st.booleans(), st.sampled_from([0.0, 0.0, 0.5]))
def test_weights_that_count_rows_are_rows_repeated(rng, rows, scale, eps):
    f, g = tensors(rng, (rows, 3), (rows, 3))
    times = rng.integers(1, 4, rows)
    index, norm = torch.as_tensor(np.repeat(np.arange(rows), times)), BatchNorm(scale=scale, eps=eps)
    p = torch.as_tensor(times / times.sum())
    assert close(norm.value(f[index]), norm.value(f, p)[index], 1e-10)
    assert close(norm.back(f[index], g[index]), norm.back(f, g, p)[index], 1e-9)


@few(30)
@given(rngs(), st.integers(3, 12))
def test_the_signal_is_a_weighted_projection(rng, rows):
    f, g = tensors(rng, (rows,), (rows,))
    p = torch.as_tensor(rng.dirichlet(np.ones(rows)) * 0.9 + 0.1 / rows)
    A, root = torch.stack([torch.ones_like(f), f], 1), p.sqrt()[:, None]
    rest = g[:, None] - A @ torch.linalg.lstsq(root * A, root * g[:, None], driver="gelsd").solution
    norm = BatchNorm()
    back = norm.back(f[:, None], g[:, None], p)
    σ = (p @ (f - p @ f)**2).sqrt()
    assert close(σ * back, rest, 1e-10)
    again = norm.back(f[:, None], back, p)                              # P⊥P⊥ = P⊥
    assert close(σ * again, back, 1e-10)
    assert close(p @ (back * g[:, None]), p @ (σ * back**2), 1e-10)     # and symmetric


def test_members_of_an_ensemble_are_apart():
    f, g = tensors(np.random.default_rng(0), (2, 3, 7, 4), (2, 3, 7, 4))
    p = torch.rand(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = (p / p.sum(-1, keepdim=True)).expand(2, 3, 7)
    for norm in (BatchNorm(), BatchNorm(eps=0.2), BatchNorm(scale=False)):
        for i in np.ndindex(2, 3):
            assert close(norm.value(f, p)[i], norm.value(f[i], p[i])) and close(norm.back(f, g, p)[i],
                                                                               norm.back(f[i], g[i], p[i]))


# what has no variance

@pytest.mark.parametrize("c", [0.0, 1.0, 0.1, -1e9, 1e-200])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_constant_column_has_value_0_and_lets_nothing_back(c, rows):
    f = torch.full((rows, 1), c, dtype=torch.float64)
    g = torch.arange(rows, dtype=torch.float64)[:, None] + 1
    for p in (None, torch.arange(1, rows + 1, dtype=torch.float64) / sum(range(rows + 1))):
        assert torch.equal(BatchNorm().value(f, p), 0 * f) or BatchNorm().value(f, p).abs().max() < 1e-9
        assert torch.equal(BatchNorm().back(f, g, p), 0 * f)
        soft = BatchNorm(eps=0.01)
        assert soft.value(f, p).abs().max() <= 1e-5 * max(abs(c) / 1e3, 1)
        mean = g.mean() if p is None else p @ g[:, 0]
        assert close(soft.back(f, g, p), (g - mean) / 0.1, 1e-6)


def test_a_batch_of_two_lets_nothing_back():
    f, g = tensors(np.random.default_rng(1), (2, 50), (2, 50))
    assert close(BatchNorm().value(f).abs(), torch.ones(2, 50).double())
    assert BatchNorm().back(f, g).abs().max() < 1e-10 * (1 / (f[0] - f[1]).abs()).max()


@few(15)
@given(rngs(), st.sampled_from(["before", "after"]), st.sampled_from([torch.float32, torch.float64]))
def test_dead_nodes_and_single_rows_give_no_nan(rng, place, dtype):
    h = tsf.Hierarchy.pyramid(3, 2, 1)
    student = tsf.Student(h, [2, 4, 3], norm=place, bias=True, seed=int(rng.integers(99))).to(dtype)
    with torch.no_grad():
        student.b1[:, 0], student.W1[..., 1] = -100, 0                  # dead; constant
    for rows in (1, 2, 5):
        x = torch.as_tensor(rng.normal(size=(rows, 3, 2)), dtype=dtype)
        done = student.propagate(x, torch.zeros(rows, dtype=torch.long))
        for values in (done.f, done.u, done.g, *done.update(h, torch.full((rows,), 1 / rows, dtype=dtype))):
            assert all(torch.isfinite(v).all() for v in values if v is not None)
        if place == "after" or rows == 1:
            assert not done.f[1][:, :, 0].any() and not done.g[1][:, :, 0].any()
        assert not done.f[1][:, :, 1].any() and not done.g[1][:, :, 1].any()
    ladder = tsf.Ladder.finest(h, x, torch.zeros(rows, dtype=torch.long), classes=3)
    run = tsf.train(student, ladder, steps=3, lr=0.1)
    assert torch.isfinite(run.loss).all()


# in a network and in the reduced model, against autograd of loops

def normalise(x, p, norm):
    """Column by column, row by row."""
    out = []
    for j in range(x.shape[1]):
        μ = sum(p[n] * x[n, j] for n in range(len(p)))
        var = sum(p[n] * (x[n, j] - μ)**2 for n in range(len(p)))
        if not norm.scale:
            out.append(x[:, j] - μ)
        elif norm.eps == 0 and var < 1e-24:
            out.append(0 * x[:, j].detach())
        else:
            out.append((x[:, j] - μ) / (var + norm.eps).sqrt())
    return torch.stack(out, 1)


def layer(x, p, norm, activation, top):
    if top:
        return normalise(x, p, BatchNorm(scale=False)) if norm.top else x
    x = normalise(x, p, norm) if norm.place == "before" else x
    x = torch.relu(x) if activation == "relu" else x
    return normalise(x, p, norm) if norm.place == "after" else x


def slopes(loss, W, b):
    given = [x for x in (*W, *b) if x is not None]
    found = iter(torch.autograd.grad(loss + 0 * sum(x.sum() for x in given), given))        # all play a part
    return [[None if x is None else -next(found) for x in part] for part in (W, b)]


def normed_students(h, features, classes, rng, ensemble=()):
    norm = BatchNorm(str(rng.choice(["before", "after"])), bool(rng.integers(2)), float(rng.choice([0.0, 0.2])),
                     bool(rng.integers(2)))
    student = tsf.Student(h, [features] + [3] * (h.depth - 1) + [classes], norm=norm, bias=bool(rng.integers(2)),
                          activation=str(rng.choice(["relu", "relu", "linear"])), ensemble=ensemble,
                          seed=int(rng.integers(999)))
    with torch.no_grad():
        for b in student.b[1:]:
            b is None or b.copy_(torch.as_tensor(rng.normal(size=b.shape)) / 2 + 0.3)
    return student


@few(25)
@given(hierarchies(), rngs())
def test_rows_of_a_normalised_student(h, rng):
    student, n = normed_students(h, 2, 3, rng), 6
    x, p = torch.as_tensor(rng.normal(size=(n, h.leaves, 2))), torch.as_tensor(rng.dirichlet(np.ones(n)) / 2 + 0.5 / n)
    y = torch.as_tensor(rng.integers(0, 3, n))
    W, b = weights_of(student)
    f = [x[:, r] for r in range(h.leaves)]
    for l in range(1, h.depth + 1):
        f = [layer(sum(f[k] @ W[l][r, c] for c, k in enumerate(row)) + (0 if b[l] is None else b[l][r]), p, student.norm,
                   student.activation, l == h.depth) for r, row in enumerate(h.children[l].tolist())]
    dW, db = slopes(p @ (f[0] - torch.eye(3).double()[y]).square().sum(1) / 2, W, b)
    found = student.propagate(x, y, p).update(h, p)
    uniform = student.propagate(x, y)
    assert close(student(x)[-1], uniform.f[-1].transpose(0, 1))
    for l in range(1, h.depth + 1):
        assert close(found[0][l], dW[l], 1e-9)
        assert b[l] is None or close(found[1][l], db[l], 1e-9)


@few(25)
@given(latent_teachers(padding=True), rngs(), st.sampled_from([(), (2,)]))
def test_the_reduced_model_descends_on_its_loss(teacher, rng, ensemble):
    check_reduced(teacher, rng, ensemble)


@few(10)
@given(rngs())
def test_the_reduced_model_descends_where_fields_overlap(rng):
    h = tsf.Hierarchy.pyramid(4, 2, 1)
    x = rng.normal(size=(12, 4, 2))
    codes = [rng.integers(0, 3, (12, r)) for r in h.regions]
    ladder = tsf.Ladder.coarse(h, x, rng.integers(0, 3, 12), codes, rng.dirichlet(np.ones(12)), 3)
    check_reduced(ladder.teacher(), rng)


def check_reduced(teacher, rng, ensemble=()):
    h = teacher.hierarchy
    many = normed_students(h, teacher.features.shape[-1], teacher.target.shape[-1], rng, ensemble)
    e = tsf.backward(tsf.expand(many, teacher), many, teacher)
    found = tsf.weight_update(e, teacher), tsf.bias_update(e, teacher)
    for i in np.ndindex(ensemble):
        W, b = weights_of(many.member(*i))
        F = list(teacher.features)
        for l in range(1, h.depth + 1):
            P, up = dense_tables(teacher, l), []
            for r, row in enumerate(h.children[l].tolist()):
                p, live = teacher.prior[l][r], (teacher.prior[l][r] > 0)[:, None]
                H = sum(P[r, c] @ F[k] @ W[l][r, c] for c, k in enumerate(row)) + (0 if b[l] is None else b[l][r])
                H = layer(torch.where(live, H, 0), p, many.norm, many.activation, l == h.depth)
                up.append(torch.where(live, H, 0))
            F = up
        loss = teacher.prior[-1][0] @ (F[0] - teacher.target).square().sum(1) / 2
        assert close(tsf.reduced_loss(e, teacher)[i], loss, 1e-9)
        dW, db = slopes(loss, W, b)
        for l in range(1, h.depth + 1):
            assert close(found[0][l][i], dW[l], 1e-8)
            assert b[l] is None or close(found[1][l][i], db[l], 1e-8)


def test_the_finest_ladder_is_the_batch():
    rng = np.random.default_rng(3)
    h = tsf.Hierarchy.pyramid(4, 2, 1)
    x = torch.as_tensor(rng.normal(size=(5, 4, 2)))[rng.integers(0, 5, 14)]
    ladder = tsf.Ladder.finest(h, x, rng.integers(0, 3, 14))
    for place in ("before", "after"):
        student = tsf.Student(h, [2, 4, 4, 3], norm=place, bias=True, seed=1)
        e = tsf.backward(tsf.expand(student, ladder.teacher()), student, ladder.teacher())
        for own, real in zip(tsf.weight_update(e, ladder.teacher())[1:], tsf.measure(student, ladder).dW[1:]):
            assert close(own, real, 1e-10)


# bad input

@pytest.mark.parametrize("make, error, words", [
    (lambda: BatchNorm("between"), ValueError, "place must be one of 'before', 'after'; found 'between'"),
    (lambda: BatchNorm(scale=1), TypeError, "scale must be True or False; found 1"),
    (lambda: BatchNorm(top="no"), TypeError, "top must be True or False; found 'no'"),
    (lambda: BatchNorm(eps=-1e-5), ValueError, "eps must be at least 0; found -1e-05"),
    (lambda: BatchNorm(eps=float("nan")), ValueError, "eps must be finite; found nan"),
    (lambda: BatchNorm().value([1.0, 2.0]), ValueError, r"f must have shape \(..., rows, nodes\).*found \(2,\)"),
    (lambda: BatchNorm().value(torch.zeros(0, 3)), ValueError, r"at least one row; found \(0, 3\)"),
    (lambda: BatchNorm().value([[1.0], [float("nan")]]), ValueError, r"f\[1, 0\] must be finite; found nan"),
    (lambda: BatchNorm().value([[1.0], [2.0]], [0.5, 0.6]), ValueError, "p must have entries that sum to 1.*1.1"),
    (lambda: BatchNorm().value([[1.0], [2.0]], [1.5, -0.5]), ValueError, r"p\[1\] must not be negative; found -0.5"),
    (lambda: BatchNorm().value([[1.0], [2.0]], [0.2, 0.3, 0.5]), ValueError, r"p must have shape \(2,\).*found \(3,\)"),
    (lambda: BatchNorm().back([[1.0], [2.0]], [[1.0, 2.0], [3.0, 4.0]]), ValueError, r"g must have shape \(2, 1\)"),
    (lambda: tsf.Student(tsf.Hierarchy.tree(2), [1, 2, 2], norm="between", seed=0), ValueError, "norm must be one of"),
])
def test_bad_input_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_the_account_by_cause_refuses_a_norm():
    h = tsf.Hierarchy.tree(2)
    ladder = tsf.Ladder.finest(h, torch.eye(4).double()[..., None], [0, 1, 1, 0])
    with pytest.raises(ValueError, match="residuals must be of a student without norm"):
        tsf.residuals(tsf.Student(h, [1, 2, 2], norm="before", seed=0), ladder)


def test_an_eps_too_small_for_float32_is_no_zero_there():
    x = torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, 7.0]])                # the first node is constant
    close(BatchNorm(eps=1e-50).value(x), BatchNorm(eps=1e-50).value(x.double()).float(), 1e-6)
