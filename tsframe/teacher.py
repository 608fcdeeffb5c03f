"""Floor 2. The teacher: a ladder of discrete summaries, given by its priors and its tables P."""
from dataclasses import dataclass
from functools import cached_property

import torch

from . import _checks as check
from ._products import shared
from .hierarchy import Hierarchy


@dataclass(frozen=True, eq=False)
class Teacher:
    """Discrete summaries z_α over a hierarchy, as far as pairwise tables tell.

        P_αβ[i, k] = P(z_β = k | z_α = i),   P(z_β) = P(z_α) P_αβ   for every parent α of β

    Parameters
    ----------
    hierarchy : Hierarchy
    prior : list by level, prior[l] (R_l, m_l); entries below the top may be None (computed from the tables)
    P : list by level, P[0] None, P[l] (R_l, C_l, m_l, m_{l-1}), or an integer index (R_l, C_l, m_l) for a
        deterministic table: state i of region r puts child c in state P[l][r, c, i]
    features : (R_0, m_0, n_0), the leaf table F[0] = E[features | z]; identity by default
    target : (m_L, outputs), what the output should be in each state of ω: E[one-hot label | z_ω]; identity by default.
        Rows that are no probabilities are targets of a regression; labels cannot be drawn from them

    A state of prior 0 is padding: its row may be 0, nothing depends on it, and F, G, D are 0 there. Priors and
    tables must agree to 1e-9 (float64) or 1e-5 (float32). `expand` and the rest follow the dtype and device.
    Raises `ValueError` naming table, row and sum. Source: Tian (2018); chapter `teachers`.
    """

    hierarchy: Hierarchy
    prior: list
    P: list
    features: torch.Tensor = None
    target: torch.Tensor = None

    def __post_init__(self):
        h = check.instance("hierarchy", self.hierarchy, Hierarchy)
        prior = check.levels("prior", self.prior, h.depth, first_is_none=False)
        P = check.levels("P", self.P, h.depth)
        top = prior[-1]
        if top is None:
            raise ValueError(f"prior[{h.depth}] must be given: it is where the distribution starts")
        dtype, device = ((top.dtype, top.device) if torch.is_tensor(top) and top.dtype in check.FLOATS
                         else (torch.float64, None))

        def real(name, value, shape):
            return check.real(name, value, shape, dtype, device).clone()

        def priors(l, value, states=None):
            return check.probabilities(f"prior[{l}]", real(f"prior[{l}]", value, (h.regions[l], states)))

        prior[-1] = priors(h.depth, top)
        for l in range(h.depth, 0, -1):
            P[l] = _table(f"P[{l}]", P[l], h.children[l].shape, prior[l], prior[l - 1], real)
            prior[l - 1] = _prior_below(h, l, prior, P[l], priors)
        for name, value in dict(prior=prior, P=P, live=[p > 0 for p in prior],
                                states=[p.shape[1] for p in prior]).items():
            object.__setattr__(self, name, value)

        features = torch.eye(self.states[0]).repeat(h.leaves, 1, 1) if self.features is None else self.features
        features = real("features", features, (h.leaves, self.states[0], None))
        target = torch.eye(self.states[-1]) if self.target is None else self.target
        target = real("target", target, (self.states[-1], None))
        object.__setattr__(self, "features", features * self.live[0][..., None])
        object.__setattr__(self, "target", target * self.live[-1][0][:, None])

    @classmethod
    def latent_tree(cls, hierarchy, states=2, polarity=0.8, *, seed):
        """States handed down edge by edge: P(z_β = z_α) = ρ + (1-ρ)/m, every other state (1-ρ)/m.

        polarity : ρ in [-1/(m-1), 1], one number, or one per edge (list by level of (R_l, C_l)), or None: tables
            with Dirichlet(1) rows drawn from `seed`. The prior of the top is uniform.
        states : m, one number; with polarity None also a list by level
        Overlapping fields are fine for symmetric tables (all priors are uniform), not for drawn ones.
        """
        check.instance("hierarchy", hierarchy, Hierarchy)
        rng, depth = check.generator(seed), hierarchy.depth
        if polarity is None:
            if not hierarchy.is_tree:
                raise ValueError("polarity must be given where fields overlap: drawn tables would give a shared "
                                 f"region two different priors; found {hierarchy}")
            m = list(states) if isinstance(states, (list, tuple)) else [states] * (depth + 1)
            m = [check.count(f"states[{l}]", s) for l, s in enumerate(check.levels("states", m, depth, False))]
            for l in range(1, depth + 1):
                check.size(f"P[{l}]", *hierarchy.children[l].shape, m[l], m[l - 1])
            P = [None] + [_dirichlet((*hierarchy.children[l].shape, m[l], m[l - 1]), rng) for l in range(1, depth + 1)]
        else:
            m = [check.count("states", states)] * (depth + 1)
            check.size("P[1]", hierarchy.leaves, m[0], m[0])
            each = isinstance(polarity, (list, tuple))
            rho = check.levels("polarity", polarity, depth) if each else \
                [None] + [check.number("polarity", polarity)] * depth
            P = [None] + [_symmetric(f"polarity[{l}]" if each else "polarity", rho[l], hierarchy.children[l].shape, m[l])
                          for l in range(1, depth + 1)]
        top = torch.full((1, m[-1]), 1 / m[-1], dtype=torch.float64)
        return cls(hierarchy, [None] * depth + [top], P)

    @property
    def dtype(self):
        """float64 or float32, as the prior of the top was given."""
        return self.prior[0].dtype

    def to(self, *args, **kwargs):
        """The same teacher on another device or in another dtype, as `Tensor.to`."""
        prior = [p.to(*args, **kwargs) for p in self.prior]
        P = [p.to(prior[0] if p.is_floating_point() else prior[0].device) for p in self.P[1:]]
        return Teacher(self.hierarchy, prior, [None] + P, self.features.to(prior[0]), self.target.to(prior[0]))

    @cached_property
    def reverse(self):
        """P^b by level: reverse[l] (R_l, C_l, m_{l-1}, m_l), P(z_α = i | z_β = k) = P(z_α = i) P_αβ[i, k] / P(z_β = k)."""
        out = [None]
        for l in range(1, self.hierarchy.depth + 1):
            joint = self.prior[l][:, None, :, None] * self.dense(l)
            below = self.hierarchy.gather(l, self.prior[l - 1], -2)[..., None]
            out.append((joint.mT / below.masked_fill(below == 0, 1)).contiguous())
        return out

    def dense(self, l):
        """P[l] as a table, also where it is stored as an index."""
        if self.P[l].is_floating_point():
            return self.P[l]
        table = torch.nn.functional.one_hot(self.P[l], self.states[l - 1]).to(self.dtype)
        return table * self.live[l][:, None, :, None]

    def up(self, l, x):
        """P x: what level l expects of its children's tables. x (..., R_{l-1}, m_{l-1}, n) -> (..., R_l, C_l, m_l, n)."""
        x = self.hierarchy.gather(l, x, -3)
        return shared(self.P[l], x) if self.P[l].is_floating_point() else x.gather(-2, self._index(l, x))

    def down(self, l, y):
        """P^b y, summed over parents: the adjoint of `up` under the inner product weighted by P(z).

        y (..., R_l, C_l, m_l, n) -> (..., R_{l-1}, m_{l-1}, n); 0 at states of prior 0.
        """
        if self.P[l].is_floating_point():
            return self.hierarchy.scatter(l, shared(self.reverse[l], y), -3)
        y = y * self.prior[l][:, None, :, None]
        y = y.new_zeros(*y.shape[:-2], self.states[l - 1], y.shape[-1]).scatter_add(-2, self._index(l, y), y)
        p = self.prior[l - 1][..., None]
        return self.hierarchy.scatter(l, y, -3) / p.masked_fill(p == 0, 1)

    def _index(self, l, x):
        """P[l], an index, as `gather` and `scatter_add` along the states of x (..., R_l, C_l, m, n) want it."""
        return self.P[l][..., None].expand(*x.shape[:-2], self.P[l].shape[-1], x.shape[-1])

    @property
    def label_law(self):
        """`target` as P(y | z_ω), to draw labels from; a `ValueError` where its rows are no probabilities."""
        return check.probabilities("target", self.target, self.live[-1][0])

    def masked(self, l, x):
        """x (..., R_l, m_l, n) with 0 at states of prior 0."""
        return x if self._full[l] else x * self.live[l][..., None]

    @cached_property
    def _full(self):
        """Whether every state of a level has positive prior."""
        return [bool(live.all()) for live in self.live]

    def sample_states(self, n, *, seed):
        """n draws of all summaries, from the top down: list by level of codes (n, R_l). One parent a region only."""
        check.count("n", n, 0)
        rng, h = check.generator(seed), self.hierarchy
        check.size("a sample", n, h.leaves, self.states[0])
        if not h.is_tree:
            raise ValueError("sampling needs one parent per region: pairwise tables do not define a joint law "
                             f"where fields overlap; found {h}")
        z = [None] * h.depth + [_draw(self.prior[-1].expand(n, 1, -1), rng)]
        for l in range(h.depth, 0, -1):
            r, c = torch.arange(h.regions[l])[:, None], torch.arange(h.children[l].shape[1])
            rows = self.P[l][r, c, z[l][..., None]]                     # (n, R, C, m) or, for an index, (n, R, C)
            below = _draw(rows, rng) if rows.is_floating_point() else rows
            z[l - 1] = h.scatter(l, below, -1)                          # one parent each: a permutation
        return z

    def sample(self, n, *, seed):
        """n inputs (n, R_0, n_0), the features of the leaves' states, and labels (n,) drawn from target[z_ω]."""
        rng = check.generator(seed)
        z = self.sample_states(n, seed=rng)
        labels = _draw(self.label_law[z[-1][:, 0]], rng)
        return self.features[torch.arange(self.hierarchy.leaves), z[0]], labels

    def __repr__(self):
        return f"Teacher({self.hierarchy}, states by level {' - '.join(map(str, self.states))})"


