"""Floor 3. Ladders: a data set with a summary code for every region, from which a teacher is counted."""
import math
from dataclasses import dataclass
from functools import cached_property

import torch

from . import _checks as check
from .hierarchy import Hierarchy
from .teacher import Teacher

DENSE = 1_000_000                       # entries; a larger deterministic table is kept as an index


@dataclass(frozen=True, eq=False)
class Ladder:
    """A law of (inputs, label, summaries), given by weighted rows.

        P(z_α = i) = Σ_n p_n 1[codes_n,α = i],   E[φ | z_α = i] = Σ_n p_n 1[codes_n,α = i] φ_n / P(z_α = i)

    Built by `finest`, `coarse`, `kmeans` or `enumerate`. A code need not be a function of the input: rows that repeat
    an input with different codes make a soft ladder.

    Attributes: hierarchy, inputs (N, R_0, n_0), labels (N,), weights (N,) summing to 1, codes list by level (N, R_l),
    classes, states (m_l by level). Source: Tian (2018); chapter `teachers`.
    """

    hierarchy: Hierarchy
    inputs: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    codes: list
    classes: int

    @classmethod
    def finest(cls, hierarchy, inputs, labels, weights=None, classes=None):
        """z_α = the content x_α itself: equal contents of a region share a code. Exact for every student."""
        inputs, labels, weights, classes = _data(hierarchy, inputs, labels, weights, classes)
        return cls(hierarchy, inputs, labels, weights, _contents(hierarchy, inputs), classes)

    @classmethod
    def coarse(cls, hierarchy, inputs, labels, summaries, weights=None, classes=None):
        """Codes of your own: a list by level of integers (N, R_l) >= 0, or a function (level, inputs) -> (N, R_l).

        The number of states of a level is its largest code + 1; states that a region lacks have prior 0.
        """
        inputs, labels, weights, classes = _data(hierarchy, inputs, labels, weights, classes)
        if callable(summaries):
            summaries = [summaries(l, inputs) for l in range(hierarchy.depth + 1)]
        summaries = check.levels("summaries", summaries, hierarchy.depth, first_is_none=False)
        codes = [check.integers(f"summaries[{l}]", z, (len(inputs), hierarchy.regions[l])).clone()
                 for l, z in enumerate(summaries)]
        for l, z in enumerate(codes):
            check.size(f"states of level {l} by the largest code in summaries[{l}]", hierarchy.regions[l], int(z.max()) + 1)
        return cls(hierarchy, inputs, labels, weights, codes, classes)

    @classmethod
    def kmeans(cls, hierarchy, images, labels, states, *, seed):
        """Square images cut into side x side patches; z_α = the k-means cluster of the patch content that α sees.

        images : (N, S, S) with S divisible by the side of the leaf grid; the features of a leaf are its S/side squared
            pixels, so widths[0] of a student is their number
        states : number of clusters by level. A region with no more distinct contents than that keeps them all.
        """
        rng = check.generator(seed)
        check.instance("hierarchy", hierarchy, Hierarchy)
        patches = _patches(hierarchy, images)
        inputs, labels, weights, classes = _data(hierarchy, patches, labels, None, None)
        states = check.levels("states", states, hierarchy.depth, first_is_none=False)
        states = [check.count(f"states[{l}]", k) for l, k in enumerate(states)]
        content = _contents(hierarchy, inputs)
        codes = []
        for l, k in enumerate(states):
            start = int(torch.randint(2**31 - 1, (1,), generator=rng, device=rng.device))
            codes.append(torch.stack([_cluster(inputs[:, hierarchy.field(l, r)].flatten(1), content[l][:, r], k, start)
                                      for r in range(hierarchy.regions[l])], 1))
        return cls(hierarchy, inputs, labels, weights, codes, classes)

    @classmethod
    def enumerate(cls, teacher, limit=2**20):
        """Every joint state of a latent tree with its probability: the teacher's whole law, codes = its own z."""
        check.instance("teacher", teacher, Teacher)
        check.count("limit", limit)
        h = teacher.hierarchy
        if not h.is_tree:
            raise ValueError("enumeration needs one parent per region: pairwise tables do not define a joint law "
                             f"where fields overlap; found {h}")
        z = [None] * h.depth + [teacher.prior[-1][0].nonzero()]
        p = teacher.prior[-1][0][z[-1][:, 0]]
        for l in range(h.depth, 0, -1):
            z[l - 1] = torch.zeros(len(p), h.regions[l - 1], dtype=torch.long, device=p.device)
            table = teacher.dense(l)
            for r, row in enumerate(h.children[l].tolist()):
                for c, b in enumerate(row):
                    q = p[:, None] * table[r, c, z[l][:, r]]
                    if q.shape[0] * q.shape[1] > limit * 4 or (q > 0).sum() > limit:
                        raise ValueError(f"enumeration must stay within limit={limit} joint states; {h} has more")
                    rows, k = q.nonzero(as_tuple=True)
                    z = [x if x is None else x[rows] for x in z]
                    z[l - 1][:, b], p = k, q[rows, k]
        rows, labels = (p[:, None] * teacher.label_law[z[-1][:, 0]]).nonzero(as_tuple=True)
        z = [x[rows] for x in z]
        p = p[rows] * teacher.target[z[-1][:, 0], labels]
        inputs = teacher.features[torch.arange(h.leaves, device=p.device), z[0]]
        return cls(h, inputs, labels, p / p.sum(), z, teacher.target.shape[1])

    @cached_property
    def states(self):
        """m_l by level: the largest code of the level + 1."""
        return [int(z.max()) + 1 for z in self.codes]

    @cached_property
    def prior(self):
        """P(z) by level, (R_l, m_l)."""
        return [self._count(z, m) for z, m in zip(self.codes, self.states)]

    @cached_property
    def _teacher(self):
        h, P = self.hierarchy, [None]
        for l in range(1, h.depth + 1):
            m, k = self.states[l], self.states[l - 1]
            below = h.gather(l, self.codes[l - 1], -1)                                            # (N, R, C)
            index = self._index(l, below)
            if index is None:
                check.size(f"P[{l}]", *h.children[l].shape, m, k)
            P.append(index if index is not None and index.numel() * k > DENSE else
                     self._count(self.codes[l][..., None] * k + below, m * k).unflatten(-1, (m, k)))
            if P[l].is_floating_point():
                P[l] = P[l] / P[l].sum(-1, keepdim=True).clamp(min=torch.finfo(P[l].dtype).tiny)
        target = self.mean(h.depth, torch.nn.functional.one_hot(self.labels, self.classes).to(self.weights)[None])[0]
        features = self.mean(0, self.inputs.transpose(0, 1))
        return Teacher(h, self.prior, P, features, target)

    def teacher(self):
        """The teacher that these rows define, by counting: tables, priors, E[features | z_β], E[e_y | z_ω]."""
        return self._teacher

    def mean(self, l, x):
        """E[x | z_α] at level l: x (..., R_l, N, n), a value per row -> (..., R_l, m_l, n); 0 at states of prior 0."""
        return self._mean(self.codes[l].T, x, self.states[l], self.prior[l])

    def mean_above(self, l, x):
        """E[x | z_α] of what each region of level l sees below: x (..., R_{l-1}, N, n) -> (..., R_l, C_l, m_l, n)."""
        x = self.hierarchy.gather(l, x, -3)
        shape = x.shape[-4:-2]
        codes = self.codes[l].T[:, None].expand(*shape, -1).flatten(0, 1)
        prior = self.prior[l][:, None].expand(*shape, -1).flatten(0, 1)
        return self._mean(codes, x.flatten(-4, -3), self.states[l], prior).unflatten(-3, shape)

    def _mean(self, codes, x, m, prior):
        """codes (R, N), x (..., R, N, n) -> (..., R, m, n): sums of p x by code, over the prior."""
        rows = (codes + m * torch.arange(len(codes), device=codes.device)[:, None]).flatten()
        x = (x * self.weights[:, None]).flatten(-3, -2)
        total = x.new_zeros(*x.shape[:-2], len(codes) * m, x.shape[-1]).index_add(-2, rows, x)
        live = (prior > 0)[..., None]
        return torch.where(live, total.unflatten(-2, (len(codes), m)) / prior[..., None].where(live, 1), 0)

    def _count(self, codes, m):
        """Σ p by code: codes (N, ...) -> (..., m)."""
        return torch.zeros(*codes.shape[1:], m, dtype=self.weights.dtype, device=codes.device).scatter_add(
            -1, codes.movedim(0, -1), self.weights.expand(*codes.shape[1:], -1))

    def _index(self, l, below):
        """The tables of level l as an index (R, C, m) where every state decides its children's states, else None."""
        m = self.states[l]
        codes = self.codes[l][..., None].expand_as(below).movedim(0, -1)
        below, live = below.movedim(0, -1), self.weights > 0
        codes, below = codes[..., live], below[..., live]
        index = torch.zeros(*codes.shape[:2], m, dtype=torch.long, device=codes.device).scatter(-1, codes, below)
        return index if torch.equal(index.gather(-1, codes), below) else None

    def sample(self, n, *, seed, many=(), replace=True):
        """n rows drawn by their weights: inputs (*many, n, R_0, n_0) and labels (*many, n), `many` samples at once.

        replace : with False no row comes twice in a sample; the rows of the ladder must have equal weights for that
        """
        many = check.sizes("many", many)
        check.count("n", n, 0, check.MOST if check.flag("replace", replace) else len(self.labels))
        check.size("a sample", *many, n, *self.inputs.shape[1:])
        low, high = self.weights.min().item(), self.weights.max().item()
        if not replace and high - low > check.tolerance(self.weights) * high:
            raise ValueError("replace must be True where rows have different weights; "
                             f"found weights from {low:g} to {high:g}")
        rng = check.generator(seed)
        p = self.weights.to(rng.device).expand(math.prod(many), -1)
        rows = torch.multinomial(p, n, replace, generator=rng) if n else p[:, :0].long()
        rows = rows.to(self.labels.device).view(*many, n)
        return self.inputs[rows], self.labels[rows]

    def __repr__(self):
        return (f"Ladder({self.hierarchy}, {len(self.labels)} rows, states by level "
                f"{' - '.join(map(str, self.states))})")


