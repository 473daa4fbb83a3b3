"""The audit's questions to what judges: sound rules answer as expected, and every planted mistake is noticed."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from synthetic.audit import rules as audit_rules
from synthetic.audit.rules import failures_that, rule_complaints
from synthetic.sweeps import noise_report as report
from synthetic.sweeps.noise_report import rate_cells
from theory.judging import rates
from theory.judging.rates import clopper_pearson, noticed_rates, trials_to_notice
from theory.judging.verdicts import combine_cells, combine_parts, judge


@pytest.mark.parametrize("delta", [1e-6, 1e-3, 0.05, 0.3, 0.5, 0.9, 0.999])
def test_sound_rules_pass(delta):
    assert rule_complaints(delta) == []


def test_counts_where_a_rule_turns_by_summing_probabilities():
    mass = binom.pmf(np.arange(41), 40, 0.3)
    assert failures_that("exceed", 40, 0.3, 0.05) == next(k for k in range(41) if mass[k:].sum() <= 0.05)
    assert failures_that("confirm no more", 40, 0.3, 0.05) == next(k for k in range(41) if mass[: k + 1].sum() > 0.05)


def tolerant(statement, measured, bound, *rest, **options):
    return judge(statement, measured, np.asarray(bound) + 0.01, *rest, **options)


def strict(statement, measured, bound, *rest, **options):
    return judge(statement, measured, np.asarray(bound) - 1e-3, *rest, **options)


def blind_to_nan(statement, measured, bound, *rest, **options):
    return judge(statement, np.nan_to_num(measured, posinf=np.inf), np.nan_to_num(bound, nan=9.0), *rest, **options)


def blind_to_infinity(statement, measured, bound, *rest, **options):
    return judge(statement, np.where(np.isposinf(measured), 0.0, measured), bound, *rest, **options)


def without_high_precision(statement, measured, bound, applicable, exact=None, exact_margin=None, **options):
    return judge(statement, measured, bound, applicable, **options)


def outside_the_hypotheses_too(statement, measured, bound, applicable, *rest, **options):
    return judge(statement, measured, bound, np.ones_like(applicable), *rest, **options)


def every_row_of_the_event_confirms(rows):
    return [(replace(cell, pool=report.EVENT) if name == "extremes" else cell, row, name)
            for cell, row, name in rate_cells(rows)]  # fmt: skip


def every_level_confirms(rows):
    return [(replace(cell, pool=cell.pool or report.AT_CEILING) if name != "extremes" else cell, row, name)
            for cell, row, name in rate_cells(rows)]  # fmt: skip


def no_row_confirms(rows):
    return [(replace(cell, pool=None), row, name) for cell, row, name in rate_cells(rows)]


def contradicted_by_pools_only(cells, delta):
    return [cell for cell in true_contradictions(cells, delta) if cell.claim == "together"]


true_contradictions, true_noticed, true_crossing = rates.contradictions, rates._noticed, report.falling_crossing


@pytest.mark.parametrize(
    ("module", "name", "damaged", "said"),
    [
        (audit_rules, "judge", tolerant, "measured value .005 above its bound says HOLDS, not VIOLATED"),
        (audit_rules, "judge", strict, "a count at its bound says VIOLATED, not HOLDS"),
        (audit_rules, "judge", blind_to_nan, "a measured value that is NaN says"),
        (audit_rules, "judge", blind_to_infinity, "an infinite measured value says HOLDS"),
        (audit_rules, "judge", without_high_precision, "broken in high precision says UNDECIDED"),
        (audit_rules, "judge", outside_the_hypotheses_too, "outside the hypotheses says VIOLATED"),
        (audit_rules, "combine_parts", lambda name, parts: combine_parts(name, parts[:1]), "verdicts together says"),
        (audit_rules, "combine_cells", lambda name, parts: combine_cells(name, parts[:1]), "verdicts together says"),
        (rates, "UNSEEN", 0.055, "not UNDECIDED"),
        (rates, "UNSEEN", 0.045, "not HOLDS"),
        (rates, "DOUBT", 0.045, "of no pool, says HOLDS, not UNDECIDED"),
        (rates, "FALSE_ALARM", 2e-3, "of no pool, says VIOLATED, not UNDECIDED"),
        (rates, "FALSE_ALARM", 5e-4, "of no pool, says UNDECIDED, not VIOLATED"),
        (rates, "contradictions", contradicted_by_pools_only, "of no pool, says UNDECIDED, not VIOLATED"),
        (rates, "_noticed", lambda *setting: 1.001 * true_noticed(*setting), "are said to be noticed"),
        (audit_rules, "noticed_rates", lambda *setting: noticed_rates(*setting)[::-1], "are said to be noticed"),
        (audit_rules, "trials_to_notice", lambda *setting: trials_to_notice(*setting) // 2, "trials are said to"),
        (audit_rules, "trials_to_notice", lambda *setting: 3 * trials_to_notice(*setting), "trials are said to"),
        (audit_rules, "clopper_pearson", partial(clopper_pearson, confidence=0.9), "the 95 % interval of 3 in 40"),
        (report, "rate_cells", every_row_of_the_event_confirms, "failures of extremes in"),
        (report, "rate_cells", every_level_confirms, "failures of separation in"),
        (report, "GUARANTEES", {**report.GUARANTEES, "persistence": "separated"}, "failures of persistence in"),
        (report, "rate_cells", no_row_confirms, "says UNDECIDED, not HOLDS"),
        (report, "falling_crossing", lambda x, y, goal: true_crossing(x, y, 1.0 - goal), "the boundary of separation"),
        (audit_rules, "falling_crossing", lambda x, y, goal: true_crossing(x[:2], y[:2], goal), "is said to fall"),
    ],
)
def test_a_rule_that_turns_elsewhere_is_noticed(monkeypatch, module, name, damaged, said):
    monkeypatch.setattr(module, name, damaged)
    assert said in "; ".join(rule_complaints(0.05))
