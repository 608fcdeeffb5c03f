"""Ensembles of dense students against one torch.nn network after the other."""
import numpy as np
import pytest
import torch

from test_dense import torch_twin
from tsframe.batchnorm import BatchNorm
from tsframe.dense import Dense, unit_rows
from tsframe.draws import dense_student, dense_teacher, normal_inputs
from tsframe.ensembles import train_dense
from strategies import close

DEEP = [6, 8, 7, 5, 4]


def teacher(widths=(6, 4, 3, 3, 4), **more):
    return dense_teacher(list(widths), seed=7, **more)


def loop(twin, teacher, batches, lr, steps):
    """The witness: one network, its optimizer and autograd."""
    opt = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=lr)
    for x in batches[:steps]:
        opt.zero_grad()
        loss = (teacher(x)[-1] - twin(x)).square().sum() / 2 / len(x)
        loss.backward()
        opt.step()
    return loss


def same(net, twin, index, tol):
    mine = [p[index] for pair in zip(net.W[1:], net.b[1:]) for p in pair if p is not None]
    its = [p for p in twin.parameters() if p.requires_grad]
    assert len(mine) == len(its)
    for a, b in zip(mine, its):
        close(a, b, tol)


@pytest.mark.parametrize("norm", [None, BatchNorm("before", eps=1e-4), BatchNorm("after", eps=1e-4)])
@pytest.mark.parametrize("leak, bias", [(0.0, True), (0.1, False)])
def test_fifty_steps_are_those_of_torch_one_student_at_a_time(norm, leak, bias):
    """Weights agree to 1e-12 in float64; the batches are one draw a step from the seed."""
    t, many = teacher(), dense_student(DEEP, ensemble=(2, 3), leak=leak, bias=bias, norm=norm, seed=0)
    twins = {index: torch_twin(many, index) for index in [(0, 0), (0, 2), (1, 1)]}
    rng = torch.Generator().manual_seed(3)
    batches = [2 * torch.randn(10, 6, generator=rng, dtype=torch.float64) for _ in range(51)]
    history = train_dense(many, t, normal_inputs(6, 2.0), steps=50, lr=0.05, batch=10, seed=3, every=49)
    for index, twin in twins.items():
        loss = loop(twin, t, batches, 0.05, 50)
        same(many, twin, index, 1e-12)
        assert history.loss[1][index].item() == pytest.approx(loss.item(), rel=1e-10)
    assert history.steps == [0, 49, 50] and history.loss.shape == (3, 2, 3)


def test_rows_are_drawn_from_the_data_with_replacement():
    pool, t = torch.randn(40, 6, dtype=torch.float64), teacher()
    many = dense_student(DEEP, ensemble=(2,), seed=0)
    twin, rng = torch_twin(many, (1,)), torch.Generator().manual_seed(5)
    batches = [pool[torch.randint(40, (16,), generator=rng)] for _ in range(70)]
    train_dense(many, t, pool, steps=70, lr=0.02, batch=16, seed=5, every=1000)
    loop(twin, t, batches, 0.02, 70)
    same(many, twin, (1,), 1e-12)


def test_records_leave_the_training_alone_and_the_generator_goes_on():
    runs = []
    for every, split in ((1, False), (1000, False), (7, True)):
        many, rng, seen = dense_student(DEEP, ensemble=(3,), seed=0), torch.Generator().manual_seed(2), []
        for steps in ((29, 40) if split else (70,)):
            train_dense(many, teacher(), normal_inputs(6), steps=steps, lr=0.1, seed=rng, every=every,
                        keep=lambda step, s: seen.append(s.W[1].clone()))
        runs.append(many.W[2])
        assert torch.equal(seen[-1], many.W[1])
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2]), "the last record of each run draws a batch of its own"


def test_float32_agrees_to_its_rounding():
    a = dense_student(DEEP, ensemble=(2,), seed=0)
    b, t, pool = a.to(torch.float32), teacher(), torch.randn(200, 6).double()
    for net, its in ((a, t), (b, t.to(torch.float32))):
        train_dense(net, its, pool, steps=50, lr=0.05, seed=0, every=50)
    assert b.W[1].dtype == torch.float32
    for x, y in zip(a.W[1:] + a.b[1:], b.W[1:] + b.b[1:]):
        close(x, y.double(), 2e-6)


def test_a_teacher_for_every_student_and_a_function_as_teacher():
    teachers = [dense_teacher([6, 4, 2], seed=s) for s in range(3)]
    stacked = Dense([None] + [torch.stack([t.W[l] for t in teachers]) for l in (1, 2)],
                    [None] + [torch.stack([t.b[l] for t in teachers]) for l in (1, 2)])
    many = dense_student([6, 5, 2], ensemble=(3,), seed=0)
    solos = [many.member(i) for i in range(3)]
    train_dense(many, stacked, normal_inputs(6), steps=40, lr=0.1, seed=1, every=9)
    for i, solo in enumerate(solos):
        train_dense(solo, lambda x, t=teachers[i]: t(x)[-1], normal_inputs(6), steps=40, lr=0.1, seed=1)
        close(many.W[1][i], solo.W[1])


