"""Proposition 7: the smallest batch in which few rows lack true neighbours, from counts alone.

Setting: N rows with labels; H_i other rows of i's class have a cosine with i above tau. In a batch of i and n - 1 of
the other P = N - 1 rows, drawn at random without replacement, row i has fewer than k true neighbours with probability
F(k-1; P, H_i, n-1), the hypergeometric distribution function; q_k(n), its mean over rows, never rises with n. So

    n*(k, q) = min{n: q_k(n) <= q}

is well defined, and everything is exact for these rows. For k = 1 the floor from the mean of the H_i is never larger
than n* (F is convex in H), for k >= 2 it may be. Proof: theory.md, section 6;
this toolkit's statement.
"""

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float, Int
from scipy.stats import hypergeom

from theory.affinity import effective_threshold, unit_points
from theory.batches.clusters import cluster_layout
from theory.lemmas.drawn_rows import round_off
from theory.numerics.inputs import Array, as_numpy, require_count, require_points, require_range
from theory.numerics.precision import half_as_float64, widen

TILE_ENTRIES = 4_000_000


def true_neighbours(points: Float[Array, "N D"], labels: Array, threshold: float) -> Int[np.ndarray, " N"]:
    """H_i = #{j of i's class, j != i: C_ij > tau}, tau at least tau_num of the points' precision; memory O(N tile).

    Raises:
        ValueError: bad points or labels (one class, or a class of one row), threshold outside [0, 1).
    """
    points = widen(points, "points")
    if getattr(points, "ndim", 0) != 2:
        raise ValueError(f"points: expected shape (N, D), got {tuple(getattr(points, 'shape', ()))}")
    require_points(points)
    cut = float(effective_threshold(threshold, points.dtype))
    layout = cluster_layout(labels, points.shape[0])
    xp = array_namespace(points)
    unit = layout.sort_rows(unit_points(points), axis=0)
    hits = []
    for own in layout.slices:
        columns = xp.matrix_transpose(unit[own])
        step = max(1, TILE_ENTRIES // (own.stop - own.start))
        for start in range(own.start, own.stop, step):
            above = as_numpy(unit[start : min(start + step, own.stop)] @ columns > cut)
            # A row's cosine with itself is 1 up to round-off, and above every cut.
            hits.append(np.count_nonzero(above, axis=1) - np.diagonal(above[:, start - own.start :]))
    return layout.unsort_rows(np.concatenate(hits))


@half_as_float64
def lonely_probabilities(
    hits: Int[Array, " R"], pool_size: int, batch_size: int, neighbours: int = 1
) -> Float[np.ndarray, " R"]:
    """F(k-1; P, H_i, n-1): each row's chance of fewer than k true neighbours in a batch.

    Args:
        hits: H_i, whole numbers in [0, P].
        pool_size: P, the rows that the batch is completed from: N - 1 for rows of a pool of N, N for new ones.
        batch_size: n in [2, P + 1], the row itself included.
        neighbours: k in [1, P].

    Raises:
        ValueError: out of range; names the argument.
    """
    pool_size = require_count(pool_size, "pool_size", 1)
    found = _hits(hits, pool_size)
    n = require_count(batch_size, "batch_size", 2, pool_size + 1)
    k = require_count(neighbours, "neighbours", 1, pool_size)
    values, index = np.unique(found, return_inverse=True)
    return np.clip(hypergeom.cdf(k - 1, pool_size, values, n - 1), 0.0, 1.0)[index]


@half_as_float64
def lonely_share(hits: Int[Array, " N"], batch_size: int, neighbours: int = 1) -> float:
    """q_k(n): the expected share of a pool's rows with fewer than ``neighbours`` true neighbours in a batch.

    Args:
        hits: H_i in [0, N-1], whole numbers, one a row of the pool.

    Raises:
        ValueError: hits of another shape or range, batch size outside [2, N], neighbours outside [1, N-1].
    """
    found = _hits(hits)
    return float(lonely_probabilities(found, len(found) - 1, batch_size, neighbours).mean())


@half_as_float64
def floor_of_hits(hits: Int[Array, " N"], share: float, neighbours: int = 1) -> int | None:
    """n*(k, q) from the hits, shares above q by no more than they may be off by (``round_off``: 1e-11 up to a
    thousand rows, 2e-8 at a million) counting as q; None where not even the whole pool as one batch will do.

    Raises:
        ValueError: as ``lonely_share``; share outside [0, 1].
    """
    found = _hits(hits)
    require_range(share, "share", 0.0, 1.0)
    k = require_count(neighbours, "neighbours", 1, len(found) - 1)
    low, high, error = 1, len(found), round_off(len(found) - 1)
    # The whole pool is decided by counting, without a distribution function's round-off.
    if np.count_nonzero(found < k) / len(found) > share + error:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lonely_share(found, middle, k) <= share + error else (middle, high)
    return high


@half_as_float64
def neighbour_floor(
    points: Float[Array, "N D"], labels: Array, threshold: float, share: float, neighbours: int = 1
) -> int | None:
    """n*(k, q) of given rows: the smallest batch in which at most a share q of the rows is expected to have fewer than
    k true neighbours above the threshold; None if no batch up to the pool itself does.

    Args:
        points: (N, D), any norms; NumPy or torch.
        threshold: tau in [0, 1).
        share: q in [0, 1].
        neighbours: k >= 1.

    Raises:
        ValueError: bad points or labels, or a number out of range; names the argument.
    """
    require_range(share, "share", 0.0, 1.0)
    require_count(neighbours, "neighbours", 1)
    return floor_of_hits(true_neighbours(points, labels, threshold), share, neighbours)


def _hits(hits: Array, pool_size: int | None = None) -> np.ndarray:
    found = as_numpy(hits)
    if found.ndim != 1 or found.size < (2 if pool_size is None else 1) or found.dtype.kind not in "fiu":
        raise ValueError(f"hits: expected whole numbers of shape (N,), got {found.dtype} of shape {found.shape}")
    require_range(found, "hits", 0, len(found) - 1 if pool_size is None else pool_size)
    if np.any(found != np.floor(found)):
        raise ValueError("hits: expected whole numbers")
    return found.astype(np.int64)
