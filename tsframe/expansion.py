"""Floor 4. The student expanded on its teacher's graph, the same quantities measured, and their difference."""
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from . import _checks as check
from .ladder import Ladder
from .student import Student, correlate, side_by_side
from .teacher import Teacher


@dataclass(frozen=True, eq=False)
class Expansion:
    """Tables of a student on a teacher's graph, lists by level; `expand` predicts them, `measure` measures them.

    F[l] : E[f_j | z_α], the activations; this and the next four (..., R_l, m_l, n_l)
    D[l] : E[f'_j | z_α], the gates
    H[l] : E[h_j | z_α], the pre-activations
    G[l] : E[g_j | z_α], the signals; g is MINUS the loss gradient with respect to h
    U[l] : E[u_j | z_α], the incoming signals
    dW[l] : E[f_k g_j], like W[l], the expected descent direction (`measure` only; else by `weight_update`)
    db[l] : E[g_j], (..., R_l, n_l) (`measure` only; else by `bias_update`)
    below[l] : E[f_k | z_α] of the children's nodes, (..., R_l, C_l, m_l, n_{l-1}) (`measure` only)
    """

    F: list
    D: list
    H: list
    G: list = None
    U: list = None
    dW: list = None
    db: list = None
    below: list = None
    _kept: tuple = field(default=None, init=False, repr=False)  # teacher, F, P F side by side: by expand, for weight_update


def expand(student, teacher, gates="mean"):
    """The forward recursion, from the leaves up.

        H_α = Σ_{β ∈ ch(α)} P_αβ F_β W_βα + b_α,   F_α = D_α ∘ H_α,   F at the leaves = features

    gates : "mean", D = 1[H > 0] (the reduced model), or a list by level of tables D such as `measure(...).D`.
    D is 1 at the top and in a linear student; a norm takes its statistics under P(z), and D is then 1[BN(H) > 0]
    if it stands before the gate. Returns an `Expansion` of F, D, H; states of prior 0 hold 0.
    Raises `ValueError` where student, teacher or gates do not fit. Source: Tian (2018), Theorem 3; chapter `expansion`.
    """
    _check_pair(student, teacher)
    depth = student.hierarchy.depth
    given = None if isinstance(gates, str) and gates == "mean" else _check_gates(gates, student, teacher)
    F, D, H, PF = [teacher.features], [None], [None], [None]
    for l in range(1, depth + 1):
        PF.append(side_by_side(teacher.up(l, F[-1])))
        H.append(teacher.masked(l, student.incoming(l, PF[-1])))
        f, gate = student.activate(l, H[-1], teacher.prior[l], None if given is None or l == depth else given[l])
        D.append(teacher.masked(l, gate))
        F.append(teacher.masked(l, f))
    return _keeping((teacher, tuple(F), PF), Expansion(F, D, H))


def backward(expansion, student, teacher):
    """The backward recursion, from the top down; returns the expansion with G and U.

        G_ω = target - F_ω,   U_β = Σ_{α ∈ pa(β)} P^b_βα G_α W_βα^T,   G_β = D_β ∘ U_β

    With batch normalisation G is the signal at H, through the projection under P(z): chapter `batchnorm`.
    Source: Tian (2018), Theorem 3; chapter `expansion`.
    """
    _check_pair(student, teacher)
    _check_expansion(expansion, teacher, student.widths)
    depth = student.hierarchy.depth
    U, G = [None] * (depth + 1), [None] * (depth + 1)
    for l in range(depth, 0, -1):
        U[l] = (teacher.target - expansion.F[l] if l == depth else
                teacher.down(l + 1, student.outgoing(l + 1, G[l + 1])))
        G[l] = teacher.masked(l, student.signal(l, expansion.H[l], expansion.D[l], U[l], teacher.prior[l]))
    return _keeping(expansion._kept, replace(expansion, G=G, U=U))


