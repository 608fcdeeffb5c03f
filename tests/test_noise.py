"""Batches of one's own, samples with and without replacement, and sharpness against the dense Hessian."""
import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tsframe as tsf
from strategies import close, either_ladder, few, latent_teachers, scenes, students
from tsframe.certificates import noise

PYRAMID = tsf.Hierarchy.pyramid(4, 2, 1)


def rows(*lead, seed=0, features=2, classes=3):
    rng = torch.Generator().manual_seed(seed)
    return (torch.randn(*lead, 4, features, generator=rng, dtype=torch.float64),
            torch.randint(classes, lead, generator=rng))


def student(ensemble=(), norm=None, bias=True, seed=0, widths=(2, 3, 3, 3)):
    s = tsf.Student(PYRAMID, list(widths), ensemble=ensemble, norm=norm, bias=bias, seed=seed)
    with torch.no_grad():
        for b in s.b[1:] if bias else ():
            b.normal_(generator=torch.Generator().manual_seed(seed + 1))
    return s


# ---- rows of one's own ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("norm", [None, "before", "after"])
@pytest.mark.parametrize("ensemble", [(3,), (2, 2), (1,)])
def test_every_student_sees_its_own_rows(ensemble, norm):
    many, (x, y) = student(ensemble, norm), rows(*ensemble, 7)
    weights = torch.rand(7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights /= weights.sum()
    targets = torch.randn(*ensemble, 7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    outputs = many(x)
    for labels in (y, targets):
        found = many.propagate(x, labels, weights)
        dW, db = found.update(PYRAMID, weights)
        for index in torch.ones(ensemble).nonzero().tolist():
            index = tuple(index)
            solo = many.member(*index)
            alone = solo.propagate(x[index], labels[index], weights)
            for a, b in zip(found, alone):
                assert all(p is q is None or p[index].shape == q.shape and close(p[index], q) for p, q in zip(a, b))
            own_dW, own_db = alone.update(PYRAMID, weights)
            assert all(close(dW[l][index], own_dW[l]) and close(db[l][index], own_db[l]) for l in (1, 2, 3))
            assert all(close(a[index], b) for a, b in zip(outputs, solo(x[index])))


@pytest.mark.parametrize("method", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("replace", [True, False])
def test_a_member_trains_as_its_solo_run_on_its_own_batches(method, replace):
    ladder = tsf.Ladder.finest(PYRAMID, *rows(30))
    many, seen = student((2, 2)), []

    def own(n, seed):
        seen.append(ladder.sample(n, seed=seed, many=(2, 2), replace=replace))
        return seen[-1]
    solos = {index: many.member(*index) for index in itertools.product(range(2), repeat=2)}
    history = tsf.train(many, own, steps=12, lr=0.05, method=method, batch=5, seed=3)
    assert history.loss.shape == (13, 2, 2) and len(seen) == 13
    for index, solo in solos.items():
        replay = iter([(x[index], y[index]) for x, y in seen])
        alone = tsf.train(solo, lambda n, seed: next(replay), steps=12, lr=0.05, method=method, batch=5, seed=0)
        assert close(history.loss[(slice(None), *index)], alone.loss)
        assert all(close(p, many.get_parameter(name)[index]) for name, p in solo.named_parameters())
    assert not torch.equal(seen[0][0][0, 0], seen[0][0][1, 1]), "batches differ from student to student"


def test_rows_for_all_stay_rows_for_all():
    many, (x, y) = student((3,)), rows(6)
    same = many.propagate(x.expand(3, -1, -1, -1), y.expand(3, -1))
    for a, b in zip(many.propagate(x, y), same):
        assert all(p is q is None or close(p.expand_as(q), q) for p, q in zip(a, b))


# ---- samples -------------------------------------------------------------------------------------------------------

def test_samples_have_the_shape_asked_for_and_follow_their_seed():
    ladder = tsf.Ladder.finest(PYRAMID, *rows(9))
    for many, n in (((), 4), ((3,), 4), ((2, 3), 9), ((2,), 0)):
        for replace in (True, False):
            x, y = ladder.sample(n, seed=5, many=many, replace=replace)
            assert x.shape == (*many, n, 4, 2) and y.shape == (*many, n)
            assert torch.equal(x, ladder.sample(n, seed=5, many=many, replace=replace)[0])
    x, y = ladder.sample(9, seed=0, replace=False)
    assert sorted(x[:, 0, 0].tolist()) == sorted(ladder.inputs[:, 0, 0].tolist())
    assert all(torch.equal(ladder.labels[(ladder.inputs == row).all((1, 2))][0], label) for row, label in zip(x, y))


@pytest.mark.parametrize("replace", [True, False])
def test_batches_are_drawn_as_they_are_counted(replace):
    """How often each batch comes, against the probabilities that the certificate enumerates."""
    index = torch.arange(4.0).repeat_interleave(4).view(4, 4, 1)
    ladder = tsf.Ladder.finest(PYRAMID, index, [0, 1, 0, 1])
    drawn = ladder.sample(2, seed=0, many=(20_000,), replace=replace)[0][:, :, 0, 0].long()
    found = Counter(tuple(sorted(b)) for b in drawn.tolist())
    said = dict(noise._batches(4, 2, replace))
    assert set(found) == set(said) and sum(said.values()) == pytest.approx(1)
    for batch, p in said.items():
        assert abs(found[batch] / 20_000 - p) < 5 * (p / 20_000)**0.5


def test_with_weights_and_with_replacement_the_mean_is_the_law():
    ladder = tsf.Ladder.finest(PYRAMID, *rows(3), weights=[1.0, 0.0, 3.0])
    x, _ = ladder.sample(5, seed=0, many=(4000,))
    share = (x == ladder.inputs[2]).all((-2, -1)).double().mean()
    assert abs(share - 0.75) < 0.02 and not (x == ladder.inputs[1]).all((-2, -1)).any()


# ---- sharpness -----------------------------------------------------------------------------------------------------

def dense(solo, inputs, labels, weights):
    """The whole Hessian by autograd.functional, of the network called as a function of its weights."""
    names, start = zip(*solo.named_parameters())
    e_y = torch.nn.functional.one_hot(labels, solo.widths[-1]).double()

    def loss(*parameters):
        out = torch.func.functional_call(solo, dict(zip(names, parameters)), (inputs,))[-1][:, 0]
        return ((out - e_y).square().sum(1) * weights).sum() / 2
    H = torch.autograd.functional.hessian(loss, tuple(p.detach() for p in start))
    n = [p.numel() for p in start]
    return torch.cat([torch.cat([H[i][j].reshape(n[i], n[j]) for j in range(len(n))], 1) for i in range(len(n))])


@pytest.mark.parametrize("norm", [None, "before", "after"])
def test_sharpness_is_the_top_of_the_dense_hessian(norm):
    many, (x, y) = student((3,), norm), rows(3, 12)
    found = tsf.sharpness(many, (x, y))
    for i in range(3):
        λ = torch.linalg.eigvalsh(dense(many.member(i), x[i], y[i], torch.full((12,), 1 / 12)))[-1].item()
        assert abs(found[i] - λ) < 1e-5 * max(1, abs(λ))


@few(12)
@given(scenes(either_ladder, ensembles=((), (2,))))
def test_sharpness_on_any_ladder(scene):
    ladder, many = scene
    found = tsf.sharpness(many, ladder).flatten()
    members = torch.ones(many.ensemble).nonzero().tolist()
    for λ, index in zip(found, members):
        H = dense(many.member(*index), ladder.inputs, ladder.labels, ladder.weights)
        top = torch.linalg.eigvalsh(H)[-1].item()
        assert abs(λ - top) < 1e-5 * max(1, abs(top))


@few(10)
@given(latent_teachers(), st.data())
def test_sharpness_in_table_space_by_finite_differences(teacher, data):
    s = data.draw(students(teacher.hierarchy, teacher.features.shape[-1], teacher.target.shape[-1], ensembles=((),)))
    start = [p.detach().clone() for p in s.parameters()]

    def slope(x):
        with torch.no_grad():
            for p, v in zip(s.parameters(), x.split([p.numel() for p in start])):
                p.copy_(v.view_as(p))
        e = tsf.backward(tsf.expand(s, teacher), s, teacher)
        both = zip(tsf.weight_update(e, teacher)[1:], tsf.bias_update(e, teacher)[1:])
        return -torch.cat([x.detach().flatten() for dW, db in both for x in ((dW, db) if s.b[1] is not None else (dW,))])
    found, at = tsf.sharpness(s, teacher).item(), torch.cat([p.flatten() for p in start])
    eps = 1e-6
    H = torch.stack([(slope(at + eps * e) - slope(at - eps * e)) / (2 * eps) for e in torch.eye(len(at)).double()])
    top = torch.linalg.eigvalsh((H + H.T) / 2)[-1].item()
    assert abs(found - top) < 1e-4 * max(1, abs(top))


def test_descent_settles_below_two_over_the_rate_and_not_above():
    """A readout alone is a quadratic: the bound is sharp there."""
    h = tsf.Hierarchy.tree(1, 1)
    x, y = torch.randn(20, 1, 3, generator=torch.Generator().manual_seed(0)).double(), torch.arange(20) % 2
    λ = tsf.sharpness(tsf.Student(h, [3, 2], seed=0), (x, y)).item()
    for factor, settles in ((0.98, True), (1.02, False)):
        s = tsf.Student(h, [3, 2], seed=0)
        loss = tsf.train(s, tsf.Ladder.finest(h, x, y), steps=400, lr=factor * 2 / λ).loss
        assert (loss[-1] < loss[0]) == settles


def test_sharpness_of_small_inputs_is_as_accurate_as_that_of_large_ones():
    h, (x, y) = tsf.Hierarchy.tree(1), rows(9)
    student, x = tsf.Student(h, [2, 3], activation="linear", seed=0), 1e-4 * x[:, :2]
    want = torch.linalg.eigvalsh(x.flatten(1).T @ x.flatten(1) / 9)[-1]          # of E[x x^T] ⊗ 1
    assert tsf.sharpness(student, (x, y)).item() == pytest.approx(want.item(), rel=1e-6)


def test_sharpness_leaves_the_student_alone_and_follows_its_dtype():
    s, (x, y) = student((2,)), rows(8)
    before = [p.detach().clone() for p in s.parameters()]
    first, other = tsf.sharpness(s, (x, y)), tsf.sharpness(s, (x, y), seed=9)
    assert close(first, other, 1e-5) and first.shape == (2,) and not first.requires_grad
    assert all(p.grad is None and torch.equal(p, q) for p, q in zip(s.parameters(), before))
    with torch.no_grad():
        assert close(tsf.sharpness(s, (x, y)), first)
    low = tsf.sharpness(s.to(torch.float32), (x, y))
    assert low.dtype == torch.float32 and close(low.double(), first, 1e-4)


def test_a_student_that_is_dead_has_the_sharpness_of_its_bias():
    s, (x, y) = student(), rows(8)
    with torch.no_grad():
        for p in s.parameters():
            p.zero_()
    assert tsf.sharpness(s, (x, y)).item() == pytest.approx(1)       # ½ ‖b - e_y‖²


# ---- what is refused -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("x, y, message", [
    (rows(2, 5)[0], rows(2, 5)[1], r"inputs must have shape \(3, any, 4, 2\); found \(2, 5, 4, 2\)"),
    (rows(3, 5)[0], rows(5)[1], r"labels must have shape \(3, 5\); found \(5,\)"),
    (rows(5)[0], rows(3, 5)[1], "labels must"),
    (rows(3, 1, 5)[0], rows(3, 1, 5)[1], r"inputs must have shape"),
    (torch.full((3, 5, 4, 2), math.nan), rows(3, 5)[1], r"inputs\[0, 0, 0, 0\] must be finite"),
    (rows(3, 5)[0], rows(3, 5)[1] + 2, "labels must hold class indices between 0 and 2")])
def test_rows_that_do_not_fit(x, y, message):
    many = student((3,))
    with pytest.raises(ValueError, match=message):
        many.propagate(x, y)
    with pytest.raises(ValueError, match=message):
        tsf.train(many, lambda n, seed: (x, y), steps=1, lr=0.1, batch=5, seed=0)
    with pytest.raises(ValueError, match=message):
        tsf.sharpness(many, (x, y))


def test_a_single_student_has_no_rows_of_its_own():
    with pytest.raises(ValueError, match=r"inputs must have shape \(any, 4, 2\); found \(3, 5, 4, 2\)"):
        student().propagate(*rows(3, 5))


@pytest.mark.parametrize("change, error, message", [
    (dict(many=3), TypeError, "many must be a tuple of sizes; found int 3"),
    (dict(many=(0,)), ValueError, r"many\[0\] must be at least 1; found 0"),
    (dict(many=(2.0,)), TypeError, r"many\[0\] must be an int"),
    (dict(many=(2**20, 2**20)), ValueError, "a sample must hold at most"),
    (dict(replace=1), TypeError, "replace must be True or False; found 1"),
    (dict(n=7, replace=False), ValueError, "n must be between 0 and 6; found 7"),
    (dict(n=-1), ValueError, "n must be at least 0; found -1"),
    (dict(seed="0"), TypeError, "seed must be an int")])
def test_samples_that_cannot_be_drawn(change, error, message):
    ladder = tsf.Ladder.finest(PYRAMID, *rows(6))
    with pytest.raises(error, match=message):
        ladder.sample(**dict(dict(n=2, seed=0), **change))


def test_without_replacement_rows_weigh_the_same():
    ladder = tsf.Ladder.finest(PYRAMID, *rows(3), weights=[1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="replace must be True where rows have different weights; found weights from 0.25 to 0.5"):
        ladder.sample(2, seed=0, replace=False)


@pytest.mark.parametrize("data, error, message", [
    (3, TypeError, "data must be a Teacher, a Ladder or a pair"), (rows(4) + (1,), TypeError, "data must be a Teacher"),
    ((rows(4)[0][..., :1], rows(4)[1]), ValueError, r"inputs must have shape \(any, 4, 2\)"),
    (tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), seed=0), ValueError, "same hierarchy"),
    ((1e200 * rows(4)[0], rows(4)[1]), ValueError, "sharpness must be taken where loss and Hessian are finite")])
def test_sharpness_of_what_does_not_fit(data, error, message):
    with pytest.raises(error, match=message):
        tsf.sharpness(student(), data)


@pytest.mark.parametrize("change, error", [(dict(tol=0), ValueError), (dict(tol="fine"), TypeError),
                                           (dict(seed=-1), ValueError), (dict(student=3), TypeError)])
def test_sharpness_with_bad_arguments(change, error):
    with pytest.raises(error, match="must"):
        tsf.sharpness(**dict(dict(student=student(), data=rows(4)), **change))


def test_without_replacement_small_weights_may_not_differ_either():
    """One row in two weighs twice as much, and yet, of 100 000, the weights differ by less than 1e-5."""
    x = torch.zeros(100_000, 4, 2)
    ladder = tsf.Ladder.finest(PYRAMID, x, torch.zeros(len(x), dtype=torch.long), torch.ones(len(x)) + torch.arange(len(x)) % 2)
    with pytest.raises(ValueError, match="rows have different weights"):
        ladder.sample(2, seed=0, replace=False)
