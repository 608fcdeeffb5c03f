"""Closed forms under normal inputs against quadrature on the circle, finite differences and samples."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad, quad
from scipy.stats import norm

from tsframe.dense import Dense
from tsframe.draws import dense_student
from tsframe.correspondence import correlation
from tsframe.gaussian import (Flow, angles, arrival_time, at_angles, both_on, chance_match, flow, kernel,
                              node_correlation, overlap, pull, update)
from tsframe.relu_teacher import averaged_update
from strategies import close, few

seeds, leaks = st.integers(0, 999), st.sampled_from([0.0, 0.3])


def rows(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def nets(seed, d=4, leak=0.0, n=5, m=3, outputs=2):
    student = Dense([None, rows(n, d, seed), rows(outputs, n, seed + 1)], leak=leak)
    return student, Dense([None, rows(m, d, seed + 2), rows(outputs, m, seed + 3)], leak=leak)


def on_the_circle(w, u, leak, what):
    """E over x = r (cos φ, sin φ), E r² = 2, by quadrature between the gates' boundaries: both on, κ, M, averaged M."""
    cuts = sorted({*(((math.atan2(v[1], v[0]) + s) % (2 * math.pi)) for v in (w, u) for s in (-math.pi / 2, math.pi / 2)), 0, 2 * math.pi})

    def value(φ):
        x = np.array([math.cos(φ), math.sin(φ)])
        a, b = w @ x, u @ x
        d, e = (1 if a > 0 else leak), (1 if b > 0 else leak)
        return {"on": float(a > 0 and b > 0), "κ": 2 * d * a * e * b, "M0": 2 * d * e * b * x[0], "M1": 2 * d * e * b * x[1],
                "p": d * e}[what]
    return sum(quad(value, lo, hi)[0] for lo, hi in zip(cuts, cuts[1:])) / (2 * math.pi)


@few(15)
@given(seeds, leaks)
def test_the_expectations_are_integrals_over_the_circle(seed, leak):
    W, U = rows(2, 2, seed), rows(2, 2, seed + 1)
    κ, M, P, avg = kernel(W, U, leak), pull(W, U, leak), both_on(W, U), pull(W, U, leak, averaged=True)
    for i in range(2):
        for j in range(2):
            w, u = W[i].numpy(), U[j].numpy()
            assert P[i, j].item() == pytest.approx(on_the_circle(w, u, 0, "on"), abs=1e-10)
            assert κ[i, j].item() == pytest.approx(on_the_circle(w, u, leak, "κ"), abs=1e-10)
            close(M[i, j], np.array([on_the_circle(w, u, leak, "M0"), on_the_circle(w, u, leak, "M1")]), 1e-10)
            close(avg[i, j], on_the_circle(w, u, leak, "p") * U[j], 1e-10)


@few(10)
@given(seeds, leaks)
def test_the_update_is_minus_the_slope_of_the_exact_loss(seed, leak):
    student, teacher = nets(seed, leak=leak)
    W, V, W0, V0 = student.W[1], student.W[2], teacher.W[1], teacher.W[2]

    def loss(W, V):
        return (torch.trace(V0 @ kernel(W0, W0, leak) @ V0.T) + torch.trace(V @ kernel(W, W, leak) @ V.T)) / 2 - torch.trace(
            V0 @ kernel(W0, W, leak) @ V.T)
    dW, dV = update(student, teacher)
    for said, x, call in ((dW, W, lambda y: loss(y, V)), (dV, V, lambda y: loss(W, y))):
        slope = torch.zeros_like(x)
        for i in np.ndindex(*x.shape):
            step = torch.zeros_like(x)
            step[i] = 1e-5
            slope[i] = (call(x + step) - call(x - step)) / 2e-5
        close(said, -slope, 1e-8)
    M, Mw = pull(W, W0, leak), pull(W, W, leak)
    close(dW, ((V.T @ V0)[..., None] * M).sum(1) - ((V.T @ V)[..., None] * Mw).sum(1), 1e-13)


