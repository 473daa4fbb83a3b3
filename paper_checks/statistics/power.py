"""How many seeds decide a claim: Student's test has noncentral t power, at the deviation that a pilot measured.

Let a contrast have true difference d, and differences over seeds of standard deviation sigma. With n seeds Student's
ratio is noncentral t with n - 1 degrees of freedom and noncentrality d sqrt(n) / sigma, so that a one-sided test at
level a finds d > 0 with probability

    power(d, n, a) = P(T'(n - 1, d sqrt(n) / sigma) > t(n - 1; 1 - a)).

*Equivalence.* Two one-sided tests at level a find |d| < w where d = 0 unless one of them fails, each of which has
probability 1 - power(w, n, a): by Bonferroni they succeed with probability 1 - 2 (1 - power(w, n, a)) or more, which
is close where it is large.

*Seeds that decide* a claim of m contrasts at the last look, which has the share s of the error rate: the smallest n at
which the rule of decisions.py decides with probability 80 % or more wherever every difference is 0 or at least its
worth,

    some d_i = 0       by equivalence at level 2.5 % s/m: 1 - 2 (1 - power(w, n, 2.5 % s/m)) >= .8
    some d_i <= -w_i   contradicted at level 2.5 % s/m: easier than that
    all d_i >= w_i     reproduced: every contrast at level 2.5 % s, each missed with probability .2/m or less.

A true difference between 0 and w is harder, at most by about a third: near half of w either answer is right, and one
of them comes once the interval is shorter than w. (A *given* answer takes four times as many there.) The number is one
that suffices, by Bonferroni, a few per cent above the smallest. And a deviation from few seeds is uncertain itself:
from 5 seeds its 95 % interval reaches from .6 to 2.9 times the value, and the number of seeds from a third to eight
times. It is a plan, and no part of the rule.
"""

import math
from collections.abc import Sequence

from scipy import special

from paper_checks.statistics.decisions import LEVEL, SIDE
from theory.numerics.inputs import require_count, require_range

POWER = 0.8
# Of a decision, where values are missing: no seeds are trained for less.
NEVER = 0.01
# More than anybody trains.
MOST_SEEDS = 10_000


def power(effect: float, deviation: float, seeds: int, level: float) -> float:
    """Probability that Student's one-sided test finds a difference to be above 0.

    Args:
        effect: the true mean difference.
        deviation: standard deviation of the differences over seeds, 0 or more.
        seeds: 2 or more.
        level: of the test, in (0, 1).

    Raises:
        ValueError: arguments out of range.
    """
    require_range(deviation, "deviation", 0.0, math.inf, closed="left")
    require_count(seeds, "seeds", 2, MOST_SEEDS)
    require_range(level, "level", 0.0, 1.0, closed="neither")
    if deviation == 0.0:
        return float(effect > 0.0)
    quantile = float(special.stdtrit(seeds - 1, 1.0 - level))
    shift = effect * math.sqrt(seeds) / deviation
    missed = float(special.nctdtr(seeds - 1, shift, quantile))
    # SciPy has NaN for some probabilities too small for float64, and for no others.
    return float(shift > quantile) if math.isnan(missed) else 1.0 - missed


