"""The pair law's series against laws that were derived another way: mpmath's quadrature, and the two-panel
quadrature."""

import mpmath
import numpy as np
import pytest
from scipy.special import eval_legendre

from theory.lemmas.pair_law import PairLaw
from theory.numerics.quadrature import gauss_legendre
from theory.rigorous import pair_law
from theory.rigorous.balls import working_bits
from theory.rigorous.pair_law import AngleCosine, pair_tails, zonal_masses


def projected_normal(angle, scale):
    """Density at ``angle`` of the direction of u + s g in the plane, u at angle 0: closed form."""
    along = mpmath.cos(angle) / scale
    return (
        mpmath.exp(-1 / (2 * scale**2))
        / (2 * mpmath.pi)
        * (1 + along * mpmath.ncdf(along) * mpmath.sqrt(2 * mpmath.pi) * mpmath.exp(along**2 / 2))
    )


def test_in_the_plane_it_is_a_convolution_of_two_densities():
    """Periodic and smooth: the trapezoidal rule has all digits."""
    noise, between, cut, nodes = 0.8, 1.1, 0.6, 120
    with mpmath.workdps(30):
        scale = mpmath.mpf(noise) / mpmath.sqrt(2)
        grid = [2 * mpmath.pi * k / nodes for k in range(nodes)]
        density = [projected_normal(angle, scale) for angle in grid]
        waves = [sum(d * mpmath.cos(n * t) for d, t in zip(density, grid)) * 2 * mpmath.pi / nodes for n in range(50)]
        half = mpmath.acos(mpmath.mpf(cut))
        # P(|difference| < half) of two angles, by Fourier series.
        expected = half / mpmath.pi + sum(
            waves[n] ** 2 * mpmath.cos(n * mpmath.mpf(between)) * 2 * mpmath.sin(n * half) / (n * mpmath.pi)
            for n in range(1, 50)
        )
        below, above = pair_tails(2, noise, AngleCosine(between), cut)
        assert abs(mpmath.mpf(float(above)) / expected - 1) < 1e-15
        assert abs(mpmath.mpf(float(below)) / (1 - expected) - 1) < 1e-15


def test_coefficients_are_means_of_legendre_polynomials():
    """N_n a_n^2 in three dimensions, a_n = E P_n(cos) by quadrature over the angle's cosine and the norm."""
    variance = 0.7**2 / 3
    t, weights = gauss_legendre(-1.0, 1.0, 200)
    r, radial = gauss_legendre(0.0, 6.0, 400)
    density = np.exp(-(r**2 - 2 * r * t[:, None] + 1) / (2 * variance)) * r**2 @ radial * weights
    masses, rest = zonal_masses(3, 0.7, 128)
    for n in (1, 2, 7):
        mean = density @ eval_legendre(n, t) / density.sum()
        assert float(masses[n - 1]) == pytest.approx((2 * n + 1) * mean**2, rel=1e-11)
    assert 0 < float(rest) < 1e-30


@pytest.mark.parametrize(
    ("dim", "noise", "clean", "cosine"),
    [
        (3, 0.4, -0.5, -0.9), (16, 0.4, 0.2, 0.7), (64, 0.7, 0.0, 0.5), (64, 0.3, 1.0, 0.7), (256, 1.07, 1.0, 0.3),
        (1024, 1.5, -1.0, -0.4), (5, 20.0, 0.9, -0.2),
        # Few dimensions, and noise that reaches the origin: points may turn by any angle.
        (2, 0.26, 1.0, -0.9), (4, 0.346, 1.0, -0.5), (3, 0.289, 0.9, -0.5), (3, 0.2, 1.0, -0.9),
    ],
)  # fmt: skip
def test_quadrature_lies_at_the_enclosure(dim, noise, clean, cosine):
    below, above = pair_tails(dim, noise, clean, cosine)
    law = PairLaw(dim, noise, clean)
    assert (below + above).contains(1)
    assert law.tail(cosine, upper=False) == pytest.approx(float(below), rel=1e-8)
    assert law.tail(cosine, upper=True) == pytest.approx(float(above), rel=1e-8)
    assert min(below.rel_accuracy_bits(), above.rel_accuracy_bits()) >= 40


def test_what_is_left_out_is_inside_the_ball(monkeypatch):
    """A short series is less exact and still right; without its rest it would be wrong."""
    exact = pair_tails(8, 0.5, 0.9, 0.7)[1]
    monkeypatch.setattr(pair_law, "LAST_RATIO", 0.7)
    monkeypatch.setattr(pair_law, "MORE_TERMS", 8)
    zonal_masses.cache_clear()
    try:
        with working_bits(256):
            short = pair_law._tails(8, 0.5, 0.9, 0.7, 256)[1]
            assert short.contains(exact)
            assert 1e-8 < float(short.rad()) < 1.0
            masses, _ = zonal_masses(8, 0.5, 256)
            monkeypatch.setattr(pair_law, "zonal_masses", lambda *_: (masses, 0))
            assert not pair_law._tails(8, 0.5, 0.9, 0.7, 256)[1].overlaps(exact)
    finally:
        zonal_masses.cache_clear()


def test_hardly_any_noise_is_refused():
    with pytest.raises(ArithmeticError, match=r"^rigorous: in 64 dimensions .* from noise 0\.04"):
        pair_tails(64, 0.01, 0.9, 0.5)


def test_cosines_of_angles_keep_all_their_digits():
    """cos(pi/2 as a float) is 6e-17, which NumPy's cosine gives to a digit less."""
    with working_bits(200):
        assert float(AngleCosine(float(np.pi / 2)).ball()) == pytest.approx(6.123233995736766e-17, rel=1e-15)