def test_where_rows_coincide_or_are_opposite():
    w = rows(1, 3, 0)
    close(kernel(w, 2 * w), w.square().sum().view(1, 1))
    close(pull(w, w)[0], w / 2)
    close(kernel(w, -w), torch.zeros(1, 1), 1e-15)
    close(angles(w, torch.cat([3 * w, -w])), [[0, math.pi]], 1e-7)
    tiny = w + 1e-9 * torch.tensor([[w[0, 1], -w[0, 0], 0]])
    want = 1e-9 * w[0, :2].norm() / w.norm()
    assert angles(w, tiny).item() == pytest.approx(want.item(), rel=1e-6)


@few(10)
@given(seeds, leaks)
def test_across_the_weights_the_averaged_rule_is_exact(seed, leak):
    student, teacher = nets(seed, leak=leak)
    true, said = update(student, teacher)[0], update(student, teacher, averaged=True)[0]
    w = student.W[1] / student.W[1].norm(dim=-1, keepdim=True)

    def across(x):
        return x - (x * w).sum(-1, keepdim=True) * w
    close(across(true), across(said), 1e-14)
    assert leak or (true - said).norm() > 0.02 * true.norm()


def test_on_samples_the_projected_gap_falls_and_with_anisotropic_inputs_it_does_not():
    student, teacher = nets(3, d=5)
    w = student.W[1] / student.W[1].norm(dim=-1, keepdim=True)

    def gap(x):
        true = student.propagate(x, teacher(x)[-1]).update()[0][1]
        difference = averaged_update(student, teacher, x)[0][1] - true
        return ((difference - (difference * w).sum(-1, keepdim=True) * w).norm() / true.norm()).item()
    x = rows(65536, 5, 9)
    far, near = gap(x[:64]), gap(x)
    assert near < 0.03 and far > 8 * near
    assert gap(x * torch.tensor([3, 1, 1, 1, 0.2])) > 0.05 and gap(x + torch.tensor([1.0, 0, 0, 0, 0])) > 0.05


@few(15)
@given(st.floats(0.05, 3.0), st.floats(0.1, 2))
def test_one_student_turns_at_the_speed_of_the_angle_flow(θ, strength):
    """θ' = -A (π-θ) sin θ/2π, so d/dt ln tan(θ/2) = -A (π-θ)/2π; at A < 0 it turns away."""
    for A in (strength, -strength):
        W, step = torch.tensor([[math.cos(θ), math.sin(θ)]]).double(), 1e-6
        s, t = Dense([None, W, torch.ones(1, 1).double()]), Dense([None, torch.eye(2).double()[:1], torch.full((1, 1), A).double()])
        run = flow(s, t, time=step, step=step, move_top=False)
        speed = (run.angles[1] - run.angles[0]).item() / step
        assert speed == pytest.approx(-A * (math.pi - θ) * math.sin(θ) / (2 * math.pi), abs=1e-5)


def test_times_of_arrival():
    assert [round(arrival_time(θ), 1) for θ in (0.2, 0.8, 1.4, 2.0, 2.6)] == [6.1, 9.5, 11.6, 14.3, 21.1]
    assert arrival_time(0.5, 0.5) == 0
    s = Dense([None, at_angles([0.8]), torch.ones(1, 1).double()])
    run = flow(s, Dense([None, torch.eye(2).double()[:1], torch.ones(1, 1).double()]), time=12, step=0.005,
                         move_top=False)
    assert run.times[int((run.angles.flatten() > 0.01).sum())].item() == pytest.approx(arrival_time(0.8), abs=0.02)
    θ = torch.linspace(0.01, 3.1, 10000)
    assert θ[((math.pi - θ) * θ.sin()).argmax()].item() == pytest.approx(1.11, abs=0.01)


