"""The bounds on falling apart: against simulation, Stevens' formula, and each other."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theory.lemmas.connectivity as connectivity
from tests import reference
from theory.batch_floor import connectivity_floor
from theory.judging.rates import clopper_pearson
from theory.lemmas.connectivity import (
    ROUND_UP,
    circle_disconnection_probability,
    descent,
    isolated_point_rate,
    suffices,
    two_gap_rate,
)
from theory.lemmas.simulated_floor import count_disconnected

pytestmark = pytest.mark.theorems
DIMS = st.sampled_from([2, 3, 4, 5, 8])
RADII = st.floats(0.2, 1.57)


@pytest.mark.slow
@settings(max_examples=30)
@given(DIMS, RADII, st.integers(2, 400), st.integers(0, 60), st.booleans())
def test_the_second_step_never_hurts_isolation_is_part_of_it_and_ranges_are_bounded(dim, radius, size, more, squared):
    bounds = descent(dim, radius, squared)
    assert bounds.two_step(size) <= bounds.one_step(size) * (1 + 1e-12)
    # Isolated points at more than the radius from the root: m - 1 choices, m - 2 others.
    lonely = (size - 1) * (1 - bounds.cap) ** (size - 1)
    assert bounds.two_step(size) >= lonely * (1 - 1e-3) or dim == 2
    for bound in (bounds.one_step, bounds.two_step):
        over = bound(size, size + more)
        assert over >= bound(size) * (1 - 1e-12)
        assert over >= bound(size + more) * (1 - 1e-12)
        assert bound(size, np.inf) >= over * (1 - 1e-12)


@pytest.mark.parametrize(
    ("dim", "degrees", "size", "squared"),
    [(2, 45, 30, False), (2, 45, 20, True), (3, 30, 150, False), (3, 45, 60, False), (3, 85, 10, False),
     (3, 45, 30, True), (4, 60, 45, False), (5, 75, 25, False), (8, 80, 30, False), (8, 60, 60, True),
     (3, 60, 3, True)],
)  # fmt: skip
def test_the_bound_is_above_what_is_simulated(dim, degrees, size, squared):
    radius = float(np.radians(degrees))
    failures = count_disconnected(size, dim, radius, 4000, squared, seed=7)
    low = clopper_pearson(failures, 4000, 0.9999)[0]
    assert descent(dim, radius, squared).two_step(size) >= low
    # A planted violation: a bound that forgot the choice of x, m - 1, would be caught here.
    if failures > 100:
        assert descent(dim, radius, squared).two_step(size) / (size - 1) < low


@pytest.mark.parametrize(
    ("dim", "degrees", "squared"),
    [
        (3, 30, False),
        pytest.param(4, 45, True, marks=pytest.mark.slow),
        pytest.param(8, 60, False, marks=pytest.mark.slow),
    ],
)
def test_finer_rules_change_little(dim, degrees, squared, monkeypatch):
    radius, size = float(np.radians(degrees)), {3: 200, 4: 150, 8: 200}[dim]
    coarse = descent(dim, radius, squared).two_step(size)
    descent.__wrapped__.cache_clear()
    monkeypatch.setattr(connectivity, "DISTANCE_NODES", 56)
    monkeypatch.setattr(connectivity, "NEIGHBOUR_NODES", 18)
    monkeypatch.setattr(connectivity, "NEIGHBOUR_GROUPS", 81)
    fine = descent(dim, radius, squared).two_step(size)
    descent.__wrapped__.cache_clear()
    # A hundredth of the probability is a thousandth of the floor.
    assert coarse == pytest.approx(fine, rel=0.02)


@pytest.mark.parametrize(
    ("degrees", "squared", "deltas", "below"),
    [(90.0, False, (6.300454e-5, 6.485341e-7, 9.427520e-11), (25, 34, 51)),
     (70.0, True, (1.4e-7, 1.85e-11, 7.4e-23), (20, 30, 60))],
)  # fmt: skip
def test_floors_hold_by_finer_rules_where_sums_are_off_most(degrees, squared, deltas, below, monkeypatch):
    """The deltas put a floor at the very edge: with one-step descent's margin each missed it, by up to a fifth."""
    radius = float(np.radians(degrees))
    floors = [connectivity_floor(3, radius, delta, squared) for delta in deltas]
    plain = [ROUND_UP * descent(3, radius, squared).two_step(size) / delta for delta, size in zip(deltas, below)]
    descent.__wrapped__.cache_clear()
    monkeypatch.setattr(connectivity, "NEIGHBOUR_NODES", 20)
    monkeypatch.setattr(connectivity, "NEIGHBOUR_GROUPS", 200)
    fine = descent(3, radius, squared)
    descent.__wrapped__.cache_clear()
    assert all(fine.two_step(floor, np.inf) <= delta for delta, floor in zip(deltas, floors))
    # Planted: these were floors, and are none.
    assert max(plain) <= 1.0
    assert max(fine.two_step(size) / delta for delta, size in zip(deltas, below)) > 1.004


