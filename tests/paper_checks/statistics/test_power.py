"""Power against SciPy and simulation, and numbers of seeds that do what they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from paper_checks.statistics.decisions import Contrast, contrast_rows, decide
from paper_checks.statistics.power import (
    MOST_SEEDS,
    chance,
    power,
    seeds_of_claim,
    seeds_to_decide,
    share_words,
)


@pytest.mark.parametrize(("effect", "deviation", "seeds", "level"), [
    (1.0, 1.0, 5, 0.025), (0.01, 0.03, 40, 0.0125), (-0.5, 1.0, 8, 0.1), (0.0, 2.0, 3, 0.025), (1.0, 0.01, 4, 0.001),
])  # fmt: skip
def test_power_is_students(effect, deviation, seeds, level):
    bound = stats.t.ppf(1.0 - level, seeds - 1)
    expected = stats.nct.sf(bound, seeds - 1, effect * math.sqrt(seeds) / deviation)
    assert power(effect, deviation, seeds, level) == pytest.approx(expected, rel=1e-9)


def test_power_where_nothing_is_left_to_chance():
    assert power(1.0, 1e-9, 2000, 0.01) == 1.0, "the noncentral t has no number for what is missed there"
    assert power(-1.0, 1e-9, 2000, 0.01) == 0.0
    assert (power(1.0, 0.0, 2, 0.01), power(0.0, 0.0, 2, 0.01)) == (1.0, 0.0)


@pytest.mark.parametrize(("arguments", "named"), [
    ((1.0, -1.0, 5, 0.1), "deviation"), ((1.0, math.nan, 5, 0.1), "deviation"), ((1.0, 1.0, 1, 0.1), "seeds"),
    ((1.0, 1.0, 5, 0.0), "level"),
])  # fmt: skip
def test_power_names_what_cannot_be(arguments, named):
    with pytest.raises(ValueError, match=f"^{named}:"):
        power(*arguments)


@pytest.mark.parametrize(("arguments", "named"), [
    ((0.0, 1.0), "worth"), ((1.0, -1.0), "deviation"), ((1.0, 1.0, 0), "contrasts"), ((1.0, 1.0, 1, 0.0), "share"),
    ((1.0, 1.0, 1, 1.1), "share"), ((1.0, 1.0, 1, 1.0, 1.0), "wanted"),
])  # fmt: skip
def test_seeds_name_what_cannot_be(arguments, named):
    with pytest.raises(ValueError, match=f"^{named}:"):
        seeds_to_decide(*arguments)


def rate(truth, deviation, seeds, contrasts, answers, runs=800):
    """How often the rule itself gives one of the answers."""
    rng = np.random.default_rng(seeds)
    found = 0
    for noise in rng.normal(truth, deviation, (runs, contrasts, seeds)):
        zeros = dict.fromkeys(range(seeds), 0.0)
        found += decide([Contrast("", "", dict(enumerate(row)), zeros, worth=1.0) for row in noise]) in answers
    return found / runs


@pytest.mark.parametrize(("deviation", "contrasts"), [(0.5, 1), (1.5, 1), (1.0, 3)])
def test_so_many_seeds_decide_and_fewer_do_not(deviation, contrasts):
    """Against the rule by simulation: 80 % at both ends, and no longer at one of them with a quarter fewer."""
    seeds = seeds_to_decide(1.0, deviation, contrasts)
    margin = 4.0 * math.sqrt(0.8 * 0.2 / 800)
    assert rate(1.0, deviation, seeds, contrasts, ("reproduced",)) > 0.8 - margin
    assert rate(0.0, deviation, seeds, contrasts, ("no difference",)) > 0.8 - margin
    if contrasts == 1:
        few = max(2, 3 * seeds // 4)
        ends = (rate(1.0, deviation, few, 1, ("reproduced",)), rate(0.0, deviation, few, 1, ("no difference",)))
        assert min(ends) < 0.8


def test_numbers_of_seeds_go_with_what_makes_it_hard():
    assert seeds_to_decide(1.0, 0.0) == 2
    base = seeds_to_decide(1.0, 1.0)
    assert base < seeds_to_decide(1.0, 1.0, 3) < seeds_to_decide(1.0, 1.0, 3, share=0.5)
    assert base < seeds_to_decide(1.0, 1.0, wanted=0.95)
    assert seeds_to_decide(1.0, 2.0) == pytest.approx(4 * base, rel=0.2), "a square"
    assert seeds_to_decide(1.0, 100.0) is None
    assert seeds_to_decide(1.0, 25.0) < MOST_SEEDS
    # By hand, z for t: ((1.96 + 1.28) x 3)^2 = 94.6, and a few more for the estimated deviation.
    assert seeds_to_decide(0.01, 0.03) in range(95, 100)


@pytest.mark.parametrize("contrasts", [1, 3, 600])
def test_the_number_is_the_smallest_that_meets_both_conditions(contrasts):
    """Of many contrasts, that all be found is what is hard; of few, that one lies inside."""

    def missed(seeds):
        inside = 2.0 * (1.0 - power(1.0, 1.5, seeds, 0.0125 / contrasts))
        return inside, contrasts * (1.0 - power(1.0, 1.5, seeds, 0.0125))

    seeds = seeds_to_decide(1.0, 1.5, contrasts, 0.5)
    assert max(missed(seeds)) <= 0.2 < max(missed(seeds - 1))
    assert (missed(seeds - 1)[1] > 0.2) == (contrasts == 600)


def rows_of(*differences, worth=1.0, direction="above"):
    zeros = dict.fromkeys(range(len(differences[0])), 0.0)
    return contrast_rows([Contrast("", "", dict(enumerate(d)), zeros, direction, worth) for d in differences])


def test_a_claim_needs_what_its_noisiest_contrast_needs():
    rows = rows_of([0.0, 1.0, 2.0], [0.0, 2.0, 4.0])
    assert seeds_of_claim(rows) == seeds_to_decide(1.0, 2.0, 2) > seeds_to_decide(1.0, 1.0, 2)
    assert seeds_of_claim(rows, 0.5) > seeds_of_claim(rows)
    assert seeds_of_claim([]) is None
    assert seeds_of_claim(rows_of([0.0, 1.0], worth=None)) is None
    assert seeds_of_claim(rows_of([0.0, math.nan])) is None
    assert seeds_of_claim(rows_of([0.0, 1000.0])) is None


def test_a_claim_without_a_third_answer_is_promised_none():
    """Where differences are 0 no number of seeds decides it: the promise is of those that are as large as matters."""
    rows = rows_of([0.0, 1.0, 2.0], [0.0, 2.0, 4.0])
    seeds = seeds_of_claim(rows, equivalence=False)
    assert seeds < seeds_of_claim(rows)

    def missed(count):
        return 2.0 * (1.0 - power(1.0, 2.0, count, 0.025))

    assert missed(seeds) <= 0.2 < missed(seeds - 1)
    # Rows as a claim without equivalence has them: a worth to be drawn in, and nothing that could lie inside.
    none = [{**row, "worth": 1.0} for row in rows_of([0.01, -0.01, 0.0], worth=None)]
    assert chance(none, 100, 1.0) < 0.5
    assert chance(rows_of([0.01, -0.01, 0.0]), 100, 1.0) > 0.99


def test_the_chance_of_deciding_next_time():
    clear, unclear, none = [2.0, 2.1, 2.2], [2.0, -2.5, 3.0], [0.01, -0.01, 0.0]
    assert chance(rows_of(clear), 6, 0.5) > 0.99
    assert chance(rows_of(none), 6, 0.5) > 0.99, "to be no difference that matters"
    assert chance(rows_of(unclear), 6, 0.5) < 0.3
    assert chance(rows_of(clear, unclear), 6, 0.5) < 0.3, "all contrasts must be above"
    assert chance(rows_of(unclear, [-each for each in clear]), 6, 0.5) > 0.99, "one that is below is enough"
    assert chance(rows_of([-each for each in clear], direction="differs"), 6, 0.5) > 0.99
    assert chance(rows_of(unclear), 6, 0.5) < chance(rows_of(unclear), 50, 0.5)
    assert chance(rows_of([0.0, math.nan]), 6, 0.5) == chance([], 6, 0.5) == 0.0
    lost = [math.nan, *clear[1:]]
    assert chance(rows_of(clear, lost), 6, 0.5) == 0.0, "all contrasts must be above"
    assert chance(rows_of([-each for each in clear], lost), 6, 0.5) > 0.99, "one that is below is enough"
    assert chance(rows_of(none, lost), 6, 0.5) > 0.99, "one of which no difference matters is enough"


def test_levels_are_said_in_words():
    assert share_words(1.0) == "95 %"
    assert share_words(1.0 / 7.0) == "99.29 %"
