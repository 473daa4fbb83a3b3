"""Theorem 2f's row bound, term by term against simulation, since the bound as a whole is loose."""

import numpy as np
import pytest
from scipy.special import gammaln, ive, logsumexp, ndtr

from theory.judging.rates import clopper_pearson
from theory.lemmas import fusion_rows as fr
from theory.lemmas.fusion_nodes import FULL, QUICK, Nodes, direction_nodes
from theory.lemmas.fusion_rows import RowLaw
from theory.numerics.quadrature import gauss_legendre

pytestmark = pytest.mark.theorems

DIM, SIGMA, TAU = 24, 0.7, 0.35
SCALE = SIGMA / np.sqrt(DIM)
NEIGHBOUR = FULL.neighbour


def neighbours_of(own, clean, count, rng, mixing):
    """X, Y and Z (count, D) of neighbours with clean point ``clean`` (1 or count, D) of the row at ``own``."""
    clean = np.broadcast_to(clean, (count, len(own)))
    x = clean + SCALE * rng.standard_normal((count, len(own)))
    share = np.maximum(x @ own / np.linalg.norm(x, axis=1) / np.linalg.norm(own) - TAU, 0.0)
    bracket = (1.0 - mixing) * own + mixing * x
    gain = (bracket * clean).sum(axis=1)
    return share, gain, bracket - gain[:, None] * clean


def row_at(cosine, norm):
    return norm * np.array([cosine, np.sqrt(1.0 - cosine**2), *np.zeros(DIM - 2)])


@pytest.mark.parametrize("mixing", [0.4, 1.0])
def test_a_neighbours_law_against_simulation(mixing):
    rng, axis = np.random.default_rng(0), np.eye(DIM)[0]
    law = RowLaw(DIM, SIGMA, TAU, mixing)
    exact = law._neighbours(np.array([0.75]), np.array([1.3]), NEIGHBOUR)
    share, gain, rest = neighbours_of(row_at(0.75, 1.3), axis, 200_000, rng, mixing)
    plane, off = rest[:, 1], (rest[:, 2:] ** 2).sum(axis=1) / (2.0 * (DIM - 2.0))
    pairs = {
        "edge": ((share > 0).astype(float), 1.0 - exact.empty[0]),
        "share": (share, (exact.weight * exact.share).sum()),
        "gain": (share * gain, (exact.weight * exact.gain).sum()),
        "plane": (share * plane, (exact.weight * (exact.own[0] * exact.share + exact.noise)).sum()),
        "off": (share**2 * off, (exact.weight * exact.off).sum()),
        "joint": (
            np.exp(3.0 * share * plane + 20.0 * share**2 * off - 5.0 * share * gain),
            exact.empty[0]
            + (
                exact.weight
                * np.exp(3.0 * (exact.own[0] * exact.share + exact.noise) + 20.0 * exact.off - 5.0 * exact.gain)
            ).sum(),
        ),
    }
    for name, (sample, value) in pairs.items():
        assert abs(sample.mean() - value) < 4.5 * sample.std() / np.sqrt(len(sample)), name
    assert exact.own[0] == pytest.approx((1.0 - mixing) * 1.3 * np.sqrt(1.0 - 0.75**2))


def test_the_rows_own_point_against_simulation():
    """The mass on angles and norms: the mean cosine with the clean point, and the norm's share in it."""
    rng = np.random.default_rng(1)
    x = np.eye(DIM)[0] + SCALE * rng.standard_normal((200_000, DIM))
    law = RowLaw(DIM, SIGMA, TAU, 0.5)
    assert law._mass.sum() == pytest.approx(1.0)
    fine = gauss_legendre(law._angles[:-1], law._angles[1:], fr.FINE)[0]
    norms = law._norms(fine, law._steps)
    for sample, value in (
        (x[:, 0] / np.linalg.norm(x, axis=1), (law._mass * np.cos(fine)[..., None]).sum()),
        (x[:, 0], (law._mass * norms * np.cos(fine)[..., None]).sum()),
        ((x**2).sum(axis=1), (law._mass * norms**2).sum()),
    ):
        assert abs(sample.mean() - value) < 4.5 * sample.std() / np.sqrt(len(sample))


