"""The smallest batch in which few rows are without a true neighbor (Proposition 7), of these very rows."""

from dataclasses import dataclass

import numpy as np

from models.advisor.config import AdvisorConfig
from models.advisor.pool import Pool
from theory.batch_law import Weight
from theory.neighbour_floor import floor_of_hits, true_neighbours


@dataclass(frozen=True)
class Floor:
    """At one threshold.

    Attributes:
        threshold: that a true neighbor's cosine exceeds.
        rows: of the smallest batch; None where no batch is large enough.
        never: share of the rows that have no true neighbor in the whole pool.
    """

    threshold: float
    rows: int | None
    never: float


def row_floor(pool: Pool, weight: Weight, config: AdvisorConfig) -> Floor:
    """Proposition 7 on the pool."""
    hits = true_neighbours(pool.points, pool.classes, weight.threshold)
    return Floor(weight.threshold, floor_of_hits(hits, config.share), float(np.mean(hits == 0)))
