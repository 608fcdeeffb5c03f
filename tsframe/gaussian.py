"""Floor 4. Two layers without biases, normal inputs x ~ N(0, I): expectations in closed form, and the exact flow."""
import math
from dataclasses import dataclass

import torch
from scipy.integrate import quad
from scipy.special import betaincinv, ndtr

from . import _checks as check
from .dense import Dense, unit_rows


def angles(W, U):
    """θ between every row of W (..., n, d) and of U (..., m, d), in [0, π]: (..., n, m).

    θ = 2 atan2(‖ŵ - û‖, ‖ŵ + û‖), accurate where rows nearly coincide. Raises `ValueError` at a row of length 0.
    """
    return _angles(*_rows(W, U))


def _angles(W, U):
    w, u = unit_rows(W).unsqueeze(-2), unit_rows(U).unsqueeze(-3)
    return 2 * torch.atan2((w - u).norm(dim=-1), (w + u).norm(dim=-1))


def both_on(W, U):
    """P(w·x > 0 and u·x > 0) = (π - θ)/2π, (..., n, m)."""
    return (math.pi - angles(W, U)) / (2 * math.pi)


def kernel(W, U, leak=0.0):
    """E[σ(w·x) σ(u·x)], (..., n, m):  (1-leak)² ‖w‖‖u‖ (sin θ + (π-θ) cos θ)/2π + leak w·u."""
    W, U = _rows(W, U)
    return _kernel(W, U, _angles(W, U), check.number("leak", leak, 0, 1))


def _kernel(W, U, θ, leak):
    size = W.norm(dim=-1).unsqueeze(-1) * U.norm(dim=-1).unsqueeze(-2)
    return size * ((1 - leak) ** 2 * (θ.sin() + (math.pi - θ) * θ.cos()) / (2 * math.pi) + leak * θ.cos())


def node_correlation(W, U):
    """Pearson correlation of the ReLU nodes (w·x)+ and (u·x)+, (..., n, m):  ((π-θ) cos θ + sin θ - 1)/(π - 1).

    It falls from 1 at θ = 0 through 0 at π/2 to -1/(π-1) at π. Chapter `deep`.
    """
    θ = angles(W, U)
    return ((math.pi - θ) * θ.cos() + θ.sin() - 1) / (math.pi - 1)


def chance_match(nodes, features, level=0.5):
    """The angle within which the nearest of so many random directions comes with probability 1 - level: radians.

    P(all angles > θ) = P(T < (1 + cos θ)/2)^nodes = level,   T ~ Beta((features-1)/2, (features-1)/2)

    Directions uniform on the sphere and independent; by default the median. Chapter `deep`.
    """
    n, a = check.count("nodes", nodes), (check.count("features", features, 2) - 1) / 2
    level = check.number("level", level, 0, 1)
    return 2 * math.asin(math.sqrt(betaincinv(a, a, -math.expm1(math.log(level) / n)))) if level else math.pi


def pull(W, U, leak=0.0, averaged=False):
    """M(w, u) = E[σ'(w·x) σ(u·x) x], (..., n, m, d):  (1-leak)² ((π-θ) u + ‖u‖ sin θ ŵ)/2π + leak u.

    averaged : E[σ'(w·x) σ'(u·x)] E[x x^T] u instead, the averaged rule's, which lacks the part along ŵ
    """
    check.flag("averaged", averaged)
    W, U = _rows(W, U)
    leak, θ = check.number("leak", leak, 0, 1), _angles(W, U)[..., None]
    w, u = unit_rows(W).unsqueeze(-2), U.unsqueeze(-3)
    along = 0 if averaged else U.norm(dim=-1)[..., None, :, None] * θ.sin() * w
    return (1 - leak) ** 2 * ((math.pi - θ) * u + along) / (2 * math.pi) + leak * u


