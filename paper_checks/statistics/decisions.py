"""How a claim is decided: by paired differences over seeds, with a rule that is fixed before anything is run.

A contrast is one inequality "a is above b". Both arms are run with the same seeds, and with d_s = a_s - b_s for the k
seeds, the interval of the mean difference is Student's, mean(d) +- t(k - 1) sd(d) / sqrt(k). A contrast may name the
smallest effect worth deciding, its *worth* w > 0 in its own unit: true differences d with |d| < w do not matter. A
claim is m contrasts:

    reproduced      all m intervals at level 95 % lie above 0
    contradicted    some interval at level 1 - 5 %/m lies below 0 (Bonferroni)
    no difference   neither, and some interval at level 1 - 5 %/m lies inside (-w, w): no difference that matters
    undecided       otherwise

A contrast says nothing - its interval has no end, its p-values are 1 - with fewer than two seeds, where a value is
missing, or where all its differences are equal: their spread then says nothing about how far the mean may be off.

"No difference that matters" is said of the claim that *all* its contrasts hold: it fails in those that lie inside,
which are named, and 5 % covers all that are named. Where all contrasts are clearly above 0 the claim is reproduced,
whether they matter or not, and rows say "inside" too. A claim of several contrasts, some of them open, ends with "no
difference" also by one that is clearly above 0 and lies inside: what is open cannot make that one matter. Contrasts
without a worth never have this answer.

A seed draws everything that a training leaves to chance: weights, batches, views, and which images are training
images, validation images, or left out (arms.py); both arms of a contrast have the same draw. Test images never change:
what is said is about them.

Were all arms the same and differences normal, "reproduced" would have probability at most 2.5 % (already the first
contrast lies above 0 no more often) and "contradicted" at most m (5 %/m)/2 = 2.5 %: at most 5 % of such claims are
decided for a side. For a claim that two arms differ, whichever is better, "reproduced" needs every interval to leave
out 0, and nothing contradicts it: at most 5 % again. Accuracies over hundreds of test images are normal enough (the
tests simulate them). What is not normal pays for it: of five seeds, unrelated correlations of four values would be
decided in 6 to 7 % of runs, which is why F1 takes their atanh, and skew differences more often: exponential ones with
mean 0 are called too small in 11 %. Differences of +-c by the toss of a coin agree in all five in 6 %, which is why
nothing is said where all are equal.

The same rule as p-values, of which sequential.py makes one for several looks at growing numbers of seeds, and
family.py an error rate over all claims: with Student's tails q_i = P(T >= t_i) and q'_i = P(T <= t_i) of the
contrasts' t_i = mean(d) sqrt(k) / sd(d), and u_i, u'_i those of d + w and d - w,

    p_R = max_i q_i               of R, "some contrast is 0 or less": reproduced if it is 2.5 % or less
    p_C = m min_i q'_i            of C, "all contrasts are 0 or more": contradicted if it is 2.5 % or less
    p_E = m min_i max(u_i, u'_i)  of E, "every contrast matters, |d| >= w": no difference if it is 2.5 % or less
    max_i 2 min(q_i, q'_i)        of "some contrast is 0", for a claim that arms differ: reproduced if it is 5 % or less

The maximum is a p-value (intersection-union test): if contrast j is 0 or less, P(max_i q_i <= a) <= P(q_j <= a) <= a.
So is m times the minimum (Bonferroni): P(min_i q'_i <= a/m) <= sum_i P(q'_i <= a/m) <= a. For E both: where d_i >= w_i
already u'_i <= a/m has probability a/m or less, where d_i <= -w_i already u_i does (two one-sided tests, D. J.
Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987), and Bonferroni adds up. Neither asks how the contrasts depend on
each other.

A claim's answers are wrong in at most 5 % of runs, whatever the true means are. Claims "above" have three hypotheses
at 2.5 %, but never are all three true: R and C together say that some contrast is 0, which E denies. Claims "differs"
have two, R at 5 % and E at 2.5 %, of which one at most is true.

Theorems are not decided by statistics but by the verdicts of theory.judging.verdicts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special

from theory.numerics.inputs import require_range

# Two that no rule gives. failed: what the claim needs could not be computed; pending: it has not been computed yet.
Answer = Literal["reproduced", "contradicted", "no difference", "undecided", "failed", "pending"]
DECIDED: tuple[Answer, ...] = ("reproduced", "contradicted", "no difference")
Direction = Literal["above", "differs"]
LEVEL = 0.95
# Of each hypothesis of a claim; that two arms are equal has both sides of it.
SIDE = 0.5 * (1.0 - LEVEL)
# By which differences that are equal may differ, of arms of order 1.
ROUNDING = 1e-14


@dataclass(frozen=True)
class Contrast:
    """One inequality, measured with several seeds.

    Attributes:
        name: what is compared, in words.
        measure: of what, with its unit.
        first, second: values of the two arms by seed; paired by it.
        direction: above claims first > second; differs claims that they are not equal.
        worth: the smallest effect worth deciding, above 0, in the measure's unit; None if none was named.

    Raises ValueError for a worth that is not above 0 and finite.
    """

    name: str
    measure: str
    first: Mapping[int, float]
    second: Mapping[int, float]
    direction: Direction = "above"
    worth: float | None = None

    def __post_init__(self) -> None:
        if self.worth is not None:
            require_range(self.worth, "worth", 0.0, math.inf, closed="neither")

    @property
    def differences(self) -> np.ndarray:
        """first - second of every seed that both have, in the order of the seeds."""
        seeds = sorted({*self.first} & {*self.second})
        return np.array([self.first[seed] - self.second[seed] for seed in seeds], dtype=float)


@dataclass(frozen=True)
class PValues:
    """Of a claim's null hypotheses; the module's docstring derives them.

    Attributes:
        reproduced: of the hypothesis that is rejected where the claim is reproduced.
        contradicted: of the one that is rejected where it is contradicted; None where nothing can contradict it.
        same: of the one that is rejected where no difference matters; None where no contrast says what would.
    """

    reproduced: float
    contradicted: float | None
    same: float | None = None

    def at_share(self, share: float) -> "PValues":
        """The same, held against a share in (0, 1] of every level: divided by it."""

        def held(value: float) -> float:
            return min(1.0, value / share)

        rest = (None if each is None else held(each) for each in (self.contradicted, self.same))
        return PValues(held(self.reproduced), *rest)

    @property
    def hypotheses(self) -> tuple[tuple[Answer, float, float], ...]:
        """The answer that rejecting each gives, its p-value, and its weight: at level 5 % times that it is rejected."""
        two_sided = self.contradicted is None
        found: tuple[tuple[Answer, float | None, float], ...] = (
            ("reproduced", self.reproduced, 1.0 if two_sided else 0.5), ("contradicted", self.contradicted, 0.5),
            ("no difference", self.same, 0.5),
        )  # fmt: skip
        return tuple((answer, value, weight) for answer, value, weight in found if value is not None)

    @property
    def claim(self) -> float:
        """At most 5 % if and only if the claim is decided."""
        return min(1.0, *(value / weight for _, value, weight in self.hypotheses))

    @property
    def answer(self) -> Answer:
        """By the rule: the first of the hypotheses that is rejected; undecided if none is."""
        return next((name for name, value, weight in self.hypotheses if value <= (1.0 - LEVEL) * weight), "undecided")


# Of a claim that could not be measured: it is undecided, and counts among those that were asked.
NO_EVIDENCE = PValues(1.0, 1.0)


def against_zero(name: str, measure: str, values: Mapping[int, float]) -> Contrast:
    """The claim that a quantity, such as a slope, is positive."""
    return Contrast(name, measure, values, dict.fromkeys(values, 0.0))


def mean_interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean; without end where there are fewer than two values, one is not finite, or all are
    equal.

    Raises:
        ValueError: a level outside (0, 1).
    """
    require_range(level, "level", 0.0, 1.0, closed="neither")
    values = np.asarray(values, dtype=float)
    if _says_nothing(values):
        return -math.inf, math.inf
    half = special.stdtrit(len(values) - 1, 0.5 + level / 2.0) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def decide(contrasts: Iterable[Contrast]) -> Answer:
    """The answer to a claim that all of these hold, at one look; the rule is in the module's docstring.

    Raises:
        ValueError: no contrast, contrasts of both directions, or some with a worth and some without: no error rate is
            stated for these.
    """
    return p_values(contrasts).answer


