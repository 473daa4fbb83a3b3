"""Lenses: the series, its derivative, and rings from below."""

import numpy as np
import pytest
from flint import arb
from scipy.integrate import quad

from theory.rigorous.balls import working_bits
from theory.rigorous.caps import LensSeries, cap_ball
from theory.sphere import cap_intersection, cap_measure, distance_density, lens


@pytest.fixture(autouse=True)
def _bits():
    with working_bits(128):
        yield


def one_lens(dim, radius, distance):
    """lens_r by adaptive quadrature over the distance from x."""

    def ring(p):
        cosine = np.clip(np.tan(p / 2) / np.tan(distance), -1, 1)
        return distance_density(dim, p) * cap_measure(dim - 1, np.arccos(cosine))

    kink = [2 * (np.pi - distance)] if 2 * (np.pi - distance) < radius else None
    return quad(ring, 0, radius, points=kink, epsabs=1e-14, epsrel=1e-12)[0]


@pytest.mark.parametrize("dim", [3, 4, 5, 8, 33])
@pytest.mark.parametrize("radius", [0.4, 1.0, np.pi / 2])
def test_series_and_slope(dim, radius):
    series = LensSeries(dim, radius)
    assert float(series.cap) == pytest.approx(float(cap_measure(dim, radius)), rel=1e-12)
    for distance in (radius + 0.01, max(radius, np.pi / 2), 2.0):
        angle = arb(distance)
        assert series.reaches(angle)
        assert float(series.near(angle)) == pytest.approx(one_lens(dim, radius, distance), rel=1e-10)
        wide = arb(distance, 1e-3)
        assert series.near(wide).contains(series.near(arb(distance) + arb(5e-4)))
        rise = series.near(angle + arb(1e-9)) - series.near(angle - arb(1e-9))
        assert float(series.slope(angle)) == pytest.approx(float(rise) / 2e-9, rel=1e-6)
        assert series.slope(wide).contains(series.slope(angle))


@pytest.mark.parametrize("dim", [3, 4, 9])
@pytest.mark.parametrize("radius", [0.5, 1.2])
def test_rings_are_below_and_close(dim, radius):
    series = LensSeries(dim, radius)
    for distance in (np.pi - 0.45 * radius, np.pi - 0.1, np.pi - 1e-6):
        assert not series.reaches(arb(distance))
        true, found = one_lens(dim, radius, distance), float(series.at_least(arb(distance), False))
        assert true * (1 - 1e-3) < found <= true * (1 + 1e-9)
    for distance in (1.3, np.pi / 2 - 0.2 * radius, np.pi / 2 - 0.01):
        true, found = float(lens(dim, distance, radius, True)[0]), float(series.at_least(arb(distance), True))
        wide = 2 * float(cap_intersection(dim, np.pi - distance, radius, distance, 3000)[0])
        true = 2 * one_lens(dim, radius, distance) + wide
        assert true * (1 - 2e-3) < found <= true * (1 + 1e-5)


def test_a_lens_beyond_its_series_is_no_number():
    series = LensSeries(3, 1.0)
    with pytest.raises(ArithmeticError, match=r"^rigorous: a lens is asked for beyond its series"):
        series.near(arb(np.pi - 0.4))


def test_caps_of_balls_contain_caps():
    assert cap_ball(6, arb(1.0, 0.01)).contains(cap_ball(6, arb(1.005)))
