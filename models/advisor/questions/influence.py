"""How far rows drawn anew would move a mean over rows and batches: the influence of one row, by Proposition 8 (iii)."""

import numpy as np
import torch
from jaxtyping import Float

from models.advisor.batches import draw_batches, measure_batches
from models.advisor.pool import Pool, thinned
from models.tiled import choose_tile_rows, row_tiles
from theory.batch_law import Weight

# Rows whose influences tell the standard deviation of all.
MOST_ROWS = 4000
# Batches that tell it where views are drawn in pairs.
RESAMPLED = 100


def sharpness_deviation(pool: Pool, weight: Weight, batch_size: int, seed: int) -> float:
    """Standard deviation of one row's influence on the mean affinity sharpness: asymptotic for labeled rows; for view
    pairs, whose partner is in every batch, the bound that batches give."""
    if pool.paired:
        rows = draw_batches(pool, batch_size, RESAMPLED, np.random.default_rng([seed, 3, batch_size]))
        return float(measure_batches(pool, [weight], rows)[0].deviation[0])
    part = thinned(pool, MOST_ROWS, seed)
    return float(share_influence(part, weight)[1].std(ddof=1))


def share_influence(pool: Pool, weight: Weight) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Each row's in-class share of its weight in the pool, and its influence on their mean: what
    ``theory.certified_mean`` says of classes of two rows and more, here of any; a row alone in its class has share 0.
    """
    weight, classes, count = weight.at_precision(pool.points.dtype), torch.from_numpy(pool.classes), pool.size
    shares, reached = np.empty(count), np.zeros(count)
    for tile in row_tiles(count, choose_tile_rows(pool.points)):
        h = weight.value((pool.points[tile] @ pool.points.mT).double().clamp_(-1.0, 1.0))
        h[torch.arange(len(h)), torch.arange(tile.start, tile.stop)] = 0.0
        own, mass = (classes[tile, None] == classes).double(), h.sum(1)
        inverse = torch.where(mass > 0, 1.0 / torch.where(mass > 0, mass, 1.0), 0.0)
        share = (h * own).sum(1) * inverse
        shares[tile] = share
        reached += (inverse @ (h * own) - (share * inverse) @ h).numpy()
    return shares, shares - shares.mean() + reached


def isolation_deviation(pool: Pool, threshold: float, batch_size: int, seed: int) -> float:
    """Likewise on the share of rows without a true neighbor in their batch."""
    return float(isolation_influence(thinned(pool, MOST_ROWS, seed), threshold, batch_size).std(ddof=1))


def isolation_influence(pool: Pool, threshold: float, batch_size: int) -> Float[np.ndarray, " P"]:
    """psi_j = f_j - mean f - (n-1) mean_i (1 - p_i)^(n-2) (1[j is a true neighbor of i] - p_i), f_i = (1 - p_i)^(n-1),
    p_i the share of the other rows that are true neighbors of row i."""
    count, n = pool.size, batch_size
    classes = torch.from_numpy(pool.classes)
    share, reached = np.empty(count), np.zeros(count)
    for tile in row_tiles(count, choose_tile_rows(pool.points)):
        hits = (pool.points[tile] @ pool.points.mT > threshold) & (classes[tile, None] == classes)
        hits[torch.arange(len(hits)), torch.arange(tile.start, tile.stop)] = False
        hits = hits.double()
        found = hits.sum(1) / (count - 1)
        share[tile] = found
        weights = (n - 1) * (1.0 - found) ** (n - 2) / count
        reached += (weights @ hits).numpy() - float(weights @ found)
    alone = (1.0 - share) ** (n - 1)
    return alone - alone.mean() - reached
