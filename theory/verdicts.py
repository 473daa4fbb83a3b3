"""Verdicts: a measurement held against a bound, with its margin, and nothing said that is too close to call.

Source: theory.md, "What verification means here".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import mpmath
import numpy as np
from scipy.special import betainc, betaincc, betaincinv
from scipy.stats import binom

from theory.exact_replay import ExactReplay
from theory.inputs import Numbers, require_count, require_range
from theory.precision import ABSOLUTE_MARGIN, EXACT_DIGITS, EXACT_EQUALITY, RELATIVE_MARGIN

# (trial, alpha, beta) -> smallest margin of the trial, in mpmath numbers
ExactMargin = Callable[[int, np.ndarray, np.ndarray], object]

# Of statements in probability: the chance that a true one is called violated in one run, that a true one is doubted,
# and that what is said to be noticed goes unseen.
FALSE_ALARM, DOUBT, UNSEEN = 1e-3, 0.05, 0.05


class Status(StrEnum):
    """What a check found."""

    HOLDS = "HOLDS"
    VIOLATED = "VIOLATED"
    UNDECIDED = "UNDECIDED"
    NOT_APPLICABLE = "NOT_APPLICABLE"


@dataclass(frozen=True)
class Verdict:
    """The outcome of one statement on a set of batches.

    Attributes:
        statement: what was claimed, e.g. "Theorem 2a: cross cosines".
        status: HOLDS, VIOLATED, UNDECIDED (too close to call) or NOT_APPLICABLE (no hypothesis satisfied).
        measured, bound, margin: of the tightest case; margin = bound - measured, negative when violated.
        relative_margin: margin over the larger of |bound| and |measured|.
        applicable: cases that satisfy the hypotheses; ``cases`` is how many were looked at.
        where: index of the tightest case, usually its trial; -1 when there is none.
        detail: a sentence for people.
        noticed_in_all, noticed_in_one: of statements in probability, what would have been noticed (``judge_rates``).
    """

    statement: str
    status: Status
    measured: float = float("nan")
    bound: float = float("nan")
    margin: float = float("nan")
    relative_margin: float = float("nan")
    applicable: int = 0
    cases: int = 0
    where: int = -1
    detail: str = ""
    noticed_in_all: float = float("nan")
    noticed_in_one: float = float("nan")

    def __str__(self) -> str:
        if self.status is Status.NOT_APPLICABLE:
            return f"{self.statement}: {self.status}  ({self.detail})"
        # What holds by high precision may look the other way round in float64.
        relation = "<=" if self.measured <= self.bound else ">" if self.status is Status.VIOLATED else "="
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"{self.statement}: {self.status}  {self.applicable:,} of {self.cases:,} cases apply, "
            f"tightest {self.measured:.4g} {relation} {self.bound:.4g}{detail}"
        )


def reject_nan(**arrays: Numbers) -> None:
    """Raise before a NaN can pass for "not violated".

    Raises:
        ValueError: names the array.
    """
    for name, array in arrays.items():
        if np.isnan(np.asarray(array, dtype=float)).any():
            raise ValueError(f"{name}: contains NaN, no verdict is possible")


def judge(
    statement: str,
    measured: Numbers,
    bound: Numbers,
    applicable: Numbers,
    exact: ExactReplay | None = None,
    exact_margin: ExactMargin | None = None,
    *,
    discrete: bool = False,
) -> Verdict:
    """Hold ``measured <= bound`` case by case, where applicable.

    Args:
        statement: name of the claim.
        measured: (..., trials) in float64; leading axes (layers) are part of the case.
        bound: broadcasts against ``measured``.
        applicable: (trials,) booleans, the hypotheses' check.
        exact: high-precision replay of a trial, consulted when a float64 margin is too close to call. Without it such a
            case is UNDECIDED.
        exact_margin: smallest margin of a replayed trial, from its number and its exact alpha and beta.
        discrete: the measured values are counts, or are compared with a tolerance: equality is no near-tie.

    Raises:
        ValueError: NaN in an applicable case.
    """
    measured, bound = np.broadcast_arrays(np.asarray(measured, dtype=float), np.asarray(bound, dtype=float))
    trials = measured.shape[-1]
    index = np.flatnonzero(np.broadcast_to(applicable, (trials,)))
    if index.size == 0 or measured.size == 0:
        return Verdict(statement, Status.NOT_APPLICABLE, cases=trials, detail="no case satisfies the hypotheses")
    measured, bound = measured.reshape(-1, trials)[:, index], bound.reshape(-1, trials)[:, index]
    reject_nan(measured=measured, bound=bound)

    size = np.maximum(np.abs(bound), np.abs(measured))
    with np.errstate(invalid="ignore"):
        margin = np.where(bound == measured, 0.0, bound - measured)
    # An infinite excess (a false edge) has no ratio; -1 is that of any measured value that dwarfs its bound.
    finite = np.isfinite(margin)
    relative = np.where(finite, margin, 0.0) / np.where(finite & (size > 0), size, 1.0) - np.where(
        margin == -np.inf, 1, 0
    )
    close = (np.abs(margin) <= RELATIVE_MARGIN * size) | (np.abs(margin) <= ABSOLUTE_MARGIN)
    close &= finite & (not discrete)
    violated = ~close & ~(measured <= bound)

    # The tightest case is reported: a violation if there is one, else the smallest margin that could be called.
    candidates = violated if violated.any() else ~close if (~close).any() else close
    layer, column = np.unravel_index(np.where(candidates, relative, np.inf).argmin(), margin.shape)
    verdict = Verdict(
        statement, Status.VIOLATED if violated.any() else Status.HOLDS,
        float(measured[layer, column]), float(bound[layer, column]), float(margin[layer, column]),
        float(relative[layer, column]), int(index.size), trials, int(index[column]),
    )  # fmt: skip
    if violated.any():
        return replace(verdict, detail=f"violated in {int(violated.any(axis=0).sum())} cases")

    tied = np.flatnonzero(close.any(axis=0))
    tied = tied[np.argsort(np.where(close, margin, np.inf).min(axis=0)[tied], kind="stable")]
    return _settle_ties(verdict, index[tied], exact, exact_margin)


def _settle_ties(
    verdict: Verdict, tied: np.ndarray, exact: ExactReplay | None, exact_margin: ExactMargin | None
) -> Verdict:
    """Re-evaluate near-ties in high precision, worst first; those that cannot be leave the verdict UNDECIDED."""
    if tied.size == 0:
        return verdict
    checked = tied[:0] if exact is None or exact_margin is None else tied[: exact.limit]
    for trial in checked:
        with mpmath.workdps(EXACT_DIGITS):
            margin = exact_margin(int(trial), *exact(int(trial)))
        if not margin >= -EXACT_EQUALITY:
            return replace(
                verdict, status=Status.VIOLATED, margin=float(margin), where=int(trial),
                detail=f"in high precision: bound - measured = {float(margin):.3g}",
            )  # fmt: skip
    if checked.size < tied.size:
        left = tied.size - checked.size
        return replace(
            verdict,
            status=Status.UNDECIDED,
            where=int(tied[checked.size]),
            detail=f"{left} cases are too close to call in float64 and were not re-evaluated",
        )
    return replace(verdict, detail=f"{tied.size} near-ties settled in high precision")


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval (low, high) of a success probability.

    Raises:
        ValueError: successes outside 0..trials, no trials, confidence outside (0, 1).
    """
    trials = require_count(trials, "trials", 1)
    require_range(successes, "successes", 0, trials)
    require_range(confidence, "confidence", 0.0, 1.0, closed="neither")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1.0 - tail))
    return low, high


