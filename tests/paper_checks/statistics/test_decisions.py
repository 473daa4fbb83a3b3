"""The decision rule: intervals against SciPy, stated error rates by simulation, and every way to be undecided."""

import math

import numpy as np
import pytest
from scipy import stats

from paper_checks.statistics import decisions
from paper_checks.statistics.decisions import (
    Contrast,
    PValues,
    against_zero,
    combined,
    contrast_rows,
    decide,
    mean_interval,
    p_values,
    student_tails,
)

SIMULATIONS = 2000


def contrast(differences, direction="above", worth=None):
    return Contrast(
        "a over b",
        "accuracy",
        dict(enumerate(differences)),
        dict.fromkeys(range(len(differences)), 0.0),
        direction,
        worth,
    )


def by_intervals(contrasts):
    """The rule as the docstring has it in words, with SciPy's intervals."""

    def interval(each, level):
        found = stats.ttest_1samp(each.differences, 0.0).confidence_interval(level)
        return found.low, found.high

    strict = 1.0 - 0.05 / len(contrasts)
    plain = [interval(each, 0.95) for each in contrasts]
    wide = [interval(each, strict) for each in contrasts]
    if all(low > 0.0 or (high < 0.0 and each.direction == "differs") for each, (low, high) in zip(contrasts, plain)):
        return "reproduced"
    if any(high < 0.0 for each, (_, high) in zip(contrasts, wide) if each.direction == "above"):
        return "contradicted"
    inside = (each.worth is not None and -each.worth < low and high < each.worth
              for each, (low, high) in zip(contrasts, wide))  # fmt: skip
    return "no difference" if any(inside) else "undecided"


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_interval_is_students(level):
    values = np.random.default_rng(0).normal(0.3, 1.0, 7)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    assert mean_interval(values, level) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_pairs_are_made_by_seed():
    first, second = {0: 0.9, 1: 0.7, 2: 0.8}, {2: 0.7, 0: 0.8, 1: 0.59, 9: 0.0}
    made = Contrast("a over b", "accuracy", first, second)
    np.testing.assert_allclose(made.differences, [0.1, 0.11, 0.1], rtol=1e-12)
    (row,) = contrast_rows([made])
    assert (row["seeds"], row["side"]) == (3, "above")
    assert row["second"] == pytest.approx(2.09 / 3)


def test_a_look_among_several_has_wider_intervals_and_a_stricter_inside():
    values = [0.1, -0.2, 0.05, 0.12, -0.03]
    (row,) = contrast_rows([contrast(values, worth=0.3)], share=0.2)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.99)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert row["deviation"] == pytest.approx(np.std(values, ddof=1))
    for share in (1.0, 0.2, 0.01):
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(1.0 - 0.05 * share)
        (row,) = contrast_rows([contrast(values, worth=0.3)], share)
        assert row["inside"] == (low > -0.3 and high < 0.3), share
    assert not row["inside"]


def test_answers():
    up, down, unclear = [0.1, 0.11, 0.12], [-0.1, -0.11, -0.12], [0.1, -0.1, 0.0]
    assert decide([contrast(up), contrast(up)]) == "reproduced"
    assert decide([contrast(up), contrast(unclear)]) == "undecided"
    assert decide([contrast(up), contrast(down)]) == "contradicted"
    assert decide([contrast(down, "differs")]) == "reproduced"
    assert decide([contrast(unclear, "differs")]) == "undecided"
    assert decide([against_zero("slope", "a unit", {0: 1.0, 1: 1.1})]) == "reproduced"


@pytest.mark.parametrize("values", [[], [5.0], [0.1, math.nan, 0.1], [0.1, math.inf, 0.1], [0.0, 0.0, 0.0]])
def test_nothing_is_decided_by_one_run_missing_values_or_equal_arms(values):
    for direction in ("above", "differs"):
        assert decide([contrast(values, direction)]) == "undecided"
        assert decide([contrast([-value for value in values], direction)]) == "undecided"
        assert p_values([contrast(values, direction)]).claim == 1.0
    (row,) = contrast_rows([contrast(values)])
    assert row["side"] == "undecided"
    assert not math.isinf(row["low"])


def test_a_claim_needs_contrasts_of_one_direction_and_a_level_lies_inside():
    for wrong in ([], [contrast([0.1, 0.2]), contrast([0.1, 0.2], "differs")]):
        for rule in (decide, p_values):
            with pytest.raises(ValueError, match=r"^contrasts:"):
                rule(wrong)
    with pytest.raises(ValueError, match=r"^tails:"):
        combined([])
    with pytest.raises(ValueError, match=r"^level:"):
        mean_interval([1.0, 2.0], 1.0)


