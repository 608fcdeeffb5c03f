"""Floor 1. Hierarchies of receptive fields: trees, overlapping pyramids, any layered graph of regions."""
from dataclasses import dataclass

import torch

from . import _checks as check


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Receptive fields in levels: region r of level l sees the regions `children[l][r]` of level l-1.

        ch(α) = children[l][α],   pa(β) = {α : β ∈ ch(α)},   x_α = (x_β)_{β ∈ ch(α)}

    Level 0 holds the leaves, the last level one region ω that sees the whole input. A region may have several
    parents (overlapping fields); every region but ω has at least one.

    Parameters
    ----------
    children : list by level; entry 0 is None, entry l an integer array (R_l, C_l) of indices into level l-1
    leaves : number of leaf regions; by default the largest index in `children[1]` plus one

    Attributes: `children`, `regions` (R_l by level), `depth` (levels above the leaves), `is_tree`.
    Raises `ValueError` naming the region at fault. Source: Tian (2018); chapter `networks`.
    """

    children: list
    leaves: int = None

    def __post_init__(self):
        given = self.children
        if torch.is_tensor(given) or not isinstance(given, (list, tuple)):
            raise TypeError(f"children must be a list by level; found {type(given).__name__}")
        if len(given) < 2:
            raise ValueError(f"children must have at least 2 entries (None for the leaves, then one a level); "
                             f"found {len(given)}")
        children = check.levels("children", given, len(given) - 1)
        below = None if self.leaves is None else check.count("leaves", self.leaves)
        regions = [below]
        for l in range(1, len(children)):
            c = check.integers(f"children[{l}]", children[l], (None, None), what="region indices").clone()
            if c.numel() == 0:
                raise ValueError(f"children[{l}] must name at least one child a region; found shape {tuple(c.shape)}")
            if below is None:
                below = regions[0] = int(c.max()) + 1
            check.integers(f"children[{l}]", c, most=below - 1, what="region indices")
            seen = set(c.flatten().tolist())
            orphan = next((r for r in range(below) if r not in seen), None)
            if orphan is not None:
                raise ValueError(f"every region below the top must have a parent; region {orphan} of level {l - 1} "
                                 f"is in no row of children[{l}]")
            children[l], below = c, len(c)
            regions.append(below)
        if below != 1:
            raise ValueError(f"the top level must hold one region; children[{len(children) - 1}] has {below} rows")
        # a tree in reading order needs no gather: its children are a reshape away
        ordered = [None] + [torch.equal(c.flatten(), torch.arange(c.numel())) for c in children[1:]]
        for name, value in dict(children=children, leaves=regions[0], regions=regions, depth=len(children) - 1,
                                _ordered=ordered,
                                is_tree=all(c.numel() == n for c, n in zip(children[1:], regions))).items():
            object.__setattr__(self, name, value)

    @classmethod
    def tree(cls, depth, branching=2):
        """A perfect tree: branching**(depth-l) regions at level l."""
        check.count("depth", depth)
        check.count("branching", branching)
        check.size("the leaf level", *[branching] * min(depth, 64))
        return cls([None] + [torch.arange(branching ** (depth - l + 1)).view(-1, branching)
                             for l in range(1, depth + 1)])

    @classmethod
    def pyramid(cls, length, window, stride):
        """Overlapping windows over a line of `length` leaves, level on level until one region is left.

        The last window of a level is moved back to the edge; a level of fewer than `window` regions is seen whole.
        """
        _check_windows("length", length, window, stride)
        children = [None]
        while length > 1:
            children.append(_windows(length, window, stride))
            length = len(children[-1])
        return cls(children)

    @classmethod
    def pyramid2d(cls, side, window, stride, levels=None):
        """Overlapping square windows over side x side leaves (row by row), level on level until one is left.

        `levels` stops early: the last of `levels` levels is one region that sees all the rest.
        """
        _check_windows("side", side, window, stride)
        if levels is not None:
            check.count("levels", levels)
        children = [None]
        while side > 1:
            last = levels is not None and len(children) == levels
            rows = _windows(side, side if last else window, stride, axes=2)  # (R, C) along one axis
            grid = rows[:, None, :, None] * side + rows[None, :, None, :]    # (R, R, C, C)
            children.append(grid.reshape(len(rows) ** 2, -1))
            side = len(rows)
        if levels is not None and len(children) != levels + 1:
            raise ValueError(f"levels must be at most {len(children) - 1} for this side, window and stride; "
                             f"found {levels}")
        return cls(children)

    def parents(self, level):
        """For each region of `level`: the list of its (parent, slot) pairs, children[level+1][parent, slot]."""
        check.count("level", level, 0, self.depth)
        pairs = [[] for _ in range(self.regions[level])]
        if level < self.depth:
            for a, row in enumerate(self.children[level + 1].tolist()):
                for c, b in enumerate(row):
                    pairs[b].append((a, c))
        return pairs

    def field(self, level, region):
        """The receptive field of a region: a sorted LongTensor of leaf indices."""
        check.count("level", level, 0, self.depth)
        below = torch.tensor([check.count("region", region, 0, self.regions[level] - 1)])
        for l in range(level, 0, -1):
            below = self.children[l][below].unique()
        return below

    def gather(self, l, x, dim):
        """What each region of level l sees of x, which holds level l-1 along `dim` < 0: one axis becomes (R_l, C_l)."""
        if self._ordered[l]:
            return x.unflatten(dim, self.children[l].shape)
        index = self.children[l].to(x.device)
        return x.index_select(dim, index.flatten()).unflatten(dim, index.shape)

    def scatter(self, l, y, dim):
        """The adjoint of `gather`: the sum over all parents; the axes (R_l, C_l) at dim-1, dim become R_{l-1}."""
        y = y.flatten(dim - 1, dim)
        if self._ordered[l]:
            return y
        shape = list(y.shape)
        shape[dim] = self.regions[l - 1]
        return y.new_zeros(shape).index_add(dim, self.children[l].flatten().to(y.device), y)

    def __eq__(self, other):
        return isinstance(other, Hierarchy) and self.regions == other.regions and all(
            torch.equal(a, b) for a, b in zip(self.children[1:], other.children[1:]))

    __hash__ = None

    def __repr__(self):
        kind = "tree" if self.is_tree else "overlapping"
        return f"Hierarchy({kind}, regions by level {' - '.join(map(str, self.regions))})"


def _check_windows(name, length, window, stride):
    check.count(name, length, 2)
    check.count("window", window, 2)
    check.count("stride", stride)
    if window > length:
        raise ValueError(f"window must be at most {name}; found window {window} and {name} {length}")
    if stride > window:
        raise ValueError(f"stride must be at most window, else regions fall between windows; "
                         f"found stride {stride} and window {window}")


def _windows(length, window, stride, axes=1):
    """Start positions 0, stride, ... with the last moved back to the edge -> indices (R, C) along one of the axes."""
    window = min(window, length)
    check.size("a level of windows", *[-(-(length - window) // stride) + 1, window] * axes)
    starts = [*range(0, length - window, stride), length - window]
    return torch.tensor(starts)[:, None] + torch.arange(window)