def _data(hierarchy, inputs, labels, weights, classes):
    """Checked inputs, labels, weights that sum to 1, number of classes."""
    check.instance("hierarchy", hierarchy, Hierarchy)
    inputs = check.real("inputs", inputs, (None, hierarchy.leaves, None)).clone()
    n = len(inputs)
    if n == 0:
        raise ValueError("a ladder must have at least one row; inputs has 0")
    if inputs.shape[-1] == 0:
        raise ValueError(f"inputs must have at least one feature a leaf; found shape {tuple(inputs.shape)}")
    if classes is not None:
        check.count("classes", classes)
    labels = check.integers("labels", labels, (n,), None if classes is None else classes - 1, "class indices").clone()
    weights = torch.ones(n, dtype=inputs.dtype) if weights is None else check.nonnegative(
        "weights", check.real("weights", weights, (n,), inputs.dtype, inputs.device))
    if not weights.sum() > 0:
        raise ValueError(f"weights must not be all zero; their sum over {n} rows is 0")
    weights = weights / weights.max()                                    # so that the sum cannot overflow
    classes = int(labels.max()) + 1 if classes is None else classes
    check.size("one-hot labels", n, classes)
    return inputs, labels.to(inputs.device), (weights / weights.sum()).to(inputs.device), classes


