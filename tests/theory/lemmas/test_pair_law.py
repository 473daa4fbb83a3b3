"""The exact pair law against independent derivations: zonal harmonics in high precision, and simulation."""

import math

import mpmath
import numpy as np
import pytest

from tests.reference import pair_upper_tail
from theory.lemmas.pair_law import UNIFORM_ORDER, PairLaw, safe_quantile, scaled_log_bessel

CASES = [
    (3, 0.5, 0.3, 0.9),
    (3, 0.5, 1.0, 0.2),
    (8, 0.6, 0.0, 0.8),
    (8, 0.3, 0.95, 0.6),
    (16, 0.05, 0.99, 0.999),
    (64, 0.7, 0.0, 0.4),
    (64, 0.7, 1.0, 0.45),
    (130, 0.7, -0.3, 0.2),
    (256, 0.9, 0.0, 0.3),
    (256, 1.2, 0.5, 0.5),
]


@pytest.mark.parametrize(("dim", "noise", "clean", "level"), CASES)
def test_tails_are_the_harmonic_series(dim, noise, clean, level):
    law = PairLaw(dim, noise, clean)
    upper = pair_upper_tail(dim, noise, clean, level)
    assert law.tail(level, upper=True) == pytest.approx(float(upper), rel=1e-7)
    assert law.tail(level, upper=False) == pytest.approx(float(1 - upper), rel=1e-7)


@pytest.mark.parametrize(("dim", "noise", "clean"), [(2, 0.4, 0.5), (5, 0.8, -0.2), (50, 1.0, 0.9)])
def test_tails_are_what_a_simulation_finds(dim, noise, clean):
    """200,000 pairs; five standard errors, so that a right law fails one time in two million."""
    rng = np.random.default_rng(7)
    count = 200_000
    u, v = np.eye(dim)[0], clean * np.eye(dim)[0] + np.sqrt(1 - clean**2) * np.eye(dim)[1]
    x, y = (w + noise / np.sqrt(dim) * rng.standard_normal((count, dim)) for w in (u, v))
    cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    law = PairLaw(dim, noise, clean)
    for level in np.quantile(cosines, [0.01, 0.3, 0.9, 0.999]):
        expected = law.tail(float(level), upper=True)
        error = np.sqrt(expected * (1 - expected) / count)
        assert abs((cosines > level).mean() - expected) < 5 * error


@pytest.mark.parametrize("dim", [2, 3, 40, 700])
@pytest.mark.parametrize("probability", [0.3, 1e-3, 1e-8, 1e-14])
@pytest.mark.parametrize("upper", [True, False])
def test_quantile_inverts_the_tail(dim, probability, upper):
    law = PairLaw(dim, 0.6, 0.4)
    cosine = law.quantile(float(np.log(probability)), upper)
    if abs(cosine) < 1 - 1e-9:
        assert law.tail(cosine, upper) == pytest.approx(probability, rel=1e-6)


def test_tail_falls_with_the_clean_cosine():
    """Monotone in the clean cosine at every threshold: why the worst pair decides (theory.md 2b)."""
    tails = [PairLaw(12, 0.7, c).tail(0.35, upper=False) for c in np.linspace(-1, 1, 21)]
    assert np.all(np.diff(tails) < 0)


@pytest.mark.parametrize("order", [-0.5, 0.0, 0.5, 3.0, UNIFORM_ORDER - 0.5, UNIFORM_ORDER, 127.0, 511.5])
def test_bessel_function_over_its_whole_range(order):
    tolerance = 1e-12 if order < UNIFORM_ORDER else 1e-8
    for x in np.geomspace(1e-8, 1e5, 27):
        with mpmath.workdps(40):
            exact = mpmath.log(mpmath.besseli(order, x)) - x - order * mpmath.log(mpmath.mpf(x) / 2)
        error = float(scaled_log_bessel(order, np.array([x]))[0] - exact)
        assert abs(error) < tolerance * (1 + abs(float(exact)))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [((1, 0.5, 0.0), "ambient_dim"), ((4, 0.0, 0.0), "noise_level"), ((4, np.inf, 0.0), "noise_level"),
     ((4, 0.5, 1.5), "clean_cos"), ((4, 0.5, np.nan), "clean_cos")],
)  # fmt: skip
def test_bad_input_is_named(arguments, names):
    with pytest.raises(ValueError, match=names):
        PairLaw(*arguments)
    with pytest.raises(ValueError, match="cosine"):
        PairLaw(4, 0.5, 0.0).tail(1.0, upper=True)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_quantile_within_rounding_of_one_is_rounded_away_from_the_pair(side):
    """In the plane and at little noise the angle is sigma |Z|: beyond the quantile lies erf(angle/sigma/2^.5)."""
    sigma, tail = 2.118926e-6, 0.0041667
    found = safe_quantile(2, sigma, side, math.log(tail), upper=side > 0)
    with mpmath.workdps(30):
        beyond = mpmath.erf(mpmath.acos(mpmath.mpf(side * found)) / (sigma * mpmath.sqrt(2)))
    assert beyond <= tail * (1 + 1e-6)
    # Planted: one unit of the last place nearer to the pair a third more lies beyond.
    with mpmath.workdps(30):
        nearer = mpmath.acos(mpmath.mpf(float(np.nextafter(1.0, 0.0))))
        assert mpmath.erf(nearer / (sigma * mpmath.sqrt(2))) > 1.3 * tail
