"""Floor 3. The student: a deep locally connected ReLU network on a hierarchy of receptive fields."""
from typing import NamedTuple

import torch
from torch import nn

from . import _checks as check
from ._products import shared
from .batchnorm import BatchNorm
from .hierarchy import Hierarchy


class Student(nn.Module):
    """A locally connected network; weights are not shared between regions.

        h_j = Σ_{β ∈ ch(α)} Σ_{k ∈ β} w_kj f_k + b_j,   f_j = relu(h_j),   linear at the top
        norm "before": f_j = relu(BN(h_j)),   "after": f_j = BN(relu(h_j)),   below the top

    Parameters
    ----------
    hierarchy : Hierarchy
    widths : nodes per region by level: features at the leaves, ..., classes at the top
    ensemble : sizes of leading axes, e.g. (32,): that many students in one object
    activation : "relu" or "linear"
    norm : None, "before" or "after" the activation, or a `BatchNorm`; statistics are those of the rows at hand
    bias : whether there are biases; they start at 0
    seed : int or torch.Generator; weights start as normal(0, gain / (C n)), gain 2 under a ReLU and 1 at the top

    W[l] (..., R_l, C_l, n_{l-1}, n_l) and b[l] (..., R_l, n_l) are float64 parameters; W[0] and b[0] are None.
    Called on inputs (N, R_0, n_0) it returns the activations by level, (..., N, R_l, n_l); with a norm, the inputs are
    the batch. Inputs (..., N, R_0, n_0) give every student of an ensemble rows of its own.
    Source: Tian (2018); chapter `networks`.
    """

    def __init__(self, hierarchy, widths, *, ensemble=(), activation="relu", norm=None, bias=False, seed):
        super().__init__()
        check.instance("hierarchy", hierarchy, Hierarchy)
        self.hierarchy = hierarchy
        widths = check.levels("widths", widths, hierarchy.depth, first_is_none=False)
        self.widths = [check.count(f"widths[{l}]", n) for l, n in enumerate(widths)]
        self.ensemble = check.sizes("ensemble", ensemble)
        self.activation = check.choice("activation", activation, ("relu", "linear"))
        if norm is not None and not isinstance(norm, BatchNorm):
            norm = BatchNorm(check.choice("norm", norm, (None, "before", "after")))
        self.norm = norm
        check.flag("bias", bias)
        rng = check.generator(seed)
        for l in range(1, hierarchy.depth + 1):
            (regions, fan), k, j = hierarchy.children[l].shape, self.widths[l - 1], self.widths[l]
            check.size(f"W[{l}]", *self.ensemble, regions, fan, k, j)
            gain = 2 if activation == "relu" and l < hierarchy.depth else 1
            w = torch.randn(*self.ensemble, regions, fan, k, j, generator=rng, dtype=torch.float64, device=rng.device)
            self.register_parameter(f"W{l}", nn.Parameter(w.cpu() * (gain / (fan * k)) ** 0.5))
            b = nn.Parameter(torch.zeros(*self.ensemble, regions, j, dtype=torch.float64)) if bias else None
            self.register_parameter(f"b{l}", b)

    @property
    def W(self):
        """Weights by level."""
        return [None] + [self._parameters[f"W{l}"] for l in range(1, len(self.widths))]

    @property
    def b(self):
        """Biases by level; all None without them."""
        return [None] + [self._parameters[f"b{l}"] for l in range(1, len(self.widths))]

    @property
    def dtype(self):
        """dtype of the weights."""
        return self.W1.dtype

    def member(self, *index):
        """One student of the ensemble, as a student of its own with a copy of its weights."""
        if len(index) != len(self.ensemble):
            raise ValueError(f"member must have one index per axis of the ensemble {self.ensemble}; found {index}")
        index = tuple(check.count("index", i, 0, n - 1) for i, n in zip(index, self.ensemble))
        solo = Student(self.hierarchy, self.widths, activation=self.activation, norm=self.norm,
                       bias=self.b[1] is not None, seed=0).to(self.W1)
        with torch.no_grad():
            for name, value in solo.named_parameters():
                value.copy_(self.get_parameter(name)[index])
        return solo

    def weigh(self, l, seen):
        """W f at level l: seen (..., R_l, rows, C_l n_{l-1}), what its regions see side by side -> (..., R_l, rows, n_l)."""
        return shared(seen, self._parameters[f"W{l}"].flatten(-3, -2))

    def incoming(self, l, seen):
        """h = W f + b, shapes as in `weigh`."""
        h, b = self.weigh(l, seen), self._parameters[f"b{l}"]
        return h if b is None else h + b.unsqueeze(-2)

    def outgoing(self, l, g):
        """W^T g, the adjoint of `weigh`, edge by edge: g (..., R_l, rows, n_l) -> (..., R_l, C_l, rows, n_{l-1})."""
        W = self._parameters[f"W{l}"]
        return (g @ W.flatten(-3, -2).mT).unflatten(-1, W.shape[-3:-1]).transpose(-3, -2)

    def gate(self, l, h):
        """f' = 1[h > 0]; 1 at the top and in a linear student."""
        return (h > 0).to(h) if self.activation == "relu" and l < self.hierarchy.depth else torch.ones_like(h)

    def activate(self, l, h, p, gate=None):
        """f and its gates from h (..., R_l, rows, n_l), rows of weight p (rows,) or (R_l, rows); gates may be given."""
        before, after = self._norms(l)
        v = before._value(h, p) if before else h
        gate = self.gate(l, v) if gate is None else gate
        f = gate * v
        return after._value(f, p) if after else f, gate

    def signal(self, l, h, gate, u, p):
        """g, minus the loss gradient with respect to h, from u, that with respect to f: the adjoint of `activate`."""
        before, after = self._norms(l)
        g = gate * (after._back(gate * h, u, p) if after else u)
        return before._back(h, g, p) if before else g

    def _norms(self, l):
        """The normalisation before and after the gates of level l, None where there is none."""
        if self.norm is None or (l == self.hierarchy.depth and not self.norm.top):
            return None, None
        if l == self.hierarchy.depth:
            return BatchNorm(scale=False), None
        return (self.norm, None) if self.norm.place == "before" else (None, self.norm)

    def check_fit(self, name, hierarchy, features, classes):
        """Raise unless a teacher or ladder of this name has the student's hierarchy, widths at both ends and dtype."""
        check.same_hierarchy("student", self.hierarchy, name, hierarchy)
        for what, level, n in (("features", 0, features.shape[-1]), ("classes", -1, classes)):
            if self.widths[level] != n:
                raise ValueError(f"widths[{level}] of the student must be the {name}'s number of {what}, {n}; "
                                 f"found {self.widths[level]}")
        if self.dtype != features.dtype:
            raise TypeError(f"student and {name} must have one dtype; found {self.dtype} and {features.dtype} "
                            "(move one with .to)")

    def check_inputs(self, inputs):
        """`inputs` as a tensor (N, R_0, n_0), or (*ensemble, N, R_0, n_0), of this student's dtype and device."""
        inputs = check.real("inputs", inputs, None, self.dtype, self.W1.device)
        each = self.ensemble if inputs.ndim > 3 else ()
        return check.shaped("inputs", inputs, (*each, None, self.hierarchy.leaves, self.widths[0]))

    def forward(self, inputs):
        inputs = self.check_inputs(inputs)
        f = self._forward(inputs, uniform(inputs))[0]
        return [x.transpose(-3, -2).expand(*self.ensemble, -1, -1, -1) for x in f]

    def _forward(self, inputs, weights):
        """f, gates and h by level, regions before rows: (..., R_l, N, n_l); rows of these weights (N,)."""
        f, gates, h = [inputs.transpose(-3, -2)], [None], [None]
        for l in range(1, self.hierarchy.depth + 1):
            h.append(self.incoming(l, side_by_side(self.hierarchy.gather(l, f[-1], -3))))
            for value, values in zip(self.activate(l, h[-1], weights), (f, gates)):
                values.append(value)
        return f, gates, h

    def propagate(self, inputs, labels, weights=None):
        """Forward and backward pass, row by row: `Pass(f, gates, h, u, g)`, lists by level of (..., R_l, N, n_l).

            u_ω = e_y - f_ω,   u_k = Σ_{α ∈ pa(β)} Σ_{j ∈ α} w_kj g_j,   g_k = f'_k u_k, by `signal` where there is a norm

        inputs : (N, R_0, n_0), or (*ensemble, N, R_0, n_0): rows of its own for every student, with labels to match
        labels : class indices (N,), or targets (N, n_L) in the place of e_y; weights : of the rows (N,), uniform by default
        """
        inputs = self.check_inputs(inputs)
        weights = uniform(inputs) if weights is None else check.probabilities(
            "weights", check.real("weights", weights, (inputs.shape[-3],), inputs.dtype, inputs.device))
        f, gates, h = self._forward(inputs, weights)
        u = [None] * self.hierarchy.depth + [self._targets(labels, inputs) - f[-1]]
        g = [None] * self.hierarchy.depth + [self.signal(self.hierarchy.depth, h[-1], gates[-1], u[-1], weights)]
        for l in range(self.hierarchy.depth, 1, -1):
            u[l - 1] = self.hierarchy.scatter(l, self.outgoing(l, g[l]), -3)
            g[l - 1] = self.signal(l - 1, h[l - 1], gates[l - 1], u[l - 1], weights)
        return Pass(f, gates, h, u, g)

    def _targets(self, labels, inputs):
        """One row a row of the inputs, (..., 1, N, n_L): the labels' one-hot vectors, or the targets given for them."""
        rows = inputs.shape[:-2]
        ndim = labels.ndim if hasattr(labels, "ndim") else check.real("labels", labels).ndim
        if ndim == len(rows) + 1:
            targets = check.real("labels", labels, (*rows, self.widths[-1]), inputs.dtype, inputs.device)
        else:
            labels = check.integers("labels", labels, tuple(rows), self.widths[-1] - 1, "class indices")
            targets = torch.nn.functional.one_hot(labels.to(inputs.device), self.widths[-1]).to(inputs)
        return targets.unsqueeze(-3)

    def __repr__(self):
        many = f", ensemble {self.ensemble}" if self.ensemble else ""
        return f"Student({self.hierarchy}, widths {' - '.join(map(str, self.widths))}, {self.activation}{many})"