def weight_update(expansion, teacher):
    """The expected descent direction, list by level like W:  ΔW_βα = (P_αβ F_β)^T Λ_α G_α.

    Takes any expansion with G, a measured one too. Source: Tian (2018), Theorem 3; chapter `expansion`.
    """
    _check_expansion(expansion, teacher, signals=True)
    PF = _seen(expansion, teacher)
    return [None] + [correlate(PF[l], expansion.G[l], teacher.prior[l], teacher.P[l].shape[1])
                     for l in range(1, len(expansion.G))]


def bias_update(expansion, teacher):
    """The expected descent direction of the biases, list by level:  Δb_α = Σ_z P(z_α) G_α[z]."""
    _check_expansion(expansion, teacher, signals=True)
    return [None] + [(p[:, None] @ g)[..., 0, :] for p, g in zip(teacher.prior[1:], expansion.G[1:])]


def reduced_loss(expansion, teacher):
    """½ Σ_z P(z_ω) ‖F_ω(z) - target(z)‖², one number a student: what the reduced model descends on. Chapter `dynamics`."""
    _check_expansion(expansion, teacher)
    return ((expansion.F[-1] - teacher.target).square().sum(-1) * teacher.prior[-1]).sum((-2, -1)) / 2


def measure(student, ladder):
    """The same tables, measured: the real network runs on every row of the ladder, then means are taken given z.

    Returns an `Expansion` with all fields; dW is the true E[f_k g_j], what autograd gives for ½‖f_ω - e_y‖².
    """
    check.instance("ladder", ladder, Ladder)
    _check_pair(student, ladder.teacher())
    rows, levels = student.propagate(ladder.inputs, ladder.labels, ladder.weights), range(1, student.hierarchy.depth + 1)
    dW, db = rows.update(student.hierarchy, ladder.weights)

    def means(x):
        return [None] + [ladder.mean(l, x[l]) for l in levels]
    return Expansion(
        F=[ladder.mean(0, rows.f[0])] + means(rows.f)[1:], D=means(rows.gates), H=means(rows.h), G=means(rows.g),
        U=means(rows.u), dW=dW, db=db, below=[None] + [ladder.mean_above(l, rows.f[l - 1]) for l in levels])


class Residuals(NamedTuple):
    """Truth minus recursion, taken apart: lists by level of dicts of named parts that add up to "total"."""

    F: list
    G: list
    dW: list


def residuals(student, ladder, gates="mean"):
    """The exact error of the recursion on a ladder, by cause; entries as F, G and dW of an `Expansion`.

        F:  gate Cov(f',h|z) + focus D∘Σ(E[f_β|z] - P F)W + inherited D∘ΣP(F - F^r)W + gate table (D - D^r)∘H^r
        G:  gate Cov(f',u|z) + broadness D∘(U - ΣP^b G W^T) + inherited D∘ΣP^b(G - G^r)W^T + gate table (D - D^r)∘U^r
        dW: focus (E[f_β|z] - P F)^T Λ G + decorrelation ΣP(z)Cov(f_k, g_j|z) + inherited (the errors of F and G)

    True tables bare, those of the recursion with ^r. The top is linear, and its G inherits minus the error of F.
    gates : as in `expand`. Source: chapter `expansion`, error decomposition.
    """
    check.instance("student", student, Student)
    if student.norm is not None:
        raise ValueError("residuals must be of a student without norm: the account by cause does not cover one; "
                         f"found {student.norm}")
    t, teacher = measure(student, ladder), ladder.teacher()
    r = backward(expand(student, teacher, gates), student, teacher)
    dW, PF_r, depth = weight_update(r, teacher), _seen(r, teacher), student.hierarchy.depth
    out = Residuals([None], [None] * (depth + 1), [None])
    for l in range(1, depth + 1):
        p, children = teacher.prior[l], teacher.P[l].shape[1]
        below, PF, error = (side_by_side(x) for x in (
            t.below[l], teacher.up(l, t.F[l - 1]), teacher.up(l, t.F[l - 1] - r.F[l - 1])))
        out.F.append(_parts(
            t.F[l] - r.F[l], gate=t.F[l] - t.D[l] * t.H[l], focus=t.D[l] * student.weigh(l, below - PF),
            inherited=t.D[l] * student.weigh(l, error), gate_table=(t.D[l] - r.D[l]) * r.H[l]))
        out.dW.append(_parts(
            t.dW[l] - dW[l], focus=correlate(below - PF, t.G[l], p, children),
            decorrelation=t.dW[l] - correlate(below, t.G[l], p, children),
            inherited=correlate(error, t.G[l], p, children)
            + correlate(PF_r[l], t.G[l] - r.G[l], p, children)))
    none = torch.zeros_like(t.G[depth])
    out.G[depth] = _parts(t.G[depth] - r.G[depth], gate=none, broadness=none, inherited=r.F[depth] - t.F[depth],
                          gate_table=none)
    for l in range(depth - 1, 0, -1):
        expected, error = (teacher.down(l + 1, student.outgoing(l + 1, x))
                           for x in (t.G[l + 1], t.G[l + 1] - r.G[l + 1]))
        out.G[l] = _parts(
            t.G[l] - r.G[l], gate=t.G[l] - t.D[l] * t.U[l], broadness=t.D[l] * (t.U[l] - expected),
            inherited=t.D[l] * error, gate_table=(t.D[l] - r.D[l]) * r.U[l])
    return out


