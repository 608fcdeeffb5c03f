"""Ladders: tables by counting in a loop, contents, k-means codes, enumeration, weights of zero, sampling."""
import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import tsframe as tsf
from strategies import (close, coarse_ladders, either_ladder, few, finest_ladders, hierarchies, latent_teachers,
                        overlapping_pyramids, rngs, scenes)
from witness import dense_tables, mean_given


@given(hierarchies().flatmap(either_ladder))
def test_tables_by_counting_in_a_loop(ladder):
    teacher, h, N = ladder.teacher(), ladder.hierarchy, len(ladder.labels)
    p, z = ladder.weights.tolist(), [codes.tolist() for codes in ladder.codes]
    assert abs(sum(p) - 1) < 1e-12 and teacher.hierarchy is h
    for l in range(h.depth + 1):
        assert teacher.prior[l].shape == (h.regions[l], teacher.states[l])
        for r, i in itertools.product(range(h.regions[l]), range(teacher.states[l])):
            assert abs(sum(p[n] for n in range(N) if z[l][n][r] == i) - float(teacher.prior[l][r, i])) < 1e-14
    for l in range(1, h.depth + 1):
        P = dense_tables(teacher, l)
        for r, row in enumerate(h.children[l].tolist()):
            for i in range(teacher.states[l]):
                cell = [n for n in range(N) if z[l][n][r] == i and p[n] > 0]
                total = sum(p[n] for n in cell)
                for (c, b), k in itertools.product(enumerate(row), range(teacher.states[l - 1])):
                    want = sum(p[n] for n in cell if z[l - 1][n][b] == k) / total if cell else 0.0
                    assert abs(float(P[r, c, i, k]) - want) < 1e-13
    for r in range(h.leaves):
        close(teacher.features[r], mean_given(ladder.codes[0][:, r], ladder.weights, ladder.inputs[:, r], teacher.states[0]))
    e_y = torch.eye(ladder.classes, dtype=torch.float64)[ladder.labels]
    close(teacher.target, mean_given(ladder.codes[-1][:, 0], ladder.weights, e_y, teacher.states[-1]))


@given(hierarchies().flatmap(either_ladder), rngs())
def test_mean_by_a_loop(ladder, rng):
    for l, regions in enumerate(ladder.hierarchy.regions):
        x = torch.tensor(rng.normal(size=(2, regions, len(ladder.labels), 2)))
        found = ladder.mean(l, x)
        assert found.shape == (2, regions, ladder.states[l], 2)
        for e, r in itertools.product(range(2), range(regions)):
            close(found[e, r], mean_given(ladder.codes[l][:, r], ladder.weights, x[e, r], ladder.states[l]))


@given(hierarchies().flatmap(finest_ladders))
def test_finest_codes_are_the_contents(ladder):
    """Two rows share the code of a region iff they share the content of its field; codes run from 0 without gaps."""
    h = ladder.hierarchy
    for l, regions in enumerate(h.regions):
        assert ladder.codes[l].shape == (len(ladder.labels), regions)
        for r in range(regions):
            content = [tuple(x.flatten().tolist()) for x in ladder.inputs[:, h.field(l, r)]]
            codes = ladder.codes[l][:, r].tolist()
            assert len(set(zip(content, codes))) == len(set(content)) == len(set(codes))
            assert set(codes) == set(range(len(set(codes))))


def test_minus_zero_and_zero_are_one_content():
    ladder = tsf.Ladder.finest(tsf.Hierarchy.tree(1), [[[0.0], [1.0]], [[-0.0], [1.0]]], [0, 0])
    assert ladder.states == [1, 1]


def test_defaults_of_weights_and_classes():
    ladder = tsf.Ladder.finest(tsf.Hierarchy.tree(1), np.zeros((4, 2, 3)), [0, 2, 0, 1])
    assert ladder.classes == 3 and ladder.weights.tolist() == [0.25] * 4
    assert ladder.inputs.shape == (4, 2, 3) and ladder.inputs.dtype == torch.float64
    assert close(ladder.teacher().target, torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64))
    assert tsf.Ladder.finest(tsf.Hierarchy.tree(1), np.zeros((1, 2, 1)), [0], classes=5).teacher().target.shape == (1, 5)