class Pass(NamedTuple):
    """What `Student.propagate` returns: activations, gates, pre-activations, incoming signals, signals."""

    f: list
    gates: list
    h: list
    u: list
    g: list

    def update(self, hierarchy, weights):
        """ΔW = E[f_k g_j] and Δb = E[g_j] over rows of these weights (N,), lists by level like W and b."""
        dW = [None]
        for l in range(1, len(self.g)):
            seen = side_by_side(hierarchy.gather(l, self.f[l - 1], -3))
            dW.append(correlate(seen, self.g[l], weights, hierarchy.children[l].shape[1]))
        return dW, [None] + [weights @ g for g in self.g[1:]]

    def loss(self, weights):
        """½ E‖u_ω‖², the mean of ½ ‖f_ω - e_y‖² over rows of these weights (N,), one number a student."""
        return (self.u[-1].square().sum(-1) * weights).sum((-2, -1)) / 2


def uniform(inputs):
    """Equal weights (N,) for rows (..., N, R_0, n_0)."""
    return inputs.new_full((inputs.shape[-3],), 1 / max(inputs.shape[-3], 1))


def side_by_side(x):
    """The children of a region beside one another: (..., R, C, rows, n) -> (..., R, rows, C n)."""
    return x.transpose(-3, -2).flatten(-2)


def correlate(seen, g, weights, children):
    """Σ_rows weight f_k g_j: seen (..., R, rows, C k) side by side, g (..., R, rows, j), weights (rows,) or (R, rows)
    -> (..., R, C, k, j), C = children."""
    return shared(seen.mT, g * weights[..., None]).unflatten(-2, (children, -1))
