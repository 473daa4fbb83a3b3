"""The smallest batch in which few rows are without a true neighbor (Proposition 7), of these very rows."""

from dataclasses import dataclass

import numpy as np
import torch

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
    hits = _hits(pool, weight.threshold)
    return Floor(weight.threshold, floor_of_hits(hits, config.share), float(np.mean(hits == 0)))


def _hits(pool: Pool, threshold: float) -> np.ndarray:
    """True neighbors of every row, (P,); none of a row that is alone in its class."""
    several = np.bincount(pool.classes)[pool.classes] > 1
    rows = np.flatnonzero(several)
    if not several.all():
        # Twice, as a class of its own, so that there are two classes of two rows whichever are left.
        rows = np.append(rows, [np.flatnonzero(~several)[0]] * 2)
    found = true_neighbours(pool.points[torch.from_numpy(rows)], pool.classes[rows], threshold)
    hits = np.zeros(pool.size, dtype=np.int64)
    hits[several] = found[: several.sum()]
    return hits
