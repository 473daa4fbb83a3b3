"""Theorem 2a (this toolkit's statement): clusters that start far enough apart stay apart at every depth.

Statement. If alpha > 0 and beta+ < alpha nu_(1) nu_(2), with nu_(i)^2 = alpha + (1 - alpha)/n_(i) of the two largest
clusters, pick tau in [beta+/(nu_(1) nu_(2)), alpha). Then at every layer A_ij = 0 for i !~ j and A_ij > 0 for i ~ j
(affinity sharpness 1), alpha_l does not decrease, beta_l <= beta+/(nu_(1) nu_(2)), and with unit inputs the spread
obeys Theorem 1b's rate. With one size M for all clusters the product is nu^2 = alpha + (1 - alpha)/M.

Hypotheses: as above; any input norms, except for the rate.
Proof: theory.md, section 2a. Sharp: equiangular clusters have beta_l -> b/nu^2 exactly.
"""

import numpy as np

from theory.batches.trajectory import Trajectory
from theory.judging.exact_replay import ExactReplay
from theory.judging.statements import THEOREM_2A
from theory.judging.verdicts import Verdict, combine_parts, judge
from theory.noise_free import check_monotone, check_spread, norm_floor_squared
from theory.numerics.inputs import ClusterSizes, Numbers, as_sizes, require_range, require_threshold
from theory.numerics.precision import ABSOLUTE_MARGIN, UNIT_SUM_TOLERANCE, half_as_float64, numerical_threshold

NAME = THEOREM_2A.name


@half_as_float64
def norm_product(alpha: Numbers, cluster_sizes: ClusterSizes) -> Numbers:
    """nu_(1) nu_(2) of the two largest clusters; one size stands for clusters that all have it.

    Raises:
        ValueError: alpha outside [-1, 1], bad sizes.
    """
    require_range(alpha, "alpha", -1.0, 1.0)
    sizes = np.sort(as_sizes(cluster_sizes, "cluster_sizes"))[::-1]
    largest, second = int(sizes[0]), int(sizes[min(1, len(sizes) - 1)])
    if largest == second:
        return norm_floor_squared(alpha, largest)
    return (norm_floor_squared(alpha, largest) * norm_floor_squared(alpha, second)) ** 0.5


@half_as_float64
def cross_cap(alpha: Numbers, beta: Numbers, cluster_sizes: ClusterSizes) -> Numbers:
    """beta+/(nu_(1) nu_(2)): what cross cosines can grow to, and the smallest admissible threshold.

    Raises:
        ValueError: alpha outside (0, 1], beta outside [-1, 1], bad sizes.
    """
    require_range(alpha, "alpha", 0.0, 1.0, closed="right")
    require_range(beta, "beta", -1.0, 1.0)
    return np.maximum(beta, 0.0) / norm_product(alpha, cluster_sizes)


@half_as_float64
def threshold_interval(alpha: float, beta: float, max_cluster_size: ClusterSizes) -> tuple[float, float] | None:
    """Thresholds [low, high) that keep the batch apart at every depth, or None where there are none.

    Args:
        alpha: smallest within-cluster cosine.
        beta: largest cross cosine.
        max_cluster_size: M; or all cluster sizes, which is sharper when they differ.

    Raises:
        ValueError: cosines outside [-1, 1], sizes below 2.
    """
    require_range(alpha, "alpha", -1.0, 1.0)
    require_range(beta, "beta", -1.0, 1.0)
    as_sizes(max_cluster_size, "max_cluster_size")
    if alpha <= 0.0:
        return None
    low = float(cross_cap(alpha, beta, max_cluster_size))
    return (low, float(alpha)) if low < alpha else None


@half_as_float64
def persists(alpha: Numbers, beta: Numbers, cluster_sizes: ClusterSizes, threshold: Numbers) -> Numbers:
    """The hypotheses for a given threshold, elementwise: alpha > 0 and beta+/(nu nu) <= tau < alpha.

    Raises:
        ValueError: cosines outside [-1, 1], a threshold outside [0, 1), bad sizes.
    """
    require_range(alpha, "alpha", -1.0, 1.0)
    require_threshold(threshold)
    alpha = np.asarray(alpha)
    positive = np.where(alpha > 0.0, alpha, 1.0)
    return (alpha > 0.0) & (cross_cap(positive, beta, cluster_sizes) <= threshold) & (threshold < alpha)


@half_as_float64
def admits_threshold(alpha: Numbers, beta: Numbers, cluster_sizes: ClusterSizes) -> Numbers:
    """True where some threshold satisfies the hypotheses: alpha > 0 and beta+ < alpha nu_(1) nu_(2), elementwise.

    Raises:
        ValueError: cosines outside [-1, 1], bad sizes.
    """
    require_range(alpha, "alpha", -1.0, 1.0)
    positive = np.where(alpha > 0.0, alpha, 1.0)
    return (alpha > 0.0) & (cross_cap(positive, beta, cluster_sizes) < alpha)


@half_as_float64
def check_persistence(
    trajectory: Trajectory,
    cluster_sizes: ClusterSizes,
    threshold: Numbers,
    mixing: Numbers,
    *,
    unit_inputs: bool,
    exact: ExactReplay | None = None,
) -> Verdict:
    """Theorem 2a on measured layers; trials whose first layer misses the hypotheses are not applicable.

    Args:
        threshold, mixing: the effective tau and lambda, numbers or (trials,).
        unit_inputs: the inputs had norm 1, so that Theorem 1b's rate applies too.
        exact: high-precision replay of a trial, for margins too close to call.
    """
    alpha, beta = trajectory.alpha, trajectory.beta
    low = cross_cap(np.where(alpha[0] > 0.0, alpha[0], 1.0), beta[0], cluster_sizes)
    # On the very edge of the hypotheses float64 cannot tell which side a batch is on: such batches are left out.
    inside = (threshold - low > ABSOLUTE_MARGIN) & (alpha[0] - threshold > ABSOLUTE_MARGIN)
    applicable = persists(alpha[0], beta[0], cluster_sizes, threshold) & inside
    floor = numerical_threshold("float64")
    cap = np.maximum(low, floor)
    leak = np.where(trajectory.false_edges > 0, np.inf, trajectory.sharpness_error)

    def exact_cap_margin(trial: int, alpha: np.ndarray, beta: np.ndarray) -> object:
        return min(max(max(beta[0], 0) / norm_product(alpha[0], cluster_sizes), floor) - beta)

    parts = [
        judge(f"{NAME}: cross cosines", beta, cap, applicable, exact, exact_cap_margin),
        check_monotone(alpha, threshold, f"{NAME}: alpha never decreases", exact, applicable),
        judge(f"{NAME}: sharpness 1", leak, UNIT_SUM_TOLERANCE["float64"], applicable, discrete=True),
        judge(f"{NAME}: clusters stay complete", (~(alpha > threshold)).astype(float), 0.0, applicable, discrete=True),
    ]
    if unit_inputs:
        parts.append(check_spread(alpha, cluster_sizes, threshold, mixing, exact=exact, applicable=applicable,
                                  statement=f"{NAME}: spread"))  # fmt: skip
    return combine_parts(NAME, parts)
