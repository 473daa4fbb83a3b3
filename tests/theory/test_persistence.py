"""Theorem 2a: hypotheses, bound and check."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import event, given, target
from hypothesis import strategies as st

from models.stack import AttentionStack
from synthetic.batches.seeding import trial_generators
from synthetic.batches.union_of_subspaces import equiangular_clusters
from tests.strategies import MIXINGS, clustered_batch, labels_of
from tests.theory.test_noise_free import measured
from theory import persistence as pt
from theory.judging.exact_replay import ExactReplay
from theory.judging.verdicts import Status
from theory.measurements import pair_extremes
from theory.noise_free import equiangular_cosines
from theory.numerics.precision import numerical_threshold

pytestmark = pytest.mark.theorems


@given(clustered_batch(), MIXINGS, st.floats(0.0, 0.999), st.integers(1, 6), st.booleans())
def test_theorem_2a(batch, mixing, position, depth, unit):
    points, labels, sizes = batch
    alpha, beta = (float(value) for value in pair_extremes(points, labels))
    interval = pt.threshold_interval(alpha, beta, sizes)
    if interval is None or interval[1] <= numerical_threshold("float64"):
        event("outside the hypotheses")
        return
    low, high = interval
    event("inside, cross cosines positive" if beta > 0 else "inside, cross cosines not positive")
    # Stay a hair inside: the ends of the interval are not exact in float64.
    threshold = low + 1e-9 + position * (high - low - 2e-9) if high - low > 4e-9 else (low + high) / 2
    stack = AttentionStack(depth, threshold, mixing, normalize="input" if unit else "never")
    trajectory = stack.measure(torch.from_numpy(points)[None], labels)
    cut = max(threshold, numerical_threshold("float64"))
    exact = ExactReplay(lambda trial: points, labels, cut, mixing, depth)
    verdict = pt.check_persistence(trajectory, sizes, cut, mixing, unit_inputs=unit, exact=exact)
    if beta > 0:
        target(float(trajectory.beta.max() / pt.cross_cap(alpha, beta, sizes)), label="share of the cap reached")
    assert verdict.status in (Status.HOLDS, Status.NOT_APPLICABLE), str(verdict)


def test_cap_is_attained_by_equiangular_clusters():
    """beta_l tends to b/nu^2: once b reaches a nu^2 every threshold below a leaks at some depth."""
    cap = pt.cross_cap(0.6, 0.35, 6)
    betas = [equiangular_cosines(0.6, 0.35, 6, layer)[1] for layer in (0, 2, 5, 40)]
    assert np.all(np.diff(betas) > 0)
    assert betas[-1] == pytest.approx(cap, abs=1e-15)
    points = equiangular_clusters(0.6, 0.42, (6, 6, 6), 20, trial_generators(0, 0, range(1), 0))
    assert pt.threshold_interval(0.6, 0.42, 6) is None
    stack = AttentionStack(60, 0.599)
    assert stack.measure(torch.from_numpy(points), labels_of((6, 6, 6))).false_edges[-1, 0] > 0


def test_interval_by_hand():
    # alpha = .6, M = 5: nu^2 = .6 + .4/5 = .68
    assert pt.threshold_interval(0.6, 0.34, 5) == pytest.approx((0.5, 0.6))
    assert pt.threshold_interval(0.6, -0.5, 5) == (0.0, 0.6)
    assert pt.threshold_interval(0.6, 0.408, 5) is None
    assert pt.threshold_interval(0.0, -0.5, 5) is None
    assert pt.threshold_interval(-0.2, -0.5, 5) is None


def test_unequal_sizes_are_sharper():
    low_all, _ = pt.threshold_interval(0.6, 0.3, (9, 2, 2))
    low_largest, _ = pt.threshold_interval(0.6, 0.3, 9)
    nu9, nu2 = np.sqrt(0.6 + 0.4 / 9), np.sqrt(0.6 + 0.4 / 2)
    assert low_all == pytest.approx(0.3 / (nu9 * nu2))
    assert low_all < low_largest
    np.testing.assert_array_equal(pt.admits_threshold(np.array([0.6, -1.0]), np.array([0.3, -1.0]), 3), [True, False])


@pytest.mark.parametrize(
    ("trajectory", "threshold", "part"),
    [
        (measured([0.6, 0.8, 0.9], beta=[0.3, 0.5, 0.3]), 0.46, "cross cosines"),
        (measured([0.6, 0.8, 0.79], beta=[0.3, 0.3, 0.3]), 0.599, "alpha never decreases"),
        (measured([0.6, 0.8, 0.9], beta=[0.3] * 3, sharpness_error=[0.0, 0.1, 0.0]), 0.46, "sharpness 1"),
        (measured([0.6, 0.8, 0.9], beta=[0.3] * 3, false_edges=[0, 0, 1]), 0.46, "sharpness 1"),
        (measured([0.6, 0.4, 0.9], beta=[0.3] * 3), 0.46, ""),
        (measured([0.6, 0.60001, 0.60002], beta=[0.3] * 3), 0.46, "spread"),
    ],
)
def test_check_notices_a_planted_violation(trajectory, threshold, part):
    verdict = pt.check_persistence(trajectory, (5, 5), threshold, 0.5, unit_inputs=True)
    assert verdict.status is Status.VIOLATED, str(verdict)
    assert part in verdict.detail


def test_clusters_that_come_apart_are_noticed_by_their_own_part():
    """alpha at tau cuts an edge: the part about completeness must see it without the others' help."""
    from theory.judging.verdicts import judge

    seen = {}
    original = pt.judge
    try:
        pt.judge = lambda name, *a, **k: seen.setdefault(name, judge(name, *a, **k))
        pt.check_persistence(measured([0.6, 0.4, 0.9], beta=[0.3] * 3), (5, 5), 0.46, 0.5, unit_inputs=False)
    finally:
        pt.judge = original
    assert seen["Theorem 2a: clusters stay complete"].status is Status.VIOLATED


