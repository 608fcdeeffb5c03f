"""Floor 6. Chapter `relu-teachers`: a ReLU network as teacher, and what it does to a student's signal."""
import math

import numpy as np
import torch

from ..dense import Dense
from ..gaussian import both_on, kernel, pull, update
from ..relu_teacher import averaged_update, balance, gradient_expansion
from .examples import normal
from .registry import certificate
from .witness import gap


def dense(widths, rng, leak=0.0, bias=True):
    """Normal weights and biases, in a scale that keeps activations of order 1."""
    W = [None] + [normal((n, k), rng) / k**0.5 for n, k in zip(widths[1:], widths)]
    return Dense(W, [None] + [normal((n,), rng) / 2 for n in widths[1:]] if bias else None, leak=leak)


@torch.enable_grad()
def descended(net, x, loss):
    """A network written out and differentiated: f and the signals g of every sample, ΔW and Δb over them, by layer.

    loss : a function of the outputs (N, n_L), one number a sample
    """
    W = [None] + [w.clone().requires_grad_() for w in net.W[1:]]
    b = [None] + [w.new_zeros(len(w)).requires_grad_() if b is None else b.clone().requires_grad_()
                  for w, b in zip(net.W[1:], net.b[1:])]
    f, h = [x.clone().requires_grad_()], [None]
    for l in range(1, len(W)):
        h.append(torch.einsum("nk,jk->nj", f[-1], W[l]) + b[l])
        f.append(torch.where(h[-1] > 0, h[-1], net.leak * h[-1]) if l < len(W) - 1 else h[-1])
    total = loss(f[-1]).sum()
    g = torch.autograd.grad(total, h[1:], retain_graph=True)
    slopes = [-s / len(x) for s in torch.autograd.grad(total, W[1:] + b[1:], retain_graph=True)]
    return f, [None, *(-s for s in g)], [None, *slopes[:len(h) - 1]], [None, *slopes[len(h) - 1:]]


def squared(target):
    return lambda y: (target - y).square().sum(1) / 2


def slopes_of(outputs, f):
    """The Jacobian ∂y/∂f of every sample, row by row: (N, n_L, n)."""
    return torch.stack([torch.autograd.grad(outputs[:, c].sum(), f, retain_graph=True)[0]
                        for c in range(outputs.shape[1])], 1)


@certificate(
    "gradient-expansion",
    claim="at every sample and in every layer the signal is g = D(A f~° − B f~), with A = V^T V° and "
          "B = V^T V for the linear maps V, V° from the layer to the outputs; V f~ = y, and B has no "
          "negative eigenvalue and at most as many others than 0 as there are outputs",
    witness="both networks written out; autograd of the loss for g, and of the outputs for V",
    dropped="the constant channel is left out of f~, while there are biases")
def expansion(rng):
    gaps, wrong = [], []
    for hidden, its, leak in (((5,), (3,), 0.0), ((6, 5), (4, 3), 0.2), ((7, 6, 5), (5, 4, 3), 0.0)):
        student, teacher = dense([4, *hidden, 3], rng, leak), dense([4, *its, 3], rng, leak)
        x, missed = normal((6, 4), rng), 0.0
        e = gradient_expansion(student, teacher, x)
        f0, f = descended(teacher, x, squared(0))[0], descended(student, x, squared(0))[0]
        g = descended(student, x, squared(f0[-1].detach()))[1]
        for l in range(len(hidden) + 1):
            V, V0 = slopes_of(f[-1], f[l]), slopes_of(f0[-1], f0[l])
            λ = torch.linalg.eigvalsh(e.B[l])
            gaps += [gap(e.V[l][..., :-1], V), gap((e.V[l] @ e.f[l][..., None])[..., 0], f[-1]),
                     gap(e.A[l][..., :-1, :-1], V.mT @ V0), gap(e.B[l][..., :-1, :-1], V.mT @ V),
                     gap(λ[..., :-3], 0 * λ[..., :-3]), gap(λ.clamp(max=0), 0 * λ), gap(e.g[l + 1], g[l + 1])]
            if l:
                plain = e.A[l][..., :-1, :-1] @ f0[l][..., None] - e.B[l][..., :-1, :-1] @ f[l][..., None]
                missed = max(missed, gap(student.gate(f[l]) * plain[..., 0], g[l]))
        wrong.append(missed)
    return max(gaps), min(wrong)


