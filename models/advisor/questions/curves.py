"""One pool at several batch sizes: Proposition 6's brackets, shares without a true neighbor, and how far rows drawn
anew would move them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.advisor.config import AdvisorConfig
from models.advisor.pool import Pool
from models.advisor.questions.influence import isolation_deviation, sharpness_deviation
from models.advisor.questions.laws import RowLaw, row_laws
from theory.batch_law import Weight, batch_laws
from theory.neighbour_floor import lonely_share

SMALLEST, LARGEST = 8, 512


@dataclass(frozen=True)
class SizePoint:
    """One attention at one batch size.

    Attributes:
        kind: "relu" or "softmax".
        batch_size: n.
        low, high: mean over the rows of Proposition 6's bracket.
        isolated: mean share of rows without a true neighbor in their batch; 0 where every weight is positive.
        deviation, isolated_deviation: of one row's influence on them, as in Prediction.
        rows: of the pool.
    """

    kind: str
    batch_size: int
    low: float
    high: float
    isolated: float
    deviation: float
    isolated_deviation: float
    rows: int

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


def curve_sizes(num_rows: int, batch_size: int) -> tuple[int, ...]:
    """Powers of two up to a quarter of the rows, and the batch size in use."""
    most = max(batch_size, min(LARGEST, num_rows // 4))
    sizes = {2**k for k in range(20) if SMALLEST <= 2**k <= most}
    return tuple(sorted(sizes | {batch_size}))


def size_curve(
    pool: Pool,
    weights: Sequence[tuple[str, Weight]],
    sizes: Sequence[int],
    config: AdvisorConfig,
    progress: Callable[[int], None] | None = None,
) -> tuple[SizePoint, ...]:
    """Every attention at every batch size.

    Args:
        weights: kind and weight of each.
    """
    found = []
    for (kind, weight), law in zip(weights, _laws(pool, sizes, [weight for _, weight in weights], progress)):
        hits = law.hits
        deviation = None
        for place, n in enumerate(sizes):
            # Of view pairs both are in every batch.
            isolated = float(np.mean(hits == 0)) if pool.paired else lonely_share(hits, n)
            alone = 0.0
            if kind == "relu" and not pool.paired:
                alone = isolation_deviation(pool, weight.threshold, n, config.seed)
            if deviation is None or pool.paired:
                deviation = sharpness_deviation(pool, weight, n, config.seed)
            found.append(
                SizePoint(kind, int(n), float(law.lower[place].mean()), float(law.upper[place].mean()), isolated,
                          deviation, alone, pool.size)
            )  # fmt: skip
    return tuple(found)


def _laws(
    pool: Pool, sizes: Sequence[int], weights: Sequence[Weight], progress: Callable[[int], None] | None
) -> tuple[RowLaw, ...]:
    if not pool.paired:
        return row_laws(pool, sizes, weights, progress=progress)
    laws = batch_laws(pool.points, pool.classes, tuple(sizes), weights, batches="pairs", progress=progress)
    return tuple(RowLaw(law.lower, law.upper, law.degree - law.cross_degree) for law in laws)