@pytest.mark.parametrize("dim", [3, 4, 25, 400])
def test_the_conjugate_is_the_largest(dim):
    """kappa s - log Lambda(rho s) is largest at s = t, or the bound would be too small."""
    order, turn, reach = dim / 2 - 1, np.array([0.3 * dim, dim]), np.array([0.7, 2.0])
    rho, kappa, conjugate = fr._constants(turn, reach, 1e-12, dim)

    def log_mean(z):
        return gammaln(dim / 2) + np.log(ive(order, z)) + z - order * np.log(z / 2)

    assert kappa * reach - log_mean(rho * reach) == pytest.approx(conjugate, rel=1e-9)
    s = np.geomspace(0.2, 5.0, 4001)[:, None] * reach
    np.testing.assert_allclose((kappa * s - log_mean(rho * s)).max(axis=0), conjugate, rtol=1e-6)


@pytest.mark.parametrize("dim", [3, 10, 200, 10**5])
def test_the_mixture_is_a_coordinate_of_a_uniform_direction(dim):
    cosine, weights = direction_nodes(dim)
    assert logsumexp(weights) == pytest.approx(0.0, abs=0.02 if dim < 5 else 2e-3)
    turn = 1.5 * np.sqrt(dim)
    if dim < 10**4:
        exact = gammaln(dim / 2) + np.log(ive(dim / 2 - 1, turn)) + turn - (dim / 2 - 1) * np.log(turn / 2)
        assert logsumexp(weights + turn * cosine) == pytest.approx(exact, abs=0.02)


def test_finite_where_it_says_so():
    """rho is held where the neighbour's length has a finite moment generating function."""
    law = RowLaw(DIM, SIGMA, TAU, 1.0)._neighbours(np.array([0.8]), np.array([1.2]), NEIGHBOUR)
    rho, _, _ = fr._constants(np.array([1e6]), np.array([1.0]), law.limit, DIM)
    assert rho[0] ** 2 * (1.0 - TAU) ** 2 * SCALE**2 / (DIM - 2.0) <= 0.5


@pytest.mark.parametrize("bound", ["spread", "sectors"])
@pytest.mark.parametrize("mixing", [0.6, 1.0])
def test_the_bound_given_the_rows_point_against_simulation(bound, mixing):
    """Both bounds at several slopes: above what is simulated, not by more than a Chernoff bound's slack."""
    rng, others, trials = np.random.default_rng(2), 15, 20_000
    own, axis = row_at(0.72, 1.25), np.eye(DIM)[0]
    share, gain, rest = neighbours_of(own, axis, others * trials, rng, mixing)
    length = np.linalg.norm((share[:, None] * rest).reshape(trials, others, DIM).sum(axis=1), axis=1)
    slopes = length / np.maximum((share * gain).reshape(trials, others).sum(axis=1), 1e-300)
    given = RowLaw(DIM, SIGMA, TAU, mixing)._neighbours(np.array([0.72]), np.array([1.25]), NEIGHBOUR)
    kind = (fr._Spread if bound == "spread" else fr._Sectors)(others, DIM)
    for slope in np.quantile(slopes, [0.9, 0.99, 0.999]):
        chosen = np.exp(kind.choose(fr._Others((given,)), np.array([slope]))[:, 0])
        value = float(np.exp(kind.log_bound(given, slope, *chosen)[0]))
        rate = (slopes >= slope).mean()
        assert clopper_pearson(int(rate * trials), trials, 0.999)[0] <= min(value, 1.0)
        if mixing == 1.0 or bound == "sectors":
            assert value < (25.0 if bound == "spread" else 80.0) * rate


@pytest.mark.parametrize(("mixing", "within"), [(0.5, 1.0), (1.0, 1.0), (1.0, 0.9), (0.8, 0.9)])
def test_the_row_bound_against_simulation(mixing, within):
    """Whole clusters; in cones the other points stand on the rim, opposite each other."""
    rng, size, trials = np.random.default_rng(3), 16, 3000
    half = np.arccos(within) / 2.0
    clean = np.zeros((size, DIM))
    clean[:, 0], clean[:, 1] = np.cos(half), np.sin(half) * np.where(np.arange(size) % 2, 1.0, -1.0)
    x = clean + SCALE * rng.standard_normal((trials, size, DIM))
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    share = np.maximum(unit @ np.swapaxes(unit, 1, 2) - TAU, 0.0) * ~np.eye(size, dtype=bool)
    own = np.einsum("tjd,bd->tjb", x, clean)
    gain = (1.0 - mixing) * own + mixing * np.einsum("tbb->tb", own)[:, None, :]
    along = np.einsum("tjb,tjb->tj", share, gain)
    total = (1.0 - mixing) * share.sum(-1)[..., None] * x + mixing * share @ x
    length = np.linalg.norm(total - (share * gain) @ clean, axis=-1)
    slopes = np.where(along > 0.0, length / np.where(along > 0.0, along, 1.0), np.inf).ravel()
    law = RowLaw(DIM, SIGMA, TAU, mixing, within)
    levels = np.quantile(slopes, [0.5, 0.97, 0.997])
    bounds = law.failure(levels, size)
    assert (np.diff(bounds) <= 0.0).all()
    for level, bound in zip(levels, bounds):
        rate = (slopes >= level).mean()
        assert rate - 4.0 * np.sqrt(rate / trials) <= bound
    if within == 1.0:
        assert bounds[-1] < 30.0 * 0.003
    assert 0.5 * np.median(slopes) < law.typical_slope(size) < 2.0 * np.median(slopes)