def test_rates_by_step_frozen_layers_and_unit_rows():
    t = teacher((6, 4, 4))
    a, b = (dense_student([6, 5, 4], ensemble=(2,), seed=0) for _ in range(2))
    train_dense(a, t, normal_inputs(6), steps=20, lr={0: 0.1, 10: 0.02}, seed=0)
    rng = torch.Generator().manual_seed(0)
    batches = [normal_inputs(6)(64, seed=rng) for _ in range(20)]
    for i in range(2):
        twin = torch_twin(b, (i,))
        loop(twin, t, batches[:10], 0.1, 10)
        loop(twin, t, batches[10:], 0.02, 10)
        same(a, twin, (i,), 1e-12)
    start = b.copy()
    train_dense(b, t, normal_inputs(6), steps=5, lr=0.1, seed=0, frozen=(1,))
    assert torch.equal(b.W[1], start.W[1]) and torch.equal(b.b[1], start.b[1]) and not torch.equal(b.W[2], start.W[2])
    for unit, l in (("hidden", 1), ("all", 2)):
        c = start.copy()
        train_dense(c, t, normal_inputs(6), steps=1, lr=0.1, seed=0, unit=unit)
        dW, db = (lambda x: start.propagate(x, t(x)[-1]).update())(normal_inputs(6)(64, seed=0))
        want = unit_rows(torch.cat([start.W[l] + 0.1 * dW[l], (start.b[l] + 0.1 * db[l])[..., None]], -1))
        close(c.rows(l), want)
        assert unit == "all" or not torch.allclose(c.rows(2).norm(dim=-1), torch.ones(2, 4).double())


def test_training_reaches_the_teacher():
    t = dense_teacher([6, 4, 3], seed=0)
    many = dense_student([6, 12, 3], ensemble=(4,), seed=1)
    loss = train_dense(many, t, normal_inputs(6), steps=3000, lr=0.2, seed=0, every=1000).loss
    assert (loss[-1] < 0.01 * loss[0]).all()


def test_a_device_of_its_own():
    """Where torch computes elsewhere, the student stays where it is and gets the weights back."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (dense_student(DEEP, ensemble=(2,), seed=0) for _ in range(2))
    train_dense(a, teacher(), normal_inputs(6), steps=20, lr=0.1, seed=0)
    train_dense(b, teacher(), normal_inputs(6), steps=20, lr=0.1, seed=0, device=device)
    assert b.device.type == "cpu"
    close(a.W[2], b.W[2], 1e-9)


def test_a_dead_row_stays_and_brings_no_nan():
    many = dense_student([6, 5, 4], init=0, norm=BatchNorm("before"), seed=0)
    loss = train_dense(many, teacher((6, 4, 4)), normal_inputs(6), steps=3, lr=0.1, seed=0, unit="all").loss
    assert torch.isfinite(loss).all() and torch.isfinite(many.W[1]).all()


def run(**change):
    args = dict(student=dense_student([6, 5, 4], ensemble=(2,), seed=0), teacher=teacher((6, 4, 4)), data=normal_inputs(6),
                steps=2, lr=0.1, seed=0)
    return train_dense(**args | change)


@pytest.mark.parametrize("change, error, words", [
    (dict(student=3), TypeError, "student must be a Dense; found int"),
    (dict(teacher=3), TypeError, "teacher must be a Dense or"),
    (dict(teacher=teacher((5, 4, 4))), ValueError, "teacher must have the student's inputs, outputs, dtype"),
    (dict(teacher=teacher((6, 4, 4), dtype=torch.float32)), ValueError, "teacher must have.*float32 for"),
    (dict(teacher=dense_student([6, 4, 4], ensemble=(3,), seed=0)), ValueError, r"ensemble \(3,\)"),
    (dict(teacher=lambda x: x), ValueError, r"targets must have shape \(64, 4\); found \(64, 6\)"),
    (dict(data=np.ones((3, 5))), ValueError, r"data must have shape \(..., rows, 6\)"),
    (dict(data=np.ones((2, 3, 6))), ValueError, r"data must have shape \(any, 6\)"),
    (dict(data=lambda n, seed: torch.ones(n + 1, 6)), ValueError, r"inputs must have shape \(64, 6\); found \(65, 6\)"),
    (dict(data=normal_inputs(6, 1e6), lr=10.0, steps=50), ValueError, r"keep the loss finite; at step \d+ the loss of students \[\["),
    (dict(lr=0), ValueError, "lr must be positive"),
    (dict(lr={5: 0.1}), ValueError, r"lr must name a rate for step 0; found steps \[5\]"),
    (dict(lr={0: -1.0}), ValueError, r"lr\[0\] must be positive"),
    (dict(lr={0: 1.0, 0.5: 1.0}), TypeError, "a step of lr must be an int"),
    (dict(steps=-1), ValueError, "steps must be at least 0"), (dict(batch=0), ValueError, "batch must be at least 1"),
    (dict(batch=2**30), ValueError, "a batch, for all students, must hold at most .* numbers; found 2 x 1073741824 x 6"),
    (dict(every=0), ValueError, "every must be at least 1"), (dict(unit="top"), ValueError, "unit must be one of"),
    (dict(frozen=(3,)), ValueError, "frozen must be between 1 and 2"),
    (dict(frozen=(1, 2)), ValueError, "frozen must leave a layer"),
    (dict(frozen=1), TypeError, "frozen must be a tuple"), (dict(keep=3), TypeError, "keep must be callable"),
    (dict(seed=None), TypeError, "seed must be"), (dict(progress=1), TypeError, "progress must be"),
])
def test_refused(change, error, words):
    with pytest.raises(error, match=words):
        run(**change)
