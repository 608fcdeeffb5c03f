"""Dense networks against torch.nn, their draws, and what is refused."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsframe.batchnorm import BatchNorm
from tsframe.dense import Dense, unit_rows
from tsframe.draws import dense_student, dense_teacher, near_teacher, normal_inputs, tuned
from strategies import close, few

NORMS = [None, "before", "after"]


def torch_twin(net, index=()):
    """torch.nn's network of one student: Linear, BatchNorm1d on its batch, LeakyReLU."""
    layers = []
    for l in range(1, net.depth + 1):
        w, b = net.W[l][index], None if net.b[l] is None else net.b[l][index]
        before = net.norm is not None and net.norm.place == "before" and l < net.depth
        lin = torch.nn.Linear(w.shape[1], w.shape[0], bias=b is not None and not before, dtype=torch.float64)
        lin.weight.data.copy_(w)
        layers.append(lin)
        if lin.bias is not None:
            lin.bias.data.copy_(b)
        if l == net.depth:
            break
        if before:
            norm = torch.nn.BatchNorm1d(w.shape[0], eps=net.norm.eps, dtype=torch.float64)
            if b is None:
                norm = torch.nn.BatchNorm1d(w.shape[0], eps=net.norm.eps, affine=False, dtype=torch.float64)
            else:
                norm.bias.data.copy_(b)
                norm.weight.requires_grad_(False)
            layers.append(norm)
        layers.append(torch.nn.LeakyReLU(net.leak))
        if net.norm is not None and net.norm.place == "after":
            layers.append(torch.nn.BatchNorm1d(w.shape[0], eps=net.norm.eps, affine=False, dtype=torch.float64))
    return torch.nn.Sequential(*layers).train()


@few(30)
@given(st.integers(0, 99), st.sampled_from(NORMS), st.booleans(), st.sampled_from([0.0, 0.2]), st.integers(1, 4))
def test_forward_and_backward_are_those_of_torch(seed, norm, bias, leak, depth):
    rng = torch.Generator().manual_seed(seed)
    widths = [3, 5, 4, 6][:depth] + [2]
    norm = None if norm is None else BatchNorm(norm, eps=1e-3)
    many = dense_student(widths, ensemble=(2, 3), bias=bias, leak=leak, norm=norm, seed=rng)
    x, y = torch.randn(9, 3, generator=rng).double(), torch.randn(9, 2, generator=rng).double()
    run = many.propagate(x, y)
    dW, db = run.update()
    for index in ((0, 0), (1, 2)):
        twin = torch_twin(many, index)
        out = twin(x)
        close(run.f[-1][index], out)
        ((y - out).square().sum() / 2 / len(x)).backward()
        found = [p.grad for p in twin.parameters() if p.requires_grad]
        said = [-d[index] for pair in zip(dW[1:], db[1:]) for d in pair]
        if not bias:
            said = said[::2]
        assert len(found) == len(said)
        for a, b in zip(found, said):
            close(a, b)
        solo = many.member(*index)
        close(solo(x)[-1], out)
        assert solo.ensemble == () and solo.widths == widths


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_below_a_norm_weights_turn_and_do_not_grow(scale):
    """⟨w_k, Δw_k⟩ = 0 at epsilon 0 and with batch statistics; at PyTorch's epsilon only nearly."""
    x, y, off = torch.randn(40, 3).double(), torch.randn(40, 2).double(), {}
    for eps in (0.0, 1e-5):
        net = dense_student([3, 5, 4, 2], norm=BatchNorm("before", eps=eps), init=scale, seed=0)
        net = Dense(net.W[:3] + [net.W[3] / scale], net.b, norm=net.norm)
        run = net.propagate(x, y)
        dW = run.update()[0]
        off[eps] = max(((net.W[l] * dW[l]).sum(-1).abs() / (net.W[l].norm(dim=-1) * dW[l].norm(dim=-1))).max().item()
                       for l in (1, 2))
        assert run.s[1].mean(0).abs().max() < 1e-14 / scale
    assert off[0.0] < 1e-12 < 1e-7 < off[1e-5] and (scale == 1 or off[1e-5] > 1e-3)


def test_inputs_of_their_own_for_every_student():
    net = dense_student([3, 4, 2], ensemble=(5,), seed=0)
    x = torch.randn(5, 7, 3, dtype=torch.float64)
    for i in range(5):
        close(net(x)[-1][i], net.member(i)(x[i])[-1])