@certificate(
    "balance",
    claim="for every loss, ⟨w,Δw⟩ + bΔb = ⟨v,Δv⟩ at every hidden node: gradient flow conserves "
          "c = ‖w‖² + b² − ‖v‖², weight decay λ makes it fade like exp(−2λt), and a step of descent adds "
          "lr²(‖Δw‖² + Δb² − ‖Δv‖²) to it",
    witness="the network written out, autograd of two losses, and c added up weight by weight",
    dropped="one rate for all: the weights that go out move at half the rate")
def balanced(rng):
    gaps, wrong = [], []
    for hidden, leak in (((5,), 0.0), ((6, 5), 0.2), ((6, 5, 4), 0.0)):
        net, x, lr, λ = dense([4, *hidden, 3], rng, leak), normal((9, 4), rng), 0.5, 0.1
        target = 2 * normal((9, 3), rng)
        dW, db = descended(net, x, squared(target))[2:]
        said, missed = net.propagate(x, target).update(), 0.0
        gaps += [gap(a, b) for a, b in zip(said[0][1:] + said[1][1:], dW[1:] + db[1:])]
        for loss in (squared(target), lambda y, t=target: (t - y).abs().sum(1).square() / 4):
            dW, db = descended(net, x, loss)[2:]
            step, fade = moved(net, dW, db, lr), moved(net, dW, db, lr, 1 - lr * λ)
            uneven = Dense([None] + [w + lr * d / (2 if l == net.depth else 1) for l, (w, d) in
                                     enumerate(zip(net.W[1:], dW[1:]), 1)], step.b, leak=leak)
            for l in range(1, net.depth):
                into = (net.W[l] * dW[l]).sum(1) + net.b[l] * db[l]
                gained = lr**2 * ((dW[l]**2).sum(1) + db[l]**2 - (dW[l + 1]**2).sum(0))
                c = own(net, l)
                gaps += [gap(into, (net.W[l + 1] * dW[l + 1]).sum(0)), gap(balance(net)[l], c),
                         gap(balance(step)[l] - c, gained), gap(own(fade, l), (1 - lr * λ)**2 * c + gained)]
            half = lr**2 * ((dW[l]**2).sum(1) + db[l]**2 - (dW[l + 1]**2).sum(0) / 4)
            missed = max(missed, gap(balance(uneven)[l] - c, half))
        wrong.append(missed)
    return max(gaps), min(wrong)


def moved(net, dW, db, lr, keep=1.0):
    """The network a step further, its weights first multiplied by `keep`."""
    return Dense([None] + [keep * w + lr * d for w, d in zip(net.W[1:], dW[1:])],
                 [None] + [keep * b + lr * d for b, d in zip(net.b[1:], db[1:])], leak=net.leak)


def own(net, l):
    """c of hidden layer l, node by node and weight by weight."""
    return torch.stack([sum(v**2 for v in net.W[l][k]) + net.b[l][k]**2 - sum(v**2 for v in net.W[l + 1][:, k])
                        for k in range(len(net.W[l]))])


def circle(*rows):
    """Points x (N, 2) with E x x^T = 1, and their weights: means over all directions, exact up to rounding for
    trigonometric polynomials of low degree between the boundaries of these rows."""
    φ = torch.cat([torch.atan2(r[:, 1], r[:, 0]) for r in rows])
    cuts = torch.cat([φ - math.pi / 2, φ + math.pi / 2]).remainder(2 * math.pi).sort().values
    length = torch.cat([cuts.diff(), cuts[:1] + 2 * math.pi - cuts[-1:]])
    t, p = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(14))
    at = (cuts[:, None] + length[:, None] * (1 + t) / 2).flatten()
    return math.sqrt(2) * torch.stack([at.cos(), at.sin()], 1), (length[:, None] * p / (4 * math.pi)).flatten()


