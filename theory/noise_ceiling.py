"""Theorem 2b (this toolkit's statement): the noise ceiling, the largest augmentation that keeps clusters apart.

Statement. theta_w = arccos(smallest clean within-cluster cosine), theta_b = arccos(largest clean cross cosine).
Bounded noise |e_i| <= eps < 1 turns every point by at most phi = arcsin(eps), so
    alpha(eps) = cos(min(pi, theta_w + 2 phi)),     beta(eps) = cos(max(0, theta_b - 2 phi)),
and every noisy batch is separated iff phi < (theta_b - theta_w)/4: eps_sep = sin((theta_b - theta_w)/4).
Gaussian noise e_i ~ N(0, sigma^2/D I): alpha(sigma), beta(sigma) are the cosines that a within (cross) pair passes
with probability at most delta/(2 #pairs), by the exact pair law; a batch obeys both with probability >= 1 - delta.
The separation ceiling is the smallest root of alpha = beta; the persistence ceiling that of beta+ = alpha nu^2, from
where on Theorem 2a no longer promises every depth.

Hypotheses: theta_w < theta_b; a threshold in [0, 1) that separates needs alpha > 0 besides.
Proof: theory.md, section 2b.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
from scipy.optimize import brentq

from theory.batches.clusters import pair_counts
from theory.judging.statements import THEOREM_2B
from theory.judging.verdicts import Verdict, combine_parts, judge, reject_nan
from theory.lemmas.pair_law import LARGEST_DIM, NOISE_RANGE, pair_log_tail, pair_quantile, safe_quantile
from theory.numerics.inputs import (
    ClusterSizes,
    as_sizes,
    require_choice,
    require_count,
    require_range,
    sizes_of_clusters,
)
from theory.numerics.precision import ABSOLUTE_MARGIN, half_as_float64
from theory.persistence import admits_threshold, norm_product, threshold_interval
from theory.rigorous.ceilings import Ceiling, Pairs, alpha_needed, certify_ceiling, certify_cosine
from theory.rigorous.certificates import Certificate

# The scan for the smallest root climbs by this factor in log noise.
SCAN_STEP = 0.25
# Ceilings that are roots are returned this much lower (relative), on the side where the guarantee holds: by more than
# what rounds cosines (pair_law.SAFE_SCORE), so that those of ``gaussian_extremes`` at a ceiling leave room between
# them.
ROUND_DOWN = 3e-8
# And those that are formulas.
ROUND_OFF = 1e-15

# --- bounded noise ----------------------------------------------------------------------------------------------------


@half_as_float64
def bounded_extremes(theta_within: float, theta_between: float, noise_level: float) -> tuple[float, float]:
    """(alpha, beta) that noise of norm at most ``noise_level`` can do no worse than; both are attained.

    Args:
        theta_within, theta_between: clean angles in radians, [0, pi].
        noise_level: eps in [0, 1).
    """
    theta_within, theta_between = _angles(theta_within, theta_between)
    require_range(noise_level, "noise_level", 0.0, 1.0, closed="left")
    turn = 2.0 * np.arcsin(noise_level)
    return float(np.cos(min(np.pi, theta_within + turn))), float(np.cos(max(0.0, theta_between - turn)))


@half_as_float64
def bounded_separation(theta_within: float, theta_between: float) -> float:
    """eps_sep = sin((theta_b - theta_w)/4): every batch with |e_i| < eps_sep is separated; 0 if theta_b <= theta_w."""
    theta_within, theta_between = _angles(theta_within, theta_between)
    return _sine_below(max(theta_between - theta_within, 0.0) / 4.0)


@half_as_float64
def bounded_threshold_separation(theta_within: float, theta_between: float) -> float:
    """Noise below which a threshold in [0, 1) separates every batch: needs alpha > 0 too, so also
    phi < (pi/2 - theta_w)/2. (60 and 150 degrees with phi = 20 degrees satisfy only the first condition.)"""
    theta_within, theta_between = _angles(theta_within, theta_between)
    turn = min((theta_between - theta_within) / 4.0, (np.pi / 2.0 - theta_within) / 2.0)
    return _sine_below(max(turn, 0.0))


def _sine_below(turn: float) -> float:
    """sin(turn), rounded down by more than what the angle and its sine are off by."""
    return float(np.sin(turn)) * (1.0 - ROUND_OFF)


@half_as_float64
def bounded_persistence(theta_within: float, theta_between: float, max_cluster_size: ClusterSizes) -> float:
    """eps_persist: below it Theorem 2a holds for every noisy batch, at every depth; 0 if the clean batch fails.

    Args:
        theta_within, theta_between: clean angles in radians, [0, pi].
        max_cluster_size: M, or all sizes.
    """
    theta_within, theta_between = _angles(theta_within, theta_between)
    as_sizes(max_cluster_size, "max_cluster_size")

    def slack(turn: float) -> float:
        alpha, beta = np.cos(theta_within + 2.0 * turn), np.cos(max(0.0, theta_between - 2.0 * turn))
        return float(alpha * norm_product(max(alpha, 0.0), max_cluster_size) - max(beta, 0.0))

    # The slack falls with the angle while alpha > 0, so its first root is the supremum.
    last = (np.pi / 2.0 - theta_within) / 2.0
    if last <= 0.0 or slack(0.0) <= 0.0:
        return 0.0
    turn = last if slack(last) > 0.0 else brentq(slack, 0.0, last, xtol=1e-15, rtol=1e-14)
    return float(np.sin(turn * (1.0 - ROUND_DOWN)))


# --- Gaussian noise ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """Checked arguments of the Gaussian functions, with the log probability that a pair of either kind may use up;
    ``sizes`` are one that all clusters have, or one each."""

    ambient_dim: int
    num_clusters: int
    sizes: np.ndarray
    within_cos: float
    between_cos: float
    delta: float

    @property
    def within(self) -> Pairs:
        return Pairs(pair_counts(self.sizes, self.num_clusters)[0], self.within_cos)

    @property
    def cross(self) -> Pairs:
        return Pairs(pair_counts(self.sizes, self.num_clusters)[1], self.between_cos)

    def log_share(self, pairs: Pairs) -> float:
        """delta/2 is shared out among the unordered within pairs, delta/2 among the cross pairs."""
        return float(np.log(self.delta / (2 * pairs.count)))

    def beta(self, sigma: float) -> float:
        return pair_quantile(self.ambient_dim, sigma, self.between_cos, self.log_share(self.cross), upper=True)


def _setting(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_within_cos: float,
    max_between_cos: float,
    delta: float,
) -> _Setting:
    dim = require_count(ambient_dim, "ambient_dim", 2, LARGEST_DIM)
    count, sizes = sizes_of_clusters(num_clusters, cluster_size)
    require_range(min_within_cos, "min_within_cos", -1.0, 1.0)
    require_range(max_between_cos, "max_between_cos", -1.0, 1.0)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    return _Setting(dim, count, sizes, float(min_within_cos), float(max_between_cos), float(delta))


@half_as_float64
def gaussian_extremes(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_within_cos: float,
    max_between_cos: float,
    delta: float,
    noise_level: float,
    rigorous: bool = False,
) -> tuple[float, float]:
    """(alpha(sigma), beta(sigma)): with probability >= 1 - delta all pairs of the noisy batch lie inside.

    Arguments and errors as in ``gaussian_separation``; ``noise_level`` is sigma, 0 or in pair_law.NOISE_RANGE. With
    ``rigorous`` each of the two is certified for delta/2, and moves by 1e-9, and twice as far each time, until it is.
    """
    setting = _setting(ambient_dim, num_clusters, cluster_size, min_within_cos, max_between_cos, delta)
    if noise_level == 0.0:
        return setting.within_cos, setting.between_cos
    require_range(noise_level, "noise_level", *NOISE_RANGE)
    dim, level = setting.ambient_dim, float(noise_level)
    found = []
    cosines = (setting.within_cos, setting.within, False), (setting.between_cos, setting.cross, True)
    for clean, pairs, upper in cosines:
        cosine: float = safe_quantile(dim, level, clean, setting.log_share(pairs), upper=upper)
        if rigorous:
            cosine = certify_cosine(dim, level, pairs, cosine, setting.delta / 2.0, upper=upper).proved
        found.append(cosine)
    return found[0], found[1]


def within_extremes(alpha: np.ndarray, beta: np.ndarray, extremes: tuple[float, float]) -> np.ndarray:
    """The event that Theorem 2b proves to have probability >= 1 - delta: alpha >= alpha(sigma), beta <= beta(sigma).

    Args:
        alpha, beta: of noisy batches, (trials,).
        extremes: (alpha(sigma), beta(sigma)) of ``gaussian_extremes``.
    """
    return (alpha >= extremes[0]) & (beta <= extremes[1])


@half_as_float64
def gaussian_separation(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_within_cos: float,
    max_between_cos: float,
    delta: float,
    rigorous: bool = False,
) -> float:
    """sigma_sep: at noise up to it a batch is separated (alpha > beta) with probability at least 1 - delta.

    Args:
        ambient_dim: D >= 2.
        num_clusters: K >= 2.
        cluster_size: points a cluster, one number or K of them.
        min_within_cos: smallest clean within-cluster cosine.
        max_between_cos: largest clean cross cosine.
        delta: failure probability in (0, 1).
        rigorous: certify with enclosures that the union bound at the ceiling is at most delta (theory.md 2h); the
            ceiling falls by ROUND_DOWN, and twice as far each time, until it is. That lower noise is no worse stays
            numerical: it rests on the scan for the smallest root.

    Returns:
        sigma = sqrt(E|e|^2); 0 where the clean batch is not separated, or the ceiling is below 1e-6.

    Raises:
        ValueError: an argument outside its range.
        ImportError: ``rigorous`` without the extra [rigorous].
        ArithmeticError: ``rigorous`` at a ceiling below sqrt(D)/200.
    """
    setting = _setting(ambient_dim, num_clusters, cluster_size, min_within_cos, max_between_cos, delta)
    return _ceiling("separation", setting, rigorous)


@half_as_float64
def gaussian_threshold_separation(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_within_cos: float,
    max_between_cos: float,
    delta: float,
    rigorous: bool = False,
) -> float:
    """Noise up to which some threshold in [0, 1) separates a batch with probability at least 1 - delta: alpha must stay
    above 0 as well as above beta, which matters for obtuse clusters. Arguments and errors as in
    ``gaussian_separation``."""
    setting = _setting(ambient_dim, num_clusters, cluster_size, min_within_cos, max_between_cos, delta)
    return _ceiling("threshold_separation", setting, rigorous)


@half_as_float64
def gaussian_persistence(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_within_cos: float,
    max_between_cos: float,
    delta: float,
    rigorous: bool = False,
) -> float:
    """sigma_persist: at noise up to it Theorem 2a's hypotheses hold with probability at least 1 - delta, so the batch
    is recovered at every depth. Arguments and errors as in ``gaussian_separation``."""
    setting = _setting(ambient_dim, num_clusters, cluster_size, min_within_cos, max_between_cos, delta)
    return _ceiling("persistence", setting, rigorous)


@half_as_float64
def ceiling_certificate(
    kind: Ceiling,
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_within_cos: float,
    max_between_cos: float,
    delta: float,
) -> Certificate | None:
    """The proof of a Gaussian ceiling of this ``kind`` with ``rigorous``; None where the ceiling is 0. Arguments and
    errors as in ``gaussian_separation``."""
    require_choice(kind, "kind", get_args(Ceiling))
    setting = _setting(ambient_dim, num_clusters, cluster_size, min_within_cos, max_between_cos, delta)
    default = _ceiling(kind, setting, False)
    if default == 0.0:
        return None
    return certify_ceiling(
        kind, default, setting.ambient_dim, setting.within, setting.cross, setting.sizes, setting.delta, setting.beta,
        ROUND_DOWN,
    )  # fmt: skip


def _ceiling(kind: Ceiling, setting: _Setting, rigorous: bool) -> float:
    if not rigorous:
        return _smallest_root(setting, lambda beta: alpha_needed(kind, setting.sizes, beta))
    certificate = ceiling_certificate(
        kind, setting.ambient_dim, setting.num_clusters, setting.sizes, setting.within_cos, setting.between_cos,
        setting.delta,
    )  # fmt: skip
    return 0.0 if certificate is None or certificate.number is None else certificate.number


def _smallest_root(setting: _Setting, needs: Callable[[float], float]) -> float:
    """Smallest sigma at which alpha(sigma) falls to what beta(sigma) requires.

    alpha(sigma) >= a exactly when P_within(cos <= a) <= its budget, so one quantile and one tail replace two
    quantiles. beta(sigma) is not monotone when the clean cross cosine is positive, hence a scan upward from small
    noise before the root is refined to 1e-9. Roots closer together than a step of the scan are not told apart.
    """
    if setting.within_cos <= needs(setting.between_cos):
        return 0.0
    log_within = setting.log_share(setting.within)

    def excess(log_sigma: float) -> float:
        """Negative while the within tail at the cosine that beta requires stays inside its budget."""
        sigma = float(np.exp(log_sigma))
        beta = setting.beta(sigma)
        needed = needs(beta)
        if needed >= 1.0 - 1e-15:
            return 1.0
        log_tail = pair_log_tail(setting.ambient_dim, sigma, setting.within_cos, needed, upper=False)
        return 1.0 - min(log_tail / log_within, 10.0)

    # Noise turns a point by about sigma/sqrt(D) in a given plane: start where that is a 64th of the clean gap.
    gap = np.arccos(setting.between_cos) - np.arccos(setting.within_cos)
    start = np.log(max(gap * np.sqrt(setting.ambient_dim) / 64.0, NOISE_RANGE[0]))
    while excess(start) >= 0.0:
        start -= 1.0
        if start < np.log(NOISE_RANGE[0]):
            return 0.0
    while excess(start + SCAN_STEP) < 0.0:
        start += SCAN_STEP
        if start + SCAN_STEP > np.log(NOISE_RANGE[1]):
            raise ArithmeticError(f"no noise ceiling found below {NOISE_RANGE[1]:g}")
    # Rounded down, so that the hypotheses hold at the number that is returned.
    return float(np.exp(brentq(excess, start, start + SCAN_STEP, xtol=1e-9) - ROUND_DOWN))


def _angles(theta_within: float, theta_between: float) -> tuple[float, float]:
    require_range(theta_within, "theta_within", 0.0, np.pi)
    require_range(theta_between, "theta_between", 0.0, np.pi)
    return float(theta_within), float(theta_between)


# --- thresholds and checks --------------------------------------------------------------------------------------------


@half_as_float64
def recommended_threshold(alpha: float, beta: float, cluster_sizes: ClusterSizes) -> float:
    """A threshold for batches whose cosines obey ``alpha`` and ``beta`` (bounds at one noise level).

    The middle of Theorem 2a's interval where there is one. Past the persistence ceiling no threshold is good at every
    depth: then the middle of beta+ and alpha, which separates one block; past the separation ceiling beta+, which
    still admits no false edge.

    Raises:
        ValueError: cosines outside [-1, 1] by more than rounding, bad sizes.
    """
    for name, cosine in (("alpha", alpha), ("beta", beta)):
        require_range(cosine, name, -1.0 - ABSOLUTE_MARGIN, 1.0 + ABSOLUTE_MARGIN)
    as_sizes(cluster_sizes, "cluster_sizes")
    interval = threshold_interval(float(np.clip(alpha, -1.0, 1.0)), float(np.clip(beta, -1.0, 1.0)), cluster_sizes)
    if interval is not None:
        return (interval[0] + interval[1]) / 2.0
    return min((max(beta, 0.0) + max(alpha, beta, 0.0)) / 2.0, 0.999)


@half_as_float64
def check_bounded(
    alpha: np.ndarray,
    beta: np.ndarray,
    theta_within: float,
    theta_between: float,
    noise_level: float,
    cluster_sizes: ClusterSizes,
) -> Verdict:
    """Theorem 2b for bounded noise on measured batches: alpha and beta (trials,) against what eps allows, separation
    below eps_sep, and Theorem 2a's hypotheses below eps_persist.

    A margin within round-off of 0 counts as attained: the worst case attains the bound, so its cosines are compared
    with a tolerance of 1e-12. A bound that every cosine obeys (-1 or 1) is no claim and is left out.
    """
    reject_nan(alpha=alpha, beta=beta)
    name = THEOREM_2B.name
    worst_alpha, worst_beta = bounded_extremes(theta_within, theta_between, noise_level)
    every = np.ones(alpha.shape, dtype=bool)
    separates = every & (noise_level < bounded_separation(theta_within, theta_between))
    persists = every & (noise_level < bounded_persistence(theta_within, theta_between, cluster_sizes))
    lost = ~admits_threshold(alpha, beta, cluster_sizes)
    return combine_parts(
        name,
        [
            judge(
                f"{name}: 1 - alpha",
                1.0 - alpha,
                1.0 - worst_alpha + 1e-12,
                every & (worst_alpha > -1.0),
                discrete=True,
            ),
            judge(f"{name}: beta", beta, worst_beta + 1e-12, every & (worst_beta < 1.0), discrete=True),
            judge(f"{name}: separated", (~(alpha > beta)).astype(float), 0.0, separates, discrete=True),
            judge(f"{name}: persistence", lost.astype(float), 0.0, persists, discrete=True),
        ],
    )