@few(20)
@given(st.integers(0, 99), st.sampled_from([None, "uniform", -0.1]), st.booleans(), st.floats(0, 2))
def test_teachers_have_the_rows_that_they_say(seed, bias, unit_top, decay):
    t = dense_teacher([6, 4, 5, 3], bias=bias, decay=decay, unit_top=unit_top, seed=seed)
    close(t.W[1].norm(dim=-1), torch.ones(4))
    close(t.W[2].norm(dim=-1), torch.ones(5))
    assert torch.allclose(t.W[3].norm(dim=-1), torch.ones(3, dtype=torch.float64)) == unit_top
    for l in (1, 2, 3):                                             # a row is a multiple of entries / j^decay
        w = t.W[l] * (torch.arange(1, t.W[l].shape[1] + 1).double() ** decay if l > 1 else 1)
        w = w / w.abs().amax(-1, keepdim=True)
        assert set((w * 4).round(decimals=8).flatten().tolist()) <= {-4, -2, 0, 2, 4}
        if bias is None:
            assert t.b[l] is None
        elif bias == "uniform" and (l < 3 or unit_top):
            assert 0 < t.b[l].abs().max()
        elif bias == -0.1:
            assert (t.b[l] == -0.1).all()
    again = dense_teacher([6, 4, 5, 3], bias=bias, decay=decay, unit_top=unit_top, seed=seed)
    assert torch.equal(t.W[2], again.W[2])


def test_no_row_is_zero_even_of_short_lists():
    t = dense_teacher([1, 40, 1], entries=[0, 1], seed=0)
    assert t.W[1].all() and t.W[2].any(-1).all()
    assert dense_teacher([3, 8, 2], entries=None, seed=0).W[1].unique().numel() == 24


def test_students_start_as_they_say():
    a = dense_student([16, 400, 1], seed=0)
    assert a.W[1].abs().max() <= 0.25 and abs(a.W[1].std() - 0.25 / 3**0.5) < 0.005 and a.b[1].abs().max() <= 0.25
    b = dense_student([16, 400, 2], init="unit", seed=0)
    close(b.rows(1).norm(dim=-1), torch.ones(400))
    close(b.rows(2).norm(dim=-1), torch.ones(2))
    c = dense_student([16, 400, 1], init=0.005, seed=0)
    assert abs(c.W[1].std() - 0.005) < 2e-4 and not c.b[1].any()
    d = dense_student([16, 4, 1], bias=False, dtype=torch.float32, seed=0)
    assert d.b == [None] * 3 and d.dtype == torch.float32 and not d.rows(1)[:, -1].any()
    close(c.fan_out(1), c.W[2][0].abs())


@few(10)
@given(st.integers(0, 99), st.integers(20, 60))
def test_tuned_teachers_are_on_half_the_time(seed, rows):
    t = dense_teacher([4, 12, 6, 3], entries=None, seed=seed)
    x = normal_inputs(4, 3.0)(2 * rows, seed=seed)
    new = tuned(t, x)
    for h in new.propagate(x).h[1:-1]:
        assert ((h > 0).sum(0) == rows).all()
    y = new(x)[-1]
    close(y.mean(0), torch.zeros(3), 1e-10)
    close(y.std(0, correction=0), torch.ones(3), 1e-10)
    assert all(torch.equal(a, b) for a, b in zip(new.W[1:-1], t.W[1:-1]))


def test_near_a_teacher():
    t, s = dense_teacher([4, 3, 2], seed=0), dense_student([4, 5, 2], ensemble=(2,), seed=1)
    exact, near = near_teacher(s, t, 0, seed=2), near_teacher(s, t, 0.1, seed=2)
    assert torch.equal(exact.W[1][:, :3], t.W[1].expand(2, -1, -1)) and torch.equal(exact.W[1][:, 3:], s.W[1][:, 3:])
    assert torch.equal(exact.W[2][..., :3], t.W[2].expand(2, -1, -1)) and torch.equal(exact.W[2][..., 3:], s.W[2][..., 3:])
    assert torch.equal(exact.b[1][:, :3], t.b[1].expand(2, -1)) and torch.equal(exact.b[2], t.b[2].expand(2, -1))
    assert 0.02 < (near.W[1] - exact.W[1])[:, :3].std() < 0.3 and not torch.equal(near.W[1][0, :3], near.W[1][1, :3])
    assert not torch.equal(s.W[1][:, :3], exact.W[1][:, :3]), "the student given stays as it was"


def test_a_network_owns_its_weights():
    w = [None, np.ones((2, 3)), np.ones((1, 2))]
    net = Dense(w)
    net.W[1].zero_()
    assert w[1].all()
    net.copy().W[2].zero_()
    assert net.W[2].all()
    leaf = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    Dense([None, leaf])([[1.0, 2, 3]])[-1].sum().backward()
    assert leaf.grad.tolist() == [[1, 2, 3]]
    rows = torch.tensor([[0.0, 0], [3, 4]])
    assert unit_rows(rows).tolist() == [[0, 0], [0.6000000238418579, 0.800000011920929]]


def student(**change):
    return dense_student(**dict(widths=[2, 3, 1], seed=0) | change)


def teacher(**change):
    return dense_teacher(**dict(widths=[2, 3, 1], seed=0) | change)