def update(student, teacher, averaged=False):
    """ΔW and ΔV, minus the gradients of ½ E‖y° - y‖² under x ~ N(0, I): W like student.W[1], V like student.W[2].

        ΔW_k = Σ_j A_kj M(w_k, w°_j) - Σ_k' B_kk' M(w_k, w_k')
        ΔV = V° κ(W°, W) - V κ(W, W),   A = V^T V°,   B = V^T V

    averaged : the averaged rule's ΔW; orthogonal to w_k it is the same. Two layers, no biases, no norm, one leak.
    Source: chapter `winners`.
    """
    return _update(*_two_layers(student, teacher), student.leak, check.flag("averaged", averaged))


def _update(W, V, W0, V0, leak, averaged=False):
    """`update` with nothing checked, by matrix products: Σ_j A_kj M(w_k, u_j) = (A∘(π-θ)) U + (A∘sin θ)‖U‖ ŵ_k."""
    def toward(U, A):
        θ = _angles(W, U)
        along = 0 if averaged else (A * θ.sin()) @ U.norm(dim=-1, keepdim=True) * unit_rows(W)
        κ = _kernel(W, U, θ, leak)
        return (1 - leak) ** 2 * ((A * (math.pi - θ)) @ U + along) / (2 * math.pi) + leak * A @ U, κ
    (up, κ0), (down, κ) = toward(W0, V.mT @ V0), toward(W, V.mT @ V)
    return up - down, V0 @ κ0.mT - V @ κ


@dataclass
class Flow:
    """Recorded times (records,), W (records, ..., n, d), V (records, ..., n_L, n), and angles to the teacher's rows."""

    times: torch.Tensor
    W: torch.Tensor
    V: torch.Tensor
    angles: torch.Tensor


def flow(student, teacher, *, time, step=0.05, unit=True, move_top=True, every=1):
    """Gradient flow on the exact loss, by Euler steps; the student itself stays as it was.

    step : of time; unit : whether rows of W keep their length, moved by the part of ΔW that is orthogonal to them and
        then scaled back; move_top : whether V moves; every : steps between records
    Returns a `Flow`. Raises `ValueError` where it diverges. Source: chapter `winners`.
    """
    W, V, W0, V0 = _two_layers(student, teacher)
    time, step = check.number("time", time, 0), check.number("step", step, positive=True)
    check.count("every", every)
    for name, value in (("unit", unit), ("move_top", move_top)):
        check.flag(name, value)
    if torch.broadcast_shapes(student.ensemble, teacher.ensemble) != student.ensemble:
        raise ValueError("teacher must be one network, or one a student; found ensembles "
                         f"{student.ensemble} of the student and {teacher.ensemble} of the teacher")
    steps = check.count("time / step", round(check.number("time / step", time / step)), int(time > 0), 10**7)
    length = W.norm(dim=-1, keepdim=True)
    seen = []
    for s in range(steps + 1):
        if s % every == 0 or s == steps:
            seen.append((s * step, W, V, _angles(W, W0)))
        if s == steps:
            break
        dW, dV = _update(W, V, W0, V0, student.leak)
        if unit:
            w = unit_rows(W)
            W = length * unit_rows(W + step * (dW - (dW * w).sum(-1, keepdim=True) * w))
        else:
            W = W + step * dW
        V = V + step * dV if move_top else V
        if not (torch.isfinite(W).all() and torch.isfinite(V).all()):
            raise ValueError(f"step must be small enough for the flow to stay finite; it is not at time {s * step:g}, "
                             f"with step={step:g}")
    times, *rest = zip(*seen)
    return Flow(torch.tensor(times, dtype=W.dtype), *(torch.stack(x) for x in rest))


