"""Students: the network by a loop over regions, signals by autograd, ensembles as their members."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tsframe as tsf
from strategies import close, either_ladder, few, hierarchies, laws, scenes, students
from witness import descent, network, weights_of


@given(scenes(either_ladder))
def test_forward_by_a_loop_over_regions(scene):
    ladder, student = scene
    with torch.no_grad():
        found = student(ladder.inputs)
    members = torch.ones(student.ensemble).nonzero().tolist()
    for index in members:
        f, _ = network(student.hierarchy, [None if w is None else w[tuple(index)] for w in student.W],
                       [None if b is None else b[tuple(index)] for b in student.b], ladder.inputs, student.activation)
        for l, x in enumerate(found):
            assert x.shape == (*student.ensemble, len(ladder.labels), student.hierarchy.regions[l], student.widths[l])
            close(x[tuple(index)], f[l])


@given(scenes(either_ladder))
def test_propagate_is_autograd_row_by_row(scene):
    """g = minus the gradient of a row's loss ½‖f_ω - e_y‖² with respect to its h; u = the same without the gate."""
    ladder, student = scene
    found = student.propagate(ladder.inputs, ladder.labels)
    e_y = torch.eye(ladder.classes, dtype=torch.float64)[ladder.labels]
    for index in torch.ones(student.ensemble).nonzero().tolist():
        member = student.member(*index)
        W, b = weights_of(member)
        f, h = network(student.hierarchy, W, b, ladder.inputs, student.activation)
        loss = (f[-1][:, 0] - e_y).square().sum() / 2                    # rows do not interact
        for l in range(1, student.hierarchy.depth + 1):
            g, = torch.autograd.grad(loss, h[l], retain_graph=True)
            u, = torch.autograd.grad(loss, f[l], retain_graph=True) if l < student.hierarchy.depth else (g,)
            at = tuple(index)
            close(found.h[l][at].transpose(-3, -2), h[l])
            close(found.f[l][at].transpose(-3, -2), f[l])
            close(found.g[l][at].transpose(-3, -2), -g)
            close(found.u[l][at].transpose(-3, -2), -u)
            gate = (h[l] > 0).double() if student.activation == "relu" and l < student.hierarchy.depth else 1.0
            assert (found.gates[l][at].transpose(-3, -2) == gate).all()


@given(scenes(either_ladder, ensembles=((2,), (3, 2), (1,))))
@few(25)
def test_a_member_of_an_ensemble_is_its_solo_copy(scene):
    ladder, many = scene
    with torch.no_grad():
        everyone = many(ladder.inputs)
    for index in torch.ones(many.ensemble).nonzero().tolist():
        solo = many.member(*index)
        assert solo.ensemble == () and solo.widths == many.widths and solo.activation == many.activation
        for l in range(1, many.hierarchy.depth + 1):
            assert torch.equal(solo.W[l], many.W[l][tuple(index)])
            assert solo.b[l] is None if many.b[l] is None else torch.equal(solo.b[l], many.b[l][tuple(index)])
        with torch.no_grad():
            for a, b in zip(solo(ladder.inputs), everyone):
                close(a, b[tuple(index)])
            solo.W[1].zero_()
        assert many.W[1][tuple(index)].any() or not everyone[1].any(), "a member is a copy"


@given(hierarchies(), st.data())
@few(20)
def test_forward_is_differentiable(h, data):
    inputs, labels, _, classes = data.draw(laws(h))
    student = data.draw(students(h, inputs.shape[-1], classes, ensembles=((),)))
    loss = student(inputs)[-1].square().sum()
    found = torch.autograd.grad(loss, list(student.parameters()), allow_unused=True)
    W, b = weights_of(student)
    dW, db = descent(network(h, W, b, torch.as_tensor(inputs), student.activation)[0][-1].square().sum(), W, b)
    want = dict([(f"W{l}", dW[l]) for l in range(1, h.depth + 1)] + [(f"b{l}", db[l]) for l in range(1, h.depth + 1)])
    for (name, value), g in zip(student.named_parameters(), found):
        close(torch.zeros_like(value) if g is None else g, -want[name])


