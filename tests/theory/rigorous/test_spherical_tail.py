"""Spherical tails and Theorem 2e's threshold."""

import mpmath
import numpy as np
import pytest
from flint import arb

from theory.depth_threshold import ROUND_UP, depth_certificate, depth_threshold, tail_constant
from theory.rigorous.balls import working_bits
from theory.rigorous.spherical_tail import coordinate_tail_ball, depth_failure, tail_constant_ball

GEOMETRY = {"ambient_dim": 64, "subspace_dim": 8, "num_cross_pairs": 1000, "depth": 5, "delta": 0.05}


def test_tails_of_a_coordinate():
    with working_bits(128), mpmath.workdps(35):
        for t in (-0.9, -0.01, 1e-20, 0.3, 0.99):
            # On a circle and on the usual sphere they are elementary.
            assert coordinate_tail_ball(2, arb(t)).overlaps(arb(t).acos() / arb.pi())
            assert coordinate_tail_ball(3, arb(t)).overlaps((1 - arb(t)) / 2)
            for dim in (7, 250):
                x = mpmath.mpf(t)
                half = mpmath.quad(lambda y, d=dim: (1 - y * y) ** ((d - 3) / mpmath.mpf(2)), [0, abs(x)])
                half /= mpmath.beta((dim - 1) / mpmath.mpf(2), 0.5)
                expected = float(0.5 - mpmath.sign(x) * half)
                assert float(coordinate_tail_ball(dim, arb(t))) == pytest.approx(expected, rel=1e-12, abs=1e-25)
        unknown = coordinate_tail_ball(7, arb(0, 0.5))
        assert unknown.is_finite()
        assert unknown.contains(coordinate_tail_ball(7, arb(0.49)))
        assert unknown.contains(coordinate_tail_ball(7, arb(-0.49)))


def test_constant_of_the_tail():
    with working_bits(128):
        for dim, t in ((3, 0.9), (56, 0.4), (1000, 0.1)):
            assert float(tail_constant_ball(dim, arb(t))) == pytest.approx(float(tail_constant(dim, t)), rel=1e-11)


def test_of_the_exponential_tail_every_digit_is_known():
    found = depth_failure(60, 300, 0.8, 0.5)
    expected = 300 * np.exp(-60 * (0.64 - 0.25) / 2)
    assert found.low <= found.high
    assert found.low == pytest.approx(expected, rel=1e-13)
    assert found.high == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("extra", [{}, {"max_between_cos": 0.3}, {"squared": True}, {"ambient_dim": 20}])
def test_the_threshold_needs_no_move_and_none_below_it_is_proved(extra):
    certificate = depth_certificate(**GEOMETRY | extra)
    threshold = depth_threshold(**GEOMETRY | extra)
    assert certificate.holds
    assert (certificate.moves, certificate.number) == (0, threshold)
    assert depth_threshold(**GEOMETRY | extra, rigorous=True) == threshold
    events = 1000 * (7 if "squared" in extra else 6)
    dim = (extra.get("ambient_dim") or 64) - 8
    kappa = extra.get("max_between_cos", 0.0)
    # One percent lower, a layer forgotten, one dimension too many in the tail: none of it passes.
    assert depth_failure(dim, events, 0.99 * threshold, kappa).low > 0.05
    assert depth_failure(dim, events + 1000, threshold, kappa).low > 0.05
    assert depth_failure(dim - 1, events, threshold, kappa).low > 0.05


def test_a_threshold_that_is_too_low_moves_up(monkeypatch):
    right = depth_threshold(**GEOMETRY)
    monkeypatch.setattr("theory.depth_threshold.depth_threshold", lambda *_: right * (1 - 100 * ROUND_UP))
    certificate = depth_certificate(**GEOMETRY)
    assert 6 <= certificate.moves <= 9
    assert certificate.number == pytest.approx(right, rel=200 * ROUND_UP)
    assert certificate.holds
    assert certificate.moved_by == pytest.approx(128 * ROUND_UP, rel=0.01)


def test_no_threshold_no_certificate():
    few = GEOMETRY | {"ambient_dim": 10, "max_between_cos": 0.9}
    assert depth_threshold(**few) is depth_certificate(**few) is depth_threshold(**few, rigorous=True) is None


def test_thresholds_in_very_many_dimensions_are_within_their_share_as_they_are():
    """Incomplete beta functions lose digits there: by 3e-8 of delta, with the margin of few dimensions."""
    arguments = 902005121, 173, 3, 6, 0.05, 0.0, True
    certificate = depth_certificate(*arguments)
    assert certificate.number == depth_threshold(*arguments)
    assert certificate.moved_by == 0.0
