"""Floor 4. A dense student's signal on activations of teacher and student: expansion, averaged rule, alignment."""
from typing import NamedTuple

import torch

from . import _checks as check
from .dense import Dense, DensePass


class GradientExpansion(NamedTuple):
    """Lists by layer, one matrix a sample, in homogeneous coordinates: f~ = [f; 1], the last entry belongs to the bias.

    V[l], V0[l] : the linear maps from f~_l to the outputs of student and teacher, (..., N, n_L, n_l + 1), l < L
    A[l], B[l] : V[l]^T V0[l] (..., N, n_l + 1, m_l + 1) and V[l]^T V[l] (..., N, n_l + 1, n_l + 1)
    f, f0 : f~_l of student and teacher, (..., N, n_l + 1)
    g : the signals, (..., N, n_l), from A, B and f alone; g[0] is None
    """

    V: list
    V0: list
    A: list
    B: list
    f: list
    f0: list
    g: list


def gradient_expansion(student, teacher, x):
    """The student's signal as a sum over teacher nodes minus a sum over student nodes, at any depth, sample by sample.

        V_{L-1} = [W_L, b_L],   V_{l-1} = V_l D~_l W~_l
        A_l = V_l^T V°_l,   B_l = V_l^T V_l
        g_l = D_l (A_l f~°_l - B_l f~_l), all but the last row,   g_L = y° - y

    x : (..., N, n_0). Networks of one depth, without norm; every sample takes Σ n_L (n_l + 1) numbers and more.
    Returns a `GradientExpansion`. Source: Tian (2020); chapter `relu-teachers`, gradient expansion.
    """
    _pair(student, teacher)
    run, its = student.propagate(x), teacher.propagate(x)
    f, f0 = [homogeneous(v) for v in run.f], [homogeneous(v) for v in its.f]
    V, V0 = _maps(student, run), _maps(teacher, its)
    A = [v.mT @ v0 for v, v0 in zip(V, V0)]
    B = [v.mT @ v for v in V]
    g = [None]
    for l in range(1, student.depth):
        u = (A[l] @ f0[l][..., None] - B[l] @ f[l][..., None])[..., :-1, 0]
        g.append(student.gate(run.h[l]) * u)
    return GradientExpansion(V, V0, A, B, f, f0, g + [its.f[-1] - run.f[-1]])


def balance(student):
    """c_k = ‖w_k‖² + b_k² - ‖v_k‖² by hidden layer, (..., n_l); entries 0 and L of the list are None.

    Gradient flow without norm keeps c; a step of descent adds lr² (‖Δw_k‖² + Δb_k² - ‖Δv_k‖²).
    Source: chapter `relu-teachers`, balance.
    """
    check.instance("student", student, Dense)
    c = [student.rows(l).square().sum(-1) - student.fan_out(l).square() for l in range(1, student.depth)]
    return [None, *c, None]


def averaged_update(student, teacher, x, layerwise=False):
    """The averaged rule: ΔW and Δb by layer, from means over the rows of x (N, n_0).

        H_l = E[D~_l B_l D~_l],   H°_l = E[D~_l A_l D~°_l],   1 at the top
        L_l = E[f~_l f~_l^T],   L°_l = E[f~_l f~°_l^T]
        [ΔW_l, Δb_l] = H°_l W~°_l L°_{l-1}^T - H_l W~_l L_{l-1}

    all but the last row. Exact at the top, for one sample, and where all gates are constant on x; else an approximation.
    layerwise : whether B and A are averaged at every layer on the way down, H_{l-1} = E[d d^T] ∘ (W~_l^T H_l W~_l),
        which is another approximation two and more layers below the top
    Returns lists like W and b. Source: Tian et al. (2019); chapter `relu-teachers`, averaged rule.
    """
    _pair(student, teacher)
    check.flag("layerwise", layerwise)
    run, its = student.propagate(x), teacher.propagate(x)
    n, L = run.f[0].shape[-2], student.depth
    f, f0 = [homogeneous(v) for v in run.f], [homogeneous(v) for v in its.f]
    d, d0 = ([None] + [homogeneous(net.gate(h)) for h in p.h[1:-1]] for net, p in ((student, run), (teacher, its)))
    eye = torch.eye(student.widths[-1], dtype=student.dtype, device=student.device)
    H, H0 = [None] * L + [eye], [None] * L + [eye]
    if layerwise:
        for l in range(L, 1, -1):
            up, up0 = (_square(net, l) for net in (student, teacher))
            H[l - 1] = (d[l - 1].mT @ d[l - 1]) / n * (up.mT @ H[l] @ up)
            H0[l - 1] = (d[l - 1].mT @ d0[l - 1]) / n * (up.mT @ H0[l] @ up0)
    else:
        V, V0 = _maps(student, run), _maps(teacher, its)
        for l in range(1, L):
            mine, other = V[l] * d[l].unsqueeze(-2), V0[l] * d0[l].unsqueeze(-2)
            H[l], H0[l] = (mine.mT @ mine).mean(-3), (mine.mT @ other).mean(-3)
    rows = [None] + [H0[l] @ _square(teacher, l) @ (f[l - 1].mT @ f0[l - 1] / n).mT
                     - H[l] @ _square(student, l) @ (f[l - 1].mT @ f[l - 1] / n) for l in range(1, L + 1)]
    rows = [None] + [r[..., :n_l, :] for r, n_l in zip(rows[1:], student.widths[1:])]
    return [None] + [r[..., :-1] for r in rows[1:]], [None] + [r[..., -1] for r in rows[1:]]


