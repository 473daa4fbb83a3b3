"""Theorem 2c's bounds: Stevens' sum, one-step descent, and floors made of them."""

import numpy as np
import pytest

from theory.batch_floor import (
    connectivity_certificate,
    connectivity_floor,
    gaussian_connection,
    gaussian_floor,
    gaussian_floor_certificate,
)
from theory.lemmas import connectivity as numerical
from theory.rigorous.connectivity import circle_failure, one_step, stevens, two_gaps
from theory.rigorous.floors import certify_bounded_connection, connection_failure, is_bounded_connection
from theory.sphere import cap_measure


@pytest.mark.parametrize("squared", [False, True])
def test_stevens_in_closed_form(squared):
    """Two points: both gaps exceed x. Three: two of them."""
    share = 0.7 / (np.pi if squared else 2 * np.pi)
    for m, expected in ((2, 1 - 2 * share), (3, 3 * (1 - 2 * share) ** 2 - 2 * max(1 - 3 * share, 0) ** 2)):
        found = stevens(m, 0.7, squared)
        assert found.low <= found.high
        assert found.low == pytest.approx(expected, rel=1e-14)
        assert found.high == pytest.approx(expected, rel=1e-14)
    for m in (40, 200):
        exact = numerical.circle_disconnection_probability(m, 0.7, squared)
        assert stevens(m, 0.7, squared).low == pytest.approx(exact, rel=1e-12)


def test_two_gaps_bound_stevens_and_speak_where_they_fall():
    assert two_gaps(60, 0.5, False).low > stevens(60, 0.5, False).high
    assert two_gaps(5, 0.5, False).high == np.inf
    found = circle_failure(60, 0.5, False, 0.05)
    assert found.high >= max(stevens(m, 0.5, False).high for m in range(60, 90))


def test_of_two_points_one_step_descent_is_exact():
    """P(no edge) = 1 - cap, and more points are no worse at this radius."""
    for dim in (3, 8):
        found = one_step(2, dim, 1.5, False)
        assert found.low <= 1 - float(cap_measure(dim, 1.5)) <= found.high


@pytest.mark.parametrize(
    ("dim", "radius", "squared", "m"), [(3, 0.8, False, 90), (5, 1.0, False, 110), (9, 1.3, False, 40),
                                        (3, 0.8, True, 50)]
)  # fmt: skip
def test_one_step_descent_lies_inside(monkeypatch, dim, radius, squared, m):
    monkeypatch.setattr(numerical, "DISTANCE_NODES", 160)
    numerical.descent.__wrapped__.cache_clear()
    try:
        bounds = numerical.descent(dim, radius, squared)
        found = one_step(m, dim, radius, squared)
        assert found.low <= bounds.one_step(m) * (1 + 1e-6)
        assert bounds.one_step(m, np.inf) * (1 - 1e-6) <= found.high <= 1.004 * bounds.one_step(m, np.inf)
        if not squared:
            assert found.low > 0.97 * bounds.one_step(m)
        # The upper end speaks of all larger numbers.
        assert all(bounds.one_step(larger) <= found.high for larger in (m + 1, 2 * m, 10 * m))
        assert all(one_step(smaller, dim, radius, squared).high >= found.high for smaller in (m - 1, m // 2))
    finally:
        numerical.descent.__wrapped__.cache_clear()


@pytest.mark.parametrize(
    ("dim", "radius", "delta", "squared"),
    [(2, 0.5, 0.01, False), (2, 0.4, 1e-4, True), (3, 1.05, 0.02, False), (6, 1.2, 0.01, False)],
)
def test_floors_need_no_move_and_the_one_below_is_not_proved(dim, radius, delta, squared):
    method = "exact" if dim == 2 else "one_step"
    certificate = connectivity_certificate(dim, radius, delta, squared, method)
    floor = connectivity_floor(dim, radius, delta, squared, method)
    assert certificate.holds
    assert (certificate.number, certificate.moves) == (floor, 0)
    assert connectivity_floor(dim, radius, delta, squared, method, rigorous=True) == floor
    fewer = int(0.95 * floor) - 1
    bound = circle_failure(fewer, radius, squared, delta) if dim == 2 else one_step(fewer, dim, radius, squared)
    assert bound.low > delta, "five percent below the floor the bound itself exceeds delta"


def test_a_floor_that_is_too_low_moves_to_the_first_that_holds():
    """Two-step descent is numerical: with enclosures its floor moves to that of one-step descent."""
    certificate = connectivity_certificate(3, 1.05, 0.02)
    assert certificate.default == connectivity_floor(3, 1.05, 0.02)
    first = connectivity_floor(3, 1.05, 0.02, method="one_step")
    assert first - 1 <= certificate.number <= first
    assert certificate.moves > 0
    assert one_step(certificate.number - 1, 3, 1.05, False).high > 0.02


def test_methods_that_bound_nothing_are_refused():
    for method in ("isolated", "simulated"):
        with pytest.raises(ValueError, match=r"^method: with rigorous"):
            connectivity_floor(3, 1.0, 0.02, method=method, rigorous=True)


def test_bounded_noise_leaves_the_radius():
    right = np.pi / 2
    turn = 2 * np.arcsin(0.1)
    threshold = float(np.cos(right - turn))
    assert is_bounded_connection(right, 0.1, threshold + 1e-9, right - 2 * turn - 1e-8)
    assert not is_bounded_connection(right, 0.1, threshold + 1e-9, right - 2 * turn + 1e-8)
    assert not is_bounded_connection(right, 0.1, threshold - 1e-9, right - 2 * turn - 1e-8), "a false edge"
    moved = certify_bounded_connection(right - 2 * turn + 1e-9, right, 0.1, threshold + 1e-12)
    assert moved.moves > 0
    assert moved.number == pytest.approx(right - 2 * turn, abs=3e-9)


def test_gaussian_floor_adds_all_that_can_fail():
    arguments = (2, 64, 3, float(np.pi / 2), 0.3, 0.05)
    certificate = gaussian_floor_certificate(*arguments)
    assert certificate.holds
    assert certificate.moves == 0
    assert gaussian_floor(*arguments, rigorous=True) == certificate.number >= gaussian_floor(*arguments)
    # Three quarters of delta go to false and missing edges, to the last digit but for the rounding of the radius.
    assert certificate.failure.low > 0.037
    assert gaussian_floor(3, 64, 3, float(np.pi / 2), 5.0, 0.05, rigorous=True) is None


def test_a_radius_or_a_threshold_that_is_off_is_found_out():
    link = gaussian_connection(64, 3, 30, float(np.pi / 2), 0.3, 0.05)
    pairs = (3 * 30 * 29 // 2, 3 * 30 * 30)
    rest = (64, pairs, float(np.pi / 2), 0.3)
    assert connection_failure(*rest, link.threshold, link.radius, False).high <= 0.0375
    assert connection_failure(*rest, link.threshold, 1.01 * link.radius, False).low > 0.0375
    assert connection_failure(*rest, 0.99 * link.threshold, link.radius, False).low > 0.0375
    assert connection_failure(*rest, link.threshold, link.radius, True).low > 0.0375, "cross pairs pass on both sides"
