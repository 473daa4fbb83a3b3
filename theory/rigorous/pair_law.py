"""The law of the cosine of two noisy points, enclosed: a series in zonal functions, without any quadrature.

x = u + s g has a direction with the zonal expansion sum_n N_n a_n P_n(<u, .>) over S^{D-1}: P_n the Gegenbauer
polynomial with P_n(1) = 1, N_n the dimension of its harmonics, and with z = 1/(2 s^2)
    a_n = Gamma((n+D)/2)/Gamma(n + D/2) z^{n/2} e^{-z} 1F1((n+D)/2; n + D/2; z).
Spherical convolutions multiply the coefficients, so that two points with clean cosine c have
    P(cos > t) = G_D(t) + K(t) sum_{n >= 1} N_n a_n^2 P_n(c) Q_{n-1}(t),
    K(t) = (1-t^2)^{(D-1)/2}/((D-1) B((D-1)/2, 1/2)),
G_D the tail of a coordinate of a uniform point, Q the normalized Gegenbauer polynomials of dimension D + 2.

Why the sum encloses: |P_n|, |Q_n| <= 1 and a_{n+1}^2/a_n^2 <= z (n+D)/(2 (n + D/2)^2), so that what is left out is at
most a geometric series; everything that is added is a ball.
Proof: theory.md, section 2h.
"""

from dataclasses import dataclass
from functools import lru_cache

from theory.rigorous.balls import Ball, load_flint, settled, working_bits
from theory.rigorous.spherical_tail import coordinate_tail_ball

# Noise levels with more than this D/(2 sigma^2) would take about as many terms of thousands of bits.
LARGEST_ORDER = 20_000
# The terms' ratio at which the rest is left to the geometric series, and how many more are added.
LAST_RATIO, MORE_TERMS = 0.25, 60


@dataclass(frozen=True)
class AngleCosine:
    """The cosine of an angle that is known exactly, as a clean cosine."""

    angle: float

    def ball(self) -> Ball:
        """At the present precision."""
        return load_flint().arb(self.angle).cos()


def pair_tails(
    ambient_dim: int, noise_level: float, clean_cos: float | AngleCosine, cosine: float
) -> tuple[Ball, Ball]:
    """(P(cos <= cosine), P(cos > cosine)) of two noisy points, balls of twelve digits and more.

    Args:
        ambient_dim: D >= 2.
        noise_level: sigma, with D/(2 sigma^2) at most LARGEST_ORDER.
        clean_cos: of the two clean points, in [-1, 1].
        cosine: t in (-1, 1).

    Raises:
        ArithmeticError: too little noise for the series.
    """
    if ambient_dim > 2.0 * noise_level**2 * LARGEST_ORDER:
        raise ArithmeticError(
            f"rigorous: in {ambient_dim} dimensions the pair law is enclosed from noise "
            f"{(ambient_dim / (2.0 * LARGEST_ORDER)) ** 0.5:.3g} on, got {noise_level:g}"
        )
    dim, level, cosine = int(ambient_dim), float(noise_level), float(cosine)
    return settled(lambda bits: _tails(dim, level, clean_cos, cosine, bits))


def _tails(dim: int, level: float, clean_cos: float | AngleCosine, cosine: float, bits: int) -> tuple[Ball, Ball]:
    arb = load_flint().arb
    clean = clean_cos.ball() if isinstance(clean_cos, AngleCosine) else arb(clean_cos)
    t = arb(cosine)
    masses, rest = zonal_masses(dim, level, bits)
    total, p0, p1, q0, q1 = arb(0), arb(1), clean, arb(0), arb(1)
    for n, mass in enumerate(masses, start=1):
        total += mass * p1 * q1
        p0, p1 = p1, ((2 * n + dim - 2) * clean * p1 - n * p0) / (n + dim - 2)
        q0, q1 = q1, ((2 * n + dim - 2) * t * q1 - (n - 1) * q0) / (n + dim - 1)
    room = 1 - t * t
    scale = room ** (arb(dim - 1) / 2) / (dim - 1) / beta_ball(arb(dim - 1) / 2, arb(1) / 2)
    change = scale * (total + arb(0, rest))
    return coordinate_tail_ball(dim, -t) - change, coordinate_tail_ball(dim, t) + change


def beta_ball(a: Ball, b: Ball) -> Ball:
    """B(a, b) for a, b > 0."""
    return (a.lgamma() + b.lgamma() - (a + b).lgamma()).exp()


@lru_cache(maxsize=8)
def zonal_masses(dim: int, level: float, bits: int) -> tuple[tuple[Ball, ...], Ball]:
    """N_n a_n^2 for n = 1, 2, ..., and an upper bound on the sum of all that follow.

    The a_n obey a recurrence in steps of two whose coefficients are positive from above: no digits are lost.
    """
    arb = load_flint().arb
    with working_bits(bits):
        order = arb(dim) / (2 * arb(level) ** 2)
        last = _last_term(dim, order)
        a = {n: _coefficient(dim, order, n) for n in range(last, last + 4)}
        for n in range(last + 1, 2, -1):
            # n - 2 from n and n + 2.
            near, far = arb(dim) / (4 * n + 2 * dim - 8), arb(dim) / (4 * n + 2 * dim)
            a[n - 2] = (((2 * n + dim - 2) / (2 * order) + near + far) * a[n] + a[n + 2] * n / (2 * n + dim)) / (
                arb(1) / 2 + near
            )
        masses, count = [], arb(dim)
        for n in range(1, last + 2):
            masses.append(count * a[n] ** 2)
            count = count * ((2 * n + dim) * (n + dim - 2)) / ((2 * n + dim - 2) * (n + 1))
        rest = masses.pop() / (1 - _ratio(dim, order, last + 1))
        return tuple(masses), rest.upper()


def _ratio(dim: int, order: Ball, n: int) -> Ball:
    """Bound on N_{n+1} a_{n+1}^2/(N_n a_n^2); it falls in n."""
    arb = load_flint().arb
    grown = arb((2 * n + dim) * (n + dim - 2)) / ((2 * n + dim - 2) * (n + 1))
    return grown * order * (n + dim) / (2 * (n + arb(dim) / 2) ** 2)


def _last_term(dim: int, order: Ball) -> int:
    n = 1
    while not _ratio(dim, order, n) <= LAST_RATIO:
        n += max(1, n // 50)
    return n + MORE_TERMS


def _coefficient(dim: int, order: Ball, n: int) -> Ball:
    """a_n from the series of 1F1, whose terms are positive; they end where their ratio, at most z/k, is below 1/2."""
    flint = load_flint()
    arb = flint.arb
    top, bottom = arb(n + dim) / 2, n + arb(dim) / 2
    term, total, k = arb(1), arb(1), 0
    limit = arb(2) ** -flint.ctx.prec
    while not (2 * order <= k and term <= limit * total):
        term = term * (top + k) / (bottom + k) * order / (k + 1)
        total += term
        k += 1
    total += arb(0, (2 * term).upper())
    return (top.lgamma() - bottom.lgamma() + arb(n) / 2 * order.log() - order).exp() * total