@dataclass(frozen=True)
class RateCell:
    """Trials of one place where theory promises that at most a share delta fails; their number is fixed in advance.

    Attributes:
        place: where, for people. Cells with one place share their trials.
        claim: what was promised there.
        failures: trials that broke the promise; ``trials``: how many were drawn.
        applicable: trials that satisfied the hypotheses; None: all of them.
        pool: the cells that decide together whether the promise is confirmed, those at the limit of the hypotheses,
            where failures are most likely; None for the others, which can only contradict it.
    """

    place: str
    claim: str
    failures: int
    trials: int
    applicable: int | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        require_count(self.trials, "trials", 0)
        require_range(self.counted, "applicable", 0, self.trials)
        require_range(self.failures, "failures", 0, self.counted)

    @property
    def counted(self) -> int:
        """Trials that may confirm the promise."""
        return self.trials if self.applicable is None else self.applicable

    @property
    def rate(self) -> float:
        """Share of the counted trials that failed."""
        return self.failures / self.counted if self.counted else 0.0

    def excess(self, delta: float) -> float:
        """P(so many failures or more) if the promise fails with probability delta exactly: small where it is broken.

        All trials count here: theory bounds the chance that a trial satisfies the hypotheses *and* fails.
        """
        return float(betainc(self.failures, self.trials - self.failures + 1, delta)) if self.failures else 1.0

    def confirmation(self, delta: float) -> float:
        """P(so few failures or fewer) if it fails with probability delta exactly: small where it is confirmed."""
        return (
            float(betaincc(self.failures + 1, self.counted - self.failures, delta))
            if self.counted > self.failures
            else 1.0
        )


