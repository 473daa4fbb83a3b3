"""At which depth affinity sharpness peaks, and from which on it has over-fused: the stack itself, run on batches."""

import math
from dataclasses import dataclass

import numpy as np

from models.advisor.batches import BatchMeans, draw_batches, measure_layers
from models.advisor.config import AdvisorConfig
from models.advisor.pool import Pool
from theory.batch_law import Weight

HALF = 0.5


@dataclass(frozen=True)
class DepthCurve:
    """Of one attention.

    Attributes:
        kind: "relu" or "softmax".
        means, errors, deviations: of layers 0..L: mean affinity sharpness of the batches, its standard error given the
            rows, and one row's influence, as in Prediction.
        chance: affinity sharpness of uniform attention.
        peak: layer of the largest mean.
        peak_low, peak_high: first and last layer that is not clearly below the peak (paired, 1.96 standard errors).
        fused: first layer behind the peak that has lost half of the peak's excess over chance; None up to layer L.
    """

    kind: str
    means: tuple[float, ...]
    errors: tuple[float, ...]
    deviations: tuple[float, ...]
    chance: float
    peak: int
    peak_low: int
    peak_high: int
    fused: int | None


def depth_curve(pool: Pool, kind: str, weight: Weight, batch_size: int, config: AdvisorConfig) -> DepthCurve:
    """The stack with this attention on ``config.batches`` batches."""
    rng = np.random.default_rng([config.seed, 5])
    rows = draw_batches(pool, batch_size, config.batches, rng)
    return read_curve(kind, measure_layers(pool, weight, config.depth, rows), pool.chance_at(rows.shape[1]))


def read_curve(kind: str, layers: BatchMeans, chance: float) -> DepthCurve:
    """Peak and over-fusion of measured layers."""
    means = layers.mean
    peak = int(np.argmax(means))
    gaps = layers.values[peak] - layers.values
    near = gaps.mean(-1) <= 1.96 * gaps.std(-1, ddof=1) / math.sqrt(gaps.shape[-1])
    close = np.flatnonzero(near)
    limit = chance + HALF * (means[peak] - chance)
    fallen = [layer for layer in range(peak + 1, len(means)) if means[layer] < limit]
    return DepthCurve(
        kind, tuple(map(float, means)), tuple(map(float, layers.error)), tuple(map(float, layers.deviation)), chance,
        peak, int(close.min()), int(close.max()), fallen[0] if fallen else None,
    )  # fmt: skip