def fixed_readout(f, f0, V0):
    """The top on which descent comes to rest while the layers below are frozen: V = V0 L°^T L^{-1}, (..., n_L, n).

        ΔV = V0 L°^T - V L,   L = E[f f^T],   L° = E[f f0^T]

    f (..., N, n), f0 (..., N, m) : activations of student and teacher, with a column of ones for a bias;  V0 (n_L, m)
    Where the student has every teacher node, V is V0 there and 0 elsewhere. Raises `ValueError` where L is singular:
    V is not unique. Source: chapter `winners`, losers vanish.
    """
    f = check.real("f", f)
    f0, V0 = check.real("f0", f0, None, f.dtype, f.device), check.real("V0", V0, None, f.dtype, f.device)
    fits = min(f.ndim, f0.ndim, V0.ndim) > 1 and f.shape[-2] == f0.shape[-2] and V0.shape[-1] == f0.shape[-1]
    if not fits or not f.numel():
        raise ValueError("f, f0, V0 must have shapes (..., N, n), (..., N, m), (n_L, m); found "
                         f"{tuple(f.shape)}, {tuple(f0.shape)}, {tuple(V0.shape)}")
    L, cross = f.mT @ f / f.shape[-2], f.mT @ f0 / f.shape[-2]
    λ = torch.linalg.eigvalsh(L)
    bad = λ[..., 0] <= 8 * f.shape[-1] * torch.finfo(f.dtype).eps * λ[..., -1]
    if bad.any():
        low, high = λ[bad][0, [0, -1]].tolist()
        raise ValueError("f must have linearly independent columns for a unique readout; the eigenvalues of E[f f^T] "
                         f"found go from {low:.3g} to {high:.3g}")
    return torch.linalg.solve(L, cross @ V0.mT).mT


class Alignment(NamedTuple):
    """λ (..., n, m): w~_k = λ w~°_j, 0 where not aligned; A (..., n, m) and reached (..., n, m), Σ B_kk' |λ_k'j|."""

    λ: torch.Tensor
    A: torch.Tensor
    reached: torch.Tensor


def alignment(student, teacher, tol=1e-6):
    """Which students of a two-layer network share a teacher node's hyperplane, and what they must add up to.

        Σ_{k' aligned with j} B_kk' |λ_k'j| = A_kj

    wherever the signal of k is 0 around a point of ∂E°_j at which k is on and no other node changes.

    tol : rows [w, b] count as aligned when the sine of their angle is at most this
    Source: Tian (2020); chapter `specialization`, alignment.
    """
    _pair(student, teacher, depth=2)
    tol = check.number("tol", tol, 0, 1)
    w, w0 = student.rows(1), teacher.rows(1)
    if (w0.norm(dim=-1) == 0).any():
        raise ValueError(f"teacher must have rows that are not 0; row {check.first(w0.norm(dim=-1) == 0)[-1]} is")
    λ = w @ w0.mT / w0.square().sum(-1).unsqueeze(-2)
    off = (w.unsqueeze(-2) - λ[..., None] * w0.unsqueeze(-3)).norm(dim=-1)
    λ = torch.where((off <= tol * w.norm(dim=-1, keepdim=True)), λ, 0)
    A, B = student.W[2].mT @ teacher.W[2], student.W[2].mT @ student.W[2]
    return Alignment(λ, A, B @ λ.abs())