@pytest.mark.parametrize("dim", [3, 8, 64])
@pytest.mark.parametrize("degrees", [5.0, 30.0, 60.0, 85.0, 90.0])
@pytest.mark.parametrize("squared", [False, True])
def test_no_neighbour_is_forgotten(dim, degrees, squared, monkeypatch):
    """Those closer to the root and the others make up the cap; a node too few would make the bound too strong."""
    bounds = descent(dim, float(np.radians(degrees)), squared)
    # What they reach takes most of the time and changes none of their shares.
    monkeypatch.setattr(connectivity, "reach", lambda dim, radius, distance, far, *_: (0.0 * far, 0.0 * far))
    if not squared or degrees < 90.0:
        others = connectivity._neighbours(bounds).shares.sum(axis=1)
        assert np.abs(others + bounds.lens - bounds.cap).max() <= 5e-3 * bounds.cap


@given(st.integers(2, 60), st.floats(0.05, 3.1), st.booleans())
def test_stevens_against_his_sum_in_exact_fractions(size, radius, squared):
    radius = min(radius, 1.57) if squared else radius
    exact = reference.circle_disconnection(size, radius, squared)
    assert circle_disconnection_probability(size, radius, squared) == pytest.approx(exact, rel=1e-12, abs=1e-300)


def test_stevens_against_simulation_and_far_tails():
    for size, degrees, squared in ((10, 60, False), (25, 30, False), (8, 60, True), (3, 120, False)):
        radius = float(np.radians(degrees))
        exact = circle_disconnection_probability(size, radius, squared)
        rng = np.random.default_rng(3)
        length = np.pi if squared else 2 * np.pi
        points = np.sort(rng.random((20_000, size)) * length, axis=1)
        gaps = np.diff(points, axis=1, append=points[:, :1] + length)
        seen = ((gaps > radius).sum(axis=1) >= 2).mean()
        assert abs(seen - exact) < 4.5 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-9
    assert 0 < circle_disconnection_probability(1600, float(np.radians(5)), False) < 1e-13


def test_one_step_descent_on_the_circle_is_its_closed_form():
    """lens_2(d) = vartheta/2 pi for d up to pi - vartheta/2, more beyond: by hand for one radius."""
    radius, size = 0.5, 40
    with mpmath.workdps(20):

        def lens(d):
            return min(radius, d) / (2 * mpmath.pi) + max(0, d + radius / 2 - mpmath.pi) * 2 / (2 * mpmath.pi)

        exact = (size - 1) * mpmath.quad(
            lambda d: (1 - lens(d)) ** (size - 2) / mpmath.pi, [radius, mpmath.pi - radius / 2, mpmath.pi]
        )
    assert descent(2, radius).one_step(size) == pytest.approx(float(exact), rel=5e-3)


@given(st.integers(2, 60), st.floats(0.05, 1.57), st.booleans())
def test_pairs_of_gaps_bound_stevens(size, radius, squared):
    share = radius / (np.pi / 2 if squared else np.pi)
    assert two_gap_rate(size, radius, squared) == pytest.approx(
        size * (size - 1) / 2 * (1 - share) ** (size - 1), rel=1e-9
    )
    assert circle_disconnection_probability(size, radius, squared) <= two_gap_rate(size, radius, squared) * (1 + 1e-9)


def test_the_heuristic_is_what_it_says():
    assert isolated_point_rate(10, 3, np.pi / 2) == pytest.approx(10 * 0.5**9)
    assert isolated_point_rate(10, 2, np.pi / 4, squared=True) == pytest.approx(10 * 0.5**9)


@pytest.mark.parametrize("delta", [0.01, 1e-6])
def test_suffices_says_what_the_tail_of_the_bound_says(delta):
    bounds = descent(3, 0.8)
    answers = [suffices(size, 3, 0.8, delta) for size in range(2, 400)]
    assert answers == [bounds.two_step(size, np.inf) <= delta for size in range(2, 400)]
    assert True in answers
    assert False in answers


@pytest.mark.parametrize(
    ("call", "name"),
    [(lambda: descent(1, 0.5), "subspace_dim"), (lambda: descent(3, 0.0), "radius"),
     (lambda: descent(3, 1.6), "radius"), (lambda: descent(3, float("nan")), "radius"),
     (lambda: suffices(1, 3, 0.5, 0.1), "num_points"),
     (lambda: suffices(9, 3, 0.5, 1.0), "delta"), (lambda: circle_disconnection_probability(1, 0.5), "num_points"),
     (lambda: circle_disconnection_probability(5, 4.0), "radius")],
)  # fmt: skip
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
