"""The part of the noise sweep's audit that asks what judges about planted numbers, before anything is measured.

A rule that says HOLDS too easily changes no number of a sound run, so that no row can show it. Here every rule that the
sweep's verdicts rest on is asked about numbers on either side of where it must turn, which is found another way: from
exact binomial probabilities summed by scipy.stats, or by arithmetic on three numbers. Answers that are not the expected
ones are complaints.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom

from synthetic.measure.boundaries import falling_crossing
from synthetic.sweeps.noise_controls import PROVED_EVENT
from synthetic.sweeps.noise_report import batchwise, summarize_boundaries, summarize_verdicts
from theory.judging.exact_replay import ExactReplay
from theory.judging.rates import RateCell, clopper_pearson, judge_rates, noticed_rates, trials_to_notice
from theory.judging.verdicts import Status, Verdict, combine_cells, combine_parts, judge

# Levels that theory.judging.rates promises: of a false alarm in a run, of a doubt about a true promise, of what goes
# unseen.
FALSE_ALARM, DOUBT, UNSEEN = 0.001, 0.05, 0.05
# What is promised, and the column that counts the batches in which it is kept.
OUTCOMES = {"separation": "separated", "persistence": "admits_threshold", "recovery": "recovered",
            "extremes": "within_extremes"}  # fmt: skip
# Two ways to the same number differ by less, relatively.
AGREE = 1e-6


def rule_complaints(delta: float) -> list[str]:
    """Complaints about the rules by which a sweep with this delta is judged: sentences, none if all is well."""
    return [*_margins(), *_severity(), *_rates(delta), *_power(delta), *_intervals(), *_rows(delta)]


def _told(question: str, found: object, expected: object) -> list[str]:
    return [] if found == expected else [f"the rule for {question} says {found}, not {expected}"]


# --- bounds held case by case -----------------------------------------------------------------------------------------


def _margins() -> Iterator[str]:
    """theory.judging.verdicts.judge on either side of a bound of 1/2."""
    yes, no, layers = np.array([True, True]), np.array([True, False]), np.array([[0.4, 0.3], [0.2, 0.505]])
    points = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    exact = ExactReplay(lambda trial: points, np.array([0, 0, 1, 1]), 0.5, 0.5, depth=0)
    cases: dict[str, tuple[tuple[float, float] | np.ndarray, np.ndarray, dict, str]] = {
        "a measured value below its bound": ((0.4, 0.495), yes, {}, "HOLDS"),
        "a measured value .005 above its bound": ((0.4, 0.505), yes, {}, "VIOLATED"),
        "an excess in the last layer": (layers, yes, {}, "VIOLATED"),
        "an excess outside the hypotheses": (layers, no, {}, "HOLDS"),
        "no case inside the hypotheses": (layers, ~yes, {}, "NOT_APPLICABLE"),
        "an infinite measured value": ((0.4, np.inf), yes, {}, "VIOLATED"),
        "a count at its bound": ((0.4, 0.5), yes, {"discrete": True}, "HOLDS"),
        "a count just above its bound": ((0.4, 0.5 + 1e-10), yes, {"discrete": True}, "VIOLATED"),
        "a near-tie that is not replayed": ((0.4, 0.5), yes, {}, "UNDECIDED"),
        "a near-tie that is none in high precision":
            ((0.4, 0.5), yes, {"exact": exact, "exact_margin": lambda *_: 1e-12}, "HOLDS"),
        "a near-tie broken in high precision":
            ((0.4, 0.5), yes, {"exact": exact, "exact_margin": lambda *_: -1e-12}, "VIOLATED"),
    }  # fmt: skip
    for name, (values, applicable, options, expected) in cases.items():
        yield from _told(name, judge("planted", values, 0.5, applicable, **options).status.value, expected)
    for name, measured, bound in (("measured value", np.nan, 0.5), ("bound", 0.4, np.nan)):
        try:
            found = judge("planted", [0.4, measured], [0.5, bound], yes).status.value
        except ValueError:
            continue
        yield from _told(f"a {name} that is NaN", found, "that no verdict is possible")


def _severity() -> Iterator[str]:
    """Several verdicts in one: the most serious is told."""
    parts = [Verdict("planted", status, 0.0, 1.0, 1.0, 1.0, 1, 1) for status in
             (Status.NOT_APPLICABLE, Status.HOLDS, Status.UNDECIDED, Status.VIOLATED)]  # fmt: skip
    for combine in (combine_parts, combine_cells):
        for last in range(1, 5):
            found = combine("planted", parts[:last]).status.value
            yield from _told(f"{last} verdicts together", found, parts[last - 1].status.value)


# --- rates ------------------------------------------------------------------------------------------------------------


def enough_trials(delta: float) -> int:
    """Trials whose failures, at rate delta, scatter by 14: all counts that matter lie close to their mean."""
    return int(np.ceil(200.0 / (delta * (1.0 - delta))))


def failures_that(what: str, trials: int, delta: float, level: float) -> int:
    """The smallest count of failures that, at rate delta, is seen or exceeded with probability at most ``level``
    ("exceed"); or that is seen or fallen short of with probability above it ("confirm no more")."""
    spread = 20.0 * np.sqrt(trials * delta * (1.0 - delta)) + 20.0
    counts = np.arange(int(max(trials * delta - spread, 0.0)), int(min(trials * delta + spread, trials)) + 1)
    turned = (
        binom.sf(counts - 1, trials, delta) <= level if what == "exceed" else binom.cdf(counts, trials, delta) > level
    )
    return int(counts[turned.argmax()]) if turned.any() else trials + 1


def _rates(delta: float) -> Iterator[str]:
    """judge_rates turns where exact probabilities say: five cells in four places, which share the chances of false
    alarms and doubts with two pools; two promises of one place are one place of its pool."""
    trials = enough_trials(delta)
    cells = {name: RateCell(place, name, 0, trials, pool=pool) for name, place, pool in (
        ("one promise", "here", "wide"), ("another", "here", "wide"), ("a second place", "there", "wide"),
        ("its own pool", "elsewhere", "narrow"), ("no pool", "far off", None))}  # fmt: skip
    doubt = failures_that("exceed", trials, delta, DOUBT / 5)
    broken = failures_that("exceed", trials, delta, FALSE_ALARM / 7)
    narrow = failures_that("confirm no more", trials, delta, UNSEEN)
    wide = failures_that("confirm no more", 2 * trials, delta, UNSEEN)
    both_broken = failures_that("exceed", 2 * trials, delta, FALSE_ALARM / 7)
    half, much = wide // 2, both_broken // 2
    cases = [
        ({}, "HOLDS"), ({"no pool": doubt - 1}, "HOLDS"), ({"no pool": doubt}, "UNDECIDED"),
        ({"no pool": broken - 1}, "UNDECIDED"), ({"no pool": broken}, "VIOLATED"),
        ({"its own pool": narrow - 1}, "HOLDS"), ({"its own pool": narrow}, "UNDECIDED"),
        ({"one promise": half, "a second place": wide - 1 - half}, "HOLDS"),
        ({"one promise": half, "another": half, "a second place": wide - 1 - half}, "HOLDS"),
        ({"one promise": half, "another": 1, "a second place": wide - half}, "UNDECIDED"),
        ({"one promise": 1, "another": half, "a second place": wide - half}, "UNDECIDED"),
        ({"one promise": much, "a second place": both_broken - 1 - much}, "UNDECIDED"),
        ({"one promise": much, "a second place": both_broken - much}, "VIOLATED"),
    ]  # fmt: skip
    for failures, expected in cases:
        planted = [replace(cell, failures=failures.get(name, 0)) for name, cell in cells.items()]
        found = judge_rates("planted", planted, delta).status.value
        told = ", ".join(f"{count} of {name}" for name, count in failures.items()) or "none"
        yield from _told(f"rates, asked about {trials} trials a cell and failures {told},", found, expected)


def _power(delta: float) -> Iterator[str]:
    """Failure rates that are said to be noticed are exceeded with probability 95 %, neither more nor less."""
    trials = enough_trials(delta)
    sizes = {"large": 2 * trials, "middle": trials, "small": trials // 2}
    cells = [RateCell(name, "", 0, count, pool=None if name == "small" else name) for name, count in sizes.items()]

    def seen(count: int, level: float) -> float:
        critical = failures_that("exceed", count, delta, level)
        if critical > count:
            return 1.0
        return brentq(lambda rate: binom.sf(critical - 1, count, rate) - (1.0 - UNSEEN), delta, 1.0, xtol=1e-14)

    alone = partial(seen, level=DOUBT / 3)
    expected = seen(sizes["large"], FALSE_ALARM / 5), alone(sizes["middle"]), alone(sizes["small"])
    verdict = judge_rates("planted", cells, delta)
    told = verdict.noticed_in_all, verdict.noticed_in_one, verdict.noticed_anywhere
    for found in (noticed_rates(cells, delta), told):
        if not np.allclose(found, expected, rtol=AGREE, atol=0.0):
            yield f"failure rates {found} are said to be noticed, worked out again {expected}"
    # Where half of the trials apply, the test is of all of them and the failures are among that half.
    half = [RateCell("half", "", 0, trials, trials // 2, "half")]
    critical = failures_that("exceed", trials, delta, FALSE_ALARM / 2)
    if critical <= trials // 2:
        power = binom.sf(critical - 1, trials // 2, noticed_rates(half, delta)[0])
        if not np.isclose(power, 1.0 - UNSEEN, rtol=AGREE, atol=0.0):
            yield f"a failure rate of trials of which half apply is said to be noticed, which is so in {power:.1%}"
    rate = delta + (1.0 - delta) * delta
    needed = trials_to_notice(rate, delta, 3)
    if not alone(needed) <= rate < alone(needed // 2):
        yield f"{needed} trials are said to notice a failure rate of {rate:g}, which takes another number"


def _intervals() -> Iterator[str]:
    """Clopper-Pearson limits leave 2.5 % on either side."""
    low, high = clopper_pearson(3, 40)
    if not np.allclose((binom.sf(2, 40, low), binom.cdf(3, 40, high)), 0.025, rtol=AGREE, atol=0.0):
        yield f"the 95 % interval of 3 in 40 is said to be [{low:.6g}, {high:.6g}]"
    if (clopper_pearson(0, 40)[0], clopper_pearson(40, 40)[1]) != (0.0, 1.0):
        yield "no success, or no failure, leaves a rate of 0, or 1, outside its interval"


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows(delta: float) -> Iterator[str]:
    """Planted rows through the sweep's own report: which rows confirm Theorem 2b, and where a boundary lies.

    A quiet level, one at the ceiling, one beyond it, and the control of the proved event.
    """
    trials = enough_trials(delta)
    rows = {name: _row(name, level, trials) for name, level in
            (("quiet", 0.1), ("ceiling", 0.2), ("beyond", 0.3), ("event", 0.1))}  # fmt: skip
    promises = 3 * len(OUTCOMES) - 2
    unconfirmed = failures_that("confirm no more", trials, delta, UNSEEN)
    broken = failures_that("exceed", trials, delta, FALSE_ALARM / (promises + 2))
    cases = [("quiet", "extremes", broken, "VIOLATED"), ("beyond", "recovery", broken, "HOLDS")]
    turns = {0: "HOLDS", unconfirmed - 1: "HOLDS", unconfirmed: "UNDECIDED", broken: "VIOLATED"}
    for where, name in (*(("ceiling", name) for name in OUTCOMES if name != "extremes"), ("event", "extremes")):
        cases += [(where, name, count, expected) for count, expected in turns.items()]
        # What fails at a quieter level may contradict the theorem, but neither confirms it nor keeps it from that.
        cases += [("quiet", name, unconfirmed, "HOLDS")]
    for where, name, failures, expected in cases:
        planted = [{**row, OUTCOMES[name]: trials - failures} if key == where else row for key, row in rows.items()]
        found = ", ".join(verdict.status.value for verdict in summarize_verdicts(planted, delta))
        question = f"Theorem 2b, asked about {failures} failures of {name} in {trials} trials of the row {where!r},"
        yield from _told(question, found, expected)
    yield from _boundaries(list(rows.values()), delta)


def _row(name: str, level: float, trials: int) -> dict:
    event, guaranteed = name == "event", name in ("quiet", "ceiling")
    row = {"cell": 0, "ambient_dim": 11 if event else 64, "batch_size": 10 if event else 32, "mapped": False,
           "noise": "gaussian", "noise_level": level, "control": PROVED_EVENT if event else "no", "trials": trials,
           "separation_ceiling": 0.2, "persistence_ceiling": 0.2}  # fmt: skip
    row |= {f"{promise}_guaranteed": guaranteed or promise == "extremes" for promise in OUTCOMES}
    row |= {"fusion_guaranteed": False}
    row |= dict.fromkeys((f"{trial.key}_status" for trial in batchwise()), "")
    return row | dict.fromkeys(OUTCOMES.values(), trials)


def _boundaries(rows: Sequence[dict], delta: float) -> Iterator[str]:
    """A success rate that falls by two thirds of a step below 1 - delta, and one that rises in between."""
    below = min(delta, 1.0 - delta) / 4.0
    rates = {"quiet": 1.0, "ceiling": 1.0 - delta / 2.0, "beyond": 1.0 - delta - below}
    columns = [f"{OUTCOMES[ceiling]}_{column}" for ceiling in ("separation", "persistence")
               for column in ("rate", "low", "high")]  # fmt: skip
    planted = [row | dict.fromkeys(columns, rate) for row, rate in zip(rows, rates.values())]
    expected = 0.2 + 0.1 * (delta / 2.0) / (delta / 2.0 + below)
    for boundary in summarize_boundaries(planted, delta):
        found = boundary["measured"], boundary["measured_low"], boundary["measured_high"], 0.2 * boundary["tightness"]
        if not np.allclose(found, expected, rtol=AGREE, atol=0.0):
            yield f"the boundary of {boundary['ceiling']} is said to be {found}, worked out again {expected:.6g}"
    crossing = falling_crossing(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.9, 0.98, 0.4]), 0.93)
    if not abs(crossing - (3.0 + 0.01 / 0.54)) <= AGREE:
        yield f"a rate of 1, .9, .98, .4 is said to fall through .93 at {crossing:.6g}, not at {3.0 + 0.01 / 0.54:.6g}"