def integrals(w, u, leak):
    """Of two vectors, not parallel: P(both on), E σ'σ', E σσ and E σ'(w·x) σ(u·x) x, by quadrature in their plane."""
    plane = torch.linalg.qr(torch.stack([w, u], 1)).Q.T             # (2, d)
    a, b = plane @ w, plane @ u
    x, p = circle(a[None], b[None])
    h, k = x @ a, x @ b
    gates = [torch.where(v > 0, v.new_ones(()), leak) for v in (h, k)]
    M = (p * gates[0] * gates[1] * k) @ x @ plane
    return p @ ((h > 0) & (k > 0)).double(), p @ (gates[0] * gates[1]), p @ (gates[0] * h * gates[1] * k), M


def table(W, U, leak, which):
    """One of the `integrals` for every pair of rows."""
    return torch.stack([torch.stack([integrals(w, u, leak)[which] for u in U]) for w in W])


@certificate(
    "closed-form",
    claim="for inputs of a rotation-invariant law with E xx^T = 1, P(both on), E ff' and E f'_w f_u x are "
          "functions of lengths and the angle θ alone; with them ΔW and ΔV of two layers have closed forms",
    witness="quadrature on the circle between the gates' boundaries, and autograd of the loss on its points",
    dropped="rotation invariance: one direction is stretched")
def closed_form(rng):
    gaps, wrong = [], []
    for leak in (0.0, 0.3):
        W, U = normal((2, 3), rng), normal((2, 3), rng)
        gaps += [gap(both_on(W, U), table(W, U, leak, 0)), gap(kernel(W, U, leak), table(W, U, leak, 2)),
                 gap(pull(W, U, leak), table(W, U, leak, 3))]
        student, teacher = dense([2, 4, 3], rng, leak, False), dense([2, 3, 3], rng, leak, False)
        x, p = circle(student.W[1], teacher.W[1])
        dW, dV = update(student, teacher)
        for stretch, store in ((None, gaps), (torch.tensor([1.0, 2.0]).double(), wrong)):
            if stretch is not None:
                x, p = circle(student.W[1] * stretch, teacher.W[1] * stretch)
                x = x * stretch
            target = teacher(x)[-1]
            own_W = descended(student, x, lambda y, t=target, q=p: len(q) * q * squared(t)(y))[2]
            store += [gap(dW, own_W[1]), gap(dV, own_W[2])]
    return max(gaps), min(wrong)


def across(W, dW):
    """The part of each row of dW that is orthogonal to the same row of W."""
    return dW - (dW * W).sum(1, keepdim=True) / (W * W).sum(1, keepdim=True) * W


@certificate(
    "averaged-rule",
    claim="the averaged rule is exact at the top, for one sample, and where no gate changes over the "
          "samples; in two layers across w for inputs of any rotation-invariant law, without biases in the "
          "first, and across Σw for normal inputs of mean 0 and covariance Σ, with any",
    witness="autograd of the network written out; means by quadrature, gates, signals and inputs averaged "
            "pair by pair",
    dropped="rotation invariance: one direction is stretched, and w stays in the place of Σw")
def averaged(rng):
    gaps, wrong = [], []
    for hidden, its, leak in (((5,), (3,), 0.2), ((6, 5), (4, 3), 0.0)):
        student, teacher = dense([4, *hidden, 3], rng, leak), dense([4, *its, 3], rng, leak)
        x = normal((30, 4), rng)
        near = x[:1] + 1e-9 * normal((6, 4), rng)                   # within one linear piece of both
        for rows, lowest in ((x, len(hidden) + 1), (x[:1], 1), (near, 1)):
            true = descended(student, rows, squared(teacher(rows)[-1]))[2:]
            for a, b in zip(averaged_update(student, teacher, rows), true):
                gaps += [gap(v, w) for v, w in zip(a[lowest:], b[lowest:])]
    for leak in (0.0, 0.3):
        student, teacher = dense([3, 4, 2], rng, leak, False), dense([3, 3, 2], rng, leak, False)
        W, W0 = student.W[1], teacher.W[1]
        A, B = student.W[2].T @ teacher.W[2], student.W[2].T @ student.W[2]
        own, rule = torch.zeros_like(W), torch.zeros_like(W)
        for k, w in enumerate(W):                                   # what k does to itself is along w_k
            pairs = [(A[k, j], u) for j, u in enumerate(W0)] + [(-B[k, i], u) for i, u in enumerate(W) if i != k]
            for a, u in pairs:
                _, both, _, M = integrals(w, u, leak)
                own[k] += a * M
                rule[k] += a * both * u
        gaps += [gap(across(W, rule), across(W, own)),
                 gap(across(W, update(student, teacher)[0]), across(W, own)),
                 gap(across(W, update(student, teacher, averaged=True)[0]), across(W, own))]
        T = torch.tensor([1.0, 1.0, 3.0]).double()                  # x = T x': rows meet x' as T w
        seen = [Dense([None, net.W[1] * T, net.W[2]], leak=leak) for net in (student, teacher)]
        true, rule = (across(W, T * update(*seen, averaged=how)[0]) for how in (False, True))
        wrong.append(gap(rule, true))
    gaps += [polygon(rng), normal_inputs(rng)]
    return max(gaps), min(wrong)


