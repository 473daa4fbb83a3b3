"""Sums over t = e^u against the integrals that they stand for, from both sides."""

import mpmath
import numpy as np
import pytest

from theory.numerics.laplace_rule import LaplaceRule, trapezoid_error


@pytest.mark.parametrize("step", [0.35, 0.5, 0.75, 1.0, 2.0])
def test_the_error_bound_by_gamma_functions(step):
    expected = 2 * mpmath.nsum(lambda m: abs(mpmath.gamma(1 + 2j * mpmath.pi * m / step)), [1, mpmath.inf])
    assert trapezoid_error(step) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("step", [0.75, 1.0, 2.0])
def test_the_error_bound_is_attained_nearly(step):
    """Over all offsets the sum leaves 1 by no more than the bound, and by most of it."""
    k = np.arange(-120, 40)
    offsets = np.linspace(0.0, step, 201)[:, None]
    t = np.exp(k * step + offsets)
    error = np.abs(step * (t * np.exp(-t)).sum(axis=1) - 1.0).max()
    assert 0.9 * trapezoid_error(step) < error <= trapezoid_error(step) * (1 + 1e-9) + 1e-13


def test_both_sides_of_a_mixture():
    """h/(b h + X) for X of three values: above with the ends, below without."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        h, x = 10.0 ** rng.uniform(-4, 0), np.concatenate([[0.0], 10.0 ** rng.uniform(-6, 2, 2)])
        for step in (0.35, 0.75):
            rule = LaplaceRule.spanning(h, 1.0, 1.0 + x.max(), step, 1e-9)
            transform = np.exp(-x[:, None] * rule.nodes).mean(axis=0)
            for times in (1, 2, 3):
                kernel = rule.kernel(np.array(h), times)
                inner = (kernel * transform).sum()
                high = (inner + rule.before(np.array(h)) + transform[-1] * rule.behind(kernel, times)) / (
                    1.0 - rule.error
                )
                truth = (h / (times * h + x)).mean()
                assert inner / (1.0 + rule.error) <= truth * (1 + 1e-12) <= high * (1 + 2e-12)
                assert high <= truth * (1.0 + 3.0 * rule.error + 1e-7)


@pytest.mark.parametrize("step", [0.0, -1.0, 2.5, float("nan")])
def test_steps_out_of_range(step):
    with pytest.raises(ValueError, match=r"^step: must lie in \(0, 2\]"):
        trapezoid_error(step)
