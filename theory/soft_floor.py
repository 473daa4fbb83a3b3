"""Theorem 2g (this toolkit's statement): the batch floor under Gaussian noise, from the soft graph.

Statement. Clean points are uniform on the unit spheres of r-dimensional subspaces, theta_b is the smallest principal
angle between them, the noise is Gaussian. At tau = beta(sigma), which each cross pair passes with probability at most
delta/(2 #cross) (Theorem 2b's law; squared affinities: delta/(4 #cross) on either side), no pair of a cluster is
promised an edge: each has one with the probability that the noise leaves it. A cluster of m points then falls apart
with probability at most theory.lemmas.soft_graph's two-sided bound g(m), and a batch whose clusters have
sum_k g(n_k) <= delta/2 is recovered in one block with probability at least 1 - delta.

Theorem 2c instead asks every pair below a radius to have its edge, which costs it most of the noise it could bear: its
floor is the smaller one only where there is little noise, or none.

Hypotheses: as above. The noise must be Gaussian: a bounded one may choose which edges to take away.
Proof: theory.md, section 2g.
"""

from collections import Counter

import numpy as np

from theory.batches.clusters import pair_counts
from theory.lemmas.pair_law import LARGEST_DIM, NOISE_RANGE, safe_quantile
from theory.lemmas.soft_graph import LARGEST_SUBSPACE, RULES, Rules, soft_descent
from theory.numerics.floor_search import bisect, log_share, settle
from theory.numerics.inputs import LARGEST_SIZE, ClusterSizes, require_count, require_range, sizes_of_clusters
from theory.numerics.precision import half_as_float64

# Thresholds stand this far (radians) on the safe side of what they exclude, so that round-off makes no edge.
ANGLE_MARGIN = 1e-9
# Cosines closer to 1 are known to a digit or less.
LARGEST_THRESHOLD = 1.0 - 1e-15
# Bounds are taken this much larger than their sums, besides what twice as many nodes change.
MARGIN = 1.01
# A bound this many times its budget is not worth finer rules.
HOPELESS = 1.5
# Where the search for a floor ends unless told otherwise, and by which factor it climbs.
LARGEST_SOFT, CLIMB = 16_384, 1.6


def cross_threshold(
    ambient_dim: int, num_cross_pairs: int, min_principal_angle: float, noise_level: float, delta: float, squared: bool
) -> float:
    """beta(sigma): no cross pair passes it with probability at least 1 - delta/2. 1 where it is too close to 1 for
    float64's cosines: nothing is guaranteed there."""
    log_tail = log_share(delta, (4 if squared else 2) * num_cross_pairs)
    found = safe_quantile(ambient_dim, noise_level, float(np.cos(min_principal_angle)), log_tail, upper=True)
    return max(float(found), ANGLE_MARGIN) if found <= LARGEST_THRESHOLD else 1.0


@half_as_float64
def soft_floor(
    subspace_dim: int,
    ambient_dim: int,
    num_clusters: int,
    noise_level: float,
    min_principal_angle: float,
    delta: float,
    squared: bool = False,
    largest: int = LARGEST_SOFT,
) -> int | None:
    """A cluster size m at which K clusters of m points are recovered with probability at least 1 - delta: g(m) <=
    delta/(2 K) at tau = beta(sigma), which depends on m through the number of cross pairs. m = 3, or m - 1 is not
    proved by the computed bound.

    None where no size up to ``largest`` is found. g is not monotone in m, and more points raise the threshold, so that
    the guarantee may end again at a larger m (and, where there is hardly any noise, begin at a smaller one): the number
    is proved at m itself; ask ``is_soft_guaranteed`` at other sizes, and where they differ. The search climbs by 60 % a
    step, so that it may step over a window of sizes that are proved.

    g is computed by quadrature, not enclosed (theory.md 2h). What is called proved has been computed twice, by the soft
    graph's RULES and with twice as many nodes in every dimension: the latter value, one percent larger, and the
    difference of both stay within the budget together. Where the rules disagree, as they do at extreme targets
    (delta/(2 K) below about 1e-13), sizes are larger than they need be, or none is found.

    Args:
        subspace_dim: r, 2 to 128.
        ambient_dim: D >= 2 r (subspaces at a positive angle).
        num_clusters: K >= 2.
        noise_level: sigma in [1e-6, 1e6]; without noise see Theorem 2c.
        min_principal_angle: theta_b in (0, pi/2], radians.
        delta: failure probability of the batch, (0, 1).
        squared: signs are ignored.
        largest: largest cluster size that is looked at, 3 to 2^53.

    Raises:
        ValueError: an argument out of range.
    """
    count = _checked(subspace_dim, ambient_dim, num_clusters, noise_level, min_principal_angle, delta)
    largest = require_count(largest, "largest", 3, LARGEST_SIZE)

    place = subspace_dim, ambient_dim, count

    def suffices(size: int) -> bool:
        sizes = np.array([size])
        failure = _failure(*place, sizes, noise_level, min_principal_angle, delta, squared, RULES)
        return MARGIN * failure <= delta / 2.0

    low, high = 2, 3
    while not suffices(high):
        if high == largest:
            return None
        low, high = high, min(largest, int(np.ceil(high * CLIMB)))

    def is_proved(size: int) -> bool:
        return _is_proved(*place, np.array([size]), noise_level, min_principal_angle, delta, squared)

    return settle(is_proved, bisect(suffices, low, high)[1], 3, largest)