def polygon(rng, n=32):
    """How far the package's rule is from autograd across w on a regular polygon, rows at multiples of its angle."""
    def rows(k):
        turn = 2 * math.pi / n * torch.randint(n, (k,), generator=rng).double()
        return (1 + torch.rand(k, 1, generator=rng).double()) * torch.stack([turn.cos(), turn.sin()], 1)
    φ = 2 * math.pi / n * (torch.arange(n) + 0.5).double()
    x = torch.stack([φ.cos(), φ.sin()], 1)
    student, teacher = (Dense([None, rows(k), normal((3, k), rng)], [None, torch.zeros(k).double(), normal((3,), rng)])
                        for k in (5, 4))                            # biases at the top alone
    own = descended(student, x, squared(teacher(x)[-1]))[2][1]
    return gap(across(student.W[1], averaged_update(student, teacher, x)[0][1]), across(student.W[1], own))


def normal_inputs(rng):
    """How far rule and truth are apart across Σw under normal inputs, with biases in both layers; d = 2, by quadrature."""
    student, teacher, root = dense([2, 3, 2], rng), dense([2, 2, 2], rng), normal((2, 2), rng)
    W, V, V0 = student.rows(1), student.W[2], teacher.W[2]
    own, rule = torch.zeros(3, 2).double(), torch.zeros(3, 2).double()
    Σ = root @ root.T
    for k, w in enumerate(W):
        others = [(V[:, k] @ V0[:, j], u) for j, u in enumerate(teacher.rows(1))]
        others += [(-V[:, k] @ V[:, i], u) for i, u in enumerate(W) if i != k]
        for a, u in others:
            x, p = half_plane(w, u, root)
            f = (x @ u[:2] + u[2]).relu()
            own[k] += a * (p * f) @ x
            rule[k] += a * p @ (f > 0).double() * (Σ @ u[:2])
        x, p = half_plane(w, w, root)                               # what all nodes hear alike: the biases at the top
        own[k] += V[:, k] @ (teacher.b[2] - student.b[2]) * (p @ x)
    return gap(across(W[:, :2] @ Σ, rule), across(W[:, :2] @ Σ, own))


def half_plane(w, u, root):
    """Points x = root x', x' standard normal in two dimensions, and weights: means over w·x + b > 0, w = (w, b), of what is
    smooth but for the line of u."""
    a, c = root.T @ w[:2], root.T @ u[:2]
    e = a / a.norm()
    n = torch.stack([-e[1], e[0]])
    t, p = panels(-(w[2] / a.norm())[None])                         # along e, where w is on: (1, K)
    t, p = t[0, len(t[0]) // 2:], p[0, len(p[0]) // 2:]
    kink = -(u[2] + t * (c @ e)) / (c @ n) if (c @ n).abs() > 1e-9 else 0 * t
    s, q = panels(kink)                                             # across e, (K, S)
    x = (t[:, None, None] * e + s[..., None] * n).flatten(0, 1)
    return x @ root.T, (p[:, None] * q).flatten()


def panels(cut, reach=9.0, nodes=40):
    """Nodes and weights of means over a standard normal variable, below and above each cut: (n, 2 nodes)."""
    t, p = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(nodes))
    cut = cut.clamp(-reach, reach)
    ends = torch.stack([torch.full_like(cut, -reach), cut, torch.full_like(cut, reach)], 1)     # (n, 3)
    half = ends.diff()[..., None] / 2
    at = ends[:, :2, None] + half * (1 + t)
    return at.flatten(1), (half * p * torch.exp(-at**2 / 2) / math.sqrt(2 * math.pi)).flatten(1)