def _contents(hierarchy, inputs):
    """Codes of the finest ladder: contents numbered from 0 within each region, level by level."""
    rows = (inputs + 0.0).transpose(0, 1).flatten(0, 1)                  # (R N, n); -0.0 and 0.0 are one content
    codes = [_number(hierarchy.leaves, [torch.unique(x, return_inverse=True)[1] for x in rows.T], inputs.device)]
    for l in range(1, hierarchy.depth + 1):
        below = hierarchy.gather(l, codes[-1], -1)                       # (N, R, C)
        codes.append(_number(below.shape[1], [c.T.flatten() for c in below.unbind(-1)], inputs.device))
    return codes


def _number(regions, keys, device):
    """Number the distinct tuples of `keys` (each (R N,)) within each region: (N, R)."""
    code = torch.arange(regions, device=device).repeat_interleave(len(keys[0]) // regions)
    for key in keys:                                                     # both factors stay below R N: no overflow
        code = torch.unique(code * (int(key.max()) + 1) + key, return_inverse=True)[1]
    code = code.view(regions, -1)                                        # sorted by region: subtract the region's first
    return (code - code.min(1, keepdim=True).values).T.contiguous()


def _patches(hierarchy, images):
    """(N, S, S) -> (N, side * side, (S / side)**2), patches row by row."""
    images = check.real("images", images, (None, None, None))
    n, height, width = images.shape
    side = round(hierarchy.leaves ** 0.5)
    if height != width or side**2 != hierarchy.leaves or height % side or height == 0:
        raise ValueError(f"images must be square with a side divisible by that of the leaf grid; found images of "
                         f"{height} x {width} and {hierarchy.leaves} leaves")
    cut = images.reshape(n, side, height // side, side, height // side)
    return cut.transpose(2, 3).reshape(n, side * side, -1)


def _cluster(x, content, k, start):
    """k-means codes of the rows of x (N, d); the contents themselves where there are no more than k of them."""
    if int(content.max()) < k:
        return content
    from sklearn.cluster import KMeans
    fit = KMeans(k, n_init=1, random_state=start).fit(x.detach().cpu().numpy())
    return torch.as_tensor(fit.labels_, dtype=torch.long, device=x.device)
