from bisect import bisect_left
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from theory.judging.exact_replay import ExactReplay
from theory.judging.rates import (
    FALSE_ALARM,
    RateCell,
    clopper_pearson,
    contradictions,
    culprits,
    judge_rates,
    trials_to_notice,
)
from theory.judging.verdicts import Status, combine_cells, combine_parts, judge

ALL = np.ones(3, dtype=bool)


def test_clear_cases():
    holds = judge("s", np.array([0.1, 0.2, 0.3]), 0.5, ALL)
    assert (holds.status, holds.measured, holds.margin, holds.where) == (Status.HOLDS, 0.3, pytest.approx(0.2), 2)
    broken = judge("s", np.array([[0.1, 0.2, 0.3], [0.1, 0.6, 0.3]]), 0.5, ALL)
    assert (broken.status, broken.measured, broken.where) == (Status.VIOLATED, 0.6, 1)
    assert judge("s", np.array([9.0, 0.1, 0.1]), 0.5, np.array([False, True, True])).status is Status.HOLDS
    assert judge("s", np.array([9.0, 0.1, 0.1]), 0.5, ~ALL).status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("excess", [1e-8, 1e-4, 0.009])
def test_a_bound_has_no_tolerance_of_its_own(excess):
    assert judge("s", np.array([0.1, 0.5 + excess, 0.1]), 0.5, ALL).status is Status.VIOLATED
    assert judge("s", np.array([0.1, 0.5 - excess, 0.1]), 0.5, ALL).status is Status.HOLDS


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


@pytest.mark.parametrize("discrete", [True, False])
def test_an_infinite_margin_is_the_tightest_only_where_all_are(discrete):
    """A ratio of margin and size may be larger than 1, where signs differ."""
    for measured, bound in ((1.0, 1.05), (-1.0, 1.0)):
        verdict = judge("s", np.array([1.0, measured, 1.0]), np.array([np.inf, bound, np.inf]), ALL, discrete=discrete)
        assert (verdict.status, verdict.measured, verdict.bound, verdict.where) == (Status.HOLDS, measured, bound, 1)
        infinite = judge("s", np.array([1.0]), np.array([np.inf]), True, discrete=discrete)
        assert (infinite.margin, infinite.relative_margin, infinite.bound) == (np.inf, 1.0, np.inf)
        for cells in ([infinite, verdict], [verdict, infinite]):
            assert combine_cells("s", cells).bound == bound
        assert combine_cells("s", [infinite, infinite]).bound == np.inf


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.999]))
def test_clopper_pearson_is_scipys(trials, share, confidence):
    successes = round(share * trials)
    low, high = clopper_pearson(successes, trials, confidence)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def rate(failures, trials=200, place="a", pool="all", **more):
    return RateCell(place, "kept", failures, trials, pool=pool, **more)


def status_of(cells, delta=0.05):
    return judge_rates("r", cells, delta).status


def test_rates():
    assert status_of([rate(0)]) is Status.HOLDS
    assert status_of([rate(40)]) is Status.VIOLATED
    assert status_of([rate(9)]) is Status.UNDECIDED
    assert status_of([rate(0, 20)]) is Status.UNDECIDED
    # HOLDS exactly while so few failures are rarer than 5 % at rate delta.
    last = max(f for f in range(20) if status_of([rate(f)]) is Status.HOLDS)
    assert binom.cdf(last, 200, 0.05) <= 0.05 < binom.cdf(last + 1, 200, 0.05)


def test_only_cells_of_a_pool_confirm_and_every_pool_must():
    assert status_of([rate(0, pool=None)]) is Status.UNDECIDED
    assert status_of([rate(0), rate(9, place="b", pool="other")]) is Status.UNDECIDED
    assert status_of([rate(0), rate(0, 2000, place="b", pool="other")]) is Status.HOLDS


def test_one_cell_in_doubt_keeps_the_others_from_deciding():
    good = [rate(0, place=str(i)) for i in range(12)]
    assert status_of(good) is Status.HOLDS
    assert status_of([*good, rate(24, place="x", pool=None)]) is Status.UNDECIDED
    assert status_of([*good, rate(40, place="x", pool=None)]) is Status.VIOLATED


def test_trials_outside_the_hypotheses_confirm_nothing():
    """Nor do they make a violation: P(hypotheses and failure) is what is bounded."""
    assert status_of([rate(0, 200, applicable=0)]) is Status.NOT_APPLICABLE
    assert status_of([rate(0, 2000, applicable=20)]) is Status.UNDECIDED
    assert status_of([rate(0, 2000, applicable=100)]) is Status.HOLDS
    assert status_of([rate(30, 2000, applicable=100)]) is Status.UNDECIDED
    verdict = judge_rates("r", [rate(1, 300, applicable=100), rate(0, 200, place="b")], 0.05)
    assert (verdict.applicable, verdict.cases) == (300, 500)


def test_promises_of_one_place_count_once():
    """All are kept on one event: the one that failed most stands for the place."""
    verdict = judge_rates("r", [rate(8), RateCell("a", "too", 3, 200, pool="all")], 0.05)
    assert (verdict.cases, verdict.measured) == (200, 0.04)


def first(says, until):
    """Smallest number of failures from which on a condition holds that stays true."""
    return bisect_left(range(until + 1), True, key=says)


DELTA, FLOORS, TRIALS = 0.05, 24, trials_to_notice(0.08, 0.05, 24)


