"""Floor 4. Parts that stay apart: teachers made of independent blocks, and weights that keep to one block.

A state is a tuple z = (z¹, ..., z^q) of the states of its blocks, numbered like digits, the last block fastest. A node
belongs to one block; `blocks` is a list by level of these labels, (n_l,), the same for all regions of a level.
"""
from math import prod

import torch

from . import _checks as check
from .hierarchy import Hierarchy
from .student import Student
from .teacher import Teacher, _dirichlet


def random_teacher(hierarchy, states, polarity=0.8, *, seed):
    """Any priors on any hierarchy: a child stands, with probability ρ, at the quantile of its parent.

        P_αβ = (1 - ρ) 1 P(z_β)^T + ρ Λ_α^-1 C,   C[i, k] = length of the overlap of the intervals of i and k

    The states of a region, in an order drawn for each edge, divide [0, 1] into intervals as long as their priors. Where
    all priors are uniform and m is the same, this is `Teacher.latent_tree` up to the names of states. Regions may have
    several parents, as each table has the priors of both ends for margins.

    states : list by level of numbers m_l (priors are then drawn, none below 1/(4 m_l)), or of priors (R_l, m_l)
    polarity : ρ in [0, 1]
    Features and target are identities. Raises `ValueError` naming the level. Chapter `disentanglement`.
    """
    check.instance("hierarchy", hierarchy, Hierarchy)
    ρ, rng = check.number("polarity", polarity, 0, 1), check.generator(seed)
    prior = [_prior(f"states[{l}]", m, hierarchy.regions[l], rng)
             for l, m in enumerate(check.levels("states", states, hierarchy.depth, first_is_none=False))]
    P = [None]
    for l in range(1, hierarchy.depth + 1):
        above = prior[l][:, None].expand(*hierarchy.children[l].shape, -1)              # (R, C, m_l)
        below = hierarchy.gather(l, prior[l - 1], -2)                                   # (R, C, m_{l-1})
        check.size(f"P[{l}]", *above.shape, below.shape[-1])
        (low, high), (left, right) = _intervals(above, rng), _intervals(below, rng)
        overlap = (torch.minimum(high[..., None], right[..., None, :])
                   - torch.maximum(low[..., None], left[..., None, :])).clamp(min=0)
        rows = overlap / overlap.sum(-1, keepdim=True).clamp(min=torch.finfo(overlap.dtype).tiny)   # 0 where the prior is 0
        P.append(((1 - ρ) * below[..., None, :] + ρ * rows) * (above > 0)[..., None])
    return Teacher(hierarchy, prior, P)


def product_teacher(teachers, top=None):
    """One Teacher whose blocks are the given ones, side by side and independent on every edge.

        P_αβ = ⊗_i P^i_αβ,   P(z_ω) = ⊗_i P(z^i_ω),   features = [features^i],   target = [target^i]

    teachers : list of Teachers on one hierarchy, the blocks in order
    top : joint law of the blocks' top states, (m^1, ..., m^q) or flat, in the place of the product; where regions
        have several parents a dependent law may give a region two priors, and is then refused
    Columns of features and target that come from block i depend on z^i only. Raises `ValueError` naming the block.
    Chapter `disentanglement`, Proposition `factor-blocks`.
    """
    if not isinstance(teachers, (list, tuple)) or not teachers:
        raise TypeError("teachers must be a list of at least one Teacher; "
                        f"found {type(teachers).__name__} {teachers!r}")
    first = check.instance("teachers[0]", teachers[0], Teacher)
    h = first.hierarchy
    for i, t in enumerate(teachers[1:], 1):
        check.same_hierarchy("teachers[0]", h, f"teachers[{i}]", check.instance(f"teachers[{i}]", t, Teacher).hierarchy)
        if t.dtype != first.dtype:
            raise TypeError(f"teachers must have one dtype; found {first.dtype} and, of teachers[{i}], {t.dtype}")
    sizes = [tuple(t.states[l] for t in teachers) for l in range(h.depth + 1)]
    for l in range(1, h.depth + 1):
        check.size(f"P[{l}] of the product", *h.children[l].shape, *sizes[l], *sizes[l - 1])
    P = [None] + [_kron([t.dense(l) for t in teachers]) for l in range(1, h.depth + 1)]
    if top is None:
        top = _kron([t.prior[-1][..., None] for t in teachers])[..., 0]
    else:
        top = check.real("top", top, None, first.dtype, first.prior[0].device)
        if tuple(top.shape) not in (sizes[-1], (prod(sizes[-1]),)):
            raise ValueError(f"top must have shape {sizes[-1]}, one axis a block; found {tuple(top.shape)}")
        top = top.reshape(1, -1)
    return Teacher(h, [None] * h.depth + [top], P, _beside([t.features for t in teachers], sizes[0]),
                   _beside([t.target for t in teachers], sizes[-1]))