@half_as_float64
def is_soft_guaranteed(
    subspace_dim: int,
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    noise_level: float,
    min_principal_angle: float,
    delta: float,
    squared: bool = False,
) -> bool:
    """Whether clusters of exactly these sizes are proved to be recovered with probability at least 1 - delta at
    tau = beta(sigma) (``gaussian_connection(...).threshold`` of theory.batch_floor).

    Args:
        cluster_size: points in every cluster, or one number for each. The others, errors, and what is numerical, as in
            ``soft_floor``.
    """
    count = _checked(subspace_dim, ambient_dim, num_clusters, noise_level, min_principal_angle, delta)
    count, sizes = sizes_of_clusters(count, cluster_size)
    return _is_proved(subspace_dim, ambient_dim, count, sizes, noise_level, min_principal_angle, delta, squared)


def _is_proved(
    subspace_dim: int, ambient_dim: int, count: int, sizes: np.ndarray, noise_level: float, min_principal_angle: float,
    delta: float, squared: bool,
) -> bool:  # fmt: skip
    """Whether the bound stays within its budget by more than what twice as many nodes change."""
    place = subspace_dim, ambient_dim, count, sizes, noise_level, min_principal_angle, delta, squared
    rough = _failure(*place, RULES)
    if rough > HOPELESS * delta / 2.0:
        return False
    fine = _failure(*place, RULES.finer())
    return MARGIN * fine + abs(fine - rough) <= delta / 2.0


def _failure(
    subspace_dim: int, ambient_dim: int, count: int, sizes: np.ndarray, noise_level: float, min_principal_angle: float,
    delta: float, squared: bool, rules: Rules,
) -> float:  # fmt: skip
    """sum_k g(n_k) at the threshold of these sizes, one that all clusters have or one each; inf without a threshold."""
    cross = pair_counts(sizes, count)[1]
    threshold = cross_threshold(int(ambient_dim), cross, min_principal_angle, float(noise_level), delta, squared)
    if threshold >= 1.0:
        return np.inf
    bounds = soft_descent(int(subspace_dim), int(ambient_dim), float(noise_level), threshold, bool(squared), rules)
    copies = count if len(sizes) == 1 else 1
    return copies * sum(times * bounds.bound(size) for size, times in Counter(sizes.tolist()).items())


def _checked(
    subspace_dim: int, ambient_dim: int, num_clusters: int, noise_level: float, min_principal_angle: float, delta: float
) -> int:
    own = require_count(subspace_dim, "subspace_dim", 2, LARGEST_SUBSPACE)
    require_count(ambient_dim, "ambient_dim", 2 * own, LARGEST_DIM)
    require_range(noise_level, "noise_level", *NOISE_RANGE)
    require_range(min_principal_angle, "min_principal_angle", 0.0, np.pi / 2, closed="right")
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    return require_count(num_clusters, "num_clusters", 2, LARGEST_SIZE)