def _table(name, given, shape, prior, below, real):
    """P[l] checked against the prior of its rows; an integer index of three axes stays an index."""
    if given is None:
        raise ValueError(f"{name} must be given: only P[0] is None")
    rows = prior.shape[1]
    try:
        index = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return real(name, given, None)                                  # says what is wrong with it
    if index.ndim == 3 and not index.is_floating_point():
        if below is None:
            raise ValueError(f"prior must be given at every level where {name} is an index: it holds the number of states")
        most = torch.as_tensor(below).shape[-1] - 1
        return check.integers(name, index, (*shape, rows), most, "child states").to(prior.device).clone()
    live = (prior > 0)[:, None].expand(*shape, rows)
    return check.probabilities(name, real(name, given, (*shape, rows, None)), live) * live[..., None]


def _prior_below(h, l, prior, P, priors):
    """prior[l-1] that every parent's table implies; raise where two parents, or a given prior, contradict it."""
    given = prior[l - 1]
    if P.is_floating_point():
        implied = (prior[l][:, None, None] @ P)[..., 0, :]                                       # (R, C, m_{l-1})
    else:
        implied = prior[l].new_zeros(*P.shape[:2], torch.as_tensor(given).shape[-1])
        implied = implied.scatter_add(-1, P, prior[l][:, None].expand(P.shape))
    children = h.children[l].to(implied.device)
    if given is None:
        given = implied.new_zeros(h.regions[l - 1], implied.shape[-1]).index_put((children,), implied)
    given = priors(l - 1, given, implied.shape[-1])
    gap = (given[children] - implied).detach().abs()
    if gap.max() > check.tolerance(gap):
        r, c, k = check.first(gap == gap.max())
        raise ValueError(f"prior[{l - 1}] must agree with the tables of every parent: region {int(children[r, c])}, "
                         f"state {k} has prior {given[children[r, c], k].item():g}, but prior[{l}][{r}] times "
                         f"P[{l}][{r}, {c}] gives {implied[r, c, k].item():g}")
    return given


