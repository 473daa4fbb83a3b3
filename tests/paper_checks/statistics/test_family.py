"""The error rate over all claims: against closed testing, numbers by hand, and a simulation without effects."""

import math
from itertools import combinations

import numpy as np
import pytest

from paper_checks.statistics.decisions import NO_EVIDENCE, Contrast, PValues, decide, p_values
from paper_checks.statistics.family import standings, weighted_holm

RUNS = 500


def closed_testing(p, weights):
    """From the definition: a hypothesis is rejected if every set of hypotheses that it is in is, a set by Bonferroni
    with weights, at its smallest p/w times the weight of the set."""
    every = range(len(p))
    sets = [each for size in range(1, len(p) + 1) for each in combinations(every, size)]
    level = {each: min(p[i] / weights[i] for i in each) * sum(weights[i] for i in each) for each in sets}
    return [min(1.0, max(level[each] for each in sets if i in each)) for i in every]


def possible(p, weights, claims):
    """Closed testing where hypotheses of one claim that weigh more than 1 are never true together."""
    every = range(len(p))
    sets = [each for size in range(1, len(p) + 1) for each in combinations(every, size)
            if all(sum(weights[i] for i in each if claims[i] == name) <= 1.0 for name in claims)]  # fmt: skip
    level = {each: min(p[i] / weights[i] for i in each) * sum(weights[i] for i in each) for each in sets}
    return [min(1.0, max(level[each] for each in sets if i in each)) for i in every]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_impossible_is_left_out_and_nothing_else(seed):
    """Never below closed testing of the sets that are possible, and never above Holm's of all of them."""
    rng = np.random.default_rng(seed)
    claims, weights = ["a", "a", "a", "b", "b", "c", "c", "c"], [0.5] * 3 + [1.0, 0.5] + [0.5] * 3
    p = (rng.random(8) ** 3).tolist()
    found = np.array(weighted_holm(p, weights, claims))
    assert (found >= np.array(possible(p, weights, claims)) - 1e-12).all()
    assert (found <= np.array(weighted_holm(p, weights)) + 1e-12).all()
    assert min(found) == pytest.approx(min(1.0, 3.0 * min(a / b for a, b in zip(p, weights))))


def test_a_third_answer_makes_no_other_harder():
    two = {"S1": ("reproduced", PValues(0.004, 1.0)), "S2": ("undecided", PValues(0.3, 0.7))}
    three = {"S1": ("reproduced", PValues(0.004, 1.0, 1.0)), "S2": ("undecided", PValues(0.3, 0.7, 0.4))}
    assert standings(two)["S1"] == standings(three)["S1"]
    same = standings({"S1": ("no difference", PValues(0.4, 0.6, 0.004)), "D3": ("undecided", PValues(0.3, None, 0.2))})
    # .004/.5 x 2 claims.
    assert (same["S1"].adjusted, same["S1"].stands) == (pytest.approx(0.016), True)
    assert same["D3"].p_value == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(6))