def p_values(contrasts: Iterable[Contrast]) -> PValues:
    """The p-values of a claim that all of these hold.

    Raises:
        ValueError: as :func:`decide`.
    """
    found = list(contrasts)
    if not found:
        raise ValueError("contrasts: a claim needs at least one")
    if len({each.direction for each in found}) > 1:
        raise ValueError("contrasts: must all be above or all differs")
    if len({each.worth is None for each in found}) > 1:
        raise ValueError("contrasts: must all name a worth, or none")
    tails = [_tails(each.differences) for each in found]
    if found[0].direction == "differs":
        values = PValues(max(min(1.0, 2.0 * min(pair)) for pair in tails), None)
    else:
        values = combined(tails)
    if found[0].worth is None:
        return values
    inside = min(_inside(each.differences, each.worth) for each in found if each.worth is not None)
    return replace(values, same=min(1.0, len(found) * inside))


def _inside(differences: np.ndarray, worth: float) -> float:
    """p-value of "the difference matters": two one-sided tests."""
    return max(_tails(differences, worth)[0], _tails(differences, -worth)[1])


def combined(tails: Sequence[tuple[float, float]]) -> PValues:
    """The p-values of a claim that several quantities are all above 0, from the one-sided p-values of each.

    Args:
        tails: of every quantity, the p-value of "0 or less" and that of "0 or more".

    Raises:
        ValueError: no quantity.
    """
    if not tails:
        raise ValueError("tails: a claim needs at least one")
    return PValues(max(upper for upper, _ in tails), min(1.0, len(tails) * min(lower for _, lower in tails)))


