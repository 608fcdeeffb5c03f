"""Floor 5. Which student node became which teacher node: correlation of activations, matches, ranks, contributions."""
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from . import _checks as check
from .batchnorm import BatchNorm
from .dense import Dense, unit_rows
from .expansion import Expansion
from .ladder import Ladder
from .student import Student
from .teacher import Teacher


class Correlation(NamedTuple):
    """ρ (..., m, n): Pearson correlation of teacher node (or state) j with student node k.

    dead (..., n), silent (..., m) : students and teachers that do not vary on the sample; their ρ is 0
    """

    ρ: torch.Tensor
    dead: torch.Tensor
    silent: torch.Tensor


class Match(NamedTuple):
    """By teacher node, (..., m): ρ with its student node, that node's index, and whether it serves others, too."""

    value: torch.Tensor
    winner: torch.Tensor
    shared: torch.Tensor


class Group(NamedTuple):
    """Student nodes of one hyperplane: indices, signs of w~ against the first, and ‖Σ v_k ‖w~_k‖‖ / Σ ‖v_k‖ ‖w~_k‖."""

    nodes: list
    signs: list
    rest: float


def correlation(f, f0, weights=None):
    """Pearson correlation over the rows of f0 (..., N, m) with f (..., N, n): a `Correlation`.

    weights : of the rows, (N,) or with leading axes, which sum to 1; uniform by default
    A node is dead where its variance is rounding: at most (64 eps)² of its mean square.
    """
    f = check.real("f", f)
    f0 = check.real("f0", f0, None, f.dtype, f.device)
    if f.ndim < 2 or f0.ndim < 2 or f.shape[-2] != f0.shape[-2] or not f.shape[-2]:
        raise ValueError("f and f0 must have shapes (..., N, n) and (..., N, m) with one N of at least 1; found "
                         f"{tuple(f.shape)} and {tuple(f0.shape)}")
    check.broadcast("leading axes of f and f0", f.shape[:-2], f0.shape[:-2])
    p = f.new_full((f.shape[-2],), 1 / f.shape[-2]) if weights is None else check.probabilities(
        "weights", check.real("weights", weights, None, f.dtype, f.device))
    if p.shape[-1:] != f.shape[-2:-1]:
        raise ValueError(f"weights must have shape (..., {f.shape[-2]}), one a row; found {tuple(p.shape)}")
    (a, dead), (b, silent) = _standard(f, p[..., None]), _standard(f0, p[..., None])
    return Correlation((b.mT @ a).clamp(-1, 1), dead, silent)


def layer_correlations(student, teacher, x):
    """`correlation` of the hidden layers of a dense teacher with those of the student on inputs x (N, n_0).

    A list by layer; entries 0 and L are None. Chapter `winners`.
    """
    check.instance("student", student, Dense)
    check.instance("teacher", teacher, Dense)
    if student.depth != teacher.depth or student.widths[0] != teacher.widths[0] or student.dtype != teacher.dtype:
        raise ValueError("student and teacher must have one depth, the same inputs and one dtype; found "
                         f"{student}, {student.dtype} and {teacher}, {teacher.dtype}")
    check.broadcast("ensembles of student and teacher", student.ensemble, teacher.ensemble)
    mine, its = student(x), teacher(x)
    return [None, *(correlation(f, f0) for f, f0 in zip(mine[1:-1], its[1:-1])), None]


def state_correlations(student, ladder):
    """`correlation` of node k of a region with the indicator of its state, 1[z = i], over the rows of a ladder.

    A list by level, each with ρ (..., R_l, m_l, n_l). Chapter `relu-teachers`.
    """
    check.instance("student", student, Student)
    check.instance("ladder", ladder, Ladder)
    student.check_fit("ladder", ladder.hierarchy, ladder.inputs, ladder.classes)
    f = student.propagate(ladder.inputs, ladder.labels, ladder.weights).f
    states = [torch.nn.functional.one_hot(z.T, m).to(f[0]) for z, m in zip(ladder.codes, ladder.states)]
    return [correlation(x, z, ladder.weights) for x, z in zip(f, states)]


def table_correlations(expansion, teacher):
    """The same from the tables F of an expansion, over states under P(z): how much of a node's mean is one state's.

    With measured tables it is not below `state_correlations` in size: what varies within a state is averaged out.
    """
    check.instance("expansion", expansion, Expansion)
    check.instance("teacher", teacher, Teacher)
    if [F.shape[-3:-1] for F in expansion.F] != [p.shape for p in teacher.prior]:
        found = [tuple(F.shape[-3:-1]) for F in expansion.F]
        raise ValueError("expansion must have tables of (regions, states) by level "
                         f"{[tuple(p.shape) for p in teacher.prior]}; found {found}")
    return [correlation(F, torch.eye(p.shape[-1], dtype=F.dtype, device=F.device), p)
            for F, p in zip(expansion.F, teacher.prior)]


