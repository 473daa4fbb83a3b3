"""How a claim is decided: by paired differences over seeds, with a rule that is fixed before anything is run.

A contrast is one inequality "a is above b". Both arms are run with the same seeds, and with d_s = a_s - b_s for the k
seeds, the interval of the mean difference is Student's, mean(d) +- t(k - 1) sd(d) / sqrt(k). A claim is m contrasts:

    reproduced    all m intervals at level 95 % lie above 0
    contradicted  some interval at level 1 - 5 %/m lies below 0 (Bonferroni)
    undecided     otherwise; always with fewer than two seeds, or where a value is missing

A seed draws everything that a training leaves to chance: weights, batches, views, and which images are training images,
validation images, or left out (arms.py); both arms of a contrast have the same draw. Test images never change: what is
said is about them.

Were all arms the same and differences normal, "reproduced" would have probability at most 2.5 % (already the first
contrast lies above 0 no more often) and "contradicted" at most m (5 %/m)/2 = 2.5 %: at most 5 % of such claims are
decided. For a claim that two arms differ, whichever is better, "reproduced" needs every interval to leave out 0, and
nothing contradicts it: at most 5 % again. Accuracies over hundreds of test images are normal enough (the tests simulate
them). Values with few levels are not: differences of +-c by the toss of a coin agree in all k seeds, and leave an
interval of no length, in 2^(1-k) of all cases.

The same rule as p-values, of which family.py makes an error rate over all claims: with Student's tails
q_i = P(T >= t_i) and q'_i = P(T <= t_i) of the contrasts' t_i = mean(d) sqrt(k) / sd(d),

    p_R = max_i q_i          of "some contrast is 0 or less": reproduced if it is below 2.5 %
    p_C = m min_i q'_i       of "all contrasts are 0 or more": contradicted if it is below 2.5 %
    max_i 2 min(q_i, q'_i)   of "some contrast is 0", for a claim that arms differ: reproduced if it is below 5 %

The maximum is a p-value (intersection-union test): if contrast j is 0 or less, P(max_i q_i <= a) <= P(q_j <= a) <= a.
So is m times the minimum (Bonferroni): P(min_i q'_i <= a/m) <= sum_i P(q'_i <= a/m) <= a. Neither asks how the
contrasts depend on each other.

Theorems are not decided by statistics but by the verdicts of theory.judging.verdicts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from theory.numerics.inputs import require_range

# failed: what the claim needs could not be computed; no rule gives this answer.
Answer = Literal["reproduced", "contradicted", "undecided", "failed"]
Direction = Literal["above", "differs"]
LEVEL = 0.95


@dataclass(frozen=True)
class Contrast:
    """One inequality, measured with several seeds.

    Attributes:
        name: what is compared, in words.
        measure: of what, with its unit.
        first, second: values of the two arms by seed; paired by it.
        direction: above claims first > second; differs claims that they are not equal.
    """

    name: str
    measure: str
    first: Mapping[int, float]
    second: Mapping[int, float]
    direction: Direction = "above"

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
    """

    reproduced: float
    contradicted: float | None

    @property
    def claim(self) -> float:
        """At most 5 % if and only if the claim is decided."""
        if self.contradicted is None:
            return self.reproduced
        return min(1.0, 2.0 * min(self.reproduced, self.contradicted))


# Of a claim that could not be measured: it is undecided, and counts among those that were asked.
NO_EVIDENCE = PValues(1.0, 1.0)


def against_zero(name: str, measure: str, values: Mapping[int, float]) -> Contrast:
    """The claim that a quantity, such as a slope, is positive."""
    return Contrast(name, measure, values, dict.fromkeys(values, 0.0))


def mean_interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean; without end where there are fewer than two values, or one is not finite.

    Raises:
        ValueError: a level outside (0, 1).
    """
    require_range(level, "level", 0.0, 1.0, closed="neither")
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or not np.isfinite(values).all():
        return -math.inf, math.inf
    half = special.stdtrit(len(values) - 1, 0.5 + level / 2.0) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def decide(contrasts: Iterable[Contrast]) -> Answer:
    """The answer to a claim that all of these hold; the rule is in the module's docstring.

    Raises:
        ValueError: no contrast, or contrasts of both directions, for which no error rate is stated.
    """
    contrasts = _of_one_direction(contrasts)
    if all(_on_claimed_side(each) for each in contrasts):
        return "reproduced"
    strict = 1.0 - (1.0 - LEVEL) / len(contrasts)
    if any(each.direction == "above" and mean_interval(each.differences, strict)[1] < 0.0 for each in contrasts):
        return "contradicted"
    return "undecided"


def _on_claimed_side(contrast: Contrast) -> bool:
    low, high = mean_interval(contrast.differences)
    return low > 0.0 or (contrast.direction == "differs" and high < 0.0)


def _of_one_direction(contrasts: Iterable[Contrast]) -> list[Contrast]:
    found = list(contrasts)
    if not found:
        raise ValueError("contrasts: a claim needs at least one")
    if len({each.direction for each in found}) > 1:
        raise ValueError("contrasts: must all be above or all differs")
    return found


def p_values(contrasts: Iterable[Contrast]) -> PValues:
    """The p-values of a claim that all of these hold, with the rule of :func:`decide`.

    Raises:
        ValueError: as :func:`decide`.
    """
    contrasts = _of_one_direction(contrasts)
    tails = [_tails(each.differences) for each in contrasts]
    if contrasts[0].direction == "differs":
        return PValues(max(min(1.0, 2.0 * min(pair)) for pair in tails), None)
    return combined(tails)


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
        error: its standard error; 0 where all values are equal, which leaves no doubt unless they are 0.
    """
    if count < 2 or not (math.isfinite(mean) and math.isfinite(error)):
        return 1.0, 1.0
    ratio = mean / error if error > 0.0 else math.copysign(math.inf, mean) if mean else 0.0
    return float(special.stdtr(count - 1, -ratio)), float(special.stdtr(count - 1, ratio))


def _tails(values: np.ndarray) -> tuple[float, float]:
    count = len(values)
    if count < 2 or not np.isfinite(values).all():
        return 1.0, 1.0
    return student_tails(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(count), count)


def contrast_row(contrast: Contrast) -> dict:
    """A contrast as one row of contrasts.csv: means, mean difference and its 95 % interval, and the side it is on."""
    differences = contrast.differences
    low, high = mean_interval(differences)
    side = "above" if low > 0.0 else "below" if high < 0.0 else "undecided"
    seeds = sorted({*contrast.first} & {*contrast.second})
    first, second = (_mean(arm[seed] for seed in seeds) for arm in (contrast.first, contrast.second))
    return {
        "contrast": contrast.name, "measure": contrast.measure, "direction": contrast.direction, "seeds": len(seeds),
        "first": first, "second": second, "difference": _mean(differences),
        "low": low if math.isfinite(low) else math.nan, "high": high if math.isfinite(high) else math.nan, "side": side,
    }  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else math.nan
