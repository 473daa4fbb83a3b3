"""The largest augmentation strength that keeps a share of the excess over chance, interpolated between others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.advisor.batches import BatchMeans, draw_batches, measure_batches
from models.advisor.config import AdvisorConfig
from models.advisor.pool import Pool
from models.advisor.questions.curves import SizePoint
from models.advisor.questions.influence import RESAMPLED
from theory.batch_law import Weight


@dataclass(frozen=True)
class StrengthLimit:
    """Of one attention.

    Attributes:
        kind: "relu" or "softmax".
        value: strength at which the kept share falls below the target; infinity where it does not up to the last one.
        low, high: between which strengths it lies, by the brackets of the embedded ones on both sides and
            interpolation; high may be infinite.
        last: largest embedded strength.
        deviation: of one row's influence on the value, as in Prediction.
        rows: that were looked at.
    """

    kind: str
    value: float
    low: float
    high: float
    last: float
    deviation: float
    rows: int


def crossing(strengths: Sequence[float], kept: Sequence[float] | np.ndarray, target: float) -> float:
    """Smallest strength at which a curve, linear between its points, falls below ``target``, or infinity."""
    for (s, a), (t, b) in zip(zip(strengths, kept), zip(strengths[1:], kept[1:])):
        if a < target:
            return float(s)
        if b < target:
            return float(s + (t - s) * (a - target) / (a - b))
    return math.inf


def reach(strengths: Sequence[float], kept: Sequence[float] | np.ndarray, target: float, error: float) -> float:
    """How far the crossing moves, per unit of ``error``, where the curve is off by two of them: slopes differ on both
    sides of an embedded strength, and the flatter one counts."""
    shift = 2.0 * error
    value = crossing(strengths, kept, target)
    early, late = (min(crossing(strengths, kept, target + sign * shift), strengths[-1]) for sign in (1, -1))
    return max(value - early, late - value) / 2.0


def batch_means(pool: Pool, weight: Weight, batch_size: int, config: AdvisorConfig) -> np.ndarray:
    """Sharpness of the same batches of rows at every strength, (batches,)."""
    rng = np.random.default_rng([config.seed, 4, batch_size])
    return measure_batches(pool, [weight], draw_batches(pool, batch_size, RESAMPLED, rng))[0].values[0]


def strength_limit(
    strengths: Sequence[float],
    points: Sequence[SizePoint],
    means: Sequence[np.ndarray],
    chance: float,
    target: float,
    pool_size: int,
) -> StrengthLimit:
    """From one attention's curve over strengths.

    Args:
        points: one a strength, the first at 0.
        means: of the same batches at every strength, (batches,) each.
        chance: affinity sharpness of uniform attention.
        target: share of the excess over chance that is to be kept.
        pool_size: rows that the batches were drawn from.
    """
    low, high = (np.array([getattr(p, side) for p in points]) - chance for side in ("low", "high"))
    middle = (low + high) / 2
    value = crossing(strengths, middle, target * middle[0])
    ends = crossing(strengths, low, target * high[0]), crossing(strengths, high, target * low[0])
    deviation = math.nan
    if math.isfinite(value):
        right = next(i for i, s in enumerate(strengths) if s >= value and i > 0)
        left = right - 1
        share = (value - strengths[left]) / (strengths[right] - strengths[left])
        means = [np.asarray(each) - chance for each in means]
        # What one batch says about "excess at the value - target x excess at 0", whose mean is 0 there.
        gap = (1 - share) * means[left] + share * means[right] - target * means[0]
        spread = BatchMeans(gap[None], points[0].batch_size, pool_size).deviation[0]
        # Of the difference of two sets as large as this one.
        error = float(spread * math.sqrt(2 / pool_size))
        deviation = reach(strengths, middle, target * middle[0], error) * math.sqrt(pool_size / 2)
    return StrengthLimit(points[0].kind, value, *ends, float(strengths[-1]), deviation, pool_size)
