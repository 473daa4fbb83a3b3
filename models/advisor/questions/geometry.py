"""What the rows look like before any attention: cosines, nearest neighbors, and whether Theorem 2b speaks of them."""

from dataclasses import dataclass

import numpy as np
import torch

from models.advisor.pool import Pool
from models.tiled import choose_tile_rows, row_tiles

BINS = 4096
# Rows whose neighbors are looked at; the pool has all of its rows as neighbors.
MOST_ROWS = 5000
NEIGHBORS, AGREEING = 20, 10
TEMPERATURE = 0.1
DUPLICATE = 1.0 - 1e-6


@dataclass(frozen=True)
class Geometry:
    """Of one pool, raw or centered.

    Attributes:
        centered: whether the mean was subtracted.
        median_cosine: of all pairs.
        chance: mean share of the other rows that have a row's class.
        knn: leave-one-out accuracy of the 20 nearest rows, weights exp(cosine/.1).
        agreement: share of the 10 nearest rows that have the row's class (of view pairs: of the nearest one).
        closer: share of the cross pairs whose cosine is above the smallest within-class one; Theorem 2b needs 0.
        smallest_within, largest_cross: alpha and beta of the pairs that were looked at: all of them, or those with
            at least one of the rows that were.
        duplicates: rows that have another one at a cosine of 1.
        rows_seen: rows that were looked at, against all of the pool.
    """

    centered: bool
    median_cosine: float
    chance: float
    knn: float
    agreement: float
    closer: float
    smallest_within: float
    largest_cross: float
    duplicates: int
    rows_seen: int

    @property
    def separated(self) -> bool:
        """Whether Theorem 2b applies as far as pairs were looked at: every within-class one is closer than every cross
        one."""
        return self.smallest_within > self.largest_cross


def geometry(pool: Pool, seed: int) -> Geometry:
    """One pass over row tiles of the pool, or of a part of it."""
    rng = np.random.default_rng([seed, 1])
    seen = np.sort(rng.permutation(pool.size)[:MOST_ROWS])
    classes = torch.from_numpy(pool.classes)
    nearest = min(1 if pool.paired else NEIGHBORS, pool.size - 1)
    counts = torch.zeros(2, BINS, dtype=torch.int64)
    extremes = [1.0, -1.0]
    right = agree = duplicates = 0.0
    for tile in row_tiles(len(seen), choose_tile_rows(pool.points)):
        rows = torch.from_numpy(seen[tile])
        cosines = (pool.points[rows] @ pool.points.mT).clamp_(-1.0, 1.0)
        own = classes[rows, None] == classes
        own[torch.arange(len(rows)), rows] = False
        cosines[torch.arange(len(rows)), rows] = -2.0
        top, index = cosines.topk(nearest)
        votes = torch.zeros(len(rows), int(classes.max()) + 1) if not pool.paired else None
        if votes is not None:
            votes.scatter_add_(1, classes[index], ((top - top[:, :1]) / TEMPERATURE).exp())
            right += float((votes.argmax(1) == classes[rows]).sum())
        same = classes[index] == classes[rows, None]
        agree += float(same[:, :AGREEING].double().mean(1).sum())
        duplicates += float((top[:, 0] > DUPLICATE).sum())
        within, cross = cosines[own], cosines[~own & (cosines > -1.5)]
        for kind, values in enumerate((within, cross)):
            place = ((values + 1.0) * (BINS / 2)).long().clamp_(max=BINS - 1)
            counts[kind] += torch.bincount(place, minlength=BINS)
        extremes = [min([extremes[0], *within.amin(keepdim=True).reshape(-1)[:1].tolist()]) if within.numel() else
                    extremes[0], max(extremes[1], float(cross.max())) if cross.numel() else extremes[1]]  # fmt: skip
    return Geometry(
        centered=pool.center is not None,
        median_cosine=_quantile(counts.sum(0), 0.5),
        chance=pool.chance,
        knn=(agree if pool.paired else right) / len(seen),
        agreement=agree / len(seen),
        closer=_share_above(counts[1], extremes[0]),
        smallest_within=extremes[0],
        largest_cross=extremes[1],
        duplicates=int(duplicates),
        rows_seen=len(seen),
    )


def _quantile(counts: torch.Tensor, level: float) -> float:
    """Linear inside a bin of width 2/BINS."""
    total = counts.cumsum(0).double()
    place = int(torch.searchsorted(total, level * total[-1]))
    before = float(total[place - 1]) if place else 0.0
    inside = (level * float(total[-1]) - before) / max(float(counts[place]), 1.0)
    return -1.0 + 2.0 * (place + inside) / BINS


def _share_above(counts: torch.Tensor, cosine: float) -> float:
    """Share of counted cosines above one, linear inside its bin."""
    place = (cosine + 1.0) * BINS / 2
    whole = min(int(place), BINS - 1)
    above = float(counts[whole + 1 :].sum()) + (whole + 1 - place) * float(counts[whole])
    return min(max(above / max(float(counts.sum()), 1.0), 0.0), 1.0)
