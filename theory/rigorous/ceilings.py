"""Theorem 2b's union bounds at a noise level, enclosed: so many pairs, each with its exact tail.

Any threshold proves separation: that the cosines found without enclosures are quantiles is of no consequence.
Proof: theory.md, section 2h.
"""

import math
from dataclasses import dataclass

import numpy as np

from theory.numerics.inputs import ClusterSizes, as_sizes
from theory.rigorous.balls import Enclosure, enclosure, load_flint, working_bits
from theory.rigorous.certificates import Certificate, certify
from theory.rigorous.pair_law import AngleCosine, pair_tails

# First move of a cosine that is not proved.
COSINE_STEP = 1e-9


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


def separation_failure(
    ambient_dim: int, noise_level: float, within: Pairs, cross: Pairs, needed: float, threshold: float
) -> Enclosure:
    """Bound on P(some within cosine <= needed, or some cross cosine > threshold)."""
    one = tail_sum(ambient_dim, noise_level, within, needed, upper=False)
    other = tail_sum(ambient_dim, noise_level, cross, threshold, upper=True)
    return Enclosure(_down(one.low + other.low), _up(one.high + other.high))


def _down(value: float) -> float:
    return math.nextafter(value, -math.inf)


def _up(value: float) -> float:
    return math.nextafter(value, math.inf)


def keeps_apart(alpha: float, beta: float, cluster_sizes: ClusterSizes) -> bool:
    """Whether alpha >= 0 and alpha nu_(1) nu_(2) >= beta+ are proved: Theorem 2a for everything above alpha."""
    sizes = sorted(as_sizes(cluster_sizes).tolist())[-2:]
    with working_bits(128):
        a, product = load_flint().arb(alpha), load_flint().arb(1)
        for size in (sizes[0], sizes[-1]):
            product = product * (a + (1 - a) / size)
        return alpha >= 0.0 and bool(a * product.sqrt() >= max(beta, 0.0))


def certify_cosine(
    ambient_dim: int, noise_level: float, pairs: Pairs, cosine: float, allowed: float, *, upper: bool
) -> Certificate:
    """A threshold that all pairs stay below (``upper``), or above, but for a probability ``allowed``; it moves away from
    them by COSINE_STEP, and then twice as far each time.

    Raises:
        ArithmeticError: too little noise, see ``pair_tails``.
    """

    def step(default: float, moves: int) -> float | None:
        moved = default + (1.0 if upper else -1.0) * COSINE_STEP * 2.0 ** (moves - 1)
        return float(np.clip(moved, -1.0, 1.0))

    return certify(cosine, lambda at: tail_sum(ambient_dim, noise_level, pairs, at, upper), allowed, step)