def seeds_to_decide(
    worth: float,
    deviation: float,
    contrasts: int = 1,
    share: float = 1.0,
    wanted: float = POWER,
    equivalence: bool = True,
) -> int | None:
    """Seeds at which a contrast of a claim is decided with probability ``wanted``, be its difference 0 or ``worth``.

    Args:
        worth: the smallest effect worth deciding, above 0.
        deviation: of the differences over seeds, from a pilot.
        contrasts: of the claim.
        share: of the error rate that the last look has.
        wanted: the probability.
        equivalence: whether the claim can come out as "no difference that matters"; if not, be its difference
            ``worth``, or -``worth``: differences that are 0 are never decided, but by error.

    Returns:
        at least 2; None where it is more than MOST_SEEDS.

    Raises:
        ValueError: arguments out of range.
    """
    require_range(worth, "worth", 0.0, math.inf, closed="neither")
    require_range(deviation, "deviation", 0.0, math.inf, closed="left")
    require_count(contrasts, "contrasts", 1)
    require_range(share, "share", 0.0, 1.0, closed="right")
    require_range(wanted, "wanted", 0.0, 1.0, closed="neither")
    missed = 1.0 - wanted

    def enough(seeds: int) -> bool:
        strict = power(worth, deviation, seeds, SIDE * share / contrasts)
        plain = power(worth, deviation, seeds, SIDE * share)
        other = 2.0 * (1.0 - strict) if equivalence else 1.0 - strict
        return other <= missed and contrasts * (1.0 - plain) <= missed

    # Power grows with the seeds.
    low, high = 1, 2
    while not enough(high):
        if high == MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def seeds_of_claim(rows: Sequence[dict], share: float = 1.0, equivalence: bool = True) -> int | None:
    """Seeds that decide a claim at the measured deviations: as many as its noisiest contrast needs.

    Args:
        rows: of contrasts.csv; those without worth or deviation are left out.
        equivalence: as :func:`seeds_to_decide`.

    Returns:
        None where no row has both, or it is more than MOST_SEEDS.
    """
    known = [row for row in rows if math.isfinite(row.get("worth", math.nan) * row.get("deviation", math.nan))]
    found = [seeds_to_decide(row["worth"], row["deviation"], len(rows), share, equivalence=equivalence)
             for row in known]  # fmt: skip
    decided = [seeds for seeds in found if seeds is not None]
    return max(decided) if decided and len(decided) == len(found) else None


def chance(rows: Sequence[dict], seeds: int, share: float) -> float:
    """How likely a look with more seeds decides, if differences go on as they are: what orders claims, and no part of
    the rule.

    The mean over n seeds differs from that over the k of now by sigma sqrt(1/k - 1/n), if mean and sigma are as
    measured; is it beyond Student's bound? Of several contrasts, reproduced needs the least likely, the others the
    most likely.

    Args:
        rows: of contrasts.csv.
        seeds: of that look.
        share: of the error rate that it has.

    Returns:
        in [0, 1]; 0 where a contrast has no deviation yet, and of an answer that needs a contrast with a missing value.
    """
    up, down, inside = [], [], []
    for row in rows:
        if math.isnan(row.get("difference", 0.0)):
            up.append(0.0)
            continue
        if not math.isfinite(row.get("deviation", math.nan)):
            return 0.0
        mean, error = row["difference"], row["deviation"] / math.sqrt(seeds)
        spread = row["deviation"] * math.sqrt(max(0.0, 1.0 / row["seeds"] - 1.0 / seeds))
        plain, strict = (
            error * float(special.stdtrit(seeds - 1, 1.0 - SIDE * share / count)) for count in (1, len(rows))
        )
        above, below = _beyond(mean - plain, spread), _beyond(-mean - strict, spread)
        differs = row["direction"] == "differs"
        up.append(max(above, _beyond(-mean - plain, spread)) if differs else above)
        down.append(0.0 if differs else below)
        # Rows of a claim without a third answer have a worth to be drawn in, and nothing that could lie inside.
        if "inside" in row:
            room = row["worth"] - strict
            inside.append(max(0.0, _beyond(room - mean, spread) + _beyond(room + mean, spread) - 1.0))
    return max([0.0, min(up, default=0.0), *down, *inside])


def hopeless(rows: Sequence[dict], looks: Sequence[tuple[int, float]]) -> bool:
    """Whether what is missing leaves nothing that more seeds could decide. A value that is missing at a look, as that
    of a training that has collapsed, is missing at every later one.

    Args:
        rows: of contrasts.csv of an undecided claim; none where nothing could be compared.
        looks: seeds and share of the error rate of each that is to come.
    """
    whole = rows and not any(math.isnan(row.get("difference", 0.0)) for row in rows)
    return not whole and all(chance(rows, seeds, share) < NEVER for seeds, share in looks)


def _beyond(distance: float, spread: float) -> float:
    """P(distance + spread Z > 0)."""
    return float(special.ndtr(distance / spread)) if spread > 0.0 else float(distance > 0.0)


def share_words(share: float) -> str:
    """ "95 %", "99.3 %": the level of intervals at a look with that share of the error rate."""
    return f"{100.0 * (1.0 - (1.0 - LEVEL) * share):.4g} %"
