"""Which counts of a noise sweep say what about Theorem 2b."""

import pytest
from scipy import stats

from synthetic.sweeps import noise_report as report
from synthetic.sweeps.noise_grid import QUICK, SweepSettings
from theory.judging.rates import judge_rates


def rate_row(cell, **changes):
    row = {"cell": cell, "noise": "gaussian", "trials": 200, "ambient_dim": 8, "batch_size": 8 + cell,
           "noise_level": 0.5, "control": "no", "separation_guaranteed": True, "persistence_guaranteed": False,
           "recovery_guaranteed": False, "extremes_guaranteed": False, "fusion_guaranteed": False,
           "separated": 200}  # fmt: skip
    return {**row, **changes}


def rate_status(rows):
    return judge_rates("r", [cell for cell, _, _ in report.rate_cells(rows)], 0.05).status


def test_rates_are_judged_cell_by_cell_and_together():
    good = [rate_row(cell) for cell in range(12)]
    assert rate_status(good) == "HOLDS"
    assert rate_status([*good, rate_row(12, separated=160)]) == "VIOLATED"
    # A cell that failed clearly more often than delta, within what chance explains, keeps the others from deciding.
    assert rate_status([*good, rate_row(12, separated=176)]) == "UNDECIDED"
    assert rate_status([rate_row(0, separation_guaranteed=False)]) == "NOT_APPLICABLE"


def test_the_cells_closest_to_a_ceiling_confirm_it():
    """Of one batch size the last guaranteed noise level; those below it, where failures are rare, do not dilute it."""
    rows = [rate_row(cell, batch_size=8, noise_level=0.1 * (cell + 1)) for cell in range(12)]
    pools = [cell.pool for cell, _, _ in report.rate_cells(rows)]
    assert pools == [None] * 11 + [report.AT_CEILING]
    assert rate_status([*rows[:-1], {**rows[-1], "separated": 190}]) == "UNDECIDED"


@pytest.mark.parametrize("settings", [SweepSettings(), SweepSettings(**QUICK)], ids=["default", "quick"])
def test_a_true_statement_is_hardly_ever_left_undecided(settings):
    """Draws differ from processor to processor, and a verdict must not. The event's rate is 4.6 % (4.62 +- .04)."""
    event = {"extremes_guaranteed": True, "separation_guaranteed": False, "trials": settings.control_trials}
    unlikely = int(stats.binom.isf(1e-3, settings.control_trials, 0.0462))
    row = rate_row(0, **event, within_extremes=settings.control_trials - unlikely, control="proved event")
    assert rate_status([row, rate_row(1)]) == "HOLDS"


def test_the_proved_event_is_judged_where_it_fails_most():
    event = {"extremes_guaranteed": True, "separation_guaranteed": False, "trials": 40_000}
    rows = [rate_row(0, **event, within_extremes=38_200, control="proved event"), rate_row(1)]
    assert [cell.pool for cell, _, _ in report.rate_cells(rows)] == [report.EVENT, report.AT_CEILING]
    # On the grid, where it hardly ever fails, it confirms nothing.
    calm = rate_row(2, **{**event, "trials": 200}, within_extremes=200)
    assert [cell.pool for cell, _, _ in report.rate_cells([calm])] == [None]
    assert rate_status(rows) == "HOLDS"
    # Both budgets doubled by mistake: 9 % in place of 4.6 %.
    assert (
        rate_status([rate_row(0, **event, within_extremes=36_400, control="proved event"), rate_row(1)]) == "VIOLATED"
    )
    assert (
        rate_status([rate_row(0, **event, within_extremes=38_000, control="proved event"), rate_row(1)]) == "UNDECIDED"
    )


def test_the_measured_boundary_is_where_success_falls_to_one_minus_delta():
    """A quarter of the way from .9 at noise 2 down to .5 at noise 3; control and noise-free cells play no part."""
    levels, columns = {1.0: 1.0, 2.0: 0.9, 3.0: 0.5, 4.0: 0.1}, ("rate", "low", "high")
    rows = [
        {"ambient_dim": 8, "batch_size": 9, "mapped": False, "control": "no", "noise_level": level,
         "separation_ceiling": 1.5, "persistence_ceiling": 0.75,
         **{f"{outcome}_{column}": rate for outcome in ("separated", "admits_threshold") for column in columns}}
        for level, rate in levels.items()
    ]  # fmt: skip
    beside = [{**rows[0], "control": "sharp cap", "separated_rate": 0.0}, {**rows[0], "mapped": True}]
    for row, ceiling, tightness in zip(report.summarize_boundaries([*beside, *rows], 0.2), (1.5, 0.75), (1.5, 3.0)):
        assert (row["bound"], row["measured"], row["tightness"]) == pytest.approx((ceiling, 2.25, tightness))


def test_noise_free_rows_are_no_rates():
    assert report.rate_cells([rate_row(0, noise_level=0.0)]) == []
