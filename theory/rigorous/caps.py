"""Caps and lenses on the sphere, enclosed: lens_r(d) of Theorem 2c as a power series in cot d.

cap_{r-1}(arccos q) = 1/2 - k sum_j b_j q^{2j+1}/(2j+1) with b_j = ((4-r)/2)_j/j! and k = 1/B((r-2)/2, 1/2); at
q = tan(p/2)/tan d, integrated over a cap of radius vartheta,
    lens_r(d) = cap_r(vartheta)/2 - k sum_j b_j mu_j cot^{2j+1}(d)/(2j+1),
    mu_j = int_0^vartheta f_r(p) tan^{2j+1}(p/2) dp
         = 2^{r-2} B_X(r/2 + j, r/2 - 1 - j)/B((r-1)/2, 1/2),  X = sin^2(vartheta/2).

Why it encloses: |b_j| falls from j = (r-6)/4 on and mu_j <= cap_r(vartheta) tan^{2j+1}(vartheta/2), so that what is
left out is at most a geometric series in q^2. Both lens and its derivative, a like series, are balls for balls d.
Proof: theory.md, section 2h.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import count, pairwise

from theory.rigorous.balls import Ball, load_flint
from theory.rigorous.pair_law import beta_ball
from theory.rigorous.spherical_tail import coordinate_tail_ball

# The series is used up to this quotient tan(vartheta/2)/tan(d); beyond, close to the antipode, so many rings are.
LARGEST_QUOTIENT, RINGS = 0.9, 128


def cap_ball(subspace_dim: int, angle: Ball) -> Ball:
    """cap_r(psi) for r >= 2 and psi in (0, pi): the tail of a coordinate beyond cos psi."""
    return coordinate_tail_ball(subspace_dim, angle.cos())


class LensSeries:
    """lens_r at one dimension r >= 3 and radius in (0, pi/2], at the precision that it is made at."""

    def __init__(self, subspace_dim: int, radius: float) -> None:
        arb = load_flint().arb
        self.subspace_dim = subspace_dim
        self.radius = arb(radius)
        self.cap = cap_ball(subspace_dim, self.radius)
        self.half_tangent = (self.radius / 2).tan()
        self._factors: list[Ball] = [arb(1)]
        self._moments: list[Ball] = []

    @cached_property
    def _scale(self) -> Ball:
        arb = load_flint().arb
        return 1 / beta_ball(arb(self.subspace_dim - 2) / 2, arb(1) / 2)

    def _moment(self, j: int) -> Ball:
        """b_j mu_j."""
        arb, r = load_flint().arb, self.subspace_dim
        while len(self._moments) <= j:
            i = len(self._moments)
            a, b, x = arb(r) / 2 + i, arb(r) / 2 - 1 - i, (self.radius / 2).sin() ** 2
            beta = x**a / a * x.hypgeom_2f1(a, 1 - b, a + 1)
            self._moments.append(self._factor(i) * arb(2) ** (r - 2) * beta / beta_ball(arb(r - 1) / 2, arb(1) / 2))
        return self._moments[j]

    def _factor(self, j: int) -> Ball:
        """b_j; exactly 0 from some j on where r is even."""
        arb = load_flint().arb
        while len(self._factors) <= j:
            i = len(self._factors)
            self._factors.append(self._factors[-1] * (arb(4 - self.subspace_dim) / 2 + i - 1) / i)
        return self._factors[j]

    def reaches(self, angle: Ball) -> bool:
        """Whether the series is used at this distance."""
        return bool(self.half_tangent * abs(angle.cot()) <= LARGEST_QUOTIENT)

    def _series(self, angle: Ball, derivative: bool) -> Ball:
        flint = load_flint()
        arb = flint.arb
        cot = angle.cot()
        square, quotient = cot * cot, (self.half_tangent * cot).abs_upper() ** 2
        power, bound, total = (arb(1) if derivative else cot), self.cap, arb(0)
        if not quotient < 1:
            raise ArithmeticError("rigorous: a lens is asked for beyond its series")
        for j in count():
            factor = self._factor(j)
            if factor == 0:
                # r is even: the series ends.
                return total
            rest = abs(factor) * bound / (1 - quotient)
            if 4 * j >= self.subspace_dim and rest <= arb(2) ** (-flint.ctx.prec // 2):
                extra = rest * self.half_tangent if derivative else rest
                return total + arb(0, extra.upper())
            total += self._moment(j) * power / (1 if derivative else 2 * j + 1)
            power, bound = power * square, bound * quotient

    def near(self, angle: Ball) -> Ball:
        """Share of the points within the radius of x and closer to the root than x, at ``angle`` from it; where the
        series reaches."""
        return self.cap / 2 - self._scale * self._series(angle, False)

    def slope(self, angle: Ball) -> Ball:
        """Derivative of ``near``, which is positive."""
        return self._scale * self._series(angle, True) / angle.sin() ** 2

    # --- from below, by rings -----------------------------------------------------------------------------------------

    @cached_property
    def _rings(self) -> list["_Ring"]:
        ends = [self.radius * k / RINGS for k in range(RINGS + 1)]
        caps = [load_flint().arb(0), *(cap_ball(self.subspace_dim, end) for end in ends[1:-1]), self.cap]
        shares = (far - near for near, far in pairwise(caps))
        return [
            _Ring(share, near / 2, near.union(far) / 2, (far - near) / 2)
            for share, (near, far) in zip(shares, pairwise(ends))
        ]

    def at_least(self, angle: Ball, squared: bool) -> Ball:
        """A lower bound on lens_r. Beyond the series, x is close to the root's antipode; with ``squared`` x's
        neighbours may be close to that too. There the part of a ring that counts grows with its distance p from x, as
        does the density: a ring counts for its share times a mean part, which is at least the near end's and half of
        what the smallest slope adds."""
        tangent = angle.tan()
        if self.reaches(angle):
            near = self.near(angle)
        else:
            halves = ((ring, ring.near.tan(), 1 / ring.all.cos() ** 2) for ring in self._rings)
            near = sum(ring.share * self._part(tan / tangent, -rise / tangent, ring) for ring, tan, rise in halves)
        if not squared:
            return near
        far = load_flint().arb(0)
        for ring in self._rings[1:]:
            cosine = 1 / (ring.near.tan() * tangent)
            if cosine < 1:
                far += ring.share * self._part(cosine, 1 / (ring.all.sin() ** 2 * tangent), ring)
        return 2 * (near + far)

    def at_most(self, angle: Ball, squared: bool) -> Ball:
        """An upper bound on lens_r; with ``squared`` x's whole cap."""
        if squared:
            return 2 * self.cap
        return self.near(angle) if self.reaches(angle) else self.cap

    def _part(self, cosine: Ball, fall: Ball, ring: "_Ring") -> Ball:
        """Mean part of the azimuths whose cosine exceeds a value, or less: that value at the ring's near end, and the
        rate per half angle at which it falls anywhere in the ring."""
        arb = load_flint().arb
        if not cosine > -1:
            # All of it; half where that is not known.
            return arb(1) if cosine <= -1 else arb(1) / 2
        last = cosine - fall * ring.length
        if not last > -1:
            return coordinate_tail_ball(self.subspace_dim - 1, cosine)
        room = 1 - cosine.union(last) ** 2
        power = arb(self.subspace_dim - 4) / 2
        density = room.nonnegative_part().lower() ** power if power >= 0 else room.upper() ** power
        slope = (self._scale * density * fall.lower()).max(arb(0))
        return coordinate_tail_ball(self.subspace_dim - 1, cosine) + slope * ring.length / 2


@dataclass(frozen=True)
class _Ring:
    """Points between two distances from x: their share, half of the nearer distance, of all, and of their
    difference."""

    share: Ball
    near: Ball
    all: Ball
    length: Ball
