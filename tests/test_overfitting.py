"""The teacher of chapter `overfitting`, and the laws of chance that its certificates rest on."""
import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tsframe as tsf
from strategies import close, few
from tsframe.certificates import overfitting
from tsframe.certificates.examples import two_regions

halves = st.integers(1, 4).map(lambda k: 2 * k)
parts = st.sampled_from([0.0, 0.25, 0.7, 1.0])


@few(20)
@given(halves, halves, parts, parts, st.sampled_from([-1.0, -0.3, 0.0, 0.5, 1.0]))
def test_two_regions_is_the_law_that_it_says(m_α, m_γ, tilt, contrast, tie):
    t = two_regions((m_α, m_γ), tilt=tilt, contrast=contrast, tie=tie)
    law = np.zeros((2, m_α, m_γ))                                   # P(y, x_α, x_γ), from the words of the docstring
    for y, z, a, c in product((0, 1), (0, 1), range(m_α), range(m_γ)):
        lean = 1 if (a < m_α // 2) == (y == 0) else -1
        seen = (c < m_γ // 2) == (z == 0)
        law[y, a, c] += (1 / 2 * (1 + (tie if z == y else -tie)) / 2 * (1 + lean * tilt) / m_α * (2 / m_γ if seen else 0))
    rows = tsf.Ladder.enumerate(t)
    counted = torch.zeros(2, m_α, m_γ, dtype=torch.float64).index_put(
        (rows.labels, *rows.codes[0].T), rows.weights, accumulate=True)
    assert close(counted, law)
    assert torch.equal(rows.codes[1][:, 0], rows.labels)            # z_α = y
    x = t.features
    assert close(x[0, :m_α].sum(1), torch.ones(m_α)) and close(x[1, :m_γ, :m_γ], torch.eye(m_γ))
    apart = (x[0, :m_α, None] - x[0, None, :m_α]).norm(dim=-1)
    assert close(apart, contrast * 2**0.5 * (1 - torch.eye(m_α, dtype=torch.float64)))


def test_gamma_is_independent_unless_tied():
    for tie, gap in ((0.0, 0.0), (0.4, 0.4), (-1.0, -1.0)):
        P = two_regions(tie=tie).P[2][0, 1]
        assert (P[0, 0] - P[1, 0]).item() == pytest.approx(gap)


@few(8)
@given(st.integers(0, 99), st.sampled_from([0.0, 0.6]))
def test_samples_have_its_correlation(seed, tie):
    z = two_regions((8, 4), tie=tie).sample_states(4000, seed=seed)
    y, z_γ = z[2][:, 0], z[1][:, 1]
    δ = (z_γ[y == 0] == 0).double().mean() - (z_γ[y == 1] == 0).double().mean()
    assert abs(δ - tie) < 5 / 4000**0.5


@pytest.mark.parametrize("bad, error, words", [
    (dict(contents=8), TypeError, "contents must be a pair.*8"),
    (dict(contents=(8, 4, 2)), TypeError, "contents must be a pair"),
    (dict(contents=(7, 4)), ValueError, r"contents\[0\] must be even.*7"),
    (dict(contents=(8, 0)), ValueError, r"contents\[1\] must be at least 2; found 0"),
    (dict(contents=(8, 2.0)), TypeError, r"contents\[1\] must be an int"),
    (dict(tilt=1.5), ValueError, r"tilt must lie in \[0, 1\]; found 1.5"),
    (dict(contrast=-0.1), ValueError, "contrast"), (dict(tie=2), ValueError, "tie"),
    (dict(tilt=math.nan), ValueError, "tilt must be finite")])
def test_two_regions_says_what_is_wrong(bad, error, words):
    with pytest.raises(error, match=words):
        two_regions(**bad)


def test_the_mean_difference_of_two_counts_is_the_middle_of_the_coins():
    for n in (2, 4, 10, 64, 300):
        middle = math.comb(n, n // 2) / 2**n
        assert overfitting._mean_difference(n) == pytest.approx(middle, rel=1e-11)
        assert math.sqrt(2 / math.pi / (n + 1)) <= middle <= math.sqrt(2 / math.pi / n)


@few(10)
@given(st.integers(1, 3).map(lambda k: 2 * k), st.sampled_from([-0.5, 0.2, 0.8]))
def test_the_mean_difference_when_tied(n, tie):
    mean = 0
    for z in product((0, 1), repeat=n):                             # the first half has label 1, and z = 0 agrees with it
        agree = [b == (i >= n // 2) for i, b in enumerate(z)]
        δ = abs(sum(z[n // 2:]) - sum(z[:n // 2])) / (n // 2)
        mean += δ * math.prod((1 + (tie if a else -tie)) / 2 for a in agree)
    assert overfitting._mean_difference(n, tie) == pytest.approx(mean)


def test_the_signals_of_the_two_regions_in_the_population():
    """α's is a quarter of its separation, γ's is 0: the real update at zero readout on every input."""
    t = two_regions((8, 4), tilt=0.5)
    student = tsf.Student(t.hierarchy, [8, 5, 2], seed=0)
    student.W2.data.zero_()
    dW = tsf.measure(student, tsf.Ladder.enumerate(t)).dW[2][0].detach()
    signal = (dW[..., 0] - dW[..., 1]) / 2
    f = student.W1.detach()[0, 0].relu()
    assert close(signal[0], 0.5 * (f[:4].sum(0) - f[4:].sum(0)) * 2 / 8 / 4)
    assert close(signal[1], torch.zeros(5))