def test_answers_about_what_matters():
    small, tiny, wide = [0.1, -0.1, 0.0], [0.001, 0.0011, 0.0009], [0.4, -0.4, 0.0]
    assert decide([contrast(small, worth=0.5)]) == "no difference"
    assert decide([contrast(small, "differs", 0.5)]) == "no difference"
    assert decide([contrast(small, worth=0.1)]) == decide([contrast(wide, worth=0.5)]) == "undecided"
    assert decide([contrast(tiny, worth=0.5)]) == "reproduced", "a clear side comes before it"
    assert decide([contrast([-value for value in tiny], worth=0.5)]) == "contradicted"
    one, other = contrast([1.0, 1.1, 1.2], worth=0.5), contrast(small, worth=1.0)
    assert decide([one, other]) == "no difference", "a claim of several fails in one"
    assert [row["inside"] for row in contrast_rows([one, other])] == [False, True]
    assert decide([contrast(small, worth=0.3)]) == "no difference"
    assert decide([contrast(wide, worth=0.3), contrast(small, worth=0.3)]) == "undecided", "Bonferroni"
    assert "inside" not in contrast_rows([contrast(small)])[0]


@pytest.mark.parametrize("worth", [0.0, -0.01, math.nan, math.inf])
def test_a_worth_is_above_0(worth):
    with pytest.raises(ValueError, match=r"^worth:"):
        contrast([0.1, 0.2], worth=worth)
    with pytest.raises(ValueError, match=r"^contrasts: must all name a worth, or none"):
        p_values([contrast([0.1, 0.2], worth=1.0), contrast([0.1, 0.2])])


@pytest.mark.parametrize("seed", range(40))
def test_p_values_say_what_the_rule_says(seed):
    rng = np.random.default_rng(seed)
    size, seeds, direction = rng.integers(1, 7), int(rng.integers(2, 7)), ["above", "differs"][seed % 2]
    shift = rng.choice([-2.0, 0.0, 2.0]) * np.ones(size) if seed % 3 else rng.normal(0.0, 2.0, size)
    worth = [None, 1.0, 4.0][rng.integers(3)]
    drawn = rng.normal(shift[:, None], 1.0, (size, seeds)).tolist()
    contrasts = [contrast(each, direction, worth) for each in drawn]
    found, answer = p_values(contrasts), decide(contrasts)
    assert answer == by_intervals(contrasts) == found.answer
    assert (found.claim <= 0.05) == (answer != "undecided")
    assert (found.same is None) == (worth is None)
    if direction == "above":
        assert (found.reproduced <= 0.025) == (answer == "reproduced")
        assert (found.contradicted <= 0.025) == (answer == "contradicted")
    else:
        assert found.contradicted is None


def test_p_values_are_those_of_single_tests():
    values = np.random.default_rng(0).normal(0.5, 1.0, (3, 6))
    upper, lower, both = (
        [stats.ttest_1samp(each, 0.0, alternative=side).pvalue for each in values]
        for side in ("greater", "less", "two-sided")
    )
    found = p_values([contrast(each) for each in values])
    assert found.reproduced == pytest.approx(max(upper), rel=1e-9)
    assert found.contradicted == pytest.approx(min(1.0, 3.0 * min(lower)), rel=1e-9)
    assert p_values([contrast(each, "differs") for each in values]).claim == pytest.approx(max(both), rel=1e-9)
    assert PValues(0.3, 0.01).claim == 0.02
    assert PValues(0.9, 0.8).claim == 1.0
    assert (PValues(0.9, 0.8, 0.01).claim, PValues(0.9, 0.8, 0.01).answer) == (0.02, "no difference")
    matters = p_values([contrast(each, worth=0.6) for each in values])
    one_sided = [max(stats.ttest_1samp(each, -0.6, alternative="greater").pvalue,
                     stats.ttest_1samp(each, 0.6, alternative="less").pvalue) for each in values]  # fmt: skip
    assert matters.same == pytest.approx(min(1.0, 3.0 * min(one_sided)), rel=1e-9)
    assert (matters.reproduced, matters.contradicted) == (found.reproduced, found.contradicted)


def test_values_that_leave_no_doubt_or_say_nothing():
    assert student_tails(0.1, 0.0, 5) == (0.0, 1.0)
    assert student_tails(-0.1, 0.0, 5) == (1.0, 0.0)
    assert student_tails(0.0, 0.0, 5) == (0.5, 0.5)
    for mean, error, count in ((0.1, 0.1, 1), (math.nan, 0.1, 5), (0.1, math.inf, 5)):
        assert student_tails(mean, error, count) == (1.0, 1.0)