def test_shapes_names_and_order_of_the_parameters():
    h = tsf.Hierarchy.pyramid(5, 3, 2)
    student = tsf.Student(h, [2, 4, 3], ensemble=(5, 2), bias=True, seed=0)
    assert student.W[0] is None and student.b[0] is None
    assert student.W[1].shape == (5, 2, 2, 3, 2, 4) and student.W[2].shape == (5, 2, 1, 2, 4, 3)
    assert student.b[1].shape == (5, 2, 2, 4) and student.b[2].shape == (5, 2, 1, 3) and not student.b[1].any()
    assert student.widths == [2, 4, 3] and student.ensemble == (5, 2) and student.activation == "relu"
    assert all(isinstance(w, torch.nn.Parameter) and w.dtype == torch.float64 for w in student.W[1:])
    assert isinstance(student, torch.nn.Module) and sum(1 for _ in student.parameters()) == 4
    plain = tsf.Student(h, [2, 4, 3], seed=0)
    assert plain.b == [None, None, None] and sum(1 for _ in plain.parameters()) == 2


def test_state_dict_carries_a_student():
    h = tsf.Hierarchy.tree(2)
    a, b = (tsf.Student(h, [2, 3, 2], bias=True, seed=s) for s in (0, 1))
    b.load_state_dict(a.state_dict())
    x = torch.eye(2, dtype=torch.float64)[torch.tensor([[0, 1, 1, 0]])]
    assert torch.equal(a(x)[-1], b(x)[-1])


def test_weights_follow_their_seed_and_its_scale():
    h = tsf.Hierarchy.tree(6)
    a, b, c = (tsf.Student(h, [2] + [16] * 5 + [2], seed=s) for s in (3, torch.Generator().manual_seed(3), 4))
    assert all(torch.equal(x, y) for x, y in zip(a.W[1:], b.W[1:])) and not torch.equal(a.W[1], c.W[1])
    for l, variance in ((1, 2 / 4), (2, 2 / 32), (3, 2 / 32)):           # gain / (C n), normal
        n = a.W[l].numel()
        assert abs(a.W[l].mean().item()) < 5 * (variance / n) ** 0.5
        assert abs(a.W[l].var().item() / variance - 1) < 5 * (2 / n) ** 0.5
    flat = tsf.Student(h, [2] + [16] * 5 + [2], activation="linear", seed=3)
    close(flat.W[2] * 2**0.5, a.W[2])
    state = torch.get_rng_state()
    tsf.Student(h, [2] + [16] * 5 + [2], seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_the_top_is_linear_and_a_gate_at_zero_is_closed():
    h = tsf.Hierarchy.tree(2)
    student = tsf.Student(h, [1, 1, 1], seed=0)
    with torch.no_grad():
        for w in student.W[1:]:
            w.fill_(1.0)
        student.W[2].fill_(-1.0)
    x = torch.tensor([[1.0, 2.0, 0.0, 0.0], [1.0, -1.0, -3.0, 1.0]], dtype=torch.float64)[..., None]
    f = student(x)
    assert f[1][..., 0].tolist() == [[3, 0], [0, 0]] and f[2].flatten().tolist() == [-3, 0]
    passed = student.propagate(x, [0, 0])
    assert passed.gates[1][..., 0].tolist() == [[1, 0], [0, 0]]          # regions before rows; h = 0 counts as off
    assert passed.gates[2].flatten().tolist() == [1, 1]


def test_no_rows_and_one_row():
    student = tsf.Student(tsf.Hierarchy.tree(2), [2, 3, 2], ensemble=(2,), seed=0)
    assert [x.shape for x in student(torch.zeros(0, 4, 2))] == [(2, 0, 4, 2), (2, 0, 2, 3), (2, 0, 1, 2)]
    assert student(torch.ones(1, 4, 2).tolist())[-1].shape == (2, 1, 1, 2)


def test_float32_student():
    student = tsf.Student(tsf.Hierarchy.tree(2), [2, 3, 2], bias=True, seed=0).to(torch.float32)
    f = student(torch.ones(3, 4, 2, dtype=torch.float64))
    assert f[-1].dtype == torch.float32 and student.member().W[1].dtype == torch.float32


def test_targets_may_be_a_list():
    student, x = tsf.Student(tsf.Hierarchy.tree(1), [2, 3], seed=0), torch.ones(2, 2, 2)
    u = student.propagate(x, [[0.5, 0.5, 0.0], [0.0, 0.0, 2.0]]).u[-1]
    close(u + student(x)[-1].transpose(-3, -2), [[[0.5, 0.5, 0.0], [0.0, 0.0, 2.0]]])