def contradictions(cells: Sequence[RateCell], delta: float) -> list[RateCell]:
    """The cells, and pools of cells, that contradict the promise, the clearest first.

    Their excess is at most FALSE_ALARM over the number of cells and pools: if every promise is kept, there is one in
    at most a share FALSE_ALARM of all runs.

    Raises:
        ValueError: delta outside (0, 1).
    """
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    tests = [*cells, *_pools(cells)]
    found = [cell for cell in tests if cell.excess(delta) <= FALSE_ALARM / len(tests)]
    return sorted(found, key=lambda cell: cell.excess(delta))


def culprits(cells: Sequence[RateCell], delta: float) -> list[int]:
    """Indices of the cells whose failing batches contradict the promise; where only a pool does, its member that
    failed most."""
    tests = contradictions(cells, delta)
    alone = [index for index, cell in enumerate(cells) if cell in tests]
    if alone or not tests:
        return alone
    return [max((i for i, c in enumerate(cells) if c.pool == tests[0].place), key=lambda i: cells[i].rate)]


def judge_rates(statement: str, cells: Sequence[RateCell], delta: float) -> Verdict:
    """Hold a promise "at most a share delta fails" against counts: the one rule for all statements in probability.

    VIOLATED: a cell or a pool contradicts it (``contradictions``).
    HOLDS: every pool confirms it at 95 % confidence (were the rate delta or more, so few failures would be seen in at
        most 5 % of runs), and no cell is in doubt (has more failures than 95 % of runs would see in any cell if all
        failed at rate delta).
    UNDECIDED in between; NOT_APPLICABLE if no trial satisfies the hypotheses.
    The detail says which failure rates would have been noticed with probability 95 %: of all cells of a pool together
    (VIOLATED), and of any one cell alone, the one with the fewest trials included (anything but HOLDS).

    Raises:
        ValueError: delta outside (0, 1).
    """
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    cells = [cell for cell in cells if cell.counted]
    trials = {cell.place: cell.trials for cell in cells}
    counted: dict[str, int] = {}
    for cell in cells:
        counted[cell.place] = max(counted.get(cell.place, 0), cell.counted)
    if not cells:
        return Verdict(statement, Status.NOT_APPLICABLE, detail="no trial satisfies the hypotheses")
    pools, broken = _pools(cells), contradictions(cells, delta)
    doubtful = [cell for cell in cells if cell.excess(delta) <= DOUBT / len(cells)]
    if broken:
        status, told = Status.VIOLATED, broken[0]
    else:
        confirmed = bool(pools) and all(pool.confirmation(delta) <= UNSEEN for pool in pools)
        status = Status.HOLDS if confirmed and not doubtful else Status.UNDECIDED
        told = max(doubtful if doubtful else pools if pools else cells, key=lambda cell: cell.rate)
    worst = max(cells, key=lambda cell: cell.rate)
    in_all, in_one = noticed_rates(cells, delta)
    detail = (
        f"{told.failures:,} of {told.counted:,} trials failed {told.claim} {told.place}; worst of {len(cells)} cells "
        f"{worst.rate:.1%}; would have been noticed with probability {1.0 - UNSEEN:.0%}: a failure rate of "
        f"{_percent(in_all)} in all cells, of {_percent(in_one)} in any one"
    )
    return Verdict(
        statement, status, told.rate, delta, delta - told.rate, (delta - told.rate) / max(delta, told.rate),
        sum(counted.values()), sum(trials.values()), -1, detail, in_all, in_one,
    )  # fmt: skip