def _keeping(kept, expansion):
    """The expansion with its P F and what they were made of; a later `replace` drops them."""
    object.__setattr__(expansion, "_kept", kept)
    return expansion


def _seen(expansion, teacher):
    """P F by level, side by side: as `expand` kept them, if for this teacher and these F."""
    if expansion._kept is not None:
        its, F, PF = expansion._kept
        if its is teacher and all(a is b for a, b in zip(F, expansion.F)):
            return PF
    return [None] + [side_by_side(teacher.up(l, F)) for l, F in enumerate(expansion.F[:-1], 1)]


def _parts(total, **parts):
    return {name.replace("_", " "): part for name, part in parts.items()} | {"total": total}


def _check_pair(student, teacher):
    check.instance("student", student, Student)
    check.instance("teacher", teacher, Teacher)
    student.check_fit("teacher", teacher.hierarchy, teacher.features, teacher.target.shape[-1])


def _check_gates(gates, student, teacher):
    """A list of tables D, one a level between leaves and top, with entries in [0, 1]."""
    if isinstance(gates, str):
        raise ValueError(f'gates must be "mean" or a list by level of tables D; found {gates!r}')
    gates = check.levels("gates", gates, student.hierarchy.depth)
    for l in range(1, student.hierarchy.depth):
        gates[l] = check.real(f"gates[{l}]", gates[l], None, teacher.dtype, teacher.prior[0].device)
        want = (*student.ensemble, teacher.hierarchy.regions[l], teacher.states[l], student.widths[l])
        if tuple(gates[l].shape) not in (want, want[-3:]):
            raise ValueError(f"gates[{l}] must have shape {want}; found {tuple(gates[l].shape)}")
        bad = (gates[l].detach() < -1e-9) | (gates[l].detach() > 1 + 1e-9)
        if bad.any():
            raise ValueError(f"{check.at(f'gates[{l}]', check.first(bad))} must lie in [0, 1]; "
                             f"found {gates[l][check.first(bad)].item():g}")
    return gates


def _check_expansion(expansion, teacher, widths=None, signals=False):
    """An Expansion on this teacher (and of these widths), with G where `signals` are needed."""
    check.instance("expansion", expansion, Expansion)
    check.instance("teacher", teacher, Teacher)
    if len(expansion.F) != len(teacher.prior) or any(F.shape[-3:-1] != p.shape
                                                     for F, p in zip(expansion.F, teacher.prior)):
        raise ValueError(f"expansion must have tables of (regions, states) {[tuple(p.shape) for p in teacher.prior]} "
                         f"by level; found {[tuple(F.shape[-3:-1]) for F in expansion.F]}")
    found = [F.shape[-1] for F in expansion.F]
    if found[-1] != teacher.target.shape[-1] or widths not in (None, found):
        raise ValueError(f"expansion must have the teacher's {teacher.target.shape[-1]} classes and the student's "
                         f"widths; found widths {found}")
    if signals and expansion.G is None:
        raise ValueError("expansion must hold G; found None (call backward first)")
