"""Proposition 8's bounds for an attention that was fixed beforehand: truths are means over many further draws."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.advisor.batches import draw_batches, measure_layers
from models.advisor.coverage.sources import Source
from models.advisor.coverage.trial import Outcome
from models.advisor.inputs.features import FeatureSet
from models.advisor.pool import Pool, pool_of
from models.advisor.questions.influence import share_influence
from theory.batch_law import Weight
from theory.certified_mean import asymptotic_interval, batch_floor_of_mean

WEIGHT = Weight("relu", threshold=0.2)
BATCH_SIZE, DEPTH = 16, 2
# Batches whose mean is bounded, and sets that the truth of the in-class share is a mean over.
SAMPLED, SETS = 200, 1000
# New rows that come with every draw.
UNUSED = 200


@dataclass(frozen=True)
class Truth:
    """Of one source and number of rows.

    Attributes:
        share: expected mean in-class share of the rows' weight.
        layer: expected affinity sharpness of a whole new batch after DEPTH blocks.
    """

    share: float
    layer: float


def truth_of(source: Source, rows: int, rng: np.random.Generator) -> Truth:
    """Means over SETS further draws."""
    shares, layers = [], []
    for _ in range(SETS):
        pool = _pool(source, source.draw(rng, rows, UNUSED)[0])
        shares.append(share_influence(pool, WEIGHT)[0].mean())
        layers.append(_layer(pool, 10, rng))
    return Truth(float(np.mean(shares)), float(np.mean(layers)))


def fixed_outcomes(
    source: Source, truth: Truth, features: FeatureSet, delta: float, rng: np.random.Generator
) -> Iterator[Outcome]:
    """Proposition 8 (ii) and (iii) on one draw."""
    pool = _pool(source, features)
    floor = batch_floor_of_mean(_layer(pool, SAMPLED, rng), pool.size, BATCH_SIZE, delta, SAMPLED)
    yield Outcome("CERTIFIED", f"whole batches after {DEPTH} blocks (8 ii)", floor <= truth.layer)
    shares, influence = share_influence(pool, WEIGHT)
    low, high = asymptotic_interval(float(shares.mean()), influence, 1.0 - delta)
    yield Outcome("PREDICTED", "in-class share of the rows (8 iii)", low <= truth.share <= high)


def _pool(source: Source, features: FeatureSet) -> Pool:
    return pool_of(features, True, center=source.middle())


def _layer(pool: Pool, batches: int, rng: np.random.Generator) -> float:
    rows = draw_batches(pool, BATCH_SIZE, batches, rng)
    return float(measure_layers(pool, WEIGHT, DEPTH, rows).mean[DEPTH])