def noticed_rates(cells: Sequence[RateCell], delta: float) -> tuple[float, float]:
    """What ``judge_rates`` would have noticed with probability 95 %: the smallest failure rate of all cells together
    that some pool calls VIOLATED, and the smallest of any one cell, the others sound, that does not come out HOLDS.

    1 where no rate would have been: too few trials.
    """
    pools = _pools(cells)
    in_all = [_noticed(pool.counted, delta, FALSE_ALARM / (len(cells) + len(pools))) for pool in pools]
    in_one = [_noticed(cell.counted, delta, DOUBT / len(cells)) for cell in cells]
    return min(in_all, default=1.0), max(in_one, default=1.0)


def _percent(rate: float) -> str:
    return f"{rate:.1%}" if rate < 1.0 else "no size (too few trials)"


def trials_to_notice(rate: float, delta: float, cells: int) -> int:
    """Trials with which any one of ``cells`` cells that fails at ``rate`` is noticed by ``judge_rates`` with
    probability 95 %, as it is with every larger number of a few percent more.

    Args:
        rate: in (delta, 1).

    Raises:
        ValueError: out of range.
    """
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    require_range(rate, "rate", delta, 1.0, closed="neither")
    level = DOUBT / require_count(cells, "cells", 1)
    high = 1
    while _noticed(high, delta, level) > rate:
        high *= 2
    low = high // 2
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (middle, high) if _noticed(middle, delta, level) > rate else (low, middle)
    return high


@lru_cache(maxsize=1024)
def _noticed(trials: int, delta: float, level: float) -> float:
    """Failure rate that exceeds the critical number of failures of a test of ``level`` with probability 95 %."""
    critical = int(binom.isf(level, trials, delta)) + 1
    return float(betaincinv(critical, trials - critical + 1, 1.0 - UNSEEN)) if critical <= trials else 1.0


def _pools(cells: Sequence[RateCell]) -> list[RateCell]:
    """Each pool as one cell. Promises of one place are kept or broken by one event, so that a place counts once, with
    the promise that failed most."""
    pools: dict[str, dict[str, RateCell]] = {}
    for cell in cells:
        if cell.pool is not None:
            places = pools.setdefault(cell.pool, {})
            places[cell.place] = max(places.get(cell.place, cell), cell, key=lambda c: c.failures)
    return [
        RateCell(
            name, "together", *(sum(column) for column in zip(*((c.failures, c.trials, c.counted) for c in members)))
        )
        for name, members in ((name, places.values()) for name, places in pools.items())
    ]


SEVERITY = (Status.VIOLATED, Status.UNDECIDED, Status.HOLDS, Status.NOT_APPLICABLE)


def combine_parts(statement: str, parts: Iterable[Verdict]) -> Verdict:
    """One verdict for the parts of a theorem, checked on the same cases: the most serious status, and of the parts
    with that status the tightest."""
    parts = list(parts)
    return replace(
        _most_serious(statement, parts),
        applicable=max((v.applicable for v in parts), default=0),
        cases=max((v.cases for v in parts), default=0),
    )


def combine_cells(statement: str, cells: Iterable[Verdict]) -> Verdict:
    """One verdict for one statement on several sets of cases."""
    cells = list(cells)
    return replace(
        _most_serious(statement, cells), applicable=sum(v.applicable for v in cells), cases=sum(v.cases for v in cells)
    )


def _most_serious(statement: str, verdicts: list[Verdict]) -> Verdict:
    if not verdicts:
        return Verdict(statement, Status.NOT_APPLICABLE, detail="nothing was checked")
    status = min((v.status for v in verdicts), key=SEVERITY.index)
    decisive = [v for v in verdicts if v.status is status]
    # A count that must be zero and is zero has no margin to speak of: prefer a part that has one.
    tightest = min(decisive, key=lambda v: v.relative_margin if v.bound != v.measured else np.inf)
    part = "" if tightest.statement == statement else tightest.statement.removeprefix(f"{statement}: ")
    detail = "; ".join(text for text in (part, tightest.detail) if text)
    return replace(tightest, statement=statement, detail=detail)
