"""Verdicts on statements in probability: counts of failures against a promised rate, by one rule, with its power.

Source: theory.md, "What verification means here", point 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from scipy.special import betainc, betaincc, betaincinv

from theory.judging.verdicts import Status, Verdict
from theory.numerics.inputs import require_count, require_range

# Of statements in probability: the chance that a true one is called violated in one run, that a true one is doubted,
# and that what is said to be noticed goes unseen.
FALSE_ALARM, DOUBT, UNSEEN = 1e-3, 0.05, 0.05


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
    (VIOLATED), of any one cell of a pool alone, and of any one cell at all (anything but HOLDS).

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
    in_all, in_one, anywhere = noticed_rates(cells, delta)
    detail = (
        f"{told.failures:,} of {told.counted:,} trials failed {told.claim} {told.place}; worst of {len(cells)} cells "
        f"{worst.rate:.1%}; would have been noticed with probability {1.0 - UNSEEN:.0%}: a failure rate of "
        f"{_percent(in_all)} in all cells at the limit, of {_percent(in_one)} in any one there, of "
        f"{_percent(anywhere)} in any one at all"
    )
    return Verdict(
        statement, status, told.rate, delta, delta - told.rate, (delta - told.rate) / max(delta, told.rate),
        sum(counted.values()), sum(trials.values()), -1, detail, in_all, in_one, anywhere,
    )  # fmt: skip


def noticed_rates(cells: Sequence[RateCell], delta: float) -> tuple[float, float, float]:
    """What ``judge_rates`` would have noticed with probability 95 %: the smallest failure rate of all cells together
    that some pool calls VIOLATED; and the smallest of one cell alone, the others sound, that does not come out HOLDS:
    whichever cell of the pools it is, and whichever cell at all.

    1 where no rate would have been: too few trials.

    Raises:
        ValueError: delta outside (0, 1).
    """
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    pools = _pools(cells)
    in_all = [_noticed(pool.trials, delta, FALSE_ALARM / (len(cells) + len(pools)), pool.counted) for pool in pools]
    alone = [(_noticed(cell.trials, delta, DOUBT / len(cells), cell.counted), cell.pool is not None) for cell in cells]
    in_one = [rate for rate, pooled in alone if pooled]
    return min(in_all, default=1.0), max(in_one, default=1.0), max((rate for rate, _ in alone), default=1.0)


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
def _noticed(trials: int, delta: float, level: float, counted: int | None = None) -> float:
    """Failure rate, of the counted trials, that exceeds the critical number of failures of a test of ``level`` with
    probability 95 %. The test is of all trials, counted or not."""
    critical = _critical_number(trials, delta, level)
    counted = trials if counted is None else counted
    return float(betaincinv(critical, counted - critical + 1, 1.0 - UNSEEN)) if critical <= counted else 1.0


def _critical_number(trials: int, delta: float, level: float) -> int:
    """The fewest failures whose excess is at most ``level``: P(so many or more) if the promise fails with probability
    delta; trials + 1 if no number is rare enough."""
    below, critical = 0, trials + 1
    while critical - below > 1:
        middle = (below + critical) // 2
        if betainc(middle, trials - middle + 1, delta) <= level:
            critical = middle
        else:
            below = middle
    return critical


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