def small_gradient(student, teacher, x, j):
    """The bound |A_kj| ‖w°_j‖ t <= 4 ε around points of the hyperplane ∂E°_j of a two-layer teacher without leak.

    x (N, n_0) is put on ∂E°_j, to x0. t is the longest reach for which the segment x0 ± t w°_j/‖w°_j‖ crosses no other
    boundary and stays where k is on, and ε the largest |g_k| on it; t = 0 where k is off at x0.
    Returns (A_kj ‖w°_j‖ t in absolute value, ε), both (..., N, n). Source: Tian (2020); chapter `specialization`.
    """
    _pair(student, teacher, depth=2)
    if student.leak or teacher.leak or student.ensemble or teacher.ensemble:
        raise ValueError("student and teacher must be single networks without leak; found leaks "
                         f"{student.leak:g} and {teacher.leak:g}, ensembles {student.ensemble} and {teacher.ensemble}")
    j = check.count("j", j, 0, teacher.widths[1] - 1)
    x = check.shaped("x", student.check_inputs(x), (None, student.widths[0]))
    w0 = teacher.W[1][j]
    if not w0.norm() > 0:
        raise ValueError(f"teacher must have a hyperplane at node {j}; its weights are 0")
    ray = w0 / w0.norm()
    x0 = x - (teacher.propagate(x).h[1][:, j] / w0.norm())[:, None] * ray
    z = torch.cat([student.propagate(x0).h[1], teacher.propagate(x0).h[1]], -1)         # (N, n + m)
    slope = torch.cat([student.W[1] @ ray, teacher.W[1] @ ray])
    reach = (z / torch.where(slope == 0, 1, slope)).abs().masked_fill(slope == 0, torch.inf)
    n = student.widths[1]
    reach[:, n + j] = torch.inf                                     # the boundary under study itself
    t = reach.amin(-1)
    t = torch.where(torch.isfinite(t), t, 1)[:, None] * (1 - 1e-9)  # no other boundary at all: any t
    on = z[:, :n] > 0
    ends = [student.propagate(y, teacher(y)[-1]).g[1] for y in (x0 - t * ray, x0, x0 + t * ray)]
    ε = torch.stack(ends).abs().amax(0)                             # linear on either side of x0: it is one of these
    A = (student.W[2].mT @ teacher.W[2])[:, j]
    return A.abs() * w0.norm() * t * on, ε * on


def homogeneous(f):
    """f~ = [f; 1]: (..., n) -> (..., n + 1)."""
    f = check.real("f", f)
    if not f.ndim:
        raise ValueError(f"f must have shape (..., n); found {f.item():g}")
    return torch.cat([f, torch.ones_like(f[..., :1])], -1)


def _square(net, l):
    """W~_l = [[W_l, b_l], [0, 1]], and [W_L, b_L] at the top."""
    rows = net.rows(l)
    if l == net.depth:
        return rows
    last = torch.zeros_like(rows[..., :1, :])
    last[..., -1] = 1
    return torch.cat([rows, last], -2)


def _maps(net, run: DensePass):
    """V_l for l = 0 .. L-1, (..., N, n_L, n_l + 1)."""
    V = [net.rows(net.depth).unsqueeze(-3).expand(*run.f[-1].shape[:-1], -1, -1)]
    for l in range(net.depth - 1, 0, -1):
        d = homogeneous(net.gate(run.h[l]))
        V.insert(0, (V[0] * d.unsqueeze(-2)) @ _square(net, l).unsqueeze(-3))
    return V


def _pair(student, teacher, depth=None):
    """Two dense networks of one depth, ends and dtype, without norm."""
    check.instance("student", student, Dense)
    check.instance("teacher", teacher, Dense)
    if depth is not None and student.depth != depth:
        raise ValueError(f"student must have {depth} layers of weights; found {student.depth}")
    if student.depth != teacher.depth or any(student.widths[i] != teacher.widths[i] for i in (0, -1)):
        raise ValueError("student and teacher must have one depth, and the same inputs and outputs; found "
                         f"{student} and {teacher}")
    check.broadcast("ensembles of student and teacher", student.ensemble, teacher.ensemble)
    if student.norm is not None or teacher.norm is not None:
        raise ValueError(f"student and teacher must be without norm; found {student.norm} and {teacher.norm}")
    if student.dtype != teacher.dtype or student.device != teacher.device:
        raise TypeError("student and teacher must have one dtype and device; found "
                        f"{student.dtype} on {student.device} and {teacher.dtype} on {teacher.device}")
