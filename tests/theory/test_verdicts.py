import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from theory.exact_replay import ExactReplay
from theory.verdicts import (
    Status,
    clopper_pearson,
    combine_cells,
    combine_parts,
    judge,
    judge_failure_rate,
)

ALL = np.ones(3, dtype=bool)


def test_clear_cases():
    holds = judge("s", np.array([0.1, 0.2, 0.3]), 0.5, ALL)
    assert (holds.status, holds.measured, holds.margin, holds.where) == (Status.HOLDS, 0.3, pytest.approx(0.2), 2)
    broken = judge("s", np.array([[0.1, 0.2, 0.3], [0.1, 0.6, 0.3]]), 0.5, ALL)
    assert (broken.status, broken.measured, broken.where) == (Status.VIOLATED, 0.6, 1)
    assert judge("s", np.array([9.0, 0.1, 0.1]), 0.5, np.array([False, True, True])).status is Status.HOLDS
    assert judge("s", np.array([9.0, 0.1, 0.1]), 0.5, ~ALL).status is Status.NOT_APPLICABLE


def test_nan_is_never_a_pass():
    for measured, bound in ((np.nan, 1.0), (0.0, np.nan)):
        with pytest.raises(ValueError, match="NaN"):
            judge("s", np.array([0.0, 0.0, measured]), np.array([1.0, 1.0, bound]), ALL)
    infinite = judge("s", np.array([0.0, 0.0, np.inf]), 1.0, ALL)
    assert infinite.status is Status.VIOLATED
    excused = judge("s", np.array([0.0, 0.0, np.nan]), 1.0, np.array([True, True, False]))
    assert excused.status is Status.HOLDS


def fake_replay(margins):
    """A replay whose exact margins are given; it has as many points as make its limit exceed the cases."""
    replay = ExactReplay(lambda trial: np.eye(4), np.array([0, 0, 1, 1]), 0.0, 0.5, 1)
    for trial, margin in enumerate(margins):
        replay._done[trial] = (np.array([margin], dtype=object), np.empty(0))
    return replay, lambda trial, alpha, beta: alpha[0]


@pytest.mark.parametrize(
    ("margins", "status"),
    [
        ((mpmath.mpf("1e-20"),) * 3, Status.HOLDS),
        ((mpmath.mpf(0),) * 3, Status.HOLDS),
        ((mpmath.mpf("1e-20"), mpmath.mpf("-1e-20"), mpmath.mpf(1)), Status.VIOLATED),
    ],
)
def test_near_ties_are_settled_in_high_precision(margins, status):
    close = 0.5 + np.array([-1e-13, 2e-13, -1e-13])
    assert judge("s", close, 0.5, ALL).status is Status.UNDECIDED
    assert judge("s", close, 0.5, ALL, *fake_replay(margins)).status is status


def test_ties_beyond_the_budget_stay_undecided():
    replay, margin = fake_replay([mpmath.mpf(1)] * 3)
    frugal = ExactReplay(replay.points, replay.labels, 0.0, 0.5, 1, seconds=0.0, _done=replay._done)
    assert frugal.limit == 1
    verdict = judge("s", np.full(3, 0.5), 0.5, ALL, frugal, margin)
    assert verdict.status is Status.UNDECIDED
    assert "2 cases" in verdict.detail


def test_a_violation_wins_over_near_ties():
    verdict = judge("s", np.array([0.5, 0.6, 0.1]), 0.5, ALL)
    assert verdict.status is Status.VIOLATED


def test_counts_have_no_near_ties():
    assert judge("s", np.zeros(3), 0.0, ALL, discrete=True).status is Status.HOLDS
    assert judge("s", np.array([0, 1, 0]), 0.0, ALL, discrete=True).status is Status.VIOLATED


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.999]))
def test_clopper_pearson_is_scipys(trials, share, confidence):
    successes = round(share * trials)
    low, high = clopper_pearson(successes, trials, confidence)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rates():
    assert judge_failure_rate("r", 0, 200, 0.05).status is Status.HOLDS
    assert judge_failure_rate("r", 40, 200, 0.05).status is Status.VIOLATED
    assert judge_failure_rate("r", 9, 200, 0.05).status is Status.UNDECIDED
    # HOLDS exactly while the one-sided 95 % limit stays below delta: P(at most f failures at rate delta) <= 5 %.
    last = max(f for f in range(20) if judge_failure_rate("r", f, 200, 0.05).status is Status.HOLDS)
    assert binom.cdf(last, 200, 0.05) <= 0.05 < binom.cdf(last + 1, 200, 0.05)
    assert judge_failure_rate("r", 0, 20, 0.05).status is Status.UNDECIDED


def test_a_true_rate_is_rarely_called_violated():
    """At failure probability exactly delta, VIOLATED has at most the promised false-alarm probability."""
    trials, delta = 200, 0.05
    alarms = [f for f in range(trials + 1) if judge_failure_rate("r", f, trials, delta).status is Status.VIOLATED]
    assert binom.sf(min(alarms) - 1, trials, delta) <= 0.0005


def test_combining():
    good = judge("T: a", np.array([0.1]), 1.0, ALL[:1])
    tight = judge("T: b", np.array([0.9]), 1.0, ALL[:1])
    bad = judge("T: c", np.array([2.0]), 1.0, ALL[:1])
    none = judge("T: d", np.array([2.0]), 1.0, ~ALL[:1])
    both = combine_parts("T", [good, tight, none])
    assert (both.status, both.measured, both.applicable) == (Status.HOLDS, 0.9, 1)
    assert both.detail == "b"
    assert combine_parts("T", [good, bad]).status is Status.VIOLATED
    assert combine_cells("T", [good, tight]).applicable == 2
    unsure = judge("T: e", np.array([1.0]), 1.0, ALL[:1])
    assert unsure.status is Status.UNDECIDED
    assert combine_parts("T", [good, unsure]).status is Status.UNDECIDED
    assert combine_parts("T", [good, unsure, bad]).status is Status.VIOLATED
    assert combine_cells("T", [none]).status is Status.NOT_APPLICABLE
    assert combine_cells("T", []).status is Status.NOT_APPLICABLE
    assert "HOLDS" in str(both)
    assert "0.9 <= 1" in str(both)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: clopper_pearson(5, 4), "successes"),
        (lambda: clopper_pearson(0, 0), "trials"),
        (lambda: clopper_pearson(1, 4, 1.0), "confidence"),
        (lambda: judge_failure_rate("r", 1, 10, 0.0), "delta"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(ValueError, match=names):
        call()