def student_tails(mean: float, error: float, count: int) -> tuple[float, float]:
    """One-sided p-values of a mean, of "0 or less" and of "0 or more": Student's; 1 where nothing can be said.

    Args:
        mean: of ``count`` values.
        error: its standard error; 0 where all of many values are equal, which leaves no doubt unless they are 0.
    """
    if count < 2 or not (math.isfinite(mean) and math.isfinite(error)):
        return 1.0, 1.0
    ratio = mean / error if error > 0.0 else math.copysign(math.inf, mean) if mean else 0.0
    return float(special.stdtr(count - 1, -ratio)), float(special.stdtr(count - 1, ratio))


def _says_nothing(values: np.ndarray) -> bool:
    """Of few values that are all equal, too: with few levels that happens by accident. Differences of counts over their
    number (282/359 - 276/359) are equal up to rounding."""
    if len(values) < 2 or not np.isfinite(values).all():
        return True
    return bool(np.ptp(values) <= ROUNDING * max(1.0, np.abs(values).max()))


def _tails(values: np.ndarray, shift: float = 0.0) -> tuple[float, float]:
    """Of values + shift."""
    if _says_nothing(values):
        return 1.0, 1.0
    count, values = len(values), values + shift
    return student_tails(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(count), count)


def contrast_rows(contrasts: Sequence[Contrast], share: float = 1.0) -> list[dict]:
    """The contrasts of a claim as rows of contrasts.csv.

    Args:
        share: of the error rate, in (0, 1], that this look has (sequential.py): intervals have level 1 - 5 % share.

    Returns:
        means, mean difference and its interval, the side that it is on, the standard deviation of the differences over
        seeds, the worth, and whether the difference is known not to matter.
    """
    return [_row(each, share, len(contrasts)) for each in contrasts]


def _row(contrast: Contrast, share: float, count: int) -> dict:
    differences = contrast.differences
    low, high = mean_interval(differences, 1.0 - (1.0 - LEVEL) * share)
    side = "above" if low > 0.0 else "below" if high < 0.0 else "undecided"
    seeds = sorted({*contrast.first} & {*contrast.second})
    first, second = (_mean(arm[seed] for seed in seeds) for arm in (contrast.first, contrast.second))
    known = len(differences) > 1 and np.isfinite(differences).all()
    row = {
        "contrast": contrast.name, "measure": contrast.measure, "direction": contrast.direction, "seeds": len(seeds),
        "first": first, "second": second, "difference": _mean(differences),
        "low": low if math.isfinite(low) else math.nan, "high": high if math.isfinite(high) else math.nan, "side": side,
        "deviation": float(differences.std(ddof=1)) if known else math.nan,
    }  # fmt: skip
    if contrast.worth is not None:
        row |= {"worth": contrast.worth, "inside": count * _inside(differences, contrast.worth) <= SIDE * share}
    return row


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else math.nan