def test_a_row_without_neighbours_fails():
    """At a slope that no neighbour can spoil the bound is the probability of having none."""
    law = RowLaw(DIM, 1.2, 0.6, 1.0)
    given = law._neighbours(np.cos(law._angles), law._norms(law._angles, np.zeros(1))[:, 0], NEIGHBOUR)
    fine = gauss_legendre(law._angles[:-1], law._angles[1:], fr.FINE)[0]
    alone = np.interp(fine, law._angles, given.empty) ** 3
    assert law.failure(1e3, 4) >= 0.99 * (law._mass[..., 0] * alone).sum() > 0.05


@pytest.mark.parametrize(
    ("mixing", "within", "slope", "slack"),
    [
        (0.1, 1.0, 1.02, 1.8),
        (1.0, 0.9, 0.55, 1.4),
        *(
            pytest.param(*place, marks=pytest.mark.slow)
            for place in ((1.0, 1.0, 0.55, 1.2), (0.7, 1.0, 0.65, 1.2), (0.3, 1.0, 0.9, 1.4))
        ),
    ],
)
def test_more_nodes_make_the_bound_smaller(mixing, within, slope, slack):
    """For small lambda the bound rises like a step in the row's angle: it is computed from above there."""
    arguments = (64, 0.8, 0.46, mixing, within)
    value = RowLaw(*arguments).failure(slope, 32)
    finer = RowLaw(*arguments, nodes=Nodes(4 * FULL.angles, 13, (20, 8, 6), 8, 12)).failure(slope, 32)
    assert 1e-9 < finer <= 1.002 * value <= slack * finer
    if within == 1.0:
        assert value <= 1.02 * RowLaw(*arguments, nodes=QUICK).failure(slope, 32)


@pytest.mark.parametrize(
    ("mixing", "tau", "slope", "rate"), [(0.1, 0.38, 1.0251, 2.48e-5), (0.05, 0.3, 1.0892, 3.89e-5)]
)
def test_the_row_bound_where_rows_hardly_move(mixing, tau, slope, rate):
    """Rates by another program's simulation (6 and 2 % standard error, from below), D = 64, m = 32, sigma = .7."""
    assert rate < RowLaw(64, 0.7, tau, mixing).failure(slope, 32) < 3.0 * rate


def test_the_mass_beyond_the_angles():
    """Three dimensions, where the window is not wide: no less than what a simulation finds outside."""
    law, rng = RowLaw(3, 0.9, 0.3, 1.0), np.random.default_rng(8)
    law._angles = law._angles[law._angles < law._center + 0.5]
    x = np.eye(3)[0] + 0.9 / np.sqrt(3.0) * rng.standard_normal((10**5, 3))
    beyond = np.arccos(x[:, 0] / np.linalg.norm(x, axis=1)) > law._angles[-1]
    assert beyond.mean() < law._outside()


def test_bad_input():
    for name, bad in (("ambient_dim", 2), ("noise_level", 0.0), ("threshold", 0.0), ("threshold", 1.0), ("mixing", 0.0),
                      ("min_within_cos", 0.0)):  # fmt: skip
        good = {"ambient_dim": 8, "noise_level": 0.5, "threshold": 0.3, "mixing": 0.5, "min_within_cos": 0.9}
        with pytest.raises(ValueError, match=f"^{name}: must"):
            RowLaw(**{**good, name: bad})
    law = RowLaw(8, 0.5, 0.3, 0.5)
    with pytest.raises(ValueError, match=r"^slope: must lie in \(0, inf\)"):
        law.failure(0.0, 4)
    with pytest.raises(ValueError, match=r"^cluster_size: must be a whole number"):
        law.failure(0.5, 1)


def test_rows_turned_against_their_clean_point_fail():
    """Three dimensions, much noise: P(<u, x_j> < 0) at least, whatever the slope."""
    assert RowLaw(3, 3.0, 0.3, 1.0).failure(1e6, 50) >= ndtr(-np.sqrt(3.0) / 3.0)
