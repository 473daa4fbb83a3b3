"""Theorem 2c, denoising (this toolkit's statement): larger clusters average more noise away, down to a limit.

Statement. After L blocks a fused point keeps at most eta of the noise (``residual_noise``), so that it lies within
arcsin(eta/nu_clean) of its clean cluster's cone, with probability at least 1 - delta.

Hypotheses: Gaussian noise, unit clean points in cones (Theorem 2a's hypotheses), tokens that are not normalized.
Proof: theory.md, section 2c.
"""

import numpy as np

from theory.noise_free import norm_floor_squared
from theory.numerics.inputs import LARGEST_SIZE, require_count, require_mixing, require_range
from theory.numerics.precision import half_as_float64

# Cluster sizes that a denoising floor answers for, unless told otherwise.
LARGEST_CLUSTER = 65_536


@half_as_float64
def residual_noise(
    noise_level: float,
    ambient_dim: int,
    min_cluster_size: int,
    max_cluster_size: int,
    num_clusters: int,
    kappa: float,
    depth: int,
    delta: float,
    mixing: float = 0.5,
) -> float:
    """eta: with probability at least 1 - delta a batch that satisfies Theorem 2a's hypotheses with affinities of ratio
    at least kappa keeps at most this much noise in any fused point.

    With q = (1 - lambda)^L, g = 1/(1 + (m - 2) kappa), t(x) = sqrt(2 ln(x)/D), the smaller of
        sigma (q + sqrt(g)(1 - q)) (1 + sqrt(M/D) + t(2 K/delta))
        sigma [ q (1 + t(2 K M/delta)) + sqrt(g)(1 - q)(1 + sqrt(M/D) + t(2 K/delta)) ].
    The second keeps a point's own noise, which is not averaged, out of the operator norm. Both hold on one event.

    Args:
        noise_level: sigma >= 0.
        ambient_dim: D >= 1.
        min_cluster_size, max_cluster_size: m and M.
        num_clusters: K >= 1.
        kappa: (alpha - tau)/(1 - tau) of the observed batch, (0, 1].
        depth: L >= 1 blocks.
        delta: failure probability, (0, 1).
        mixing: lambda in (0, 1].

    Raises:
        ValueError: an argument out of range.
    """
    require_range(noise_level, "noise_level", 0.0, np.inf, closed="left")
    dim = require_count(ambient_dim, "ambient_dim", 1)
    smallest = require_count(min_cluster_size, "min_cluster_size", 2)
    largest = require_count(max_cluster_size, "max_cluster_size", smallest)
    clusters = require_count(num_clusters, "num_clusters", 1)
    require_range(kappa, "kappa", 0.0, 1.0, closed="right")
    layers = require_count(depth, "depth", 1)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    require_mixing(mixing)
    return float(_residual(noise_level, dim, smallest, largest, clusters, kappa, layers, delta, mixing))


def _residual(noise_level, dim, smallest, largest, clusters, kappa, depth, delta, mixing) -> float:
    own = (1.0 - mixing) ** float(depth)
    averaged = (1.0 - own) / np.sqrt(1.0 + (smallest - 2) * kappa)

    def tail(ways: float) -> float:
        return float(np.sqrt(2.0 * np.log(ways / delta) / dim))

    norm = 1.0 + np.sqrt(largest / dim)
    together = (own + averaged) * (norm + tail(2 * clusters))
    apart = own * (1.0 + tail(2 * clusters * largest)) + averaged * (norm + tail(2 * clusters))
    return noise_level * min(together, apart)


@half_as_float64
def denoising_floor(
    target_angle: float,
    min_within_cos: float,
    noise_level: float,
    ambient_dim: int,
    num_clusters: int,
    kappa: float,
    depth: int,
    delta: float,
    mixing: float = 0.5,
    largest: int = LARGEST_CLUSTER,
) -> int | None:
    """Smallest m such that clusters of any size from m to ``largest`` fuse to within ``target_angle`` of their clean
    cones; None where there is none.

    Some end is needed: at a finite depth a share (1 - lambda)^L of every point's own noise stays, and the largest of
    ever more of those grows without limit.

    Args:
        target_angle: radians, (0, pi/2).
        min_within_cos: a of the clean clusters, (0, 1].
        largest: largest cluster size that counts. The others: as in ``residual_noise``, for equal clusters.
    """
    require_range(target_angle, "target_angle", 0.0, np.pi / 2, closed="neither")
    require_range(min_within_cos, "min_within_cos", 0.0, 1.0, closed="right")
    largest = require_count(largest, "largest", 2, LARGEST_SIZE)
    residual_noise(noise_level, ambient_dim, largest, largest, num_clusters, kappa, depth, delta, mixing)
    for size in range(largest, 1, -1):
        eta = _residual(noise_level, int(ambient_dim), size, size, int(num_clusters), kappa, int(depth), delta, mixing)
        if not eta < _limit(target_angle, min_within_cos, size):
            return size + 1 if size < largest else None
    return 2


@half_as_float64
def residual_limit(angle: float, min_within_cos: float, max_cluster_size: int) -> float:
    """nu_clean sin(angle): noise below it keeps a fused point within ``angle`` of its clean cluster's cone.

    Args:
        angle: radians, [0, pi/2].
        min_within_cos: a of the clean clusters, (0, 1].

    Raises:
        ValueError: an argument out of range.
    """
    require_range(angle, "angle", 0.0, np.pi / 2)
    require_range(min_within_cos, "min_within_cos", 0.0, 1.0, closed="right")
    return _limit(angle, min_within_cos, require_count(max_cluster_size, "max_cluster_size", 2))


def _limit(angle: float, min_within_cos: float, max_cluster_size: int) -> float:
    return float(np.sqrt(norm_floor_squared(min_within_cos, max_cluster_size)) * np.sin(angle))