@pytest.mark.parametrize(("excess", "status"), [("-1e-20", Status.HOLDS), ("1e-20", Status.VIOLATED)])
def test_near_ties_of_the_cap_are_settled_exactly(excess, status):
    cap = float(pt.cross_cap(0.6, 0.3, (5, 5)))
    trajectory = measured([0.6, 0.9], beta=[0.3, cap + 1e-13])
    replay = ExactReplay(lambda trial: np.eye(10), labels_of((5, 5)), 0.55, 0.5, 1)
    with mpmath.workdps(50):
        alpha = np.array([mpmath.mpf(0.6), mpmath.mpf(0.9)], dtype=object)
        first = mpmath.mpf(0.3)
        exact_cap = first / pt.norm_product(alpha[0], (5, 5))
        replay._done[0] = (alpha, np.array([first, exact_cap + mpmath.mpf(excess)], dtype=object))
    verdict = pt.check_persistence(trajectory, (5, 5), 0.55, 0.5, unit_inputs=False, exact=replay)
    assert verdict.status is status


def test_the_very_edge_of_the_hypotheses_is_left_out():
    """A threshold equal to the cap in float64 lies on either side of it in truth: no verdict on such batches."""
    cap = float(pt.cross_cap(1.0, 0.35, 4))
    points = equiangular_clusters(1.0, 0.35, (4, 4, 4), 16, trial_generators(0, 0, range(1), 0))
    trajectory = AttentionStack(40, cap).measure(torch.from_numpy(points), labels_of((4, 4, 4)))
    verdict = pt.check_persistence(trajectory, (4, 4, 4), cap, 0.5, unit_inputs=True)
    assert verdict.status is Status.NOT_APPLICABLE


def test_hypotheses_at_their_ends():
    assert pt.norm_product(0.6, (9, 5, 2)) == pytest.approx(np.sqrt((0.6 + 0.4 / 9) * (0.6 + 0.4 / 5)))
    assert pt.persists(0.6, 0.0, 5, 0.0)
    assert not pt.persists(0.6, 0.0, 5, 0.6)
    assert not pt.admits_threshold(1.0, 1.0, 5)


