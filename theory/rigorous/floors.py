"""Theorem 2c's floors, enclosed: connectivity at a radius, and what noise takes besides.

Proof: theory.md, section 2h.
"""

import math

from theory.rigorous.balls import Enclosure, load_flint, working_bits
from theory.rigorous.ceilings import Pairs, add, tail_sum
from theory.rigorous.certificates import Certificate, certify
from theory.rigorous.connectivity import circle_failure, one_step
from theory.rigorous.pair_law import AngleCosine

# Moves beyond which a floor is given up.
LARGEST_MOVE = 1 << 40
# First move of a radius.
RADIUS_STEP = 1e-12


def connectivity_failure(num_points: int, subspace_dim: int, radius: float, delta: float, squared: bool) -> Enclosure:
    """P(not connected), or its bound, at m points and all larger numbers: Stevens' sum for r = 2, one-step descent
    else."""
    if subspace_dim == 2:
        return circle_failure(num_points, radius, squared, delta)
    return one_step(num_points, subspace_dim, radius, squared)


def certify_connectivity(
    default: int, subspace_dim: int, radius: float, delta: float, squared: bool = False
) -> Certificate:
    """The smallest number of points, from the default on, that is certified for ``connectivity_failure`` <= delta.

    The condition speaks of all larger numbers too, so that it stays true once it is: steps of 1, 2, 4, ... and
    bisection.
    """

    def failure(m: int) -> Enclosure:
        return connectivity_failure(m, subspace_dim, radius, delta, squared)

    found, moves, low, high = failure(default), 0, default, default
    while found.high > delta:
        moves += 1
        low, high = high, default + (1 << (moves - 1))
        if high - default > LARGEST_MOVE:
            return Certificate(None, default, found, delta, moves)
        found = failure(high)
    while high - low > 1:
        middle = (low + high) // 2
        here = failure(middle)
        low, high, found = (middle, high, found) if here.high > delta else (low, middle, here)
    return Certificate(high, default, found, delta, moves)


def is_bounded_connection(min_principal_angle: float, noise_level: float, threshold: float, radius: float) -> bool:
    """Whether noise |e| <= eps is proved to leave every pair below the radius its edge, and no cross pair one."""
    arb = load_flint().arb
    with working_bits(128):
        turn, cut = 2 * arb(noise_level).asin(), arb(threshold).acos()
        return bool(arb(radius) + turn <= cut) and bool(cut <= arb(min_principal_angle) - turn)


def certify_bounded_connection(
    default: float, min_principal_angle: float, noise_level: float, threshold: float
) -> Certificate:
    """The radius below which every pair keeps its edge whatever noise |e| <= eps does, so that the failure probability
    is 0; it falls by RADIUS_STEP (radians), and then twice as far each time."""

    def failure(radius: float) -> Enclosure:
        kept = is_bounded_connection(min_principal_angle, noise_level, threshold, radius)
        return Enclosure(0.0, 0.0 if kept else math.inf)

    return certify(default, failure, 0.0, lambda radius, moves: max(radius - RADIUS_STEP * 2.0 ** (moves - 1), 0.0))


def connection_failure(
    ambient_dim: int, pairs: tuple[int, int], min_principal_angle: float, noise_level: float, threshold: float,
    radius: float, squared: bool,
) -> Enclosure:  # fmt: skip
    """Bound on P(a cross pair passes the threshold, or one inside a cluster below the radius misses it), at Gaussian
    noise ``noise_level``, or none."""
    if noise_level == 0.0:
        kept = is_bounded_connection(min_principal_angle, 0.0, threshold, radius)
        return Enclosure(0.0, 0.0) if kept else Enclosure(0.0, math.inf)
    cross = Pairs(pairs[1] * (2 if squared else 1), AngleCosine(min_principal_angle))
    within = Pairs(pairs[0], AngleCosine(radius))
    return add(
        tail_sum(ambient_dim, noise_level, cross, threshold, upper=True),
        tail_sum(ambient_dim, noise_level, within, threshold, upper=False),
    )