def winner_take_all(θ, **more):
    student = Dense([None, at_angles(θ), torch.full((1, len(θ)), 0.25).double()])
    return flow(student, Dense([None, torch.eye(len(θ) + 1).double()[:1], torch.ones(1, 1).double()]), **more)


def test_the_nearest_student_wins_and_two_near_ones_share():
    run = winner_take_all([0.3, 1.2, 1.3, 1.4], time=200, step=0.1, every=500)
    assert isinstance(run, Flow) and run.times.tolist() == [0, 50, 100, 150, 200]
    close(run.V[1, 0], [0.9967, 0.0049, 0.0004, -0.001], 2e-4)
    close(run.V[-1, 0], [1, 0, 0, 0], 1e-4)
    close(run.angles[-1, :, 0].rad2deg(), [0, 59.2, 67.3, 74.8], 1e-3)
    close(run.W.norm(dim=-1), torch.ones(5, 4))
    both = winner_take_all([1.0, 1.1, 1.2, 1.3], time=400, step=0.1, every=4000)
    close(both.V[-1, 0, :2], [0.796, 0.207], 1e-3)
    free = winner_take_all([0.3, 1.2], time=5, unit=False)
    assert not torch.allclose(free.W[-1].norm(dim=-1), torch.ones(2).double(), atol=1e-3)


@few(10)
@given(st.floats(-2.5, 2.5), st.sampled_from([-1.0, -0.6, 0.0, 0.3, 0.95, 1.0]))
def test_overlap_by_another_quadrature(b, r):
    on, square = overlap(b, r)
    if abs(r) < 1:
        s = math.sqrt(1 - r * r)

        def density(y, x):
            return norm.pdf(x) * math.exp(-((y - r * x) / s) ** 2 / 2) / s / math.sqrt(2 * math.pi)
        both = dblquad(density, -b, 9, -b, 9, epsabs=1e-7)[0]
        product = dblquad(lambda y, x: (x + b) * (y + b) * density(y, x), -b, 9, -b, 9, epsabs=1e-7)[0]
    else:
        both = norm.cdf(b) if r > 0 else max(2 * norm.cdf(b) - 1, 0)
        product = quad(lambda x: max(x + b, 0) * max(r * x + b, 0) * norm.pdf(x), -9, 9, points=[-b, b], epsabs=1e-10)[0]
    mean_square = (1 + b * b) * norm.cdf(b) + b * norm.pdf(b)
    assert on == pytest.approx(both / norm.cdf(b), abs=1e-5) and square == pytest.approx(product / mean_square, abs=1e-5)


def test_overlap_of_nodes_that_are_hardly_ever_on():
    """Far out, E[f f'] by a sum over a fine grid of one node, the other's mean given it, and the scaled tail in closed form."""
    for b, r in ((-8, 0.99), (-8, 0.3), (-15, -0.5)):
        z, dz = np.linspace(-b, -b + 30, 400_001, retstep=True)           # this node's pre-activation is b + z
        s, μ = math.sqrt(1 - r * r), b + r * z
        tail, density = norm.cdf(μ / s), norm.pdf(z)
        on, product = (density * tail).sum() * dz, (density * (b + z) * (μ * tail + s * norm.pdf(μ / s))).sum() * dz
        square = (density * (b + z) ** 2).sum() * dz
        assert overlap(b, r) == pytest.approx((on / norm.cdf(b), product / square), rel=2e-3)
    assert overlap(-8, 0.99)[0] == pytest.approx(0.56483, rel=1e-4)


def test_the_table_of_overlaps():
    for b, *want in ((0, 0.5, 0.318, 0.597, 0.483), (-0.5, 0.309, 0.187, 0.435, 0.350), (-1, 0.159, 0.0921, 0.287, 0.231),
                     (-2, 0.0228, 0.0125, 0.0897, 0.073)):
        assert [*overlap(b), *overlap(b, 0.3)] == pytest.approx(want, abs=6e-4)


S, T = nets(0)
MANY = {n: S.changed(lambda w: w.expand(n, -1, -1)) for n in (2, 3)}


