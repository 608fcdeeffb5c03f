"""Product teachers, spread and leak, against joint laws written out state by state."""
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tsframe as tsf
from strategies import close, few, hierarchies, latent_teachers, trees

REGIONS = tsf.Hierarchy.pyramid(3, 2, 1)                                # 3 - 2 - 1, the middle leaf shared
sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def drawn(h, states, seed=0, polarity=0.7):
    return tsf.random_teacher(h, [states] * (h.depth + 1), polarity, seed=seed)


# random teachers

@few(40)
@given(hierarchies(), st.integers(0, 99), st.sampled_from([0.0, 0.3, 0.8, 1.0]), st.data())
def test_drawn_tables_have_the_priors_of_both_ends(h, seed, ρ, data):
    m = data.draw(st.lists(st.integers(1, 4), min_size=h.depth + 1, max_size=h.depth + 1))
    t = tsf.random_teacher(h, m, ρ, seed=seed)
    assert t.states == m and all((p >= 0.25 / k - 1e-12).all() for p, k in zip(t.prior, m))
    for l in range(1, h.depth + 1):
        for r, row in enumerate(h.children[l].tolist()):
            for c, child in enumerate(row):
                P = t.P[l][r, c]
                assert close(P.sum(1), torch.ones(m[l]))
                assert close(t.prior[l][r] @ P, t.prior[l - 1][child])
                if ρ == 0:
                    assert close(P, t.prior[l - 1][child].expand(m[l], -1))


def test_equal_priors_make_it_a_latent_tree_with_other_names():
    even = [torch.full((r, 3), 1 / 3, dtype=torch.float64) for r in REGIONS.regions]
    t, plain = tsf.random_teacher(REGIONS, even, 0.6, seed=1), tsf.Teacher.latent_tree(REGIONS, 3, 0.6, seed=0)
    for l in (1, 2):
        assert close(t.P[l].sort(-1).values, plain.P[l].sort(-1).values)
        assert close(t.P[l].sum(-2), torch.ones(t.P[l].sum(-2).shape))  # a permutation is behind each


def test_a_child_of_full_polarity_is_as_good_as_known():
    t = tsf.random_teacher(tsf.Hierarchy.tree(1, 1), [[[0.5, 0.25, 0.25]], [[0.5, 0.5]]], 1.0, seed=3)
    assert close(t.P[1][0, 0].sum(), 2.0) and ((t.P[1] > 0).sum(-1) <= 3).all()


def test_states_of_prior_0_stay_padding():
    prior = [[[0.5, 0.5, 0], [0.2, 0, 0.8]], [[0.3, 0, 0.7]]]
    t = tsf.random_teacher(tsf.Hierarchy.tree(1, 2), prior, 0.8, seed=0)
    assert (t.P[1][0, :, 1] == 0).all() and torch.isfinite(t.P[1]).all()
    assert close(t.prior[0], torch.tensor(prior[0], dtype=torch.float64))