def chance_of_holding(true_rate, failing):
    """P(HOLDS) if ``failing`` of the cells fail at ``true_rate`` and the others never: exact, since more failures never
    turn another status into HOLDS."""
    rest = [rate(0, TRIALS, f"rest {i}") for i in range(FLOORS - failing)]

    def refused(failures):
        share = [failures // failing + (i < failures % failing) for i in range(failing)]
        return status_of([*(rate(f, TRIALS, str(i)) for i, f in enumerate(share)), *rest]) is not Status.HOLDS

    return binom.cdf(first(refused, failing * TRIALS) - 1, failing * TRIALS, true_rate)


def test_what_fails_at_every_floor_or_at_one_is_not_called_sound():
    """A true failure rate of 8 % where 5 % is allowed comes out HOLDS at most 5 % of the time."""
    assert chance_of_holding(0.08, FLOORS) <= 1e-6
    assert 0.01 <= chance_of_holding(0.08, 1) <= 0.05
    assert chance_of_holding(0.02, FLOORS) >= 0.999


def test_a_true_promise_is_rarely_called_violated():
    """At failure rate delta everywhere: critical numbers of failures, and their exact probabilities, added up."""
    rest = [rate(0, TRIALS, place=str(i)) for i in range(FLOORS - 1)]
    alone = first(lambda f: status_of([rate(f, TRIALS), *rest]) is Status.VIOLATED, TRIALS)
    even = first(lambda f: status_of([rate(f, TRIALS, str(i)) for i in range(FLOORS)]) is Status.VIOLATED, TRIALS)
    together = (even - 1) * FLOORS + 1
    alarm = FLOORS * binom.sf(alone - 1, TRIALS, DELTA) + binom.sf(together - 1, FLOORS * TRIALS, DELTA)
    assert alarm <= FALSE_ALARM


def test_a_verdict_says_what_it_would_have_noticed():
    cells = [rate(3, TRIALS, place=str(i)) for i in range(FLOORS)]
    verdict = judge_rates("r", cells, DELTA)
    assert verdict.status is Status.HOLDS
    told = f"{verdict.noticed_in_all:.1%} in all cells at the limit, of {verdict.noticed_in_one:.1%} in any one there"
    assert told in verdict.detail
    assert verdict.noticed_in_one == verdict.noticed_anywhere <= 0.08
    failures = first(lambda f: status_of([rate(f, TRIALS), *cells[1:]]) is not Status.HOLDS, TRIALS)
    assert binom.sf(failures - 1, TRIALS, verdict.noticed_in_one) == pytest.approx(0.95, abs=1e-6)
    pooled = first(lambda f: status_of([rate(f, FLOORS * TRIALS)]) is Status.VIOLATED, FLOORS * TRIALS)
    # One pool in place of 24 cells: its test has a level of its own, so that the two agree only roughly.
    assert binom.sf(pooled - 1, FLOORS * TRIALS, verdict.noticed_in_all) == pytest.approx(0.95, abs=0.05)
    # In a cell of fewer trials a failure rate has to be larger to be noticed.
    few = judge_rates("r", [rate(3, TRIALS // 4), *cells[1:]], DELTA)
    assert few.noticed_in_one > verdict.noticed_in_one
    assert "no size" in judge_rates("r", [rate(0, 2)], DELTA).detail
    # A small cell away from the limit is seen less well, and said to be.
    beside = judge_rates("r", [*cells, rate(0, 100, place="x", pool=None)], DELTA)
    assert beside.noticed_anywhere > 0.15 > 0.085 > beside.noticed_in_one


def test_what_is_noticed_where_only_some_trials_apply():
    """The test counts all trials, so that failures of the half that applies have to be as many."""
    cells = [RateCell("a", "to do", 0, TRIALS, TRIALS // 2, "pool")]
    told = judge_rates("r", cells, DELTA).noticed_in_all
    needed = first(lambda f: status_of([replace(cells[0], failures=f)]) is Status.VIOLATED, TRIALS // 2)
    assert binom.sf(needed - 1, TRIALS // 2, told) == pytest.approx(0.95, abs=1e-6)
    assert binom.sf(needed - 1, TRIALS // 2, 0.75 * told) < 0.6
    few = judge_rates("r", [RateCell("a", "to do", 0, TRIALS, 3, "pool")], DELTA)
    assert few.noticed_in_all == 1.0


def test_an_open_rate_is_not_written_as_an_equation():
    cells = [rate(12, 200)]
    verdict = judge_rates("r", cells, DELTA)
    assert verdict.status is Status.UNDECIDED
    assert "0.06 > 0.05" in str(verdict)


def test_trials_are_chosen_for_power():
    for cells in (1, 24):
        trials = trials_to_notice(0.08, 0.05, cells)
        for count, goal in ((trials, True), (trials // 2, False)):
            critical = binom.isf(0.05 / cells, count, 0.05) + 1
            assert bool(binom.sf(critical - 1, count, 0.08) >= 0.95) is goal
    with pytest.raises(ValueError, match="rate"):
        trials_to_notice(0.05, 0.05, 1)


def test_whose_batches_are_kept():
    cells = [rate(0), rate(60, place="b"), rate(50, place="c", pool=None)]
    assert culprits(cells, 0.05) == [1, 2]
    together = [rate(20, place=str(i)) for i in range(12)] + [rate(21, place="x")]
    assert [cell.place for cell in contradictions(together, 0.05)] == ["all"]
    assert culprits(together, 0.05) == [12]
    assert culprits(cells[:1], 0.05) == []


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
        (lambda: judge_rates("r", [rate(1, 10)], 0.0), "delta"),
        (lambda: rate(11, 10), "failures"),
        (lambda: rate(3, 10, applicable=2), "failures"),
        (lambda: rate(3, 10, applicable=11), "applicable"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(ValueError, match=names):
        call()