def _symmetric(name, rho, shape, m):
    """Tables (R, C, m, m) that keep the state with probability ρ + (1-ρ)/m; rho one number or one per edge."""
    rho = check.real(name, rho)
    rho = check.shaped(name, rho, tuple(shape)) if rho.ndim else rho.expand(shape)
    low = -1 / (m - 1) if m > 1 else -torch.inf
    bad = (rho < low) | (rho > 1)
    if bad.any():
        raise ValueError(f"{name} must lie in [{low:g}, 1] for {m} states; found {rho[bad][0].item():g}")
    rho = rho[..., None, None]
    return (rho * torch.eye(m, dtype=rho.dtype) + (1 - rho) / m).clamp(min=0)


def _dirichlet(shape, rng):
    """Rows drawn uniformly from the simplex."""
    x = -torch.rand(shape, generator=rng, dtype=torch.float64, device=rng.device).clamp(min=1e-300).log()
    return (x / x.sum(-1, keepdim=True)).cpu()


def _draw(p, rng):
    """One draw from each row of p (..., m), by inverting its cumulative sum; never a state of probability 0."""
    cum = p.cumsum(-1)
    u = torch.rand(p.shape[:-1], generator=rng, dtype=p.dtype, device=rng.device).to(p.device)
    return (u[..., None] >= cum / cum[..., -1:]).sum(-1)