def decided(count, direction="above", seeds=5):
    """How often a claim of identical arms is decided; accuracies as a probe of 359 test images has them."""
    rng = np.random.default_rng(count)
    answers = []
    for _ in range(SIMULATIONS):
        # One arm in common, as claims against a baseline have it, so that contrasts depend on each other.
        base, *arms = rng.binomial(359, 0.85, (count + 1, seeds)) / 359.0
        answers.append(
            decide([Contrast("", "", dict(enumerate(arm)), dict(enumerate(base)), direction) for arm in arms])
        )
    return {answer: answers.count(answer) / SIMULATIONS for answer in ("reproduced", "contradicted", "undecided")}


def tolerance(rate):
    """Five standard errors of the simulation: a seed that is out of them is no accident."""
    return rate + 5.0 * math.sqrt(rate * (1.0 - rate) / SIMULATIONS)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_identical_arms_are_decided_no_more_often_than_stated(count, seeds):
    found = decided(count, seeds=seeds)
    assert found["reproduced"] <= tolerance(0.025)
    assert found["contradicted"] <= tolerance(0.025)
    assert found["undecided"] >= 1.0 - tolerance(0.05)
    assert decided(count, "differs", seeds)["reproduced"] <= tolerance(0.05)


def test_equal_differences_say_nothing():
    """A coin's toss for a difference agrees in all of three seeds one time in four: that is no evidence."""
    rng = np.random.default_rng(0)
    answers = [decide([contrast(rng.choice([-0.1, 0.1], 3).tolist())]) for _ in range(SIMULATIONS)]
    assert set(answers) == {"undecided"}
    # Six of 359 images apart in all seeds: as accuracies the differences part in their last digits.
    rounded = [(282 + n) / 359 - (276 + n) / 359 for n in (0, -16, -42, -47, -77)]
    assert len(set(rounded)) > 1
    for differences in ([0.1] * 5, [0.0] * 5, rounded):
        assert decide([contrast(differences, worth=1.0)]) == "undecided"
        assert mean_interval(differences) == (-math.inf, math.inf)
    # Zeros by construction beside a mean of the worth itself: only where all five are zero was all certain.
    assert decide([contrast([0.0, 0.0, 0.0, 0.0, 1e-12], worth=1.0)]) == "no difference"


def test_a_single_comparison_uses_its_error_rate_up():
    """Were it far below what is stated, claims would go undecided for nothing."""
    assert decided(1)["undecided"] <= 1.0 - 0.03


def test_rules_that_are_too_lax_are_caught(monkeypatch):
    exact = decisions.combined

    def without_bonferroni(tails):
        return PValues(exact(tails).reproduced, min(low for _, low in tails))

    monkeypatch.setattr(decisions, "combined", without_bonferroni)
    assert decided(6)["contradicted"] > tolerance(0.025)
    monkeypatch.setattr(decisions, "combined", lambda tails: exact([(up / 4.0, low) for up, low in tails]))
    assert decided(1)["reproduced"] > tolerance(0.025)
    inside = decisions._inside
    monkeypatch.setattr(decisions, "_inside", lambda *each: inside(*each) / 4.0)
    assert called_equal((1.0,)) > 0.025 + 5.0 * math.sqrt(0.025 * 0.975 / 1000)


def called_equal(shifts, seeds=5, simulations=1000):
    """How often "every difference matters" is rejected where such differences are true, in units of what matters."""
    rng = np.random.default_rng(len(shifts))
    noise = rng.normal(0.0, 0.3, (simulations, len(shifts), seeds)) + rng.normal(0.0, 0.1, (simulations, 1, seeds))
    found = [p_values([contrast(row + shift, worth=1.0) for row, shift in zip(each, shifts)]) for each in noise]
    return sum(each.same <= 0.025 for each in found) / simulations


@pytest.mark.parametrize("shifts", [(1.0,), (-1.0,), (1.0, -1.0, 1.0)])
def test_differences_that_just_matter_are_seldom_called_none(shifts):
    """The worst case of the hypothesis that all matter; and the rule is not far below what is stated."""
    assert 0.01 < called_equal(shifts) <= 0.025 + 5.0 * math.sqrt(0.025 * 0.975 / 1000)
    if len(shifts) == 1:
        assert called_equal((0.0,)) > 0.9