def arrival_time(start, end=0.01):
    """Time for one unit student to come from angle `start` to angle `end` of its teacher node: ∫ 2π dθ / ((π-θ) sin θ).

    Radians, 0 < end <= start < π, at strength v·v° = 1; divide by it for another. Chapter `winners`, angle flow.
    """
    start, end = check.number("start", start, positive=True), check.number("end", end, positive=True)
    if not end <= start < math.pi:
        raise ValueError(f"start must lie between end and π; found start {start:g} and end {end:g}")
    return quad(lambda s: 2 * math.pi / (math.pi - math.exp(s)) * math.exp(s) / math.sin(math.exp(s)), math.log(end),
                math.log(start))[0]


def at_angles(angles):
    """Unit rows at angles θ_k from the first axis, remainders orthogonal: cos θ_k e_1 + sin θ_k e_{k+1}, (n, n + 1)."""
    θ = check.real("angles", angles, (None,))
    return torch.cat([θ.cos()[:, None], torch.diag(θ.sin())], -1)


def overlap(bias, correlation=0.0):
    """How much two nodes with pre-activations N(bias, 1) of this correlation share: P(both on)/P(on) and E[f f']/E[f²].

    Returns two floats; by quadrature, in [-1, 1] the correlation. At 0: Φ(b) and E[f]²/E[f²]. Chapter `winners`.
    """
    b, r = check.number("bias", bias, -30, 30), check.number("correlation", correlation, -1, 1)
    on, mean, square = ndtr(b), b * ndtr(b) + _density(b), (1 + b * b) * ndtr(b) + b * _density(b)
    if r == 0:
        return float(on), float(mean**2 / square)
    if r == 1:
        return 1.0, 1.0
    s = math.sqrt(1 - r * r)

    def given(z):                       # the other node's pre-activation, given this one's b + z: mean μ, deviation s
        μ = b + r * z
        if s == 0:
            return float(μ > 0), max(μ, 0.0)
        return ndtr(μ / s), μ * ndtr(μ / s) + s * _density(μ / s)

    high = max(-b, 0) + 12
    kink = [-b / r] if -b < -b / r < high else None                 # where the other's mean changes sign
    both = quad(lambda z: _density(z) * given(z)[0], -b, high, points=kink, limit=200, epsabs=0)[0]
    product = quad(lambda z: _density(z) * given(z)[1] * (b + z), -b, high, points=kink, limit=200, epsabs=0)[0]
    return float(both / on), float(product / square)


def _density(z):
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _rows(W, U):
    W = check.real("W", W)
    U = check.real("U", U, None, W.dtype, W.device)
    for name, x in (("W", W), ("U", U)):
        if x.ndim < 2 or not x.numel() or x.shape[-1] != W.shape[-1]:
            raise ValueError("W and U must have shapes (..., n, d) and (..., m, d); found "
                             f"{tuple(W.shape)} and {tuple(U.shape)}")
        zero = x.detach().norm(dim=-1) == 0
        if zero.any():
            raise ValueError(f"{check.at(name, check.first(zero))} must not be 0: it has no direction")
    return W, U


def _two_layers(student, teacher):
    """W, V, W°, V° of two networks for which the closed forms hold."""
    for name, net in (("student", student), ("teacher", teacher)):
        check.instance(name, net, Dense)
        if net.depth != 2 or net.norm is not None or any(b is not None and b.any() for b in net.b):
            raise ValueError(f"{name} must have two layers, no biases and no norm; found {net}, "
                             f"biases {net.b[1] is not None}")
    if student.widths[::2] != teacher.widths[::2] or student.leak != teacher.leak:
        raise ValueError(f"student and teacher must have the same inputs, outputs and leak; found {student} and "
                         f"{teacher}, leaks {student.leak:g} and {teacher.leak:g}")
    check.broadcast("ensembles of student and teacher", student.ensemble, teacher.ensemble)
    if student.dtype != teacher.dtype or student.device != teacher.device:
        raise TypeError("student and teacher must have one dtype and device; found "
                        f"{student.dtype} and {teacher.dtype}")
    return student.W[1], student.W[2], teacher.W[1], teacher.W[2]
