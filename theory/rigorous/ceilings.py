"""Theorem 2b's union bounds at a noise level, enclosed: so many pairs, each with its exact tail.

Any threshold proves separation: that the cosines found without enclosures are quantiles is of no consequence.
Proof: theory.md, section 2h.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq

from theory.numerics.inputs import ClusterSizes, as_sizes
from theory.persistence import norm_product
from theory.rigorous.balls import Ball, Enclosure, enclosure, load_flint, working_bits
from theory.rigorous.certificates import Certificate, certify
from theory.rigorous.pair_law import AngleCosine, pair_tails

Ceiling = Literal["separation", "threshold_separation", "persistence"]
# First move of a cosine that is not proved; and how far above its root an alpha is tried.
COSINE_STEP, ALPHA_MARGIN = 1e-9, 1e-15
# First move of a bounded noise's norm.
BOUNDED_STEP = 1e-15


@dataclass(frozen=True)
class Pairs:
    """Pairs of noisy points that are asked to stay on one side.

    Attributes:
        count: how many.
        clean_cos: of the clean points.
    """

    count: int
    clean_cos: float | AngleCosine


def tail_sum(ambient_dim: int, noise_level: float, pairs: Pairs, cosine: float, upper: bool) -> Enclosure:
    """The pairs' number times P(cos > cosine), or P(cos <= cosine) unless ``upper``.

    Raises:
        ArithmeticError: too little noise, see ``pair_tails``.
    """
    if cosine <= -1.0 or cosine >= 1.0:
        # No cosine is beyond 1, and with noise none is -1.
        none = upper == (cosine >= 1.0)
        return Enclosure(0.0, 0.0) if none else Enclosure(float(pairs.count), math.inf)
    with working_bits(128):
        return enclosure(pairs.count * pair_tails(ambient_dim, noise_level, pairs.clean_cos, cosine)[upper])


def add(*parts: Enclosure) -> Enclosure:
    """Their sum, rounded outward."""
    low, high = (sum(part.low for part in parts), sum(part.high for part in parts))
    # Each addition is off by at most half a unit of the last place.
    slack = 2.0**-52 * len(parts)
    return Enclosure(low * (1.0 - slack), high * (1.0 + slack))


def times(count: int, part: Enclosure) -> Enclosure:
    """A whole number of them, rounded outward."""
    return Enclosure(count * part.low * (1.0 - 2.0**-51), count * part.high * (1.0 + 2.0**-51))


def alpha_needed(kind: Ceiling, cluster_sizes: ClusterSizes, beta: float) -> float:
    """What alpha must exceed where no cross cosine exceeds beta: beta, beta+, or (Theorem 2a) the alpha in [0, 1] with
    alpha nu(alpha)^2 = beta+, whose left side rises from 0 to 1."""
    if kind == "separation":
        return beta
    if kind == "threshold_separation":
        return max(beta, 0.0)
    return float(brentq(lambda a: a * norm_product(a, cluster_sizes) - max(beta, 0.0), 0.0, 1.0, xtol=1e-15))


def certify_ceiling(
    kind: Ceiling, default: float, ambient_dim: int, within: Pairs, cross: Pairs, cluster_sizes: ClusterSizes,
    delta: float, threshold: Callable[[float], float], step: float,
) -> Certificate:  # fmt: skip
    """The noise level at which the union bound over both kinds of pairs is at most delta; it falls by ``step``
    (relative), and then twice as far each time.

    Args:
        threshold: a likely beta at a noise level. Any number proves something.
    """

    def failure(sigma: float) -> Enclosure:
        beta = threshold(sigma)
        needed = alpha_needed(kind, cluster_sizes, beta)
        if kind == "persistence":
            needed += ALPHA_MARGIN
            with working_bits(128):
                if not keeps_apart(load_flint().arb(needed), load_flint().arb(beta), cluster_sizes):
                    return Enclosure(0.0, math.inf)
        return add(
            tail_sum(ambient_dim, sigma, within, needed, upper=False),
            tail_sum(ambient_dim, sigma, cross, beta, upper=True),
        )

    return certify(default, failure, delta, lambda sigma, moves: _lower(sigma, step, moves))


def _lower(noise: float, step: float, moves: int) -> float | None:
    """A noise level after so many moves, if that leaves any."""
    kept = 1.0 - step * 2.0 ** (moves - 1)
    return noise * kept if kept > 0.0 else None


def keeps_apart(alpha: Ball, beta: Ball, cluster_sizes: ClusterSizes) -> bool:
    """Whether alpha > 0 and alpha nu_(1) nu_(2) >= beta+ are proved: Theorem 2a for everything above alpha."""
    sizes = sorted(as_sizes(cluster_sizes).tolist())[-2:]
    product = load_flint().arb(1)
    for size in (sizes[0], sizes[-1]):
        product = product * (alpha + (1 - alpha) / size)
    return bool(alpha > 0) and bool(alpha * product.sqrt() >= beta.max(load_flint().arb(0)))


def certify_cosine(
    ambient_dim: int, noise_level: float, pairs: Pairs, cosine: float, allowed: float, *, upper: bool
) -> Certificate:
    """A threshold that all pairs stay below (``upper``), or above, but for a probability ``allowed``; it moves away
    from them by COSINE_STEP, and then twice as far each time.

    Raises:
        ArithmeticError: too little noise, see ``pair_tails``.
    """

    def step(default: float, moves: int) -> float | None:
        moved = default + (1.0 if upper else -1.0) * COSINE_STEP * 2.0 ** (moves - 1)
        return float(np.clip(moved, -1.0, 1.0))

    return certify(cosine, lambda at: tail_sum(ambient_dim, noise_level, pairs, at, upper), allowed, step)


# --- bounded noise ----------------------------------------------------------------------------------------------------


def certify_bounded(
    kind: Ceiling, default: float, theta_within: float, theta_between: float, cluster_sizes: ClusterSizes
) -> Certificate:
    """A noise norm below which every batch has what its ``kind`` says, so that the failure probability is 0; it falls
    by BOUNDED_STEP (relative), and then twice as far each time."""

    def failure(eps: float) -> Enclosure:
        kept = _bounded_noise_keeps(kind, theta_within, theta_between, eps, cluster_sizes)
        return Enclosure(0.0, 0.0 if kept else math.inf)

    return certify(default, failure, 0.0, lambda eps, moves: _lower(eps, BOUNDED_STEP, moves))


def _bounded_noise_keeps(
    kind: Ceiling, theta_within: float, theta_between: float, noise_level: float, cluster_sizes: ClusterSizes
) -> bool:
    """Whether noise |e| < eps is proved to leave alpha > beta, to leave alpha > 0 besides, or to obey Theorem 2a."""
    arb = load_flint().arb
    with working_bits(128):
        turn, within, between = 2 * arb(noise_level).asin(), arb(theta_within), arb(theta_between)
        if kind == "persistence":
            rest = between - turn
            return keeps_apart((within + turn).cos(), rest.cos() if rest >= 0 else arb(1), cluster_sizes)
        positive = kind == "separation" or within + turn <= arb.pi() / 2
        return bool(between - within >= 2 * turn) and bool(positive)
