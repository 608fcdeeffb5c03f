"""Hierarchies: windows by hand, receptive fields and parents by loops, gather and scatter as adjoints."""
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tsframe as tsf
from strategies import close, few, hierarchies, layered, overlapping_pyramids, rngs


def rows(hierarchy, level):
    return hierarchy.children[level].tolist()


def test_tree_by_hand():
    h = tsf.Hierarchy.tree(2, branching=3)
    assert h.children[0] is None
    assert rows(h, 1) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]] and rows(h, 2) == [[0, 1, 2]]
    assert h.regions == [9, 3, 1] and h.depth == 2 and h.leaves == 9 and h.is_tree
    assert tsf.Hierarchy.tree(3).regions == [8, 4, 2, 1]                 # branching 2 by default


def test_pyramid_by_hand():
    h = tsf.Hierarchy.pyramid(5, window=3, stride=1)
    assert rows(h, 1) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]] and rows(h, 2) == [[0, 1, 2]]
    assert h.regions == [5, 3, 1] and not h.is_tree


def test_last_window_is_moved_back_to_the_edge():
    h = tsf.Hierarchy.pyramid(6, window=3, stride=2)                     # starts 0, 2, then 4 -> 3
    assert rows(h, 1) == [[0, 1, 2], [2, 3, 4], [3, 4, 5]] and rows(h, 2) == [[0, 1, 2]]
    h = tsf.Hierarchy.pyramid(7, window=3, stride=2)                     # fits: 0, 2, 4
    assert rows(h, 1) == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    h = tsf.Hierarchy.pyramid(5, window=2, stride=2)                     # 0, 2, then 4 -> 3; then 0, 1; then all
    assert rows(h, 1) == [[0, 1], [2, 3], [3, 4]] and rows(h, 2) == [[0, 1], [1, 2]] and rows(h, 3) == [[0, 1]]


def test_a_level_smaller_than_the_window_is_seen_whole():
    h = tsf.Hierarchy.pyramid(6, window=4, stride=2)
    assert rows(h, 1) == [[0, 1, 2, 3], [2, 3, 4, 5]] and rows(h, 2) == [[0, 1]]


def test_window_as_long_as_the_line():
    assert rows(tsf.Hierarchy.pyramid(4, 4, 1), 1) == [[0, 1, 2, 3]]


def test_pyramid2d_by_hand():
    h = tsf.Hierarchy.pyramid2d(3, window=2, stride=1)
    assert rows(h, 1) == [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]] and rows(h, 2) == [[0, 1, 2, 3]]


def test_levels_stops_early_with_one_region_that_sees_the_rest():
    h = tsf.Hierarchy.pyramid2d(4, 2, 1, levels=2)
    assert h.regions == [16, 9, 1] and rows(h, 2) == [list(range(9))]
    assert tsf.Hierarchy.pyramid2d(4, 2, 1).regions == [16, 9, 4, 1]
    assert tsf.Hierarchy.pyramid2d(4, 2, 1, levels=3) == tsf.Hierarchy.pyramid2d(4, 2, 1)
    assert rows(tsf.Hierarchy.pyramid2d(4, 2, 1, levels=1), 1) == [list(range(16))]


@given(overlapping_pyramids(12))
def test_pyramid_covers_the_line_and_steps_by_its_stride(h):
    for l in range(1, h.depth + 1):
        windows = rows(h, l)
        assert all(w == list(range(w[0], w[0] + len(windows[0]))) for w in windows)
        assert sorted(set(itertools.chain(*windows))) == list(range(h.regions[l - 1]))
        starts = [w[0] for w in windows]
        assert starts == sorted(set(starts))
        steps = {b - a for a, b in zip(starts[:-2], starts[1:-1])}       # all but the moved one
        assert len(steps) <= 1
    assert h.regions[-1] == 1


@given(hierarchies())
def test_parents_are_the_inverse_of_children(h):
    for l in range(h.depth):
        found = h.parents(l)
        want = [[(a, c) for a, row in enumerate(rows(h, l + 1)) for c, b in enumerate(row) if b == r]
                for r in range(h.regions[l])]
        assert found == want and all(found)
    assert h.parents(h.depth) == [[]]
    assert h.is_tree == all(len(p) == 1 for l in range(h.depth) for p in h.parents(l))


@given(hierarchies())
def test_field_by_recursion(h):
    def field(l, r):
        return {r} if l == 0 else set().union(*(field(l - 1, b) for b in rows(h, l)[r]))
    for l, regions in enumerate(h.regions):
        for r in range(regions):
            found = h.field(l, r)
            assert found.dtype == torch.long and found.tolist() == sorted(field(l, r))
    assert h.field(h.depth, 0).tolist() == list(range(h.leaves))


@given(hierarchies(), rngs())
def test_gather_by_loop_and_scatter_is_its_adjoint(h, rng):
    for l in range(1, h.depth + 1):
        R, C = h.children[l].shape
        x = torch.tensor(rng.normal(size=(2, h.regions[l - 1], 3)))
        y = torch.tensor(rng.normal(size=(2, R, C, 3)))
        seen = h.gather(l, x, -2)
        assert seen.shape == y.shape
        for r, c in itertools.product(range(R), range(C)):
            assert torch.equal(seen[:, r, c], x[:, rows(h, l)[r][c]])
        back = h.scatter(l, y, -2)
        assert back.shape == x.shape
        close((seen * y).sum(), (x * back).sum())


@given(layered())
@few(20)
def test_equality_is_about_content(h):
    same = tsf.Hierarchy([None] + [c.tolist() for c in h.children[1:]], leaves=h.leaves)
    assert h == same and not h != same
    assert h != tsf.Hierarchy.tree(5) and h != "tree"
    with pytest.raises(TypeError):
        hash(h)


def test_equal_shapes_with_other_children_differ():
    a = tsf.Hierarchy([None, [[0, 1], [1, 2]], [[0, 1]]])
    b = tsf.Hierarchy([None, [[0, 1], [2, 1]], [[0, 1]]])
    assert a.regions == b.regions and a != b


def test_leaves_default_to_the_largest_index():
    assert tsf.Hierarchy([None, [[0, 2, 1]]]).leaves == 3
    assert tsf.Hierarchy([None, torch.tensor([[0, 1]])], leaves=2).regions == [2, 1]


def test_a_hierarchy_is_frozen_and_keeps_a_copy():
    given_children = torch.tensor([[0, 1], [1, 2]])
    h = tsf.Hierarchy([None, given_children, [[0, 1]]])
    given_children[0, 0] = 2
    assert rows(h, 1) == [[0, 1], [1, 2]]
    with pytest.raises(AttributeError):
        h.depth = 7


@given(st.integers(1, 4), st.integers(1, 3))
@few(12)
def test_numpy_lists_and_tensors_make_the_same_hierarchy(depth, branching):
    h = tsf.Hierarchy.tree(depth, branching)
    assert h == tsf.Hierarchy([None] + [c.numpy().astype(np.int32) for c in h.children[1:]])
    assert h.regions == [branching ** (depth - l) for l in range(depth + 1)]
