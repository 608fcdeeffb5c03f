"""Hypothesis strategies: random hierarchies, laws, ladders, teachers and students, small enough for loops.

Hypothesis draws the structure (and shrinks it); the numbers come from a numpy generator with a drawn seed.
"""
import numpy as np
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st

import tsframe as tsf

settings.register_profile("book", deadline=None, derandomize=True, max_examples=25, database=None,
                          phases=[Phase.explicit, Phase.generate, Phase.shrink])
settings.load_profile("book")


def few(n):
    """At most n examples."""
    return settings(max_examples=n)


def close(a, b, tol=1e-12):
    """Whether a and b agree to tol times max(1, largest value); never where one is not finite."""
    a, b = torch.as_tensor(a).detach(), torch.as_tensor(b).detach()
    assert a.shape == b.shape, f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
    if a.numel() == 0:
        return True
    assert torch.isfinite(a).all() and torch.isfinite(b).all()
    gap, size = (a - b).abs().max().item(), max(1.0, a.abs().max().item(), b.abs().max().item())
    assert gap <= tol * size, f"off by {gap:g}, largest value {size:g}"
    return True


def rngs():
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def overlapping_pyramids(longest=7):
    def windows(length):
        return st.integers(2, length).flatmap(
            lambda w: st.builds(tsf.Hierarchy.pyramid, st.just(length), st.just(w), st.integers(1, w - 1)))
    return st.integers(2, longest).flatmap(windows)


def trees():
    return st.sampled_from([(1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (2, 3)]).map(lambda a: tsf.Hierarchy.tree(*a))


@st.composite
def layered(draw, depth=3, most=4):
    """Any layered graph: regions with several parents, a child named twice, levels that grow upwards."""
    rng, below, children = draw(rngs()), draw(st.integers(1, most)), [None]
    leaves = below
    for l in range(draw(st.integers(1, depth)), 0, -1):
        regions = 1 if l == 1 else draw(st.integers(1, most))
        fan = draw(st.integers(-(-below // regions), -(-below // regions) + 1))
        slots = np.concatenate([np.arange(below), rng.integers(0, below, regions * fan - below)])
        children.append(rng.permutation(slots).reshape(regions, fan))
        below = regions
    return tsf.Hierarchy(children, leaves=leaves)


def hierarchies():
    return st.one_of(overlapping_pyramids(), layered(), trees(),
                     st.sampled_from([(3, 2, 1), (4, 2, 2), (2, 2, 1)]).map(lambda a: tsf.Hierarchy.pyramid2d(*a)))


@st.composite
def laws(draw, hierarchy, rows=10):
    """inputs with repeated contents, labels that conflict, weights with zeros (or None), classes."""
    rng, n, features = draw(rngs()), draw(st.integers(1, rows)), draw(st.integers(1, 3))
    contents = draw(st.integers(1, 3))
    pool = rng.normal(size=(contents, features)) * draw(st.sampled_from([1.0, 1.0, 0.1, 30.0]))
    if draw(st.booleans()):
        pool[0] = 0.0
    inputs = pool[rng.integers(0, contents, (n, hierarchy.leaves))]
    classes = draw(st.integers(1, 3))
    weights = rng.exponential(size=n) * (rng.random(n) < 0.7) if draw(st.booleans()) else None
    if weights is not None and not weights.any():
        weights[rng.integers(n)] = 0.3
    return inputs, rng.integers(0, classes, n), weights, classes


@st.composite
def finest_ladders(draw, hierarchy):
    inputs, labels, weights, classes = draw(laws(hierarchy))
    return tsf.Ladder.finest(hierarchy, inputs, labels, weights, classes)


@st.composite
def coarse_ladders(draw, hierarchy):
    """Hard ladders merge contents of a region; soft ones have codes that the input does not decide."""
    inputs, labels, weights, classes = draw(laws(hierarchy))
    rng, m = draw(rngs()), draw(st.lists(st.integers(1, 4), min_size=hierarchy.depth + 1, max_size=hierarchy.depth + 1))
    if draw(st.booleans()):
        finest = tsf.Ladder.finest(hierarchy, inputs, labels, weights, classes).codes
        codes = [rng.integers(0, m[l], (z.shape[1], int(z.max()) + 1))[np.arange(z.shape[1]), z.numpy()]
                 for l, z in enumerate(finest)]
    else:
        codes = [rng.integers(0, m[l], (len(inputs), r)) for l, r in enumerate(hierarchy.regions)]
    return tsf.Ladder.coarse(hierarchy, inputs, labels, codes, weights, classes)


@st.composite
def students(draw, hierarchy, features, classes, ensembles=((), (), (2,), (2, 2))):
    """Random weights of any size, biases that are not 0."""
    inner = draw(st.lists(st.integers(1, 4), min_size=hierarchy.depth - 1, max_size=hierarchy.depth - 1))
    student = tsf.Student(hierarchy, [features, *inner, classes], ensemble=draw(st.sampled_from(ensembles)),
                          activation=draw(st.sampled_from(["relu", "relu", "relu", "linear"])),
                          bias=draw(st.booleans()), seed=draw(st.integers(0, 2**31)))
    scale, rng = draw(st.sampled_from([1.0, 1.0, 3.0, 0.1])), torch.Generator().manual_seed(draw(st.integers(0, 99)))
    with torch.no_grad():
        for name, value in student.named_parameters():
            value.copy_(scale * torch.randn(value.shape, generator=rng, dtype=value.dtype)
                        if name.startswith("b") else scale * value)
    return student


@st.composite
def scenes(draw, ladders, hierarchy=None, ensembles=((), (), (2,), (2, 2))):
    """A ladder and a student that fit."""
    ladder = draw(ladders(draw(hierarchies() if hierarchy is None else hierarchy)))
    return ladder, draw(students(ladder.hierarchy, ladder.inputs.shape[-1], ladder.classes, ensembles))


def either_ladder(hierarchy):
    return st.one_of(finest_ladders(hierarchy), coarse_ladders(hierarchy))


@st.composite
def latent_teachers(draw, padding=False):
    """Drawn tables on a tree, any number of states, features and target of their own; some states may have prior 0."""
    h, rng = draw(trees()), draw(rngs())
    m = draw(st.lists(st.integers(1, 3), min_size=h.depth + 1, max_size=h.depth + 1))
    top = rng.dirichlet(np.ones(m[-1]))
    if padding and m[-1] > 1:
        top[0] = 0
        top /= top.sum()
    P = [None] + [rng.dirichlet(np.ones(m[l - 1]), size=(*h.children[l].shape, m[l])) for l in range(1, h.depth + 1)]
    if padding:
        for p in P[1:]:
            if p.shape[-1] > 1:
                p[..., 0] = 0
                p /= p.sum(-1, keepdims=True)
    features, classes = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return tsf.Teacher(h, [None] * h.depth + [top[None]], P, rng.normal(size=(h.leaves, m[0], features)),
                       rng.dirichlet(np.ones(classes), size=m[-1]))
