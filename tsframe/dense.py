"""Floor 3. Fully connected ReLU networks: the teachers and students of node correspondence."""
from typing import NamedTuple

import torch

from . import _checks as check
from .batchnorm import BatchNorm


class Dense:
    """A fully connected network, or many of one shape side by side.

        h_l = W_l f_{l-1} + b_l,   f_l = σ(h_l),   σ(h) = max(h, leak h),   linear at the top: y = f_L = h_L
        norm "before": h_l = BN(W_l f_{l-1}) + b_l,   "after": f_l = BN(σ(h_l)),   below the top

    Parameters
    ----------
    W : weights by layer, W[0] None, W[l] (..., n_l, n_{l-1}): a row is what comes in at a node, a column what goes out
    b : biases by layer, b[0] None, b[l] (..., n_l), or None for a network without
    leak : slope of σ below 0, in [0, 1); the gate at 0 is closed: σ'(0) = leak
    norm : None, "before", "after" or a `BatchNorm`; statistics are those of the rows at hand

    The leading axes are students. Called on x (..., N, n_0) it returns the activations by layer, (..., N, n_l).
    `dense_student` and `dense_teacher` draw networks. Raises `ValueError` naming the layer whose shape does not fit.
    Source: Tian et al. (2019); chapter `relu-teachers`.
    """

    def __init__(self, W, b=None, *, leak=0.0, norm=None):
        if not isinstance(W, (list, tuple)) or len(W) < 2:
            raise TypeError("W must be a list by layer, None first and then a weight or more; found "
                            f"{type(W).__name__}" + (f" of {len(W)}" if isinstance(W, (list, tuple)) else ""))
        depth = len(W) - 1
        W = check.levels("W", W, depth)
        b = [None] * (depth + 1) if b is None else check.levels("b", b, depth)
        self.leak = check.number("leak", leak, 0)
        if self.leak >= 1:
            raise ValueError(f"leak must be below 1; found {leak}")
        if norm is not None and not isinstance(norm, BatchNorm):
            norm = BatchNorm(check.choice("norm", norm, (None, "before", "after")))
        if norm is not None and norm.top:
            raise ValueError("norm must leave the top alone in a dense network; found top=True")
        self.norm, self.W, self.b = norm, [None], [None]
        for l in range(1, depth + 1):
            like = (self.W[1].dtype, self.W[1].device) if l > 1 else ()
            w = check.real(f"W[{l}]", W[l], None, *like)
            if w.ndim < 2 or not w.numel():
                raise ValueError(f"W[{l}] must have shape (..., n_{l}, n_{l - 1}) without a 0; found {tuple(w.shape)}")
            if l > 1:
                check.shaped(f"W[{l}]", w, (*self.ensemble, None, self.W[-1].shape[-2]))
            self.W.append(w.clone(memory_format=torch.contiguous_format))
            if (b[l] is None) != (b[1] is None):
                raise ValueError(f"b must hold a bias for every layer or for none; b[{l}] differs from b[1]")
            self.b.append(None if b[l] is None else check.real(
                f"b[{l}]", b[l], tuple(w.shape[:-1]), w.dtype, w.device).clone(memory_format=torch.contiguous_format))

    # ---- what it is

    @property
    def depth(self):
        """Number of layers of weights, L."""
        return len(self.W) - 1

    @property
    def widths(self):
        """n_0, ..., n_L."""
        return [self.W[1].shape[-1]] + [w.shape[-2] for w in self.W[1:]]

    @property
    def ensemble(self):
        """Sizes of the leading axes."""
        return tuple(self.W[1].shape[:-2])

    @property
    def dtype(self):
        """dtype of the weights."""
        return self.W[1].dtype

    @property
    def device(self):
        """device of the weights."""
        return self.W[1].device

    def changed(self, f):
        """The network with f(W[l]) and f(b[l]) in the places of its weights and biases."""
        b = None if self.b[1] is None else [None] + [f(b) for b in self.b[1:]]
        return Dense([None] + [f(w) for w in self.W[1:]], b, leak=self.leak, norm=self.norm)

    def copy(self):
        """A copy with weights of its own, without gradients."""
        return self.changed(lambda x: x.detach().clone())

    def to(self, *args, **kwargs):
        """The network in another dtype or on another device, as `torch.Tensor.to`."""
        dtype = self.W[1].new_empty(0).to(*args, **kwargs).dtype
        if dtype not in check.FLOATS:
            raise TypeError(f"dtype must be torch.float32 or torch.float64; found {dtype}")
        return self.changed(lambda x: x.to(*args, **kwargs))

    def member(self, *index):
        """One student of the ensemble, as a network of its own with a copy of its weights."""
        if len(index) != len(self.ensemble):
            raise ValueError(f"member must have one index per axis of the ensemble {self.ensemble}; found {index}")
        index = tuple(check.count("index", i, 0, n - 1) for i, n in zip(index, self.ensemble))
        return self.changed(lambda x: x.detach()[index].clone())

    def rows(self, l):
        """[W_l, b_l], what comes in at the nodes of layer l: (..., n_l, n_{l-1} + 1), b = 0 without biases."""
        check.count("l", l, 1, self.depth)
        b = self.W[l].new_zeros(self.W[l].shape[:-1]) if self.b[l] is None else self.b[l]
        return torch.cat([self.W[l], b[..., None]], -1)

    def fan_out(self, l):
        """‖v_k‖, the length of what goes out of the nodes of hidden layer l: (..., n_l)."""
        check.count("l", l, 1, self.depth - 1)
        return self.W[l + 1].norm(dim=-2)

    # ---- what it does

    def activate(self, h):
        """σ(h)."""
        return torch.nn.functional.leaky_relu(h, self.leak)

    def gate(self, h):
        """σ'(h): 1 above 0, else leak."""
        return torch.where(h > 0, torch.ones_like(h), torch.full_like(h, self.leak))

    def check_inputs(self, x, name="x"):
        """`x` as a tensor (..., N, n_0) of this network's dtype and device, with a row at least."""
        x = check.real(name, x, None, self.dtype, self.device)
        if x.ndim < 2 or x.shape[-1] != self.widths[0] or not x.shape[-2]:
            raise ValueError(f"{name} must have shape (..., rows, {self.widths[0]}) with at least one row; "
                             f"found {tuple(x.shape)}")
        for lead, mine in zip(x.shape[-3::-1], self.ensemble[::-1]):
            if lead not in (1, mine):
                raise ValueError(f"{name} must have leading axes that fit the ensemble {self.ensemble}; "
                                 f"found {tuple(x.shape)}")
        return x

    def __call__(self, x):
        return self.propagate(x).f

    def propagate(self, x, target=None):
        """Forward pass and, given targets (..., N, n_L), the backward one: `DensePass`.

            u_L = target - y,   u_l = g_{l+1} W_{l+1},   g_l = σ'(h_l) u_l, through the norm where there is one
        """
        x = self.check_inputs(x)
        f, h, z, p = [x], [None], [None], x.new_full((x.shape[-2],), 1 / x.shape[-2])
        before, after = (self.norm is not None and self.norm.place == place for place in ("before", "after"))
        for l in range(1, self.depth + 1):
            low = l < self.depth
            z.append(f[-1] @ self.W[l].mT)
            v = self.norm._value(z[l], p) if before and low else z[l]
            h.append(v if self.b[l] is None else v + self.b[l].unsqueeze(-2))
            a = self.activate(h[l]) if low else h[l]
            f.append(self.norm._value(a, p) if after and low else a)
        if target is None:
            return DensePass(f, h)
        target = check.real("target", target, None, x.dtype, x.device)
        if target.shape[-2:] != f[-1].shape[-2:]:
            rows, outputs = f[-1].shape[-2:]
            raise ValueError(f"target must have shape (..., {rows}, {outputs}); found {tuple(target.shape)}")
        check.broadcast("leading axes of target and outputs", target.shape[:-2], f[-1].shape[:-2])
        g, s = [None] * (self.depth + 1), [None] * (self.depth + 1)
        g[-1] = s[-1] = target - f[-1]
        for l in range(self.depth - 1, 0, -1):
            u = s[l + 1] @ self.W[l + 1]
            g[l] = self.gate(h[l]) * (self.norm._back(self.activate(h[l]), u, p) if after else u)
            s[l] = self.norm._back(z[l], g[l], p) if before else g[l]
        return DensePass(f, h, g, s)

    def __repr__(self):
        more = [f"ensemble {self.ensemble}"] * bool(self.ensemble) + [f"{self.norm}"] * (self.norm is not None)
        return f"Dense({' - '.join(map(str, self.widths))}{''.join(', ' + m for m in more)})"


class DensePass(NamedTuple):
    """What `Dense.propagate` returns, lists by layer: f, h, and the signals, g at h and s at W f.

    The two signals differ below a norm that stands before the gate.
    """

    f: list
    h: list
    g: list = None
    s: list = None

    def update(self):
        """ΔW = E[s f^T] and Δb = E[g] over the rows, lists by layer like W and b: the descent on ½ E‖target - y‖²."""
        if self.g is None:
            raise ValueError("update must follow a pass with targets; found one without (propagate(x, target))")
        n = self.f[0].shape[-2]
        return ([None] + [s.mT @ f / n for s, f in zip(self.s[1:], self.f)], [None] + [g.mean(-2) for g in self.g[1:]])


def unit_rows(x):
    """Rows of x (..., n, k) divided by their lengths; a row of length 0 stays."""
    length = x.norm(dim=-1, keepdim=True)
    return x / torch.where(length > 0, length, 1)