def best_match(correlation):
    """The student node of the highest ρ for each teacher node: a `Match`.

    The highest, not the highest in size: a negated copy counts as missing. Several teacher nodes may share a student.
    """
    ρ = _ρ(correlation)
    value, winner = ρ.max(-1)
    return Match(value, winner, (winner.unsqueeze(-1) == winner.unsqueeze(-2)).sum(-1) > 1)


def assignment(correlation):
    """One student node for each teacher node, no two alike, with the largest sum of ρ: a `Match`. Needs n >= m."""
    ρ = _ρ(correlation)
    if ρ.shape[-1] < ρ.shape[-2]:
        raise ValueError("correlation must have at least as many students as teachers to assign; found shape "
                         f"{tuple(ρ.shape)}")
    flat = ρ.detach().reshape(-1, *ρ.shape[-2:]).cpu().numpy()
    winner = torch.stack([torch.as_tensor(linear_sum_assignment(one, maximize=True)[1]) for one in flat])
    winner = winner.view(ρ.shape[:-1]).to(ρ.device)
    return Match(ρ.gather(-1, winner[..., None])[..., 0], winner, torch.zeros_like(winner, dtype=torch.bool))


def ranks(before, after):
    """Position of the eventual winners in the order of the first correlations: 0 if the winner led from the start.

    before, after : `Correlation` of the same nodes at two times; returns (..., m), the number of students ahead
    """
    first, last = _ρ(before, "before"), _ρ(after, "after")
    if first.shape != last.shape:
        raise ValueError(f"before and after must have one shape; found {tuple(first.shape)} and {tuple(last.shape)}")
    start = first.gather(-1, last.argmax(-1, keepdim=True))
    return (first > start).sum(-1)


def contribution(student, x):
    """‖v_k‖ std(f_k) on the inputs x, by hidden layer, (..., n_l): what a node adds to the next layer.

    0 where it is dead. Entries 0 and L are None. Chapter `deep`.
    """
    check.instance("student", student, Dense)
    f = student(x)
    return [None, *(student.fan_out(l) * f[l].std(-2, correction=0) for l in range(1, student.depth)), None]


def colinear_groups(student, l=1, tol=1e-3):
    """Nodes of hidden layer l with one hyperplane, of any sign of w~ = [w, b]: a list of `Group`, of two and more.

    tol : two rows are joined where the sine of their angle is at most this
    Where `rest` is 0 the group bends nothing, it cancels: it adds 0 if all signs agree, else a linear function.
    Source: Tian (2020); chapter `specialization`.
    """
    check.instance("student", student, Dense)
    if student.ensemble:
        raise ValueError(f"student must be one network; found ensemble {student.ensemble} (take a member)")
    if student.depth < 2:
        raise ValueError(f"student must have a hidden layer; found {student}")
    tol = check.number("tol", tol, 0, 1)
    rows, v = student.rows(check.count("l", l, 1, student.depth - 1)), student.W[l + 1]
    length = rows.norm(dim=-1)
    unit = unit_rows(rows)
    cos = unit @ unit.T
    off = (unit[:, None] - cos[..., None] * unit).norm(dim=-1)              # the sine, accurate where it is small
    joined = (off <= tol) & (length > 0)[:, None] & (length > 0)
    _, label = connected_components(joined.detach().cpu().numpy(), directed=False)
    out = []
    for g in range(label.max() + 1):
        nodes = torch.as_tensor((label == g).nonzero()[0], device=rows.device)
        size = (v[:, nodes].norm(dim=0) * length[nodes]).sum()
        if len(nodes) > 1:
            rest = (v[:, nodes] @ length[nodes]).norm() / size if size > 0 else size
            out.append(Group(nodes.tolist(), cos[nodes[0], nodes].sign().int().tolist(), rest.item()))
    return out


def _standard(f, p):
    """Columns of mean 0 and length 1 under the weights p (..., N, 1), times √p; 0 and marked where nothing varies."""
    v, inverse = BatchNorm()._parts(f, p[..., 0])
    return p.sqrt() * v, inverse.squeeze(-2) == 0


def _ρ(correlation, name="correlation"):
    """The ρ of a `Correlation`, with a teacher and a student at least."""
    check.instance(name, correlation, Correlation)
    if not all(correlation.ρ.shape[-2:]):
        raise ValueError(f"{name} must hold a teacher and a student; found shape {tuple(correlation.ρ.shape)}")
    return correlation.ρ