@pytest.mark.parametrize("call, error, words", [
    (lambda: angles([[1.0, 0]], [[0.0, 0]]), ValueError, r"U\[0\] must not be 0: it has no direction"),
    (lambda: kernel([[1.0, 0]], [[1.0, 0, 0]]), ValueError, "W and U must have shapes"),
    (lambda: pull([1.0], [[1.0]]), ValueError, "W and U must have shapes"),
    (lambda: kernel([[1.0]], [[1.0]], leak=2), ValueError, "leak"),
    (lambda: update(dense_student([4, 3, 2], seed=0), T), ValueError, "student must have two layers, no biases"),
    (lambda: update(S, dense_student([4, 3, 2, 2], bias=False, seed=0)), ValueError, "teacher must have two layers"),
    (lambda: update(S, nets(0, leak=0.1)[1]), ValueError, "leaks 0 and 0.1"),
    (lambda: update(S, T.to(torch.float32)), TypeError, "one dtype"),
    (lambda: update(3, T), TypeError, "student must be a Dense"),
    (lambda: flow(S, T, time=1, step=0), ValueError, "step must be positive"),
    (lambda: flow(S, T, time=1e9, step=1e-3), ValueError, "time / step must be between 1 and 10000000; found 1000000000000"),
    (lambda: flow(S, T, time=1e4, step=50.0, unit=False), ValueError, "step must be small enough"),
    (lambda: flow(S, T, time=1e300, step=1e-300), ValueError, "time / step must be finite"),
    (lambda: flow(S, T, time=0.02), ValueError, "time / step must be between 1 and .*found 0"),
    (lambda: flow(S, MANY[3], time=1), ValueError, r"teacher must be one network, or one a student; .* \(3,\) of the teacher"),
    (lambda: update(MANY[2], MANY[3]), ValueError, "ensembles of student and teacher must"),
    (lambda: flow(S, T, time=1, unit=1), TypeError, "unit must be True"),
    (lambda: arrival_time(4.0), ValueError, "start must lie between end and π"),
    (lambda: arrival_time(0.001), ValueError, "start must lie"),
    (lambda: at_angles([[1.0]]), ValueError, "angles must have shape"),
    (lambda: overlap(0, 2), ValueError, "correlation must lie in"),
    (lambda: overlap(float("nan")), ValueError, "bias must be finite"),
])
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_node_correlation_of_samples():
    x, W, U = rows(200_000, 4, 3), rows(3, 4, 1), rows(5, 4, 2)
    ρ = correlation((x @ U.T).relu(), (x @ W.T).relu()).ρ
    assert (node_correlation(W, U) - ρ).abs().max() < 0.01
    ends = node_correlation(W, torch.stack([2 * W[0], -W[0]]))[0]
    close(ends, torch.tensor([1, -1 / (math.pi - 1)], dtype=torch.float64))


@pytest.mark.parametrize("nodes, features, level", [(1, 2, 0.3), (1, 20, 0.5), (50, 20, 0.5), (7, 3, 0.9)])
def test_chance_match_of_samples(nodes, features, level):
    W = rows(4000 * nodes, features, 5).view(4000, nodes, features)
    cos = (W[..., 0] / W.norm(dim=-1)).max(-1).values
    assert abs((cos < math.cos(chance_match(nodes, features, level))).double().mean() - level) < 0.03


def test_chance_match_at_the_ends():
    assert chance_match(3, 5, 0) == math.pi and chance_match(3, 5, 1) == 0
    assert abs(chance_match(1, 7) - math.pi / 2) < 1e-12                # one direction: as often near as far
    assert abs(chance_match(2, 2, 0.25) - math.pi / 2) < 1e-12
    for bad in (dict(nodes=0), dict(features=1), dict(level=1.5)):
        with pytest.raises(ValueError, match=next(iter(bad))):
            chance_match(**dict(nodes=3, features=4) | bad)
