"""Floor 2. Batch normalisation: value and signal back, under a batch or under the probabilities of a table's rows."""
from dataclasses import dataclass

import torch

from . import _checks as check


@dataclass(frozen=True)
class BatchNorm:
    """Normalisation of each node over the rows of a batch, or over the states of a region, with row weights p.

        v = (f - μ) / s,   μ = Σ p f,   s² = Σ p (f - μ)² + ε          (scale=False: v = f - μ, s = 1)
        back: g_f = (g - Σ p g - v Σ p v g) / s                          (scale=False: g_f = g - Σ p g)

    For ε = 0 the signal that comes back is P⊥ g / s, with P⊥ the projection onto the complement of span{1, f} under
    ⟨u, v⟩ = Σ p u v. There is no learned scale and shift; after "after" the next layer's weights and bias
    play their part, and in "before" nothing plays that of the shift.

    place : "before" or "after" the activation
    scale : divide by the standard deviation; False centers only
    eps : ε ≥ 0, added to the biased variance
    top : center the linear top, too (it is never divided)

    A node whose variance is 0 up to rounding (dead, or constant) has value 0 and lets no signal back where ε = 0.
    Raises `ValueError` naming the setting. Source: Tian (2018), Theorem 4; chapter `batchnorm`.
    """

    place: str = "before"
    scale: bool = True
    eps: float = 0.0
    top: bool = False

    def __post_init__(self):
        check.choice("place", self.place, ("before", "after"))
        check.flag("scale", self.scale)
        check.flag("top", self.top)
        object.__setattr__(self, "eps", check.number("eps", self.eps, least=0))

    def value(self, f, p=None):
        """v from f (..., rows, n) and weights p (..., rows) that sum to 1; uniform by default."""
        return self._value(*_checked(p, f=f))

    def back(self, f, g, p=None):
        """Minus the loss gradient with respect to f, from g, that with respect to v; both (..., rows, n).

        As everywhere in this book a signal is per row: the gradient itself is p times it.
        """
        f, g, p = _checked(p, f=f, g=g)
        return self._back(f, check.shaped("g", g, tuple(f.shape)), p)

    def _value(self, f, p):
        return self._parts(f, p)[0]

    def _back(self, f, g, p):
        v, inverse = self._parts(f, p)
        g = g - _mean(g, p)
        return (g - v * _mean(v * g, p)) * inverse if self.scale else g

    def _parts(self, f, p):
        """v and 1/s (..., 1, n)."""
        v = f - _mean(f, p)
        if not self.scale:
            return v, 1
        variance = _mean(v.square(), p)
        if self.eps:
            inverse = (variance + max(self.eps, torch.finfo(f.dtype).tiny)).rsqrt()      # eps may be 0 in float32
        else:
            moves = variance > (64 * torch.finfo(f.dtype).eps) ** 2 * _mean(f.square(), p)
            inverse = torch.where(moves, variance.where(moves, 1).rsqrt(), 0)
        return v * inverse, inverse


def _mean(x, p):
    """Σ p x over the rows: x (..., rows, n), p (..., rows) -> (..., 1, n)."""
    return (p[..., None] * x).sum(-2, keepdim=True)


def _checked(p, **values):
    """The values as tensors of one dtype, and p, uniform where it is not given."""
    out = []
    for name, x in values.items():
        x = check.real(name, x, None, *((out[0].dtype, out[0].device) if out else ()))
        if x.ndim < 2 or not x.shape[-2]:
            raise ValueError(f"{name} must have shape (..., rows, nodes) with at least one row; found {tuple(x.shape)}")
        out.append(x)
    f = out[0]
    if p is None:
        return *out, f.new_full(f.shape[-2:-1], 1 / f.shape[-2])
    p = check.probabilities("p", check.real("p", p, None, f.dtype, f.device))
    if not p.ndim or p.shape[-1] != f.shape[-2] or p.shape[:-1] not in ((), f.shape[:-2]):
        raise ValueError(f"p must have shape ({f.shape[-2]},) or {tuple(f.shape[:-1])}, one weight a row of f; "
                         f"found {tuple(p.shape)}")
    return *out, p