def test_the_seed_draws():
    a, b, c = (drawn(REGIONS, 3, seed).P[1] for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


# products

@few(25)
@given(st.data(), trees())
def test_a_product_is_the_joint_law_of_its_blocks(data, h):
    few_leaves = h.leaves <= 4
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    blocks = [drawn(h, data.draw(st.integers(1, 2)), seed=int(rng.integers(99))) for _ in range(2)]
    blocks = [replace(t, features=rng.normal(size=(h.leaves, t.states[0], 2)),
                      target=rng.normal(size=(t.states[-1], 1))) for t in blocks]
    t = tsf.product_teacher(blocks)
    for l in range(h.depth + 1):
        for a, b in product(range(blocks[0].states[l]), range(blocks[1].states[l])):
            z = a * blocks[1].states[l] + b
            assert close(t.prior[l][:, z], blocks[0].prior[l][:, a] * blocks[1].prior[l][:, b])
            if l == 0:
                assert close(t.features[:, z], torch.cat([blocks[0].features[:, a], blocks[1].features[:, b]], -1))
            elif few_leaves:
                for x, y in product(range(blocks[0].states[l - 1]), range(blocks[1].states[l - 1])):
                    assert close(t.P[l][..., z, x * blocks[1].states[l - 1] + y],
                                 blocks[0].P[l][..., a, x] * blocks[1].P[l][..., b, y])
    assert close(t.target[:, 0], blocks[0].target[:, 0].repeat_interleave(blocks[1].states[-1]))


@few(20)
@given(st.data())
def test_products_of_three_of_one_and_of_padded_ones(data):
    h = tsf.Hierarchy.tree(2, 1)
    ts = [drawn(h, m, seed=m) for m in (2, 3, 2)]
    three, nested = tsf.product_teacher(ts), tsf.product_teacher([tsf.product_teacher(ts[:2]), ts[2]])
    for l in (1, 2):
        assert close(three.P[l], nested.P[l])
    assert close(three.features, nested.features) and close(three.target, nested.target)
    one = tsf.product_teacher(ts[:1])
    assert close(one.P[1], ts[0].P[1]) and close(one.target, ts[0].target)
    padded = data.draw(latent_teachers(padding=True))
    t = tsf.product_teacher([padded, padded])
    s = tsf.Student(t.hierarchy, [t.features.shape[-1], *[2] * (t.hierarchy.depth - 1), t.target.shape[-1]], seed=0)
    e = tsf.backward(tsf.expand(s, t), s, t)
    assert all(torch.isfinite(x).all() for x in e.F + e.G[1:] + tsf.weight_update(e, t)[1:])


def test_a_law_of_the_top_ties_the_blocks_below():
    h = tsf.Hierarchy.tree(2, 2)
    even = [torch.full((r, 2), 0.5, dtype=torch.float64) for r in h.regions]
    blocks = [tsf.random_teacher(h, even, 1.0, seed=s) for s in (0, 1)]
    tied = tsf.product_teacher(blocks, [[0.5, 0], [0, 0.5]])
    for p in tied.prior:                                                # two equal bits, or two opposite ones
        assert close(p.sort(-1).values, torch.tensor([0, 0, 0.5, 0.5]).expand(p.shape))
    free = tsf.product_teacher(blocks, torch.full((4,), 0.25))
    assert all(close(a, b) for a, b in zip(free.prior, tsf.product_teacher(blocks).prior))


def test_blocks_train_as_if_alone_without_the_certificate():
    """Through `train` on each block's own teacher: the joint weights are theirs, side by side."""
    blocks = [drawn(REGIONS, m, seed=m, polarity=0.9) for m in (2, 3)]
    joint, labels = tsf.product_teacher(blocks), [torch.tensor([0, 0, 1, 1, 1])] * 3
    norm = tsf.BatchNorm(eps=0.1, top=True)
    s = tsf.separate(tsf.Student(REGIONS, [5, 5, 5], ensemble=(2,), norm=norm, bias=True, seed=0), labels)
    own = []
    for i, m in enumerate((2, 3)):
        solo = tsf.Student(REGIONS, [m] * 3, ensemble=(2,), norm=norm, bias=True, seed=0)
        mine = labels[0] == i
        for l in (1, 2):
            solo.W[l].data = s.W[l].detach()[..., mine, :][..., mine].clone()
        own.append(solo)
    for student, t in zip([s, *own], [joint, *blocks]):
        tsf.train(student, t, steps=20, lr=0.1, method="momentum")
    assert tsf.leak(s.W, labels).max() < 1e-14
    for i, solo in enumerate(own):
        mine = labels[0] == i
        for l in (1, 2):
            assert close(s.W[l][..., mine, :][..., mine], solo.W[l], 1e-10)
            assert close(s.b[l][..., mine], solo.b[l], 1e-10)


# spread, masks, leak

@few(40)
@given(sizes, st.integers(0, 99), st.booleans())
def test_spread_is_the_largest_distance_from_the_mean_given_a_block(m, seed, padded):
    rng = np.random.default_rng(seed)
    states, n = list(product(*map(range, m))), 3
    x, p = rng.normal(size=(2, len(states), n)), rng.dirichlet(np.ones(len(states)))
    if padded and len(states) > 1:
        p[0] = 0
        p /= p.sum()
    found = tsf.spread(x, m, p)
    for i in range(len(m)):
        for k in range(n):
            worst = 0
            for z in range(len(states)):
                same = [w for w in range(len(states)) if states[w][i] == states[z][i]]
                total = sum(p[w] for w in same)
                if p[z] > 0:
                    worst = max(worst, abs(x[1, z, k] - sum(p[w] * x[1, w, k] for w in same) / total))
            assert found[1, i, k].item() == pytest.approx(worst, abs=1e-12)


def test_spread_is_zero_for_functions_of_a_block_and_only_then():
    p = torch.tensor([0.2, 0.3, 0.1, 0.4], dtype=torch.float64)
    a, b = torch.tensor([1.0, 1, 2, 2]), torch.tensor([3.0, 5, 3, 5])
    far = tsf.spread(torch.stack([a, b, a * b], 1).double(), (2, 2), p)
    assert far[0, 0] < 1e-15 and far[1, 1] < 1e-15
    assert far[1, 0] > 0.1 and far[0, 1] > 0.1 and far[:, 2].min() > 0.1
    regions = tsf.spread(a.double()[:, None].expand(3, 4, 1), [2, 2], p.expand(3, 4))
    assert regions.shape == (3, 2, 1)


def test_leak_and_separate():
    blocks = [torch.tensor([0, 1]), torch.tensor([1, 1, 0]), torch.tensor([0])]
    s = tsf.Student(tsf.Hierarchy.tree(2), [2, 3, 1], ensemble=(4,), seed=0)
    masks = tsf.block_masks(blocks)
    assert masks[0] is None and masks[1].tolist() == [[False, False, True], [True, True, False]]
    off = torch.stack([max(w[..., k, j].abs().max() for w, mask in zip([w[e] for w in s.W[1:]], masks[1:])
                           for k, j in (~mask).nonzero().tolist()) for e in range(4)])
    assert close(tsf.leak(s.W, blocks), off)
    before = [w.detach().clone() for w in s.W[1:]]
    assert tsf.separate(s, blocks) is s and tsf.leak(s.W, blocks).tolist() == [0] * 4
    for w, old, mask in zip(s.W[1:], before, masks[1:]):
        assert torch.equal(w.detach(), old * mask)


# bad input

T2, T3 = drawn(REGIONS, 2), drawn(REGIONS, 3)
CHAIN = tsf.Hierarchy.tree(1, 1)


@pytest.mark.parametrize("call, error, words", [
    (lambda: tsf.random_teacher(REGIONS, [2, 2], seed=0), ValueError, "states must have 3 entries.*found 2"),
    (lambda: tsf.random_teacher(REGIONS, [2, 0, 2], seed=0), ValueError, r"states\[1\] must be at least 1; found 0"),
    (lambda: tsf.random_teacher(REGIONS, [2, 2.5, 2], seed=0), TypeError, r"states\[1\] must be an int"),
    (lambda: tsf.random_teacher(REGIONS, [2, [[0.5, 0.5]], 2], seed=0), ValueError,
     r"states\[1\] must have shape \(2, any\)"),
    (lambda: tsf.random_teacher(CHAIN, [2, [[0.5, 0.4]]], seed=0), ValueError, r"states\[1\].*sum.* to 0.9"),
    (lambda: tsf.random_teacher(REGIONS, [2, 2, 2], 1.5, seed=0), ValueError,
     r"polarity must lie in \[0, 1\]; found 1.5"),
    (lambda: tsf.random_teacher(REGIONS, [2, 2, 2], math.nan, seed=0), ValueError, "polarity must be finite"),
    (lambda: tsf.random_teacher(3, [2], seed=0), TypeError, "hierarchy must be a Hierarchy"),
    (lambda: tsf.random_teacher(REGIONS, [2, 2, 2], seed=-1), ValueError, "seed"),
    (lambda: tsf.product_teacher([]), TypeError, "teachers must be a list of at least one Teacher"),
    (lambda: tsf.product_teacher(T2), TypeError, "teachers must be a list.*found Teacher"),
    (lambda: tsf.product_teacher([T2, 3]), TypeError, r"teachers\[1\] must be a Teacher; found int"),
    (lambda: tsf.product_teacher([T2, drawn(CHAIN, 2)]), ValueError,
     r"teachers\[0\] and teachers\[1\].*same hierarchy"),
    (lambda: tsf.product_teacher([T2, T3.to(torch.float32)]), TypeError,
     "one dtype; found torch.float64 .*torch.float32"),
    (lambda: tsf.product_teacher([T2, T3], torch.ones(5) / 5), ValueError,
     r"top must have shape \(2, 3\).*found \(5,\)"),
    (lambda: tsf.product_teacher([T2, T3], torch.ones(2, 3)), ValueError, "prior.*sums to 6"),
    (lambda: tsf.product_teacher([T2, T2], [[0.5, 0], [0, 0.5]]), ValueError,
     "must agree with the tables of every parent"),
    (lambda: tsf.product_teacher([drawn(CHAIN, 200)] * 4), ValueError, "of the product must hold at most"),
    (lambda: tsf.spread(torch.zeros(5, 2), (2, 3), torch.ones(5) / 5), ValueError,
     r"x must have 6 rows.*\(5, 2\) and \(5,\)"),
    (lambda: tsf.spread(torch.zeros(6, 2), (2, 3), torch.ones(2, 3) / 3), ValueError,
     r"prior one number a row.*\(2, 3\)"),
    (lambda: tsf.spread(torch.zeros(6), (2, 3), torch.ones(6) / 6), ValueError, "x must have 6 rows"),
    (lambda: tsf.spread(torch.zeros(6, 1), (2, 0), torch.ones(6) / 6), ValueError, r"sizes\[1\] must be at least 1"),
    (lambda: tsf.spread(torch.full((2, 1), math.nan), (2,), torch.ones(2) / 2), ValueError, "x.*must be finite"),
    (lambda: tsf.spread(torch.zeros(2, 1), (2,), torch.ones(2)), ValueError, "sum"),
    (lambda: tsf.spread(torch.zeros(4, 2), (2, 2), 1.0), ValueError, r"prior one number a row.*\(4, 2\) and \(\)"),
    (lambda: tsf.spread(torch.zeros(4, 2), 4, torch.ones(4) / 4), TypeError, "sizes must be a list.*found 4"),
    (lambda: tsf.leak(5, [[0, 1], [0, 1]]), TypeError, "values must be a list by level; found int"),
    (lambda: tsf.leak([None], [[0]]), ValueError, r"len\(blocks\) must be at least 2; found 1"),
    (lambda: tsf.block_masks(torch.zeros(3)), TypeError, "blocks must be a list by level of labels"),
    (lambda: tsf.block_masks([[0, 1], [0.5]]), TypeError, r"blocks\[1\] must hold integers"),
    (lambda: tsf.leak(tsf.Student(CHAIN, [2, 2], seed=0).W, [[0, 1], [0, 1, 1]]), ValueError,
     r"label for each node.*\[\(2, 2\)\].*\[\(2, 3\)\]"),
    (lambda: tsf.separate(3, [[0], [0]]), TypeError, "student must be a Student|must be a Student"),
    (lambda: tsf.leak([None, torch.zeros(2, 2)], [[0, 1], [0, 1]]), ValueError, "label for each node"),
])
def test_says_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_states_of_probability_0_are_no_trouble_in_float32():
    prior = [torch.tensor([p]) for p in ([0.5, 0, 0.5], [1.0, 0])]
    t = tsf.random_teacher(tsf.Hierarchy.tree(1, 1), prior, 0.8, seed=0)
    assert torch.isfinite(t.P[1]).all() and t.dtype == torch.float32
    x, p = torch.tensor([[1.0], [3.0], [7.0], [9.0]]), torch.tensor([0.5, 0.5, 0, 0])
    close(tsf.spread(x, (2, 2), p), tsf.spread(x.double(), (2, 2), p.double()).float())