def test_step_down_is_closed_testing(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    p, weights = (rng.random(count) ** 3).tolist(), rng.choice([0.5, 1.0, 2.0], count).tolist()
    p[0] = p[-1]
    np.testing.assert_allclose(weighted_holm(p, weights), closed_testing(p, weights), rtol=1e-12)


def test_equal_weights_are_holms():
    # By hand: .005 x 4, .01 x 3, .03 x 2, and .04 that cannot be below the one before.
    assert weighted_holm([0.01, 0.04, 0.03, 0.005], [1.0] * 4) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert weighted_holm([], []) == []


@pytest.mark.parametrize(("p", "weights", "named"), [
    ([math.nan], [1.0], "p_values"), ([1.5], [1.0], "p_values"), ([0.5], [0.0], "weights"), ([0.5], [], "weights"),
])  # fmt: skip
def test_values_out_of_range_are_named(p, weights, named):
    with pytest.raises(ValueError, match=f"^{named}:"):
        weighted_holm(p, weights)
    with pytest.raises(ValueError, match=r"^claims:"):
        weighted_holm([0.1, 0.2], [1.0, 1.0], ["a"])


def test_one_claim_alone_keeps_its_own_level():
    found = standings({"S1": ("reproduced", PValues(0.02, 1.0))})["S1"]
    assert (found.p_value, found.adjusted, found.stands) == (0.04, 0.04, True)
    found = standings({"D3": ("reproduced", PValues(0.04, None))})["D3"]
    assert (found.p_value, found.adjusted, found.stands) == (0.04, 0.04, True)


def test_claims_of_both_kinds_by_hand():
    """Weights 1/2, 1/2 | 1 | 1/2, 1/2: .002/.5 x 3, then .012/1 x 2.5, then .018/.5 x 1.5."""
    found = standings({
        "S1": ("contradicted", PValues(1.0, 0.002)), "D3": ("reproduced", PValues(0.012, None)),
        "S2": ("reproduced", PValues(0.018, 1.0)),
    })  # fmt: skip
    assert [each.p_value for each in found.values()] == pytest.approx([0.004, 0.012, 0.036])
    assert [each.adjusted for each in found.values()] == pytest.approx([0.012, 0.030, 0.054])
    assert [each.stands for each in found.values()] == [True, True, False]


def test_claims_that_could_not_be_measured_count():
    one = {"S1": ("reproduced", PValues(0.02, 1.0))}
    assert standings(one)["S1"].stands
    assert not standings({**one, "S2": ("failed", NO_EVIDENCE)})["S1"].stands


def test_what_its_own_rule_leaves_open_or_answers_otherwise_does_not_stand():
    found = standings({"T6": ("undecided", PValues(1e-9, 1.0)), "S1": ("contradicted", PValues(1e-9, 1.0))})
    assert not any(each.stands for each in found.values())


def claims_of(effects, rng, seeds=5):
    """Claims whose contrasts share one arm, all of accuracies as a probe of 359 test images has them, so that claims
    depend on each other as those against one baseline do."""
    base = rng.binomial(359, 0.85, seeds) / 359.0
    found = {}
    for number, (shifts, direction) in enumerate(effects):
        arms = [rng.binomial(359, 0.85, seeds) / 359.0 + shift for shift in shifts]
        contrasts = [Contrast("", "", dict(enumerate(arm)), dict(enumerate(base)), direction) for arm in arms]
        found[str(number)] = (decide(contrasts), p_values(contrasts))
    return found


NOTHING = (*(((0.0,), "above"),) * 6, *(((0.0, 0.0), "above"),) * 2, ((0.0,), "differs"), ((0.0,), "differs"))


def rates(effects, wrong, seed):
    """Share of runs in which some claim is decided wrongly, and in which such an answer stands."""
    rng = np.random.default_rng(seed)
    decided = standing = 0
    for _ in range(RUNS):
        claims = claims_of(effects, rng)
        kept = standings(claims)
        bad = [name for name, (answer, _) in claims.items() if answer in wrong[int(name)]]
        decided += bool(bad)
        standing += any(kept[name].stands for name in bad)
    return decided / RUNS, standing / RUNS


def within(rate):
    """Five standard errors of the simulation."""
    return rate + 5.0 * math.sqrt(rate * (1.0 - rate) / RUNS)


def test_without_any_effect_one_run_in_twenty_at_most_has_an_answer_that_stands():
    """And by their own rules alone far more runs have one: the simulation could see it."""
    decided, standing = rates(NOTHING, [("reproduced", "contradicted")] * len(NOTHING), seed=0)
    assert standing <= within(0.05)
    assert decided > 2.0 * within(0.05)


def test_effects_do_not_make_room_for_errors():
    """Claims that are true, and found, leave the others a smaller family, whose errors stay rare; and a true claim must
    not be contradicted."""
    effects = (*(((0.2,), "above"),) * 4, *(((-0.2,), "above"),) * 3, *NOTHING[4:])
    wrong = [*[("contradicted",)] * 4, *[("reproduced",)] * 3, *[("reproduced", "contradicted")] * 6]
    decided, standing = rates(effects, wrong, seed=1)
    assert standing <= within(0.05) < decided


def test_effects_that_are_large_stand():
    rng = np.random.default_rng(2)
    effects = (*(((0.2,), "above"),) * 2, *NOTHING)
    found = [standings(claims_of(effects, rng)) for _ in range(30)]
    assert np.mean([each["0"].stands for each in found]) > 0.8