@given(hierarchies().flatmap(finest_ladders))
@few(20)
def test_weights_are_relative_and_rows_of_weight_zero_count_for_nothing(ladder):
    h, live = ladder.hierarchy, ladder.weights > 0
    scaled = tsf.Ladder.finest(h, ladder.inputs, ladder.labels, ladder.weights * 1e3, ladder.classes)
    close(scaled.weights, ladder.weights)
    less = tsf.Ladder.coarse(h, ladder.inputs[live], ladder.labels[live], [z[live] for z in ladder.codes],
                             ladder.weights[live], ladder.classes)
    for l in range(h.depth + 1):
        m = less.states[l]
        close(ladder.teacher().prior[l][:, :m], less.teacher().prior[l])
        assert not ladder.teacher().prior[l][:, m:].any()


@given(hierarchies().flatmap(finest_ladders))
@few(20)
def test_coarse_with_the_contents_as_codes_is_the_finest(ladder):
    args = ladder.hierarchy, ladder.inputs, ladder.labels
    listed = tsf.Ladder.coarse(*args, ladder.codes, ladder.weights, ladder.classes)
    called = tsf.Ladder.coarse(*args, lambda l, inputs: ladder.codes[l], ladder.weights, ladder.classes)
    for other in (listed, called):
        assert other.states == ladder.states
        for l in range(1, ladder.hierarchy.depth + 1):
            close(other.teacher().dense(l), ladder.teacher().dense(l))


def test_coarse_calls_its_function_level_by_level_on_the_inputs():
    h, inputs, seen = tsf.Hierarchy.tree(2), np.random.default_rng(0).normal(size=(5, 4, 1)), []

    def sign(level, x):
        seen.append((level, tuple(x.shape)))
        return torch.stack([(x[:, h.field(level, r)].sum((1, 2)) > 0).long() for r in range(h.regions[level])], 1)
    ladder = tsf.Ladder.coarse(h, inputs, [0, 1, 0, 1, 1], sign)
    assert seen == [(0, (5, 4, 1)), (1, (5, 4, 1)), (2, (5, 4, 1))]
    assert ladder.codes[2][:, 0].tolist() == (inputs.sum((1, 2)) > 0).astype(int).tolist()


def test_padding_of_regions_that_lack_a_state():
    h = tsf.Hierarchy.tree(1)
    codes = [[[0, 0], [0, 2], [0, 2]], [[1], [0], [0]]]
    teacher = tsf.Ladder.coarse(h, np.arange(6.0).reshape(3, 2, 1), [0, 1, 1], codes).teacher()
    assert teacher.states == [3, 2]
    close(teacher.prior[0], torch.tensor([[1, 0, 0], [1 / 3, 0, 2 / 3]], dtype=torch.float64))
    assert teacher.dense(1)[0, 0].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert teacher.dense(1)[0, 1].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert teacher.features[1].flatten().tolist() == [1.0, 0.0, 4.0]


# ---- enumeration -------------------------------------------------------------------------------------------------

@given(latent_teachers())
@few(25)
def test_enumeration_is_the_teacher_s_law(teacher):
    ladder, h = tsf.Ladder.enumerate(teacher), teacher.hierarchy
    counted = ladder.teacher()
    assert counted.states == teacher.states and ladder.classes == teacher.target.shape[1]
    for l in range(h.depth + 1):
        close(counted.prior[l], teacher.prior[l])
    for l in range(1, h.depth + 1):
        close(counted.dense(l), teacher.dense(l))
    close(counted.features, teacher.features)
    close(counted.target, teacher.target)
    n = min(len(ladder.labels), 20)
    for row in range(n):                                                 # the chain rule, by a loop
        z = [codes[row].tolist() for codes in ladder.codes]
        p = float(teacher.prior[-1][0, z[-1][0]]) * float(teacher.target[z[-1][0], ladder.labels[row]])
        for l in range(h.depth, 0, -1):
            for r, children in enumerate(h.children[l].tolist()):
                for c, b in enumerate(children):
                    p *= float(teacher.P[l][r, c, z[l][r], z[l - 1][b]])
        assert abs(p - float(ladder.weights[row])) < 1e-13