def spread(x, sizes, prior):
    """How far each column is from being a function of one block alone:  max_z |x[z, k] - E[x_k | z^i]|.

    x : (..., m, n), a table F, G, H, ... of one region or, with prior (R, m), of the regions of a level
    sizes : states of the blocks, (m^1, ..., m^q), with product m
    prior : P(z), (m,) or (R, m)
    Returns (..., q, n); entry [i, k] is 0 up to rounding if and only if column k depends on z^i only. States of
    probability 0 are left out. Chapter `disentanglement`.
    """
    x = check.real("x", x)
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise TypeError(f"sizes must be a list of a number of states or more, one a block; found {sizes!r}")
    sizes = [check.count(f"sizes[{i}]", m) for i, m in enumerate(sizes)]
    prior = check.probabilities("prior", check.real("prior", prior, None, x.dtype, x.device))
    if (x.ndim < 2 or not prior.ndim or x.shape[-2] != prod(sizes)
            or prior.shape != x.shape[x.ndim - 1 - prior.ndim:-1]):
        raise ValueError(f"x must have {prod(sizes)} rows, one a state of blocks {tuple(sizes)}, and prior one number "
                         f"a row; found shapes {tuple(x.shape)} and {tuple(prior.shape)}")
    out, p = [], prior[..., None]
    z = torch.arange(prod(sizes), device=x.device)
    for i, m in enumerate(sizes):
        own = torch.nn.functional.one_hot(z // prod(sizes[i + 1:]) % m, m).to(x)        # (m, m^i): block i of z
        mean = own.mT @ (p * x) / (own.mT @ p).clamp(min=torch.finfo(x.dtype).tiny)
        out.append(((x - own @ mean).abs() * (p > 0)).amax(-2))
    return torch.stack(out, -2)


def block_masks(blocks):
    """Where a weight stays in its block, list by level: [None, (n_0, n_1), (n_1, n_2), ...], True if k and j agree.

    blocks : list by level of the nodes' labels, (n_l,), integers from 0; the same for all regions of a level
    """
    if torch.is_tensor(blocks) or not isinstance(blocks, (list, tuple)):
        raise TypeError(f"blocks must be a list by level of labels; found {type(blocks).__name__}")
    labels = [check.integers(f"blocks[{l}]", b, (None,), what="labels") for l, b in enumerate(blocks)]
    return [None] + [k[:, None] == j for k, j in zip(labels, labels[1:])]


def leak(values, blocks):
    """The largest |v_kj| between nodes of different blocks, one number a student.

    values : list by level, (..., R_l, C_l, n_{l-1}, n_l), like W or ΔW;  blocks : as in `block_masks`
    """
    masks = _fitting("values", values, blocks)
    return torch.stack([(v.detach() * ~mask).abs().amax((-4, -3, -2, -1))
                        for v, mask in zip(values[1:], masks[1:])]).amax(0)


def separate(student, blocks):
    """Set to 0, in place, all weights between nodes of different blocks (as in `block_masks`); returns the student."""
    masks = _fitting("the student's W", check.instance("student", student, Student).W, blocks)
    with torch.no_grad():
        for w, mask in zip(student.W[1:], masks[1:]):
            w.mul_(mask)
    return student


def _fitting(name, values, blocks):
    """The masks of `blocks`, which values (..., R, C, n_{l-1}, n_l) by level must fit."""
    masks = block_masks(blocks)
    values = check.levels(name, values, check.count("len(blocks)", len(masks), 2) - 1)
    want = [tuple(m.shape) for m in masks[1:]]
    found = [tuple(v.shape[-2:]) for v in values[1:]]
    if want != found or any(v.ndim < 4 for v in values[1:]):
        raise ValueError(f"blocks must hold a label for each node: {name} join(s) {found} nodes by level; "
                         f"found labels for {want}")
    return [None] + [m.to(v.device) for m, v in zip(masks[1:], values[1:])]


def _prior(name, given, regions, rng):
    """A number of states -> priors (R, m), drawn; priors -> themselves, checked."""
    if torch.is_tensor(given) or isinstance(given, (list, tuple)):
        return check.probabilities(name, check.real(name, given, (regions, None)))
    m = check.count(name, given)
    check.size(name, regions, m)
    return 0.25 / m + 0.75 * _dirichlet((regions, m), rng)


def _intervals(p, rng):
    """Where each state's interval begins and ends in [0, 1]; the order of states is drawn for each row."""
    order = torch.rand(p.shape, generator=rng, device=rng.device).to(p.device).argsort(-1)
    high = p.gather(-1, order).cumsum(-1)
    low = torch.cat([torch.zeros_like(high[..., :1]), high[..., :-1]], -1)
    back = order.argsort(-1)
    return low.gather(-1, back), high.gather(-1, back)


def _kron(tables):
    """⊗ over the last two axes, (..., m^i, n^i) -> (..., Π m^i, Π n^i)."""
    out = tables[0]
    for t in tables[1:]:
        out = (out[..., :, None, :, None] * t[..., None, :, None, :]).flatten(-4, -3).flatten(-2)
    return out


def _beside(tables, sizes):
    """Columns of each block's table (..., m^i, n^i), repeated over the states of the other blocks, side by side."""
    lead = tables[0].shape[:-2]
    wide = [t.reshape(*lead, *(m if k == i else 1 for k, m in enumerate(sizes)), t.shape[-1]).expand(*lead, *sizes, -1)
            for i, t in enumerate(tables)]
    return torch.cat(wide, -1).flatten(len(lead), -2)
