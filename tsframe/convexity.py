"""Floor 4. Rows of a table as points: corners of their convex hull, what cuts them off, what is linear in them."""
import numpy as np
import torch
from scipy.optimize import linprog

from . import _checks as check

PRECISE = dict(primal_feasibility_tolerance=1e-10, dual_feasibility_tolerance=1e-10)    # the finest that HiGHS takes


def margins(A, prior=None):
    """How far each row lies outside the convex hull of the others, measured by the sum of absolute differences.

        margin_i = min ‖a_i - q‖_1  over q in conv{a_k : k ≠ i}
                 = max v·a_i - max_{k ≠ i} v·a_k  over v with entries in [-1, 1]

    A : (m, M), such as the tables [P_αβ F_β] of a region side by side
    prior : (m,), P(z_α); rows of probability 0 are left out
    Returns (m,), 0 up to rounding for a row in the hull, 0 for one left out. One linear program a row, solved to 1e-10;
    the value is computed from its v, so it is a lower bound up to rounding. 1024 x 20 takes some 15 seconds.
    Raises `ValueError` unless two rows are left, since a single row has no others. Chapter `nonlinearity`.
    """
    A, live = _rows(A, prior)
    if len(live) < 2:
        raise ValueError(f"A must have at least 2 rows of positive probability to measure margins; found {len(live)}")
    points, _, scale = _centred(A, live)
    out = np.zeros(len(A))
    out[live] = [max(0.0, scale * _cut(points, i)[0]) for i in range(len(points))]
    return _like(A, "margins", out)


def vertices(A, prior=None, tol=1e-5):
    """Which rows are vertices: corners of the convex hull of all rows, not in the hull of the others.

    A, prior : as in `margins`; a row of probability 0 is no vertex
    tol : a row is a vertex if its margin exceeds tol times the largest entry of A minus its column means. Tables that
        were written in float32 are off by 1e-7, which lifts a row out of the plane of the others: keep tol above that
    Returns (m,) booleans. Of two equal rows neither is a vertex; a single row is one. Source: Tian (2018); chapter
    `nonlinearity`.
    """
    A, live = _rows(A, prior)
    points, tol = _centred(A, live)[0], check.number("tol", tol, 0)
    out = np.zeros(len(A), dtype=bool)
    out[live] = [len(points) == 1 or _cut(points, i)[0] > tol for i in range(len(points))]
    return torch.as_tensor(out, device=A.device)


def separating_weights(A, prior=None, tol=1e-5):
    """W (M, m) and b (m,) with relu(A W + b) = I: each row cut off from the others by one node.

        a_i·w_i + b_i = 1,   a_k·w_i + b_i <= -1 for k ≠ i,   the largest |w_i| as small as can be: 2 / margin_i

    A, prior, tol : as in `vertices`; columns that belong to rows of probability 0 are 0, as well as their b
    Where the entries of a block of A sum to 1 in every row, b may be added to that block's rows of W instead.
    Raises `ValueError` naming a row that is no vertex: no such weights exist. Source: Tian (2018); chapter
    `nonlinearity`.
    """
    A, live = _rows(A, prior)
    (points, mean, scale), tol = _centred(A, live), check.number("tol", tol, 0)
    W, b = np.zeros((A.shape[1], len(A))), np.zeros(len(A))
    b[live] = 1                                                     # enough where a row is alone
    for i, row in enumerate(live if len(live) > 1 else ()):
        margin, v, highest = _cut(points, i)
        if margin <= tol:
            raise ValueError("A must have rows that all lie outside the convex hull of the others; row "
                             f"{row} does not (margin {max(0.0, scale * margin):.3g})")
        with np.errstate(over="ignore", invalid="ignore"):          # _like looks at the result
            W[:, row] = 2 * v / margin / scale
            b[row] = -1 - 2 * highest / margin - W[:, row] @ mean
    return _like(A, "W", W), _like(A, "b", b)


def linear_loss(A, prior=None):
    """The least loss of a linear map from the rows of A to unit vectors, by rank and projector; a float.

        min_U ‖A U - I‖² = m - rank A;   with a prior  min_U Σ_z P(z) ‖(A U - I)_z‖² = tr Λ(I - Π)

    A : (m, M), prior : (m,). Π projects onto the columns of Λ^½ A. There is no bias: add a column of ones for one,
    unless the entries of a block sum to 1 in every row. Chapter `nonlinearity`.
    """
    root, S, _ = _weighed(A, prior)
    basis, size, _ = np.linalg.svd(S, full_matrices=False)
    basis = basis[:, size > max(S.shape) * np.finfo(float).eps * size[0]]
    return max(0.0, float(root**2 @ (1 - (basis**2).sum(1))))


def best_linear(A, prior=None):
    """U (M, m), the linear map whose loss is `linear_loss`, by least squares; of several the smallest."""
    root, S, scale = _weighed(A, prior)
    with np.errstate(over="ignore"):
        U = np.linalg.lstsq(S, np.diag(root), rcond=None)[0] / scale
    return _like(check.real("A", A), "U", U)


def _rows(A, prior):
    """A as a tensor with an entry, and the indices of its rows of positive probability."""
    A = check.real("A", A, (None, None))
    if not A.numel():
        raise ValueError(f"A must have a row and a column; found shape {tuple(A.shape)}")
    if prior is None:
        return A, np.arange(len(A))
    prior = check.probabilities("prior", check.real("prior", prior, (len(A),)))
    return A, np.flatnonzero(prior.detach().cpu() > 0)


def _centred(A, live):
    """The rows of A, moved and scaled so that columns have mean 0 and the largest entry is 1; that mean and scale."""
    points = A.detach().cpu().double().numpy()[live]
    top = np.abs(points).max() or 1.0
    mean = (points / top).mean(0)
    points = points / top - mean
    scale = np.abs(points).max()
    if scale < 1e-15 * len(points):                                  # all rows equal
        points, scale = 0 * points, 1.0
    return points / scale, mean * top, scale * top


def _cut(points, i):
    """The direction v in [-1, 1]^M that takes point i farthest past all others: margin, v, and how far these reach."""
    others = np.delete(points, i, 0)
    count, M = others.shape
    found = linprog(np.append(-points[i], 1), A_ub=np.column_stack([others, -np.ones(count)]), b_ub=np.zeros(count),
                    bounds=[(-1, 1)] * M + [(None, None)], method="highs-ds", options=PRECISE)
    if found.x is None:
        raise RuntimeError(f"the linear program of row {i} was not solved: {found.message}")
    v = found.x[:-1].clip(-1, 1)
    highest = (others @ v).max()
    return v @ points[i] - highest, v, highest


def _weighed(A, prior):
    """√P(z), the rows of A times it and divided by A's largest entry, and that entry."""
    A, _ = _rows(A, prior)
    root = np.ones(len(A)) if prior is None else check.real("prior", prior).detach().cpu().double().numpy() ** 0.5
    A = A.detach().cpu().double().numpy()
    scale = np.abs(A).max() or 1.0
    return root, root[:, None] * (A / scale), scale


def _like(A, name, x):
    """x as a tensor like A; finite, or A is too small for it."""
    x = torch.as_tensor(x).to(A)
    if not torch.isfinite(x).all():
        raise ValueError(f"A must be large enough for finite {name}; its entries differ by {A.max() - A.min():.3g}")
    return x