def test_enumeration_counts_every_joint_state_once():
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), 2, 0.5, seed=0)
    ladder = tsf.Ladder.enumerate(teacher)
    assert len(ladder.labels) == 2**7
    rows = torch.cat([*ladder.codes, ladder.labels[:, None]], 1)
    assert len(rows.unique(dim=0)) == 2**7
    inputs, labels = teacher.sample(20_000, seed=0)                      # and agrees with sampling
    key = (inputs.argmax(-1) * torch.tensor([1, 2, 4, 8])).sum(1) + 16 * labels
    want = torch.zeros(32, dtype=torch.float64).index_add(
        0, (ladder.inputs.argmax(-1) * torch.tensor([1, 2, 4, 8])).sum(1) + 16 * ladder.labels, ladder.weights)
    found = torch.bincount(key, minlength=32)
    chi_square = ((found - 20_000 * want) ** 2 / (20_000 * want)).sum()
    assert chi_square < 31 + 5 * 62**0.5                                 # 31 degrees of freedom


def test_enumeration_says_when_there_is_too_much():
    with pytest.raises(ValueError, match="limit=1048576 joint states"):
        tsf.Ladder.enumerate(tsf.Teacher.latent_tree(tsf.Hierarchy.tree(4), seed=0))
    with pytest.raises(ValueError, match="limit=100 joint states"):
        tsf.Ladder.enumerate(tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), seed=0), limit=100)
    tsf.Ladder.enumerate(tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), seed=0), limit=128)


# ---- images ------------------------------------------------------------------------------------------------------

DIGITS = tsf.Hierarchy.pyramid2d(4, 2, 1, levels=2)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.images / 16, data.target


def test_kmeans_on_digits(digits):
    images, labels = digits[0][:300], digits[1][:300]
    ladder = tsf.Ladder.kmeans(DIGITS, images, labels, [4, 6, 8], seed=0)
    assert ladder.inputs.shape == (300, 16, 4) and ladder.classes == 10 and ladder.states == [4, 6, 8]
    assert [z.shape for z in ladder.codes] == [(300, 16), (300, 9), (300, 1)]
    again, other = (tsf.Ladder.kmeans(DIGITS, images, labels, [4, 6, 8], seed=s) for s in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(ladder.codes, again.codes))
    assert not all(torch.equal(a, b) for a, b in zip(ladder.codes, other.codes))
    for y, x in itertools.product(range(4), range(4)):                   # patches row by row
        patch = images[:, 2 * y:2 * y + 2, 2 * x:2 * x + 2].reshape(300, 4)
        assert torch.equal(ladder.inputs[:, 4 * y + x], torch.tensor(patch))
    teacher = ladder.teacher()
    assert teacher.P[1].shape == (9, 4, 6, 4) and teacher.target.shape == (8, 10)


@pytest.mark.parametrize("level, region", [(0, 5), (1, 4), (2, 0)])
def test_kmeans_codes_are_nearest_centres(digits, level, region):
    """Lloyd's fixed point, whoever found it: every content has its own cell's mean as the nearest."""
    ladder = tsf.Ladder.kmeans(DIGITS, digits[0][:300], digits[1][:300], [4, 6, 8], seed=0)
    x = ladder.inputs[:, DIGITS.field(level, region)].flatten(1)
    codes = ladder.codes[level][:, region]
    centres = torch.stack([x[codes == k].mean(0) for k in range(ladder.states[level])])
    assert (torch.cdist(x, centres).argmin(1) == codes).float().mean() > 0.98


