"""Theorem 2c's bounds on P(a cluster falls apart), enclosed: Stevens' sum on the circle, one-step descent elsewhere.

One-step descent is (m-1) int f_r(d) (1 - lens_r(d))^{m-2} dd. Why the sum encloses: in each cell of distances lens_r
is at least its value at the near end plus the smallest slope in the cell times the way, so that the power is at most
e^{-c(d-d_k)} times that at the near end. Where f_r rises (d < pi/2) and the power's bound falls, Chebyshev's
inequality bounds the integral of the product by the product of the means; elsewhere f_r, or the power, is taken at the
near end. Cells have exact masses, differences of caps. Around the antipode rings bound the lens from below.
For all larger m as well: each cell counts for the most it can be at any m' >= m.

Two-step descent stays numerical: its regions have no such series (theory.md, section 2h).
Proof: theory.md, section 2h.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from theory.rigorous.balls import Ball, Enclosure, enclosure, load_flint, settled, working_bits
from theory.rigorous.caps import LensSeries, cap_ball
from theory.rigorous.pair_law import beta_ball

# Cells of distances, and bits of the sums over them, which are far from losing any.
CELLS, BITS = 800, 160


# --- on the circle ----------------------------------------------------------------------------------------------------


def stevens(num_points: int, radius: float, squared: bool) -> Enclosure:
    """P(not connected) of m points on a circle (theory.lemmas.connectivity.circle_disconnection_probability)."""
    arb, m = load_flint().arb, int(num_points)

    def total(bits: int) -> tuple[Ball]:
        share = _share(radius, squared)
        found, binomial = arb(0), arb(m)
        for j in range(2, m + 1):
            binomial = binomial * (m - j + 1) / j
            room = 1 - j * share
            if room <= 0:
                break
            # Where it is not known whether there is room for j gaps, the term lies between 0 and what it would be.
            power = room.nonnegative_part() ** (m - 1)
            found += (j - 1) * binomial * (power if j % 2 == 0 else -power)
        return (found,)

    return enclosure(settled(total)[0])


def two_gaps(num_points: int, radius: float, squared: bool) -> Enclosure:
    """C(m, 2)(1 - 2 share)^{m-1}, which bounds Stevens' sum, at m points and, where it falls from there on, at all
    more; unbounded where it does not."""
    arb, m = load_flint().arb, int(num_points)
    with working_bits(BITS):
        room = 1 - 2 * _share(radius, squared)
        # From m to m + 1 it changes by (m+1)/(m-1) times this, a factor that falls in m.
        if not room * (m + 1) < m - 1:
            return Enclosure(0.0, math.inf)
        return enclosure(arb(m) * (m - 1) / 2 * room.nonnegative_part() ** (m - 1))


def _share(radius: float, squared: bool) -> Ball:
    arb = load_flint().arb
    return arb(radius) / (arb.pi() if squared else 2 * arb.pi())


def circle_failure(num_points: int, radius: float, squared: bool, delta: float) -> Enclosure:
    """The largest of P(not connected) over all m' >= m, as far as that takes to be sure of ``delta``: Stevens' sum up
    to where two gaps are rare enough, their expected number there. The first value beyond ``delta`` ends the search."""
    worst = Enclosure(0.0, 0.0)
    for m in range(int(num_points), 2 * int(num_points) + 1000):
        tail = two_gaps(m, radius, squared)
        here = tail if tail.high <= delta else stevens(m, radius, squared)
        worst = Enclosure(max(worst.low, here.low), max(worst.high, here.high))
        if tail.high <= delta or here.high > delta:
            return worst
    raise ArithmeticError("rigorous: the expected number of pairs of gaps stays too large")


# --- one-step descent -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cell:
    """Distances of x from the root between two nodes: all balls.

    Attributes:
        mass: share of the points there; ``density``: largest density, for cells where it falls, else None.
        miss: 1 - lens at the near end, or more; ``slope``: that of the lens at least; ``length`` of the cell.
        last_miss: 1 - lens at the far end, or less: for a bound from below.
    """

    mass: Ball
    density: Ball | None
    miss: Ball
    last_miss: Ball
    slope: Ball
    length: Ball


@lru_cache(maxsize=16)
def _cells(subspace_dim: int, radius: float, squared: bool) -> tuple[_Cell, ...]:
    arb, r = load_flint().arb, int(subspace_dim)
    with working_bits(BITS):
        series, sheets = LensSeries(r, radius), 2 if squared else 1
        nodes, equator = _nodes(radius, squared)
        inner = [arb(node) for node in nodes[1:-1]]
        ends = [series.radius, *inner]
        caps = [cap_ball(r, end) for end in ends] + [arb(1) / sheets]
        lenses = [series.at_least(end, squared) for end in ends]
        scale = 1 / beta_ball(arb(r - 1) / 2, arb(1) / 2)
        cells = []
        for k, end in enumerate(ends):
            last = k + 1 == len(ends)
            far = (arb.pi() / sheets) if last else ends[k + 1]
            slope = arb(0)
            if not last and series.reaches(end) and series.reaches(far):
                slope = (sheets * series.slope(end.union(far))).lower().max(arb(0))
            high = series.at_most(series.radius if last else far, squared) if not last or squared else series.cap
            # The first falling cell begins at float64's pi/2, just before the density's peak.
            sine = arb(1) if k == equator else end.sin()
            density = sheets * scale * sine ** (r - 2) if k >= equator else None
            cells.append(
                _Cell(
                    mass=sheets * (caps[k + 1] - caps[k]),
                    density=density,
                    miss=1 - lenses[k].lower(),
                    last_miss=(1 - high).nonnegative_part(),
                    slope=slope,
                    length=far - end,
                )
            )
        return tuple(cells)


def _nodes(radius: float, squared: bool) -> tuple[list[float], int]:
    """Ends of cells, dense near the radius, with pi/2 among them; and the first that is no cell of rising density."""
    last = math.pi / 2 if squared else math.pi
    nodes = [radius + (last - radius) * (k / CELLS) ** 2 for k in range(CELLS + 1)]
    if squared:
        return nodes, CELLS
    nodes = sorted({*nodes, math.pi / 2})
    return nodes, nodes.index(math.pi / 2)


def one_step(num_points: int, subspace_dim: int, radius: float, squared: bool) -> Enclosure:
    """One-step descent's bound at m points from below, and its largest value over all m' >= m from above."""
    arb, m = load_flint().arb, int(num_points)
    with working_bits(BITS):
        low, high = arb(0), arb(0)
        for cell in _cells(int(subspace_dim), float(radius), bool(squared)):
            low += cell.mass * (m - 1) * cell.last_miss ** (m - 2)
            high += _cell_bound(cell, m)
        return Enclosure(max(enclosure(low).low, 0.0), enclosure(high).high)


def _cell_bound(cell: _Cell, m: int) -> Ball:
    """The cell's part of the bound, for every m' >= m."""
    arb = load_flint().arb
    if cell.miss <= 0:
        return arb(0)
    # (m' - 1) q^{m'-2} rises up to m' - 1 = 1/-log q and then falls.
    rate = -cell.miss.log()
    peak = 1 + 1 / rate if rate > 0 else arb.pos_inf()
    size = arb(m).max(peak)
    top = (size - 1) * (-(size - 2) * rate).exp()
    fall = (m - 2) * cell.slope / cell.miss * cell.length
    mean = (1 - (-fall).exp()) / fall if fall > 0 else arb(1)
    if cell.density is None:
        return cell.mass * top * mean
    return (cell.mass * top).min(cell.density * cell.length * top * mean)
