"""How a claim is decided: by paired differences over seeds, with a rule that is fixed before anything is run.

A contrast is one inequality "a is above b". Both arms are run with the same seeds, and with d_s = a_s - b_s for the k
seeds, the interval of the mean difference is Student's, mean(d) +- t(k - 1) sd(d) / sqrt(k). A claim is m contrasts:

    reproduced    all m intervals at level 95 % lie above 0
    contradicted  some interval at level 1 - 5 %/m lies below 0 (Bonferroni)
    undecided     otherwise; always with fewer than two seeds, or where a value is missing

Were all arms the same and differences normal, "reproduced" would have probability at most 2.5 % (already the first
contrast lies above 0 no more often) and "contradicted" at most m (5 %/m)/2 = 2.5 %: at most 5 % of such claims are
decided. For a claim that two arms differ, whichever is better, "reproduced" needs every interval to leave out 0, and
nothing contradicts it: at most 5 % again. Accuracies over hundreds of test images are normal enough (the tests simulate
them). Values with few levels are not: differences of +-c by the toss of a coin agree in all k seeds, and leave an
interval of no length, in 2^(1-k) of all cases.

Theorems are not decided by statistics but by the verdicts of theory.verdicts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from theory.inputs import require_range

Answer = Literal["reproduced", "contradicted", "undecided"]
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
    half = stats.t.ppf(0.5 + level / 2.0, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def decide(contrasts: Iterable[Contrast]) -> Answer:
    """The answer to a claim that all of these hold; the rule is in the module's docstring.

    Raises:
        ValueError: no contrast.
    """
    contrasts = list(contrasts)
    if not contrasts:
        raise ValueError("contrasts: a claim needs at least one")
    if all(_on_claimed_side(each) for each in contrasts):
        return "reproduced"
    strict = 1.0 - (1.0 - LEVEL) / len(contrasts)
    if any(each.direction == "above" and mean_interval(each.differences, strict)[1] < 0.0 for each in contrasts):
        return "contradicted"
    return "undecided"


def _on_claimed_side(contrast: Contrast) -> bool:
    low, high = mean_interval(contrast.differences)
    return low > 0.0 or (contrast.direction == "differs" and high < 0.0)


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