def test_kmeans_keeps_contents_where_there_are_few():
    images = np.zeros((6, 4, 4))
    images[3:, :2, :2] = 1.0
    ladder = tsf.Ladder.kmeans(tsf.Hierarchy.pyramid2d(2, 2, 1), images, [0, 0, 0, 1, 1, 1], [3, 3], seed=0)
    assert ladder.states == [2, 2] and ladder.codes[0][:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert not ladder.codes[0][:, 1:].any()


def test_finest_digits_stay_small_as_an_index(digits):
    """Dense tables would take 3.75 GB; the index is under 1 MB and gives the same means as a loop over rows."""
    images, labels = torch.tensor(digits[0]), torch.tensor(digits[1])
    patches = images.reshape(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
    ladder = tsf.Ladder.finest(DIGITS, patches, labels)
    teacher = ladder.teacher()
    assert teacher.states[2] == len({tuple(x.flatten().tolist()) for x in images}) > 1700
    assert sum(p.numel() * p.element_size() for p in teacher.P[1:]) < 1e6
    assert all(not p.is_floating_point() for p in teacher.P[1:])
    x = torch.tensor(np.random.default_rng(0).normal(size=(16, teacher.states[0], 1)))
    seen = teacher.up(1, x)
    for n, r in itertools.product(range(0, 1797, 400), range(9)):
        for c, b in enumerate(DIGITS.children[1][r].tolist()):
            assert seen[r, c, ladder.codes[1][n, r], 0] == x[b, ladder.codes[0][n, b], 0]
    student = tsf.Student(DIGITS, [4, 3, 10], seed=0)
    tracemalloc.start()
    e = tsf.backward(tsf.expand(student, teacher), student, teacher)
    truth = tsf.measure(student, ladder)
    assert tracemalloc.get_traced_memory()[1] < 50e6                     # python's own share; tensors are checked above
    tracemalloc.stop()
    for a, b in zip(tsf.weight_update(e, teacher)[1:], truth.dW[1:]):
        close(a, b)


# ---- sampling ----------------------------------------------------------------------------------------------------

def test_rows_are_drawn_by_their_weights():
    inputs = np.arange(4.0)[:, None, None].repeat(2, 1)
    ladder, n = tsf.Ladder.finest(tsf.Hierarchy.tree(1), inputs, [0, 1, 2, 0], [1, 0, 2, 5]), 20_000
    x, y = ladder.sample(n, seed=0)
    assert x.shape == (n, 2, 1) and y.shape == (n,) and (x[:, 0] == x[:, 1]).all()
    for row, p in enumerate([1 / 8, 0, 2 / 8, 5 / 8]):
        hits = int((x[:, 0, 0] == row).sum())
        assert abs(hits - n * p) <= 5 * (n * p * (1 - p)) ** 0.5
        assert (y[x[:, 0, 0] == row] == [0, 1, 2, 0][row]).all()
    again, other = ladder.sample(n, seed=torch.Generator().manual_seed(0)), ladder.sample(n, seed=1)
    assert torch.equal(again[0], x) and torch.equal(again[1], y) and not torch.equal(other[0], x)
    assert ladder.sample(0, seed=0)[0].shape == (0, 2, 1)


@given(scenes(finest_ladders, overlapping_pyramids()), rngs())
@few(15)
def test_the_order_of_the_rows_does_not_matter(scene, rng):
    ladder, student = scene
    order = torch.tensor(rng.permutation(len(ladder.labels)))
    other = tsf.Ladder.finest(ladder.hierarchy, ladder.inputs[order], ladder.labels[order], ladder.weights[order],
                              ladder.classes)
    for a, b in zip(tsf.measure(student, ladder).dW[1:], tsf.measure(student, other).dW[1:]):
        close(a, b)


@given(hierarchies().flatmap(coarse_ladders))
@few(20)
def test_a_ladder_is_frozen_and_keeps_copies(ladder):
    inputs, labels = ladder.inputs.clone(), ladder.labels.clone()
    codes, weights = [z.clone() for z in ladder.codes], ladder.weights.clone()
    other = tsf.Ladder.coarse(ladder.hierarchy, inputs, labels, codes, weights, ladder.classes)
    for x in (inputs, labels, weights, *codes):
        x.fill_(0)
    assert torch.equal(other.inputs, ladder.inputs) and torch.equal(other.labels, ladder.labels)
    assert all(torch.equal(a, b) for a, b in zip(other.codes, ladder.codes)) and abs(other.weights.sum() - 1) < 1e-12
    with pytest.raises(AttributeError):
        other.labels = None


@given(st.integers(1, 3))
@few(3)
def test_float32_inputs_stay_float32(depth):
    h = tsf.Hierarchy.tree(depth)
    inputs = torch.rand(20, h.leaves, 2, generator=torch.Generator().manual_seed(0))
    ladder = tsf.Ladder.finest(h, inputs, torch.arange(20) % 3)
    teacher = ladder.teacher()
    assert ladder.weights.dtype == teacher.dtype == torch.float32
    student = tsf.Student(h, [2] + [4] * (depth - 1) + [3], seed=0).to(torch.float32)
    truth, e = tsf.measure(student, ladder), tsf.expand(student, teacher)
    assert truth.dW[1].dtype == torch.float32
    close(tsf.weight_update(tsf.backward(e, student, teacher), teacher)[1], truth.dW[1], 1e-4)