@pytest.mark.parametrize("call, error, words", [
    (lambda: Dense(3), TypeError, "W must be a list by layer.*found int"),
    (lambda: Dense([None]), TypeError, "W must be a list by layer.*found list of 1"),
    (lambda: Dense([1, 2]), ValueError, r"W\[0\] must be None"),
    (lambda: Dense([None, [1.0]]), ValueError, r"W\[1\] must have shape \(..., n_1, n_0\).*\(1,\)"),
    (lambda: Dense([None, np.ones((2, 3)), np.ones((1, 3))]), ValueError, r"W\[2\] must have shape \(any, 2\); found \(1, 3\)"),
    (lambda: Dense([None, np.ones((2, 3))], [None, np.ones(3)]), ValueError, r"b\[1\] must have shape \(2,\); found \(3,\)"),
    (lambda: Dense([None, np.ones((2, 3)), np.ones((1, 2))], [None, np.ones(2), None]), ValueError, r"b\[2\] differs"),
    (lambda: Dense([None, np.full((2, 3), np.nan)]), ValueError, r"W\[1\]\[0, 0\] must be finite; found nan"),
    (lambda: student(leak=1), ValueError, "leak must be below 1; found 1"),
    (lambda: student(leak=-0.5), ValueError, "leak must be at least 0"),
    (lambda: student(norm="sideways"), ValueError, "norm must be one of"),
    (lambda: student(norm=BatchNorm(top=True)), ValueError, "norm must leave the top alone"),
    (lambda: student(widths=[2]), ValueError, "widths must have at least 2 entries.*found 1"),
    (lambda: student(widths=[2, 0, 1]), ValueError, r"widths\[1\] must be at least 1; found 0"),
    (lambda: student(widths=7), TypeError, "widths must be a list"),
    (lambda: student(init="xavier"), ValueError, "init must be"),
    (lambda: student(init=-1), ValueError, "init must be at least 0"),
    (lambda: student(bias=1), TypeError, "bias must be True"),
    (lambda: student(ensemble=3), TypeError, "ensemble must be a tuple"),
    (lambda: student(seed=None), TypeError, "seed"),
    (lambda: student(dtype=torch.int64), TypeError, "dtype must be torch.float32 or torch.float64"),
    (lambda: student(widths=[2, 10**12, 1]), ValueError, "widths.1. must be|must hold at most"),
    (lambda: student().member(0), ValueError, "one index per axis"),
    (lambda: student().rows(3), ValueError, "l must be between 1 and 2"),
    (lambda: student().fan_out(2), ValueError, "l must be between 1 and 1; found 2"),
    (lambda: student()([1.0, 2.0]), ValueError, r"x must have shape \(..., rows, 2\)"),
    (lambda: student()(np.zeros((0, 2))), ValueError, "at least one row"),
    (lambda: student(ensemble=(3,))(np.zeros((2, 5, 2))), ValueError, r"x must have leading axes that fit the ensemble \(3,\)"),
    (lambda: student()([[np.inf, 0]]), ValueError, "x.0, 0. must be finite"),
    (lambda: student().propagate(np.ones((4, 2)), np.ones((3, 1))), ValueError, r"target must have shape \(..., 4, 1\)"),
    (lambda: student(ensemble=(2,)).propagate(np.ones((4, 2)), np.ones((3, 4, 1))), ValueError,
     r"leading axes of target and outputs must.*\(3,\) and \(2,\)"),
    (lambda: student().to(torch.float16), TypeError, "dtype must be torch.float32 or torch.float64; found torch.float16"),
    (lambda: student().propagate(np.ones((4, 2))).update(), ValueError, "update must follow a pass with targets"),
    (lambda: teacher(decay=-1), ValueError, "decay must be at least 0"),
    (lambda: teacher(widths=[2, 3, 40], decay=1e6), ValueError, "decay must leave every row"),
    (lambda: teacher(entries=[0, 0]), ValueError, "entries must hold a number other than 0"),
    (lambda: teacher(entries=3), ValueError, "entries must have shape"),
    (lambda: teacher(bias="yes"), ValueError, "bias must be one"),
    (lambda: teacher(unit_top=0), TypeError, "unit_top must be True"),
    (lambda: tuned(student(norm="after"), np.ones((4, 2))), ValueError, "teacher must be one network"),
    (lambda: tuned(teacher(), np.ones((4, 2))), ValueError, "outputs that vary over the 4 rows of x"),
    (lambda: tuned(3, np.ones((4, 2))), TypeError, "teacher must be a Dense"),
    (lambda: near_teacher(student(), teacher(widths=[2, 4, 1]), 0.1, seed=0), ValueError, "no wider; found Dense.2 - 4 - 1."),
    (lambda: near_teacher(student(), teacher(bias=None), 0.1, seed=0), ValueError, "and biases"),
    (lambda: normal_inputs(2, 0), ValueError, "std must be positive"),
    (lambda: normal_inputs(2)(0, seed=0), ValueError, "n must be at least 1"),
])
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