def test_hypotheses_need_nu():
    """b alone below the threshold is not enough: alpha = .5, M = 4 has nu^2 = .5 + .5/4 = .625, so that b = .3 needs
    tau >= .48, and b = .4 is above .5 * .625 and has no threshold at all."""
    for threshold, holds in ((0.31, False), (0.47, False), (0.481, True), (0.499, True), (0.5, False)):
        assert pt.persists(0.5, 0.3, 4, threshold) == holds, threshold
    betas = np.array([0.3, 0.312, 0.313, 0.4, -0.2])
    np.testing.assert_array_equal(pt.admits_threshold(np.full(5, 0.5), betas, 4), [True, True, False, False, True])
    # Without cross cosines to keep below, alpha must still be positive.
    np.testing.assert_array_equal(pt.admits_threshold(np.array([0.0, -0.1, 0.1]), np.full(3, -0.2), 4), [0, 0, 1])


def test_hypotheses_of_unequal_sizes_are_those_of_the_two_largest():
    nu = np.sqrt((0.5 + 0.5 / 16) * (0.5 + 0.5 / 5))
    for sizes in ((16, 5, 2), (2, 16, 5), (5, 2, 16)):
        assert pt.cross_cap(0.5, 0.2, sizes) == pytest.approx(0.2 / nu, rel=1e-14)
        assert pt.admits_threshold(0.5, 0.5 * nu - 1e-9, sizes)
        assert not pt.admits_threshold(0.5, 0.5 * nu + 1e-9, sizes)
    # Two clusters of the largest size: its own nu twice, whatever the others have.
    assert pt.cross_cap(0.5, 0.2, (2, 16, 16)) == pytest.approx(0.2 / (0.5 + 0.5 / 16), rel=1e-14)


def test_the_cap_is_no_looser_than_stated():
    """One per mille above the cap is a violation, one below is none."""
    cap = 0.3 / (0.6 + 0.4 / 5)
    for factor, status in ((1.001, Status.VIOLATED), (0.999, Status.HOLDS)):
        trajectory = measured([0.6, 0.8, 0.9], beta=[0.3, factor * cap, 0.3])
        verdict = pt.check_persistence(trajectory, (5, 5), 0.5, 0.5, unit_inputs=True)
        assert verdict.status is status, str(verdict)


def test_coincident_points_have_an_interval():
    """Round-off carries cosines of equal points past 1; the measured extremes stay in range."""
    points = np.random.default_rng(0).standard_normal((200, 2, 7)).repeat(3, axis=1)
    labels = labels_of((3, 3))
    alpha, beta = pair_extremes(points, labels)
    assert alpha.max() == 1.0
    for a, b in zip(alpha, beta):
        assert pt.threshold_interval(float(a), float(b), 3) is not None


def test_check_leaves_other_batches_alone():
    fine = measured([0.6, 0.9, 0.99], beta=[0.3, 0.35, 0.3])
    assert pt.check_persistence(fine, (5, 5), 0.46, 0.5, unit_inputs=True).status is Status.HOLDS
    for threshold in (0.3, 0.6):
        verdict = pt.check_persistence(fine, (5, 5), threshold, 0.5, unit_inputs=True)
        assert verdict.status is Status.NOT_APPLICABLE


def test_a_cap_five_percent_too_strong_is_noticed(monkeypatch):
    points = equiangular_clusters(0.6, 0.35, (6, 6, 6), 20, trial_generators(0, 0, range(1), 0))
    trajectory = AttentionStack(6, 0.55).measure(torch.from_numpy(points), labels_of((6, 6, 6)))
    assert pt.check_persistence(trajectory, (6, 6, 6), 0.55, 0.5, unit_inputs=True).status is Status.HOLDS
    true_cap = pt.cross_cap
    monkeypatch.setattr(pt, "cross_cap", lambda *a: 0.95 * true_cap(*a))
    verdict = pt.check_persistence(trajectory, (6, 6, 6), 0.55, 0.5, unit_inputs=True)
    assert verdict.status is Status.VIOLATED


@pytest.mark.parametrize("arguments", [(1.1, 0.0, 5), (0.5, np.nan, 5), (0.5, 0.0, 1), (0.5, 0.0, ())])
def test_interval_refuses_nonsense(arguments):
    with pytest.raises(ValueError):
        pt.threshold_interval(*arguments)
